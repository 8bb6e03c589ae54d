"""What a stage's folder says of itself: `stage.json`, and whether the folder is undamaged."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from distilcap.errors import DataError
from distilcap.integrity import (
    CHECKSUMS,
    check_folder,
    read_sealed_json,
    rebuild,
    seal,
    write_sealed_json,
)

__all__ = [
    "RECORD",
    "check_artifact",
    "complete",
    "from_json",
    "has_checksums",
    "read_record",
    "set_aside",
    "to_json",
    "types_of",
]

RECORD, _FORMAT = "stage.json", "distilcap stage 2"  # of the first format there are no checksums


def complete(folder: Path, record: Mapping[str, Any], by_row: Iterable[str]) -> None:
    """Write the record of a stage that is built, and seal its folder (see `distilcap.integrity.seal`)."""
    write_sealed_json(folder / RECORD, {"format": _FORMAT, **record})
    seal(folder, by_row)


def read_record(folder: Path) -> dict[str, Any]:
    """What made a folder, by its `stage.json`: "recipe", "seconds", "made_by".

    Raises:
        DataError: it is missing or damaged, or the folder's checksums are missing.
    """
    record = read_sealed_json(folder / RECORD, rebuild(folder))
    if record.get("format") == _FORMAT and not (folder / CHECKSUMS).is_file():
        raise DataError(f"{folder / CHECKSUMS}: missing; {rebuild(folder)}.")
    return record


def has_checksums(folder: Path) -> bool:
    """Whether a complete folder has checksums; a folder of an older version has none.

    Raises:
        DataError: as `read_record`.
    """
    return read_record(folder).get("format") == _FORMAT


def check_artifact(folder: Path, names: Iterable[str] = ()) -> None:
    """Make sure that the folder of a complete stage is undamaged, as far as it has checksums.

    Args:
        names: of files that are to be checked; none means all.

    Raises:
        DataError: a file is missing or damaged; the message says how it is rebuilt.
    """
    if has_checksums(folder):
        check_folder(folder, names)


def set_aside(folder: Path) -> Path:
    """Move a stage's folder to where it is deleted, so that it is never half there; returns where."""
    aside = folder.parent / ".partial" / f".removed-{folder.name}"
    aside.parent.mkdir(exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def to_json(value: Any) -> Any:
    """A stage with all its fields, also those outside the key, and with the names of their classes."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    return [to_json(item) for item in value] if isinstance(value, (tuple, list)) else value


@functools.cache
def types_of(kind: type[Any]) -> dict[str, Any]:
    """The types of a class's fields by name; kept, since records ask for the same thousands of times."""
    return typing.get_type_hints(kind)


def from_json(value: Any, stages: Mapping[str, type[Any]], options: Mapping[str, type[Any]]) -> Any:
    """The reverse of `to_json`; nothing but the given classes is ever made.

    Args:
        stages: may stand anywhere, by name.
        options: the dataclasses that may stand here; those of fields are known by their types.

    Raises:
        KeyError: of a class that is not known. TypeError: of fields that are not its own.
    """
    if isinstance(value, list):
        return tuple(from_json(item, stages, options) for item in value)
    if not isinstance(value, dict):
        return value
    kind = stages.get(value["type"]) or options[value["type"]]
    types = kind.field_types() if hasattr(kind, "field_types") else types_of(kind)  # type: ignore[arg-type]
    gone = {"type", *getattr(kind, "removed", ())}
    fields = {name: content for name, content in value.items() if name not in gone}
    return kind(
        **{name: from_json(content, stages, _dataclasses_in(types[name])) for name, content in fields.items()}
    )


def _dataclasses_in(annotation: Any) -> dict[str, type[Any]]:
    """Those that a type such as `A | B | None` names."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return {annotation.__name__: annotation}
    parts = [_dataclasses_in(part) for part in typing.get_args(annotation)]
    return {name: kind for part in parts for name, kind in part.items()}
