"""One bit flipped at a random position of every file of a small store: whatever reads it stops."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from distilcap.cli.main import cli
from distilcap.data.captions import CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.errors import DataError
from distilcap.files import read_json, write_json
from distilcap.integrity import CHECKSUMS, leave_out
from distilcap.models.updown import UpDownOptions
from distilcap.models.weights import load_captioner
from distilcap.pipeline.photographs import RunCaptioner
from distilcap.progress import SILENT
from distilcap.reports.collect import collect_results
from distilcap.reports.results import Member
from distilcap.stages.captions import ImportCaptions
from distilcap.stages.data import ImportData
from distilcap.stages.features import FEATURES, ExtractFeatures
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.measure import Evaluate, MeasureLatency, read_scores
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.engine import _build
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.training.checkpoint import load_checkpoint
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

TRAINING = TrainingOptions(
    CrossEntropyPhase(epochs=1, learning_rate=2e-3), SelfCriticalPhase(epochs=0), batch_images=8
)
FLIPS = 4  # of each file


@dataclasses.dataclass(frozen=True)
class Small:
    """A small store in which everything is complete."""

    store: Store
    data: ImportData
    features: ExtractFeatures
    run: Train
    labels: Generate
    captions: Generate
    scores: Evaluate
    latency: MeasureLatency

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.run.vocabulary, *(value for value in vars(self).values() if isinstance(value, Stage))

    def student(self) -> Train:
        return dataclasses.replace(self.run, labels=self.labels)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    before = os.umask(0o027)
    try:
        draw_scenes(folder / "scenes", (12, 4, 4), size=64)
        data = ImportData.of(folder / "scenes")
        features = ExtractFeatures.of(data, "efficientnet-lite0", 64, "random")
        captioner = UpDownOptions(hidden=8, embedding=8, attention=4)
        run = Train(data, BuildVocabulary(data, 1), features, "updown", captioner, TRAINING)
        labels, captions = Generate(run, "train", 2), Generate(run, "test", 2)
        scores = Evaluate.of(captions, ("cider",))
        store = Store(folder / "store")
        latency = MeasureLatency(run, images=1, warmup=0)
        for stage in (labels, scores, latency):
            store.build(stage)
    finally:
        os.umask(before)
    return Small(store, data, features, run, labels, captions, scores, latency)


@pytest.fixture
def small(made: Small, tmp_path: Path) -> Small:
    """A copy, to be damaged."""
    shutil.copytree(made.store.root, tmp_path / "store")
    return dataclasses.replace(made, store=Store(tmp_path / "store"))


def flip(path: Path, random_bits: random.Random) -> None:
    content = bytearray(path.read_bytes())
    bit = random_bits.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_every_read_of_a_damaged_artifact_stops(small: Small) -> None:
    store = small.store
    reads: dict[Stage, Callable[[], object]] = {
        small.data: lambda: small.data.load(store),
        small.run.vocabulary: lambda: small.run.vocabulary.load(store),
        small.features: lambda: small.features.load(store),
        small.run: lambda: small.run.load(store),
        small.labels: lambda: small.labels.load(store),
        small.captions: lambda: small.captions.load(store),
        small.scores: lambda: read_scores(small.scores, store),
        small.latency: lambda: small.latency.load(store),
    }
    assert set(reads) == set(small.stages)
    bits, flipped = random.Random(0), 0
    for stage, read in reads.items():
        folder = store.path(stage)
        for path in (path for path in sorted(folder.iterdir()) if path.name != FEATURES):
            whole = path.read_bytes()
            for _ in range(FLIPS):
                flip(path, bits)
                with pytest.raises(DataError, match=rf"{path}.*; delete the folder {folder} and run"):
                    read()
                flipped += 1
            path.write_bytes(whole)
        read()
    assert flipped == FLIPS * (4 + 3 + 4 + 6 + 3 + 3 + 3 + 3)


def test_nobody_learns_from_damaged_labels(small: Small) -> None:
    path = small.store.path(small.labels) / "captions.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))
    with pytest.raises(DataError, match=rf"{path}: damaged \([\d,]+ bytes instead of [\d,]+\)"):
        small.store.build(small.student())
    with pytest.raises(DataError, match=rf"{path}: damaged"):  # by its path, as `train --labels` has it
        small.store.build(dataclasses.replace(small.run, labels=ImportCaptions.of(path)))


def test_damaged_captions_are_not_scored_and_damaged_runs_not_reported(small: Small) -> None:
    store, bits = small.store, random.Random(1)
    member = Member("student", "student", "tiny", (small.run,), beam=2)
    flip(store.path(small.run) / "log.json", bits)
    with pytest.raises(DataError, match=r"log\.json: damaged"):
        collect_results("title", [member], (), "", store, SILENT)
    flip(store.path(small.captions) / "captions.jsonl", bits)
    with pytest.raises(DataError, match=r"captions\.jsonl: damaged"):
        store.build(Evaluate(small.captions, ("bleu",), ("bleu",)))


@pytest.mark.parametrize("name", ["captioner.safetensors", "captioner.json", "stage.json", CHECKSUMS])
def test_commands_stop_at_a_damaged_run(small: Small, tmp_path: Path, name: str) -> None:
    run = small.store.path(small.run)
    flip(run / name, random.Random(2))
    photo = str(small.data.load(small.store).images[0].path)
    for arguments in (
        ["caption", "--run", str(run), photo],
        ["generate", str(run), "--split", "val", "--to", str(tmp_path / "captions.jsonl")],
        ["export", str(run), "--to", str(tmp_path / "bundle")],
    ):
        with pytest.raises(DataError, match=f"{run / name}.*delete the folder {run}"):
            CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)
    assert not (tmp_path / "captions.jsonl").exists()
    assert not (tmp_path / "bundle").exists()


def test_a_copied_captioner_and_a_checkpoint_know_their_damage_by_themselves(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("distilcap.training.loop.Training._self_critical", killed)
    twice = dataclasses.replace(TRAINING, self_critical=SelfCriticalPhase(epochs=1))
    longer = dataclasses.replace(small.run, training=twice)
    with pytest.raises(Killed):
        small.store.build(longer)
    monkeypatch.undo()
    begun, bits = small.store.root / ".partial" / longer.key, random.Random(3)
    assert {"captioner.json", "captioner.safetensors", "checkpoint.safetensors"} <= set(os.listdir(begun))
    retrain, anew = "train again or copy it anew", "delete it to begin anew"
    reads: dict[str, tuple[str, Callable[[], object]]] = {
        "captioner.json": (retrain, lambda: load_captioner(begun)),
        "captioner.safetensors": (retrain, lambda: load_captioner(begun)),
        "checkpoint.safetensors": (anew, lambda: load_checkpoint(begun / "checkpoint.safetensors", {}, None)),
        "seconds.json": (f"delete the folder {begun}", lambda: small.store.build(longer)),
    }
    for name, (fix, read) in reads.items():
        whole = (begun / name).read_bytes()
        for _ in range(10):
            flip(begun / name, bits)
            with pytest.raises(DataError, match=rf"{begun / name}.*; {fix}\."):
                read()
            (begun / name).write_bytes(whole)
    whole = (begun / "captioner.json").read_bytes()
    flip(begun / "captioner.json", bits)
    with pytest.raises(DataError, match=r"captioner\.json: .*train again"):
        small.store.build(longer)  # and does not keep it as the run's best
    (begun / "captioner.json").write_bytes(whole)
    flip(begun / "checkpoint.safetensors", bits)
    with pytest.raises(DataError, match=r"checkpoint\.safetensors: .*delete it to begin anew"):
        small.store.build(longer)
    (begun / "checkpoint.safetensors").unlink()
    small.store.build(longer)


@pytest.mark.parametrize("at", ["complete", "write_json"])
def test_a_training_that_is_killed_at_its_end_is_not_trained_again(
    at: str, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    run = dataclasses.replace(small.run, training=dataclasses.replace(TRAINING, seed=5))
    where = "distilcap.store.store.complete" if at == "complete" else "distilcap.stages.train.write_json"
    monkeypatch.setattr(where, killed)
    with pytest.raises(Killed):
        small.store.build(run)
    monkeypatch.undo()
    monkeypatch.setattr("distilcap.training.loop.Training._step", killed)
    small.store.build(run)
    assert run.summary(small.store)["images_seen"] > 0
    assert read_json(small.store.path(run) / "training.json")["device"] == "cpu"
    assert not (small.store.path(run) / "checkpoint.safetensors").exists()


def test_a_store_of_an_older_version_still_opens(small: Small) -> None:
    store = small.store
    before = small.run.load(store).captioner.state_dict()
    for stage in small.stages:
        folder = store.path(stage)
        (folder / CHECKSUMS).unlink()
        for path in (path for name in ("stage.json", "captioner.json") if (path := folder / name).exists()):
            new = ("sealed", "sha256", "format")
            write_json(path, {key: value for key, value in read_json(path).items() if key not in new})
        if (path := folder / "captioner.safetensors").exists():
            save_file(load_file(path), path)
            with safe_open(path, "pt") as file:
                assert not file.metadata()
    assert small.data.load(store).name == "scenes"
    assert read_scores(small.scores, store)["cider"]["value"] is not None
    after = small.run.load(store).captioner.state_dict()
    assert all(bool((after[name] == value).all()) for name, value in before.items())
    RunCaptioner.load(store.path(small.run))
    store.build(small.student())  # new stages are made of old ones


def test_results_without_weights_are_enough_until_the_captioner_is_needed(small: Small) -> None:
    store, folder = small.store, small.store.path(small.run)
    leave_out(folder, ["captioner.safetensors"])
    whole = (folder / "captioner.safetensors").read_bytes()
    (folder / "captioner.safetensors").unlink()
    shutil.rmtree(store.path(small.captions))
    parameters = small.run.summary(store)["parameters"]
    read_scores(small.scores, store)
    assert not (folder / "captioner.safetensors").exists()
    store.build(small.captions)  # trains again
    assert small.run.summary(store)["parameters"] == parameters
    assert (folder / "captioner.safetensors").read_bytes() == whole


def test_a_plan_lists_what_is_trained_again_for_its_weights(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a store that was given results: without weights, and without what these were made of."""
    store, folder = small.store, small.store.path(small.run)

    def forget_weights() -> None:
        leave_out(folder, ["captioner.safetensors"])
        (folder / "captioner.safetensors").unlink()

    forget_weights()
    shutil.rmtree(store.path(small.features))
    made, make = list[Stage](), Store._make
    with monkeypatch.context() as patch:
        patch.setattr(
            Store, "_make", lambda store, stage, *rest: made.append(stage) or make(store, stage, *rest)
        )
        assert store.missing([small.scores]) == []  # which are there, so that nobody needs the run
        shutil.rmtree(store.path(small.captions))
        planned = store.missing([small.captions])
        assert planned == [small.features, small.run, small.captions]
        store.build(small.captions)
        assert {stage.key for stage in made} == {stage.key for stage in planned}
    # Another run asks of this one only whether it stayed what it began from.
    forget_weights()
    other = dataclasses.replace(small.run, stays_with=small.run)
    assert store.missing([other]) == [other]
    assert store.missing([dataclasses.replace(small.run, start=small.run)])[0] == small.run
    _build(small.run, store.root)  # as a worker that is told to
    assert (folder / "captioner.safetensors").is_file()


