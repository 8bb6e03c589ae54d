"""The forms in which people have images and captions, each built here and read with the right value."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from distilcap.data.check import check_dataset
from distilcap.data.dataset import Dataset
from distilcap.data.readers import (
    Columns,
    DataForm,
    Source,
    find_entries,
    read_dataset,
    register_form,
    registry,
)
from distilcap.data.readers.columns import texts_of
from distilcap.data.readers.entries import ReadResult
from distilcap.errors import ConfigError, DataError
from distilcap.progress import Silent

Expected = dict[str, tuple[str | None, list[str]]]  # file name: split, captions


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def files(folder: Path, contents: dict[str, Any]) -> Path:
    """Write files: text as it is, bytes, lists as JSON Lines (.jsonl), and else JSON."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(line) + "\n" for line in content))
        else:
            path.write_text(json.dumps(content))
    return folder


def images(*names: str) -> dict[str, bytes]:
    return {name: b"not looked into" + name.encode() for name in names}


def contents(data: Dataset) -> Expected:
    assert all(image.path.is_file() for image in data.images), [image.path for image in data.images]
    return {
        image.path.name: (image.split, data.captions.texts(image.id) if image.id in data.captions else [])
        for image in data.images
    }


def texts(data: Dataset) -> dict[str, list[str]]:
    return {name: said for name, (_, said) in contents(data).items()}


