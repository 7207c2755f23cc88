"""What ``fedspan`` runs, and ``python -m fedspan.cli``: the command line, where it is installed."""

from __future__ import annotations

import sys

from fedspan.errors import Unsupported
from fedspan.extras import needed


def main() -> None:
    try:
        with needed("the command line", "local"):
            from fedspan.cli.main import main as run
    except Unsupported as exc:
        sys.exit(f"error: {exc}")
    run()


if __name__ == "__main__":
    main()
