"""The captioner in the box: a bundle that comes with the package, and the weights it was exported from."""

from __future__ import annotations

from pathlib import Path

from distilcap.errors import MissingError

__all__ = ["NAME", "box_bundle", "box_training"]

NAME = "box"
"""What stands for it where a command takes a bundle or a run; `./box` is a folder."""

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


def _found(name: str) -> Path:
    folder = _HERE / name
    if not folder.is_dir():
        raise MissingError(
            f"{folder}: the captioner in the box is not there; install distilcap anew, or name a bundle."
        )
    return folder
