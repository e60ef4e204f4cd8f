"""The kinds of operation that an edge may have, by their names, as numbers.

Imports no torch: they are built (`core.nas.operations`) and counted (`core.nas.workload`).
"""

from collections.abc import Mapping
from typing import Final

# Operation: kernel size, dilation, number of (depthwise, pointwise) stages.
CONVOLUTIONS: Final[Mapping[str, tuple[int, int, int]]] = {
    "sep_conv_3x3": (3, 1, 2),
    "sep_conv_5x5": (5, 1, 2),
    "dil_conv_3x3": (3, 2, 1),
    "dil_conv_5x5": (5, 2, 1),
}
# Operation: kernel size of an ordinary convolution.
FULL_CONVOLUTIONS: Final[Mapping[str, int]] = {"conv_1x1": 1, "conv_3x3": 3}
POOLS: Final = ("max_pool_3x3", "avg_pool_3x3")
