"""Any detector of the package effdet as an encoder."""

from __future__ import annotations

import difflib
from pathlib import Path

from distilcap.encoders.base import Encoder
from distilcap.encoders.detector import (
    DETECTOR_FORMS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    DetectorEncoder,
    used_parts,
)
from distilcap.encoders.families import EncoderFamily, register_encoder
from distilcap.encoders.third_party import import_effdet
from distilcap.encoders.weights import fetch_weights, load_weights
from distilcap.errors import ConfigError, MissingError
from distilcap.runtime.pixels import Preprocessing

__all__: list[str] = []


def _make(name: str, size: int | None, weights: Path | str | None, form: str, regions: int | None) -> Encoder:
    effdet, model = import_effdet(), name.removeprefix("effdet:")
    known = list(effdet.config.model_config.efficientdet_model_param_dict)
    if model not in known:
        near = difflib.get_close_matches(model, known, 3)
        raise ConfigError(
            f'effdet has no model "{model}".' + (f" Did you mean {' or '.join(near)}?" if near else "")
        )
    config = effdet.get_efficientdet_config(model)
    size = size or config.image_size[0]
    config.image_size = (size, size)  # before building: its pyramid has fixed sizes
    network = effdet.EfficientDet(config, pretrained_backbone=False)
    if weights is None:
        if not config.url:
            raise MissingError(f"`{name}` has no published weights: give a file by `weights`.")
        weights = fetch_weights(name, config.url)
    mean, std = tuple(config.get("mean", IMAGENET_MEAN)), tuple(config.get("std", IMAGENET_STD))
    return DetectorEncoder(
        network,
        name=name,
        weights=load_weights(network, weights),
        preprocessing=Preprocessing(size, mean, std, filter="bilinear"),
        form=form,
        regions=regions,
        anchors={
            "scale": config.anchor_scale,
            "ratios": [tuple(ratio) for ratio in config.aspect_ratios],
            "octaves": config.num_scales,
        },
    )


register_encoder(EncoderFamily(name="effdet:", make=_make, forms=DETECTOR_FORMS, used=used_parts))
