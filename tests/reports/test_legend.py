"""What a report says below its tables: what gains are against, and of how many test images scores are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord
from distilcap.progress import SILENT
from distilcap.reports.collect import collect_results
from distilcap.reports.grids import legend
from distilcap.reports.records import Results, read_results
from distilcap.store.store import Store

DOCS = Path(__file__).parents[2] / "docs/results"


def recorded(name: str) -> Results:
    return read_results(DOCS / name / "results.json")


@pytest.mark.parametrize(
    ("name", "baselines"),
    [
        ("flickr8k", "the same captioner without a teacher: paired"),
        ("flickr8k-families", "'updown-small' in 'transformer-small': paired"),
        (
            "flickr8k-extra",
            "'updown-small, half of the captions' in 'updown-small, half of the captions, labels",
        ),
    ],
)
def test_gains_are_said_to_be_against_what_they_are_against(name: str, baselines: str) -> None:
    said = legend(recorded(name)).partition("Gains are against ")[2]
    assert baselines in said
    if name != "flickr8k":
        assert "the same captioner without" not in said


def test_rows_that_ran_once_beside_others_are_told() -> None:
    results = recorded("flickr8k-quick")
    assert "teachers ran once" in legend(results)
    assert "rows without ± ran once" not in legend(results)
    once = dataclasses.replace(results.rows[-1], seeds=(0,))
    assert "rows without ± ran once" in legend(dataclasses.replace(results, rows=(*results.rows[:-1], once)))


def test_rows_of_different_devices_are_told() -> None:
    results = recorded("flickr8k-families")
    assert "devices" not in legend(results)  # nothing is known
    devices = (("cpu",), ("", "a card"), ())
    rows = tuple(
        dataclasses.replace(row, devices=one) for row, one in zip(results.rows, devices, strict=True)
    )
    said = legend(dataclasses.replace(results, rows=rows))
    assert (
        "Rows were trained on different devices, which alone may move scores: cpu in 'updown-medium'; "
        "an unrecorded one and a card in 'updown-small'; not recorded of the others."
    ) in said
    for known in (("cpu",), ("", "cpu")):
        first, *others = results.rows
        same = (
            dataclasses.replace(first, devices=("cpu",)),
            *(dataclasses.replace(row, devices=known) for row in others),
        )
        assert "devices" not in legend(dataclasses.replace(results, rows=same))


def test_rows_of_different_numbers_of_seeds_are_all_told() -> None:
    results = recorded("flickr8k-quick")
    twice = dataclasses.replace(results.rows[-1], seeds=(0, 1))
    mixed = dataclasses.replace(results, rows=(*results.rows[:-1], twice))
    assert "rows are means of 3 seeds, ±" in legend(results)
    assert "rows are means of 2 or 3 seeds, ±" in legend(mixed)
    students = tuple(row for row in mixed.rows if row.role != "teacher")
    assert "teachers ran once" not in legend(dataclasses.replace(mixed, rows=students))


@pytest.mark.parametrize("name", ["flickr8k", "flickr8k-line"])
def test_scores_of_fewer_images_than_the_split_has_are_told(name: str) -> None:
    some = dataclasses.replace(recorded(name), scored_images=1990, test_images=2000)
    assert legend(some).startswith("Scores on the test split (1,990 images), times 100")
    assert "Only 1,990 of 2,000 test images are scored" in legend(some)
    whole = dataclasses.replace(some, scored_images=2000)
    assert "Only" not in legend(whole)


def test_gains_over_few_images_are_said_to_be_by_student_s_t() -> None:
    few = dataclasses.replace(recorded("flickr8k"), scored_images=12, test_images=12)
    assert "without a teacher: Student's t over only 12 test images, seeds averaged" in legend(few)
    one = dataclasses.replace(few, scored_images=1, test_images=1)
    assert "without a teacher: none, for there is one test image" in legend(one)


def test_test_images_are_counted_as_they_are_captioned() -> None:
    """Where a photograph is missing there is no caption; an image without references is not scored."""
    captions = CaptionSet({id: (Caption("a dog"),) for id in ("a", "b", "c")})
    images = tuple(ImageRecord(id, Path(f"{id}.jpg"), "test") for id in ("a", "b", "c", "d"))
    dataset = Dataset("data", images, captions)
    source = SimpleNamespace(load=lambda store: dataset, images=None, path="data")
    written = SimpleNamespace(source=source, load=lambda store: captions.only(["a", "c"]))
    system: Any = SimpleNamespace(name="system", scored=lambda column: (written,))
    results = collect_results("t", [system], (), "", cast(Store, None), SILENT)
    assert (results.scored_images, results.test_images) == (2, 3)
