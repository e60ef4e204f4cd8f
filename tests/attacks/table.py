"""Every upload that is an attack: its row in the table of bad inputs, and what is right to answer.

Rows are those of the table; what it has no row for stands in the nearest. `accepted` is an answer
too: what is odd but harmless becomes a dataset, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.attacks import archives, columns, costly, pictures
from tests.unit.data.builders import dataset, zip_bytes

Make = Callable[[Path], object]

TOO_LARGE = {"archive_too_large", "too_many_files", "too_many_classes"}
HONEST = dataset(10)
EMPTY = "An upload without bytes is refused before there is an archive."
PARQUET_ROWS = {"archive_too_large": 7, "too_many_files": 9, "bad_parquet": 13}


@dataclass(frozen=True, slots=True)
class Attack:
    """One upload; `doors` has the doors where another code is right, and `why` says why."""

    row: int
    name: str
    make: Make
    code: str
    doors: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    def expected(self, door: str) -> tuple[tuple[int, ...], str]:
        """The statuses and the code that are right at a door."""
        code = self.doors.get(door, self.code)
        if code == "accepted":
            return ((303,) if door == "form" else (200, 201)), code
        return (413 if code in TOO_LARGE else 422,), code


def attacks() -> Iterator[Attack]:
    """All of them, by row."""
    yield from sorted(_made(), key=lambda each: each.row)


def _made() -> Iterator[Attack]:
    for name, (data, code) in archives.REFUSED.items():
        yield _named(name, _bytes(data), code)
    for name, (data, code) in pictures.BAD.items():
        yield _named(f"{name} image", _image(lambda data=data: data), code)
    for name, data in pictures.POLYGLOTS.items():
        yield Attack(23, name, _image(lambda data=data: data), "accepted")
    for name, (made, code) in pictures.LARGE.items():
        yield _named(name, _image(made), code)
    for name, (make, code) in {**costly.ROWS, **costly.LARGER}.items():
        yield _named(name, make, code)
    for name, (data, code) in columns.HOSTILE.items():
        yield Attack(PARQUET_ROWS[code], f"Parquet: {name}", _bytes(data), code)
    for name, (data, code) in columns.TABLES.items():
        yield _named(name, _bytes(data), code)


def _named(name: str, make: Make, code: str) -> Attack:
    row, _, rest = name.partition(" ")
    if name == "14 nothing":
        elsewhere = {"rest": "empty_body", "form": "empty_body", "tus": "invalid_input"}
        return Attack(14, rest, make, code, elsewhere, EMPTY)
    return Attack(int(row), rest, make, code)


def _bytes(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def _image(made: Callable[[], bytes]) -> Make:
    """Among good ones, and the only one that could be at fault."""
    return lambda path: path.write_bytes(zip_bytes({**HONEST, "cat/x.png": made()}, 0))
