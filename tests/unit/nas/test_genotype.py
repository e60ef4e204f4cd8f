"""Genotypes survive JSON and refuse nonsense; spaces refuse what no network has."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.nas.genotype import Edge, Genotype
from core.nas.space import CELL_SPACES, Space

OPERATIONS = CELL_SPACES["darts"].operations


@st.composite
def cells(draw: st.DrawFn, nodes: int) -> tuple[tuple[Edge, Edge], ...]:
    cell = []
    for node in range(nodes):
        sources = draw(st.permutations(range(node + 2)))[:2]
        names = [draw(st.sampled_from(OPERATIONS[1:])) for _ in range(2)]
        cell.append((Edge(names[0], sources[0]), Edge(names[1], sources[1])))
    return tuple(cell)


@given(st.integers(1, 6).flatmap(lambda n: st.tuples(cells(n), cells(n))))
def test_json_round_trip(pair: tuple) -> None:
    genotype = Genotype(normal=pair[0], reduction=pair[1])
    text = genotype.to_json()
    assert Genotype.from_json(text) == genotype
    assert Genotype.from_json(text).to_json() == text


GOOD = [[["sep_conv_3x3", 0], ["skip_connect", 1]]]


@pytest.mark.parametrize(
    ("normal", "where"),
    [
        ([], "genotype.normal: no nodes"),
        ("sep", "genotype.normal: expected a list"),
        ([[["sep_conv_3x3", 0]]], r"normal\[0\]: expected 2 edges, got 1"),
        ([[["conv_7x7", 0], ["skip_connect", 1]]], r"normal\[0\]: unknown operation 'conv_7x7'"),
        ([[["none", 0], ["skip_connect", 1]]], "unknown operation 'none'"),
        ([[["skip_connect", 2], ["skip_connect", 1]]], r"normal\[0\]: source 2 is not in 0..1"),
        ([[["skip_connect", -1], ["skip_connect", 1]]], "source -1"),
        ([[["skip_connect", 1], ["max_pool_3x3", 1]]], "several edges come from state 1"),
        ([[["skip_connect", True], ["max_pool_3x3", 0]]], r"normal\[0\]\[0\]: the source"),
        ([[["skip_connect", 1.0], ["max_pool_3x3", 0]]], "the source is not an integer"),
        ([[[7, 1], ["max_pool_3x3", 0]]], "the operation is not text"),
        ([[["skip_connect", 1, 2], ["max_pool_3x3", 0]]], r"\[operation, source\]"),
        (GOOD * 2 + GOOD, "normal has 3 nodes, reduction 1"),
    ],
)
def test_nonsense_is_refused_and_located(normal: object, where: str) -> None:
    with pytest.raises(ValueError, match=where):
        Genotype.from_json(json.dumps({"normal": normal, "reduction": GOOD}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"normal": []}', "[" * 100_000])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="genotype"):
        Genotype.from_json(text)


def test_skips_of_the_normal_cell_are_counted(genotype: Genotype) -> None:
    assert genotype.skip_count == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": 3},
        {"channels": 0},
        {"channels": 16.0},
        {"layers": 2},
        {"nodes": 0},
        {"stem_multiplier": True},
        {"input_channels": 17},
    ],
)
def test_impossible_spaces_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=f"space.{next(iter(fields))}"):
        Space(**fields)


def test_space_round_trip_and_sizes() -> None:
    space = Space(channels=8, layers=5, nodes=3)
    assert Space.from_dict(space.to_dict()) == space
    assert space.reduction_layers == (1, 3)
    assert space.edges == 2 + 3 + 4
    assert [space.edge(node, s) for node in range(3) for s in range(node + 2)] == list(range(9))
    assert Space().edges == 14
    with pytest.raises(ValueError, match="unknown field 'depth'"):
        Space.from_dict({"depth": 3})


def test_the_serving_process_can_read_both_without_torch() -> None:
    code = "import core.nas.genotype, core.nas.space, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cells_of_another_space_say_which_and_keep_all_edges() -> None:
    cell = ((Edge("conv_3x3", 0),), (Edge("none", 0), Edge("skip_connect", 1)))
    genotype = Genotype(normal=cell, reduction=(), cells="nas-bench-201")
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert json.loads(genotype.to_json())["cells"] == "nas-bench-201"
    with pytest.raises(ValueError, match="expected 2 edges, got 1"):
        Genotype(normal=(*cell[:1], cell[0]), reduction=(), cells="nas-bench-201")
    with pytest.raises(ValueError, match="no reduction cell"):
        Genotype(normal=cell, reduction=cell, cells="nas-bench-201")
    with pytest.raises(ValueError, match="unknown operation 'conv_3x3'"):
        Genotype(normal=(cell[0] * 2,), reduction=(cell[0] * 2,), cells="s2")
    with pytest.raises(ValueError, match="no cell space"):
        Genotype(normal=cell, reduction=cell, cells="s9")
