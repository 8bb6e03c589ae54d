"""Which features a command takes: those that are there already, else the quickest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from distilcap.cli.features import features
from distilcap.data.feature_writer import FeatureWriter, begun_recipe
from distilcap.encoders.registry import create_encoder
from distilcap.errors import ConfigError
from distilcap.stages import features as stage_module
from distilcap.stages.data import ImportData
from distilcap.stages.features import EncoderOptions, ExtractFeatures
from distilcap.stages.folders import stage_at
from distilcap.store.record import complete, to_json

DATA = ImportData("0123456789abcdef", "photos", "photos", None)
OPTIONS = EncoderOptions(image_size=32)


@pytest.fixture(autouse=True)
def onnxruntime_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        stage_module, "default_engine", lambda device: "onnxruntime" if device == "cpu" else "torch"
    )


def made(stage: ExtractFeatures) -> tuple[str, str]:
    return stage.engine, json.loads(stage.recipe_json)["preprocessing"].get("decoding", "whole")


def test_new_features_are_made_the_quick_way(tmp_path: Path) -> None:
    assert made(OPTIONS.stage(DATA, tmp_path)) == ("onnxruntime", "reduced")
    assert made(OPTIONS.stage(DATA, tmp_path, "cuda")) == ("torch", "reduced")
    assert made(EncoderOptions(image_size=32, encoder_engine="torch").stage(DATA, tmp_path)) == (
        "torch",
        "reduced",
    )
    with pytest.raises(ConfigError, match="encoder_engine"):
        EncoderOptions(encoder_engine="tensorrt")


def test_the_form_that_is_asked_for_is_in_the_recipe() -> None:
    stage = EncoderOptions(image_size=32, encoder_form="stage").stage(DATA)
    assert (stage.form, json.loads(stage.recipe_json)["form"]) == ("stage", "stage")


@pytest.mark.parametrize("folder", ["", ".partial"])
def test_features_of_an_older_store_are_taken(tmp_path: Path, folder: str) -> None:
    older = ExtractFeatures.of(DATA, "efficientnet-lite0", 32)
    assert made(older) == ("torch", "whole")
    (tmp_path / folder / older.key).mkdir(parents=True)
    assert OPTIONS.stage(DATA, tmp_path) == older
    assert OPTIONS.stage(DATA, tmp_path).key == older.key
    # Who asks for an engine gets it, and who has both goes on with the quick ones.
    asked = EncoderOptions(image_size=32, encoder_engine="onnxruntime").stage(DATA, tmp_path)
    assert made(asked) == ("onnxruntime", "reduced")
    (tmp_path / asked.key).mkdir()
    assert OPTIONS.stage(DATA, tmp_path) == asked


def finish(store: Path, stage: ExtractFeatures) -> None:
    """As far as a plan looks."""
    (store / stage.key).mkdir()
    complete(store / stage.key, {"recipe": stage.recipe(), "seconds": 1.0, "made_by": to_json(stage)}, ())


@pytest.mark.parametrize(("device", "default"), [("cuda", "onnxruntime"), ("cpu", "torch")])
def test_features_of_another_device_are_taken_where_they_are_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, default: str
) -> None:
    """Or of a time when what traces an encoder was installed, which is why they cannot be gone on with."""
    of_cpu, by_torch = OPTIONS.stage(DATA), EncoderOptions(image_size=32, encoder_engine="torch").stage(DATA)
    assert (made(of_cpu)[0], made(by_torch)[0]) == ("onnxruntime", "torch")
    if default == "torch":
        monkeypatch.setattr(stage_module, "default_engine", lambda device: "torch")
    (tmp_path / ".partial" / of_cpu.key).mkdir(parents=True)
    assert OPTIONS.stage(DATA, tmp_path, device) == by_torch
    finish(tmp_path, of_cpu)
    assert OPTIONS.stage(DATA, tmp_path, device) == of_cpu
    (tmp_path / ".partial" / by_torch.key).mkdir()
    assert OPTIONS.stage(DATA, tmp_path, device) == of_cpu
    # What is asked for comes first, and an engine that is not installed could not see what comes later.
    asked = EncoderOptions(image_size=32, encoder_engine="torch")
    assert asked.stage(DATA, tmp_path, device) == by_torch
    with monkeypatch.context() as patch:
        patch.setattr(stage_module, "installed_engines", lambda: ["torch"])
        assert OPTIONS.stage(DATA, tmp_path, device) == by_torch
    finish(tmp_path, by_torch)
    assert OPTIONS.stage(DATA, tmp_path, device) == by_torch


def test_a_stage_knows_its_engine_and_decoding_again(tmp_path: Path) -> None:
    stage = OPTIONS.stage(DATA)
    folder = tmp_path / stage.key
    folder.mkdir()
    complete(folder, {"recipe": stage.recipe(), "seconds": 1.0, "made_by": to_json(stage)}, ())
    again = stage_at(folder)
    assert isinstance(again, ExtractFeatures)
    assert again == stage
    assert again.key == stage.key
    assert again.create(None).preprocessing.decoding == "reduced"  # type: ignore[arg-type]


def test_the_command_goes_on_with_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str]] = []

    def run_by(engine, encoder, progress):  # type: ignore[no-untyped-def]
        ran.append((engine, encoder.preprocessing.decoding))
        raise ConfigError("enough")

    monkeypatch.setattr("distilcap.encoders.engines.run_by", run_by)
    monkeypatch.setattr("distilcap.data.readers.read_dataset", lambda *_, **__: DATA_OF_NOBODY)
    encoder = create_encoder("efficientnet-lite0", size=32)
    FeatureWriter(tmp_path / "begun", encoder.recipe(), encoder.regions, encoder.dim).close()
    assert begun_recipe(tmp_path / "begun") == encoder.recipe()
    assert begun_recipe(tmp_path / "new") is None
    for folder in ("begun", "new"):
        arguments = ["--data", "x", "--image-size", "32", "--out", str(tmp_path / folder)]
        CliRunner().invoke(features, arguments)
    assert ran == [("torch", "whole"), ("onnxruntime", "reduced")]


class DATA_OF_NOBODY:
    images: tuple[()] = ()

    @staticmethod
    def fingerprint() -> str:
        return ""
