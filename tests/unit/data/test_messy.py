"""Archives as people make them, in short: `make bench-intake` has more, of real pictures."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.benchmarks.intake.messy import outcome
from tests.benchmarks.intake.messy_archives import Deck
from tests.benchmarks.intake.messy_cases import CASES, Case
from tests.unit.data.builders import encode, noise

SHORT = {
    "suffixes in mixed case",
    "decomposed names without the flag (macOS)",
    "hidden files and __MACOSX",
    "mixed modes and formats",
    "Training, valid and Testing",
    "a flat test folder (Kaggle)",
    "classes in file names (Kaggle)",
    "backslashes (old Windows programs)",
    "cp437 names (Windows)",
    "metadata.csv with BOM and semicolons (Excel)",
}
CHOSEN = [case for case in CASES if case.name in SHORT]


def drawn(stack: int) -> Iterator[bytes]:
    return (encode(noise(1_000 * stack + seed, (8, 8, 3))) for seed in count())


def test_ten_are_chosen() -> None:
    assert {case.name for case in CHOSEN} == SHORT


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_a_messy_archive_becomes_what_a_person_expects(case: Case, tmp_path: Path) -> None:
    deck = Deck([drawn(stack) for stack in range(3)])
    assert outcome(case.make(deck), tmp_path) == case.expected
