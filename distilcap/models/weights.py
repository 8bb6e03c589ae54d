"""Trained captioners on disk: safetensors and JSON; loading never runs code."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distilcap.errors import ConfigError, DataError
from distilcap.integrity import read_sealed_json, write_sealed_json
from distilcap.models.captioner import Captioner
from distilcap.models.families import CaptionerOptions
from distilcap.models.fast import accelerate, plain_asked_for
from distilcap.models.presets import build_captioner, options_of
from distilcap.shown import first_line
from distilcap.tensors import load_tensors, save_tensors
from distilcap.text.tokenizers import PTB
from distilcap.text.vocabulary import Vocabulary

__all__ = ["TrainedCaptioner", "load_captioner", "megabytes_of", "save_captioner"]

CONFIG, WEIGHTS = "captioner.json", "captioner.safetensors"


@dataclass(frozen=True)
class TrainedCaptioner:
    """A captioner with all that is needed to use it.

    Attributes:
        features: the recipe of the features that it reads (encoder, weights' checksum, preprocessing).
    """

    captioner: Captioner
    architecture: str
    options: CaptionerOptions
    vocabulary: Vocabulary
    features: dict[str, Any]


def save_captioner(folder: Path, trained: TrainedCaptioner) -> None:
    """Write weights and configuration into `folder`; the configuration last, so that it means complete."""
    folder.mkdir(parents=True, exist_ok=True)
    # A tied matrix is one tensor under two names; safetensors wants each once.
    save_tensors(folder / WEIGHTS, dict(trained.captioner.named_parameters()))
    write_sealed_json(
        folder / CONFIG,
        {
            "architecture": trained.architecture,
            "options": dataclasses.asdict(trained.options),
            "region_dim": trained.captioner.region_dim,
            "features": trained.features,
            "words": trained.vocabulary.words,
            "tokenizer": trained.vocabulary.tokenizer,
            "spaced": trained.vocabulary.spaced,
        },
    )


def load_captioner(folder: Path, device: str = "cpu") -> TrainedCaptioner:
    """Read what `save_captioner` wrote, in evaluation mode; accelerated, unless plain code is asked for.

    Raises:
        DataError: missing, damaged or mismatched files, or weights that are not finite.
    """
    fix = "train again or copy it anew"
    config = read_sealed_json(folder / CONFIG, fix)
    try:
        architecture, options = config["architecture"], options_of(config["architecture"], config["options"])
        # Captioners of older versions say nothing of the tokenizer.
        tokenizer, spaced = config.get("tokenizer", PTB), config.get("spaced", True)
        if not isinstance(tokenizer, str) or not isinstance(spaced, bool):
            raise TypeError("`tokenizer` must be text and `spaced` true or false")
        vocabulary = Vocabulary(tuple(config["words"]), tokenizer, spaced)
        features = dict(config["features"])
        sizes = len(vocabulary), config["region_dim"]
        with torch.device("meta"):  # whatever the sizes are, nothing is allocated yet
            expected = dict(build_captioner(architecture, options, *sizes).named_parameters())
    except (AssertionError, ConfigError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{folder / CONFIG}: not a captioner's configuration ({first_line(error)})."
        ) from None
    tensors, _ = load_tensors(folder / WEIGHTS, fix)
    if tensors.keys() != expected.keys():
        raise DataError(f"{folder / WEIGHTS}: its tensors are not those of {architecture}.")
    for name, parameter in expected.items():
        if tensors[name].shape != parameter.shape:
            raise DataError(f"{folder / WEIGHTS}: `{name}` is not of the shape that {CONFIG} says; {fix}.")
    captioner = build_captioner(architecture, options, *sizes)
    with torch.no_grad():
        for name, parameter in captioner.named_parameters():
            parameter.copy_(tensors[name])
    captioner = captioner if plain_asked_for() else accelerate(captioner)
    return TrainedCaptioner(captioner.to(device).eval(), architecture, options, vocabulary, features)


def megabytes_of(captioner: Captioner) -> float:
    """Size of the weights on disk in float32, in megabytes (10^6 bytes)."""
    return captioner.parameter_count() * 4 / 1e6
