"""At most so many skip connections: the weakest go first, the strongest stay."""

from __future__ import annotations

import pytest
import torch

from core.nas import methods
from core.nas.derive import derive
from core.nas.genotype import Genotype
from core.nas.methods.operation_dropping import OperationDropping
from core.nas.space import Space
from core.nas.supernet import Supernet


def all_skips(cells: str) -> Supernet:
    """Skips everywhere, the stronger the later their edge; then the operation in column 2."""
    space = Space(channels=2, layers=3, nodes=3, input_channels=1, cells=cells)
    supernet = Supernet(space, 3, torch.Generator().manual_seed(0))
    skip = space.operations.index("skip_connect")
    with torch.no_grad():
        for alphas in supernet.alphas().values():
            alphas.zero_()
            alphas[:, skip] = torch.linspace(1, 2, space.edges)
            alphas[:, 2 if skip != 2 else 3] = 0.1
    return supernet


def skips(supernet: Supernet, genotype: Genotype) -> list[int]:
    return [
        supernet.space.edge(node, edge.source)
        for node, edges in enumerate(genotype.normal)
        for edge in edges
        if edge.operation == "skip_connect"
    ]


@pytest.mark.parametrize("cells", ["darts", "s3", "nas-bench-201"])
def test_the_strongest_stay(cells: str) -> None:
    supernet = all_skips(cells)
    plain = derive(supernet)
    rows = skips(supernet, plain)
    assert len(rows) == 6
    assert derive(supernet, max_skips=6) == plain
    for most in range(6):
        genotype = derive(supernet, max_skips=most)
        assert genotype.skip_count == most
        assert skips(supernet, genotype) == rows[6 - most :]
        assert "none" not in [e.operation for node in genotype.normal for e in node]
        assert genotype.reduction == plain.reduction
    assert derive(supernet) == plain


def test_in_all_kept_edges_the_next_best_takes_its_place() -> None:
    supernet = all_skips("nas-bench-201")
    cell = [e.operation for node in derive(supernet, max_skips=1).normal for e in node]
    assert cell == ["conv_1x1"] * 5 + ["skip_connect"]


def test_what_was_dropped_does_not_come_back() -> None:
    supernet = all_skips("nas-bench-201")
    method = methods.create("op-dropping", supernet)
    assert isinstance(method, OperationDropping)
    live = method.live["normal"]
    live[:4] = False
    live[:4, 1] = True  # nothing but the skip is left
    genotype = derive(supernet, method.preference, max_skips=1)
    assert skips(supernet, genotype) == [0, 1, 2, 3]


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="max_skips: -1"):
        derive(all_skips("s3"), max_skips=-1)
