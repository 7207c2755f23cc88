"""``fedspan place``: the command, and what a person reads."""

from __future__ import annotations

import io
import json
import re
from datetime import date
from xml.etree import ElementTree

import pytest
from rich.console import Console

from fedspan.cli import render_place
from fedspan.cli.render_place import GAP, Column, split
from fedspan.cli.session import Session
from fedspan.domain.placements import Cost, Demand, PlacementAnswer, Slowest
from fedspan.wiring import now
from tests.cli.conftest import serving
from tests.cli.test_main import imported_by
from tests.support.places import a_candidate, an_answer, many
from tests.support.world import with_sites

SITES = [
    {"name": "seoul", "latitude": 37.57, "longitude": 126.98, "country": "KR"},
    {"name": "frankfurt", "latitude": 50.11, "longitude": 8.68, "country": "DE"},
    {"name": "paris", "latitude": 48.86, "longitude": 2.35, "country": "FR"},
]


@pytest.fixture
def asked(tmp_path):
    """Write a question; its file."""

    def write(**changes):
        question = {
            "name": "hospitals",
            "rounds": 20,
            "participants": SITES,
            "placement": {"model_bytes": 50_000_000},
            **changes,
        }
        path = tmp_path / "job.json"
        path.write_text(json.dumps(question))
        return path

    return write


def read(answer, width):
    """What is on a screen so wide."""
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    here = Session.__new__(Session)
    here.__dict__.update(json=False, out=console)
    here.show({}, *render_place.answer(answer))
    return console.file.getvalue()


