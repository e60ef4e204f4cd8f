"""Pictures are valid XML, escape every text, and obey the pages' content security policy."""

import math
import re
from collections.abc import Callable
from itertools import pairwise
from xml.dom import minidom
from xml.etree import ElementTree

import pytest

from core.pictures import layers, scales
from core.pictures.bars import Bar, draw_bars
from core.pictures.brackets import Contestant, Place, draw_bracket
from core.pictures.cells import draw_cell
from core.pictures.curves import Series, draw_curves
from core.pictures.matrices import draw_matrix
from core.pictures.scatter import Spot, draw_scatter
from core.pictures.shares import draw_shares

HOSTILE = "<script>\"alert('x')\"</script> & \x00\x1b‮"
NORMAL = (
    (("sep_conv_3x3", 0), ("sep_conv_5x5", 1)),
    (("skip_connect", 0), ("dil_conv_3x3", 2)),
    (("max_pool_3x3", 1), ("avg_pool_3x3", 3)),
    (("dil_conv_5x5", 4), ("sep_conv_3x3", 2)),
)
SVG = "{http://www.w3.org/2000/svg}"


def hostile_cell() -> str:
    return draw_cell([[(HOSTILE, 0), (HOSTILE, 1)]], title=HOSTILE)


def hostile_curves() -> str:
    lines = [Series(HOSTILE, [1, 2], [0.5, math.nan])]
    return draw_curves(lines, title=HOSTILE, x_label=HOSTILE, y_label=HOSTILE)


def hostile_matrix() -> str:
    return draw_matrix([[1.0]], rows=[HOSTILE], columns=[HOSTILE], title=HOSTILE,
                       row_label=HOSTILE, column_label=HOSTILE)  # fmt: skip


def hostile_bars() -> str:
    return draw_bars([Bar(HOSTILE, (1.0,), (0.5, 2.0))], title=HOSTILE, unit=HOSTILE,
                     parts=[HOSTILE])  # fmt: skip


def hostile_scatter() -> str:
    return draw_scatter([Spot(HOSTILE, 1.0, 2.0, marked=True)], title=HOSTILE,
                        description=HOSTILE, groups=[HOSTILE], unit=HOSTILE)  # fmt: skip


def hostile_bracket() -> str:
    rows = [Contestant(HOSTILE, [Place(HOSTILE, HOSTILE)]), Contestant(HOSTILE, [], won=True)]
    return draw_bracket(rows, title=HOSTILE, rungs=[HOSTILE], description=HOSTILE)


def hostile_shares() -> str:
    return draw_shares([(HOSTILE, 1.0)], title=HOSTILE)


PICTURES = [
    hostile_bracket,
    hostile_cell,
    hostile_curves,
    hostile_matrix,
    hostile_bars,
    hostile_scatter,
    hostile_shares,
]


@pytest.mark.parametrize("draw", PICTURES)
def test_hostile_text_stays_text(draw: Callable[[], str]) -> None:
    picture = draw()
    root = ElementTree.fromstring(picture)
    assert not list(root.iter(f"{SVG}script"))
    assert "<script" not in picture
    assert "\x00" not in picture
    assert "alert('x')" in "".join(root.itertext())


@pytest.mark.parametrize("draw", PICTURES)
def test_nothing_that_the_policy_forbids(draw: Callable[[], str]) -> None:
    forbidden = re.compile(r"\s(style|on\w+|href|id)=|<style|url\(")
    assert forbidden.search(draw()) is None


@pytest.mark.parametrize("draw", PICTURES)
def test_accessible_name_comes_first(draw: Callable[[], str]) -> None:
    root = minidom.parseString(draw()).documentElement
    assert root is not None
    assert root.getAttribute("role") == "img"
    assert root.firstChild is not None
    assert root.firstChild.nodeName == "title"


def test_cell_names_every_operation_and_end() -> None:
    root = ElementTree.fromstring(draw_cell(NORMAL, title="Normal cell"))
    words = [text.text for text in root.iter(f"{SVG}text")]
    for edges in NORMAL:
        for operation, _ in edges:
            assert operation in words
    assert [word for word in words if word in {"0", "1", "2", "3"}] == ["0", "1", "2", "3"]
    assert len(list(root.iter(f"{SVG}path"))) == 8 + 8 + 4  # into pills, pills to nodes, output


