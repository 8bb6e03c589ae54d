"""Parquet and Arrow tables with images in them, in files or in folders as the Hub's `datasets` has them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distilcap.data.readers.columns import Roles, add_record, id_text, roles_of
from distilcap.data.readers.entries import ReadResult, known_split, split_in
from distilcap.data.readers.forms.records import note_unread, split_checked
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.source import Source
from distilcap.data.readers.unpacked import Unpacked
from distilcap.errors import DataError, MissingError
from distilcap.shown import first_line

__all__ = ["FORM"]

_ROWS = 64  # at once in memory, images included
_ENDINGS = (".parquet", ".arrow")


def _files(source: Source) -> list[Path]:
    """The tables of a folder and two levels below it, or the file itself; not img2dataset's lists of URLs."""
    if not source.path.is_dir():
        return [source.path] if source.path.suffix.lower() in _ENDINGS else []
    homes = [source, *map(source.within, source.folders)]
    homes += [home.within(folder) for home in homes[1:] for folder in home.folders]
    tables = (file for home in homes for file in home.files if file.suffix.lower() in _ENDINGS)
    return [
        file
        for file in tables
        if not (file.with_suffix("").is_dir() or file.with_suffix(".tar").is_file())
        and file.name.lower() != "metadata.parquet"
    ]


def _matches(source: Source) -> bool:
    files = _files(source)
    return bool(files) and (not source.path.is_dir() or bool(_roles(files[0], source).images))


def _read(source: Source, result: ReadResult) -> None:
    names: dict[str, bytes] = {}
    for path in _files(source):
        result.where = path
        parts = path.relative_to(source.path).parts[:-1] if source.path.is_dir() else ()
        told = next((split for part in parts if (split := known_split(part))), None)
        _read_table(path, source, result, source.split or told or split_in(path.name), names)


def _read_table(
    path: Path, source: Source, result: ReadResult, split: str | None, names: dict[str, bytes]
) -> None:
    roles, unpacked = _roles(path, source), Unpacked(path)
    if not roles.images:
        columns = ", ".join(_schema(path))
        raise DataError(f"{path}: no column of images; name it by `--image-column`. There are: {columns}.")
    result.unread += note_unread(source, {tuple(_schema(path)): roles})
    row = 0
    for records in _records(path, roles):
        for record in records:
            row += 1
            image, name = _embedded(record, roles)
            file = None
            if image is not None:
                name = _own_name(name or f"{path.stem}-{row:06}", image, names)
                file = unpacked.put(name, len(image), functools.partial(bytes, image))
                record = {**record, roles.images[0]: name}
            if not add_record(result, record, roles, split, row, file):
                result.malformed("an image's name, or an image", row)


def _own_name(name: str, image: bytes, names: dict[str, bytes]) -> str:
    """Keep different images of one name apart: the Hub drops folders, so that cats/1.jpg is 1.jpg.

    Args:
        names: digests of the images that were first to have them; filled here.
    """
    digest = hashlib.sha256(image).digest()
    if names.setdefault(name, digest) == digest:
        return name
    stem, ending = posixpath.splitext(name)
    return f"{stem}-{digest[:4].hex()}{ending}"


def _embedded(record: dict[str, Any], roles: Roles) -> tuple[bytes | None, str | None]:
    """The image in a row, and its name, where there are any: the Hub's column is {"bytes": …, "path": …}."""
    image, name = None, None
    for column in roles.images:
        value = record.get(column)
        if isinstance(value, dict):
            path = value.get("path")
            value = value.get("bytes")
            name = name or id_text(path)
            if value is None:
                record[column] = path
        if isinstance(value, bytes):
            image, record[column] = value, None
        elif image is not None or value is not None:
            name = name or id_text(value)
    return image, name


def _roles(path: Path, source: Source) -> Roles:
    return split_checked(
        roles_of(tuple(_schema(path)), source.columns), source, functools.partial(_cells, path)
    )


def _cells(path: Path, name: str) -> Iterator[Any]:
    for records in _records(path, Roles((), (), name, ())):
        yield from (record[name] for record in records)


def _schema(path: Path) -> list[str]:
    with _errors_named(path) as arrow:
        if path.suffix.lower() == ".parquet":
            return list(arrow.parquet.read_schema(path).names)
        return list(_reader(path, arrow).schema.names)


def _records(path: Path, roles: Roles) -> Iterator[list[dict[str, Any]]]:
    columns = [*roles.images, *roles.captions, *([roles.split] if roles.split else [])]
    with _errors_named(path) as arrow:
        if path.suffix.lower() == ".parquet":
            batches = arrow.parquet.ParquetFile(path).iter_batches(_ROWS, columns=columns)
        else:
            batches = (_checked(batch.select(columns)) for batch in _arrow_batches(_reader(path, arrow)))
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS):
                yield batch.slice(start, _ROWS).to_pylist()


def _reader(path: Path, arrow: Any) -> Any:
    """`datasets` writes Arrow's form for streams, others the form for files."""
    source = arrow.memory_map(str(path))
    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
    return arrow.ipc.open_file(source) if is_file else arrow.ipc.open_stream(source)


def _arrow_batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "get_batch"):
        return (reader.get_batch(index) for index in range(reader.num_record_batches))
    return iter(reader)


def _checked(batch: Any) -> Any:
    """Arrow takes a file's offsets as they are: wrong ones read memory that is not the file's."""
    batch.validate(full=True)
    return batch


@contextlib.contextmanager
def _errors_named(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise MissingError(
            f"{path}: Parquet and Arrow are read by pyarrow; `pip install 'distilcap[parquet]'`."
        ) from None
    try:
        yield pyarrow
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        reason = first_line(error).rstrip(".")
        raise DataError(f"{path}: not a whole table of Parquet or Arrow: {reason}.") from None


FORM = DataForm(
    "Parquet and Arrow (the Hub's datasets)",
    "data/train-00000-of-00001.parquet with image and caption",
    _matches,
    _read,
)
register_form(FORM)
