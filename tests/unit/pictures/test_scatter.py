"""The map: true to scale, its target marked, its names never on top of each other."""

import math
import random
from itertools import combinations
from xml.etree import ElementTree

import pytest

from core.pictures import svg
from core.pictures.scatter import FONT, WIDTH, Spot, draw_scatter
from core.pictures.shares import draw_shares

SVG = "{http://www.w3.org/2000/svg}"
Box = tuple[float, float, float, float]


def parsed(spots: list[Spot], **about: object) -> ElementTree.Element:
    return ElementTree.fromstring(draw_scatter(spots, title="Map", **about))  # type: ignore[arg-type]


def middles(root: ElementTree.Element) -> dict[str, tuple[float, float]]:
    found = {}
    for circle in root.iter(f"{SVG}circle"):
        name = circle.findtext(f"{SVG}title")
        if name is not None:
            found[name] = float(circle.get("cx", "nan")), float(circle.get("cy", "nan"))
    return found


def boxes(root: ElementTree.Element) -> dict[str, Box]:
    found = {}
    for text in root.iter(f"{SVG}text"):
        x, y = float(text.get("x", "nan")), float(text.get("y", "nan"))
        width = svg.text_width(text.text or "", FONT)
        left = x - {"middle": 0.5, "end": 1.0}.get(text.get("text-anchor", ""), 0.0) * width
        found[text.text or ""] = (left, y - FONT * 0.6, left + width, y + FONT * 0.6)
    return found


def overlap(one: Box, other: Box) -> bool:
    slack = 0.05  # coordinates are written in hundredths
    return (
        one[0] + slack < other[2]
        and other[0] + slack < one[2]
        and one[1] + slack < other[3]
        and other[1] + slack < one[3]
    )


def cloud(count: int, seed: int) -> list[Spot]:
    chance = random.Random(seed)
    return [
        Spot(f"dataset {i}", chance.gauss(0, 9), chance.gauss(0, 3), i % 3, i == 0)
        for i in range(count)
    ]


def test_both_axes_have_one_scale_and_up_is_up() -> None:
    root = parsed([Spot("a", 0, 0), Spot("right", 8, 0), Spot("up", 0, 4), Spot("odd", 1, 1)])
    at = middles(root)
    across, up = at["right"][0] - at["a"][0], at["a"][1] - at["up"][1]
    assert across == pytest.approx(2 * up, abs=0.05)
    assert up > 50


@pytest.mark.parametrize("seed", range(5))
def test_names_overlap_neither_each_other_nor_a_point(seed: int) -> None:
    spots = cloud(40, seed)
    root = parsed(spots)
    names, points = boxes(root), middles(root)
    assert "dataset 0" in names
    assert len(names) >= 12
    assert not any(overlap(a, b) for a, b in combinations(names.values(), 2))
    for name, box in names.items():
        assert box[0] >= 0
        assert box[2] <= WIDTH
        for other, (x, y) in points.items():
            if name != other:
                assert not overlap(box, (x - 5, y - 5, x + 5, y + 5)), (name, other)


def test_a_crowd_keeps_the_marked_name() -> None:
    spots = [Spot(f"same place {i}", 1.0, 1.0, marked=i == 7) for i in range(30)]
    root = parsed(spots)
    assert "same place 7" in boxes(root)
    assert len(list(root.iter(f"{SVG}circle"))) == 30


def test_the_marked_point_is_larger_and_drawn_last() -> None:
    circles = list(parsed(cloud(9, 1)).iter(f"{SVG}circle"))
    assert circles[-1].findtext(f"{SVG}title") == "dataset 0"
    assert float(circles[-1].get("r", "0")) > float(circles[0].get("r", "0"))
    assert circles[-1].get("stroke") == "currentColor"


def test_the_bar_is_as_long_as_it_says() -> None:
    root = parsed([Spot("a", 0, 0), Spot("b", 10, 0)], unit="OTDD")
    at = middles(root)
    (path,) = [each.get("d", "") for each in root.iter(f"{SVG}path")]
    start, rest = path.removeprefix("M").split(" ", 1)
    end = rest.split("H")[1].split("M")[0]
    said = next(name for name in boxes(root) if name.endswith("OTDD"))
    length = float(said.split()[0]) * (at["b"][0] - at["a"][0]) / 10
    assert length > 30
    assert float(end) - float(start) == pytest.approx(length, abs=0.05)


@pytest.mark.parametrize(
    "spots",
    [[], [Spot("one", 5, 5)], [Spot("a", math.nan, 0), Spot("b", 0, math.inf)],
     [Spot("a", 0, 0), Spot("b", 1e-9, 0)], [Spot("a", 0, -1e9), Spot("b", 0, 1e9)]],
)  # fmt: skip
def test_odd_points_still_give_a_picture(spots: list[Spot]) -> None:
    root = parsed(spots, unit="OTDD", groups=["all"])
    whole = [spot for spot in spots if math.isfinite(spot.x) and math.isfinite(spot.y)]
    assert len(middles(root)) == len(whole)
    assert all(map(math.isfinite, (at for pair in middles(root).values() for at in pair)))
    said = [text.text for text in root.iter(f"{SVG}text")]
    assert ("nothing to show" in said) == (not whole)


def test_the_description_is_there_for_those_who_hear_it() -> None:
    root = parsed([Spot("a", 0, 0)], description="The nearest to a is nothing.")
    assert root.findtext(f"{SVG}desc") == "The nearest to a is nothing."
    assert parsed([Spot("a", 0, 0)]).find(f"{SVG}desc") is None


def test_shares_fill_the_whole_bar() -> None:
    parts = [("features", 3.0), ("labels", 1.0), ("nothing", 0.0), ("odd", math.nan)]
    root = ElementTree.fromstring(draw_shares(parts, title="t"))
    pieces = list(root.iter(f"{SVG}rect"))
    assert [piece.findtext(f"{SVG}title") for piece in pieces] == [
        "features: 75 %",
        "labels: 25 %",
    ]
    assert [float(piece.get("width", "0")) for piece in pieces] == [90, 30]
    assert float(pieces[1].get("x", "0")) == 90


def test_a_whole_of_nothing_is_an_empty_bar() -> None:
    root = ElementTree.fromstring(draw_shares([("a", 0.0), ("b", 0.0)], title="t"))
    assert list(root.iter(f"{SVG}rect")) == []


def test_points_are_links_where_they_lead_somewhere() -> None:
    spots = [
        Spot("here", 0, 0, marked=True),
        Spot("near", 1, 0, 1, ringed=True, href="/near", told="near: distance 1", key="k"),
        Spot("gone", 0, 2, 1),
    ]
    root = parsed(spots)
    assert root.get("role") == "figure"
    (link,) = root.iter(f"{SVG}a")
    about = {"href": "/near", "data-of": "k", "aria-label": "near: distance 1"}
    assert dict(link.attrib) == about
    circle = link.find(f"{SVG}circle")
    assert circle is not None
    assert circle.findtext(f"{SVG}title") == "near: distance 1"
    assert circle.get("stroke") == "currentColor"
    assert parsed(spots[::2]).get("role") == "img"
