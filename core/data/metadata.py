"""`metadata.csv` and `metadata.jsonl` beside the images, as in Hugging Face's image folders.

Each row names a file, relative to the table's folder (`file_name`), and says its class, and maybe
its split and group. Everything wrong with any row is told with its line.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from core.config import UploadLimits
from core.data import names
from core.data.items import Item, Parts
from core.data.labels import SPLIT, Findings, Labels, Said
from core.data.layout import role_named
from core.data.members import Member
from core.domain.datasets import IntakeOptions
from core.errors import Detail, TooLarge

FILE_NAME = "file_name"
_NAMES = {"metadata.csv", "metadata.jsonl"}
_DELIMITERS = ",;\t"
# Together; a record is one row of CSV, with all its lines, or one line of JSON.
_TABLE_BYTES = 32 * 1024**2
_RECORD_BYTES = 1024**2


def is_table(parts: Parts) -> bool:
    """Whether a file of an archive is such a table, by its name."""
    return parts[-1].casefold() in _NAMES


def applied(
    tables: Sequence[Member],
    read: Callable[[Member], bytes],
    items: Sequence[Item],
    limits: UploadLimits,
    options: IntakeOptions,
) -> tuple[Sequence[Item], Findings]:
    """The images with what the tables say of them, and what is wrong or odd in the tables.

    Raises TooLarge where they have more rows or bytes than any dataset needs.
    """
    if sum(table.size for table in tables) > _TABLE_BYTES:
        raise TooLarge(
            f"The tables have more than {_TABLE_BYTES:,} bytes; keep only the columns file_name, "
            "label and split.",
            code="archive_too_large",
        )
    judge = _Judge(items, limits, options)
    for table in tables:
        judge.take(table, read(table))
    return judge.close()


@dataclass(frozen=True, slots=True)
class _Record:
    """One row: its first line, and its cells by column (in lower case)."""

    line: int
    cells: Mapping[str, object]


class _Judge:
    """Takes one table after another and keeps what each says of which image."""

    def __init__(
        self, items: Sequence[Item], limits: UploadLimits, options: IntakeOptions
    ) -> None:
        self._items = items
        self._limits = limits
        share = options.unreadable_share
        self._share = limits.unreadable_share if share is None else share
        self._found = Findings()
        self._labels = Labels(limits, options, self._found)
        self._index_of = {item.name: index for index, item in enumerate(items)}
        self._folded = {names.fold(item.name): index for index, item in enumerate(items)}
        self._said: dict[int, tuple[Said, str]] = {}
        self._lacking: list[Detail] = []
        self._rows = 0
        self._within = Counter(
            item.parts[:depth] for item in items for depth in range(len(item.parts))
        )
        self._directly = Counter(item.parts[:-1] for item in items)

    def take(self, table: Member, data: bytes) -> None:
        """Read one table to its end."""
        records = _records(table.name, data, self._found)
        first = next(records, None)
        if first is None:
            self._found.warn(table.name, "empty_table", "The table has no rows.")
            return
        if not self._usable(table, first.cells):
            return
        folder = table.parts[:-1]
        self._row(folder, first, table.name)
        for record in records:
            self._row(folder, record, table.name)

    def close(self) -> tuple[Sequence[Item], Findings]:
        """The images as the tables see them."""
        self._found.lacking(self._lacking, share=self._share, total=self._rows)
        items = [
            self._said[index][0].of(item) if index in self._said else item
            for index, item in enumerate(self._items)
        ]
        return items, self._found

    def _usable(self, table: Member, cells: Mapping[str, object]) -> bool:
        """Whether the table has the columns it needs; folders may make up for its classes."""
        columns = ", ".join(names.printable(name) for name in list(cells)[:20])
        if FILE_NAME not in cells:
            words = f"It has no column {FILE_NAME}, which says the file of each row ({columns})."
            self._useless(table, "no_file_name_column", words)
            return False
        column = self._labels.column
        if column.casefold() not in cells:
            words = (
                f"It has no column {names.printable(column)}; say by the option label which of "
                f"its columns names the class ({columns})."
            )
            self._useless(table, "no_label_column", words)
        return True

    def _useless(self, table: Member, code: str, words: str) -> None:
        """A fault, unless classes are read off folders anyway."""
        folder = table.parts[:-1]
        deeper = 2 * self._directly[folder] < self._within[folder]
        a_class = folder and role_named(folder[-1]) is None and len(self._directly) > 1
        if self._labels.chosen or not (deeper or a_class):
            self._found.fault(table.name, code, words)
        else:
            self._found.warn(table.name, code, f"{words} Folders say the classes.")

    def _row(self, folder: Parts, record: _Record, table: str) -> None:
        self._rows += 1
        if self._rows > self._limits.entries:
            raise TooLarge(
                f"The tables have more than {self._limits.entries:,} rows; upload fewer images.",
                code="too_many_files",
            )
        place = f"{table}, line {record.line}"
        index = self._named(folder, record.cells.get(FILE_NAME), place)
        cells, labels = record.cells, self._labels
        group = labels.group_column
        said = labels.said(
            cells.get(labels.column.casefold()),
            cells.get(SPLIT),
            None if group is None else cells.get(group.casefold()),
            place,
        )
        if index is None:
            return
        earlier, where = self._said.setdefault(index, (said, place))
        if where == place:
            return
        name = names.printable(self._items[index].name)
        if earlier == said:
            words = f"It says the same of {name} as {where}."
            self._found.warn(place, "duplicate_row", words)
        else:
            words = f"It says something else of {name} than {where}; remove one of the two rows."
            self._found.fault(place, "contradicting_rows", words)

    def _named(self, folder: Parts, value: object, place: str) -> int | None:
        """The image that a row names, if there is such an image."""
        if not isinstance(value, str) or not value:
            self._found.fault(place, "no_file_name", "The row names no file.")
            return None
        escape = names.escape_of(value)
        if escape is not None:
            self._found.fault(place, "unsafe_path", escape)
            return None
        name = "/".join((*folder, *names.parts_of(value)))
        index = self._index_of.get(name)
        if index is None:
            index = self._folded.get(names.fold(name))
        if index is None:
            words = f"The archive holds no image {names.printable(name)}, which the row names."
            self._lacking.append(Detail(names.printable(place), "missing_file", words))
        return index


def _records(table: str, data: bytes, found: Findings) -> Iterator[_Record]:
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


def _csv_records(lines: _Lines) -> Iterator[_Record]:
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
            yield _Record(line, dict(zip(columns, cells, strict=True)))
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
        if delimiter is None and head.strip():
            delimiter = _delimiter(head)
        # A new reader for each row: what one broken row leaves behind must not reach the next.
        reader = csv.reader(
            _after(head, lines), delimiter=delimiter or ",", strict=True, skipinitialspace=True
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


def _json_records(lines: _Lines) -> Iterator[_Record]:
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
        yield _Record(start, {name.casefold(): cell for name, cell in value.items()})
