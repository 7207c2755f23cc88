"""The program of a participant's machine: it reports, and runs what it is told.

Told of an aggregator it starts a SuperNode linked to it, and the warm SuperExec that forks a
ClientApp for each message; told of none it stops them. Connections only go out. The data and
the private key never leave the machine, and the token is no part of a child's environment. Of
data the API knows names: which file a name stands for is told by this machine's environment.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Final

import psutil

from fedspan.domain.measurements import Asked
from fedspan.domain.reports import AppLink, Desired, Link, SiteManifest, SiteReport
from fedspan.domain.sites import Load, Training
from fedspan.domain.texts import brief
from fedspan.flower import replies
from fedspan.flower.aggregator import free_port
from fedspan.flower.certificates import LOOPBACK, NodeKey, node_key, write_private
from fedspan.flower.files import LINK, WORK
from fedspan.flower.measuring import Measuring
from fedspan.flower.reporting import API, Api, Away, Dismissed, Pace, Sequence, logger, wanted
from fedspan.flower.warm import TOKEN, Child, Family, Stop
from fedspan.flower.workers import QUIET, WORKER_KILLED, Workers, warm_up_client
from fedspan.probing import Probe

SITE: Final = "FEDSPAN_SITE"
MACHINE: Final = "FEDSPAN_MACHINE"
DATASETS: Final = "FEDSPAN_DATASETS"
"""Environment: a JSON object, the file of each dataset by its name."""
ALLOW_APPS: Final = "FEDSPAN_ALLOW_APPS"
"""Environment: ``1`` where jobs may bring code of their own, a Flower app. Only this says so."""
DATASET: Final = "FEDSPAN_DATASET"
"""Environment of an app's ClientApp: the file of the data that this site gives to the job."""

TICK_SECONDS: Final = 0.05
RESTART_SECONDS: Final = (0.25, 5.0)
USED_AFTER_SECONDS: Final = 10.0
"""A SuperNode that lived this long was connected, and its key with it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Who this machine is, and where it works."""

    api: str
    site: str
    machine: str
    work: Path
    datasets: dict[str, str] = field(default_factory=dict)
    allow_apps: bool = False

    @classmethod
    def from_env(cls) -> Settings:
        work = Path(os.environ.get(WORK) or Path.cwd()).resolve()
        apps = os.environ.get(ALLOW_APPS) == "1"
        return cls(wanted(API), wanted(SITE), wanted(MACHINE), work, _datasets(), apps)


def _datasets() -> dict[str, str]:
    try:
        found = json.loads(os.environ.get(DATASETS) or "{}")
        return {name: str(Path(path).absolute()) for name, path in found.items() if path}
    except (ValueError, TypeError, AttributeError):
        raise SystemExit(f"{DATASETS}: want a JSON object of names and paths") from None


class Node:
    """The SuperNode and SuperExec of one link; both run, or both are to be started again."""

    def __init__(self, link: Link, key: NodeKey, settings: Settings, workers: Workers) -> None:
        self.link = link
        self.key = key
        self._work = settings.work
        write_private(self._work / "superexec.secret", token_hex(32).encode())
        write_private(self._work / "ca.pem", link.certificate.encode())
        path = settings.datasets[link.dataset.name]  # ours, whatever the link says
        opened = {"path": path}
        told = link.model_copy(update={"dataset": link.dataset.model_copy(update=opened)})
        write_private(self._work / "link.json", told.model_dump_json().encode())
        port = free_port()
        supernode = workers.supernode(self._supernode_options(settings.site, path, port))
        options = self._superexec_options(port)
        if link.app is None:
            self.children = (supernode, workers.superexec(options))
        else:
            self.children = (supernode, workers.app_superexec(options, {DATASET: path}))

    @property
    def superexec(self) -> Child:
        return self.children[1]

    def ended(self) -> Child | None:
        return next((child for child in self.children if not child.alive), None)

    def _supernode_options(self, site: str, path: str, port: int) -> list[str]:
        options = (
            *("--superlink", self.link.address, "--root-certificates", self._work / "ca.pem"),
            *("--auth-supernode-private-key", self.key.private),
            *("--node-config", _node_config(site, path, self.link.app)),
            *("--isolation", "process", "--host", LOOPBACK, "--port", port),
            *("--superexec-auth-secret-file", self._work / "superexec.secret"),
        )
        return [str(option) for option in options]

    def _superexec_options(self, port: int) -> list[str]:
        options = (
            *("--insecure", "--runtime-api-address", f"{LOOPBACK}:{port}"),
            *("--superexec-auth-secret-file", self._work / "superexec.secret"),
        )
        return [str(option) for option in options]


