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

# Lambda's Python 3.11 has glibc 2.26, those from 3.12 on have 2.34. NumPy's wheels want 2.27 since
# NumPy 2.3.
BOUNDS = 'numpy<2.3; python_version < "3.12"\n'

# Chalice keeps a zip by the text of requirements.txt, so an old wheel of the same name would be
# shipped again.
LEFT_OUT = ("__pycache__", "package.py", "deployments")

INCOMPLETE = "Could not install dependencies"  # chalice.constants.MISSING_DEPENDENCIES_TEMPLATE


def package(wheels: Path, out: Path) -> Path:
    """The packaged application in `out`, whose ``deployment.zip`` holds the newest of `wheels`
    with all it depends on. Ends the program when Chalice could not get all of that."""
    wheel = max(wheels.glob("fedspan-*.whl"), key=lambda file: file.stat().st_mtime)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "aws"
        shutil.copytree(HERE, project, ignore=shutil.ignore_patterns(*LEFT_OUT))
        shutil.copy(wheel, project)
        (project / "requirements.txt").write_text(f"./{wheel.name}[aws]\n{BOUNDS}")
        chalice = [str(Path(sys.executable).with_name("chalice")), "package", str(out.resolve())]
        region = {"AWS_DEFAULT_REGION": "us-east-1"}  # Chalice wants one, and writes it nowhere
        said = subprocess.run(
            chalice,
            cwd=project,
            check=True,
            env=region | os.environ,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    print(said, end="")
    if INCOMPLETE in said:  # and reports success
        (out / "deployment.zip").unlink()
        sys.exit("the zip lacks the dependencies named above; it was removed")
    return out / "deployment.zip"


if __name__ == "__main__":
    print(package(Path(sys.argv[1]), Path(sys.argv[2])))
