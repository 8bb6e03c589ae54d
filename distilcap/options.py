"""Options, said once: a frozen dataclass whose fields carry their help, bounds and choices.

The command line makes its flags from these fields (`cli/options.py`), the dataclass checks them wherever it
is made, and both speak of an option by the same name:

    @dataclass(frozen=True)
    class Decoding(Options):
        beam_size: int = option(5, "Number of hypotheses kept while searching.", least=1, most=1000)

`Decoding(beam_size=0)` raises "`beam_size` must be at least 1, but is 0."; `--beam-size 0` says the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distilcap.errors import ConfigError

__all__ = ["SEED_LIMIT", "Bounds", "Options", "bounds_of", "option"]

SEED_LIMIT = 2**63 - 1
"""Largest seed: what PyTorch's and NumPy's generators both take."""


@dataclass(frozen=True)
class Bounds:
    """What a value may be; an absent bound is None.

    Attributes:
        least, most: inclusive limits of a number.
        above, below: exclusive ones.
        choices: all values of a word.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In words, such as "at least 1 and at most 1000"."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        named = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{words} {limit}" for words, limit in named.items() if limit is not None)

    def allow(self, value: Any) -> bool:
        """Whether a value keeps them; a number that is not finite never does."""
        if self.choices:
            return value in self.choices
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return not (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
    aliases: Sequence[str] = (),
    follows: str | None = None,
    **metadata: Any,
) -> Any:
    """A field of an `Options` class.

    Args:
        help: what it does and its unit: "Number of…".
        least, most, above, below, choices: see `Bounds`.
        aliases: older flags that still work, such as "--beam".
        follows: the flag whose value it takes on the command line where it is not given itself.
        metadata: more, for others that read the field (such as `in_key` of a store's stages).
    """
    bounds = Bounds(least, most, above, below, tuple(choices))
    declared = {"help": help, "bounds": bounds, "aliases": tuple(aliases), "follows": follows}
    return dataclasses.field(default=default, metadata=declared | metadata)


def bounds_of(field: dataclasses.Field[Any]) -> Bounds:
    """The bounds that a field was declared with."""
    bounds = field.metadata.get("bounds", Bounds())
    assert isinstance(bounds, Bounds)
    return bounds


class Options:
    """Base of option classes: checks every field that has bounds.

    Raises:
        ConfigError: a value is outside its bounds; the message names the option.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, bounds = getattr(self, field.name), bounds_of(field)
            if value is not None and not bounds.allow(value):
                wanted = str(bounds) or "a finite number"
                raise ConfigError(f"`{field.name}` must be {wanted}, but is {value!r}.")
