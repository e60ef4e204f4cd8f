"""The rows of a CSV or JSON Lines file, with their lines, whatever is wrong with some of them."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO

from core.data import names
from core.data.labels import Findings
from core.errors import TooLarge

FILE_NAME = "file_name"
_DELIMITERS = ",;\t"
# One row of CSV, with all its lines, or one line of JSON.
_RECORD_BYTES = 256 * 1024
_LINES = 500_000


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its first line, and its cells by column (in lower case)."""

    line: int
    cells: Mapping[str, object]


def records(table: str, data: bytes, found: Findings) -> Iterator[Record]:
    """The rows of a table, without its header and blank lines; what cannot be read is a fault."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        words = "The table is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)."
        found.fault(table, "bad_encoding", words)
        return iter(())
    lines = _Lines(table, data, found)
    by_line = table.casefold().endswith(".jsonl")
    return _json_records(lines) if by_line else _csv_records(lines)


class _Lines:
    """The lines of a table, as text; a record that grows too long is cut off and told."""

    def __init__(self, table: str, data: bytes, found: Findings) -> None:
        data = data.removeprefix(b"\xef\xbb\xbf")
        if b"\n" not in data:
            data = data.replace(b"\r", b"\n")
        self._file = BytesIO(data)
        self._table = table
        self._found = found
        self._room = _RECORD_BYTES
        self.number = 0
        self.sound = True

    def begin(self) -> int:
        """A record begins: the number of its first line."""
        self._room = _RECORD_BYTES
        self.sound = True
        return self.number + 1

    def fault(self, code: str, message: str, line: int | None = None) -> None:
        """Something is wrong with a line, the last that was read by default."""
        where = self.number if line is None else line
        self._found.fault(f"{self._table}, line {where}", code, message)

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        self.number += 1
        if self.number > _LINES:
            raise TooLarge(
                f"{names.printable(self._table)}: it has more than {_LINES:,} lines; keep only "
                "the columns file_name, label and split.",
                code="too_many_files",
            )
        self._room -= len(line)
        if self._room < 0:
            if self.sound:
                words = f"The row has more than {_RECORD_BYTES:,} bytes; is a quote left open?"
                self.fault("bad_table", words)
            self.sound = False
            return "\n"
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            byte = line[error.start]
            words = f"It is not UTF-8 (byte {byte:#04x}); save the table as UTF-8."
            self.fault("bad_encoding", words)
            self.sound = False
            return line.decode(errors="replace")


def _csv_records(lines: _Lines) -> Iterator[Record]:
    rows = _csv_rows(lines)
    first = next(rows, None)
    if first is None:
        return
    line, header = first
    columns = [name.casefold() for name in header]
    twice = sorted(name for name, count in Counter(columns).items() if name and count > 1)
    if twice:
        words = f"The header has more than one column {names.printable(twice[0])}; rename one."
        lines.fault("duplicate_column", words, line)
        return
    for line, cells in rows:
        if len(cells) == len(columns):
            yield Record(line, dict(zip(columns, cells, strict=True)))
        else:
            words = f"The row has {len(cells):,} cells where the header has {len(columns):,}."
            lines.fault("ragged_row", words, line)


def _csv_rows(lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank: first line and cells, without space around them."""
    delimiter = None
    while True:
        start = lines.begin()
        head = next(lines, None)
        if head is None:
            return
        if not head.strip():
            continue
        if delimiter is None:
            delimiter = _delimiter(head)
        # A new reader for each row: what one broken row leaves behind must not reach the next.
        reader = csv.reader(
            _after(head, lines), delimiter=delimiter, strict=True, skipinitialspace=True
        )
        try:
            cells = [cell.strip() for cell in next(reader, [])]
        except csv.Error as error:
            if lines.sound:
                words = f"The row cannot be read ({error}); is a quote left open?"
                lines.fault("bad_table", words, start)
            continue
        if lines.sound and any(cells):
            yield start, cells


def _after(head: str, lines: Iterator[str]) -> Iterator[str]:
    yield head
    yield from lines


def _delimiter(header: str) -> str:
    """The one by which the header has the column that every table must have."""
    return next(
        (
            char
            for char in _DELIMITERS
            if FILE_NAME in {cell.strip('" \r\n').casefold() for cell in header.split(char)}
        ),
        ",",
    )


def _json_records(lines: _Lines) -> Iterator[Record]:
    while True:
        start = lines.begin()
        line = next(lines, None)
        if line is None:
            return
        if not lines.sound or not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            lines.fault("bad_table", "The line is not JSON: one object in each line.", start)
            continue
        if not isinstance(value, dict):
            lines.fault("bad_table", "The line is not an object, as in {...}.", start)
            continue
        yield Record(start, {name.casefold(): cell for name, cell in value.items()})
