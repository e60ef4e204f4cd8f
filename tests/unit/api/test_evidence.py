"""What is said of a ranking: sentences that claim no more than the numbers do."""

from typing import Any
from uuid import uuid4

import pytest

from api.web import evidence, neighbour_charts, words
from core.domain.datasets import DatasetId, Measure, Neighbour


@pytest.mark.parametrize(
    ("proven", "shown", "sources", "said"),
    [
        (3, 5, 40, "The first 3 are certain; the order of the others is the best that was found."),
        (1, 5, 40, "The first is certain; the order of the others is the best that was found."),
        (4, 5, 40, "The first 4 are certain; the order of the other is the best that was found."),
        (5, 5, 40, "All 5 neighbours are certain: none of the 35 other sources is nearer."),
        (5, 5, 5, "All 5 neighbours are certain: there are no other sources."),
        (1, 1, 2, "This neighbour is certain: the one other source is not nearer."),
        (0, 5, 40, "No place is certain: the order is the best that was found."),
        (0, 0, 0, ""),
        (0, 5, 0, ""),  # from before rankings claimed anything
    ],
)
def test_certainty(proven: int, shown: int, sources: int, said: str) -> None:
    assert evidence.certainty(proven=proven, shown=shown, sources=sources) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "The nearest is near: 62.5 % of 40 registered datasets lie at least as far from "
             "their own nearest neighbour (distance 2 by class statistics; far is beyond "
             "8.5)."),
        ({"nearness": "far", "share": 0.03, "threshold": None},
         "Nothing registered is near: 97 % of 40 registered datasets lie closer to their own "
         "nearest neighbour (distance 2 by class statistics)."),
        ({"nearness": "far", "share": 0.0, "threshold": None},
         "Nothing registered is near: all of 40 registered datasets lie closer to their own "
         "nearest neighbour (distance 2 by class statistics)."),
        ({"nearness": "unknown", "share": None, "references": 3},
         "Too few registered datasets (3) to say whether the nearest is near."),
        ({"share": None}, "Too few registered datasets (40) to say whether the nearest is near."),
    ],
)  # fmt: skip
def test_verdict(change: dict[str, Any], said: str) -> None:
    known = {"nearness": "near", "nearest": 2.0, "threshold": 8.5, "share": 0.625}
    assert evidence.verdict(**({"references": 40} | known | change)) == said


def test_a_hub_is_one_only_where_enough_are_registered_to_tell() -> None:
    said = "is the nearest of 31 % of registered datasets: a common neighbour"
    assert evidence.hub(0.31, nearness="near") == said
    assert evidence.hub(0.31, nearness="far") == said
    for share, nearness in ((0.24, "near"), (None, "near"), (0.9, "unknown"), (0.9, None)):
        assert evidence.hub(share, nearness=nearness) == ""


def test_what_a_distance_rests_on() -> None:
    assert evidence.measure("samples", (1200, 30)) == "1,200 and 30 images"
    assert evidence.measure("samples") == ""
    assert evidence.measure("classes", (5, 5)) == "class statistics only"
    assert evidence.measure("estimate") == "estimated"
    assert set(evidence.MEASURES) == {each.value for each in Measure}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "less than 0.1 s"), (0.0, "0.0 s"), (0.1, "0.1 s"), (75, "1 min 15 s")],
)
def test_short_times_are_not_nothing(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


def test_what_is_left_is_said_to_be_an_estimate() -> None:
    assert words.left(75) == "about 1 min 15 s"
    assert words.left(0.04) == "less than 0.1 s"
    assert words.left(None) == words.UNKNOWN


def wide(classes: int) -> Neighbour:
    entries = [(f"t{i % 40}", f"s{i}", 1.0 / (i + 10)) for i in range(classes)]
    nil = DatasetId(uuid4())
    interval = (1.0, 1.0)
    return Neighbour(nil, "wide", None, 1.0, interval, False, 1.0, 0.0, tuple(entries))


def test_of_many_classes_the_heaviest_are_drawn_and_the_rest_in_one() -> None:
    picture = str(neighbour_charts.coupling(wide(200)))
    assert ">170 others</text>" in picture
    assert ">10 others</text>" in picture
    assert ">s29</text>" in picture
    assert ">s30</text>" not in picture
    whole = str(neighbour_charts.coupling(wide(31)))
    assert "others" not in whole
    assert ">s30</text>" in whole


def test_a_distance_of_nothing_has_no_parts() -> None:
    nil = DatasetId(uuid4())
    same = Neighbour(nil, "same", None, 0.0, (0.0, 0.0), False, 0.0, 0.0, ())
    assert neighbour_charts.features_share(same) is None
    assert neighbour_charts.parts(same) is None
    assert neighbour_charts.coupling(same) is None
