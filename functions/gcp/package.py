"""Make the Cloud Function's folder: `package.py WHEELS OUT`.

Google installs ``requirements.txt`` from PyPI, where our wheel is not: so it lies unpacked beside
``main.py``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def package(wheels: Path, out: Path) -> Path:
    """`out` holds what is deployed: `main.py`, its requirements, and the newest of `wheels`."""
    wheel = max(wheels.glob("fedspan-*.whl"), key=lambda file: file.stat().st_mtime)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--upgrade", "--target", str(out), str(wheel)], check=True)
    shutil.rmtree(out / "bin", ignore_errors=True)  # the command line stays at home
    for name in ("main.py", "requirements.txt"):
        shutil.copy(HERE / name, out)
    return out


if __name__ == "__main__":
    print(package(Path(sys.argv[1]), Path(sys.argv[2])))
