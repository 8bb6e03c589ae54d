"""A bundle as a `Captioner`, so that the beam search of `decode` runs on its graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distilcap.models.captioner import Captioner, Memory, State
from distilcap.runtime.bundle import Bundle
from distilcap.shapes import Regions

__all__ = ["BundleCaptioner", "BundleEncoder"]


def _tensors(arrays: tuple[np.ndarray[Any, Any], ...]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(one) for one in arrays)


def _arrays(tensors: tuple[Tensor, ...]) -> tuple[np.ndarray[Any, Any], ...]:
    return tuple(one.detach().numpy() for one in tensors)


class BundleCaptioner(Captioner):
    """Computes on the CPU with ONNX Runtime; has no weights of its own to train."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.bundle = bundle
        self.vocabulary_size = len(bundle.manifest.vocabulary)
        self.region_dim = bundle.manifest.dim
        self.place = nn.Parameter(torch.zeros(0), requires_grad=False)  # tells callers where it computes

    def encode(self, regions: Regions) -> Memory:
        """See `Captioner.encode`."""
        return _tensors(self.bundle.encode((regions.features.float().numpy(), regions.mask.numpy())))

    def initial_state(self, memory: Memory, captions: int) -> State:
        """See `Captioner.initial_state`."""
        return _tensors(self.bundle.initial_state(_arrays(memory), captions))

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """See `Captioner.step`."""
        logits, after = self.bundle.step(tokens.numpy(), _arrays(state), _arrays(memory))
        return torch.from_numpy(logits), _tensors(after)

    def forward(self, regions: Regions, tokens: Tensor) -> Tensor:
        """See `Captioner.forward`; here it steps."""
        memory = self.encode(regions)
        state = self.initial_state(memory, tokens.shape[1])
        logits = []
        for words in tokens.unbind(dim=2):
            one, state = self.step(words, state, memory)
            logits.append(one)
        return torch.stack(logits, dim=2)


class BundleEncoder:
    """The encoder of a bundle, as `encoders.base.Encoder`."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        manifest = bundle.manifest
        self.name = str(manifest.model["encoder"]["encoder"])
        self.dim, self.regions, self.preprocessing = manifest.dim, manifest.regions, manifest.preprocessing

    def recipe(self) -> dict[str, Any]:
        """The recipe of the encoder that was exported, and the precision it was exported with."""
        return dict(self.bundle.manifest.model["encoder"]) | {"precision": self.bundle.manifest.precision}

    def __call__(self, pixels: Tensor) -> Regions:
        """(B, 3, S, S) normalised pixels to `Regions`."""
        features, mask = _tensors(self.bundle.see_normalised(pixels.numpy()))
        return Regions(features, mask)
