"""Words never written and neutral words for people where captions are labels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import distilcap
from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError, DataError
from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.labelling import Labelling
from distilcap.pipeline.own_images import DistillOptions, plan_own_images
from distilcap.progress import SILENT
from distilcap.runtime.never_write import Blocked
from distilcap.stages.captions import ImportCaptions, NeutralLabels
from distilcap.stages.data import NEUTRAL_VERSION, CleanReferences, DataOptions, ImportData
from distilcap.stages.features import EncoderOptions, ExtractFeatures
from distilcap.stages.folders import run_of
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.store import Store
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shards import label_shard
from distilcap.text.people import RULES_VERSION
from distilcap.text.vocabulary import SPECIALS, Vocabulary
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

TRAINING = TrainingOptions(CrossEntropyPhase(epochs=1), SelfCriticalPhase(epochs=0))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each picture is of a man and a woman, people say."""
    folder = tmp_path_factory.mktemp("scenes")
    draw_scenes(folder, (8, 2, 2), size=48)
    content = json.loads((folder / "dataset_scenes.json").read_text())
    for image in content["images"]:
        image["sentences"] = [{"raw": "A man and a woman."}, {"raw": "his dog"}]
    (folder / "dataset_scenes.json").write_text(json.dumps(content))
    return folder


def plan(scenes: Path, store: Path, **options: Any) -> Any:
    asked = DistillOptions(student="updown-tiny", min_count=1, neutral_people=True, **options)
    encoder = EncoderOptions("efficientnet-lite0", 48)
    return plan_own_images(DataOptions(scenes), encoder, asked, TRAINING, store)[1]


def test_who_is_taught_neutral_words_reads_no_others_but_is_scored_by_people(
    scenes: Path, tmp_path: Path
) -> None:
    planned, store = plan(scenes, tmp_path), Store(tmp_path)
    assert planned.data != DataOptions(scenes).stage()
    assert planned.features.data == DataOptions(scenes).stage(), "features do not depend on captions"
    runs = [run for member in planned.systems for run in member.trains]
    assert len(runs) == 3
    assert {run.data for run in runs} == {planned.data}
    store.build(planned.data)
    dataset = planned.data.load(store)
    words = {}
    for split in ("train", "val", "test"):
        words[split] = {tuple(dataset.references(split).texts(id)) for id in dataset.references(split)}
    neutral = {("Two people.", "their dog")}
    assert words == {"train": neutral, "val": neutral, "test": {("A man and a woman.", "his dog")}}


def test_labels_of_a_teacher_that_is_trained_are_rewritten(scenes: Path, tmp_path: Path) -> None:
    """It may have begun from a captioner that guesses genders."""
    planned = plan(scenes, tmp_path, intermediate="updown-tiny")
    assert all(isinstance(labels, NeutralLabels) for labels in planned.taught)
    assert len(planned.taught) == 2
    assert planned.students[-1].labels == "teacher, beam 5, top 1, neutral words for people"


def test_labels_that_are_given_are_rewritten(scenes: Path, tmp_path: Path) -> None:
    ids = [image.id for image in DataOptions(scenes).stage().read().split("train")]
    labels = tmp_path / "labels.jsonl"
    CaptionSet({id: (Caption("a boy", -2.0), Caption("a dog", -3.0)) for id in ids}).save(labels)
    planned, store = plan(scenes, tmp_path, teacher_captions=labels, clean_labels=True), Store(tmp_path)
    assert isinstance(planned.labels, NeutralLabels)
    assert not isinstance(planned.data, CleanReferences)
    store.build(planned.labels)
    captions = planned.labels.load(store)
    assert set(captions.values()) == {(Caption("a child"), Caption("a dog", -3.0))}


def test_other_languages_are_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match=r"`neutral_people` has a list of words for English"):
        DistillOptions(neutral_people=True, tokenizer="unicode")


@pytest.fixture(scope="module")
def run(scenes: Path) -> Path:
    data = ImportData.of(scenes)
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=48, weights="random")
    train = Train(data, BuildVocabulary(data, 1), features, "updown", UpDownOptions(8, 8, 4), TRAINING)
    return Store(scenes / "store").build(train)


