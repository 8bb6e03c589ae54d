"""How large bundles of the small captioner are, its real encoder included.

    pytest -m slow -s tests/export/test_sizes.py

The encoder has its published weights; the captioner's are random, which changes no size: a row of int8 is as
long whatever it holds. So captions are not compared here. Words are invented, of COCO's average length.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from distilcap.encoders.registry import create_encoder
from distilcap.errors import MissingError
from distilcap.export import bundle as bundle_module
from distilcap.export.bundle import export_bundle
from distilcap.export.onnx.parity import Comparison
from distilcap.export.options import ExportOptions
from distilcap.models.families import CaptionerOptions
from distilcap.models.presets import build_captioner, preset
from distilcap.models.weights import TrainedCaptioner, save_captioner
from distilcap.study.flickr8k import STUDENT
from distilcap.text.vocabulary import SPECIALS, Vocabulary

COCO, FLICKR8K = 10_369, 2_600


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, words, most",
    [
        (preset("updown", "pocket"), COCO, 10.0),
        (preset("updown", "pocket"), FLICKR8K, 8.0),
        (STUDENT.options, FLICKR8K, 8.0),
    ],
    ids=["pocket-coco", "pocket-flickr8k", "recipe-flickr8k"],
)
def test_a_small_captioner_fits(
    options: CaptionerOptions, words: int, most: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        encoder = create_encoder("efficientnet-lite0")
    except MissingError as error:
        pytest.skip(str(error))
    invented = tuple(f"{place:07d}" for place in range(words - len(SPECIALS)))
    captioner = build_captioner("updown", options, words, encoder.dim)
    save_captioner(
        tmp_path / "run",
        TrainedCaptioner(captioner, "updown", options, Vocabulary(SPECIALS + invented), encoder.recipe()),
    )
    monkeypatch.setattr(bundle_module, "compare", lambda *_: Comparison())
    export_bundle(tmp_path / "run", tmp_path / "bundle", ExportOptions(precision="int8"), encoder=encoder)
    sizes = {path.name: path.stat().st_size / 1e6 for path in (tmp_path / "bundle").iterdir()}
    print(
        f"\n{words} words: {sum(sizes.values()):.2f} MB", {name: round(one, 3) for name, one in sizes.items()}
    )
    assert sizes["encoder.onnx"] > 3, "the real encoder"
    assert sum(sizes.values()) <= most
