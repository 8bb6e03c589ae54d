"""Encoders run by ONNX Runtime: PyTorch's features or PyTorch itself, traced once, and part of the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from distilcap.data.dataset import ImageRecord
from distilcap.data.features import FeatureStore
from distilcap.encoders import engines, graph
from distilcap.encoders.base import Encoder, GridEncoder, Preprocessing
from distilcap.encoders.engines import TOLERANCE, GraphEncoder, run_by
from distilcap.encoders.extract import extract_features
from distilcap.encoders.recipes import default_engine, recipe_by, without_engine
from distilcap.errors import MissingError
from distilcap.progress import SILENT, Progress

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Remarks(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def tiny(seed: int = 0, gain: float = 1.0) -> GridEncoder:
    """A convolution with statistics of its own, so that folding matters."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.BatchNorm2d(8), nn.ReLU6())
    with torch.no_grad():
        backbone[1].running_mean.uniform_(-0.2, 0.2)
        backbone[1].running_var.uniform_(0.5, 2.0)
        backbone[1].weight.mul_(gain)
    return GridEncoder(
        backbone, name="tiny", weights=f"seed {seed}", preprocessing=Preprocessing(32), regions=4
    )


export = graph.export_encoder
traced: dict[str, Any] = {}


def export_once(encoder: Encoder) -> Any:
    """Tracing takes a second; it draws examples as it goes."""
    torch.rand(1)
    name = encoder.recipe()["weights"]
    if name not in traced:
        traced[name] = export(encoder)
    return traced[name]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(graph, "export_encoder", export_once)
    return tmp_path / "cache" / "encoders"


def never(encoder: Encoder) -> Any:
    raise AssertionError("traced again")


def test_gives_pytorchs_features_and_says_who_ran_it() -> None:
    encoder = tiny()
    quick = run_by("onnxruntime", encoder)
    assert isinstance(quick, GraphEncoder)
    assert quick.recipe() == encoder.recipe() | {"engine": "onnxruntime"}
    assert (quick.name, quick.dim, quick.regions) == ("tiny", 8, 4)
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, given = encoder(pixels), quick(pixels)
    assert float((expected.features - given.features).abs().max()) < TOLERANCE
    assert given.mask.all()
    assert run_by("torch", encoder) is encoder


def test_an_images_features_do_not_depend_on_the_others() -> None:
    quick = run_by("onnxruntime", tiny())
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    together = quick(pixels).features
    alone = torch.cat([quick(pixels[row : row + 1]).features for row in range(5)])
    assert together.shape == (5, 4, 8)
    assert torch.equal(together, alone)


def test_traced_once_unless_the_graph_is_damaged(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_by("onnxruntime", tiny())
    with monkeypatch.context() as patch:
        patch.setattr(graph, "export_encoder", never)
        assert isinstance(run_by("onnxruntime", tiny()), GraphEncoder)
        # Other weights have a graph of their own; where none can be traced, PyTorch goes on.
        assert isinstance(run_by("onnxruntime", tiny(1)), GridEncoder)
    (path,) = cache.glob("*.onnx")
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:99] + bytes([whole[99] ^ 1]) + whole[100:]):
        path.write_bytes(damaged)
        assert isinstance(run_by("onnxruntime", tiny()), GraphEncoder)
        assert path.read_bytes() == whole
    Path(f"{path}.sha256").unlink()  # killed between the two files
    assert isinstance(run_by("onnxruntime", tiny()), GraphEncoder)
    assert Path(f"{path}.sha256").is_file()


def test_tracing_leaves_the_random_state_alone() -> None:
    encoder = tiny()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    run_by("onnxruntime", encoder)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_other_features_are_refused_with_a_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "export_encoder", lambda encoder: export(tiny(gain=1.001)))
    encoder, remarks = tiny(), Remarks()
    assert run_by("onnxruntime", encoder, remarks) is encoder
    assert "tiny is run by PyTorch instead of onnxruntime: its features differ by" in remarks.said[-1]


def test_what_cannot_be_traced_is_run_by_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(encoder: Encoder) -> Any:
        raise RuntimeError("an operator is unknown\nat line 9")

    monkeypatch.setattr(graph, "export_encoder", fails)
    encoder, remarks = tiny(), Remarks()
    assert run_by("onnxruntime", encoder, remarks) is encoder
    assert remarks.said[-1] == "tiny is run by PyTorch instead of onnxruntime: an operator is unknown"


def test_a_missing_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"openvino is not installed: `pip install '\w+\[openvino\]'`"):
        run_by("openvino", tiny())
    assert default_engine("cpu") == "torch"


def test_the_default_is_onnxruntime_on_a_cpu_alone() -> None:
    assert default_engine("cpu") == "onnxruntime"
    assert default_engine("cuda:0") == "torch"


def test_extraction_gives_the_same_store_but_for_the_recipe(tmp_path: Path) -> None:
    random, images = np.random.default_rng(3), []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
        images.append(ImageRecord(str(number), path, "train"))
    stores = []
    for engine in ("torch", "onnxruntime"):
        extract_features(run_by(engine, tiny()), images, tmp_path / engine, SILENT, batch_size=2)
        stores.append(FeatureStore.open(tmp_path / engine))
    expected, given = (store.rows([image.id for image in images])[0].astype(np.float32) for store in stores)
    assert np.abs(expected - given).max() < 4e-3  # neighbours in float16
    assert without_engine(stores[1].recipe) == stores[0].recipe != stores[1].recipe
    assert recipe_by(stores[0].recipe, "onnxruntime", "whole") == stores[1].recipe
    assert recipe_by(stores[1].recipe, "torch", "whole") == stores[0].recipe