def test_captions_of_a_split_leave_words_out_under_another_key(run: Path) -> None:
    plain = distilcap.label(run, split="test", beam_size=2)
    words = {word for id in plain for word in plain.texts(id)[0].split()}
    word = sorted(words)[0]
    stages = set(run.parent.glob("generate-*"))
    without = distilcap.label(run, split="test", beam_size=2, never_write=(f"{word}, zebra",))
    assert not any(word in without.texts(id)[0].split() for id in without)
    assert len(set(run.parent.glob("generate-*")) - stages) == 1
    # In another order, in another case, with other words that it does not know: the same.
    again = distilcap.label(run, split="test", beam_size=2, never_write=("yak", word.upper()))
    assert again == without
    assert len(set(run.parent.glob("generate-*")) - stages) == 1
    neutral = distilcap.label(run, split="test", beam_size=2, neutral_people=True)
    assert not {"man", "woman", "his"} & {word for id in neutral for word in neutral.texts(id)[0].split()}


def test_a_word_of_a_list_keeps_its_comma(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked: list[Blocked] = []

    def searched(*given: Any, **_: Any) -> CaptionSet:
        blocked.append(given[5].blocked)
        return CaptionSet({})

    words = Vocabulary((*SPECIALS, "1,000", "1", "000", "dog", "notes.txt"))
    trained = run_of(run).load(Store(run.parent))
    monkeypatch.setattr(BuildVocabulary, "load", lambda *_: words)
    monkeypatch.setattr(Train, "load", lambda *_: dataclasses.replace(trained, vocabulary=words))
    monkeypatch.setattr("distilcap.training.shares.caption_together", searched)
    listed = tmp_path / "words.txt"
    listed.write_text("1,000=dog\nnotes.txt\n")
    distilcap.label(run, split="test", beam_size=1, never_write=(str(listed),))
    assert blocked == [((4, 7), (8, 0))]


class SaysMan:
    """A model that always sees the same."""

    name = "model"

    def read(self, photo: Path) -> Any:
        return photo

    def label(self, photos: Sequence[Any], beam: int, n_best: int) -> list[tuple[Caption, ...]]:
        return [(Caption("a man with his dog", -1.0),) for _ in photos]


def test_captions_of_photographs_are_rewritten_and_go_on_only_so(scenes: Path, tmp_path: Path) -> None:
    label_shard(SaysMan(), scenes / "images", tmp_path, LabelOptions(neutral_people=True), SILENT)
    written = CaptionSet.load(next(tmp_path.glob("*.jsonl")))
    assert set(written.values()) == {(Caption("a person with their dog"),)}
    with pytest.raises(
        DataError, match=rf"begun with other options \(neutral_people: {RULES_VERSION}, now None\)"
    ):
        label_shard(SaysMan(), scenes / "images", tmp_path, LabelOptions(), SILENT)


def test_words_are_blocked_in_runs_alone(scenes: Path, tmp_path: Path) -> None:
    labelling = Labelling(scenes, tmp_path, LabelOptions(never_write=("man",)), model="somebody/blip")
    with pytest.raises(ConfigError, match=r"^`never_write` is for a run"):
        labelling.captioner(SILENT)


def test_blocked_words_are_in_the_name_of_a_labeller(run: Path, scenes: Path, tmp_path: Path) -> None:
    """So that no part of labels goes on with others."""
    names = set()
    for words in ((), ("man",), ("man=dog",)):
        options = LabelOptions(2, encoder_engine="torch", never_write=words)
        captioner = Labelling(scenes, tmp_path, options, run).captioner(SILENT)
        names.add(captioner.name)
    assert len(names) == 3


def test_keys_hold_the_version_of_the_rules() -> None:
    labels = ImportCaptions("ff00", "labels.jsonl")
    assert NeutralLabels(labels).recipe()["version"] == RULES_VERSION
    data = ImportData("0", "data", "nowhere", None)
    assert "neutral_people" not in data.recipe()
    neutral = dataclasses.replace(data, neutral_people=NEUTRAL_VERSION)
    assert neutral.recipe()["neutral_people"] == RULES_VERSION + 1
