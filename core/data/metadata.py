"""`metadata.csv` and `metadata.jsonl` beside the images, as in Hugging Face's image folders.

Each row names a file, relative to the table's folder (`file_name`), and says its class, and maybe
its split and group. Everything wrong with any row is told with its line.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from core.config import UploadLimits
from core.data import names
from core.data.items import Item, Parts
from core.data.labels import SPLIT, Findings, Labels, Said
from core.data.layout import role_named
from core.data.members import Member
from core.data.table_rows import FILE_NAME, Record, records
from core.domain.datasets import IntakeOptions
from core.errors import Detail, TooLarge

_NAMES = {"metadata.csv", "metadata.jsonl"}
_TABLE_BYTES = 32 * 1024**2  # all tables together


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
        known = len(self._found.faults)
        rows = records(table.name, data, self._found)
        first = next(rows, None)
        if first is None:
            if len(self._found.faults) > known:
                return
            self._found.warn(table.name, "empty_table", "The table has no rows.")
            return
        if not self._usable(table, first.cells):
            return
        folder = table.parts[:-1]
        self._row(folder, first, table.name)
        for record in rows:
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

    def _row(self, folder: Parts, record: Record, table: str) -> None:
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
