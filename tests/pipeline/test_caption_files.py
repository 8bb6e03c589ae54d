"""Captions as files: every photograph once, in order, resumed after a kill; bad ones named."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import tempfile
import threading
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from dies import Dies, Killed
from PIL import Image

from distilcap.data.caption_files import read_candidates
from distilcap.data.captions import written_record
from distilcap.data.readers import read_dataset
from distilcap.errors import ConfigError, DataError
from distilcap.files import write_text
from distilcap.pipeline import caption_files
from distilcap.pipeline.caption_files import write_captions, write_side_files
from distilcap.pipeline.captioned import WrittenCaption
from distilcap.pipeline.captioning import BATCH_IMAGES, ImageCaptioner
from distilcap.pipeline.xmp import others, with_caption
from distilcap.progress import SILENT, Silent
from distilcap.record_log import RecordLog
from distilcap.runtime.pixels import Preprocessing

T = TypeVar("T")


class OfGrey(ImageCaptioner):
    """Names the grey of a picture, and counts the pictures that it was shown."""

    def __init__(self, search: str = "1") -> None:
        self.seen = 0
        super().__init__(Path("bundle"), Preprocessing(8), self.describe, {"search": search}, calibrated=True)

    def describe(self, names: Sequence[str], pixels: Sequence[Any]) -> list[tuple[WrittenCaption, ...]]:
        self.seen += len(pixels)
        greys = [round(float(np.mean(picture))) for picture in pixels]
        return [
            (WrittenCaption(f"grey, <{grey}> & co", -1.0, ("grey", str(grey)), grey / 50),) for grey in greys
        ]


def test_workers_side_by_side_keep_the_order(photos: list[Path]) -> None:
    """Later pictures are named while the first is still looked at, and errors stay with their picture."""
    broken = photos[7]
    broken.write_bytes(b"no image")
    alone, together = OfGrey(), OfGrey()
    together.workers = 3
    waits = threading.Event()

    def describe(names: Sequence[str], pixels: Sequence[Any]) -> list[tuple[WrittenCaption, ...]]:
        if names[0] == str(photos[0]):
            assert waits.wait(30), "nothing else was begun"
        else:
            waits.set()
        return alone.describe(names, pixels)

    together._describe = describe
    for one, other in zip(alone.each(photos), together.each(photos), strict=True):
        assert (one.image, one.captions) == (other.image, other.captions)
        assert str(one.error) == str(other.error)
        assert one.image != str(broken) or one.error is not None


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = []
    for number in range(50):
        paths.append(folder / f"{number}.png")
        Image.new("RGB", (8, 8), (number,) * 3).save(paths[-1])
    paths[20].write_bytes(b"no picture")
    return paths


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt"])
def test_all_captions_in_one_file_after_a_kill(photos: list[Path], tmp_path: Path, ending: str) -> None:
    to = tmp_path / f"captions{ending}"
    captioner = OfGrey()
    with pytest.raises(Killed):
        write_captions(captioner, photos, to, Dies(35))
    assert not to.exists()
    with pytest.raises(DataError, match=r"other options"):
        write_captions(OfGrey("5"), photos, to, SILENT)
    before = captioner.seen
    written = write_captions(captioner, photos, to, SILENT)
    assert captioner.seen - before == 50 - 32, "four whole batches were kept"
    assert written.captioned == 49
    assert len(written.failed) == 1
    assert "20.png" in written.failed[0]
    if ending == ".csv":
        with to.open(newline="") as file:
            rows = [(row["image"], row["caption"]) for row in csv.DictReader(file)]
    elif ending == ".jsonl":
        lines = [json.loads(line) for line in to.read_text().splitlines()]
        rows = [(line["image"], line["caption"]) for line in lines]
        assert [line["confidence"] for line in lines[:3]] == [0.0, 0.02, 0.04]
    else:
        rows = [tuple(line.split("\t")) for line in to.read_text().splitlines()]  # type: ignore[misc]
    expected = [(str(path), f"grey, <{n}> & co") for n, path in enumerate(photos) if n != 20]
    assert rows == expected
    record = f".{to.name}.captions.jsonl"
    assert sorted(path.name for path in tmp_path.iterdir()) == [record, to.name, "photos"]
    kept, seen = to.read_bytes(), captioner.seen
    assert write_captions(captioner, photos, to, SILENT) == written, "complete already"
    assert (to.read_bytes(), captioner.seen) == (kept, seen)


class Notes(Silent):
    """Keeps the remarks."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt"])
