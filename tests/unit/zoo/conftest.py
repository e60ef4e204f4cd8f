"""A registry with a store, and bundles to put into it."""

from pathlib import Path

import pytest

from core.storage.local import LocalStore
from tests.unit.data.bundle_files import encoded


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A bundle that is accepted."""
    path = tmp_path / "good.safetensors"
    path.write_bytes(encoded())
    return path
