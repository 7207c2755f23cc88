"""``fedspan job bill``"""

from __future__ import annotations

import io
import re

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fedspan.cli.render_bill import MOST_ROWS, document, tables
from fedspan.domain.bills import Away, Bill, Charges
from tests.cli.conftest import serving

NAMES = ("busan", "daejeon", "seoul")


def drawn(bill: Bill, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    for one in tables(bill):
        console.print(one)
    return console.file.getvalue()  # type: ignore[attr-defined]


def a_bill(count: int = 3, **more: object) -> Bill:
    """Each round costs a dollar, all but a micro-dollar; a third of it is the machine."""
    part = Charges(machine=111_111, egress=222_222)
    per_round = Charges(machine=3 * part.machine, egress=3 * part.egress)
    each = Charges(machine=count * part.machine, egress=count * part.egress)
    overhead = Charges(machine=7)
    whole = Charges(machine=3 * each.machine + 7, egress=3 * each.egress)
    given = {
        "job": "20261129-090000-00000a",
        "settled": True,
        "incarnations": 1,
        "total": whole.total,
        "clouds": {"aws": whole},
        "rounds": dict.fromkeys(range(1, count + 1), per_round),
        "participants": dict.fromkeys(NAMES, each),
        "overhead": overhead,
    }
    return Bill(**{**given, **more})


def amounts(line: str) -> list[int]:
    """Without the point: cents, or hundredths of one."""
    return [int(re.sub(r"\D", "", one)) for one in re.findall(r"\$[\d,.]+", line)]


def test_a_job_is_billed_in_three_views(cli, home, spec_file):
    with serving(home):
        id = cli("job", "submit", spec_file, "--watch", "--json").document["job"]
        shown = cli("job", "bill", id)
        told = cli("job", "bill", id, "--json").document
        report = cli("job", "show", id, "--json").document

    assert shown.code == 0
    assert id in shown.out and "settled" in shown.out
    for what in ("Cloud", "Round", "Participant", "local", "seoul"):
        assert what in shown.out
    assert told["settled"] is True
    assert told["total_usd"] == report["cost_usd"]
    assert set(told["rounds"]) <= {"1", "2"}


def test_a_bill_of_a_job_nobody_knows_is_not_found(cli, home):
    with serving(home):
        result = cli("job", "bill", "none")

    assert result.code == 5
    assert "no job 'none'" in result.err


def test_a_bill_that_is_not_settled_says_so():
    assert "$3.00 so far" in drawn(a_bill(settled=False))
    assert "$3.00 settled  1 aggregator  20261129-090000-00000a" in drawn(a_bill())


def test_less_than_a_dollar_is_shown_to_the_hundredth_of_a_cent():
    small = Charges(machine=1_234)
    bill = a_bill(total=1_234, clouds={"aws": small}, participants={}, overhead=small)

    assert "$0.0012 settled" in drawn(bill.model_copy(update={"rounds": {}}))


def test_many_rounds_are_summed_after_the_first_ones():
    lines = drawn(a_bill(100)).splitlines()
    [rest] = [one for one in lines if "80 more" in one]

    assert amounts(rest)[-1] == 8000
    assert not any(one.startswith(f"{MOST_ROWS + 1} ") for one in lines)


def test_what_nobody_was_charged_for_has_no_column():
    assert "Uploads" not in drawn(a_bill())
    assert "Address" not in drawn(a_bill())


def test_programs_are_told_exact_dollars():
    told = document(a_bill())

    assert told["total_usd"] == 3.000004
    assert told["participants"]["seoul"]["machine_usd"] == 0.333333
    assert told["rounds"]["2"]["total_usd"] == 0.999999


charges = st.builds(
    Charges,
    **dict.fromkeys(Charges.model_fields, st.integers(0, 3_000_000) | st.integers(0, 9_000)),
)


@given(st.dictionaries(st.sampled_from(NAMES), charges), charges, charges)
def test_displayed_amounts_add_up_along_every_line(people, overhead, unfinished):
    parts = [*people.values(), overhead, unfinished]
    total = sum(one.total for one in parts)
    bill = a_bill(
        total=total,
        clouds={"aws": overhead, "gcp": unfinished, **people},
        rounds=dict(enumerate(people.values(), start=1)),
        participants=people,
        overhead=overhead,
        unfinished=unfinished,
    )
    lines = [line for line in drawn(bill).splitlines() if "$" in line]
    [whole] = amounts(lines[0])

    for line in lines[1:]:
        *cells, last = amounts(line)
        assert sum(cells) == last
        if line.startswith("total"):
            assert last == whole


def test_what_giving_aggregators_back_has_saved_is_said():
    hours = Charges(machine=31_000)
    bill = a_bill(total=31_000, clouds={"aws": hours}, rounds={}, participants={})
    away = bill.model_copy(update={"away": Away(times=3, seconds=2460.0, saved=56_000)})

    assert "instead" not in drawn(bill)
    assert (
        "aggregator away 3 times, 41:00 in all: $0.0310 for its hours instead of $0.0870"
        in drawn(away)
    )
    assert document(away)["aggregators"] == {
        "usd": 0.031,
        "away_times": 3,
        "away_seconds": 2460.0,
        "without_rest_usd": 0.087,
    }
