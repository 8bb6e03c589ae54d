"""Stages that measure: scores of captions, milliseconds of captioners."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from distilcap.errors import MissingError
from distilcap.files import expected, read_json, write_json
from distilcap.progress import Progress
from distilcap.stages.captions import CaptionsOfSplit
from distilcap.stages.train import Train
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage, added_later
from distilcap.store.store import Store

__all__ = ["Evaluate", "MeasureLatency", "read_scores"]

LATENCY = "latency.json"


@dataclass(frozen=True)
class Evaluate(Stage):
    """Scores of generated captions against the references of their split.

    Attributes:
        metrics: names that `metrics.evaluate` takes.
        available: which of them this machine could compute, since that changes the result.
        versions: of those whose version is not the first, such as "coverage:1.1".
    """

    measures: ClassVar[bool] = True
    rate: ClassVar[float] = 1.0  # seconds in a second, as metrics have them
    captions: CaptionsOfSplit
    metrics: tuple[str, ...]
    available: tuple[str, ...]
    versions: tuple[str, ...] = added_later(())

    @staticmethod
    def of(captions: CaptionsOfSplit, metrics: tuple[str, ...]) -> Evaluate:
        """Ask which metrics can run here."""
        from distilcap.metrics import Metric, create_metric

        made = {name: create_metric(name) for name in metrics}
        able = tuple(name for name, metric in made.items() if metric.unavailable() is None)
        changed = (name for name in able if made[name].version != Metric.version)
        return Evaluate(captions, metrics, able, tuple(f"{name}:{made[name].version}" for name in changed))

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `scores.json`: value, signature and per-image scores of each metric.

        Raises:
            MissingError: another machine planned it, which has a metric that this one cannot compute.
        """
        from distilcap.metrics import create_metric, evaluate
        from distilcap.metrics.evaluation import scoring_tokenizer, with_reasons

        for name in self.available:
            if why := create_metric(name).unavailable():
                raise MissingError(f"The metric {name} cannot be computed on this machine: {why}.")
        candidates = self.captions.load(store)
        references = self.captions.source.load(store).references(self.captions.split)
        candidates = candidates.only(id for id in candidates if id in references)
        tokenizer = scoring_tokenizer(self.captions.tokenizer)
        scores = with_reasons(evaluate(candidates, references, self.metrics, tokenizer, reasons=False))
        write_json(
            folder / "scores.json",
            {
                name: {
                    "value": None if score.unavailable else score.value,
                    "unavailable": score.unavailable,
                    "signature": score.signature,
                    "per_image": dict(score.per_image),
                }
                for name, score in scores.items()
            },
        )

    def work(self, facts: Facts) -> Work:
        """Seconds of the metrics."""
        from distilcap.metrics import create_metric

        images = facts.images[self.captions.split]
        seconds = images * sum(create_metric(name).seconds for name in self.available)
        return Work(seconds, 4.5e-5 * images * (len(self.available) + 3))

    def describe(self) -> str:
        """Which metrics of which captions."""
        return f"{', '.join(self.available)} of {self.captions.key}"


def read_scores(stage: Evaluate, store: Store) -> dict[str, dict[str, Any]]:
    """Read what `Evaluate` wrote, by metric."""
    path = store.open(stage) / "scores.json"
    content = read_json(path)
    with expected(path, "scores"):
        return {name: _checked(score) for name, score in content.items()}


def _checked(score: dict[str, Any]) -> dict[str, Any]:
    """A metric's scores, once their types are right."""
    if score["unavailable"] is None:
        sum((score["value"], *score["per_image"].values()))
    return {**score, "signature": str(score["signature"])}


@dataclass(frozen=True)
class MeasureLatency(Stage):
    """Milliseconds per image of encoder and greedy decoding, one image at a time, on this machine."""

    measures: ClassVar[bool] = True
    alone: ClassVar[bool] = True
    timed: ClassVar[tuple[str, ...]] = (LATENCY,)
    rate: ClassVar[float] = 2e10  # multiply-adds a second
    captioner: Train
    images: int = 30
    warmup: int = 5

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `LATENCY`: medians over images, in milliseconds."""
        import torch

        from distilcap.decode.beam import BeamSearch, beam_search

        encoder = self.captioner.seen.create(store)
        captioner = self.captioner.load(store).captioner
        pixels = torch.zeros(1, 3, encoder.preprocessing.size, encoder.preprocessing.size)
        options = BeamSearch(1, self.captioner.max_words)
        encoding: list[float] = []
        decoding: list[float] = []
        with torch.inference_mode():
            for _ in range(self.warmup + self.images):
                begun = time.perf_counter()
                regions = encoder(pixels)
                encoded = time.perf_counter()
                beam_search(captioner, regions, options)
                encoding.append(1e3 * (encoded - begun))
                decoding.append(1e3 * (time.perf_counter() - encoded))
        parts = {
            "encoder": statistics.median(encoding[self.warmup :]),
            "decoder": statistics.median(decoding[self.warmup :]),
        }
        write_json(folder / LATENCY, parts | {"threads": torch.get_num_threads()})

    def work(self, facts: Facts) -> Work:
        """Multiply-adds of encoder (4e8) and greedy decoding."""
        return Work((self.images + self.warmup) * (self.captioner.decoding_work(facts, 1) + 4e8))

    def load(self, store: Store) -> float:
        """Milliseconds per image, encoder and greedy decoder together."""
        path = store.open(self) / LATENCY
        parts = read_json(path)
        with expected(path, "a latency"):
            return float(parts["encoder"] + parts["decoder"])
