"""Sealed folders, sealed JSON and tensor files: a flipped bit anywhere is damage, named with its fix."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from distilcap import integrity
from distilcap.errors import DataError
from distilcap.files import write_json
from distilcap.integrity import (
    CHECKSUMS,
    check_file,
    check_folder,
    damages,
    leave_out,
    left_out,
    read_sealed_json,
    seal,
    write_sealed_json,
)
from distilcap.tensors import load_tensors, save_tensors

CONTENT = {"words": ["a", "ü"], "sizes": {"b": 1, "a": 0.1}, "none": None}
TENSORS = {
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "random": torch.arange(5, dtype=torch.uint8),
    "step": torch.tensor(3.0),
    "empty": torch.zeros(0, 4),
    "large": torch.full((3,), 3e38),  # finite, but not its sum
}


def flips(path: Path, count: int) -> Iterator[bytes]:
    """Flip one bit of a file after another, drawn from all; at the end the file is whole again."""
    whole = path.read_bytes()
    for bit in random.Random(path.name).sample(range(8 * len(whole)), count):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        yield bytes(changed)
    path.write_bytes(whole)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "generate-0123"
    (folder / "bundle").mkdir(parents=True)
    (folder / "captions.jsonl").write_text("one\ntwo\n")
    (folder / "bundle" / "manifest.json").write_text("{}")
    (folder / "rows").write_bytes(bytes(100))
    (folder / ".captions.7.partial.jsonl").write_text("of a killed writer")
    seal(folder, by_row=["rows"])
    return folder


def test_a_sealed_folder_is_whole_and_more_files_do_no_harm(sealed: Path) -> None:
    (sealed / "notes").write_text("somebody's")
    (sealed / ".captions.7.partial.jsonl").unlink()
    check_folder(sealed)
    assert damages(sealed) == {}
    assert json.loads((sealed / CHECKSUMS).read_text())["files"]["rows"] == {
        "bytes": 100,
        "sha256": None,
        "checked": "by row",
    }


def test_missing_cut_and_changed_files_are_named_with_the_fix(sealed: Path) -> None:
    (sealed / "captions.jsonl").write_text("one\ntwO\n")
    (sealed / "rows").write_bytes(bytes(50))
    (sealed / "bundle" / "manifest.json").unlink()
    assert damages(sealed) == {
        "bundle/manifest.json": "missing",
        "captions.jsonl": "damaged (its checksum differs from when it was made)",
        "rows": "damaged (50 bytes instead of 100)",
    }
    fix = f"; delete the folder {sealed} and run the command that made it again: it is rebuilt."
    with pytest.raises(DataError) as missing:
        check_folder(sealed)
    assert str(missing.value) == f"{sealed}/bundle/manifest.json: missing{fix}"
    with pytest.raises(DataError) as changed:
        check_file(sealed / "captions.jsonl")
    assert str(changed.value) == f"{sealed}/captions.jsonl: {integrity.CHANGED}{fix}"
    check_file(sealed / "not listed")
    (sealed / CHECKSUMS).unlink()
    with pytest.raises(DataError, match=r"checksums\.json: there is no such file; delete the folder"):
        check_folder(sealed)


@pytest.mark.parametrize("name, count", [(CHECKSUMS, 300), ("captions.jsonl", 64)])
def test_a_flipped_bit_of_a_manifest_or_a_file_is_found(sealed: Path, name: str, count: int) -> None:
    for _ in flips(sealed / name, count):
        with pytest.raises(DataError, match="delete the folder"):
            check_folder(sealed)
    check_folder(sealed)


def test_large_files_are_hashed_once_until_they_change(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return original(path)

    original = integrity.sha256_of
    monkeypatch.setattr(integrity, "sha256_of", counted)
    monkeypatch.setattr(integrity, "_SETTLED_NS", -(10**18))
    check_folder(sealed)
    check_folder(sealed)
    assert sorted(hashed) == ["captions.jsonl", "manifest.json"]
    path = sealed / "captions.jsonl"
    kept = path.stat()
    path.write_text("one\ntwO\n")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))  # as a copy that keeps times may do
    with pytest.raises(DataError, match="checksum differs"):
        check_folder(sealed)


def test_files_that_change_within_a_tick_of_the_clock_are_hashed_again(sealed: Path) -> None:
    check_folder(sealed)
    for _ in range(20):
        (sealed / "captions.jsonl").write_text("one\ntwO\n")
        with pytest.raises(DataError):
            check_folder(sealed)
        (sealed / "captions.jsonl").write_text("one\ntwo\n")
        check_folder(sealed)


def test_files_may_be_left_out_but_not_damaged(sealed: Path) -> None:
    leave_out(sealed, ["captions.jsonl", "rows", "unknown"])
    check_folder(sealed)
    assert left_out(sealed) == []
    (sealed / "captions.jsonl").unlink()
    check_folder(sealed)
    assert left_out(sealed) == ["captions.jsonl"]
    (sealed / "captions.jsonl").write_text("one\ntwO\n")
    with pytest.raises(DataError, match="checksum differs"):
        check_folder(sealed)


@pytest.mark.parametrize("name", ["captions.jsonl", CHECKSUMS])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_in_a_folder_is_damage_and_not_waited_for(
    sealed: Path, name: str, kind: str
) -> None:
    (sealed / "captions.jsonl").write_text("")  # as large as a pipe is
    seal(sealed)
    (sealed / name).unlink()
    if kind == "pipe":
        os.mkfifo(sealed / name)
    else:
        (sealed / name).symlink_to("/dev/zero")
    with pytest.raises(DataError, match=rf"{name}: .*not a regular file.*; delete the folder"):
        check_folder(sealed)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", ""])
def test_a_manifest_cannot_lead_out_of_its_folder(sealed: Path, name: str) -> None:
    files = {name: {"bytes": 1, "sha256": "0"}}
    write_sealed_json(sealed / CHECKSUMS, {"files": files, "left_out": []})
    with pytest.raises(DataError, match="not a bare file name"):
        check_folder(sealed)


@pytest.mark.parametrize("content", [{}, {"files": [], "left_out": []}, {"files": {"a": 1}, "left_out": []}])
def test_a_manifest_of_another_form_is_refused(sealed: Path, content: dict[str, object]) -> None:
    write_sealed_json(sealed / CHECKSUMS, content)
    with pytest.raises(DataError, match=r"checksums\.json: not a manifest"):
        check_folder(sealed)


numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, derandomize=True, deadline=None)
@given(content=st.dictionaries(st.text().filter(lambda key: key not in ("sealed", "sha256")), json_values))
def test_sealed_json_comes_back(tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "x.json"
    write_sealed_json(path, content)
    assert read_sealed_json(path, "fix it") == json.loads(json.dumps(content))


def test_a_flipped_bit_of_sealed_json_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_sealed_json(path, CONTENT)
    for _ in flips(path, 400):
        with pytest.raises(DataError, match=r"; fix it\.$"):
            read_sealed_json(path, "fix it")


def test_sealed_json_that_was_cut_off_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_sealed_json(path, CONTENT)
    whole = path.read_bytes()
    for end in range(len(whole) - 1):  # the last byte is the line's end
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"x\.json"):
            read_sealed_json(path)


def test_json_of_older_versions_still_opens(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", CONTENT)
    assert read_sealed_json(tmp_path / "x.json", "fix it") == CONTENT
    write_json(tmp_path / "x.json", [1])
    with pytest.raises(DataError, match=r"x\.json: damaged \(not a JSON object\); fix it\."):
        read_sealed_json(tmp_path / "x.json", "fix it")


def test_a_flipped_bit_of_a_file_of_tensors_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, TENSORS, CONTENT)
    tensors, content = load_tensors(path, "fix it")
    assert content == CONTENT
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
    for _ in flips(path, 400):
        with pytest.raises(DataError, match=r"x\.safetensors: .*damaged.*; fix it\."):
            load_tensors(path, "fix it")


def test_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    save_tensors(tmp_path / "one", TENSORS, CONTENT)
    save_tensors(tmp_path / "two", dict(reversed(TENSORS.items())), dict(reversed(CONTENT.items())))
    assert (tmp_path / "one").stat().st_size == (tmp_path / "two").stat().st_size
    assert load_tensors(tmp_path / "one", "")[1] == load_tensors(tmp_path / "two", "")[1]
    save_tensors(tmp_path / "two", TENSORS, CONTENT)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_tensors_of_older_versions_still_open(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path)
    assert load_tensors(path, "fix it")[0].keys() == TENSORS.keys()
    save_file(TENSORS, path, {"position": '{"step": 3}'})
    assert load_tensors(path, "fix it", older=("position",))[1] == {"position": {"step": 3}}
    with pytest.raises(DataError, match="damaged, or not written by distilcap; fix it"):
        load_tensors(path, "fix it")
    assert load_tensors(path, "fix it", older=None)[1] == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_tensors_that_are_not_finite_are_neither_written_nor_read(tmp_path: Path, value: float) -> None:
    path = tmp_path / "x.safetensors"
    bad = {**TENSORS, "half": torch.tensor([1, value], dtype=torch.bfloat16)}
    with pytest.raises(DataError, match=r"x\.safetensors: `half` holds NaN or infinity; not written\."):
        save_tensors(path, bad)
    assert list(tmp_path.iterdir()) == []
    save_file(bad, path)
    with pytest.raises(DataError, match=r"x\.safetensors: `half` holds NaN or infinity; fix it\."):
        load_tensors(path, "fix it")
