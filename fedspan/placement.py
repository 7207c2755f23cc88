"""Where a job's aggregator goes. For now: the cheapest machine that fits."""

from __future__ import annotations

from collections.abc import Iterable

from fedspan.domain.machines import Offer
from fedspan.domain.spec import Need
from fedspan.errors import NoCapacity


def cheapest(offers: Iterable[Offer], need: Need) -> Offer:
    """The cheapest offer that fits. Ties break by name, so a rerun chooses the same.

    Raises:
        NoCapacity: none fits; says what was needed.
    """
    fitting = [offer for offer in offers if offer.fits(need)]
    if not fitting:
        raise NoCapacity(
            f"no offer has {need.vcpus} vCPU and {need.memory_mib} MiB; lower aggregator.need"
        )
    return min(fitting, key=lambda o: (o.price, o.provider, o.region, o.machine_type, o.spot))
