"""The program of an aggregator's machine: it runs Flower there and speaks for it.

It starts the SuperLink on loopback, the front before it and the SuperExec that starts our
ServerApp, lets the participants of the manifest in, and submits the one run there is. What the
ServerApp says of itself (`fedspan.flower.files`) goes to the API with every report; what the API
answers goes back the same way. Nothing is decided here: when a part dies it says so, and goes on
reporting until it is told to stop.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Final

from fedspan.domain.reports import AggregatorManifest, AggregatorReport, Desired, Fault, Phase
from fedspan.domain.rounds import Round
from fedspan.domain.texts import brief
from fedspan.errors import (
    AggregatorLost,
    DiskFull,
    FedspanError,
    InvalidRequest,
    StoreError,
    TrainingFailed,
)
from fedspan.flower import notices
from fedspan.flower.aggregator import FRONT, Flower
from fedspan.flower.files import WORK, ServerStatus, WorkFolder
from fedspan.flower.notices import WATCHER, Leaving
from fedspan.flower.reporting import Api, Away, Dismissed, Pace, Sequence, logger, wanted
from fedspan.flower.settings import Settings
from fedspan.flower.shipping import Shipper
from fedspan.flower.warm import KILLED, ROOMLESS, TOKEN, Family, Stop
from fedspan.flower.workers import QUIET, SERVER_LOG, SUPEREXEC, SUPERLINK, warm_up_aggregator
from fedspan.objects.granted import GRANT
from fedspan.objects.opening import open_objects

TICK_SECONDS: Final = 0.05
RUN_CHECK_SECONDS: Final = 2.0
MOST_ROUNDS: Final = 40
"""The API takes no more in one report."""

FILES: Final = (DiskFull, StoreError)
"""What goes wrong with the files of the work folder."""

SLACK_SECONDS: Final = 60.0
"""Beside the limits of a round: to average, and to store a large model."""


class Supervisor:
    """Reports, and makes what the answers say."""

    def __init__(self, settings: Settings, flower: Flower, family: Family, api: Api) -> None:
        self._settings = settings
        self._flower = flower
        self._family = family
        self._api = api
        self._log = logging.getLogger("fedspan.aggregator")
        self._folder = WorkFolder(settings.work)
        self._pace, self._sequence = Pace(), Sequence()
        self._manifest: AggregatorManifest | None = None
        self._granted = False
        self._grant_expires: datetime | None = None
        self._status = ServerStatus()
        self._keys: dict[str, str] = {}
        self._nodes: dict[str, int] = {}
        self._run: int | None = None
        self._up = self._dismissed = self._stopped = False
        self._fault: Fault | None = None
        self._leaving = Leaving(self._folder, self._log)
        self._looked = 0.0
        self._moved = time.monotonic()

    def supervise(self, stop: Stop) -> int:
        """Until told to stop, by a signal or by the API, or taken back by the cloud; the exit
        code. What a notice leaves time for is done first, whoever says stop."""
        while not (stop.asked and self._free()):
            self._look_after_children()
            if self._leaving.news():
                self._pace.at_once()
            if not self._fault:
                self._follow()
            if self._pace.due() and not self._dismissed:
                self._dismissed = not self._report()
            if self._dismissed and self._free():
                return 0
            if self._leaving.over or self._pace.gave_up(self._log):
                return 0
            time.sleep(TICK_SECONDS)
        return stop.code

    def _free(self) -> bool:
        """Whether nothing is being kept of a round under way."""
        ended = self._phase() in (Phase.LEAVING, Phase.DONE, Phase.FAILED)
        return self._leaving.notice is None or ended or self._stopped

    def _look_after_children(self) -> None:
        for child in self._family.reap():
            if child.name == WATCHER:
                self._log.info("%s", child.ended)
            else:
                self._fail(_of_end(child.ended, AggregatorLost), child.ended)

    def _follow(self) -> None:
        try:
            self._serve()
            self._read_status()
        except FILES as exc:
            self._fail(_kind(exc), str(exc))

    def _serve(self) -> None:
        """Let in whom the manifest names and submit the run, once there is a SuperLink, and it is
        known by which access the run opens the objects."""
        if self._manifest is None:
            return
        try:
            if not self._up:
                self._flower.control.runs()
                self._up = True
                self._log.info("serving at %s", self._flower.address)
                self._pace.at_once()
            self._let_in(self._manifest)
            spec, left = self._manifest.spec, self._leaving.notice is not None
            if self._run is None and self._granted and not left and self._flower.ready(spec):
                self._run = self._flower.submit(spec, self._settings.objects)
                self._log.info("run %d started", self._run)
        except AggregatorLost as exc:  # it is still starting, or its end is about to be seen
            if self._up:
                self._log.warning("%s", exc)
        except InvalidRequest as exc:
            self._fail(TrainingFailed, f"the run was refused: {exc}")

    def _let_in(self, manifest: AggregatorManifest) -> None:
        wanted = {node.site: node.public_key for node in manifest.nodes}
        changed = {site: key for site, key in wanted.items() if self._keys.get(site) != key}
        for site, key in changed.items():
            self._keys[site] = key
            try:
                if site in self._nodes:
                    self._flower.control.unregister_node(self._nodes.pop(site))
                self._nodes[site] = self._flower.control.register_node(key)
            except InvalidRequest as exc:
                self._log.error("%s cannot be let in: %s", site, exc)
            except AggregatorLost:
                del self._keys[site]
                raise
            else:
                self._log.info("%s may connect as node %d", site, self._nodes[site])
        if changed:
            self._folder.write_nodes({node: site for site, node in self._nodes.items()})
            self._pace.at_once()

    def _read_status(self) -> None:
        ended = self._flower.ended()  # before the status: it writes that before it ends
        status = self._folder.status()
        if status and status != self._status:
            if status.waiting and status.waiting != self._status.waiting:
                self._log.warning("the training waits: %s", status.waiting)
            self._status, self._moved = status, time.monotonic()
            self._pace.at_once()
        if self._status.phase in (Phase.DONE, Phase.FAILED, Phase.LEAVING):
            return
        if ended:
            why = _of_end(ended, TrainingFailed)
            self._fail(why, f"the training stopped without a result: {ended}")
        elif self._run is not None and time.monotonic() - self._looked > RUN_CHECK_SECONDS:
            self._looked = time.monotonic()
            self._check_run(self._run)
            self._check_progress()

    def _check_run(self, run: int) -> None:
        """Flower's word on the run: late, but the only one stock commands give."""
        try:
            state = self._flower.control.runs().get(run)
        except AggregatorLost as exc:
            self._log.warning("%s", exc)
            return
        if state and state.finished and self._folder.status() == self._status:
            said = f"{state.sub_status} {state.details}".strip()
            self._fail(TrainingFailed, f"the training ended without a result: {said}")

    def _check_progress(self) -> None:
        """A ServerApp that hangs ends no wait of its own. Its longest is an evaluation's: for
        the quorum, and for the replies."""
        if self._manifest is None or self._status.phase is not Phase.TRAINING:
            return
        limits = self._manifest.spec.limits
        longest = 2 * limits.round + limits.node_wait + SLACK_SECONDS
        if time.monotonic() > self._moved + longest:
            said = f"no progress in round {self._status.progress.round} for {longest:g} s"
            self._fail(TrainingFailed, f"the training hangs: {said}")

    def _fail(self, error: type[FedspanError], message: str) -> None:
        """What a process dies of where there is no room is that, whatever it says."""
        if not issubclass(error, DiskFull) and self._folder.full():
            error, message = DiskFull, f"no room in {self._settings.work}: {message}"
        self._log.error("%s: %s", error.__name__, message)
        if not self._fault and self._status.phase is not Phase.DONE:
            self._fault = Fault(code=error.__name__, message=message)
            self._pace.at_once()

    def _report(self) -> bool:
        """Say how things are and take in how they should be; False when that is: gone."""
        try:
            answer = self._api.post("/v1/reports/aggregator", self._word(), AggregatorManifest)
        except Away as exc:
            self._pace.failed(exc, self._log)
            return True
        except Dismissed as exc:
            self._log.info("dismissed: %s", exc)
            return False
        self._pace.succeeded(answer.heartbeat_seconds, answer.lease_seconds)
        before = self._acknowledged()
        self._stopped = answer.desired is Desired.STOP
        try:
            self._take(answer)
        except FILES as exc:
            self._fail(_kind(exc), str(exc))
        if self._acknowledged() > before and self._untold():
            self._pace.at_once()
        return not self._stopped and self._phase() is not Phase.LEAVING

    def _take(self, answer: AggregatorManifest) -> None:
        """Let the ServerApp know. Raises `DiskFull`."""
        if self._fault and self._fault.code == DiskFull.__name__:
            self._manifest = answer.model_copy(update={"objects": None})
            return
        answer = self._without_grant(answer)
        if answer != self._manifest:
            self._manifest = answer
            self._folder.write_desired(answer)

    def _without_grant(self, answer: AggregatorManifest) -> AggregatorManifest:
        """The answer, after the access to the objects that came with it was put where they are
        opened."""
        if answer.objects is not None:
            self._folder.write_grant(answer.objects)
            self._granted, self._grant_expires = True, answer.objects.expires
            self._log.info("may use the objects until %s", self._grant_expires)
        elif not self._granted and not answer.objects_late:
            self._folder.write_grant(None)
            self._granted = True
        elif self._manifest is None:
            self._log.warning("waiting for access to the objects")
        return answer.model_copy(update={"objects": None})

    def _word(self) -> AggregatorReport:
        return AggregatorReport(
            job=self._settings.job,
            epoch=self._settings.epoch,
            seq=self._sequence.next(),
            phase=self._phase(),
            address=self._flower.address if self._up else None,
            certificate=self._flower.certificate if self._up else None,
            linked=tuple(sorted(self._nodes)),
            progress=self._status.progress,
            rounds=self._untold()[:MOST_ROUNDS],
            fault=self._fault or self._status.fault,
            notice=self._leaving.notice,
            grant_expires=self._grant_expires,
            waiting=brief(self._status.waiting),
        )

    def _acknowledged(self) -> int:
        return self._manifest.acknowledged if self._manifest else 0

    def _untold(self) -> tuple[Round, ...]:
        acknowledged = self._acknowledged()
        return tuple(one for one in self._status.rounds if one.number > acknowledged)

    def _phase(self) -> Phase:
        if self._fault:
            return Phase.FAILED
        if self._leaving.notice and self._run is None:
            return Phase.LEAVING
        if self._status.phase is Phase.STARTING and self._up:
            return Phase.READY
        return self._status.phase


