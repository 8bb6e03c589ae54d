"""The words of an experiment as a stage, and what they keep of its captions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from distilcap.data.trainable import MAX_WORDS, MIN_COUNT, Coverage, words_to_learn
from distilcap.errors import DataError
from distilcap.files import expected, read_json, write_json
from distilcap.progress import Progress
from distilcap.stages.data import ImportData
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage, added_later
from distilcap.store.store import Store
from distilcap.text.tokenizers import PTB, tokenizer_of
from distilcap.text.vocabulary import Vocabulary

__all__ = ["WORDS", "BuildVocabulary", "judge_data"]

WORDS = "words.json"


@dataclass(frozen=True)
class BuildVocabulary(Stage):
    """The words of the training references; students share it with their teacher.

    Attributes:
        min_count, max_words, tokenizer: see `data.trainable.words_to_learn`.
        start: the captioner that is begun from (an `ImportCaptioner`), whose words come first and all stay.
    """

    rate: ClassVar[float] = 4e3  # images a second
    data: ImportData
    min_count: int = MIN_COUNT
    max_words: int = MAX_WORDS
    tokenizer: str = added_later(PTB)
    start: Stage | None = added_later(None)  # noqa: RUF009

    def __post_init__(self) -> None:
        tokenizer_of(self.tokenizer)  # or an error

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `words.json` and `coverage.json`, unless there is nothing to learn.

        As an input of `Train` it comes first.
        """
        dataset = self.data.load(store)
        references = dataset.references("train")
        captions, validation = [references.texts(id) for id in references], len(dataset.references("val"))
        started = Vocabulary.load(store.open(self.start, WORDS) / WORDS).words if self.start else ()
        try:
            vocabulary, coverage = words_to_learn(
                captions, validation, self.min_count, self.max_words, self.tokenizer, started
            )
        except DataError as error:
            raise DataError(f"{self.data.path}: {error}") from None
        write_json(folder / "coverage.json", asdict(coverage))
        write_json(folder / WORDS, list(dict.fromkeys([*started, *vocabulary.words])))

    def work(self, facts: Facts) -> Work:
        """Images."""
        return Work(facts.all_images)

    def load(self, store: Store) -> Vocabulary:
        """Read the artifact."""
        return Vocabulary.load(store.open(self) / WORDS, tokenizer_of(self.tokenizer))

    def coverage(self, store: Store) -> Coverage | None:
        """What the words leave out of the captions; None of artifacts that were made before it was kept."""
        path = store.open(self) / "coverage.json"
        if not path.is_file():
            return None
        content = read_json(path)
        with expected(path, "what a vocabulary keeps of captions"):
            return Coverage(**content)


def judge_data(stages: Iterable[Stage], store: Store) -> None:
    """Build the vocabularies of a plan first, and say what they keep of the captions.

    Data that can teach nothing is refused before hours of work.
    """
    for planned in store.plan(stages):
        if isinstance(planned.stage, BuildVocabulary):
            store.build(planned.stage)
            if coverage := planned.stage.coverage(store):
                for line in (str(coverage), *(f"Warning: {warning}" for warning in coverage.warnings)):
                    store.progress.note(line)
