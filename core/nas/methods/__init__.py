"""Methods of search by name, each a small strategy object for the one loop in `core.nas.search`.

``create("darts-second-order", supernet)`` makes one; `PAPERS` has the settings of each method's
paper, in the fields of `core.nas.search.SearchConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.nas.methods.auxiliary_skip import AuxiliarySkip
from core.nas.methods.base import Method
from core.nas.methods.dirichlet import Dirichlet
from core.nas.methods.operation_dropping import OperationDropping
from core.nas.methods.partial_channels import PartialChannels
from core.nas.methods.random_smoothing import RandomSmoothing
from core.nas.methods.second_order import SecondOrder
from core.nas.supernet import Supernet

__all__ = ["METHODS", "PAPERS", "Method", "create"]

METHODS: Mapping[str, Callable[..., Method]] = {
    method.name: method
    for method in (
        Method,
        SecondOrder,
        PartialChannels,
        Dirichlet,
        RandomSmoothing,
        AuxiliarySkip,
        OperationDropping,
    )
}

_DARTS: dict[str, Any] = {
    "epochs": 50,
    "batch_size": 64,
    "learning_rate": 0.025,
    "learning_rate_min": 0.001,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "gradient_clip": 5.0,
    "alpha_learning_rate": 3e-4,
    "alpha_weight_decay": 1e-3,
}

PAPERS: Mapping[str, Mapping[str, Any]] = {
    "darts": _DARTS,
    "darts-second-order": _DARTS,
    "pc-darts": _DARTS
    | {"batch_size": 256, "learning_rate": 0.1, "learning_rate_min": 0.0}
    | {"alpha_learning_rate": 6e-4},
    "drnas": _DARTS
    | {"learning_rate": 0.1, "learning_rate_min": 0.0}
    | {"alpha_learning_rate": 6e-4, "alpha_weight_decay": 0.0},
    "sdarts-rs": _DARTS,
    "darts-minus": _DARTS,
    "op-dropping": _DARTS,
}


def create(name: str, supernet: Supernet, **settings: Any) -> Method:
    """The method of that name for a supernet.

    Args:
        name: A key of `METHODS`.
        supernet: Searched in place.
        **settings: The method's own; its paper's when omitted.

    Raises:
        ValueError: no such method, or none for this supernet's space.
    """
    if name not in METHODS:
        raise ValueError(f"method: {name!r} is not in {', '.join(METHODS)}")
    return METHODS[name](supernet, **settings)
