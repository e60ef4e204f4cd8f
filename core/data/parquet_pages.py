"""Where the pages of a Parquet file lie and how large they become, before a decoder believes it.

A page is unpacked whole, to whatever size its header says; headers alone can be read in little
time and memory. They, and the footer that says where they begin, are Thrift structs in the compact
protocol (parquet-format: `FileMetaData`, `RowGroup`, `ColumnChunk`, `ColumnMetaData`,
`PageHeader`). The decoder's own view of the footer ends the process when it is odd enough.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_HEADER_BYTES = 4096
_LONGEST_HEADER = 1024**2
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
# Fields, by the structs that lead to a page.
_ROW_GROUPS, _COLUMNS, _DESCRIPTION = 4, 1, 3
_LENGTH, _DATA_AT, _DICTIONARY_AT = 7, 9, 11
_UNPACKED, _PACKED = 2, 3
_VARINTS = {_I16, _I32, _I64}
_DEEPEST = 8


class BadPage(Exception):
    """The footer or the headers cannot be followed; the text says why."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column of one row group: its number in the schema, and where its pages lie.

    What the footer calls it here is not what decides which column a decoder reads.
    """

    column: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Page:
    """What a header says: sizes in bytes, of the header too."""

    header: int
    packed: int
    unpacked: int


def chunks(footer: bytes) -> Iterator[Chunk]:
    """The chunks of all columns that a footer describes. Raises BadPage."""
    reader = _Compact(footer)
    try:
        for identity, kind in reader.fields():
            if (identity, kind) == (_ROW_GROUPS, _LIST):
                for _ in reader.structs():
                    yield from _chunks_of_group(reader)
            else:
                reader.skip(kind)
    except IndexError:
        raise BadPage("its footer is cut short") from None


def _chunks_of_group(reader: "_Compact") -> Iterator[Chunk]:
    for identity, kind in reader.fields():
        if (identity, kind) == (_COLUMNS, _LIST):
            for column in reader.structs():
                yield _described(reader, column)
        else:
            reader.skip(kind)


def _described(reader: "_Compact", column: int) -> Chunk:
    found = None
    for identity, kind in reader.fields():
        if (identity, kind) == (_DESCRIPTION, _STRUCT):
            found = _chunk(reader, column)
        else:
            reader.skip(kind)
    if found is None:
        raise BadPage("a column is not described")
    return found


def _chunk(reader: "_Compact", column: int) -> Chunk:
    numbers = reader.numbers()
    start = numbers.get(_DATA_AT, -1)
    if 0 < numbers.get(_DICTIONARY_AT, 0) < start:
        start = numbers[_DICTIONARY_AT]
    length = numbers.get(_LENGTH, -1)
    if start < 0 or length < 0:
        raise BadPage("a column has no place")
    return Chunk(column, start, length)


def pages(file: BinaryIO, chunk: Chunk) -> Iterator[Page]:
    """The pages of one column chunk. Raises BadPage."""
    at, end = chunk.start, chunk.start + chunk.length
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
    numbers = reader.numbers()
    unpacked, packed = numbers.get(_UNPACKED, -1), numbers.get(_PACKED, -1)
    if packed < 0 or unpacked < 0:
        raise BadPage("a page has no size")
    return Page(reader.at, packed, unpacked)


class _Compact:
    """Walks through structs and keeps nothing. Raises IndexError where the data ends too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """The id and kind of each field of a struct; the caller reads or skips its value."""
        identity = 0
        while (head := self._byte()) & 0x0F:
            identity = identity + (head >> 4) if head >> 4 else self.zigzag()
            yield identity, head & 0x0F

    def structs(self) -> range:
        """A number for each struct of a list; the caller reads the structs."""
        kind, count = self._list()
        if count and kind != _STRUCT:
            raise BadPage("its footer is not one")
        return range(count)

    def numbers(self) -> dict[int, int]:
        """The fields of a struct that are whole numbers, by id; the last of each counts."""
        found: dict[int, int] = {}
        for identity, kind in self.fields():
            if kind in _VARINTS:
                found[identity] = self.zigzag()
            else:
                self.skip(kind)
        return found

    def zigzag(self) -> int:
        """A whole number."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass a value of this kind."""
        if depth > _DEEPEST:
            raise BadPage("a header is nested too deep")
        if kind in (_TRUE, _FALSE):
            return
        if kind in _VARINTS:
            self._varint()
        elif kind in (_BYTE, _DOUBLE):
            self._pass(1 if kind == _BYTE else 8)
        elif kind == _BINARY:
            self._pass(self._varint())
        elif kind in (_LIST, _SET):
            inner, count = self._list()
            for _ in range(count):
                self.skip(_BYTE if inner in (_TRUE, _FALSE) else inner, depth + 1)
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        else:
            raise BadPage("a header holds what no header does")

    def _list(self) -> tuple[int, int]:
        head = self._byte()
        count = head >> 4
        return head & 0x0F, self._varint() if count == 15 else count

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
                raise BadPage("a header holds a number without end")
        return value | byte << shift


def footer_of(file: BinaryIO, limit: int) -> bytes | None:
    """The description at the file's end; None where it is longer than the limit.

    Raises BadPage where there is none.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    if size < 12 or tail[4:] != b"PAR1":
        raise BadPage("it is encrypted" if tail[4:] == b"PARE" else "its end is missing")
    length = int.from_bytes(tail[:4], "little")
    if length > limit:
        return None
    if length > size - 12:
        raise BadPage("its footer is longer than the file")
    file.seek(size - 8 - length)
    return file.read(length)
