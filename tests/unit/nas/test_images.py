"""Splits are stratified and disjoint, batches complete, randomness decided by the seed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.nas.images import LabelledImages, epoch_generator


def numbered(count: int = 60, classes: int = 4, channels: int = 1) -> LabelledImages:
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None]
    images = images.expand(count, channels, 8, 8).contiguous()
    return LabelledImages.measured(images, torch.arange(count) % classes, classes)


def test_halves_are_disjoint_complete_and_stratified() -> None:
    data = numbered()
    train, valid = data.halves(3)
    seen = torch.cat([train.images, valid.images])[:, 0, 0, 0].sort().values
    assert torch.equal(seen, torch.arange(60, dtype=torch.uint8))
    assert (train.labels.bincount() - valid.labels.bincount()).abs().max() <= 1
    again, _ = data.halves(3)
    other, _ = data.halves(4)
    assert torch.equal(train.images, again.images)
    assert not torch.equal(train.images, other.images)


@pytest.mark.parametrize("count", [8, 13, 60])
def test_what_a_larger_part_leaves_out_a_smaller_one_leaves_out_too(count: int) -> None:
    def left_out(fraction: float) -> set[int]:
        return set(numbered(count).split(fraction, 3)[1].images[:, 0, 0, 0].tolist())

    assert left_out(0.85) <= left_out(0.5) <= left_out(0.2)


def test_a_lonely_image_is_trained_on_and_larger_classes_reach_both_parts() -> None:
    labels = torch.tensor([0, 1, 1, 2, 2, 2])
    data = LabelledImages.measured(torch.zeros(6, 1, 4, 4, dtype=torch.uint8), labels, 3)
    train, valid = data.split(0.9, 0)
    assert train.labels.tolist() == [0, 1, 2, 2]
    assert valid.labels.tolist() == [1, 2]
    with pytest.raises(ValueError, match="leave a part empty"):
        data.take(torch.tensor([0])).halves(0)


@pytest.mark.parametrize("batch_size", [1, 7, 59, 60, 1000])
def test_batches_hold_every_image_once_in_even_sizes(batch_size: int) -> None:
    data = numbered()
    batches = list(data.batches(batch_size, epoch_generator(0, 0)))
    sizes = [len(labels) for _, labels in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    means = torch.cat([images.mean(dim=(1, 2, 3)) for images, _ in batches])
    assert (means * data.std + data.mean).mul(255).round().sort().values.tolist() == list(
        range(60)
    )


def test_every_batch_is_heard_also_of_a_part() -> None:
    heard: list[int] = []
    data = replace(numbered(), heard=lambda: heard.append(1))
    train, valid = data.to("cpu").with_channels(3).halves(0)
    generator = epoch_generator(0, 0)
    for images, count in ((train, 4), (valid.sample(20, generator), 3)):
        heard.clear()
        assert len(list(images.batches(8))) == count == len(heard)


def test_normalised_batches_have_mean_zero_and_deviation_one(digits: LabelledImages) -> None:
    images = torch.cat([images for images, _ in digits.batches(500)])
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_order_depends_on_seed_epoch_and_stream_only() -> None:
    def order(*key: int) -> list[int]:
        return torch.randperm(1000, generator=epoch_generator(*key)).tolist()

    assert order(1, 2, 3) == order(1, 2, 3)
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (2**62, 0, 0)]
    assert len({tuple(order(*key)) for key in keys}) == len(keys)


def test_shift_moves_each_image_by_whole_pixels_and_repeats_edges() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(1, 255, (1, 1, 16, 16), generator=generator, dtype=torch.uint8)
    data = LabelledImages(
        image.repeat(200, 1, 1, 1), torch.zeros(200).long(), 1, torch.zeros(1), torch.ones(1)
    )
    padded = torch.nn.functional.pad(image.float(), (2, 2, 2, 2), mode="replicate")[0, 0]
    possible = {
        tuple(padded[i : i + 16, j : j + 16].flatten().tolist())
        for i in range(5)
        for j in range(5)
    }
    (got, _), *_ = data.batches(200, epoch_generator(0, 0), "shift")
    found = {tuple(x.flatten().mul(255).round().tolist()) for x in got}
    assert found == possible


def test_channels_convert() -> None:
    grey = numbered().with_channels(3)
    assert grey.images.shape[1] == len(grey.mean) == len(grey.std) == 3
    colour = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    colour[0], colour[1, 1] = 200, 255
    data = LabelledImages.measured(colour, torch.zeros(2).long(), 1).with_channels(1)
    assert data.images[:, 0, 0, 0].tolist() == [200, round(0.587 * 255)]
    assert data.images.shape == (2, 1, 4, 4)
    with pytest.raises(ValueError, match="cannot turn 3 channels into 2"):
        LabelledImages.measured(colour, torch.zeros(2).long(), 1).with_channels(2)


def test_constant_images_stay_finite() -> None:
    data = LabelledImages.measured(
        torch.full((4, 1, 4, 4), 9, dtype=torch.uint8), torch.zeros(4).long(), 1
    )
    (images, _), *_ = data.batches(4)
    assert images.abs().max() < 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(4, 1, 8, 8)}, "uint8"),
        ({"images": torch.zeros(4, 8, 8, dtype=torch.uint8)}, r"\[N, C, H, W\]"),
        ({"labels": torch.zeros(3).long()}, "labels"),
        ({"labels": torch.tensor([0, 1, 2, 0])}, r"0\.\.1"),
        ({"labels": torch.tensor([0, -1, 1, 0])}, r"0\.\.1"),
        ({"classes": 0}, "classes"),
        ({"std": torch.zeros(1)}, "std"),
        ({"mean": torch.zeros(2)}, "mean"),
        ({"mean": torch.tensor([float("nan")])}, "mean"),
    ],
)
def test_inconsistent_images_are_refused(change: dict, message: str) -> None:
    fields = {
        "images": torch.zeros(4, 1, 8, 8, dtype=torch.uint8),
        "labels": torch.tensor([0, 1, 1, 0]),
        "classes": 2,
        "mean": torch.zeros(1),
        "std": torch.ones(1),
    }
    with pytest.raises(ValueError, match=message):
        LabelledImages(**{**fields, **change})


def test_augmentation_needs_a_name_and_randomness() -> None:
    with pytest.raises(ValueError, match="'flip' is not one of"):
        next(numbered().batches(4, epoch_generator(0, 0), "flip"))
    with pytest.raises(ValueError, match="generator"):
        next(numbered().batches(4, None, "shift"))
