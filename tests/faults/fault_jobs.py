"""A tiny experiment whose every step is a job for a child: seconds at most, on drawn scenes of 32 pixels.

Only the warm process imports this (see `fault_server`), and its children inherit it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_files import content_of, flip
from fault_inputs import broken

from distilcap.cli.main import cli
from distilcap.data import features as features_module
from distilcap.data.caption_files import read_candidates, read_references
from distilcap.data.scenes import draw_scenes
from distilcap.encoders import extract
from distilcap.encoders.registry import create_encoder, save_encoder
from distilcap.errors import DistilCapError
from distilcap.export import bundle as bundle_module
from distilcap.export.bundle import export_bundle
from distilcap.export.onnx.parts import Parts
from distilcap.export.options import ExportOptions
from distilcap.files import read_json, write_checksum, write_text
from distilcap.metrics import reward
from distilcap.models.fast import accelerate
from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.own_images import DistillOptions, plan_own_images
from distilcap.pipeline.photographs import RunCaptioner
from distilcap.progress import SILENT
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.decode_options import DecodeChoice, DecodeOptions
from distilcap.stages.captions import ImportCaptions
from distilcap.stages.data import DataOptions, HideCaptions, ImportData
from distilcap.stages.decoding import ChooseDecoding
from distilcap.stages.export import Export
from distilcap.stages.features import EncoderOptions, ExtractFeatures
from distilcap.stages.folders import import_stages
from distilcap.stages.label import Generate, decoding_of
from distilcap.stages.measure import Evaluate, MeasureLatency, read_scores
from distilcap.stages.other_labels import DrawCaptions
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.contents import contents
from distilcap.store.pack import export_results, import_results
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shard_files import merge_shards
from distilcap.teachers.shards import label_shard
from distilcap.training import loop
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

import_stages()
assert all((accelerate, reward, Bundle, broken))  # warm: children need not import them


def keep_often() -> None:
    """Let a kill meet work that is begun and kept; for the process of the server only."""
    extract.FLUSH_IMAGES = 8
    loop.Training = functools.partial(  # type: ignore[misc,assignment]
        loop.Training, checkpoint_seconds=0.02
    )
    features_module._SPARE_BYTES = 0  # so that a tiny disk is filled, and not refused


DATA = "data.jsonl"
OWN, MORE = "own.jsonl", "more"  # a person's: no validation split; and photographs without captions
IMAGES, SIZE = (24, 6, 6), 32
TRAINING = TrainingOptions(
    CrossEntropyPhase(epochs=3, learning_rate=0.1),
    SelfCriticalPhase(epochs=2, samples=2, learning_rate=5e-3),
    batch_images=4,
    captions_per_image=2,
)


def draw(scenes: Path) -> None:
    """The data set: drawn pictures, with captions that are learnt in a few steps."""
    dataset = draw_scenes(scenes, IMAGES, size=SIZE)
    lines = []
    for number, image in enumerate(dataset.images):
        said = "a big red dog" if number % 3 else "the blue cat sits"
        captions = [said, f"{said} {'here' if number % 2 else 'there'}"]
        lines.append({"image": image.path.name, "captions": captions, "split": image.split})
    write_text(scenes / DATA, "".join(json.dumps(line) + "\n" for line in lines))
    own = [line for line in lines if line["split"] != "val"]
    write_text(scenes / OWN, "".join(json.dumps(line) + "\n" for line in own))
    draw_scenes(scenes / MORE, (4, 1, 1), size=SIZE, seed=1)


@dataclasses.dataclass(frozen=True)
class Steps:
    """All stages of the experiment."""

    data: ImportData
    hidden: HideCaptions
    vocabulary: BuildVocabulary
    features: ExtractFeatures
    training: Train
    tuned: Train
    labels: Generate
    drawn: DrawCaptions
    decoding: ChooseDecoding
    captions: Generate
    scores: Evaluate
    latency: MeasureLatency
    bundle: Export

    def named(self) -> dict[str, Stage]:
        """By name."""
        return vars(self)


@functools.cache
def steps(scenes: Path) -> Steps:
    """Decide the stages; their names do not depend on where the data lie."""
    data = ImportData.of(scenes / DATA, scenes / "images")
    vocabulary = BuildVocabulary(data, 1)
    seen = ExtractFeatures.of(data, "timm:test_efficientnet", SIZE, "random")
    widths = UpDownOptions(hidden=8, embedding=8, attention=4, dropout=0.1)
    run = Train(data, vocabulary, seen, "updown", widths, TRAINING)
    decoding = decoding_of(run, 2)
    captions = Generate(run, "test", 2, decoding=decoding)
    return Steps(
        data,
        HideCaptions.of_data(data, 0.5),
        vocabulary,
        seen,
        run,
        dataclasses.replace(run, tune_encoder=True),
        Generate(run, "train", 2, n_best=2),
        DrawCaptions(run, "train", 2),
        decoding,
        captions,
        Evaluate.of(captions, ("bleu", "rouge_l", "cider")),
        MeasureLatency(run, images=1, warmup=0),
        Export(run, ("float16",), images=4, decoding=decoding),
    )


def prepare(scenes: Path) -> None:
    """Decide the stages before any child does."""
    steps(scenes)


def keys(scenes: Path) -> dict[str, str]:
    """What the stages are called in a store."""
    return {name: stage.key for name, stage in steps(scenes).named().items()}


def build(scenes: Path, root: Path, *names: str) -> None:
    """Build stages."""
    for name in names:
        Store(root).build(steps(scenes).named()[name])


def trace(scenes: Path, root: Path) -> None:
    """Trace the run's networks once: children export what was traced, since tracing takes seconds."""
    store, run = Store(root), steps(scenes).training
    decode = steps(scenes).decoding.load(store).options(run.max_words)
    parts = Parts.trace(run.seen.create(store), run.load(store), decode)

    class Traced(Parts):
        @staticmethod
        def trace(*_: object) -> Parts:
            return parts

    bundle_module.Parts = Traced  # type: ignore[misc]


