"""What a search may begin from: nothing, or a supernet, in its own space or adapted to another."""

from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.domain.searches import SearchSpec
from core.domain.work import SearchInputs, Source, StartingPoint
from core.errors import CorruptObject, InvalidInput, NotFound
from core.nas import warm_start
from core.nas.adaptation import adapt
from core.nas.space import Space
from core.pipelines import bilevel, objects
from core.pipelines.context import Context
from core.services import specs


@dataclass(frozen=True, slots=True)
class Origin:
    """One possible start; without a supernet it is a cold one.

    `dataset_name` names what the supernet was trained on, where that is one registered dataset,
    and `distance` says how far the ranking found it.
    """

    supernet: StartingPoint | None = None
    dataset_name: str | None = None
    distance: float | None = None


COLD = Origin()

# In a tensor's own deviation: copies of a channel would learn the same thing for ever without it.
NOISE = 0.03


def of_source(source: Source, distance: float | None = None) -> Origin:
    """The start from a source's supernet. Raises NotFound."""
    if source.supernet is None:
        raise NotFound(f"The dataset '{source.dataset_name}' has no supernet to start from.")
    return Origin(source.supernet, source.dataset_name, distance)


def find(inputs: SearchInputs, supernet_id: str) -> Origin:
    """The start from one of the supernets that the job was given. Raises NotFound."""
    for source in inputs.sources:
        if source.supernet is not None and str(source.supernet.id) == supernet_id:
            return of_source(source)
    for supernet in inputs.shared:
        if str(supernet.id) == supernet_id:
            return Origin(supernet)
    raise NotFound(f"There is no supernet {supernet_id} to start from.")


def space(origin: Origin, spec: SearchSpec) -> Space:
    """The space that is searched: the supernet's, or the one asked for, to which a supernet is
    adapted where the request says so. Raises InvalidInput."""
    try:
        if origin.supernet is not None and not spec.adapt:
            return Space.from_dict(origin.supernet.space)
        return specs.space_of(
            spec.space, spec.training.method, input_channels=bilevel.INPUT_CHANNELS
        )
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def resolution(origin: Origin, spec: SearchSpec) -> int:
    """The side of the images that the start works on."""
    if origin.supernet is None or spec.adapt:
        return spec.space.resolution
    return origin.supernet.resolution


def load(
    supernet: StartingPoint | None, space: Space, context: Context, *, seed: int
) -> Space | warm_start.Source:
    """What the supernet is built from, adapted where `space` is not its own.

    The seed draws what an adaptation draws, so that every attempt begins alike. Raises NotFound,
    CorruptObject, and InvalidInput, saying what cannot be adapted.
    """
    if supernet is None:
        return space
    own, state = _own_space(supernet), tensors(supernet, context)
    if own == space:
        return warm_start.Source(space, state)
    # Bundles are of bfloat16: half of what the noise adds would be rounded away.
    exact = {
        name: each.float() if each.is_floating_point() else each for name, each in state.items()
    }
    source = warm_start.Source(own, exact)
    try:
        return adapt(source, space, generator=bilevel.generator(seed), noise=NOISE)
    except ValueError as error:
        raise InvalidInput(
            f"The supernet '{supernet.name}' cannot be adapted to the space asked for: {error}."
        ) from error


def _own_space(supernet: StartingPoint) -> Space:
    try:
        return Space.from_dict(supernet.space)
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def tensors(supernet: StartingPoint, context: Context) -> dict[str, Tensor]:
    """The supernet's tensors as they are stored. Raises NotFound, CorruptObject."""
    path = context.scratch / f"supernet-{supernet.id}.safetensors"
    if not path.exists():
        partial = path.with_suffix(".partial")  # a broken file must not be taken for a good one
        objects.fetch(context.store, supernet.key, partial, sha256=supernet.sha256)
        partial.replace(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CorruptObject(f"the file of supernet '{supernet.name}' cannot be read") from error


def described(origin: Origin, spec: SearchSpec, *, reason: str | None) -> dict[str, Any]:
    """What a search's record says of its start."""
    supernet = origin.supernet
    return {
        "policy": spec.policy.value,
        "head": spec.head.value,
        "supernet_id": str(supernet.id) if supernet else None,
        "supernet_name": supernet.name if supernet else None,
        "supernet_sha256": supernet.sha256 if supernet else None,
        "dataset_name": origin.dataset_name,
        "space": space(origin, spec).to_dict(),
        "resolution": resolution(origin, spec),
        "adapted": _adapted(origin, spec),
        "learning_rates": list(spec.rates(warm=supernet is not None)),
        "reason": reason,
        "race": None,
    }


def _adapted(origin: Origin, spec: SearchSpec) -> dict[str, dict[str, Any]] | None:
    """What of the supernet's own space was changed, from what and to what; None: nothing."""
    if origin.supernet is None:
        return None
    own = {**_own_space(origin.supernet).to_dict(), "resolution": origin.supernet.resolution}
    new = {**space(origin, spec).to_dict(), "resolution": resolution(origin, spec)}
    changed = [name for name in own if own[name] != new[name]]
    if not changed:
        return None
    return {"from": {n: own[n] for n in changed}, "to": {n: new[n] for n in changed}}
