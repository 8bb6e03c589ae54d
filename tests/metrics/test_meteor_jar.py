"""METEOR by the official program, against the official recorded scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distilcap.data.captions import CaptionSet
from distilcap.metrics import evaluate
from distilcap.metrics.meteor.score import forgive_whole, pool_meteor
from distilcap.metrics.meteor_jar import MeteorJar


def test_a_caption_equal_to_its_reference_scores_1_and_nothing_matched_0() -> None:
    same = [3.0, 3, 1, 1, 2, 2, 1, 1, *[0] * 12, 1, 3, 3]
    none = [3.0, 3, 1, 1, *[0] * 16, 0, 0, 0]
    np.testing.assert_allclose(pool_meteor(forgive_whole(np.array([same, none]))), [[1.0], [0.0]])


def test_the_reason_is_given_where_java_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from distilcap.errors import MissingError

    def missing() -> None:
        raise MissingError("Java was not found")

    monkeypatch.setattr("distilcap.metrics.meteor_jar.find_java", missing)
    captions = CaptionSet.of_texts({"x": ["a dog"]})
    score = evaluate(captions, captions, [MeteorJar()])["meteor_jar"]
    assert score.unavailable == "Java was not found"
    assert np.isnan(score.value)


@pytest.mark.slow
def test_the_official_example(shared_data: Path) -> None:
    metric = MeteorJar()
    if reason := metric.unavailable():
        pytest.skip(reason)
    folder = shared_data / "coco_fakecap"
    references: dict[str, list[str]] = {}
    for one in json.loads((folder / "captions_val2014_fakecap_refs.json").read_text())["annotations"]:
        references.setdefault(str(one["image_id"]), []).append(one["caption"])
    results = json.loads((folder / "captions_val2014_fakecap_results.json").read_text())
    candidates = CaptionSet.of_texts({str(one["image_id"]): [one["caption"]] for one in results})
    score = evaluate(candidates, CaptionSet.of_texts(references), [metric])["meteor_jar"]
    assert score.value == pytest.approx(0.19525467177780284, abs=1e-6)
