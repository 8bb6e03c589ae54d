"""An encoder as an ONNX graph."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from distilcap.encoders.base import Encoder
from distilcap.tracing import EXAMPLES, to_onnx

__all__ = ["EncoderGraph", "export_encoder", "fold_batch_norm", "foldable_encoder"]


class EncoderGraph(nn.Module):
    """Pixels (B, 3, S, S) to features (B, R, D) and mask (B, R)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        regions = self.encoder(pixels)
        return regions.features, regions.mask


class _Clip(nn.Module):
    """ReLU6 without in-place operators, which traces in a third of the time."""

    def forward(self, values: Tensor) -> Tensor:
        return values.clamp(0, 6)


def fold_batch_norm(module: nn.Module) -> None:
    """Fold each batch normalisation into the convolution defined just before it, in place.

    Half as many nodes to trace. Definition order is call order in most networks; compare the outputs.
    """
    before = ""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and before:
            fused = fuse_conv_bn_eval(getattr(module, before), child)
            setattr(module, before, fused)
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.ReLU6):
            setattr(module, name, _Clip())
        else:
            fold_batch_norm(child)
        before = name if isinstance(child, nn.Conv2d) else ""


def foldable_encoder(encoder: Encoder) -> nn.Module:
    """The encoder as a graph, with batch normalisation folded into convolutions where that is right."""
    network = EncoderGraph(encoder).eval()
    folded = copy.deepcopy(network)
    fold_batch_norm(folded)
    size = encoder.preprocessing.size
    pixels = torch.randn(1, 3, size, size)
    with torch.no_grad():
        expected, features = network(pixels)[0], folded(pixels)[0]
    # A network that calls its layers in another order stays as it is.
    same = torch.allclose(features, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    return folded if same else network


def export_encoder(encoder: Encoder) -> Any:
    """`pixels` (B, 3, S, S) to `features` (B, R, D) and `mask` (B, R), as an `onnx.ModelProto`."""
    size = encoder.preprocessing.size
    pixels = torch.randn(EXAMPLES[0], 3, size, size)
    return to_onnx(foldable_encoder(encoder), (pixels,), ["pixels"], ["features", "mask"])
