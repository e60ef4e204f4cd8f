"""Rank a dataset against registered ones: measure, prove, judge, explain, lay out."""

import base64
import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.domain.datasets import (
    Dataset,
    DatasetId,
    DistanceMap,
    Hubness,
    ImagePair,
    MapPoint,
    Measure,
    Nearness,
    Neighbour,
    Ranking,
    Verdict,
)
from core.domain.jobs import Progress
from core.domain.work import RankInputs, RankOutcome, SearchInputs, Source
from core.errors import DeletedMeanwhile, NotFound
from core.ot import centres, neighbourhoods, ranking, targets
from core.ot.dataset_distance import DatasetDistance, OTDDConfig
from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.layout import lay_out
from core.ot.neighbourhoods import Nearby, Yardstick
from core.ot.ranking import Order
from core.ot.source_block import SourceBlock, concatenate, summarise
from core.pipelines import embed_dataset
from core.pipelines.block_files import BlockFiles
from core.pipelines.context import Context

STAGE = "rank"
CONFIG = OTDDConfig()
# A search only needs the nearest, and runs them against each other: the proof that nothing lies
# nearer takes five times as long as finding them, and is the rank job's.
SEARCH_K, SEARCH_BUDGET = 3, 0
_KEPT = 50  # neighbours written down, where no more are wanted; some of them are estimates
_COUPLINGS = 2000  # entries kept of the coupling of each neighbour asked for
_FEW_COUPLINGS = 10  # and of those measured only for the proof
_MAPPED = 40  # points on the map, the target aside: half nearest, half spread over the rest

Given = TypeVar("Given", bound=RankInputs | SearchInputs)


def run(inputs: RankInputs, context: Context) -> RankOutcome:
    """The rank job."""
    embedded, new = embed_dataset.ensure(
        inputs.dataset,
        inputs.embedding,
        inputs.spec.embedder,
        context,
        trunk=inputs.trunk,
        span=(0.0, 0.1),
    )
    context.report(Progress(STAGE, 0.1))
    spec = inputs.spec
    found = rank(
        inputs,
        embedded,
        context,
        k=spec.k,
        budget=ranking.BUDGET,
        hubness=spec.hubness,
        span=(0.1, 1.0),
    )
    return RankOutcome(found, new)


def rank(
    inputs: RankInputs | SearchInputs,
    target: EmbeddedDataset,
    context: Context,
    *,
    k: int = SEARCH_K,
    budget: int = SEARCH_BUDGET,
    hubness: Hubness = Hubness.NONE,
    span: tuple[float, float] = (0.0, 0.0),
) -> Ranking:
    """The target's nearest sources with their evidence, `k` of them measured and as many more as
    the budget for proving their order allows; `span` is its part of the progress."""
    started = time.perf_counter()
    if inputs.embedding is None and len(inputs.sources) > centres.LIMIT:
        inputs = narrowed(inputs, target)
    sources = {_key(each): each for each in inputs.sources}
    settings = asdict(CONFIG) | {"k": k, "budget": budget, "hubness": hubness.value}
    if not sources:
        seconds = time.perf_counter() - started
        return Ranking(inputs.dataset.id, target.embedder, (), seconds, settings)

    classes: dict[str, tuple[str, ...]] = {}

    def load(key: str) -> EmbeddedDataset:
        try:
            found = embed_dataset.load(sources[key].embedding, context)
        except NotFound as error:
            message = f"The source '{sources[key].dataset_name}' was deleted meanwhile."
            raise DeletedMeanwhile(message) from error
        classes[key] = found.classes  # not all of the dataset's: some may have no train image
        return found

    files = BlockFiles(
        context.cache / "blocks" / target.embedder,
        dimension=target.dimension,
        samples=CONFIG.samples,
    )
    block, rows = files.load(list(sources), load)
    keys = dict(zip(rows.tolist(), sources, strict=True))

    def heard(done: int, most: int) -> None:
        elapsed = time.perf_counter() - started
        left = elapsed / done * (most - done)
        fraction = span[0] + (span[1] - span[0]) * done / most
        context.report(Progress(STAGE, fraction, left if span[1] == 1 else None))

    order = ranking.rank(
        target,
        block,
        lambda row: load(keys[row]),
        CONFIG,
        k=k,
        budget=budget,
        allowed=rows,
        floor=_floor(inputs.beyond),
        heard=heard,
    )
    seen = targets.prepare(target, samples=CONFIG.samples)
    registry = _Registry(block, files.yardstick(block), seen, rows)
    named = {row: sources[key] for row, key in keys.items()}
    neighbours = [
        _neighbour(each, named[each.row], target.classes, classes.get(keys[each.row], ()), k > at)
        for at, each in enumerate(order.neighbours[: max(_KEPT, k)])
    ]
    _mark_hubs(neighbours, [each.row for each in order.neighbours[:k]], registry, hubness)
    return Ranking(
        dataset_id=inputs.dataset.id,
        embedder=target.embedder,
        neighbours=tuple(neighbours),
        seconds=time.perf_counter() - started,
        settings=settings,
        sources=max(inputs.considered, len(sources)),
        # Corrected distances are another order, of which nothing has been proved.
        proven=0 if hubness is not Hubness.NONE else min(order.proven, len(neighbours)),
        verdict=registry.verdict(),
        map=_map(inputs.dataset, target, block, order, named),
    )


