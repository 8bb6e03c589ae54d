import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_files import Notes

from distilcap.data.convert import convert
from distilcap.data.dataset import Dataset
from distilcap.data.readers import find_entries, read_dataset
from distilcap.data.readers.entries import split_by_hash
from distilcap.errors import ConfigError, DataError

WORLD = {  # image -> (split, captions)
    "a.jpg": ("train", ["A dog , running .", 'the "fast" dog']),
    "b.jpg": ("val", ["Ein Hündchen\u2028spielt"]),
    "c.jpg": ("test", ["a cat", "two cats; one mat"]),
}
ONE_LINE = {
    name: (split, [" ".join(text.split()) for text in texts]) for name, (split, texts) in WORLD.items()
}


def put_images(folder: Path, names: Any = WORLD) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not looked into")


def contents(data: Dataset) -> dict[str, tuple[str, list[str]]]:
    return {
        image.path.name: (image.split, data.captions.texts(image.id) if image.id in data.captions else [])
        for image in data.images
    }


def karpathy(folder: Path) -> Path:
    images = [
        {"filename": name, "imgid": number, "split": split, "sentences": [{"raw": text} for text in texts]}
        for number, (name, (split, texts)) in enumerate(WORLD.items())
    ]
    path = folder / "dataset_tiny.json"
    path.write_text(json.dumps({"images": images, "dataset": "tiny"}))
    return path


def json_lines(folder: Path) -> Path:
    path = folder / "captions.jsonl"
    rows = [{"image": name, "captions": texts, "split": split} for name, (split, texts) in WORLD.items()]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def json_list(folder: Path) -> Path:
    path = folder / "captions.json"
    rows = [
        {"image": name, "caption": text, "split": split}
        for name, (split, texts) in WORLD.items()
        for text in texts
    ]
    path.write_text(json.dumps(rows, indent=1))
    return path


def table(folder: Path, sign: str = ",") -> Path:
    path = folder / ("captions.tsv" if sign == "\t" else "captions.csv")
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # as Excel writes it
        quoted = sign in ",;"
        quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        writer = csv.writer(file, delimiter=sign, quoting=quoting, quotechar='"' if quoted else None)
        writer.writerow(["Image", "split", "caption"])
        writer.writerows([name, split, text] for name, (split, texts) in WORLD.items() for text in texts)
    return path


