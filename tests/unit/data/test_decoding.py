"""Decoding many images: the same by any number of processes, and nothing else when one dies."""

import faulthandler
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.config import UploadLimits
from core.data import decoding, images
from core.data.items import Item
from core.data.layout import Place
from core.errors import AppError, BadArchive, Detail, InvalidInput, TooLarge
from tests.unit.data.builders import encode, noise
from tests.unit.data.test_findings import photograph, saved_again
from tests.unit.execution.bench import alive, eventually

GREY, COLOUR = noise(1, (40, 30)), photograph(2, 64)
FILES = [encode(GREY), encode(COLOUR), b"no image", encode(COLOUR, "JPEG"), encode(noise(3))]


class Held:
    """A source in memory; whoever reads a `deadly` image ends by the signal."""

    def __init__(
        self,
        count: int,
        deadly: int = -1,
        damaged: int = -1,
        end: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.items = [Item(f"{index}.png", (f"{index}.png",)) for index in range(count)]
        self.problems, self.faults = (), ()
        self._deadly, self._damaged, self._end = deadly, damaged, end

    def read(self, index: int) -> bytes:
        if index == self._deadly:
            faulthandler.disable()  # a crash that is wanted needs no trace
            os.kill(os.getpid(), self._end)
        if index == self._damaged:
            raise BadArchive(
                "It is damaged.", details=[Detail("x", "corrupt_archive", "Damaged.")]
            )
        return FILES[index % len(FILES)]


def decoded(
    source: Held, folder: Path, workers: int, told: list[float] | None = None
) -> tuple[decoding.Readings, bytes]:
    places = [None if i % 7 == 3 else Place("ab"[i % 2], None) for i in range(len(source.items))]
    thumbnails = folder / f"thumbnails-{workers}"
    found = decoding.decode_all(
        source,
        places,
        thumbnails,
        UploadLimits(workers=workers),
        resolution=16,
        done=(told if told is not None else []).append,
    )
    return found, thumbnails.read_bytes()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "FEW", 10)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("few")
def test_progress_is_told_by_the_percent(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "BATCH", 1)
    told: list[float] = []
    decoded(Held(300), tmp_path, workers, told)
    assert told == sorted(told)
    assert (told[0], 90 < len(told) <= 100) == (0.0, True)
    assert told[-1] > 0.98


@pytest.mark.usefixtures("few")
def test_any_number_of_processes_sees_the_same(tmp_path: Path) -> None:
    told: list[float] = []
    alone, first = decoded(Held(230), tmp_path, 1, told)
    together, second = decoded(Held(230), tmp_path, 3)
    assert alone == together
    assert first == second
    assert len(first) == 230 * 16 * 16 * 3
    assert told == [0.0, 50 / 230, 100 / 230, 150 / 230, 200 / 230]
    # A seventh has no place, a fifth is no image, and each is told of at its own place.
    assert [reading.index for reading in alone.readings] == [
        i for i in range(230) if i % 7 != 3 and i % 5 != 2
    ]
    assert {problem.place for problem in alone.bad} == {
        f"{i}.png" for i in range(230) if i % 7 != 3 and i % 5 == 2
    }
    assert alone.modes.total() == len(alone.readings)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("end", "kind", "code"),
    [
        (signal.SIGKILL, TooLarge, "archive_too_large"),
        (signal.SIGXCPU, TooLarge, "archive_too_large"),
        (signal.SIGSEGV, InvalidInput, "unreadable_archive"),
    ],
)
@pytest.mark.parametrize("deadly", [0, 105])
def test_a_process_that_dies_is_a_refusal_that_says_why(
    deadly: int, end: signal.Signals, kind: type[AppError], code: str, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        decoded(Held(200, deadly=deadly, end=end), tmp_path, 2)
    assert caught.value.stable_code == code


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_image_is_a_fault_beside_what_else_is_wrong(
    workers: int, tmp_path: Path
) -> None:
    found, _ = decoded(Held(200, damaged=105), tmp_path, workers)
    assert [detail.code for detail in found.faults] == ["corrupt_archive"]
    assert len(found.bad) == sum(i % 7 != 3 and i % 5 == 2 for i in range(200))


ORPHANS = """
import os, sys, time
from pathlib import Path
from core.config import UploadLimits
from core.data import decoding
from core.data.items import Item
from core.data.layout import Place

class Slow:
    items = [Item(str(i), (str(i),)) for i in range(1000)]
    problems, faults = (), ()
    def read(self, index):
        (Path(sys.argv[1]) / str(os.getpid())).touch()
        time.sleep(600)

places = [Place("a", None)] * 1000
decoding.decode_all(Slow(), places, Path(sys.argv[1]) / "thumbnails", UploadLimits(workers=2),
                    resolution=8, done=lambda _: None)
"""


def test_no_process_outlives_the_one_that_forked_it(tmp_path: Path) -> None:
    started = tmp_path / "started"
    started.mkdir()
    parent = subprocess.Popen((sys.executable, "-c", ORPHANS, started))

    def workers() -> list[int]:
        return [int(path.name) for path in started.iterdir() if path.name.isdecimal()]

    eventually(lambda: len(workers()) == 2)
    parent.kill()
    parent.wait()
    eventually(lambda: not any(map(alive, workers())))


@pytest.mark.parametrize("size", [(64, 64), (500, 333), (512, 512), (1200, 600)])
def test_a_jpeg_decoded_at_a_fraction_looks_the_same_when_it_is_scaled(
    size: tuple[int, int],
) -> None:
    width, height = size
    pixels = np.ascontiguousarray(photograph(4, max(size))[:height, :width])
    data = encode(pixels, "JPEG", quality=90)
    whole = images.decode(data, max_pixels=10**7)
    part = images.decode(data, max_pixels=10**7, resolution=32)
    assert part.size == whole.size == f"{width}x{height}"
    if max(size) >= 2 * images.DRAFT * 32:
        assert part.pixels.size < whole.pixels.size
    assert max(part.pixels.shape) >= min(images.DRAFT * 32, max(size))
    one, other = (images.fit(each.pixels, 32).astype(int) for each in (whole, part))
    assert np.abs(one - other).mean() < 1.0


def test_a_fraction_is_turned_and_measured_as_the_whole() -> None:
    pixels = np.ascontiguousarray(photograph(4, 600)[:400])
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(pixels, "JPEG", exif=exif)
    found = images.decode(data, max_pixels=10**7, resolution=32)
    assert found.size == "400x600"
    assert found.notes == ("rotated",)
    assert found.pixels.shape[0] > found.pixels.shape[1]


def test_copies_of_a_jpeg_share_a_digest_and_scaled_ones_do_not() -> None:
    data = saved_again(photograph(5), 300, 90)
    one = images.decode(data, max_pixels=10**6, resolution=32)
    same = images.decode(data, max_pixels=10**6, resolution=32)
    assert one.digest() == same.digest()
    other = images.decode(saved_again(photograph(5), 150, 90), max_pixels=10**6, resolution=32)
    assert replace(other, pixels=one.pixels).digest() != one.digest()
