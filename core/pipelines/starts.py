"""Where a search starts: the policy and the ranking decide, and the reason is kept."""

from typing import Any

from safetensors.torch import load_file

from core.domain.searches import SearchSpec, StartPolicy
from core.domain.work import SearchInputs, Source, StartingPoint
from core.errors import InvalidInput, NotFound
from core.nas import warm_start
from core.nas.space import Space
from core.pipelines import bilevel, compare_datasets, embed_dataset, objects
from core.pipelines.context import Context
from core.pipelines.notes import Notes
from core.services import specs


def decide(inputs: SearchInputs, context: Context) -> Notes:
    """Rank if the policy needs it, choose, and write the choice down."""
    spec = inputs.spec
    if spec.policy is not StartPolicy.NEAREST:
        named = spec.policy is StartPolicy.SUPERNET
        chosen = _source(inputs, str(spec.supernet_id)) if named else None
        return Notes(None, None, _described(chosen, spec, reason=None), chosen)
    embedded, new = embed_dataset.ensure(
        inputs.dataset, inputs.embedding, spec.embedder, context, trunk=inputs.trunk
    )
    ranking = compare_datasets.rank(inputs, embedded, context)
    if not ranking.neighbours:
        start = _described(None, spec, reason="no supernet of another dataset is registered yet")
        return Notes(ranking, new, start)
    chosen = _source(inputs, str(ranking.neighbours[0].supernet_id))
    return Notes(ranking, new, _described(chosen, spec, reason="nearest by OTDD"), chosen)


def origin(inputs: SearchInputs, notes: Notes, context: Context) -> Space | warm_start.Source:
    """What the supernet is built from: a space, or a source with its weights and alphas."""
    space = Space.from_dict(notes.start["space"])
    if notes.start["supernet_id"] is None:
        return space
    path = context.scratch / "source.safetensors"
    if not path.exists():
        chosen = _supernet(notes.source or _source(inputs, notes.start["supernet_id"]))
        objects.fetch(context.store, chosen.key, path, sha256=chosen.sha256)
    return warm_start.Source(space, load_file(path))


def _source(inputs: SearchInputs, supernet_id: str) -> Source:
    found = [s for s in inputs.sources if s.supernet and str(s.supernet.id) == supernet_id]
    if not found:
        raise NotFound(f"There is no supernet {supernet_id} to start from.")
    return found[0]


def _supernet(source: Source) -> StartingPoint:
    if source.supernet is None:
        raise NotFound(f"The dataset '{source.dataset_name}' has no supernet to start from.")
    return source.supernet


def _described(source: Source | None, spec: SearchSpec, *, reason: str | None) -> dict[str, Any]:
    chosen = None if source is None else _supernet(source)
    try:
        space = (
            specs.space_of(spec.space, spec.training.method, input_channels=bilevel.INPUT_CHANNELS)
            if chosen is None
            else Space.from_dict(chosen.space)
        )
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    return {
        "policy": spec.policy.value,
        "head": spec.head.value,
        "supernet_id": str(chosen.id) if chosen else None,
        "supernet_name": chosen.name if chosen else None,
        "dataset_name": source.dataset_name if source else None,
        "space": space.to_dict(),
        "resolution": chosen.resolution if chosen else spec.space.resolution,
        "reason": reason,
    }