VIZWIZ = {
    "images": [{"file_name": "v_0.jpg", "id": 0}, {"file_name": "v_1.jpg", "id": 1}],
    "annotations": [
        {"image_id": 0, "caption": "a box", "is_precanned": False, "is_rejected": False},
        {"image_id": 0, "caption": "bad", "is_precanned": False, "is_rejected": True},
        {"image_id": 1, "caption": "Quality issues.", "is_precanned": True, "is_rejected": True},
    ],
}
TOKENS = "".join(f"{n}.jpg#{k}\tA child {n} {k} .\n" for n in (1, 2, 3) for k in range(2))
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "captions in several columns": (
        {"captions.csv": "image,caption,caption2,caption3\na.jpg,one,two,three\nb.jpg,one,,\n"},
        {"a.jpg": ["one", "two", "three"], "b.jpg": ["one"]},
    ),
    "columns of one name": (
        {"captions.csv": "image,caption,caption\na.jpg,one,two\nb.jpg,three,four\n"},
        {"a.jpg": ["one", "two"], "b.jpg": ["three", "four"]},
    ),
    "numbered keys": (
        {"captions.jsonl": [{"image": f"{n}.jpg", "caption_0": "x", "caption_1": "y"} for n in "ab"]},
        {"a.jpg": ["x", "y"], "b.jpg": ["x", "y"]},
    ),
    "lists as Python, JSON and numpy write them into a cell": (
        {
            "captions.tsv": "image\tcaption\n"
            "a.jpg\t['a man', \"the dog's ball\"]\n"
            'b.jpg\t["caf\\u00e9", null]\n'
            "c.jpg\t['a man' 'it\\'s a dog']\nd.jpg\t[bracketed]\n"
        },
        {
            "a.jpg": ["a man", "the dog's ball"],
            "b.jpg": ["café"],
            "c.jpg": ["a man", "it's a dog"],
            "d.jpg": ["[bracketed]"],
        },
    ),
    "nulls in a table": (
        {"captions.csv": "image,caption\na.jpg,a dog\nb.jpg,\nc.jpg,nan\nd.jpg,NULL\n"},
        {"a.jpg": ["a dog"], "b.jpg": [], "c.jpg": [], "d.jpg": []},
    ),
    "nulls in JSON Lines": (
        {
            "captions.jsonl": '{"image": "a.jpg", "caption": "a dog"}\n{"image": "b.jpg", "caption": null}\n'
            '{"image": "c.jpg", "caption": NaN}\n'
        },
        {"a.jpg": ["a dog"], "b.jpg": [], "c.jpg": []},
    ),
    "nulls in a list": (
        {"captions.json": '[{"image": "a.jpg", "captions": ["a dog", NaN]}, {"image": "b.jpg"}]'},
        {"a.jpg": ["a dog"], "b.jpg": []},
    ),
    "JSON Lines under the name of JSON": (
        {"captions.json": '{"image": "a.jpg", "caption": "x"}\n{"image": "b.jpg", "caption": "y"}\n'},
        {"a.jpg": ["x"], "b.jpg": ["y"]},
    ),
    "open_clip": (
        {"train_data.csv": "filepath\ttitle\na.jpg\ta photo of a\nb.jpg\ta photo of b\n"},
        {"a.jpg": ["a photo of a"], "b.jpg": ["a photo of b"]},
    ),
    "kohya's .caption": (
        {"a.caption": "a photo of a", "b.caption": "b", "b.txt": "tag, tag"},
        {"a.jpg": ["a photo of a"], "b.jpg": ["b"]},
    ),
    "kohya's meta_cap.json": (
        {"meta_cap.json": {"a.jpg": {"caption": "x", "tags": "t"}, "b": {"caption": "y"}, "c": {"tags": ""}}},
        {"a.jpg": ["x"], "b.jpg": ["y"], "c.jpg": []},
    ),
    "captions by image": (
        {"captions.json": {"a.jpg": "x", "b.jpg": ["y", "z"]}},
        {"a.jpg": ["x"], "b.jpg": ["y", "z"]},
    ),
    "img2dataset, unpacked": (
        {
            "00000/000000000.txt": "a caption of 0",
            "00000/000000000.json": {"caption": "a caption of 0", "key": "000000000", "status": "success"},
            "00000/000000001.json": {"caption": "of 1", "key": "000000001"},
            "00000/000000002.json": {"caption": None, "key": "000000002", "status": "failed"},
            "00000_stats.json": {"count": 3, "successes": 3},
            "00001_stats.json": {"count": 3, "successes": 0},
            "00000.parquet": b"PAR1 of no image PAR1",
            **images("00000/000000000.jpg", "00000/000000001.jpg"),
        },
        {"000000000.jpg": ["a caption of 0"], "000000001.jpg": ["of 1"]},
    ),
    "an album of Takeout": (
        {
            "metadata.json": {"title": "Chengdu", "description": "", "access": "protected"},
            "a.jpg.supplemental-metadata.json": {"title": "a.jpg", "description": ""},
            "b.jpg.json": {"title": "b.jpg", "description": "x"},
        },
        {"a.jpg": [], "b.jpg": []},
    ),
    "TextCaps": (
        {
            "TextCaps_0.1_val.json": {
                "dataset_name": "textcaps",
                "data": [
                    {"image_id": i, "image_path": f"train/{i}.jpg", "caption_str": said, "set_name": "val"}
                    for i, said in (("a", "a sign"), ("a", "signs"), ("b", "a book"))
                ],
            },
        },
        {"a.jpg": ["a sign", "signs"], "b.jpg": ["a book"]},
    ),
    "nocaps": (
        {
            "nocaps_val_4500_captions.json": {
                "images": [{"id": 7, "file_name": "a.jpg", "domain": "in-domain", "open_images_id": "a"}],
                "annotations": [{"image_id": 7, "id": 1, "caption": "a goat"}],
            }
        },
        {"a.jpg": ["a goat"]},
    ),
    "LLaVA": (
        {
            "blip_laion.json": [
                {
                    "id": "a1",
                    "image": "a.jpg",
                    "conversations": [
                        {"from": "human", "value": "<image>\nWhat is it?"},
                        {"from": "gpt", "value": "a dog"},
                        {"from": "human", "value": "Where?"},
                        {"from": "gpt", "value": "here"},
                    ],
                },
                {"id": "t", "conversations": [{"from": "gpt", "value": "Hello"}]},
            ]
        },
        {"a.jpg": ["a dog"]},
    ),
    "ids that are whole floats": (
        {
            "captions.json": {
                "images": [{"id": 0.0, "file_name": "a.jpg"}, {"id": 1.0, "file_name": "b.jpg"}],
                "annotations": [{"image_id": 0, "caption": "x"}, {"image_id": 1.0, "caption": "y"}],
            }
        },
        {"a.jpg": ["x"], "b.jpg": ["y"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_form_gives_its_captions(tmp_path: Path, form: str) -> None:
    written, expected = FORMS[form]
    files(tmp_path, images(*(name for name in expected if not name.startswith("0"))) | written)
    assert texts(read_dataset(tmp_path)) == expected


def test_nulls_are_named(tmp_path: Path) -> None:
    rows = "image,caption\na.jpg,a dog\nb.jpg,\nc.jpg,nan\n"
    files(tmp_path, {"captions.csv": rows, **images("a.jpg", "b.jpg", "c.jpg")})
    problems = [(problem.kind, problem.line) for problem in find_entries(tmp_path).problems]
    assert problems == [("empty caption", 3), ("empty caption", 4)]


def test_other_columns_of_captions_are_named(tmp_path: Path) -> None:
    rows = "image,caption,text\na.jpg,a dog,The dog.\n"
    files(tmp_path, {"captions.csv": rows, **images("a.jpg")})
    report = check_dataset(tmp_path)
    assert report.captions == 1
    assert [note for note in report.notes if "not read: text; `--caption-column`" in note]
    columns = Columns(caption_column=("text", "caption"))
    assert texts(read_dataset(tmp_path, columns=columns)) == {"a.jpg": ["The dog.", "a dog"]}


def test_where_no_captions_are_read_the_keys_are_named(tmp_path: Path) -> None:
    files(tmp_path, {"metadata.jsonl": [{"file_name": "a.jpg", "prompt": "a dog"}], **images("a.jpg")})
    report = check_dataset(tmp_path)
    assert [note for note in report.notes if "not read: prompt; `--caption-column`" in note]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_columns_may_be_named(tmp_path: Path, ending: str) -> None:
    row = {"photo": "a.jpg", "said": "a dog", "part": "validation", "text": "other"}
    path = tmp_path / f"captions.{ending}"
    files(tmp_path, {"captions.jsonl": [row], **images("a.jpg")})
    if ending == "csv":
        path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    columns = Columns("photo", ("said",), "part")
    assert contents(read_dataset(path, columns=columns)) == {"a.jpg": ("val", ["a dog"])}
    with pytest.raises(DataError, match=r"`--image-column`|expected \{"):
        read_dataset(path)
    if ending == "csv":
        with pytest.raises(DataError, match=r"there is no column `foto`; there are: photo \| said \| part"):
            read_dataset(path, columns=Columns("foto"))


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
    assert "2 captions marked as rejected or precanned are left out" in notes.notes[0]


def test_flickr8k_as_its_authors_give_it(tmp_path: Path) -> None:
    files(
        tmp_path,
        {
            "Flickr8k.token.txt": TOKENS + "4.jpg.1#0\tpeople waiting\n",
            "Flickr8k.lemma.token.txt": TOKENS.lower(),
            "Flickr_8k.trainImages.txt": "2.jpg\n",
            "Flickr_8k.devImages.txt": "1.jpg\n",
            "Flickr_8k.testImages.txt": "3.jpg\r\n",
            "readme.txt": "about",
            **images(*(f"Flicker8k_Dataset/{n}.jpg" for n in (1, 2, 3))),
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


@pytest.mark.parametrize(
    "cell, expected",
    [
        ("['a', 'b']", ["a", "b"]),
        ("[]", ["[]"]),
        ("['a' nan]", ["a", None]),
        ("['a\\nb']", ["a\nb"]),
        ("[1, 2]", ["[1, 2]"]),
        ("['a', __import__('os')]", ["['a', __import__('os')]"]),
        ("[" * 100_000 + "]" * 100_000, None),
        ("['a'" + " " * 50_000 + "x]", None),
        ("None", [None]),
        (float("nan"), [None]),
        (3, [3]),
    ],
)
def test_lists_in_cells_are_data_and_no_code(cell: Any, expected: list[Any] | None) -> None:
    assert texts_of(cell) == ([cell] if expected is None else expected)


def test_all_forms_have_an_example_and_a_place_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    for form in registry.forms():
        assert form.example
        assert form.name in manual
