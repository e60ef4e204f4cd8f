"""A world for pipelines without a supervisor: a local store, a scratch folder, checkpoints."""

import functools
import io
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from core.config import UploadLimits
from core.data import repacking
from core.data.prepared import Prepared
from core.domain.datasets import Dataset, DatasetId
from core.domain.identity import DEFAULT, ProjectId
from core.domain.jobs import JobRecord, Progress
from core.nas import alike, export
from core.nas.ranks import ALONE, Ranks
from core.pipelines import objects
from core.pipelines.context import Restored, Stopped
from core.pipelines.ingest_dataset import ingest
from core.storage.local import LocalStore

TakenIn = tuple[Path, Prepared]


@dataclass
class World:
    """A `Context` that remembers; `stop_after` records it raises Stopped, as a cancel would."""

    store: LocalStore
    scratch: Path
    kept: Path
    cache: Path
    device: str = "cpu"
    resnet18_weights: Path | None = None
    upload_limits: UploadLimits = field(default_factory=UploadLimits)
    stop_after: int | None = None
    project: ProjectId = DEFAULT
    halvings: int = 0
    spent: float = 0.0
    ranks: Ranks = ALONE
    attempt: str = "1"
    signs: int = 0
    records: list[JobRecord] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    checkpoints: list[tuple[int, Path]] = field(default_factory=list)

    def key(self, name: str) -> str:
        return f"default/jobs/test/a{self.attempt}/{name}"

    def report(self, progress: Progress, record: JobRecord | None = None) -> None:
        self.progress.append(progress)
        if record is not None:
            self.records.append(record)
        if self.stop_after is not None and len(self.records) >= self.stop_after:
            raise Stopped

    def alive(self) -> None:
        self.signs += 1

    def checkpoint(self, step: int, path: Path) -> None:
        assert not self.checkpoints or step > self.checkpoints[-1][0]
        copy = self.kept / f"{self.attempt}-{step}.safetensors"
        shutil.copy(path, copy)
        self.checkpoints.append((step, copy))

    def restore(self) -> Restored | None:
        return Restored(*self.checkpoints[-1]) if self.checkpoints else None


def apart(world: World, name: str, stop_after: int | None = None) -> World:
    """Another job in the same store: its own scratch folder, its own checkpoints."""
    scratch = world.scratch.parent / f"scratch-{name}"
    scratch.mkdir()
    return World(
        world.store, scratch, world.kept, world.cache, attempt=name, stop_after=stop_after
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A fresh context over a fresh local store."""
    folders = [tmp_path / name for name in ("objects", "scratch", "kept", "cache")]
    for folder in folders:
        folder.mkdir()
    return World(LocalStore(folders[0]), *folders[1:])


@pytest.fixture
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches whose ONNX file nobody looks at: writing it takes most of a small search's time."""
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: b"a network")
    monkeypatch.setattr(export, "parity", lambda *_: 0.0)
    monkeypatch.setattr(alike, "index_bytes", lambda *_: b"an index")


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], TakenIn]:
    """Striped images as intake leaves them in a store, taken in once for each number and seed."""

    @functools.cache
    def taken_in(classes: int, seed: int) -> TakenIn:
        folder = tmp_path_factory.mktemp("stripes")
        archive = folder / "stripes.zip"
        archive.write_bytes(striped_archive(classes=classes, seed=seed))
        (folder / "intake").mkdir()
        found = ingest(
            archive,
            folder=folder / "intake",
            store=LocalStore(folder / "objects"),
            project=DEFAULT,
            limits=UploadLimits(),
        )
        return folder / "objects", found

    return taken_in


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what was packed at other resolutions."""
    return tmp_path_factory.mktemp("packed")


@pytest.fixture
def packed_once(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A confined process packs the same images at a resolution for the first who wants it."""
    honest = repacking.repack

    def repack(originals: Path, target: Path, *limits: Any, resolution: int, **more: Any) -> None:
        known = packed / f"{objects.checksum(originals)}-{resolution}"
        if not known.exists():
            honest(originals, target, *limits, resolution=resolution, **more)
            shutil.copy(target, known)
        shutil.copy(known, target)

    monkeypatch.setattr(repacking, "repack", repack)


@pytest.fixture
def registered(
    world: World, tmp_path: Path, stripes: Callable[[int, int], TakenIn], packed_once: None
) -> Callable[..., Dataset]:
    """Put a dataset of striped images into the world's store, as intake would."""

    def register(name: str, *, classes: int = 3, seed: int = 0) -> Dataset:
        stored, found = stripes(classes, seed)
        shutil.copytree(stored, tmp_path / "objects", dirs_exist_ok=True)
        return Dataset(
            project_id=DEFAULT,
            id=DatasetId(uuid4()),
            sha256=found.sha256,
            name=name,
            classes=found.classes,
            train_counts=found.train_counts,
            test_counts=found.test_counts,
            channels=found.channels,
            report=found.report,
            created_at=datetime.now(UTC),
        )

    return register


def striped_archive(*, classes: int, seed: int, train: int = 16, test: int = 6) -> bytes:
    """A zip of noisy stripes whose period tells the class: easy enough to learn in two epochs."""
    random = np.random.default_rng(seed)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for label in range(classes):
            for number in range(train + test):
                columns = np.arange(16) + random.integers(8)
                stripes = np.where((columns // (label + 1)) % 2, 200.0, 40.0)
                noisy = stripes[None, :] + random.normal(0, 20, (16, 16))
                image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
                entry = io.BytesIO()
                image.save(entry, "PNG")
                split = "train" if number < train else "test"
                archive.writestr(f"{split}/class{label}/{number}.png", entry.getvalue())
    return buffer.getvalue()
