"""What a new machine of a cloud does first: cloud-init starts the container of its role.

The same document boots Amazon Linux, Container-Optimized OS and the images of private clouds that
have Docker and cloud-init. The machine powers off when its container ends, so that one whose
control plane is gone, and whose lease ran out, computes no longer. What it costs then is its
cloud's: EC2 is told to end a machine that is off; until `terminate`, Google goes on billing its
disk, and OpenStack keeps its place. One that is restarted, by whomever, runs its container again.
"""

from __future__ import annotations

import base64
import json
from typing import Final

from fedspan.domain.machines import MachineSpec, Role
from fedspan.errors import InvalidRequest

ENVIRONMENT: Final = "/etc/fedspan/machine.env"
PREPARE: Final = "/etc/fedspan/prepare.sh"
UNIT: Final = "/etc/systemd/system/fedspan.service"
NOTICES: Final = "FEDSPAN_NOTICES"
DATA: Final = "/data"
"""On a participant's machine: mounted read-only at the same place."""

_UNIT: Final = """\
[Unit]
Description=Fedspan {role}
Wants=network-online.target docker.service
After=network-online.target docker.service

[Service]
Type=exec
ExecStartPre=/bin/sh {prepare}
ExecStart=/usr/bin/docker run --rm --name fedspan --network host --env-file {environment} \
{mounts} {image}
ExecStop=/usr/bin/docker stop --time 20 fedspan
ExecStopPost=/usr/bin/systemctl --no-block poweroff

[Install]
WantedBy=multi-user.target
"""


def cloud_config(
    spec: MachineSpec, image: str, most: int, public_address: str = "", prepare: str = ""
) -> str:
    """The ``#cloud-config`` of a machine of `spec`, which runs the container `image`.

    `public_address` is a shell command that prints the machine's public address, as its metadata
    service knows it: where an aggregator is found. A client has none. `prepare` are lines of
    shell that run before the container, each time it is started; where one fails, it is not.

    Raises:
        InvalidRequest: more than `most` bytes, the limit of the cloud.
    """
    mounts = f"--volume {DATA}:{DATA}:ro" if spec.role == "client" else ""
    unit = _UNIT.format(
        role=spec.role.value,
        prepare=PREPARE,
        environment=ENVIRONMENT,
        mounts=mounts,
        image=image,
    )
    document = {
        "write_files": [
            _file(ENVIRONMENT, _environment(spec), "0600"),
            _file(PREPARE, _preparing(prepare, public_address), "0600"),
            _file(UNIT, unit, "0644"),
        ],
        "runcmd": [
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "fedspan.service"],
            ["systemctl", "start", "--no-block", "fedspan.service"],
        ],
    }
    text = "#cloud-config\n" + json.dumps(document)  # JSON is YAML, and needs no quoting of ours
    if len(text.encode()) > most:
        raise InvalidRequest(
            f"machine {spec.key}: its start-up document has {len(text.encode()):,} bytes, of which "
            f"its cloud takes {most:,}; offer fewer datasets"
        )
    return text


def noticed(spec: MachineSpec, by: str) -> MachineSpec:
    """`spec`, whose aggregator asks the metadata service of `by` (``aws`` or ``gcp``) whether it is
    about to be taken back. A participant's machine has nothing to keep."""
    if spec.role is not Role.AGGREGATOR:
        return spec
    return spec.model_copy(update={"environment": {**spec.environment, NOTICES: by}})


def _environment(spec: MachineSpec) -> str:
    wanted = {**spec.environment, "FEDSPAN_PORT": str(spec.port)}
    for name, value in wanted.items():
        if "\n" in value or "\0" in value:
            raise InvalidRequest(f"machine {spec.key}: the value of {name} has a line break")
    return "".join(f"{name}={value}\n" for name, value in wanted.items())


def _preparing(prepare: str, public_address: str) -> str:
    lines = ["set -e", *prepare.splitlines()]
    if public_address:
        lines += [
            f"address=$({public_address})",
            f"sed -i /^FEDSPAN_ADDRESS=/d {ENVIRONMENT}",  # that of before a restart
            f'echo "FEDSPAN_ADDRESS=$address" >> {ENVIRONMENT}',
        ]
    return "".join(f"{line}\n" for line in lines)


def _file(path: str, content: str, permissions: str) -> dict[str, str]:
    coded = base64.b64encode(content.encode()).decode()
    return {"path": path, "permissions": permissions, "encoding": "b64", "content": coded}
