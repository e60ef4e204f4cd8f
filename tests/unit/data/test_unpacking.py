"""Compressed tars: unpacked whole, or refused before they swell."""

import gzip
import io
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from core.config import UploadLimits
from core.data import archive, unpacking
from core.errors import AppError, BadArchive, TooLarge
from tests.unit.data.builders import dataset, tar_bytes, write, zstd_frame, zstd_skipped
from tests.unit.data.conftest import Prepare

TAR = tar_bytes(dataset())
ZSTD = pa.compress(TAR, codec="zstd", asbytes=True)
RUN = 128 * 1024  # the largest block


def unpacked(data: bytes, tmp_path: Path, limits: UploadLimits | None = None) -> bytes:
    unpack = unpacking.unpacker_of(data[:4])
    assert unpack is not None
    with (tmp_path / "tar").open("w+b") as tar:
        unpack(write(tmp_path / "packed", data), tar, limits or UploadLimits())
        tar.seek(0)
        return tar.read()


def streamed(data: bytes, tmp_path: Path) -> bytes:
    """As a program writes it that does not know the length beforehand."""
    path = str(tmp_path / "streamed")
    with pa.CompressedOutputStream(pa.OSFile(path, "wb"), "zstd") as file:
        file.write(data)
    return Path(path).read_bytes()


def test_every_way_of_packing_gives_one_dataset(prepare: Prepare, tmp_path: Path) -> None:
    plain = prepare(TAR)
    for packed in (gzip.compress(TAR), ZSTD, streamed(TAR, tmp_path)):
        assert prepare(packed).sha256 == plain.sha256
    assert {path.name for path in (tmp_path / "out").glob("*.tar")} == set()


@pytest.mark.parametrize("cut", [1, 511, 512, 3000, 65_536, len(TAR) - 1])
def test_zstd_frames_are_one_file_cut_up(cut: int, tmp_path: Path) -> None:
    first, second = (
        pa.compress(part, codec="zstd", asbytes=True) for part in (TAR[:cut], TAR[cut:])
    )
    empty = zstd_frame((0, b""))
    for data in (
        first + second,
        zstd_skipped(b"1234") + first + zstd_skipped(b"") + second + zstd_skipped(bytes(70_000)),
        first + empty * 3 + second + empty,
        b"".join(zstd_frame((0, TAR[at : at + 700])) for at in range(0, len(TAR), 700)),
    ):
        assert unpacked(data, tmp_path) == TAR


BROKEN = {
    "cut": ZSTD[:-1],
    "cut in half": ZSTD[: len(ZSTD) // 2],
    "only a signature": ZSTD[:4],
    "second frame cut": ZSTD + ZSTD[:-5],
    "skipped frame cut": ZSTD + zstd_skipped(b"1234")[:-1],
    "text follows": ZSTD + b"more",
    "zeros follow": ZSTD + bytes(512),
    "gzip follows": ZSTD + gzip.compress(TAR),
    "no such block": zstd_frame((0, TAR))[:6] + (7).to_bytes(3, "little"),
    "wide window": zstd_frame((0, TAR[:1000]), window_log=31),
    "a dictionary": ZSTD[:4] + b"\x23\x01\x02" + ZSTD[5:],
    "checksum": ZSTD[:4] + bytes([ZSTD[4] | 4]) + ZSTD[5:] + b"\1\2\3\4",
    "nothing but skipped": zstd_skipped(b"1234"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_zstd_file_is_refused(data: bytes, prepare: Prepare, tmp_path: Path) -> None:
    with pytest.raises(BadArchive) as caught:
        prepare(data)
    assert caught.value.stable_code in ("corrupt_archive", "unsupported_archive")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_window_too_wide_is_told_from_damage(tmp_path: Path) -> None:
    assert unpacked(zstd_frame((0, TAR), window_log=27), tmp_path) == TAR
    with pytest.raises(BadArchive, match="leave out --long"):
        unpacked(zstd_frame((0, TAR), window_log=28), tmp_path)
    with pytest.raises(BadArchive, match="something else follows"):
        unpacked(ZSTD + b"more", tmp_path)


@pytest.mark.parametrize("frames", [1, 4096])
def test_a_zstd_bomb_stops_as_it_begins_to_swell(frames: int, tmp_path: Path) -> None:
    bomb = zstd_frame(*[(RUN, b"\0")] * (4096 // frames)) * frames
    with pytest.raises(TooLarge, match="bombs") as caught:
        unpacked(bomb, tmp_path)
    assert caught.value.stable_code == "archive_too_large"
    # 512 MiB if it were believed.
    assert (tmp_path / "tar").stat().st_size <= 17 * 2**20


def test_the_expanded_limit_holds_for_every_kind(tmp_path: Path) -> None:
    for data in (gzip.compress(TAR), ZSTD):
        with pytest.raises(TooLarge, match="unpacks to more than"):
            unpacked(data, tmp_path, UploadLimits(expanded_bytes=len(TAR) - 1))
        assert unpacked(data, tmp_path, UploadLimits(expanded_bytes=len(TAR))) == TAR


def test_a_full_disk_is_not_blamed_on_the_archive(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    for data in (gzip.compress(TAR), ZSTD):
        unpack = unpacking.unpacker_of(data[:4])
        assert unpack is not None
        with pytest.raises(OSError, match="No space"):
            unpack(write(tmp_path / "packed", data), Full(), UploadLimits())


def test_only_zeros_may_follow_gzip(tmp_path: Path) -> None:
    packed = gzip.compress(TAR)
    assert unpacked(packed + bytes(3 * 2**20), tmp_path) == TAR
    with pytest.raises(BadArchive, match="only one gzip member"):
        unpacked(packed + bytes(2 * 2**20) + b"x", tmp_path)


def test_what_is_unpacked_is_gone_with_the_archive(tmp_path: Path) -> None:
    for data in (ZSTD, ZSTD[:-1]):
        try:
            with archive.opened(
                write(tmp_path / "upload", data), UploadLimits(), folder=tmp_path
            ) as found:
                assert len(found.members) == 10
                assert (tmp_path / "archive.tar").exists()
        except AppError:
            pass
        assert not (tmp_path / "archive.tar").exists()


def test_signatures() -> None:
    for number in range(16):
        assert unpacking.unpacker_of(struct.pack("<L", 0x184D2A50 + number)) is unpacking.unzstd
    for head in (b"PK\3\4", b"", b"\x1f", b"\x28\xb5\x2f\xfc", b"\x40\x2a\x4d\x18"):
        assert unpacking.unpacker_of(head) is None
