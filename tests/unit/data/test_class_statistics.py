"""Files of class statistics: good ones come back as they are, bad ones with all that is wrong."""

import contextlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from core.data import class_statistics
from core.errors import InvalidInput
from tests.unit.data.statistics_files import EMBEDDER, about, arrays, encoded

NAN, INF = float("nan"), float("inf")


def problems(path: Path, content: bytes) -> set[tuple[str, str]]:
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as refused:
        class_statistics.read(path)
    assert refused.value.stable_code == "bad_statistics"
    assert all(each.message.endswith(".") for each in refused.value.details)
    return {(each.place, each.code) for each in refused.value.details}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "statistics.safetensors"


def test_a_good_file_is_read_whole(file: Path, tmp_path: Path) -> None:
    given = arrays()
    file.write_bytes(encoded())
    found = class_statistics.read(file)
    assert found.classes == ("class 0", "class 1", "class 2")
    assert found.counts == tuple(given["counts"])
    assert (found.embedder, found.dimension) == (EMBEDDER, 5)
    by_hand = (given["means"] * given["counts"][:, None]).sum(0) / given["counts"].sum()
    np.testing.assert_allclose(found.centre, by_hand, rtol=1e-12)
    found.write(tmp_path / "again")
    again = load_file(tmp_path / "again")
    for name in class_statistics.REALS:
        np.testing.assert_array_equal(again[name], given[name])
    assert again["features"].shape == (0, 5)
    assert again["labels"].shape == again["rows"].shape == (0,)


def test_the_same_content_has_one_spelling(file: Path, tmp_path: Path) -> None:
    """However it was packed: what is stored is written anew, without what travelled along."""
    empty = {
        "features": np.zeros((0, 5), np.float32),
        "labels": np.zeros(0, np.int64),
        "rows": np.zeros(0, np.int64),
    }
    spaced = np.frombuffer(json.dumps(json.loads(arrays()["about"].tobytes()), indent=3).encode(),
                           np.uint8)  # fmt: skip
    spellings = [
        encoded(),
        bytes(save(arrays(), metadata={"made by": "somebody"})),
        encoded(**empty),
        encoded(about=spaced),
    ]
    written = []
    for number, spelling in enumerate(spellings):
        file.write_bytes(spelling)
        target = tmp_path / str(number)
        class_statistics.read(file).write(target)
        written.append(target.read_bytes())
    assert len(set(spellings)) == 4
    assert len(set(written)) == 1


def test_factors_of_32_bits_and_of_low_rank_will_do(file: Path) -> None:
    file.write_bytes(encoded(factors=arrays()["factors"][:, :, :2].astype(np.float32)))
    assert class_statistics.read(file).arrays["factors"].dtype == np.float64


def test_one_class_of_one_image(file: Path) -> None:
    given = {
        "counts": np.array([1]),
        "means": np.ones((1, 5)),
        "factors": np.zeros((1, 5, 1)),
        "traces": np.zeros(1),
        "spectra": np.zeros((1, 5)),
        "about": about(classes=["only"], embedder=EMBEDDER),
    }
    file.write_bytes(encoded(**given))
    assert class_statistics.read(file).counts == (1,)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/1.png", b"not really")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        encoded()[:7],
        encoded()[:200],
        encoded()[:-1],
        encoded() + b"more",
        pickle.dumps({"counts": [1, 2]}),
        zipped(),
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (9000).to_bytes(8, "little") + b"[" * 9000,
        (64).to_bytes(8, "little") + b"\xff" * 64,
    ],
    ids=lambda content: f"{len(content)} bytes",
)
def test_what_is_no_such_file(file: Path, content: bytes) -> None:
    found = problems(file, content)
    assert found <= {
        ("file", "unreadable"),
        ("file", "header_too_large"),
        *((name, "missing_tensor") for name in class_statistics.SHAPES),
    }


@pytest.mark.parametrize("length", [2**14 + 1, 2**31, 2**63, 2**64 - 1])
def test_a_huge_header_is_not_even_read(file: Path, length: int) -> None:
    content = length.to_bytes(8, "little") + b"{}"
    assert problems(file, content) == {("file", "header_too_large")}


def header(**tensors: dict[str, Any]) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "offsets", [[0, 2**62], [8, 0], [-8, 0], [0, 4], [2**63, 2**63 + 8], [1, 9]]
)
def test_offsets_that_lie(file: Path, offsets: list[int]) -> None:
    counts = {"dtype": "I64", "shape": [1], "data_offsets": offsets}
    content = header(counts=counts) + bytes(8)
    assert problems(file, content) == {("file", "unreadable")}


def test_shapes_that_overflow(file: Path) -> None:
    means = {"dtype": "F64", "shape": [2**32, 2**32], "data_offsets": [0, 8]}
    assert problems(file, header(means=means) + bytes(8)) == {("file", "unreadable")}


