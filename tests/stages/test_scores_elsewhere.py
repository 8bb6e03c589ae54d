"""Scores that one machine plans and another computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from distilcap.data.captions import CaptionSet
from distilcap.errors import MissingError
from distilcap.metrics.rouge import RougeL
from distilcap.progress import SILENT
from distilcap.stages.captions import CaptionsOfSplit
from distilcap.stages.measure import Evaluate, read_scores
from distilcap.store.store import Store

TEXTS = CaptionSet.of_texts({"dog.jpg": ["a brown dog runs"], "sea.jpg": ["two boats at sea"]})


class Pictures:
    """A data set of two images."""

    def load(self, store: Store) -> Pictures:
        return self

    def references(self, split: str) -> CaptionSet:
        return TEXTS


@dataclass(frozen=True)
class SaidAlready(CaptionsOfSplit):
    """Captions that are their references."""

    split: str

    @property
    def source(self) -> Any:
        return Pictures()

    def build(self, folder: Path, store: Store, progress: object) -> None:
        TEXTS.save(folder / "captions.jsonl")


def test_a_score_is_not_kept_as_missing_where_it_was_planned_as_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker without the program: its store would say "n/a" to all machines that have it."""
    store, planned = Store(tmp_path), Evaluate.of(SaidAlready("test"), ("bleu", "rouge_l"))
    with monkeypatch.context() as patch:
        patch.setattr(RougeL, "unavailable", lambda _: "Java is missing")
        with pytest.raises(MissingError, match=r"rouge_l.*Java is missing"):
            store.build(planned, SILENT)
        without = Evaluate.of(SaidAlready("test"), ("bleu", "rouge_l"))
        store.build(without, SILENT)
        assert read_scores(without, store)["rouge_l"]["unavailable"] == "Java is missing"
    store.build(planned, SILENT)
    assert read_scores(planned, store)["rouge_l"]["value"] == 1
