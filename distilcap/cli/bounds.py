"""Bounds of options outside `Options` classes: what cannot work is refused before any work begins.

Upper bounds are far above what anybody uses; they are there so that a typing error (`--beam-size 5000000`)
ends in a message, and not in a machine without memory. Those of decoding are the bundle's (`runtime.limits`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from distilcap.errors import ConfigError
from distilcap.options import SEED_LIMIT
from distilcap.runtime.limits import MAX_BEAM, MAX_LENGTH_PENALTY, MAX_SIZE, MAX_WORDS

__all__ = [
    "BATCH",
    "BEAM",
    "COUNT",
    "IMAGE_SIZE",
    "LENGTH_PENALTY",
    "RESAMPLES",
    "SEED",
    "SEEDS",
    "THREADS",
    "WORDS",
    "Real",
    "beam_size_option",
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
BEAM = click.IntRange(1, MAX_BEAM)
COUNT = click.IntRange(1, 2**31 - 1)
IMAGE_SIZE = click.IntRange(32, MAX_SIZE)
LENGTH_PENALTY = Real(-MAX_LENGTH_PENALTY, MAX_LENGTH_PENALTY)
RESAMPLES = click.IntRange(0, 1_000_000)
SEED = click.IntRange(0, SEED_LIMIT)
SEEDS = click.IntRange(1, 1000)
THREADS = click.IntRange(1, 256)
WORDS = click.IntRange(1, MAX_WORDS)


def beam_size_option(default: int) -> Callable[[Any], Any]:
    """--beam-size: the same of every command that captions images."""
    return click.option(
        "beam_size",
        "--beam-size",
        "--beam",
        type=BEAM,
        default=default,
        help="Number of hypotheses kept while searching; 1 is greedy.",
    )


def check_n_best(n_best: int, beam_size: int) -> None:
    """Refuse to keep more captions than are searched.

    Raises:
        ConfigError: `n_best` is above `beam_size`.
    """
    if n_best > beam_size:
        raise ConfigError(f"`n_best` must be at most `beam_size` ({beam_size}), but is {n_best}.")
