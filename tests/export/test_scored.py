"""Which pictures a bundle is rounded by, scored on and calibrated on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord
from distilcap.export import scored
from distilcap.export.bundle import _training_pictures
from distilcap.export.onnx.parity import Comparison
from distilcap.export.options import ExportOptions
from distilcap.export.scored import calibrate_bundle, score_bundle
from distilcap.progress import SILENT
from distilcap.runtime.bundle import BundleCaption
from distilcap.runtime.pixels import Preprocessing

PEOPLE = {"a": "a red dog runs", "b": "two boats sail", "c": "a man climbs", "test": "a cat sleeps"}
COLOURS = {"train": (255, 0, 0), "val": (0, 0, 255), "test": (0, 255, 0)}


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Pictures whose colour tells their split; three of validation."""
    for split, colour in COLOURS.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{split}.png")
    splits = {"train": "train", "a": "val", "b": "val", "c": "val", "test": "test"}
    records = tuple(ImageRecord(id, tmp_path / f"{split}.png", split) for id, split in splits.items())
    captions = CaptionSet.of_texts({id: [text, text] for id, text in PEOPLE.items()})
    return Dataset("coloured", records, captions)


def test_an_encoder_is_rounded_by_training_pictures_alone(data: Dataset) -> None:
    pictures = list(_training_pictures(data, Preprocessing(4), SILENT)())
    assert np.array_equal(pictures, np.full((1, 4, 4, 3), COLOURS["train"]))


def test_the_bundle_s_score_stands_before_pytorch_s(data: Dataset) -> None:
    right = {id: Caption(PEOPLE[id], -1.0) for id in "abc"}
    wrong = {id: BundleCaption("nothing alike", -1.0, (4, 5, 2)) for id in "abc"}
    compared = Comparison(ours=right, theirs=wrong)
    scores = score_bundle(compared, data, ExportOptions(max_loss=1), "ptb", SILENT)["metrics"]
    assert scores["bleu_1"]["value"] < 0.01
    assert scores["bleu_1"]["pytorch"] == 1


def test_confidence_is_fitted_on_the_first_validation_images_and_measured_on_those_compared(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, asked = BundleCaption("a red dog runs", -2.0, (4, 5, 6, 7)), []

    class Blind:
        manifest = SimpleNamespace(
            vocabulary=SimpleNamespace(tokenizer="ptb"), preprocessing=Preprocessing(4)
        )

        def see(self, pixels: np.ndarray, names: tuple[str, ...]) -> int:
            assert np.array_equal(pixels, np.full((len(names), 4, 4, 3), COLOURS["val"]))
            asked.extend(names)
            return len(names)

        def search(self, seen: int, names: tuple[str, ...]) -> int:
            return seen

        def captions_of(self, found: int) -> list[list[BundleCaption]]:
            return [[said, BundleCaption("the second best", -9.0, (4, 5, 2))]] * found

    calibrated = []
    monkeypatch.setattr(scored, "calibrate", lambda *given: calibrated.append(given))
    compared = Comparison(theirs={"test": BundleCaption("a cat sleeps", -9.0, (4, 5, 2))})
    options = ExportOptions(split="test", limit=2)
    calibrate_bundle(Blind(), compared, data, options, SILENT)  # type: ignore[arg-type]
    ((people, (scores, right), (others, others_right), measured_on),) = calibrated
    assert people.images == 3
    assert asked == ["a", "b"]
    assert (scores.tolist(), right.tolist()) == ([-0.5, -0.5], [1, 0])
    assert (others.tolist(), others_right.tolist()) == ([-3.0], [1])
    assert measured_on == "1 images of test"
