"""What an aggregator's machine runs."""

import sys

from fedspan.flower.supervisor import main

if __name__ == "__main__":
    sys.exit(main())
