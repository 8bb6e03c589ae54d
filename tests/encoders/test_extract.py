from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from dies import Dies

from distilcap.data.dataset import ImageRecord
from distilcap.data.features import FeatureStore
from distilcap.encoders import extract
from distilcap.encoders.extract import extract_features
from distilcap.encoders.registry import create_encoder
from distilcap.errors import ConfigError, DataError
from distilcap.progress import SILENT
from distilcap.runtime.pixels import load_pixels, normalise

T = TypeVar("T")


class Remarks:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.tracked: list[tuple[int | None, int]] = []

    def track(
        self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
    ) -> Iterator[T]:
        self.tracked.append((total, done))
        yield from items

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def encoder() -> object:
    return create_encoder("efficientnet-lite0", size=32, form="stage")


@pytest.fixture(scope="module")
def images(
    write_images: Callable[..., list[ImageRecord]], tmp_path_factory: pytest.TempPathFactory
) -> list[ImageRecord]:
    return write_images(tmp_path_factory.mktemp("images"), 11)


def test_rows_are_the_encoders_in_the_order_given(
    encoder: object, images: list[ImageRecord], tmp_path: Path
) -> None:
    remarks = Remarks()
    before = torch.get_num_threads()
    skipped = extract_features(encoder, images, tmp_path / "store", remarks, batch_size=3, threads=2)
    assert torch.get_num_threads() == before
    assert skipped == []
    store = FeatureStore.open(tmp_path / "store")
    assert store.ids == tuple(image.id for image in images)
    assert store.recipe == encoder.recipe()
    pixels = np.stack([load_pixels(image.path, encoder.preprocessing) for image in images])
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(normalise(pixels, encoder.preprocessing))).features
    given = store.regions_of(store.ids).features.float()
    assert torch.allclose(given, expected, rtol=2e-3, atol=2e-3)
    # Told before the work: number, size, place. Told after it: speed.
    assert remarks.notes[0] == f"11 images x 1 regions x 320 features: 11.2 kB in {tmp_path / 'store'}"
    assert "images per second; 0 skipped" in remarks.notes[-1]
    assert remarks.tracked == [(11, 0)]


