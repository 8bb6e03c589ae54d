"""Images whose names are written otherwise than their files: found where there is one, else both named."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import files, images

from distilcap.data.check import check_dataset
from distilcap.data.convert import convert
from distilcap.data.readers import find_entries, read_dataset
from distilcap.data.readers.entries import split_by_hash

UMLAUTS = "Übung_größe_é.jpg"


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def table(folder: Path, *names: str, head: str = "image") -> Path:
    rows = "".join(f"{name},a dog {number}\n" for number, name in enumerate(names))
    (folder / "captions.csv").write_text(f"{head},caption\n{rows}", encoding="utf-8")
    return folder / "captions.csv"


@pytest.mark.parametrize(
    "written, there",
    [
        ("images\\train\\a.jpg", "images/train/a.jpg"),
        (".\\images\\a.jpg", "images/a.jpg"),
        ("a%20photo%C3%A9.jpg", "a photoé.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("my photo.jpg", "My%20photo.jpg"),
        ("IMG_0.JPG", "img_0.jpg"),
        ("Images/IMG_0.jpeg", "images/img_0.jpeg"),
        ("img_0", "IMG_0.JPG"),
        (unicodedata.normalize("NFC", UMLAUTS), unicodedata.normalize("NFD", UMLAUTS)),
        (unicodedata.normalize("NFD", UMLAUTS), unicodedata.normalize("NFC", UMLAUTS)),
    ],
)
def test_a_name_written_otherwise_is_found(tmp_path: Path, written: str, there: str) -> None:
    put(tmp_path, there, "other.jpg")
    read = read_dataset(table(tmp_path, written, "other.jpg"))
    assert [image.path.is_file() for image in read.images] == [True, True]
    assert read.images[0].path.read_bytes().decode() == there
    coco = {
        "images": [{"id": 1, "file_name": written}],
        "annotations": [{"image_id": 1, "caption": "a dog"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    assert read_dataset(tmp_path / "coco.json").images[0].path == read.images[0].path


def test_a_name_that_two_files_nearly_have_is_missing_and_both_are_named(tmp_path: Path) -> None:
    put(tmp_path, "img_1.jpg", "IMG_1.jpg", unicodedata.normalize("NFD", UMLAUTS))
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system does not tell case apart")
    (problem,) = [
        one for one in check_dataset(table(tmp_path, "Img_1.JPG")).problems if one.kind == "missing image"
    ]
    assert "is not there; there are " in problem.message
    assert "IMG_1.jpg'" in problem.message
    assert "img_1.jpg'" in problem.message
    # Names that look the same are written in ASCII.
    put(tmp_path, unicodedata.normalize("NFC", UMLAUTS))
    entry = find_entries(table(tmp_path, UMLAUTS.upper().replace("JPG", "jpg"))).entries.popitem()[1]
    assert "U\\u0308bung" in entry.hint
    assert "\\xdcbung" in entry.hint


def test_an_exact_name_comes_before_all_others(tmp_path: Path) -> None:
    put(tmp_path, "a%20b.jpg", "a b.jpg", "A%20B.jpg")
    (image,) = read_dataset(table(tmp_path, "a%20b.jpg")).images
    assert image.path.name == "a%20b.jpg"


@pytest.mark.parametrize(
    "home", ["/home/ada/data/", "C:\\Users\\Ada\\data\\", "\\\\server\\share\\", "/mnt/d/my data/"]
)
def test_paths_of_another_machine_are_matched_by_their_end(tmp_path: Path, home: str) -> None:
    put(tmp_path / "photos", "train/1.jpg", "val/1.jpg", "2.jpg")
    sign = "\\" if "\\" in home else "/"
    names = [home + name.replace("/", sign) for name in ("train/1.jpg", "val/1.jpg", "deep/er/2.jpg")]
    path = table(tmp_path, *names)
    found = find_entries(path, tmp_path / "photos")
    paths = [entry.path.relative_to(tmp_path / "photos").as_posix() for entry in found.entries.values()]
    assert paths == ["train/1.jpg", "val/1.jpg", "2.jpg"]
    assert [note for note in found.notes if note.startswith("3 images found by the end of their paths")]
    # Without the folder nobody has said that these are the images.
    assert not any(entry.path.is_file() for entry in find_entries(path).entries.values())


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a.jpg", "a.png", "a.jpeg", "b.jpg", "x/a.jpg"]), unique=True, min_size=1))
def test_files_of_one_name_but_for_the_ending_are_images_each(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = put(tmp_path_factory.mktemp("images"), *names)
    in_folder = read_dataset(folder)
    assert sorted(image.path.relative_to(folder).as_posix() for image in in_folder.images) == sorted(names)
    in_table = read_dataset(table(folder, *names))
    assert [image.path.relative_to(folder).as_posix() for image in in_table.images] == names
    for data in (in_folder, in_table):
        assert len({image.id for image in data.images}) == len(names)
    (folder / "captions.csv").unlink()
    (folder / "a.txt").write_text("both")
    said = read_dataset(folder, split="test").captions if "a.jpg" in names or "a.png" in names else {}
    assert len(said) == sum(name.startswith("a.") for name in names) or not said


@pytest.mark.parametrize("head", ["image_id,path", "image,path", "id,file_name"])
def test_a_column_of_ids_beside_a_path_is_the_id(tmp_path: Path, head: str) -> None:
    put(tmp_path / "images", "x1.jpg", "x2.jpg")
    path = table(tmp_path, "7,x1.jpg", "9.0,x2.jpg", head=head)
    read = read_dataset(path)
    assert [(image.id, image.path.name) for image in read.images] == [("7", "x1.jpg"), ("9", "x2.jpg")]
    assert all(image.path.is_file() for image in read.images)
    assert read.captions.texts("7") == ["a dog 0"]  # 9.0 is how pandas writes 9 beside an empty cell


def test_a_number_of_each_row_is_no_id(tmp_path: Path) -> None:
    put(tmp_path, "x1.jpg", "x2.jpg")
    path = table(tmp_path, "0,x1.jpg", "1,x1.jpg", "2,x2.jpg", head="id,image")
    read = read_dataset(path)
    assert [(image.id, len(read.captions[image.id])) for image in read.images] == [("x1", 2), ("x2", 1)]
    assert [image.split for image in read.images] == [split_by_hash("x1"), split_by_hash("x2")]


def test_only_a_number_behind_an_images_ending_is_the_captions(tmp_path: Path) -> None:
    files(tmp_path, images("scene#1.jpg", "scene#2.jpg", "x.jpg"))
    rows = [
        "image_id,image,caption",
        "a#1,scene#1.jpg,a dog",
        "a#2,scene#2,a cat",
        "b,x.jpg#0,one",
        "b,x.jpg#1,two",
    ]
    files(tmp_path, {"captions.csv": "\n".join(rows)})
    read = read_dataset(tmp_path)
    assert {image.id: image.path.name for image in read.images} == {
        "a#1": "scene#1.jpg", "a#2": "scene#2.jpg", "b": "x.jpg",
    }  # fmt: skip
    assert read.captions.texts("b") == ["one", "two"]
    convert(read, tmp_path / "again.csv")
    assert read_dataset(tmp_path / "again.csv").fingerprint() == read.fingerprint()


def test_a_name_with_nul_is_no_name(tmp_path: Path) -> None:
    names = [*(f"{number}.jpg" for number in range(10)), "a\0.jpg"]
    records = [{"image": name, "caption": "a dog"} for name in names]
    files(tmp_path, images(*names[:-1]) | {"captions.jsonl": records})
    (problem,) = find_entries(tmp_path).problems
    assert (problem.kind, problem.line) == ("malformed entry", 11)
    assert "expected an image's name without NUL, but it is 'a\\x00.jpg'" in problem.message
    read = read_dataset(tmp_path)
    convert(read, tmp_path / "again.json")
    assert read_dataset(tmp_path / "again.json").fingerprint() == read.fingerprint()


def test_a_name_in_several_folders_is_the_first_ones_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg", "cats/3.jpg", "dogs/3.jpg")
    (tmp_path / "dogs/3.jpg").write_bytes((tmp_path / "cats/3.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    for names in (("1.jpg", "2.jpg", "3.jpg"), ("2.jpg", "1.jpg", "3.jpg")):
        found = find_entries(table(Path(), *names))
        paths = {entry.id: str(entry.path) for entry in found.entries.values()}
        assert paths == {"1": "cats/1.jpg", "2": "dogs/2.jpg", "3": "cats/3.jpg"}
        (note,) = found.notes
        assert note.startswith("1 name of different files in several folders ('1.jpg' in cats and dogs): ")
    put(tmp_path, "1.jpg")  # beside the captions it needs no folder
    found = find_entries(table(Path(), "2.jpg", "1.jpg"))
    assert str(found.entries["1"].path) == "1.jpg"
    assert not found.notes


def test_a_file_of_two_images_is_said(tmp_path: Path) -> None:
    put(tmp_path, "images/1.jpg", "images/2.jpg")
    found = find_entries(table(tmp_path, "1.jpg", "images/1.jpg", "2.jpg"))
    (note,) = found.notes
    assert note.startswith("1 file of more than one image, such as 1 and images/1: such a photograph may be")


def test_files_of_one_name_alone_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COCO has 123,287 below the folder of its captions."""
    put(tmp_path, "train/1.jpg", "val/2.jpg", "val/3.jpg")

    def read(path: Path) -> None:
        raise AssertionError(path)

    monkeypatch.setattr("distilcap.data.readers.find.probe", read)
    found = find_entries(table(tmp_path, "1.jpg", "2.jpg", "3.jpg"))
    assert [entry.path.name for entry in found.entries.values()] == ["1.jpg", "2.jpg", "3.jpg"]


