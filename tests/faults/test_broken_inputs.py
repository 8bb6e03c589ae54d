"""Inputs that are broken in any way: one line, or read as what they say; no traceback, hang or gigabyte."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from fault_work import Experiment

FORMS = (
    *("Karpathy JSON", "COCO JSON", "JSON records", "JSON lines", "CSV", "TSV", "folder of texts"),
    *("captions file", "COCO results", "captions by id", "scores", "frequencies", "words", "image list"),
    *("photograph", "manifest", "stage.json", "stage.json of scores", "checksums.json", "images.json"),
    *("words.json", "store.json", "features.safetensors", "log.json", "training.json", "decoding.json"),
    *("scores.json", "latency.json", "captions.jsonl", "captioner.json", "captioner.safetensors"),
    *("saved encoder", "saved encoder's recipe", "checkpoint", "seconds.json", "log of extraction"),
    *("log of labelling", "shard", "pack", "archive of a pack"),
)
GENERATED = 30  # of each form, beside those that are unusable anywhere
MOST_MEGABYTES = 1000
SAMPLE = ("captions.jsonl", "log of labelling", "archive of a pack")


@pytest.mark.parametrize(
    "form, count",
    [
        *((form, 10) for form in SAMPLE),
        *(pytest.param(form, GENERATED, marks=pytest.mark.faults) for form in FORMS),
    ],
)
def test_broken_inputs(
    form: str, count: int, request: pytest.FixtureRequest, experiment: Experiment, seed: int, tmp_path: Path,
    figures: dict[str, Counter[str]],
) -> None:  # fmt: skip
    if form == "manifest":
        request.getfixturevalue("bundled")
    arguments = (form, experiment.scenes, experiment.store, tmp_path, seed, count)
    ended = experiment.forks.run("broken", *arguments, more_memory=1 << 30).checked()
    figures["broken inputs"][form] += ended.value.inputs
    figures["peak megabytes"][form] = max(figures["peak megabytes"][form], round(ended.megabytes))
    assert not ended.value.wrong, "\n".join(ended.value.wrong)
    assert ended.value.refused > 0
    assert ended.megabytes < MOST_MEGABYTES
