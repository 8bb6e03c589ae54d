"""What `write_captions` keeps beside a file of captions: which images it captioned, and what it wrote.

A `RecordLog` of {"recipe": of the captioner}, then {"lines": of a batch} and, of each file that was written,
{"sha256": of its content, "images": those in it}. It stays when the file is complete: only by it can a later
run tell its own file from one that a person corrected. Where more than half of it is of no more use, it is
rewritten when it is opened, so that years of nightly runs leave it as long as the photographs need.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from distilcap.data.captions import written_record
from distilcap.errors import DataError
from distilcap.progress import Progress
from distilcap.record_log import RecordLog, check_options
from distilcap.shown import counted

__all__ = ["CaptionRecord", "Line", "by_image"]

Line: TypeAlias = Mapping[str, str | float | None]

_FIX = "take another `--to`, or `--overwrite`"


class CaptionRecord(RecordLog):
    """The record of a file of captions, opened to go on with it.

    Args:
        to: the file of captions.
        recipe: of the captioner.
        images: that are to be in the file.
        form: lines to the file's text.
        overwrite: replace a file that is there, whoever wrote it, and a record of other options.
        folders: whose photographs are all asked for: one of the file that is not there is gone.

    Raises:
        DataError: another process has it open; or the file is not this record's, was edited since, has other
            images too that are not gone, or was written or begun with other options.
    """

    def __init__(
        self,
        to: Path,
        recipe: Mapping[str, str],
        images: Collection[str],
        form: Callable[[Sequence[Line]], str],
        progress: Progress,
        overwrite: bool,
        folders: Sequence[Path],
    ) -> None:
        self._to, self._images, self._form, self._overwrite = to, images, form, overwrite
        self._folders = [os.path.abspath(folder) for folder in folders]
        there, path = self._there(), written_record(to)
        if there and not overwrite and not path.is_file():
            raise _foreign(to)
        super().__init__(path, {"format": "distilcap captions 1"}, progress)
        try:
            self._check_images(self._check_unedited(), progress)
            begun = self.records[0]["recipe"] if self.records else recipe
            if begun != recipe:
                if not overwrite and (there or not self._written()):  # a file that was deleted is not missed
                    check_options(to, begun, recipe, _FIX)
                self.rewrite([{"recipe": recipe}, *self._known(there)])  # a file that is there stays known
            elif _names(self.records) > 2 * _names(needed := self._needed(there)):
                self.rewrite(needed)
            if not self.records:
                self.append({"recipe": recipe})
        except BaseException:
            self.close()
            raise

    def lines(self) -> dict[str, list[Line]]:
        """The lines of each image, as it was captioned last."""
        latest: dict[str, list[Line]] = {}
        for record in self.records:
            lines = record.get("lines", ())
            latest |= by_image(line for line in lines if line["error"] is None)  # some versions note failures
        return latest

    def writes(self, content: bytes, images: Sequence[str]) -> None:
        """Note what is about to be written: before it is, so that a run killed between knows its file.

        Raises:
            DataError: somebody edited the file meanwhile.
        """
        self._check_unedited()
        self.append({"sha256": _sha256(content), "images": images})

    def _written(self) -> list[dict[str, Any]]:
        return [record for record in self.records if "sha256" in record]

    def _known(self, there: bytes) -> list[dict[str, Any]]:
        """What was noted of a file's content, if anything was."""
        digest = _sha256(there)
        return [record for record in self._written() if record["sha256"] == digest][-1:]

    def _needed(self, there: bytes) -> list[dict[str, Any]]:
        """The records that a later run can need, were this one killed; those before them are older."""
        files = self._known(there)
        files += [record for record in self._written()[-1:] if record not in files]
        # Also of photographs that are gone: their disk may be back tomorrow.
        lines = [{"lines": lines} for lines in self.lines().values()]
        return [*self.records[:1], *lines, *files]

    def _there(self) -> bytes:
        return self._to.read_bytes() if self._to.is_file() else b""

    def _check_unedited(self) -> Collection[str]:
        """Make sure that the file is as it was written, and give the images in it, if they must be kept."""
        to, there, written = self._to, self._there(), self._written()
        if not there or self._overwrite:
            return ()
        if not written:
            raise _foreign(to)
        known = self._known(there)
        if not known:
            latest = self.lines()
            ours = self._form(
                [line for image in written[-1]["images"] for line in latest.get(image, [])]
            ).split("\n")
            changed = (Counter(ours) - Counter(there.decode("utf-8", "replace").split("\n"))).total()
            said = f" ({changed:,} of its {len(ours) - 1:,} lines differ)" if changed else ""
            raise DataError(f"{to}: was edited since this command wrote it{said}; {_FIX}.")
        images: list[str] = known[0]["images"]
        return images

    def _check_images(self, written: Collection[str], progress: Progress) -> None:
        """Rows of photographs that are gone end no night; those of others that were not asked for would be
        lost unseen. Gone is what is no longer there, of the folders that were asked for."""
        others = set(written) - set(self._images)
        if not others:
            return
        lines = self.lines()
        paths = (str(lines[image][0]["state"]).rsplit(" ", 2)[0] for image in others & lines.keys())
        gone = sum(any(_is_gone(path, folder) for folder in self._folders) for path in paths)
        if left := len(others) - gone:
            raise DataError(
                f"{self._to}: holds captions of {counted(left, 'photograph')} beside those asked for; {_FIX}."
            )
        progress.note(f"{self._to}: rows of {counted(gone, 'photograph')} that are gone are left out.")


def _is_gone(path: str, folder: str) -> bool:
    """Whether an absolute path is below a folder, and nothing is there: a disk that fails may have it still,
    and a backslash may stand for what is not UTF-8."""
    if "\\" in path or not os.path.normpath(path).startswith(os.path.join(folder, "")):
        return False
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        pass
    return False


def _names(records: Iterable[Mapping[str, Any]]) -> int:
    """How often records name photographs: a measure of their bytes."""
    return sum(len(record.get("lines", ())) + len(record.get("images", ())) for record in records)


def by_image(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Lines by the image that they are of, in their order."""
    grouped: dict[str, list[Line]] = {}
    for line in lines:
        grouped.setdefault(str(line["image"]), []).append(line)
    return grouped


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _foreign(to: Path) -> DataError:
    return DataError(f"{to}: is there, and nothing says that this command wrote it; {_FIX}.")
