"""The provider of machines on EC2."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from botocore.exceptions import ClientError

from fedspan.domain.credentials import AwsSecret
from fedspan.domain.machines import Machine, MachineSpec, MachineState, Offer, Role
from fedspan.domain.spec import Need
from fedspan.errors import CloudUnavailable, ProviderError
from fedspan.providers.aws import marks, zones
from fedspan.providers.aws.belongings import Belongings
from fedspan.providers.aws.clients import Clients
from fedspan.providers.aws.errors import of_zone, removing, translated
from fedspan.providers.aws.launching import PUBLIC_ADDRESS, image_of, request, token
from fedspan.providers.base import Capabilities, Surroundings
from fedspan.providers.user_data import cloud_config, noticed

STATES: Final[Mapping[str, MachineState]] = {
    "pending": MachineState.PENDING,
    "running": MachineState.RUNNING,
    "shutting-down": MachineState.STOPPED,
    "stopping": MachineState.STOPPED,
    "stopped": MachineState.STOPPED,
}
"""EC2 shows an instance as `terminated`, the one that is not here, for an hour after its end."""

REMEMBERED: Final = timedelta(hours=1)
"""So long the regions of the account, which only a person changes."""

YOUNG: Final = timedelta(minutes=5)
"""So long a group without an instance may be one of a launch whose instance is not shown yet."""

MOST_AT_ONCE: Final = 12
"""Regions asked at the same time."""

MOST_ENDED: Final = 3

_CAPABILITIES: Final = Capabilities(
    spot=True, user_data_bytes=16_384, roles=frozenset({Role.AGGREGATOR})
)


class AwsProvider:
    """Machines of one account, in the default VPC of a region. Without a `secret` it acts as the
    role of the process. `instance_profile` names the one that machines get, if any: what lets an
    aggregator write to S3. Threads may share it; close it at the end."""

    def __init__(
        self,
        name: str,
        secret: AwsSecret | None,
        around: Surroundings,
        instance_profile: str = "",
    ) -> None:
        self._name = name
        self._chosen = secret.regions if secret else ()
        self._around = around
        self._profile = instance_profile
        self._clients = Clients(secret, around.endpoint)
        self._lock = threading.Lock()
        self._enabled: tuple[datetime, tuple[str, ...]] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    def close(self) -> None:
        self._clients.close()

    def offers(self, need: Need) -> Sequence[Offer]:
        from fedspan.placement.offers import offers_in  # NumPy loads where places are scored

        return offers_in(self._around.book(), self._name, self._regions(), need)

    def launch(self, job: str, spec: MachineSpec) -> Machine:
        """Look it up, then group, key pair, instance: each is found again by a repeat."""
        region, container = spec.offer.region, self._around.images[spec.role]
        most = _CAPABILITIES.user_data_bytes
        document = cloud_config(noticed(spec, "aws"), container, most, PUBLIC_ADDRESS)
        image = image_of(spec.offer)
        with translated(f"launch {spec.key} in {region}"):
            ec2 = self._clients.of("ec2", region)
            found = self._instances(ec2, key=spec.key)
            alive = [one for one in found if _is_there(one)]
            if alive:
                return self._machine(region, alive[0])
            asked = partial(
                request,
                spec,
                image,
                marks.marks(self._around.owner, job, spec),
                user_data=document,
                instance_profile=self._profile,
            )
            made = self._made(ec2, job, spec, asked, [one["InstanceId"] for one in found])
        return self._machine(region, made)

    def machines(self, job: str | None = None) -> Sequence[Machine]:
        """Of every region the credential may use. One that cannot be asked fails the whole: a list
        without it would say that its machines are gone, which ends jobs and leaves machines.

        Raises:
            CloudUnavailable, Throttled, Denied, CredentialRejected, ProviderError: names every
                region that did not answer; one that may be tried again only where all may.
        """
        regions = self._regions()
        with ThreadPoolExecutor(max_workers=MOST_AT_ONCE) as pool:
            asked = [(region, pool.submit(self._listed, region, job)) for region in regions]
        found: list[Machine] = []
        failed: list[tuple[str, ProviderError]] = []
        for region, answer in asked:
            try:
                found += answer.result()
            except ProviderError as exc:
                failed.append((region, exc))
        if failed:
            raise _together(failed, found)
        return found

    def terminate(self, machine: Machine) -> None:
        """First the instance; once EC2 shows it as ended, the rest. Only what EC2 shows: where the
        policy asks for its tag, a call on what is not there is denied."""
        with translated(f"terminate {machine.id} in {machine.offer.region}"):
            ec2 = self._clients.of("ec2", machine.offer.region)
            alive = self._alive(ec2, machine)
            if not alive:
                Belongings(ec2, self._around).remove(machine.key)
            # A leftover group stands for the instance that is shown by now.
            meant = {machine.id} if machine.id.startswith("i-") else {*alive}
            meant &= {*alive}
            if meant:
                with removing(
                    lambda: meant & {*self._alive(ec2, machine)}, "InvalidInstanceID.NotFound"
                ):
                    ec2.terminate_instances(InstanceIds=sorted(meant))

    def _regions(self) -> tuple[str, ...]:
        """Those the credential names, else all that are enabled."""
        if self._chosen:
            return self._chosen
        with self._lock:
            now = self._around.now()
            if self._enabled is None or now - self._enabled[0] >= REMEMBERED:
                with translated("list regions"):
                    answer = self._clients.of("ec2").describe_regions()
                    names = tuple(sorted(one["RegionName"] for one in answer["Regions"]))
                self._enabled = now, names
            return self._enabled[1]

    def _listed(self, region: str, job: str | None) -> list[Machine]:
        with translated(f"list machines in {region}"):
            ec2 = self._clients.of("ec2", region)
            # Groups first: the instance of one that is made in between is then seen.
            groups = Belongings(ec2, self._around).groups(job=job)
            instances = self._instances(ec2, job=job)
        shown = [self._machine(region, one) for one in instances if _is_there(one)]
        held = {one.key for one in shown}
        ended = {marks.read(one).get(marks.KEY): one for one in instances}
        for group in groups:
            key = marks.read(group).get(marks.KEY)
            if key not in held:
                shown.append(self._leftover(region, group, ended.get(key)))
        return shown

    def _machine(self, region: str, instance: Mapping[str, Any]) -> Machine:
        return marks.machine(
            self._name,
            region,
            instance["InstanceId"],
            marks.read(instance),
            STATES[instance["State"]["Name"]],
            instance["LaunchTime"],
            _zone(instance),
        )

    def _leftover(
        self, region: str, group: Mapping[str, Any], ended: Mapping[str, Any] | None
    ) -> Machine:
        """Of a machine that is gone, or is not shown yet, or never was, there is the group. It is
        its instance as long as EC2 shows that."""
        shown = ended or {"InstanceId": group["GroupId"], "LaunchTime": None}
        left = marks.machine(
            self._name,
            region,
            shown["InstanceId"],
            marks.read(group),
            MachineState.STOPPED,
            shown["LaunchTime"],
            _zone(shown),
        )
        if ended is None and self._around.now() - left.launched < YOUNG:
            return left.model_copy(update={"state": MachineState.PENDING})
        return left

    def _instances(self, ec2: Any, **which: str | None) -> list[dict[str, Any]]:
        """Ours, the oldest first, with those that ended within the hour."""
        pages = ec2.get_paginator("describe_instances").paginate(
            Filters=marks.filters(self._around.owner, **which)
        )
        found = [
            one for page in pages for kept in page["Reservations"] for one in kept["Instances"]
        ]
        return sorted(found, key=lambda one: (one["LaunchTime"], one["InstanceId"]))

    def _alive(self, ec2: Any, machine: Machine) -> list[str]:
        found = self._instances(ec2, key=machine.key)
        return [one["InstanceId"] for one in found if _is_there(one)]

    def _made(
        self,
        ec2: Any,
        job: str,
        spec: MachineSpec,
        asked: Callable[..., dict[str, Any]],
        ended: list[str],
    ) -> dict[str, Any]:
        """The instance, in the first zone that has one. A key has one group at a time, which tells
        the zone: where there is one, an earlier launch may have made the instance there unheard, so
        that this zone is asked first. Only one that refused loses its group, which EC2 does not
        delete from under an instance, and only then the next is made, by the same name."""
        belongings, begun = Belongings(ec2, self._around), self._around.now()
        groups = belongings.groups(key=spec.key)[:1]
        left = [marks.read(one).get(marks.ZONE, "") for one in groups]  # without one, EC2 chooses
        if left != [""]:
            left += [one for one in zones.in_order(ec2, job, spec) if one not in left]
        left = left or [""]
        refused: dict[str, ClientError] = {}
        while left and (not refused or self._around.now() - begun < zones.LONGEST):
            zone = left.pop(0)
            group = belongings.firewall(job, spec, zone, groups)
            wanted = asked(zone=zone, group=group, key_pair=belongings.key_pair(job, spec))
            try:
                return self._run(ec2, spec.key, zone, wanted, ended)
            except ClientError as exc:
                if not zone or of_zone(exc) is None:
                    raise
                refused[zone] = exc
            belongings.remove(spec.key)
            groups = []
        raise zones.none_left(spec, refused, left)

    def _run(
        self, ec2: Any, key: str, zone: str, wanted: Mapping[str, Any], ended: list[str]
    ) -> dict[str, Any]:
        """The instance of `key`. `ended` are those it had; EC2 may know of one more, for it
        forgets a token later than it stops showing the instance."""
        ended = list(ended)
        for _ in range(MOST_ENDED):
            sign = token(self._around.owner, key, ended, zone)
            made: dict[str, Any] = ec2.run_instances(**wanted, ClientToken=sign)["Instances"][0]
            if _is_there(made):
                return made
            ended.append(made["InstanceId"])
        raise CloudUnavailable(
            f"aws launch {key}: EC2 answers with instances that ended; try again"
        )


def _is_there(instance: Mapping[str, Any]) -> bool:
    return instance["State"]["Name"] in STATES


def _zone(instance: Mapping[str, Any]) -> str:
    return str(instance.get("Placement", {}).get("AvailabilityZone", ""))


def _together(
    failed: Sequence[tuple[str, ProviderError]], found: Sequence[Machine]
) -> ProviderError:
    """One error of many regions; retryable only where all are."""
    worst = next((exc for _, exc in failed if not exc.retryable), failed[0][1])
    names = ", ".join(region for region, _ in failed)
    raised = type(worst)(f"{len(failed)} of the regions did not answer ({names}): {worst}")
    raised.__cause__ = worst
    raised.found = tuple(found)
    return raised