GOOD = arrays()


def with_value(name: str, value: float) -> Any:
    changed = GOOD[name].copy()
    changed.flat[0] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"means": None}, {("means", "missing_tensor")}),
        ({"spectra": None, "about": None},
         {("spectra", "missing_tensor"), ("about", "missing_tensor")}),
        ({"images": np.zeros(3)}, {("images", "unexpected_tensor")}),
        ({"features": np.zeros((2, 5), np.float32)}, {("features", "holds_samples")}),
        ({"counts": GOOD["counts"].astype(np.float64)}, {("counts", "wrong_type")}),
        ({"means": GOOD["means"].astype(np.float32)}, {("means", "wrong_type")}),
        ({"counts": GOOD["counts"][:2]}, {("counts", "wrong_shape")}),
        ({"counts": GOOD["counts"][:, None]}, {("counts", "wrong_shape")}),
        ({"factors": GOOD["factors"][:, :4]}, {("factors", "wrong_shape")}),
        ({"factors": np.zeros((3, 5, 0))}, {("factors", "wrong_rank")}),
        ({"factors": np.zeros((3, 5, 6))}, {("factors", "wrong_rank")}),
        ({"traces": np.zeros(())}, {("traces", "wrong_shape")}),
        ({"means": with_value("means", NAN)}, {("means", "not_finite")}),
        ({"factors": with_value("factors", INF)}, {("factors", "not_finite")}),
        ({"means": with_value("means", 1e300)}, {("means", "out_of_range")}),
        ({"factors": with_value("factors", 9)}, {("factors", "inconsistent")}),
        ({"counts": with_value("counts", 0)}, {("counts", "out_of_range")}),
        ({"counts": with_value("counts", -3)}, {("counts", "out_of_range")}),
        ({"counts": with_value("counts", 2**62)}, {("counts", "out_of_range")}),
        ({"traces": -GOOD["traces"]},
         {("traces", "negative"), ("spectra", "inconsistent"), ("factors", "inconsistent")}),
        ({"spectra": GOOD["spectra"][:, ::-1]}, {("spectra", "not_falling")}),
        ({"spectra": -GOOD["spectra"][:, ::-1]}, {("spectra", "not_falling")}),
        ({"spectra": GOOD["spectra"] * 1.1}, {("spectra", "inconsistent")}),
        ({"about": np.frombuffer(b"\xff{", np.uint8)}, {("about", "unreadable")}),
        ({"about": np.frombuffer(b"[" * 100_000, np.uint8)}, {("about", "unreadable")}),
        ({"about": about(classes="abc", embedder="e@1")}, {("about", "unreadable")}),
        ({"about": about(classes=["a", 2, "c"], embedder="e@1")}, {("about", "unreadable")}),
        ({"about": about(classes=["a", "b", "c"])}, {("about", "unreadable")}),
        ({"about": about(classes=["a", "b", "c"], embedder="e@1", run="x")},
         {("about", "unreadable")}),
        ({"about": about(classes=[], embedder="e@1")}, {("about", "wrong_class_count")}),
        ({"about": about(classes=["a", "b", "a"], embedder="e@1")}, {("about", "repeated_class")}),
        ({"about": about(classes=["a", "b\n", "c"], embedder="e@1")},
         {("about", "bad_class_name")}),
        ({"about": about(classes=["a", "b", "\ud800"], embedder="e@1")},
         {("about", "bad_class_name")}),
        ({"about": np.zeros(2**20 + 1, np.uint8)}, {("about", "too_large")}),
        # Several things at once are all said.
        ({"means": with_value("means", NAN), "counts": with_value("counts", 0),
          "about": about(classes=["a", "b", ""], embedder="e@1")},
         {("means", "not_finite"), ("counts", "out_of_range"), ("about", "bad_class_name")}),
    ],
)  # fmt: skip
def test_everything_wrong_is_said(
    file: Path, changes: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    assert problems(file, encoded(**changes)) == expected


@pytest.mark.parametrize(("classes", "dimension"), [(1001, 1), (0, 5), (1, 8193), (1, 0)])
def test_sizes_have_ends(file: Path, classes: int, dimension: int) -> None:
    given = {
        "counts": np.ones(classes, np.int64),
        "means": np.zeros((classes, dimension)),
        "factors": np.zeros((classes, dimension, 1)),
        "traces": np.zeros(classes),
        "spectra": np.zeros((classes, dimension)),
        "about": about(classes=["a"], embedder="e@1"),
    }
    codes = {code for _, code in problems(file, encoded(**given))}
    assert codes & {"too_many_classes", "too_many_dimensions"}


def test_damaged_anywhere_it_is_read_or_refused(file: Path) -> None:
    """Never another error, whichever byte was changed."""
    whole = encoded()
    random = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        file.write_bytes(bytes(damaged))
        with contextlib.suppress(InvalidInput):
            class_statistics.read(file)
