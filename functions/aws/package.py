"""Make the Lambda's zip: `package.py WHEELS OUT`; `package.py --templates OUT` makes the templates
beside a zip without our package, for checks of them.

Chalice ships no directory named in ``requirements.txt``, and says nothing of it; a wheel file it
does. So a copy of this folder gets the newest wheel beside it, named there, and Chalice packages
that copy.
"""

from __future__ import annotations

import json
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


def package(wheels: Path | None, out: Path) -> Path:
    """The packaged application in `out`, whose ``deployment.zip`` holds the newest of `wheels`
    with all it depends on; beside it what CloudFormation (``sam.json``) and Terraform
    (``chalice.tf.json``) are told. Ends the program when Chalice could not get all of that."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "aws"
        shutil.copytree(HERE, project, ignore=shutil.ignore_patterns(*LEFT_OUT))
        (project / "requirements.txt").write_text(requirements(wheels, project) if wheels else "")
        said = chalice(project, "cloudformation", out) + chalice(project, "terraform", out)
    print(said, end="")
    if INCOMPLETE in said:  # and reports success
        (out / "deployment.zip").unlink()
        sys.exit("the zip lacks the dependencies named above; it was removed")
    mend(out / "sam.json")
    return out / "deployment.zip"


def requirements(wheels: Path, project: Path) -> str:
    """What the newest of `wheels`, copied to `project`, needs there."""
    wheel = max(wheels.glob("fedspan-*.whl"), key=lambda file: file.stat().st_mtime)
    shutil.copy(wheel, project)
    return f"./{wheel.name}[aws-lambda]\n{BOUNDS}"


def chalice(project: Path, form: str, out: Path) -> str:
    """What ``chalice package`` said. It makes the zip once for all forms."""
    if form == "terraform":
        without_log_groups(project / ".chalice" / "config.json")
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("chalice")),
            "package",
            "--pkg-format",
            form,
            str(out.resolve()),
        ],
        cwd=project,
        check=True,
        env={"AWS_DEFAULT_REGION": "us-east-1"} | os.environ,  # it wants one, and writes it nowhere
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def mend(template: Path) -> None:
    """Chalice names the API's function APIHandler, and ApiHandler where it makes its log group:
    CloudFormation would refuse the template."""
    text = template.read_text()
    template.write_text(text.replace('"/aws/lambda/${ApiHandler}"', '"/aws/lambda/${APIHandler}"'))


def without_log_groups(config: Path) -> None:
    """Chalice knows log groups for CloudFormation only, and ends when Terraform is to have them;
    there ``infra/aws/functions.tf`` makes them."""
    known = json.loads(config.read_text())
    del known["log_retention_in_days"]
    config.write_text(json.dumps(known))


if __name__ == "__main__":
    wheels = None if sys.argv[1] == "--templates" else Path(sys.argv[1])
    print(package(wheels, Path(sys.argv[2])))
