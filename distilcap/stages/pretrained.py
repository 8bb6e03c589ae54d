"""A stage that captions images by somebody else's model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distilcap.errors import DataError
from distilcap.progress import Progress
from distilcap.stages.captions import CAPTIONS, CaptionsOfSplit, labelling_work
from distilcap.stages.data import ImportData
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import added_later, not_in_key
from distilcap.store.store import Store
from distilcap.text.tokenizers import PTB

__all__ = ["LabelWithPretrained"]


@dataclass(frozen=True)
class LabelWithPretrained(CaptionsOfSplit):
    """Captions of one split by a `transformers` image-to-text model, or by a plugin's teacher.

    Attributes:
        fingerprint: of the model's files (see `teachers.registry.teacher_fingerprint`).
        max_tokens: of a caption, in the model's own tokens.
        model: a folder, a name on the model hub, or a registered teacher.
        scored_by: the tokenizer of the students.
    """

    data: ImportData
    split: str
    fingerprint: str
    beam: int
    n_best: int
    max_tokens: int
    model: str = not_in_key()
    scored_by: str = added_later(PTB)

    @property
    def source(self) -> ImportData:
        """See `CaptionsOfSplit.source`."""
        return self.data

    @property
    def tokenizer(self) -> str:
        """See `CaptionsOfSplit.tokenizer`."""
        return self.scored_by

    @staticmethod
    def of(
        data: ImportData,
        model: str,
        split: str = "train",
        beam: int = 3,
        n_best: int = 1,
        max_tokens: int = 40,
    ) -> LabelWithPretrained:
        """Look at the model's files, or fetch them, to know their fingerprint."""
        from distilcap.teachers.registry import teacher_fingerprint

        return LabelWithPretrained(data, split, teacher_fingerprint(model), beam, n_best, max_tokens, model)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `captions.jsonl`; a killed build goes on after its last batch."""
        from distilcap.teachers.pretrained import label_images
        from distilcap.teachers.registry import load_teacher, teacher_fingerprint

        if teacher_fingerprint(self.model) != self.fingerprint:
            raise DataError(f"{self.model}: changed since the plan was made; start again.")
        images = self.data.load(store).split(self.split)
        log = folder / "captions.partial.jsonl"
        captions = label_images(
            load_teacher(self.model, self.max_tokens),
            images,
            log,
            beam=self.beam,
            n_best=self.n_best,
            progress=progress,
        )
        captions.save(folder / CAPTIONS)
        log.unlink(missing_ok=True)

    def work(self, facts: Facts) -> Work:
        """Disk alone: how fast the model is, nobody knows (`study.announce` says so)."""
        return labelling_work(facts, self.split, 0.0, self.n_best)
