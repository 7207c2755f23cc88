"""Cost against time, on a terminal and as SVG."""

from __future__ import annotations

import math
import random
import re
from xml.etree import ElementTree

import pytest

from fedspan.cli import picture, plots
from fedspan.cli.plots import Axis, Point
from tests.support.places import a_candidate, an_answer, many

SVG = "{http://www.w3.org/2000/svg}"


def scattered(count, seed=3):
    chance = random.Random(seed)
    drawn = [
        Point(n, 60 + 60 * chance.random(), 4 + 6 * chance.random(), f"aws:eu-{n} m{n}.large")
        for n in range(1, count + 1)
    ]
    best = [
        one for one in drawn if not any(o.cost < one.cost and o.hours < one.hours for o in drawn)
    ]
    return [Point(p.rank, p.cost, p.hours, p.name, p in best) for p in drawn]


def test_points_are_the_candidates_by_rank_and_the_one_compared():
    answer = an_answer(
        a_candidate(cost=79.0, hours=6.0),
        a_candidate("gcp:europe-west4", cost=85.0, hours=7.0),
        front=(0,),
        compared=a_candidate("aws:us-east-1", cost=99.0, hours=5.0),
    )

    assert plots.points(answer) == [
        Point(1, 79.0, 6.0, "aws:eu-central-1 c7g.large spot", front=True),
        Point(2, 85.0, 7.0, "gcp:europe-west4 c7g.large spot"),
        Point(0, 99.0, 5.0, "aws:us-east-1 c7g.large spot"),
    ]


def test_what_is_compared_is_no_second_point_when_it_is_a_candidate():
    answer = an_answer(a_candidate(), compared=a_candidate())

    assert [point.rank for point in plots.points(answer)] == [1]


@pytest.mark.parametrize(
    "values",
    [[79.2, 120.3], [5.0, 5.0], [0.0], [1e-6, 2e-6], [0.0, 1e6], [79.0000001, 79.000001]],
)
@pytest.mark.parametrize("most", [3, 5, 7])
def test_an_axis_holds_its_values_and_marks_round_numbers(values, most):
    axis = Axis.over(values, most)
    steps = {round(b - a, 12) for a, b in zip(axis.ticks, axis.ticks[1:], strict=False)}

    assert all(0 <= axis.at(value) <= 1 for value in values)
    assert 1 <= len(axis.ticks) <= most + 1
    assert all(axis.low <= tick <= axis.high * (1 + 1e-9) for tick in axis.ticks)
    assert len({axis.said(tick) for tick in axis.ticks}) == len(axis.ticks)
    assert all(round(s / 10 ** math.floor(math.log10(s) + 1e-9), 6) in (1, 2, 5) for s in steps)


def test_the_scatter_has_a_bullet_for_each_of_the_front_and_axes_with_units():
    lines = plots.scatter(plots.points(many())).plain.splitlines()
    drawn = "\n".join(lines)

    assert len(lines) == 14 + 2
    assert max(map(len, lines)) <= 60 + 8
    assert drawn.count("●") == 4
    assert drawn.count("◆") == 1
    assert re.search(r"^ *6 h ┤", drawn, re.MULTILINE)
    assert "$80" in lines[-1]
    assert drawn.index("●3") < drawn.index("●2")  # slower is higher


def test_the_front_falls_from_the_cheapest_to_the_fastest():
    shown = [Point(1, 60.0, 10.0, "a", True), Point(2, 100.0, 5.0, "b", True)]
    lines = [line[6:] for line in plots.scatter(shown, 30, 8).plain.splitlines()[:8]]
    first, last = (next(n for n, line in enumerate(lines) if mark in line) for mark in "12")

    assert set(lines[first]) == set(" ●1╌╮")
    assert all("┆" in line for line in lines[first + 1 : last])
    assert lines[first].index("╮") == lines[last].index("●")


