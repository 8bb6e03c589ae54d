"""Bounds of options outside `Options` classes: what cannot work is refused before any work begins.

Upper bounds are far above what anybody uses; they are there so that a typing error (`--beam-size 5000000`)
ends in a message, and not in a machine without memory. Those of decoding are the bundle's (`runtime.limits`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from distilcap.options import SEED_LIMIT, path_of

__all__ = [
    "BATCH",
    "COUNT",
    "FILE",
    "FOLDER",
    "PATH",
    "SEED",
    "THREADS",
    "Real",
]


class Real(click.FloatRange):
    """A number in a range; unlike click's own, never NaN or infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the option's text."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class NamedPath(click.Path):
    """A path that is not empty: an empty one, as an unset shell variable leaves it, would be this folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the option's text."""
        if not str(value):
            self.fail("the path is empty; is a variable of the shell unset?", param, ctx)
        return super().convert(path_of(value), param, ctx)


PATH = NamedPath(path_type=Path)
FILE = NamedPath(path_type=Path, dir_okay=False)
FOLDER = NamedPath(path_type=Path, file_okay=False)
BATCH = click.IntRange(1, 65_536)
COUNT = click.IntRange(1, 2**31 - 1)
SEED = click.IntRange(0, SEED_LIMIT)
THREADS = click.IntRange(1, 256)
