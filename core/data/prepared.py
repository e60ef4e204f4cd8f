"""What intake hands on."""

from dataclasses import dataclass
from pathlib import Path

from core.domain.datasets import DatasetReport

DEFAULT_RESOLUTION = 32
ORIGINALS_NAME, PACKED_NAME = "originals.parquet", "packed.safetensors"


@dataclass(frozen=True, slots=True)
class Contents:
    """A dataset as found in an archive: everything but its files."""

    sha256: str
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    channels: int
    report: DatasetReport
    resolution: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset ready to be stored: `originals` and `packed` are files in the caller's folder.

    Both together have `size_bytes`; `originals_sha256` is of the file, not of the dataset.
    """

    sha256: str
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    channels: int
    report: DatasetReport
    originals: Path
    packed: Path
    resolution: int
    originals_sha256: str
    size_bytes: int
