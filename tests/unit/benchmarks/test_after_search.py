"""What is on trial after a search: committees of networks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from core.nas.classifier import ImageClassifier
from tests.benchmarks.after_search.committees import Committee, choose, tdac

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
