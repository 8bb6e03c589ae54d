"""What an encoder is to other packages: pixels in, `Regions` out, and a recipe that names it."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from distilcap.encoders.boxes import area_pool
from distilcap.errors import ConfigError
from distilcap.runtime.pixels import Preprocessing
from distilcap.shapes import Regions

__all__ = ["Encoder", "GridEncoder", "Preprocessing", "freeze_batch_norm"]


class Encoder(Protocol):
    """Sees pictures; every encoder of this package is also an `nn.Module`.

    Attributes:
        name: as `create_encoder` takes it.
        weights: SHA-256 of the weights, or "random" and what is drawn.
        dim: features of a region (D).
        regions: most regions of an image (R).
        preprocessing: how a picture becomes `pixels`.
    """

    name: str
    weights: str
    dim: int
    regions: int
    preprocessing: Preprocessing

    def recipe(self) -> dict[str, Any]:
        """JSON that tells these features from all others: name, weights' SHA-256, preprocessing, form."""

    def __call__(self, pixels: Tensor) -> Regions:
        """(B, 3, S, S) normalised pixels to (B, R, D)."""


class GridEncoder(nn.Module):
    """The cells of a backbone's feature map as regions, row by row.

    Args:
        backbone: (B, 3, S, S) to (B, D, h, w).
        name: as `create_encoder` takes it.
        weights: SHA-256 of the weights.
        preprocessing: of the pictures.
        form: which feature map of the backbone, as `create_encoder` takes it.
        regions: pool the map to so many cells, a square number; None leaves it as it is.

    Raises:
        ConfigError: `regions` is not a square number.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        name: str,
        weights: str,
        preprocessing: Preprocessing,
        form: str = "grid",
        regions: int | None = None,
    ) -> None:
        super().__init__()
        if regions is not None and (regions < 1 or math.isqrt(regions) ** 2 != regions):
            raise ConfigError(f"`regions` of a grid must be a square number, such as 49, but is {regions}.")
        self.backbone = backbone
        self.name, self.weights, self.form = name, weights, form
        self.preprocessing = preprocessing
        self.side = None if regions is None else math.isqrt(regions)
        self.eval()
        with torch.no_grad():
            pixels = torch.zeros(1, 3, preprocessing.size, preprocessing.size)
            features: Tensor = backbone(pixels)
        if features.ndim != 4 or not features.numel():
            raise ConfigError(
                f"The encoder {name}: its backbone must turn pixels {tuple(pixels.shape)} into a feature map "
                f"(B, D, h, w), but gives {tuple(features.shape)}."
            )
        self.regions = regions or features.shape[2] * features.shape[3]
        self.dim = features.shape[1]

    def recipe(self) -> dict[str, Any]:
        """JSON that tells these features from all others."""
        return {
            "encoder": self.name,
            "weights": self.weights,
            "form": self.form,
            "regions": self.regions,
            "dim": self.dim,
            "preprocessing": self.preprocessing.to_json(),
        }

    def forward(self, pixels: Tensor) -> Regions:
        """(B, 3, S, S) to (B, R, D), every region real."""
        return self.regions_from(self.backbone(pixels))

    def regions_from(self, features: Tensor) -> Regions:
        """The backbone's map (B, D', h, w) to (B, R, D)."""
        if self.side is not None:
            features = area_pool(features, self.side)
        return Regions.full(features.flatten(2).transpose(1, 2))


def freeze_batch_norm(module: nn.Module) -> None:
    """Keep batch normalisation at its running statistics, and its scale and shift untrained.

    To be called after every `module.train()` when an encoder is tuned: with few images a batch, the
    batch's statistics are worse than those of the pre-training.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
            for parameter in part.parameters(recurse=False):
                parameter.requires_grad_(False)
