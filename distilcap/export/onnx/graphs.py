"""From PyTorch to ONNX: the captioner's `encode` and its `step`, each as a graph.

Names and shapes are part of the bundle's format (docs/bundle.md); the leading dimensions, images B and
captions K, are free in every graph. The encoder's graph is made by `encoders.graph`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from distilcap.models.captioner import Captioner
from distilcap.models.fast import plain
from distilcap.shapes import Regions
from distilcap.tracing import EXAMPLES, to_onnx

__all__ = ["EncodeGraph", "StepGraph", "export_encode", "export_step"]


class EncodeGraph(nn.Module):
    """Features (B, R, D) and mask (B, R) to memory."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.captioner = plain(captioner)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        # A mask given through would be input and output at once.
        return tuple(tensor.clone() for tensor in self.captioner.encode(Regions(features, mask)))


class StepGraph(nn.Module):
    """Tokens (B, K), state and memory to logits (B, K, V) and the next state."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.captioner = plain(captioner)

    def forward(self, tokens: Tensor, state: tuple[Tensor, ...], memory: tuple[Tensor, ...]) -> Any:
        """See the class."""
        logits, state = self.captioner.step(tokens, state, memory)
        return (logits, *state)


def export_encode(captioner: Captioner, regions: int) -> Any:
    """`features` (B, R, D) and `mask` (B, R) to `memory_0` … (B, …)."""
    example = _regions(captioner, regions)
    memory = captioner.encode(example)
    outputs = [f"memory_{index}" for index in range(len(memory))]
    return to_onnx(EncodeGraph(captioner), (example.features, example.mask), ["features", "mask"], outputs)


def export_step(captioner: Captioner, regions: int) -> Any:
    """`tokens` (B, K), `state_0` … (B, K, H), `memory_0` … to `logits` (B, K, V) and `next_0` … ."""
    captioner = plain(captioner)  # whose state has fixed shapes
    memory = tuple(tensor.detach().clone() for tensor in captioner.encode(_regions(captioner, regions)))
    zeros = captioner.initial_state(memory, EXAMPLES[1])
    # Tensors of their own: equal tensors would be merged into one input.
    state = tuple(torch.randn_like(tensor) for tensor in zeros)
    tokens = torch.randint(captioner.vocabulary_size, EXAMPLES)
    states, memories = (
        [f"{kind}_{index}" for index in range(count)]
        for kind, count in (("state", len(state)), ("memory", len(memory)))
    )
    outputs = ["logits", *(f"next_{index}" for index in range(len(state)))]
    return to_onnx(
        StepGraph(captioner), (tokens, state, memory), ["tokens", *states, *memories], outputs, captions=True
    )


def _regions(captioner: Captioner, regions: int) -> Regions:
    return Regions.full(torch.randn(EXAMPLES[0], regions, captioner.region_dim))
