"""Images that lie in other files: Parquet, the Hub's saved data sets, and archives of samples."""

from __future__ import annotations

import errno
import gzip
import io
import struct
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from distilcap.archives import Member
from distilcap.data.check import check_dataset
from distilcap.data.readers import find_entries, read_dataset
from distilcap.data.readers.unpacked import Unpacked
from distilcap.errors import DataError, MissingError
from distilcap.store.pack import packed_keys


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def photo(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), shade).save(file, "PNG")
    return file.getvalue()


def shade_of(path: Path) -> int:
    with Image.open(path) as image:
        shade = image.getpixel((0, 0))
    assert isinstance(shade, int)
    return shade


def tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


SAMPLES = {
    "0001.png": photo(1), "0001.txt": b"a dog\n", "0001.json": b'{"caption": "other", "url": "x"}',
    "./sub/0002.png": photo(2), "./sub/0002.json": b'{"caption": "a cat"}',
    "0003.json": b'{"status": "failed"}',
    "0004.seg.png": photo(4), "0004.cls": b"7",
}  # fmt: skip


def shades(path: Path) -> dict[str, tuple[int, str, list[str]]]:
    data = read_dataset(path)
    return {
        image.id: (
            shade_of(image.path),
            image.split,
            data.captions.texts(image.id) if image.id in data.captions else [],
        )
        for image in data.images
    }


@pytest.mark.parametrize("name", ["train-00000.tar", "train-00000.tar.gz"])
def test_an_archive_of_samples(tmp_path: Path, name: str, cache: Path) -> None:
    path = tar(tmp_path / "data" / name, SAMPLES)
    expected = {
        "train-00000/0001": (1, "train", ["a dog"]),
        "train-00000/sub/0002": (2, "train", ["a cat"]),
        "train-00000/0004": (4, "train", []),
    }
    assert shades(path) == shades(path.parent) == expected
    before = read_dataset(path)
    assert all(image.path.is_relative_to(cache) for image in before.images)
    # Unpacked once; and where the cache was emptied, again, to the same data set.
    times = [image.path.stat().st_mtime_ns for image in read_dataset(path).images]
    assert times == [image.path.stat().st_mtime_ns for image in before.images]
    for image in before.images:
        image.path.unlink()
    assert read_dataset(path).fingerprint() == before.fingerprint()


@pytest.mark.parametrize("name", ["Screenshot at 10.30.{}", "./photos/{}", "img.{}.large"])
def test_captions_of_an_archive_are_those_of_their_names(tmp_path: Path, name: str) -> None:
    """A name may have dots, and `tar` packs files in any order."""
    members = {name.format(n) + ".png": photo(n) for n in range(4)}
    members |= {name.format(n) + ".txt": f"number {n}".encode() for n in (2, 0, 1)}
    found = shades(tar(tmp_path / "x.tar", members | {"0/notes.txt": b"notes"}))
    assert [(shade, texts) for shade, _, texts in found.values()] == [
        (0, ["number 0"]), (1, ["number 1"]), (2, ["number 2"]), (3, [])
    ]  # fmt: skip
    (note,) = find_entries(tmp_path / "x.tar").notes
    assert note.endswith("x.tar: 1 text belongs to no image: 0/notes.txt.")


def test_images_of_a_sample_share_its_text_as_in_webdataset(tmp_path: Path) -> None:
    members = {
        "1.seg.png": photo(1),
        "1.png": photo(2),
        "1.txt": b"one",
        "2.png": photo(3),
        "2.short.txt": b"two",
    }
    found = shades(tar(tmp_path / "x.tar", members))
    assert [texts for _, _, texts in found.values()] == [["one"], ["one"], ["two"]]


