"""Which metrics there are; each is imported when first asked for."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any, Final

from distilcap.errors import ConfigError
from distilcap.metrics.base import Metric

__all__ = ["DEFAULT", "METRICS", "create_metric", "keys_of", "metric_of"]

METRICS: Final[dict[str, str]] = {
    "bleu": "distilcap.metrics.bleu:Bleu",
    "meteor": "distilcap.metrics.meteor.metric:Meteor",
    "rouge_l": "distilcap.metrics.rouge:RougeL",
    "cider": "distilcap.metrics.cider:CiderD",
    "spice": "distilcap.metrics.spice:Spice",
    "meteor_jar": "distilcap.metrics.meteor_jar:MeteorJar",
}
"""Each metric's class, by name, in the order of tables; the last checks `meteor`."""

DEFAULT: Final[tuple[str, ...]] = ("bleu", "rouge_l", "cider")
"""Those that need nothing but Python."""


def create_metric(name: str, **options: Any) -> Metric[Any]:
    """Make a metric.

    Raises:
        ConfigError: there is no such metric.
    """
    if name not in METRICS:
        raise ConfigError(f"`metrics` must be of {', '.join(METRICS)}, but {name!r} is not.")
    module, attribute = METRICS[name].split(":")
    metric: Metric[Any] = getattr(importlib.import_module(module), attribute)(**options)
    return metric


@functools.cache
def metric_of(key: str) -> Metric[Any]:
    """Return a metric that gives the score `key`, such as "bleu_4"; for its keys and how it pools.

    Raises:
        ConfigError: there is no such score.
    """
    for name in METRICS:
        if key.startswith(name) and key in create_metric(name).keys:
            return create_metric(name)
    raise ConfigError(f"there is no score {key!r}; scores are {', '.join(keys_of(tuple(METRICS)))}.")


def keys_of(names: Sequence[str]) -> tuple[str, ...]:
    """The scores that these metrics give, such as "bleu_1"."""
    return tuple(key for name in names for key in create_metric(name).keys)
