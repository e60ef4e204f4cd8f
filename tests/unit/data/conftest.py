"""Running intake's work in this process, where a test can look at it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config import UploadLimits
from core.data import preparation
from core.data.prepared import Contents
from core.domain.datasets import IntakeOptions

Prepare = Callable[..., Contents]


@pytest.fixture
def limits() -> UploadLimits:
    return UploadLimits()


@pytest.fixture
def prepare(tmp_path: Path, limits: UploadLimits) -> Prepare:
    """Prepare an archive's bytes in `tmp_path/out`, without the child process."""

    def run(data: bytes, *, limits: UploadLimits = limits, **options: Any) -> Contents:
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        archive = tmp_path / "upload"
        archive.write_bytes(data)
        return preparation.prepare(
            archive,
            folder,
            limits,
            IntakeOptions(**options),
            resolution=32,
            report=lambda _: None,
        )

    return run
