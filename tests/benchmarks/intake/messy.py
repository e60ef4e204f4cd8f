"""Messy archives made of real pictures: each is taken in as a person expects, or explained."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

from core.config import UploadLimits
from core.data import intake
from core.data.findings import TWINS
from core.errors import AppError
from tests.benchmarks.intake.messy_archives import Deck
from tests.benchmarks.intake.messy_cases import CASES, Case, Refused, Taken

MOST_OF_A_STACK = 41  # what any of the archives is made of

Stacks = Sequence[Sequence[bytes]]


def outcome(archive: bytes, folder: Path) -> Taken | Refused:
    """What intake makes of it; `folder` is empty."""
    path = folder / "upload"
    path.write_bytes(archive)
    try:
        found = intake.prepare(path, folder / "out", UploadLimits(workers=1))
    except AppError as error:
        listed = frozenset(detail.code for detail in error.details)
        return Refused(error.stable_code, listed, str(error))
    counts = zip(found.classes, zip(found.train_counts, found.test_counts, strict=True),
                 strict=True)  # fmt: skip
    # That real pictures look alike is no mess of the archive's.
    told = {problem.code for problem in found.report.problems} - {*TWINS}
    return Taken(dict(counts), frozenset(told))


def stacks_of(task: Path) -> Stacks:
    """The pictures of its three largest classes."""
    by_class: dict[str, list[bytes]] = {}
    with zipfile.ZipFile(io.BytesIO(task.read_bytes())) as file:
        for name in sorted(file.namelist()):
            if name.endswith(".png"):
                by_class.setdefault(name.split("/")[1], []).append(file.read(name))
    largest = sorted(by_class, key=lambda label: (-len(by_class[label]), label))
    return [by_class[label] for label in largest[:3]]


def decks(suite: Path) -> Iterator[tuple[str, Deck]]:
    """Tasks that have enough pictures, one after another and from the front again."""
    enough = []
    for task in sorted(suite.glob("*.zip")):
        stacks = stacks_of(task)
        if len(stacks) == 3 and min(map(len, stacks)) >= MOST_OF_A_STACK:
            enough.append((task.stem, stacks))
    if not enough:
        raise SystemExit(f"{suite} has no task of three classes with {MOST_OF_A_STACK} images")
    return ((name, Deck(stacks)) for name, stacks in cycle(enough))


def judged(case: Case, task: str, deck: Deck) -> dict[str, str | bool]:
    """One archive: what was expected of it, and what came."""
    with tempfile.TemporaryDirectory(prefix="messy-") as folder:
        found = outcome(case.make(deck), Path(folder))
    row: dict[str, str | bool] = {
        "archive": case.name,
        "of": task,
        "expected": str(case.expected),
        "outcome": str(found),
        "ok": found == case.expected,
    }
    return {**row, "says": found.words} if isinstance(found, Refused) else row


def measured(suite: Path) -> Iterator[dict[str, str | bool | int]]:
    """All of them, and how many came out as expected."""
    right = 0
    for case, (task, deck) in zip(CASES, decks(suite), strict=False):
        row = judged(case, task, deck)
        right += row["ok"] is True
        yield {**row}
    yield {"archives": len(CASES), "as expected": right, "ok": right == len(CASES)}
