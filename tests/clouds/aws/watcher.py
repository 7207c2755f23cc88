"""Boots what is launched on moto's EC2, and ends what is terminated: moto keeps books only."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from tests.clouds.boot import MARK, power_off

EVERY_SECONDS: Final = 0.2
UP: Final = ("pending", "running")


@dataclass
class Ec2Watcher:
    """The hosts of a region's machines while the block runs. `command` boots one:
    ``command USER_DATA FOLDER``."""

    url: str
    region: str
    command: Sequence[str]
    folder: Path
    guest: Mapping[str, str] = field(default_factory=dict)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Ec2Watcher:
        config = Config(connect_timeout=5, read_timeout=20)
        self._client = boto3.client(
            "ec2",
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id="watcher",
            aws_secret_access_key="watcher",
            config=config,
        )
        self._thread = threading.Thread(target=self._watch, name="ec2")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for id in list(self._running):
            self._end(id)
        self._client.close()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            up = {
                one["InstanceId"]
                for page in self._client.describe_instances()["Reservations"]
                for one in page["Instances"]
                if one["State"]["Name"] in UP
            }
            for id in up - self._running.keys():
                self._boot(id)
            for id, process in list(self._running.items()):
                if id not in up:
                    self._end(id)
                elif process.poll() is not None:  # it powered off, which terminates it
                    self._end(id)
                    self._client.terminate_instances(InstanceIds=[id])

    def _boot(self, id: str) -> None:
        folder = self.folder / id
        folder.mkdir(parents=True)
        user_data = folder / "user_data"
        user_data.write_bytes(base64.b64decode(self._user_data(id)))
        with (folder / "console.log").open("wb") as console:
            self._running[id] = subprocess.Popen(
                [*self.command, str(user_data), str(folder)],
                env={**os.environ, **self.guest, MARK: str(folder.resolve())},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _user_data(self, id: str) -> str:
        asked: dict[str, Any] = {"InstanceId": id, "Attribute": "userData"}
        found = self._client.describe_instance_attribute(**asked)
        return str(found["UserData"].get("Value", ""))

    def _end(self, id: str) -> None:
        process = self._running.pop(id)
        power_off(self.folder / id)
        process.wait()
