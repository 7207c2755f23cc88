"""Where the functions, state machines and images lie: beside the package in a checkout, inside
it when it was installed from a wheel."""

from __future__ import annotations

from pathlib import Path


def asset(name: str) -> Path:
    """The path of, say, ``functions/aws/app.py``. Raises `FileNotFoundError`."""
    package = Path(__file__).resolve().parent.parent
    for root in (package / "local" / "_assets", package.parent):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} is neither in the wheel nor beside the package")
