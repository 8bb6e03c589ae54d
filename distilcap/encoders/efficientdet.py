"""EfficientDet-D0 in plain PyTorch, with the parameter names of `effdet`, whose checkpoints it reads.

Tan, Pang & Le 2020, EfficientDet (arXiv 1911.09070): an EfficientNet-B0, a bidirectional feature pyramid
(BiFPN, section 3) of 64 channels on levels P3 to P7 (strides 8 to 128), and shared class and box heads.
Plain, because exporters and machines without timm, effdet and torchvision can read it; tests hold it equal
to effdet's `tf_efficientdet_d0`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilcap.encoders.base import Encoder
from distilcap.encoders.detector import (
    DETECTOR_FORMS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    DetectorEncoder,
    used_parts,
)
from distilcap.encoders.efficientnet import EFFICIENTNETS, EfficientNet
from distilcap.encoders.families import EncoderFamily, register_encoder
from distilcap.encoders.weights import cached_weights, fetch_weights, load_weights
from distilcap.runtime.pixels import Preprocessing

__all__ = ["D0", "EfficientDet", "EfficientDetShape"]

D0_URL = (
    "https://github.com/rwightman/efficientdet-pytorch/releases/download/v0.1/"
    "tf_efficientdet_d0_34-f153e0cf.pth"
)

_LEVELS = 5  # P3 to P7


@dataclass(frozen=True)
class EfficientDetShape:
    """Sizes of table 1 and section 4.1: channels and layers of the BiFPN, layers of the heads, classes."""

    channels: int = 64
    cells: int = 3
    head_layers: int = 3
    classes: int = 90
    anchors: int = 9  # 3 scales x 3 aspect ratios


D0 = EfficientDetShape()


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _halve(features: Tensor) -> Tensor:
    """3 x 3 max pooling of stride 2 with "SAME" padding: (B, C, h, w) to (B, C, ceil(h / 2), ceil(w / 2)).

    An even side needs padding on one end only, which `ceil_mode` gives: no -inf enters the graph, as it
    would break the calibration of 8-bit exports.
    """
    return F.max_pool2d(features, 3, 2, (features.shape[2] % 2, features.shape[3] % 2), ceil_mode=True)


def _resize(features: Tensor, like: Tensor) -> Tensor:
    """Bring a map to the size of its neighbouring level: nearest neighbour up, max pooling down."""
    if features.shape[2] > like.shape[2]:
        return _halve(features)
    if features.shape[2] < like.shape[2]:
        return F.interpolate(features, size=like.shape[-2:], mode="nearest")
    return features


class SeparableConv(nn.Module):
    """Depthwise 3 x 3, then pointwise convolution, then, if `norm`, batch normalisation."""

    def __init__(self, inputs: int, outputs: int, norm: bool = False) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1)
        self.bn = _norm(outputs) if norm else nn.Identity()

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h, w)."""
        output: Tensor = self.bn(self.conv_pw(self.conv_dw(input)))
        return output


class Lateral(nn.Module):
    """Brings a map to the BiFPN's channels: 1 x 1 convolution and batch normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ModuleDict({"conv": nn.Conv2d(inputs, outputs, 1), "bn": _norm(outputs)})

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h, w)."""
        output: Tensor = self.conv["bn"](self.conv["conv"](input))
        return output


class Fusion(nn.Module):
    """Fast normalised fusion (section 3.3): sum of w_i I_i / (0.0001 + sum of w_j), with w = relu(weight).

    Args:
        inputs: channels of each input node.
        outputs: channels of the sum; an input of others gets a lateral convolution.
    """

    def __init__(self, inputs: dict[int, int], outputs: int) -> None:
        super().__init__()
        self.edge_weights = nn.Parameter(torch.ones(len(inputs)))
        self.resample = nn.ModuleDict(
            {
                str(node): Lateral(channels, outputs)
                for node, channels in inputs.items()
                if channels != outputs
            }
        )

    def forward(self, maps: dict[int, Tensor]) -> Tensor:
        """Maps (B, C, h, w) by node, the first of which has the size of the sum."""
        weights = F.relu(self.edge_weights)
        weights = weights / (weights.sum() + 1e-4)
        like = next(iter(maps.values()))
        terms = []
        for weight, (node, features) in zip(weights, maps.items(), strict=True):
            if str(node) in self.resample:
                features = self.resample[str(node)](features)
            terms.append(_resize(features, like) * weight)
        return torch.stack(terms).sum(0)


class Node(nn.Module):
    """A node of a BiFPN layer: fuse, activate, convolve."""

    def __init__(self, inputs: dict[int, int], outputs: int) -> None:
        super().__init__()
        self.combine = Fusion(inputs, outputs)
        self.after_combine = nn.ModuleDict({"conv": SeparableConv(outputs, outputs, norm=True)})

    def forward(self, maps: dict[int, Tensor]) -> Tensor:
        """Maps (B, C, h, w) by node, the first of which has the size of the result."""
        output: Tensor = self.after_combine["conv"](F.silu(self.combine(maps)))
        return output


