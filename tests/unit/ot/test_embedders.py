"""What embedders promise: shapes, invariances, determinism, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import resnet18

from core.ot import embedders


def strokes(count: int = 6, *, side: int = 32, seed: int = 0) -> Tensor:
    """Smooth bright strokes on black, ``[count, 1, side, side]`` uint8."""
    generator = torch.Generator().manual_seed(seed)
    centres = 8 + 16 * torch.rand(count, 3, 2, generator=generator)
    axis = (torch.arange(side) + 0.5) * 32 / side
    across = axis.view(1, 1, 1, -1) - centres[..., 0].view(count, 3, 1, 1)
    down = axis.view(1, 1, -1, 1) - centres[..., 1].view(count, 3, 1, 1)
    angles = torch.pi * torch.rand(count, 3, 1, 1, generator=generator)
    along = across * angles.cos() + down * angles.sin()
    aside = down * angles.cos() - across * angles.sin()
    ink = torch.exp(-((along / 7) ** 2) - (aside / 2.5) ** 2).amax(1, keepdim=True)
    return (255 * ink).round().to(torch.uint8)


def relative_change(first: Tensor, second: Tensor) -> float:
    """Largest move of a feature vector, relative to the spacing of different images."""
    spacing = torch.pdist(first).mean()
    return float((first - second).norm(dim=1).max() / spacing)


@pytest.fixture(scope="module")
def default() -> embedders.Embedder:
    return embedders.create()


def test_default_is_listed_first_and_named_with_its_version(default: embedders.Embedder) -> None:
    assert embedders.available()[0] == default.name
    assert default.identifier == f"{default.name}@{default.version}"
    assert embedders.create(default.identifier).identifier == default.identifier


@pytest.mark.parametrize("identifier", ["nonesuch", "oriented-energy@0"])
def test_unknown_names_and_versions_are_refused(identifier: str) -> None:
    with pytest.raises(ValueError, match="oriented-energy"):
        embedders.create(identifier)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (8, 8), (28, 28), (50, 20), (64, 64)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_gives_finite_features(
    default: embedders.Embedder, size: tuple[int, int], channels: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, channels, *size), generator=generator, dtype=torch.uint8)
    features = default.embed(images)
    assert features.shape == (3, default.dimension)
    assert features.dtype == torch.float32
    assert bool(torch.isfinite(features).all())
    assert float(features.abs().max()) < 5


def test_features_are_those_of_version_1(default: embedders.Embedder) -> None:
    # A change here makes stored embeddings incomparable: raise the version with it.
    assert default.identifier == "oriented-energy@1"
    (features,) = default.embed(strokes(count=1).expand(-1, 3, -1, -1))
    expected = [0.04842, 0.03666, 0.07253, 0.05929, 0.09605, 0.20153, 0.03477, 0.0]
    assert features[::16].tolist() == pytest.approx(expected, abs=2e-4)
    assert features[-7:-4].tolist() == pytest.approx([0.53274, 0.49286, 0.71334], abs=2e-4)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_of_any_level_look_alike(default: embedders.Embedder, level: int) -> None:
    flat = torch.full((1, 3, 9, 9), level, dtype=torch.uint8)
    black = default.embed(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))
    assert float((default.embed(flat) - black).abs().max()) < 1e-2


def test_polarity_does_not_matter(default: embedders.Embedder) -> None:
    images = strokes()
    assert relative_change(default.embed(images), default.embed(255 - images)) < 1e-2


def test_contrast_hardly_matters(default: embedders.Embedder) -> None:
    images = strokes()
    faint = (images.float() * 0.5 + 40).round().to(torch.uint8)
    assert relative_change(default.embed(images), default.embed(faint)) < 0.15


@pytest.mark.parametrize("side", [16, 64])
def test_resolution_hardly_matters(default: embedders.Embedder, side: int) -> None:
    again = default.embed(strokes(side=side))
    assert relative_change(default.embed(strokes()), again) < 0.2


def test_small_images_stay_nearest_to_their_enlargement(default: embedders.Embedder) -> None:
    small = F.interpolate(strokes(count=12).float(), size=(8, 8), mode="area")
    distances = torch.cdist(
        default.embed(small.round().to(torch.uint8)), default.embed(strokes(count=12))
    )
    assert distances.argmin(1).tolist() == list(range(12))


def test_place_and_margin_hardly_matter(default: embedders.Embedder) -> None:
    dot = strokes(count=12)[..., 8:24, 8:24]
    left = F.pad(dot, (4, 12, 8, 8))
    right = F.pad(dot, (12, 4, 8, 8))
    distances = torch.cdist(default.embed(left), default.embed(right))
    assert distances.argmin(1).tolist() == list(range(12))
    assert relative_change(default.embed(left), default.embed(right)) < 0.4


def test_grey_in_three_channels_is_grey(default: embedders.Embedder) -> None:
    images = strokes()
    coloured = images.expand(-1, 3, -1, -1)
    torch.testing.assert_close(default.embed(images), default.embed(coloured), rtol=0, atol=1e-4)


def test_colour_is_seen(default: embedders.Embedder) -> None:
    red = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 255
    assert float((default.embed(red) - default.embed(red[:, :1])).norm()) > 0.5


def test_batches_do_not_change_features(default: embedders.Embedder) -> None:
    images = strokes(count=7)
    whole = default.embed(images)
    torch.testing.assert_close(default.embed(images, batch_size=2), whole, rtol=0, atol=1e-5)
    assert torch.equal(default.embed(images), whole)
    assert default.embed(images[:0]).shape == (0, default.dimension)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 1, 4, 4),
        torch.zeros(1, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 2, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 1, 0, 4, dtype=torch.uint8),
    ],
)
def test_other_tensors_are_refused(default: embedders.Embedder, images: Tensor) -> None:
    with pytest.raises(ValueError, match="images"):
        default.embed(images)


def test_empty_batches_are_refused(default: embedders.Embedder) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        default.embed(strokes(), batch_size=0)


@pytest.fixture(scope="module")
def resnet_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the format the real ones come in."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = resnet18(weights=None).state_dict()
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def test_resnet_normalises_as_it_was_trained(resnet_weights: Path) -> None:
    embedder = embedders.create("resnet18", weights=resnet_weights)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 128, 128), generator=generator, dtype=torch.uint8)
    network = resnet18(weights=None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = resnet18(weights=None)
    network.fc = torch.nn.Identity()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        expected = network.eval()((images / 255 - mean) / deviation)
    torch.testing.assert_close(embedder.embed(images), expected, rtol=1e-4, atol=1e-4)
    assert embedder.embed(images[:, :1, :9, :7]).shape == (2, embedder.dimension)


def test_resnet_version_follows_its_weights(resnet_weights: Path, tmp_path: Path) -> None:
    state = resnet18(weights=None).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "other")
    first = embedders.create("resnet18", weights=resnet_weights)
    second = embedders.create("resnet18", weights=tmp_path / "other")
    assert first.version != second.version
    with pytest.raises(ValueError, match="not available"):
        embedders.create(first.identifier, weights=tmp_path / "other")


@pytest.mark.parametrize("content", [None, b"not tensors", b""])
def test_absent_and_unreadable_weights_are_explained(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="safetensors"):
        embedders.create("resnet18", weights=path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="ResNet18"):
        embedders.create("resnet18", weights=path)
