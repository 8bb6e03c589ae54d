"""Any backbone of timm, by name."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from distilcap.encoders.base import Encoder, GridEncoder
from distilcap.encoders.families import EncoderFamily, register_encoder
from distilcap.encoders.third_party import import_timm
from distilcap.encoders.weights import cached_weights, fetch_weights, load_weights
from distilcap.errors import ConfigError, MissingError
from distilcap.runtime.pixels import Preprocessing

__all__ = ["TimmBackbone"]


class TimmBackbone(nn.Module):
    """The last feature map of a timm model.

    Args:
        architecture: timm's name, such as "mobilenetv4_conv_small".
        size: side of the input in pixels; None takes the model's own.

    Attributes:
        model: timm's module, with random weights.
        preprocessing: mean, deviation and filter as timm's weights expect; whole pictures.
        url: of the published weights; None where there are none. file: a name for their copy.

    Raises:
        ConfigError: timm has no such architecture, or cannot give its feature maps.
    """

    def __init__(self, architecture: str, size: int | None = None) -> None:
        super().__init__()
        timm = import_timm()
        if not timm.is_model(architecture):
            near = difflib.get_close_matches(architecture, timm.list_models(), 3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f'timm has no architecture "{architecture}".{hint}')
        config = timm.get_pretrained_cfg(architecture)
        options: dict[str, Any] = {}
        size = size or (config.input_size[-1] if config else 224)
        if config and config.fixed_input_size:
            options["img_size"] = size
        self.model = timm.create_model(architecture, pretrained=False, num_classes=0, **options)
        if not hasattr(self.model, "forward_intermediates"):
            raise ConfigError(
                f"timm cannot give the feature maps of {architecture}; choose another backbone."
            )
        filter = config.interpolation if config and config.interpolation == "bilinear" else "bicubic"
        mean, std = (config.mean, config.std) if config else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.preprocessing = Preprocessing(size, mean, std, filter=filter)
        classifier = config.classifier if config and config.classifier else ()
        self.classifiers: tuple[str, ...] = (
            (classifier,) if isinstance(classifier, str) else tuple(classifier)
        )
        self.url: str | None = None
        self.file: str | None = None
        if config and config.hf_hub_id:
            self.url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
            self.file = config.hf_hub_id.rpartition("/")[2] + ".safetensors"
        elif config and config.url:
            self.url = config.url

    def prune(self) -> None:
        """Drop layers behind the last feature map; call it when the weights are loaded."""
        if hasattr(self.model, "prune_intermediate_layers"):
            self.model.prune_intermediate_layers(1, prune_norm=False, prune_head=True)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, D, h, w)."""
        maps: list[Tensor] = self.model.forward_intermediates(
            pixels, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return maps[-1]


def _make(name: str, size: int | None, weights: Path | str | None, form: str, regions: int | None) -> Encoder:
    backbone = TimmBackbone(name.removeprefix("timm:"), size)
    if weights is None:
        if backbone.url is None:
            raise MissingError(f"`{name}` has no published weights: give a file by `weights`.")
        weights = fetch_weights(name, backbone.url, backbone.file)
    classifiers = tuple(f"{classifier}." for classifier in backbone.classifiers)
    checksum = load_weights(backbone.model, weights, classifiers)
    backbone.prune()
    preprocessing = backbone.preprocessing
    return GridEncoder(
        backbone, name=name, weights=checksum, preprocessing=preprocessing, form=form, regions=regions
    )


def _here(encoder: Encoder) -> bool:
    assert isinstance(encoder, GridEncoder)
    assert isinstance(encoder.backbone, TimmBackbone)
    url = encoder.backbone.url
    return url is not None and cached_weights(url, encoder.backbone.file).is_file()


register_encoder(
    EncoderFamily(
        name="timm:",
        make=_make,
        source="ImageNet; timm's, downloaded or by path",
        listed=(("timm:mobilenetv4_conv_small", "grid"), ("timm:mobilenetv3_small_100", "grid")),
        here=_here,
    )
)
