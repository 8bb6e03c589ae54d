"""Where images are: from names in a captions file to files that may be written a little differently."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from distilcap.data.dataset import probe
from distilcap.data.readers.entries import IMAGE_ENDINGS, Entry, ReadResult, is_absolute
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS
from distilcap.shown import counted, some

__all__ = [
    "ADDRESS",
    "MOST_FILES",
    "NEARLY",
    "bases_of",
    "find_images",
    "folded",
    "leave_out_twins",
    "of_twins",
    "twins_among",
]

ADDRESS: Final = (
    "distilcap downloads nothing: download the images (img2dataset does), and name the files instead"
)
"""What to do about an image that is named by an address on the internet."""

MOST_FILES = 500_000
"""Of a folder, among which a name is looked for that is written otherwise."""
NEARLY: Final = "under names that differ by case or Unicode form"
_ENDINGS = (".jpg", ".png", ".jpeg")  # of names that are ids, as in our own captions files


def bases_of(homes: Sequence[Path], images: Path | None) -> list[Path]:
    """The folders that images' names may start from, the likeliest first."""
    if images is not None:
        return [images]
    bases = []
    for home in homes:
        for folder in (home, home.parent) if home.name == "annotations" else (home,):
            inside = sorted(
                file for file in folder.iterdir() if file.is_dir() and not file.name.startswith(".")
            )
            bases += [*(child for child in inside if child.name.lower() == "images"), folder, *inside]
    return list(dict.fromkeys(bases))


def find_images(result: ReadResult, bases: Sequence[Path], named: bool) -> None:
    """Give every entry its path: the first that is there, or the likeliest where none is.

    Names of different files in several folders are noted, unless `images/` or the captions' folder has one.

    A name that is not there as it is written is tried with slashes for backslashes and with its percent signs
    resolved; then any file whose name differs in these, in case or in Unicode form, if there is just one; and
    if the folder was `named` by a person, the end of a path of another machine.
    """
    folders = [str(base) for base in bases]
    last = folders[0]
    near, matched, inside = _Near(bases), Counter[str](), _Folders(folders)
    for entry in result.entries.values():
        if entry.path != Path():
            continue
        # Neighbours in a file lie in one folder, so the folder of the last image is tried first.
        found = inside.as_written(entry.name, last)
        if found is not None:
            found = inside.first(*found)
        else:
            found = _otherwise_written(entry, inside, near, named, matched)
        last, path = found or (last, os.path.join(folders[0], entry.name))
        entry.path = Path(path)
    addresses = [
        entry for entry in result.entries.values() if entry.address and not os.path.isfile(entry.path)
    ]
    if addresses:
        names = some([repr(entry.name) for entry in addresses], 1)
        are = "image is an address" if len(addresses) == 1 else "images are addresses"
        result.notes.append(f"{len(addresses):,} {are} on the internet ({names}); {ADDRESS}.")
    files: dict[Path, list[str]] = defaultdict(list)
    for entry in result.entries.values():
        files[entry.path].append(entry.id)
    if shared := [ids for path, ids in files.items() if len(ids) > 1 and path.is_file()]:
        result.notes.append(
            f"{counted(len(shared), 'file')} of more than one image, such as {' and '.join(shared[0][:2])}: "
            "such a photograph may be learnt from and tested on. Write its name in one way."
        )
    if inside.several:
        name, homes = next(iter(inside.several.items()))
        where = " and ".join(map(os.path.basename, homes))
        result.notes.append(
            f"{counted(len(inside.several), 'name')} of different files in several folders "
            f"({name!r} in {where}): taken from the first. Write the folder "
            "before the name, or give it by `--images`."
        )
    for how, count in matched.items():
        result.notes.append(f"{count:,} image{'s' if count > 1 else ''} found {how}.")


def leave_out_twins(result: ReadResult) -> None:
    """Leave out images that are there twice; see `twins_among`."""
    twins = set(twins_among(entry.path for entry in result.entries.values()))
    left = [entry for entry in result.entries.values() if entry.path in twins]
    for entry in left:
        del result.entries[entry.id]
    if left:
        result.notes.append(f"{result.where}: {of_twins([entry.name for entry in left])}.")


def twins_among(paths: Iterable[Path]) -> list[Path]:
    """HEIC and raw files of photographs that are there as JPEG or the like, in the same folder.

    By a hash of their names one could be learnt from, and the other be tested.
    """
    paths = list(paths)
    others = [path for path in paths if path.suffix.lower() in IMAGE_FILE_ENDINGS - IMAGE_ENDINGS]
    if not others:
        return []
    usual = {
        path.with_suffix("") for path in paths if path.suffix.lower() in IMAGE_ENDINGS and path.is_file()
    }
    return [path for path in others if path.with_suffix("") in usual]


def of_twins(names: Sequence[str]) -> str:
    """Which images are left out, since they are there as JPEG or the like."""
    left = counted(len(names), "image")
    return f"{left} left out, of photographs that are there as JPEG or the like: {some(names)}"