def narrowed(inputs: Given, target: EmbeddedDataset) -> Given:
    """The inputs as they would have been, had the target been embedded before the job began."""
    fitting = {
        each.dataset_id: each
        for each in inputs.sources
        if each.embedding.dimension == target.dimension
    }
    packed = [(each.dataset_id, base64.b64decode(each.centre)) for each in fitting.values()]
    # As a registered centre is kept: in 32 bits.
    centre = target.centre.numpy().astype("<f4").astype(np.float64)
    size = centres.AT_ONCE
    parts = (packed[at : at + size] for at in range(0, len(packed), size))
    ids, beyond = centres.nearest(parts, centre, centres.LIMIT)
    sources = tuple(fitting[DatasetId(each)] for each in ids)
    return replace(inputs, sources=sources, considered=len(fitting), beyond=beyond)


def _key(source: Source) -> str:
    # Names the dataset and the content: two datasets may have the same train images.
    return hashlib.sha256(source.embedding.key.encode()).hexdigest()


def _floor(beyond: float | None) -> float:
    """What no source that was left out for its centre lies below: classes must cover that way."""
    return math.inf if beyond is None else math.sqrt(CONFIG.lambda_y) * beyond


@dataclass(frozen=True, slots=True)
class _Registry:
    """All sources that this machine knows, those offered, and the target among them."""

    block: SourceBlock
    yardstick: Yardstick
    target: targets.Target
    offered: NDArray[np.int64]

    def nearby(self, row: int | None = None) -> Nearby:
        """What lies round a source, or the target, of those offered: not the target itself, which
        this machine may know as a source of others."""
        own = self.target if row is None else targets.of_source(self.block, row)
        return neighbourhoods.nearby(self.block, own, allowed=self.offered, without=row)

    def verdict(self) -> Verdict:
        """Judge the nearest of the sources offered."""
        found = self.nearby()
        judged = neighbourhoods.judge(self.yardstick, float(found.distances[0]))
        return Verdict(
            nearness=Nearness(judged.nearness),
            nearest=judged.nearest,
            threshold=judged.threshold,
            share=judged.share,
            references=judged.references,
        )


