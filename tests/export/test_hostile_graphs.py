"""Bundles whose manifest is right and whose graphs are not: damaged weights, other graphs, other files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bundle_captioner import BundleCaptioner, BundleEncoder
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from distilcap import load
from distilcap.cli.caption import caption as caption_command
from distilcap.errors import BundleError
from distilcap.export.pictures import sample_pictures
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.manifest import read_manifest, write_manifest


@pytest.fixture
def copied(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported.folder, tmp_path / "copied"))


@pytest.fixture
def photo(tmp_path) -> Path:
    ((_, picture),) = sample_pictures(1, 32)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def rewritten(folder: Path) -> Bundle:
    """Let the checksums vouch for what lies there now."""
    write_manifest(folder, read_manifest(folder, verify=False))
    return Bundle.open(folder)


def change(folder: Path, graph: str, edit: Callable[[onnx.ModelProto], None]) -> Bundle:
    path = folder / f"{graph}.onnx"
    model = onnx.load(path, load_external_data=False)
    edit(model)
    path.write_bytes(model.SerializeToString())
    return rewritten(folder)


def both_ways(bundle: Bundle, photo: Path) -> list[str]:
    """The errors of the beam and of the greedy graph."""
    errors = []
    for describe in (bundle.caption, bundle.greedy_caption):
        with pytest.raises(BundleError) as raised:
            describe(photo)
        assert str(raised.value).isprintable()
        errors.append(str(raised.value))
    return errors


def test_an_encoder_that_gives_nan_names_the_photo(copied, photo):
    def spoil(model: onnx.ModelProto) -> None:
        for weight in model.graph.initializer:
            if weight.data_type == TensorProto.FLOAT and len(weight.dims) == 4:
                last = weight
        last.CopyFrom(numpy_helper.from_array(np.full(last.dims, np.nan, np.float32), last.name))

    for error in both_ways(change(copied, "encoder", spoil), photo):
        assert f"encoder.onnx: it gave NaN or infinity for {photo}; its weights are damaged" in error


def test_a_batch_names_the_image_that_is_nan(copied, bundle):
    pixels = np.stack([one for _, one in sample_pictures(3, 32)])
    features, mask = bundle.see(pixels)
    features[1, 2, 3] = np.nan
    with pytest.raises(BundleError, match=r"greedy.onnx: it gave NaN or infinity for b.png"):
        bundle.greedy((features, mask), ["a.png", "b.png", "c.png"])
    with pytest.raises(BundleError, match=r"step.onnx: it gave NaN or infinity; its weights"):
        bundle.search((features, mask))
    with pytest.raises(BundleError, match=r"step.onnx: it gave NaN or infinity for b.png"):
        bundle.search((features, mask), names=["a.png", "b.png", "c.png"])


def test_a_photograph_whose_captions_have_no_probability_is_named(exported, photo, monkeypatch):
    """Minus infinity for all words that may be written is no NaN, and leaves nothing to say."""

    def mute(self, *given, real=Bundle.step):
        logits, state = real(self, *given)
        logits[..., 2:] = -np.inf
        return logits, state

    monkeypatch.setattr(Bundle, "step", mute)
    captioner = load(exported.folder)
    for photographs in (photo, [photo]):
        with pytest.raises(
            BundleError, match=rf"step.onnx: it gave NaN or infinity for {photo}; its weights"
        ):
            captioner.caption(photographs)


def test_images_keep_their_names_while_others_leave_the_search(bundle, monkeypatch):
    def recorded(self, tokens, state, memory, names, real=Bundle.step):
        searched.append(len(names))
        for row, name in enumerate(names):
            np.testing.assert_array_equal(memory[0][row], whole[0][int(name)])
        return real(self, tokens, state, memory, names)

    seen = bundle.see(np.stack([one for _, one in sample_pictures(16, 32)]))
    whole, searched = bundle.encode(seen), []
    monkeypatch.setattr(Bundle, "step", recorded)
    bundle.search(seen, names=[str(number) for number in range(16)])
    assert searched[0] == 16 > searched[-1]


def test_a_decoder_of_nan_gives_no_caption(copied, photo):
    (copied / "decoder.bin").write_bytes(
        np.full((copied / "decoder.bin").stat().st_size // 4, np.nan, "<f4").tobytes()
    )
    beam, greedy = both_ways(rewritten(copied), photo)
    assert "step.onnx: it gave NaN or infinity" in beam
    assert f"greedy.onnx: it gave NaN or infinity for {photo}" in greedy
    done = CliRunner().invoke(caption_command, ["--bundle", str(copied), str(photo)])
    assert done.output == ""
    assert isinstance(done.exception, BundleError)


def renamed(which: str) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        values = model.graph.input if which == "input" else model.graph.output
        old = values[0].name
        values[0].name = "other\x1b[2J"
        for node in model.graph.node:
            node.input[:] = [values[0].name if name == old else name for name in node.input]
            node.output[:] = [values[0].name if name == old else name for name in node.output]

    return edit


@pytest.mark.parametrize("graph", ["encoder", "encode", "step", "greedy"])
@pytest.mark.parametrize("which", ["input", "output"])
def test_graphs_with_other_names_are_refused(copied, photo, graph, which):
    opened = change(copied, graph, renamed(which))
    with pytest.raises(
        BundleError, match=rf"{graph}.onnx: its {which}s must be .* but are .*export the bundle anew"
    ) as raised:
        opened.session(graph)
    assert str(raised.value).isprintable()


def constant(inputs: dict[str, int], outputs: dict[str, np.ndarray]) -> bytes:
    """A graph that takes anything and gives the same each time."""
    taken = [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs.items()]
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(one.dtype), None)
        for name, one in outputs.items()
    ]
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(one))
        for name, one in outputs.items()
    ]
    graph = helper.make_graph(nodes, "constant", taken, given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


FLOAT, BOOL = TensorProto.FLOAT, TensorProto.BOOL
FEATURES = {"features": FLOAT, "mask": BOOL}
WRITTEN = {"tokens": np.ones((1, 1), np.int64), "log_probs": np.zeros((1,), np.float32)}
RIGHT = {"features": np.zeros((1, 16, 24), np.float32), "mask": np.ones((1, 16), bool)}


@pytest.mark.parametrize(
    "graph, inputs, outputs, name",
    [
        ("encoder", {"pixels": FLOAT}, RIGHT | {"features": np.zeros((1, 16, 23), np.float32)}, "features"),
        ("encoder", {"pixels": FLOAT}, RIGHT | {"features": np.zeros((1, 17, 24), np.float32)}, "features"),
        ("encoder", {"pixels": FLOAT}, RIGHT | {"features": np.zeros((2, 16, 24), np.float32)}, "features"),
        ("encoder", {"pixels": FLOAT}, RIGHT | {"features": np.zeros((1, 16, 24))}, "features"),
        ("encoder", {"pixels": FLOAT}, RIGHT | {"features": np.float32(1)}, "features"),
        ("encoder", {"pixels": FLOAT}, RIGHT | {"mask": np.ones((1, 16), np.float32)}, "mask"),
        ("greedy", FEATURES, WRITTEN | {"log_probs": np.zeros((2,), np.float32)}, "log_probs"),
        ("greedy", FEATURES, WRITTEN | {"tokens": np.ones((1,), np.int64)}, "tokens"),
        ("greedy", FEATURES, WRITTEN | {"tokens": np.ones((1, 1))}, "tokens"),
    ],
)  # fmt: skip
def test_outputs_of_other_shapes_or_types_are_refused(copied, photo, graph, inputs, outputs, name):
    (copied / f"{graph}.onnx").write_bytes(
        constant(inputs, {key: np.asarray(one) for key, one in outputs.items()})
    )
    with pytest.raises(
        BundleError, match=rf"{graph}.onnx: its output `{name}` is .* not what the manifest says"
    ):
        rewritten(copied).greedy_caption(photo)


@pytest.mark.parametrize("token", [60, -1, 2**62])
def test_words_beyond_the_vocabulary_are_refused(copied, photo, token):
    outputs = {"tokens": np.array([[5, token]]), "log_probs": np.zeros((1,), np.float32)}
    (copied / "greedy.onnx").write_bytes(constant(FEATURES, outputs))
    with pytest.raises(BundleError, match=r"greedy.onnx: it writes words that the manifest lacks"):
        rewritten(copied).greedy_caption(photo)


def test_a_graph_that_fails_while_it_runs_is_one_line(copied, photo, capfd):
    def reshape(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array([7, 11]), "wrong"))
        output = model.graph.output[0].name
        for node in model.graph.node:
            node.output[:] = ["inner" if name == output else name for name in node.output]
        model.graph.node.append(helper.make_node("Reshape", ["inner", "wrong"], [output]))
        model.graph.output[0].type.tensor_type.ClearField("shape")

    with pytest.raises(BundleError, match=r"encoder.onnx: ONNX Runtime cannot run it \(.*Reshape"):
        change(copied, "encoder", reshape).caption(photo)
    assert capfd.readouterr().err == ""


def test_a_tensor_that_fits_no_memory_is_one_line(copied, photo):
    def huge(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 24, 1 << 24]), "huge"))
        output = model.graph.output[0].name
        for node in model.graph.node:
            node.output[:] = ["inner" if name == output else name for name in node.output]
        model.graph.node.append(helper.make_node("Expand", ["inner", "huge"], [output]))
        model.graph.node[-1].input[0] = "number"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "number"))

    with pytest.raises(BundleError, match=r"encoder.onnx: ONNX Runtime cannot (run|load) it"):
        change(copied, "encoder", huge).caption(photo)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "{}/secret.bin", "sub/../../secret.bin", "missing.bin"]
)
def test_weights_outside_of_the_bundle_are_never_read(copied, photo, tmp_path, location):
    """ONNX's external data."""
    np.full(1 << 20, 1.0, np.float32).tofile(tmp_path / "secret.bin")

    def outside(model: onnx.ModelProto) -> None:
        for weight in model.graph.initializer:
            for entry in weight.external_data:
                if entry.key == "location":
                    entry.value = location.format(tmp_path)

    opened = change(copied, "encode", outside)
    (copied / "sub").mkdir()
    with pytest.raises(BundleError, match=r"encode.onnx: ONNX Runtime cannot load it"):
        opened.caption(photo)


