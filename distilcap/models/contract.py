"""What a plugin's captioner must give, tried once on zeros: a wrong shape is named here, not in training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner
from distilcap.shapes import Regions
from distilcap.shown import some

__all__ = ["check_captioner"]

IMAGES, CAPTIONS, REGIONS = 2, 3, 4


@torch.no_grad()
def check_captioner(name: str, captioner: Captioner) -> None:
    """Step once through 3 captions of 2 images; the captioner and random states are left as they were.

    Raises:
        ConfigError: a method gives what the protocol of `Captioner` does not say.
    """
    for attribute in ("vocabulary_size", "region_dim"):
        if not hasattr(captioner, attribute):
            raise _wrong(name, f"`__init__` must set `self.{attribute}`")
    unsaved = captioner.state_dict().keys() - dict(captioner.named_parameters(remove_duplicate=False)).keys()
    if unsaved:
        raise _wrong(
            name,
            f"parameters alone are saved, but it keeps {some(sorted(unsaved))} as buffers: take a layer "
            "without running numbers (LayerNorm instead of BatchNorm), or register them with "
            "`persistent=False` if `__init__` always makes the same",
        )
    training = captioner.training
    with torch.random.fork_rng(devices=[]):
        captioner.eval()
        _try(name, captioner)
        captioner.train(training)


def _try(name: str, captioner: Captioner) -> None:
    memory = captioner.encode(Regions.full(torch.zeros(IMAGES, REGIONS, captioner.region_dim)))
    _check(name, "`encode` must return a tuple of tensors (B, …)", memory, (IMAGES,))
    state = captioner.initial_state(memory, CAPTIONS)
    _check_state(name, "`initial_state` must return a tuple of float32 tensors (B, K, width)", state)
    if any(bool(tensor.any()) for tensor in state):
        raise _wrong(name, "`initial_state` must return zeros")
    result: Any = captioner.step(torch.ones(IMAGES, CAPTIONS, dtype=torch.long), state, memory)
    if not isinstance(result, tuple) or len(result) != 2:
        raise _wrong(name, f"`step` must return the logits and the next state, but returns {_shown(result)}")
    logits, after = result
    shape = (IMAGES, CAPTIONS, captioner.vocabulary_size)
    if not isinstance(logits, Tensor) or logits.shape != shape:
        raise _wrong(name, f"`step` must return logits (B, K, V), here {shape}, but returns {_shown(logits)}")
    _check_state(name, "`step` must return a state like the one it was given", after)
    if [tensor.shape for tensor in after] != [tensor.shape for tensor in state]:
        raise _wrong(name, f"`step` must return a state {_shown(state)}, but returns {_shown(after)}")


def _check(name: str, rule: str, tensors: Any, leading: tuple[int, ...]) -> None:
    fits = isinstance(tensors, tuple) and all(
        isinstance(tensor, Tensor) and tensor.shape[: len(leading)] == leading for tensor in tensors
    )
    if not fits or not tensors:
        raise _wrong(name, f"{rule}, here {_numbers(leading, '…')}, but returns {_shown(tensors)}")


def _check_state(name: str, rule: str, state: Any) -> None:
    """A bundle begins with zeros of one width for each tensor, in float32."""
    leading = (IMAGES, CAPTIONS)
    _check(name, rule, state, leading)
    for tensor in state:
        if tensor.ndim != 3 or tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            shapes = _numbers(leading, "width")
            raise _wrong(name, f"{rule}, here {shapes}, but returns {_shown(tensor)} of {kind}")


def _shown(value: Any) -> str:
    """Shapes for people: "(2, 3, 64)" of a tensor, "a tuple of …" of a tuple."""
    if isinstance(value, Tensor):
        return _numbers(tuple(value.shape))
    if isinstance(value, tuple):
        return f"a tuple of {', '.join(map(_shown, value)) or 'nothing'}"
    return f"a {type(value).__name__}"


def _numbers(shape: tuple[int, ...], *more: str) -> str:
    return f"({', '.join([*map(str, shape), *more])})"


def _wrong(name: str, what: str) -> ConfigError:
    return ConfigError(f"The captioner family {name}: {what}.")
