"""Captioners by name: "updown-small" is a family and one of its sizes.

What "big", "medium", "small" and "tiny" mean here (the paper does not say): at 64-d regions and 9,488 words,
Up-Down has 48.1 / 17.4 / 6.8 / 2.9 M parameters, AoANet 83.5 / 25.8 / 8.9 / 3.5 M, the Transformer 64.3 /
25.5 / 8.8 / 3.2 M. `distilcap models` prints them for any vocabulary. "pocket" predicts words with the
embedding's own matrix: with its encoder, its bundle stays below 10 MB at COCO's 10,369 words, where "small"
does not.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch

from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner
from distilcap.models.contract import check_captioner
from distilcap.models.families import CaptionerOptions, families, family_of
from distilcap.shapes import Regions

__all__ = ["build_captioner", "captioner_name", "multiply_adds", "options_of", "preset", "size_of"]


def captioner_name(text: str) -> tuple[str, str]:
    """Split "updown-small" into family and size.

    Raises:
        ConfigError: it names no preset.
    """
    architecture, _, size = text.partition("-")
    known = families()
    if architecture not in known or size not in known[architecture].sizes:
        names = ", ".join(f"{name}-{size}" for name, family in known.items() for size in family.sizes)
        raise ConfigError(
            f"A captioner is one of {names}, but is {text!r}; `distilcap --plugin MODULE` brings others, and "
            "`--start` begins from a run or from the captioner in the box."
        )
    return architecture, size


def preset(architecture: str, size: str) -> CaptionerOptions:
    """Return the options of a named size.

    Raises:
        ConfigError: unknown architecture or size; the message lists the known.
    """
    sizes = family_of(architecture).sizes
    if size not in sizes:
        raise ConfigError(f"`size` must be one of {', '.join(sizes)}, but is {size!r}.")
    return sizes[size]


def size_of(options: CaptionerOptions) -> str:
    """The name of a size, or "384 wide" where it has none."""
    known = (item for family in families().values() for item in family.sizes.items())
    return next((size for size, sized in known if sized == options), f"{options.hidden} wide")


def options_of(architecture: str, values: dict[str, Any]) -> CaptionerOptions:
    """Rebuild options from their JSON form.

    Raises:
        ConfigError: unknown architecture or field.
    """
    kind = family_of(architecture).options
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(
            f"{architecture} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        )
    return kind(**values)


def build_captioner(
    architecture: str, options: CaptionerOptions, vocabulary_size: int, region_dim: int, seed: int = 0
) -> Captioner:
    """Build a captioner with random weights that depend on `seed` alone.

    Raises:
        ConfigError: it is a plugin's, and does not give what a captioner must (`models.contract`).
    """
    family = family_of(architecture)
    assert isinstance(options, family.options), options
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would seed GPUs, too
        try:
            captioner = family.build(vocabulary_size, region_dim, options)
        except TypeError as error:  # `__init__` takes other arguments
            raise ConfigError(f"The captioner family {architecture} cannot be built: {error}.") from error
    if not family.options.__module__.startswith("distilcap.") and torch.get_default_device().type != "meta":
        check_captioner(architecture, captioner)
    return captioner


@functools.cache
def multiply_adds(
    architecture: str, options: CaptionerOptions, words: int, dim: int, regions: int
) -> tuple[int, int, int]:
    """Multiply-adds of encoding an image and of reading a word; and the number of parameters."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad():  # shapes alone: nothing is allocated or computed
        captioner = build_captioner(architecture, options, words, dim).eval()
        with FlopCounterMode(display=False) as encoding:
            memory = captioner.encode(Regions.full(torch.empty(1, regions, dim)))
        state = captioner.initial_state(memory, 1)
        with FlopCounterMode(display=False) as reading:
            captioner.step(torch.zeros(1, 1, dtype=torch.int64), state, memory)
    return encoding.get_total_flops() // 2, reading.get_total_flops() // 2, captioner.parameter_count()