def bundle(scenes: Path, root: Path, to: Path) -> None:
    """`distilcap export`."""
    run, store = steps(scenes).training, Store(root)
    export_bundle(
        store.path(run),
        to,
        ExportOptions(precision="float16", max_loss=1.0),
        encoder=run.seen.create(store),
        decode=DecodeOptions(2, run.max_words),
    )


def label(scenes: Path, root: Path, to: Path) -> None:
    """`distilcap generate --images` in two shards."""
    captioner = RunCaptioner.load(Store(root).path(steps(scenes).training), DecodeChoice(2))
    for number in range(2):
        options = LabelOptions(2, 2, shard=number, shards=2, batch_images=3)
        label_shard(captioner, scenes / "images", to, options, SILENT)


def distil(scenes: Path, root: Path, to: Path) -> None:
    """What `distilcap distill --start RUN --unlabelled FOLDER` builds in the store `to`, but milliseconds."""
    start = Store(root).path(steps(scenes).training)
    asked = DistillOptions(start=start, unlabelled=scenes / MORE, beam_size=2, n_best=2)
    data = DataOptions(scenes / OWN, scenes / "images")
    schedule = {"epochs": 2, "scst_epochs": 0, "batch_images": 8}
    _, plan = plan_own_images(data, EncoderOptions(encoder_engine="torch"), asked, schedule, to)
    for stage in plan.stages(export=False):
        if not stage.alone:
            Store(to).build(stage)


def label_and_merge(scenes: Path, root: Path, to: Path) -> None:
    """The same, and `distilcap merge`."""
    label(scenes, root, to)
    merge_shards(to, to / "labels.jsonl")


def evaluate(references: Path, captions: Path, to: Path) -> None:
    """`distilcap evaluate`."""
    arguments = ["evaluate", captions, "--references", references, "--metrics", "bleu,rouge_l,cider"]
    arguments += ["--resamples", 20, "--json", to / "scores.json", "--csv", to / "scores.csv"]
    cli([*map(str, arguments)], standalone_mode=False)


def pack(root: Path, to: Path) -> None:
    """`distilcap store export`."""
    export_results(contents(root), to)


def command(*arguments: object) -> None:
    """Any command line."""
    cli([*map(str, arguments)], standalone_mode=False)


def captions_file(scenes: Path, root: Path, to: Path) -> None:
    """A captions file with its side file, as `distilcap generate --to` writes it."""
    steps(scenes).captions.load(Store(root)).save(to)
    write_checksum(to)


def encoder_file(to: Path) -> None:
    """A saved encoder."""
    save_encoder(create_encoder("timm:test_efficientnet", size=SIZE, weights="random"), to)  # type: ignore[arg-type]


def damages(root: Path) -> list[str]:
    """What `distilcap store verify` finds."""
    return [damage for entry in contents(root) if (damage := entry.damage()) is not None]


