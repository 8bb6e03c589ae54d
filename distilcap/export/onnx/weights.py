"""How a bundle keeps weights: a file that all graphs share, in float32, float16 or int8.

Small types are for disk and download alone: each graph turns its weights back to float32 with two plain
nodes (`Cast`, and `Mul` by the scales) over constants, which every ONNX Runtime folds while it loads. It then
computes in float32, at float32's speed, without a session option.

Of an encoder in int8, what costs much and saves little stays in float16: convolutions that look at
neighbours, and small ones. The others, W x + b, are rounded by what they see on pictures (`rounding`), and
the bias takes up what rounding W to W' moves the mean by, b' = b + (W - W') E[x] (Nagel et al. 2019,
section 4.2).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from distilcap.export.onnx.rounding import Moments, Rounded, round_by_inputs, round_rows
from distilcap.files import atomic_path

__all__ = ["SharedWeights", "store_weights"]

_LEAST = 1024  # smaller tensors stay in their graph as they are: biases, and vectors of norms
_ALIGNMENT = 64
_SMALL_CONVOLUTION = 30_000  # weights


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
        pictures: normalised pixels (1, 3, S, S) by which an encoder in int8 is rounded and has its biases
            corrected; without any, weights go to the nearest step, and biases stay as they are.
    """
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    sensitive: set[str] = set()
    rounded: dict[str, Rounded] = {}
    if precision == "int8":
        rounded, sensitive = _round_convolutions(stored, pictures)
    graph = stored.graph
    first: list[onnx.NodeProto] = _rows_first(graph)
    tensors = []
    for initializer in graph.initializer:
        array = numpy_helper.to_array(initializer)
        name = initializer.name
        if array.dtype != np.float32 or array.size < _LEAST or array.ndim < 2:
            tensors.append(initializer)
            continue
        parts, nodes = _stored(name, array, "float16" if name in sensitive else precision, rounded.get(name))
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
    name: str, array: NDArray[np.float32], precision: str, rounded: Rounded | None
) -> tuple[Mapping[str, NDArray[np.generic]], list[onnx.NodeProto]]:
    """Arrays that stand for `name`, and the nodes that make it of them; `rounded` is the array in int8."""
    if precision == "float32":
        return {name: array}, []
    if precision == "float16":
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if not np.isfinite(half).all():  # beyond 65,504
            return {name: array}, []
        return {f"{name}/half": half}, [_cast(f"{name}/half", name)]
    rounded = rounded or round_rows(array)
    by_rows = name if rounded.columns is None else f"{name}/by rows"
    parts: dict[str, NDArray[np.generic]] = {f"{name}/int8": rounded.steps, f"{name}/scale": rounded.rows}
    nodes = [
        _cast(f"{name}/int8", f"{name}/steps"),
        helper.make_node("Mul", [f"{name}/steps", f"{name}/scale"], [by_rows]),
    ]
    if rounded.columns is not None:
        parts[f"{name}/columns"] = rounded.columns
        nodes.append(helper.make_node("Mul", [by_rows, f"{name}/columns"], [name]))
    return parts, nodes


def _round_convolutions(
    model: onnx.ModelProto, pictures: Iterable[NDArray[np.float32]]
) -> tuple[dict[str, Rounded], set[str]]:
    """Round the convolutions of an encoder by what they see on pictures, and correct their biases.

    Those in groups, without a bias, or with weights or bias that others use too go to the nearest step.
    Gives what was rounded, by the name of its weights, and the names of those that stay in float16.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in weights]
    pointwise = [node for node in convolutions if not _is_sensitive(weights[node.input[1]])]
    uses = Counter(name for node in _nodes(model.graph) for name in node.input)
    own = [
        node
        for node in pointwise
        if len(node.input) > 2
        and all(name in weights and uses[name] == 1 for name in node.input[1:])
        and not any(one.name == "group" and one.i > 1 for one in node.attribute)
    ]
    seen = _moments(model, [node.input[0] for node in own], pictures) if own else {}
    rounded = {}
    for node in own if seen else ():
        inputs, name = seen[node.input[0]], node.input[1]
        matrix = numpy_helper.to_array(weights[name]).squeeze((2, 3))
        new = round_by_inputs(matrix, inputs)
        bias = weights[node.input[2]]
        corrected = (numpy_helper.to_array(bias) + (matrix - new.matrix) @ inputs.mean).astype(np.float32)
        bias.CopyFrom(numpy_helper.from_array(corrected, bias.name))
        rounded[name] = new.convolution()
    return rounded, {node.input[1] for node in convolutions if node not in pointwise}


def _is_sensitive(weight: onnx.TensorProto) -> bool:
    """Whether a convolution's weights (C', C, h, w) stay in float16."""
    return np.prod(weight.dims) < _SMALL_CONVOLUTION or tuple(weight.dims[2:]) != (1, 1)


def _moments(
    model: onnx.ModelProto, names: Iterable[str], pictures: Iterable[NDArray[np.float32]]
) -> dict[str, Moments]:
    """Of each of the tensors (1, C, h, w), the moments of its channels over pictures and places."""
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = list(dict.fromkeys(names))
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    session = onnxruntime.InferenceSession(watched.SerializeToString())
    means: dict[str, list[NDArray[np.float64]]] = {}
    within: dict[str, NDArray[np.float64]] = {}
    for pixels in pictures:
        for name, values in zip(names, session.run(names, {"pixels": pixels}), strict=True):
            cells = values[0].reshape(values.shape[1], -1)
            mean = cells.mean(1, dtype=np.float64)
            # Centred, since squares of large means leave a float32 no digits for what varies.
            apart = cells - mean.astype(np.float32)[:, None]
            means.setdefault(name, []).append(mean)
            within[name] = within.get(name, 0.0) + apart @ apart.T / np.float64(apart.shape[1])
    moments = {}
    for name, centres in means.items():
        mean = np.mean(centres, axis=0)
        between = np.stack(centres) - mean
        moments[name] = Moments(mean, (within[name] + between.T @ between) / len(centres))
    return moments


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
