"""Every target's order of all other tasks, as the product ranks them, and what it costs."""

from __future__ import annotations

from typing import Any

from safetensors.torch import load_file, save_file

from core.ot import embedded_dataset, embedders, ranking
from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.source_block import concatenate, summarise
from core.pipelines.compare_datasets import CONFIG, SEARCH_BUDGET, SEARCH_K
from core.pipelines.embed_dataset import BATCH
from tests.benchmarks.suite import read_parts
from tests.benchmarks.transfer.settings import Bench


def embed(bench: Bench, task: str) -> dict[str, Any]:
    """All train images of a task, by the product's default embedder."""
    part, started = read_parts(bench.suite, task, ("train",))["train"], bench.clock()
    model = embedders.create(device=bench.device)
    features = model.embed(part.images, batch_size=BATCH)
    found = embedded_dataset.build(features, part.labels, part.classes, embedder=model.identifier)
    seconds = bench.clock() - started
    with bench.writing(f"embeddings/{task}.safetensors") as path:
        save_file(found.to_tensors(), path)
    return {"seconds": seconds}


def rank(bench: Bench, target: str) -> dict[str, Any]:
    """The other tasks, nearest first, and seconds of embedding the target and of ranking those,
    whose summaries are at hand as in a service that runs."""
    others = [name for name in sorted(bench.domains) if name != target]
    own, sources = _load(bench, target), [_load(bench, name) for name in others]
    block = concatenate([summarise(each, samples=CONFIG.samples) for each in sources])
    started = bench.clock()
    ranking.rank(own, block, sources.__getitem__, CONFIG, k=SEARCH_K, budget=SEARCH_BUDGET)
    ranked = bench.clock() - started
    # A search measures the nearest only: here all are, for the farthest to be one.
    order = ranking.rank(own, block, sources.__getitem__, CONFIG, k=len(others)).neighbours
    return {
        "order": [others[each.row] for each in order],
        "distances": [each.distance for each in order],
        "embed_seconds": bench.result(f"embeddings/{target}")["seconds"],
        "rank_seconds": ranked,
    }


def _load(bench: Bench, task: str) -> EmbeddedDataset:
    path = bench.folder / f"embeddings/{task}.safetensors"
    return embedded_dataset.from_tensors(load_file(path))
