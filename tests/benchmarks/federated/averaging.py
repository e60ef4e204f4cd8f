"""Training by several owners of images who share weights, not images (FedAvg).

McMahan et al. 2017, arXiv 1602.05629, algorithm 1, with every client in every round; for a
supernet its architecture parameters are averaged as its weights are (Direct Federated NAS, Garg
et al. 2020, arXiv 2010.06223).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from core.nas.loop import TrainingState

_Record = TypeVar("_Record")


def average(states: Sequence[Mapping[str, Tensor]], sizes: Sequence[int]) -> dict[str, Tensor]:
    """The mean of models by the images that each has seen; counters are the first one's.

    Running statistics are averaged likewise. Where every client has re-estimated them
    (`core.nas.normalisation.reestimate`), that is the re-estimation over all clients' batches.

    Args:
        states: State dictionaries of the same shapes.
        sizes: Images of each.

    Raises:
        ValueError: no states, other names, or sizes that are not positive.
    """
    if not states or len(states) != len(sizes) or min(sizes) < 1:
        raise ValueError(f"federated: {len(states)} states of {list(sizes)} images")
    first = states[0]
    if any(set(each) != set(first) for each in states):
        raise ValueError("federated: states of different models")
    found = {}
    for name, tensor in first.items():
        found[name] = tensor.clone()
        if tensor.is_floating_point():
            # In float64: the average of one, or of equals, is that to the bit.
            total = torch.zeros_like(tensor, dtype=torch.float64)
            for state, size in zip(states, sizes, strict=True):
                total += state[name].double() * size
            found[name] = (total / sum(sizes)).to(tensor.dtype)
    return found


def rounds(
    states: Sequence[TrainingState],
    trainings: Sequence[Iterator[_Record]],
    sizes: Sequence[int],
    *,
    every: int,
) -> Iterator[tuple[_Record, ...]]:
    """Let every client train for `every` epochs, average the models, and so on to the end.

    Moments of the optimisers stay with their clients: what travels is a model in each direction.

    Args:
        states: One per client, of equal models to begin with.
        trainings: What trains each state: `core.nas.search.run` or `core.nas.retrain.retrain`,
            not begun.
        sizes: Training images of each client.
        every: Local epochs of a round; the last one may have fewer.

    Yields:
        The clients' last records of a round, when all have the averaged model; first those of
        the start.

    Raises:
        ValueError: as `average`, or rounds without epochs.
    """
    if every < 1:
        raise ValueError(f"every: {every} is not positive")
    yield tuple(next(each) for each in trainings)
    while True:
        found = [_advance(each, every) for each in trainings]
        records = tuple(record for record in found if record is not None)
        if len(records) < len(found):
            return
        share([state.model for state in states], sizes)
        yield records


def share(models: Sequence[torch.nn.Module], sizes: Sequence[int]) -> None:
    """Give all `models` their average, in place."""
    mean = average([model.state_dict() for model in models], sizes)
    for model in models:
        model.load_state_dict(mean)


def _advance(training: Iterator[_Record], epochs: int) -> _Record | None:
    last = None
    for _ in range(epochs):
        record = next(training, None)
        if record is None:
            break
        last = record
    return last
