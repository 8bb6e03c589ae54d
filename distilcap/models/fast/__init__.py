"""The same captioners, faster: by test, they compute what the plain captioners compute.

A reader of the models may skip this package. `accelerate` takes a plain captioner and gives one of the same
parameters, under the same names, whose steps, passes over whole captions and gradients take less time; the
modules here say how, each in its own opening lines. The environment variable DISTILCAP_PLAIN (or `distilcap
--plain`) leaves all of it out.
"""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Mapping
from typing import TypeVar

from torch import nn

from distilcap.models.captioner import Captioner
from distilcap.models.families import families
from distilcap.models.fast.captioner import FastCaptioner
from distilcap.models.fast.dropout import Dropout
from distilcap.models.fast.layers import FastWordEmbedding, FastWordPredictor
from distilcap.models.fast.products import Linear
from distilcap.models.layers import WordEmbedding, WordPredictor

__all__ = ["PLAIN", "accelerate", "plain", "plain_asked_for"]

Module = TypeVar("Module", bound=nn.Module)

PLAIN = "DISTILCAP_PLAIN"
"""The environment variable that asks for plain code everywhere, unless it is empty or 0."""

_FASTER: dict[type[nn.Module], type[nn.Module]] = {
    WordEmbedding: FastWordEmbedding,
    WordPredictor: FastWordPredictor,
    nn.Linear: Linear,
    nn.Dropout: Dropout,
}
"""What all families have."""


def plain_asked_for() -> bool:
    """Whether the environment asks for plain code."""
    return os.environ.get(PLAIN, "") not in ("", "0")


def accelerate(captioner: Captioner) -> Captioner:
    """An equal captioner that is faster, with the same parameters; itself, where there is none."""
    for family in families().values():
        if family.fast:
            module, _, name = family.fast.partition(":")
            fast: type[FastCaptioner] = getattr(importlib.import_module(module), name)
            if type(captioner) is fast.plain:
                return _exchanged(captioner, _classes(fast))
    return captioner


def plain(captioner: Captioner) -> Captioner:
    """The plain captioner that was accelerated, with the same parameters; itself, if none was."""
    fast = type(captioner)
    if not issubclass(fast, FastCaptioner):
        return captioner
    return _exchanged(captioner, {faster: part for part, faster in _classes(fast).items()})


def _classes(fast: type[FastCaptioner]) -> dict[type[nn.Module], type[nn.Module]]:
    """Plain classes and what takes their place in an accelerated captioner."""
    return {**_FASTER, **fast.parts, fast.plain: fast}


def _exchanged(module: Module, classes: Mapping[type[nn.Module], type[nn.Module]]) -> Module:
    """A copy of the tree of modules, without its parameters, in which classes are exchanged.

    A fast class adds methods to its plain class, and no fields.
    """
    if type(module) not in classes:
        return module
    shared = {id(parameter): parameter for parameter in module.parameters()}
    exchanged = copy.deepcopy(module, shared)
    for part in exchanged.modules():
        part.__class__ = classes.get(type(part), type(part))
    return exchanged
