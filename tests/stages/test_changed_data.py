"""Images held out for splits that have none, and images without captions beside those that have."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from distilcap.data.captions import CaptionSet
from distilcap.data.crops import write_crops
from distilcap.data.dataset import SPLITS, Dataset, ImageRecord, probe
from distilcap.data.scenes import draw_scenes
from distilcap.data.trainable import FEWEST
from distilcap.errors import DataError
from distilcap.stages.changed_data import AddUnlabelled, HoldOut
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.folders import stage_at
from distilcap.store.store import Store

WHOLE = ImportData("0123", "photos", "photos", None)
SPLIT = st.lists(st.tuples(st.sampled_from(SPLITS), st.booleans()), max_size=30)


def dataset(images: list[tuple[str, bool]], by_hash: bool = False) -> Dataset:
    records = tuple(ImageRecord(str(n), Path(f"{n}.jpg"), split) for n, (split, _) in enumerate(images))
    texts = {str(n): ["a"] for n, (_, has) in enumerate(images) if has}
    return Dataset("photos", records, CaptionSet.of_texts(texts), by_hash=by_hash)


@given(SPLIT, st.sampled_from([("val",), ("val", "test")]), st.booleans())
def test_each_needed_split_gets_captioned_images(
    images: list[tuple[str, bool]], needed: tuple[str, ...], by_hash: bool
) -> None:
    before = dataset(images, by_hash)
    had = {split: len(before.references(split)) for split in SPLITS}
    whole = sum(had.values())
    few = whole < FEWEST and (by_hash or not all(had[split] for split in needed))
    if few or had["train"] < 2 + sum(not had[split] for split in needed):
        with pytest.raises(DataError, match=f"photos: {whole} photograph"):
            HoldOut.where_needed(WHOLE, before, needed)
        return
    derived = HoldOut.where_needed(WHOLE, before, needed)
    if derived is WHOLE:
        assert all(had[split] for split in needed)
        return
    assert isinstance(derived, HoldOut)
    after = derived.changed(before)
    sizes = {split: len(after.references(split)) for split in SPLITS}
    assert all(sizes[split] for split in needed)
    assert sizes["train"] >= 2
    if had["train"] >= 15 and not by_hash:
        assert derived.moved == ()  # as it always was
        assert {sizes[split] for split in derived.splits} == {round(had["train"] / 10)}
    assert by_hash or not any(had[split] for split in derived.splits), "a person gave it"
    assert after.captions == before.captions
    moved = {new.id for old, new in zip(before.images, after.images, strict=True) if old.split != new.split}
    assert moved <= set(before.references("train"))
    assert derived.changed(after.__class__("photos", before.images[::-1], before.captions)).split(
        "val"
    ) == tuple(reversed(after.split("val")))


@pytest.mark.parametrize(
    ("given", "by_hash", "becomes"),
    [
        ((4, 0, 0), False, (2, 1, 1)),
        ((5, 0, 0), False, (3, 1, 1)),
        ((6, 0, 0), False, (3, 2, 1)),
        ((8, 0, 0), False, (4, 2, 2)),
        ((14, 0, 0), False, (10, 2, 2)),
        ((3, 1, 0), False, (2, 1, 1)),
        ((17, 1, 2), False, (17, 1, 2)),
        ((17, 1, 2), True, (16, 2, 2)),
        ((9, 1, 1), True, (7, 2, 2)),
        ((3, 1, 1), True, (3, 1, 1)),
        ((40, 1, 5), True, (37, 4, 5)),
    ],
)
def test_two_images_are_held_out_where_half_of_all_stay(
    given: tuple[int, ...], by_hash: bool, becomes: tuple[int, ...], tmp_path: Path
) -> None:
    """CIDEr of a single image is always 0."""
    splits = [split for split, count in zip(SPLITS, given, strict=True) for _ in range(count)]
    before = dataset([(split, True) for split in splits], by_hash)
    derived = HoldOut.where_needed(WHOLE, before, ("val", "test"))
    after = derived.changed(before) if isinstance(derived, HoldOut) else before
    assert tuple(len(after.references(split)) for split in SPLITS) == becomes


def test_it_is_said_how_many_are_held_out(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.jpg").write_bytes(b"not looked into %d" % number)
    rows = "".join(f"{n}.jpg,train,a dog {n}\n" for n in range(6))
    path, store = tmp_path / "captions.csv", Store(tmp_path / "store")
    path.write_text(f"image,split,caption\n{rows}")
    data = ImportData.of(path)
    derived = HoldOut.where_needed(data, data.read(), ("val", "test"))
    assert isinstance(derived, HoldOut)
    assert derived.note(store) == (
        f"{path}: 6 captioned images of split train, none of val and none of test; of those of train, "
        "2 for val and 1 for test set aside."
    )
    assert stage_at(store.path(derived)) == derived


def test_a_data_set_that_was_moved_is_found_where_it_lies_now(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "here" / "scenes", (4, 2, 2), size=48)
    store = Store(tmp_path / "store")
    data = ImportData.of(tmp_path / "here" / "scenes")
    store.build(data)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = ImportData.of(tmp_path / "there" / "scenes")
    assert moved.key == data.key
    assert all(image.path.exists() for image in moved.load(store).images)
    assert not any(image.path.exists() for image in data.load(store).images)
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=32, weights="random")
    with pytest.raises(DataError, match="there is no such image, nor any of the others"):
        store.build(features)  # it was sealed without any image once
    assert not store.has(features)


def test_photographs_that_took_the_place_of_moved_ones_are_not_read(tmp_path: Path) -> None:
    """A camera calls the next week's alike."""
    draw_scenes(tmp_path / "inbox", (4, 2, 2), size=48)
    captions = tmp_path / "week1.json"
    (tmp_path / "inbox" / "dataset_scenes.json").rename(captions)
    data, store = ImportData.of(captions, tmp_path / "inbox" / "images"), Store(tmp_path / "store")
    store.build(data)
    (tmp_path / "inbox").rename(tmp_path / "archive")
    draw_scenes(tmp_path / "inbox", (4, 2, 2), size=48, seed=1)
    moved = ImportData.of(captions, tmp_path / "archive" / "images")
    assert moved.key == data.key
    assert moved.load(store).fingerprint() == data.fingerprint


