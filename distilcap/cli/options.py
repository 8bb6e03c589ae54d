"""Flags made from the dataclasses that use them: `@flags(TrainingOptions, "training")` fills one argument."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from distilcap.cli.bounds import Real
from distilcap.options import Options, bounds_of

__all__ = ["flags"]

Function = TypeVar("Function", bound=Callable[..., Any])
_UNGIVEN = click.core.ParameterSource.DEFAULT


def _type_of(field: dataclasses.Field[Any], kind: type[Any]) -> click.ParamType[Any]:
    """How click reads the value of a field, within its bounds."""
    bounds = bounds_of(field)
    if bounds.choices:
        return click.Choice(bounds.choices)
    if kind is int:
        return click.IntRange(bounds.least, bounds.most)  # type: ignore[arg-type]
    if kind is float:
        low = bounds.least if bounds.above is None else bounds.above
        high = bounds.most if bounds.below is None else bounds.below
        return Real(low, high, min_open=bounds.above is not None, max_open=bounds.below is not None)
    return click.Path(path_type=Path) if kind is Path else click.STRING


def flags(
    kind: type[Options],
    name: str,
    *,
    prefix: str = "",
    only: tuple[str, ...] | None = None,
    without: tuple[str, ...] = (),
    defaults: dict[str, Any] | None = None,
) -> Callable[[Function], Function]:
    """Give a command a flag for every field of an option class, and the class itself, filled, as argument.

    A field that is an option class gives its fields' flags, with the `prefix` of its metadata before them.

    Args:
        kind: the option class.
        name: of the command's argument that gets the object.
        prefix: before all flags, such as "scst-".
        only, without: names of fields that get flags; the others keep their defaults.
        defaults: other defaults than the class's, by field.
    """

    def decorate(function: Function) -> Function:
        parts = list(_parts(kind, prefix))
        chosen = [
            (path, field, part_prefix)
            for path, field, part_prefix in parts
            if (only is None or field.name in only) and field.name not in without
        ]

        @functools.wraps(function)
        def filled(*args: Any, **kwargs: Any) -> Any:
            values: dict[tuple[str, ...], Any] = {}
            source = click.get_current_context().get_parameter_source
            for path, field, part_prefix in chosen:
                given = kwargs.pop(_argument(part_prefix, field))
                follows = field.metadata.get("follows")
                if follows and source(_argument(part_prefix, field)) == _UNGIVEN:
                    given = next(values[p] for p, f, x in chosen if _flag(x, f) == follows and p in values)
                values[path] = given
            kwargs[name] = _fill(kind, values)
            return function(*args, **kwargs)

        for path, field, part_prefix in reversed(chosen):
            filled = _click_option(kind, path, field, part_prefix, defaults or {})(filled)
        return typing.cast(Function, filled)

    return decorate


def _parts(
    kind: type[Any], prefix: str, path: tuple[str, ...] = ()
) -> typing.Iterator[tuple[tuple[str, ...], dataclasses.Field[Any], str]]:
    for field in dataclasses.fields(kind):
        nested = field.default if isinstance(field.default, Options) else None
        if nested is not None:
            yield from _parts(type(nested), prefix + field.metadata.get("prefix", ""), (*path, field.name))
        elif "help" in field.metadata:
            yield (*path, field.name), field, prefix


def _flag(prefix: str, field: dataclasses.Field[Any]) -> str:
    return "--" + prefix + field.name.replace("_", "-")


def _argument(prefix: str, field: dataclasses.Field[Any]) -> str:
    return _flag(prefix, field)[2:].replace("-", "_")


def _click_option(
    kind: type[Any],
    path: tuple[str, ...],
    field: dataclasses.Field[Any],
    prefix: str,
    defaults: dict[str, Any],
) -> Callable[[Any], Any]:
    owner = kind
    for part in path[:-1]:
        owner = type(next(member.default for member in dataclasses.fields(owner) if member.name == part))
    hint = typing.get_type_hints(owner)[field.name]
    repeated = typing.get_origin(hint) is tuple
    (value,) = [
        inner for inner in (typing.get_args(hint) or (hint,)) if inner not in (types.NoneType, Ellipsis)
    ]
    default = defaults.get(field.name, field.default)
    flag, argument = _flag(prefix, field), _argument(prefix, field)
    names = (argument, flag, *field.metadata["aliases"])
    settings: dict[str, Any] = {"help": field.metadata["help"]}
    if default is dataclasses.MISSING:
        settings["required"] = True
    else:
        settings["default"] = default
    if value is bool:
        return click.option(*names, is_flag=True, **settings)
    follows = field.metadata.get("follows")
    if follows:
        settings["help"] += f"  [default: as {follows}]"
    settings["show_default"] = not follows and default not in (None, (), dataclasses.MISSING)
    return click.option(*names, type=_type_of(field, value), multiple=repeated, **settings)


def _fill(kind: type[Any], values: dict[tuple[str, ...], Any], path: tuple[str, ...] = ()) -> Any:
    """Make an option object from the values of the flags; nested objects first."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        field_path = (*path, field.name)
        if field_path in values:
            fields[field.name] = values[field_path]
        elif isinstance(field.default, Options):
            fields[field.name] = _fill(type(field.default), values, field_path)
    return kind(**fields)
