"""What the machine that computes makes of the settings asked for."""

from dataclasses import replace

import psutil
import torch

from core.domain.searches import Training
from core.errors import InvalidInput
from core.nas import precision
from core.nas.memory import fit_batch
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.pipelines import bilevel


def require(wanted: str, device: str) -> None:
    """Refuse a precision that the device cannot compute in. Raises InvalidInput."""
    try:
        precision.require(precision.named(wanted), torch.device(device))
    except ValueError as error:
        raise InvalidInput(f"{error}.") from error


def fitted(
    training: Training, space: Space, classes: int, *, resolution: int, device: str
) -> Training:
    """The settings with a batch that fits in the memory free now, where that is asked for.

    A job keeps what it began with: a resumed one must not fit again, or its numbers would depend
    on what else ran meanwhile. Raises InvalidInput where nothing fits, or the device cannot
    compute in the precision.
    """
    require(training.precision, device)
    if not training.fit_batch:
        return training
    supernet = Supernet(space, classes, bilevel.generator(0)).to(device)
    supernet.recompute(training.recompute)
    try:
        size = fit_batch(
            supernet,
            (space.input_channels, resolution, resolution),
            limit=training.batch_size,
            available=psutil.virtual_memory().available,
        )
    except ValueError as error:
        raise InvalidInput(f"{error}.") from error
    return replace(training, batch_size=size)
