"""COCO in small: two folders of images, Karpathy's captions in an archive, a server on this machine."""

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from distilcap.cli.main import main
from distilcap.data.dataset import Dataset
from distilcap.data.sources import coco
from distilcap.data.sources.coco import COCO, Source, look_for_coco, prepare_coco
from distilcap.data.sources.download import Remote
from distilcap.errors import DataError, MissingError

IMAGES = {"train2014": ["t1.jpg", "t2.jpg", "t3.jpg"], "val2014": ["v1.jpg", "v2.jpg", "v3.jpg"]}
SPLITS = ["train", "train", "train", "restval", "val", "test"]
SIZES = {"train": 4, "val": 1, "test": 1}


def picture(name: str) -> bytes:
    stream = io.BytesIO()
    shade = sum(name.encode()) % 256
    Image.new("RGB", (16, 16), (shade, 255 - shade, 9)).save(stream, "JPEG")
    return stream.getvalue()


def captions() -> str:
    names = [(folder, name) for folder, several in IMAGES.items() for name in several]
    images = [
        {"filepath": folder, "filename": name, "cocoid": number, "split": split,
         "sentences": [{"raw": f"image {number}", "tokens": ["image", str(number)]}]}
        for number, ((folder, name), split) in enumerate(zip(names, SPLITS, strict=True))
    ]  # fmt: skip
    return json.dumps({"images": images, "dataset": "coco"})


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Source, Path]]:
    """What COCO consists of, and the folder that a server gives away."""
    monkeypatch.setenv("no_proxy", "*")
    site = tmp_path / "site"
    site.mkdir()
    with zipfile.ZipFile(site / "caption_datasets.zip", "w") as archive:
        archive.writestr("dataset_flickr8k.json", "{}")
        archive.writestr("dataset_coco.json", captions())
    for folder, names in IMAGES.items():
        with zipfile.ZipFile(site / f"{folder}.zip", "w") as archive:
            archive.writestr(f"{folder}/", "")
            archive.writestr("../evil.jpg", "out of the folder")
            for name in names:
                archive.writestr(f"{folder}/{name}", picture(name))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def remote(name: str) -> Remote:
        content = (site / name).read_bytes()
        url = f"http://127.0.0.1:{server.server_port}/{name}"
        return Remote(url, name, len(content), f"md5:{hashlib.md5(content).hexdigest()}")

    archives = {folder: remote(f"{folder}.zip") for folder in IMAGES}
    counts = {folder: len(names) for folder, names in IMAGES.items()}
    yield Source(remote("caption_datasets.zip"), archives, counts, SIZES), site
    server.shutdown()
    server.server_close()
    thread.join()


def check(dataset: Dataset, root: Path) -> None:
    assert {split: len(dataset.split(split)) for split in SIZES} == SIZES
    assert [image.id for image in dataset.images] == ["0", "1", "2", "3", "4", "5"]
    for image in dataset.images:
        assert image.path.parent.parent == root
        assert image.path.read_bytes() == picture(image.path.name)
    assert not list(root.rglob("*.partial*"))
    assert not (root / "evil.jpg").exists()
    assert not (root.parent / "evil.jpg").exists()