def test_cell_refuses_an_input_that_comes_later() -> None:
    with pytest.raises(ValueError, match="not before it"):
        draw_cell([[("skip_connect", 2)]], title="impossible")


def test_a_cell_of_one_input_hands_on_its_last_node() -> None:
    nodes = [[("conv_3x3", 0)], [("none", 0), ("skip_connect", 1)]]
    drawn = draw_cell(nodes, title="Cell", inputs=1, concatenated=False)
    assert "node 0 → node 1" in drawn
    assert drawn.count('stroke-opacity="0.3"') == 1
    assert "k\N{MINUS SIGN}2" not in drawn
    with pytest.raises(ValueError, match="not before it"):
        draw_cell([[("conv_3x3", 1)]], title="impossible", inputs=1)


def test_gaps_split_a_curve_and_lone_points_are_drawn() -> None:
    series = [Series("loss", [1, 2, 3, 4], [1.0, 2.0, math.inf, 4.0])]
    root = ElementTree.fromstring(
        draw_curves(series, title="Loss", x_label="epoch", y_label="loss")
    )
    runs = [line.get("points", "").split() for line in root.iter(f"{SVG}polyline")]
    assert [len(run) for run in runs] == [2, 1]
    assert len(list(root.iter(f"{SVG}circle"))) == 3


def test_an_empty_chart_says_so() -> None:
    assert "nothing recorded yet" in draw_curves([], title="Loss", x_label="x", y_label="y")


def test_every_legend_entry_stays_on_the_picture() -> None:
    series = [Series(f"a rather long name number {i}", [0, 1], [0, 1]) for i in range(8)]
    root = ElementTree.fromstring(draw_curves(series, title="t", x_label="x", y_label="y"))
    names = [text for text in root.iter(f"{SVG}text") if "number" in (text.text or "")]
    assert len(names) == 8
    assert all(float(name.get("x", "inf")) < 600 for name in names)


def test_larger_values_are_stronger_and_zero_is_blank() -> None:
    picture = draw_matrix([[0, 1], [5, 10]], rows="ab", columns="cd", title="Confusion")
    cells = [
        r for r in ElementTree.fromstring(picture).iter(f"{SVG}rect") if r.get("fill-opacity")
    ]
    strengths = [float(cell.get("fill-opacity", "0")) for cell in cells]
    assert strengths == sorted(strengths)
    assert len(strengths) == 3


def test_a_thousand_classes_are_drawn_without_labels() -> None:
    names = [str(i) for i in range(1_000)]
    diagonal = [[float(i == j) for j in range(1_000)] for i in range(1_000)]
    picture = draw_matrix(diagonal, rows=names, columns=names, title="Confusion")
    assert picture.count("<rect") == 1_001
    assert "<text" not in picture


def test_stacked_bars_add_up() -> None:
    picture = draw_bars([Bar("zero", (30.0, 10.0))], title="t", unit="images", parts=["a", "b"])
    root = ElementTree.fromstring(picture)
    first, second = [r for r in root.iter(f"{SVG}rect") if r.get("y") != "8"]
    assert float(second.get("x", "0")) == pytest.approx(
        float(first.get("x", "0")) + float(first.get("width", "0")), abs=0.02
    )
    assert "40" in [text.text for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 12), (0.001, 0.0042), (5, 5), (1, 1e9)])
def test_ticks_are_inside_and_evenly_spaced(low: float, high: float) -> None:
    marks = scales.ticks(low, high)
    assert all(low - 1e-9 <= mark <= high * (1 + 1e-9) for mark in marks)
    steps = [second - first for first, second in pairwise(marks)]
    assert all(step == pytest.approx(steps[0]) for step in steps)
    assert 1 <= len(marks) <= 12


def test_whole_ticks_are_whole() -> None:
    assert all(mark == int(mark) for mark in scales.ticks(0, 3, about=8, whole=True))


def test_layout_keeps_columns_in_order_and_boxes_apart() -> None:
    links = [
        layers.Link(0, 2, 0),
        layers.Link(1, 2, 1),
        layers.Link(2, 3, 0),
        layers.Link(0, 3, 1),
    ]
    plan = layers.arrange(links, count=4, heights=dict.fromkeys(range(4), 20.0), lane=10, gap=5)
    assert all(plan.depths[link.source] < plan.depths[link.target] for link in links)
    assert [column for column, _ in plan.lanes[links[3]]] == [1]
    assert abs(plan.middles[0] - plan.middles[1]) >= 25
