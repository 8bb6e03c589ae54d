"""What distilcap wrote into a folder of photographs is not learnt from."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from distilcap.data.captions import written_record
from distilcap.data.readers import find_entries, read_dataset
from distilcap.data.written_sides import SIDE_RECORD, note_side, written_sides
from distilcap.errors import DataError
from distilcap.runtime.formats import left_out
from distilcap.stages.changed_data import AddUnlabelled
from distilcap.stages.data import ImportData
from distilcap.store.store import Store
from distilcap.teachers.listing import named_images


def test_results_and_stores_below_a_folder_of_images_are_not_its_images(tmp_path: Path) -> None:
    for name in (
        "a.jpg",
        "a.txt",
        "distilled/results.json",
        "distilled/report.html",
        "distilled/images/sample-01.jpg",
        "runs/train-0f/stage.json",
        "runs/train-0f/checksums.json",
        "runs/train-0f/words.txt",
        "mine/stage.json",
        "mine/b.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}" if name.endswith("json") else "a dog")
    found = find_entries(tmp_path)
    assert list(found.entries) == ["a", "mine/b"]
    assert not found.problems
    (note,) = (note for note in found.notes if "distilcap wrote it" in note)
    assert "distilled" in note
    assert "runs/train-0f" in note
    images = find_entries(tmp_path / "distilled")  # named itself, it is read
    assert list(images.entries) == ["images/sample-01"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.csv", "image,caption,log_prob,confidence\na.jpg,a dog,-3.1,0.5\n"),
        ("all.jsonl", '{"image": "a.jpg", "caption": "a dog", "log_prob": -3.1, "confidence": null}\n'),
        ("captions.txt", "a.jpg\ta dog\n"),
    ],
)
def test_captions_of_a_captioner_are_read_only_where_they_are_named(
    name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_text("an image")
    (tmp_path / "a.txt").write_text("a puppy")
    (tmp_path / name).write_text(text)
    record = written_record(tmp_path / name)
    record.write_text(hashlib.sha256(text.encode()).hexdigest())
    with pytest.raises(DataError, match=f"{name}: captions that `distilcap caption --to` wrote"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path / name).captions.texts("a") == ["a dog"]
    if name == "captions.txt":  # else its columns tell
        record.write_text("of another file")
        assert read_dataset(tmp_path).captions.texts("a") == ["a dog"]


def test_side_files_of_a_captioner_are_left_out_until_a_person_edits_them(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "album/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jpg").write_text("an image")
        (tmp_path / f"{name}.txt").write_text(f"a dog called {name}\n")
    (tmp_path / "c.json").write_text('{"caption": "a cat"}')
    for name in ("b", "c", "album/d"):
        side = tmp_path / f"{name}.txt"
        note_side(side, side.read_bytes())
    record = tmp_path / SIDE_RECORD
    record.write_bytes(record.read_bytes() + b'{"file": "a.txt", "sha2')  # torn by a kill

    def captions() -> dict[str, list[str]]:
        read = read_dataset(tmp_path).captions
        return {image_id: read.texts(image_id) for image_id in read if read[image_id]}

    assert captions() == {"a": ["a dog called a"], "c": ["a cat"]}
    (note,) = find_entries(tmp_path).notes
    assert "3 files left out, which `distilcap caption --side-files` wrote, such as album/d.txt" in note
    (tmp_path / "b.txt").write_text("a puppy\n")
    note_side(tmp_path / "album/d.txt", b"another text")  # goes on behind a torn line, too
    assert captions() == {"a": ["a dog called a"], "b": ["a puppy"], "c": ["a cat"]}
    note_side(tmp_path / "a.txt", (tmp_path / "a.txt").read_bytes())
    assert captions() == {"b": ["a puppy"], "c": ["a cat"]}
    for file in (record, tmp_path / "album" / SIDE_RECORD):
        file.unlink()
    assert captions().keys() == {"a", "b", "c", "album/d"}


def test_a_record_that_is_a_link_is_neither_written_nor_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a dog\n")
    note_side(tmp_path / "a.txt", b"a dog\n")
    assert written_sides(tmp_path) == {tmp_path / "a.txt"}
    (tmp_path / SIDE_RECORD).rename(tmp_path / "elsewhere")
    (tmp_path / SIDE_RECORD).symlink_to("elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(DataError, match="is a link"):
        note_side(tmp_path / "b.txt", b"a cat\n")
    assert (tmp_path / "elsewhere").read_bytes() == before
    assert not written_sides(tmp_path)


def test_what_a_captions_file_leaves_out_of_its_folder_is_said(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_text("an image")
        (tmp_path / f"{name}.txt").write_text("a puppy")
    (tmp_path / "labels.jsonl").write_text('{"image": "a.jpg", "caption": "a dog"}\n')
    assert find_entries(tmp_path).notes == [
        f"{tmp_path}: captions are read from labels.jsonl; not read: 3 side files and 2 images of the folder."
    ]


def test_nor_are_they_photographs_to_label(tmp_path: Path) -> None:
    """A report has copies of test images, smaller ones, which nothing would know for these."""
    (tmp_path / "distilled/images").mkdir(parents=True)
    for name in ("results.json", "report.html", "images/sample-01.jpg"):
        (tmp_path / "distilled" / name).write_text("{}")
    (tmp_path / "a.jpg").write_text("an image")
    said: Counter[str] = Counter()
    assert [image.name for image in named_images(tmp_path, said)] == ["a.jpg"]
    assert left_out(said) == "not read, since distilcap wrote it: distilled"
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,a dog\n")
    added = AddUnlabelled.beside(ImportData.of(tmp_path / "captions.csv"), tmp_path)
    assert [image.id for image in added.read().images] == ["a"]
    assert added.note(Store(tmp_path / "store")).endswith("; not read, since distilcap wrote it: distilled.")
