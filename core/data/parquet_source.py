"""Parquet files in the Hugging Face image layout, ours among them.

A column of images (`{bytes, path}`, or plain bytes) beside a column of classes (names, or numbers
that the `huggingface` metadata names), and maybe columns of splits and groups. All images are
copied once to a plain file, row group by row group, so that they can be read in any order, by
several processes, in little memory.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from core.config import UploadLimits
from core.data import names, parquet_pages
from core.data.items import Item
from core.data.labels import Findings, Labels
from core.data.layout import role_named, role_of_file
from core.data.members import TABLE_SUFFIX, check_expansion, too_many
from core.data.parquet_columns import Columns, Names, columns_of
from core.data.parquet_pages import BadPage, Chunk
from core.domain.datasets import IntakeOptions, Problem
from core.errors import AppError, BadArchive, Detail, TooLarge

_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
# A dictionary can make any row as long as its page: the longer that, the fewer rows at once.
_ROWS_AT_ONCE, _BYTES_AT_ONCE = 8, 16 * 1024**2
_BUFFER = 1024**2
_FOOTER_BYTES = 4 * 1024**2
# A page is unpacked whole. Images do not shrink, so larger pages must have been uploaded as such.
_FREE_PAGE_BYTES, _PAGE_BYTES, _PAGE_RATIO = 32 * 1024**2, 256 * 1024**2, 4
_PAGES = 100_000
_CHUNKS, _COLUMNS = 50_000, 1_000
_READER = {
    "pre_buffer": False,
    "buffer_size": _BUFFER,
    "thrift_string_size_limit": _FOOTER_BYTES,
    "thrift_container_size_limit": _CHUNKS,
    "schema_depth_limit": 20,
    "page_checksum_verification": True,
    "arrow_extensions_enabled": False,
}
_READER_ERRORS = (OSError, ValueError, TypeError, LookupError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file: its name in the upload (empty when it is the upload), and its bytes."""

    name: str
    open: Callable[[], BinaryIO]

    @property
    def split(self) -> str | None:
        """The split that its name, or the nearest folder's, says."""
        *folders, file = self.name.casefold().removesuffix(TABLE_SUFFIX).split("/")
        roles = (role_of_file(file), *map(role_named, reversed(folders)))
        return next((role for role in roles if role is not None), None)


def is_parquet(path: Path) -> bool:
    """Whether the file begins as a Parquet file does."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) in (_MAGIC, _ENCRYPTED)


class ParquetImages:
    """The rows of all files as images to be read."""

    def __init__(
        self, images: BinaryIO, ends: Sequence[int], items: Sequence[Item], found: Findings
    ) -> None:
        self._images = images
        self._ends = ends
        self.items = items
        self.problems: Sequence[Problem] = found.problems
        self.faults: Sequence[Detail] = found.faults

    def read(self, index: int) -> bytes:
        """The image's bytes."""
        start = self._ends[index - 1] if index else 0
        return os.pread(self._images.fileno(), self._ends[index] - start, start)


@contextmanager
def opened(
    shards: Sequence[Shard], limits: UploadLimits, options: IntakeOptions, *, folder: Path
) -> Iterator[ParquetImages]:
    """Unpack the images of all files into one in `folder`, which is gone afterwards.

    Raises BadArchive when a file contradicts itself, TooLarge at a limit.
    """
    target = folder / "images.bin"
    try:
        with target.open("w+b") as images:
            yield _Unpacking(images, limits, options).of(shards)
    finally:
        target.unlink(missing_ok=True)


