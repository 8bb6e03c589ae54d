"""Images held out for splits that have none, and images without captions beside those that have."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import SPLITS, Dataset, ImageRecord
from distilcap.data.scenes import draw_scenes
from distilcap.errors import DataError
from distilcap.stages.changed_data import FEWEST, AddUnlabelled, HoldOut
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.folders import stage_at
from distilcap.store.store import Store

WHOLE = ImportData("0123", "photos", "photos", None)
SPLIT = st.lists(st.tuples(st.sampled_from(SPLITS), st.booleans()), max_size=30)


def dataset(images: list[tuple[str, bool]]) -> Dataset:
    records = tuple(ImageRecord(str(n), Path(f"{n}.jpg"), split) for n, (split, _) in enumerate(images))
    return Dataset(
        "photos", records, CaptionSet.of_texts({str(n): ["a"] for n, (_, has) in enumerate(images) if has})
    )


@given(SPLIT, st.sampled_from([("val",), ("val", "test")]))
def test_each_needed_split_gets_captioned_images(
    images: list[tuple[str, bool]], needed: tuple[str, ...]
) -> None:
    before = dataset(images)
    derived = HoldOut.where_needed(WHOLE, before, needed)
    empty = [split for split in needed if not before.references(split)]
    captioned = len(before.references("train"))
    if not empty or captioned < FEWEST:
        assert derived is WHOLE
        return
    assert isinstance(derived, HoldOut)
    after = derived.changed(before)
    sizes = {split: len(after.references(split)) for split in SPLITS}
    assert {sizes[split] for split in empty} == {max(1, round(captioned / 10))}
    assert sizes["train"] >= 2
    assert after.captions == before.captions
    moved = {new.id for old, new in zip(before.images, after.images, strict=True) if old.split != new.split}
    assert moved <= set(before.references("train"))
    assert derived.changed(after.__class__("photos", before.images[::-1], before.captions)).split(
        "val"
    ) == tuple(reversed(after.split("val")))


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
    note = added.note()
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
