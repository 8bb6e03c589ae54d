"""People's text files, whatever program saved them: UTF-8, UTF-16, or a code page of Windows.

UTF-8 is the rule, and files of it are streamed. Where a byte is not UTF-8, the code page is recognised from
all that is not ASCII, or the file is refused with how to fix it.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from distilcap.errors import DataError

__all__ = ["LONGEST_LINE", "decode_text", "read_start", "read_text", "read_text_lines"]

LONGEST_LINE = 16 << 20
"""Bytes of a line of JSON Lines or of a table: parsed it may take twenty times as much memory."""

Note = Callable[[str], None]

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark begins it
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# The likeliest first: of code pages that explain a file equally well, the first is taken.
_CODE_PAGES = ("cp1252", "cp1250", "cp1251", "cp1253", "cp932", "gb18030", "cp949", "big5")
_SIGNS = "‘’‚“”„–—…€\xa0«»°´·£¡¿©®™½¼¾、。，！？・「」『』（）：；"
_WORD = re.compile(rf"[^\s!-/:-@\[-`{{-~{_SIGNS}]+")
_CJK = frozenset({"HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "KATAKANA-HIRAGANA"})


def read_text(path: Path, note: Note = lambda message: None) -> str:
    """Read a text file.

    Args:
        note: receives a remark where the encoding was guessed.

    Raises:
        DataError: the file is missing, unreadable, or of no encoding that can be recognised.
    """
    return decode_text(_read(path), path, note)


def decode_text(content: bytes, path: Path, note: Note = lambda message: None) -> str:
    """The text of a file that was read: see `read_text`.

    Raises:
        DataError: it is of no encoding that can be recognised.
    """
    encoding = _marked(content) or "utf-8"
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if encoding.startswith(("utf-16", "utf-32")):
            raise DataError(f"{path}: broken {encoding.upper()}; save the file as UTF-8.") from None
        line = error.object.count(b"\n", 0, error.start) + 1
        return content.decode(_guessed(path, content, line, note))


def read_text_lines(path: Path, note: Note = lambda message: None) -> Iterator[str]:
    """Read text line by line, without the lines' ends; only "\\n" ends a line: captions may hold U+2028.

    Raises:
        DataError: as `read_text`; or a line of more than `LONGEST_LINE` bytes, which is not read into memory.
    """
    with _failures_named(path), path.open("rb") as file:
        encoding = _marked(file.read(4096)) or "utf-8"
        if encoding.startswith(("utf-16", "utf-32")):
            yield from _wide_lines(path, encoding)
            return
        file.seek(0)
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
            _check_length(path, number, len(line))
            line = line.removesuffix(b"\n")
            try:
                text = line.decode("utf-8-sig" if number == 1 and encoding == "utf-8" else encoding)
            except UnicodeDecodeError:
                encoding = _guessed(path, _read(path), number, note)
                text = line.decode(encoding)
            yield text


def _wide_lines(path: Path, encoding: str) -> Iterator[str]:
    """Lines of UTF-16 or UTF-32, whose ends are not single bytes."""
    try:
        with path.open(encoding=encoding, newline="\n") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), ""), 1):
                _check_length(path, number, len(line))
                yield line.removesuffix("\n").removeprefix("\ufeff")
    except UnicodeError:
        raise DataError(f"{path}: broken {encoding.upper()}; save the file as UTF-8.") from None


def _check_length(path: Path, number: int, length: int) -> None:
    if length > LONGEST_LINE:
        size = f"{LONGEST_LINE >> 20} MB"
        raise DataError(f"{path}:{number}: this line is longer than {size}; no entry is.")


def _marked(head: bytes) -> str | None:
    """The encoding that a file begins with: by its mark, or by zeros at odd or at even places alone."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    if (0 in head[1::2]) != (0 in head[0::2]):
        return "utf-16-le" if 0 in head[1::2] else "utf-16-be"
    return None


def _guessed(path: Path, content: bytes, line: int, note: Note) -> str:
    """The code page of a file that is not UTF-8.

    Raises:
        DataError: none explains it; the message names the line of the first byte that is not UTF-8.
    """
    # charset-normalizer is imported here: it takes 20 ms, and most files are UTF-8.
    from charset_normalizer import from_bytes

    sample = b"\n".join(part for part in content.split(b"\n") if not part.isascii())[: 1 << 16]
    matches = from_bytes(sample, cp_isolation=list(_CODE_PAGES)) if b"\0" not in content else ()
    fitting = [
        (round(match.chaos, 1), _CODE_PAGES.index(page), page)
        for match in matches
        if _plausible(str(match))
        for page in match.could_be_from_charset
        if page in _CODE_PAGES
    ]
    for _, _, page in sorted(fitting):
        try:
            content.decode(page)
        except UnicodeDecodeError:  # beyond the sample
            continue
        note(f"{path}: not UTF-8, read as {page}; if captions look wrong, save the file as UTF-8.")
        return page
    raise DataError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8.")


def _plausible(text: str) -> bool:
    """Whether a guess gave what people write: words of letters of one script, and enough to judge by."""
    seen, capitals = 0, 0
    for word in _WORD.findall(text):
        if word.isascii():
            continue
        scripts = {_script(letter) for letter in word if letter not in "0123456789"}
        cased = word.islower() or word.isupper() or word.istitle() or scripts == {"CJK"}
        if len(scripts) != 1 or not cased or not all(letter.isalnum() or letter in "々〇" for letter in word):
            return False
        foreign = not any(letter.isascii() and letter.isalpha() for letter in word)
        if scripts == {"LATIN"} and (word in "ÿŸ" or (foreign and len(word) > 2)):
            return False
        seen += 4 if scripts == {"LATIN"} else len(word)
        capitals += len(word) if word.isupper() and len(word) > 1 else 0
    return (seen >= 4 and 2 * capitals < seen) or all(sign.isascii() or sign in _SIGNS for sign in text)


def _script(letter: str) -> str:
    first = unicodedata.name(letter, "").partition(" ")[0]
    return "CJK" if first in _CJK else first


def _read(path: Path) -> bytes:
    with _failures_named(path):
        return path.read_bytes()


@contextlib.contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None


def read_start(path: Path, size: int = 1 << 16) -> str:
    """The first characters of a text file; bytes of no known encoding are replaced.

    Raises:
        DataError: the file is missing or unreadable.
    """
    with _failures_named(path), path.open("rb") as file:
        head = file.read(size)
    return head.decode(_marked(head) or "utf-8", errors="replace").removeprefix("\ufeff")
