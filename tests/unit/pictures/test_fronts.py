"""Cost against worth: the line goes through those that none beats, and they alone are named."""

from xml.etree import ElementTree

from core.pictures import svg
from core.pictures.fronts import Point, draw_front, unbeaten

SVG = "{http://www.w3.org/2000/svg}"
CHEAP, GOOD, BEATEN, BEST = (
    Point("cheap", 1.0, 60.0),
    Point("good", 2.0, 80.0, marked=True),
    Point("beaten <b>", 3.0, 70.0),
    Point("best", 4.0, 90.0),
)
ALL = [BEST, BEATEN, GOOD, CHEAP]


def parsed(points: list[Point]) -> ElementTree.Element:
    drawn = draw_front(points, title="T", x_label="cost", y_label="worth", marked="chosen")
    return ElementTree.fromstring(drawn)


def test_those_that_none_beats() -> None:
    assert unbeaten(ALL) == [CHEAP, GOOD, BEST]
    assert unbeaten([Point("a", 1.0, 5.0), Point("b", 1.0, 6.0), Point("c", 2.0, 6.0)]) == [
        Point("b", 1.0, 6.0)
    ]


def test_cheap_is_left_good_is_up_and_every_point_says_what_it_is() -> None:
    root = parsed(ALL)
    at = {
        name: (float(each.get("cx", "nan")), float(each.get("cy", "nan")), each.get("fill"))
        for each in root.iter(f"{SVG}circle")
        if (name := each.findtext(f"{SVG}title")) is not None
    }
    assert at.keys() == {"cheap", "good", "beaten <b>", "best"}
    assert at["cheap"][0] < at["good"][0] < at["best"][0]
    assert at["cheap"][1] > at["good"][1] > at["best"][1]
    assert [name for name, each in at.items() if each[2] == svg.SLATE] == ["beaten <b>"]
    assert root.findtext(f"{SVG}desc") == "cheap: 60, good: 80, best: 90"
    assert "chosen" in [each.text for each in root.iter(f"{SVG}text")]
    assert len(list(root.iter(f"{SVG}path"))) == 1


def test_nothing_marked_and_nothing_to_compare() -> None:
    root = parsed([CHEAP, Point("odd", float("nan"), 1.0)])
    assert "chosen" not in [each.text for each in root.iter(f"{SVG}text")]
    assert list(root.iter(f"{SVG}path")) == []
