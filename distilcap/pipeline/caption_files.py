"""Captions of photographs as files that other programs read: one file of all, or a file beside each."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from distilcap.data.readers.entries import IMAGE_ENDINGS
from distilcap.data.readers.sides import SIDE_ENDINGS
from distilcap.data.written_sides import note_side
from distilcap.errors import ConfigError, DataError
from distilcap.files import DISK_FULL, write_bytes, write_text
from distilcap.pipeline import xmp
from distilcap.pipeline.caption_record import CaptionRecord, Line, by_image
from distilcap.pipeline.captioned import Captioned
from distilcap.pipeline.captioning import BATCH_IMAGES, ImageCaptioner
from distilcap.progress import Progress
from distilcap.reports.formats import csv_text
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS
from distilcap.shown import shown

__all__ = ["FORMATS", "SIDE_FILES", "Written", "write_captions", "write_side_files"]


@dataclass(frozen=True)
class Written:
    """What came of some photographs.

    Attributes:
        captioned: how many have captions now.
        there: how many had a side file before, which was left as it is.
        failed: what is wrong with each of the others.
        empty: captions that are empty, since the captioner doubts them.
    """

    captioned: int
    failed: tuple[str, ...]
    there: int = 0
    empty: int = 0


def write_captions(
    captioner: ImageCaptioner,
    photos: Sequence[Path],
    to: Path,
    progress: Progress,
    overwrite: bool = False,
    folders: Sequence[Path] | None = None,
) -> Written:
    """Caption photographs into one file, whose ending says its form; a killed run goes on where it was.

    A hidden record beside the file (`CaptionRecord`) says what is captioned already and whether the file was
    edited since. A photograph that is another or was changed since is captioned again; one that is gone from
    its folder leaves the file, with a remark. Where no photograph can be read, a file that is there stays.

    Args:
        to: `.csv` or `.jsonl` with image, caption, log_prob and confidence (nothing where it is not
            calibrated); `.txt` with image, tab, caption.
        overwrite: replace a file that is there, whoever wrote it, and a record of other options.
        folders: whose photographs `photos` are, with those of folders in them; None: the one folder that has
            all of `photos`.

    Raises:
        ConfigError: another ending.
        DataError: another process writes this file, or it was written or begun with other options; or
            something else is there, such as captions that people wrote or corrected.
    """
    if to.suffix.lower() not in FORMATS:
        raise ConfigError(f"`to` must end in one of {', '.join(FORMATS)}, but is {to.name}.")
    if to.is_dir():
        raise DataError(f"{to}: a folder has that name; take another for the file of captions.")
    states = {_name(photo): _state(photo) for photo in photos}

    def form(lines: Sequence[Line]) -> str:
        return FORMATS[to.suffix.lower()]([_shown(line) for line in lines])

    if folders is None:
        parents = {os.path.dirname(os.path.abspath(photo)) for photo in photos}
        folders = [Path(os.path.commonpath(parents))] if parents else []
    with CaptionRecord(to, captioner.recipe, states.keys(), form, progress, overwrite, folders) as record:
        known = {
            image: lines for image, lines in record.lines().items() if lines[0]["state"] == states.get(image)
        }
        todo = [photo for photo in photos if _name(photo) not in known]
        if known and todo:
            said = f"{len(known):,} of {len(photos):,} photographs are captioned already; going on."
            progress.note(f"{to}: {said}")
        results = zip(todo, captioner.each(todo), strict=True)
        done = len(photos) - len(todo)
        tracked = iter(progress.track(results, "Captioning", len(photos), done) if todo else ())
        while batch := list(itertools.islice(tracked, BATCH_IMAGES)):
            new = [
                line | {"state": states[_name(photo)]}
                for photo, result in batch
                for line in _lines(photo, result)
            ]
            if made := [line for line in new if line["error"] is None]:  # a failure is tried again
                record.append({"lines": made})
            known |= by_image(new)
        lines = [line for image in states for line in known.get(image, [])]
        written = [line for line in lines if line["error"] is None]
        content = form(written).encode()
        if written and not (to.is_file() and to.read_bytes() == content):
            record.writes(content, list(by_image(written)))
            write_text(to, content.decode())
        elif written and not todo:
            progress.note(f"{to}: already complete.")
        if not to.is_file():  # a pipe, or nothing: no later run has anything to compare with
            record.remove()
    failed = tuple(str(line["error"]) for line in lines if line["error"] is not None)
    empty = sum(not line["caption"] for line in written)
    return Written(len(by_image(written)), failed, empty=empty)


def _name(photo: Path) -> str:
    """A path that a file of text can hold."""
    return str(photo).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _state(photo: Path) -> str:
    """What tells a file from another of that name in another folder, and from itself before a change."""
    try:
        stat = photo.stat()
    except (OSError, ValueError):
        return ""
    return f"{_name(photo.absolute())} {stat.st_size} {stat.st_mtime_ns}"


def _lines(photo: Path, result: Captioned) -> list[dict[str, str | float | None]]:
    if result.error is not None:
        nothing = dict.fromkeys(("caption", "log_prob", "confidence"))
        return [{"image": _name(photo), **nothing, "error": shown(str(result.error))}]
    return [
        {
            "image": _name(photo),
            "caption": made.text,
            "log_prob": round(made.log_prob, 4),
            "confidence": None if made.confidence is None else round(made.confidence, 4),
            "error": None,
        }
        for made in result.captions
    ]


def _shown(line: Line) -> Line:
    return {name: value for name, value in line.items() if name not in ("error", "state")}


def _as_json(lines: Sequence[Line]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _as_text(lines: Sequence[Line]) -> str:
    return "".join(f"{shown(str(line['image']))}\t{shown(str(line['caption']))}\n" for line in lines)


FORMATS: dict[str, Callable[[Sequence[Line]], str]] = {
    ".csv": csv_text,
    ".jsonl": _as_json,
    ".txt": _as_text,
}


def write_side_files(
    captioner: ImageCaptioner, photos: Sequence[Path], form: str, progress: Progress, overwrite: bool = False
) -> Written:
    """Write a file with the best caption beside each photograph, such as `a.txt` beside `a.jpg`.

    A file that is there already, or is when its photograph is captioned, is left as it is; so a killed run
    goes on where it was. For a photograph that differs from another in its folder by the ending alone it has
    the whole name: `a.png.txt`. There `a.txt` is left too, and counts: a data set would read the whole name's
    file in its place, which may be a person's. An empty caption gets no file. The first folder that cannot be
    written ends the work.
    A hidden record in each folder (`note_side`) says which texts are a captioner's: as long as nobody edits
    them, no data set learns from them.

    Args:
        form: one of `SIDE_FILES`: "txt", the caption alone; "xmp", metadata that photo programs read, with
            the caption as description (`dc:description`) and as alternative text.
        overwrite: write files that are there anew. Where the caption is empty they go. Of metadata that hold
            more than a caption that alone is replaced, or goes.

    Raises:
        DataError: a folder with photographs to caption cannot be written.
        OSError: the disk is full.
    """
    beside = _side_files(photos, form)
    unable = [photo for photo in photos if beside[photo] in beside]  # it is an image itself
    able = [photo for photo in photos if beside[photo] not in beside]
    shared = _shared(beside, form)

    def left(photo: Path) -> str | None:
        """None where a file is to be written; "" where one is there, and what is wrong if that is unclear."""
        if overwrite or os.path.lexists(beside[photo]):
            return None if overwrite else ""
        images = shared.get(of_stem := photo.with_suffix(f".{form}"), [])
        if not images or of_stem in wrote or not os.path.lexists(of_stem):
            return None
        return _unclear(photo, images, form) if images[1:] else ""

    wrote = set[Path]()  # `a.jpg.txt` of `a.jpg` says nothing of `a.jpg.webp`
    lefts = {photo: left(photo) for photo in able}
    todo = [photo for photo in able if lefts[photo] is None]
    for folder in dict.fromkeys(photo.parent for photo in todo):
        _check_writable(folder)
    failed: list[str] = []
    empty = 0
    results = zip(todo, captioner.each(todo), strict=True)
    for photo, result in progress.track(results, "Captioning", len(photos), len(photos) - len(todo)):
        if result.error is not None:
            failed.append(str(result.error))
            continue
        lefts[photo] = left(photo)  # again: hours may have passed
        if lefts[photo] is not None:
            continue
        try:
            if result.text or overwrite:
                _write_caption(beside[photo], form, result.text, new=not overwrite)
        except FileExistsError:
            lefts[photo] = ""
        except (DataError, OSError) as error:
            if isinstance(error, OSError):
                if error.errno in DISK_FULL:
                    raise
                _check_writable(photo.parent)
            failed.append(f"{beside[photo]}: {error}")
        else:
            if result.text:
                wrote.add(beside[photo])
            else:
                empty += 1
    refused = (f"{photo}: its side file would replace an image." for photo in unable)
    unclear = filter(None, lefts.values())
    return Written(len(wrote), (*refused, *unclear, *failed), list(lefts.values()).count(""), empty)


def _check_writable(folder: Path) -> None:
    """Make sure that files can be made in a folder, if it is there at all.

    Raises:
        DataError: they cannot.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DataError(
            f"{folder}: side files cannot be written there ({error.strerror}); make it writable, or write "
            "one file elsewhere by `--to`."
        ) from None


