"""A trunk sees images as its supernet did, whatever dataset they lie in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.nas.images import LabelledImages
from core.nas.normalisation import reestimate
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.nas.trunk_embedder import TrunkEmbedder, channel_statistics

SPACE = Space(channels=2, layers=3, nodes=2)


@pytest.fixture(scope="module")
def images(digits: LabelledImages) -> LabelledImages:
    """Twenty digits as a supernet of three channels sees them."""
    return digits.take(torch.arange(20)).with_channels(3)


@pytest.fixture(scope="module")
def supernet(images: LabelledImages) -> Supernet:
    network = Supernet(SPACE, 10, torch.Generator().manual_seed(1))
    reestimate(network, images.batches(20))
    return network.eval()


def embedder_of(
    supernet: Supernet, images: LabelledImages, state: dict[str, Tensor] | None = None
) -> TrunkEmbedder:
    return TrunkEmbedder(
        supernet.state_dict() if state is None else state,
        space=SPACE,
        resolution=8,
        mean=images.mean,
        std=images.std,
        version="net",
    )


def test_features_are_what_the_head_sees(supernet: Supernet, images: LabelledImages) -> None:
    embedder = embedder_of(supernet, images)
    with torch.no_grad():
        expected = supernet.features(images.normalise(images.images))
    assert embedder.identifier == "trunk@net"
    assert embedder.dimension == expected.shape[1]
    assert torch.equal(embedder.embed(images.images), expected)


def test_grey_is_repeated_and_batches_do_not_matter(
    supernet: Supernet, images: LabelledImages
) -> None:
    embedder = embedder_of(supernet, images)
    whole = embedder.embed(images.images)
    torch.testing.assert_close(embedder.embed(images.images[:, :1]), whole)
    torch.testing.assert_close(embedder.embed(images.images, batch_size=3), whole)
    assert embedder.embed(images.images[:0]).shape == (0, embedder.dimension)


def test_other_sizes_are_resized(supernet: Supernet, images: LabelledImages) -> None:
    embedder = embedder_of(supernet, images)
    for size in ((1, 1), (8, 8), (5, 30)):
        flat = torch.full((1, 3, *size), 90, dtype=torch.uint8)
        expected = embedder.embed(torch.full((1, 3, 8, 8), 90, dtype=torch.uint8))
        torch.testing.assert_close(embedder.embed(flat), expected)
    assert bool(torch.isfinite(embedder.embed(images.images[..., :1, :1])).all())


def test_loading_leaves_the_seed_of_the_heads_alone(
    supernet: Supernet, images: LabelledImages
) -> None:
    before = torch.random.get_rng_state()
    embedder_of(supernet, images)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("stem"), "missing"),
        (lambda state: state.update(more=torch.zeros(1)), "unknown"),
        (lambda state: state.update(stem=torch.zeros(1)), "shape"),
        (lambda state: state.update(stem=state["stem"] / 0), "finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    supernet: Supernet, images: LabelledImages, change: object, said: str
) -> None:
    state = dict(supernet.state_dict())
    change(state)  # type: ignore[operator]
    with pytest.raises(ValueError, match=said):
        embedder_of(supernet, images, state)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(1, 1, 4, 4),
        torch.zeros(1, 2, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 1, 0, 4, dtype=torch.uint8),
        torch.zeros(4, 4, dtype=torch.uint8),
    ],
)
def test_other_tensors_are_refused(
    supernet: Supernet, images: LabelledImages, wrong: Tensor
) -> None:
    with pytest.raises(ValueError, match="images"):
        embedder_of(supernet, images).embed(wrong)
    with pytest.raises(ValueError, match="batch_size"):
        embedder_of(supernet, images).embed(images.images, batch_size=0)


@pytest.mark.parametrize("given", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_all_images_at_once(given: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(given)
    raw = torch.randint(0, 200, (50, given, 5, 7), generator=generator, dtype=torch.uint8)
    labels = torch.zeros(50, dtype=torch.int64)
    expected = LabelledImages.measured(raw, labels, 1).with_channels(channels)
    mean, std = channel_statistics(raw.split(7), channels)
    assert torch.equal(mean, expected.mean)
    assert torch.equal(std, expected.std)


def test_nothing_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="no images"):
        channel_statistics([], 3)


def test_statistics_must_fit_the_space(supernet: Supernet, images: LabelledImages) -> None:
    for broken in (
        {"mean": images.mean[:1]},
        {"std": images.std * 0},
        {"std": images.std / 0},
    ):
        one = {"mean": images.mean, "std": images.std} | broken
        with pytest.raises(ValueError, match=next(iter(broken))):
            TrunkEmbedder(supernet.state_dict(), space=SPACE, resolution=8, version="net", **one)
