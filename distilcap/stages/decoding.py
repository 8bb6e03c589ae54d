"""How a captioner is best decoded, chosen on validation instead of assumed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from distilcap.data.captions import CaptionSet
from distilcap.files import expected, read_json, write_json
from distilcap.progress import Progress
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.stages.captions import CaptionsOfSplit
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage
from distilcap.store.store import Store

__all__ = ["LENGTH_PENALTIES", "ChooseDecoding", "Decoding"]

LENGTH_PENALTIES = (0.0, 0.3, 0.7, 1.0)
"""Tried by default; 1 ranks by log-probability a word."""

DECODING = "decoding.json"


@dataclass(frozen=True)
class Decoding:
    """What was chosen, and why; CIDEr on validation, in the official scale.

    Attributes:
        beam: width of the search.
        length_penalty: the best (see `runtime.decode_options.DecodeOptions`).
        cider: of the best hypothesis of the beam, by this length penalty.
        greedy_cider: of greedy captions of the same images.
    """

    beam: int
    length_penalty: float
    cider: float
    greedy_cider: float

    def options(self, max_words: int) -> DecodeOptions:
        """As a bundle's search takes it: without repeats, which is better on validation (docs/log.md)."""
        return DecodeOptions(self.beam, max_words, self.length_penalty, avoid_repeats=True)

    @property
    def below_greedy(self) -> bool:
        """Whether the search does not pay: the likelier caption is the worse."""
        return self.cider < self.greedy_cider


@dataclass(frozen=True)
class ChooseDecoding(Stage):
    """The length penalty with which a captioner's beam search scores best on validation.

    One search serves all penalties: it prunes by log-probability alone, so that a length penalty only changes
    the order of the hypotheses that are left (see `decode.beam`).

    Attributes:
        candidates: whole beams of the validation images, with log-probabilities.
        greedy: greedy captions of the same images; a remark where they are better.
        beam: width of the search.
        max_words: captions stopped there.
        length_penalties: tried; of equally good penalties the first is taken.
    """

    measures: ClassVar[bool] = True
    rate: ClassVar[float] = 1.0  # seconds in a second, as CIDEr-D has them
    candidates: CaptionsOfSplit
    greedy: CaptionsOfSplit
    beam: int
    max_words: int
    length_penalties: tuple[float, ...] = LENGTH_PENALTIES

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `decoding.json`: the choice, and CIDEr by length penalty."""
        from distilcap.decode.captions import rank_captions
        from distilcap.metrics import evaluate
        from distilcap.metrics.evaluation import scoring_tokenizer

        tokenizer = self.candidates.tokenizer
        candidates, greedy = self.candidates.load(store), self.greedy.load(store)
        references = self.candidates.source.load(store).references(self.candidates.split)
        references = references.only(id for id in references if id in candidates)

        def cider(captions: CaptionSet) -> float:
            kept = captions.only(references)
            scores = evaluate(kept, references, ["cider"], scoring_tokenizer(tokenizer), reasons=False)
            return scores["cider"].value

        scores = {
            penalty: cider(rank_captions(candidates, penalty, self.max_words, tokenizer).top())
            for penalty in self.length_penalties
        }
        best = max(scores, key=scores.__getitem__)
        chosen = Decoding(self.beam, best, scores[best], cider(greedy))
        by_penalty = {f"{penalty:g}": score for penalty, score in scores.items()}
        write_json(folder / DECODING, {"chosen": asdict(chosen), "cider_by_length_penalty": by_penalty})

    def work(self, facts: Facts) -> Work:
        """Seconds, by length penalty and once for greedy captions."""
        from distilcap.metrics import create_metric

        seconds = create_metric("cider").seconds
        return Work(facts.images["val"] * (len(self.length_penalties) + 1) * seconds)

    def load(self, store: Store) -> Decoding:
        """Read the choice."""
        path = store.open(self) / DECODING
        content = read_json(path)
        with expected(path, "a choice of decoding"):
            chosen = Decoding(**content["chosen"])
            sum(asdict(chosen).values())  # all are numbers
            return chosen
