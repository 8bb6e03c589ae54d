"""Folders in which people have images and captions by split, and forms from outside the package."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from small_files import Notes, contents, files, images, texts

from distilcap.data.check import check_dataset
from distilcap.data.readers import (
    DataForm,
    Source,
    find_entries,
    read_dataset,
    register_form,
    registry,
)
from distilcap.data.readers.entries import ReadResult
from distilcap.errors import ConfigError, DataError

VIZWIZ = {
    "images": [{"file_name": "v_0.jpg", "id": 0}, {"file_name": "v_1.jpg", "id": 1}],
    "annotations": [
        {"image_id": 0, "caption": "a box", "is_precanned": False, "is_rejected": False},
        {"image_id": 0, "caption": "bad", "is_precanned": False, "is_rejected": True},
        {"image_id": 1, "caption": "Quality issues.", "is_precanned": True, "is_rejected": False},
    ],
}
TOKENS = "".join(f"{n}.jpg#{k}\tA child {n} {k} .\n" for n in (1, 2, 3) for k in range(2))


def test_vizwiz_without_rejected_captions_and_with_its_test_list(tmp_path: Path) -> None:
    lists = {"images": [{"file_name": "t_0.jpg", "id": 9}]}
    files(tmp_path, {"annotations/train.json": VIZWIZ, "annotations/test.json": lists})
    files(tmp_path, images("train/v_0.jpg", "train/v_1.jpg", "test/t_0.jpg"))
    notes = Notes()
    read = read_dataset(tmp_path, progress=notes)
    assert contents(read) == {
        "v_0.jpg": ("train", ["a box"]),
        "v_1.jpg": ("train", []),
        "t_0.jpg": ("test", []),
    }
    assert "2 captions marked as rejected or precanned left out" in notes.notes[0]


@pytest.mark.parametrize("text, photos", [("", ""), ("Flickr8k_text/", "Flickr8k_Dataset/")])
def test_flickr8k_as_its_authors_give_it(tmp_path: Path, text: str, photos: str) -> None:
    """In one folder, or in the folders of its two archives."""
    files(
        tmp_path,
        {
            f"{text}Flickr8k.token.txt": TOKENS + "4.jpg.1#0\tpeople waiting\n",
            f"{text}Flickr8k.lemma.token.txt": TOKENS.lower(),
            f"{text}Flickr_8k.trainImages.txt": "2.jpg\n",
            f"{text}Flickr_8k.devImages.txt": "1.jpg\n",
            f"{text}Flickr_8k.testImages.txt": "3.jpg\r\n",
            f"{text}readme.txt": "about",
            **images(*(f"{photos}Flicker8k_Dataset/{n}.jpg" for n in (1, 2, 3))),
        },
    )
    notes = Notes()
    assert contents(read_dataset(tmp_path, progress=notes)) == {
        f"{n}.jpg": (split, [f"A child {n} 0 .", f"A child {n} 1 ."])
        for n, split in ((1, "val"), (2, "train"), (3, "test"))
    }
    assert "left out, since no list has them: 4.jpg.1" in notes.notes[0]


def test_a_flawed_row_is_named_and_the_rest_read(tmp_path: Path) -> None:
    """As row 19,999 of Flickr30k's results.csv; many flawed rows are another form, and refused."""
    rows = [f"{n}.jpg| {k}| A dog {k} ." for n in range(3) for k in range(5)]
    rows[7] = "1.jpg| 2   A dog runs across the grass ."
    path = tmp_path / "results.csv"
    path.write_text("\n".join(["image_name| comment_number| comment", *rows]))
    files(tmp_path, images(*(f"flickr30k_images/{n}.jpg" for n in range(3))))
    notes = Notes()
    read = read_dataset(path, progress=notes)
    assert [len(said) for said in texts(read).values()] == [5, 4, 5]
    assert f"{path}:9: expected 3 fields" in notes.notes[0]
    (problem,) = [one for one in check_dataset(path).problems if one.kind == "malformed entry"]
    assert problem.line == 9
    path.write_text("\n".join(["image_name| comment_number| comment", *rows[5:8]]))
    with pytest.raises(DataError, match=r"results\.csv:4: expected 3 fields"):
        read_dataset(path)


