"""Fixtures for everything that runs jobs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.execution.bench import Bench


@pytest.fixture
def bench(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Bench]:
    """A migrated SQLite database with supervisors at hand."""
    made = Bench.at(tmp_path, migrated_sqlite)
    yield made
    made.sessions.dispose()
