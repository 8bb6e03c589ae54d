"""Features that a store has of an image are not made again for other data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image
from torch import nn

from distilcap.data.dataset import probe
from distilcap.data.feature_writer import FeatureWriter
from distilcap.data.features import FEATURES, FeatureStore
from distilcap.encoders import extract
from distilcap.encoders.registry import create_encoder, save_encoder
from distilcap.errors import DataError
from distilcap.integrity import read_sealed_json, seal, write_sealed_json
from distilcap.runtime.pixels import load_pixels
from distilcap.stages.changed_data import AddUnlabelled
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.store.store import Store
from distilcap.study.estimate import facts_of, measured_rates

T = TypeVar("T")
COLOURS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200), "grey": (99, 99, 99)}


class Remarks:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(
        self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
    ) -> Iterator[T]:
        return iter(items)

    def note(self, message: str) -> None:
        self.notes.append(message)


def write_captions(photos: Path, captions: dict[str, str]) -> None:
    lines = [json.dumps({"image": f"{name}.png", "captions": [text]}) for name, text in captions.items()]
    (photos / "captions.jsonl").write_text("\n".join(lines))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    write_captions(folder, dict.fromkeys(COLOURS, "a wall"))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that were decoded for an encoder."""
    names: list[str] = []

    def decode(path: Path, preprocessing: object) -> object:
        names.append(path.stem)
        return load_pixels(path, preprocessing)  # type: ignore[arg-type]

    monkeypatch.setattr(extract, "load_pixels", decode)
    return names


def features_of(data: ImportData) -> ExtractFeatures:
    return ExtractFeatures.of(data, "efficientnet-lite0", 32, form="stage")


def made(data: ImportData, store: Store, seen: list[str]) -> tuple[FeatureStore, set[str]]:
    """The features, and whose of them were made just now."""
    seen.clear()
    stage = features_of(data)
    store.build(stage)
    return stage.load(store), set(seen)


def row(features: FeatureStore, name: str) -> np.ndarray:
    return features.rows([name])[0]


def test_other_captions_cost_no_features(photos: Path, store: Store, seen: list[str]) -> None:
    before, first = made(ImportData.of(photos), store, seen)
    assert first == set(COLOURS)
    write_captions(photos, dict.fromkeys(COLOURS, "a painted wall"))
    after, again = made(ImportData.of(photos), store, seen)
    assert not again
    assert after.folder != before.folder
    assert set(after.ids) == set(before.ids) == set(COLOURS)
    for name in after.ids:
        assert np.array_equal(row(after, name), row(before, name))
    after.check_rows()


def test_an_encoder_that_was_saved_anew_makes_no_features_of_the_old_one(photos: Path, store: Store) -> None:
    encoder = create_encoder("efficientnet-lite0", size=32, form="stage", weights="random")
    save_encoder(encoder, file := photos.parent / "mine.safetensors")
    stage = ExtractFeatures.of(ImportData.of(photos), str(file))
    assert isinstance(encoder, nn.Module)
    for parameter in encoder.parameters():
        parameter.data *= 1.5
    save_encoder(encoder, file)
    with pytest.raises(
        DataError, match=f"{file}: other weights than those of {stage.key} .*bring these back"
    ):
        store.build(stage)
    assert not store.has(stage)


def test_changed_and_new_images_are_seen_and_gone_ones_forgotten(
    photos: Path, store: Store, seen: list[str], tmp_path: Path
) -> None:
    made(ImportData.of(photos), store, seen)
    Image.new("RGB", (40, 30), (255, 255, 0)).save(photos / "green.png")
    Image.new("RGB", (40, 30), (9, 9, 9)).save(photos / "new.png")
    write_captions(photos, dict.fromkeys(("new", "blue", "green", "red"), "a wall"))
    after, again = made(ImportData.of(photos), store, seen)
    assert again == {"green", "new"}
    alone, _ = made(ImportData.of(photos), Store(tmp_path / "another"), seen)
    assert set(after.ids) == set(alone.ids)
    for name in alone.ids:
        assert np.array_equal(row(after, name), row(alone, name))


def test_another_image_of_the_same_name_is_another(photos: Path, store: Store, seen: list[str]) -> None:
    made(ImportData.of(photos), store, seen)
    swapped = {name: (photos / f"{name}.png").read_bytes() for name in ("red", "blue")}
    (photos / "red.png").write_bytes(swapped["blue"])
    (photos / "blue.png").write_bytes(swapped["red"])
    _, again = made(ImportData.of(photos), store, seen)
    assert again == {"red", "blue"}


def test_unlabelled_images_are_seen_alone(
    photos: Path, store: Store, seen: list[str], tmp_path: Path
) -> None:
    data = ImportData.of(photos)
    made(data, store, seen)
    (tmp_path / "more").mkdir()
    Image.new("RGB", (40, 30), (1, 2, 3)).save(tmp_path / "more/dark.png")
    _, again = made(AddUnlabelled.beside(data, tmp_path / "more"), store, seen)
    assert again == {"dark"}


def test_copies_say_nothing_of_how_fast_an_encoder_is(photos: Path, store: Store, seen: list[str]) -> None:
    def measured(data: ImportData) -> bool:
        made(data, store, seen)
        stage = features_of(data)
        return ExtractFeatures in measured_rates(store.plan([stage]), facts_of(data, stage, store, 1), store)

    assert measured(ImportData.of(photos))
    write_captions(photos, dict.fromkeys(COLOURS, "a painted wall"))
    assert not measured(ImportData.of(photos))


def test_another_encoder_makes_its_own(photos: Path, store: Store, seen: list[str]) -> None:
    data = ImportData.of(photos)
    made(data, store, seen)
    seen.clear()
    store.build(ExtractFeatures.of(data, "efficientnet-lite0", 64, form="stage"))
    assert set(seen) == set(COLOURS)