FORMS: dict[str, Callable[[Path], Path]] = {
    "karpathy": karpathy,
    "lines": json_lines,
    "list": json_list,
    "csv": table,
    "semicolons": lambda folder: table(folder, ";"),
    "tsv": lambda folder: table(folder, "\t"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["images", "."])
def test_every_form_gives_the_same_data(tmp_path: Path, form: str, place: str) -> None:
    put_images(tmp_path / place)
    path = FORMS[form](tmp_path)
    assert contents(read_dataset(path)) == ONE_LINE
    data = read_dataset(tmp_path)  # the folder that holds the file
    assert contents(data) == ONE_LINE
    assert [image.id for image in data.images] == ["a", "b", "c"]
    assert all(image.path.is_file() for image in data.images)


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    put_images(tmp_path / "far")
    (tmp_path / "near").mkdir()
    path = karpathy(tmp_path / "near")
    assert read_dataset(path, images=tmp_path / "far").images[0].path == tmp_path / "far" / "a.jpg"
    with pytest.raises(DataError, match=r"none of the 3 images is there; looked for .*a\.jpg .*`--images`"):
        read_dataset(path)
    with pytest.raises(DataError, match=r"nowhere: there is no such folder of images"):
        read_dataset(path, images=tmp_path / "nowhere")


def test_karpathys_coco_has_coco_numbers_folders_and_restval(tmp_path: Path) -> None:
    put_images(tmp_path, ["val2014/COCO_val2014_000000391895.jpg", "train2014/x.jpg"])
    images = [
        {"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "cocoid": 391895,
         "split": "restval", "sentences": [{"tokens": ["a", "man"], "raw": "A man."}]},
        {"filepath": "train2014", "filename": "x.jpg", "cocoid": 7, "split": "train",
         "sentences": [{"tokens": ["a", "dog"]}]},
    ]  # fmt: skip
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    data = read_dataset(tmp_path)
    assert data.name == tmp_path.name
    assert [(image.id, image.split) for image in data.images] == [("391895", "train"), ("7", "train")]
    assert all(image.path.is_file() for image in data.images)
    assert data.captions.texts("391895") == ["A man."]
    assert data.captions.texts("7") == ["a dog"]  # from the tokens, where the raw text is missing


def coco(folder: Path, split: str, ids: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"captions_{split}2014.json"
    content = {
        "info": {},
        "images": [{"id": number, "file_name": f"COCO_{split}2014_{number:012d}.jpg"} for number in ids],
        "annotations": [{"image_id": number, "id": 1, "caption": f"caption {number}\n"} for number in ids],
    }
    path.write_text(json.dumps(content))
    return path


def test_coco_as_it_is_unzipped(tmp_path: Path) -> None:
    for split, ids in (("train", [9, 25]), ("val", [42])):
        coco(tmp_path / "annotations", split, ids)
        put_images(tmp_path / f"{split}2014", [f"COCO_{split}2014_{number:012d}.jpg" for number in ids])
    data = read_dataset(tmp_path)
    assert [(image.id, image.split) for image in data.images] == [
        ("9", "train"),
        ("25", "train"),
        ("42", "val"),
    ]
    assert all(image.path.is_file() for image in data.images)
    assert data.captions.texts("42") == ["caption 42"]
    one = read_dataset(tmp_path / "annotations" / "captions_val2014.json", split="test")
    assert [(image.id, image.split, image.path.is_file()) for image in one.images] == [("42", "test", True)]


def test_flickrs_token_file_and_kaggles_bars(tmp_path: Path) -> None:
    put_images(tmp_path, ["1.jpg", "2.jpg"])
    (tmp_path / "Flickr8k.token.txt").write_text(
        '1.jpg#0\tA "dog" .\n1.jpg#1\t"Run , dog" .\n2.jpg#0\tA cat .\n'
    )
    data = read_dataset(tmp_path / "Flickr8k.token.txt")
    assert data.captions.texts("1") == ['A "dog" .', '"Run , dog" .']
    bars = 'image_name| comment_number| comment\n1.jpg| 0| A dog .\n1.jpg| 1| "A", b .\n2.jpg| 0|" quoted "\n'
    (tmp_path / "results.csv").write_text(bars)
    data = read_dataset(tmp_path / "results.csv")
    assert data.captions.texts("1") == ["A dog .", '"A", b .']
    assert data.captions.texts("2") == ["quoted"]


def test_a_quoted_caption_may_go_over_lines(tmp_path: Path) -> None:
    put_images(tmp_path)
    (tmp_path / "captions.csv").write_text(
        'image,caption\r\na.jpg,"a\r\ndog"\r\n\r\nb.jpg,"a, ""b"""\r\n,\r\nc.jpg\r\n'
    )
    found = find_entries(tmp_path)
    assert found.entries["a"].captions == ["a dog"]
    assert found.entries["b"].captions == ['a, "b"']
    assert [(problem.line, problem.kind) for problem in found.problems] == [(7, "malformed entry")]


def test_a_plain_folder(tmp_path: Path) -> None:
    put_images(tmp_path, ["train/a.jpg", "train/deep/b.PNG", "val/c.jpg"])
    (tmp_path / "train/a.txt").write_text("a dog\na puppy\n")
    (tmp_path / "README.txt").write_text("about")
    put_images(tmp_path, [".Trash-1000/a.jpg"])
    (tmp_path / ".Trash-1000/b.txt").write_text("thrown away")
    data = read_dataset(tmp_path)
    assert [(image.id, image.split) for image in data.images] == [
        ("train/a", "train"), ("train/deep/b", "train"), ("val/c", "val"),
    ]  # fmt: skip
    assert data.captions.texts("train/a") == ["a dog", "a puppy"]
    assert len(data.captions) == 1
    (tmp_path / "train/z.txt").write_text("nobody")
    notes = Notes()
    assert read_dataset(tmp_path, progress=notes) == data, "a single one is somebody's notes"
    said = "'train/z.txt' belongs to no image; rename it as its image is called, or move it."
    assert notes.notes == [f"{tmp_path}: {said}"]
    (tmp_path / "train/y.txt").write_text("nobody")
    with pytest.raises(DataError, match=r"'train/y\.txt' belongs to no image; .* There are 1 more"):
        read_dataset(tmp_path)


def test_a_link_that_leads_round_bars_no_folder(tmp_path: Path) -> None:
    put_images(tmp_path, ["a.jpg"])
    (tmp_path / "x.jpg").symlink_to(tmp_path / "x.jpg")
    found = find_entries(tmp_path)
    assert list(found.entries) == ["a"]
    assert found.notes == [f"{tmp_path}: 1 image left out: no file, or a broken link, such as 'x.jpg'."]
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,a dog\nx.jpg,a cat\n")
    read = read_dataset(tmp_path)
    assert [image.id for image in read.images] == ["a", "x"]
    convert(read, tmp_path / "again.jsonl")
    assert read_dataset(tmp_path / "again.jsonl").fingerprint() == read.fingerprint()


def test_files_of_several_splits_are_read_together(tmp_path: Path) -> None:
    put_images(tmp_path / "images")
    for split, name in (("train", "a"), ("val", "b"), ("test", "c")):
        (tmp_path / f"{split}.csv").write_text(f"image,caption\n{name}.jpg,a dog\n")
    assert {image.id: image.split for image in read_dataset(tmp_path).images} == {
        "a": "train",
        "b": "val",
        "c": "test",
    }
    (tmp_path / "more.csv").write_text("image,caption\n")
    with pytest.raises(
        DataError, match=r"more than one file may hold the captions \(more.csv, .*name the file you mean"
    ):
        read_dataset(tmp_path)
    for number in range(6):
        (tmp_path / f"more{number}.csv").write_text("image,caption\n")
    with pytest.raises(DataError, match=r"\(more.csv, .*, more3.csv and 5 more\); name"):
        read_dataset(tmp_path)


def test_without_splits_a_hash_of_the_id_decides(tmp_path: Path) -> None:
    put_images(tmp_path)
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,x\nb.jpg,y\nc.jpg,z\n")
    assert {image.id: image.split for image in read_dataset(tmp_path).images} == {
        id: split_by_hash(id) for id in "abc"
    }
    splits = [split_by_hash(str(number)) for number in range(10_000)]
    assert splits.count("train") == pytest.approx(8000, abs=150)
    assert splits.count("val") == pytest.approx(1000, abs=110)
    # Must never change; `printf dog | sha256sum` begins with cd63, and 0xcd63 / 0x10000 is 0.802.
    assert [split_by_hash(id) for id in ("dog", "7", "391895", "img_12")] == ["val", "train", "train", "test"]


def test_our_own_caption_sets_are_read_by_id(tmp_path: Path) -> None:
    put_images(tmp_path / "images")
    data = read_dataset(karpathy(tmp_path))
    data.captions.save(tmp_path / "pseudo.jsonl")
    again = read_dataset(tmp_path / "pseudo.jsonl")
    assert again.captions == data.captions
    assert [image.path for image in again.images] == [image.path for image in data.images]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("x.json", "{", r"x\.json: not valid JSON: Expecting property name"),
        ("x.json", "", r"x\.json: not valid JSON: Expecting an object or a list"),
        ("x.json", '{"images": [\n{"a": 1}\n{}]}', r"x\.json:3: not valid JSON: Expecting ',' delimiter"),
        ("x.json", "[] []", r"x\.json: not valid JSON: Extra data"),
        ("x.json", "[" * 100_000, r"x\.json: not usable JSON: nested too deeply"),
        ("x.json", '{"images": [], "annotations": [], "x": 1e999}', r"1e999 is too large a number"),
        ("x.json", "{}", r"x\.json: not a captions file\. Expected Karpathy's form"),
        ("x.json", "[]", r"x\.json: there are no images in it"),
        ("x.json", '{"images": [], "annotations": []}', r"there are no images in it"),
        ("x.json", '{"images": [\n{"filename": 3, "sentences": []}]}',
         r'x\.json:2: expected \{"filename": …, "split": …, "sentences": \[…\]\}'),
        ("x.json", '{"images": [\n{"filename": "a.jpg", "split": "dev1", "sentences": []}]}',
         r"x\.json:2: `split` must be one of train, val, test, but is 'dev1' at 'a\.jpg'"),
        ("x.json", '{"images": [{"filename": "a.jpg", "split": "val", "sentences": [3]}]}',
         r"x\.json:1: expected captions of image 'a' as strings"),
        ("x.json", '{"images": [{"filename": "a.jpg", "split": "val", "sentences": ["\\ud800"]}]}',
         r"expected captions of image 'a' as strings"),
        ("x.json", '{"images": [{"filename": "a.jpg", "split": "val", "sentences": []},\n'
         '{"filename": "a.jpg", "split": "val", "sentences": []}]}',
         r"x\.json:2: image 'a' was there before \(line 1\)\."),
        ("x.json", '{"images": [{"filename": "a.jpg", "split": "val", "sentences": []},\n'
         '{"filename": "b.jpg", "sentences": []}]}',
         r"x\.json:2: image 'b' has no split, but other images have"),
        ("x.json", '{"images": [],\n"annotations": [\n{"image_id": 3, "caption": "x"}]}',
         r"x\.json:3: there is a caption for image '3', which is not listed"),
        ("x.json", '{"images": [{"id": 3}], "annotations": []}', r'expected \{"id": …, "file_name": …\}'),
        ("x.json", '{"images": [{"id": 3, "file_name": "a.jpg"}], "annotations": [{"image_id": true}]}',
         r'expected \{"image_id": …, "caption": …\}'),
        ("x.json", '[{"image": "a.jpg", "caption": 7}, 8]',
         r'expected \{"image": …, "caption": …\}.*There are 1 more'),
        ("x.jsonl", '{"image": "a.jpg"}\n{"image"', r'x\.jsonl:2: expected \{"image": …, "caption": …\}'),
        ("x.jsonl", '{"image": "a.jpg", "split": "train"}\n{"image": "a.jpg", "split": "val"}',
         r"x\.jsonl:2: image 'a' is in split val here, but was in train \(line 1\)"),
        ("x.csv", "", r"x\.csv: there are no images in it"),
        ("x.csv", "foo,bar\n1,2\n", r"x\.csv:1: expected a header with the columns `image` and `caption`"),
        ("x.csv", 'image,caption\na.jpg,x\nb.jpg,"x\n', r"x\.csv:3: not a table: unexpected end of data"),
        ("x.csv", "image,caption\na.jpg,a dog, running\n",
         r"x\.csv:2: expected 2 fields with an image's name, but it has 3; put a caption that holds ','"),
        ("x.csv", "image,caption,split\na.jpg,a dog,holdout\n", r"x\.csv:2: `split` must be one of"),
        ("x.csv", "image,caption,Set\na.jpg,a dog,holdout\nb.jpg,a cat,test\n",
         r"x\.csv:2: `Set` must be one of train, val, test, but is 'holdout'"),
        ("x.csv", "image,caption\n,a dog\n",
         r"x\.csv:2: expected an image's name in the column `image`, but it is empty\."),
        ("x.doc", "", r"x\.doc: expected a captions file \(\.json, \.jsonl, .*\) or a folder"),
    ],
)  # fmt: skip
def test_errors_name_file_and_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    put_images(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_dataset(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_errors_of_paths_and_options(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: there is no such file or folder"):
        read_dataset(tmp_path / "gone")
    with pytest.raises(DataError, match=r"there is neither a captions file nor an image in this folder"):
        read_dataset(tmp_path)
    with pytest.raises(ConfigError, match=r"`split` must be one of train, val, test, but is 'dev'"):
        read_dataset(tmp_path, split="dev")
    (tmp_path / "x.csv").write_bytes(b"image,caption\na.jpg,\xff\n")
    with pytest.raises(DataError, match=r"x\.csv:2: not UTF-8 text; save the file as UTF-8"):
        read_dataset(tmp_path / "x.csv")
    os.mkfifo(tmp_path / "pipe.doc")
    with pytest.raises(DataError, match=r"pipe\.doc: expected a captions file"):
        read_dataset(tmp_path / "pipe.doc")
