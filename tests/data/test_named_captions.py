"""Captions of somebody's file come to the photographs that it names, or are refused."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_files import Notes

from distilcap.cli.main import main
from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord
from distilcap.data.named_captions import captions_for
from distilcap.data.readers import read_dataset
from distilcap.errors import DataError
from distilcap.pipeline.given import captions_teacher
from distilcap.stages.captions import CleanLabels, ImportCaptions
from distilcap.stages.changed_data import AddUnlabelled
from distilcap.stages.data import ImportData
from distilcap.store.store import Store


def write_image(path: Path) -> None:
    Image.new("L", (8, 8)).save(path)


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Images that COCO's form counts in the order of their names: 1.jpg, 10.jpg, 11.jpg, 2.jpg."""
    for name in ("1", "10", "11", "2"):
        write_image(tmp_path / f"{name}.jpg")
    names = enumerate(sorted(path.name for path in tmp_path.glob("*.jpg")), 1)
    images = [{"id": number, "file_name": name, "split": "train"} for number, name in names]
    captions = [{"image_id": image["id"], "caption": f"file {image['file_name']}"} for image in images]
    return written(tmp_path / "data.json", {"images": images, "annotations": captions})


def fitted(data: Path, path: Path) -> dict[str, str]:
    captions = captions_for(read_dataset(data), path)
    return {id: captions.texts(id)[0] for id in captions}


def test_files_that_are_named_are_refused_where_their_ids_are_other_images(
    coco: Path, tmp_path: Path
) -> None:
    theirs = written(tmp_path / "theirs.json", [{"image": "2.jpg", "caption": "two"}])
    said = (
        r"theirs\.json: image '2\.jpg' would be called '2', which is the id of 10\.jpg in the data; the file "
        r'2\.jpg has id \'4\' there\. Write the data\'s ids: \{"image_id": "4", "caption": …\}\.$'
    )
    with pytest.raises(DataError, match=said):
        captions_teacher(theirs, ImportData.of(coco))
    ids = written(tmp_path / "ids.json", [{"image_id": "4", "caption": "two"}])
    assert fitted(coco, ids) == {"4": "two"}


def test_files_that_are_named_come_to_the_images_of_other_ids(coco: Path, tmp_path: Path) -> None:
    content = json.loads(coco.read_text())
    for image in content["images"]:
        image["id"] += 100
    for caption in content["annotations"]:
        caption["image_id"] += 100
    data = ImportData.of(written(coco, content))
    theirs = [{"image": "/theirs/2.jpg", "caption": "two"}, {"image": "10.jpg", "caption": "ten"}]
    file = written(tmp_path / "theirs.json", [*theirs, {"image": "99.jpg", "caption": "another"}])
    assert fitted(coco, file) == {"104": "two", "102": "ten", "99": "another"}
    teacher, store = captions_teacher(file, data), Store(tmp_path / "store")
    assert teacher.labels_in_words == "theirs.json, 2 of 4 training images"
    store.build(teacher.labels)
    assert teacher.labels.load(store) == captions_for(data.read(), file)
    assert teacher.labels.key != ImportCaptions.of(file).key
    of_ids = ImportCaptions.of(written(tmp_path / "ids.json", {"104": "two"}))
    assert of_ids.of_images(data, data.read())[0] == of_ids
    five = ImportCaptions.of(written(tmp_path / "five.json", {"104": list("abcde"), "102": list("fghij")}))
    counted, _ = five.of_images(data, data.read())
    assert counted.key == five.key
    assert CleanLabels.of(counted).n_best == counted.n_best == 5  # a plan reckons with all of them


