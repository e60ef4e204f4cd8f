"""What the machine that computes makes of the settings asked for."""

import math
import resource
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import psutil
import torch

from core.domain.searches import Training
from core.errors import InvalidInput
from core.nas import precision
from core.nas.memory import SMALLEST, fit_batch
from core.nas.network import Network
from core.nas.ranks import ALONE, Ranks
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.pipelines import bilevel
from core.pipelines.context import Context


def require(wanted: str, device: str) -> None:
    """Refuse a precision that the device cannot compute in. Raises InvalidInput."""
    try:
        precision.require(precision.named(wanted), torch.device(device))
    except ValueError as error:
        raise InvalidInput(f"{error}.") from error


def described(context: Context) -> dict[str, Any]:
    """What a job is computed on, and the most memory that it has held at once."""
    device, gpu_bytes = torch.device(context.device), None
    name = device.type
    if name == "cuda":
        name = torch.cuda.get_device_name(device)
        gpu_bytes = torch.cuda.max_memory_allocated(device)
    return {
        "device": name,
        "processes": context.ranks.size,
        "host_bytes": _peak_bytes(),
        "gpu_bytes": gpu_bytes,
    }


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def fitted(
    training: Training,
    space: Space,
    classes: int,
    *,
    resolution: int,
    context: Context,
    ranks: Ranks = ALONE,
) -> Training:
    """The settings with a batch whose step fits in the memory free now.

    Tried on every GPU, and on the CPU where it is asked for. A job keeps what it began with
    (`again`): a resumed one must not fit again, or its numbers would depend on what else ran
    meanwhile. Where `ranks` share each batch, all of them must ask, and their shares fit in the
    memory of each. Raises InvalidInput where nothing fits, or the device cannot compute in the
    precision.
    """
    require(training.precision, context.device)
    size = again(training.batch_size, 0, context)
    if _is_tried(training, context):
        supernet = Supernet(space, classes, bilevel.generator(0)).to(context.device)
        supernet.recompute(training.recompute)
        size = _fitting(supernet, space, resolution, limit=size, ranks=ranks)
    return replace(training, batch_size=size)


def fitted_network(
    network: Network, training: Training, *, resolution: int, context: Context
) -> int:
    """The batch for training a derived network: no larger than the search's. Raises InvalidInput.

    A search that recomputes its activations, or that trains few paths, takes less memory. All
    processes of the job must ask.
    """
    if not _is_tried(training, context):
        return training.batch_size
    return _fitting(
        network, network.space, resolution, limit=training.batch_size, ranks=context.ranks
    )


def again(size: int, halved: int, context: Context) -> int:
    """The batch of an attempt, of a size that was chosen when so many halvings were known of."""
    return max(SMALLEST, size >> (context.halvings - halved)) if size > SMALLEST else size


def resumed(training: Training, saved: Mapping[str, Any], context: Context) -> Training:
    """The settings with the batch that a checkpoint tells of; early ones tell of none."""
    size = saved.get("batch_size", training.batch_size)
    size = again(size, saved.get("batch_halvings", 0), context)
    return replace(training, batch_size=size)


def _is_tried(training: Training, context: Context) -> bool:
    return training.fit_batch or torch.device(context.device).type == "cuda"


def _fitting(
    model: Supernet | Network, space: Space, resolution: int, *, limit: int, ranks: Ranks
) -> int:
    try:
        share = fit_batch(
            model,
            (space.input_channels, resolution, resolution),
            limit=max(SMALLEST, math.ceil(limit / ranks.size)),
            available=psutil.virtual_memory().available // ranks.size,
        )
    except ValueError as error:
        raise InvalidInput(f"{error}.") from error
    return min(limit, ranks.size * int(ranks.least(torch.tensor(share))))
