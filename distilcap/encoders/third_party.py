"""The only module that imports timm and effdet, and fixes what breaks them.

Both import torchvision. Where its compiled part does not fit the PyTorch beside it (a CPU build of one and a
registry build of the other), the import dies with "operator torchvision::nms does not exist", although
nothing here calls that operator: declaring it beforehand is enough.
"""

from __future__ import annotations

import importlib
import re
import warnings
from types import ModuleType

import torch

from distilcap.errors import MissingError

__all__ = ["import_effdet", "import_timm"]

_declared: list[torch.library.Library] = []  # a library's declarations live as long as it does


def import_timm() -> ModuleType:
    """Import timm.

    Raises:
        MissingError: it is not installed.
    """
    return _import("timm", "timm")


def import_effdet() -> ModuleType:
    """Import effdet.

    Raises:
        MissingError: it is not installed.
    """
    return _import("effdet", "effdet")


def _import(module: str, package: str) -> ModuleType:
    _fix_torchvision()
    try:
        with warnings.catch_warnings():  # theirs are about themselves, and tests make errors of ours
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingError(f"This encoder needs `{error.name}`: `pip install {package}`.") from None


def _fix_torchvision() -> None:
    """Import torchvision, declaring each operator it misses, one after the other."""
    for _ in range(16):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module("torchvision")
        except ModuleNotFoundError:
            return
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            declaration = f"{missing[1]}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(declaration)  # type: ignore[no-untyped-call]
            _declared.append(library)
        else:
            return
