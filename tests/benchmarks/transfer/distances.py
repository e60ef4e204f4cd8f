"""Every target's order of all other tasks, as the product ranks them, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.ot import embedders, ranking
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.ranking import Order
from core.ot.source_block import SourceBlock, concatenate, summarise
from core.pipelines.compare_datasets import CONFIG, SEARCH_K
from core.pipelines.embed_dataset import BATCH
from tests.benchmarks.suite import read_parts
from tests.benchmarks.transfer.settings import Bench


def measure(bench: Bench) -> dict[str, Any]:
    """By task: the others, nearest first, with their distances, and seconds of embedding it and
    of ranking the rest, whose summaries are at hand as in a service that runs."""
    names = sorted(bench.domains)
    embedded, seconds = [], []
    for name in names:
        part, started = read_parts(bench.suite, name, ("train",))["train"], bench.clock()
        model = embedders.create(device=bench.device)
        features = model.embed(part.images, batch_size=BATCH)
        embedded.append(build(features, part.labels, part.classes, embedder=model.identifier))
        seconds.append(bench.clock() - started)
    block = concatenate([summarise(each, samples=CONFIG.samples) for each in embedded])
    found = {}
    for row, name in enumerate(names):
        started = bench.clock()
        _ranked(embedded, block, row, SEARCH_K)
        ranked = bench.clock() - started
        # A search measures the nearest only: here all are, for the farthest to be one.
        order = _ranked(embedded, block, row, len(names) - 1).neighbours
        found[name] = {
            "order": [names[each.row] for each in order],
            "distances": [each.distance for each in order],
            "embed_seconds": seconds[row],
            "rank_seconds": ranked,
        }
    return {"tasks": found}


def _ranked(embedded: list[EmbeddedDataset], block: SourceBlock, row: int, k: int) -> Order:
    others = np.delete(np.arange(len(embedded)), row)
    return ranking.rank(embedded[row], block, embedded.__getitem__, CONFIG, k=k, allowed=others)
