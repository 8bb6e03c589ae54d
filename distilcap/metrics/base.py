"""What every metric shares: preprocess -> cached reference statistics -> per-caption statistics -> score.

The structure is sacreBLEU's (Post 2018): a metric turns each image's candidate into a short row of
sufficient statistics; the corpus score is a function of their sum. So the corpus score, the score of one
image, the bootstrap and the paired tests are all the same function, `Metric.pool`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from distilcap.metrics.ngrams import References

__all__ = ["FloatArray", "MeanMetric", "Metric", "Score", "Words", "signature_of"]

FloatArray: TypeAlias = npt.NDArray[np.float64]
Words: TypeAlias = Sequence[str]
Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Score:
    """One number, and all that a reader needs to trust it.

    Attributes:
        metric: its key, such as "bleu_4" or "cider".
        value: in the official toolkit's scale (0 to 1, CIDEr 0 to 10); NaN where unavailable.
        signature: how it was made, in sacreBLEU's manner: `cider-d|refs:5|tok:ptb|df:test|end:0|v:1.0`.
        per_image: the score of each image, by image id.
        unavailable: why there is no value, such as "Java was not found"; None where there is a value.
        interval: 95 % over images (see `resampling.intervals`); None where it was not asked for, and of one
            image.
        statistics: (N, S) sufficient statistics, rows in the order of `per_image`, for resampling.
    """

    metric: str
    value: float
    signature: str
    per_image: Mapping[str, float] = field(repr=False)
    unavailable: str | None = None
    interval: tuple[float, float] | None = None
    statistics: FloatArray | None = field(default=None, repr=False, compare=False)

    @staticmethod
    def missing(metric: str, signature: str, reason: str) -> Score:
        """A score that could not be computed: never a zero, never a substitute."""
        return Score(metric, math.nan, signature, {}, unavailable=reason)

    def in_order(self, images: Sequence[str]) -> Score:
        """The same with its images in this order; itself where they are others."""
        if self.statistics is None or list(self.per_image) == images or {*self.per_image} != {*images}:
            return self
        rows = {image_id: row for row, image_id in enumerate(self.per_image)}
        per_image = {image_id: self.per_image[image_id] for image_id in images}
        return replace(self, per_image=per_image, statistics=self.statistics[[rows[id] for id in images]])


class Metric(ABC, Generic[Prepared]):
    """A caption metric.

    Class attributes:
        name: what a person asks for, such as "bleu".
        keys: the scores it gives, such as "bleu_1" … "bleu_4".
        label: the first field of the signature.
        version: the last; it changes whenever a score could.
        english_only: whether it knows the words of English alone.
        headings: what its scores are called in tables, where that is not their name in capitals.
        tabled: those that have a column in tables of several systems; () is all.
        seconds: that scoring an image takes on a CPU core, for estimates.
    """

    name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    label: ClassVar[str]
    version: ClassVar[str] = "1.0"
    english_only: ClassVar[bool] = False
    headings: ClassVar[Mapping[str, str]] = {}
    tabled: ClassVar[tuple[str, ...]] = ()
    seconds: ClassVar[float] = 1e-3

    def settings(self) -> dict[str, str]:
        """What the signature says beside references, tokenizer and version."""
        return {}

    def unavailable(self) -> str | None:
        """Why this metric cannot run here, in a few words; None if it can."""
        return None

    @abstractmethod
    def prepare(self, references: References) -> Prepared:
        """Compute once what depends on the references only: for N images, the words of each reference."""

    @abstractmethod
    def statistics(self, candidates: Sequence[Words], prepared: Prepared) -> FloatArray:
        """Return (N, S) sufficient statistics of N images' candidates, in the references' order."""

    @abstractmethod
    def pool(self, totals: FloatArray, images: int) -> FloatArray:
        """Return scores (…, keys) of statistics (…, S) summed over `images` images.

        With `images` 1, `totals` are single rows of `statistics` and the scores those of single images.
        """


class MeanMetric(Metric[Prepared]):
    """A metric whose corpus score is the mean over images; its statistics are the scores, (N, 1)."""

    def pool(self, totals: FloatArray, images: int) -> FloatArray:
        """Return the mean."""
        return totals / images


def signature_of(metric: Metric[Any], references: str, tokenizer: str) -> str:
    """Name how a score is made, in sacreBLEU's manner.

    `references` is how many an image has: "5", or "4-6"; `tokenizer` is "ptb", for instance.
    """
    fields = {"refs": references, "tok": tokenizer, **metric.settings(), "v": metric.version}
    return "|".join([metric.label, *(f"{key}:{value}" for key, value in fields.items())])
