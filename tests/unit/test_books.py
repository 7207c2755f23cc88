"""Which book an installation places by, and how it gets a newer one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

import pytest

from fedspan.domain.quotes import Interface, Quote, Reading, Wanted
from fedspan.errors import Conflict, Corrupt, Denied, FedspanError, InvalidRequest, ProviderError
from fedspan.placement.book_file import write
from fedspan.placement.contents import chosen, listed
from fedspan.prices.gcp import GcpCatalog
from fedspan.services import books
from fedspan.services.refresh_book import refresh
from tests.support.world import world


@dataclass
class Says:
    """A source that quotes what it is told, or raises it."""

    provider: str
    quotes: Sequence[Quote] | FedspanError = ()
    notes: tuple[str, ...] = ()
    asked: list[Wanted] = field(default_factory=list)

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        return (Interface(f"{self.provider}-api", self.provider, "https://here", "published"),)

    def read(self, wanted, now, told) -> Reading:
        self.asked.append(wanted)
        told(wanted.regions[0], 0.5)
        if isinstance(self.quotes, FedspanError):
            raise self.quotes
        return Reading(tuple(self.quotes), self.notes)


def ireland(price="0.11", machine="m5.large", **more) -> Quote:
    return Quote("eu-west-1", machine, False, Decimal(price), "aws-api", **more)


def holland(price="0.12") -> Quote:
    return Quote("westeurope", "Standard_D2s_v5", False, Decimal(price), "azure-api")


@pytest.fixture
def app(tmp_path):
    return world(tmp_path).app


def price_of(book, region="eu-west-1", machine="m5.large") -> int:
    rows = listed(book, chosen(book, region=region, machine=machine), date.min)
    return next(one.price for one in rows if not one.spot)


def refreshed(app, *quotes, **more):
    return refresh(app, {"aws": Says("aws", quotes or (ireland(),))}, **more)


def test_without_a_refreshed_book_the_shipped_one_counts(app):
    assert books.current(app) is books.shipped()
    assert not books.held(app.objects).refreshed


def test_a_refresh_is_placed_by_and_keeps_the_old_book(app):
    done = refreshed(app)

    assert price_of(books.current(app)) == 110_000
    assert books.current(app).sha256 == done.new.sha256
    assert done.kept_at == books.key_of(books.shipped())
    assert books.find(app.objects, done.old.sha256[:8]).sha256 == books.shipped().sha256
    assert done.tallies["aws"].changed == 1


def test_every_book_that_was_replaced_is_kept(app):
    made = [refreshed(app, ireland(price)).new for price in ("0.11", "0.12", "0.13")]
    kept = {books.key_of(book) for book in (books.shipped(), *made[:-1])}

    assert {f"{books.FOLDER}{name}.json" for name in books.kept(app.objects)} == kept
    assert price_of(books.current(app)) == 130_000


def test_a_book_is_read_once_and_a_newer_one_is_seen(app):
    refreshed(app)
    first = books.current(app)
    again = books.current(app)
    refreshed(app, ireland("0.12"))

    assert first is again
    assert price_of(books.current(app)) == 120_000


def test_a_refresh_that_changes_nothing_writes_nothing(app):
    refreshed(app)
    done = refreshed(app)

    assert done.kept_at == ""
    assert len(books.kept(app.objects)) == 1


def test_a_dry_run_says_what_would_change_and_writes_nothing(app):
    done = refreshed(app, dry_run=True)

    assert price_of(done.new) == 110_000
    assert done.differences[0].changed == 1
    assert done.kept_at == ""
    assert list(app.objects.list("")) == []


def test_absurd_prices_are_named_and_nothing_changes(app):
    with pytest.raises(InvalidRequest) as raised:
        refreshed(app, ireland("9.9"), ireland("0", "c7g.large"), ireland("0.04", "t4g.medium"))

    [first, second, advice] = raised.value.problems
    assert first == "aws:eu-west-1 m5.large on demand: $9.9 an hour, but it was $0.107"
    assert second.startswith("aws:eu-west-1 c7g.large on demand: $0 an hour")
    assert "--force" in advice
    assert list(app.objects.list("")) == []


def test_many_absurd_prices_are_counted(app):
    machines = {name for name in books.shipped().machines.name if name[0] in "cmrt" and "." in name}
    with pytest.raises(InvalidRequest) as raised:
        refreshed(app, *(ireland("0", name) for name in machines))

    assert len(raised.value.problems) == 22
    assert raised.value.problems[20] == f"and {len(machines) - 20} more"


def test_force_takes_the_plausible_and_leaves_the_rest(app):
    done = refreshed(
        app, ireland("9.9"), ireland("0", "c7g.large"), ireland("0.04", "t4g.medium"), force=True
    )

    assert price_of(books.current(app)) == 9_900_000
    assert price_of(books.current(app), machine="c7g.large") == price_of(
        books.shipped(), machine="c7g.large"
    )
    assert price_of(books.current(app), machine="t4g.medium") == 40_000
    assert [one.offer.machine for one in done.left_out] == ["c7g.large"]


def test_a_source_that_fails_is_named_and_the_others_count(app):
    sources = {
        "aws": Says("aws", ProviderError("aws: status 500")),
        "gcp": Says("gcp", Denied("gcp: no key")),
        "azure": Says("azure", [holland()], notes=("azure: uksouth failed",)),
    }
    done = refresh(app, sources)

    assert done.failed == {"aws": "aws: status 500", "gcp": "gcp: no key"}
    assert done.notes == ("azure: uksouth failed",)
    assert price_of(books.current(app), "westeurope", "Standard_D2s_v5") == 120_000
    assert price_of(books.current(app)) == price_of(books.shipped())


def test_an_answer_nobody_understands_ends_only_its_provider(app):
    odd = GcpCatalog(OnePage({"skus": [{"serviceRegions": None, **CORE_OF_N2}]}), "key")
    done = refresh(app, {"gcp": odd, "azure": Says("azure", [holland()])})

    assert done.failed == {"gcp": "gcp: the regions of SKU 1-2 are not of the known form"}
    assert price_of(books.current(app), "westeurope", "Standard_D2s_v5") == 120_000


CORE_OF_N2 = {
    "skuId": "1-2",
    "description": "N2 Instance Core running in Americas",
    "category": {"usageType": "OnDemand"},
    "pricingInfo": [
        {
            "pricingExpression": {
                "usageUnit": "h",
                "tieredRates": [{"unitPrice": {"currencyCode": "USD", "units": "1"}}],
            }
        }
    ],
}


@dataclass
class OnePage:
    """As `Web`."""

    page: object

    def document(self, *_):
        return self.page


def test_when_all_sources_fail_nothing_is_refreshed(app):
    sources = {"aws": Says("aws", ProviderError("aws: status 500")), "azure": Says("azure")}
    with pytest.raises(ProviderError, match=r"nothing could be refreshed; aws: status 500; azure:"):
        refresh(app, sources)

    assert list(app.objects.list("")) == []


def test_only_what_is_asked_for_is_read(app):
    sources = {name: Says(name, [holland()]) for name in ("aws", "azure")}
    refresh(app, sources, regions=["westeurope", "azure:uksouth"])

    assert sources["aws"].asked == []
    assert sources["azure"].asked[0].regions == ("uksouth", "westeurope")
    assert "Standard_D2s_v5" in {one.name for one in sources["azure"].asked[0].machines}


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"providers": ["aw"]}, "provider: 'aw' publishes no prices; did you mean 'aws'?"),
        ({"regions": ["eu-west1"]}, "region: 'eu-west1' is no region of aws, azure; did you mean"),
        (
            {"providers": ["aws"], "regions": ["westeurope"]},
            "region: 'westeurope' is no region of aws",
        ),
        ({"regions": ["aws:eu-west-11"]}, "did you mean 'aws:eu-west-1'?"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(app, asked, said):
    sources = {name: Says(name, [ireland()]) for name in ("aws", "azure")}
    with pytest.raises(InvalidRequest) as raised:
        refresh(app, sources, **asked)

    assert said in str(raised.value)
    assert sources["aws"].asked == []


def test_progress_is_told(app):
    seen = []
    refreshed(app, told=lambda *what: seen.append(what))

    assert seen == [("aws", seen[0][1], 0.5)]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"format":"fedspan-book","version":99}', b"\xff"]
)
def test_a_damaged_book_is_told_and_not_passed_over(app, content):
    app.objects.put(books.KEPT, content)

    with pytest.raises(Corrupt, match=r"books/book.json: .*fedspan book refresh"):
        books.current(app)


def test_a_truncated_book_is_told(app):
    app.objects.put(books.KEPT, write(books.shipped())[:-2000])

    with pytest.raises(Corrupt, match="fedspan book refresh"):
        books.current(app)


def test_a_damaged_book_is_replaced_by_a_refresh_and_kept_aside(app):
    app.objects.put(books.KEPT, b"{}")
    done = refreshed(app)

    assert price_of(books.current(app)) == 110_000
    assert "builds on the shipped one" in done.notes[-1]
    assert app.objects.get(done.kept_at) == b"{}"
    assert books.kept(app.objects) == []


class RefreshedMeanwhile:
    """Objects where somebody else puts a book, once the old one is kept."""

    def __init__(self, objects) -> None:
        self._objects = objects

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def put(self, key, source, *, new=False):
        self._objects.put(key, source, new=new)
        if key != books.KEPT:
            self._objects.put(books.KEPT, write(books.shipped()))


def test_what_somebody_else_refreshed_meanwhile_is_not_overwritten(app):
    with pytest.raises(Conflict, match="refresh again"):
        refreshed(replace(app, objects=RefreshedMeanwhile(app.objects)))

    assert books.current(app).sha256 == books.shipped().sha256


def test_books_are_found_by_date_and_by_hash(app):
    refreshed(app)
    new, old = books.current(app), books.shipped()

    assert books.find(app.objects, "shipped") is old
    assert books.find(app.objects, "current") is new
    assert books.find(app.objects, new.sha256[:6]) is new
    assert books.find(app.objects, new.id) is new


@pytest.mark.parametrize("word", ["2025-01-01", "zzz", ""])
def test_a_book_nobody_has_is_told(app, word):
    with pytest.raises(InvalidRequest, match=f"no book '{word}'"):
        books.find(app.objects, word)


def test_a_name_of_several_books_is_told(app):
    refreshed(app)
    refreshed(app, ireland("0.12"))

    with pytest.raises(InvalidRequest, match=r"books are called '2026'"):
        books.find(app.objects, "2026")
