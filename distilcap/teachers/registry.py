"""Teachers that caption photographs: those that plugins register, and models of transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from distilcap.errors import ConfigError
from distilcap.plugins import load_plugins
from distilcap.teachers.shards import PhotoCaptioner

__all__ = ["MAX_TOKENS", "is_registered", "load_teacher", "register_teacher", "teacher_fingerprint"]

MAX_TOKENS = 40
"""Of a caption, in the own tokens of a model of transformers."""

_teachers: dict[str, Callable[[], PhotoCaptioner]] = {}


def register_teacher(name: str, load: Callable[[], PhotoCaptioner]) -> None:
    """Make a teacher known: `--teacher-model NAME` of `distill`, and `--model NAME` of `generate`.

    Args:
        load: gives what captions photographs, when it is needed; its own `name` must be another for other
            weights, since labels in a store are known by it.

    Raises:
        ConfigError: its name is taken, or `load` cannot be called.
    """
    if not callable(load):
        raise ConfigError(f"The teacher {name} cannot be registered: register its class, not an object.")
    if name in _teachers:
        raise ConfigError(f"The teacher {name} cannot be registered: there is one of that name.")
    _teachers[name] = load


def is_registered(name: str) -> bool:
    """Whether a plugin has registered a teacher of this name."""
    load_plugins()
    return name in _teachers


def load_teacher(name: str, max_tokens: int = MAX_TOKENS) -> PhotoCaptioner:
    """A registered teacher; or else a model of transformers, by its folder or its name on the model hub.

    Raises:
        MissingError: the package is not installed, or the model cannot be had.
        DataError: the folder holds no model.
    """
    if is_registered(name):
        return _made(name)
    from distilcap.teachers.pretrained import PretrainedTeacher, find_model

    return replace(PretrainedTeacher.load(find_model(name)), max_tokens=max_tokens)


def _made(name: str) -> PhotoCaptioner:
    teacher = _teachers[name]()
    for attribute in ("name", "read", "label"):
        if not hasattr(teacher, attribute):
            raise ConfigError(f"The teacher {name} has no `{attribute}`.")
    return teacher


def teacher_fingerprint(name: str) -> str:
    """What tells the captions of a teacher from those of others: a hash of all that decides what it says.

    Raises:
        MissingError, DataError: see `load_teacher`.
    """
    if is_registered(name):
        return hashlib.sha256(f"{name}: {_made(name).name}".encode()).hexdigest()
    from distilcap.teachers import pretrained

    return pretrained.model_fingerprint(pretrained.find_model(name))
