"""Two processes search as one: same architecture, same numbers, gradients of the whole batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from core.nas.ranks import ALONE, ProcessGroup, Ranks, TooFewImages

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("ranks")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    program = ["--nproc-per-node=2", "-m", "tests.unit.nas.search_on_ranks", str(folder)]
    done = subprocess.run(
        [*launcher, *program], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_both_end_with_the_same_architecture_weights_and_figures(
    both: list[dict[str, object]],
) -> None:
    first, second = both
    assert first == second
    assert first["disagreement"] == "test: the processes of this search no longer agree"


def test_the_least_and_the_first_are_the_same_for_both(both: list[dict[str, object]]) -> None:
    assert both[0]["least"] == [0, -1]
    assert both[0]["of_first"] == [5]


def test_a_retraining_is_planned_by_the_first_clock(both: list[dict[str, object]]) -> None:
    retrained = both[0]["retrained"]
    assert isinstance(retrained, list)
    # By the second clock it would be over after one epoch.
    assert len(retrained) == 1 + 2 * 5
    assert retrained[-4:] == [4, 4, 4, 4]


def test_gradients_are_those_of_the_whole_batch(both: list[dict[str, object]]) -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    weight = torch.ones(3, 5, dtype=torch.float64, requires_grad=True)
    F.cross_entropy(images @ weight.t(), torch.arange(7) % 3).backward()
    averaged = torch.tensor(both[0]["linear"], dtype=torch.float64)
    torch.testing.assert_close(averaged, weight.grad, rtol=1e-12, atol=1e-12)


def test_alone_everything_is_ones_own() -> None:
    images, labels = torch.zeros(3, 1), torch.zeros(3)
    assert ALONE.share(images, labels) == (images, labels)
    assert ALONE.average([None, images], 3, 3) == [None, images]
    assert ALONE.total(images) is images
    assert ALONE.least(images) is images
    assert ALONE.of_first(images) is images
    with pytest.raises(RuntimeError, match="initialise the process group"):
        ProcessGroup()


def test_a_share_needs_two_images() -> None:
    two = Ranks()
    two.size = 2
    with pytest.raises(TooFewImages, match="3 images for 2 processes; give at least 4"):
        two.share(torch.zeros(3, 1), torch.zeros(3))
    images, labels = two.share(torch.arange(5)[:, None], torch.arange(5))
    assert labels.tolist() == [0, 2, 4]
    assert images.flatten().tolist() == [0, 2, 4]