def test_no_number_covers_a_point():
    shown = scattered(100)
    drawn = plots.scatter(shown).plain
    cells = {
        (round(Axis.over([p.cost for p in shown], 5).at(p.cost) * 59),
         round((1 - Axis.over([p.hours for p in shown], 5).at(p.hours)) * 13))
        for p in shown
    }  # fmt: skip

    assert drawn.count("●") + drawn.count("·") == len(cells)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_places_that_do_not_differ_are_drawn_too(count):
    same = [Point(n + 1, 79.0, 6.0, "aws:eu-central-1", True) for n in range(count)]

    assert plots.scatter(same).plain.count("●") == 1
    assert (
        len(list(ElementTree.fromstring(picture.svg(same, "same")).iter(f"{SVG}circle"))) >= count
    )


def test_what_costs_nothing_has_axes():
    shown = [Point(1, 0.0, 0.0, "local:here", True)]

    assert "$0.0" in plots.scatter(shown).plain


@pytest.fixture
def drawn():
    return ElementTree.fromstring(picture.svg(plots.points(many()), "hospitals: cost & time <1>"))


def texts(found):
    return [one.text for one in found.iter(f"{SVG}text")]


def test_the_picture_says_what_it_is_to_those_who_see_and_those_who_do_not(drawn):
    described = drawn.find(f"{SVG}desc").text

    assert drawn.get("role") == "img"
    assert drawn.get("aria-labelledby") == "title desc"
    assert drawn.find(f"{SVG}title").text == "hospitals: cost & time <1>"
    assert "Expected cost in US dollars" in described
    assert "of 10 places" in described
    assert described.index("3. azure:germanywestcentral") < described.index("1. aws:eu-central-1")
    assert {"expected cost of the job (US dollars)", "$80", "6 h"} <= set(texts(drawn))


def test_the_picture_names_the_front_and_what_is_compared(drawn):
    named = texts(drawn)

    assert "1 aws:eu-central-1 c7g.large spot" in named
    assert "2 gcp:northamerica-northeast1 n2d-standard-2" in named
    assert "3 azure:germanywestcentral Standard_D2pls_v6 spot" in named
    assert "4 aws:ap-northeast-2 c7g.large" in named
    assert "aws:us-east-1 c7g.large spot" in named
    assert not any("aws:eu-west-1" in one for one in named)


def test_every_point_tells_its_figures_when_pointed_at(drawn):
    told = [one.find(f"{SVG}title").text for one in drawn.iter(f"{SVG}g")]

    assert len(told) == 11
    assert "5. aws:eu-west-1 c7g.large spot: $85.00, 6.60 h" in told


def test_the_picture_needs_nothing_beside_itself(drawn):
    kinds = {one.tag.removeprefix(SVG) for one in drawn.iter()}
    values = [value for one in drawn.iter() for value in one.attrib.values()]

    assert kinds <= {"svg", "title", "desc", "rect", "line", "path", "circle", "text", "g"}
    assert not any("url(" in value or "://" in value for value in values)


def test_names_that_look_like_markup_or_move_cursors_stay_names():
    name = "aws:<script>&\"'\x1b[31m\x00]]> m.large"
    written = picture.svg([Point(1, 79.0, 6.0, name, True)], "a\x08<b>")
    found = ElementTree.fromstring(written)

    assert found.find(f"{SVG}title").text == "a<b>"
    assert "<script>" not in written
    assert any("<script>&\"'[31m]]>" in (one or "") for one in texts(found))


def box(text):
    """As the picture's own author reckons the width of letters."""
    left, middle = float(text.get("x")), float(text.get("y")) - 4.5
    width = picture._width(text.text)
    left -= width if text.get("text-anchor") == "end" else 0
    return left, middle - 8.5, left + width, middle + 8.5


@pytest.mark.parametrize("count", [12, 100])
@pytest.mark.parametrize("seed", range(5))
def test_no_label_covers_another_or_leaves_the_picture(count, seed):
    found = ElementTree.fromstring(picture.svg(scattered(count, seed), "places"))
    boxes = [box(one) for one in found.iter(f"{SVG}text") if "aws:" in one.text]

    assert boxes
    assert all(b[0] > 0 and b[2] < picture.WIDTH and 0 < b[1] < picture.HEIGHT for b in boxes)
    for number, one in enumerate(boxes):
        assert not any(picture._meet(one, other) for other in boxes[:number])
