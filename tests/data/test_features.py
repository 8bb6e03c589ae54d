from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from distilcap.data import features
from distilcap.data.features import FeatureStore, FeatureWriter, Skipped, check_space, readable_size
from distilcap.errors import DataError

RECIPE = {"encoder": "test"}


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 5)).astype(np.float16)


def make(folder: Path, count: int = 6) -> tuple[FeatureStore, np.ndarray]:
    writer = FeatureWriter(folder, RECIPE, 3, 5)
    content = rows(count)
    writer.add([f"image{i}" for i in range(count)], content)
    return writer.finish(), content


def test_reading_does_not_need_torch() -> None:
    code = "import sys, distilcap.data.features; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_round_trip_in_any_order(tmp_path: Path) -> None:
    store, content = make(tmp_path / "store")
    assert store.ids == tuple(f"image{i}" for i in range(6))
    assert (store.count, store.regions, store.dim, store.recipe) == (6, 3, 5, RECIPE)
    regions = FeatureStore.open(tmp_path / "store").regions_of(["image4", "image0", "image4"])
    assert np.array_equal(regions.features.numpy(), content[[4, 0, 4]])
    assert bool(regions.mask.all())
    assert "image4" in store
    assert "image6" not in store


def test_counts_become_the_mask(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path, RECIPE, 3, 5)
    writer.add(["a", "b"], rows(2), [1, 3])
    assert writer.finish().regions_of(["b", "a"]).mask.tolist() == [[True] * 3, [True, False, False]]


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    _, content = make(tmp_path)
    tensors = load_file(tmp_path / "features.safetensors")
    assert np.array_equal(tensors["features"], content)
    assert tensors["counts"].tolist() == [3] * 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.safetensors", "store.json"]


@settings(max_examples=30, deadline=None)
@given(
    batches=st.lists(st.integers(0, 4), max_size=6),
    flushes=st.integers(0, 6),
    torn_rows=st.binary(max_size=40),
    torn_line=st.text(max_size=20).filter(lambda text: "\n" not in text),
)
def test_what_was_flushed_survives_any_kill(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[int],
    flushes: int,
    torn_rows: bytes,
    torn_line: str,
) -> None:
    folder = tmp_path_factory.mktemp("store")
    writer = FeatureWriter(folder, RECIPE, 3, 5)
    kept: list[str] = []
    content = rows(sum(batches))
    for number, size in enumerate(batches):
        start = len(writer.ids)
        writer.add([f"{start + i}" for i in range(size)], content[start : start + size])
        if number < flushes:
            writer.flush()
            kept = list(writer.ids)
    writer._rows.close()  # the process dies here; more may or may not have come to disk
    with (folder / "features.partial").open("ab") as file:
        file.write(torn_rows)
    with (folder / "progress.jsonl").open("a", encoding="utf-8") as log:
        log.write(torn_line)
    writer = FeatureWriter(folder, RECIPE, 3, 5)
    assert writer.ids == kept
    rest = content[len(kept) :]
    writer.add([f"{len(kept) + i}" for i in range(len(rest))], rest)
    store = writer.finish()
    assert np.array_equal(store.rows(store.ids)[0], content)


def test_a_kill_between_the_last_renames_is_mended(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path, RECIPE, 3, 5)
    writer.add(["a", "b"], rows(2))
    writer.close()
    (tmp_path / "features.partial").rename(tmp_path / "features.safetensors")
    store = FeatureWriter(tmp_path, RECIPE, 3, 5).finish()
    assert np.array_equal(store.rows(["a", "b"])[0], rows(2))


def test_an_unknown_and_a_skipped_image_are_named(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path, RECIPE, 3, 5)
    writer.add(["a"], rows(1))
    writer.skip(Skipped("bad", "bad.jpg: an empty file."))
    store = writer.finish()
    assert store.skipped == (Skipped("bad", "bad.jpg: an empty file."),)
    with pytest.raises(DataError, match='no features of image "b"; extract features for it first'):
        store.regions_of(["a", "b"])
    with pytest.raises(DataError, match=r'"bad"; it was skipped: bad\.jpg: an empty file'):
        store.regions_of(["bad"])


def test_a_store_of_nothing_but_skipped_images_opens(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path, RECIPE, 3, 5)
    writer.skip(Skipped("bad", "no"))
    assert writer.finish().count == 0


def test_an_unfinished_store_says_so(tmp_path: Path) -> None:
    FeatureWriter(tmp_path, RECIPE, 3, 5).close()
    with pytest.raises(DataError, match="broken off; run it again"):
        FeatureStore.open(tmp_path)
    with pytest.raises(DataError, match="there is no such file"):
        FeatureStore.open(tmp_path / "nowhere")


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    FeatureWriter(tmp_path, RECIPE, 3, 5).close()
    with pytest.raises(DataError, match="begun by another recipe"):
        FeatureWriter(tmp_path, {"encoder": "other"}, 3, 5)
    FeatureWriter(tmp_path, RECIPE, 3, 5).finish()
    with pytest.raises(DataError, match="holds a complete feature store"):
        FeatureWriter(tmp_path, RECIPE, 3, 5)


def test_damage_is_noticed(tmp_path: Path) -> None:
    make(tmp_path)
    content = (tmp_path / "features.safetensors").read_bytes()
    (tmp_path / "features.safetensors").write_bytes(content[:-2])
    with pytest.raises(DataError, match=rf"missing or not of {len(content)} bytes"):
        FeatureStore.open(tmp_path)
    (tmp_path / "store.json").write_text(json.dumps({"ids": []}))
    with pytest.raises(DataError, match="not the index of a feature store"):
        FeatureStore.open(tmp_path)


def test_too_small_a_disk_is_told_before_the_work(tmp_path: Path) -> None:
    check_space(tmp_path / "not" / "yet", 1000)
    with pytest.raises(DataError, match=r"needs 1000000\.0 TB of disk, but only .* are free"):
        check_space(tmp_path, 10**18)


def test_a_disk_that_fills_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = FeatureWriter(tmp_path, RECIPE, 3, 5)
    writer.add(["a"], rows(1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(features.os, "fsync", full)
        with pytest.raises(DataError, match="the disk is full; free some and run again"):
            writer.flush()
    assert writer.finish().ids == ("a",)


@pytest.mark.parametrize(
    "size, text", [(999, "999 bytes"), (3_866_000_000, "3.9 GB"), (1000, "1.0 kB"), (10**15, "1000.0 TB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert readable_size(size) == text
