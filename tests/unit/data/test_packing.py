"""Packed tensors and stored originals: what goes in comes out."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from core.config import UploadLimits
from core.data import images, originals, packing, repacking
from core.data.originals import Original
from core.data.prepared import ORIGINALS_NAME, PACKED_NAME
from core.errors import CorruptObject, InvalidInput
from tests.unit.data.builders import encode, noise, zip_bytes
from tests.unit.data.conftest import Prepare


def write(path: Path, rows: list[np.ndarray], channels: int) -> None:
    count = len(rows)
    packing.write(
        path,
        rows,
        labels=[index % 3 for index in range(count)],
        split=[index % 2 for index in range(count)],
        channels=channels,
        resolution=8,
    )


@pytest.mark.parametrize(("shape", "channels"), [((8, 8), 1), ((8, 8, 3), 3), ((8, 8), 3)])
def test_written_rows_read_back_exactly(
    tmp_path: Path, shape: tuple[int, ...], channels: int
) -> None:
    rows = [noise(seed, shape) for seed in range(11)]
    write(tmp_path / "p", rows, channels)
    packed = packing.read(tmp_path / "p")
    assert packed.images.shape == (11, channels, 8, 8)
    for row, image in zip(rows, packed.images, strict=True):
        expected = row.transpose(2, 0, 1) if row.ndim == 3 else np.stack([row] * channels)
        assert np.array_equal(image, expected)
    assert packed.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]
    assert packed.split.tolist() == [0, 1] * 5 + [0]
    assert load_file(tmp_path / "p")["labels"].dtype == np.int64


def test_parts_are_read_without_the_whole(tmp_path: Path) -> None:
    rows = [noise(seed) for seed in range(30)]
    write(tmp_path / "p", rows, 1)
    whole = packing.read(tmp_path / "p")
    assert np.array_equal(packing.read_slice(tmp_path / "p", 4, 9), whole.images[4:9])
    wanted = np.flatnonzero((whole.labels == 1) & (whole.split == 0))[:2]
    assert np.array_equal(packing.examples(tmp_path / "p", 1, 2), whole.images[wanted])
    assert packing.examples(tmp_path / "p", 77, 2).shape == (0, 1, 8, 8)


def test_wrong_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 rows for 2 labels"):
        packing.write(
            tmp_path / "p", [noise(0)], labels=[0, 1], split=[0, 0], channels=1, resolution=8
        )
    with pytest.raises(ValueError, match="colour image"):
        write(tmp_path / "p", [noise(0, (8, 8, 3))], 1)
    save_file({"images": np.zeros((1, 1, 8, 8), np.uint8)}, tmp_path / "q")
    with pytest.raises(CorruptObject):
        packing.read(tmp_path / "q")


def colour_zip(size: int = 40) -> bytes:
    return zip_bytes(
        {
            f"{name}/{i}.png": encode(noise(hash_(name, i), (size, size, 3)))
            for name in "abc"
            for i in range(5)
        }
    )


def hash_(name: str, index: int) -> int:
    return ord(name) * 100 + index


def test_repacking_from_originals_gives_the_same_tensors(prepare: Prepare, tmp_path: Path) -> None:
    contents = prepare(colour_zip())
    folder = tmp_path / "out"
    assert contents.channels == 3
    for resolution in (32, 64):
        packing.repack(
            folder / ORIGINALS_NAME,
            tmp_path / f"r{resolution}",
            resolution=resolution,
            channels=3,
            max_pixels=10_000,
        )
    assert (tmp_path / "r32").read_bytes() == (folder / PACKED_NAME).read_bytes()
    assert packing.read(tmp_path / "r64").images.shape == (15, 3, 64, 64)


def test_any_number_of_processes_repacks_the_same(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(originals, "_GROUP_ROWS", 4)
    prepare(colour_zip())
    source = tmp_path / "out" / ORIGINALS_NAME
    assert originals.group_sizes(source) == [4, 4, 4, 3]
    told: list[float] = []
    for workers in (1, 3):
        packing.repack(
            source,
            tmp_path / f"by-{workers}",
            resolution=20,
            channels=3,
            max_pixels=10_000,
            workers=workers,
            done=told.append,
        )
    assert (tmp_path / "by-1").read_bytes() == (tmp_path / "by-3").read_bytes()
    assert told == [0.25, 0.5, 0.75, 1.0] * 2


def test_repacking_is_confined(
    prepare: Prepare, tmp_path: Path, limits: UploadLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tensors, made elsewhere; what is no image any more is an error with a code."""
    contents = prepare(colour_zip())
    source, heard = tmp_path / "out" / ORIGINALS_NAME, []
    terms = {"resolution": 48, "channels": 3}
    packing.repack(source, tmp_path / "here", max_pixels=10_000, **terms)
    monkeypatch.setattr(images, "decode", None)
    repacking.repack(
        source, tmp_path / "there", limits, rows=15, **terms, heard=lambda: heard.append(1)
    )
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()
    assert (len(heard), contents.channels) == (1, 3)
    rows = [Original(b"no image", "a.png", 0, "a", "train", "0")]
    originals.write(tmp_path / "bad", ["a"], rows)
    with pytest.raises(InvalidInput) as caught:
        repacking.repack(tmp_path / "bad", tmp_path / "none", limits, rows=1, **terms)
    assert caught.value.stable_code == "unreadable_archive"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_that_is_none_any_more_is_named_by_any_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(originals, "_GROUP_ROWS", 1)
    bad = [b"no image", b"neither"]
    rows = [Original(data, "a.png", 0, "a", "train", "0") for data in bad]
    originals.write(tmp_path / "bad", ["a"], rows)
    terms = {"resolution": 8, "channels": 3, "max_pixels": 100, "workers": workers}
    with pytest.raises(InvalidInput, match="stored image cannot be read any more") as caught:
        packing.repack(tmp_path / "bad", tmp_path / "none", **terms)
    assert caught.value.stable_code == "unreadable_archive"


