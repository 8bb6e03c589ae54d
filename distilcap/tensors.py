"""Tensors on disk as safetensors files that hold their own checksum; loading never runs code.

The checksum is kept in the file's metadata, of which there is a single key: safetensors writes several in any
order, and equal tensors must give equal files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distilcap.errors import DataError
from distilcap.files import atomic_path, parse_json
from distilcap.integrity import CHANGED, canonical_json
from distilcap.shown import first_line

__all__ = ["digest_of", "load_tensors", "refuse_non_finite", "save_tensors"]

_KEY, _FORMAT = "distilcap.tensors", "distilcap tensors 1"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], content: Mapping[str, Any] | None = None) -> None:
    """Write tensors and a JSON object beside them, whole or not at all.

    Args:
        tensors: by name; no two may share memory.

    Raises:
        DataError: a tensor holds NaN or infinity.
    """
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    refuse_non_finite(path, ready, "not written")
    content = dict(content or {})
    digest = digest_of(ready, content)
    with atomic_path(path) as scratch:
        marked = {"format": _FORMAT, "content": content, "sha256": digest}
        save_file(ready, scratch, {_KEY: json.dumps(marked, ensure_ascii=False, allow_nan=False)})


def load_tensors(
    path: Path, fix: str, older: Iterable[str] | None = ()
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote, on the CPU, once its checksum is verified.

    Args:
        fix: what to do about a damaged file, for the message.
        older: keys of the metadata, each with JSON, that files of older versions have, which hold no
            checksum; None is for files by anybody.

    Raises:
        DataError: missing or damaged, or a tensor holds NaN or infinity.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; {fix}.") from None
    except (SafetensorError, OSError, RuntimeError) as error:
        raise DataError(f"{path}: damaged, or not a file of tensors ({first_line(error)}); {fix}.") from None
    if _KEY in metadata:
        content = _checked(path, tensors, metadata, fix)
    elif older is None:
        content = {}
    elif metadata.keys() <= set(older):
        content = {key: parse_json(value, path) for key, value in metadata.items()}
    else:
        raise DataError(f"{path}: damaged, or not written by distilcap; {fix}.")
    if older is not None:  # anybody's file may hold tensors that nobody uses
        refuse_non_finite(path, tensors, fix)
    return tensors, content


def refuse_non_finite(path: Path, tensors: Mapping[str, Tensor], then: str) -> None:
    """Let no NaN or infinity pass.

    Raises:
        DataError: names the file, the tensor, and what `then`.
    """
    for name, tensor in tensors.items():
        # A sum passes NaN and infinity on, in a tenth of the time; it may itself overflow.
        finite = not tensor.is_floating_point() or math.isfinite(tensor.sum())
        if not finite and not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{path}: `{name}` holds NaN or infinity; {then}.")


def _checked(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], fix: str
) -> dict[str, Any]:
    try:
        marked = parse_json(metadata[_KEY], path)
        content: dict[str, Any] = marked["content"]
        right = len(metadata) == 1 and marked["format"] == _FORMAT
        right &= marked["sha256"] == digest_of(tensors, content)
    except (DataError, KeyError, TypeError):
        right = False
    if not right:
        raise DataError(f"{path}: {CHANGED}; {fix}.")
    return content


def digest_of(tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> str:
    """SHA-256 of names, types, shapes and bytes of tensors, on any device, and of the content beside them."""
    digest = hashlib.sha256(canonical_json(content).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(canonical_json([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
