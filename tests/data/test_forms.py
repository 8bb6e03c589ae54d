"""The forms in which people have images and captions, each built here and read with the right value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_files import contents, files, images, texts

from distilcap.data.check import check_dataset
from distilcap.data.readers import (
    Columns,
    find_entries,
    read_dataset,
    registry,
)
from distilcap.data.readers.columns import texts_of
from distilcap.errors import DataError

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
    "captions of images in one list": (
        {"captions.json": {"images": [{"id": 1, "file_name": "a.jpg", "captions": ["x", "y"]}]}},
        {"a.jpg": ["x", "y"]},
    ),
    "lists under a key": (
        {"captions.json": {"version": 1, "samples": [{"image": "a.jpg", "caption": "x"}]}},
        {"a.jpg": ["x"]},
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


def test_a_list_for_each_split(tmp_path: Path) -> None:
    lists = {
        split: [{"image": f"{n}.jpg", "caption": "x"}] for n, split in enumerate(("train", "valid", "test"))
    }
    files(tmp_path, {"captions.json": lists, **images("0.jpg", "1.jpg", "2.jpg")})
    splits = {name: split for name, (split, _) in contents(read_dataset(tmp_path)).items()}
    assert splits == {"0.jpg": "train", "1.jpg": "val", "2.jpg": "test"}


def test_a_split_of_null_is_none(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "1.jpg", "filename": "1.jpg", "split": None}
    sentences = {"sentences": [{"raw": "a dog"}]}
    files(tmp_path, images("1.jpg") | {"coco_test.json": {"images": [image], "annotations": []}})
    files(tmp_path, {"karpathy.json": {"images": [image | sentences]}})
    for name in ("coco_test.json", "karpathy.json"):
        assert [image.split for image in read_dataset(tmp_path / name, split="val").images] == ["val"]
    assert [image.split for image in read_dataset(tmp_path / "coco_test.json").images] == ["test"]


@pytest.mark.parametrize(
    "name, message", [("x.xlsx", "a workbook; save its sheet as CSV"), ("x.zip", "an archive; unpack it")]
)
def test_other_files_are_named_with_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    files(tmp_path, {name: b"PK"})
    with pytest.raises(DataError, match=f"{name}: {message}"):
        read_dataset(tmp_path / name)


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


@pytest.mark.parametrize(
    "text",
    [
        "image;caption;Preis, netto, EUR\na.png;Ein Hund, braun;5\n",
        'a.png;"Ein Hund, braun"\n',
        'a.png;"Ein Hund, braun, nass, froh"\n',
        "a.png#0|Ein Hund, braun, nass; froh\n",
        'caption,file_name\n"Ein Hund; braun; nass",a.png\n',
        '"Name, laut Liste; Haus; Ort",image,caption\nx,a.png,Ein Hund\n',
        "a.png\tEin Hund, braun, nass\n",
    ],
)
def test_the_sign_between_fields_is_the_one_that_makes_sense(tmp_path: Path, text: str) -> None:
    files(tmp_path, {"captions.csv": text, **images("a.png")})
    (caption,) = texts(read_dataset(tmp_path))["a.png"]
    assert caption.startswith("Ein Hund")
    assert caption.removeprefix("Ein Hund") in text


def test_a_column_that_a_person_names_tells_the_sign(tmp_path: Path) -> None:
    files(
        tmp_path, {"captions.csv": "Bild;Text, kurz;Preis, netto, EUR\na.png;Ein Hund;5\n", **images("a.png")}
    )
    columns = Columns(image_column="Bild", caption_column=("Text, kurz",))
    assert texts(read_dataset(tmp_path / "captions.csv", columns=columns)) == {"a.png": ["Ein Hund"]}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json", "parquet"])
@pytest.mark.parametrize("kits", [True, False])
def test_a_column_called_set_is_the_split_where_it_says_so(tmp_path: Path, ending: str, kits: bool) -> None:
    names = ("a.jpg", "b.jpg", "c.jpg")
    sets = ("Kaffee", "", "3-teilig") if kits else ("test", "train", "dev")
    rows = [{"image": n, "caption": "a dog", "Set": s} for n, s in zip(names, sets, strict=True)]
    files(tmp_path, images(*names))
    file = tmp_path / f"captions.{ending}"
    if ending == "csv":
        file.write_text("\n".join(["image,caption,Set", *(",".join(row.values()) for row in rows)]))
    elif ending == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    elif ending == "json":
        file.write_text(json.dumps(rows))
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), file)
    found = find_entries(file)
    assert not found.problems
    assert found.by_hash is kits
    notes = [note for note in found.notes if "`Set` names no train, val or test" in note]
    assert len(notes) == kits
    assert kits or [entry.split for entry in found.entries.values()] == ["test", "train", "val"]


def test_captions_of_other_languages_are_named(tmp_path: Path) -> None:
    head = "image,caption,caption_id,text_number,caption_de,Text (en),caption_2\n"
    files(tmp_path, {"captions.csv": f"{head}a.jpg,a dog,7,8,ein Hund,The dog.,one dog\n", **images("a.jpg")})
    report = check_dataset(tmp_path)
    assert report.captions == 2
    assert [note for note in report.notes if "not read: caption_de, Text (en); `--cap" in note], report.notes


def test_of_many_unread_columns_the_first_are_named(tmp_path: Path) -> None:
    record = {"file_name": "a.jpg", **{f"prompt{n}": "a dog" for n in range(12)}}
    files(tmp_path, {"metadata.jsonl": [record], **images("a.jpg")})
    assert [note for note in check_dataset(tmp_path).notes if "prompt9 and 2 more; `--caption" in note]


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


@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv"])
def test_a_table_without_header_may_begin_with_any_photograph(name: str, tmp_path: Path) -> None:
    sign = "\t" if name.endswith("tsv") else ","
    put = {name: f"IMG_1.HEIC{sign}a dog\nIMG_2.avif{sign}a cat\n"} | images("IMG_1.HEIC", "IMG_2.avif")
    read = read_dataset(files(tmp_path, put) / name)
    assert texts(read) == {"IMG_1.HEIC": ["a dog"], "IMG_2.avif": ["a cat"]}


@pytest.mark.parametrize("second", ['"a cat"', '["a cat"]'])
def test_an_image_twice_in_one_object_is_refused(second: str, tmp_path: Path) -> None:
    put = {"x.json": '{"1.jpg": "a dog",\n"1.jpg": ' + second + "}"} | images("1.jpg")
    with pytest.raises(DataError, match=r"x\.json:2: not valid JSON: the key '1\.jpg' is there twice"):
        read_dataset(files(tmp_path, put) / "x.json")