def test_names_that_differ_by_their_ending_are_told_apart(tmp_path: Path) -> None:
    """Of two such files, whichever a file has first gets the id without ending."""
    for name in ("a.jpg", "a.png"):
        write_image(tmp_path / name)
    both = [{"image": name, "caption": name, "split": "train"} for name in ("a.jpg", "a.png")]
    data = written(tmp_path / "data.json", both)
    assert fitted(data, data) == {"a": "a.jpg", "a.png": "a.png"}
    with pytest.raises(DataError, match=r"image 'a\.png' would be called 'a', which is the id of a\.jpg"):
        fitted(data, written(tmp_path / "theirs.json", both[::-1]))
    # Of our own files, and of rows of ids, the name is the id.
    own = tmp_path / "own.jsonl"
    CaptionSet.of_texts({"a.png": ["png"], "a": ["jpg"]}).save(own)
    assert fitted(data, own) == {"a.png": "png", "a": "jpg"}


def test_names_of_another_case_or_unicode_form_are_matched_and_counted(tmp_path: Path) -> None:
    """As a data set's own images are. A Mac takes names apart: e and its accent are two letters."""
    photos, store, said = tmp_path / "photos", Store(tmp_path / "store"), Notes()
    photos.mkdir()
    for name in ("cafe\u0301.jpg", "IMG_1.JPG", "b.jpg", "ä.jpg", "Ä.jpg", "plain.jpg", "straße.jpg"):
        write_image(photos / name)
    data = ImportData.of(written(tmp_path / "data.json", [
        {"image": file.name, "caption": "a dog", "split": "train"} for file in sorted(photos.iterdir())
    ]), photos)  # fmt: skip
    ids = {file.name: id for id, file in ((image.id, image.path) for image in data.read().images)}
    names = ["café.jpg", "/theirs/img_1.jpg", "B.jpg", "b.jpg", "a\u0308.jpg", "plain.jpg", "STRASSE.jpg"]
    theirs = written(tmp_path / "theirs.json", [{"image": name, "caption": name} for name in names])
    teacher = captions_teacher(theirs, data)
    assert teacher.labels_in_words == "theirs.json, 5 of 7 training images"
    Store(tmp_path / "store", progress=said).build(teacher.labels)
    captions = teacher.labels.load(store)
    expected = {"cafe\u0301.jpg": names[0], "IMG_1.JPG": names[1], "straße.jpg": names[6]}
    expected |= {name: name for name in ("b.jpg", "plain.jpg")}
    assert {name: captions.texts(ids[name]) for name in expected} == {n: [t] for n, t in expected.items()}
    assert not {ids["ä.jpg"], ids["Ä.jpg"]} & captions.keys()  # it may be either
    assert captions.texts("B") == ["B.jpg"]  # whose file is there as it is written
    note = f"{theirs}: 3 images found under names that differ by case or Unicode form."
    assert [each for each in said.notes if each.startswith(str(theirs))] == [note]
    assert isinstance(teacher.labels, ImportCaptions)
    lost = dataclasses.replace(teacher.labels, nearly=0)  # as an older version found them
    assert teacher.labels.key != lost.key
    own = tmp_path / "own.jsonl"
    CaptionSet.of_texts({"café": ["by id"], "b": ["b"]}).save(own)
    assert captions_for(data.read(), own).keys() == {"cafe\u0301", "b"}
    twice = written(tmp_path / "twice.json", [{"image": n, "caption": n} for n in ("img_1.jpg", "Img_1.jpg")])
    assert captions_for(data.read(), twice).keys() == {"img_1", "Img_1"}, "which of them it is, nobody knows"