def test_captions_that_could_not_be_saved_are_not_made_again(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = Generate(small.run, "val", 2), GenerateTogether((small.run,), "val", 2)
    for stage in stages:
        with monkeypatch.context() as patch:
            patch.setattr(CaptionSet, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
            with pytest.raises(DataError, match="No space left"):
                small.store.build(stage)
        with monkeypatch.context() as patch:
            patch.setattr("distilcap.decode.captions.beam_search", lambda *_: pytest.fail("captioned again"))
            folder = small.store.build(stage)
        assert not list(folder.glob("*.log"))


def test_a_stage_that_is_built_again_is_never_half_there(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = small.run.vocabulary
    folder = small.store.path(vocabulary)
    leave_out(folder, ["words.json"])
    (folder / "words.json").unlink()
    rename, seen = Path.rename, list[Path]()

    def kill(path: Path, target: Path) -> Path:
        seen.append(target)
        if target == folder:  # the new one takes the old one's place
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", kill)
        with pytest.raises(KeyboardInterrupt):
            small.store.build(vocabulary, whole=True)
    assert seen == [folder.parent / ".partial" / f".removed-{folder.name}", folder]
    assert not folder.exists()
    assert small.store.open(vocabulary) == folder
    assert (folder / "words.json").is_file()


def test_a_deleted_data_set_is_imported_again_for_new_captions(small: Small) -> None:
    shutil.rmtree(small.store.path(small.data))
    small.store.build(Generate(small.run, "val", 1))
    assert small.store.has(small.data)


def test_the_umask_decides_the_mode_of_every_file(made: Small) -> None:
    paths = list(made.store.root.rglob("*"))
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in paths if path.is_file()}
    assert len(modes) > 12
    assert set(modes.values()) == {"0o640"}, modes
    assert {oct(path.stat().st_mode & 0o777) for path in paths if path.is_dir()} == {"0o750"}