def test_images_of_a_linked_folder_keep_its_name(tmp_path: Path) -> None:
    """Captions of a teacher name them by it."""
    draw_scenes(tmp_path / "pool", (4, 2, 2), size=48)
    (tmp_path / "photos").symlink_to(tmp_path / "pool" / "images", target_is_directory=True)
    data = ImportData.of(tmp_path / "pool" / "dataset_scenes.json", tmp_path / "photos")
    store = Store(tmp_path / "store")
    store.build(data)
    assert {image.path.parent for image in data.load(store).images} == {tmp_path / "photos"}


def test_a_link_that_leads_round_in_a_circle_and_a_name_too_long_are_missing_images(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (4, 2, 2), size=48)
    (tmp_path / "scenes/images/round.jpg").symlink_to("round.jpg")
    images = [{"filename": name, "split": "train", "sentences": [{"raw": "a dog"}]} for name in
              ("round.jpg", "a dog " * 50 + ".jpg")]  # fmt: skip
    file = tmp_path / "scenes/dataset_scenes.json"
    content = json.loads(file.read_text())
    first = {Path(image["filename"]).stem for image in content["images"]}
    content["images"] = images + content["images"]
    file.write_text(json.dumps(content))
    data, store = ImportData.of(tmp_path / "scenes"), Store(tmp_path / "store")
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=32, weights="random")
    store.build(features)
    assert {image.id for image in data.read().images if image.id in features.load(store)} == first


def test_an_artifact_keeps_its_splits_where_the_data_set_was_moved_and_edited(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "here", (4, 2, 2), size=48)
    store = Store(tmp_path / "store")
    data = ImportData.of(tmp_path / "here" / "dataset_scenes.json", tmp_path / "here" / "images")
    store.build(data)
    before = data.load(store)
    shutil.move(tmp_path / "here", tmp_path / "there")
    captions = tmp_path / "there" / "dataset_scenes.json"
    captions.write_text(captions.read_text().replace('"train"', '"test"'))
    moved = dataclasses.replace(data, path=str(captions), images=str(tmp_path / "there" / "images"))
    after = moved.load(store)
    assert all(image.path.exists() for image in after.images)
    assert [image.split for image in after.images] == [image.split for image in before.images]


