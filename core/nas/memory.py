"""The largest batch whose training step fits in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from core.nas.classifier import ImageClassifier

SMALLEST = 2  # batch statistics of one image are no statistics


def fit_batch(
    model: ImageClassifier,
    shape: tuple[int, int, int],
    *,
    limit: int,
    available: int | None = None,
) -> int:
    """The batch of up to `limit` that a training step of `model` can take.

    That is `limit` itself where it fits, and otherwise the largest power of two. GPUs try; CPUs,
    where a trial would make the machine swap, measure two small batches and extrapolate.
    Optimisers' moments must exist already or be taken off `available`.

    Args:
        model: Left as it is, running statistics included.
        shape: ``(C, H, W)`` of the images.
        limit: Largest batch wanted.
        available: Bytes that activations may take; needed on the CPU, unused on a GPU.

    Raises:
        ValueError: not even two images fit, `limit` is smaller, or `available` is missing.
    """
    device = model.classifier.weight.device
    if device.type == "cuda":
        return largest_by_trial(lambda count: _step(model, shape, count), limit=limit)
    if available is None:
        raise ValueError(f"available: needed to fit a batch on {device}")
    return largest_by_growth(
        lambda count: saved_bytes(lambda: _loss(model, shape, count)),
        available=available,
        limit=limit,
    )


def largest_by_trial(attempt: Callable[[int], None], *, limit: int) -> int:
    """Try the limit and, where that is too much, double the batch until memory runs out.

    Args:
        attempt: Takes a step with that many images; may raise `torch.OutOfMemoryError`.
        limit: Largest batch tried.

    Raises:
        ValueError: the smallest batch does not fit, or `limit` is below it.
    """

    def fits(count: int) -> bool:
        try:
            attempt(count)
        except torch.OutOfMemoryError:
            return False
        finally:
            torch.cuda.empty_cache()  # or fragments of a trial make the next one fail
        return True

    return _largest(fits, limit)


def largest_by_growth(
    cost: Callable[[int], int], *, available: int, limit: int, share: float = 0.6
) -> int:
    """Extrapolate a cost that grows by the same bytes with every image.

    Args:
        cost: Bytes that a batch of that many images keeps for its backward pass; asked for 2
            and 4.
        available: Bytes.
        limit: Largest batch wanted.
        share: Part of `available` that may be kept. The rest is for the maps being worked on and
            for fragments: peaks were measured at 1.2 to 1.5 times what is kept.

    Raises:
        ValueError: the smallest batch does not fit, or `limit` is below it.
    """
    small, large = cost(SMALLEST), cost(2 * SMALLEST)
    each = max(0.0, (large - small) / SMALLEST)
    constant = small - SMALLEST * each
    return _largest(lambda count: constant + count * each <= share * available, limit)


def saved_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes of the storages that autograd keeps of `forward` for the backward pass, each once."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()
    total = sum(sizes.values())
    del result  # until here nothing that was counted could give its address to another
    return total


def _largest(fits: Callable[[int], bool], limit: int) -> int:
    if limit >= SMALLEST and fits(limit):  # the usual case, at the price of one trial
        return limit
    fitting, count = 0, SMALLEST
    while count < limit and fits(count):
        fitting, count = count, 2 * count
    if not fitting:
        raise _nothing_fits(limit)
    return fitting


def _step(model: ImageClassifier, shape: tuple[int, int, int], count: int) -> None:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.autograd.grad(_loss(model, shape, count), parameters, allow_unused=True)


def _loss(model: ImageClassifier, shape: tuple[int, int, int], count: int) -> Tensor:
    weight = model.classifier.weight
    images = torch.zeros(count, *shape, device=weight.device, dtype=weight.dtype)
    labels = torch.zeros(count, dtype=torch.int64, device=weight.device)
    # In training mode on copies of the buffers: the model's own statistics see none of this.
    training = model.training
    model.train()
    try:
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        return F.cross_entropy(functional_call(model, buffers, (images,)), labels)
    finally:
        model.train(training)


def _nothing_fits(limit: int) -> ValueError:
    return ValueError(
        f"batch_size: no batch of {SMALLEST} to {limit} images fits in memory; choose fewer "
        "channels or layers, or a smaller resolution"
    )
