"""Candidates and references in, scores out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np

from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.metrics.base import FloatArray, Metric, Score, signature_of
from distilcap.metrics.ngrams import References
from distilcap.metrics.registry import DEFAULT, create_metric
from distilcap.text.tokenize import tokenize_stream
from distilcap.text.tokenizers import PTB, suggest_tokenizer, tokenizer_names, tokenizer_of

__all__ = ["OFFICIAL", "Evaluator", "evaluate", "scoring_tokenizer", "with_reasons"]

OFFICIAL: Final = "ptb-official"
"""PTB's words of captions as lines of one file, with the official look-ahead into the next caption. Like any
one of `text.tokenizers`, by which each caption is split for itself, it can be scored with."""

_SEPARATORS = re.compile(r"[\n\x0b\x0c\r\u2028\u2029]")


def scoring_tokenizer(tokenizer: str) -> str:
    """The tokenizer by which captions of a captioner are scored: PTB's is the official."""
    return OFFICIAL if tokenizer == PTB else tokenizer


class Evaluator:
    """Scores one candidate after another against the same references, which are prepared once.

    Args:
        references: at least one caption of every image.
        metrics: names of `metric_names`, or metrics.
        tokenizer: `OFFICIAL`, or one of `text.tokenizers`.

    Raises:
        ConfigError: an unknown metric or tokenizer.
        DataError: an image without references, or no image.
    """

    def __init__(
        self,
        references: CaptionSet,
        metrics: Sequence[str | Metric[Any]] = DEFAULT,
        tokenizer: str = OFFICIAL,
    ) -> None:
        if tokenizer not in (OFFICIAL, *tokenizer_names()):
            names = ", ".join((OFFICIAL, *tokenizer_names()))
            raise ConfigError(f"`tokenizer` must be one of {names}, but is {tokenizer!r}.")
        if not references:
            raise DataError("the references are empty: there is nothing to score.")
        for image_id, captions in references.items():
            if not captions:
                raise DataError(f"image {image_id!r} has no references.")
        self.ids = tuple(references)
        self.tokenizer = tokenizer
        self.metrics = [create_metric(metric) if isinstance(metric, str) else metric for metric in metrics]
        self._texts = [text for id in self.ids for text in references.texts(id)]
        counts = [len(captions) for captions in references.values()]
        self._count = str(counts[0]) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"
        words = iter(self._tokenize(self._texts))
        self._references = References([next(words) for _ in range(count)] for count in counts)
        self._prepared: dict[int, Any] = {}

    def __call__(self, candidates: CaptionSet, reasons: bool = True) -> dict[str, Score]:
        """Score the first caption of each image.

        Args:
            reasons: a reason stands in place of a score that means nothing of so few images (`with_reasons`),
                or whose metric fails. Without, the first keeps its number, and the second raises.

        Raises:
            DataError: the images are not the references'.
            ConfigError: a metric gives no row of finite statistics for each image, or no finite scores.
            MissingError: without `reasons`, a metric fails: its program took too long, its data are damaged.
        """
        self._check(candidates)
        words = self._tokenize([candidates[image_id][0].text for image_id in self.ids])
        scores: dict[str, Score] = {}
        for index, metric in enumerate(self.metrics):
            signature = signature_of(metric, self._count, self.tokenizer)
            reason = self._unavailable(metric)
            if reason is None:
                try:
                    scores |= self._scores(index, words, signature)
                    continue
                except MissingError as error:
                    if not reasons:
                        raise
                    reason = str(error).rstrip(".")
            scores |= {key: Score.missing(key, signature, reason) for key in metric.keys}
        return with_reasons(scores) if reasons else scores

    def _scores(self, index: int, words: Sequence[Sequence[str]], signature: str) -> dict[str, Score]:
        """The scores of one of `metrics`."""
        metric = self.metrics[index]
        if index not in self._prepared:
            self._prepared[index] = metric.prepare(self._references)
        statistics = _numbers(metric, "statistics", metric.statistics(words, self._prepared[index]))
        self._check_statistics(metric.name, statistics)
        values = self._pooled(metric, statistics.sum(axis=0), len(self.ids))
        per_image = self._pooled(metric, statistics, 1)
        return {
            key: Score(
                metric=key,
                value=float(values[column]),
                signature=signature,
                per_image=dict(zip(self.ids, map(float, per_image[:, column]), strict=True)),
                statistics=statistics,
            )
            for column, key in enumerate(metric.keys)
        }

    @cached_property
    def _english(self) -> bool:
        return self.tokenizer in (OFFICIAL, PTB) and suggest_tokenizer(self._texts) == PTB

    def _unavailable(self, metric: Metric[Any]) -> str | None:
        if metric.english_only and not self._english:
            return "English only"
        return metric.unavailable()

    def _tokenize(self, captions: Sequence[str]) -> list[list[str]]:
        """A line each: a separator inside a caption would shift all later ones in the official scorer."""
        lines = [_SEPARATORS.sub(" ", caption) for caption in captions]
        if self.tokenizer == OFFICIAL:
            return tokenize_stream(lines)
        return list(map(tokenizer_of(self.tokenizer).words, lines))

    def _check_statistics(self, name: str, statistics: FloatArray) -> None:
        """A metric of a plugin may give anything.

        Raises:
            ConfigError: they are not a row of finite numbers for each image.
        """
        if statistics.ndim != 2 or len(statistics) != len(self.ids):
            raise ConfigError(
                f"The metric {name}: `statistics` must return an array (N, S), a row for each of the "
                f"{len(self.ids)} images, but returns {statistics.shape}."
            )
        if not np.isfinite(statistics).all():
            image = self._first_not_finite(statistics)
            raise ConfigError(f"The metric {name}: `statistics` of {image} are not finite numbers.")

    def _pooled(self, metric: Metric[Any], totals: FloatArray, images: int) -> FloatArray:
        """What `Metric.pool` gives.

        Raises:
            ConfigError: it is not a finite score for each key.
        """
        with np.errstate(all="ignore"):  # what comes of it is told below
            scores = _numbers(metric, "pool", metric.pool(totals, images))
        shape = (*totals.shape[:-1], len(metric.keys))
        if scores.shape != shape:
            raise ConfigError(
                f"The metric {metric.name}: `pool` of statistics {totals.shape} must return {shape}, a score "
                f"for each of `keys`, but returns {scores.shape}."
            )
        if not np.isfinite(scores).all():
            images_named = self._first_not_finite(scores) if scores.ndim == 2 else "all images"
            raise ConfigError(f"The metric {metric.name}: `pool` of {images_named} gives no finite number.")
        return scores

    def _first_not_finite(self, rows: FloatArray) -> str:
        return f"image {self.ids[int(np.argmin(np.isfinite(rows).all(axis=1)))]!r}"

    def _check(self, candidates: CaptionSet) -> None:
        for image_id in self.ids:
            if not candidates.get(image_id):
                raise DataError(f"image {image_id!r} has references, but no candidate.")
        known = set(self.ids)
        for image_id in candidates:
            if image_id not in known:
                raise DataError(f"image {image_id!r} has a candidate, but no references.")


