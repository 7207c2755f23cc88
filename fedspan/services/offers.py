"""What providers would launch as a job's aggregator just now."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from fedspan.app import App
from fedspan.domain.machines import Offer, Role
from fedspan.domain.placements import Candidate
from fedspan.domain.sites import Site, SiteKind
from fedspan.domain.spec import JobSpec, Need, Purchase
from fedspan.providers.base import Provider
from fedspan.services.asking import at_once
from fedspan.services.examine import out_of_reach
from fedspan.services.participants import sites_named

log = structlog.get_logger()
ANY: Final = Need(vcpus=1, memory_mib=1)


def available(app: App, spec: JobSpec) -> list[Offer]:
    """What fits; if nothing does, what there is, so that it can be told what it lacks. A cloud that
    does not answer offers nothing, unless it is the only one.

    Raises:
        ProviderError: none answers.
    """
    sites = list(sites_named(app, spec.participants).values())
    providers = [one for one in app.providers.values() if _could_aggregate(app, one, sites)]
    fitting = _asked(providers, spec.aggregator.need)
    return fitting or _asked(providers, ANY)


def _asked(providers: Sequence[Provider], need: Need) -> list[Offer]:
    found: list[Offer] = []
    silent: list[Exception] = []
    asks = {one.name: partial(one.offers, need) for one in providers}
    for name, said in at_once(asks).items():
        if isinstance(said, Exception):
            log.warning("CloudSilent", provider=name, error=f"{type(said).__name__}: {said}")
            silent.append(said)
        else:
            found += said
    if silent and len(silent) == len(providers):
        raise silent[0]
    return found


def _could_aggregate(app: App, provider: Provider, sites: Sequence[Site]) -> bool:
    able = provider.capabilities
    if Role.AGGREGATOR not in able.roles:
        return False
    return _all_near(app, sites) if able.here else app.settings.reached_from_afar


def _all_near(app: App, sites: Sequence[Site]) -> bool:
    """Whether all participants reach an aggregator on this computer, which has no public address.
    On test clouds they do; an agent that calls the API on loopback is here too."""
    near = {SiteKind.LOCAL} if app.settings.reached_from_afar else {SiteKind.LOCAL, SiteKind.AGENT}
    return app.settings.allow_loopback or all(one.kind in near for one in sites)


def passed_over(app: App) -> str:
    """A remark on the clouds that were not asked, where there are any."""
    roles = [one.capabilities for one in app.providers.values()]
    far = any(Role.AGGREGATOR in able.roles and not able.here for able in roles)
    why = out_of_reach(app) if far else ""
    return f". Clouds were passed over: {why}" if why else ""


def offer_of(candidate: Candidate) -> Offer:
    """What a provider is asked to launch for `candidate`."""
    return Offer(
        provider=candidate.provider,
        region=candidate.region,
        machine_type=candidate.machine_type,
        vcpus=candidate.vcpus,
        memory_mib=candidate.memory_mib,
        price=round(candidate.price_usd_hour * 1_000_000),
        spot=candidate.purchase is Purchase.SPOT,
        arch=candidate.arch,
        gpu=candidate.gpu,
        gpus=candidate.gpus,
        network_tier=candidate.network_tier,
    )
