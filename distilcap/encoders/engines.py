"""Frozen encoders run by ONNX Runtime or OpenVINO instead of PyTorch: the same features, sooner, on a CPU.

An encoder is traced once for its weights, form and size, and kept in the cache folder. Whoever opens a graph
holds it against PyTorch first.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilcap.encoders.base import Encoder
from distilcap.encoders.recipes import TORCH
from distilcap.errors import DataError, MissingError
from distilcap.files import cache_folder, checksum_file, verify_checksum, write_bytes, write_checksum
from distilcap.progress import SILENT, Progress
from distilcap.runtime.graphs import load_session
from distilcap.runtime.pixels import Floats
from distilcap.shapes import Regions
from distilcap.shown import first_line

__all__ = ["TOLERANCE", "GraphEncoder", "run_by"]

TOLERANCE = 1e-4  # of the features' largest magnitude, or of 1 where they are smaller
_TOGETHER = 2  # images a run: what more of them need falls out of the processor's caches
_GRAPHS = 1  # raise it when the same recipe is traced to another graph
_PACKAGES = {"onnxruntime": "train", "openvino": "openvino"}  # and the extra that brings it

Run: TypeAlias = Callable[[Floats], tuple[Floats, NDArray[np.bool_]]]
"""Pixels (B, 3, S, S) to features (B, R, D) and mask (B, R); several threads may call it at once."""


class GraphEncoder:
    """An encoder whose graph another engine runs: an `Encoder` on the CPU, without gradients.

    Attributes:
        engine: "onnxruntime" or "openvino".
    """

    def __init__(self, encoder: Encoder, engine: str, run: Run) -> None:
        self.name, self.weights = encoder.name, encoder.weights
        self.dim, self.regions = encoder.dim, encoder.regions
        self.preprocessing, self.engine = encoder.preprocessing, engine
        self._recipe, self._run = encoder.recipe(), run

    def recipe(self) -> dict[str, Any]:
        """That of the encoder, and the engine."""
        return self._recipe | {"engine": self.engine}

    def __call__(self, pixels: Tensor) -> Regions:
        """(B, 3, S, S) normalised pixels to (B, R, D)."""
        images = np.ascontiguousarray(pixels.numpy(force=True))
        parts = [self._run(images[first : first + _TOGETHER]) for first in range(0, len(images), _TOGETHER)]
        features, mask = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Regions(torch.from_numpy(features), torch.from_numpy(mask))


def run_by(engine: str, encoder: Encoder, progress: Progress = SILENT) -> Encoder:
    """The encoder run by an engine, single-threaded, or as it is by "torch".

    Where an engine cannot run it, or gives other features, a remark says so and PyTorch runs it.

    Raises:
        MissingError: the engine's package is not installed; the message names it.
    """
    if engine == TORCH:
        return encoder
    if importlib.util.find_spec(engine) is None:
        extra = _PACKAGES[engine]
        raise MissingError(f"`encoder_engine` {engine} is not installed: `pip install 'distilcap[{extra}]'`.")
    try:
        graph = GraphEncoder(encoder, engine, _LOADERS[engine](_graph_of(encoder, progress)))
        difference = _difference(encoder, graph)
        if difference <= TOLERANCE:
            return graph
        reason = f"its features differ by {difference:.1g}"
    except (MemoryError, MissingError):
        raise
    except Exception as error:  # exporter and engines raise whatever they meet
        reason = first_line(error)
    progress.note(f"{encoder.name} is run by PyTorch instead of {engine}: {reason}")
    return encoder


def _graph_of(encoder: Encoder, progress: Progress) -> Path:
    """The encoder's graph in the cache folder, traced if it is not there or damaged."""
    recipe = json.dumps([_GRAPHS, encoder.recipe()], sort_keys=True)
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    path = cache_folder() / "encoders" / f"{digest[:32]}.onnx"
    if not _whole(path):
        from distilcap.encoders.graph import export_encoder

        progress.note(f"Tracing {encoder.name} to ONNX, once: {path}")
        with torch.random.fork_rng(devices=[]):
            graph = export_encoder(encoder)
        write_bytes(path, graph.SerializeToString(deterministic=True))
        write_checksum(path)
    return path


def _whole(path: Path) -> bool:
    try:
        verify_checksum(path)
    except DataError:
        return False
    return path.is_file() and checksum_file(path).is_file()


def _difference(encoder: Encoder, graph: GraphEncoder) -> float:
    """The largest difference of two pictures' features, as a share of the largest feature (at least of 1)."""
    side = encoder.preprocessing.size
    random = np.random.default_rng(0)
    # Coarse, as pictures are: noise of single pixels leaves most features of a network at zero.
    coarse = random.standard_normal((2, 3, -(-side // 16), -(-side // 16)), np.float32)
    pixels = torch.from_numpy(coarse.repeat(16, 2).repeat(16, 3)[:, :, :side, :side].copy())
    with torch.inference_mode():
        expected, given = encoder(pixels), graph(pixels)
    if not torch.equal(expected.mask, given.mask):
        return float("inf")
    largest = max(1.0, float(expected.features.abs().max()))
    return float((expected.features - given.features).abs().max()) / largest


def _onnxruntime(path: Path) -> Run:
    session = load_session(path, threads=1)

    def run(pixels: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        features, mask = session.run(["features", "mask"], {"pixels": pixels})
        return features, mask

    return run


def _openvino(path: Path) -> Run:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it
    }
    model = openvino.Core().compile_model(str(path), "CPU", settings)

    def run(pixels: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        result = model.create_infer_request().infer({"pixels": pixels})
        return np.array(result["features"]), np.array(result["mask"], np.bool_)

    return run


_LOADERS: dict[str, Callable[[Path], Run]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
