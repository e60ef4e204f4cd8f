"""Where a search starts: the policy decides, or the race does, and the reason is kept."""

from collections.abc import Iterator

from core.domain import effort
from core.domain.datasets import Embedding, Ranking
from core.domain.jobs import JobRecord
from core.domain.searches import StartPolicy
from core.domain.work import SearchInputs, StartingPoint
from core.nas import warm_start
from core.nas.race import Begun
from core.nas.space import Space
from core.pipelines import (
    bilevel,
    compare_datasets,
    embed_dataset,
    expectations,
    origins,
    racing,
)
from core.pipelines.context import Context
from core.pipelines.meter import Meter
from core.pipelines.notes import Notes
from core.pipelines.origins import COLD, Origin

_NONE_YET = "no supernet of another dataset is registered yet"
_NONE_SHARED = "no supernet of several datasets is registered yet"


def decide(inputs: SearchInputs, context: Context, *, total: float) -> Notes:
    """Rank or race if the policy wants it, choose, and write the choice down.

    `total` is the job's work in units, of which a race reports its part.
    """
    spec = inputs.spec
    match spec.policy:
        case StartPolicy.COLD:
            return _notes(inputs, COLD, reason=None)
        case StartPolicy.SUPERNET:
            return _notes(inputs, origins.find(inputs, str(spec.supernet_id)), reason=None)
        case StartPolicy.MULTI_DATASET:
            if not inputs.shared:
                return _notes(inputs, COLD, reason=_NONE_SHARED)
            newest = Origin(inputs.shared[0])
            return _notes(inputs, newest, reason="the newest supernet of several datasets")
        case StartPolicy.NEAREST:
            ranking, new = _ranked(inputs, context)
            near = _near(inputs, ranking)
            chosen, reason = (near[0], "nearest by OTDD") if near else (COLD, _NONE_YET)
            return _notes(inputs, chosen, reason=reason, ranking=ranking, embedding=new)
        case StartPolicy.RACE:
            return _race(inputs, context, total)


def origin(inputs: SearchInputs, notes: Notes, context: Context) -> Space | warm_start.Source:
    """What the supernet is built from: a space, or a source with its weights and alphas."""
    space = Space.from_dict(notes.start["space"])
    return origins.load(_chosen(inputs, notes), space, context, seed=inputs.spec.training.seed)


def _chosen(inputs: SearchInputs, notes: Notes) -> StartingPoint | None:
    if notes.supernet is None and notes.start["supernet_id"] is not None:
        return origins.find(inputs, notes.start["supernet_id"]).supernet
    return notes.supernet


def _race(inputs: SearchInputs, context: Context, total: float) -> Notes:
    """The supernets of several datasets run first: they are known without a ranking."""
    if not inputs.shared and not inputs.sources:
        ranking, new = _ranked(inputs, context)
        return _notes(inputs, COLD, reason=_NONE_YET, ranking=ranking, embedding=new)
    meter, expected = Meter(context, total=total), expectations.learned(inputs)
    contestants = [Origin(each) for each in inputs.shared]
    ranked: tuple[Ranking, Embedding | None] | None = None

    def sources() -> Iterator[Origin]:
        nonlocal ranked
        yield from tuple(contestants)
        ranked = _ranked(inputs, context, at=meter.fraction)
        near = expected.likeliest(_near(inputs, ranked[0]), effort.NEAREST)
        contestants[:0] = near  # the likeliest are told of first
        yield from near

    most = len(contestants) + min(effort.NEAREST, len(inputs.sources))
    raced = racing.run(sources(), inputs, context, most=most, meter=meter)
    assert ranked is not None  # whoever races asks for all who run
    ranking, new = ranked
    found = _notes(inputs, raced.winner, reason=raced.reason, ranking=ranking, embedding=new)
    found.start["expected"] = expected.told(contestants)
    found.start["race"] = raced.record
    found.seconds["race"] = raced.record["seconds"]
    if raced.begun is not None:
        _go_on(found, raced.begun, meter)
    return found


def _go_on(found: Notes, begun: Begun, meter: Meter) -> None:
    """Let the first search be the one that the race has begun; its seconds are the race's."""
    stage = bilevel.stage(0)
    for record in begun.records:
        row = bilevel.row_of(record, elapsed=0.0)
        meter.advance(stage, bilevel.units_of(record), JobRecord(stage, record.epoch, row))
        found.live_history.append(bilevel.kept(row))
    found.live = begun.state.tensors()
    found.start["batch_size"] = begun.entry.config.batch_size
    found.start["batch_halvings"] = meter.context.halvings


def _ranked(
    inputs: SearchInputs, context: Context, *, at: float = 0.0
) -> tuple[Ranking, Embedding | None]:
    """The ranking, and the target's embedding if that is new; `at` so much of the job is done."""
    embedded, new = embed_dataset.ensure(
        inputs.dataset,
        inputs.embedding,
        inputs.spec.embedder,
        context,
        trunk=inputs.trunk,
        span=(at, at),
    )
    return compare_datasets.rank(inputs, embedded, context, span=(at, at)), new


def _near(inputs: SearchInputs, ranking: Ranking) -> list[Origin]:
    sources = {each.dataset_id: each for each in inputs.sources}
    return [
        origins.of_source(sources[each.dataset_id], each.distance) for each in ranking.neighbours
    ]


def _notes(
    inputs: SearchInputs,
    chosen: Origin,
    *,
    reason: str | None,
    ranking: Ranking | None = None,
    embedding: Embedding | None = None,
) -> Notes:
    start = {**origins.described(chosen, inputs.spec, reason=reason), "expected": None}
    return Notes(ranking, embedding, start, chosen.supernet)
