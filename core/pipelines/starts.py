"""Where a search starts: the policy and the ranking decide, and the reason is kept."""

from typing import Any

from safetensors.torch import load_file

from core.domain.searches import SearchSpec, StartPolicy
from core.domain.work import Candidate, SearchInputs
from core.errors import InvalidInput, NotFound
from core.nas.space import Space
from core.nas.warm_start import Source
from core.pipelines import bilevel, compare_datasets, embed_dataset, objects
from core.pipelines.context import Context
from core.pipelines.notes import Notes


def decide(inputs: SearchInputs, context: Context) -> Notes:
    """Rank if the policy needs it, choose, and write the choice down."""
    spec = inputs.spec
    if spec.policy is not StartPolicy.NEAREST:
        named = spec.policy is StartPolicy.SUPERNET
        chosen = _candidate(inputs, str(spec.supernet_id)) if named else None
        return Notes(None, None, _described(chosen, spec, reason=None))
    embedded, new = embed_dataset.ensure(
        inputs.dataset, inputs.embedding, spec.embedder, context, trunk=inputs.trunk
    )
    ranking = compare_datasets.rank(inputs.dataset, embedded, inputs.candidates, context)
    if not ranking.neighbours:
        start = _described(None, spec, reason="no supernet of another dataset is registered yet")
        return Notes(ranking, new, start)
    nearest = ranking.neighbours[0]
    chosen = _candidate(inputs, str(nearest.supernet_id))
    return Notes(ranking, new, _described(chosen, spec, reason="nearest by OTDD"))


def origin(inputs: SearchInputs, notes: Notes, context: Context) -> Space | Source:
    """What the supernet is built from: a space, or a source with its weights and alphas."""
    space = Space.from_dict(notes.start["space"])
    if notes.start["supernet_id"] is None:
        return space
    path = context.scratch / "source.safetensors"
    if not path.exists():
        chosen = _candidate(inputs, notes.start["supernet_id"])
        objects.fetch(context.store, chosen.key, path, sha256=chosen.sha256)
    return Source(space, load_file(path))


def _candidate(inputs: SearchInputs, supernet_id: str) -> Candidate:
    found = [c for c in inputs.candidates if str(c.supernet_id) == supernet_id]
    if not found:
        raise NotFound(f"There is no supernet {supernet_id} to start from.")
    return found[0]


def _described(
    chosen: Candidate | None, spec: SearchSpec, *, reason: str | None
) -> dict[str, Any]:
    try:
        space = (
            Space(
                channels=spec.space.channels,
                layers=spec.space.layers,
                nodes=spec.space.nodes,
                input_channels=bilevel.INPUT_CHANNELS,
            )
            if chosen is None
            else Space.from_dict(chosen.space)
        )
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    return {
        "policy": spec.policy.value,
        "head": spec.head.value,
        "supernet_id": str(chosen.supernet_id) if chosen else None,
        "supernet_name": chosen.supernet_name if chosen else None,
        "dataset_name": chosen.dataset_name if chosen else None,
        "space": space.to_dict(),
        "resolution": chosen.resolution if chosen else spec.space.resolution,
        "reason": reason,
    }