@pytest.mark.parametrize("name", [FEATURES, "store.json", "stage.json"])
def test_damaged_features_are_made_again_not_copied(
    photos: Path, store: Store, seen: list[str], name: str
) -> None:
    before, _ = made(ImportData.of(photos), store, seen)
    expected = {image: row(before, image).copy() for image in before.ids}
    content = bytearray((before.folder / name).read_bytes())
    content[5000 if name == FEATURES else len(content) // 2] ^= 1
    (before.folder / name).write_bytes(content)
    write_captions(photos, dict.fromkeys(COLOURS, "a painted wall"))
    stage, remarks = features_of(ImportData.of(photos)), Remarks()
    seen.clear()
    store.build(stage, remarks)
    assert set(seen) == set(COLOURS)
    after = stage.load(store)
    for image, features in expected.items():
        assert np.allclose(row(after, image), features, atol=1e-3)
    if name == FEATURES:
        assert any(note.startswith("Extracting again instead of copying 4 images") for note in remarks.notes)


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_killed_copy_goes_on(
    photos: Path, store: Store, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(ImportData.of(photos), store, seen)
    Image.new("RGB", (40, 30), (9, 9, 9)).save(photos / "new.png")
    write_captions(photos, dict.fromkeys((*COLOURS, "new"), "a wall"))
    stage = features_of(ImportData.of(photos))
    with monkeypatch.context() as patch:
        patch.setattr(extract, "_write_all", killed)
        with pytest.raises(KeyboardInterrupt):
            store.build(stage)
    remarks = Remarks()
    seen.clear()
    store.build(stage, remarks)
    assert set(seen) == {"new"}
    assert not [note for note in remarks.notes if "have their features from" in note]
    features = stage.load(store)
    assert len(features.ids) == 5
    assert features.copied == 4
    assert not stage.timed_whole(store)


def test_an_image_is_what_it_was_when_it_was_seen(
    photos: Path, store: Store, seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was exchanged after a kill, before the same extraction went on, is not that of before."""
    stage = features_of(ImportData.of(photos))
    with monkeypatch.context() as patch:
        patch.setattr(FeatureWriter, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            store.build(stage)
    Image.new("RGB", (40, 30), (255, 255, 0)).save(photos / "red.png")
    seen.clear()
    store.build(stage)
    assert not seen  # they had been seen
    write_captions(photos, dict.fromkeys(COLOURS, "a painted wall"))
    after, again = made(ImportData.of(photos), store, seen)
    assert again == {"red"}
    alone, _ = made(ImportData.of(photos), Store(tmp_path / "another"), seen)
    for name in alone.ids:
        assert np.array_equal(row(after, name), row(alone, name))


def test_images_of_one_border_are_not_mistaken(
    photos: Path, store: Store, seen: list[str], tmp_path: Path
) -> None:
    """Uncompressed, they have the same size and the same ends."""
    for folder, colour in ((photos, "red"), (tmp_path / "others", "blue")):
        folder.mkdir(exist_ok=True)
        picture = Image.new("RGB", (64, 64), "white")
        picture.paste(colour, (16, 25, 48, 39))
        picture.save(folder / "red.bmp")
        (folder / "captions.jsonl").write_text('{"image": "red.bmp", "captions": ["a wall"]}')
    assert probe(photos / "red.bmp") == probe(tmp_path / "others/red.bmp")
    first, _ = made(ImportData.of(photos), store, seen)
    (tmp_path / "others/captions.jsonl").write_text('{"image": "red.bmp", "captions": ["another wall"]}')
    second, again = made(ImportData.of(tmp_path / "others"), store, seen)
    assert again == {"red"}
    assert not np.array_equal(row(first, "red"), row(second, "red"))


def test_a_missing_image_has_no_features(photos: Path, store: Store, seen: list[str]) -> None:
    made(ImportData.of(photos), store, seen)
    (photos / "red.png").unlink()
    write_captions(photos, dict.fromkeys(COLOURS, "a painted wall"))
    after, _ = made(ImportData.of(photos), store, seen)
    assert set(after.ids) == set(COLOURS) - {"red"}


def test_features_that_cannot_be_read_are_left(
    photos: Path, store: Store, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(ImportData.of(photos), store, seen)
    write_captions(photos, dict.fromkeys(COLOURS, "a painted wall"))
    other, opened = store.path(features_of(ImportData.of(photos))), FeatureStore.open

    def open_own(folder: Path) -> FeatureStore:
        if folder.parent == other.parent and folder != other:
            raise PermissionError(13, "Permission denied", str(folder / FEATURES))
        return opened(folder)

    monkeypatch.setattr(FeatureStore, "open", open_own)
    _, again = made(ImportData.of(photos), store, seen)
    assert again == set(COLOURS)


def test_features_of_older_versions_are_left(photos: Path, store: Store, seen: list[str]) -> None:
    """They do not say which images they are of."""
    data = ImportData.of(photos)
    before, _ = made(data, store, seen)
    content = read_sealed_json(before.folder / "store.json")
    assert len(content["files"]) == len(before.ids)
    older = {key: value for key, value in content.items() if key not in ("files", "copied")}
    write_sealed_json(before.folder / "store.json", older)
    seal(before.folder, ExtractFeatures.checked_by_row)
    assert np.array_equal(row(features_of(data).load(store), "red"), row(before, "red"))
    write_captions(photos, dict.fromkeys(COLOURS, "a painted wall"))
    after, again = made(ImportData.of(photos), store, seen)
    assert again == set(COLOURS)
    assert not after.copied
    assert features_of(ImportData.of(photos)).timed_whole(store)
