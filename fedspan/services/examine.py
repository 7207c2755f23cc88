"""Whether a job can run, known before anything is created."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedspan.app import App
from fedspan.domain.layers import architecture
from fedspan.domain.parsing import nearest, refused
from fedspan.domain.sites import Dataset, Site, SiteKind
from fedspan.domain.spec import JobSpec, ModelSpec
from fedspan.domain.texts import listed
from fedspan.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Schema:
    """What every participant's dataset agrees on: the shape of an example, and the classes."""

    features: tuple[int, ...]
    classes: tuple[str, ...]


def examine(app: App, spec: JobSpec) -> tuple[Schema, list[Site]]:
    """The data's schema and the participating sites.

    Raises:
        InvalidRequest: an unknown participant, a dataset one lacks, datasets that differ.
        InvalidModel: layers that do not fit the data.
    """
    sites = _participants(app, spec)
    _could_call_back(app, sites)
    schema = _agreed(spec, [(site, _offered(site, spec)) for site in sites])
    if spec.data.positive is not None and spec.data.positive not in schema.classes:
        hint = nearest(spec.data.positive, schema.classes)
        raise InvalidRequest(f"data.positive: no class {spec.data.positive!r}{hint}")
    if spec.model.layers is not None:
        architecture(spec.model.layers, schema.features, len(schema.classes))
    elif not spec.model.sha256:
        raise InvalidRequest(
            f"model.{_kind(spec.model)}: upload it first (`fedspan job submit` does), then name it "
            "by its sha256"
        )
    if spec.model.app is not None:
        _consenting(sites)
    return schema, sites


def out_of_reach(app: App) -> str:
    """Why machines in clouds could not work for this control plane; empty when they could."""
    settings = app.settings
    if settings.reached_from_afar:
        return ""
    return (
        "machines in clouds could not call this control plane, or keep what they make: "
        f"FEDSPAN_API_URL is {settings.api_url}, FEDSPAN_OBJECTS_URL "
        f"{settings.objects_url or 'not set'}; give both a public value"
    )


def _could_call_back(app: App, sites: Sequence[Site]) -> None:
    far = [one.name for one in sites if one.kind is SiteKind.OPENSTACK]
    why = out_of_reach(app)
    if far and why:
        raise InvalidRequest(f"participants: {', '.join(far)}: {why}")


def program_key(sha256: str) -> str:
    """Where an uploaded model file lies."""
    return f"uploads/{sha256}.pt2"


def app_key(sha256: str) -> str:
    """Where the bundle of an uploaded app lies."""
    return f"uploads/{sha256}.fab"


def upload_key(model: ModelSpec) -> str | None:
    """Where what was uploaded for `model` lies; None for a model that is declared."""
    if not model.sha256:
        return None
    return (app_key if model.app is not None else program_key)(model.sha256)


def check_upload(app: App, model: ModelSpec) -> None:
    """Raises `InvalidRequest` when what `model` names by its hash was not uploaded."""
    key = upload_key(model)
    if key is not None and not app.objects.list(key):
        kind = _kind(model)
        raise InvalidRequest(f"model.{kind}: no {kind} with the hash {model.sha256} was uploaded")


def _kind(model: ModelSpec) -> str:
    return "app" if model.app is not None else "file"


def _consenting(sites: Sequence[Site]) -> None:
    """An app is code of whoever submits it: each site says beforehand that it may run there."""
    unwilling = [one.name for one in sites if not one.allow_apps]
    if unwilling:
        raise InvalidRequest(
            f"model.app: {listed(unwilling)}: allows no apps, which bring their own code; whoever "
            "answers for the site may allow them (`fedspan site add SITE ... --allow-apps`)"
        )


def _participants(app: App, spec: JobSpec) -> list[Site]:
    found = app.sites.find_all(spec.participants)
    unknown = [name for name in spec.participants if name not in found]
    if unknown:
        known = app.sites.ids()
        raise refused(
            unknown,
            lambda name: f"participants: no site {name!r} is registered{nearest(name, known)}",
        )
    return [site.value for site in found.values()]


def _offered(site: Site, spec: JobSpec) -> Dataset:
    dataset = site.dataset(spec.data.dataset)
    if dataset is None:
        known = nearest(spec.data.dataset, [one.name for one in site.datasets])
        raise InvalidRequest(
            f"data.dataset: site {site.name} offers no dataset {spec.data.dataset!r}{known}"
        )
    if dataset.target != spec.data.target:
        raise InvalidRequest(
            f"data.target: the dataset {dataset.name!r} of {site.name} has the target "
            f"{dataset.target!r}, not {spec.data.target!r}"
        )
    return dataset


def _agreed(spec: JobSpec, offered: Sequence[tuple[Site, Dataset]]) -> Schema:
    first_site, first = offered[0]
    for site, dataset in offered[1:]:
        if dataset.features != first.features:
            raise InvalidRequest(
                f"data.dataset: an example of {spec.data.dataset!r} has the shape "
                f"{first.features} at {first_site.name} and {dataset.features} at {site.name}"
            )
        if dataset.classes != first.classes:
            raise InvalidRequest(
                f"data.dataset: {spec.data.dataset!r} has the classes "
                f"{', '.join(first.classes)} at {first_site.name} and "
                f"{', '.join(dataset.classes)} at {site.name}"
            )
    return Schema(first.features, first.classes)
