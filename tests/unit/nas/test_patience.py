"""A search ends when it has not become better beyond noise, and a resumed one ends likewise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from core.nas import methods
from core.nas.images import LabelledImages
from core.nas.patience import Patience
from core.nas.ranks import Ranks
from core.nas.search import SearchConfig, SearchState, run
from core.nas.space import Space
from core.nas.supernet import Supernet

Halves = tuple[LabelledImages, LabelledImages]

# At this rate nothing is learned: only the start is ever as good as it is.
STILL = SearchConfig(epochs=9, batch_size=60, learning_rate=1e-6, patience=3)


@pytest.fixture(scope="module")
def space() -> Space:
    """When a search ends does not depend on how large its cells are."""
    return Space(channels=2, layers=3, nodes=1, input_channels=1)


def fresh(space: Space) -> SearchState:
    return SearchState(Supernet(space, 10, torch.Generator().manual_seed(0)))


def told(*accuracies: float, epochs: int, images: int = 100) -> list[str | None]:
    patience = Patience()
    return [patience.look(each, images, epochs=epochs) for each in accuracies]


def test_progress_within_noise_is_none() -> None:
    # Of 100 images one standard error at .5 is 5 points, of 10,000 it is half a point.
    assert told(0.5, 0.54, 0.55, epochs=2)[-1] == (
        "converged: no better validation accuracy for 2 epochs"
    )
    assert told(0.5, 0.54, 0.55, epochs=2, images=10_000) == [None] * 3
    assert told(0.5, 0.49, 0.56, 0.55, 0.62, epochs=2) == [None] * 5


def test_slow_progress_counts_when_it_adds_up() -> None:
    climb = [0.5 + 0.03 * step for step in range(8)]
    assert told(*climb, epochs=2) == [None] * 8
    assert told(*climb, epochs=1)[1] is not None


def test_without_patience_nothing_ends() -> None:
    assert told(*[0.5] * 20, epochs=0) == [None] * 20


def test_a_search_without_progress_ends_and_says_so(space: Space, halves: Halves) -> None:
    records = list(run(fresh(space), *halves, STILL))
    assert [record.epoch for record in records] == [0, 1, 2, 3]
    assert [record.stopped is None for record in records] == [True, True, True, False]
    assert "for 3 epochs" in (records[-1].stopped or "")
    longer = list(run(fresh(space), *halves, replace(STILL, patience=0)))
    assert len(longer) == 10


def test_a_resumed_search_ends_where_it_would_have(space: Space, halves: Halves) -> None:
    whole, saved = fresh(space), b""
    for record in run(whole, *halves, STILL):
        if record.epoch == 2:
            saved = save(whole.tensors())
    resumed = fresh(space)
    resumed.load(load(saved))
    (last,) = run(resumed, *halves, STILL)
    assert last.stopped is not None
    assert torch.equal(resumed.tensors()["patience.waited"], whole.tensors()["patience.waited"])
    over = fresh(space)
    over.load(whole.tensors())
    assert over.stopped
    assert list(run(over, *halves, STILL)) == []


class Rising(Ranks):
    """Two processes, the other of which is right ever more often."""

    size = 2

    def __init__(self) -> None:
        self.other = 0.0

    def total(self, values: torch.Tensor) -> torch.Tensor:
        if values.ndim:
            return 2 * values
        self.other += 0.15
        return values + self.other


def test_processes_end_by_what_all_of_them_see(space: Space, halves: Halves) -> None:
    config = replace(STILL, epochs=5, patience=1)
    alone = list(run(fresh(space), *halves, config))
    assert [record.epoch for record in alone] == [0, 1]
    together = list(run(fresh(space), *halves, config, ranks=Rising()))
    assert [record.epoch for record in together] == [0, 1, 2, 3, 4, 5]


def test_a_start_is_measured_once(space: Space, halves: Halves) -> None:
    state, saved = fresh(space), b""
    for record in run(state, *halves, replace(STILL, epochs=1, solve_head=True)):
        if not record.epoch:
            saved = save(state.tensors())
    again = fresh(space)
    again.load(load(saved))
    rest = list(run(again, *halves, replace(STILL, epochs=1, solve_head=True), measured=True))
    assert [record.epoch for record in rest] == [1]
    assert torch.equal(again.supernet.classifier.weight, state.supernet.classifier.weight)


@pytest.mark.parametrize("patience", [-1, 1.5, True])
def test_odd_patience_is_refused(patience: float) -> None:
    with pytest.raises(ValueError, match="patience"):
        SearchConfig(epochs=1, patience=patience)  # type: ignore[arg-type]


def test_epochs_in_which_alphas_rest_do_not_count(halves: Halves) -> None:
    partial = Space(channels=4, layers=3, nodes=2, input_channels=1, partial=2)
    supernet = Supernet(partial, 10, torch.Generator().manual_seed(0))
    method = methods.create("pc-darts", supernet)
    config = replace(STILL, epochs=10, patience=1)
    records = list(run(SearchState(supernet, method), *halves, config))
    # Its alphas rest for three tenths of the epochs: the fourth is the first to compare with.
    assert [record.epoch for record in records] == [0, 1, 2, 3, 4, 5]
    assert records[-1].stopped is not None
