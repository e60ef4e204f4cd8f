"""Running intake's work in this process, where a test can look at it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config import UploadLimits
from core.data import preparation
from core.data.prepared import Contents
from core.domain.datasets import IntakeOptions
from tests.unit.data.builders import Files, write

Prepare = Callable[..., Contents]


@pytest.fixture
def limits() -> UploadLimits:
    return UploadLimits()


@pytest.fixture
def prepare(tmp_path: Path, limits: UploadLimits) -> Prepare:
    """Prepare archives' bytes in `tmp_path/out`, without the child process."""

    def run(data: bytes | Files, *, limits: UploadLimits = limits, **options: Any) -> Contents:
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        files = {"upload": data} if isinstance(data, bytes) else data
        archives = [write(tmp_path / name, data) for name, data in files.items()]
        return preparation.prepare(
            archives,
            folder,
            limits,
            IntakeOptions(**options),
            resolution=32,
            report=lambda _: None,
        )

    return run
