"""Cost against time, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from fedspan.cli.plots import Axis, Point, front_of
from fedspan.domain.texts import plain

WIDTH: Final = 900
HEIGHT: Final = 580
LEFT, RIGHT, TOP, BOTTOM = 90, 30, 112, 76
SIZE: Final = 13
"""Of the letters, in pixels."""
GREY, BLUE, ORANGE, INK = "#8a94a0", "#0b62b5", "#c2410c", "#1f2933"

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Place = tuple[float, float]
"""Across and down."""


def svg(shown: Sequence[Point], title: str) -> str:
    """A picture that needs nothing beside itself: no font, no script, no style sheet."""
    title, shown = plain(title), [replace(point, name=plain(point.name)) for point in shown]
    x, y = (Axis.over(v, 7) for v in ([p.cost for p in shown], [p.hours for p in shown]))
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "width": str(WIDTH),
            "height": str(HEIGHT),
            "role": "img",
            "aria-labelledby": "title desc",
            "font-family": "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif",
            "font-size": str(SIZE),
            "fill": INK,
        },
    )
    SubElement(root, "title", {"id": "title"}).text = title
    SubElement(root, "desc", {"id": "desc"}).text = _told(shown)
    SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": "white"})
    _text(root, LEFT, 32, title, {"font-size": "18", "font-weight": "600"})
    _legend(root, shown)
    _axes(root, x, y)
    where = {point: (_across(x, point.cost), _down(y, point.hours)) for point in shown}
    _staircase(root, [where[point] for point in front_of(shown)])
    for point in sorted(shown, key=lambda p: (p.front, p.rank == 0, -p.rank)):
        _dot(root, point, *where[point])
    _labels(root, where)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _told(shown: Sequence[Point]) -> str:
    """The picture in words."""
    front = "; ".join(f"{_named(p, '. ')}: {_figures(p)}" for p in front_of(shown))
    ranked = sum(point.rank > 0 for point in shown)
    return (
        f"Expected cost in US dollars across, expected hours upwards, of {ranked} places. "
        f"On the Pareto front, the cheapest first: {front or 'none'}."
    )


def _named(point: Point, between: str) -> str:
    return f"{point.number}{between}{point.name}" if point.number else point.name


def _figures(point: Point) -> str:
    return f"${point.cost:,.2f}, {point.hours:,.2f} h"


def _across(x: Axis, cost: float) -> float:
    return LEFT + x.at(cost) * (WIDTH - LEFT - RIGHT)


def _down(y: Axis, hours: float) -> float:
    return HEIGHT - BOTTOM - y.at(hours) * (HEIGHT - TOP - BOTTOM)


def _text(parent: Element, x: float, y: float, said: str, more: dict[str, str]) -> None:
    SubElement(parent, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", **more}).text = said


def _line(parent: Element, ends: Box, colour: str) -> None:
    names = zip(("x1", "y1", "x2", "y2"), ends, strict=True)
    SubElement(parent, "line", {**{k: f"{v:.1f}" for k, v in names}, "stroke": colour})


def _legend(root: Element, shown: Sequence[Point]) -> None:
    kinds = {
        (1, True): "on the Pareto front: no other place is both cheaper and faster",
        (1, False): "another candidate",
        (0, False): "compared",
    }
    at, there = float(LEFT), {(min(point.rank, 1), point.front) for point in shown}
    for (rank, front), said in kinds.items():
        if (rank, front) in there:
            _shape(root, Point(rank, 0, 0, said, front), at + 6, 56)
            _text(root, at + 18, 60.5, said, {})
            at += 42 + _width(said)


def _axes(root: Element, x: Axis, y: Axis) -> None:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in x.ticks:
        at = _across(x, tick)
        _line(root, (at, TOP, at, bottom), "#e4e7eb")
        _text(root, at, bottom + 22, f"${x.said(tick)}", {"text-anchor": "middle"})
    for tick in y.ticks:
        at = _down(y, tick)
        _line(root, (LEFT, at, right, at), "#e4e7eb")
        _text(root, LEFT - 10, at + 4.5, f"{y.said(tick)} h", {"text-anchor": "end"})
    _line(root, (LEFT, bottom, right, bottom), INK)
    _line(root, (LEFT, TOP, LEFT, bottom), INK)
    centred = {"text-anchor": "middle"}
    _text(root, (LEFT + right) / 2, HEIGHT - 22, "expected cost of the job (US dollars)", centred)
    _text(root, 24, TOP - 14, "expected hours until it is done", {})


def _staircase(root: Element, front: Sequence[Place]) -> None:
    if len(front) < 2:
        return
    corners = [f"M{front[0][0]:.1f} {front[0][1]:.1f}"]
    corners += [f"H{across:.1f}V{down:.1f}" for across, down in front[1:]]
    drawn = {"fill": "none", "stroke": BLUE, "stroke-width": "1.5", "stroke-dasharray": "5 4"}
    SubElement(root, "path", {"d": "".join(corners), **drawn})


def _dot(root: Element, point: Point, across: float, down: float) -> None:
    group = SubElement(root, "g")
    SubElement(group, "title").text = f"{_named(point, '. ')}: {_figures(point)}"
    _shape(group, point, across, down)


def _shape(parent: Element, point: Point, across: float, down: float) -> None:
    if point.rank == 0:
        drawn = {"d": f"M{across:.1f} {down - 7:.1f}l7 7l-7 7l-7 -7z", "fill": ORANGE}
        SubElement(parent, "path", drawn)
        return
    middle = {"cx": f"{across:.1f}", "cy": f"{down:.1f}"}
    drawn = {"r": "6", "fill": BLUE} if point.front else {"r": "4", "fill": GREY}
    SubElement(parent, "circle", {**middle, **drawn, "stroke": "white"})


def _width(said: str) -> float:
    return 0.58 * SIZE * len(said)


def _labels(root: Element, where: dict[Point, Place]) -> None:
    """Names of the front and of what is compared, the best first, where there is room: none
    covers another, nor a point or the line if that can be. Without room a name is left to the
    tooltip."""
    dots = {point: (a - 7, d - 7, a + 7, d + 7) for point, (a, d) in where.items()}
    named = [point for point in where if point.front or point.rank == 0]
    taken = [dots[point] for point in named]
    avoided = [*dots.values(), *_steps([where[point] for point in front_of(named)])]
    for point in sorted(named, key=lambda p: (p.rank == 0, p.rank)):
        said = _named(point, " ")
        tried = list(_beside(*where[point], _width(said)))
        for others in ([*taken, *avoided], taken):
            free = [box for box in tried if not any(_meet(box, other) for other in others)]
            if free:
                _label(root, point, said, where[point], free[0])
                taken.append(free[0])
                break


def _steps(front: Sequence[Place]) -> Iterator[Box]:
    """What the line of the front covers."""
    for (left, upper), (right, lower) in pairwise(front):
        yield left, upper - 1, right, upper + 1
        yield right - 1, upper, right + 1, lower


def _beside(across: float, down: float, width: float) -> Iterator[Box]:
    """Where a label `width` wide may stand inside the frame, the nearest first."""
    for away in (0, 18, 30, 44, 58, 74, 92):
        for up in (-away, away) if away else (0,):
            for left in (across + 11, across - 11 - width):
                box = (left, down + up - 9, left + width, down + up + 8)
                if box[0] > LEFT and box[2] < WIDTH - 4 and TOP < box[1] < HEIGHT - BOTTOM - 18:
                    yield box


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _label(root: Element, point: Point, said: str, dot: Place, box: Box) -> None:
    middle, after = (box[1] + box[3]) / 2, box[0] > dot[0]
    if abs(middle - dot[1]) > 20:
        _line(root, (*dot, box[0] - 2 if after else box[2] + 2, middle), GREY)
    drawn = {
        "fill": BLUE if point.front else ORANGE,
        "font-weight": "600" if point.rank == 1 else "400",
        "text-anchor": "start" if after else "end",
        "paint-order": "stroke",  # a white rim, so that it reads on a line it has to cross
        "stroke": "white",
        "stroke-width": "3",
    }
    _text(root, box[0] if after else box[2], box[3] - 4, said, drawn)
