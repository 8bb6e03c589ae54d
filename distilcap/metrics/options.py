"""Options of scoring captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError
from distilcap.metrics.base import Score
from distilcap.metrics.evaluation import OFFICIAL, evaluate
from distilcap.metrics.frequencies import DocumentFrequencies
from distilcap.metrics.registry import create_metric, metric_names, named_metrics
from distilcap.options import Options, option
from distilcap.text.tokenizers import PTB, TOKENIZER_HELP, advice_on_tokenizer

__all__ = ["ScoreOptions"]


@dataclass(frozen=True)
class ScoreOptions(Options):
    """Which scores, and how they are made."""

    metrics: str = option(
        "bleu,meteor,rouge_l,cider", f"Metrics with commas between, of {', '.join(metric_names())}."
    )
    df: Path | None = option(
        None, "Document frequencies of CIDEr-D, from `metrics df`.  [default: the references']"
    )
    end: bool = option(False, "CIDEr-D counts an end token; the official toolkit does not.")
    tokenizer: str = option(
        OFFICIAL,
        f"{TOKENIZER_HELP[:-1]}; ptb-official looks ahead into the next caption, as the official scores do.",
    )
    resamples: int = option(
        10_000, "Number of resamples of the tests; 0 leaves intervals out.", least=0, most=1_000_000
    )

    @property
    def words_by(self) -> str:
        """The tokenizer by which each caption is split for itself."""
        return PTB if self.tokenizer == OFFICIAL else self.tokenizer

    def advice(self, references: CaptionSet) -> str:
        """A sentence where another tokenizer suits the references better; else empty."""
        return advice_on_tokenizer(
            self.words_by, (text for id in references for text in references.texts(id))
        )

    def score(self, candidates: CaptionSet, references: CaptionSet) -> dict[str, Score]:
        """Scores by name, without intervals.

        Raises:
            ConfigError: a metric or the tokenizer is unknown, no metric is named, or `df` was counted by
                another tokenizer.
            DataError: the captions cannot be scored, see `evaluate`.
        """
        frequencies = DocumentFrequencies.load(self.df) if self.df else None
        if frequencies and frequencies.tokenizer not in (None, self.words_by):
            raise ConfigError(
                f"{self.df}: counted in words of the tokenizer {frequencies.tokenizer}, but captions are "
                f"scored in those of {self.words_by}; count them again by `metrics df --tokenizer "
                f"{self.words_by}`."
            )
        wanted = [
            create_metric(name, frequencies=frequencies, end=self.end)
            if name == "cider"
            else create_metric(name)
            for name in named_metrics(self.metrics)
        ]
        return evaluate(candidates, references, wanted, self.tokenizer)