def headed(text):
    """Names of the columns, table by table."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if "   #" in line]


@pytest.mark.parametrize("width", [60, 80, 120, 140, 200])
def test_everything_fits_and_no_cell_is_wrapped(width):
    text = read(many(), width)
    lines = text.splitlines()
    tables = headed(text)
    names = [name for table in tables for name in table if name != "#"]

    assert max(map(len, lines)) <= width
    assert len(names) == len(set(names)) == 16
    for rank in range(1, 11):
        rows = [line for line in lines if re.match(rf"[● ]  ?{rank:>2}  ", line)]
        assert len(rows) == len(tables)


def test_a_wide_screen_shows_one_table_in_the_order_one_thinks():
    assert [" ".join(one) for one in headed(read(many(), 200))] == [
        "# Place City Machine Bought Network p50 h p95 h Cost $ VM $ Egress $ IP $ Slowest RTT ms "
        "Risk gCO2 Score"
    ]


def test_a_narrow_screen_shows_what_one_chooses_by_first():
    assert [" ".join(one) for one in headed(read(an_answer(), 80))] == [
        "# Place Machine Bought p50 h p95 h Cost $ Score",
        "# City VM $ Egress $ IP $ Slowest RTT ms Risk gCO2",
    ]


@pytest.mark.parametrize("width", [10, 40, 74, 90, 200])
def test_columns_are_split_without_losing_any(width):
    columns = list(render_place._columns(many()))[1:]
    groups = split(columns, width)

    assert sorted(c.name for group in groups for c in group) == sorted(c.name for c in columns)
    for group in groups:
        wide = sum(column.width + GAP for column in group) - GAP
        assert wide <= width or len({column.rank for column in group}) == 1
        assert [columns.index(column) for column in group] == sorted(map(columns.index, group))
    assert "Place" in {column.name for column in groups[0]}


def test_a_column_is_as_wide_as_its_widest_cell_on_a_screen():
    assert Column("City", ("Seoul", "서울특별시")).width == 10


def test_the_front_is_marked():
    rows = [line for line in read(many(), 200).splitlines() if re.match(r"[● ] +\d", line)]

    assert [row[0] for row in rows] == ["●"] * 4 + [" "] * 6


def test_figures_stand_in_line():
    lines = read(many(), 200).splitlines()
    start = lines[0].index("Cost $")
    points = {line.index(".", start) for line in lines[1:11]}

    assert len(points) == 1
    assert " 61.02~†" in lines[3]
    assert "120.31  " in lines[2]


def test_old_and_guessed_prices_are_marked_and_dated():
    old = a_candidate(price_basis="estimate", stale=True, price_date=date(2025, 1, 2))
    older = a_candidate(stale=True, price_date=date(2024, 1, 2))
    text = read(an_answer(old, older, a_candidate()), 200)

    assert "~ the price is an estimate, of 2025-01-02" in text
    assert "† the price is older than 90 days, of 2024-01-02 to 2025-01-02" in text


def test_what_is_not_there_has_no_note_and_no_column():
    measured = Slowest(participant="seoul", rtt_ms=12.3, band_ms=0.0, measured=True)
    text = read(an_answer(a_candidate(worst=measured, gco2=None)), 200)

    assert "12 measured" in text
    assert not any(mark in text for mark in ("±", "~", "†", "gCO2", "Network", "Sites $"))


def test_what_participants_pay_has_its_column_and_note():
    cost = Cost(vm=0.3, egress=1.0, address=0.1, participants=2.5, total=3.9)
    text = read(an_answer(a_candidate(cost_usd=cost)), 200)

    assert "Sites $" in headed(text)[0]
    assert "Sites $: what participants in public clouds pay to send" in text


def test_below_the_tables_stand_the_reasons():
    text = " ".join(read(many(), 80).split())

    assert "best in 93 of 100 draws of RTTs and prices within their error" in text
    assert "otherwise gcp:europe-west4" in text
    assert "machines of 2025-06-28 to 2026-11-20, 1 of those shown older than 90 days" in text
    assert "14,160 looked at, 1,230 fit" in text
    assert "1.0 GB, twice down and once up a round" in text
    assert "compute_s of all: 30 s a round, not given" in text
    assert "aws:us-east-1 (Ashburn)" in text
    assert "$101.50 and 5.90 h, that is $22.30 more and 0.30 h shorter than the best" in text
    assert "2026-11-20 0123456789ab" in text


TARIFF = {"egress_date": date(2024, 1, 1), "egress_source": "aws-egress"}


def test_old_egress_is_marked_and_dated_with_its_source():
    text = read(an_answer(a_candidate(**TARIFF), a_candidate(egress_date=now().date())), 200)
    [cheap] = [line for line in text.splitlines() if re.match(r"● +1 ", line)]

    assert "79.00†" in cheap
    assert "† the egress tariff is older than 90 days, of 2024-01-01" in text
    assert "the price is older" not in text
    facts = " ".join(text.split())
    assert "of those shown older than 90 days; egress of 2024-01-01 to" in facts
    assert "(aws-egress), older than 90 days" in facts


def test_egress_that_is_free_has_no_date():
    assert "egress of" not in read(an_answer(), 200)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hours": 6.201}, "$101.50 and 6.20 h, that is $22.50 more and as long as the best"),
        ({"cost": 79.00001}, "that is as dear and 0.30 h shorter than the best"),
        ({"hours": 1.5}, "$101.50 and 90.0 min, that is $22.50 more and 282.0 min shorter than"),
        ({"breaks": ("aggregator.regions.deny", "limits.max_rtt_ms")},
         "than the best; it breaks aggregator.regions.deny, limits.max_rtt_ms"),
    ],
)  # fmt: skip
def test_what_is_compared_differs_in_words(changes, said):
    other = a_candidate("aws:us-east-1", **{"cost": 101.5, "hours": 5.9, **changes})
    text = " ".join(read(an_answer(compared=other), 120).split())

    assert said in text


def test_what_is_compared_is_told_when_nothing_fits():
    other = a_candidate("aws:us-east-1", breaks=("limits.budget_usd",), cost=101.5, hours=5.9)
    none = an_answer(compared=other).model_copy(update={"candidates": (), "front": ()})
    text = " ".join(read(none, 80).split())

    assert "Compared aws:us-east-1 (Frankfurt)" in text
    assert "$101.50 and 5.90 h; it breaks limits.budget_usd" in text


def test_what_is_soon_done_is_told_in_minutes():
    soon = headed(read(an_answer(a_candidate(hours=0.02), a_candidate(hours=0.5)), 200))[0]
    late = headed(read(an_answer(a_candidate(hours=0.02), a_candidate(hours=2.5)), 200))[0]

    assert {"p50 min", "p95 min"} <= set(soon)
    assert {"p50 h", "p95 h"} <= set(late)
    assert "1.2" in read(an_answer(a_candidate(hours=0.02)), 200)


def test_this_computer_is_called_so_and_nobody_measured_the_way_to_it():
    near = Slowest(participant="seoul", rtt_ms=0.5, band_ms=0.0, measured=True)
    text = read(an_answer(a_candidate("local:local", city="", country="", worst=near)), 200)

    assert "this computer" in text
    assert "0.50 here" in text
    assert not any(said in text for said in ("measured", "local:local"))


def test_points_without_a_number_are_explained():
    unlisted = many().model_copy(update={"rest_of_front": (a_candidate(cost=60.0, hours=20.0),)})
    legend = "● without a number: on the front, not in the list; · other candidates"

    assert legend in read(unlisted, 120)
    assert "without a number" not in read(many(), 120)
    assert "other candidates" in read(many(), 120)


def test_the_best_is_not_compared_with_itself():
    text = read(an_answer(compared=a_candidate(), stability=None, prices=None), 120)

    assert "the best itself" in text
    assert "Stability" not in text


@pytest.mark.parametrize(
    ("count", "said"),
    [(999, "999 bytes"), (1500, "1.5 kB"), (50_000_000, "50.0 MB"), (25 * 10**11, "2,500.0 GB")],
)
def test_sizes_are_decimal(count, said):
    assert f"{said}, twice down and once up" in read(an_answer(model_bytes=count), 120)


def test_a_program_travels_with_each_model():
    text = read(an_answer(model_bytes=1500, program_bytes=2500), 120)

    assert "1.5 kB, twice down with a program of 2.5 kB and once up a round" in text


def test_one_place_needs_no_plot():
    assert "┤" not in read(an_answer(), 120)
    assert "┤" in read(many(), 120)


@pytest.mark.parametrize("width", [40, 80])
def test_the_plot_fits(width):
    assert max(map(len, read(many(), width).splitlines())) <= width


def test_a_conflict_says_what_each_would_have_to_become():
    answer = an_answer().model_copy(
        update={
            "candidates": (),
            "front": (),
            "conflict": (
                Demand(
                    constraint="limits.max_rtt_ms", wanted="at most 20 ms", becomes="at least 144"
                ),
                Demand(constraint="aggregator.regions.allow", wanted="eu, KR", becomes=None),
            ),
        }
    )
    lines = read(answer, 80).splitlines()
    text = "\n".join(lines)

    assert lines[0] == "Nothing fits."
    assert max(map(len, lines)) <= 80
    assert re.search(r"limits.max_rtt_ms +at most 20 ms +at least 144", text)
    assert re.search(r"aggregator.regions.allow +eu, KR +no value of it alone would do", text)
    assert "14,160 places looked at" in text


def test_words_of_others_move_no_cursor():
    text = read(
        an_answer(
            a_candidate(city="Frank\x1b[2Jfurt", machine_type="m\x9b1\n"),
            explanation="a\x1b]0;b\x07\n\nc",
            assumptions=("d\x1b[31m",),
            book="e\x1b[0m",
        ),
        120,
    )

    assert not set(text) & {"\x1b", "\x9b", "\x07"}


def test_candidates_alone_are_what_a_waiting_job_shows():
    console = Console(file=io.StringIO(), width=80)
    console.print(render_place.candidates(many()))
    text = console.file.getvalue()

    assert "Egress $" in text
    assert "Stability" not in text


def test_an_answer_needs_no_registry_and_no_control_plane(cli, home, asked):
    result = cli("place", "--spec", asked(), "--json")
    answer = PlacementAnswer.model_validate(result.document)

    assert result.code == 0
    assert result.err == ""
    assert len(answer.candidates) == 10
    assert answer.model_dump(mode="json") == result.document
    assert answer.model_bytes == 50_000_000


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_what_a_person_reads_fits_the_screen(cli, home, asked, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))

    result = cli("place", "--spec", asked(), "--compare", "us-east-1")

    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= columns
    assert all(
        said in result.out for said in ("Place", "Egress $", "● on the Pareto front", "Compared")
    )


def test_a_running_control_plane_answers_the_same(cli, home, asked):
    alone = cli("place", "--spec", asked(), "--json").document
    with serving(home):
        served = cli("place", "--spec", asked(), "--json").document

    assert served == alone


def test_sites_that_are_registered_take_part_by_name(cli, home, asked):
    path = asked(participants=["oslo", SITES[1]])
    with serving(home) as app:
        unknown = cli("place", "--spec", path)
        with_sites(app, "oslo", latitude=59.91, longitude=10.75)
        known = cli("place", "--spec", path, "--json").document
    inline = asked(participants=[{"name": "oslo", "latitude": 59.91, "longitude": 10.75}, SITES[1]])

    assert unknown.code == 2
    assert "'oslo'" in unknown.err
    assert known == cli("place", "--spec", inline, "--json").document


def test_the_question_comes_from_stdin_as_yaml(cli, home):
    question = (
        b"rounds: 20\nparticipants:\n  - {name: a, latitude: 50.1, longitude: 8.7}\n"
        b"placement: {model_bytes: 1000}\n"
    )

    assert cli("place", "--spec", "-", "--json", stdin=question).code == 0


def test_thousands_of_participants_fit_into_a_question(cli, home, asked):
    sites = [{**SITES[n % 3], "name": f"site-{n:05}"} for n in range(4_000)]
    path = asked(participants=sites)

    assert path.stat().st_size > 256 * 1024
    assert cli("place", "--spec", path, "--limit", "1", "--json").code == 0


@pytest.mark.parametrize(
    ("option", "bought"), [("--spot-only", "spot"), ("--on-demand-only", "on_demand")]
)
def test_one_way_of_buying_is_asked_for_by_an_option(cli, home, asked, option, bought):
    for said in ({}, {"purchase": "any"}, {"purchase": "deadline"}, {"purchase": bought}):
        path = asked(aggregator=said)
        found = cli("place", "--spec", path, option, "--json").document["candidates"]

        assert {one["purchase"] for one in found} == {bought}


@pytest.mark.parametrize(
    ("option", "other"), [("--spot-only", "on_demand"), ("--on-demand-only", "spot")]
)
def test_an_option_does_not_overrule_the_spec(cli, home, asked, option, other):
    result = cli("place", "--spec", asked(aggregator={"purchase": other}), option)

    assert result.code == 2
    assert f"{option} contradicts the spec, which has aggregator.purchase: {other}" in result.err
    assert result.err.count("\n") == 1


def test_both_ways_of_buying_exclude_each_other(cli, home, asked):
    result = cli("place", "--spec", asked(), "--spot-only", "--on-demand-only")

    assert result.code == 2
    assert "--spot-only and --on-demand-only exclude each other" in result.err
    assert result.err.count("\n") == 1


def test_only_so_many_are_shown(cli, home, asked):
    found = cli("place", "--spec", asked(), "--limit", "3", "--json").document

    assert len(found["candidates"]) == 3
    assert cli("place", "--spec", asked(), "--limit", "101").code == 2


def test_a_region_is_compared(cli, home, asked):
    found = cli("place", "--spec", asked(), "--compare", "aws:us-east-1", "--json").document
    wrong = cli("place", "--spec", asked(), "--compare", "us-est-1")

    assert (found["compared"]["provider"], found["compared"]["region"]) == ("aws", "us-east-1")
    assert wrong.code == 2
    assert "did you mean" in wrong.err


def test_a_region_to_compare_that_is_like_none_is_told_with_where_they_are_listed(cli, home, asked):
    result = cli("place", "--spec", asked(), "--compare", "atlantis")

    assert result.code == 2
    assert "no region 'atlantis'" in result.err
    assert "fedspan book show" in result.err


def test_the_plot_is_a_picture_and_stdout_stays_one_document(cli, home, asked, tmp_path):
    to = tmp_path / "out.svg"
    to.write_text("the one before")
    result = cli("place", "--spec", asked(), "--plot", to, "--json")

    assert ElementTree.parse(to).getroot().tag.endswith("svg")
    assert "hospitals" in to.read_text()
    assert len(result.document["candidates"]) == 10
    assert f"{to} is drawn" in result.err.replace("\n", "")


@pytest.mark.parametrize(
    ("to", "said"),
    [("none/out.svg", "there is no folder"), ("out.png", "does not end in .svg")],
)
def test_a_plot_that_cannot_be_written_is_told_before_anything_is_asked(
    cli, home, asked, tmp_path, to, said
):
    result = cli("place", "--spec", asked(participants=["nobody"]), "--plot", tmp_path / to)

    assert result.code == 2
    assert said in result.err
    assert "nobody" not in result.err


@pytest.mark.parametrize("purchase", ["spot", "on_demand", "any", "deadline"])
def test_a_deadline_that_cannot_be_met_is_told_with_the_nearest_that_can(
    cli, home, asked, purchase
):
    def tried(deadline):
        limits, aggregator = {"deadline": deadline}, {"purchase": purchase}
        return cli("place", "--spec", asked(limits=limits, aggregator=aggregator), "--json")

    refused = tried("10m")
    nearest = {one["constraint"]: one["becomes"] for one in refused.document["conflict"]}
    enough = re.fullmatch(r"at least ([\d.]+m)", nearest["limits.deadline"])[1]

    assert refused.code == 6
    assert tried(enough).code == 0


def test_when_nothing_fits_the_document_says_why_and_nothing_is_drawn(cli, home, asked, tmp_path):
    path, to = asked(limits={"budget_usd": 0.000001}), tmp_path / "out.svg"
    shown = cli("place", "--spec", path, "--plot", to)
    result = cli("place", "--spec", path, "--json")

    assert shown.code == result.code == 6
    assert shown.out.startswith("Nothing fits.")
    assert "budget_usd" in shown.out
    assert "nothing is drawn" in shown.out
    assert result.document["candidates"] == []
    assert any("budget_usd" in one["constraint"] for one in result.document["conflict"])
    assert not to.exists()


def test_a_model_on_this_computer_tells_its_size(cli, home, asked, tmp_path, monkeypatch):
    (tmp_path / "model.pt2").write_bytes(b"x" * 123_456)
    monkeypatch.chdir("/")
    path = asked(model={"file": "model.pt2"}, placement={})

    assert cli("place", "--spec", path, "--json").document["model_bytes"] == 123_456


def test_what_the_spec_says_of_the_size_outweighs_the_file(cli, home, asked):
    path = asked(model={"file": "none.pt2"})

    assert cli("place", "--spec", path, "--json").document["model_bytes"] == 50_000_000


@pytest.mark.parametrize(("content", "said"), [(None, "is no file"), (b"", "is empty")])
def test_a_model_file_without_a_size_is_told(cli, home, asked, tmp_path, content, said):
    if content is not None:
        (tmp_path / "model.pt2").write_bytes(content)
    result = cli("place", "--spec", asked(model={"file": "model.pt2"}, placement={}))

    assert result.code == 2
    assert f"model.file: {tmp_path / 'model.pt2'} {said}" in result.err


def test_each_problem_of_a_question_has_its_line(cli, home, asked):
    wrong = {"name": "a", "latitude": 91, "longtude": 8.7}
    result = cli("place", "--spec", asked(participants=[wrong], rounds=0))

    assert result.code == 2
    assert "  rounds: " in result.err
    assert "  participants.0.latitude: " in result.err
    assert "did you mean 'longitude'?" in result.err


def test_help_and_a_running_control_plane_need_nothing_heavy(home, asked):
    with serving(home):
        asking = imported_by("place", "--spec", str(asked()), home=home.path)

    assert imported_by("place", "--help") == asking == "[]"
