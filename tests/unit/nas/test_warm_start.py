"""Cold and warm starts: what is carried over, what is fitted anew, what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from core.nas.derive import mean_entropy
from core.nas.evaluate import evaluate
from core.nas.images import LabelledImages
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.nas.warm_start import Source, begin, soften

Halves = tuple[LabelledImages, LabelledImages]


def start(origin: Space | Source, halves: Halves, **changes: object) -> Supernet:
    settings = {
        "head": "closed_form",
        "generator": torch.Generator().manual_seed(0),
        "batch_size": 60,
        **changes,
    }
    return begin(origin, 10, *halves, **settings)


@pytest.fixture
def source(space: Space) -> Source:
    """A supernet for another number of classes with decided alphas."""
    supernet = Supernet(space, 26, torch.Generator().manual_seed(7))
    with torch.no_grad():
        supernet.alphas_normal.normal_(generator=torch.Generator().manual_seed(1)).mul_(8)
    return Source(space, supernet.state_dict())


def test_weights_come_from_the_source_and_alphas_soften(source: Source, halves: Halves) -> None:
    supernet = start(source, halves)
    state = supernet.state_dict()
    assert torch.equal(state["stem"], source.state["stem"])
    assert supernet.classes == 10
    original = source.state["alphas_normal"]
    assert mean_entropy(original) < 0.7 * math.log(8) <= mean_entropy(supernet.alphas_normal)
    centred = original - original.mean(dim=1, keepdim=True)
    ratio = supernet.alphas_normal.detach() / centred
    assert ratio.std() < 1e-5
    assert 0 < ratio.mean() < 1


def test_statistics_and_head_fit_the_target(source: Source, halves: Halves) -> None:
    cold = start(source.space, halves, head="random")
    solved = start(source.space, halves)
    warm = start(source, halves)
    assert evaluate(cold, halves[1], 120).accuracy < 0.3
    assert evaluate(solved, halves[1], 120).accuracy > 0.5
    assert evaluate(warm, halves[1], 120).accuracy > 0.5
    assert not torch.equal(warm.stem_norm.running_mean, source.state["stem_norm.running_mean"])
    assert warm.training


def test_equal_seeds_begin_equally(source: Source, halves: Halves) -> None:
    for origin in (source, source.space):
        first, second = (start(origin, halves).state_dict() for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_retention_bounds_what_is_kept() -> None:
    alphas = torch.randn(14, 8, generator=torch.Generator().manual_seed(0))
    assert soften(alphas, 0.0).abs().max() == 0
    assert torch.allclose(soften(alphas, 0.3), 0.3 * (alphas - alphas.mean(1, keepdim=True)))
    assert mean_entropy(soften(1e6 * alphas, 1.0)) >= 0.7 * math.log(8)


def test_the_source_is_left_alone(source: Source, halves: Halves) -> None:
    before = {name: value.clone() for name, value in source.state.items()}
    start(source, halves)
    assert all(torch.equal(before[name], source.state[name]) for name in before)


def test_a_source_of_another_shape_is_refused_by_name(source: Source, halves: Halves) -> None:
    state = dict(source.state)
    state["stem"] = state["stem"][:2]
    with pytest.raises(ValueError, match="tensor 'stem' is"):
        start(Source(source.space, state), halves)
    del state["stem"]
    with pytest.raises(ValueError, match="missing tensor 'stem'"):
        start(Source(source.space, state), halves)
    with pytest.raises(ValueError, match="unknown tensor 'extra'"):
        start(Source(source.space, {**source.state, "extra": torch.ones(1)}), halves)
    state = {**source.state, "stem": source.state["stem"] * float("nan")}
    with pytest.raises(ValueError, match="'stem' is not finite"):
        start(Source(source.space, state), halves)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "solved"}, "head"),
        ({"alpha_retention": 1.1}, "alpha_retention"),
        ({"alpha_retention": float("nan")}, "alpha_retention"),
    ],
)
def test_bad_settings_are_refused(
    changes: dict, message: str, space: Space, halves: Halves
) -> None:
    with pytest.raises(ValueError, match=message):
        start(space, halves, **changes)


def test_images_must_have_the_channels_of_the_space(halves: Halves) -> None:
    with pytest.raises(ValueError, match="1 channels, the space has 3"):
        start(Space(channels=2, layers=3), halves)
