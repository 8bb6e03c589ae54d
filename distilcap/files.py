"""Files that are either whole or not there: atomic writes, checksums, strict JSON, names that stay inside."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from distilcap.errors import ConfigError, DataError

__all__ = [
    "DISK_FULL",
    "JSON_DECODER",
    "NULLING_DECODER",
    "atomic_path",
    "bare_name",
    "cache_folder",
    "checksum_file",
    "copy_all",
    "expected",
    "failures_named",
    "json_errors",
    "parse_json",
    "read_json",
    "sha256_of",
    "verify_checksum",
    "write_bytes",
    "write_checksum",
    "write_json",
    "write_text",
]


DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk, or of one's share of it, that is full."""


@contextlib.contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Name `path` in an OSError that names no file: a full disk is reported by writing, not by opening.

    Errors of safetensors, which has its own type for them, become the OSError that they stand for.
    """
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    except Exception as error:
        if code := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
        raise


@contextlib.contextmanager
def atomic_path(final: Path, new: bool = False) -> Iterator[Path]:
    """Give a scratch path beside `final`; on a clean exit flush it to disk and rename it to `final`.

    After an exception (a full disk, an interrupt) the scratch file is removed and `final` is as it was. Where
    `final` is a link, what it leads to is written; a device or a pipe gets the content and stays what it is.

    Args:
        new: replace nothing, not even a link or what was written meanwhile.

    Raises:
        OSError: `final` cannot be written, or is a folder; it is named, not the scratch file. `new`, and
            something is there: FileExistsError.
    """
    if not new:
        final = Path(os.path.realpath(final))
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(final))
    if final.exists() and not final.is_file() and not new:
        with tempfile.TemporaryDirectory() as folder:
            yield (content := Path(folder) / final.name)
            with failures_named(final), content.open("rb") as source, final.open("wb") as target:
                shutil.copyfileobj(source, target)
        return
    # The ending is kept: writers such as Pillow and matplotlib choose the format by it. The rest is short,
    # since names have at most 255 bytes.
    own = hashlib.sha256(os.fsencode(final.name)).hexdigest()[:12]
    ending = final.suffix if len(final.suffix) < 20 else ""
    scratch = final.with_name(f".{own}.{os.getpid()}.partial{ending}")
    try:
        with failures_named(final):
            # Made here, since some writers (safetensors) make files that their owner alone may read: now the
            # umask decides for all, and what is replaced stays as readable as it was, its new content too.
            scratch.touch()
            mode = (final if final.exists() else scratch).stat().st_mode & 0o777
            scratch.chmod(mode | 0o600)
            yield scratch
            with scratch.open("rb+") as file:
                os.fsync(file.fileno())
            scratch.chmod(mode)
            (_rename_new if new else os.replace)(scratch, final)
    except OSError as error:
        if error.filename == str(scratch):
            raise OSError(error.errno, error.strerror, str(final)) from None
        raise
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def _rename_new(scratch: Path, final: Path) -> None:
    """Rename a file where nothing has that name; without hard links what comes in this moment is not seen."""
    try:
        os.link(scratch, final)
    except OSError:
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from None
        os.replace(scratch, final)  # a file system without them, as of cameras' cards


def copy_all(source: Path, to: Path, links: bool = False, but: Sequence[str] = ()) -> None:
    """Copy a file, or a folder with all that it holds; what is in the folder `to` already stays.

    Args:
        links: copy links as they are, and not what they lead to.
        but: patterns of names in a folder that are not copied.

    Raises:
        OSError: the first failure ends it, as a full disk must; `shutil.copytree` goes on, and its error has
            no number.
    """
    with failures_named(to):
        try:
            if source.is_dir() and not (links and source.is_symlink()):
                to.mkdir(exist_ok=True)
                for path in source.iterdir():
                    if not any(fnmatch.fnmatch(path.name, pattern) for pattern in but):
                        copy_all(path, to / path.name, links, but)
                shutil.copystat(source, to)
            else:
                shutil.copy2(source, to, follow_symlinks=not links)
        except OSError as error:
            # `shutil` names the source, whichever of the two it failed at.
            if error.errno in (*DISK_FULL, errno.EFBIG) and error.filename == str(source):
                error.filename = str(to)
            raise


def write_bytes(path: Path, content: bytes, new: bool = False) -> None:
    """Write `content` to `path`, whole or not at all; `new` as in `atomic_path`."""
    with atomic_path(path, new) as scratch:
        scratch.write_bytes(content)


def write_text(path: Path, content: str, new: bool = False) -> None:
    """Write `content` as UTF-8 to `path`, whole or not at all; `new` as in `atomic_path`.

    Raises:
        DataError: it has what is no UTF-8: a file's or folder's name of other bytes.
    """
    try:
        encoded = content.encode()
    except UnicodeEncodeError as error:
        before = error.object[max(0, error.start - 30) : error.end]
        raise DataError(f"{path}: cannot hold a name that is not UTF-8, {before!r}; rename it.") from None
    write_bytes(path, encoded, new)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON to `path`, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


JSON_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
"""Knows no NaN and no infinity, not even as 1e999; to be used within `json_errors`."""

NULLING_DECODER: Final = json.JSONDecoder(parse_constant=lambda name: None, parse_float=_finite)
"""Reads NaN and infinity, which programs write where a table had no value, as null; for people's captions."""


