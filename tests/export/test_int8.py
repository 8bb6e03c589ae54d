"""What int8 rounds in an encoder, and that its outputs stay where they were."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from distilcap.export.onnx.parts import Parts  # noqa: E402
from distilcap.export.onnx.rounding import Moments, round_by_inputs, round_rows  # noqa: E402
from distilcap.export.onnx.weights import store_weights  # noqa: E402
from distilcap.runtime.pixels import Preprocessing  # noqa: E402

CHANNELS = 200


@pytest.fixture(scope="module")
def encoder():
    """3 x 3 convolution, ReLU, then a convolution with enough weights for int8."""
    random = np.random.default_rng(0)
    weights = {
        "near": random.normal(size=(CHANNELS, 3, 3, 3)),
        "near_bias": random.normal(size=CHANNELS),
        "wide": random.standard_t(3, size=(CHANNELS, CHANNELS, 1, 1)),
        "wide_bias": random.normal(size=CHANNELS),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["pixels", "near", "near_bias"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "wide", "wide_bias"], ["features"]),
        ],
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [None, 3, 8, 8])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture(scope="module")
def pictures():
    return [np.random.default_rng(n).normal(size=(1, 3, 8, 8)).astype(np.float32) for n in range(20)]


def features(model, pictures):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate([session.run(["features"], {"pixels": pixels})[0] for pixels in pictures])


def test_corrected_biases_keep_the_mean(encoder, pictures):
    exact = features(encoder, pictures)
    as_rounded, corrected = (
        features(store_weights(encoder, "int8", pictures=given), pictures) for given in ((), pictures)
    )
    moved, left = (np.abs((ours - exact).mean((0, 2, 3))).max() for ours in (as_rounded, corrected))
    assert left < moved / 20
    assert np.linalg.norm(corrected - exact) < np.linalg.norm(as_rounded - exact)


def test_convolutions_of_neighbours_stay_in_float16(encoder, pictures):
    stored = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in store_weights(encoder, "int8").graph.initializer
    }
    assert stored["near/half"].dtype == np.float16
    assert stored["wide/int8"].dtype == np.int8
    assert set(stored) == {"near/half", "near_bias", "wide/int8", "wide/scale", "wide_bias"}
    original = {tensor.name: numpy_helper.to_array(tensor) for tensor in encoder.graph.initializer}
    assert np.array_equal(stored["wide_bias"], original["wide_bias"])  # without pictures


def test_a_saved_encoder_is_as_small_as_its_precision(encoder, tmp_path):
    """Small weights lie on disk, and an encoder in int8 takes its pictures, normalised, to be rounded by."""
    drawn = [np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8) for n in range(3)]
    sizes, stored = {}, {}
    for precision, given in {"float32": [], "float16": [], "int8": drawn}.items():
        parts = Parts({"encoder": encoder}, (), 0, Preprocessing(8, mean=(0, 0, 0), std=(0.5, 0.5, 0.5)))
        parts.save(tmp_path / precision, precision, lambda given=given: given)
        path = tmp_path / precision / "encoder.onnx"
        sizes[precision], stored[precision] = path.stat().st_size, onnx.load(path)
    assert sizes["float16"] < 0.55 * sizes["float32"]
    assert sizes["int8"] < 0.35 * sizes["float32"]
    kinds = {tensor.name: tensor.data_type for tensor in stored["int8"].graph.initializer}
    assert kinds["wide/int8"] == TensorProto.INT8
    normalised = [(image.transpose(2, 0, 1)[None] / 127.5).astype(np.float32) for image in drawn]
    exact, rounded = (features(one, normalised) for one in (encoder, stored["int8"]))
    nearest = features(store_weights(encoder, "int8"), normalised)
    moved, left = (np.abs((ours - exact).mean((0, 2, 3))).max() for ours in (nearest, rounded))
    assert left < moved / 20


def test_rows_are_rounded_to_the_nearest_step():
    matrix = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    matrix[2] = 0
    rounded = round_rows(matrix)
    assert np.abs(rounded.matrix - matrix).max() <= rounded.rows.max() / 2 * 1.001
    assert np.abs(rounded.steps).max(1).tolist() == [127, 127, 0, 127, 127]


def lost(matrix, other, covariance):
    """E |(W - W') x|^2 of centred inputs."""
    apart = matrix - other
    return np.einsum("ij,jk,ik->", apart, covariance, apart)


def test_rounding_by_inputs_lies_between_the_nearest_steps_and_the_best():
    random = np.random.default_rng(2)
    steps_around = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=5)))
    best = ours = nearest = 0.0
    for _ in range(30):
        matrix = random.normal(size=(1, 5)).astype(np.float32)
        mixed = random.normal(size=(5, 3))
        covariance = mixed @ mixed.T + 0.1 * np.eye(5)
        rounded = round_by_inputs(matrix, Moments(np.zeros(5), covariance))
        grid = np.rint(matrix / rounded.columns / rounded.rows)
        ours += lost(matrix, rounded.matrix, covariance)
        nearest += lost(matrix, grid * rounded.rows * rounded.columns, covariance)
        near = (grid + steps_around) * rounded.rows * rounded.columns
        best += np.einsum("nj,jk,nk->n", matrix - near, covariance, matrix - near).min()
    assert best * 0.999 <= ours < 0.7 * nearest