def tree(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_everything_from_the_network(tmp_path: Path, world: tuple[Source, Path]) -> None:
    root = tmp_path / "coco"
    check(prepare_coco(root, source=world[0]), root)
    assert tree(root) == {"dataset_coco.json", "train2014", "val2014"}
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*.jpg")}
    check(prepare_coco(root, fetch=False, source=world[0]), root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.jpg")} == times


def test_downloads_can_be_kept(tmp_path: Path, world: tuple[Source, Path]) -> None:
    prepare_coco(tmp_path / "coco", keep=True, source=world[0])
    assert tree(tmp_path / "coco" / "downloads") == {"caption_datasets.zip", "train2014.zip", "val2014.zip"}


def test_archives_of_the_user_are_used_and_left(tmp_path: Path, world: tuple[Source, Path]) -> None:
    source, site = world
    root = tmp_path / "coco"
    check(prepare_coco(root, also=[site], fetch=False, source=source), root)
    assert tree(site) == {"caption_datasets.zip", "train2014.zip", "val2014.zip"}


def test_folders_elsewhere_are_linked(tmp_path: Path, world: tuple[Source, Path]) -> None:
    source, site = world
    for folder, names in IMAGES.items():
        (tmp_path / "have" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "have" / folder / name).write_bytes(picture(name))
    (site / "dataset_coco.json").write_text(captions())
    root = tmp_path / "coco"
    (root / "val2014").mkdir(parents=True)  # empty and in the way
    check(prepare_coco(root, also=[site, tmp_path / "have"], fetch=False, source=source), root)
    assert (root / "train2014").is_symlink()
    (root / "val2014").unlink()
    (root / "val2014").mkdir()
    (root / "val2014" / "mine.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"val2014: cannot be made a link to .*move that folder here"):
        prepare_coco(root, also=[tmp_path / "have"], fetch=False, source=source)


def test_what_is_missing_is_said_with_its_address(tmp_path: Path, world: tuple[Source, Path]) -> None:
    source, site = world
    (tmp_path / "coco").mkdir()
    (site / "train2014.zip").rename(tmp_path / "coco" / "train2014.zip")
    inventory = look_for_coco(tmp_path / "coco", source=source)
    assert [remote.name for remote in inventory.missing] == ["caption_datasets.zip", "val2014.zip"]
    with pytest.raises(
        MissingError, match=r"Missing: caption_datasets\.zip \(0\.0 MB\) from http:.*; val2014\.zip"
    ):
        prepare_coco(tmp_path / "coco", fetch=False, source=source)
    (site / "val2014.zip").unlink()
    with pytest.raises(
        MissingError, match=r"404 File not found.* fetch val2014\.zip by other means and put it into"
    ):
        prepare_coco(tmp_path / "coco", source=source)


def test_an_interrupted_unpacking_goes_on(tmp_path: Path, world: tuple[Source, Path]) -> None:
    source, _ = world
    root = tmp_path / "coco"

    class Killing:
        def track(
            self, items: Any, description: str, total: int | None = None, done: int = 0
        ) -> Iterator[Any]:
            for count, item in enumerate(items):
                if description == "Unpacking val2014" and count == 2:
                    raise KeyboardInterrupt
                yield item

        def note(self, message: str) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        prepare_coco(root, source=source, progress=Killing())
    assert len(list((root / "val2014").iterdir())) == 2
    (root / "val2014" / "v1.jpg").write_bytes(b"cut")  # as a crash of the machine may leave it
    check(prepare_coco(root, fetch=False, source=source), root)
    assert not (root / "downloads").exists()


def test_damage_is_named(tmp_path: Path, world: tuple[Source, Path]) -> None:
    source, site = world
    content = bytearray((site / "val2014.zip").read_bytes())
    place = content.index(picture("v2.jpg")) + 100
    content[place] ^= 255
    (site / "val2014.zip").write_bytes(content)
    root = tmp_path / "coco"
    with pytest.raises(
        DataError, match=r"val2014\.zip: val2014/v2\.jpg is damaged .*; fetch the archive again"
    ):
        prepare_coco(root, also=[site], fetch=False, source=source)
    assert (root / "val2014" / "v1.jpg").read_bytes() == picture("v1.jpg")
    (site / "val2014.zip").write_bytes(bytes(len(content)))
    with pytest.raises(DataError, match=r"val2014\.zip: not a whole zip archive .*; fetch it again"):
        prepare_coco(root, also=[site], fetch=False, source=source)
    with zipfile.ZipFile(site / "caption_datasets.zip", "w") as archive:
        archive.writestr("dataset_flickr8k.json", "{}")
    source = replace(
        source, captions=replace(source.captions, size=(site / "caption_datasets.zip").stat().st_size)
    )
    with pytest.raises(
        DataError, match=r"caption_datasets\.zip: there is no dataset_coco\.json in this archive"
    ):
        prepare_coco(tmp_path / "other", also=[site], fetch=False, source=source)


def test_counts_are_karpathys(tmp_path: Path, world: tuple[Source, Path]) -> None:
    source, _ = world
    with pytest.raises(
        DataError, match=r"has 4 train, 1 val, 1 test images, but should have 5 train, 1 val, 1 test"
    ):
        prepare_coco(tmp_path / "coco", source=replace(source, splits=SIZES | {"train": 5}))
    source = replace(source, counts={"train2014": 3, "val2014": 2})
    (tmp_path / "coco" / "val2014" / "v3.jpg").unlink()
    with pytest.raises(DataError, match=r"1 images are missing, the first is .*v3\.jpg"):
        prepare_coco(tmp_path / "coco", source=source)


def test_a_full_disk_is_said_before(
    tmp_path: Path, world: tuple[Source, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 1000}))
    with pytest.raises(
        MissingError, match=r"coco: 0\.0 MB are needed, but only 0\.0 MB are free on this disk"
    ):
        prepare_coco(tmp_path / "coco", source=world[0])


def test_the_command(
    tmp_path: Path,
    world: tuple[Source, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(coco, "COCO", world[0])
    with pytest.raises(SystemExit) as done:
        main(["data", "coco", "--root", str(tmp_path / "coco"), "--no-download"])
    assert done.value.code == 2
    assert "COCO is not complete" in capsys.readouterr().err
    main(["data", "coco", "--root", str(tmp_path / "coco")])
    assert "4 train, 1 val, 1 test" in capsys.readouterr().out


def test_the_real_one_has_the_published_sizes() -> None:
    assert sum(COCO.counts.values()) == sum(COCO.splits.values()) == 123_287
    assert COCO.images["train2014"].size + COCO.images["val2014"].size == 20_155_587_010
