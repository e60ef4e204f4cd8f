"""An open archive: faults that can wait for company, those that cannot, and bytes on request."""

import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest

from core.config import UploadLimits
from core.data import archive
from core.data.members import Listing
from core.errors import BadArchive, TooLarge
from tests.unit.data.builders import Entry, dataset, entries_of, lying, noise, raw_zip, write

HONEST = entries_of(dataset(2))
IMAGE = Entry(b"cat/x.png", b"not looked at here")
MILD = {
    "bad_name": lying(IMAGE, name=b"cat/con.png"),
    "nested_archive": lying(IMAGE, name=b"cat/more.zip"),
    "duplicate_name": lying(IMAGE, name=b"cat/0.PNG"),
    "unsupported_archive": lying(IMAGE, flags=1),
}
GRAVE = {
    "unsafe_path": lying(IMAGE, name=b"../x.png"),
    "unsafe_member": lying(IMAGE, mode=0o120777),
    "archive_overlap": lying(HONEST[0], offset=0),
    "corrupt_archive": lying(IMAGE, local_name=b"cat/y.png"),
    "size_mismatch": lying(IMAGE, local_size=1),
}
EDGE = 2**20


def listed(tmp_path: Path, entries: list[Entry], *, strict: bool) -> Listing:
    upload = write(tmp_path / "upload", raw_zip(entries))
    with archive.opened(upload, UploadLimits(), folder=tmp_path, strict=strict) as found:
        return Listing(found.members, found.ignored, found.faults, found.faults_found)


def test_faults_that_leave_the_rest_sound_wait_for_company(tmp_path: Path) -> None:
    entries = [*HONEST, *MILD.values()]
    found = listed(tmp_path, entries, strict=False)
    assert [fault.code for fault in found.faults] == list(MILD)
    assert found.faults_found == 4
    assert [fault.place for fault in found.faults[:2]] == ["cat/con.png", "cat/more.zip"]
    # A doubled name can still be looked at; the others cannot.
    assert [member.name for member in found.members[4:]] == ["cat/0.PNG"]
    with pytest.raises(BadArchive, match="3 more problems") as caught:
        listed(tmp_path, entries, strict=True)
    assert caught.value.details == found.faults


@pytest.mark.parametrize("code", GRAVE)
def test_grave_faults_refuse_at_once_and_come_first(code: str, tmp_path: Path) -> None:
    entries = [*HONEST, *MILD.values(), GRAVE[code]]
    with pytest.raises(BadArchive) as caught:
        listed(tmp_path, entries, strict=False)
    assert caught.value.stable_code == code
    codes = [detail.code for detail in caught.value.details]
    assert codes[0] == code
    assert set(MILD) <= set(codes)


def test_a_list_that_is_cut_says_so(tmp_path: Path) -> None:
    many = [lying(IMAGE, name=b"cat/%d.zip" % number) for number in range(1_234)]
    found = listed(tmp_path, [*HONEST, *many], strict=False)
    assert found.faults_found == 1_234
    assert len(found.faults) == 1_001
    assert found.faults[-1].message == "234 more problems are not listed."
    with pytest.raises(BadArchive, match="1233 more problems"):
        listed(tmp_path, [*HONEST, *many], strict=True)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("cat/a.png", "cat/a.png", "Another file has this name."),
        ("a", "a", "Another file has this name."),
        ("cat/a.png", "cat/A.png", "Another file has this name, spelled cat/a.png."),
        ("cat/\u00e9.png", "cat/e\u0301.png", "Another file has this name, spelled cat/é.png."),
        ("cat/x/a.png", "CAT/x/b.png", "Its folder is also spelled cat/x; use one spelling."),
        ("cat/x", "cat/X/b.png", "A file and a folder share this name."),
        ("cat/X/b.png", "cat/x", "A file and a folder share this name."),
    ],
)  # fmt: skip
def test_names_that_some_system_takes_for_one(
    first: str, second: str, words: str, tmp_path: Path
) -> None:
    entries = [Entry(name.encode(), flags=0x800) for name in (first, second)]
    found = listed(tmp_path, entries, strict=False)
    assert [(fault.code, fault.message) for fault in found.faults] == [("duplicate_name", words)]


def test_names_that_only_look_alike_are_two(tmp_path: Path) -> None:
    names = ["cat/a.png", "dog/a.png", "cat/x/a.png", "a", "b", "cat/a.png.png", "catx/a.png"]
    found = listed(tmp_path, [Entry(name.encode()) for name in names], strict=True)
    assert [member.name for member in found.members] == names
    assert [member.parts for member in found.members] == [tuple(n.split("/")) for n in names]
    (member,) = listed(tmp_path, [Entry("é/./é//a".encode())], strict=True).members
    assert member.name == unicodedata.normalize("NFC", "é/é/a")


def test_folders_and_names_have_limits(tmp_path: Path) -> None:
    deep = [Entry(b"%d/a/b/c/d/e/x.png" % number, method=0) for number in range(20)]
    long = [
        Entry(b"%d%s/%s.png" % (number, b"x" * 240, b"y" * 240), method=0) for number in range(20)
    ]
    for entries, limits in ((deep, UploadLimits(entries=110)), (long, UploadLimits(entries=19))):
        upload = write(tmp_path / "upload", raw_zip(entries))
        with (
            pytest.raises(TooLarge) as caught,
            archive.opened(upload, limits, folder=tmp_path),
        ):
            pass
        assert caught.value.stable_code == "too_many_files"


def read(tmp_path: Path, entry: Entry) -> bytes:
    upload = write(tmp_path / "upload", raw_zip([entry]))
    with archive.opened(upload, UploadLimits(ratio=10**9), folder=tmp_path) as found:
        (member,) = found.members
        return found.read(member)


@pytest.mark.parametrize("size", [0, 1, 1000, EDGE - 1, EDGE, EDGE + 1, 3 * EDGE + 77])
@pytest.mark.parametrize("kind", ["noise", "zeros", "both"])
def test_deflated_bytes_come_back_whole(kind: str, size: int, tmp_path: Path) -> None:
    half = size // 2 if kind == "both" else size * (kind == "noise")
    data = noise(1, (half,)).tobytes() + bytes(size - half)
    # In blocks of every kind, ending anywhere.
    for level in (0, 1, 9):
        packer = zlib.compressobj(level, zlib.DEFLATED, -15)
        entry = lying(IMAGE, data=data, packed=packer.compress(data) + packer.flush())
        assert read(tmp_path, entry) == data


@pytest.mark.parametrize("size", [1000, EDGE, 2 * EDGE + 5])
def test_deflated_bytes_are_as_many_as_they_should(size: int, tmp_path: Path) -> None:
    data = np.arange(size, dtype=np.uint8).tobytes()
    entry = lying(IMAGE, data=data)
    body = entry.body()
    for fields, code in (
        ({"size": size - 1, "crc": zlib.crc32(data[:-1])}, "size_mismatch"),
        ({"size": size + 1}, "size_mismatch"),
        ({"packed": body + b"\0"}, "corrupt_archive"),
        ({"packed": body + body}, "corrupt_archive"),
        ({"packed": body[:-1]}, "corrupt_archive"),
        ({"packed": body[:10]}, "corrupt_archive"),
        ({"packed": b""}, "corrupt_archive"),
        ({"crc": 7}, "corrupt_archive"),
    ):
        with pytest.raises(BadArchive) as caught:
            read(tmp_path, lying(entry, **fields))
        assert caught.value.stable_code == code
