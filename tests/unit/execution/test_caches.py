"""What a machine keeps of datasets goes with them, and nothing else does."""

import hashlib
from pathlib import Path

import torch

from core.db.sessions import Sessions
from core.domain.datasets import Dataset
from core.execution import caches
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.pipelines.block_files import BlockFiles
from core.services import datasets
from tests.unit.services.samples import EMBEDDER, dataset, embedding


def strips(home: Path, of: Dataset) -> Path:
    folder = caches.examples(home) / f"{of.sha256}-1"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(b"picture")
    return folder


def key(of: Dataset) -> str:
    return hashlib.sha256(embedding(of).key.encode()).hexdigest()


def features(of: str) -> EmbeddedDataset:
    generator = torch.Generator().manual_seed(int(of[:8], 16))
    return build(torch.randn(8, 3, generator=generator), torch.arange(8) % 2, "ab")


def three(sessions: Sessions) -> tuple[Dataset, Dataset, Dataset]:
    with sessions.begin() as session:
        made = dataset(session, "a"), dataset(session, "b"), dataset(session, "c")
        for each in made:
            datasets.record_embedding(session, embedding(each))
    return made


def test_what_was_deleted_is_in_no_cache(sessions: Sessions, tmp_path: Path) -> None:
    gone, back, kept = made = three(sessions)
    pictures = [strips(tmp_path, each) for each in made]
    latency = tmp_path / "cache" / "latency" / "x.json"
    latency.parent.mkdir()
    latency.write_text("{}")
    folder = tmp_path / "cache" / "blocks" / EMBEDDER
    BlockFiles(folder, dimension=3, samples=8).load([key(each) for each in made], features)

    def held(of: Dataset) -> bool:
        return bytes.fromhex(key(of)) in (folder / "keys.bin").read_bytes()

    caches.tidy(sessions, tmp_path)
    assert all(map(held, made))
    assert all(each.exists() for each in pictures)
    with sessions.begin() as session:
        for each in (gone, back):
            datasets.delete(session, each.id)
        terms = {"sha256": back.sha256, "name": "b", "classes": ("a",), "channels": 1}
        assert back.report is not None
        counts = {"train_counts": (1,), "test_counts": (1,), "report": back.report}
        datasets.register(session, **terms, **counts)  # type: ignore[arg-type]
        datasets.record_embedding(session, embedding(back))
    caches.tidy(sessions, tmp_path)
    assert [held(each) for each in made] == [False, True, True]
    assert [each.exists() for each in pictures] == [False, True, True]
    assert latency.exists()
    strips(tmp_path, gone)  # a request that had begun before
    caches.tidy(sessions, tmp_path)
    assert [each.exists() for each in pictures] == [False, True, True]
    caches.forget(tmp_path, kept.sha256)
    assert [each.exists() for each in pictures] == [False, True, False]


def test_a_machine_without_caches(sessions: Sessions, tmp_path: Path) -> None:
    made, *_ = three(sessions)
    with sessions.begin() as session:
        datasets.delete(session, made.id)
    home = tmp_path / "home"
    home.mkdir()
    caches.tidy(sessions, home)
    caches.forget(home, made.sha256)
    assert list(home.iterdir()) == []