def _mark_hubs(
    neighbours: list[Neighbour], first: Sequence[int], registry: _Registry, hubness: Hubness
) -> None:
    """Say of the first, whose rows are given, which are hubs; on demand correct and reorder."""
    for at, row in enumerate(first):
        neighbours[at] = replace(neighbours[at], hub_share=registry.yardstick.hub_share(row))
    if hubness is not Hubness.LOCAL_SCALING:
        return
    own = registry.nearby().scale
    for at, row in enumerate(first):
        value = neighbourhoods.scaled(neighbours[at].distance, own, registry.nearby(row).scale)
        scaled = value if math.isfinite(value) else None
        neighbours[at] = replace(neighbours[at], scaled=scaled)
    neighbours[: len(first)] = sorted(neighbours[: len(first)], key=_by_scaled)


def _by_scaled(neighbour: Neighbour) -> tuple[bool, float]:
    return neighbour.scaled is None, neighbour.scaled or 0.0


def _neighbour(
    found: ranking.Neighbour,
    source: Source,
    target_classes: tuple[str, ...],
    source_classes: tuple[str, ...],
    whole: bool,
) -> Neighbour:
    """`whole` is whether all evidence is kept, or only the beginnings of it."""
    evidence = found.evidence
    names = target_classes, source_classes
    return Neighbour(
        dataset_id=source.dataset_id,
        dataset_name=source.dataset_name,
        supernet_id=None if source.supernet is None else source.supernet.id,
        distance=found.distance,
        interval=found.interval,
        tied_with_nearest=found.tied_with_nearest,
        features_part=evidence.features_part if evidence else 0.0,
        labels_part=evidence.labels_part if evidence else 0.0,
        coupling=_coupling(evidence, *names, count=_COUPLINGS if whole else _FEW_COUPLINGS),
        measure=Measure(found.measure),
        samples=evidence.samples if evidence else (0, 0),
        pairs=_pairs(evidence, *names) if whole else (),
    )


def _coupling(
    evidence: DatasetDistance | None,
    target_classes: tuple[str, ...],
    source_classes: tuple[str, ...],
    *,
    count: int,
) -> tuple[tuple[str, str, float], ...]:
    if evidence is None:
        return ()
    coupling = evidence.coupling
    masses, places = coupling.flatten().topk(min(count, coupling.numel()))
    found = zip(masses.tolist(), places.tolist(), strict=True)
    columns = coupling.shape[1]
    return tuple(
        (target_classes[place // columns], source_classes[place % columns], mass)
        for mass, place in found
        if mass > 0
    )


def _pairs(
    evidence: DatasetDistance | None,
    target_classes: tuple[str, ...],
    source_classes: tuple[str, ...],
) -> tuple[ImagePair, ...]:
    return tuple(
        ImagePair(
            target_image=pair.first_row,
            source_image=pair.second_row,
            target_class=target_classes[pair.first_class],
            source_class=source_classes[pair.second_class],
            mass=pair.mass,
        )
        for pair in (evidence.pairs if evidence else ())
        if min(pair.first_row, pair.second_row) >= 0  # unknown in embeddings made long ago
    )


def _map(
    dataset: Dataset,
    target: EmbeddedDataset,
    block: SourceBlock,
    order: Order,
    named: dict[int, Source],
) -> DistanceMap:
    """The target among its nearest and some of the others, evenly taken."""
    near = [each.row for each in order.neighbours[: _MAPPED // 2]]
    rest = sorted(set(named) - set(near))
    far = rest[:: max(1, math.ceil(len(rest) / (_MAPPED - len(near))))]
    rows = near + far
    own = summarise(target, samples=CONFIG.samples)
    points = concatenate([own, block.take(rows)])
    distances = neighbourhoods.distances_between(points, range(len(points)))
    places, stress = lay_out(distances)
    shown = [(dataset.id, dataset.name)]
    shown += [(named[row].dataset_id, named[row].dataset_name) for row in rows]
    return DistanceMap(
        tuple(
            MapPoint(dataset_id, name, x, y)
            for (dataset_id, name), (x, y) in zip(shown, places.tolist(), strict=True)
        ),
        stress,
    )
