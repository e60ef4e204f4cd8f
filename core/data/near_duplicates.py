"""Images that look the same without being the same: scaled, recompressed, or changed a little.

A 64-bit hash of the lowest frequencies (the DCT hash of Zauner, "Implementation and Benchmarking
of Perceptual Image Hash Functions", 2010, section 3.2) finds candidates; the thumbnails decide,
for simple drawings agree in their hashes and not in what they show.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from core.data.images import Pixels

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]

BITS_APART = 4  # of 64
MEAN_APART = 4.0  # of 255: what recompressing changes, and another frame of a film does not
MOST_CANDIDATES = 8  # looked at for each image: enough where many are alike, little where all are
_SIDE = 8
_ROWS = 64
_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green, blue in brightness (ITU-R BT.601)


def hashes(thumbnails: Pixels, rows: Rows) -> Hashes:
    """A hash of each image: the signs of its 8 x 8 lowest frequencies about their median.

    Args:
        thumbnails: `[n, side, side, 3]`, any side from 8; may lie in a file.
        rows: `[k]`, those wanted.

    Returns:
        `[k]`.
    """
    found = np.empty(len(rows), np.uint64)
    basis = _cosines(thumbnails.shape[1])
    for start in range(0, len(rows), 1024):
        grey = thumbnails[rows[start : start + 1024]] @ np.asarray(_WEIGHTS, np.float32)
        low = (basis @ grey @ basis.T).reshape(len(grey), -1)
        above = low > np.median(low, axis=1, keepdims=True)
        found[start : start + 1024] = np.packbits(above, axis=1).view(">u8")[:, 0]
    return found


def twins(thumbnails: Pixels, rows: Rows, same: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each image that looks like an earlier one, with the first such, by their places in `rows`.

    Args:
        thumbnails: `[n, side, side, 3]`, any side from 8; may lie in a file.
        rows: `[k]`, those to be compared.
        same: Of each, what it shares with those that are the very same: these are no twins.
    """
    of_image = hashes(thumbnails, rows)
    for start in range(0, len(rows), _ROWS):
        here = of_image[start : start + _ROWS]
        apart = np.bitwise_count(here[:, None] ^ of_image[None, : start + len(here)])
        for offset in np.flatnonzero((apart <= BITS_APART).sum(axis=1) > 1):
            image = start + int(offset)
            near = np.flatnonzero(apart[offset, :image] <= BITS_APART)
            for other in near[:MOST_CANDIDATES].tolist():
                alike = _alike(thumbnails[rows[image]], thumbnails[rows[other]])
                if alike and same[image] != same[other]:
                    yield image, other
                    break


def _alike(one: Pixels, other: Pixels) -> bool:
    return float(np.abs(one.astype(np.int16) - other).mean()) <= MEAN_APART


def _cosines(side: int) -> NDArray[np.float32]:
    """The first 8 rows of the DCT-II matrix of that size."""
    frequency, place = np.arange(_SIDE)[:, None], np.arange(side)[None, :]
    return np.cos(np.pi * frequency * (2 * place + 1) / (2 * side)).astype(np.float32)
