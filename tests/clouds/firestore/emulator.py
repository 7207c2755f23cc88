"""Google's own Firestore emulator, in Java, as a process on a loopback port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Self

JAR: Final = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
MAIN: Final = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
# It serves a handful of documents: no compiler threads, no parallel collector beside our tests.
JVM: Final = ["-Duser.language=en", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
SECONDS: Final = 60
INSTALL: Final = (
    "the Firestore emulator is missing; install Java and Google's Cloud CLI with it: "
    "apt-get install default-jre-headless google-cloud-cli google-cloud-cli-firestore-emulator "
    "(https://cloud.google.com/sdk/docs/install), or gcloud components install "
    "cloud-firestore-emulator"
)


class FirestoreEmulator:
    """``with FirestoreEmulator() as emulator:`` and then `emulator.host` is what
    FIRESTORE_EMULATOR_HOST wants. What is written there ends with it."""

    host: str

    def __enter__(self) -> Self:
        command = _command()
        # Told to take any port (0) it does, but does not say which.
        for _ in range(3):
            self.host = f"127.0.0.1:{_free_port()}"
            if self._started([*command, "--host=127.0.0.1", f"--port={self.host.split(':')[1]}"]):
                return self
            self.__exit__()
        raise RuntimeError(f"the Firestore emulator does not start:\n{self._said}")

    def __exit__(self, *_: object) -> None:
        with self._process:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._log.seek(0)
        self._said = self._log.read().decode(errors="replace")
        self._log.close()

    def _started(self, command: list[str]) -> bool:
        """Whether it serves: Java says nothing when another took the port, and ends."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        end = time.monotonic() + SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            if _answers(self.host):
                return True
            time.sleep(0.05)
        return False


def _command() -> list[str]:
    """Java itself, not the gcloud wrapper: one process to end, and a second less to wait."""
    java, gcloud = shutil.which("java"), shutil.which("gcloud")
    if not java or not gcloud:
        raise RuntimeError(f"no {'gcloud' if java else 'java'}: {INSTALL}")
    jar = Path(gcloud).resolve().parents[1] / JAR
    if not jar.is_file():
        raise RuntimeError(f"no {jar}: {INSTALL}")
    return [java, *JVM, "-cp", str(jar), MAIN, "start"]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _answers(host: str) -> bool:
    name, port = host.split(":")
    try:
        socket.create_connection((name, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
