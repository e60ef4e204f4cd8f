"""Large images: seen band by band as they are seen whole, or refused for what they would take."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from core.data import bands, images
from core.data.images import BadImage
from tests.attacks.pictures import LARGE, saved
from tests.unit.data.builders import encode, noise

GREY, COLOUR = noise(1, (37, 53)), noise(2, (37, 53, 3))
LATE = np.concatenate([np.repeat(GREY[..., None], 3, 2), COLOUR])  # colour, but not at first
PALETTE = Image.fromarray(COLOUR).quantize(16)


def turned(orientation: int, pixels: np.ndarray = COLOUR) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(pixels), exif=exif)


def translucent(mode: str) -> bytes:
    image = Image.fromarray(COLOUR).convert(mode)
    image.putalpha(Image.fromarray(GREY))
    return saved(image)


IMAGES: dict[str, Callable[[], bytes]] = {
    "grey": lambda: encode(GREY),
    "colour": lambda: encode(COLOUR),
    "colour at last": lambda: encode(LATE),
    "grey that says it has colour": lambda: encode(np.repeat(GREY[..., None], 3, 2)),
    "16 bits": lambda: encode(noise(3, (37, 53)).astype(np.uint16) * 250),
    "1 bit": lambda: saved(Image.fromarray(GREY).convert("1")),
    "palette": lambda: saved(PALETTE),
    "palette with a hole": lambda: saved(PALETTE, transparency=3),
    "RGBA": lambda: translucent("RGB"),
    "LA": lambda: translucent("L"),
    "CMYK": lambda: saved(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
    "JPEG": lambda: encode(noise(4, (90, 70, 3)), "JPEG"),
    "progressive": lambda: encode(noise(4, (90, 70, 3)), "JPEG", progressive=True),
    "GIF": lambda: encode(GREY, "GIF"),
    "WebP": lambda: encode(COLOUR, "WEBP", lossless=True),
    "BMP": lambda: encode(COLOUR, "BMP"),
    "wide": lambda: encode(noise(5, (3, 3_000, 3))),
    "tall": lambda: encode(noise(5, (3_000, 3))),
    **{f"turned {way}": lambda way=way: turned(way) for way in range(1, 9)},
    "grey, turned": lambda: turned(6, GREY),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("band", [1, 200, 10**6])
def test_bands_are_the_whole(name: str, band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = IMAGES[name]()
    whole = images.decode(data, max_pixels=10**6, resolution=16)
    monkeypatch.setattr(images, "_WHOLE", 0)
    monkeypatch.setattr(bands, "_BAND", band)
    part = images.decode(data, max_pixels=10**6, resolution=16)
    assert part.whole is not None
    assert part.digest() == whole.digest()
    small, expected = (images.fit(each.pixels, 16).astype(int) for each in (part, whole))
    assert np.abs(small - expected).max() <= (name == "tall")  # which is scaled in another order
    assert (part.size, part.mode, part.is_grey) == (whole.size, whole.mode, whole.is_grey)
    assert part.notes == whole.notes


HEAVY = {
    "RGB": lambda: encode(noise(1, (99, 99, 3))),
    "WebP": lambda: encode(noise(1, (50, 99, 3)), "WEBP", quality=1),
    "coefficients": lambda: encode(
        np.zeros((99, 99, 3), np.uint8), "JPEG", progressive=True, subsampling=0
    ),
    "a long file": lambda: encode(noise(1, (8, 8))) + bytes(40_000),
}


@pytest.mark.parametrize("name", HEAVY)
def test_what_takes_too_much_memory_is_too_large(name: str) -> None:
    data = HEAVY[name]()
    with pytest.raises(BadImage, match="memory") as caught:
        images.decode(data, max_pixels=10_000, resolution=8)
    assert caught.value.code == "image_too_large"
    assert images.decode(data, max_pixels=100_000, resolution=8).digest()


def test_a_jpeg_in_one_scan_is_as_light_as_its_fraction() -> None:
    data = encode(np.zeros((99, 99, 3), np.uint8), "JPEG")
    assert images.decode(data, max_pixels=10_000, resolution=2).size == "99x99"


def test_no_side_is_endless() -> None:
    with pytest.raises(BadImage, match="65,535 pixels a side"):
        images.decode(saved(Image.new("1", (1, 65_536))), max_pixels=10**6)
    assert images.decode(saved(Image.new("1", (1, 65_536))), max_pixels=2**62).pixels.all() == 0


@pytest.mark.parametrize("name", ["24 1 x 65535", "24 65535 x 1"])
def test_a_sliver_is_seen_in_bands_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = LARGE[name][0]()
    whole = images.decode(data, max_pixels=10**6)
    monkeypatch.setattr(images, "_WHOLE", 0)
    assert images.decode(data, max_pixels=10**6, resolution=8).digest() == whole.digest()
    assert Image.open(io.BytesIO(data)).size in {(1, 65_535), (65_535, 1)}
