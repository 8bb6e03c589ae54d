"""Which forms of data sets there are. A form is one module with one call of `register_form`.

The modules of `readers.forms` register themselves when forms are first asked for; those of a plugin
(`distilcap --plugin MODULE`, see `distilcap.plugins`) when it is imported, and they are asked before ours.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from distilcap.data.readers import forms as own_forms
from distilcap.data.readers.entries import ReadResult
from distilcap.data.readers.source import Source
from distilcap.errors import ConfigError
from distilcap.plugins import load_plugins

__all__ = ["DataForm", "form_of", "forms", "of_plugin", "register_form"]


@dataclass(frozen=True)
class DataForm:
    """A form in which people keep images and captions.

    Attributes:
        name: what people call it.
        example: a line or a path that shows it.
        matches: whether a file or folder is of this form, by its content; it may look at anything in it.
        read: adds images and captions to the result, and notes problems; it goes on past bad entries and
            raises `DataError` only where nothing can be read.
        general: of forms that match, the least general reads; 0 for signs that no other form has.
    """

    name: str
    example: str
    matches: Callable[[Source], bool]
    read: Callable[[Source, ReadResult], None]
    general: int = 0


_forms: dict[str, DataForm] = {}


def register_form(form: DataForm) -> None:
    """Make a form known.

    Raises:
        ConfigError: another form has its name.
    """
    if form.name in _forms:
        raise ConfigError(f"The form of data {form.name!r} cannot be registered: another has that name.")
    _forms[form.name] = form


def forms() -> list[DataForm]:
    """All forms in the order in which they are asked."""
    for module in pkgutil.iter_modules(own_forms.__path__, f"{own_forms.__name__}."):
        importlib.import_module(module.name)
    load_plugins()
    return sorted(_forms.values(), key=lambda form: (_is_own(form), form.general))


def form_of(source: Source) -> DataForm | None:
    """The form of a file or folder; None if it has none of them.

    Raises:
        DataError: it cannot be looked into; a file that should be JSON is not.
    """
    return next((form for form in forms() if form.matches(source)), None)


def of_plugin(source: Source) -> bool:
    """Whether a form of a plugin reads a file or folder, which is then of no other form."""
    return source.path.exists() and any(form.matches(source) for form in forms() if not _is_own(form))


def _is_own(form: DataForm) -> bool:
    return form.read.__module__.startswith(own_forms.__name__ + ".")
