"""Named sizes: what "big", "medium", "small" and "tiny" mean here (the paper does not say).

At 64-d regions and 9,488 words: Up-Down 48.1 / 17.4 / 6.8 / 2.9 M parameters, AoANet 83.5 / 25.8 / 8.9 /
3.5 M. `distilcap models` prints them for any vocabulary. "pocket" predicts words with the embedding's own
matrix: with its encoder, its bundle stays below 10 MB at COCO's 10,369 words, where "small" does not.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from distilcap.errors import ConfigError
from distilcap.models.aoanet import AoANet, AoANetOptions
from distilcap.models.captioner import Captioner
from distilcap.models.updown import UpDown, UpDownOptions

__all__ = [
    "ARCHITECTURES",
    "PRESETS",
    "SIZES",
    "build_captioner",
    "captioner_name",
    "options_of",
    "preset",
    "size_of",
]

Options = UpDownOptions | AoANetOptions

PRESETS: dict[str, dict[str, Options]] = {
    "updown": {
        "big": UpDownOptions(hidden=1000, embedding=1000, attention=512),
        "medium": UpDownOptions(hidden=512, embedding=512, attention=256),
        "small": UpDownOptions(hidden=256, embedding=256, attention=128),
        "tiny": UpDownOptions(hidden=128, embedding=128, attention=64),
        "pocket": UpDownOptions(hidden=256, embedding=256, attention=128, tie_words=True),
    },
    "aoanet": {
        "big": AoANetOptions(hidden=1024, embedding=1024),
        "medium": AoANetOptions(hidden=512, embedding=512),
        "small": AoANetOptions(hidden=256, embedding=256),
        "tiny": AoANetOptions(hidden=128, embedding=128),
        "pocket": AoANetOptions(hidden=192, embedding=192, tie_words=True),
    },
}
ARCHITECTURES = tuple(PRESETS)
SIZES = ("big", "medium", "small", "tiny", "pocket")


def captioner_name(text: str) -> tuple[str, str]:
    """Split "updown-small" into architecture and size.

    Raises:
        ConfigError: it names no preset.
    """
    architecture, _, size = text.partition("-")
    if size not in PRESETS.get(architecture, {}):
        names = ", ".join(f"{kind}-{size}" for kind in ARCHITECTURES for size in SIZES)
        raise ConfigError(f"A captioner is one of {names}, but is {text!r}.")
    return architecture, size


def preset(architecture: str, size: str) -> Options:
    """Return the options of a named size.

    Raises:
        ConfigError: unknown architecture or size; the message lists the known.
    """
    if architecture not in PRESETS:
        raise ConfigError(f"`architecture` must be one of {', '.join(PRESETS)}, but is {architecture!r}.")
    if size not in PRESETS[architecture]:
        raise ConfigError(f"`size` must be one of {', '.join(SIZES)}, but is {size!r}.")
    return PRESETS[architecture][size]


def size_of(options: Options) -> str:
    """The name of a size, or "384 wide" where it has none."""
    named = (size for sizes in PRESETS.values() for size, known in sizes.items() if known == options)
    return next(named, f"{options.hidden} wide")


def options_of(architecture: str, values: dict[str, Any]) -> Options:
    """Rebuild options from their JSON form.

    Raises:
        ConfigError: unknown architecture or field.
    """
    kind = type(preset(architecture, "small"))
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(
            f"{architecture} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        )
    return kind(**values)


def build_captioner(
    architecture: str, options: Options, vocabulary_size: int, region_dim: int, seed: int = 0
) -> Captioner:
    """Build a captioner with random weights that depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(options, UpDownOptions):
            assert architecture == "updown"
            return UpDown(vocabulary_size, region_dim, options)
        return AoANet(vocabulary_size, region_dim, options)
