"""Stages: steps of an experiment, each named by the hash of its recipe.

A stage is a frozen dataclass. Its key is the hash of everything that decides what it makes: its fields, the
keys of the stages among them, and its version. `store.store.Store` builds it.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from distilcap.errors import ConfigError, DataError
from distilcap.integrity import rebuild
from distilcap.progress import Progress
from distilcap.shown import first_line
from distilcap.store.planning import Plannable
from distilcap.store.record import RECORD, from_json, read_record, types_of

if TYPE_CHECKING:
    from distilcap.store.store import Store

__all__ = ["Stage", "UnknownStageError", "added_later", "not_in_key", "recorded_stage", "stage_of"]

_kinds: dict[str, type[Stage]] = {}
"""All stages whose modules have been imported, by name."""


def not_in_key(default: Any = dataclasses.MISSING) -> Any:
    """A field that says where something lies, or what a plan reckons with, not what it is: it is left out of
    the key."""
    return dataclasses.field(default=default, compare=False, metadata={"in_key": False})


def added_later(default: Any) -> Any:
    """A field that older artifacts did not have: at its default it is left out of the key, so that they stay
    valid. Also for the option classes that stages hold."""
    return dataclasses.field(default=default, metadata={"omitted": default})


def _in_key(field: dataclasses.Field[Any], value: Any) -> bool:
    if "omitted" in field.metadata and value == field.metadata["omitted"]:
        return False
    return bool(field.metadata.get("in_key", True))


@dataclass(frozen=True)
class Stage(Plannable, abc.ABC):
    """One step of an experiment, named by its recipe. Fields that are stages are its inputs."""

    version: ClassVar[int] = 1
    """Raise it when the same fields make something else."""
    together: ClassVar[bool] = False
    """Whether all processes of a launch build it; else the first does, and the others wait."""
    on_gpu: ClassVar[bool] = False
    """Whether it computes on a GPU where there is any."""
    alone: ClassVar[bool] = False
    """Whether it measures the machine, so that nothing may run beside it."""
    removed: ClassVar[Mapping[str, Any]] = {}
    """Fields that are gone, with the only value they may have had: they stay in the key."""
    checked_by_row: ClassVar[tuple[str, ...]] = ()
    """Its large files whose readers check them as they read, instead of whole."""
    timed: ClassVar[tuple[str, ...]] = ()
    """Its files that say how long something took: equal results differ in them."""
    measures: ClassVar[bool] = False
    """Whether it captions with, or measures, what it was made of: reports of that need it."""
    results_of: ClassVar[tuple[str, ...]] = ()
    """Fields of inputs that it reads in part: for these, results without weights are enough."""
    packable: ClassVar[bool] = True
    """Whether a pack of results holds it (`distilcap store export`)."""

    def __init_subclass__(cls) -> None:
        _kinds[cls.__name__] = cls

    @classmethod
    def field_types(cls) -> dict[str, Any]:
        """The types of its fields by name; to be overridden where a type is not imported with the module."""
        return types_of(cls)

    @abc.abstractmethod
    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Make the artifact in `folder`, which may hold what a killed build left."""

    def timed_whole(self, store: Store) -> bool:
        """Whether the time that its artifact took says how fast others of its rate are."""
        return True

    def needed_with_inputs(self) -> bool:
        """Whether reports of what it was made of need it."""
        return self.measures

    def check_rows(self, folder: Path) -> None:
        """Read all of the files that are `checked_by_row`.

        Raises:
            DataError: an artifact is damaged.
        """
        assert not self.checked_by_row, type(self)

    def recipe(self) -> dict[str, Any]:
        """What decides the result, as JSON; inputs by their keys."""
        fields = {
            field.name: _canonical(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if _in_key(field, getattr(self, field.name))
        }
        return {"stage": type(self).__name__, "version": self.version, **self.removed, **fields}

    @functools.cached_property
    def key(self) -> str:
        """The stage's name in the store: its verb and 12 digits of its recipe's SHA-256."""
        digest = hashlib.sha256(json.dumps(self.recipe(), sort_keys=True).encode()).hexdigest()
        verb = re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()
        return f"{verb}-{digest[:12]}"

    def inputs(self) -> tuple[Stage, ...]:
        """The stages that must be built before."""
        stages: list[Stage] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            stages += [
                item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, Stage)
            ]
        return tuple(stages)


def _canonical(value: Any) -> Any:
    if isinstance(value, Stage):
        return value.key
    if dataclasses.is_dataclass(value):
        named = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: _canonical(item) for field, item in named if _in_key(field, item)}
    if isinstance(value, (tuple, list)):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _canonical(item) for name, item in value.items()}
    assert value is None or isinstance(value, (str, int, float, bool)), type(value)
    return value


class UnknownStageError(DataError):
    """A stage's folder is not damaged, but what it is is not known here."""


def stage_of(folder: Path) -> Stage:
    """Rebuild the stage that a store's folder was made by; its module must have been imported.

    Raises:
        DataError: the folder is not a store's, or its record is damaged.
        UnknownStageError: its stage is of a plugin that is not loaded, or of another version.
    """
    path = folder / RECORD
    if not path.is_file():
        raise DataError(f"{folder}: not a folder of a store (there is no {RECORD} in it).")
    return recorded_stage(read_record(folder), path)


def recorded_stage(record: Mapping[str, Any], path: Path) -> Stage:
    """The stage of a record, which has it as "made_by"; see `stage_of`."""
    try:
        stage = from_json(record["made_by"], _kinds, {})
        if not isinstance(stage, Stage):
            raise TypeError("no stage")
        _ = stage.key, [made_of.key for made_of in stage.inputs()]  # or an error, of fields of other types
        return stage
    except (KeyError, TypeError, ConfigError) as error:  # an option may name what a plugin brings
        raise UnknownStageError(
            f"{path}: made by another version of distilcap, or with a plugin that is not "
            f"loaded ({error}); load it (`distilcap --plugin MODULE`), or build it again."
        ) from None
    except (AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: damaged ({first_line(error)}); {rebuild(path.parent)}.") from None
