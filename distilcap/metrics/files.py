"""Scores as a file, whole enough to be compared later without the captions.

{"sha256": of the other lines, "format": FORM,
 "scores": {"cider": {"value": …, "interval": [low, high], "signature": …, "unavailable": null}, …},
 "per_image": {image id: {"cider": …, …}, …},
 "statistics": {"bleu": [row of each image, in the order of per_image]},
 "references": fingerprint}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError, DataError
from distilcap.integrity import read_sealed_json, write_sealed_json
from distilcap.metrics.base import MeanMetric, Score
from distilcap.metrics.registry import metric_of

__all__ = ["read_scores", "references_fingerprint", "scores_to_json", "write_scores"]

FORM = "distilcap scores 2"  # 1 had no checksum


def references_fingerprint(references: CaptionSet) -> str:
    """Name the references by their content: 16 hexadecimal digits of a SHA-256."""
    digest = hashlib.sha256()
    for image_id in sorted(references):
        digest.update(json.dumps([image_id, references.texts(image_id)]).encode())
    return digest.hexdigest()[:16]


def scores_to_json(scores: Mapping[str, Score]) -> dict[str, Any]:
    """Turn scores of the same images into JSON's types."""
    able = {key: score for key, score in scores.items() if score.unavailable is None}
    images = list(next(iter(able.values())).per_image) if able else []
    pooled = {}
    for key, score in able.items():
        metric = metric_of(key)
        # The statistics of a mean are the scores themselves, unless a plugin's pools them otherwise.
        mean = type(metric).pool is MeanMetric.pool
        if score.statistics is not None and not (mean and score.statistics.shape[1] == 1):
            pooled[metric.name] = [[_short(value) for value in row] for row in score.statistics]
    return {
        "scores": {
            key: {
                "value": None if score.unavailable else score.value,
                "interval": list(score.interval) if score.interval else None,
                "signature": score.signature,
                "unavailable": score.unavailable,
            }
            for key, score in scores.items()
        },
        "per_image": {
            image_id: {key: score.per_image[image_id] for key, score in able.items()} for image_id in images
        },
        "statistics": pooled,
    }


def _short(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)


def write_scores(path: Path, scores: Mapping[str, Score], references: str, **more: Any) -> None:
    """Write scores, the references' fingerprint, and whatever else belongs to them."""
    write_sealed_json(path, {"format": FORM, **scores_to_json(scores), "references": references, **more})


def read_scores(path: Path) -> tuple[dict[str, Score], str]:
    """Read what `write_scores` wrote: the scores, and the references' fingerprint.

    Raises:
        DataError: it is not such a file, or damaged.
    """
    content = read_sealed_json(path, "score the captions again", regular=False)
    try:
        per_image: dict[str, dict[str, float]] = content["per_image"]
        scores = {}
        for key, entry in content["scores"].items():
            metric = metric_of(key)
            if entry["unavailable"] is not None:
                scores[key] = Score.missing(key, str(entry["signature"]), str(entry["unavailable"]))
                continue
            values = {image_id: _number(of_image[key]) for image_id, of_image in per_image.items()}
            rows = content["statistics"].get(metric.name)
            statistics = np.array(rows if rows else list(values.values()), dtype=np.float64)
            statistics = statistics.reshape(len(values), -1)
            value, interval = _number(entry["value"]), entry["interval"]
            pooled = metric.pool(statistics.sum(axis=0), len(values))[metric.keys.index(key)]
            if not np.isclose(pooled, value, rtol=1e-6):
                raise DataError(f"{path}: damaged: {key} is {value:g}, but {pooled:g} by its statistics.")
            scores[key] = Score(
                metric=key,
                value=value,
                signature=str(entry["signature"]),
                per_image=values,
                interval=(_number(interval[0]), _number(interval[1])) if interval else None,
                statistics=statistics,
            )
        return scores, str(content["references"])
    except DataError:
        raise
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError):
        raise DataError(
            f"{path}: not scores; `distilcap evaluate … --json {path.name}` writes them."
        ) from None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)
