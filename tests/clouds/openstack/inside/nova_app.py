"""Nova in one process: API, conductor, scheduler and two computes, which speak through memory."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HOSTS = ("node-1", "node-2")


def nova(state: Path) -> Any:
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")
    import sqlite

    sqlite.queue_writers()
    _configure(state)
    from nova import context
    from nova.api.openstack import wsgi_app
    from nova.objects import host_mapping
    from paste import deploy

    admin = context.get_admin_context()
    _make_tables(admin, state)
    _wait_for_the_others(state)
    _start_services()
    host_mapping.discover_hosts(admin)
    wsgi_app._setup_service("control", "osapi_compute")
    return deploy.loadapp(f"config:{sys.prefix}/etc/nova/api-paste.ini", name="osapi_compute")


def _configure(state: Path) -> None:
    import nova.conf
    import nova.virt
    import os_vif
    from nova import config, objects
    from oslo_log import log
    from oslo_privsep import priv_context

    nova.virt.__path__.append(str(Path(__file__).parent))  # where our virt driver is looked for
    config.parse_args(["nova", "--config-file", f"{state}/nova.conf"])
    log.setup(nova.conf.CONF, "nova")
    objects.register_all()
    objects.Service.enable_min_version_cache()
    priv_context.init(root_helper=["sudo"])
    os_vif.initialize()


def _make_tables(admin: Any, state: Path) -> None:
    import nova.conf
    from nova import context
    from nova.db import migration
    from nova.objects.cell_mapping import CellMapping

    migration.db_sync(database="api")
    cell1 = nova.conf.CONF.database.connection
    for number, name, transport, database in (
        (0, "cell0", "none:///", cell1.replace("nova_cell1", "nova_cell0")),
        (1, "cell1", "fake://", cell1),
    ):
        cell = CellMapping(
            admin,
            uuid=f"00000000-0000-{4000 * number:04}-{8000 * number:04}-{number:012}",
            name=name,
            transport_url=transport,
            database_connection=database,
        )
        cell.create()
        with context.target_cell(admin, cell) as inside:
            migration.db_sync(context=inside)


def _wait_for_the_others(state: Path) -> None:
    """Until the catalogue is complete, and Placement, which it names, answers."""
    while not (state / "catalogue").exists():
        time.sleep(0.1)
    placement = json.loads((state / "plane.json").read_text())["urls"]["placement"]
    while True:
        try:
            urllib.request.urlopen(placement, timeout=30).close()
            return
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.1)


def _start_services() -> None:
    from nova import service
    from nova.compute import rpcapi as compute
    from nova.conductor import rpcapi as conductor
    from nova.scheduler import rpcapi as scheduler

    make = service.Service.create
    services = [
        make(host="control", binary="nova-conductor", topic=conductor.RPC_TOPIC),
        make(host="control", binary="nova-scheduler", topic=scheduler.RPC_TOPIC),
    ]
    services += [
        make(
            host=host,
            binary="nova-compute",
            topic=compute.RPC_TOPIC,
            topic_alt=compute.RPC_TOPIC_ALT,
        )
        for host in HOSTS
    ]
    for one in services:
        one.start()
