"""The real programs on real Flower: what they do when all goes well, and when parts die."""

from __future__ import annotations

import contextlib
import signal
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.fleet_pb2 import PullMessagesRequest, RegisterNodeFleetRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import AcquireTaskRequest

from fedspan.domain.reports import AggregatorReport, Notice, Phase
from fedspan.domain.spec import Limits
from fedspan.flower.certificates import node_key
from fedspan.flower.files import WorkFolder
from tests.chaos.relay import Halfway
from tests.flower.api import TOKEN, Api
from tests.flower.machines import JOB, NAMES, World, below, eventually, kill, named


def word(world: World) -> AggregatorReport:
    assert world.api.aggregator is not None
    return world.api.aggregator


def phase(world: World) -> Phase | None:
    return world.api.aggregator.phase if world.api.aggregator else None


def test_a_job_ends_done_and_every_round_arrives_though_the_api_was_away(tmp_path: Path) -> None:
    with World(tmp_path, sites=NAMES[:2], rounds=3) as world:
        world.api.until(lambda: phase(world) is Phase.TRAINING)
        world.api.away = True
        status = world.work("aggregator") / "status.json"
        eventually(lambda: '"phase":"done"' in status.read_text())
        world.api.away = False
        world.api.until(lambda: phase(world) is Phase.DONE and len(world.api.rounds) == 3)
        last = word(world)
        argv = [arg for one in below(world.aggregator) for arg in one.cmdline()]
        codes = world.stop()

    logs = {path.name for path in (tmp_path / "objects/jobs" / JOB / "logs").iterdir()}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert codes == {"aggregator": 0, NAMES[0]: 0, NAMES[1]: 0}
    assert last.linked == tuple(sorted(NAMES[:2])) and last.fault is None
    assert {f"aggregator-1-{name}.log" for name in ("supervisor", "superlink", "serverapp")} <= logs
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert not [arg for arg in argv if TOKEN in arg]
    assert (tmp_path / NAMES[0] / "node.key").stat().st_mode & 0o077 == 0


def test_a_stranger_at_the_front_of_a_real_superlink_gets_nowhere(tmp_path: Path) -> None:
    with World(tmp_path, sites=(), rounds=1) as world:
        world.api.until(lambda: phase(world) is Phase.READY)
        answers = {path: _asked(world, path, body) for path, body in _calls(tmp_path).items()}

    assert answers == {
        "/v1/control/list-runs": 404,
        "/v1/control/start-run": 404,
        "/v1/control/register-node": 404,
        "/v1/runtime/acquire-task": 404,
        "/v1/runtime/pull-task-input": 404,
        "/v1/fleet/register-node": 401,
        "/v1/fleet/pull-messages": 401,
    }


def _calls(folder: Path) -> dict[str, bytes]:
    key = node_key(folder / "stranger.key").public.encode()
    fab = Fab(hash_str="0" * 64, content=b"x")
    return {
        "/v1/control/list-runs": ListRunsRequest().SerializeToString(),
        "/v1/control/start-run": StartRunRequest(fab=fab).SerializeToString(),
        "/v1/control/register-node": b"",
        "/v1/runtime/acquire-task": AcquireTaskRequest().SerializeToString(),
        "/v1/runtime/pull-task-input": b"",
        "/v1/fleet/register-node": RegisterNodeFleetRequest(public_key=key).SerializeToString(),
        "/v1/fleet/pull-messages": PullMessagesRequest(node=Node(node_id=1)).SerializeToString(),
    }


def _asked(world: World, path: str, body: bytes) -> int:
    said = word(world)
    trusted = ssl.create_default_context(cadata=said.certificate)
    headers = {"content-type": "application/protobuf"}
    url = f"https://{said.address}{path}"
    return httpx.post(url, content=body, headers=headers, verify=trusted).status_code


def test_a_serverapp_that_is_killed_is_a_fault_and_a_supernode_starts_again(tmp_path: Path) -> None:
    with World(tmp_path, rounds=400) as world:
        agent, site = world.agents[NAMES[0]], NAMES[0]
        world.api.until(lambda: len(world.api.rounds) >= 1)
        kill(named(world.aggregator, "serverapp"))
        world.api.until(lambda: phase(world) is Phase.FAILED)
        fault = word(world).fault

        first, key = named(agent, "flower-supernode"), world.api.sites[site].public_key
        kill(first)
        world.api.until(lambda: world.api.sites[site].public_key != key)
        world.api.until(lambda: world.api.sites[site].running)
        second = named(agent, "flower-supernode")
        said = world.api.sites[site].message

    assert fault is not None and fault.code == "AggregatorLost"
    assert "serverapp was killed by SIGKILL" in fault.message
    assert second.pid != first.pid
    assert "flower-supernode was killed by SIGKILL" in said


