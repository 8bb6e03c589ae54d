"""Recipes of features, and which program runs an encoder; needs no PyTorch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from distilcap.runtime.pixels import Preprocessing

__all__ = ["ENGINES", "TORCH", "default_engine", "installed_engines", "recipe_by", "without_engine"]

TORCH = "torch"
ENGINES = (TORCH, "onnxruntime", "openvino")
"""What runs a frozen encoder; a recipe without `engine` is PyTorch's."""


def default_engine(device: str = "cpu") -> str:
    """ONNX Runtime on a CPU, where it is installed; else PyTorch."""
    needed = ("onnx", "onnxscript", "onnxruntime")
    installed = all(importlib.util.find_spec(package) is not None for package in needed)
    return "onnxruntime" if device == "cpu" and installed else TORCH


def installed_engines() -> list[str]:
    """Those that can run here."""
    return [engine for engine in ENGINES if importlib.util.find_spec(engine) is not None]


def recipe_by(recipe: Mapping[str, Any], engine: str, decoding: str) -> dict[str, Any]:
    """The recipe of the same encoder run by an engine, on pictures decoded so (see `Preprocessing`)."""
    content = without_engine(recipe)
    if "preprocessing" in content:  # a plugin's encoder may prepare pictures in its own way
        pictures = replace(Preprocessing.from_json(content["preprocessing"]), decoding=decoding)
        content["preprocessing"] = pictures.to_json()
    return content if engine == TORCH else content | {"engine": engine}


def without_engine(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What features are, whoever computed them: engines agree to `engines.TOLERANCE`."""
    return {name: value for name, value in recipe.items() if name != "engine"}