@pytest.mark.parametrize("layout", ["root", "splits", "data"])
@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_imagefolders_of_the_hub(tmp_path: Path, layout: str, ending: str) -> None:
    names = {"train": "a.jpg", "validation": "b.jpg", "test": "c.jpg"}
    home = tmp_path / "data" if layout == "data" else tmp_path
    for split, name in names.items():
        files(home / split, images(name))
        row = {"file_name": name, "text": f"a caption, of {name}"}
        if layout == "root":
            row["file_name"] = f"{split}/{name}"
        to = home if layout == "root" else home / split
        with (to / f"metadata.{ending}").open("a", newline="") as file:
            if ending == "jsonl":
                file.write(json.dumps(row) + "\n")
            else:
                if not file.tell():
                    csv.writer(file).writerow(row)
                csv.writer(file).writerow(row.values())
    assert contents(read_dataset(tmp_path)) == {
        "a.jpg": ("train", ["a caption, of a.jpg"]),
        "b.jpg": ("val", ["a caption, of b.jpg"]),
        "c.jpg": ("test", ["a caption, of c.jpg"]),
    }


def test_a_form_from_outside_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pascal's own format: a line with the image, then indented captions."""
    monkeypatch.setattr(registry, "_forms", dict(registry._forms))

    def read(source: Source, result: ReadResult) -> None:
        image = None
        for number, line in enumerate(source.path.read_text().splitlines(), 1):
            if not line.startswith(" "):
                image = result.image(line, f"{line}.jpg", source.split, number, numbered=True)
            elif image is not None:
                result.caption(image, line, number)

    form = DataForm("indented", "a", lambda source: source.path.suffix == ".pascal", read)
    register_form(form)
    files(tmp_path, {"x.pascal": "a\n a dog\n the dog\n", **images("a.jpg")})
    assert texts(read_dataset(tmp_path / "x.pascal")) == {"a.jpg": ["a dog", "the dog"]}
    with pytest.raises(ConfigError, match="'indented' cannot be registered: another has that name"):
        register_form(form)


def test_a_raw_file_beside_its_jpeg_is_no_image_of_its_own(tmp_path: Path) -> None:
    names = ("1.jpg", "1.dng", "1.HEIC", "2.heic", "3.dng", "a.jpg", "a.png", "b/1.dng")
    files(tmp_path, images(*names) | {"1.txt": "a dog"})
    found = find_entries(tmp_path)
    assert set(found.entries) == {"1", "2.heic", "3.dng", "a", "a.png", "b/1.dng"}
    (note,) = found.notes
    assert ": 2 images left out, of photographs that are there as JPEG or the like: 1.HEIC" in note


def test_a_captions_file_with_both_has_the_photograph_once(tmp_path: Path) -> None:
    """A large model described both: their names would hash to different splits."""
    names = ("IMG_1.jpg", "IMG_1.HEIC", "IMG_2.heic", "b/IMG_2.jpg")
    lines = [json.dumps({"image": name, "caption": f"a dog on {name}"}) for name in names]
    files(tmp_path, images(*names) | {"captions.jsonl": "\n".join(lines)})
    said = Notes()
    data = read_dataset(tmp_path / "captions.jsonl", progress=said)
    assert [image.id for image in data.images] == ["IMG_1", "IMG_2.heic", "b/IMG_2"]
    (note,) = said.notes
    assert ": 1 image left out, of photographs that are there as JPEG or the like: IMG_1.HEIC" in note
    assert len(read_dataset(tmp_path / "captions.jsonl", need_images=False).images) == 4  # captions to score


def test_captions_of_a_raw_file_are_its_photographs(tmp_path: Path) -> None:
    files(tmp_path, images("1.jpg", "1.dng", "2.jpg") | {"1.dng.txt": "a dog\n", "2.txt": "a cat\n"})
    read = read_dataset(tmp_path)
    assert {id: read.captions.texts(id) for id in read.captions} == {"1": ["a dog"], "2": ["a cat"]}


def test_a_captions_file_that_another_stands_before_is_named(tmp_path: Path) -> None:
    texts = {"1.txt": "a dog", "1.jpg.txt": "a cat", "a.txt": "a hen", "a.jpg.txt": "a cow", "2.txt": "a pig"}
    files(tmp_path, images("1.jpg", "2.jpg", "a.jpg", "a.png") | texts)
    said = Notes()
    read = read_dataset(tmp_path, progress=said).captions
    expected = {"1": ["a cat"], "2": ["a pig"], "a": ["a cow"], "a.png": ["a hen"]}
    assert {id: read.texts(id) for id in read} == expected
    (note,) = (note for note in said.notes if "not read" in note)
    assert note.endswith(
        ": 1 file of captions not read, beside others of the same image: not 1.txt, but 1.jpg.txt."
    )


