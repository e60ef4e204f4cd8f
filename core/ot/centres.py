"""Which of very many datasets are worth a closer look: those whose centres are nearest.

The transport distance between two datasets is at least the distance between their centres (their
means; Jensen's inequality), so what lies beyond the last one chosen can be bounded unseen.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

LIMIT = 1000  # datasets that one ranking looks at
AT_ONCE = 4096  # centres compared at once
FLOAT32 = 2.0**-24  # what rounding to 32 bits moves a number by, relatively

Floats = NDArray[np.float64]


def nearest(
    parts: Iterable[Sequence[tuple[UUID, bytes]]], centre_D: Floats, limit: int
) -> tuple[tuple[UUID, ...], float | None]:
    """The datasets to look at, and how far away at least all others are.

    Args:
        parts: Datasets with their centres, each packed as D little-endian 32-bit floats.
        centre_D: ``[D]`` the target's centre, in feature units.
        limit: How many to choose by their centres.

    Returns:
        The chosen by rising distance, equal distances by id, and last, by id and all of them,
        those whose centre has another length or is not finite; and a distance in feature units,
        None when none was left out.
    """
    known: list[tuple[float, UUID]] = []
    unknown: list[UUID] = []
    size, reach = centre_D.nbytes // 2, sys.float_info.max
    for part in parts:
        comparable = [(each, centre) for each, centre in part if len(centre) == size]
        unknown += [each for each, centre in part if len(centre) != size]
        distances = _distances([centre for _, centre in comparable], centre_D)
        for (each, _), distance in zip(comparable, distances, strict=True):
            if distance <= reach:
                known.append((distance, each))
            elif not math.isfinite(distance):
                unknown.append(each)
        if len(known) > AT_ONCE + limit:
            known = sorted(known)[: limit + 1]
            reach = known[-1][0]
    known.sort()
    ids = (*(each for _, each in known[:limit]), *sorted(unknown))
    if len(known) <= limit:
        return ids, None
    return ids, _at_least(known[limit][0], centre_D)


def _distances(centres: Sequence[bytes], centre_D: Floats) -> list[float]:
    found_nD = np.frombuffer(b"".join(centres), "<f4").reshape(-1, len(centre_D))
    with np.errstate(invalid="ignore", over="ignore"):  # what is not a number is told apart later
        distances: list[float] = np.sqrt(np.square(found_nD - centre_D).sum(axis=1)).tolist()
    return distances


def _at_least(distance: float, centre_D: Floats) -> float:
    """The distance before both centres were rounded to 32 bits, or less."""
    rounding = 4 * FLOAT32 * (float(np.linalg.norm(centre_D)) + distance)
    return max(distance - rounding, 0.0)