def _numbers(metric: Metric[Any], method: str, returned: Any) -> FloatArray:
    try:
        return np.asarray(returned, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(
            f"The metric {metric.name}: `{method}` must return an array of numbers, but returns "
            f"a {type(returned).__name__} of something else."
        ) from None


def evaluate(
    candidates: CaptionSet,
    references: CaptionSet,
    metrics: Sequence[str | Metric[Any]] = DEFAULT,
    tokenizer: str = OFFICIAL,
    reasons: bool = True,
) -> dict[str, Score]:
    """Score the first candidate of each image; references of other images are left out.

    Args:
        reasons: see `Evaluator`.

    Raises:
        ConfigError: an unknown metric or tokenizer; or see `Evaluator`.
        DataError: a candidate's image has no references.
        MissingError: without `reasons`, a metric fails.
    """
    unknown = [image_id for image_id in candidates if not references.get(image_id)]
    if unknown:
        more = f", nor have {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise DataError(f"image {unknown[0]!r} has a candidate, but no references{more}.")
    kept = references.only(image_id for image_id in references if image_id in candidates)
    return Evaluator(kept, metrics, tokenizer)(candidates, reasons)


def with_reasons(scores: Mapping[str, Score]) -> dict[str, Score]:
    """The same scores, but for those that mean nothing of so few images: in their place is the reason."""
    return {
        key: Score.missing(key, score.signature, "of one image it is always 0: it weighs words by images")
        if key == "cider" and "|df:test|" in score.signature and len(score.per_image) == 1
        else score
        for key, score in scores.items()
    }
