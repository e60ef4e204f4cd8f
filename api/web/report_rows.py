"""A report as its page shows it: alike images side by side, and everything else kind by kind."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from api.web import problem_rows
from api.web.problem_rows import Kind
from core.data import advice
from core.data.places import Found
from core.domain.datasets import DatasetReport, Problem

PAIRS = 40  # on a page
# What is told of two images that were both kept, the most harmful first.
ALIKE: Mapping[str, str] = {
    "near_conflict": "Alike in different classes",
    "near_leak": "Alike in train and test",
    "duplicate": "The same picture twice",
    "near_duplicate": "Alike in one class",
}


@dataclass(frozen=True, slots=True)
class Image:
    """An image by its name in the upload, and where it is if it is here."""

    name: str
    found: Found | None

    @property
    def place(self) -> str:
        """As forms name it: `train:12`."""
        return "" if self.found is None else f"{self.found.split}:{self.found.index}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that look alike; `number` tells it from the others on the page."""

    number: int
    first: Image
    second: Image

    @property
    def here(self) -> bool:
        """Whether both can be shown, and left out."""
        return self.first.found is not None and self.second.found is not None


@dataclass(frozen=True, slots=True)
class Group:
    """The pairs of one kind that are on the page, of `number` in all."""

    code: str
    heading: str
    number: int
    fix: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Alike:
    """A page of pairs, of so many pages."""

    groups: tuple[Group, ...]
    page: int
    pages: int

    @property
    def fixable(self) -> bool:
        """Whether any of the images can be left out."""
        return any(pair.here for group in self.groups for pair in group.pairs)


def alike(report: DatasetReport, images: Mapping[str, Found], *, page: int) -> Alike:
    """Images side by side: across classes first, then across splits."""
    listed = sorted(
        (each for each in report.problems if each.code in ALIKE and each.also),
        key=lambda each: list(ALIKE).index(each.code),
    )
    shown = listed[(page - 1) * PAIRS : page * PAIRS]
    pages = max(1, -(-len(listed) // PAIRS))
    return Alike(tuple(_groups(shown, report, images)), page, pages)


def others(report: DatasetReport) -> tuple[Kind, ...]:
    """The kinds of findings that are no pairs of kept images."""
    return tuple(kind for kind in problem_rows.kinds(report) if kind.code not in ALIKE)


def worth_a_look(report: DatasetReport) -> bool:
    """Whether anything was found that somebody may want to do something about."""
    return any(each.code not in advice.HARMLESS for each in report.problems)


def landing(dataset_id: UUID, report: DatasetReport | None) -> str:
    """Where an intake leads: to what is worth a look, or else to the dataset."""
    shown = "/report" if report is not None and worth_a_look(report) else ""
    return f"/datasets/{dataset_id}{shown}"


def _groups(
    shown: Sequence[Problem], report: DatasetReport, images: Mapping[str, Found]
) -> Iterator[Group]:
    pairs: dict[str, list[Pair]] = {}
    for number, each in enumerate(shown):
        second, first = each.place, each.also[0]  # the later one is told of
        pair = Pair(number, Image(first, images.get(first)), Image(second, images.get(second)))
        pairs.setdefault(each.code, []).append(pair)
    for code, found in pairs.items():
        number = report.findings.get(code, len(found))
        yield Group(code, ALIKE[code], number, advice.about(code), tuple(found))
