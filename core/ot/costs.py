"""Ground costs between labelled samples."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_feature_distances(first_ND: Tensor, second_MD: Tensor) -> Tensor:
    """Squared Euclidean distances, float64.

    Computed from differences, not from expanded products: equal rows are exactly at zero.

    Args:
        first_ND: ``[N, D]``.
        second_MD: ``[M, D]``.

    Returns:
        ``[N, M]`` float64, squared feature units.

    Raises:
        ValueError: If the dimensions differ.
    """
    if first_ND.shape[1] != second_MD.shape[1]:
        raise ValueError(
            f"features have different dimensions: {first_ND.shape[1]} and {second_MD.shape[1]}"
        )
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(first_ND.double(), second_MD.double(), compute_mode=mode).square()


def feature_costs(first_ND: Tensor, second_MD: Tensor, *, p: float) -> Tensor:
    """Euclidean distances to the power p, float64 ``[N, M]``.

    Raises:
        ValueError: If the dimensions differ.
    """
    squared_NM = squared_feature_distances(first_ND, second_MD)
    return squared_NM if p == 2 else squared_NM ** (p / 2)


def joint_costs(
    features_NM: Tensor,
    label_distances_mn: Tensor,
    first_labels_N: Tensor,
    second_labels_M: Tensor,
    *,
    lambda_x: float,
    lambda_y: float,
) -> Tensor:
    """Cost of moving a labelled sample onto another (Alvarez-Melis & Fusi 2020, eq. 4).

    ``lambda_x * |x - x'|^p + lambda_y * W(y, y')^p``: one unit throughout and no factor one half,
    so its optimal total is the p-th power of the distance.

    Args:
        features_NM: ``[N, M]`` feature distances to the power p.
        label_distances_mn: ``[m, n]`` distances between classes to the power p.
        first_labels_N: ``[N]`` class of each row.
        second_labels_M: ``[M]`` class of each column.
        lambda_x: Weight of the features.
        lambda_y: Weight of the labels.

    Returns:
        ``[N, M]`` costs.
    """
    labels_NM = label_distances_mn[first_labels_N][:, second_labels_M]
    return lambda_x * features_NM + lambda_y * labels_NM
