"""The start-up document boots what it says: the entry point of its image, with its environment."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedspan.domain.machines import MachineSpec, Offer, Role
from fedspan.errors import InvalidRequest
from fedspan.providers.user_data import cloud_config
from tests.clouds import boot

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
OFFER = Offer(
    provider="aws", region="eu-west-1", machine_type="m", vcpus=1, memory_mib=1024, price=1
)
IPV4 = "curl -s http://169.254.169.254/latest/meta-data/public-ipv4"


def machine(role: Role = Role.CLIENT, **environment: str) -> MachineSpec:
    return MachineSpec(
        key="job-1-client-a",
        role=role,
        epoch=1,
        offer=OFFER,
        environment={"FEDSPAN_TOKEN": "hush", **environment},
        port=8443,
    )


SHOWS = "import json, os; print(json.dumps(dict(os.environ)))"
BOOTS = "vm.cloud_init(Path(sys.argv[1]).read_text())"


def ran(
    folder: Path, user_data: str, program: str = SHOWS, does: str = BOOTS
) -> subprocess.CompletedProcess[bytes]:
    """What came of a machine in `folder` with `program` as its entry point, which `does` so."""
    entry = folder / "repository" / "client_image" / "entrypoint.py"
    entry.parent.mkdir(parents=True)
    entry.write_text(program)
    document = folder / "user_data"
    document.write_text(user_data)
    script = (
        "import sys; from pathlib import Path; from tests.clouds import boot;"
        f"boot.REPOSITORY = Path({str(folder / 'repository')!r});"
        f"vm = boot.Vm(Path(sys.argv[2])); sys.exit({does})"
    )
    return subprocess.run(
        [sys.executable, "-c", script, str(document), str(folder / "vm")],
        capture_output=True,
        env={**os.environ, boot.GUEST: '{"ROLE": "of the machine"}'},
        cwd=Path(boot.__file__).parents[2],
    )


def test_the_container_of_the_role_runs_with_the_environment_it_was_given(tmp_path: Path) -> None:
    text = cloud_config(machine(NAME="a b=c"), "ghcr.io/x/client:1", 16_384, IPV4)
    seen = json.loads(ran(tmp_path, text).stdout)

    assert seen["FEDSPAN_TOKEN"] == "hush"
    assert seen["NAME"] == "a b=c"
    assert seen["FEDSPAN_PORT"] == "8443"
    assert seen["FEDSPAN_ADDRESS"] == "127.0.0.1"
    assert seen["ROLE"] == "of the machine"


def test_what_prepares_the_machine_is_done_before_the_container_starts(tmp_path: Path) -> None:
    text = cloud_config(machine(), "x/client:1", 16_384, IPV4, "iptables -w one\niptables -w two")
    done = ran(tmp_path, text, "print(open('../iptables').read(), end='')")

    assert done.stdout == b"-w one\n-w two\n"


@pytest.mark.parametrize("public_address", ["", IPV4])
def test_nothing_starts_where_the_machine_cannot_be_prepared(
    tmp_path: Path, public_address: str
) -> None:
    text = cloud_config(machine(), "x/client:1", 16_384, public_address, "false")
    done = ran(tmp_path, text)

    assert done.returncode != 0
    assert done.stdout == b""


def test_a_machine_that_restarts_runs_its_container_again(tmp_path: Path) -> None:
    text = cloud_config(machine(), "x/client:1", 16_384, IPV4, "iptables -w one")
    done = ran(tmp_path, text, does=f"{BOOTS} or vm.restart()")
    first, second = done.stdout.splitlines()

    assert json.loads(first) == json.loads(second)
    assert json.loads(second)["FEDSPAN_ADDRESS"] == "127.0.0.1"
    assert (tmp_path / "vm" / "iptables").read_text() == "-w one\n" * 2
    environment = (tmp_path / "vm/root/etc/fedspan/machine.env").read_text()
    assert environment.count("FEDSPAN_ADDRESS=") == 1


def test_secrets_lie_in_files_that_only_root_reads() -> None:
    text = cloud_config(machine(), "ghcr.io/x/client:1", 16_384)
    document = json.loads(text.removeprefix("#cloud-config\n"))
    modes = {file["path"]: file["permissions"] for file in document["write_files"]}

    assert modes["/etc/fedspan/machine.env"] == "0600"
    assert "hush" not in text


@pytest.mark.parametrize(
    ("role", "mounted"), [(Role.AGGREGATOR, False), (Role.CLIENT, True)], ids=str
)
def test_only_a_participants_machine_sees_data(role: Role, mounted: bool) -> None:
    text = cloud_config(machine(role), "image", 16_384)
    document = json.loads(text.removeprefix("#cloud-config\n"))
    [unit] = [one for one in document["write_files"] if one["path"].endswith(".service")]
    assert ("--volume /data:/data:ro" in base64.b64decode(unit["content"]).decode()) is mounted


def test_more_than_a_cloud_takes_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="machine job-1-client-a: its start-up document has"):
        cloud_config(machine(MANY="x" * 20_000), "image", 16_384)


def test_a_line_break_cannot_smuggle_in_another_variable() -> None:
    with pytest.raises(InvalidRequest, match="the value of A has a line break"):
        cloud_config(machine(A="1\nFEDSPAN_API=http://elsewhere"), "image", 16_384)


def test_power_off_leaves_no_process_of_the_machine(tmp_path: Path) -> None:
    vm = tmp_path / "vm"
    child = "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    keep = f"{child}; import time; time.sleep(600)"
    environment = {**os.environ, boot.MARK: str(vm.resolve())}
    process = subprocess.Popen([sys.executable, "-c", keep], env=environment)
    end = time.monotonic() + 20
    while len(list(boot.processes(tmp_path))) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    boot.power_off(vm)
    process.wait()

    assert list(boot.processes(tmp_path)) == []