def test_what_was_grey_stays_grey_at_any_resolution(prepare: Prepare, tmp_path: Path) -> None:
    """A spot of colour may be lost at one fraction of a JPEG's size and be there at another."""
    spotted = np.full((512, 512, 3), 128, np.uint8)
    spotted[300, 301] = (130, 127, 129)
    files = {f"{name}/{i}.png": encode(noise(hash_(name, i))) for name in "ab" for i in range(4)}
    assert prepare(zip_bytes(files)).channels == 1
    rows = [Original(encode(spotted, "BMP"), "a.bmp", 0, "a", "train", "0")]
    originals.write(tmp_path / "spotted", ["a"], rows)
    packing.repack(
        tmp_path / "spotted", tmp_path / "grey", resolution=512, channels=1, max_pixels=10**6
    )
    assert packing.read(tmp_path / "grey").images.shape == (1, 1, 512, 512)


def test_pixels_of_the_right_size_survive_the_whole_way(prepare: Prepare, tmp_path: Path) -> None:
    contents = prepare(colour_zip(32))
    packed = packing.read(tmp_path / "out" / PACKED_NAME)
    found = {image.tobytes() for image in packed.images}
    made = {
        noise(hash_(n, i), (32, 32, 3)).transpose(2, 0, 1).tobytes()
        for n in "abc"
        for i in range(5)
    }
    assert found == made
    for image, label in zip(packed.images, packed.labels, strict=True):
        own = contents.classes[label]
        assert any(
            np.array_equal(image, noise(hash_(own, i), (32, 32, 3)).transpose(2, 0, 1))
            for i in range(5)
        )


def test_originals_are_the_uploaded_bytes_in_the_hugging_face_layout(
    prepare: Prepare, tmp_path: Path
) -> None:
    contents = prepare(colour_zip())
    path = tmp_path / "out" / ORIGINALS_NAME
    table = pq.read_table(path)
    assert table.column_names == ["image", "label", "label_name", "split", "sha256"]
    first = table.slice(0, 1).to_pylist()[0]
    name, index = first["image"]["path"].removesuffix(".png").split("/")
    assert first["image"]["bytes"] == encode(noise(hash_(name, int(index)), (40, 40, 3)))
    assert contents.classes[first["label"]] == first["label_name"] == name
    assert b'"ClassLabel"' in table.schema.metadata[b"huggingface"]
    assert originals.columns(path)[1] == ["train"] * 12 + ["test"] * 3


def test_originals_come_in_groups_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(originals, "_GROUP_BYTES", 3_200)
    rows = (originals.Original(bytes(900), "x", 0, "a", "train", "") for _ in range(9))
    originals.write(tmp_path / "o", ["a"], rows)
    with pq.ParquetFile(tmp_path / "o") as file:
        assert file.num_row_groups == 3
    sizes = originals.group_sizes(tmp_path / "o")
    groups = [list(originals.stored_images(tmp_path / "o", at)) for at in range(len(sizes))]
    assert [len(group) for group in groups] == sizes
    assert sum(len(data) for group in groups for data in group) == 8_100
