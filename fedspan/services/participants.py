"""What a placement must know of a job's participants, and of what travels to them and back."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Final, TypedDict

from fedspan.app import App
from fedspan.domain.countries import COUNTRIES
from fedspan.domain.layers import architecture
from fedspan.domain.parsing import nearest, parsed, refused
from fedspan.domain.placements import NOWHERE, Participant, PlacementQuestion
from fedspan.domain.sites import Site
from fedspan.domain.spec import JobSpec, ModelSpec
from fedspan.errors import InvalidRequest
from fedspan.services.examine import program_key

if TYPE_CHECKING:
    from fedspan.placement.book import Book

BYTES_PER_PARAMETER: Final = 4
APP_MODEL_BYTES: Final = 10_000_000
"""Only an app that runs knows its model; `placement.model_bytes` says better."""


def sites_named(app: App, names: Sequence[str]) -> dict[str, Site]:
    """By their names, in that order. Raises `InvalidRequest` for those nobody registered."""
    found = app.sites.find_all(names)
    unknown = [name for name in names if name not in found]
    if unknown:
        known = app.sites.ids()
        raise refused(
            unknown,
            lambda name: (
                f"participants: no site {name!r} is registered{nearest(name, known)}; or give its "
                "name, latitude and longitude"
            ),
        )
    return {name: site.value for name, site in found.items()}


def somewhere(site: Site) -> Participant:
    """Raises `InvalidRequest` when the site does not say where it is, or says it wrong."""
    if site.faults:
        again = "register it anew (fedspan site add)"
        raise InvalidRequest(*(f"participants: {one}; {again}" for one in site.faults))
    participant = _participant(site)
    if participant.nowhere:
        raise InvalidRequest(
            f"participants: site {NOWHERE.format(site.name)} (fedspan site add, site measure)"
        )
    return participant


def participants_of(app: App, spec: JobSpec, book: Book) -> list[Participant]:
    """A job's participants, as far as the places they tell are known."""
    sites = sites_named(app, spec.participants).values()
    return [beside(site, book.regions.index) for site in sites]


def beside(site: Site, regions: Container[str]) -> Participant:
    """`site`, where a place is next door to everybody: that it is told wrong does not matter."""
    half = (site.latitude is None) != (site.longitude is None)
    kept = {
        "rtt_ms": {place: ms for place, ms in site.rtt_ms.items() if place in regions},
        "cloud": site.cloud if site.cloud in regions else None,
        "country": site.country if site.country in COUNTRIES else "",
        **({"latitude": None, "longitude": None} if half else {}),
    }
    return _participant(site.model_copy(update=kept))


def _participant(site: Site) -> Participant:
    return parsed(Participant, site.model_dump(include=set(Participant.model_fields)))


class Sizes(TypedDict):
    model_bytes: int
    program_bytes: int


def sizes(app: App, question: PlacementQuestion, sites: Sequence[Site]) -> Sizes:
    """What travels. A program that nobody has uploaded is the file its size was taken from."""
    size, model = _model_bytes(app, question, sites), question.model
    program = size if model is not None and model.file is not None else 0
    return {"model_bytes": size, "program_bytes": (model and _uploaded(app, model)) or program}


def _uploaded(app: App, model: ModelSpec) -> int:
    """Bytes of the program that was uploaded for `model`; 0 without."""
    if model.app is not None or not model.sha256:
        return 0
    return sum(one.bytes for one in app.objects.list(program_key(model.sha256)))


def _model_bytes(app: App, question: PlacementQuestion, sites: Sequence[Site]) -> int:
    """The size of the parameters, or what comes near it."""
    if question.placement.model_bytes is not None:
        return question.placement.model_bytes
    model = question.model
    if model is not None and model.app is not None:
        return APP_MODEL_BYTES
    if model is not None and (uploaded := _uploaded(app, model)):
        return uploaded
    if model is not None and model.layers is not None and question.data is not None:
        data = [site.dataset(question.data.dataset) for site in sites]
        known = next((one for one in data if one is not None), None)
        if known is not None:
            made = architecture(model.layers, known.features, len(known.classes))
            return sum(one.size for one in made.tensors) * BYTES_PER_PARAMETER
    raise InvalidRequest(
        "placement.model_bytes: the size of the model is not known from what was given; say how "
        "many bytes its parameters are"
    )
