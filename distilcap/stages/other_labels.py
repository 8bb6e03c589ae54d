"""Labels that are not the best captions of a search: drawn ones, and those closest to the references."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distilcap.progress import Progress
from distilcap.stages.captions import CAPTIONS, Labels, labelling_work
from distilcap.stages.features import seen_ids
from distilcap.stages.label import Generate
from distilcap.stages.train import Train
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage
from distilcap.store.store import Store

__all__ = ["DrawCaptions", "Interpolate"]


@dataclass(frozen=True)
class DrawCaptions(Labels):
    """Captions drawn from a captioner's distribution instead of searched for."""

    captioner: Train
    split: str
    captions: int = 5
    temperature: float = 1.0
    seed: int = 0

    def inputs(self) -> tuple[Stage, ...]:
        """The run and the features that it reads."""
        return self.captioner, self.captioner.seen

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `captions.jsonl`."""
        from distilcap.teachers.sampling import draw_captions

        trained = self.captioner.load(store)
        features = self.captioner.seen.load(store)
        drawn = draw_captions(
            trained.captioner.to(store.processes.device),
            trained.vocabulary,
            features,
            seen_ids(self.captioner.data, self.split, features, store),
            captions=self.captions,
            max_words=self.captioner.max_words,
            temperature=self.temperature,
            seed=self.seed,
            progress=progress,
        )
        drawn.save(folder / CAPTIONS)

    def work(self, facts: Facts) -> Work:
        """Multiply-adds of the drawing."""
        per_image = self.captioner.decoding_work(facts, self.captions)
        return labelling_work(facts, self.split, per_image, self.captions)


@dataclass(frozen=True)
class Interpolate(Labels):
    """Of a teacher's n-best captions, the closest to the references (Kim & Rush 2016).

    Attributes:
        candidates: the teacher's n-best captions of each image.
        measure: "bleu" or "cider".
    """

    candidates: Generate
    measure: str = "bleu"

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `captions.jsonl`."""
        from distilcap.metrics.evaluation import scoring_tokenizer
        from distilcap.teachers.interpolation import closest_to_references

        references = self.candidates.source.load(store).references(self.candidates.split)
        chosen = closest_to_references(
            self.candidates.load(store),
            references,
            self.measure,
            scoring_tokenizer(self.candidates.tokenizer),
        )
        chosen.save(folder / CAPTIONS)
