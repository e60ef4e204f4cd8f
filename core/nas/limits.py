"""Refusing settings that are out of range."""

import math


def check_limits(config: object, limits: dict[str, tuple[float, float]]) -> None:
    """Refuse values of the wrong type, not finite or out of range.

    Raises:
        ValueError: names the field.
    """
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        integral = isinstance(low, int) and isinstance(high, int)
        kind = int if integral else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ValueError(
                f"{name}: {value!r} is not {'an integer' if integral else 'a number'}"
            )
        if not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"{name}: {value} is not in {low}..{high}")
