"""Which encoders there are: each is one call of `register_encoder`.

The modules of this package register theirs when encoders are first asked for; those of a plugin (`distilcap
--plugin MODULE`, see `distilcap.plugins`) register theirs when it is imported.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from distilcap import encoders
from distilcap.encoders.base import Encoder
from distilcap.errors import ConfigError
from distilcap.plugins import load_plugins

__all__ = ["EncoderFamily", "MakeEncoder", "encoder_families", "register_encoder"]


class MakeEncoder(Protocol):
    """Makes an encoder of a family."""

    def __call__(
        self, name: str, size: int | None, weights: Path | str | None, form: str, regions: int | None
    ) -> Encoder:
        """See `create_encoder`; `form` is one of the family's."""


def _whole(encoder: Encoder) -> Sequence[nn.Module]:
    assert isinstance(encoder, nn.Module)
    return [encoder]


@dataclass(frozen=True)
class EncoderFamily:
    """An encoder, or all encoders whose names begin alike.

    Attributes:
        name: "efficientnet-lite0"; with a colon at its end, such as "timm:", it begins the names of many.
        make: makes one.
        forms: of the features; the first is taken where none is asked for.
        source: where its weights come from, for people.
        listed: names and forms that `distilcap models --encoders` shows; none is the name in its first form.
        used: the parts of an encoder that run on a phone; without it all of them.
        here: whether the published weights of one that was made are on this machine, without downloading.
    """

    name: str
    make: MakeEncoder
    forms: tuple[str, ...] = ("grid",)
    source: str = ""
    listed: tuple[tuple[str, str], ...] = ()
    used: Callable[[Encoder], Sequence[nn.Module]] = _whole
    here: Callable[[Encoder], bool] = lambda _: True

    def covers(self, name: str) -> bool:
        """Whether an encoder of this name is one of the family."""
        return name.startswith(self.name) if self.name.endswith(":") else name == self.name


_families: dict[str, EncoderFamily] = {}


def register_encoder(family: EncoderFamily) -> None:
    """Make an encoder, or a family of encoders, known.

    Raises:
        ConfigError: its name is taken.
    """
    if any(family.covers(known.name) or known.covers(family.name) for known in _families.values()):
        raise ConfigError(f"The encoder {family.name} cannot be registered: there is one of that name.")
    _families[family.name] = family


def encoder_families() -> dict[str, EncoderFamily]:
    """All encoders by name, in the order of their names."""
    for module in pkgutil.iter_modules(encoders.__path__, f"{encoders.__name__}."):
        importlib.import_module(module.name)
    load_plugins()
    return dict(sorted(_families.items()))