def test_bad_images_are_listed_and_passed_over(
    encoder: object, images: list[ImageRecord], tmp_path: Path
) -> None:
    whole = images[0].path.read_bytes()
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "short.jpg").write_bytes(whole[: len(whole) // 2])
    bad = [ImageRecord(name, tmp_path / f"{name}.jpg", "train") for name in ("empty", "short", "absent")]
    mixed = [bad[0], *images[:4], bad[1], *images[4:6], bad[2]]
    remarks = Remarks()
    skipped = extract_features(encoder, mixed, tmp_path / "store", remarks, batch_size=2)
    assert [one.id for one in skipped] == ["empty", "short", "absent"]
    for one, reason in zip(skipped, ("an empty file", "cannot be decoded", "no such image"), strict=True):
        assert str(tmp_path / f"{one.id}.jpg") in one.reason
        assert reason in one.reason
        assert any(note.startswith("Skipped: ") and reason in note for note in remarks.notes)
    store = FeatureStore.open(tmp_path / "store")
    assert store.ids == tuple(image.id for image in images[:6])
    # A second run finds it done, and tells the same.
    remarks = Remarks()
    assert extract_features(encoder, mixed, tmp_path / "store", remarks) == skipped
    assert remarks.notes == []
    # What can be read by now, as HEIC can once its extra is installed, is said.
    (tmp_path / "short.jpg").write_bytes(whole)
    assert extract_features(encoder, mixed, tmp_path / "store", remarks) == skipped
    (note,) = remarks.notes
    assert '"short", which was skipped, can be read now; delete the folder' in note


class Blinded(torch.nn.Module):
    """An encoder that gives NaN, or more than float16 holds, for pictures of its choice."""

    def __init__(self, encoder: object, blind: Callable[[int], float]) -> None:
        super().__init__()
        self.encoder, self.blind, self.seen = encoder, blind, 0
        self.name, self.dim, self.regions = encoder.name, encoder.dim, encoder.regions
        self.preprocessing, self.recipe = encoder.preprocessing, encoder.recipe

    def forward(self, pixels: torch.Tensor) -> object:
        regions = self.encoder(pixels)
        for features in regions.features:
            features[-1, -1] += self.blind(self.seen)
            self.seen += 1
        return regions


def test_images_that_the_encoder_gives_nan_for_are_skipped_and_named(
    encoder: object, images: list[ImageRecord], tmp_path: Path
) -> None:
    faults = {0: float("nan"), 1: 1e9, 5: float("-inf")}
    blinded = Blinded(encoder, lambda image: faults.get(image, 0.0))
    remarks = Remarks()
    skipped = extract_features(blinded, images, tmp_path / "store", remarks, batch_size=2, threads=1)
    assert [one.id for one in skipped] == [images[number].id for number in faults]
    for one, number in zip(skipped, faults, strict=True):
        assert one.reason == f"{images[number].path}: the encoder gives NaN or infinity for it."
        assert f"Skipped: {one.reason}" in remarks.notes
    store = FeatureStore.open(tmp_path / "store")
    extract_features(encoder, images, tmp_path / "whole", SILENT)
    whole = FeatureStore.open(tmp_path / "whole")
    assert store.ids == tuple(image.id for number, image in enumerate(images) if number not in faults)
    extract_features(encoder, images, tmp_path / "store", again := Remarks())
    assert again.notes == []  # they can be read, as they could then
    assert np.allclose(store.rows(store.ids)[0], whole.rows(store.ids)[0], atol=2e-3)


@pytest.mark.parametrize("flush_images", [4, 256])
def test_an_encoder_that_gives_nan_for_all_is_blamed(
    encoder: object,
    images: list[ImageRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flush_images: int,
) -> None:
    monkeypatch.setattr(extract, "FLUSH_IMAGES", flush_images)
    blinded = Blinded(encoder, lambda _: float("nan"))
    message = f"The encoder {encoder.name} gives NaN or infinity for every image, such as {images[0].path}"
    with pytest.raises(DataError, match=message):
        extract_features(blinded, images, tmp_path / "store", SILENT, batch_size=2, threads=1)
    assert blinded.seen < len(images) or flush_images == 256
    # Nothing of it stays: a sound encoder of the same recipe extracts them all.
    assert extract_features(encoder, images, tmp_path / "store", SILENT) == []


def test_other_features_are_refused(encoder: object, images: list[ImageRecord], tmp_path: Path) -> None:
    extract_features(encoder, images[:2], tmp_path / "store", SILENT)
    other = create_encoder("efficientnet-lite0", size=64, form="stage")
    with pytest.raises(DataError, match="holds features of another recipe"):
        extract_features(other, images[:2], tmp_path / "store", SILENT)
    with pytest.raises(DataError, match='a complete store that lacks 1 images, such as "image2"'):
        extract_features(encoder, images[:3], tmp_path / "store", SILENT)
    assert extract_features(encoder, images[:1], tmp_path / "store", SILENT) == []


def test_impossible_options(encoder: object, images: list[ImageRecord], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Two images have the same id"):
        extract_features(encoder, [images[0], images[0]], tmp_path, SILENT)
    with pytest.raises(ConfigError, match="`batch_size` must be at least 1, but is 0"):
        extract_features(encoder, images, tmp_path, SILENT, batch_size=0)
    with pytest.raises(ConfigError, match="`threads` must be at least 1, but is 0"):
        extract_features(encoder, images, tmp_path, SILENT, threads=0)


def test_a_small_disk_stops_it_before_the_work(
    encoder: object, images: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "store_bytes", lambda count, regions, dim: 10**18 * count)
    with pytest.raises(DataError, match=r"needs 11000000\.0 TB of disk"):
        extract_features(encoder, images, tmp_path / "store", SILENT)


def test_a_failure_keeps_what_is_done(
    encoder: object, images: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract_features(
            encoder, images, tmp_path / "store", Dies(8, KeyboardInterrupt), batch_size=1, threads=1
        )
    remarks = Remarks()
    extract_features(encoder, images, tmp_path / "store", remarks, batch_size=1)
    assert "are there already" in remarks.notes[0]
    assert remarks.tracked[0][1] > 0
    assert FeatureStore.open(tmp_path / "store").count == 11


def test_a_broken_off_extraction_tries_again_what_it_skipped(
    encoder: object, write_images: Callable[..., list[ImageRecord]], tmp_path: Path
) -> None:
    """Such as HEIC, once its package is installed; what is still no image is skipped once."""
    images = write_images(tmp_path / "images", 12)
    whole = images[0].path.read_bytes()
    for image in images[:2]:
        image.path.write_bytes(b"no image")

    with pytest.raises(KeyboardInterrupt):
        extract_features(
            encoder, images, tmp_path / "store", Dies(11, KeyboardInterrupt), batch_size=1, threads=1
        )
    images[0].path.write_bytes(whole)
    remarks = Remarks()
    skipped = extract_features(encoder, images, tmp_path / "store", remarks, batch_size=1)
    assert [one.id for one in skipped] == [images[1].id]
    store = FeatureStore.open(tmp_path / "store")
    assert sorted(store.ids) == sorted(image.id for image in images if image is not images[1])
    assert store.skipped == tuple(skipped)
    ((total, done),) = remarks.tracked
    assert total == 12
    assert done > 0
    assert f"; {done} are there already" in remarks.notes[0]


def test_images_that_go_away_are_no_bad_images(
    encoder: object, write_images: Callable[..., list[ImageRecord]], tmp_path: Path
) -> None:
    """As of a disk that is unplugged: the work stops, and goes on when they are back."""
    images = write_images(tmp_path / "images", 6)

    class Unplugged(Remarks):
        def track(
            self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
        ) -> Iterator[T]:
            for number, item in enumerate(items):
                if number == 3:
                    (tmp_path / "images").rename(tmp_path / "away")
                yield item

    with pytest.raises(DataError, match="gone since the extraction began"):
        extract_features(encoder, images, tmp_path / "store", Unplugged(), batch_size=1, threads=1)
    assert not (tmp_path / "store" / "store.json").exists()
    (tmp_path / "away").rename(tmp_path / "images")
    assert not extract_features(encoder, images, tmp_path / "store", SILENT, batch_size=1)
    assert FeatureStore.open(tmp_path / "store").count == 6


KILLED = """
import sys, time
from pathlib import Path
from distilcap.data.dataset import ImageRecord
from distilcap.encoders import extract
from distilcap.encoders.registry import create_encoder
from distilcap.progress import SILENT
extract.FLUSH_IMAGES = 2
load = extract.decoded
def endlessly(*arguments):
    for number, item in enumerate(load(*arguments)):
        if number == 30:
            time.sleep(600)  # until it is killed
        yield item
extract.decoded = endlessly
images = [ImageRecord(path.stem, path, "train") for path in sorted(Path(sys.argv[1]).glob("*.jpg"))]
encoder = create_encoder("efficientnet-lite0", size=32, form="stage")
extract.extract_features(encoder, images, Path(sys.argv[2]), SILENT, batch_size=1, threads=1)
"""


def test_a_killed_process_loses_little_and_gives_the_same(
    write_images: Callable[..., list[ImageRecord]], tmp_path: Path
) -> None:
    images = sorted(write_images(tmp_path / "images", 60), key=lambda image: image.path)
    log = tmp_path / "store" / "progress.jsonl"
    deadline = time.monotonic() + 600
    command = [sys.executable, "-c", KILLED, tmp_path / "images", tmp_path / "store"]
    with subprocess.Popen(command) as process:
        try:
            while not (log.exists() and log.read_bytes().count(b"\n") >= 4):
                assert process.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.005)
        finally:
            process.kill()
    assert not (tmp_path / "store" / "store.json").exists()
    records = log.read_text().rpartition("\n")[0].split("\n")[1:]
    safe = sum(len(json.loads(record.partition(" ")[2])["ids"]) for record in records)
    assert 6 <= safe <= 30
    with pytest.raises(DataError, match="broken off; run it again"):
        FeatureStore.open(tmp_path / "store")
    encoder = create_encoder("efficientnet-lite0", size=32, form="stage")
    remarks = Remarks()
    extract_features(encoder, images, tmp_path / "store", remarks, batch_size=1)
    assert remarks.tracked == [(60, safe)]
    extract_features(encoder, images, tmp_path / "whole", SILENT, batch_size=1)
    resumed, whole = FeatureStore.open(tmp_path / "store"), FeatureStore.open(tmp_path / "whole")
    assert resumed.ids == whole.ids == tuple(image.id for image in images)
    assert np.array_equal(resumed.rows(resumed.ids)[0], whole.rows(whole.ids)[0])


def test_boxes_have_counts(images: list[ImageRecord], tmp_path: Path) -> None:
    encoder = create_encoder("efficientdet-d0", size=64, weights="random", regions=30)
    encoder.candidates = 30
    extract_features(encoder, images[:3], tmp_path / "store", SILENT)
    regions = FeatureStore.open(tmp_path / "store").regions_of([image.id for image in images[:3]])
    assert regions.mask.any(1).all()
    assert not regions.mask.all()
