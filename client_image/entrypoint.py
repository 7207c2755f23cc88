"""What a participant's machine runs."""

import sys

from fedspan.flower.agent import main

if __name__ == "__main__":
    sys.exit(main())
