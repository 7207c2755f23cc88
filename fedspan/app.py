"""All that a use case may touch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fedspan.access import Tokens
from fedspan.domain.bills import Incarnation
from fedspan.domain.credentials import Credential, Sealed
from fedspan.domain.events import Event
from fedspan.domain.jobs import Job
from fedspan.domain.models import Card
from fedspan.domain.rates import Rates
from fedspan.domain.rounds import Round
from fedspan.domain.sites import Agent, Site
from fedspan.domain.waits import Assignment, OpenJob, Submission, Wait
from fedspan.executions.base import Executions
from fedspan.keys.base import MasterKey
from fedspan.objects.base import Objects
from fedspan.objects.grants import Grants
from fedspan.providers.base import Clouds, Provider
from fedspan.settings import Settings
from fedspan.stores.base import Store
from fedspan.stores.records import Table


@dataclass(frozen=True)
class App:
    """Wired once (`fedspan.wiring`), then passed in. `providers` has those of the registered
    credentials, by name; `clouds` is for those that are not registered yet. `post` sends JSON to a
    webhook and raises `OSError` when it cannot."""

    settings: Settings
    store: Store
    objects: Objects
    grants: Grants
    providers: Mapping[str, Provider]
    clouds: Clouds
    keys: MasterKey
    executions: Executions
    tokens: Tokens
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    post: Callable[[str, dict[str, Any]], None]

    @property
    def jobs(self) -> Table[Job]:
        return Table(self.store, "job", Job)

    @property
    def rounds(self) -> Table[Round]:
        return Table(self.store, "round", Round)

    @property
    def incarnations(self) -> Table[Incarnation]:
        return Table(self.store, "incarnation", Incarnation)

    @property
    def rates(self) -> Table[Rates]:
        return Table(self.store, "rates", Rates)

    @property
    def events(self) -> Table[Event]:
        return Table(self.store, "event", Event)

    @property
    def sites(self) -> Table[Site]:
        return Table(self.store, "site", Site)

    @property
    def agents(self) -> Table[Agent]:
        return Table(self.store, "agent", Agent)

    @property
    def models(self) -> Table[Card]:
        return Table(self.store, "model", Card)

    @property
    def waits(self) -> Table[Wait]:
        return Table(self.store, "wait", Wait)

    @property
    def submissions(self) -> Table[Submission]:
        return Table(self.store, "submission", Submission)

    @property
    def open_jobs(self) -> Table[OpenJob]:
        return Table(self.store, "open", OpenJob)

    @property
    def credentials(self) -> Table[Credential]:
        return Table(self.store, "credential", Credential)

    @property
    def sealed(self) -> Table[Sealed]:
        return Table(self.store, "sealed", Sealed)

    @property
    def assignments(self) -> Table[Assignment]:
        return Table(self.store, "assignment", Assignment)