def read_stage(name: str, scenes: Path, root: Path) -> Any:
    """What a stage's readers make of its artifact, to be compared."""
    stage, store = steps(scenes).named()[name], Store(root)
    if isinstance(stage, Evaluate):
        return read_scores(stage, store), store.seconds(stage) > 0
    if isinstance(stage, Export):
        opened = Bundle.open(store.open(stage) / "bundle")
        return [opened.caption(path) for path in sorted((scenes / "images").iterdir())[:2]]
    loaded = stage.load(store)  # type: ignore[attr-defined]
    if isinstance(stage, ExtractFeatures):
        rows, counts = loaded.rows(loaded.ids)
        return loaded.ids, loaded.recipe, rows.tobytes(), counts.tobytes(), loaded.skipped
    if isinstance(stage, Train):
        weights = {key: value.numpy().tobytes() for key, value in loaded.captioner.state_dict().items()}
        summary, history = stage.summary(store), read_json(store.open(stage, loop.LOG) / loop.LOG)
        encoder = (
            create_encoder(str(store.path(stage) / "encoder-tuned.safetensors"))
            if stage.tune_encoder
            else None
        )
        return weights, loaded.vocabulary, loaded.features, summary, history, encoder and encoder.recipe()
    return loaded


@dataclasses.dataclass(frozen=True)
class Flips:
    """What came of flipped bits.

    Attributes:
        refused: stopped in one line. unused: read to the same result. wrong: everything else, in words.
    """

    refused: int
    unused: int
    wrong: tuple[str, ...]


def flipped(folder: Path, read: Callable[[], Any], seed: int, count: int) -> Flips:
    """Flip `count` bits of each file of a folder, one at a time, and read."""
    bits, before = random.Random(seed), read()
    refused, unused, wrong = 0, 0, []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for _ in range(count if whole else 0):
            bit = flip(path, bits)
            try:
                if read() == before:
                    unused += 1
                else:
                    wrong.append(f"{path}, bit {bit}: read as if nothing were")
            except DistilCapError as error:
                refused += 1
                if "\n" in str(error) or not str(error):
                    wrong.append(f"{path}, bit {bit}: not one line: {error}")
            except Exception as error:
                wrong.append(f"{path}, bit {bit}: {type(error).__name__}: {error}")
            path.write_bytes(whole)
    return Flips(refused, unused, tuple(wrong))


def flips_in_stage(name: str, scenes: Path, root: Path, seed: int, count: int) -> Flips:
    """In every file of a complete stage; `verify` finds each of them."""
    stage = steps(scenes).named()[name]
    folder = Store(root).path(stage)

    def read() -> Any:
        try:
            return read_stage(name, scenes, root)
        finally:
            damaged = [one for entry in contents(root) if entry.folder == folder and (one := entry.damage())]
            found.append(bool(damaged))

    found: list[bool] = []
    flips = flipped(folder, read, seed, count)
    missed = found[1:].count(False)
    wrong = (*flips.wrong, f"{name}: verify missed {missed} flips") if missed else flips.wrong
    return Flips(flips.refused, flips.unused, wrong)


def flips_in_captions(folder: Path, seed: int, count: int) -> Flips:
    """In a captions file with a side file, by each of its readers."""
    path = folder / "captions.jsonl"

    def read() -> Any:
        imported = ImportCaptions.of(path)
        (folder.parent / "imported").mkdir(exist_ok=True)
        imported.build(folder.parent / "imported", Store(folder), SILENT)
        assert read_candidates(path).keys() == read_references(path).keys()
        return (folder.parent / "imported" / "captions.jsonl").read_bytes()

    return flipped(folder, read, seed, count)


def flips_in_scores(folder: Path, seed: int, count: int) -> Flips:
    """In a file of scores."""
    from distilcap.metrics.files import read_scores as read_score_file

    def read() -> Any:
        scores, references = read_score_file(folder / "scores.json")
        plain = {
            key: dataclasses.astuple(dataclasses.replace(one, statistics=None)) for key, one in scores.items()
        }
        rows = {key: one.statistics.tobytes() for key, one in scores.items() if one.statistics is not None}
        return plain, rows, references

    return flipped(folder, read, seed, count)


def flips_in_encoder(folder: Path, seed: int, count: int) -> Flips:
    """In a saved encoder."""

    def read() -> Any:
        encoder = create_encoder(str(folder / "encoder.safetensors"))
        return {key: value.numpy().tobytes() for key, value in encoder.state_dict().items()}  # type: ignore[attr-defined]

    return flipped(folder, read, seed, count)


def flips_in_bundle(scenes: Path, folder: Path, seed: int, count: int) -> Flips:
    """In every file of a bundle."""
    photo = sorted((scenes / "images").iterdir())[0]
    return flipped(folder, lambda: Bundle.open(folder).caption(photo), seed, count)


def flips_in_pack(folder: Path, seed: int, count: int) -> Flips:
    """In a pack of results, which is imported into a new store."""

    def read() -> Any:
        root = folder.parent / "imported"
        shutil.rmtree(root, ignore_errors=True)
        try:
            import_results(folder / "results.tar.gz", root)
        finally:
            damaged = damages(root) if root.is_dir() else []
            assert not damaged, damaged
        return content_of(root)

    return flipped(folder, read, seed, count)