def test_texts_of_an_archive_may_be_of_any_encoding(tmp_path: Path) -> None:
    texts = {
        "1": "ein Hund auf der Straße".encode("cp1252"),
        "2": "a dog".encode("utf-16"),
        "3": b"\xff\0\xff",
    }
    members = {f"{name}.png": photo(1) for name in texts} | {f"{name}.txt": texts[name] for name in texts}
    found = find_entries(tar(tmp_path / "x.tar", members))
    assert [entry.captions for entry in found.entries.values()] == [
        ["ein Hund auf der Straße"],
        ["a dog"],
        [],
    ]
    (note,) = found.notes
    assert "1.txt: not UTF-8, read as cp1252" in note
    assert [str(problem) for problem in found.problems] == [
        f"{tmp_path / 'x.tar' / '3.txt'}: expected a caption a line as UTF-8 text."
    ]


def test_a_folder_of_archives_by_split(tmp_path: Path) -> None:
    for split, shade in (("train", 10), ("val", 20)):
        for number in range(2):
            members = {"a.png": photo(shade + number), "a.txt": f"{split} {number}".encode()}
            tar(tmp_path / split / f"0000{number}.tar", members)
        (tmp_path / split / "00000_stats.json").write_text('{"count": 1}')
    found = shades(tmp_path)
    assert found.keys() == {f"{split}/0000{number}/a" for split in ("train", "val") for number in range(2)}
    assert sorted(found.values()) == [
        *((10, "train", ["train 0"]), (11, "train", ["train 1"])),
        *((20, "val", ["val 0"]), (21, "val", ["val 1"])),
    ]


def test_names_in_an_archive_lead_nowhere(tmp_path: Path, cache: Path) -> None:
    names = ["../../up", "/root", "a/../../b", "..", "C:\\x"]
    path = tar(tmp_path / "x.tar", {f"{name}.png": photo(n) for n, name in enumerate(names)})
    read = read_dataset(path)
    assert len(read.images) == len({image.path for image in read.images}) >= 4
    assert all(image.path.resolve().is_relative_to(cache.resolve()) for image in read.images)
    assert {path.name for path in tmp_path.iterdir()} == {"x.tar", "cache"}


def test_names_that_become_one_file_name_are_kept_apart(tmp_path: Path) -> None:
    names = ["a/1.png", "a_1.png", "A_1.png", *(f"{folder}{'x' * 150}.png" for folder in ("b/", "c/"))]
    names += [f"{'狗' * 90}.png", "image", ".image"]
    shades_of = {name: photo(100 + number) for number, name in enumerate(names)}
    unpacked = Unpacked(tar(tmp_path / "x.tar", {}))
    for _ in range(2):
        paths = [
            unpacked.put(name, len(image), lambda image=image: image) for name, image in shades_of.items()
        ]
    assert [shade_of(path) for path in paths] == [*range(100, 100 + len(names))]
    assert len({path.name.casefold() for path in paths}) == len(names)
    assert paths[0].name == "a_1.png"  # as it always was: it is part of the fingerprint
    assert len(shades(tar(tmp_path / "y.tar", shades_of))) == len(names) - 2


def test_an_image_that_cannot_be_unpacked_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    unpacked = Unpacked(tar(tmp_path / "x.tar", {}))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        unpacked.put("a.png", 3, lambda: b"abc")
    assert not list(unpacked.folder.iterdir())


def test_a_broken_archive_is_named_and_the_rest_read(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", {f"{n:02}.png": photo(n) + b"x" * 2000 for n in range(30)})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    found = find_entries(path)
    assert 15 <= len(found.entries) < 30
    assert [problem.kind for problem in found.problems] == ["malformed entry"]
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"x\.tar"):
        read_dataset(path)


