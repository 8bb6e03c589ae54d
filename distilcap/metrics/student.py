"""Student's t: how sure a mean is, where few images or seeds show how much it varies."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["T_975", "half_width"]

T_975 = (
    *(12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963),
    *(2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407),
)
"""What 97.5 % of Student's t lie below, by degrees of freedom from 1: scores are made without SciPy."""


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
