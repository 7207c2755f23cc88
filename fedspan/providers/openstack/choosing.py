"""What machines are made from: the image, the network, and the flavors that are offered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fedspan.domain.machines import Offer
from fedspan.domain.spec import CpuArch
from fedspan.errors import NotOffered
from fedspan.providers.openstack.errors import translated

ARCHES: Final = {"aarch64": CpuArch.ARM, "arm64": CpuArch.ARM}
PAGE: Final = 1_000
"""As many images as Glance shows at once; left to itself it shows 25."""
LEAST_DISK_GB: Final = 10
"""For the container's image and its layers, beside the system."""
GPU_CLASSES: Final = ("resources:VGPU", "resources:PGPU")


def image(sdk: Any, wanted: str | None) -> Any:
    with translated("list images"):
        found = list(sdk.image.images(status="active", limit=PAGE))
    return _chosen("image", found, wanted)


def network(sdk: Any, wanted: str | None) -> Any:
    with translated("list networks"):
        found = list(sdk.network.networks())
    inside = [one for one in found if not one.is_router_external]
    return _chosen("network", found if wanted else inside, wanted)


def flavors(sdk: Any) -> list[Any]:
    with translated("list flavors"):
        found = [one for one in sdk.compute.flavors() if not one.is_disabled]
    return sorted(found, key=lambda one: (one.vcpus, one.ram, one.name))


def offer(flavor: Any, image: Any, provider: str, region: str) -> Offer:
    specs = flavor.extra_specs or {}
    counts = [specs[one] for one in GPU_CLASSES if specs.get(one, "").isdecimal()]
    return Offer(
        provider=provider,
        region=region,
        machine_type=flavor.name,
        vcpus=flavor.vcpus,
        memory_mib=flavor.ram,
        price=0,
        arch=ARCHES.get(str(image.architecture or "").lower(), CpuArch.X86),
        gpus=sum(int(one) for one in counts),
    )


def holds(flavor: Any, image: Any) -> bool:
    return bool(flavor.ram >= (image.min_ram or 0) and flavor.disk >= least_disk(image))


def least_disk(image: Any | None) -> int:
    """GB that a flavor must have; none, if the image has it that machines boot from a volume."""
    if image is None:
        return LEAST_DISK_GB
    if (image.properties or {}).get("block_device_mapping"):
        return 0
    return max(image.min_disk or 0, LEAST_DISK_GB)


def _chosen(what: str, found: Sequence[Any], wanted: str | None) -> Any:
    """The one that was named, by id or name, or the only one there is."""
    matching = [one for one in found if wanted is None or wanted in (one.id, one.name)]
    if len(matching) == 1:
        return matching[0]
    there = ", ".join(sorted({str(one.name) for one in found})) or "none"
    if not matching:
        missing = f"no {what} {wanted}" if wanted else f"no {what}"
        raise NotOffered(f"openstack: {missing}; there are: {there}")
    raise NotOffered(f"openstack: several {what}s fit, name one (`{what}`): {there}")
