"""Ground costs between labelled samples."""

from __future__ import annotations

import torch
from torch import Tensor

# Where a squared distance is below this share of the squared lengths it comes from, rounding
# would show in the product of matrices: there it is summed from differences.
_CLOSE = 0.01
_NUMBERS_PER_BATCH = 1 << 22


def squared_feature_distances(first_ND: Tensor, second_MD: Tensor) -> Tensor:
    """Squared Euclidean distances, float64.

    Through one product of matrices, about the common centre, where that is exact to the last few
    places; from differences where rows are close to each other: equal rows are exactly at zero.

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
    first_ND, second_MD = _about_centre(first_ND.double(), second_MD.double())
    lengths_NM = first_ND.square().sum(1)[:, None] + second_MD.square().sum(1)[None]
    squared_NM = torch.addmm(lengths_NM, first_ND, second_MD.T, alpha=-2)
    rows, columns = torch.nonzero(squared_NM <= _CLOSE * lengths_NM, as_tuple=True)
    if len(rows) > squared_NM.numel() / 4:
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist(first_ND, second_MD, compute_mode=mode).square()
    batch = max(1, _NUMBERS_PER_BATCH // max(first_ND.shape[1], 1))
    for start in range(0, len(rows), batch):
        at = rows[start : start + batch], columns[start : start + batch]
        squared_NM[at] = (first_ND[at[0]] - second_MD[at[1]]).square().sum(1)
    return squared_NM


def _about_centre(first_ND: Tensor, second_MD: Tensor) -> tuple[Tensor, Tensor]:
    if not (len(first_ND) and len(second_MD)):
        return first_ND, second_MD
    # Rounded to single precision, so that nothing is lost when it is taken off single features.
    centre_D = ((first_ND.mean(0) + second_MD.mean(0)) / 2).float().double()
    return first_ND - centre_D, second_MD - centre_D


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
