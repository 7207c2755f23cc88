"""Participants: organisations that keep their data, and the machines they train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from pydantic import Field, NonNegativeFloat, PositiveInt

from fedspan.domain.countries import COUNTRIES, NO_COUNTRY, KeptCountry
from fedspan.domain.parsing import parsed
from fedspan.domain.spec import Mbps, Milliseconds, Need, Positive, TrainingSeconds
from fedspan.domain.values import Instant, Name, Value
from fedspan.errors import InvalidRequest


class Dataset(Value):
    """Data a site offers. `features` is the shape of one example; rows never leave the site."""

    name: Name
    path: str = Field(
        default="", description="of kind local: the .csv or .npz file; else the machine's affair"
    )
    target: str = "target"
    features: tuple[PositiveInt, ...] = Field(min_length=1)
    classes: tuple[str, ...] = Field(min_length=2)
    examples: PositiveInt


class SiteKind(StrEnum):
    LOCAL = "local"
    """Fedspan starts the site's machine on this computer, for the length of a job."""
    AGENT = "agent"
    """The site runs its own machine, which joined with a token."""
    OPENSTACK = "openstack"
    """Fedspan starts the site's machine in its private cloud, for the length of a job."""


class Figures(Value):
    """What a site may say of its link, its machine and its distances."""

    up_mbps: Mbps | None
    down_mbps: Mbps | None
    compute_s: TrainingSeconds | None
    rtt_ms: dict[str, Milliseconds]


class Site(Value):
    """What is stored is read however old it is; `faults` says what is refused of a new one."""

    name: Name
    kind: SiteKind = SiteKind.LOCAL
    credential: Name | None = Field(
        default=None, description="of kind openstack: whose project its machines run in"
    )
    city: str = ""
    country: KeptCountry = ""
    latitude: float | None = Field(default=None, ge=-90, le=90, allow_inf_nan=False)
    longitude: float | None = Field(default=None, ge=-180, le=180, allow_inf_nan=False)
    cloud: str | None = Field(
        default=None, description="the public-cloud region it sits in, such as ``aws:eu-west-1``"
    )
    up_mbps: Positive | None = Field(default=None, description="of its link, Mbit/s")
    down_mbps: Positive | None = None
    compute_s: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="what one round of training takes"
    )
    rtt_ms: dict[str, Positive] = Field(
        default_factory=dict, description="measured, by region, such as ``aws:eu-west-1``"
    )
    need: Need = Need()
    allow_apps: bool = Field(
        default=False,
        description="whether jobs may bring their own code, a Flower app, to run here",
    )
    datasets: tuple[Dataset, ...] = ()

    def dataset(self, name: str) -> Dataset | None:
        return next((one for one in self.datasets if one.name == name), None)

    @property
    def faults(self) -> tuple[str, ...]:
        """What cannot be right about it: a sentence each, with the field and the site."""
        found = [f"{field}: site {self.name}: {said}" for field, said in self._absurd_figures()]
        if self.country and self.country not in COUNTRIES:
            found.append(f"country: site {self.name}: {NO_COUNTRY.format(self.country)}")
        if (self.latitude is None) != (self.longitude is None):
            lacking = "latitude" if self.latitude is None else "longitude"
            found.append(f"{lacking}: site {self.name} has half a position; give both or none")
        if (self.kind is SiteKind.OPENSTACK) != (self.credential is not None):
            found.append(
                f"credential: site {self.name}: one of kind openstack names the credential of its "
                "cloud, and no other does"
            )
        return tuple(found)

    def _absurd_figures(self) -> Iterator[Sequence[str]]:
        try:
            parsed(Figures, self.model_dump(include=set(Figures.model_fields)))
        except InvalidRequest as exc:
            yield from (one.split(": ", 1) for one in exc.problems)


class Load(Value):
    """How busy a machine is: shares from 0 to 1; `memory_mib` is what is in use."""

    cpu: NonNegativeFloat = 0.0
    memory: NonNegativeFloat = 0.0
    memory_mib: NonNegativeFloat = 0.0
    gpu: NonNegativeFloat | None = None


class Training(Value):
    """A ClientApp at work: the round it trains, and for how long it has."""

    round: PositiveInt
    seconds: NonNegativeFloat = 0.0


class Agent(Value):
    """The last word of a site's machine: the agent that runs there."""

    site: Name
    machine: str
    seq: int = Field(ge=0, description="of its last report; a lower one is an echo")
    seen: Instant
    load: Load = Load()
    public_key: str = Field(description="PEM; the SuperNode proves itself with the private one")
    job: str | None = None
    running: bool = Field(default=False, description="its SuperNode is up, for `job`")
    training: Training | None = Field(default=None, description="what is trained for `job`")
    message: str = ""
