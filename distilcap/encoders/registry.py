"""Encoders by name."""

from __future__ import annotations

from pathlib import Path

from distilcap.encoders.base import Encoder, GridEncoder
from distilcap.encoders.efficientnet import EFFICIENTNETS, EfficientNet
from distilcap.encoders.pixels import Preprocessing
from distilcap.encoders.weights import load_into, package_weights, read_weights, to_timm_names
from distilcap.errors import ConfigError
from distilcap.files import sha256_of

__all__ = ["create_encoder"]


def create_encoder(
    name: str, *, size: int | None = None, weights: Path | str | None = None, form: str = "grid"
) -> Encoder:
    """Make an encoder, in eval mode, on the CPU.

    Args:
        name: "efficientnet-lite0", "-lite1" or "-lite2".
        size: side of the input in pixels; None takes the network's own.
        weights: a file; None takes the published weights; "random" (for tests) must be said.
        form: "grid", the 1280 channels before pooling; "stage", the last stage's (320 in Lite0).

    Raises:
        ConfigError: an unknown name or form.
        MissingError: the weights are not there; the message says where to get them.
    """
    if name not in EFFICIENTNETS:
        raise ConfigError(f'`name` must be one of {", ".join(EFFICIENTNETS)}, but is "{name}".')
    if form not in ("grid", "stage"):
        raise ConfigError(f'`form` of {name} must be "grid" or "stage", but is "{form}".')
    shape = EFFICIENTNETS[name]
    network = EfficientNet(shape, head=form == "grid")
    checksum = "random"
    if weights != "random":
        path = package_weights(name) if weights is None else Path(weights)
        state = read_weights(path)
        if "_conv_stem.weight" in state:
            state = to_timm_names(state, [len(list(stage.children())) for stage in network.blocks])
        load_into(network, state, path)
        checksum = sha256_of(path)
    preprocessing = Preprocessing(size or shape.size)
    return GridEncoder(network, name=name, weights=checksum, preprocessing=preprocessing, form=form)
