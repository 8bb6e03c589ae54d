"""Options, said once: a frozen dataclass whose fields carry their help, bounds and choices.

The command line makes its flags from these fields (`cli/options.py`), the dataclass checks them wherever it
is made, and both speak of an option by the same name:

    @dataclass(frozen=True)
    class Decoding(Options):
        beam_size: int = option(5, "Number of hypotheses kept while searching.", least=1, most=1000)

`Decoding(beam_size=0)` raises "`beam_size` must be at least 1, but is 0."; `--beam-size 0` says the same.
So does `distilcap.train(beam_size=0)`: flags and keywords of functions have the same names (`named_fields`).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from distilcap.errors import ConfigError

__all__ = [
    "SEED_LIMIT",
    "Bounds",
    "Options",
    "bounds_of",
    "check_names",
    "filled",
    "keywords_checked",
    "named_fields",
    "option",
    "path_of",
    "value_type",
]

SEED_LIMIT = 2**63 - 1
"""Largest seed: what PyTorch's and NumPy's generators both take."""

_NAMES = frozenset({"box", "none"})  # what stands for a captioner, or for none, where a folder may stand


@dataclass(frozen=True)
class Bounds:
    """What a value may be; an absent bound is None.

    Attributes:
        least, most: inclusive limits of a number.
        above, below: exclusive ones.
        choices: all values of a word.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In words, such as "at least 1 and at most 1000"."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        named = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{words} {limit}" for words, limit in named.items() if limit is not None)

    def allow(self, value: Any) -> bool:
        """Whether a value keeps them; a number that is not finite never does."""
        if self.choices:
            return value in self.choices
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return not (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
    aliases: Sequence[str] = (),
    follows: str | None = None,
    **metadata: Any,
) -> Any:
    """A field of an `Options` class.

    Args:
        help: what it does and its unit: "Number of…".
        least, most, above, below, choices: see `Bounds`.
        aliases: older flags that still work, such as "--beam".
        follows: the option whose value it takes where it is not given itself, as a flag or a keyword.
        metadata: more, for others that read the field (such as `in_key` of a store's stages).
    """
    bounds = Bounds(least, most, above, below, tuple(choices))
    declared = {"help": help, "bounds": bounds, "aliases": tuple(aliases), "follows": follows}
    return dataclasses.field(default=default, metadata=declared | metadata)


def bounds_of(field: dataclasses.Field[Any]) -> Bounds:
    """The bounds that a field was declared with."""
    bounds = field.metadata.get("bounds", Bounds())
    assert isinstance(bounds, Bounds)
    return bounds


class Options:
    """Base of option classes: checks every field that has bounds.

    Raises:
        ConfigError: a value is outside its bounds; the message names the option.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, bounds = getattr(self, field.name), bounds_of(field)
            if value is not None and not bounds.allow(value):
                wanted = str(bounds) or "a finite number"
                raise ConfigError(f"`{field.name}` must be {wanted}, but is {value!r}.")


Class = TypeVar("Class", bound=Options)
P = ParamSpec("P")
R = TypeVar("R")


def named_fields(
    kind: type[Options], prefix: str = ""
) -> Iterator[tuple[str, type[Options], dataclasses.Field[Any]]]:
    """All options of a class: the name of each flag and keyword, the class it is in, and its field.

    A field that is an option class gives its fields' names, with the `prefix` of its metadata before them.
    """
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if isinstance(field.default, Options):
            yield from named_fields(type(field.default), prefix + field.metadata.get("prefix", ""))
        elif "help" in field.metadata:
            yield prefix + field.name, kind, field


def filled(kind: type[Class], values: Mapping[str, Any], prefix: str = "") -> Class:
    """An option object from the values of its options by name (see `named_fields`); nested objects first.

    An option that is not among the values has its default, or follows another.

    Raises:
        ConfigError: a value is of another type than its field, or outside its bounds.
    """
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name, inner = prefix + field.name, field.metadata.get("prefix", "")
        given = name if name in values else field.metadata.get("follows", name)
        if isinstance(field.default, Options):
            fields[field.name] = filled(type(field.default), values, prefix + inner)
        elif given in values:
            fields[field.name] = _typed(given, values[given], typing.get_type_hints(kind)[field.name])
    return kind(**fields)


def check_names(
    names: Iterable[str], kinds: Iterable[type[Options]], command: str, without: Sequence[str] = ()
) -> None:
    """Make sure that every name is of an option of these classes, which a command has, but for `without`.

    Raises:
        ConfigError: a name is not; the message has the likeliest that are.
    """
    known = [name for kind in kinds for name, _, _ in named_fields(kind) if name not in without]
    _check_known(names, known, f"`{command} --help`")


def _check_known(names: Iterable[str], known: Sequence[str], listed: str) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            near = ", ".join(f"`{one}`" for one in difflib.get_close_matches(name, known, 3, 0.0))
            fix = f"did you mean `{close[0]}`?" if close else f"the closest are {near}; {listed} lists all."
            raise ConfigError(f"There is no option `{name}`; {fix}")


def keywords_checked(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which refuses a keyword that it does not have as `check_names` does."""
    known = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*arguments: P.args, **keywords: P.kwargs) -> R:
        _check_known(keywords, known, f"`help(distilcap.{function.__name__})`")
        return function(*arguments, **keywords)

    return checked


def value_type(hint: Any) -> type[Any]:
    """The type of an option's value, without None; of each value, where it is a tuple."""
    (kind,) = {inner for inner in typing.get_args(hint) or (hint,) if inner not in (types.NoneType, ...)}
    assert isinstance(kind, type)
    return kind


def path_of(written: str | os.PathLike[str]) -> Path:
    """A path as a person wrote it: `./box` stays a folder, where `Path` alone would make it the name."""
    path = Path(written)
    return path.absolute() if str(path) in _NAMES and os.fspath(written) != str(path) else path


def _typed(name: str, value: Any, hint: Any) -> Any:
    """A value as its field declares it: a path may be given as text, and a float as a whole number."""
    kind = value_type(hint)
    if value is None and types.NoneType in typing.get_args(hint):
        return None
    if typing.get_origin(hint) is tuple and isinstance(value, str | list | tuple):
        value = (value,) if isinstance(value, str) else value  # a single one, not its letters
        return tuple(_typed(name, item, kind) for item in value)
    if kind is Path and isinstance(value, str | os.PathLike):
        return path_of(value)
    if kind is float and type(value) is int:
        return float(value)  # a recipe's hash tells 1 from 1.0
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(f"`{name}` must be of type {kind.__name__}, but is {value!r}.")
