from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from distilcap.data import features
from distilcap.data.feature_writer import FeatureWriter
from distilcap.data.features import FeatureStore, Skipped, check_space, finite_rows, readable_size
from distilcap.errors import DataError
from distilcap.progress import Silent
from distilcap.record_log import RecordLog

RECIPE = {"encoder": "test"}


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 5)).astype(np.float16)


def make(folder: Path, count: int = 6) -> tuple[FeatureStore, np.ndarray]:
    writer = FeatureWriter(folder, RECIPE, 3, 5)
    content = rows(count)
    writer.add([f"image{i}" for i in range(count)], content)
    return writer.finish(), content


class Remarks(Silent):
    """A `Progress` that remembers its remarks."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def kill(writer: FeatureWriter) -> None:
    """Let go of a writer's files as a killed process does."""
    writer._rows.close()
    writer._log.close()


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
    kill(writer)  # more may or may not have come to disk
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


def test_a_kill_between_the_last_renames_is_fixed(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path, RECIPE, 3, 5)
    writer.add(["a", "b"], rows(2))
    writer.close()
    (tmp_path / "features.partial").rename(tmp_path / "features.safetensors")
    store = FeatureWriter(tmp_path, RECIPE, 3, 5).finish()
    assert np.array_equal(store.rows(["a", "b"])[0], rows(2))


def test_a_log_of_something_else_leaves_nothing_open(tmp_path: Path) -> None:
    with RecordLog(tmp_path / "progress.jsonl", {"recipe": RECIPE, "regions": 3, "dim": 5}) as log:
        log.append({"captions": []})
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DataError, match="a log of this extraction; delete") as kept:
        FeatureWriter(tmp_path, RECIPE, 3, 5)
    assert len(os.listdir("/proc/self/fd")) == before, kept
    RecordLog(tmp_path / "progress.jsonl", {"recipe": RECIPE, "regions": 3, "dim": 5}).close()  # no lock


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
    with pytest.raises(DataError, match=r"begun with other options \(recipe: .*'test'.*'other'"):
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


