"""Options of scoring captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError
from distilcap.metrics.base import Score
from distilcap.metrics.evaluation import evaluate, with_reasons
from distilcap.metrics.frequencies import DocumentFrequencies
from distilcap.metrics.registry import create_metric
from distilcap.options import Options, option

__all__ = ["ScoreOptions"]


@dataclass(frozen=True)
class ScoreOptions(Options):
    """Which scores, and how they are made."""

    metrics: str = option(
        "bleu,meteor,rouge_l,cider", "Metrics of captions, with commas between.  Also: spice."
    )
    df: Path | None = option(
        None, "Document frequencies of CIDEr-D, from `metrics df`.  [default: the references']"
    )
    end: bool = option(False, "CIDEr-D counts an end token; the official toolkit does not.")
    tokenizer: str = option(
        "ptb-official",
        "ptb-official, with the official look-ahead into the next caption; or ptb, each caption for itself.",
    )
    resamples: int = option(
        10_000, "Number of resamples of the tests; 0 leaves intervals out.", least=0, most=1_000_000
    )

    def score(self, candidates: CaptionSet, references: CaptionSet) -> dict[str, Score]:
        """Scores by name, without intervals.

        Raises:
            ConfigError: a metric or the tokenizer is unknown.
            DataError: the captions cannot be scored, see `evaluate`.
        """
        frequencies = DocumentFrequencies.load(self.df) if self.df else None
        wanted = [
            create_metric(name, frequencies=frequencies, end=self.end)
            if name == "cider"
            else create_metric(name)
            for name in map(str.strip, self.metrics.split(","))
            if name
        ]
        if not wanted:
            raise ConfigError("`metrics` must name at least one metric.")
        return with_reasons(evaluate(candidates, references, wanted, self.tokenizer))
