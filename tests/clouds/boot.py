"""Boots a machine of a test cloud: ``boot.py USER_DATA FOLDER``.

As much of cloud-init, systemd and Docker as our start-up documents use, in a folder instead of a
machine: files are written under ``FOLDER/root``, and what would run in a container, its entry
point, runs as a process of this machine. It ends when that does, as the machine would power off.

What the machine would know from its metadata service, or have from its role, is told by the
environment: ``FEDSPAN_TEST_GUEST``, a JSON object of variables for the container.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

REPOSITORY: Final = Path(__file__).resolve().parents[2]
GUEST: Final = "FEDSPAN_TEST_GUEST"
MARK: Final = "FEDSPAN_TEST_VM"
"""Every process of a machine has it in its environment, so that none can be overlooked."""
MADE_FOR: Final = ("/etc/", "/run/")

CURL: Final = """\
#!/bin/sh
# The metadata services of AWS and Google: a token for whoever asks for one, and our address.
case "$*" in
  *api/token*) printf token ;;
  *169.254.169.254*public-ipv4*|*metadata.google.internal*external-ip*) printf 127.0.0.1 ;;
  *) echo "curl: no metadata of this kind here: $*" >&2; exit 6 ;;
esac
"""
IPTABLES: Final = """\
#!/bin/sh
# The firewall of the machine itself: what was changed in it is written down, a line a rule.
echo "$*" >> "$(dirname "$0")/../iptables"
"""


class Vm:
    """A machine in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._root = self._folder / "root"
        self._bin = self._folder / "bin"
        for made in (self._root, self._bin, self._folder / "work"):
            made.mkdir(parents=True, exist_ok=True)
        for name, script in (("curl", CURL), ("iptables", IPTABLES)):
            (self._bin / name).write_text(script)
            (self._bin / name).chmod(0o755)

    def cloud_init(self, user_data: str) -> int:
        """Write its files, run its commands; the exit code of the service that these started."""
        if not user_data.startswith("#cloud-config\n"):
            raise SystemExit("boot: the user data is no #cloud-config")
        document = yaml.safe_load(user_data)
        for file in document.get("write_files", []):
            self._write(file)
        code = 0
        for command in document.get("runcmd", []):
            match command:
                case ["systemctl", "daemon-reload"]:
                    pass
                case ["systemctl", "enable", name]:
                    self._enable(name)
                case ["systemctl", "start", *_, name]:
                    code = self._start(name)
                case _:
                    raise SystemExit(f"boot: cannot run {command}")
        return code

    def restart(self) -> int:
        """What it runs when it boots once more, of which cloud-init has no part; the exit code."""
        wanted = self._inside("/etc/systemd/system/multi-user.target.wants")
        return max(self._start(unit.name) for unit in wanted.iterdir())

    def _enable(self, name: str) -> None:
        unit = self._inside(f"/etc/systemd/system/{name}")
        _, _, install = unit.read_text().partition("[Install]\n")
        for target in _lines(install, "WantedBy"):
            wants = unit.parent / f"{target}.wants"
            wants.mkdir(exist_ok=True)
            (wants / name).unlink(missing_ok=True)
            (wants / name).symlink_to(unit)

    def _write(self, file: Mapping[str, Any]) -> None:
        path = self._inside(file["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        content = file["content"]
        if file.get("encoding") == "b64":
            content = base64.b64decode(content).decode()
        path.write_text(content)
        path.chmod(int(file["permissions"], 8))

    def _inside(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _start(self, name: str) -> int:
        """What systemd does with our unit."""
        unit = self._inside(f"/etc/systemd/system/{name}").read_text()
        for line in _lines(unit, "ExecStartPre"):
            self._before(shlex.split(line))
        [line] = _lines(unit, "ExecStart")
        program, action, *arguments = shlex.split(line)
        if (Path(program).name, action) != ("docker", "run"):
            raise SystemExit(f"boot: the service runs {program} {action}, not docker run")
        assert _lines(unit, "ExecStopPost") == ["/usr/bin/systemctl --no-block poweroff"]
        return self._docker_run(arguments)

    def _before(self, command: Sequence[str]) -> None:
        """A script that the document wrote; the paths in it are those of this machine."""
        shell, path = command
        script = self._inside(path).read_text()
        for top in MADE_FOR:
            script = script.replace(f" {top}", f" {self._root}{top}")
        environment = {"PATH": f"{self._bin}:{os.environ['PATH']}", MARK: str(self._folder)}
        subprocess.run([shell, "-c", script], env=environment, check=True, timeout=120)

    def _docker_run(self, arguments: Sequence[str]) -> int:
        options, image = arguments[:-1], arguments[-1]
        given = dict(itertools.pairwise(options))
        assert given["--network"] == "host"
        lines = self._inside(given["--env-file"]).read_text().splitlines()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "FEDSPAN_WORK": str(self._folder / "work"),
            "OMP_NUM_THREADS": "1",
            "FEDSPAN_METADATA": "http://127.0.0.1:9",  # nobody: it asks no address but loopback's
            MARK: str(self._folder),
            **json.loads(os.environ.get(GUEST, "{}")),
            **dict(line.split("=", 1) for line in lines),
        }
        command = [sys.executable, str(REPOSITORY / entry_point(image))]
        container = subprocess.Popen(command, cwd=self._folder / "work", env=environment)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: container.send_signal(received))
        return container.wait()


def entry_point(image: str) -> str:
    """The entry point of a container image, in this repository."""
    role = image.rpartition("/")[2].partition(":")[0]
    return f"{role}_image/entrypoint.py"


def _lines(unit: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


def processes(folder: Path) -> Iterator[int]:
    """Every process of the machine in `folder`, or of those below it."""
    wanted = str(folder.resolve())
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        marks = [one.decode() for one in variables if one.startswith(f"{MARK}=".encode())]
        if marks and not zombie:
            machine = marks[0].partition("=")[2]
            if machine == wanted or machine.startswith(f"{wanted}/"):
                yield int(entry.name)


def power_off(folder: Path) -> None:
    """Pull the plug: nothing of the machine runs when this returns."""
    while alive := list(processes(folder)):
        for number in alive:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue


if __name__ == "__main__":
    os.environ[MARK] = str(Path(sys.argv[2]).resolve())
    sys.exit(Vm(Path(sys.argv[2])).cloud_init(Path(sys.argv[1]).read_text()))
