"""What intake found, kind by kind, as pages show it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.data import advice
from core.domain.datasets import DatasetReport, Problem
from core.domain.jobs import JobRecord
from core.pipelines.ingest_dataset import REFUSAL

LISTED = 20


@dataclass(frozen=True, slots=True)
class Kind:
    """Findings of one kind: what was found, how often, what to do, and the first places.

    `more` are found beside those listed. `left_out` says whether the files were.
    """

    code: str
    words: str
    number: int
    left_out: bool
    fix: str
    listed: tuple[Problem, ...]
    more: int


def kinds(report: DatasetReport) -> Iterator[Kind]:
    """The kinds that cost images first, then the most frequent."""
    yield from _sorted(report.problems, report.findings)


def refused(records: Sequence[JobRecord]) -> Iterator[Kind]:
    """What a refused upload's job has recorded, in the same way."""
    found = (
        Problem("refusal", told["code"], told["place"], told["message"])
        for record in records
        if record.stage == REFUSAL
        for told in record.values["findings"]
    )
    yield from _sorted(found, {})


def _sorted(problems: Iterable[Problem], numbers: Mapping[str, int]) -> Iterator[Kind]:
    by_code: dict[str, list[Problem]] = {}
    for problem in problems:
        by_code.setdefault(problem.code, []).append(problem)
    found = [_kind(code, numbers, alike) for code, alike in by_code.items()]
    yield from sorted(found, key=lambda each: (not each.left_out, -each.number))


def _kind(code: str, numbers: Mapping[str, int], problems: list[Problem]) -> Kind:
    number = numbers.get(code, len(problems))
    placed = tuple(problem for problem in problems if problem.place)
    return Kind(
        code=code,
        words=problems[0].message,
        number=number,
        left_out=problems[0].severity == "error",
        fix=advice.about(code),
        listed=placed[:LISTED],
        more=number - len(placed[:LISTED]) if placed else 0,
    )
