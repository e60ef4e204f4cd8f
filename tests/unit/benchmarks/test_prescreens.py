"""Correlations are Spearman's, and a score that knows everything leads by what there is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.benchmarks.bench_prescreens import correlations, leads, resampled


def test_correlations() -> None:
    draw = np.random.default_rng(0)
    scores, worth = draw.integers(5, size=(3, 2, 12)).astype(float), draw.random((2, 12))
    scores[2] = 1.0
    found = correlations(scores, worth)
    for at in range(2):
        for task in range(2):
            expected = spearmanr(scores[at, task], worth[task]).statistic
            assert found[at, task] == pytest.approx(expected)
    assert not found[2].any()


def test_what_the_best_quarter_is_worth() -> None:
    worth = np.arange(8.0)[None]
    assert leads(np.stack([worth, -worth]), worth).tolist() == [3.0, -3.0]


def test_resampling_keeps_pairs() -> None:
    worth = np.random.default_rng(0).random((2, 10))
    by_task, over = resampled(np.stack([worth, -worth]), worth, draws=20)
    assert by_task.shape == (20, 2, 2)
    np.testing.assert_allclose(over, np.broadcast_to([1.0, -1.0], (20, 2)))
