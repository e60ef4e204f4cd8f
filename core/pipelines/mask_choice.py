"""Which mask is taken over: that of the nearest dataset, or what several of them say together."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from core.domain.datasets import DatasetId, Neighbour, Ranking
from core.domain.prunings import MaskPolicy
from core.domain.work import KnownMask, RankInputs
from core.errors import InvalidInput
from core.nas.pruning.channels import ChannelComponents
from core.nas.pruning.combining import combined, nearness
from core.nas.pruning.components import mask_to_dict
from core.pipelines import compare_datasets, embed_dataset
from core.pipelines.context import Context
from core.pipelines.pruning_desk import PRUNED, Desk

VOTERS = 3  # datasets whose masks are combined, where none are named

Near = Mapping[DatasetId, Neighbour]


def choose(desk: Desk) -> None:
    """Rank the datasets that have masks, take over what the policy says, and write it down."""
    inputs, notes = desk.inputs, desk.notes
    assert inputs.ranked is not None
    if not inputs.known:
        raise InvalidInput(
            "The masks that could have been taken over are gone: their datasets were deleted "
            f"meanwhile. Name some in masks_from, or ask for mask={MaskPolicy.SEARCH}."
        )
    ranking = _ranked(desk, inputs.ranked)
    near = {} if ranking is None else {each.dataset_id: each for each in ranking.neighbours}
    if inputs.spec.mask is MaskPolicy.NEAREST:
        (nearest,) = _nearest(inputs.known, near, 1)
        notes.masks[PRUNED] = {name: list(kept) for name, kept in nearest.mask.items()}
        notes.taken = [_told(nearest, near, 1.0)]
    else:
        voters = inputs.known if inputs.spec.masks_from else _nearest(inputs.known, near, VOTERS)
        weights = _weights(desk, voters, near)
        components = desk.components(desk.network(desk.images.classes, begun=False))
        votes = _votes(voters, components)
        scores = combined(votes, weights, components.sizes, by_place=inputs.spec.inherit)
        chosen = components.fit(scores, inputs.spec.wanted)
        notes.masks[PRUNED] = mask_to_dict(chosen, components.sizes)
        shares = weights.tolist()
        notes.taken = [
            _told(each, near, share) for each, share in zip(voters, shares, strict=True)
        ]
    notes.save(desk.context)


def _ranked(desk: Desk, inputs: RankInputs) -> Ranking | None:
    """The ranking, and the dataset's own embedding kept if that is new; None with no source."""
    if not inputs.sources:
        return None
    context: Context = desk.context
    embedded, desk.notes.embedding = embed_dataset.ensure(
        inputs.dataset,
        inputs.embedding,
        inputs.spec.embedder,
        context,
        trunk=inputs.trunk,
        span=(0.0, 0.0),
    )
    measured = len(desk.inputs.spec.masks_from)
    return compare_datasets.rank(inputs, embedded, context, k=max(VOTERS, measured))


def _nearest(known: Sequence[KnownMask], near: Near, most: int) -> list[KnownMask]:
    places = {dataset_id: place for place, dataset_id in enumerate(near)}
    return sorted(known, key=lambda each: places.get(each.dataset_id, len(places)))[:most]


def _distance(voter: KnownMask, near: Near, own: DatasetId) -> float | None:
    if voter.dataset_id == own:
        return 0.0
    found = near.get(voter.dataset_id)
    return None if found is None else found.distance


def _weights(desk: Desk, voters: Sequence[KnownMask], near: Near) -> Tensor:
    """By nearness; alike where it is not known of each."""
    own = desk.inputs.dataset.id
    known = [_distance(each, near, own) for each in voters]
    distances = [each for each in known if each is not None]
    return nearness(distances if len(distances) == len(voters) else [0.0] * len(voters))


def _votes(voters: Sequence[KnownMask], components: ChannelComponents) -> list[Tensor]:
    """Scores where all have them; 1 for what stays and -1 for what went, where one has none."""
    said: list[Mapping[str, Sequence[float]]] = [
        each.scores for each in voters if each.scores is not None
    ]
    if len(said) < len(voters):
        said = [
            {name: [2.0 * kept - 1 for kept in part] for name, part in each.mask.items()}
            for each in voters
        ]
    return [_flat(each, components.sizes) for each in said]


def _flat(values: Mapping[str, Sequence[float]], sizes: Mapping[str, int]) -> Tensor:
    if {name: len(part) for name, part in values.items()} != dict(sizes):
        raise InvalidInput("A mask is not one of this network: its groups of channels are others.")
    return torch.tensor([each for name in sizes for each in values[name]], dtype=torch.float64)


def _told(voter: KnownMask, near: Near, weight: float) -> dict[str, Any]:
    found = near.get(voter.dataset_id)
    return {
        "pruning_id": str(voter.pruning_id),
        "dataset_id": str(voter.dataset_id),
        "dataset_name": voter.dataset_name,
        "distance": None if found is None else found.distance,
        "interval": None if found is None else list(found.interval),
        "weight": weight,
    }
