"""What is on trial after a search: committees, who teaches whom, supernets in fewer bytes."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from core.nas.classifier import ImageClassifier
from tests.benchmarks.after_search.committees import Committee, Partitioned, choose, tdac
from tests.benchmarks.after_search.encodings import (
    DIFFERENCES,
    ENCODINGS,
    bfloat16,
    int8,
    sparse,
    stored,
    stored_difference,
)

TRUTH = np.repeat(np.arange(4), 25)


class Fixed(ImageClassifier):
    """Gives the logits that it was made with, whatever it is shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(1, logits.shape[1], torch.Generator().manual_seed(0))
        self.logits = logits

    def trunk(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: len(images)]


def wrong(*places: int) -> np.ndarray:
    """The truth, but for some images."""
    answers = TRUTH.copy()
    answers[list(places)] = (answers[list(places)] + 1) % 4
    return answers


def test_tdac_is_symmetric_and_knows_its_extremes() -> None:
    first, second = wrong(*range(0, 30)), wrong(*range(60, 100))
    assert tdac(first, second, TRUTH) == pytest.approx(tdac(second, first, TRUTH))
    assert tdac(TRUTH, TRUTH, TRUTH, share=0) == pytest.approx(1)
    assert tdac(first, first, TRUTH, share=1) == pytest.approx(0)
    constant = np.zeros_like(TRUTH)
    assert tdac(constant, constant, TRUTH) == 0
    # Independent answers say all that there is to say of a pair: VI is 1.
    assert tdac(TRUTH, np.arange(100) % 25, TRUTH, share=1) == pytest.approx(1)


def test_a_committee_takes_who_knows_something_else() -> None:
    twin, other = wrong(0, 1, 2), wrong(40, 41, 42)
    assert choose([wrong(0, 1, 2), twin, other], TRUTH, 2, begin=0, share=0.9) == [0, 2]
    assert sorted(choose([twin, other, TRUTH], TRUTH, 3, begin=1)) == [0, 1, 2]
    with pytest.raises(ValueError, match="size: 4 of 3"):
        choose([twin, other, TRUTH], TRUTH, 4, begin=0)


def test_a_committee_answers_by_the_mean_of_probabilities() -> None:
    drawn = torch.Generator().manual_seed(1)
    logits = [3 * torch.randn(5, 4, generator=drawn) for _ in range(3)]
    told = Committee([Fixed(each) for each in logits])(torch.zeros(5, 1, 1, 1))
    mean = torch.stack([each.softmax(dim=1) for each in logits]).mean(dim=0)
    torch.testing.assert_close(told.softmax(dim=1), mean)


def test_who_is_surer_teaches() -> None:
    teacher = torch.tensor([[4.0, 0.0], [0.1, 0.0], [0.0, 9.0]])
    student = torch.tensor([[0.0, 1.0], [0.0, 5.0], [2.0, 0.0]])
    told = Partitioned(Fixed(teacher), Fixed(student))(torch.zeros(3, 1, 1, 1))
    torch.testing.assert_close(told, torch.stack([teacher[0], student[1], teacher[2]]))


def test_numbers_come_back_as_exactly_as_they_were_stored() -> None:
    tensor = torch.randn(6, 40, generator=torch.Generator().manual_seed(2))
    told, size = int8(tensor)
    assert bool(((told - tensor).abs() <= tensor.abs().amax(dim=1, keepdim=True) / 253).all())
    assert size == 6 * 40 + 6 * 4
    told, size = bfloat16(tensor)
    assert bool(((told - tensor).abs() <= tensor.abs() * 2**-8).all())
    told, size = sparse(tensor, kept=0.1)
    kept = told != 0
    assert int(kept.sum()) == 24
    assert float(tensor[kept].abs().min()) >= float(tensor[~kept].abs().max())
    assert size == 240 / 8 + 2 * 24


def test_only_weights_are_encoded_and_no_difference_is_the_parent() -> None:
    drawn = torch.Generator().manual_seed(3)
    names = {"stem": (4, 3, 3, 3), "alphas_normal": (2, 5), "norm.running_var": (4,)}
    parent, child = (
        {name: torch.rand(shape, generator=drawn) for name, shape in names.items()}
        for _ in range(2)
    )
    told, size = stored_difference(child, parent, DIFFERENCES["difference, none"])
    assert torch.equal(told["stem"], parent["stem"])
    assert size == 4 * (10 + 4)
    for name in ("alphas_normal", "norm.running_var"):
        assert torch.equal(told[name], child[name])
        assert torch.equal(stored(child, ENCODINGS["10 %"])[0][name], child[name])
    same, _ = stored_difference(parent, parent, DIFFERENCES["difference, int8"])
    assert torch.equal(same["stem"], parent["stem"])
    whole, size = stored(child, ENCODINGS["float32"])
    assert all(torch.equal(whole[name], child[name]) for name in names)
    assert math.isclose(size, 4 * sum(math.prod(shape) for shape in names.values()))
