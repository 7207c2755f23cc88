"""How the supervisor of an aggregator and our ServerApp talk: small JSON files in one folder.

The two are processes that start and die apart, so neither calls the other. Each file has one
writer, appears whole (written beside, then renamed), and says how things are, not what changed:

``desired.json``
    supervisor -> ServerApp: the manifest the control plane last answered with.
``nodes.json``
    supervisor -> ServerApp: which participant each registered Flower node is.
``grant.json``
    supervisor -> whoever opens the objects: the access it was granted (`fedspan.objects.granted`),
    for nobody else's eyes.
``status.json``
    ServerApp -> supervisor: how far this incarnation is, and every round it completed.
``notice.json``
    whoever hears of it (`fedspan.flower.notices`) -> both: the machine is about to be taken back.

Nothing is fsynced: a machine that loses power loses the folder's meaning with it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import RootModel, ValidationError

from fedspan.domain.grants import Grant
from fedspan.domain.jobs import Progress
from fedspan.domain.reports import AggregatorManifest, Fault, Notice, Phase
from fedspan.domain.rounds import Round
from fedspan.domain.values import Message, Name
from fedspan.errors import BetweenRounds, DiskFull, InvalidRequest, SpotNotice, TrainingFailed
from fedspan.objects.files import writing
from fedspan.objects.granted import Held

WORK: Final = "FEDSPAN_WORK"
"""Environment: the folder these files are in."""

OBJECTS: Final = "FEDSPAN_OBJECTS"
"""Environment: the URL of the object store that holds checkpoints and model programs."""

LINK: Final = "FEDSPAN_LINK"
"""Environment of a ClientApp: the file with the `fedspan.domain.reports.Link` of its site."""


ROOM_BYTES: Final = 128 * 1024
"""More than most of these files have."""


class ServerStatus(Message):
    """How far the ServerApp is. `rounds`, in order, are those it completed or found committed
    by an earlier incarnation that may not have reported them, save the acknowledged ones."""

    phase: Phase = Phase.STARTING
    progress: Progress = Progress()
    rounds: tuple[Round, ...] = ()
    fault: Fault | None = None
    waiting: str = ""
    """For what, when it is neither participants nor a result of its own."""


class _Nodes(RootModel[dict[int, Name]]):
    """Flower's node ids exceed 2**53; as keys of a JSON object they stay exact."""


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Readers return None (or nothing) for a file that is not there yet."""

    path: Path

    @property
    def desired_file(self) -> Path:
        return self.path / "desired.json"

    def write_desired(self, manifest: AggregatorManifest) -> None:
        self._write(self.desired_file.name, manifest.model_dump_json())

    def desired(self) -> AggregatorManifest | None:
        text = self._read(self.desired_file.name)
        return None if text is None else AggregatorManifest.model_validate_json(text)

    def write_nodes(self, nodes: Mapping[int, str]) -> None:
        """`nodes` maps Flower's node id to the participant's name."""
        self._write("nodes.json", _Nodes(dict(nodes)).model_dump_json())

    def nodes(self) -> dict[int, str]:
        text = self._read("nodes.json")
        return {} if text is None else dict(_Nodes.model_validate_json(text).root)

    @property
    def grant(self) -> Path:
        return self.path / "grant.json"

    def write_grant(self, grant: Grant | None) -> None:
        """None: the machine's own access to the objects is to be used."""
        self._write(self.grant.name, Held(grant).model_dump_json(), mode=0o600)

    def write_status(self, status: ServerStatus) -> None:
        self._write("status.json", status.model_dump_json())

    def status(self) -> ServerStatus | None:
        text = self._read("status.json")
        return None if text is None else ServerStatus.model_validate_json(text)

    @property
    def notice_file(self) -> Path:
        return self.path / "notice.json"

    def write_notice(self, notice: Notice) -> None:
        self._write(self.notice_file.name, notice.model_dump_json())

    def notice(self) -> Notice | None:
        """Raises `InvalidRequest` for one that says nothing: a person may have written it."""
        text = self._read(self.notice_file.name)
        try:
            return None if text is None else Notice.model_validate_json(text)
        except ValidationError as exc:
            problems = [f"{one['loc']}: {one['msg']}" for one in exc.errors()]
            raise InvalidRequest(f"{self.notice_file}: it counts for nothing", *problems) from exc

    def full(self) -> bool:
        """Whether there is no room for what processes say here."""
        try:
            self._write("room", "." * ROOM_BYTES)
        except DiskFull:
            return True
        (self.path / "room").unlink()
        return False

    def _write(self, name: str, text: str, *, mode: int = 0o666) -> None:
        """Raises `DiskFull`."""
        beside = self.path / f".{name}.{os.getpid()}"
        with writing(str(self.path / name), DiskFull):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                beside.touch(mode)
                beside.write_text(text, encoding="utf-8")
                beside.replace(self.path / name)
            except OSError:
                beside.unlink(missing_ok=True)
                raise

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what is written here first. Raises `DiskFull`."""
    with (
        writing("files on their way", DiskFull),
        tempfile.TemporaryDirectory(prefix="fedspan-") as folder,
    ):
        yield Path(folder)


class Changes:
    """Whether a file became another; asking costs a stat."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None

    def news(self) -> bool:
        """Whether there is a file, and not the one of the last call."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        before, self._seen = self._seen, (found.st_ino, found.st_mtime_ns)
        return self._seen != before


class Noticed:
    """The notice of this machine, once there is one. It is never taken back."""

    def __init__(self, folder: WorkFolder) -> None:
        self._folder = folder
        self._changes = Changes(folder.notice_file)
        self._notice: Notice | None = None

    def __call__(self) -> Notice | None:
        """Raises `InvalidRequest`, once, for a file that holds none."""
        if self._notice is None and self._changes.news():
            self._notice = self._folder.notice()
        return self._notice


class Desire:
    """The manifest as it is now; calling it costs a stat or two unless that changed."""

    def __init__(self, folder: WorkFolder) -> None:
        self._folder = folder
        self._changes = Changes(folder.desired_file)
        self._noticed = Noticed(folder)
        self._manifest: AggregatorManifest | None = None

    def __call__(self) -> AggregatorManifest:
        """Raises `TrainingFailed` if the supervisor has never written one, and `SpotNotice` or
        `BetweenRounds` when the machine is about to be taken or given back: there is nothing then
        to go on with."""
        manifest = self.manifest()
        if manifest.rest:
            raise BetweenRounds(f"job {manifest.job}: this machine is given back for a while")
        with suppress(InvalidRequest):  # of which the supervisor tells
            if self._noticed():
                raise SpotNotice(f"job {manifest.job}: its cloud takes this machine back")
        return manifest

    def manifest(self) -> AggregatorManifest:
        """The same, whatever becomes of the machine."""
        if self._changes.news():
            self._manifest = self._folder.desired() or self._manifest
        if self._manifest is None:
            raise TrainingFailed(f"{self._folder.path}: the supervisor wrote no manifest")
        return self._manifest
