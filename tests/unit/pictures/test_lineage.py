"""Lineages and trends: every link goes onward, no box on another, and medians that are medians."""

from datetime import UTC, datetime, timedelta
from itertools import combinations
from xml.etree import ElementTree

import pytest

from core.pictures.lineage import HEIGHT, WIDTH, Box, draw_lineage
from core.pictures.trend import FEWEST, Measured, draw_trend, running_median

SVG = "{http://www.w3.org/2000/svg}"
AT = datetime(2026, 5, 1, tzinfo=UTC)


def test_each_box_stands_alone_and_leads_on() -> None:
    count = 40
    boxes = [
        Box(f"<{at}>" * 20, at % 3, f"tip {at}", f"/at/{at}" if at % 2 else None, at == 7)
        for at in range(count)
    ]
    links = [(at // 2, at) for at in range(1, count)] + [(0, count - 1)]
    picture = ElementTree.fromstring(
        draw_lineage(boxes, links, title="All", groups=("a", "b", "c"))
    )
    assert picture.get("role") == "figure"  # an img would hide its links
    assert [each.get("href") for each in picture.iter(f"{SVG}a")] == [
        f"/at/{at}" for at in range(1, count, 2)
    ]
    places = [
        (float(each.get("x", "nan")), float(each.get("y", "nan")))
        for each in picture.iter(f"{SVG}rect")
        if each.get("width") == f"{WIDTH:.0f}"
    ]
    assert len(places) == count
    for (x, y), (other_x, other_y) in combinations(places, 2):
        assert abs(x - other_x) >= WIDTH or abs(y - other_y) >= HEIGHT
    for source, target in links:
        assert places[source][0] < places[target][0]


def test_a_median_is_of_what_came_before() -> None:
    assert running_median([5.0, 1.0, 3.0]) == [5.0, 3.0, 3.0]
    assert running_median([float(value) for value in range(20)])[-1] == 15.0


@pytest.mark.parametrize("count", [0, 1, FEWEST, FEWEST + 1])
def test_a_line_is_drawn_where_there_is_one_to_draw(count: int) -> None:
    measured = [
        Measured(AT + timedelta(days=at), value, f"search {at}", f"/models/{at}")
        for at, value in enumerate([-2.0, 4.0, float("nan"), 8.0, 1.0][: count + 1])
    ]
    drawn = draw_trend(measured, title="Gains", y_label="points")
    picture = ElementTree.fromstring(drawn)
    shown = [each for each in measured if each.value == each.value]
    assert len(list(picture.iter(f"{SVG}circle"))) == len(shown)
    assert ("running median" in drawn) == (len(shown) > FEWEST)
    assert len(list(picture.iter(f"{SVG}a"))) == len(shown)
    assert ("2026-04-30" in drawn) == (len(set(shown)) == 1)  # half a day on each side
