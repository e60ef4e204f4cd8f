"""One client is plain training to the bit; several are averaged by their images."""

from __future__ import annotations

import pytest
import torch

from core.nas.images import LabelledImages
from core.nas.normalisation import reestimate
from core.nas.search import SearchConfig, SearchState, run
from core.nas.space import Space
from core.nas.supernet import Supernet
from tests.benchmarks.federated.averaging import average, rounds

CONFIG = SearchConfig(epochs=3, batch_size=8, learning_rate=0.05, alpha_learning_rate=3e-3)


def supernet() -> Supernet:
    space = Space(channels=2, layers=3, nodes=2, input_channels=1, cells="s2")
    return Supernet(space, 2, torch.Generator().manual_seed(0))


def images(seed: int, count: int) -> LabelledImages:
    draws = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 1, 8, 8), generator=draws, dtype=torch.uint8)
    return LabelledImages(pixels, torch.arange(count) % 2, 2, torch.ones(1) / 2, torch.ones(1))


@pytest.mark.parametrize("every", [1, 2])
def test_one_client_is_plain_training_to_the_bit(every: int) -> None:
    halves = images(0, 32).halves(0)
    plain, alone = SearchState(supernet()), SearchState(supernet())
    for _ in run(plain, *halves, CONFIG):
        pass
    found = list(rounds([alone], [run(alone, *halves, CONFIG)], [16], every=every))
    assert [each[0].epoch for each in found] == ([0, 1, 2, 3] if every == 1 else [0, 2, 3])
    expected = plain.tensors()
    assert all(torch.equal(value, expected[name]) for name, value in alone.tensors().items())


def test_clients_have_one_model_after_a_round_alphas_included() -> None:
    parts = [images(seed, count).halves(0) for seed, count in ((1, 16), (2, 32))]
    states = [SearchState(supernet()) for _ in parts]
    lone = [SearchState(supernet()) for _ in parts]
    trainings = [run(s, *p, CONFIG) for s, p in zip(states, parts, strict=True)]
    several = rounds(states, trainings, [8, 16], every=1)
    next(several), next(several)
    for state, part in zip(lone, parts, strict=True):
        training = run(state, *part, CONFIG)
        next(training), next(training)
    for name, value in states[0].model.state_dict().items():
        assert torch.equal(value, states[1].model.state_dict()[name])
        first, second = (each.model.state_dict()[name] for each in lone)
        if value.is_floating_point():  # the others count batches
            torch.testing.assert_close(value, (first + 2 * second) / 3)
    alphas = [state.supernet.alphas()["normal"] for state in (*lone, states[0])]
    assert not torch.equal(alphas[0], alphas[1])
    torch.testing.assert_close(alphas[2], (alphas[0] + 2 * alphas[1]) / 3)


def test_statistics_by_clients_are_those_over_all_their_batches() -> None:
    parts = [images(3, 12), images(4, 24)]
    models, whole = [supernet(), supernet()], supernet()
    for model, part in zip(models, parts, strict=True):
        reestimate(model, part.batches(12))
    reestimate(whole, (batch for part in parts for batch in part.batches(12)))
    found = average([model.state_dict() for model in models], [12, 24])
    for name, value in whole.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(found[name], value)


def test_averages_by_hand_and_refusals() -> None:
    first, second = {"w": torch.tensor([1.0]), "n": torch.tensor(3)}, {"w": torch.tensor([5.0])}
    assert average([first], [7]) == first
    second["n"] = torch.tensor(9)
    assert average([first, second], [3, 1]) == {"w": torch.tensor([2.0]), "n": torch.tensor(3)}
    with pytest.raises(ValueError, match="2 states"):
        average([first, second], [3, 0])
    with pytest.raises(ValueError, match="different models"):
        average([first, {"w": torch.tensor([1.0])}], [1, 1])
    with pytest.raises(ValueError, match="every"):
        next(rounds([], [], [], every=0))
