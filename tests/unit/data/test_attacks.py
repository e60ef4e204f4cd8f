"""The archive rows of the attack table: each refused with its code, nothing written by name."""

import gzip
import io
import zipfile
import zlib
from pathlib import Path

import pytest

from core.config import UploadLimits
from core.errors import AppError, BadArchive, TooLarge
from tests.attacks.archives import HONEST, IMAGE, REFUSED, with_entry
from tests.unit.data.builders import (
    Entry,
    dataset,
    entries_of,
    many_empty_entries,
    quoted_overlap_zip,
    raw_zip,
    tar_bytes,
    zip_bytes,
)
from tests.unit.data.conftest import Prepare


@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_hostile_archive_is_refused_with_its_code(
    data: bytes, code: str, prepare: Prepare, tmp_path: Path
) -> None:
    with pytest.raises(AppError) as caught:
        prepare(data)
    assert caught.value.stable_code == code
    assert isinstance(caught.value, TooLarge if code.startswith("archive_too") else BadArchive)
    assert len(caught.value.message) > 20
    assert {path.name for path in tmp_path.rglob("*")} <= {"upload", "out", "thumbnails.bin"}


def test_a_million_entries_are_refused_before_they_are_parsed(prepare: Prepare) -> None:
    with pytest.raises(TooLarge) as caught:
        prepare(many_empty_entries(1_000_000))
    assert caught.value.stable_code == "too_many_files"


def test_many_tar_headers_are_refused(prepare: Prepare) -> None:
    header = tar_bytes({"cat/a.png": b""})[:512]
    with pytest.raises(TooLarge) as caught:
        prepare(gzip.compress(header * 101 + bytes(1024)), limits=UploadLimits(entries=100))
    assert caught.value.stable_code == "too_many_files"


def test_all_structural_faults_are_listed_at_once(prepare: Prepare) -> None:
    names = ["../a.png", "/b.png", "cat/c\n.png", "cat/d.zip", "cat/0.PNG"]
    with pytest.raises(BadArchive) as caught:
        prepare(raw_zip([*entries_of(HONEST), *(Entry(name.encode(), IMAGE) for name in names)]))
    assert [detail.code for detail in caught.value.details] == [
        "unsafe_path", "unsafe_path", "bad_name", "nested_archive", "duplicate_name",
    ]  # fmt: skip
    assert caught.value.details[2].place == "cat/c\\n.png"
    assert "4 more problems" in caught.value.message


def test_overlap_is_found_whatever_the_interpreter_thinks(prepare: Prepare) -> None:
    bomb = quoted_overlap_zip(60, 20_000)
    with zipfile.ZipFile(io.BytesIO(bomb)) as file:  # well formed: the sum of parts is the bomb
        assert sum(info.file_size for info in file.infolist()) > 1_000_000
        assert file.infolist()[0].header_offset == 0
    with pytest.raises(BadArchive, match="shares its bytes") as caught:
        prepare(bomb)
    assert len(caught.value.details) == 59


def test_limits_are_the_callers(prepare: Prepare) -> None:
    honest = zip_bytes(HONEST)
    for tight, code in (
        (UploadLimits(entries=9), "too_many_files"),
        (UploadLimits(entry_bytes=50), "archive_too_large"),
        (UploadLimits(expanded_bytes=500), "archive_too_large"),
        (UploadLimits(archive_bytes=500), "archive_too_large"),
        (UploadLimits(name_bytes=4), "bad_name"),
        (UploadLimits(depth=1), "bad_name"),
    ):
        with pytest.raises(AppError) as caught:
            prepare(honest, limits=tight)
        assert caught.value.stable_code == code
    many = zip_bytes(dataset(1, classes="abcd"))
    with pytest.raises(TooLarge) as caught:
        prepare(many, limits=UploadLimits(classes=3))
    assert caught.value.stable_code == "too_many_classes"


def test_a_stored_zip64_and_descriptors_are_ordinary(prepare: Prepare) -> None:
    buffer = io.BytesIO()

    class Pipe(io.RawIOBase):
        """Cannot seek, so the writer must put sizes after the data."""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:
            return buffer.write(data)

    with zipfile.ZipFile(Pipe(), "w") as file:  # type: ignore[type-var]
        for name, data in HONEST.items():
            with file.open(name, "w", force_zip64=True) as entry:
                entry.write(data)
    assert prepare(buffer.getvalue()).classes == ("cat", "dog")


def test_a_deflate_stream_may_not_go_on_after_its_end(prepare: Prepare) -> None:
    body = zlib.compress(IMAGE)[2:-4] + b"extra"
    with pytest.raises(BadArchive) as caught:
        prepare(with_entry(packed=body))
    assert caught.value.stable_code == "corrupt_archive"
