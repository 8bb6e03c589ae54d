"""What a run gives the training loop, of data, labels and options; nothing is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_captioners import small_options
from torch import nn

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord
from distilcap.errors import DataError
from distilcap.models.presets import build_captioner
from distilcap.progress import SILENT
from distilcap.stages.train import Train
from distilcap.store.store import Store
from distilcap.text.tokenize import tokenize
from distilcap.text.vocabulary import Vocabulary
from distilcap.training.batches import encode_captions
from distilcap.training.loop import Training
from distilcap.training.options import TokenDistillation, TrainingOptions

CAPTIONS = CaptionSet.of_texts(
    {
        "train1": ["a red dog"],
        "train2": ["a blue cat"],
        "broken": ["a red car"],
        "broken too": ["a red car"],
        "val1": ["a green dog"],
        "val2": ["a green car"],
        "test1": ["a blue dog"],
    }
)
PSEUDO = CaptionSet.of_texts(
    {
        "train2": ["one cat"],
        "bare": ["one dog"],
        "broken": ["x"],
        "val1": ["x"],
        "test1": ["x"],
        "alien": ["x"],
    }
)
IMAGES = tuple(
    ImageRecord(name, Path(name), split)
    for name, split in (
        ("train1", "train"),
        ("train2", "train"),
        ("bare", "train"),
        ("broken", "train"),
        ("broken too", "val"),
        ("val1", "val"),
        ("val2", "val"),
        ("test1", "test"),
    )
)
WORDS = Vocabulary.build(
    (tokenize(text) for captions in (CAPTIONS, PSEUDO) for id in captions for text in captions.texts(id)), 1
)


class Features(set[str]):
    """Of all images that can be read."""

    dim, recipe, tuned_by, engine = 6, {"encoder": "none"}, None, "torch"

    def load(self, store: Store) -> Features:
        return self

    def create(self, store: Store) -> str:
        return "the encoder"


def loaded(content: object, **more: object) -> Any:
    """Stands for a stage that has been built."""
    return SimpleNamespace(load=lambda store: content, key="some-key", path="some/path", **more)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the loop is given by a run with such options."""
    runs: list[Training] = []

    class Begun(Exception):
        pass

    def begin(run: Training) -> None:
        runs.append(run)
        raise Begun

    monkeypatch.setattr(Training, "run", begin)
    monkeypatch.setattr("distilcap.metrics.reward.CiderReward", lambda references: references)

    def build(captions: CaptionSet = CAPTIONS, **changes: Any) -> Training:
        fields: dict[str, Any] = {
            "data": loaded(Dataset("some", IMAGES, captions)),
            "vocabulary": loaded(WORDS),
            "features": Features({image.id for image in IMAGES} - {"broken", "broken too"}),
            "architecture": "updown",
            "options": small_options("updown"),
            "training": TrainingOptions(seed=7),
        }
        with pytest.raises(Begun):
            Train(**fields | changes).build(tmp_path, Store(tmp_path), SILENT)
        return runs[-1]

    return build


def test_a_run_learns_from_training_images_and_is_validated_on_others(given: Any) -> None:
    """But not on those that cannot be read."""
    run = given()
    assert run.labels == CAPTIONS.only(["train1", "train2"])
    assert run.validation == CAPTIONS.only(["val1", "val2"])
    with pytest.raises(DataError, match="some/path: the validation split has no captioned image"):
        given(CAPTIONS.only(["train1", "train2", "test1"]))


def test_labels_of_training_images_stand_in_for_references_or_beside_them(given: Any) -> None:
    """Somebody's file may describe images of validation and test, or of nowhere."""
    both = {"train1": ["a red dog"], "train2": ["a blue cat", "one cat"], "bare": ["one dog"]}
    assert given(labels=loaded(PSEUDO)).labels == PSEUDO.only(["train2", "bare"])
    assert given(labels=loaded(PSEUDO), keep_originals=True).labels == CaptionSet.of_texts(both)


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ("pseudo", {"train2": ["one cat"], "bare": ["one dog"]}),
        ("original", {"train2": ["a blue cat"], "bare": ["one dog"], "train1": ["a red dog"]}),
    ],
)
def test_drawn_captions_are_compared_with_references_or_labels(
    given: Any, references: str, expected: dict[str, list[str]]
) -> None:
    """An image without references of its own is always compared with its labels."""
    reward = given(labels=loaded(PSEUDO), scst_references=references).reward()
    assert reward == encode_captions(CaptionSet.of_texts(expected), WORDS, None)


def test_weights_begin_from_the_seed(given: Any) -> None:
    expected = build_captioner("updown", small_options("updown"), len(WORDS), 6, 7).state_dict()
    found = given().trained.captioner.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_teacher_of_tokens_is_imitated_as_much_as_is_said(given: Any) -> None:
    words, captioner = loaded(WORDS), nn.Identity()
    teacher = loaded(SimpleNamespace(captioner=captioner), vocabulary=words, seen=loaded("what it sees"))
    amount = TokenDistillation(0.3, 2.0)
    told = given(vocabulary=words, token_teacher=teacher, token_distillation=amount).token_teacher
    assert (told.captioner, told.source, told.options) == (captioner, "what it sees", amount)


def test_an_encoder_s_last_stages_see_as_many_views_as_is_said(
    given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stages(nn.Module):
        def __init__(self, *given: object) -> None:
            super().__init__()
            self.given = given

    monkeypatch.setattr("distilcap.encoders.tuned.LastStages", Stages)
    source = given(tune_encoder=True, tune_stages=2, views=4).source
    assert source.given == ("the encoder", IMAGES, 2, 4, "torch", SILENT)