def test_a_captions_file_of_another_ending_is_named_where_it_says_something_else(tmp_path: Path) -> None:
    texts = {
        **{"1.txt": "a dog", "1.json": {"caption": "a hound"}},
        **{"2.txt": "a cat", "2.json": {"caption": "a cat ", "url": "x"}},  # img2dataset's
        **{"3.txt": "a cow", "3.json": {"rating": 5}, "4.txt": "a hen", "4.json": "no JSON"},
        **{"5.caption": "a pig", "5.txt": "pig, mud"},  # kohya's, with tags
        **{"6.txt": "a bee\n", "6.json": {"caption": ["a bee", "a wasp"]}},
        **{"7.txt": "a fly", "7.json": {"caption": None}},
    }
    files(tmp_path, images(*(f"{number}.jpg" for number in range(1, 8))) | texts)
    said = Notes()
    read = read_dataset(tmp_path, progress=said).captions
    expected = ["a dog", "a cat", "a cow", "a hen", "a pig", "a bee", "a fly"]
    assert [text for id in sorted(read) for text in read.texts(id)] == expected
    (note,) = (note for note in said.notes if "not read" in note)
    assert note.endswith(
        ": 3 files of captions not read, beside others of the same image: not 1.json, but 1.txt."
    )


def test_side_files_of_another_case_or_unicode_form_belong_to_their_image(tmp_path: Path) -> None:
    photos = ("café.jpg", "A.JPG", "b.jpg", "B.jpg", "c.jpg", "d.jpg", "naïve.jpg", "1.JPG", "1.HEIC")
    near = {
        "cafe\u0301.txt": "a dog",
        "a.txt": "a cat",
        "C.JPG.json": {"caption": "a cow"},
        "1.heic.txt": "a pig",
    }
    files(
        tmp_path,
        images(*photos) | near | {"b.json": {"caption": "a hen"}, "d.txt": "a bee", "D.txt": "a fly"},
    )
    said = Notes()
    (tmp_path / "D.txt").rename(tmp_path / "D.caption")  # the image has its own .txt, but no .caption
    read = read_dataset(tmp_path, progress=said).captions
    expected = {"café": "a dog", "A": "a cat", "c": "a cow", "1": "a pig", "b": "a hen", "d": "a fly"}
    assert {id: read.texts(id) for id in read} == {id: [text] for id, text in expected.items()}
    note = f"{tmp_path}: 5 files of captions found under names that differ by case or Unicode form."
    assert note in said.notes
    files(tmp_path, {"nai\u0308ve.txt": "a bat", "naïve.txt": "a rat"})  # the image has one already
    (problem,) = find_entries(tmp_path).problems
    assert str(problem).endswith(
        r"'nai\u0308ve.txt' belongs to no image; rename it as its image is called, or move it."
    )
    files(tmp_path, images("E.jpg", "É.jpg", "é.jpg") | {"e\u0301.txt": "whose?"})
    assert len(find_entries(tmp_path).problems) == 2


def test_json_of_an_image_is_read_by_the_keys_of_json_lines_or_named(tmp_path: Path) -> None:
    sides = {"1.json": {"captions": ["a dog", "the dog"]}, "2.json": {"text": "a cat", "url": "x"}}
    others = {"3.json": {"rating": 5}, "4.json": '"a cow"', "5.txt": "a hen", "5.json": {"rating": 5}}
    files(tmp_path, images(*(f"{number}.jpg" for number in range(1, 6))) | sides | others)
    said = Notes()
    read = read_dataset(tmp_path, progress=said).captions
    assert {id: read.texts(id) for id in read} == {"1": ["a dog", "the dog"], "2": ["a cat"], "5": ["a hen"]}
    (note,) = said.notes
    assert note == f"{tmp_path}: 2 .json files without `caption`, `captions` or `text`: 3.json, 4.json."


def test_other_programs_keys_beside_an_image_are_no_captions(tmp_path: Path) -> None:
    """Subtitles' files, boxes, and what is written in the image."""
    theirs = [
        {"captions": "x.srt"},
        {"text": [{"box": [1, 2], "text": "STOP"}]},
        {"text": 5},
        {"captions": {}},
    ]
    sides = {f"{number}.json": content for number, content in enumerate(theirs)} | {"9.txt": "a dog"}
    files(tmp_path, images(*(f"{number}.jpg" for number in (0, 1, 2, 3, 9))) | sides)
    assert dict(read_dataset(tmp_path).captions).keys() == {"9"}
