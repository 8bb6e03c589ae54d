"""A small captioner that has learnt its pictures by heart, and the bundle made of it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small_captioners import small_options
from torch import nn

from distilcap.encoders.base import Encoder, GridEncoder
from distilcap.export.browser.site import RUNTIME_FILES
from distilcap.export.bundle import Exported, export_bundle
from distilcap.export.onnx import parts
from distilcap.export.pictures import sample_pictures
from distilcap.models.captioner import Captioner
from distilcap.models.families import families
from distilcap.models.presets import build_captioner
from distilcap.models.weights import TrainedCaptioner, save_captioner
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.pixels import Preprocessing, normalise
from distilcap.text.vocabulary import BOS, EOS, PAD, SPECIALS, Vocabulary

SIZE, WORDS = 32, 60
OPTIONS = {
    name: small_options(
        name,
        **{"hidden": 48, "embedding": 40, "attention": 24, "heads": 4, "window": 6, "tie_words": True},
        **{"dropout": 0.0, "refiner_dropout": 0.0, "aoa_dropout": 0.0},
    )
    for name in families()
}
USUAL = ("updown", "transformer")  # the others in `make test-slow`


def small_encoder() -> Encoder:
    """Two convolutions with batch normalisation: (B, 3, 32, 32) to 16 regions of 24 features."""
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 12, 4, 4, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU6(),
        nn.Conv2d(12, 24, 2, 2, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU6(),
    )
    for part in backbone:
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.1, 0.4)
    return GridEncoder(backbone, name="small", weights="random", preprocessing=Preprocessing(SIZE))


def learnt(architecture: str, encoder: Encoder) -> TrainedCaptioner:
    """Overfit on 16 pictures with a random caption each."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = Vocabulary(SPECIALS + tuple(f"word{place}" for place in range(WORDS - len(SPECIALS))))
    captioner = build_captioner(architecture, OPTIONS[architecture], WORDS, encoder.dim)
    pixels = np.stack([one for _, one in sample_pictures(16, SIZE)])
    with torch.no_grad():
        regions = encoder(torch.from_numpy(normalise(pixels, encoder.preprocessing)))
    tokens = torch.randint(len(SPECIALS), WORDS, (16, 1, 8), generator=generator)
    for row in range(16):
        tokens[row, 0, 4 + row % 4 :] = PAD
        tokens[row, 0, 4 + row % 4] = EOS
    inputs = torch.cat([torch.full((16, 1, 1), BOS), tokens[:, :, :-1]], dim=-1)
    optimizer = torch.optim.Adam(captioner.parameters(), 1e-2)
    for _ in range(400):
        logits = captioner(regions, inputs)
        loss = nn.functional.cross_entropy(logits.flatten(0, 2), tokens.flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.05:
            break
    assert loss.item() < 0.05, loss
    return TrainedCaptioner(
        captioner.eval(), architecture, OPTIONS[architecture], vocabulary, encoder.recipe()
    )


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return small_encoder()


@pytest.fixture(scope="session")
def _traced_once(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each network is traced once for all tests, in whichever process, since that takes seconds; it is known
    by its shapes."""
    mine = tmp_path_factory.getbasetemp()
    traced = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "traced"
    traced.mkdir(exist_ok=True)

    def once(function: Callable[..., onnx.ModelProto]) -> Callable[..., onnx.ModelProto]:
        def trace(network: Encoder | Captioner, *rest: int) -> onnx.ModelProto:
            assert isinstance(network, nn.Module)
            shapes = repr([tuple(one.shape) for one in network.parameters()])
            digest = hashlib.sha256(shapes.encode()).hexdigest()[:12]
            file = traced / f"{function.__name__}-{type(network).__name__}-{digest}.onnx"
            with file.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not file.exists():
                    onnx.save(function(network, *rest), file.with_suffix(".new"))
                    file.with_suffix(".new").rename(file)
            return onnx.load(file)

        return trace

    with pytest.MonkeyPatch.context() as patch:
        for name in ("export_encoder", "export_encode", "export_step"):
            patch.setattr(parts, name, once(getattr(parts, name)))
        yield


@pytest.fixture(
    scope="session",
    params=[name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in OPTIONS],
)
def trained(request: pytest.FixtureRequest, encoder: Encoder) -> TrainedCaptioner:
    return learnt(request.param, encoder)


@pytest.fixture(scope="session")
def run(trained: TrainedCaptioner, tmp_path_factory: pytest.TempPathFactory, _traced_once: None) -> Path:
    """Folder of a trained captioner with its encoder."""
    folder = tmp_path_factory.mktemp("run") / trained.architecture
    save_captioner(folder, trained)
    return folder


@pytest.fixture(scope="session")
def exported(run: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A float32 bundle."""
    to = tmp_path_factory.mktemp("bundles") / "bundle"
    return export_bundle(run, to, encoder=encoder, decode=DecodeOptions(beam_size=4))


@pytest.fixture(scope="session")
def bundle(exported: Exported) -> Bundle:
    return Bundle.open(exported.folder)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for ONNX Runtime Web where no browser runs."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in RUNTIME_FILES:
        (folder / name).write_text(name)
        monkeypatch.setitem(RUNTIME_FILES, name, hashlib.sha256(name.encode()).hexdigest())
    return folder
