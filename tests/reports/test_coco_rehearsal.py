"""The rehearsal's data are COCO's layout, and its table adds up what was measured."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks import coco_data, coco_rehearsal
from benchmarks.coco_rehearsal import COCO_IMAGES, SIZE, FewerToLearn, images_of, run_command, run_table
from benchmarks.coco_rehearsal_page import MEASURED, table
from benchmarks.pages import read_lines
from distilcap.data.readers import read_dataset
from distilcap.files import write_json
from distilcap.store.store import Store
from distilcap.study.rows import Students


def make_small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 images, ten of which are to be learnt from."""

    def annotations(name: str) -> dict[str, Any]:
        first = 1 if "train" in name else 100
        images = [{"id": id, "file_name": f"COCO_{id}.jpg"} for id in range(first, first + 8)]
        texts = [(image["id"], f"A dog, no. {image['id']}") for image in images for _ in range(5)]
        captions = [{"image_id": id, "id": n, "caption": text} for n, (id, text) in enumerate(texts)]
        return {"images": images, "annotations": captions}

    monkeypatch.setattr(coco_data, "coco_annotations", annotations)
    monkeypatch.setattr(coco_data, "DRAWN", 2)
    monkeypatch.setattr(coco_data, "HELD_OUT", 3)
    coco_data.make_coco(folder, 16)


def test_made_data_read_as_cocos_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(tmp_path, monkeypatch)
    dataset = read_dataset(tmp_path / "coco")
    ids = {split: [image.id for image in dataset.split(split)] for split in ("train", "val", "test")}
    assert ids["val"] == ["100", "101", "102"]
    assert ids["test"] == ["103", "104", "105"]
    assert ids["train"] == [*map(str, range(1, 9)), "106", "107"]
    assert all(dataset.captions.texts(image.id) == [f"A dog, no. {image.id}"] * 5 for image in dataset.images)
    assert all(image.path.is_file() for image in dataset.images)
    assert len({image.path.stat().st_ino for image in dataset.images}) == 2


def test_fewer_images_are_learnt_from_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(tmp_path, monkeypatch)
    monkeypatch.setattr(coco_rehearsal, "measured", lambda *_: contextlib.nullcontext())
    made: list[Students] = []

    def stop(folder: Path, students: Students, store: Store) -> None:
        made.append(students)
        raise KeyboardInterrupt

    monkeypatch.setattr(coco_rehearsal, "measure_reading", stop)
    with pytest.raises(KeyboardInterrupt):
        run_table(tmp_path, 4)
    store = Store(tmp_path / "store")
    data = made[0].train("updown", "big", 0).data
    store.build(data)
    splits = {split: len(data.load(store).split(split)) for split in ("train", "val", "test")}
    assert splits == {"train": 4, "val": 3, "test": 3}
    assert isinstance(data, FewerToLearn)
    assert data.note(store) == "4 training images are learnt from."
    assert made[0].more_seeds == ()


def test_a_kind_of_stage_is_a_row_and_the_last_measurement_counts(tmp_path: Path) -> None:
    def line(what: str, seconds: int, peak: int, **more: int) -> str:
        return json.dumps({"what": what, "seconds": seconds, "cpu_seconds": 1, "peak": peak, **more})

    path = tmp_path / "9.jsonl"
    lines = [
        line("distilcap data check", 99, 9),
        line("Train: updown 8 wide, labels generate-0123456789ab, 7 images", 3, 1200, anonymous=700, bytes=1),
        line("Generate: test, beam 5, by train-ba9876543210", 2, 30, bytes=1_500_000),
        line("Generate: test, beam 5, by train-0123456789ab", 5, 20, bytes=500_000),
        line("MeasureLatency", 1, 1, bytes=100_000),
        line("MeasureLatency", 2, 1, bytes=100_000),
        line("distilcap data check", 4, 8),
    ]
    path.write_text("\n".join(lines) + "\n")
    assert table(read_lines(path)).splitlines()[2:] == [
        "| distilcap data check | 1 | 4 | 1 | 8 |  |  |",
        "| Train: updown 8 wide, 7 images | 1 | 3 | 1 | 1,200 | 700 | 0.0 |",
        "| Generate: test, beam 5 | 2 | 7 | 2 | 30 |  | 2.0 |",
        "| MeasureLatency | 2 | 3 | 2 | 1 |  | 0.2 |",
    ]


def test_a_rehearsal_is_of_as_many_images_as_it_began_with(tmp_path: Path) -> None:
    assert images_of(tmp_path, None) == COCO_IMAGES
    assert images_of(tmp_path, 2000) == 2000
    (tmp_path / MEASURED).touch()  # of an older one
    with pytest.raises(SystemExit, match="of how many images"):
        images_of(tmp_path, None)
    write_json(tmp_path / SIZE, 2000)
    assert images_of(tmp_path, None) == images_of(tmp_path, 2000) == 2000
    with pytest.raises(SystemExit, match="a rehearsal of 2,000 images"):
        images_of(tmp_path, COCO_IMAGES)


def test_a_command_that_fails_is_no_measurement_like_others(tmp_path: Path) -> None:
    for words in (("nothing",), ("--version",)):
        run_command(tmp_path, *words)
    rows = table(read_lines(tmp_path / MEASURED)).splitlines()[2:]
    assert rows[0].startswith("| distilcap nothing (ended in an error) | 1 |")
    assert rows[1].startswith("| distilcap --version | 1 |")
