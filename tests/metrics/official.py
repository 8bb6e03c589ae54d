"""The official COCO caption toolkit (pycocoevalcap), run as it is, as the truth to compare with."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

Captions = Mapping[str, Sequence[str]]
KEYS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")


def toolkit() -> Path:
    """The installed toolkit's folder; the test is skipped without it."""
    return Path(pytest.importorskip("pycocoevalcap.bleu.bleu").__file__).parents[1]


def official_scores(references: Captions, candidates: Captions) -> dict[str, tuple[float, np.ndarray]]:
    """Corpus score and scores of each image, from captions as words joined by spaces."""
    toolkit()
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    bleu, bleu_images = Bleu(4).compute_score(references, candidates, verbose=0)
    rouge, rouge_images = Rouge().compute_score(references, candidates)
    cider, cider_images = Cider().compute_score(references, candidates)
    values = [*zip(bleu, bleu_images, strict=True), (rouge, rouge_images), (cider, cider_images)]
    return {key: (float(one), np.array(several)) for key, (one, several) in zip(KEYS, values, strict=True)}


def coco_captions(year_split: str) -> dict[str, list[str]]:
    """COCO's captions of "train2014" or "val2014" by image, which the toolkit's SPICE carries."""
    with zipfile.ZipFile(toolkit() / "spice" / "spice-1.0.jar") as jar:
        content = json.loads(jar.read(f"coco/annotations/captions_{year_split}.json"))
    captions: dict[str, list[str]] = {str(image["id"]): [] for image in content["images"]}
    for one in content["annotations"]:
        captions[str(one["image_id"])].append(one["caption"])
    return captions


def assert_equal(scores, official, tolerance=1e-6):
    """Our scores equal the official ones, corpus and image by image, in the same order."""
    for key, (value, per_image) in official.items():
        assert scores[key].value == pytest.approx(value, abs=tolerance), key
        ours = np.array(list(scores[key].per_image.values()))
        assert np.abs(ours - per_image).max() < tolerance, key