@pytest.mark.parametrize("seed", range(10))
def test_graphs_with_flipped_bits_caption_or_are_one_line(copied, photo, seed):
    """Checksums made anew, as a stranger could: whatever the graph is now, there is no traceback."""
    generator = np.random.default_rng(seed)
    path = copied / ["encoder.onnx", "encode.onnx", "step.onnx", "greedy.onnx", "decoder.bin"][seed % 5]
    content = bytearray(path.read_bytes())
    for place in generator.integers(len(content), size=3):
        content[place] ^= 1 << int(generator.integers(8))
    path.write_bytes(content)
    opened = rewritten(copied)
    for describe in (opened.caption, opened.greedy_caption):
        try:
            describe(photo)
        except BundleError as error:
            line = str(error)
        else:
            continue
        assert line.isprintable()


def test_a_bundle_as_a_captioner_refuses_too(copied, photo):
    """The house's own search runs on it."""
    (copied / "encoder.onnx").write_bytes(
        constant({"pixels": FLOAT}, RIGHT | {"mask": np.ones((1, 15), bool)})
    )
    opened = rewritten(copied)
    with pytest.raises(BundleError, match=r"its output `mask`"):
        BundleEncoder(opened)(torch.zeros(1, 3, 32, 32))
    assert BundleCaptioner(opened).vocabulary_size == 60
