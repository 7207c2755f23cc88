"""Make the Lambda's zip: `package.py WHEELS OUT`.

Chalice ships no directory named in ``requirements.txt``, and says nothing of it; a wheel file it
does. So a copy of this folder gets the newest wheel beside it, named there, and Chalice packages
that copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def package(wheels: Path, out: Path) -> Path:
    """The packaged application in `out`, whose ``deployment.zip`` holds the newest of `wheels`."""
    wheel = max(wheels.glob("fedspan-*.whl"), key=lambda file: file.stat().st_mtime)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "aws"
        shutil.copytree(HERE, project, ignore=shutil.ignore_patterns("__pycache__", "package.py"))
        shutil.copy(wheel, project)
        (project / "requirements.txt").write_text(f"./{wheel.name}[aws]\n")
        chalice = [str(Path(sys.executable).with_name("chalice")), "package", str(out.resolve())]
        region = {"AWS_DEFAULT_REGION": "us-east-1"}  # Chalice wants one, and writes it nowhere
        subprocess.run(chalice, cwd=project, check=True, env=region | os.environ)
    return out / "deployment.zip"


if __name__ == "__main__":
    print(package(Path(sys.argv[1]), Path(sys.argv[2])))
