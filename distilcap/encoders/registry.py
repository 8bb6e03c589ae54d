"""Encoders by name, and saving a trained encoder."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distilcap.encoders.base import Encoder, GridEncoder
from distilcap.encoders.detector import DETECTOR_FORMS, DetectorEncoder
from distilcap.encoders.efficientdet import EfficientDet
from distilcap.encoders.efficientnet import EFFICIENTNETS, EfficientNet
from distilcap.encoders.third_party import import_effdet
from distilcap.encoders.timm_backbone import TimmBackbone
from distilcap.encoders.weights import (
    fetch_weights,
    load_into,
    package_weights,
    read_weights,
    state_checksum,
    to_timm_names,
)
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.files import sha256_of
from distilcap.runtime.pixels import Preprocessing
from distilcap.tensors import load_tensors, save_tensors

__all__ = ["ENCODERS", "create_encoder", "save_encoder"]

D0_URL = (
    "https://github.com/rwightman/efficientdet-pytorch/releases/download/v0.1/"
    "tf_efficientdet_d0_34-f153e0cf.pth"
)
MAX_SIZE = 4096  # pixels of a side
MAX_DIM = 65_536  # features of a region
ENCODERS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "efficientdet-d0")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_METADATA = "distilcap.encoder"


def create_encoder(
    name: str,
    *,
    size: int | None = None,
    weights: Path | str | None = None,
    form: str | None = None,
    regions: int | None = None,
    decoding: str | None = None,
) -> Encoder:
    """Make an encoder, in eval mode, on the CPU.

    Args:
        name: one of `ENCODERS`, "timm:" and any of timm's architectures, "effdet:" and any of effdet's, or
            the path of a file that `save_encoder` wrote, which brings its own size, form and regions.
        size: side of the input in pixels; None takes the network's own.
        weights: a file of weights, or None for the published weights; "random" for random weights.
        form: of EfficientNet-Lite "grid" (the 1280 channels before pooling; the default) or "stage" (the
            last stage's, 320 in Lite0); of timm's "grid"; of detectors one of `DETECTOR_FORMS`.
        regions: most regions of an image; of a grid its cells, a square number. None takes the encoder's own.
        decoding: of the pictures, see `Preprocessing`. None takes "whole", or a saved encoder's own.

    Raises:
        ConfigError: an unknown name or form, an impossible size or number of regions.
        MissingError: the weights or a package are not there; the message says where to get them.
        DataError: the file does not hold weights of this network.
    """
    encoder: GridEncoder | DetectorEncoder
    # Fresh weights are drawn before a file's are read: always the same, and no other draw changes.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if name.endswith(".safetensors"):
            encoder = _saved(Path(name))
        else:
            encoder = _named(name, size, weights, form, regions)
    if decoding is not None:
        encoder.preprocessing = dataclasses.replace(encoder.preprocessing, decoding=decoding)
    return encoder


def _named(
    name: str, size: int | None, weights: Path | str | None, form: str | None, regions: int | None
) -> GridEncoder | DetectorEncoder:
    if size is not None and not 32 <= size <= MAX_SIZE:
        raise ConfigError(f"`size` must be 32 to {MAX_SIZE} pixels, but is {size}.")
    if name.startswith("timm:"):
        return _timm(name, size, weights, form or "grid", regions)
    if name == "efficientdet-d0" or name.startswith("effdet:"):
        return _detector(name, size, weights, form or "regions", regions)
    if name in EFFICIENTNETS and name in ENCODERS:
        return _efficientnet(name, size, weights, form or "grid", regions)
    near = difflib.get_close_matches(name, ENCODERS, 1)
    raise ConfigError(
        f"`encoder` must be one of {', '.join(ENCODERS)}, timm:NAME, effdet:NAME or a .safetensors file, "
        f'but is "{name}".' + (f" Did you mean {near[0]}?" if near else "")
    )


def _efficientnet(
    name: str, size: int | None, weights: Path | str | None, form: str, regions: int | None
) -> GridEncoder:
    _check_form(name, form, ("grid", "stage"))
    network = EfficientNet(EFFICIENTNETS[name], head=form == "grid")
    checksum = _load(
        network, package_weights(name) if weights is None else weights, ("classifier.", "conv_head.", "bn2.")
    )
    preprocessing = Preprocessing(size or EFFICIENTNETS[name].size)
    return GridEncoder(
        network, name=name, weights=checksum, preprocessing=preprocessing, form=form, regions=regions
    )


def _timm(
    name: str, size: int | None, weights: Path | str | None, form: str, regions: int | None
) -> GridEncoder:
    _check_form(name, form, ("grid",))
    backbone = TimmBackbone(name.removeprefix("timm:"), size)
    if weights is None:
        if backbone.url is None:
            raise MissingError(f"`{name}` has no published weights: give a file by `weights`.")
        weights = fetch_weights(name, backbone.url, backbone.file)
    checksum = _load(backbone.model, weights, tuple(f"{classifier}." for classifier in backbone.classifiers))
    backbone.prune()
    preprocessing = backbone.preprocessing
    return GridEncoder(
        backbone, name=name, weights=checksum, preprocessing=preprocessing, form=form, regions=regions
    )


def _detector(
    name: str, size: int | None, weights: Path | str | None, form: str, regions: int | None
) -> DetectorEncoder:
    _check_form(name, form, DETECTOR_FORMS)
    network: nn.Module
    anchors: dict[str, Any] = {}
    if name == "efficientdet-d0":
        network, url = EfficientDet(), D0_URL
        preprocessing = Preprocessing(size or 512, _MEAN, _STD, filter="bilinear")
    else:
        network, preprocessing, anchors, url = _effdet(name.removeprefix("effdet:"), size)
    if weights is None:
        if not url:
            raise MissingError(f"`{name}` has no published weights: give a file by `weights`.")
        weights = fetch_weights(name, url)
    checksum = _load(network, weights)
    return DetectorEncoder(
        network,
        name=name,
        weights=checksum,
        preprocessing=preprocessing,
        form=form,
        regions=regions,
        anchors=anchors,
    )


def _effdet(name: str, size: int | None) -> tuple[nn.Module, Preprocessing, dict[str, Any], str]:
    """A detector of effdet with random weights, how it wants pictures, its anchors and its weights' URL."""
    effdet = import_effdet()
    known = list(effdet.config.model_config.efficientdet_model_param_dict)
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        raise ConfigError(
            f'effdet has no model "{name}".' + (f" Did you mean {' or '.join(near)}?" if near else "")
        )
    config = effdet.get_efficientdet_config(name)
    size = size or config.image_size[0]
    config.image_size = (size, size)  # before building: its pyramid has fixed sizes
    network = effdet.EfficientDet(config, pretrained_backbone=False)
    mean, std = tuple(config.get("mean", _MEAN)), tuple(config.get("std", _STD))
    anchors = {
        "scale": config.anchor_scale,
        "ratios": [tuple(ratio) for ratio in config.aspect_ratios],
        "octaves": config.num_scales,
    }
    return network, Preprocessing(size, mean, std, filter="bilinear"), anchors, config.url


def _check_form(name: str, form: str, forms: tuple[str, ...]) -> None:
    if form not in forms:
        known = " or ".join(f'"{choice}"' for choice in forms)
        raise ConfigError(f'`form` of {name} must be {known}, but is "{form}".')


def _load(network: nn.Module, weights: Path | str, optional: tuple[str, ...] = ()) -> str:
    """Load a file's weights unless they shall be random; return their SHA-256."""
    if str(weights) == "random":
        return f"random {state_checksum(network)}"
    path = Path(weights)
    state = read_weights(path)
    if "_conv_stem.weight" in state and isinstance(network, EfficientNet):
        state = to_timm_names(state, network.layers)
    load_into(network, state, path, optional)
    return sha256_of(path)


def save_encoder(encoder: GridEncoder | DetectorEncoder, path: Path) -> None:
    """Write a trained encoder to one .safetensors file, whose path `create_encoder` takes as a name."""
    content = encoder.recipe() | {"pooled": True, "projected": False}
    if isinstance(encoder, GridEncoder):
        projected = isinstance(encoder.projection, nn.Linear)
        content |= {"pooled": encoder.side is not None, "projected": projected}
    save_tensors(path, encoder.state_dict(), {_METADATA: content})


def _described(content: Any) -> tuple[GridEncoder | DetectorEncoder, Preprocessing]:
    """The network that `save_encoder` described, with random weights."""
    preprocessing = Preprocessing.from_json(content["preprocessing"])
    name, dim = str(content["encoder"]), content["dim"]
    if name.endswith(".safetensors") or not 1 <= dim <= MAX_DIM:
        raise ValueError(f"encoder {name!r}, dim {dim!r}")
    encoder = create_encoder(
        name,
        size=preprocessing.size,
        weights="random",
        form=content["form"],
        regions=content["regions"] if content["pooled"] else None,
    )
    assert isinstance(encoder, GridEncoder | DetectorEncoder)
    if isinstance(encoder, GridEncoder) and content["projected"]:
        encoder.project(dim)
    return encoder, preprocessing


def _saved(path: Path) -> GridEncoder | DetectorEncoder:
    if not path.is_file():
        raise MissingError(f"{path}: there is no such file of weights.")
    fix = "give its network by name and this file by `weights`"
    weights, saved = load_tensors(path, f"copy it anew, or {fix}", older=(_METADATA,))
    content = saved.get(_METADATA)
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a saved encoder; {fix}.")
    try:
        encoder, preprocessing = _described(content)
    except (ConfigError, DataError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: its description of the encoder is damaged ({error}).") from None
    load_into(encoder, weights, path)
    encoder.preprocessing = preprocessing
    encoder.weights = sha256_of(path)
    return encoder
