"""Student's t: how sure a mean is, where few images or seeds show how much it varies."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["half_width"]


def half_width(parts: Sequence[tuple[float, float]], probability: float = 0.975) -> float:
    """Half of an interval: Student's t times the deviation of a sum of variances.

    The degrees of freedom are those that Satterthwaite (1946) gives the sum.

    Args:
        parts: variances, each with its degrees of freedom; those that are 0 do not count.
        probability: that the interval's upper end is not exceeded.
    """
    from scipy.special import stdtrit

    total = sum(variance for variance, _ in parts)
    if not total:
        return 0.0
    degrees = total**2 / sum(variance**2 / degrees for variance, degrees in parts if variance)
    return float(stdtrit(degrees, probability)) * math.sqrt(total)