def test_images_of_an_archive_that_fill_the_memory_are_named_and_the_rest_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar(tmp_path / "x.tar", {"1.png": photo(1), "1.txt": b"a dog", "2.png": photo(2) + bytes(1 << 20)})
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("3.png")
        info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 18)}
        archive.addfile(info)
    form = sys.modules["distilcap.data.readers.forms.webdataset"]
    monkeypatch.setattr(form, "_LARGEST_IMAGE", 1 << 20)
    found = find_entries(path)
    assert list(found.entries) == ["x/1"]
    assert [problem.message for problem in found.problems] == [
        "expected images of at most 1 MiB, but '2.png' is larger.",
        "expected files that are whole, but '3.png' is sparse.",
    ]


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize(("size", "count"), [(2 << 20, 1), (5, 2000)])
def test_headers_of_an_archive_take_no_memory_without_end(
    tmp_path: Path, kind: bytes, size: int, count: int
) -> None:
    path, pack = tar(tmp_path / "x.tar", {"a/1.png": photo(1)}), tmp_path / "pack.tar.gz"
    with tarfile.open(path, "a") as archive:
        for _ in range(count):
            info = tarfile.TarInfo("header")
            info.type, info.size = kind, size
            archive.addfile(info, io.BytesIO(bytes(size)))
    found = find_entries(path)
    assert list(found.entries) == ["x/a/1"]
    (problem,) = found.problems
    assert "an archive that is whole" in problem.message
    pack.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=r"pack\.tar\.gz: .*damaged \((a header of|maximum recursion)"):
        packed_keys(pack)


