"""What a plan takes, before anything is built: rates of what is there, and what no rate is known of."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from distilcap.cli.report import print_plan
from distilcap.data.scenes import draw_scenes
from distilcap.models.updown import UpDownOptions
from distilcap.progress import Silent
from distilcap.runtime.pixels import Preprocessing
from distilcap.stages.captioner import ImportCaptioner
from distilcap.stages.changed_data import AddUnlabelled
from distilcap.stages.data import ImportData
from distilcap.stages.export import Export
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate
from distilcap.stages.pretrained import LabelWithPretrained
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.planning import Facts
from distilcap.store.record import complete, to_json
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.study.announce import announce
from distilcap.study.estimate import facts_of, measured_rates
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

DATA = ImportData("0123", "photos", "photos", None)
FEATURES = ExtractFeatures(DATA, "{}", None, "efficientnet-lite0", 32, "random", "grid")
UNTRAINED = TrainingOptions(CrossEntropyPhase(epochs=0), SelfCriticalPhase(epochs=0))
RUN = Train(DATA, BuildVocabulary(DATA, 1), FEATURES, "updown", UpDownOptions(8, 8, 4), UNTRAINED)
FACTS = Facts({"train": 8, "val": 2, "test": 0}, 1.0, 10, 1, 1280, 32**2)


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def done(stage: Stage, store: Store, seconds: float) -> None:
    """A stage that took so long; its artifact holds nothing."""
    store.path(stage).mkdir(parents=True)
    complete(store.path(stage), {"seconds": seconds, "made_by": to_json(stage)}, ())


def test_stages_that_had_nothing_to_do_have_no_rate(tmp_path: Path) -> None:
    store, empty = Store(tmp_path), Generate(RUN, "test", 1)
    for stage in (RUN, empty):
        assert stage.work(FACTS).amount == 0
        done(stage, store, 0.5)
    some = Generate(RUN, "val", 1)
    done(some, store, 2.0)
    plan = store.plan([RUN])
    rates = measured_rates(plan, FACTS, store)
    assert rates == {some.rate_owner(): pytest.approx(some.work(FACTS).amount / 2)}


def test_runs_that_may_have_ended_early_have_no_rate(tmp_path: Path) -> None:
    store, longer = Store(tmp_path), CrossEntropyPhase(epochs=40)
    for patience, has_rate in ((5, False), (0, True)):
        training = dataclasses.replace(UNTRAINED, cross_entropy=longer, patience=patience)
        run = dataclasses.replace(RUN, training=training)
        done(run, store, 1.0)
        assert bool(measured_rates(store.plan([run]), FACTS, store)) == has_rate


@pytest.fixture
def scenes(tmp_path: Path) -> ImportData:
    """Eight pictures to train on."""
    draw_scenes(tmp_path / "scenes", (8, 2, 3), size=32)
    return ImportData.of(tmp_path / "scenes")


def test_facts_of_a_tuned_encoder_build_nothing(scenes: ImportData, tmp_path: Path) -> None:
    pictures = Preprocessing(32).to_json()
    recipe = json.dumps({"encoder": "efficientnet-lite0", "form": "grid", "preprocessing": pictures})
    box = ImportCaptioner("ff", "updown", UpDownOptions(8), recipe, 20, "ptb", True, "box", "nowhere", None)
    store = Store(tmp_path / "store")
    facts = facts_of(scenes, box.seen_in(scenes), store, 1)
    assert (facts.regions, facts.dim, facts.pixels) == (1, 1280, 32**2)
    assert not store.root.exists()


def test_a_model_whose_speed_is_not_known_is_named(
    scenes: ImportData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, said = Store(tmp_path / "store"), Notes()
    labels = LabelWithPretrained(scenes, "train", "ff", 3, 1, 40, "large/")
    tests = dataclasses.replace(labels, split="test")
    assert tests.work(FACTS).amount == 0
    assert tests.work(FACTS) != labels.work(FACTS)
    features = dataclasses.replace(FEATURES, data=scenes)
    run = dataclasses.replace(RUN, data=scenes, features=features, vocabulary=BuildVocabulary(scenes, 1))
    announce([run, dataclasses.replace(run, labels=labels), tests], store, said)
    unknown = ", without labelling by large/, whose speed is not known."
    assert said.notes[-1].endswith(unknown)
    print_plan([tests], store, FACTS)
    printed = " ".join(capsys.readouterr().out.split())
    assert f"to do ? 0.0 MB {tests.key}" in printed
    assert printed.endswith("What is marked ? is not counted: its model is not of distilcap.")
    announce([run], store, said)
    assert "All that is to be done takes about" in said.notes[-1]
    assert "not known" not in said.notes[-1]


def test_what_a_complete_stage_was_made_of_is_not_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a pack was imported: the run asks for no features of COCO."""
    store, longer = Store(tmp_path), dataclasses.replace(RUN, training=TrainingOptions())
    done(RUN, store, 0.5)
    assert [planned.to_do for planned in store.plan([RUN])] == [False] * 4
    print_plan([RUN], store, FACTS)
    assert "1 stages, 1 there. To do: about 0 s" in " ".join(capsys.readouterr().out.split())
    assert all(planned.to_do for planned in store.plan(one for one in [longer]))


def test_images_without_captions_are_told_apart(scenes: ImportData, tmp_path: Path) -> None:
    """An undistilled student learns nothing from them."""
    draw_scenes(tmp_path / "more", (40, 1, 1), size=32, seed=3)
    data, store, said = AddUnlabelled.beside(scenes, tmp_path / "more"), Store(tmp_path / "store"), Notes()
    features = dataclasses.replace(FEATURES, data=data)
    training = dataclasses.replace(UNTRAINED, cross_entropy=CrossEntropyPhase(epochs=9))
    words = BuildVocabulary(data, 1)
    run = dataclasses.replace(RUN, data=data, features=features, vocabulary=words, training=training)
    announce([run], store, said)
    assert said.notes[-1].startswith("8 training images, 5 captions each, and 42 without captions; words")
    facts = facts_of(data, features, store, 1)
    labelled = dataclasses.replace(run, labels=Generate(run, "train", 5, 5), keep_originals=False)
    none, nobody = (
        dataclasses.replace(facts, images=facts.images | {"train": n}, uncaptioned=n - m)
        for n, m in ((0, 0), (42, 0))
    )
    ends = run.work(none).amount  # what each epoch takes beside training images
    assert run.work(nobody).amount == ends
    assert run.work(facts).amount - ends == pytest.approx((labelled.work(facts).amount - ends) * 8 / 50)


def test_validation_and_what_needs_no_images_are_counted() -> None:
    """At 16 photographs from the captioner in the box they are most of the time."""
    training = dataclasses.replace(UNTRAINED, cross_entropy=CrossEntropyPhase(epochs=24))
    run = dataclasses.replace(RUN, training=training)
    facts = dataclasses.replace(FACTS, images={"train": 0, "val": 2, "test": 0})
    more = dataclasses.replace(FACTS, images={"train": 0, "val": 42, "test": 0})
    seldom = dataclasses.replace(run, training=dataclasses.replace(training, validation_every=24))
    assert run.work(more).amount > seldom.work(more).amount > seldom.work(facts).amount > 0
    assert Export(run).work(facts).amount / Export.rate >= 30
    assert Export(run).work(more).amount > Export(run).work(facts).amount
    assert Export.rate_owner() is Export