BEGUN = 4  # flushes of two rows each


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was broken off after some flushes, the last but one with a skipped image."""
    folder = tmp_path_factory.mktemp("begun")
    writer = FeatureWriter(folder, RECIPE, 3, 5)
    content = rows(2 * BEGUN)
    for number in range(BEGUN):
        writer.add([f"{2 * number}", f"{2 * number + 1}"], content[2 * number : 2 * number + 2], [3, 2])
        if number == BEGUN - 2:
            writer.skip(Skipped("bad", "no picture"))
        writer.flush()
    kill(writer)
    return folder


def resumed(folder: Path) -> tuple[int, list[str]]:
    """Go on with a store, as the extraction does; how many rows were there still, and the remarks."""
    remarks = Remarks()
    writer = FeatureWriter(folder, RECIPE, 3, 5, remarks)
    there = len(writer.ids)
    assert writer.ids == [str(image) for image in range(there)]
    content = rows(2 * BEGUN)
    for image in range(there, 2 * BEGUN):
        writer.add([str(image)], content[image : image + 1], [[3, 2][image % 2]])
    if not writer.skipped:
        writer.skip(Skipped("bad", "no picture"))
    store = writer.finish()
    features, counts = store.rows([str(image) for image in range(2 * BEGUN)])
    assert np.array_equal(features, content)
    assert counts.tolist() == [3, 2] * BEGUN
    assert store.skipped == (Skipped("bad", "no picture"),)
    return there, remarks.notes


ROW = 2 * 3 * 5


@pytest.mark.parametrize("length", [0, 100, 4096, 4096 + ROW, 4096 + 3 * ROW + 1, 4096 + 4 * ROW])
def test_cut_features_are_extracted_again_and_never_zero(begun: Path, tmp_path: Path, length: int) -> None:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    os.truncate(tmp_path / "features.partial", length)
    there, notes = resumed(tmp_path)
    assert there == max(0, length - 4096) // (2 * ROW) * 2
    assert [f'from image "{there}" on are extracted again' in note for note in notes] == [True]


def test_missing_features_are_extracted_again(begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    (tmp_path / "features.partial").unlink()
    assert resumed(tmp_path)[0] == 0


@settings(max_examples=60, derandomize=True, deadline=None)
@given(position=st.integers(0, 2 * BEGUN * ROW - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_of_begun_features_is_cut_away(
    begun: Path, tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    folder = shutil.copytree(begun, tmp_path_factory.mktemp("flipped"), dirs_exist_ok=True)
    flip(folder / "features.partial", 4096 + position, bit)
    there, notes = resumed(folder)
    assert there == position // (2 * ROW) * 2
    assert notes


@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_a_damaged_log_costs_work_but_no_truth(
    begun: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = shutil.copytree(begun, tmp_path_factory.mktemp("log"), dirs_exist_ok=True)
    log = folder / "progress.jsonl"
    content = log.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        os.truncate(log, position)
    else:
        flip(log, position, data.draw(st.integers(0, 7)))
    assert resumed(folder)[0] == 2 * max(0, content[:position].count(b"\n") - 1)


def flip(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def read_all(folder: Path) -> None:
    store = FeatureStore.open(folder)
    store.rows(store.ids)


@pytest.mark.parametrize(
    ("name", "positions"),
    [
        ("features.safetensors", [*range(0, 250, 5), 300, 4095, *range(4096, 4096 + 3 * ROW + 6)]),
        ("store.json", range(0, 400, 2)),
    ],
)
def test_no_flipped_bit_of_a_store_is_silent(tmp_path: Path, name: str, positions: Sequence[int]) -> None:
    make(tmp_path, count=3)
    whole = (tmp_path / name).read_bytes()
    fix = f"delete {tmp_path} and run the same command again"
    for position in (position for position in positions if position < len(whole)):
        flip(tmp_path / name, position, position % 8)
        with pytest.raises(DataError, match=fix):
            read_all(tmp_path)
        (tmp_path / name).write_bytes(whole)
    for length in (0, 1, len(whole) // 2, len(whole.rstrip(b"\n")) - 1):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(DataError, match=fix):
            read_all(tmp_path)


def test_a_damaged_row_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    make(tmp_path)
    flip(tmp_path / "features.safetensors", 4096 + 2 * ROW + 7, 0)
    store = FeatureStore.open(tmp_path)
    store.rows(["image0", "image1", "image3"])
    for _ in range(2):
        with pytest.raises(
            DataError, match=r'features of image "image2" are damaged \(their checksum differs'
        ):
            store.rows(["image1", "image2"])


def test_rows_are_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = make(tmp_path)
    checked: list[int] = []
    checksum = features.row_checksum

    def counting(row: memoryview, count: int) -> int:
        checked.append(count)
        return checksum(row, count)

    monkeypatch.setattr(features, "row_checksum", counting)
    for _ in range(3):
        store.rows(["image4", "image0"])
    store.rows(store.ids)
    assert len(checked) == 6


def of_earlier_form(folder: Path) -> dict[str, Any]:
    """Rewrite `store.json` as it was before there were checksums."""
    content: dict[str, Any] = json.loads((folder / "store.json").read_text())
    del content["sealed"], content["sha256"], content["crc32"]
    content["format"] = "distilcap features 1"
    (folder / "store.json").write_text(json.dumps(content, indent=1))
    return content


def test_a_store_of_the_earlier_form_opens(tmp_path: Path) -> None:
    _, content = make(tmp_path)
    of_earlier_form(tmp_path)
    assert np.array_equal(FeatureStore.open(tmp_path).rows(["image1", "image5"])[0], content[[1, 5]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_is_refused_where_made_and_where_read(tmp_path: Path, value: float) -> None:
    bad = rows(3)
    bad[1, 2, 4] = value
    writer = FeatureWriter(tmp_path / "new", RECIPE, 3, 5)
    with pytest.raises(DataError, match='the features of image "b" are NaN or infinite'):
        writer.add(["a", "b", "c"], bad)
    writer.close()
    store, _ = make(tmp_path / "old")
    of_earlier_form(tmp_path / "old")
    with (tmp_path / "old" / "features.safetensors").open("r+b") as file:
        file.seek(4096)
        file.write(bad.tobytes())
    store = FeatureStore.open(tmp_path / "old")
    store.rows(["image0", "image2"])
    with pytest.raises(DataError, match='features of image "image1" are damaged'):
        store.rows(["image1"])


def test_finite_rows_are_those_of_numpy() -> None:
    """All 65,536 numbers of float16."""
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    assert np.array_equal(finite_rows(numbers[:, None, None]), np.isfinite(numbers))
    assert finite_rows(np.zeros((2, 0, 3), np.float16)).tolist() == [True, True]


@pytest.mark.parametrize(
    "change",
    [{"ids": 7}, {"regions": "x"}, {"dim": 1e400}, {"skipped": [1]}, {"crc32": [1]}, {"crc32": [-1] * 6}],
)
def test_a_store_index_of_wrong_types_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    make(tmp_path)
    content = of_earlier_form(tmp_path) | change
    (tmp_path / "store.json").write_text(json.dumps(content))
    with pytest.raises(DataError):
        FeatureStore.open(tmp_path)


def test_two_processes_do_not_extract_into_one_folder(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path, RECIPE, 3, 5)
    with pytest.raises(
        DataError, match="another process is at this"
    ):  # a lock is of the file, not the process
        FeatureWriter(tmp_path, RECIPE, 3, 5)
    writer.add(["a"], rows(1))
    assert writer.finish().ids == ("a",)


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
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            writer.flush()
        assert caught.value.filename == str(tmp_path)
    assert writer.finish().ids == ("a",)


@pytest.mark.parametrize(
    "size, text", [(999, "999 bytes"), (3_866_000_000, "3.9 GB"), (1000, "1.0 kB"), (10**15, "1000.0 TB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert readable_size(size) == text
