"""What the numbers of options may be: a number that cannot work is refused before any work begins.

Upper bounds are far above what anybody uses; they are there so that a slip of the keyboard (`--beam 5000000`)
ends in one line, and not in a machine without memory.
"""

from __future__ import annotations

import math
from typing import Any

import click

from distilcap.errors import ConfigError

__all__ = [
    "BATCH",
    "BEAM",
    "COUNT",
    "EPOCHS",
    "IMAGE_SIZE",
    "LEARNING_RATE",
    "MAX_WORDS",
    "RESAMPLES",
    "SEED",
    "SEEDS",
    "THREADS",
    "Real",
    "check_n_best",
]


class Real(click.FloatRange):
    """A number in a range; unlike click's own, never NaN or infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the option's text."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


BATCH = click.IntRange(1, 65_536)
BEAM = click.IntRange(1, 1000)
COUNT = click.IntRange(1, 2**31 - 1)
EPOCHS = click.IntRange(0, 100_000)
IMAGE_SIZE = click.IntRange(32, 4096)
LEARNING_RATE = Real(0, 100, min_open=True)
MAX_WORDS = click.IntRange(1, 1000)
RESAMPLES = click.IntRange(0, 1_000_000)
SEED = click.IntRange(0, 2**63 - 1)
SEEDS = click.IntRange(1, 1000)
THREADS = click.IntRange(1, 256)


def check_n_best(n_best: int, beam: int) -> None:
    """Refuse to keep more captions than are searched.

    Raises:
        ConfigError: `n_best` is above `beam`.
    """
    if n_best > beam:
        raise ConfigError(f"`n_best` must be at most `beam` ({beam}), but is {n_best}.")