def _of_end(ended: str, otherwise: type[FedspanError]) -> type[FedspanError]:
    """What it means how a process ended, by the word on that."""
    kinds = {KILLED: AggregatorLost, ROOMLESS: DiskFull}
    return next((kind for said, kind in kinds.items() if said in ended), otherwise)


def _kind(exc: Exception) -> type[FedspanError]:
    return DiskFull if isinstance(exc, DiskFull) else AggregatorLost


def main() -> int:
    """Run the aggregator of this machine. Exit codes: 0 told to stop by the API, or told nothing
    for the length of its lease, or taken back by its cloud; 143 by a signal."""
    settings = Settings.from_env()
    api = Api(settings.api, wanted(TOKEN))
    grant = WorkFolder(settings.work).grant
    os.environ |= {WORK: str(settings.work), GRANT: str(grant)}
    os.environ |= {"FLWR_HOME": str(settings.work / "flwr"), **QUIET}
    os.environ.pop(TOKEN)
    logs = settings.work / "logs"
    log = logger("aggregator", logs / "supervisor.log")
    ask = notices.source()
    stale = ["desired.json", "nodes.json", "status.json", grant.name]  # another incarnation's
    for name in (*stale, *(["notice.json"] if ask else [])):
        (settings.work / name).unlink(missing_ok=True)
    family, stop = Family(logs), Stop()
    why = warm_up_aggregator()
    if why:
        log.warning("running Flower's own commands: %s", why)
    flower = Flower(settings.work, settings.address, family, stock=bool(why), port=settings.port)
    if ask:
        folder = WorkFolder(settings.work)
        family.fork(WATCHER, lambda: notices.watch(ask, folder, log))
    shipper = _shipper(settings, logs)
    shipper.start()
    try:
        return Supervisor(settings, flower, family, api).supervise(stop)
    finally:
        family.stop()
        log.info("stopped")
        shipper.finish()


def _shipper(settings: Settings, logs: Path) -> Shipper:
    names = {"supervisor": "supervisor", "superlink": SUPERLINK, "superexec": SUPEREXEC}
    names |= {"front": FRONT, "serverapp": SERVER_LOG}
    return Shipper(
        lambda: open_objects(settings.objects),
        f"jobs/{settings.job}/logs/aggregator-{settings.epoch}-",
        {name: logs / f"{file}.log" for name, file in names.items()},
    )


if __name__ == "__main__":
    sys.exit(main())
