"""Our Flower app as the bundle (FAB) that a run starts with.

It holds two modules of a few lines that name the functions of this package; the package itself
is installed wherever the bundle runs, so the bundle never changes with a job.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import fedspan

APPS: Final = ("aggregator_image/server_app.py", "client_image/client_app.py")

_PROJECT: Final = """
[project]
name = "fedspan-app"
version = "{version}"
description = "The rounds of a Fedspan job"
license = "Apache-2.0"
dependencies = ["flwr>=1.41,<1.43"]

[tool.flwr.app]
publisher = "fedspan"

[tool.flwr.app.components]
serverapp = "fedspan_app.server_app:app"
clientapp = "fedspan_app.client_app:app"
"""


def build_fab(folder: Path | None = None) -> bytes:
    """The bundle, the same bytes every time, made by Flower's own builder.

    `folder` holds the images' folders; by default those in the wheel, or else in the checkout.

    Raises:
        FileNotFoundError: the images' folders are in neither.
    """
    from flwr.cli.build import build_fab_from_files  # a command line's worth of imports

    root = folder or _assets()
    files: dict[str, bytes | Path] = {
        "pyproject.toml": _PROJECT.format(version=fedspan.__version__).encode(),
        "fedspan_app/__init__.py": b"",
        **{f"fedspan_app/{Path(app).name}": root / app for app in APPS},
    }
    return build_fab_from_files(files)[0]


def _assets() -> Path:
    package = Path(fedspan.__file__).resolve().parent
    for root in (package / "local" / "_assets", package.parent):
        if all((root / app).exists() for app in APPS):
            return root
    raise FileNotFoundError(f"{' and '.join(APPS)} are neither in the wheel nor beside the package")
