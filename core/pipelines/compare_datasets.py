"""Rank a dataset against every dataset that a registered supernet was trained on."""

import time
from collections.abc import Sequence
from dataclasses import asdict

from core.domain.datasets import Dataset, Neighbour, Ranking
from core.domain.jobs import Progress
from core.domain.work import Candidate, RankInputs, RankOutcome
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
    return RankOutcome(rank(inputs.dataset, embedded, inputs.candidates, context), new)


def rank(
    dataset: Dataset, target: EmbeddedDataset, candidates: Sequence[Candidate], context: Context
) -> Ranking:
    """Distances from the target to all candidates, nearest first."""
    started = time.perf_counter()
    newest = _newest_by_dataset(candidates)
    sources = {key: embed_dataset.load(item.embedding, context) for key, item in newest.items()}
    config = OTDDConfig()
    neighbours = tuple(
        Neighbour(
            dataset_id=newest[found.source].embedding.dataset_id,
            dataset_name=newest[found.source].dataset_name,
            supernet_id=newest[found.source].supernet_id,
            distance=found.distance,
            interval=found.interval,
            tied_with_nearest=found.tied_with_nearest,
            features_part=found.features_part,
            labels_part=found.labels_part,
            coupling=tuple((m.target_class, m.source_class, m.mass) for m in found.matches),
        )
        for found in ot_ranking.rank(target, sources, config)
    )
    seconds = time.perf_counter() - started
    return Ranking(dataset.id, target.embedder, neighbours, seconds, asdict(config))


def _newest_by_dataset(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    # Candidates come newest first; a dataset with several supernets is one neighbour.
    newest: dict[str, Candidate] = {}
    for candidate in candidates:
        newest.setdefault(str(candidate.embedding.dataset_id), candidate)
    return newest