class _Unpacking:
    """Takes one file after another; all their rows are one dataset."""

    def __init__(self, images: BinaryIO, limits: UploadLimits, options: IntakeOptions) -> None:
        self._images = images
        self._limits = limits
        share = options.unreadable_share
        self._share = limits.unreadable_share if share is None else share
        self._found = Findings()
        self._labels = Labels(limits, options, self._found)
        self._items: list[Item] = []
        self._ends: list[int] = []
        self._lacking: list[Detail] = []
        self._rows = self._pages = self._written = self._packed = 0

    def of(self, shards: Sequence[Shard]) -> ParquetImages:
        for shard in shards:
            with shard.open() as file:
                self._take(shard, file)
        self._images.flush()
        self._found.lacking(self._lacking, share=self._share, total=self._rows)
        return ParquetImages(self._images, self._ends, self._items, self._found)

    def _take(self, shard: Shard, file: BinaryIO) -> None:
        self._packed += file.seek(0, os.SEEK_END)
        with _told(shard):
            footer = parquet_pages.footer_of(file, _FOOTER_BYTES)
            if footer is None:
                raise _too_large(shard, f"its footer has more than {_FOOTER_BYTES:,} bytes")
            chunks = list(islice(parquet_pages.chunks(footer), _CHUNKS + 1))
            if len(chunks) > _CHUNKS:
                raise _too_large(shard, f"it has more than {_CHUNKS:,} row groups or columns")
            file.seek(0)
            table = _parquet_file(file)
        if table.metadata.num_columns > _COLUMNS:
            raise TooLarge(
                f"{_shown(shard)}: it has more than {_COLUMNS:,} columns; keep only image, label "
                "and split.",
                code="archive_too_large",
            )
        if self._rows + max(table.metadata.num_rows, 0) > self._limits.entries:
            raise too_many(self._limits)
        with _told(shard):
            columns = columns_of(table.schema_arrow, shard.name, self._labels, self._found)
        if columns is None:
            return
        with _told(shard):
            longest = self._longest_page(shard, file, chunks, _numbers(table, columns))
        at_once = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // longest))
        for number, row in enumerate(_rows(shard, table, columns, at_once), start=1):
            place = f"{shard.name}, row {number}" if shard.name else f"row {number}"
            self._row(shard, columns, row, place)

    def _longest_page(
        self, shard: Shard, file: BinaryIO, chunks: Sequence[Chunk], read: Collection[int]
    ) -> int:
        """The most bytes that any page to be read unpacks to. Raises TooLarge, BadPage."""
        longest = 1
        for chunk in chunks:
            if chunk.column not in read:
                continue
            for page in parquet_pages.pages(file, chunk):
                self._pages += 1
                if self._pages > _PAGES:
                    raise _too_large(shard, f"it has more than {_PAGES:,} pages")
                honest = min(_PAGE_BYTES, _PAGE_RATIO * page.packed)
                if page.unpacked > max(_FREE_PAGE_BYTES, honest):
                    raise _too_large(shard, f"a page unpacks to {page.unpacked:,} bytes")
                longest = max(longest, page.unpacked)
        return longest

    def _row(self, shard: Shard, columns: Columns, row: Mapping[str, Any], place: str) -> None:
        self._rows += 1
        if self._rows > self._limits.entries:
            raise too_many(self._limits)
        image = row[columns.image]
        data, path = (image, None) if not isinstance(image, dict) else _both(image)
        split = shard.split if columns.split is None else row[columns.split]
        said = self._labels.said(
            self._meant(row[columns.label], columns.label_names, place),
            self._meant(split, columns.split_names, place),
            None if columns.group is None else row[columns.group],
            place,
        )
        if data is None:
            words = "The row holds no image" + (", only the path of one." if path else ".")
            self._lacking.append(Detail(names.printable(place), "no_image_bytes", words))
            return
        self._write(place, data)
        name = self._name(path, place)
        self._items.append(said.of(Item(name, tuple(name.split("/")))))

    def _meant(self, value: object, meanings: Names, place: str) -> object:
        """A number's name; `datasets` has -1 where there is none."""
        if meanings is None or not isinstance(value, int) or value == -1:
            return None if meanings is not None and value == -1 else value
        if 0 <= value < len(meanings):
            return meanings[value]
        words = f"Its class is {value}, and {len(meanings):,} classes have names."
        self._found.fault(place, "bad_label", words)
        return None

    def _write(self, place: str, data: bytes) -> None:
        if len(data) > self._limits.entry_bytes:
            raise TooLarge(
                f"{names.printable(place)}: {len(data):,} bytes, more than the "
                f"{self._limits.entry_bytes:,} allowed for one file.",
                code="archive_too_large",
            )
        self._written += len(data)
        check_expansion(self._written, self._packed, self._limits)
        self._images.write(data)
        self._ends.append(self._written)

    def _name(self, path: str | None, place: str) -> str:
        """What the file calls the image, if that is harmless to show; else its row."""
        if path is None or names.escape_of(path) is not None:
            return place
        parts = names.parts_of(path)
        return place if names.blemish_of(parts, self._limits) else "/".join(parts)


def _parquet_file(file: BinaryIO) -> Any:
    import pyarrow.parquet as pq  # only here: it takes a while, and few uploads need it

    return pq.ParquetFile(file, **_READER)


def _numbers(table: Any, columns: Columns) -> Collection[int]:
    """The columns to be read, by their places in the schema."""
    paths = [table.schema.column(number).path for number in range(table.metadata.num_columns)]
    return {
        number
        for number, path in enumerate(paths)
        if any(path == leaf or path.startswith(f"{leaf}.") for leaf in columns.leaves)
    }


def _rows(shard: Shard, table: Any, columns: Columns, at_once: int) -> Iterator[Mapping[str, Any]]:
    with _told(shard):
        batches = table.iter_batches(batch_size=at_once, columns=columns.leaves, use_threads=False)
    while True:
        with _told(shard):
            batch = next(batches, None)
            rows = [] if batch is None else batch.to_pylist()
        if batch is None:
            return
        yield from rows


@contextmanager
def _told(shard: Shard) -> Iterator[None]:
    """What the Parquet reader says of a damaged file, as a refusal."""
    import pyarrow as pa

    try:
        yield
    except (MemoryError, AppError):
        raise
    except (pa.ArrowException, BadPage, *_READER_ERRORS) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the reader's
            raise
        words = names.printable((str(error).splitlines() or [type(error).__name__])[0])
        raise _bad(shard, words) from None


def _bad(shard: Shard, why: str) -> BadArchive:
    return BadArchive(
        f"{_shown(shard)}: the Parquet file is damaged or unusual ({why}). Write it again and "
        "upload it again.",
        code="bad_parquet",
    )


def _too_large(shard: Shard, why: str) -> TooLarge:
    return TooLarge(
        f"{_shown(shard)}: {why}; write the file in row groups of about 100 images.",
        code="archive_too_large",
    )


def _both(image: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
    return image.get("bytes"), image.get("path")


def _shown(shard: Shard) -> str:
    return names.printable(shard.name) if shard.name else "The upload"
