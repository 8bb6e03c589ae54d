"""Which families of captioners there are. A family is one module with one call of `register`.

The modules of this package register themselves when families are first asked for; those of a plugin
(`distilcap --plugin MODULE`, see `distilcap.plugins`) when it is imported.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from distilcap import models
from distilcap.errors import ConfigError
from distilcap.plugins import load_plugins

if TYPE_CHECKING:
    from distilcap.models.captioner import Captioner

__all__ = ["CaptionerOptions", "Family", "families", "family_of", "register", "title_of"]


class CaptionerOptions(Protocol):
    """A family's options: a frozen dataclass of numbers, words and switches, all with defaults.

    Where a field `tie_words` is among them, it says whether words are predicted with the embedding's own
    matrix.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __hash__(self) -> int: ...

    @property
    def hidden(self) -> int:
        """The width that names a captioner of no named size."""


@dataclass(frozen=True)
class Family:
    """A family of captioners.

    Attributes:
        name: as people write it, "updown" in "updown-small".
        title: as papers write it.
        options: class of its options; its name is that of no other family's.
        sizes: options of each named size, such as "small".
        build: makes a captioner from the number of words (V), the features of a region (D) and options.
        fast: the accelerated class, as "module:Class", imported when first needed; "" if there is none.
        label_smoothing: with which teachers and students of a distillation learn, as published.
    """

    name: str
    title: str
    options: type[CaptionerOptions]
    sizes: Mapping[str, CaptionerOptions]
    build: Callable[[int, int, Any], Captioner]
    fast: str = ""
    label_smoothing: float = 0.0

    def parameters_of_words(self, options: CaptionerOptions) -> frozenset[str]:
        """Names of the parameters that have a row for each word: those that grow with the vocabulary.

        A matrix that is tied to the embedding has one name.
        """
        import torch

        with torch.device("meta"):  # shapes alone: nothing is allocated
            fewer, more = (dict(self.build(words, 8, options).named_parameters()) for words in (8, 9))
        return frozenset(name for name in more if more[name].shape != fewer[name].shape)


_families: dict[str, Family] = {}


def register(family: Family) -> None:
    """Make a family known.

    Raises:
        ConfigError: its name, or the name of its options, is another family's; or its options are not of the
            kind that `CaptionerOptions` says.
    """
    _check_options(family)
    for known in _families.values():
        if family.name == known.name or family.options.__name__ == known.options.__name__:
            raise ConfigError(
                f"The captioner family {family.name} ({family.options.__name__}) cannot be registered: "
                f"{known.name} ({known.options.__name__}) has that name."
            )
    if not family.name.isidentifier() or not family.sizes:
        raise ConfigError(
            f"The captioner family {family.name!r} needs a name of letters and digits, and one size at least."
        )
    _families[family.name] = family


def _check_options(family: Family) -> None:
    kind, start = family.options, f"The captioner family {family.name} cannot be registered: "
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise ConfigError(f"{start}its options must be a frozen dataclass, `@dataclass(frozen=True)`.")
    if bare := [field.name for field in fields(kind) if MISSING is field.default is field.default_factory]:
        raise ConfigError(f"{start}its options must all have defaults, but `{bare[0]}` has none.")
    if not hasattr(kind(), "hidden"):
        raise ConfigError(f"{start}its options must have a field `hidden`, the width that tables show.")
    if wrong := [size for size, options in family.sizes.items() if not isinstance(options, kind)]:
        raise ConfigError(f"{start}the size {wrong[0]} must be a {kind.__name__}.")


def families() -> dict[str, Family]:
    """All families by name, in the order of their names."""
    for module in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        if not module.ispkg:
            importlib.import_module(module.name)
    load_plugins()
    return dict(sorted(_families.items()))


def family_of(name: str) -> Family:
    """The family of a name.

    Raises:
        ConfigError: there is none; the message lists them.
    """
    known = families()
    if name not in known:
        raise ConfigError(
            f"`architecture` must be one of {', '.join(known)}, but is {name!r}; "
            "`distilcap --plugin MODULE` brings others."
        )
    return known[name]


def title_of(name: str | None) -> str:
    """How a family is written in reports; the name itself, where nothing is known of it."""
    family = families().get(str(name))
    return family.title if family else str(name)
