"""The page headers of a Parquet file, read before its decoder believes them.

A page is unpacked whole, to whatever size its header says; the headers alone can be read in little
time and memory. They are Thrift structs in the compact protocol (parquet-format, `PageHeader`).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_HEADER_BYTES = 4096
_LONGEST_HEADER = 1024**2
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_VARINTS = {_I16, _I32, _I64}
_DEEPEST = 8


class BadPage(Exception):
    """The headers cannot be followed; the text says why."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a header says: sizes in bytes, of the header too."""

    header: int
    packed: int
    unpacked: int


def pages(file: BinaryIO, start: int, length: int) -> Iterator[Page]:
    """The pages of one column chunk. Raises BadPage."""
    at, end = start, start + length
    while at < end:
        page = _page(file, at, end)
        at += page.header + page.packed
        if at > end:
            raise BadPage("a page is longer than its column")
        yield page


def _page(file: BinaryIO, at: int, end: int) -> Page:
    length = _HEADER_BYTES
    while True:
        file.seek(at)
        data = file.read(min(length, end - at))
        try:
            return _parsed(data)
        except IndexError:
            if len(data) < length or length >= _LONGEST_HEADER:
                raise BadPage("a page's header is cut short or too long") from None
        length *= 16


def _parsed(data: bytes) -> Page:
    """Raises IndexError where the data ends too soon."""
    reader = _Compact(data)
    fields = dict(reader.numbers())
    unpacked, packed = fields.get(2, -1), fields.get(3, -1)
    if packed < 0 or unpacked < 0:
        raise BadPage("a page has no size")
    return Page(reader.at, packed, unpacked)


class _Compact:
    """Walks through one struct; only whole numbers of its own are kept."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def numbers(self) -> Iterator[tuple[int, int]]:
        """The struct's fields that are whole numbers, by id."""
        for identity, kind in self._fields():
            if kind in _VARINTS:
                yield identity, self._zigzag()
            else:
                self._skip(kind, 0)

    def _fields(self) -> Iterator[tuple[int, int]]:
        identity = 0
        while (head := self._byte()) & 0x0F:
            identity = identity + (head >> 4) if head >> 4 else self._zigzag()
            yield identity, head & 0x0F

    def _skip(self, kind: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise BadPage("a page's header is nested too deep")
        if kind in (_TRUE, _FALSE):
            return
        if kind in _VARINTS:
            self._varint()
        elif kind in (_BYTE, _DOUBLE):
            self._pass(1 if kind == _BYTE else 8)
        elif kind == _BINARY:
            self._pass(self._varint())
        elif kind in (_LIST, _SET):
            self._skip_list(depth)
        elif kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner, depth + 1)
        else:
            raise BadPage("a page's header holds what no header does")

    def _skip_list(self, depth: int) -> None:
        head = self._byte()
        kind, count = head & 0x0F, head >> 4
        for _ in range(self._varint() if count == 15 else count):
            self._skip(_BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _pass(self, length: int) -> None:
        self.at += length
        if self.at > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise BadPage("a page's header holds a number without end")
        return value | byte << shift

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def footer_bytes(file: BinaryIO) -> int:
    """How long the description at the file's end is. Raises BadPage where there is none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    if size < 12 or tail[4:] != b"PAR1":
        raise BadPage("it is encrypted" if tail[4:] == b"PARE" else "its end is missing")
    return int.from_bytes(tail[:4], "little")
