"""How a bundle keeps weights: a file that all graphs share, in float32, float16 or int8.

Small types are for disk and download alone: each graph turns its weights back to float32 with two plain
nodes (`Cast`, and `Mul` by the scale) over constants, which every ONNX Runtime folds while it loads. It then
computes in float32, at float32's speed, without a session option. Rows of int8 have a scale each, the largest
absolute value / 127 (symmetric, as Krishnamoorthi 2018, section 3.1.1, per channel).

Of an encoder in int8, what costs much and saves little stays in float16: convolutions that look at
neighbours, and small ones. The bias b of each other convolution W x + b takes up what rounding W to W' moves
its mean by, b' = b + (W - W') E[x] (Nagel et al. 2019, section 4.2, with E[x] measured on pictures).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from distilcap.files import atomic_path

__all__ = ["PRECISIONS", "SharedWeights", "rows_to_int8", "store_weights"]

PRECISIONS = ("float32", "float16", "int8")
_LEAST = 1024  # smaller tensors stay in their graph as they are: biases, and vectors of norms
_ALIGNMENT = 64
_SMALL_CONVOLUTION = 30_000  # weights


def rows_to_int8(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize along the first axis: (N, …) floats to (N, …) int8 and scales (N, 1, …)."""
    largest = np.abs(matrix).max(axis=tuple(range(1, matrix.ndim)), keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(matrix / scale).astype(np.int8), scale


@dataclass
class SharedWeights:
    """Tensors of all graphs, each kept once, in one file that the graphs name as external data."""

    name: str
    content: bytearray = field(default_factory=bytearray)
    _slices: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def add(self, array: NDArray[np.generic]) -> tuple[int, int]:
        """Keep an array; gives its offset and length in the file."""
        raw = array.tobytes()
        key = hashlib.sha256(raw).digest()
        if key not in self._slices:
            self.content.extend(bytes(-len(self.content) % _ALIGNMENT))
            self._slices[key] = (len(self.content), len(raw))
            self.content.extend(raw)
        return self._slices[key]

    def tensor(self, name: str, array: NDArray[np.generic]) -> onnx.TensorProto:
        """A tensor of a graph whose content is in this file."""
        offset, length = self.add(array)
        tensor = numpy_helper.from_array(array, name)
        external_data_helper.set_external_data(tensor, self.name, offset, length)
        tensor.ClearField("raw_data")
        return tensor

    def save(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        with atomic_path(folder / self.name) as scratch:
            scratch.write_bytes(self.content)


def store_weights(
    model: onnx.ModelProto,
    precision: str,
    shared: SharedWeights | None = None,
    pictures: Iterable[NDArray[np.float32]] = (),
) -> onnx.ModelProto:
    """Give the same graph with its large weights in a smaller type, and in `shared` where that is given.

    Args:
        pictures: normalised pixels (1, 3, S, S) on which an encoder in int8 has its biases corrected; without
            any, they stay as they are.
    """
    assert precision in PRECISIONS, precision
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    sensitive: set[str] = set()
    if precision == "int8":
        sensitive = _correct_biases(stored, pictures)
    graph = stored.graph
    first: list[onnx.NodeProto] = _rows_first(graph)
    tensors = []
    for initializer in graph.initializer:
        array = numpy_helper.to_array(initializer)
        name = initializer.name
        if array.dtype != np.float32 or array.size < _LEAST or array.ndim < 2:
            tensors.append(initializer)
            continue
        parts, nodes = _stored(name, array, "float16" if name in sensitive else precision)
        first = nodes + first
        tensors += [
            shared.tensor(key, value)
            if shared and value.size >= _LEAST
            else numpy_helper.from_array(value, key)
            for key, value in parts.items()
        ]
    nodes = [*first, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(tensors)
    graph.node.extend(nodes)
    return stored


def _stored(
    name: str, array: NDArray[np.float32], precision: str
) -> tuple[Mapping[str, NDArray[np.generic]], list[onnx.NodeProto]]:
    """Arrays that stand for `name`, and the nodes that make it of them."""
    if precision == "float32":
        return {name: array}, []
    if precision == "float16":
        half = array.astype(np.float16)
        return {f"{name}/half": half}, [_cast(f"{name}/half", name)]
    quantized, scale = rows_to_int8(array)
    nodes = [
        _cast(f"{name}/int8", f"{name}/steps"),
        helper.make_node("Mul", [f"{name}/steps", f"{name}/scale"], [name]),
    ]
    return {f"{name}/int8": quantized, f"{name}/scale": scale}, nodes


def _correct_biases(model: onnx.ModelProto, pictures: Iterable[NDArray[np.float32]]) -> set[str]:
    """Correct the biases of the convolutions that int8 rounds; gives the names of the other ones' weights."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in weights]
    rounded = [node for node in convolutions if not _is_sensitive(weights[node.input[1]])]
    means = _mean_inputs(model, [node.input[0] for node in rounded], pictures) if rounded else {}
    for node in rounded:
        if node.input[0] in means and len(node.input) > 2 and node.input[2] in weights:
            matrix = numpy_helper.to_array(weights[node.input[1]])
            steps, scale = rows_to_int8(matrix)
            moved = (matrix - steps * scale).squeeze((2, 3)) @ means[node.input[0]]
            bias = weights[node.input[2]]
            corrected = (numpy_helper.to_array(bias) + moved).astype(np.float32)
            bias.CopyFrom(numpy_helper.from_array(corrected, bias.name))
    return {node.input[1] for node in convolutions if node not in rounded}


def _is_sensitive(weight: onnx.TensorProto) -> bool:
    """Whether a convolution's weights (C', C, h, w) stay in float16."""
    return np.prod(weight.dims) < _SMALL_CONVOLUTION or tuple(weight.dims[2:]) != (1, 1)


def _mean_inputs(
    model: onnx.ModelProto, names: Iterable[str], pictures: Iterable[NDArray[np.float32]]
) -> dict[str, NDArray[np.float64]]:
    """Of each of the tensors (1, C, h, w), its channels' means (C) over pictures."""
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = list(dict.fromkeys(names))
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    session = onnxruntime.InferenceSession(watched.SerializeToString())
    sums: dict[str, NDArray[np.float64]] = {}
    count = 0
    for pixels in pictures:
        count += 1
        for name, values in zip(names, session.run(names, {"pixels": pixels}), strict=True):
            sums[name] = sums.get(name, 0.0) + values[0].mean((1, 2), dtype=np.float64)
    return {name: total / count for name, total in sums.items()}


def _cast(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], to=TensorProto.FLOAT)


def _rows_first(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Keep the right-hand matrices of products as PyTorch does, outputs first; gives the transposing nodes.

    So a row is one output's weights wherever it is used: in a product, in a convolution, in an embedding.
    A matrix that two graphs use in both ways, such as a tied embedding, is then one tensor.
    """
    arrays = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    users: dict[str, list[tuple[str, int]]] = {}
    for node in _nodes(graph):
        for index, name in enumerate(node.input):
            users.setdefault(name, []).append((node.op_type, index))
    nodes = []
    for name, initializer in arrays.items():
        if all(user == ("MatMul", 1) for user in users.get(name, [("", 0)])):
            rows = np.ascontiguousarray(numpy_helper.to_array(initializer).T)
            initializer.CopyFrom(numpy_helper.from_array(rows, f"{name}/rows"))
            nodes.append(helper.make_node("Transpose", [f"{name}/rows"], [name], perm=[1, 0]))
    return nodes


def _nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
