"""Archives and images made by hand, honest and hostile."""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

Files = Mapping[str, bytes]


def encode(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """An image file holding these pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def noise(seed: int, shape: tuple[int, ...] = (8, 8)) -> np.ndarray:
    """Random pixels, different for every seed."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def dataset(
    per_class: int = 5, classes: Iterable[str] = ("cat", "dog"), prefix: str = ""
) -> Files:
    """Class folders of small distinct grey images."""
    return {
        f"{prefix}{name}/{index}.png": encode(noise(1000 * number + index))
        for number, name in enumerate(classes)
        for index in range(per_class)
    }


def zip_bytes(files: Files, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An honest zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return buffer.getvalue()


def tar_bytes(files: Files, mode: str = "w", members: Iterable[tarfile.TarInfo] = ()) -> bytes:
    """An honest tar (or `w:gz`), with extra member headers at the end."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        for info in members:
            file.addfile(info)
    return buffer.getvalue()


def tar_member(name: str, kind: bytes, target: str = "", **fields: object) -> tarfile.TarInfo:
    """A member header of any kind."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def pax_headers(kind: bytes, *contents: bytes) -> bytes:
    """A tar of nothing but extended headers of these contents."""
    headers = b""
    for content in contents:
        info = tar_member("././@PaxHeader", kind, size=len(content))
        headers += info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)
    return headers + tar_bytes({})


def zstd_frame(*blocks: tuple[int, bytes], window_log: int = 20) -> bytes:
    """A Zstandard frame of raw blocks: each `bytes`, or (as a run) one byte so many times."""
    body = b""
    for number, (run, data) in enumerate(blocks):
        last, kind, size = number == len(blocks) - 1, int(run > 0), run or len(data)
        body += (last | kind << 1 | size << 3).to_bytes(3, "little") + data
    return b"\x28\xb5\x2f\xfd\0" + bytes([(window_log - 10) << 3]) + body


def zstd_skipped(content: bytes) -> bytes:
    """A Zstandard frame that readers pass over."""
    return b"\x50\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def write(path: Path, data: bytes) -> Path:
    """The file, written."""
    path.write_bytes(data)
    return path


@dataclass(frozen=True)
class Entry:
    """One raw zip entry; every field that headers hold can lie."""

    name: bytes
    data: bytes = b""
    method: int = 8
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    packed: bytes | None = None
    local_name: bytes | None = None
    local_size: int | None = None
    mode: int = 0o100644
    offset: int | None = None

    def body(self) -> bytes:
        """The packed bytes."""
        if self.packed is not None:
            return self.packed
        if self.method != 8:
            return self.data
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(self.data) + packer.flush()

    def numbers(self) -> tuple[int, int, int]:
        """CRC, packed size and size as the central directory states them."""
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        return crc, len(self.body()), len(self.data) if self.size is None else self.size


def local_header(entry: Entry) -> bytes:
    """The header before an entry's data."""
    crc, packed, size = entry.numbers()
    name = entry.name if entry.local_name is None else entry.local_name
    size = size if entry.local_size is None else entry.local_size
    return (
        struct.pack(
            "<4sHHHHHLLLHH",
            b"PK\3\4", 20, entry.flags, entry.method, 0, 33, crc, packed, size, len(name), 0,
        )
        + name
    )  # fmt: skip


def central_header(entry: Entry, offset: int, packed_size: int | None = None) -> bytes:
    """The directory's record of an entry."""
    crc, packed, size = entry.numbers()
    packed = packed if packed_size is None else packed_size
    return (
        struct.pack(
            "<4sHHHHHHLLLHHHHHLL",
            b"PK\1\2", 0x0314, 20, entry.flags, entry.method, 0, 33, crc, packed, size,
            len(entry.name), 0, 0, 0, 0, entry.mode << 16, offset,
        )
        + entry.name
    )  # fmt: skip


def end_record(count: int, size: int, offset: int) -> bytes:
    """The end of the directory."""
    return struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, size, offset, 0)


def raw_zip(entries: Iterable[Entry]) -> bytes:
    """A zip written field by field."""
    body, central, count = b"", b"", 0
    for entry in entries:
        central += central_header(entry, len(body) if entry.offset is None else entry.offset)
        body += local_header(entry) + entry.body()
        count += 1
    return body + central + end_record(count, len(central), len(body))


def entries_of(files: Files) -> list[Entry]:
    """Raw entries of honest files."""
    return [Entry(name.encode(), data) for name, data in files.items()]


def quoted_overlap_zip(files: int, kernel_bytes: int) -> bytes:
    """Fifield's construction: each entry quotes the next local header and shares one kernel."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(kernel_bytes)
    tail, plain = packer.compress(zeros) + packer.flush(), zeros
    body, records = b"", []
    for number in reversed(range(files)):
        quoted = len(body) and body
        head = b""
        if quoted:
            first = local_length(body)
            head = struct.pack("<BHH", 0, first, first ^ 0xFFFF)
            plain = body[:first] + plain
            tail = head + body
        entry = Entry(f"cat/{number}.png".encode(), plain, packed=tail)
        body = local_header(entry) + tail
        records.append((entry, len(body), len(tail)))
    total = len(body)
    central = b"".join(
        central_header(entry, total - length, packed)
        for entry, length, packed in reversed(records)
    )
    return body + central + end_record(files, len(central), total)


def local_length(body: bytes) -> int:
    """Bytes of the local header that `body` begins with."""
    return 30 + int.from_bytes(body[26:28], "little")


def many_empty_entries(count: int) -> bytes:
    """A zip64 of empty entries, far more than anyone uploads."""
    local = local_header(Entry(b"cat/a.png", method=0))
    record = central_header(Entry(b"cat/a.png", method=0), 0)
    central = record * count
    end64_at = len(local) + len(central)
    end64 = struct.pack(
        "<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(central), len(local)
    )
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end64_at, 1)
    return local + central + end64 + locator + end_record(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def lying(entry: Entry, **fields: object) -> Entry:
    """The entry with some fields changed."""
    return replace(entry, **fields)