def test_inputs_that_vary_alone_leave_the_nearest_steps():
    matrix = np.random.default_rng(3).normal(size=(6, 8)).astype(np.float32)
    matrix[:, 2] = 0
    rounded = round_by_inputs(matrix, Moments(np.zeros(8), np.diag(np.arange(8.0))))
    assert rounded.columns is not None
    assert np.array_equal(rounded.steps, np.rint(matrix / rounded.columns / rounded.rows).astype(np.int8))
    assert np.abs(rounded.matrix - matrix).max() < np.abs(matrix).max() / 100


@pytest.mark.parametrize("offset", [0, 1e4])
def test_inputs_that_hardly_vary_are_rounded_too(encoder, offset):
    """Flat pictures leave inputs that never vary; a large bias, a mean far above the deviation."""
    shifted = onnx.ModelProto()
    shifted.CopyFrom(encoder)
    bias = next(tensor for tensor in shifted.graph.initializer if tensor.name == "near_bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(offset), bias.name))
    flat = [np.full((1, 3, 8, 8), offset and picture, np.float32) for picture in (0.3, 0.5)]
    exact, ours = (
        features(model, flat) for model in (shifted, store_weights(shifted, "int8", pictures=flat))
    )
    assert np.linalg.norm(ours - exact) < 0.05 * np.linalg.norm(exact)


def convolutions_of(encoder, nodes, weights):
    """The encoder's 3 x 3 convolution, then these nodes."""
    model = onnx.ModelProto()
    model.CopyFrom(encoder)
    del model.graph.node[2:], model.graph.initializer[2:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()
    )
    return model


def test_groups_go_to_the_nearest_step(encoder, pictures):
    random = np.random.default_rng(4)
    grouped = convolutions_of(
        encoder,
        [helper.make_node("Conv", ["b", "wide", "wide_bias"], ["features"], group=2)],
        {"wide": random.normal(size=(2 * CHANNELS, CHANNELS // 2, 1, 1)), "wide_bias": np.ones(2 * CHANNELS)},
    )
    exact, ours = (
        features(model, pictures) for model in (grouped, store_weights(grouped, "int8", pictures=pictures))
    )
    assert np.linalg.norm(ours - exact) < 0.05 * np.linalg.norm(exact)


def test_a_bias_of_two_convolutions_stays(encoder, pictures):
    shared = convolutions_of(
        encoder,
        [helper.make_node("Conv", ["b", "wide", "near_bias"], ["features"])],
        {"wide": np.random.default_rng(5).standard_t(3, size=(CHANNELS, CHANNELS, 1, 1))},
    )
    kept = {t.name: t for t in store_weights(shared, "int8", pictures=pictures).graph.initializer}
    before = {t.name: t for t in shared.graph.initializer}
    assert kept["near_bias"] == before["near_bias"]


def test_rows_too_small_for_a_step_become_zero_without_a_warning():
    with np.errstate(all="raise", under="ignore"):
        assert not round_rows(np.full((1, 4), 1e-44, np.float32)).steps.any()
