"""Policies change what they should, alike for equal seeds, and touch no other randomness."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from core.nas.augmentation import AUGMENTATIONS, OPERATIONS, Augmenter, erase, trivial
from core.nas.images import LabelledImages, epoch_generator

FILL = torch.tensor([7], dtype=torch.uint8)


def noise(count: int, channels: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, side, side)
    return torch.randint(0, 256, shape, generator=generator).to(torch.uint8)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.4])  # 2, 4 and 3 of 8 pixels
def test_cutout_erases_one_square_anywhere_and_nothing_else(share: float) -> None:
    length = round(share * 8)
    images = torch.full((2000, 1, 8, 8), 200, dtype=torch.uint8)
    erased = erase(images, share, FILL, epoch_generator(0, 0))
    assert set(erased.unique().tolist()) == {7, 200}
    gone = (erased == 7)[:, 0]
    heights, widths = gone.any(dim=2).sum(dim=1), gone.any(dim=1).sum(dim=1)
    # One rectangle: all of its rows and columns, and only they, are gone.
    assert torch.equal(gone, gone.any(dim=2)[:, :, None] & gone.any(dim=1)[:, None, :])
    inside = ~(gone[:, 0].any(1) | gone[:, -1].any(1) | gone[..., 0].any(1) | gone[..., -1].any(1))
    assert inside.any()
    assert (heights[inside] == length).all()
    assert (widths[inside] == length).all()
    assert (heights >= length // 2).all()  # the centre is in the image
    assert (heights <= length).all()
    assert gone.any(dim=0).all()  # anywhere, the corners included
    assert images.unique().tolist() == [200]


def test_flipping_mirrors_half_of_the_images() -> None:
    images = noise(400, 1, 4)
    changed = Augmenter(flip=True)(images, FILL, epoch_generator(0, 0))
    mirrored = (changed == images.flip(3)).flatten(1).all(1)
    kept = (changed == images).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 160 < mirrored.sum() < 240


TORCHVISION = {
    "identity": ("Identity", 0.0),
    "shear_x": ("ShearX", 0.99),
    "shear_y": ("ShearY", 0.99),
    "translate_x": ("TranslateX", 32.0),
    "translate_y": ("TranslateY", 32.0),
    "rotate": ("Rotate", 135.0),
    "brightness": ("Brightness", 0.99),
    "color": ("Color", 0.99),
    "contrast": ("Contrast", 0.99),
    "sharpness": ("Sharpness", 0.99),
    "auto_contrast": ("AutoContrast", 0.0),
    "equalize": ("Equalize", 0.0),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_operations_are_those_of_torchvision(name: str, channels: int) -> None:
    (image,) = noise(1, channels, 32)
    image[:, [0, -1], :] = image[:, :, [0, -1]] = 90  # a plain border, so that fills agree
    reference = v2.TrivialAugmentWide(fill=[90.0] * channels)
    for level, sign in ((0, 1), (7, -1), (13, 1), (30, -1)):
        strength = level / 30
        if name == "posterize":
            theirs, magnitude = "Posterize", float(round(8 - level / 5))
        elif name == "solarize":
            theirs, magnitude = "Solarize", 1 - strength
        else:
            theirs, largest = TORCHVISION[name]
            magnitude = sign * largest * strength
        expected = reference._apply_image_or_video_transform(
            image, theirs, magnitude, reference.interpolation, reference._fill
        )
        got = OPERATIONS[name](functional, image, strength, sign)
        assert torch.equal(got, expected)


def test_small_images_stay_in_sight_and_their_background_goes_on() -> None:
    image = torch.full((3, 8, 8), 255, dtype=torch.uint8)
    image[:, 2:6, 2:6] = 0
    for name in ("translate_x", "translate_y", "rotate", "shear_x", "shear_y"):
        changed = OPERATIONS[name](functional, image, 0.4, -1)
        assert changed[:, [0, 0, -1, -1], [0, -1, 0, -1]].min() == 255
        assert changed.min() == 0


def test_trivial_draws_every_operation_for_each_image_alone() -> None:
    (one,) = noise(1, 3, 8)
    images = one.expand(300, -1, -1, -1)
    changed = trivial(images, epoch_generator(0, 0))
    different = {tuple(image.flatten().tolist()) for image in changed}
    assert len(different) > 100
    assert tuple(one.flatten().tolist()) in different  # the identity


@pytest.mark.parametrize("policy", AUGMENTATIONS)
def test_draws_depend_on_seed_and_epoch_alone(policy: str) -> None:
    data = LabelledImages.measured(noise(12, 3, 8), torch.arange(12) % 2, 2)

    def batch(seed: int, epoch: int) -> Tensor:
        augmenter = Augmenter(policy=policy)
        before = torch.get_rng_state()
        (images, _), *_ = data.batches(12, epoch_generator(seed, epoch), augmenter)
        assert torch.equal(torch.get_rng_state(), before)
        return images

    first = batch(0, 0)
    torch.rand(3)  # someone else's
    assert torch.equal(batch(0, 0), first)
    assert not torch.equal(batch(0, 1), first)
    assert not torch.equal(batch(1, 0), first)


@pytest.mark.parametrize(("field", "value"), [("policy", "mixup"), ("cutout", 0), ("cutout", 1.5)])
def test_unknown_policies_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match="augment" if field == "policy" else field):
        Augmenter(**{field: value})