def test_unlabelled_images_become_training_images(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (6, 2, 2), size=48)
    draw_scenes(tmp_path / "others", (3, 1, 1), size=48, seed=3)
    more = tmp_path / "more"
    shutil.copytree(tmp_path / "others", more)
    data = ImportData.of(tmp_path / "scenes")
    known = data.read().split("test")[0].path
    shutil.copy(known, more / "another name.png")  # of a test image: nobody may learn from that
    added, store = AddUnlabelled.beside(data, more), Store(tmp_path / "store")
    store.build(added)
    after, before = added.load(store), data.load(store)
    new = after.images[len(before.images) :]
    assert after.images[: len(before.images)] == before.images
    assert len(new) == 5
    assert {image.split for image in new} == {"train"}
    assert after.captions == before.captions
    assert stage_at(store.path(added)) == added
    (more / "film.mov").write_text("no image")
    (more / "elsewhere").symlink_to(tmp_path / "others")
    note = added.note(store)
    assert note.startswith(
        f"{more}: 5 images to train on, which the teacher labels (1 more in the data already)"
    )
    assert "1 .mov" in note
    assert "1 linked folder not entered" in note
    shutil.move(more, tmp_path / "moved")
    assert AddUnlabelled.beside(data, tmp_path / "moved").key == added.key
    (tmp_path / "moved/another name.png").unlink()
    assert AddUnlabelled.beside(data, tmp_path / "moved").key != added.key


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder of images without captions"):
        AddUnlabelled.beside(WHOLE, tmp_path / "none")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match="there is no image in this folder"):
        AddUnlabelled.beside(WHOLE, tmp_path)


def test_crops_of_images_that_are_held_out_are_not_learnt_from(tmp_path: Path) -> None:
    """The crops were made before captions changed, so that others were held out then."""
    draw_scenes(tmp_path / "scenes", (6, 2, 2), size=48)
    data, store = ImportData.of(tmp_path / "scenes"), Store(tmp_path / "store")
    images = [dataclasses.replace(image, split="train") for image in data.read().images]
    write_crops(images, tmp_path / "crops", each=2, size=32)
    added = AddUnlabelled.beside(data, tmp_path / "crops")
    assert len(added.read().images) == 10 + 12
    note = added.note(store)
    assert note.split("crops: ", 1)[1].startswith(
        "12 images to train on, which the teacher labels; 8 crops of images held out for val or test left out"
    )
    recipe = tmp_path / "crops" / "crops.json"
    recipe.rename(aside := tmp_path / "crops.json")  # then these are any photographs
    added, store = AddUnlabelled.beside(data, tmp_path / "crops"), Store(tmp_path / "store-2")
    assert "20 images to train on" in added.note(store)
    aside.rename(recipe)
    with pytest.raises(DataError, match=f"{store.path(added)}: has crops of held-out images; delete"):
        added.note(store)


def test_crops_are_known_by_their_photographs_whatever_these_are_called(tmp_path: Path) -> None:
    """They were cut from a COCO file, which counts images, and the data now are a table of the same files."""
    scenes = tmp_path / "scenes"
    draw_scenes(scenes, (6, 2, 2), size=48)
    files = sorted((scenes / "images").iterdir())
    for number in (0, 1):
        shutil.copy(files[number], scenes / "images" / f"copy{number}.png")  # the same bytes, other names
    names = [file.name for file in sorted((scenes / "images").iterdir())]
    numbered = [ImageRecord(str(n), scenes / "images" / name, "train") for n, name in enumerate(names)]
    write_crops(numbered, tmp_path / "crops", each=1, size=32)
    splits = [
        "test",
        "train",
        "train",
        "test",
        *("train", "val") * 4,
    ]  # a copy is not what it was copied from
    table = tmp_path / "captions.csv"
    rows = (f"{name},{split},a dog\n" for name, split in zip(names, splits, strict=True))
    table.write_text(f"image,split,caption\n{''.join(rows)}")
    data, store = ImportData.of(table, scenes / "images"), Store(tmp_path / "store")
    added = AddUnlabelled.beside(data, tmp_path / "crops")
    learnt = {image.id for image in added.read().images if image.split == "train"}
    held = {n for n, split in enumerate(splits) if split != "train"}
    cropped = {f"unlabelled/{n}_0.jpg" for n in range(len(names)) if n not in held}
    assert learnt == cropped | {Path(name).stem for n, name in enumerate(names) if n not in held}
    assert "; 6 crops of images held out for val or test left out; 1 other file" in added.note(store)
    older = dataclasses.replace(added, crops_by_content=False)
    assert added.key != older.key
    recipe = tmp_path / "crops" / "crops.json"
    content = json.loads(recipe.read_text())
    del content["sources"]
    recipe.write_text(json.dumps(content))  # of an older version: by ids, which are none of the data's
    added = AddUnlabelled.beside(data, tmp_path / "crops")
    assert added.key == older.key
    assert len(added.read().images) == 24
    said = f"; the crops in {tmp_path / 'crops'} are of no image of the data, so it is not known "
    assert said in added.note(store)
    write_crops(
        numbered, tmp_path / "crops", each=1, size=32
    )  # again: the same crops, now with their sources
    assert AddUnlabelled.beside(data, tmp_path / "crops").crops_by_content
    recipe.write_text('{"each": 1, "size": 32, "sources": [1]}')
    with pytest.raises(DataError, match=r"crops\.json: not what `distilcap data crops` writes"):
        AddUnlabelled.beside(data, tmp_path / "crops")


