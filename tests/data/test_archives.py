"""Zip archives that nobody made in good faith: one line, nothing outside, no half file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from distilcap.data.sources.archives import unpack_file, unpack_images
from distilcap.errors import DataError


def archive(path: Path, members: dict[str, bytes], packed: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packed) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_members_that_lead_out_are_left(tmp_path: Path) -> None:
    names = [
        "pictures/../../out.jpg",
        "/pictures/a.jpg",
        "pictures//b.jpg",
        "pictures/sub/c.jpg",
        "pictures/../d.jpg",
    ]
    names += [
        "other/e.jpg",
        "pictures/f.jpg/",
        "pictures/g.jpg\n",
        "pictures/h.php",
        "..\\i.jpg",
        "pictures/ok-1_2.jpg",
    ]
    path = archive(tmp_path / "a.zip", dict.fromkeys(names, b"picture"))
    root = tmp_path / "deep" / "root"
    root.mkdir(parents=True)
    unpack_images(path, "pictures", root)
    assert [one.relative_to(root).as_posix() for one in root.rglob("*.*")] == ["pictures/ok-1_2.jpg"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.zip", "deep"]


def test_a_member_of_another_folder_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"../../dataset.json": b"{}"})
    unpack_file(path, "dataset.json", tmp_path / "mine.json")
    assert (tmp_path / "mine.json").read_bytes() == b"{}"
    assert not (tmp_path.parent / "dataset.json").exists()


@pytest.mark.parametrize(
    "packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_flipped_bits_are_one_line_or_harmless(tmp_path: Path, packed: int) -> None:
    """Encrypted members, unknown methods, sizes beyond the file: all of them come of flipped bits."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packed) as file:
        for name in ("pictures/a.jpg", "pictures/b.jpg"):
            file.writestr(name, bytes(range(256)) * 2)
    whole, path = buffer.getvalue(), tmp_path / "a.zip"
    generator, refused = np.random.default_rng(packed), 0
    for number in range(250):
        content = bytearray(whole)
        content[int(generator.integers(len(whole)))] ^= 1 << int(generator.integers(8))
        path.write_bytes(content)
        root = tmp_path / str(number)
        root.mkdir()
        try:
            unpack_images(path, "pictures", root)
        except DataError as error:
            message = str(error)
            assert "fetch" in message
            refused += 1
        for picture in root.rglob("*"):
            assert picture.is_dir() or picture.read_bytes() == bytes(range(256)) * 2
    assert refused > 50
