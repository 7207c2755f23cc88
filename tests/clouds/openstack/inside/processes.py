"""A virt driver of Nova whose VMs are processes.

A VM boots by ``$FEDSPAN_TEST_BOOT <user_data file> <folder of the VM>`` (words as a shell has
them), in a session of its own; without that variable it is a process that sleeps. It inherits what
else is named ``FEDSPAN_TEST_…``; of all these, ``vm.json`` beside the instances has the last word.
It is SHUTOFF when the process ends, and gone with all its descendants at delete. Server metadata
injects faults: ``test:spawn`` is ``error``, or ``sleep:SECONDS``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import threading
import time
import uuid
from pathlib import Path

import nova.conf
import psutil
from nova import exception
from nova.compute import power_state
from nova.virt import event, fake

MARK = "FEDSPAN_TEST_VM"
"""Every process of a VM has it in its environment; its value is the VM's folder."""
PASSED_ON = ("PATH", "LANG", "TMPDIR")
GRACE_SECONDS = 2.0
ASLEEP = ["sleep", "1000000"]


def marked(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            value = process.environ().get(MARK, "")
            if value and Path(value).is_relative_to(folder):
                found.append(process)
    return found


def kill_all(folder: Path) -> None:
    """End what runs of the VMs in and below `folder`: those that leave a session as well."""
    for process in marked(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


class ProcessDriver(fake.FakeDriver):
    """What is not said here, `FakeDriver` pretends. Small enough to run out of, on purpose."""

    vcpus, memory_mb, local_gb = 16, 65_536, 1_000

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def get_nodenames_by_uuid(self, refresh=False):
        return {_node_id(name): name for name in self.get_available_nodes()}

    def get_available_resource(self, nodename):
        return {**super().get_available_resource(nodename), "uuid": _node_id(nodename)}

    def spawn(self, context, instance, *args, **kwargs) -> None:
        kind, _, seconds = instance.metadata.get("test:spawn", "").partition(":")
        if kind == "error":
            raise exception.InstanceDeployFailure(reason="test:spawn=error")
        if kind == "sleep":
            time.sleep(float(seconds))
        super().spawn(context, instance, *args, **kwargs)
        self._boot(instance)

    def destroy(self, context, instance, *args, **kwargs) -> None:
        self._halt(instance)
        super().destroy(context, instance, *args, **kwargs)
        shutil.rmtree(_folder(instance), ignore_errors=True)

    def power_off(self, instance, timeout=0, retry_interval=0) -> None:
        self._halt(instance)
        super().power_off(instance, timeout, retry_interval)

    def power_on(self, context, instance, network_info, *args, **kwargs) -> None:
        super().power_on(context, instance, network_info)
        self._boot(instance)

    def reboot(self, context, instance, network_info, reboot_type, *args, **kwargs) -> None:
        self._halt(instance)
        super().reboot(context, instance, network_info, reboot_type)
        self._boot(instance)

    def get_info(self, instance, use_cache=True):
        info = super().get_info(instance, use_cache)
        process = self._processes.get(instance.uuid)
        if process is not None and process.poll() is not None:
            self.instances[instance.uuid].state = info.state = power_state.SHUTDOWN
        return info

    def get_console_output(self, context, instance):
        console = _folder(instance) / "console.log"
        return console.read_bytes()[-65_536:] if console.exists() else b""

    def _boot(self, instance) -> None:
        folder = _folder(instance)
        folder.mkdir(parents=True, exist_ok=True)
        user_data = folder / "user_data"
        user_data.write_bytes(base64.b64decode(instance.user_data or ""))
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in PASSED_ON or name.startswith("FEDSPAN_TEST_")
        }
        said = folder.parents[1] / "vm.json"
        environment |= json.loads(said.read_text()) if said.exists() else {}
        environment |= {MARK: str(folder), "HOME": str(folder)}
        boot = shlex.split(environment.get("FEDSPAN_TEST_BOOT", ""))
        with (folder / "console.log").open("ab") as console:
            process = subprocess.Popen(
                [*boot, str(user_data), str(folder)] if boot else ASLEEP,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self._processes[instance.uuid] = process
        threading.Thread(target=self._watch, args=(instance.uuid, process), daemon=True).start()

    def _watch(self, instance_id: str, process: subprocess.Popen[bytes]) -> None:
        """Tell Nova at once when a VM ends by itself, as libvirt does."""
        process.wait()
        if self._processes.get(instance_id) is process:
            self.emit_event(event.LifecycleEvent(instance_id, event.EVENT_LIFECYCLE_STOPPED))

    def _halt(self, instance) -> None:
        process = self._processes.pop(instance.uuid, None)
        if process is None:
            return
        alive = marked(_folder(instance))
        for one in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.terminate()
        psutil.wait_procs(alive, timeout=GRACE_SECONDS)
        kill_all(_folder(instance))
        process.wait()


def _folder(instance) -> Path:
    return Path(nova.conf.CONF.instances_path) / instance.uuid


def _node_id(name: str) -> str:
    """The same after a restart, so that Nova finds its compute node again."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
