"""The tensors that packages exchange, and the legend of their dimensions.

B  images in a batch            R  regions of an image       D  features of a region
K  captions of an image (references, samples or beams)       T  tokens of a caption
H  width of a hidden state      V  words of the vocabulary   E  width of a word embedding
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Regions"]


@dataclass(frozen=True)
class Regions:
    """What an encoder saw in B images: up to R regions each, or the cells of a grid.

    Attributes:
        features: (B, R, D) floats.
        mask: (B, R) booleans, True where a region is real. Every image has at least one.
    """

    features: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        assert self.features.ndim == 3, self.features.shape
        assert self.mask.shape == self.features.shape[:2], (self.mask.shape, self.features.shape)
        assert self.mask.dtype == torch.bool, self.mask.dtype

    @staticmethod
    def full(features: Tensor) -> Regions:
        """Regions of a grid, where every cell is real."""
        return Regions(features, torch.ones(features.shape[:2], dtype=torch.bool, device=features.device))

    def to(self, device: torch.device | str) -> Regions:
        """Move to a device, as float32."""
        # In this order: stored features are float16, half as much to move.
        return Regions(self.features.to(device).to(torch.float32), self.mask.to(device))

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: slice | Tensor) -> Regions:
        return Regions(self.features[rows], self.mask[rows])