def test_captions_that_a_person_corrected_stay(photos: list[Path], tmp_path: Path, ending: str) -> None:
    to, captioner = tmp_path / f"captions{ending}", OfGrey()
    write_captions(captioner, photos[:3], to, SILENT)
    written = to.read_text()
    for changed, said in [
        (written.replace("<1>", "<one>"), r"captions.* was edited .*\(1 of its \d lines differ\)"),
        (written + written.splitlines(keepends=True)[-1], r"was edited since this command wrote it; take"),
    ]:
        to.write_text(changed)
        for options in ("1", "5"):
            with pytest.raises(DataError, match=said):
                write_captions(OfGrey(options), photos[:3], to, SILENT)
        assert (to.read_text(), captioner.seen) == (changed, 3)
    write_captions(captioner, photos[:3], to, SILENT, overwrite=True)
    assert (to.read_text(), captioner.seen) == (written, 3), "they are known still"


def test_a_complete_file_goes_on_with_more_photographs_alone(photos: list[Path], tmp_path: Path) -> None:
    to, captioner, notes = tmp_path / "captions.csv", OfGrey(), Notes()
    write_captions(captioner, photos[:9], to, SILENT)
    kept = to.read_text()
    for given, search, said in [
        (photos[:9], "5", r"captions.csv: begun with other options \(search: '1', now '5'\); .*--overwrite"),
        (photos[1:3], "1", r"captions.csv: holds captions of 7 photographs beside those asked for; .*--over"),
    ]:
        with pytest.raises(DataError, match=said):
            write_captions(OfGrey(search), given, to, SILENT)
    assert to.read_text() == kept
    write_captions(captioner, photos[:12], to, notes)
    write_captions(captioner, photos[:12], to, notes)
    assert captioner.seen == 12
    going_on = f"{to}: 9 of 12 photographs are captioned already; going on."
    assert notes.notes == [going_on, f"{to}: already complete."]
    write_captions(captioner, photos[:2], to, SILENT, overwrite=True)
    write_captions(captioner, photos[:2], to, SILENT)
    with pytest.raises(Killed):  # the record of the other options is replaced once, and then gone on with
        write_captions(OfGrey("5"), photos, to, Dies(35), overwrite=True)
    write_captions(other := OfGrey("5"), photos, to, SILENT)  # the file that is there is known still
    assert other.seen == 50 - 32
    to.unlink()
    assert write_captions(captioner, photos[:2], to, SILENT).captioned == 2, (
        "nothing is lost by other options"
    )


def test_photographs_that_are_gone_leave_the_file(photos: list[Path], tmp_path: Path) -> None:
    (inside := photos[0].parent / "2019").mkdir()
    photos = [*photos[:8], photos[8].rename(inside / "8.png")]
    photos = [tmp_path / "photos" / ".." / photo.relative_to(tmp_path) for photo in photos]  # `../photos`
    write_captions(captioner := OfGrey(), photos, to := tmp_path / "captions.csv", SILENT)
    photos[3].unlink()
    photos[5] = photos[5].rename(photos[5].with_name("renamed.png"))
    photos[8].rename(aside := tmp_path / "8.png")
    inside.rmdir()
    left, notes = [*photos[:3], *photos[4:8]], Notes()
    assert write_captions(captioner, left, to, notes).captioned == 7
    assert f"{to}: rows of 3 photographs that are gone are left out." in notes.notes
    with to.open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [*map(str, left)]
    assert captioner.seen == 9 + 1, "the renamed one"
    inside.mkdir()
    aside.rename(photos[8])
    write_captions(captioner, [*left, photos[8]], to, SILENT)
    assert captioner.seen == 10, "it is known still"
    photos[8].unlink()
    to.write_text(corrected := to.read_text().replace("<1>", "<one>"))
    with pytest.raises(DataError, match="was edited"):
        write_captions(captioner, left, to, SILENT)
    assert to.read_text() == corrected


def test_a_disk_that_comes_back_after_nights_is_not_captioned_again(
    photos: list[Path], tmp_path: Path
) -> None:
    (disk := photos[0].parent / "disk").mkdir()
    there = [photo.rename(disk / photo.name) for photo in photos[2:]]
    write_captions(captioner := OfGrey(), photos[:2] + there, to := tmp_path / "captions.csv", SILENT)
    seen, whole = captioner.seen, to.read_bytes()
    disk.rename(away := tmp_path / "away")
    for _ in range(3):
        write_captions(captioner, photos[:2], to, SILENT)
    away.rename(disk)
    write_captions(captioner, photos[:2] + there, to, SILENT)
    assert (captioner.seen, to.read_bytes()) == (seen, whole)