def _write_caption(side: Path, form: str, caption: str, new: bool) -> None:
    """Write a side file, or its caption alone where a photo program keeps more in it; "" removes it.

    Raises:
        FileExistsError: it is to be a `new` file, and one is there.
        DataError: metadata in which a caption cannot be put by itself, or a link, which may lead anywhere.
    """
    if side.is_symlink() and not new:
        raise DataError("is a link to somewhere else; delete it to have the caption here.")
    content = side.read_bytes() if side.suffix == ".xmp" and side.is_file() and not new else b""
    if others := xmp.others(content):
        merged = xmp.with_caption(others, caption) if caption else others
        if merged != content:
            write_bytes(side, merged)
    elif caption:
        text = SIDE_FILES[form](caption)
        if side.suffix in SIDE_ENDINGS:  # a data set would take it for a person's; none reads XMP
            note_side(side, text.encode())
        write_text(side, text, new)
    elif not new:
        side.unlink(missing_ok=True)


def _side_files(photos: Sequence[Path], form: str) -> dict[Path, Path]:
    """The side file of each photograph, and of the other images of their folders: no two have the same.

    Only one that differs from an image by nothing else can be an image itself.
    """
    images = {photo for photo in photos if photo.name}
    for folder in {photo.parent for photo in photos}:
        with suppress(OSError):
            images |= {path for path in folder.iterdir() if path.suffix.lower() in IMAGE_FILE_ENDINGS}
    beside = {image: image.with_suffix(f".{form}") for image in images}
    before: dict[Path, Path] = {}
    while beside != before:  # a whole name may be another's: `a.jpg.webp` beside `a.jpg` and `a.png`
        before, files = beside, Counter([*beside.values(), *images])
        beside = {
            image: image.with_name(f"{image.name}.{form}") if files[file] > 1 else file
            for image, file in before.items()
        }
    return beside


def _shared(images: Collection[Path], form: str) -> dict[Path, list[Path]]:
    """Files such as `a.txt`, and the images whose captions a data set may find in each.

    These are the JPEG alone, and the like, where the others are raw files, HEIC and such of the same name.
    """
    if f".{form}" not in SIDE_ENDINGS:
        return {}
    sharing: dict[Path, list[Path]] = defaultdict(list)
    for image in images:
        sharing[image.with_suffix(f".{form}")].append(image)
    return {
        file: [each for each in sorted(of_stem) if each.suffix.lower() in IMAGE_ENDINGS] or sorted(of_stem)
        for file, of_stem in sharing.items()
        if file not in images
    }


def _unclear(photo: Path, images: Sequence[Path], form: str) -> str:
    names = " or ".join(image.name for image in images)
    advice = f"rename it as its image is called, such as {images[0].name}.{form}"
    return f"{photo}: {photo.stem}.{form} may be of {names}; {advice}."


SIDE_FILES: dict[str, Callable[[str], str]] = {"txt": lambda caption: f"{caption}\n", "xmp": xmp.of_caption}
