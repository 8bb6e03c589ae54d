"""Images listed for a labelling: of folders, lists and packed files, each once, by name."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from distilcap.errors import DataError
from distilcap.teachers.listing import list_ahead, named_images
from distilcap.teachers.shard_files import Shard


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six photographs, two in a folder of their own, beside a film."""
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(6):
        image = folder / ("more" if number > 3 else "") / f"{number}.jpg"
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(image)
    (folder / "film.mov").write_bytes(b"a film")
    return folder


def pack(photos: Path, to: Path) -> Path:
    """Two .tar files with images of the same names in them, each of another colour."""
    to.mkdir()
    for number in range(2):
        with tarfile.open(to / f"part{number}.tar", "w") as tar:
            for place in range(2):
                tar.add(photos / f"{2 * number + place}.jpg", f"{place}.jpg")
    return to


def colours(images: object) -> set[int]:
    return {round(Image.open(image.path).getpixel((0, 0))[0] / 40) for image in images}  # type: ignore


def test_a_folder_of_packed_files_is_all_that_is_in_them(photos: Path, tmp_path: Path) -> None:
    images = list(named_images(pack(photos, tmp_path / "packed")))
    assert len({image.id for image in images}) == 4
    assert colours(images) == {0, 1, 2, 3}
    assert all(image.unpacked for image in images)


def test_a_list_may_name_packed_files(photos: Path, tmp_path: Path) -> None:
    packed = pack(photos, tmp_path / "packed")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{packed / 'part0.tar'}\nphotos/5.jpg\n{packed / 'part1.tar'}\n")
    images = list(named_images(listed))
    assert [image.name for image in images] == [
        f"{packed}/part0/0",
        f"{packed}/part0/1",
        f"{tmp_path}/photos/5.jpg",
        f"{packed}/part1/0",
        f"{packed}/part1/1",
    ]
    assert [image.unpacked for image in images] == [True, True, False, True, True]
    (packed / "part0.tar").write_bytes((packed / "part0.tar").read_bytes()[:700])
    (damaged, *rest) = named_images(listed)  # read as an image, it is skipped with its name
    assert (damaged.path, damaged.unpacked) == (packed / "part0.tar", False)
    assert [image.name for image in rest] == [image.name for image in images[2:]]


def test_a_folder_of_tables_is_all_that_is_in_them(photos: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the package of Parquet is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "tables"
    folder.mkdir()
    for number in range(2):
        rows = [{"image": {"bytes": (photos / f"{2 * number + one}.jpg").read_bytes()}} for one in range(2)]
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"train-{number}.parquet")
    images = list(named_images(folder))
    assert len({image.id for image in images}) == 4
    assert colours(images) == {0, 1, 2, 3}


def test_photographs_beside_a_packed_file_are_what_is_meant(photos: Path, tmp_path: Path) -> None:
    pack(photos, tmp_path / "packed").joinpath("part0.tar").rename(photos / "part0.tar")
    others = Counter[str]()
    assert len(list(named_images(photos, others))) == 6
    assert others == {".mov": 1, ".tar": 1}  # and what is left out is said


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), r"folder: there are no images\.$"),
        (("film.mov",), r"folder: there are no images \(1 other file left out, .*: 1 \.mov.*\)\.$"),
    ],
)
def test_no_image_at_all_is_an_error(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    (tmp_path / "folder").mkdir()
    for name in names:
        (tmp_path / "folder" / name).write_bytes(b"a film")
    with pytest.raises(DataError, match=message):
        list(named_images(tmp_path / "folder"))


@pytest.mark.parametrize("held", [1, 4, 1000])
def test_parts_get_what_they_would_list_themselves(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr("distilcap.teachers.listing._HELD", held)
    every = list(named_images(photos))
    to = tmp_path / "labels"
    (to / ".lists").mkdir(parents=True)
    (to / ".lists" / str(Shard(0, 3))).write_text("of a killed process")
    (to / ".lists" / str(Shard(7, 9))).write_text("of another")
    with list_ahead(photos, to, 3) as listing:
        assert listing is not None
        assert (listing.images, listing.others) == (6, {".mov": 1})
        parts = [list(listing.of(Shard(number, 3))) for number in range(3)]
    for number, part in enumerate(parts):
        assert part == [image for image in every if Shard(number, 3).holds(image.id)]
    assert not list(to.iterdir())
    with list_ahead(pack(photos, tmp_path / "packed"), to, 3) as listing:
        assert listing is None  # each machine unpacks into its own cache


def test_lists_are_those_of_one_process_and_a_lost_one_is_no_empty_one(photos: Path, tmp_path: Path) -> None:
    to = tmp_path / "labels"
    with list_ahead(photos, to, 2) as listing:
        with (
            pytest.raises(DataError, match=r"\.lists: another process is at this"),
            list_ahead(photos, to, 2),
        ):
            pass
        assert listing is not None
        assert sum(len(list(listing.of(Shard(number, 2)))) for number in range(2)) == 6
        (listing.folder / str(Shard(1, 2))).unlink()
        with pytest.raises(DataError, match=r"shard-00001-of-00002: the list of this part is gone"):
            list(listing.of(Shard(1, 2)))