def test_gone_is_what_is_missing_of_the_folders_asked_for(photos: list[Path], tmp_path: Path) -> None:
    folders = [photos[0].parent / name for name in ("2018", "2019", "2020")]
    for folder, photo in zip(folders, photos, strict=False):
        folder.mkdir()
        photo.rename(folder / "a.png")
    there = [folder / "a.png" for folder in folders]
    write_captions(OfGrey(), there, to := tmp_path / "captions.csv", SILENT, folders=[photos[0].parent])
    for photo in there[1:]:
        photo.unlink()
    with pytest.raises(DataError, match="holds captions of 1 photograph beside those asked for"):
        write_captions(OfGrey(), there[:1], to, SILENT, folders=folders[:2])
    assert write_captions(OfGrey(), there[:1], to, SILENT, folders=[photos[0].parent]).captioned == 1


def test_photographs_that_were_not_asked_for_stop_it(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of them, another folder when the first is gone or has its names, a name that is not UTF-8."""
    write_captions(captioner := OfGrey(), photos[:6], to := tmp_path / "captions.csv", SILENT)
    kept, other = to.read_bytes(), tmp_path / "other" / "photos"
    other.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(other / "a.png")

    def stops(photographs: int, asked: Sequence[Path], file: Path = to) -> None:
        said = rf"holds captions of {photographs} photographs? beside those asked for; take .*--overwrite"
        with pytest.raises(DataError, match=said):
            write_captions(captioner, asked, file, SILENT)

    photos[5].unlink()
    stops(3, photos[:2])
    stops(6, [])
    gone = photos[0].parent.rename(tmp_path / "gone")
    stops(6, [other / "a.png"])
    assert (to.read_bytes(), captioner.seen) == (kept, 6)
    gone.rename(photos[0].parent)
    monkeypatch.chdir(tmp_path)
    write_captions(captioner, [Path("photos/0.png")], relative := tmp_path / "relative.csv", SILENT)
    monkeypatch.chdir(tmp_path / "other")
    stops(1, [Path("photos/a.png")], relative)
    odd = photos[0].with_name(os.fsdecode(b"caf\xe9.png"))
    try:
        Image.new("RGB", (8, 8)).save(odd)
    except OSError:
        pytest.skip("this file system takes no names that are not UTF-8")
    write_captions(captioner, [photos[0], odd], to, SILENT, overwrite=True)
    stops(1, photos[:1])


def test_captions_that_are_corrected_meanwhile_stay(photos: list[Path], tmp_path: Path) -> None:
    write_captions(captioner := OfGrey(), photos[:2], to := tmp_path / "captions.csv", SILENT)

    class Corrects(Notes):
        def note(self, message: str) -> None:
            to.write_text(to.read_text().replace("<1>", "<one>"))

    with pytest.raises(DataError, match="was edited"):
        write_captions(captioner, photos[:3], to, Corrects())
    assert "<one>" in to.read_text()
    write_captions(captioner, photos[:3], to, SILENT, overwrite=True)
    assert (len(to.read_text().splitlines()), captioner.seen) == (4, 3)


def test_a_run_that_is_killed_while_it_writes_knows_its_file(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, captioner = tmp_path / "captions.csv", OfGrey()
    write_captions(captioner, photos[:2], to, SILENT)

    def killed(path: Path, content: str) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("distilcap.pipeline.caption_files.write_text", killed)
        with pytest.raises(Killed):
            write_captions(captioner, photos[:3], to, SILENT)
    write_captions(captioner, photos[:3], to, SILENT)
    assert (len(to.read_text().splitlines()), captioner.seen) == (4, 3)


def test_the_record_of_many_nights_is_no_longer_than_a_few(photos: list[Path], tmp_path: Path) -> None:
    """Each night a photograph is another, and one can never be read."""
    write_captions(OfGrey(), photos, tmp_path / "once.csv", SILENT)
    once = written_record(tmp_path / "once.csv").stat().st_size
    record = written_record(to := tmp_path / "captions.csv")
    captioner = OfGrey()
    for night in range(30):
        Image.new("RGB", (8, 8), (night,) * 3).save(photos[0])
        os.utime(photos[0], ns=(night, night))
        write_captions(captioner, photos, to, SILENT)
        assert record.stat().st_size < 3 * once
    assert captioner.seen == 49 + 29
    kept = record.read_bytes()
    for _ in range(2):
        write_captions(captioner, photos, to, SILENT)
    assert record.read_bytes() == kept, "nothing changed"


def test_a_record_is_shortened_and_a_kill_at_any_moment_loses_nothing(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of an earlier version: with what failed, and all names again for each file."""
    to, captioner = tmp_path / "captions.csv", OfGrey()
    write_captions(captioner, photos[:10], to, SILENT)
    first, record = to.read_bytes(), written_record(to)
    with RecordLog(record, {"format": "distilcap captions 1"}) as log:
        last = log.records[-1]
        failed = {"image": str(photos[20]), "caption": None, "log_prob": None, "confidence": None}
        log.append({"lines": [failed | {"error": "no picture", "state": "before"}]})
        for _ in range(9):
            log.append(last)
    long = record.read_bytes()
    write_captions(captioner, photos[:11], to, SILENT)
    assert captioner.seen == 11, "what was captioned is known"
    expected, short = to.read_bytes(), record.stat().st_size
    assert short < len(long) / 2
    for moment in range(20):
        to.write_bytes(first)
        record.write_bytes(long)
        captioner.seen, calls = 0, iter(range(100))

        def dies(does: Callable[..., Any], calls: Iterator[int] = calls, moment: int = moment) -> Any:
            def call(*given: Any) -> Any:
                if next(calls) == moment:
                    raise Killed
                return does(*given)

            return call

        with monkeypatch.context() as patch:
            for name in ("fsync", "replace"):
                patch.setattr(os, name, dies(getattr(os, name)))
            try:
                write_captions(captioner, photos[:11], to, SILENT)
                break
            except Killed:
                assert to.read_bytes() == first
        write_captions(captioner, photos[:11], to, SILENT)
        assert (to.read_bytes(), captioner.seen <= 2) == (expected, True), "the new one, or once more"
        to.write_bytes(first.replace(b"<1>", b"<one>"))
        with pytest.raises(DataError, match="was edited"):
            write_captions(captioner, photos[:11], to, SILENT)
    assert moment == 6, "all writes and renames: of the record, of two lines in it and of the file"


def test_what_changed_since_a_kill_is_captioned_anew(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was repaired, one that was replaced, and the same names in another folder."""
    to = tmp_path / "captions.csv"

    def captions() -> dict[str, str]:
        write_captions(OfGrey(), photos, to, SILENT)
        with to.open(newline="") as file:
            return {Path(row["image"]).name: row["caption"] for row in csv.DictReader(file)}

    with pytest.raises(Killed):
        write_captions(OfGrey(), photos, to, Dies(35))
    for number in (1, 20):
        Image.new("RGB", (9, 9), (99,) * 3).save(photos[number])
    written = captions()
    assert written["1.png"] == written["20.png"] == "grey, <99> & co"
    assert written["2.png"] == "grey, <2> & co"
    to.unlink()
    others = tmp_path / "others" / "photos"
    others.mkdir(parents=True)
    for number in range(50):
        Image.new("RGB", (8, 8), (200,) * 3).save(others / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    photos = [photo.relative_to(tmp_path) for photo in photos]
    with pytest.raises(Killed):
        write_captions(OfGrey(), photos, to, Dies(35))
    monkeypatch.chdir(tmp_path / "others")
    assert set(captions().values()) == {"grey, <200> & co"}


def test_a_file_stays_where_no_photo_can_be_read(photos: list[Path], tmp_path: Path) -> None:
    write_captions(OfGrey(), photos[:1], to := tmp_path / "captions.csv", SILENT)
    kept = to.read_text()
    photos[0].write_bytes(b"no picture")
    written = write_captions(OfGrey(), photos[:1], to, SILENT)
    assert (written.captioned, len(written.failed)) == (0, 1)
    assert to.read_text() == kept


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.csv", "image,caption\n0.png,written by a person\n"),
        ("captions.jsonl", '{"image": "0.png", "caption": "written by a person"}\n'),
        ("captions.txt", "0.png#0\twritten by a person\n"),
        ("captions.csv", "image,caption,log_prob,confidence\nother.png,of another photograph,-1,0.5\n"),
        ("captions.jsonl", "no JSON"),
    ],
)
def test_only_its_own_files_are_replaced(photos: list[Path], tmp_path: Path, name: str, content: str) -> None:
    (to := tmp_path / name).write_text(content)
    captioner = OfGrey()
    with pytest.raises(
        DataError, match=r"nothing says that this command wrote it; take another .*`--overwrite`"
    ):
        write_captions(captioner, photos[:2], to, SILENT)
    assert (to.read_text(), captioner.seen) == (content, 0)
    write_captions(captioner, photos[:2], to, SILENT, overwrite=True)
    write_captions(captioner, photos[:2], to, SILENT)  # it is its own now
    assert "grey, <1>" in to.read_text()
    (tmp_path / f"folder{to.suffix}").mkdir()
    with pytest.raises(DataError, match="a folder has that name"):
        write_captions(captioner, photos[:2], tmp_path / f"folder{to.suffix}", SILENT)


def test_a_pipe_is_written_into(photos: list[Path], tmp_path: Path) -> None:
    os.mkfifo(to := tmp_path / "pipe.csv")
    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(to.read_text)
        write_captions(OfGrey(), photos[:1], to, SILENT)
        assert "grey, <0>" in got.result(30)


def test_a_side_file_never_replaces_an_image(photos: list[Path], tmp_path: Path) -> None:
    named, bare = tmp_path / "photo.txt", tmp_path / "photo"  # images are known by their content
    for path in (named, bare):
        path.write_bytes(photos[1].read_bytes())
    written = write_side_files(OfGrey(), [named, bare], "txt", SILENT, overwrite=True)
    assert named.read_bytes() == bare.read_bytes() == photos[1].read_bytes()
    assert named.with_name("photo.txt.txt").read_text() == "grey, <1> & co\n"
    assert (written.captioned, written.there) == (1, 0)
    assert written.failed == (f"{bare}: its side file would replace an image.",)


def test_no_two_photos_have_one_side_file(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "a.jpg.webp", "a.jpg.webp.bmp", "b.png"]
    for grey, name in enumerate(names):
        Image.new("RGB", (8, 8), (10 * grey,) * 3).save(tmp_path / name)
    written = write_side_files(OfGrey(), [tmp_path / name for name in names], "txt", SILENT)
    assert written.captioned == len(names)
    texts = {path.name: path.read_text() for path in tmp_path.glob("*.txt")}
    assert len(set(texts.values())) == len(texts) == len(names)
    assert texts["b.txt"] == "grey, <40> & co\n"


def test_side_files_are_written_anew_where_that_is_asked_for(photos: list[Path], tmp_path: Path) -> None:
    beside = photos[1].with_suffix(".txt")
    beside.symlink_to(tmp_path / "outside" / "text")
    assert write_side_files(OfGrey(), photos[:2], "txt", SILENT).there == 1
    (told,) = write_side_files(OfGrey(), photos[:2], "txt", SILENT, overwrite=True).failed
    assert told == f"{beside}: is a link to somewhere else; delete it to have the caption here."
    assert not (tmp_path / "outside").exists(), "a link that leads nowhere is somebody's"
    beside.unlink()
    beside.write_text("of other options")
    assert write_side_files(OfGrey(), photos[:2], "txt", SILENT, overwrite=True).captioned == 2
    assert beside.read_text() == "grey, <1> & co\n"


@pytest.mark.parametrize("other", ["0.jpg", "0.heic"])
def test_a_file_that_may_be_a_person_s_is_not_put_aside(photos: list[Path], other: str) -> None:
    """Data sets read `0.png.txt` in place of `0.txt`, which was there before `0.png.txt` could be."""
    folder = photos[0].parent
    later, text = folder / other, folder / "0.txt"
    text.write_text("a person's words\n")
    Image.new("RGB", (8, 8), (99,) * 3).save(later, "jpeg")
    learnt = read_dataset(folder, need_images=False).captions
    written = write_side_files(OfGrey(), [photos[0], later], "txt", SILENT)
    again = read_dataset(folder, need_images=False).captions
    assert {id: again.texts(id) for id in again} == {id: learnt.texts(id) for id in learnt}
    assert text.read_text() == "a person's words\n"
    if other == "0.heic":  # the same photograph
        assert (written.captioned, written.there, written.failed) == (0, 2, ())
        return
    assert (written.captioned, written.there) == (0, 0)
    said = "0.txt may be of 0.jpg or 0.png; rename it as its image is called, such as 0.jpg.txt."
    assert written.failed == (f"{photos[0]}: {said}", f"{later}: {said}")
    text.rename(folder / "0.png.txt")
    written = write_side_files(OfGrey(), [photos[0], later], "txt", SILENT)
    assert (written.captioned, written.there, written.failed) == (1, 1, ())
    assert (folder / "0.jpg.txt").read_text().startswith("grey, <9")
    assert (folder / "0.png.txt").read_text() == "a person's words\n"


def test_what_is_there_is_put_aside_where_that_is_asked_for(photos: list[Path]) -> None:
    photos[0].with_suffix(".txt").write_text("a person's words\n")
    Image.new("RGB", (8, 8)).save(photos[0].with_suffix(".jpg"))
    assert write_side_files(OfGrey(), photos[:1], "txt", SILENT, overwrite=True).captioned == 1
    assert photos[0].with_name("0.png.txt").read_text() == "grey, <0> & co\n"


def test_metadata_of_a_raw_file_are_not_its_jpeg_s(photos: list[Path]) -> None:
    """Photo programs keep the settings of `0.dng` in `0.xmp`; data sets read no captions there."""
    photos[0].with_suffix(".dng").write_bytes(b"raw")
    photos[0].with_suffix(".xmp").write_text("settings")
    assert write_side_files(OfGrey(), photos[:1], "xmp", SILENT).captioned == 1
    assert photos[0].with_name("0.png.xmp").is_file()


def test_side_files_are_written_once(photos: list[Path]) -> None:
    double = photos[3].with_suffix(".jpg")
    Image.new("RGB", (8, 8), (99,) * 3).save(double)
    own = photos[5].with_suffix(".txt")
    own.write_text("of a person\n")
    captioner = OfGrey()
    with pytest.raises(Killed):
        write_side_files(captioner, [*photos, double], "txt", Dies(35))
    written = write_side_files(captioner, [*photos, double], "txt", SILENT)
    # One is no picture, one has a file already; batches that were begun when it was killed are lost.
    assert 49 <= captioner.seen <= 49 + 3 * BATCH_IMAGES
    assert (written.captioned, written.there) == (49 - 34, 1 + 34)
    assert own.read_text() == "of a person\n"
    assert photos[3].with_name("3.png.txt").read_text() == "grey, <3> & co\n"
    assert not photos[3].with_suffix(".txt").exists()
    assert double.with_name("3.jpg.txt").read_text().startswith("grey, <9")
    assert not photos[20].with_suffix(".txt").exists()


class Meanwhile(Silent):
    """Something happens while photographs are captioned: when all of them are, before the first is given."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self.happens = happens

    def track(
        self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
    ) -> Iterator[T]:
        captioned = list(items)
        self.happens()
        yield from captioned


@pytest.mark.parametrize("form", ["txt", "xmp"])
def test_a_side_file_that_a_person_writes_meanwhile_stays(photos: list[Path], form: str) -> None:
    own, link = (photos[number].with_suffix(f".{form}") for number in (1, 2))

    def person() -> None:
        own.write_text("a person's words\n")
        link.symlink_to("nowhere")

    written = write_side_files(OfGrey(), photos[:4], form, Meanwhile(person))
    assert (written.captioned, written.there, written.failed) == (2, 2, ())
    assert own.read_text() == "a person's words\n"
    assert not link.exists(), "a link that leads nowhere is somebody's"


def test_a_file_that_may_be_a_person_s_is_not_put_aside_meanwhile(photos: list[Path]) -> None:
    other, text = photos[0].with_suffix(".jpg"), photos[0].with_suffix(".txt")
    Image.new("RGB", (8, 8), (99,) * 3).save(other)
    person = Meanwhile(lambda: text.write_text("a person's words\n"))
    written = write_side_files(OfGrey(), [photos[0], other], "txt", person)
    assert (written.captioned, written.there, len(written.failed)) == (0, 0, 2)
    assert list(photos[0].parent.glob("*.txt")) == [text]


def test_what_it_wrote_is_no_person_s_caption(photos: list[Path]) -> None:
    """A data set of the folder has the captions that people wrote or corrected; scores are of all."""
    folder = photos[0].parent
    photos[1].with_suffix(".txt").write_text("a person's words\n")
    write_side_files(OfGrey(), photos[:4], "txt", SILENT)
    write_side_files(OfGrey(), photos[:4], "xmp", SILENT)
    photos[2].with_suffix(".txt").write_text("a person's correction\n")
    learnt = read_dataset(folder).captions
    assert {id: learnt.texts(id) for id in learnt} == {
        "1": ["a person's words"],
        "2": ["a person's correction"],
    }
    scored = read_candidates(folder)
    assert [scored.texts(id)[0] for id in "0123"] == [
        "grey, <0> & co",
        "a person's words",
        "a person's correction",
        "grey, <3> & co",
    ]
    write_side_files(OfGrey(), photos[2:3], "txt", SILENT, overwrite=True)
    assert list(read_dataset(folder).captions) == ["1"]


def test_xmp_is_xml_that_says_the_caption(photos: list[Path]) -> None:
    write_side_files(OfGrey(), photos[:2], "xmp", SILENT)
    root = ElementTree.fromstring(photos[1].with_suffix(".xmp").read_bytes())
    texts = [item.text for item in root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li")]
    assert texts == ["grey, <1> & co"] * 2
    names = {element.tag.partition("}")[2] for element in root.iter()}
    assert {"description", "AltTextAccessibility"} <= names


@pytest.mark.parametrize("form", ["txt", "xmp"])
def test_an_older_caption_goes_where_the_new_one_is_doubted(photos: list[Path], form: str) -> None:
    write_side_files(OfGrey(), photos[:3], form, SILENT)
    sides = [photo.with_suffix(f".{form}") for photo in photos[:4]]
    kept = sides[2].read_bytes()
    doubts = OfGrey().without_doubtful(0.03)
    assert write_side_files(doubts, photos[:4], form, SILENT).there == 3
    assert [side.exists() for side in sides] == [True] * 4, "nobody asked for others"
    written = write_side_files(OfGrey().without_doubtful(0.05), photos[:4], form, SILENT, overwrite=True)
    assert (written.captioned, written.empty, written.failed) == (1, 3, ())
    assert [side.exists() for side in sides] == [False, False, False, True]
    assert write_side_files(doubts, photos[2:3], form, SILENT, overwrite=True).captioned == 1
    assert sides[2].read_bytes() == kept


def test_metadata_of_a_doubted_photo_lose_the_caption_alone(photos: list[Path]) -> None:
    """A photo program keeps stars, keywords and settings in the same file."""
    xmp = photos[1].with_suffix(".xmp")
    write_side_files(OfGrey(), photos[1:2], "xmp", SILENT)
    stars = '<xmp:Rating xmlns:xmp="http://ns.adobe.com/xap/1.0/">5</xmp:Rating>'
    others = f"{stars}\n<dc:title>dc:description</dc:title>"
    whole = xmp.read_text().replace("<dc:description>", f"{others}\n<dc:description>")
    xmp.write_text(whole)
    for _ in range(2):
        write_side_files(OfGrey().without_doubtful(0.05), photos[1:2], "xmp", SILENT, overwrite=True)
        texts = {item.tag.partition("}")[2]: item.text for item in ElementTree.parse(xmp).iter()}
        assert (texts["Rating"], texts["title"]) == ("5", "dc:description")
        assert not {"description", "AltTextAccessibility", "li"} & texts.keys()


PHOTO_PROGRAM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <rdf:Description rdf:about="uuid:1" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"{end}
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
KEYWORDS = """ xmlns:dc="http://purl.org/dc/elements/1.1/">
 <dc:subject><rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>
 <dc:description xml:space="preserve">
 <rdf:Alt><rdf:li xml:lang="x-default">old</rdf:li></rdf:Alt></dc:description>
 </rdf:Description>"""


@pytest.mark.parametrize("end", ["/>", KEYWORDS])
def test_metadata_get_a_new_caption_and_keep_the_rest(photos: list[Path], end: str) -> None:
    xmp = photos[1].with_suffix(".xmp")
    xmp.write_text(PHOTO_PROGRAM.format(end=end), "utf-8")
    for _ in range(2):
        assert write_side_files(OfGrey(), photos[1:2], "xmp", SILENT, overwrite=True).captioned == 1
        elements = list(ElementTree.parse(xmp).iter())
        about = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"
        assert {element.get(about) for element in elements} == {None, "uuid:1"}, "all of one photograph"
        assert [value for element in elements for value in element.attrib.values()].count("5") == 1
        texts = [element.text for element in elements if element.tag.endswith("}li")]
        assert texts == [*["sea"] * (end != "/>"), "grey, <1> & co", "grey, <1> & co"]
        names = Counter(element.tag.partition("}")[2] for element in elements)
        assert (names["description"], names["AltTextAccessibility"]) == (1, 1)


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "windows-1252", "US-ASCII", "UTF-8"])
def test_metadata_of_any_encoding_stay_well_formed(encoding: str) -> None:
    """As a program reads them that goes by the declaration alone."""
    title = '<dc:title xmlns:dc="http://purl.org/dc/elements/1.1/">Zoë</dc:title></rdf:Description>'
    declared = f'<?xml version="1.0" encoding="{encoding}"?>\n' + PHOTO_PROGRAM.partition("\n")[2].format(
        end=f">{title}"
    )
    content, caption = declared.encode(encoding, "xmlcharrefreplace"), "ein Hund über dem Zaun, “3 €” & 犬"
    for _ in range(2):
        content = with_caption(others(content), caption)
        texts = [element.text for element in ElementTree.fromstring(content).iter() if element.text]
        assert [text for text in texts if text.strip()] == ["Zoë", caption, caption]


@pytest.mark.parametrize(
    "content",
    [
        "settings of another program",
        PHOTO_PROGRAM.format(
            end=' xmlns:d="http://purl.org/dc/elements/1.1/"><d:description/></rdf:Description>'
        ),
        PHOTO_PROGRAM.format(end=' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:description="old"/>'),
        PHOTO_PROGRAM.format(end="/>").replace("</x:xmpmeta>", ""),
    ],
)
def test_metadata_whose_caption_cannot_be_replaced_are_named_and_left(
    photos: list[Path], content: str
) -> None:
    xmp = photos[1].with_suffix(".xmp")
    xmp.write_text(content, "utf-8")
    written = write_side_files(OfGrey(), photos[:3], "xmp", SILENT, overwrite=True)
    assert xmp.read_text("utf-8") == content
    assert written.captioned == 2
    assert written.failed == (
        f"{xmp}: its caption cannot be replaced by itself, so it is left as it is; move it or edit it.",
    )


class Fails:
    """Stands for a function that writes, and fails from a call on."""

    def __init__(self, does: Callable[..., Any], error: int, good: int = 0) -> None:
        self.does, self.error, self.good = does, error, good

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.good -= 1
        if self.good < 0:
            raise OSError(self.error, os.strerror(self.error))
        return self.does(*given, **named)


def test_a_folder_that_cannot_be_written_is_told_before_any_work(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner, folder = OfGrey(), photos[0].parent
    photos[0].with_suffix(".xmp").write_text("there already")
    nowhere = folder / "none" / "0.png"
    assert len(write_side_files(captioner, [photos[0], nowhere], "xmp", SILENT).failed) == 1
    monkeypatch.setattr(tempfile, "TemporaryFile", Fails(tempfile.TemporaryFile, errno.EROFS))
    assert write_side_files(captioner, photos[:1], "xmp", SILENT).there == 1, "there is nothing to write"
    with pytest.raises(
        DataError, match=rf"^{folder}: side files cannot be written there \(Read-only.*\); .*`--to`"
    ):
        write_side_files(captioner, photos, "xmp", SILENT)
    assert captioner.seen == 0


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_folder_that_takes_no_more_files_ends_the_work(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """A full disk, or a card that the system makes read-only at its first fault; a rerun goes on."""
    with monkeypatch.context() as patch:
        patch.setattr(caption_files, "write_text", Fails(write_text, error, 3))
        if error not in (errno.ENOSPC, errno.EDQUOT):  # an empty file fits in
            patch.setattr(tempfile, "TemporaryFile", Fails(tempfile.TemporaryFile, error, 1))
        with pytest.raises((DataError, OSError), match=re.escape(os.strerror(error))):
            write_side_files(OfGrey(), photos[:10], "txt", SILENT)
    assert len(list(photos[0].parent.glob("*.txt"))) == 3
    written = write_side_files(OfGrey(), photos[:10], "txt", SILENT)
    assert (written.captioned, written.there, written.failed) == (7, 3, ())


def test_a_side_file_that_alone_cannot_be_written_is_named_at_the_end(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a link into a folder of somebody else's."""
    monkeypatch.setattr(caption_files, "write_text", Fails(write_text, errno.EACCES, 2))
    written = write_side_files(OfGrey(), photos[:3], "txt", SILENT)
    assert written.captioned == 2
    assert len(written.failed) == 1
    assert f"{photos[2].with_suffix('.txt')}: " in written.failed[0]


def test_another_ending_is_refused(photos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`to` must end in one of .csv, .jsonl, .txt, but is captions.xls"):
        write_captions(OfGrey(), photos, tmp_path / "captions.xls", SILENT)