def test_the_map_of_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    """Which has any size: here it ends nowhere, and says numbers that are none."""
    path = tar(tmp_path / "x.tar", {"1.png": photo(1), "1.txt": b"a dog"})
    with tarfile.open(path, "a") as archive:
        info, endless = tarfile.TarInfo("2.png"), b"1000000\n" + b"0\n" * 2000
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
        info.size = len(endless)
        archive.addfile(info, io.BytesIO(endless))
        archive.addfile(tarfile.TarInfo("3.png"))
    found = find_entries(path)
    assert list(found.entries) == ["x/1", "x/3"]
    said = [problem.message for problem in found.problems]
    assert said == ["expected files that are whole, but '2.png' is sparse."]
    # GNU tar's older form: blocks of 21 pieces, each of which says that there is another.
    older, header = tmp_path / "y.tar", bytearray(tarfile.TarInfo("2.png").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[482:483] = tarfile.GNUTYPE_SPARSE, b"\1"
    header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[0]
    more = (b"%011o\0" % 1 * 42).ljust(504, b"\0") + b"\1".ljust(8, b"\0")
    older.write_bytes(header + more * 100)
    with pytest.raises(tarfile.ReadError, match="a sparse file"), tarfile.open(older, tarinfo=Member):
        pass


def table(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="the package of Parquet is not installed")
    pytest.importorskip("pyarrow.parquet")

    path.parent.mkdir(parents=True, exist_ok=True)
    content = pyarrow.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(content, path)
    else:
        write = pyarrow.ipc.new_stream if path.stem.startswith("data") else pyarrow.ipc.new_file
        with write(str(path), content.schema) as writer:
            writer.write_table(content)
    return path


def hub_rows(first: int, count: int, names: bool = True) -> list[dict[str, Any]]:
    return [
        {
            "image": {"bytes": photo(n), "path": f"{n}.png" if names else None},
            "caption": [f"a caption of {n}", "another"],
        }
        for n in range(first, first + count)
    ]


@pytest.mark.parametrize("layout", ["parquet in data/", "parquet in splits", "save_to_disk", "one file"])
def test_data_sets_of_the_hub(tmp_path: Path, layout: str) -> None:
    for split, name, first in (("train", "train", 0), ("val", "validation", 100)):
        path = {
            "parquet in data/": f"data/{name}-00000-of-00001.parquet",
            "parquet in splits": f"default/{name}/0000.parquet",
            "save_to_disk": f"{name}/data-00000-of-00001.arrow",
            "one file": f"{name}.parquet",
        }[layout]
        written = table(hub_rows(first, 70), tmp_path / "set" / path)
        if layout == "save_to_disk":
            (written.parent / "state.json").write_text('{"_data_files": []}')
            (written.parent / "dataset_info.json").write_text('{"features": {}}')
            (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
        if layout == "one file":
            assert shades(written)[f"{first}"] == (first, split, [f"a caption of {first}", "another"])
    found = shades(tmp_path / "set")
    assert found == {
        f"{n}": (n, "train" if n < 100 else "val", [f"a caption of {n}", "another"])
        for n in (*range(70), *range(100, 170))
    }
    assert not [p for p in check_dataset(tmp_path / "set", min_count=1).problems if "image" in p.kind]


def test_different_images_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    def row(shade: int, caption: str, name: str | None = "1.png") -> dict[str, Any]:
        return {"image": {"bytes": photo(shade), "path": name}, "caption": caption}

    rows = [row(1, "a cat"), row(2, "a dog"), row(1, "the cat"), row(2, "the dog")]
    table(rows, tmp_path / "data" / "train-00000-of-00002.parquet")
    table([row(3, "a cow"), row(2, "one dog")], tmp_path / "data" / "train-00001-of-00002.parquet")
    found = shades(tmp_path)
    assert found["1"] == (1, "train", ["a cat", "the cat"])
    assert sorted(found.values())[1:] == [
        (2, "train", ["a dog", "the dog", "one dog"]),
        (3, "train", ["a cow"]),
    ]
    for split, shade in (("train", 1), ("test", 2)):  # of tables that are called the same
        table([row(shade, split, None)], tmp_path / "unnamed" / split / "0000.parquet")
    assert sorted(shades(tmp_path / "unnamed").values()) == [(1, "train", ["train"]), (2, "test", ["test"])]


def test_images_without_names_and_columns_of_several_kinds(tmp_path: Path) -> None:
    rows = [
        {"image": photo(n), "caption_0": f"a {n}", "caption_1": "b", "split": "test", "sha": "x"}
        for n in range(3)
    ]
    assert shades(table(rows, tmp_path / "x.parquet")) == {
        f"x-00000{n + 1}": (n, "test", [f"a {n}", "b"]) for n in range(3)
    }
    assert shades(table(hub_rows(0, 2, names=False), tmp_path / "y.arrow")).keys() == {"y-000001", "y-000002"}


def test_a_table_of_names_finds_the_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(photo(9))
    rows = [{"file_name": "images/a.png", "text": "a dog"}]
    for name in ("x.parquet", "metadata.parquet"):
        path = table(rows, tmp_path / name)
        assert [shade for shade, _, _ in shades(path).values()] == [9]
    path.with_name("x.parquet").unlink()
    assert list(shades(tmp_path)) == ["images/a"]


def test_the_package_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    for path in (tmp_path, tmp_path / "x.parquet"):
        with pytest.raises(MissingError, match=r"x\.parquet: .*`pip install 'distilcap\[parquet\]'`"):
            read_dataset(path)


def test_broken_tables_are_named(tmp_path: Path) -> None:
    path = table(hub_rows(0, 3), tmp_path / "x.parquet")
    whole = path.read_bytes()
    for content in (b"", whole[:-20], b"PAR1" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.parquet: not a whole table of Parquet or Arrow"):
            read_dataset(path)


@pytest.mark.parametrize("name", ["data.arrow", "file.arrow"])  # a stream, a file
@pytest.mark.parametrize("end", [5000, -9, 11])  # behind the texts, before them, within a character
def test_a_table_of_arrow_reads_no_memory_but_its_own(tmp_path: Path, name: str, end: int) -> None:
    rows = [{"image": "a.png", "caption": "a dog"}, {"image": "b.png", "caption": "a café"}]
    path = table(rows, tmp_path / name)
    offsets = struct.pack("<3i", 0, 5, 12)
    whole = path.read_bytes()
    assert whole.count(offsets) == 1
    path.write_bytes(whole.replace(offsets, struct.pack("<3i", 0, 5, end)))
    with pytest.raises(DataError, match=rf"{name}: not a whole table of Parquet or Arrow"):
        read_dataset(path)


def test_a_table_of_parquet_with_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = table([{"image": "a.png", "caption": "a black dog"}], tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes().replace(b"a black dog", b"a bl\xffck dog"))
    with pytest.raises(DataError, match=r"x\.parquet: not a whole table of Parquet or Arrow"):
        read_dataset(path)