def _otherwise_written(
    entry: Entry, inside: _Folders, near: _Near, named: bool, matched: Counter[str]
) -> tuple[str, str] | None:
    names = dict.fromkeys([entry.name, entry.name.replace("\\", "/"), unquote(entry.name.replace("\\", "/"))])
    for name in list(names)[1:]:
        if "\0" not in name and (found := inside.as_written(name)):
            return found
    for name in names:
        files = near.of(name)
        if len(files) == 1:
            matched[NEARLY] += 1
            return os.path.dirname(files[0]), files[0]
        if files:
            entry.hint = f"; there are {_told_apart([entry.name, *files])}"
            return None
    if named and (is_absolute(entry.name) or entry.address):
        parts = list(names)[-1].replace("\\", "/").split("/")
        for start in range(1, len(parts)):
            if found := inside.as_written("/".join(parts[start:])):
                matched[f"by the end of their paths in {inside.folders[0]}"] += 1
                return found
    return None


class _Folders:
    """The folders that names may start from; listed once, when a name is not in the first that is tried.

    Attributes:
        several: folders of different files, by names without a folder that were asked for.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = folders
        self.several: dict[str, list[str]] = {}
        above = {os.path.dirname(folder) or os.curdir for folder in folders}
        self._own = {folders[0], *above.intersection(folders)}
        self._unlisted: list[int] = []

    def as_written(self, name: str, last: str = "") -> tuple[str, str] | None:
        """The first folder that has a file of this name, and its path.

        Args:
            last: is tried before all others.
        """
        names = [name]
        if os.path.splitext(name)[1].lower() not in IMAGE_ENDINGS:
            names += [name + ending for ending in _ENDINGS]
        folders = itertools.chain([last or self.folders[0]], self._that_may_have(names))
        candidates = ((folder, os.path.join(folder, name)) for folder in folders for name in names)
        return next((candidate for candidate in candidates if os.path.isfile(candidate[1])), None)

    def _that_may_have(self, names: Sequence[str]) -> Iterator[str]:
        """Those in which the first part of a name is, in their order."""
        parts = [Path(name).parts for name in names]
        if len(self.folders) == 1 or os.path.isabs(names[0]):  # which is the same in any other
            yield self.folders[0]
            return
        if ".." in parts[0]:
            yield from self.folders
            return
        places = {place for name in parts if name for place in self._places.get(folded(name[0]), ())}
        yield from (self.folders[place] for place in sorted(places.union(self._unlisted)))

    def first(self, folder: str, path: str) -> tuple[str, str]:
        """What was found in a folder, or the same name's file in the first that has one: whichever row it is
        asked for in, it is the same."""
        name = os.path.basename(path)
        if folder in self._own or os.path.join(folder, name) != path:
            return folder, path
        homes = [self.folders[place] for place in self._places.get(folded(name), ())]
        if len(homes) > 1:
            homes = [home for home in homes if os.path.isfile(os.path.join(home, name))]
        if len(homes) < 2:  # none: a folder that cannot be listed
            return folder, path
        paths = [os.path.join(home, name) for home in homes]
        if homes[0] not in self._own and len({probe(Path(each)) for each in paths}) > 1:
            self.several[name] = homes
        return homes[0], paths[0]

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        """Which folders have something that is called so, or nearly so: some disks do not know case."""
        places: dict[str, list[int]] = defaultdict(list)
        for place, folder in enumerate(self.folders):
            try:
                names = os.listdir(folder)
            except OSError:
                self._unlisted.append(place)
                continue
            for name in {folded(name) for name in names}:
                places[name].append(place)
        return places


class _Near:
    """Files by name, without regard to case, Unicode form and percent signs; listed when first asked."""

    def __init__(self, bases: Sequence[Path]) -> None:
        self.bases = bases

    def of(self, name: str) -> list[str]:
        """Files whose path from one of the folders is nearly `name`."""
        return list(self._files.get(folded(name), ()))

    @cached_property
    def _files(self) -> dict[str, dict[str, None]]:
        files: dict[str, dict[str, None]] = defaultdict(dict)
        for base in self.bases:
            walk = (os.path.join(home, name) for home, _, names in os.walk(base) for name in names)
            for path in itertools.islice(walk, MOST_FILES):
                name = folded(os.path.relpath(path, base))
                for key in {name, name.rpartition(".")[0]}:
                    files[key][path] = None
        return files


def folded(name: str) -> str:
    """A name as it is compared with names that are written otherwise: by case, slashes or Unicode form."""
    plain = unicodedata.normalize("NFC", unquote(name.replace("\\", "/")))
    return unicodedata.normalize("NFC", plain.casefold())


def _told_apart(names: Sequence[str]) -> str:
    """Names that look alike, in ASCII where they are not; the first is left out."""
    alike = len({unicodedata.normalize("NFC", os.path.basename(name)) for name in names}) < len(names)
    return " and ".join(ascii(name) if alike else repr(name) for name in names[1:])
