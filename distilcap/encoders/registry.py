"""Encoders by name, and saving a trained encoder."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distilcap.encoders.base import Encoder, GridEncoder
from distilcap.encoders.families import encoder_families
from distilcap.encoders.weights import load_into
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.files import sha256_of
from distilcap.runtime.limits import MAX_DIM, MAX_SIZE
from distilcap.runtime.pixels import Preprocessing
from distilcap.tensors import load_tensors, save_tensors

__all__ = ["create_encoder", "save_encoder"]
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
        name: one of `encoder_families`, such as "efficientnet-lite0", "timm:" and any of timm's
            architectures, or "effdet:" and any of effdet's; or the path of a file that `save_encoder` wrote,
            which brings its own size, weights, form and regions.
        size: side of the input in pixels; None takes the network's own.
        weights: a file of weights, or None for the published weights; "random" for random weights.
        form: of EfficientNet-Lite "grid" (the 1280 channels before pooling; the default) or "stage" (the
            last stage's, 320 in Lite0); of timm's "grid"; of detectors one of `DETECTOR_FORMS` ("regions").
        regions: most regions of an image; of a grid its cells, a square number. None takes the encoder's own.
        decoding: of the pictures, see `Preprocessing`. None takes "whole", or a saved encoder's own.

    Raises:
        ConfigError: an unknown name or form, an impossible size or number of regions, or another than a saved
            encoder's own.
        MissingError: the weights or a package are not there; the message says where to get them.
        DataError: the file does not hold weights of this network.
    """
    # Fresh weights are drawn before a file's are read: always the same, and no other draw changes.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if name.endswith(".safetensors"):
            encoder = _saved(Path(name))
            _check_beside(encoder, name, size, weights, form, regions)
        else:
            encoder = _named(name, size, weights, form, regions)
    if decoding is not None:
        encoder.preprocessing = dataclasses.replace(encoder.preprocessing, decoding=decoding)
    return encoder


def _named(
    name: str, size: int | None, weights: Path | str | None, form: str | None, regions: int | None
) -> Encoder:
    if size is not None and not 32 <= size <= MAX_SIZE:
        raise ConfigError(f"`size` must be 32 to {MAX_SIZE} pixels, but is {size}.")
    families = encoder_families()
    family = next((family for family in families.values() if family.covers(name)), None)
    if family is None:
        named = [known for known in families if not known.endswith(":")]
        more = [f"{known}NAME" for known in families if known.endswith(":")]
        near = difflib.get_close_matches(name, named, 1)
        raise ConfigError(
            f"`encoder` must be one of {', '.join([*named, *more])} or a .safetensors file, "
            f'but is "{name}"; `distilcap --plugin MODULE` brings others.'
            + (f" Did you mean {near[0]}?" if near else "")
        )
    if form is not None and form not in family.forms:
        known = " or ".join(f'"{choice}"' for choice in family.forms)
        raise ConfigError(f'`form` of {name} must be {known}, but is "{form}".')
    return family.make(name, size, weights, form or family.forms[0], regions)


def save_encoder(encoder: Encoder, path: Path) -> None:
    """Write a trained encoder to one .safetensors file, whose path `create_encoder` takes as a name."""
    content = encoder.recipe() | {"pooled": not isinstance(encoder, GridEncoder) or encoder.side is not None}
    assert isinstance(encoder, nn.Module)
    save_tensors(path, encoder.state_dict(), {_METADATA: content})


def _described(content: Any) -> tuple[Encoder, Preprocessing]:
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
    return encoder, preprocessing


def _saved(path: Path) -> Encoder:
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
    assert isinstance(encoder, nn.Module)
    load_into(encoder, weights, path)
    encoder.preprocessing = preprocessing
    encoder.weights = sha256_of(path)
    return encoder


def _check_beside(
    encoder: Encoder,
    name: str,
    size: int | None,
    weights: Path | str | None,
    form: str | None,
    regions: int | None,
) -> None:
    """Make sure that what was asked for beside a saved encoder is what it has."""
    own = {
        "size": (size, encoder.preprocessing.size),
        "weights": (weights, name),
        # The command line's "grid" may not have been asked for.
        "form": (None if form == "grid" else form, encoder.recipe().get("form")),
        "regions": (regions, encoder.regions),
    }
    for option, (asked, has) in own.items():
        if asked is not None and str(asked) != str(has):
            raise ConfigError(
                f"{name}: a saved encoder brings its own `{option}` ({has}), but {asked} is asked for; leave "
                "that out, or give the network by name."
            )
