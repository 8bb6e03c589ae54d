"""Which metrics there are; each is imported when first asked for."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any, Final

from distilcap.errors import ConfigError
from distilcap.metrics.base import Metric
from distilcap.plugins import load_plugins

__all__ = [
    "DEFAULT",
    "create_metric",
    "heading_of",
    "in_tables",
    "keys_of",
    "metric_names",
    "metric_of",
    "register_metric",
]

DEFAULT: Final[tuple[str, ...]] = ("bleu", "rouge_l", "cider")
"""Those that need nothing but Python."""

_metrics: dict[str, str | type[Metric[Any]]] = {
    "bleu": "distilcap.metrics.bleu:Bleu",
    "meteor": "distilcap.metrics.meteor.metric:Meteor",
    "rouge_l": "distilcap.metrics.rouge:RougeL",
    "cider": "distilcap.metrics.cider:CiderD",
    "spice": "distilcap.metrics.spice:Spice",
    "meteor_jar": "distilcap.metrics.meteor_jar:MeteorJar",
}
"""Each metric's class, by name, in the order of tables; those here are imported when needed."""


def register_metric(metric: type[Metric[Any]]) -> None:
    """Make a metric known, as a plugin does (see `distilcap.plugins`).

    Raises:
        ConfigError: its name is taken, or its scores' names do not begin with it; or it is no class.
    """
    if not isinstance(metric, type):
        raise ConfigError(
            f"The metric {metric.name} cannot be registered: register its class, not an object."
        )
    if metric.name in _metrics:
        raise ConfigError(f"The metric {metric.name} cannot be registered: there is one of that name.")
    if not metric.keys or not all(key.startswith(metric.name) for key in metric.keys):
        raise ConfigError(
            f"The metric {metric.name} cannot be registered: its `keys` must begin with its name, "
            f"but are {', '.join(metric.keys) or 'none'}."
        )
    _metrics[metric.name] = metric


def metric_names() -> tuple[str, ...]:
    """All metrics, in the order of tables."""
    load_plugins()
    return tuple(_metrics)


def named_metrics(named: str) -> tuple[str, ...]:
    """The metrics that a person names, with commas between; each once.

    Raises:
        ConfigError: there is none.
    """
    names = tuple(dict.fromkeys(filter(None, map(str.strip, named.split(",")))))
    if not names:
        raise ConfigError("`metrics` must name at least one metric.")
    return names


def create_metric(name: str, **options: Any) -> Metric[Any]:
    """Make a metric.

    Raises:
        ConfigError: there is no such metric.
    """
    if name not in metric_names():
        raise ConfigError(f"`metrics` must be of {', '.join(_metrics)}, but {name!r} is not.")
    kind: Any = _metrics[name]
    if isinstance(kind, str):
        module, attribute = kind.split(":")
        kind = getattr(importlib.import_module(module), attribute)
    metric: Metric[Any] = kind(**options)
    return metric


@functools.cache
def metric_of(key: str) -> Metric[Any]:
    """Return a metric that gives the score `key`, such as "bleu_4"; for its keys and how it pools.

    Raises:
        ConfigError: there is no such score.
    """
    for name in metric_names():
        if key.startswith(name) and key in create_metric(name).keys:
            return create_metric(name)
    raise ConfigError(f"there is no score {key!r}; scores are {', '.join(keys_of(metric_names()))}.")


def keys_of(names: Sequence[str]) -> tuple[str, ...]:
    """The scores that these metrics give, such as "bleu_1"."""
    return tuple(key for name in names for key in create_metric(name).keys)


def heading_of(key: str) -> str:
    """How a score is headed in tables: as its metric says, or its name in capitals."""
    try:
        headings = metric_of(key).headings
    except ConfigError:  # of a plugin that is not here
        headings = {}
    return headings.get(key, key.upper().replace("_", "-"))


def in_tables(key: str) -> bool:
    """Whether tables of several systems have a column for a score."""
    try:
        return key in (metric_of(key).tabled or metric_of(key).keys)
    except ConfigError:
        return True