def test_another_programs_crops_json_makes_no_crops(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (6, 2, 2), size=48)
    draw_scenes(tmp_path / "more", (3, 0, 0), size=48, seed=7)
    (tmp_path / "more/images/crops.json").write_text('[{"file": "0.jpg", "box": [0, 0, 5, 5]}]')
    added = AddUnlabelled.beside(ImportData.of(tmp_path / "scenes"), tmp_path / "more/images")
    assert len(added.read().images) == 10 + 3


def test_images_of_the_same_ends_are_told_apart(tmp_path: Path) -> None:
    """Of a BMP with a border, size and both ends are any other's."""
    for name, shade in (("data/a.bmp", 50), ("data/b.bmp", 60), ("more/a.bmp", 50), ("more/c.bmp", 70)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture = Image.new("L", (100, 200))
        picture.paste(shade, (40, 80, 60, 120))
        picture.save(tmp_path / name)
    assert probe(tmp_path / "data/a.bmp") == probe(tmp_path / "more/c.bmp")
    both = AddUnlabelled.beside(ImportData.of(tmp_path / "data"), tmp_path / "more").read()
    assert [image.id for image in both.images] == ["a", "b", "unlabelled/c.bmp"]


def test_photographs_of_the_data_are_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a large data set may lie in the folder that is added."""
    for name in ("a.png", "b.png"):
        Image.new("L", (9, 9), ord(name[0])).save(tmp_path / name)
    (tmp_path / "captions.csv").write_text("image,caption\na.png,a dog\n")
    monkeypatch.setattr("distilcap.stages.changed_data._digest", lambda path: pytest.fail(str(path)))
    both = AddUnlabelled.beside(ImportData.of(tmp_path / "captions.csv"), tmp_path).read()
    assert [image.id for image in both.images] == ["a", "unlabelled/b.png"]


def test_a_photograph_that_the_data_have_is_not_added_again_as_its_twin(tmp_path: Path) -> None:
    """By a hash of their names one would be learnt from, and the other be tested."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for shade, name in enumerate(
        ("1.jpg", "1.heic", "1.dng", "2.jpg", "2.HEIC", "3.heic", "4.heic", "4.png")
    ):
        Image.new("L", (9, 9), shade).save(photos / name, "PNG")
    table, store = tmp_path / "captions.csv", Store(tmp_path / "store")
    table.write_text("image,caption\n1.jpg,a dog\n4.heic,a cat\n")
    (tmp_path / "linked").symlink_to(photos)
    for folder in (photos, tmp_path / "linked"):
        added = AddUnlabelled.beside(ImportData.of(table, photos), folder)
        ids = [image.id for image in added.read().images]
        assert ids == ["1", "4.heic", "unlabelled/2.jpg", "unlabelled/3.heic"]
        assert added.note(store) == (
            f"{folder}: 2 images to train on, which the teacher labels (2 more in the data already); "
            "4 images left out, of photographs that are there as JPEG or the like: "
            "1.dng, 1.heic, 2.HEIC and 1 more."
        )
    table.rename(photos / "captions.csv")
    whole = AddUnlabelled.beside(ImportData.of(photos / "captions.csv"), photos).read()
    assert [image.id for image in whole.images] == ids
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(photos / "3.heic", alone)
    content = Dataset("", (ImageRecord("unlabelled/3.heic", alone / "3.heic", "train"),), CaptionSet({}))
    assert AddUnlabelled.beside(ImportData.of(photos), alone).content == content.fingerprint()
