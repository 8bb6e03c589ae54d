"""Small captioners of every registered family, random or trained for a few steps."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from distilcap.models.captioner import Captioner
from distilcap.models.families import CaptionerOptions
from distilcap.models.fast import accelerate
from distilcap.models.presets import build_captioner, preset
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, EOS, PAD, SPECIALS

__all__ = ["learn", "small_captioner", "small_options", "some_captions", "sure_captioner"]


def small_options(family: str, **wanted: Any) -> CaptionerOptions:
    """A family's tiny options, 8 wide, with what it has of the wanted options."""
    tiny: Any = preset(family, "tiny")
    usual = {"hidden": 8, "embedding": 6, "attention": 4, "heads": 2, "refiner_layers": 1, "window": 4}
    own = {field.name for field in dataclasses.fields(tiny)}
    small: CaptionerOptions = dataclasses.replace(
        tiny, **{name: value for name, value in (usual | wanted).items() if name in own}
    )
    return small


def small_captioner(family: str, words: int, dim: int, seed: int = 0, **wanted: Any) -> Captioner:
    """A plain captioner with random weights, in evaluation mode."""
    return build_captioner(family, small_options(family, **wanted), words, dim, seed).eval()


def sure_captioner(family: str, words: int, dim: int, seed: int = 0, **wanted: Any) -> Captioner:
    """One whose words do not nearly tie, as those of random weights do."""
    captioner = small_captioner(family, words, dim, seed, **wanted)
    with torch.no_grad():
        for parameter in captioner.output.parameters():  # type: ignore[union-attr]
            parameter.mul_(30)
    return captioner


def some_captions(words: int, images: int, captions: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets (B, K, T) of random captions of different lengths."""
    generator = torch.Generator().manual_seed(2)
    targets = torch.randint(len(SPECIALS), words, (images, captions, length), generator=generator)
    ends = torch.randint(2, length, (images, captions, 1), generator=generator)
    targets = targets.scatter(2, ends, EOS).masked_fill(torch.arange(length) > ends, PAD)
    return torch.cat([torch.full_like(targets[..., :1], BOS), targets[..., :-1]], dim=-1), targets


def learn(captioner: Captioner, regions: Regions, length: int = 9, steps: int = 50) -> Captioner:
    """Train a plain captioner on random captions of the images; gives it back in evaluation mode."""
    inputs, targets = some_captions(captioner.vocabulary_size, len(regions.features), 2, length)
    fast = accelerate(captioner).train()
    optimizer = torch.optim.Adam(fast.parameters(), lr=2e-2)
    torch.manual_seed(3)
    for _ in range(steps):
        optimizer.zero_grad()
        losses = fast.negative_log_likelihood(fast.encode(regions), inputs, targets)
        (losses.sum() / (targets != PAD).sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return captioner.eval()