def test_files_of_one_name_are_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image of a shop is product00001/1.jpg or so."""
    names = [f"product{number:05}/1.jpg" for number in range(60)]
    images = (ImageRecord(f"id{name}", tmp_path / name, "train") for name in names)
    data = Dataset("shop", tuple(images), CaptionSet({}))
    paths = [*names[:20], *(str(tmp_path / name) for name in names[20:40]), *(f"/x/{n}" for n in names[40:])]
    theirs = written(tmp_path / "theirs.json", [{"image": n, "caption": n} for n in paths])
    asked: list[Path] = []
    as_posix = Path.as_posix

    def counted(path: Path) -> str:
        asked.append(path)
        return as_posix(path)

    monkeypatch.setattr(Path, "as_posix", counted)
    captions = captions_for(data, theirs)
    assert [id for id in captions if id.startswith("id")] == [f"id{name}" for name in names[:40]]
    assert len(asked) <= 6 * len(names)


def test_the_last_part_of_an_address_counts(tmp_path: Path) -> None:
    write_image(tmp_path / "1.jpg")
    data = Dataset("one", (ImageRecord("first", tmp_path / "1.jpg", "train"),), CaptionSet({}))
    theirs = [{"image": "https://example.org/photos/1.jpg", "caption": "a dog"}]
    assert captions_for(data, written(tmp_path / "theirs.json", theirs)).keys() == {"first"}


def test_folders_tell_files_of_one_name_apart(tmp_path: Path) -> None:
    for name in ("cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(tmp_path / name)
    names = ("cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg")
    data = written(tmp_path / "data.json", [{"image": name, "caption": name} for name in names])
    theirs = [{"image": name, "caption": name} for name in ("dogs/1.jpg", "1.jpg", "2.jpg", "cats/2.jpg")]
    expected = {"dogs/1": "dogs/1.jpg", "1": "1.jpg", "dogs/2": "2.jpg", "cats/2": "cats/2.jpg"}
    assert fitted(data, written(tmp_path / "theirs.json", theirs)) == expected
    twice = written(tmp_path / "twice.json", [{"image": n, "caption": n} for n in ("dogs/2.jpg", "2.jpg")])
    with pytest.raises(DataError, match=r"images 'dogs/2' and '2' are both image 'dogs/2' of the data"):
        fitted(data, twice)


def test_a_name_that_photographs_and_added_ones_share_is_refused(tmp_path: Path) -> None:
    names = ["photos/1.jpg", "photos/cats/1.jpg", "photos/2.jpg", "photos/3.heic"]
    names += ["extra/1.jpg", "extra/3.heic"]
    for shade, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("L", (8, 8), 40 * shade).save(tmp_path / name, "PNG")
    data, theirs = ImportData.of(tmp_path / "photos"), tmp_path / "theirs.json"
    both = AddUnlabelled.beside(data, tmp_path / "extra").read()
    written(theirs, [{"image": name, "caption": name} for name in ("1.jpg", "2.jpg")])
    assert captions_for(data.read(), theirs).keys() == {"1", "2"}  # of one folder, these are the whole paths
    for name in ("1.jpg", "3.heic"):
        said = rf"image '{name}' may be \S+photos/{name} or \S+extra/{name}\. Write more of its path, such "
        with pytest.raises(DataError, match=said + f"as 'extra/{name}'"):
            captions_for(both, written(theirs, [{"image": name, "caption": name}]))
    paths = ("photos/1.jpg", "extra/1.jpg", "photos/3.heic", "extra/3.heic")
    written(theirs, [{"image": name, "caption": name} for name in paths])
    assert captions_for(both, theirs).keys() == {"1", "unlabelled/1.jpg", "3.heic", "unlabelled/3.heic"}
    written(theirs, [{"image_id": id, "caption": id} for id in ("1", "unlabelled/1.jpg")])
    assert captions_for(both, theirs).keys() == {"1", "unlabelled/1.jpg"}
    whole = [str(tmp_path / name) for name in ("photos/1.jpg", "extra/1.jpg")]
    written(theirs, [{"image": name, "caption": name} for name in whole])
    assert captions_for(both, theirs).keys() == {"1", "unlabelled/1.jpg"}


def test_the_path_that_is_advised_tells_files_apart(tmp_path: Path) -> None:
    for shade, name in enumerate(("one/a/1.jpg", "two/a/1.jpg")):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("L", (8, 8), 40 * shade).save(tmp_path / name)
    both = AddUnlabelled.beside(ImportData.of(tmp_path / "one"), tmp_path / "two").read()
    theirs = written(tmp_path / "theirs.json", [{"image": "a/1.jpg", "caption": "a dog"}])
    with pytest.raises(DataError, match=r"such as 'two/a/1\.jpg'"):
        captions_for(both, theirs)
    written(theirs, [{"image": "two/a/1.jpg", "caption": "a dog"}])
    assert captions_for(both, theirs).keys() == {"unlabelled/a/1.jpg"}


def test_zeros_before_a_number_need_not_be_written(tmp_path: Path) -> None:
    write_image(tmp_path / "000000000005.jpg")
    data = {
        "images": [{"id": 5, "file_name": "000000000005.jpg"}],
        "annotations": [{"image_id": 5, "caption": "a dog"}],
    }
    theirs = written(tmp_path / "theirs.json", [{"image": "5.jpg", "caption": "a boat"}])
    assert fitted(written(tmp_path / "data.json", data), theirs) == {"5": "a boat"}


def test_a_file_that_the_data_lack_is_no_image_that_has_its_name_for_a_number(tmp_path: Path) -> None:
    write_image(tmp_path / "dog5.jpg")
    data = {
        "images": [{"id": 5, "file_name": "dog5.jpg"}],
        "annotations": [{"image_id": 5, "caption": "a dog"}],
    }
    theirs = written(tmp_path / "theirs.json", [{"image": "5.jpg", "caption": "a boat"}])
    assert fitted(written(tmp_path / "data.json", data), theirs) == {"5.jpg": "a boat"}


@pytest.mark.parametrize("head", ["image,caption,text", "image_id,caption,text"])
@pytest.mark.parametrize("clean", [False, True])
def test_remarks_on_a_captions_file_are_said_once(coco: Path, tmp_path: Path, head: str, clean: bool) -> None:
    file, by_image = tmp_path / "theirs.csv", head.startswith("image,")
    rows = [f"{n}{'.jpg' * by_image},Hunde auf einer Straße {n},x" for n in ("1", *range(100, 120))]
    flawed = ["11.jpg,a dog"] * by_image  # a table of ids is refused as a whole
    file.write_text("\n".join([head, *rows, *flawed]), encoding="cp1252")
    data, notes = ImportData.of(coco), Notes()
    teacher = captions_teacher(file, data)
    teacher = teacher.cleaned(16) if clean else teacher
    store = Store(tmp_path / "store", progress=notes)
    for _ in range(2):
        store.build(teacher.labels)
        assert teacher.labels.load(store).texts("1") == ["Hunde auf einer Straße 1"]
    said = [note for note in notes.notes if note.startswith(str(file))]
    wanted = ["not read: text; `--caption-column`", "cp1252", *["expected 3 fields"] * by_image]
    assert [sum(part in note for note in said) for part in wanted] == [1] * len(wanted) == [1] * len(said)


@pytest.mark.parametrize("name", ["their answers.jsonl", "theirs.json"])
def test_captions_under_a_key_of_another_name_take_a_conversion(
    coco: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file, record = Path(name), {"image": "1.jpg", "response": {"caption": "one"}}

    def told() -> str:
        file.write_text(json.dumps(record) + "\n" if file.suffix == ".jsonl" else json.dumps([record]))
        with pytest.raises(DataError, match=rf"^{file}: no captions were found in it; not "):
            captions_teacher(file, ImportData.of(coco))
        with pytest.raises(DataError) as error:
            ImportCaptions.of(file).of_images(ImportData.of(coco), read_dataset(coco))
        return str(error.value)

    (command,) = re.findall("; not read: response\\.caption\\. Next step: `distilcap (.*?)`", told())
    main(shlex.split(command))
    assert fitted(coco, Path(shlex.split(command)[-1])) == {"1": "one"}
    record["model"] = "big"
    assert "; not read: response.caption, model. Next step: `" in told()
    assert " --caption-column KEY " in told()
