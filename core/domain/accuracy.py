"""How sure an accuracy is."""

import math


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of `n` trials (Wilson 1927); (0, 1) without trials."""
    if n == 0:
        return 0.0, 1.0
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)
