"""The closed-form head is ridge regression, whatever the features look like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from core.nas.head import fit_head, install, remove_temperature, solve_head
from core.nas.images import LabelledImages
from core.nas.normalisation import reestimate
from core.nas.space import Space
from core.nas.supernet import Supernet


def features(count: int, seed: int, dimensions: int = 12, classes: int = 4) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    centres = torch.randn(classes, dimensions, generator=torch.Generator().manual_seed(99))
    noise = 1.5 * torch.randn(count, dimensions, generator=generator)
    scales = torch.logspace(-3, 3, dimensions)
    return (centres[labels] + noise) * scales + 5, labels


def test_equals_scikit_learn_on_standardised_features() -> None:
    train, labels = features(150, 0)
    valid, valid_labels = features(100, 1)
    solution = solve_head(train, labels, valid, valid_labels, 4)
    x = train.double().numpy()
    mean, std = x.mean(0), x.std(0)
    model = Ridge(alpha=solution.ridge * len(x)).fit((x - mean) / std, np.eye(4)[labels])
    expected = model.predict((valid.double().numpy() - mean) / std)
    got = valid.double() @ solution.weight.t() + solution.bias
    assert np.allclose(got.numpy() / solution.temperature, expected, atol=1e-8)
    hits = (got.argmax(1) == valid_labels).double().mean().item()
    assert hits == pytest.approx(solution.valid_accuracy)
    assert hits > 0.5


def test_temperature_minimises_validation_loss() -> None:
    train, labels = features(150, 0)
    valid, valid_labels = features(100, 1)
    solution = solve_head(train, labels, valid, valid_labels, 4)
    logits = valid.double() @ solution.weight.t() + solution.bias

    def loss(factor: float) -> float:
        return torch.nn.functional.cross_entropy(logits * factor, valid_labels).item()

    assert loss(1.0) < min(loss(0.8), loss(1.25))
    assert loss(1.0) < np.log(4)


def test_constant_features_and_lonely_or_absent_classes() -> None:
    train, labels = features(60, 0)
    train[:, 3] = 7.1234567
    labels[labels == 2] = 1  # class 2 is absent from training
    labels[0] = 4  # class 4 has one image
    valid, valid_labels = features(50, 1)
    valid[:, 3] = 1e6  # constant in training: must not matter
    solution = solve_head(train, labels, valid, valid_labels, 6)
    assert solution.weight.isfinite().all()
    assert solution.bias.isfinite().all()
    assert solution.weight[:, 3].abs().max() == 0
    assert solution.valid_accuracy > 0.3


def test_more_features_than_images() -> None:
    train, labels = features(10, 0, dimensions=50)
    solution = solve_head(train, labels, train, labels, 4)
    assert solution.valid_accuracy == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_features_are_refused(bad: float) -> None:
    train, labels = features(10, 0)
    with pytest.raises(ValueError, match="empty"):
        solve_head(train, labels, train[:0], labels[:0], 4)
    train[3, 4] = bad
    with pytest.raises(ValueError, match="not finite"):
        solve_head(train, labels, train, labels, 4)


def test_the_installed_head_answers_as_solved(
    halves: tuple[LabelledImages, LabelledImages], space: Space
) -> None:
    train, valid = halves
    network = Supernet(space, 10, torch.Generator().manual_seed(0))
    reestimate(network, train.batches(120))
    solution = fit_head(network, train, valid, batch_size=50)
    assert network.training
    network.eval()
    hits = sum(
        int((network(images).argmax(1) == labels).sum()) for images, labels in valid.batches(50)
    )
    assert hits / len(valid) == pytest.approx(solution.valid_accuracy)
    assert solution.valid_accuracy > 0.4
    with pytest.raises(ValueError, match="head"):
        install(Supernet(space, 9, torch.Generator()), solution)


def test_without_its_temperature_a_head_answers_the_same(digits: LabelledImages) -> None:
    train, valid = digits.halves(0)
    network = Supernet(Space(channels=2, layers=3, nodes=1, input_channels=1), 10, _generator())
    solution = fit_head(network, train, valid, batch_size=64)
    images = valid.normalise(valid.images)
    with torch.no_grad():
        hot = network.eval()(images)
        remove_temperature(network, solution)
        cool = network(images)
    assert solution.temperature != 1
    torch.testing.assert_close(cool * solution.temperature, hot, rtol=1e-4, atol=1e-4)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
