from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from distilcap.data.dataset import ImageRecord
from distilcap.data.features import FeatureStore
from distilcap.encoders import extract
from distilcap.encoders.extract import extract_features
from distilcap.encoders.loader import image_batches
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
    assert extract_features(encoder, mixed, tmp_path / "store", SILENT) == skipped


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
    class Interrupted(Remarks):
        def track(
            self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
        ) -> Iterator[T]:
            for number, item in enumerate(items):
                if number == 8:
                    raise KeyboardInterrupt
                yield item

    with pytest.raises(KeyboardInterrupt):
        extract_features(encoder, images, tmp_path / "store", Interrupted(), batch_size=1, threads=1)
    remarks = Remarks()
    extract_features(encoder, images, tmp_path / "store", remarks, batch_size=1)
    assert "are there already" in remarks.notes[0]
    assert remarks.tracked[0][1] > 0
    assert FeatureStore.open(tmp_path / "store").count == 11


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
    safe = sum(len(json.loads(line)["ids"]) for line in log.read_text().splitlines()[1:])
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


def test_image_batches_keep_the_order(images: list[ImageRecord]) -> None:
    preprocessing = create_encoder("efficientnet-lite0", size=32).preprocessing
    order = [[images[row] for row in rows] for rows in ([3, 1], [0, 0, 5], [7])]
    batches = list(image_batches(order, preprocessing, threads=3))
    for batch, pixels in zip(order, batches, strict=True):
        expected = np.stack([load_pixels(image.path, preprocessing) for image in batch])
        assert np.array_equal(pixels.numpy(), normalise(expected, preprocessing))
    with pytest.raises(DataError, match="there is no such image"):
        list(image_batches([[replace(images[0], path=Path("absent.jpg"))]], preprocessing))
