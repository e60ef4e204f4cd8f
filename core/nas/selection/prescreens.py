"""Pre-screens: what tells good cells from bad ones in less time than scoring them by accuracy.

Each looks at a derived network, with the weights that it inherits, and a few dozen images. Scores
are comparable between cells of one supernet, no further. What else was tried: `docs/methods.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.images import LabelledImages, epoch_generator
from core.nas.network import inherit
from core.nas.selection.best_of import Proposal, proposals
from core.nas.supernet import Relaxation, Supernet, softmax

_IMAGES = 94  # stream of `epoch_generator`
SEEN = 64  # images that a network is screened with
_BATCHES = 4  # that the Fisher-Rao norm is taken over
_OFFSET = 1e-5  # of the eigenvalues, Mellor et al.'s k

Prescreen = Callable[[nn.Module, Tensor, Tensor], float]


def best_screened(
    supernet: Supernet,
    images: LabelledImages,
    prescreen: Prescreen,
    *,
    samples: int,
    max_skips: int,
    seed: int,
    preference: Relaxation = softmax,
    told: Callable[[], None] = lambda: None,
) -> Proposal:
    """The best by a pre-screen of draws from the alphas and of what the alphas say.

    Args:
        supernet: As for `screened`.
        images: Training half.
        prescreen: One of `PRESCREENS`.
        samples: Cells drawn.
        max_skips: Skip connections that a normal cell may have.
        seed: Decides draws and images.
        preference: As for `proposals`.
        told: Called after each score.
    """
    proposed = proposals(
        supernet, samples=samples, max_skips=max_skips, seed=seed, preference=preference
    )
    allowed = [each for each in proposed if each.genotype.skip_count <= max_skips]
    scores = dict[Proposal, float]()
    for proposal, score in screened(supernet, allowed, images, prescreen, seed=seed):
        scores[proposal] = score
        told()
    return max(scores, key=scores.__getitem__)


def screened(
    supernet: Supernet,
    cells: Iterable[Proposal],
    images: LabelledImages,
    prescreen: Prescreen,
    *,
    seed: int,
) -> Iterator[tuple[Proposal, float]]:
    """Each proposal with its score, the higher the better; -inf for one that is no number.

    Args:
        supernet: Trained; unchanged. Its cells must inherit weights (`Space.partial` 1).
        cells: Of its space.
        images: Training half; `SEEN` of them are drawn, the same for all cells.
        prescreen: One of `PRESCREENS`.
        seed: Decides which.

    Raises:
        ValueError: a genotype of another space.
    """
    some = images.sample(SEEN, epoch_generator(seed, 0, _IMAGES))
    pixels, labels = some.normalise(some.images), some.labels
    for proposal in cells:
        network = inherit(supernet, proposal.genotype).train()
        score = prescreen(network, pixels, labels)
        yield proposal, -math.inf if math.isnan(score) else score


def jacobian_correlation(model: nn.Module, images: Tensor, labels: Tensor) -> float:  # noqa: ARG001
    """How little the slopes of different images resemble each other; 0 eigenvalues cost most.

    ``-sum_i [log(v_i + k) + 1 / (v_i + k)]`` over the eigenvalues v of the correlations between
    the images' gradients of the summed logits, k = 1e-5: Mellor et al. 2020 (arXiv 2006.04647,
    first version), the proxy of Zero-Cost-PT (Xiang et al. 2021, arXiv 2106.08153).

    Args:
        model: In the mode in which it is to be scored.
        images: ``[N, C, H, W]``, N > 1.
        labels: Are not looked at.

    Returns:
        No number where an image has no slope at all.
    """
    images = images.detach().clone().requires_grad_()
    (slopes,) = torch.autograd.grad(
        model(images).sum(), images, allow_unused=True, materialize_grads=True
    )
    correlations = torch.corrcoef(slopes.flatten(1).double())
    if not bool(correlations.isfinite().all()):
        return math.nan
    values = torch.linalg.eigvalsh(correlations).clamp_min(0)
    return -float((torch.log(values + _OFFSET) + 1 / (values + _OFFSET)).sum())


def fisher_rao(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """SiGeo's second term (Zheng et al. 2023, arXiv 2311.13169): ``w^T F w ~ E_b (w . g_b)^2``.

    Weights in front of a normalisation by the batch's statistics have none of it: the loss does
    not feel their scale.

    Args:
        model: In the mode in which it is to be scored; its gradients are not kept.
        images: ``[N, C, H, W]``, split into four batches.
        labels: ``[N]`` int64.
    """
    parameters = [each for each in model.parameters() if each.requires_grad]
    along = []
    for some, told in zip(
        images.tensor_split(_BATCHES), labels.tensor_split(_BATCHES), strict=True
    ):
        loss = F.cross_entropy(model(some), told)
        gradients = torch.autograd.grad(
            loss, parameters, allow_unused=True, materialize_grads=True
        )
        along.append(
            sum(
                (slope.double() * weight.detach().double()).sum()
                for slope, weight in zip(gradients, parameters, strict=True)
            )
        )
    return float(torch.stack(along).square().mean())  # type: ignore[arg-type]


PRESCREENS: Mapping[str, Prescreen] = {
    "jacobian": jacobian_correlation,
    "fisher-rao": fisher_rao,
}
