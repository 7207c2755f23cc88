"""What machines tell us, and what they are told in the answer.

Level, not edge: a report says how things are, the manifest in its answer how they should be.
A lost report costs one heartbeat, nothing else; one that comes twice changes nothing.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt

from fedspan.domain.grants import Grant
from fedspan.domain.jobs import Progress
from fedspan.domain.measurements import Asked, Measured
from fedspan.domain.rounds import Round
from fedspan.domain.sites import Dataset, Load, Training
from fedspan.domain.spec import JobSpec
from fedspan.domain.values import Instant, Message, Name, Sha256


class Phase(StrEnum):
    """How far an aggregator is."""

    STARTING = "starting"
    READY = "ready"
    TRAINING = "training"
    DONE = "done"
    FAILED = "failed"
    LEAVING = "leaving"
    """Its machine is taken or given back: it has kept what it had of the round, and asks nobody."""


class Notice(Message):
    """The cloud's word that it takes the machine back, at `expires`; `source` is who said so."""

    expires: Instant
    source: str = ""


class Fault(Message):
    """Why it failed: `code` is a class name of our error tree."""

    code: str
    message: str


class AggregatorReport(Message):
    """The aggregator of `job` in its incarnation `epoch`, its `seq`-th word.

    `rounds` carries the rounds completed since the control plane last acknowledged one;
    `grant_expires` says until when it may use the objects, if that was granted. `waiting` is what
    its training stands still for, when that is neither participants nor a result of its own.
    """

    job: str
    epoch: PositiveInt
    seq: PositiveInt
    phase: Phase
    address: str | None = None
    certificate: str | None = None
    linked: tuple[Name, ...] = ()
    progress: Progress = Progress()
    rounds: tuple[Round, ...] = ()
    fault: Fault | None = None
    notice: Notice | None = None
    grant_expires: Instant | None = None
    waiting: str = ""


class Node(Message):
    """A participant the aggregator shall let in, by the public key (PEM) of its SuperNode."""

    site: Name
    public_key: str


class Desired(StrEnum):
    RUN = "run"
    STOP = "stop"


class AggregatorManifest(Message):
    """How the aggregator should be. `acknowledged` is the last round we have in the store;
    `lost` names participants whose machines have stopped speaking, `returning` those whose machines
    are being started again, `busy` those that still train for an earlier incarnation, to be waited
    for. `rest` says that the machine is given back: it keeps what it has of the round, and ends.
    `objects` is new access to the
    objects, in place of what it has; `objects_late` says that it needs some, and that none could be
    had just now."""

    # Else what is wrong with an answer would be logged together with its secrets.
    model_config = ConfigDict(hide_input_in_errors=True)

    desired: Desired
    job: str
    epoch: PositiveInt
    spec: JobSpec
    features: tuple[PositiveInt, ...]
    classes: tuple[str, ...]
    nodes: tuple[Node, ...] = ()
    lost: tuple[Name, ...] = ()
    returning: tuple[Name, ...] = ()
    busy: tuple[Name, ...] = ()
    rest: bool = False
    acknowledged: NonNegativeInt = 0
    objects: Grant | None = None
    objects_late: bool = False
    heartbeat_seconds: float = Field(gt=0)
    lease_seconds: float = Field(
        default=3600.0, gt=0, description="without an answer for so long, the machine ends itself"
    )


class SiteReport(Message):
    """A site's machine, its `seq`-th word since it started. `measured` answers the manifest's
    `measure`, and is told until that is asked no more."""

    site: Name
    machine: str
    seq: PositiveInt
    public_key: str
    load: Load = Load()
    job: str | None = None
    running: bool = False
    training: Training | None = None
    message: str = ""
    measured: Measured | None = None


class AppLink(Message):
    """The Flower app that a job runs: the hash of its bundle, the seed of its random choices, and
    which of how many participants this is, as simulations split data."""

    sha256: Sha256
    seed: int = 0
    partition: NonNegativeInt = 0
    partitions: PositiveInt = 1


class Link(Message):
    """Where a SuperNode connects: `address` is ``host:port``, `certificate` the PEM of the CA.
    `app` is none for a job of Fedspan's own code.

    As the control plane sends it, `dataset` has no path: the machine alone knows which file it
    opens under that name (``FEDSPAN_DATASETS``), and fills it in for its own ClientApp."""

    job: str
    epoch: PositiveInt
    address: str
    certificate: str
    dataset: Dataset
    app: AppLink | None = None


class SiteManifest(Message):
    """How a site's machine should be: linked to an aggregator, or idle. It measures `measure`
    beside either; names of regions alone are told, so that nobody has it connect anywhere else.
    What trains there for the job `finish` goes on, though its aggregator be away or another."""

    desired: Desired
    link: Link | None = None
    finish: str | None = None
    measure: Asked | None = None
    heartbeat_seconds: float = Field(gt=0)
    lease_seconds: float = Field(
        default=3600.0, gt=0, description="without an answer for so long, the machine ends itself"
    )
