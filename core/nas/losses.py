"""What a training descends besides the plain cross-entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(softmax(teacher / T) || softmax(student / T))``, mean over images.

    Hinton et al. 2015, section 2, less the teacher's entropy, which has no gradient: equal
    logits give zero. The factor keeps the gradient's size whatever the temperature.

    Args:
        student: Logits ``[N, K]``.
        teacher: Logits ``[N, K]``, without gradient.
        temperature: T > 0.
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence
