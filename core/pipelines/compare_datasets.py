"""Rank a dataset against registered ones."""

import time
from collections.abc import Sequence
from dataclasses import asdict

from core.domain.datasets import Dataset, Neighbour, Ranking
from core.domain.jobs import Progress
from core.domain.supernets import SupernetId
from core.domain.work import RankInputs, RankOutcome, Source
from core.ot import ranking as ot_ranking
from core.ot.dataset_distance import OTDDConfig
from core.ot.embedded_dataset import EmbeddedDataset
from core.pipelines import embed_dataset
from core.pipelines.context import Context


def run(inputs: RankInputs, context: Context) -> RankOutcome:
    """The rank job."""
    embedded, new = embed_dataset.ensure(
        inputs.dataset,
        inputs.embedding,
        inputs.spec.embedder,
        context,
        trunk=inputs.trunk,
        share=0.1,
    )
    context.report(Progress("rank", 0.1))
    return RankOutcome(rank(inputs.dataset, embedded, inputs.sources, context), new)


def rank(
    dataset: Dataset, target: EmbeddedDataset, sources: Sequence[Source], context: Context
) -> Ranking:
    """Distances from the target to all sources, nearest first."""
    started = time.perf_counter()
    named = {str(source.dataset_id): source for source in sources}
    embedded = {key: embed_dataset.load(each.embedding, context) for key, each in named.items()}
    config = OTDDConfig()
    neighbours = tuple(
        Neighbour(
            dataset_id=named[found.source].dataset_id,
            dataset_name=named[found.source].dataset_name,
            supernet_id=_supernet_id(named[found.source]),
            distance=found.distance,
            interval=found.interval,
            tied_with_nearest=found.tied_with_nearest,
            features_part=found.features_part,
            labels_part=found.labels_part,
            coupling=tuple((m.target_class, m.source_class, m.mass) for m in found.matches),
        )
        for found in ot_ranking.rank(target, embedded, config)
    )
    seconds = time.perf_counter() - started
    return Ranking(dataset.id, target.embedder, neighbours, seconds, asdict(config))


def _supernet_id(source: Source) -> SupernetId | None:
    return None if source.supernet is None else source.supernet.id
