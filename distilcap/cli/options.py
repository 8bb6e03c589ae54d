"""Flags made from the dataclasses that use them: `@flags(TrainingOptions, "training")` fills one argument."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from distilcap.cli.bounds import PATH, Real
from distilcap.options import Options, bounds_of, filled, named_fields, value_type

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
    return PATH if kind is Path else click.STRING


def flags(
    kind: type[Options],
    name: str,
    *,
    only: tuple[str, ...] | None = None,
    without: tuple[str, ...] = (),
    defaults: dict[str, Any] | None = None,
    given: bool = False,
) -> Callable[[Function], Function]:
    """Give a command a flag for every field of an option class, and the class itself, filled, as argument.

    A field that is an option class gives its fields' flags, with the `prefix` of its metadata before them.

    Args:
        kind: the option class.
        name: of the command's argument that gets the object.
        only, without: names of fields that get flags; the others keep their defaults.
        defaults: other defaults than the class's, by field.
        given: the command gets the values that were given, by name, for it decides the others itself.
    """

    def decorate(function: Function) -> Function:
        chosen = [
            (flag, owner, field)
            for flag, owner, field in named_fields(kind)
            if (only is None or field.name in only) and field.name not in without
        ]

        @functools.wraps(function)
        def command(*args: Any, **kwargs: Any) -> Any:
            source = click.get_current_context().get_parameter_source
            values = {flag: kwargs.pop(flag) for flag, _, _ in chosen}
            for flag, _, field in chosen:
                if (given or field.metadata.get("follows")) and source(flag) == _UNGIVEN:
                    del values[flag]
            kwargs[name] = values if given else filled(kind, values)
            return function(*args, **kwargs)

        for flag, owner, field in reversed(chosen):
            command = _click_option(flag, owner, field, defaults or {}, given)(command)
        return typing.cast(Function, command)

    return decorate


def _click_option(
    name: str, owner: type[Options], field: dataclasses.Field[Any], defaults: dict[str, Any], given: bool
) -> Callable[[Any], Any]:
    hint = typing.get_type_hints(owner)[field.name]
    value = value_type(hint)
    default = defaults.get(field.name, field.default)
    names = (name, "--" + name.replace("_", "-"), *field.metadata["aliases"])
    settings: dict[str, Any] = {"help": field.metadata["help"]}
    if default is dataclasses.MISSING:
        settings["required"] = True
    else:
        settings["default"] = default
    if value is bool:
        if default is None:  # either may be asked for
            names = (name, f"{names[1]}/--no-{names[1][2:]}")
        return click.option(*names, is_flag=True, **settings)
    follows = field.metadata.get("follows")
    shown = default not in (None, (), dataclasses.MISSING)
    if follows:
        settings["help"] += f"  [default: as --{follows.replace('_', '-')}]"
    elif given and shown:
        settings["help"] += f"  [default: by --recipe; paper: {default}]"
    settings["show_default"] = shown and not follows and not given
    repeated = typing.get_origin(hint) is tuple
    return click.option(*names, type=_type_of(field, value), multiple=repeated, **settings)