def _node_config(site: str, path: str, app: AppLink | None) -> str:
    """What a ClientApp reads as ``context.node_config``. For an app: its data, by the names that
    Flower's own examples have for it."""
    told = [f'participant="{site}"']
    if app is not None:
        told += [f"partition-id={app.partition}", f"num-partitions={app.partitions}"]
        if not set(path) & {'"', "'", "\\"}:  # Flower reads no quote within quotes
            told.append(f'data-path="{path}"')
    return " ".join(told)


class Agent:
    """Reports, and makes what the answers say."""

    def __init__(
        self, settings: Settings, family: Family, api: Api, probe: Probe | None = None
    ) -> None:
        self._settings = settings
        self._family = family
        self._api = api
        self._stock = False
        self._log = logging.getLogger("fedspan.agent")
        self._pace, self._sequence = Pace(), Sequence()
        self._link: Link | None = None
        self._finish: str | None = None
        self._training: Training | None = None
        self._asked: Asked | None = None
        self._measuring = Measuring(family, settings.work, probe or Probe())
        self._node: Node | None = None
        self._workers: Workers | None = None
        self._failures = 0
        self._not_before = 0.0
        self._message = self._trouble = ""
        self._stale = False
        self._known_key = ""
        psutil.cpu_percent(None)  # the next call tells of the time since this one
        self._key = self._new_key()

    def run(self, stop: Stop, *, stock: bool) -> int:
        """Until told to stop, by a signal or by the API; the exit code."""
        self._stock = stock
        while not stop.asked:
            try:
                self._look_at_training()
                self._look_after_node()
                self._make_it_so()
            except OSError as exc:  # of a file that is to be written
                self._put_off(exc)
            if self._pace.due() and not self.report():
                return 0
            if self._pace.gave_up(self._log):
                return 0
            time.sleep(TICK_SECONDS)
        return stop.code

    def _put_off(self, exc: OSError) -> None:
        """What could not be written now is tried again, and is no reason to end."""
        before = self._trouble
        self._trouble = f"cannot work in {self._settings.work}: {exc.strerror}"
        self._not_before = time.monotonic() + RESTART_SECONDS[1]
        if self._trouble != before:
            self._log.warning("%s", self._trouble)
            self._pace.at_once()

    def _look_at_training(self) -> None:
        """What a ClientApp trains for the link there is. One whose aggregator may rest is waited
        for by the API, which hears at once that it begins or ends."""
        before, found = self._training, replies.working(self._settings.work)
        mine = self._node is not None and found is not None and found[0].job == self._node.link.job
        if found is None or not mine:
            self._training = None
        else:
            self._training = Training(round=found[0].round, seconds=round(found[1], 3))
        changed = (before and before.round) != (self._training and self._training.round)
        if changed and self._finish is not None:
            self._pace.at_once()

    def _finishing(self) -> bool:
        """Whether a ClientApp trains on for a job whose aggregator is away, or another by now."""
        node = self._node
        if node is None or self._training is None or node.link == self._link:
            return False
        return node.link.job == self._finish and node.superexec.alive

    def _look_after_node(self) -> None:
        self._family.reap()
        ended = self._node.ended() if self._node else None
        if self._node is None or ended is None or self._finishing():
            return
        lived = time.monotonic() - ended.started
        self._failures = 0 if lived > USED_AFTER_SECONDS else self._failures + 1
        worker = ended.code == WORKER_KILLED
        killed = worker or (ended.code is not None and ended.code < 0)
        self._stop_node(fresh_key=killed or lived > USED_AFTER_SECONDS)
        shortest, longest = RESTART_SECONDS
        pause = min(longest, shortest * 2**self._failures) * random.uniform(0.75, 1.0)
        self._not_before = time.monotonic() + pause
        why = "its ClientApp was killed" if worker else ended.ended
        self._say(f"{why}; it is started again")

    def _make_it_so(self) -> None:
        if self._measuring.follow(self._asked):
            self._pace.at_once()
        if self._node and self._node.link != self._link and not self._finishing():
            self._stop_node(fresh_key=not self._goes_on(self._node.link))
            self._failures, self._not_before = 0, 0.0
        if not self._link or self._node or self._lacks() or time.monotonic() < self._not_before:
            return
        self._renew_key()
        known = self._known_key == self._key.public  # a new key must be, before it is used
        if known:
            self._start_node(self._link)
            self._pace.at_once()
            self._log.info("job %s: linked to %s", self._link.job, self._link.address)

    def _start_node(self, link: Link) -> None:
        workers = Workers(self._family, stock=self._stock)
        try:
            self._node = Node(link, self._key, self._settings, workers)
        except OSError:
            workers.bell.close()
            raise
        self._workers, self._trouble = workers, ""

    def _goes_on(self, before: Link) -> bool:
        """Whether the next aggregator of the same job, which let the present key in, is there."""
        link = self._link
        return link is not None and link.job == before.job == self._finish

    def _stop_node(self, *, fresh_key: bool) -> None:
        if self._node:
            self._family.stop(*self._node.children)
        replies.idle(self._settings.work)
        self._training = None
        if self._workers:
            self._workers.bell.close()
        self._node = self._workers = None
        self._stale = self._stale or fresh_key
        self._pace.at_once()
        self._renew_key()

    def report(self) -> bool:
        """Say how things are and take in how they should be; False when that is: gone."""
        word = self._word()
        try:
            manifest = self._api.post("/v1/reports/site", word, SiteManifest)
        except Away as exc:
            self._pace.failed(exc, self._log)
            return True
        except Dismissed as exc:
            self._message = f"dismissed: {exc}"
            self._link = self._asked = self._finish = None
            self._pace.failed(exc, self._log)
            return True
        self._pace.succeeded(manifest.heartbeat_seconds, manifest.lease_seconds)
        self._known_key = word.public_key
        changed, self._link = manifest.link != self._link, manifest.link
        self._asked, self._finish = manifest.measure, manifest.finish
        if changed and self._lacks():
            self._log.warning("%s", self._lacks())
            self._pace.at_once()
        return manifest.desired is Desired.RUN

    def _word(self) -> SiteReport:
        memory = psutil.virtual_memory()
        return SiteReport(
            site=self._settings.site,
            machine=self._settings.machine,
            seq=self._sequence.next(),
            public_key=self._key.public,
            load=Load(
                cpu=psutil.cpu_percent(None) / 100,
                memory=memory.percent / 100,
                memory_mib=round((memory.total - memory.available) / 2**20, 1),
            ),
            job=self._node.link.job if self._node else None,
            running=self._node is not None,
            training=self._training,
            message=brief(self._lacks() or self._trouble or self._message),
            measured=self._measuring.answer,
        )

    def _lacks(self) -> str:
        """Why the link cannot be followed here, as long as that is so."""
        if self._link is None:
            return ""
        if self._link.dataset.name not in self._settings.datasets:
            return f"offers no dataset {self._link.dataset.name!r} here"
        if self._link.app is not None and (self._stock or not self._settings.allow_apps):
            why = "needs warm workers" if self._stock else f"is not allowed here ({ALLOW_APPS}=1)"
            return f"job {self._link.job} brings code of its own, an app, which {why}"
        return ""

    def _renew_key(self) -> None:
        if self._stale:
            self._key = self._new_key()
            self._stale = False

    def _new_key(self) -> NodeKey:
        return node_key(self._settings.work / "node.key")

    def _say(self, message: str) -> None:
        self._message = message
        self._log.warning("%s", message)
        self._pace.at_once()


def main() -> int:
    """Run the agent of this machine. Exit codes: 0 told to stop by the API, or told nothing for
    the length of its lease; 143 by a signal."""
    settings = Settings.from_env()
    api = Api(settings.api, wanted(TOKEN))
    os.environ.pop(TOKEN)
    os.environ |= {LINK: str(settings.work / "link.json"), **QUIET}
    os.environ |= {WORK: str(settings.work), "FLWR_HOME": str(settings.work / "flwr")}
    logs = settings.work / "logs"
    log = logger("agent", logs / "agent.log")
    family, stop = Family(logs), Stop()
    agent = Agent(settings, family, api)
    agent.report()  # the key travels while this machine warms up
    why = warm_up_client()
    if why:
        log.warning("running Flower's own commands: %s", why)
    try:
        return agent.run(stop, stock=bool(why))
    finally:
        family.stop()
        log.info("stopped")


if __name__ == "__main__":
    sys.exit(main())
