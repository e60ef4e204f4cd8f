"""Uploads that are to cost their reader time or memory, by row of the attack table."""

import gzip
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from core.config import UploadLimits
from tests.attacks.pictures import animated_gif
from tests.unit.data.builders import (
    Entry,
    central_header,
    dataset,
    encode,
    end_record,
    local_header,
    many_empty_entries,
    noise,
    raw_zip,
    tar_bytes,
    tar_member,
    zip_bytes,
    zstd_frame,
    zstd_skipped,
)

MIB = 2**20
MANY = UploadLimits().entries - 100
HONEST = dataset(10)
IMAGE = encode(noise(7))


def extended(path: Path, count: int, content: bytes) -> None:
    """A tar with `count` extended headers of this content."""
    header = tar_member("x", tarfile.XHDTYPE, size=len(content)).tobuf(tarfile.USTAR_FORMAT)
    with path.open("wb") as file:
        for _ in range(count):
            file.write(header + content + bytes(-len(content) % 512))
        file.write(tar_bytes(HONEST))


def pax_records(path: Path) -> None:
    extended(path, 20, b"5 a=\n" * (MIB // 5))


def pax_bytes(path: Path) -> None:
    content = b"%d c=%s\n" % (MIB, b"x" * (MIB - 11))
    assert len(content) == MIB
    extended(path, 60, content)


def long_tar_names(path: Path) -> None:
    header = tar_member("x", tarfile.GNUTYPE_LONGNAME, size=1000).tobuf(tarfile.GNU_FORMAT)
    member = tar_member("x", tarfile.REGTYPE).tobuf(tarfile.USTAR_FORMAT)
    with path.open("wb") as file:
        for number in range(MANY // 2):
            name = "/".join([f"{number:05d}{'a' * 240}", "b" * 245, "c" * 245, "d" * 245])
            file.write(header + name.encode().ljust(1024, b"\0") + member)
        file.write(bytes(1024))


def listing(path: Path, entries: Iterable[Entry]) -> None:
    """A zip of stored entries, written as it is made."""
    at, count, central = 0, 0, bytearray()
    with path.open("wb") as file:
        for entry in entries:
            central += central_header(entry, at if entry.offset is None else entry.offset)
            if entry.offset is None:
                at += file.write(local_header(entry) + entry.data)
            count += 1
        file.write(bytes(central) + end_record(count, len(central), at))


def stored(names: Iterable[str], data: bytes = b"") -> Iterable[Entry]:
    return (Entry(name.encode(), data, method=0) for name in names)


def pet(number: int) -> str:
    return ("cat", "dog")[number % 2]


def fat_directory(path: Path) -> None:
    entry = Entry(b"cat/a.png", method=0)
    record, local = bytearray(central_header(entry, 0)), local_header(entry)
    record[32:34] = struct.pack("<H", 600)  # a comment
    central = (bytes(record) + bytes(600)) * MANY
    path.write_bytes(local + central + end_record(MANY, len(central), len(local)))


def wide_names(path: Path) -> None:
    """One character outside the first planes, and Python keeps each of the name in four bytes."""
    folders = (f"{number:05d}{'a' * 23}\U0001f600" for number in range(MANY))
    listing(path, stored(f"{folder}/{'b' * 24}\U0001f600.png" for folder in folders))


def long_names(path: Path) -> None:
    folders = (f"{number:05d}{'a' * 125}" for number in range(MANY))
    listing(path, stored(f"{folder}/{'b' * 130}.png" for folder in folders))


def wider_names(path: Path) -> None:
    folders = (f"{number:05d}{'a' * 190}\U0001f600" for number in range(MANY))
    listing(path, stored(f"{folder}/{'b' * 200}\U0001f600.png" for folder in folders))


def many_folders(path: Path) -> None:
    listing(path, stored(f"{number}/a/b/c/d/e/f/x.png" for number in range(MANY)))


def empty_images(path: Path) -> None:
    listing(path, stored(f"{pet(number)}/{number}.png" for number in range(MANY)))


def class_of_its_own(path: Path) -> None:
    listing(path, stored((f"{number}/x.png" for number in range(MANY)), IMAGE))


def invisible_names(path: Path) -> None:
    tail = "".join(chr(0x2500 + number) for number in range(60)) + "\u00a0\u202e"
    listing(path, stored(f"cat/{number}{tail}.png" for number in range(MANY)))


def spellings(path: Path) -> None:
    tail = "e\u0301" * 40
    folders = ("Cat" if number % 2 else "cAT" for number in range(MANY))
    listing(path, stored(f"{folder}/{tail}.png" for folder in folders))


def marks(path: Path) -> None:
    """Combining marks in the order that takes longest to sort, as many as a letter may have."""
    pile = "e" + "\u0315" * 15 + "\u0323" * 15
    names = (f"{pet(number)}{pile}/{number}{pile * 2}.png" for number in range(MANY))
    listing(path, stored(names))


def piles_of_marks(path: Path) -> None:
    pile = "\u0315" * 50 + "\u0323" * 50
    listing(path, stored(f"{pet(number)}{pile}/{number}{pile}.png" for number in range(MANY)))


def one_header(path: Path, extra: bytes) -> None:
    """Every entry of the directory shares one local header, with a long extra field to search."""
    entry = Entry(b"cat/a.png", method=0)
    header = bytearray(local_header(entry))
    header[18:26] = b"\xff" * 8  # the sizes are in the extra field
    header[28:30] = struct.pack("<H", len(extra))
    central = central_header(entry, 0) * MANY
    body = bytes(header) + extra
    path.write_bytes(body + central + end_record(MANY, len(central), len(body)))


def searched_fields(path: Path) -> None:
    one_header(path, struct.pack("<HH", 0x9999, 0) * 30 + zip64(65_000))


def zip64(padding: int) -> bytes:
    return struct.pack("<HH", 0x9999, padding) + bytes(padding) + struct.pack("<HHQQ", 1, 16, 0, 0)


def long_fields(path: Path) -> None:
    one_header(path, zip64(65_000))


def gzip_of_zeros(path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    path.write_bytes(packer.compress(bytes(256 * MIB)) + packer.flush())


def ten_gibibytes_of_zeros() -> bytes:
    """A gzip that unpacks to 10 GiB, made without unpacking it: one block repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"")[:10] + first + again * 10_239


def zstd_of_zeros(path: Path) -> None:
    path.write_bytes(zstd_frame(*[(2**17, b"\0")] * 80_000))


def wide_window(path: Path) -> None:
    """As wide as the decoder allows, all of it used, and bytes enough that no bomb is seen."""
    frame = zstd_frame((0, tar_bytes(HONEST)), *[(2**17, b"\0")] * 1_200, window_log=27)
    path.write_bytes(zstd_skipped(bytes(MIB)) + frame)


def large_entry(path: Path, method: int, size: int = 64 * MIB) -> None:
    """An image that is none, as large as one file may be or one image."""
    entries = [Entry(name.encode(), data) for name, data in HONEST.items()]
    data = IMAGE[:20] + noise(1, (MIB,)).tobytes() + bytes(size - MIB - 20)
    path.write_bytes(raw_zip([*entries, Entry(b"cat/x.png", data, method=method)]))


def with_image(path: Path, data: bytes) -> None:
    path.write_bytes(zip_bytes({**HONEST, "cat/x.img": data}, 0))


def frames(path: Path) -> None:
    with_image(path, animated_gif(5_000))


def profile(path: Path) -> None:
    with_image(path, encode(noise(1, (9, 9, 3)), icc_profile=bytes(100 * MIB)))


ROWS: dict[str, tuple[Callable[[Path], object], str]] = {
    "9 empty images": (empty_images, "bad_image"),
    "9 a class of its own": (class_of_its_own, "too_many_classes"),
    "9 fat directory": (fat_directory, "too_many_files"),
    "9 many folders": (many_folders, "too_many_files"),
    "8 one header, long fields": (long_fields, "archive_overlap"),
    "8 one header, many fields": (searched_fields, "archive_overlap"),
    "21 large deflated entry": (lambda path: large_entry(path, 8), "image_too_large"),
    "21 large stored entry": (lambda path: large_entry(path, 0), "image_too_large"),
    "21 large image": (lambda path: large_entry(path, 8, 38 * MIB), "bad_image"),
    "15 spellings": (spellings, "duplicate_name"),
    "16 invisible": (invisible_names, "bad_name"),
    "16 marks": (marks, "bad_image"),
    "16 piles of marks": (piles_of_marks, "bad_name"),
    "16 wide": (wide_names, "too_many_classes"),
    "16 long": (long_names, "too_many_classes"),
    "16 wider": (wider_names, "too_many_files"),
    "16 tar long": (long_tar_names, "too_many_files"),
    "18 pax records": (pax_records, "archive_too_large"),
    "18 pax bytes": (pax_bytes, "archive_too_large"),
    "18 gzip": (gzip_of_zeros, "archive_too_large"),
    "18 zstd": (zstd_of_zeros, "archive_too_large"),
    "18 wide window": (wide_window, "accepted"),
    "24 frames": (frames, "accepted"),
    "25 profile": (profile, "bad_image"),
}


def million_of_entries(path: Path) -> None:
    path.write_bytes(many_empty_entries(1_000_000))


def endless_gzip(path: Path) -> None:
    path.write_bytes(ten_gibibytes_of_zeros())


def endless_entry(path: Path) -> None:
    """As much as a 32-bit header can say; the directory alone condemns it."""
    packed = ten_gibibytes_of_zeros()[10:]
    path.write_bytes(raw_zip([Entry(b"cat/a.png", packed=packed, size=4 * 2**30 - 2, crc=0)]))


def large_tar(path: Path) -> None:
    """As many entries as there may be, in a tar."""
    names = (f"{pet(number)}/{number}.png" for number in range(MANY))
    with path.open("wb") as file:
        for name in names:
            file.write(tar_member(name, tarfile.REGTYPE).tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(1024))


# Too large, or too slow to make, for a unit test of each.
LARGER: dict[str, tuple[Callable[[Path], object], str]] = {
    "7 10 GiB of gzip": (endless_gzip, "archive_too_large"),
    "7 4 GiB in an entry": (endless_entry, "archive_too_large"),
    "9 a million entries": (million_of_entries, "too_many_files"),
    "9 empty images of a tar": (large_tar, "bad_image"),
}