class BiFpnLayer(nn.Module):
    """A BiFPN layer (figure 2d): nodes 0 to 4 are its inputs P3 to P7; `inputs` gives their channels."""

    # Inputs of the nodes 5 to 12: top-down P6, P5, P4, P3, then bottom-up P4, P5, P6, P7.
    fusions = ((3, 4), (2, 5), (1, 6), (0, 7), (1, 7, 8), (2, 6, 9), (3, 5, 10), (4, 11))

    def __init__(self, channels: int, inputs: tuple[int, ...]) -> None:
        super().__init__()
        of_node = (*inputs, *[channels] * len(self.fusions))
        self.fnode = nn.ModuleList(
            Node({node: of_node[node] for node in nodes}, channels) for nodes in self.fusions
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Five maps, P3 first, to five of the BiFPN's channels."""
        maps = list(maps)
        for fuse, nodes in zip(self.fnode, self.fusions, strict=True):
            maps.append(fuse({node: maps[node] for node in nodes}))
        return maps[-_LEVELS:]


class BiFpn(nn.Module):
    """P3 to P5 of the backbone to P3 to P7."""

    def __init__(self, shape: EfficientDetShape, inputs: tuple[int, int, int]) -> None:
        super().__init__()
        channels = shape.channels
        self.resample = nn.ModuleDict({"3": Lateral(inputs[2], channels)})
        first = (*inputs, channels, channels)
        self.cell = nn.ModuleList(
            BiFpnLayer(channels, first if number == 0 else (channels,) * _LEVELS)
            for number in range(shape.cells)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Three maps (B, C, h, w), P3 first, to five."""
        sixth = _halve(self.resample["3"](maps[-1]))
        maps = [*maps, sixth, _halve(sixth)]
        for cell in self.cell:
            maps = cell(maps)
        return maps


class Head(nn.Module):
    """Convolutions shared by all levels; each level has its own batch normalisation."""

    def __init__(self, channels: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.conv_rep = nn.ModuleList(SeparableConv(channels, channels) for _ in range(layers))
        self.bn_rep = nn.ModuleList(
            nn.ModuleList(nn.Sequential(OrderedDict(bn=_norm(channels))) for _ in range(_LEVELS))
            for _ in range(layers)
        )
        self.predict = SeparableConv(channels, outputs)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Five maps (B, C, h, w) to five (B, outputs, h, w)."""
        outputs = []
        for level, features in enumerate(maps):
            for convolution, norms in zip(self.conv_rep, self.bn_rep, strict=True):
                features = F.silu(cast(nn.ModuleList, norms)[level](convolution(features)))
            outputs.append(self.predict(features))
        return outputs


class Pyramid(EfficientNet):
    """An EfficientNet that gives its maps at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__(EFFICIENTNETS["efficientnet-b0"], head=False)
        self.channels = (40, 112, 320)

    def forward(self, pixels: Tensor) -> list[Tensor]:  # type: ignore[override]
        """(B, 3, S, S) to three maps (B, C, h, w)."""
        maps = self.stages(pixels)
        return [maps[2], maps[4], maps[6]]


class EfficientDet(nn.Module):
    """The detector; its parts are called as in effdet: `backbone`, `fpn`, `class_net`, `box_net`."""

    def __init__(self, shape: EfficientDetShape = D0) -> None:
        super().__init__()
        self.shape = shape
        self.backbone = Pyramid()
        self.fpn = BiFpn(shape, self.backbone.channels)
        self.class_net = Head(shape.channels, shape.head_layers, shape.anchors * shape.classes)
        self.box_net = Head(shape.channels, shape.head_layers, shape.anchors * 4)
        # Detectors begin by saying "no object" everywhere (Lin et al. 2017, Focal Loss, section 3.3).
        bias = self.class_net.predict.conv_pw.bias
        assert bias is not None
        nn.init.constant_(bias, -4.6)

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(B, 3, S, S) to class logits (B, A x C, h, w) and box offsets (B, A x 4, h, w) of each level."""
        maps: list[Tensor] = self.fpn(self.backbone(pixels))
        return self.class_net(maps), self.box_net(maps)


def _make(name: str, size: int | None, weights: Path | str | None, form: str, regions: int | None) -> Encoder:
    network = EfficientDet()
    checksum = load_weights(network, fetch_weights(name, D0_URL) if weights is None else weights)
    preprocessing = Preprocessing(size or 512, IMAGENET_MEAN, IMAGENET_STD, filter="bilinear")
    return DetectorEncoder(
        network, name=name, weights=checksum, preprocessing=preprocessing, form=form, regions=regions
    )


register_encoder(
    EncoderFamily(
        name="efficientdet-d0",
        make=_make,
        forms=DETECTOR_FORMS,
        source="COCO's objects; effdet's tf_efficientdet_d0_34-f153e0cf, downloaded or by path",
        listed=(("efficientdet-d0", "regions"), ("efficientdet-d0", "grid")),
        used=used_parts,
        here=lambda _: cached_weights(D0_URL).is_file(),
    )
)
