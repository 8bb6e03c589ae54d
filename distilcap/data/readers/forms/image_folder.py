"""A folder of images, with captions in side files (a.txt, a.caption, a.json) or without."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

from distilcap.data.readers.entries import Entry, ReadResult, image_id_of, is_text, known_split
from distilcap.data.readers.find import NEARLY, folded, of_twins, twins_among
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.sides import SIDE_ENDINGS, add_side_captions, captions_in_json
from distilcap.data.readers.source import Source
from distilcap.data.readers.text import read_text
from distilcap.data.written_sides import SIDE_RECORD, written_sides
from distilcap.errors import DataError
from distilcap.runtime.formats import find_image_files, left_out, written_folders
from distilcap.shown import counted, some

__all__ = ["FORM"]


def _matches(source: Source) -> bool:
    return source.path.is_dir()


def _read(source: Source, result: ReadResult) -> None:
    """A side file has a caption a line. Images in a first-level folder called train, val or test belong to
    that split. Folders that distilcap wrote below it are left out: their images are copies; and so are raw
    files, HEIC and others beside a JPEG or the like of the same name: else one photograph would be two. So
    are side files that a captioner wrote.

    Raises:
        DataError: there is no image.
    """
    folder = source.path
    others: Counter[str] = Counter()
    sides: dict[Path, dict[str, Path]] = defaultdict(dict)
    found = sorted(find_image_files(folder, others))
    results = {folder / name for name in written_folders(others)}
    for file in folder.rglob("*"):
        if results and not results.isdisjoint(file.parents):
            continue
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.suffix.lower() in SIDE_ENDINGS and file.is_file() and not hidden:
            sides[file.with_suffix("")][file.suffix.lower()] = file
    written = [] if result.keep_empty else _take_written(sides)  # to score, they are meant
    renamed = _name_as_images(sides, found)
    used: set[Path] = set()
    read: set[Path] = set()
    bare: list[Path] = []
    aside: dict[Path, Path] = {}
    broken: list[str] = []
    twins: dict[Path, list[Path]] = defaultdict(list)
    left = set(twins_among(found))
    for file in sorted(left):
        twins[file.with_suffix("")].append(file)
    for file in found:
        name = file.relative_to(folder).as_posix()
        if file in left:
            continue
        if not file.is_file():
            broken.append(name)
            continue
        if not is_text(name):
            result.problem("file name", f"{name!r} is not UTF-8; rename it.", None)
            continue
        top = known_split(name.partition("/")[0]) if "/" in name else None
        image = result.image(image_id_of(name), name, top or source.split, None)
        stem = file.with_suffix("")
        stems = [each for each in (*twins.get(stem, ()), stem, file) if each in sides]  # a.txt, a.jpg.txt
        used |= set(stems)
        if image is not None and stems:
            chosen = {end: side for stem in stems for end, side in sides[stem].items()}
            taken = _add_captions(source, result, image, chosen)
            read.add(taken)
            bare += [taken] * (taken.suffix.lower() == ".json" and not image.captions)
            beside = (side for stem in stems for side in sides[stem].values() if side != taken)
            aside |= {side: taken for side in beside if _says_more(side, taken)}
    kinds = {ending for stem in used for ending in sides[stem]} if result.entries else set(SIDE_ENDINGS)
    for stem in sorted(sides.keys() - used):
        for ending, file in sides[stem].items():
            about = file.stem.lower().startswith(("readme", "license", "licence"))
            if ending in kinds - {".json"} and not about:  # where no text is a caption, these are other files
                name = file.relative_to(folder).as_posix()
                shown = repr(name) if unicodedata.is_normalized("NFC", name) else ascii(name)
                message = f"{shown} belongs to no image; rename it as its image is called, or move it."
                result.problem("unknown image", message, None)
    if not result.entries and not result.problems:
        raise DataError(f"{folder}: there is neither a captions file nor an image in this folder.")
    if left:
        result.notes.append(
            f"{folder}: {of_twins([file.relative_to(folder).as_posix() for file in sorted(left)])}."
        )
    if renamed:
        result.notes.append(f"{folder}: {counted(len(renamed), 'file')} of captions found {NEARLY}.")
    if bare:
        names = some([file.relative_to(folder).as_posix() for file in bare])
        said = f"{counted(len(bare), '.json file')} without `caption`, `captions` or `text`: {names}"
        result.notes.append(f"{folder}: {said}.")
    if unread := sorted(aside.keys() - read):
        names = f"{unread[0].relative_to(folder).as_posix()}, but {aside[unread[0]].name}"
        said = f"{counted(len(unread), 'file')} of captions not read, beside others of the same image"
        result.notes.append(f"{folder}: {said}: not {names}.")
    if written:
        first = min(written)
        result.notes.append(
            f"{folder}: {counted(len(written), 'file')} left out, which `distilcap caption --side-files` "
            f"wrote, such as {first.relative_to(folder).as_posix()}: a captioner's words, no person's. "
            "Those that you edit count. To learn from the others, write one file by `--to` and give it as "
            f"`--teacher-captions`; or, to be tested on them too, delete {first.parent / SIDE_RECORD}."
        )
    for ending in (*kinds, *(file.suffix.lower() for file in written)):
        others.pop(ending, None)
    if broken:
        count = f"{len(broken):,} image{'s' * (len(broken) > 1)}"
        result.notes.append(f"{folder}: {count} left out: no file, or a broken link, such as {broken[0]!r}.")
    if said := left_out(others):
        result.notes.append(f"{folder}: {said}.")


def _take_written(sides: dict[Path, dict[str, Path]]) -> list[Path]:
    """Take the files that a captioner wrote out of the side files by stem and ending."""
    written = []
    for home in {stem.parent for stem in sides}:
        for file in written_sides(home):
            stem = file.with_suffix("")
            if sides.get(stem, {}).pop(file.suffix.lower(), None):
                written.append(file)
                if not sides[stem]:
                    del sides[stem]
    return written


def _name_as_images(sides: dict[Path, dict[str, Path]], found: list[Path]) -> list[Path]:
    """Give side files whose names differ from just one image's by case or Unicode form that image's name.

    A Mac takes letters with accents apart, and a program that writes side files may put them together.

    Returns:
        These side files.
    """
    stems = {stem for file in found for stem in (file.with_suffix(""), file)}
    loose: dict[str, list[Path]] = defaultdict(list)
    for stem in sides.keys() - stems:
        loose[folded(stem.as_posix())].append(stem)
    near: dict[str, list[Path]] = defaultdict(list)
    for stem in stems if loose else ():
        near[folded(stem.as_posix())].append(stem)
    renamed = []
    for name, others in loose.items():
        if len(others) == len(near.get(name, ())) == 1:
            of_image, of_other = sides[near[name][0]], sides[others[0]]
            for ending in of_other.keys() - of_image.keys():
                of_image[ending] = of_other.pop(ending)
                renamed.append(of_image[ending])
    return renamed


def _add_captions(source: Source, result: ReadResult, image: Entry, files: dict[str, Path]) -> Path:
    """Add the captions of the file that counts, which is returned.

    A bad file must not hide the problems of the others.
    """
    home = result.where
    ending = next(ending for ending in SIDE_ENDINGS if ending in files)
    result.where = files[ending]
    try:
        add_side_captions(result, image, {ending: read_text(files[ending], source.notes.append)})
    except DataError:
        result.malformed("a caption a line as UTF-8 text", None)
    result.where = home
    return files[ending]


def _says_more(side: Path, taken: Path) -> bool:
    """Whether a side file has captions that the one that is read has not: img2dataset's repeats it."""
    if side.suffix.lower() in {".caption", ".txt", taken.suffix.lower()}:
        return True
    try:
        read, captions = read_text(taken), captions_in_json(read_text(side)) or ()
    except DataError:
        return False
    return any(isinstance(text, str) and text.strip() not in read for text in captions)


FORM = DataForm(
    "a folder of images (kohya, img2dataset)",
    "1.jpg, 1.txt",
    _matches,
    _read,
    general=3,
)
register_form(FORM)
