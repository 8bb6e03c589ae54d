"""Keys of stages stay what they were, so that old stores stay valid; a stage comes back from its record."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distilcap.errors import DataError
from distilcap.files import write_json
from distilcap.metrics import registry
from distilcap.metrics.rouge import RougeL
from distilcap.models.aoanet import AoANetOptions
from distilcap.models.updown import UpDownOptions
from distilcap.stages.captioner import ImportCaptioner
from distilcap.stages.captions import CleanLabels, ImportCaptions
from distilcap.stages.changed_data import AddUnlabelled, HoldOut
from distilcap.stages.data import CleanReferences, HideCaptions, ImportData
from distilcap.stages.export import Export
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.folders import run_of, stage_at
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.measure import Evaluate, MeasureLatency
from distilcap.stages.other_labels import DrawCaptions, Interpolate
from distilcap.stages.pretrained import LabelWithPretrained
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.contents import contents
from distilcap.store.record import complete, to_json
from distilcap.store.stage import Stage
from distilcap.training.options import CrossEntropyPhase, TokenDistillation, TrainingOptions

DATA = ImportData("0123456789abcdef", "photos", "photos", None)
FEATURES = ExtractFeatures(
    DATA, '{"encoder": "efficientnet-lite0"}', None, "efficientnet-lite0", None, None, "grid"
)
WORDS = BuildVocabulary(DATA, 1, 16)
AOANET = AoANetOptions(hidden=16, embedding=8, heads=2)
TEACHER = Train(DATA, WORDS, FEATURES, "aoanet", AOANET, TrainingOptions())
LABELS = Generate(TEACHER, "train", 3, 2)
SHORT = TrainingOptions(CrossEntropyPhase(epochs=3))
STUDENT = Train(DATA, WORDS, FEATURES, "updown", UpDownOptions(hidden=8), SHORT, LABELS, True)
TUNED = dataclasses.replace(STUDENT, tune_encoder=True, tune_stages=2, start=STUDENT)
IMITATED = dataclasses.replace(STUDENT, token_teacher=TEACHER, token_distillation=TokenDistillation(0.7))
CAPTIONS = Generate(STUDENT, "test")
RECIPE = (
    '{"encoder": "efficientnet-lite0", "form": "grid", "preprocessing": {"size": 224, "mean": [0, 0, 0], '
)
RECIPE += '"std": [1, 1, 1], "resize": "squash", "filter": "bicubic"}}'
BOX = ImportCaptioner("ff00", "updown", UpDownOptions(hidden=8), RECIPE, 20, "ptb", True, "box", "box", None)
STAGES: dict[str, Stage] = {
    "import-data-8c994f8df8bf": DATA,
    "hide-captions-719b6203146d": HideCaptions("0123456789abcdef", "photos", "photos", None, 0.5),
    "build-vocabulary-b8f1ea220f72": WORDS,
    "build-vocabulary-c3e139d6421e": BuildVocabulary(DATA, 1, 16, "characters"),
    "extract-features-67adbd17fae8": FEATURES,
    "train-4b804bd8938c": TEACHER,
    "generate-db400ae5a61e": LABELS,
    "train-dc7d681ca536": STUDENT,
    "train-a7c70dadd42a": TUNED,
    "extract-features-0bd040a0030f": TUNED.seen,
    "generate-4990395da628": CAPTIONS,
    "generate-together-0f5518543a3c": GenerateTogether((TEACHER, STUDENT), "train"),
    "draw-captions-99b94939e5e3": DrawCaptions(TEACHER, "train"),
    "interpolate-6badaea20064": Interpolate(LABELS),
    "import-captions-7eafa7c69991": ImportCaptions("ff00", "labels.jsonl"),
    "label-with-pretrained-c69dca23f834": LabelWithPretrained(DATA, "train", "ff00", 3, 1, 40, "model"),
    "evaluate-48e39c14f597": Evaluate(CAPTIONS, ("bleu", "cider"), ("bleu", "cider")),
    "measure-latency-e742caa5951f": MeasureLatency(STUDENT),
    "export-c84d269f625b": Export(STUDENT),
    "train-a34cc6ccc24b": IMITATED,
    "import-captioner-b1bc024a3425": BOX,
    "build-vocabulary-7793fbe644b4": dataclasses.replace(WORDS, start=BOX),
    "train-3dab9a6736ad": dataclasses.replace(STUDENT, start=BOX, features=BOX.seen_in(DATA)),
    "hold-out-8b871861c606": HoldOut(
        "0123456789abcdef", "photos", "photos", None, whole=DATA, splits=("val",)
    ),
    "add-unlabelled-d3757eee2796": AddUnlabelled(
        "0123456789abcdef", "photos", "photos", None, whole=DATA, content="ff00", folder="more"
    ),
    "clean-labels-3a29a6986a85": CleanLabels(ImportCaptions("ff00", "labels.jsonl")),
    "clean-references-8d661e91c831": CleanReferences("0123456789abcdef", "photos", "photos", None),
}


@pytest.mark.parametrize("key", STAGES)
def test_a_stage_keeps_its_key_and_comes_back_from_its_record(key: str, tmp_path: Path) -> None:
    stage = STAGES[key]
    assert stage.key == key
    complete(tmp_path, {"recipe": stage.recipe(), "seconds": 0.0, "made_by": to_json(stage)}, ())
    assert repr(stage_at(tmp_path)) == repr(stage)  # with the fields that are outside the key
    if isinstance(stage, Train):
        assert run_of(tmp_path) == stage
    else:
        with pytest.raises(DataError, match=f"holds no trained captioner, but {type(stage).__name__}"):
            run_of(tmp_path)


def test_a_metric_of_another_version_scores_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Coverage(RougeL):
        name = "coverage"

    def scored(version: str) -> Evaluate:
        monkeypatch.setattr(Coverage, "version", version)
        return Evaluate.of(CAPTIONS, ("cider", "coverage"))

    monkeypatch.setitem(registry._metrics, "coverage", Coverage)
    first = Evaluate(CAPTIONS, ("cider", "coverage"), ("cider", "coverage"))
    assert scored("1.0").key == first.key
    assert scored("1.1").versions == ("coverage:1.1",)
    assert len({first.key, scored("1.1").key, scored("1.2").key}) == 3


def test_a_record_makes_nothing_but_stages_and_their_options(tmp_path: Path) -> None:
    for made_by in (
        "x",
        {"type": "Path", "path": "x"},
        {"type": "UpDownOptions", "hidden": 8},  # of options alone, no stage
        to_json(TEACHER) | {"training": {"type": "UpDownOptions", "hidden": 8}},  # not of this field
        to_json(TEACHER) | {"unknown": 1},
        to_json(TEACHER) | {"features": {"type": "Labels"}},
    ):
        complete(tmp_path, {"made_by": made_by}, ())
        with pytest.raises(DataError, match="made by another version of distilcap"):
            stage_at(tmp_path)


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "made_by",
    [
        *map(nested, (300, 600, 900)),
        *(to_json(TEACHER) | {"labels": nested(depth)} for depth in (600, 900)),
        to_json(CAPTIONS) | {"captioner": "a run"},
    ],
    ids=range(6),
)
def test_a_record_that_makes_no_stage_is_the_fault_of_its_folder_alone(
    tmp_path: Path, made_by: dict[str, Any]
) -> None:
    whole, odd = tmp_path / TEACHER.key, tmp_path / f"train-{0:012}"
    for folder, content in ((whole, to_json(TEACHER)), (odd, made_by)):
        folder.mkdir()
        write_json(folder / "stage.json", {"made_by": content, "seconds": 1.0})  # as without checksums
    faults = {entry.key: entry.fault for entry in contents(tmp_path)}
    assert faults[whole.name] is None
    assert f"{odd / 'stage.json'}: " in str(faults[odd.name])


def test_knowing_all_stages_needs_no_pytorch() -> None:
    code = "import sys, distilcap.stages.folders as f; f.import_stages(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