def parse_json(text: str | bytes, where: str | Path, decoder: json.JSONDecoder = JSON_DECODER) -> Any:
    """Parse JSON that came from `where` (a path, or a path and line such as "labels.jsonl:3").

    Every reader of JSON calls this, so that no input, however deep or long, ends in a traceback. All strings
    in it can be written as UTF-8. A byte order mark is passed over.

    Raises:
        DataError: not UTF-8, not JSON, nested too deeply, a number too long, NaN or infinity, half a
            character (as an escape such as "\\ud800"); one line.
    """
    with json_errors(where):
        if isinstance(text, bytes):
            text = text.decode()
        content = decoder.decode(text.removeprefix("\ufeff"))
        if "\\u" in text and re.search(r"\\u[dD][89a-fA-F]", text):
            _refuse_halves(content, where)
        return content


def _refuse_halves(content: Any, where: str | Path) -> None:
    """Emoji are escaped as two halves, which the parser has joined; a half that is left cannot be written."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        before = error.object[max(0, error.start - 30) : error.start]
        half = ascii(error.object[error.start])
        raise DataError(f"{where}: not usable JSON: {half} behind {before!r} is half a character.") from None


@contextlib.contextmanager
def json_errors(where: str | Path) -> Iterator[None]:
    """Name `where` it came from if what is read within is no usable JSON.

    Raises:
        DataError: as `parse_json`.
    """
    try:
        yield
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        line = f":{error.lineno}" if "\n" in error.doc else ""
        raise DataError(f"{where}{line}: not valid JSON: {error.msg}.") from None
    except RecursionError:
        raise DataError(f"{where}: not usable JSON: nested too deeply.") from None
    except ValueError as error:  # a number of thousands of digits; NaN
        raise DataError(f"{where}: not usable JSON: {str(error).partition(';')[0]}.") from None


@contextlib.contextmanager
def expected(where: str | Path, what: str) -> Iterator[None]:
    """Tell that a file is not `what` it should be, if what was read of it turns out to have another form.

    Raises:
        DataError: a key is missing, or a value is of another type.
    """
    try:
        yield
    except DataError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        raise DataError(f"{where}: not {what}.") from None


def read_json(path: Path, regular: bool = False) -> Any:
    """Read JSON from `path`.

    Args:
        regular: it must be a regular file: no pipe and no device, which may be waited for without end.

    Raises:
        DataError: the file is missing or cannot be read, or as `parse_json`; the message names the line.
    """
    try:
        if regular and not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: not a regular file.")
        raw = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise DataError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    return parse_json(raw, path)


def bare_name(name: Any, where: str | Path) -> str:
    """Return a file name that a file gave, if it is a bare name: it cannot lead out of a folder.

    Raises:
        DataError: it is not text, empty, hidden, or has a separator, a drive or a control character.
    """
    bare = isinstance(name, str) and name != "" and not name.startswith(".") and name.isprintable()
    if not bare or any(character in name for character in '/\\:*?"<>|'):
        raise DataError(f"{where}: {name!r} is not a bare file name; names may not lead out of their folder.")
    return str(name)


def cache_folder() -> Path:
    """The user's cache: $DISTILCAP_CACHE, or `distilcap` in $XDG_CACHE_HOME or ~/.cache.

    Raises:
        ConfigError: nobody knows where home is.
    """
    if named := os.environ.get("DISTILCAP_CACHE"):
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distilcap"
    except RuntimeError:
        raise ConfigError(
            "This user has no home folder to keep a cache in; name a folder in the environment variable "
            "DISTILCAP_CACHE."
        ) from None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum_file(path: Path) -> Path:
    """The side file that holds a file's checksum, in the form that `sha256sum --check` reads."""
    return Path(f"{path}.sha256")


def write_checksum(path: Path) -> None:
    """Write the side file of a complete file."""
    write_text(checksum_file(path), f"{sha256_of(path)}  {path.name}\n")


def verify_checksum(path: Path) -> None:
    """Check a file against its side file, if it has one.

    Raises:
        DataError: they differ.
    """
    side = checksum_file(path)
    if path.is_file() and side.is_file() and side.read_bytes().split()[:1] != [sha256_of(path).encode()]:
        raise DataError(
            f"{path}: differs from its checksum file {side.name} (damaged or edited); restore it, "
            "or delete the side file if you edited it on purpose."
        )