def test_a_supernode_that_dies_while_it_sends_its_reply_is_asked_again(tmp_path: Path) -> None:
    """Flower would wait for the rest for three minutes, longer than this round may take."""
    wide = ({"linear": 1000}, {"relu": {}}, {"linear": 1000}, {"linear": 2})

    def patient(api: Api) -> None:
        api.spec = api.spec.model_copy(update={"limits": Limits(round=120)})

    with World(tmp_path, rounds=1, layers=wide, relayed=True, prepare=patient) as world:
        world.api.until(lambda: bool(world.api.aggregator and word(world).address))
        port = str(word(world).address).rpartition(":")[2]
        with Halfway(int(port), most=1_000_000) as relay:
            world.api.via = relay.address
            eventually(relay.halfway.is_set)
            kill(named(world.agents[NAMES[0]], "flower-supernode"))
            world.api.until(lambda: phase(world) in (Phase.DONE, Phase.FAILED))
            fault = word(world).fault

    assert fault is None
    assert world.api.rounds[1].participants[NAMES[0]].examples == 96


def test_a_superlink_that_dies_is_a_lost_aggregator(tmp_path: Path) -> None:
    with World(tmp_path, sites=(), rounds=1) as world:
        world.api.until(lambda: phase(world) is Phase.READY)
        kill(named(world.aggregator, "flower-superlink"))
        world.api.until(lambda: phase(world) is Phase.FAILED)
        fault = word(world).fault

    assert fault is not None and fault.code == "AggregatorLost"


def test_nothing_outlives_a_supervisor_or_an_agent_that_is_killed(tmp_path: Path) -> None:
    with World(tmp_path, rounds=400) as world:
        world.api.until(lambda: phase(world) is Phase.TRAINING)
        programs = (world.aggregator, *world.agents.values())
        started = [one for program in programs for one in below(program)]
        for program in programs:
            kill(program)
        _, left = psutil.wait_procs(started, timeout=60)

    assert len(started) >= 6
    assert left == []


def test_a_machine_that_is_told_to_terminate_takes_its_processes_with_it(tmp_path: Path) -> None:
    with World(tmp_path, sites=(), rounds=1) as world:
        world.api.until(lambda: phase(world) is Phase.READY)
        started = below(world.aggregator)
        world.aggregator.send_signal(signal.SIGTERM)
        code = world.aggregator.wait(20)
        with contextlib.suppress(psutil.NoSuchProcess):
            _, left = psutil.wait_procs(started, timeout=60)

    assert code == 143 and left == []


def test_a_stale_incarnation_stops_by_itself(tmp_path: Path) -> None:
    with World(tmp_path, sites=(), rounds=1) as world:
        world.api.until(lambda: phase(world) is Phase.READY)
        world.api.epoch = 2
        code = world.aggregator.wait(20)

    assert code == 0


def test_machines_whose_control_plane_is_gone_end_themselves(tmp_path: Path) -> None:
    with World(tmp_path, rounds=400) as world:
        world.api.lease_seconds = 3.0
        world.api.until(lambda: len(world.api.rounds) >= 1)
        programs = (world.aggregator, *world.agents.values())
        started = [one for program in programs for one in below(program)]
        world.api.away = True
        codes = [program.wait(20) for program in programs]
        _, left = psutil.wait_procs(started, timeout=60)

    logs = [tmp_path / "aggregator/logs/supervisor.log", tmp_path / NAMES[0] / "logs/agent.log"]
    assert codes == [0, 0] and left == []
    assert all("told this machine nothing for 3 s" in log.read_text() for log in logs)


def test_an_aggregator_that_is_noticed_keeps_its_round_says_so_and_leaves(tmp_path: Path) -> None:
    with World(tmp_path, sites=NAMES[:2], rounds=400) as world:
        world.api.until(lambda: len(world.api.rounds) >= 1)
        started = below(world.aggregator)
        notice = Notice(expires=datetime.fromtimestamp(time.time() + 60, UTC), source="test")
        WorkFolder(world.work("aggregator")).write_notice(notice)
        world.api.until(lambda: word(world).notice is not None)
        world.api.epoch = 2  # the replacement is launched: no word of this one counts any more
        code = world.aggregator.wait(40)
        _, left = psutil.wait_procs(started, timeout=60)

    status = WorkFolder(world.work("aggregator")).status()
    assert (code, left) == (0, [])
    assert word(world).notice == notice
    assert status is not None and (status.phase, status.fault) == (Phase.LEAVING, None)


def test_an_aggregator_that_is_noticed_with_nothing_under_way_leaves(tmp_path: Path) -> None:
    with World(tmp_path, sites=(), rounds=1) as world:
        world.api.until(lambda: phase(world) is Phase.READY)
        notice = Notice(expires=datetime.fromtimestamp(time.time() + 60, UTC), source="test")
        WorkFolder(world.work("aggregator")).write_notice(notice)
        code = world.aggregator.wait(40)

    assert (code, phase(world), word(world).notice) == (0, Phase.LEAVING, notice)
