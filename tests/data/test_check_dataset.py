import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distilcap.data.check import check_dataset
from distilcap.data.readers import find_entries, read_dataset
from distilcap.data.readers.entries import KINDS
from distilcap.data.trainable import usual_min_count, words_to_learn
from distilcap.errors import DataError
from distilcap.runtime import large
from distilcap.stages.changed_data import HoldOut
from distilcap.stages.data import ImportData


def picture(path: Path, seed: int, size: tuple[int, int] = (64, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_a_clean_folder_has_no_problems(tmp_path: Path) -> None:
    for number, ending in enumerate(("jpg", "png", "webp", "bmp", "gif", "tiff")):
        picture(tmp_path / f"{number}.{ending}", number)
        (tmp_path / f"{number}.txt").write_text(f"picture {number}\n")
    report = check_dataset(tmp_path, split="test")
    assert report.problems == ()
    assert report.images == {"train": 0, "val": 0, "test": 6}
    assert report.captions == 6


def test_words_are_counted_as_training_counts_them(tmp_path: Path) -> None:
    """Captions of images whose files are missing are learnt from nobody, but their words are known."""
    lines = ["image,caption,split"]
    for number in range(12):
        lines.append(f"{number}.png,picture number{number},{'train' if number < 8 else 'val'}")
        if number not in (1, 2):
            picture(tmp_path / f"{number}.png", number)
    lines += [f"{number}.png,a test,test" for number in (20, 21)]
    for number in (20, 21):
        picture(tmp_path / f"{number}.png", number)
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    learnt = read_dataset(tmp_path / "captions.csv").references("train")
    _, coverage = words_to_learn([learnt.texts(id) for id in learnt], 4, usual_min_count(8))
    assert check_dataset(tmp_path / "captions.csv").coverage == coverage


def test_every_problem_is_named_with_its_line(tmp_path: Path) -> None:
    for number in range(9):
        picture(tmp_path / "images" / f"{number}.jpg", number)
    images = tmp_path / "images"
    (images / "1.jpg").unlink()
    (images / "2.jpg").write_bytes(b"")
    whole = (images / "3.jpg").read_bytes()
    (images / "3.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "4.jpg").write_text("<html>404</html>")
    (images / "6.jpg").write_bytes((images / "5.jpg").read_bytes())
    rows = [
        "image,caption,split",
        *(f"{number}.jpg,picture {number},train" for number in range(7)),  # lines 2 to 8
        "0.jpg,picture 0,train",
        "0.jpg, . ,train",
        "7.jpg,,val",
        "8.jpg,picture 8,holdout",
        "8.jpg,a,b,c",
        "5.jpg,picture,val",
    ]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    report = check_dataset(tmp_path, min_count=50)
    found = [(problem.line, problem.kind) for problem in report.problems]
    assert found == [
        (9, "duplicate caption"),
        (10, "empty caption"),
        (11, "empty caption"),
        (12, "unknown split"),
        (13, "malformed entry"),
        (14, "duplicate image id"),
        (11, "no captions"),
        (None, "nothing to learn"),  # no word is that frequent
        (3, "missing image"),
        (4, "empty image file"),
        (5, "truncated image"),
        (6, "undecodable image"),
        (8, "duplicate image file"),
    ]
    # Of COCO and of folders alone; see the readers' tests.
    assert set(KINDS) - {kind for _, kind in found} == {"unknown image", "file name"}
    assert report.counts["empty caption"] == 2
    assert sum(report.counts.values()) == len(report.problems)
    for problem in report.problems:
        place = f"{tmp_path / 'captions.csv'}:{problem.line}" if problem.line else str(tmp_path)
        assert str(problem).startswith(f"{place}: ")
    messages = [problem.message for problem in report.problems]
    assert "image '1': " + str(images / "1.jpg") + " is not there." in messages
    assert any(message.endswith("4.jpg is no image of a known form.") for message in messages)
    assert "image '6' (val) is the same file as '5' (test)." in messages  # as `distill` holds out


def test_copies_are_in_the_splits_that_distill_uses(tmp_path: Path) -> None:
    """It holds training images out where a split has none, and so may test on what it learns from."""
    for number in range(12):
        picture(tmp_path / f"{number}.png", number % 6)
    rows = [f"{number}.png,picture number {number},train" for number in range(12)]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption,split", *rows]))
    dataset = read_dataset(tmp_path)
    learnt = HoldOut.where_needed(ImportData.of(tmp_path), dataset, ("val", "test"))
    assert isinstance(learnt, HoldOut)
    used = {image.id: image.split for image in learnt.changed(dataset).images}
    assert Counter(used.values()) == {"train": 8, "val": 2, "test": 2}
    assert [problem.message for problem in check_dataset(tmp_path).problems] == [
        f"image '{n}' ({used[str(n)]}) is the same file as '{n - 6}' ({used[str(n - 6)]})."
        for n in range(6, 12)
    ]


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp", "gif", "tiff"])
def test_every_cut_and_many_flips_are_seen_or_harmless(tmp_path: Path, ending: str) -> None:
    """A file cut anywhere is reported: the quick decoding of JPEG must not hide what a full one sees."""
    picture(tmp_path / f"a.{ending}", 0)
    whole = (tmp_path / f"a.{ending}").read_bytes()
    for share in (0.05, 0.3, 0.6, 0.9):
        (tmp_path / f"a.{ending}").write_bytes(whole[: int(share * len(whole))])
        kinds = {problem.kind for problem in check_dataset(tmp_path).problems}
        assert kinds & {"truncated image", "undecodable image"}, (ending, share)
    rng = np.random.default_rng(1)
    for _ in range(20):  # damaged anywhere: no exception, whatever is found
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 5):
            damaged[place] = rng.integers(256)
        (tmp_path / f"a.{ending}").write_bytes(damaged)
        check_dataset(tmp_path)


def test_a_folder_or_a_bomb_in_an_images_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", 0)
    (tmp_path / "b.jpg").mkdir()
    (tmp_path / "captions.jsonl").write_text(
        '{"image": "a.png", "caption": "a"}\n{"image": "b.jpg", "caption": "b"}'
    )
    monkeypatch.setattr(large, "MAX_PIXELS", 64 * 48 - 1)
    kinds = [(problem.kind, problem.line) for problem in check_dataset(tmp_path, split="test").problems]
    assert kinds == [("undecodable image", 1), ("missing image", 2)]


def test_a_pipe_in_an_images_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "captions.jsonl").write_text('{"image": "pipe.jpg", "captions": ["a pipe"]}\n')
    report = check_dataset(tmp_path / "captions.jsonl")
    (message,) = (problem.message for problem in report.problems if problem.kind == "missing image")
    assert "is not a regular file" in message


def test_coco_captions_for_an_unknown_image(tmp_path: Path) -> None:
    picture(tmp_path / "val2014" / "a.jpg", 0)
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 2, "caption": "x"}, {"image_id": 1, "caption": "y"}],
    }
    (tmp_path / "captions_val2014.json").write_text(json.dumps(content, indent=1))
    (problem,) = check_dataset(tmp_path).problems
    assert (problem.kind, problem.line) == ("unknown image", 9)


def test_what_cannot_be_read_at_all_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        check_dataset(tmp_path / "gone")


def test_flickr8k_has_the_faults_it_is_known_for(shared_data: Path) -> None:
    """Of the captions alone: decoding 8,000 images belongs to no test."""
    found = find_entries(shared_data / "flickr8k")
    assert len(found.entries) == 8000
    assert sum(len(entry.captions) for entry in found.entries.values()) == 40_000
    assert [problem.kind for problem in found.problems] == ["duplicate caption"] * 10
    assert all(entry.path.is_file() for entry in found.entries.values())
