"""Several trained networks for one task: which to ask together.

Bian et al. 2019, arXiv 1910.00370 (SAEP), the measure TDAC and its greedy choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.nas.classifier import ImageClassifier

Answers = NDArray[np.int64]  # [N], the class that each image was taken for


def tdac(first: Answers, second: Answers, truth: Answers, share: float = 0.5) -> float:
    """How much two networks differ, and how much each knows of the truth.

    ``share VI(f, s) + (1 - share) (MI(f, y) + MI(s, y)) / 2``, where ``MI = I / sqrt(H H)`` and
    ``VI = 1 - I / H(f, s)``; symmetric, in 0..1.

    Args:
        first: Answers ``[N]``.
        second: Answers ``[N]`` of the other network to the same images.
        truth: Labels ``[N]``.
        share: Of diversity, in 0..1.
    """
    shared, joint = _information(first, second)
    diversity = 1 - shared / joint if joint else 0.0
    known = (_normalised(first, truth) + _normalised(second, truth)) / 2
    return share * diversity + (1 - share) * known


def choose(
    answers: Sequence[Answers], truth: Answers, size: int, begin: int, share: float = 0.5
) -> list[int]:
    """A committee, grown from one member by what adds most TDAC to those in it.

    Args:
        answers: Of every network, to held-out images.
        truth: Their labels.
        size: Members, at most as many as there are networks.
        begin: The first; the paper draws it.
        share: As `tdac`.

    Raises:
        ValueError: a committee of none, or of more than there are.
    """
    if not 0 < size <= len(answers):
        raise ValueError(f"size: {size} of {len(answers)} networks")
    worth = np.zeros((len(answers),) * 2)
    for i, j in combinations(range(len(answers)), 2):
        worth[i, j] = worth[j, i] = tdac(answers[i], answers[j], truth, share)
    chosen = [begin]
    while len(chosen) < size:
        left = [each for each in range(len(answers)) if each not in chosen]
        chosen.append(max(left, key=lambda each: (worth[each, chosen].sum(), -each)))
    return chosen


class Committee(nn.Module):
    """Logarithms, up to a constant, of the mean of several networks' probabilities.

    Args:
        members: Of the same classes.
    """

    def __init__(self, members: Sequence[ImageClassifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.classes = members[0].classes

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, K]`` of normalised images ``[N, C, H, W]``."""
        told = torch.stack([member(images).log_softmax(dim=1) for member in self.members])
        return told.logsumexp(dim=0)  # a constant shifts all logits alike


def _information(first: Answers, second: Answers) -> tuple[float, float]:
    """Mutual information and joint entropy, in nats."""
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1 / len(first))
    joint, *own = (_entropy(each) for each in (table, table.sum(axis=0), table.sum(axis=1)))
    return sum(own) - joint, joint


def _normalised(first: Answers, second: Answers) -> float:
    shared, _ = _information(first, second)
    scale = _entropy(np.bincount(first) / len(first)) * _entropy(np.bincount(second) / len(second))
    return shared / float(np.sqrt(scale)) if scale > 0 else 0.0


def _entropy(chances: NDArray[np.float64]) -> float:
    seen = chances[chances > 0]
    return float(-(seen * np.log(seen)).sum())
