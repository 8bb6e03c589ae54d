"""A stage that captions images by somebody else's model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distilcap.errors import DataError
from distilcap.progress import Progress
from distilcap.stages.captions import CAPTIONS, CaptionsOfSplit
from distilcap.stages.data import ImportData
from distilcap.store.stage import Store, added_later, not_in_key
from distilcap.text.tokenizers import PTB

__all__ = ["LabelWithPretrained"]


@dataclass(frozen=True)
class LabelWithPretrained(CaptionsOfSplit):
    """Captions of one split by a `transformers` image-to-text model.

    Attributes:
        fingerprint: of the model's files.
        max_tokens: of a caption, in the model's own tokens.
        model: a folder, or a name on the model hub.
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
        from distilcap.teachers.pretrained import find_model, fingerprint_of

        fingerprint = fingerprint_of(find_model(model))
        return LabelWithPretrained(data, split, fingerprint, beam, n_best, max_tokens, model)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `captions.jsonl`; a killed build goes on after its last batch."""
        from distilcap.teachers.pretrained import PretrainedTeacher, find_model, fingerprint_of, label_images

        source = find_model(self.model)
        if fingerprint_of(source) != self.fingerprint:
            raise DataError(f"{source}: changed since the plan was made; start again.")
        images = self.data.load(store).split(self.split)
        log = folder / "captions.partial.jsonl"
        captions = label_images(
            PretrainedTeacher.load(source),
            images,
            log,
            beam=self.beam,
            n_best=self.n_best,
            max_tokens=self.max_tokens,
            progress=progress,
        )
        captions.save(folder / CAPTIONS)
        log.unlink(missing_ok=True)