def test_names_are_as_exact_behind_one_that_is_nearly_another(tmp_path: Path) -> None:
    """In one folder with an image folder in it, whose files have others beside them."""
    put(tmp_path / "data", "sub/a.jpg", "sub/0.jpg", "sub/0.txt")
    entries = table(tmp_path / "data", "sub/A.JPG", "sub/0")
    found = find_entries(entries).entries.values()
    assert [entry.path.relative_to(tmp_path / "data").as_posix() for entry in found] == [
        "sub/a.jpg",
        "sub/0.jpg",
    ]


def test_a_name_is_looked_for_where_its_first_part_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = (
        "b/cats/1.jpg",
        "c/cats/1.jpg",
        "d/2.jpg",
        "d/3.png",
        "e/%41.jpg",
        "f/5.jpg",
        "g/h/6.jpg",
        "7.jpg",
    )
    put(tmp_path, *(f"data/{name}" for name in there))
    put(tmp_path / "data/a/cats", "9.jpg")
    (tmp_path / "data/i").symlink_to(tmp_path / "data/g/h")
    names = ["cats/1.jpg", "./2.jpg", "3", "%41.jpg", "5.jpg", "h//6.jpg", "cats/../../7.jpg", "i/../h/8.jpg"]
    listdir = os.listdir

    def some(folder: str) -> list[str]:
        if os.path.basename(folder) == "f":
            raise PermissionError  # as of a folder whose files may be opened, but not listed
        return listdir(folder)

    monkeypatch.setattr("distilcap.data.readers.find.os.listdir", some)
    found = find_entries(table(tmp_path / "data", *names)).entries.values()
    expected = [
        "b/cats/1.jpg",
        "d/2.jpg",
        "d/3.png",
        "e/%41.jpg",
        "f/5.jpg",
        "g/h/6.jpg",
        "7.jpg",
        "g/h/8.jpg",
    ]
    assert [str(entry.path.resolve().relative_to(tmp_path / "data")) for entry in found] == expected


def test_names_are_not_tried_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for each class, as of ImageNet, and a table that names the files alone."""
    folders = [f"class{number:02}" for number in range(50)]
    put(tmp_path, *(f"{folder}/{number}.jpg" for number, folder in enumerate(folders)))
    isfile, asked = os.path.isfile, [""]

    def counted(path: str) -> bool:
        asked.append(path)
        return isfile(path)

    monkeypatch.setattr("distilcap.data.readers.find.os.path.isfile", counted)
    names = [
        *(f"{7 * number % 50}.jpg" for number in range(50)),
        *(f"gone{number}.jpg" for number in range(50)),
    ]
    found = find_entries(table(tmp_path, *names)).entries.values()
    assert [entry.path.is_file() for entry in found] == [True] * 50 + [False] * 50
    assert len(asked) < 4 * len(names)
