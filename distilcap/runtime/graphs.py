"""A bundle's graphs in ONNX Runtime: loaded, run, and held against what they should take and give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilcap.errors import BundleError, MissingError
from distilcap.shown import first_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["Shape", "check_names", "load_session", "run_graph"]

Shape: TypeAlias = tuple[type[np.generic] | None, tuple[int | EllipsisType | None, ...]]
"""The type and the dimensions of a tensor: None is any, and `...` at the end any more of them."""


def load_session(
    path: Path, threads: int, content: bytes | None = None, weights: Mapping[str, bytes] | None = None
) -> InferenceSession:
    """Load a graph for the CPU.

    Args:
        content: of the file at `path`, which is not opened then.
        weights: content of the files that the graph may name, by name; it opens none then.

    Raises:
        MissingError: ONNX Runtime is not installed.
        BundleError: it cannot load the graph.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingError("Bundles need ONNX Runtime: `pip install 'distilcap[runtime]'`.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what fails is raised, and need not be printed too
    # Each graph has threads of its own: those that spin after their work would hold up the next graph's.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights is not None:
        buffers = list(weights.values())
        options.add_external_initializers_from_files_in_memory(
            list(weights), buffers, list(map(len, buffers))
        )
    try:
        # "Fallback" would try the same once more, and print that.
        session = onnxruntime.InferenceSession(
            str(path) if content is None else content,
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,
        )
    except Exception as error:  # ONNX Runtime raises classes of its own
        raise BundleError(f"{path}: ONNX Runtime cannot load it ({_reason(error)}).") from None
    session._model_bytes = None  # else the content stays for `set_providers`, which nobody calls
    return session


def check_names(path: Path, session: InferenceSession, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Compare the names of a graph's inputs and outputs with those it should have.

    Raises:
        BundleError: they differ.
    """
    try:
        has = (
            sorted(node.name for node in session.get_inputs()),
            [node.name for node in session.get_outputs()],
        )
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: a name in it is not UTF-8 text (byte {error.start}).") from None
    for kind, expected, names in zip(
        ("inputs", "outputs"), (sorted(inputs), list(outputs)), has, strict=True
    ):
        if names != expected:
            raise BundleError(
                f"{path}: its {kind} must be {', '.join(expected)} as the manifest says, "
                f"but are {_printable(', '.join(names))}; export the bundle anew."
            )


def run_graph(
    path: Path,
    session: InferenceSession,
    inputs: dict[str, Any],
    outputs: Sequence[str],
    expected: Sequence[Shape],
) -> list[NDArray[Any]]:
    """Run a graph; a graph of a stranger may fail, or give anything.

    Raises:
        BundleError: it cannot be run on these inputs, or an output has another type or shape than expected.
    """
    try:
        results: list[Any] = session.run(list(outputs), inputs)
    except Exception as error:  # ONNX Runtime raises classes of its own
        raise BundleError(f"{path}: ONNX Runtime cannot run it ({_reason(error)}).") from None
    for name, result, shape in zip(outputs, results, expected, strict=True):
        if not _fits(result, shape):
            form = f"{result.dtype} {result.shape}" if isinstance(result, np.ndarray) else "no tensor"
            raise BundleError(
                f"{path}: its output `{name}` is {form}, not what the manifest says; export the bundle anew."
            )
    return results


def _fits(result: Any, shape: Shape) -> bool:
    dtype, dimensions = shape
    if not isinstance(result, np.ndarray) or (dtype is not None and result.dtype != dtype):
        return False
    if dimensions[-1] is ...:
        dimensions, given = dimensions[:-1], result.shape[: len(dimensions) - 1]
    else:
        given = result.shape
    return len(given) == len(dimensions) and all(
        size is None or size == actual for size, actual in zip(dimensions, given, strict=True)
    )


def _reason(error: Exception) -> str:
    """The first line of an error of ONNX Runtime, which can quote the graph."""
    return _printable(first_line(error))


def _printable(text: str) -> str:
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 300 else f"{text[:300]} …"
