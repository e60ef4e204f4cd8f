"""A space's counts agree with one another, and what it cannot be is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from core.nas.space import CELL_SPACES, Space, stem_stride_for


@pytest.mark.parametrize("cells", CELL_SPACES)
@pytest.mark.parametrize("nodes", [1, 3, 4])
def test_edges_are_numbered_by_node_and_source(cells: str, nodes: int) -> None:
    space = Space(nodes=nodes, cells=cells)
    rows = [space.edge(node, at) for node in range(nodes) for at in range(space.sources(node))]
    assert rows == list(range(space.edges))
    for source in range(nodes + space.cell.inputs - 1):
        for node in range(nodes):
            assert (node in space.outgoing(source)) == (source < space.sources(node))
    assert Space.from_dict(space.to_dict()) == space


@pytest.mark.parametrize("cells", CELL_SPACES)
def test_every_cell_space_has_a_convolution_and_distinct_operations(cells: str) -> None:
    operations = CELL_SPACES[cells].operations
    assert any("conv" in each for each in operations)
    assert len(set(operations)) == len(operations)


def test_a_supernet_from_before_there_were_several_spaces_is_darts() -> None:
    old = {"channels": 8, "layers": 4, "nodes": 4, "stem_multiplier": 3, "input_channels": 3}
    assert Space.from_dict(old) == Space(channels=8, layers=4)


@pytest.mark.parametrize(
    ("resolution", "stride"), [(8, 1), (32, 1), (48, 1), (49, 2), (96, 2), (128, 4), (224, 8)]
)
def test_the_stem_is_chosen_by_size(resolution: int, stride: int) -> None:
    assert stem_stride_for(resolution) == stride


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cells": "s9"}, "space.cells: 's9'"),
        ({"stem_stride": 3}, "space.stem_stride: 3"),
        ({"channels": 7}, "space.channels: 7 is odd"),
        ({"channels": 12, "partial": 4}, "space.channels: 12 is no multiple of 8"),
        ({"partial": 0}, "space.partial: 0"),
        ({"layers": 2}, "space.layers: 2"),
        ({"nodes": True}, "space.nodes: expected an integer"),
    ],
)
def test_what_a_space_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Space(**fields)
