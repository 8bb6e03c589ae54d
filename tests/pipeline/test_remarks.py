"""Labels and captioners that are worth nothing are named at once; a large model's captions are cleaned."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from distilcap.cli.main import cli
from distilcap.data.captions import CaptionSet
from distilcap.data.readers.columns import Columns
from distilcap.data.scenes import draw_scenes
from distilcap.data.trainable import Variety
from distilcap.errors import DataError
from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.distill import distill
from distilcap.pipeline.given import GivenTeacher
from distilcap.pipeline.own_images import DistillOptions, plan_own_images
from distilcap.pipeline.plan import Role, plan_distillation
from distilcap.pipeline.remarks import note_data, note_labels, note_learnt_tests
from distilcap.pipeline.train import RunOptions, run_to_train, train_run
from distilcap.progress import SILENT, Progress, Silent
from distilcap.reports.collect import collect_results
from distilcap.stages.captioner import ImportCaptioner
from distilcap.stages.captions import CleanLabels, ImportCaptions, Labels
from distilcap.stages.changed_data import HoldOut
from distilcap.stages.data import CleanReferences, DataOptions, ImportData
from distilcap.stages.features import EncoderOptions, ExtractFeatures
from distilcap.stages.train import Train
from distilcap.store.store import Store
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

NOTHING = CrossEntropyPhase(epochs=1, learning_rate=1e-9)
TRAINING = TrainingOptions(NOTHING, SelfCriticalPhase(epochs=0), batch_images=8)
STUDENT = Role("updown", "tiny", UpDownOptions(hidden=8, embedding=8, attention=4), TRAINING)


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


@dataclass(frozen=True)
class WrittenLabels(Labels):
    """Labels that a test writes."""

    texts: tuple[str, ...]
    ids: tuple[str, ...]

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        texts = {id: [self.texts[number % len(self.texts)]] for number, id in enumerate(self.ids)}
        CaptionSet.of_texts(texts).save(folder / "captions.jsonl")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    draw_scenes(folder, (24, 6, 8), size=32)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def ids(scenes: Path, store: Store) -> tuple[str, ...]:
    data = ImportData.of(scenes)
    store.build(data)
    return tuple(image.id for image in data.load(store).split("train"))


def save(path: Path, ids: tuple[str, ...], *texts: str) -> Path:
    """A captions file in which the texts take turns."""
    CaptionSet.of_texts({id: [texts[n % len(texts)]] for n, id in enumerate(ids)}).save(path)
    return path


def tiny(run: Train) -> Train:
    """The same with a captioner that trains in no time."""
    return dataclasses.replace(run, options=STUDENT.options)


def options(scenes: Path) -> tuple[DataOptions, EncoderOptions]:
    return DataOptions(scenes), EncoderOptions(encoder_weights="random", image_size=32)


def test_captions_that_hardly_differ() -> None:
    for few in ([], ["a dog"], ["a dog", "a cat"], ["a dog", ""], ["a dog", "a cat"] * 50):
        assert Variety.of(few).hardly_any() == ""
    assert Variety.of(["", "..."]).hardly_any() == "all 2 captions are empty"
    assert Variety.of(["a dog", "A  dog.", "!"]) == Variety(3, 1, 1, "a dog")
    assert Variety.of(["a dog", "A  dog.", "!"]).hardly_any() == "all 2 captions say 'a dog'"
    assert Variety.of(["a dog", "a cat"] * 51).hardly_any() == "102 captions are only 2 different ones"


def test_a_teacher_that_writes_nothing_is_named_with_the_next_step(
    scenes: Path, store: Store, ids: tuple[str, ...]
) -> None:
    run, notes = tiny(run_to_train(*options(scenes), RunOptions("updown-tiny"), TRAINING)), Notes()
    for texts, said in (
        (("a dog",), "all 24 captions say 'a dog'"),
        (
            ("", "a dog", "a cat"),
            "8 of 24 captions are empty and left out",
        ),
    ):
        labels = WrittenLabels(texts, ids)
        store.build(labels)
        note_labels(labels, run, store, notes, "teacher tiny")
        (note,) = notes.said
        assert note.startswith(
            f"teacher tiny, training images: {said}. Next step: train it longer (`--epochs`) "
        )
        assert "`--teacher-captions`" in note
        notes.said.clear()
    empty = WrittenLabels(("...",), ids)
    store.build(empty)
    with pytest.raises(
        DataError,
        match=r"teacher tiny, training images: all 24 captions are empty\. Next step: train it longer",
    ):
        note_labels(empty, run, store, notes, "teacher tiny")
    assert not notes.said


def test_words_of_labels_that_are_not_learnt_are_named(
    scenes: Path, store: Store, ids: tuple[str, ...], tmp_path: Path
) -> None:
    asked = RunOptions("updown-tiny", labels=save(tmp_path / "1.jsonl", ids, "a red corgi", "a red cat"))
    run = run_to_train(*options(scenes), asked, TRAINING)
    assert run.labels is not None
    notes = Notes()
    note_labels(run.labels, run, store, notes)
    assert notes.said == [
        f"{tmp_path}/1.jsonl, training images: 16.7% of the words become <unk> and are not learnt, for the "
        "vocabulary is of the data's own captions (`--min-count` 5): 'corgi' 12. Next step: add captions "
        "with these words to the data, or lower `--min-count` where they are there but rare."
    ]
    notes.said.clear()
    known = ImportCaptions.of(save(tmp_path / "2.jsonl", ids, *["a red cat", "a <unk> cat"] * 20))
    note_labels(known, run, store, notes)
    assert notes.said == []


def test_labels_that_cleaning_drops_altogether_are_refused_at_once(
    scenes: Path, ids: tuple[str, ...], tmp_path: Path
) -> None:
    file, store = save(tmp_path / "theirs.jsonl", ids, "I'm sorry.", "dai dai dai"), Store(tmp_path / "store")
    asked = DistillOptions(student="updown-tiny", teacher_captions=file, clean_labels=True, min_count=1)
    _, plan = plan_own_images(*options(scenes), asked, TRAINING, tmp_path)
    (labels,) = plan.taught
    said = (
        r"theirs\.jsonl: `--clean-labels` changes 0 of 24 captions and drops 24 \(refusal 12, repetition 12\)"
        r", so that no caption of a training image is left\. Next step: look into the file, or leave"
    )
    with pytest.raises(DataError, match=said):
        note_labels(labels, plan.taught[labels][1], store, SILENT, plan.taught[labels][0])
    run = run_to_train(
        *options(scenes), RunOptions("updown-tiny", labels=file, clean_labels=True, min_count=1), TRAINING
    )
    with pytest.raises(DataError, match=said):
        train_run(run, store, SILENT)
    assert not store.has(run.features)


def test_labels_of_a_file_are_reported_and_cleaned(
    scenes: Path, store: Store, ids: tuple[str, ...], tmp_path: Path
) -> None:
    file = save(tmp_path / "theirs.jsonl", ids, "The image shows a dog. It runs.", "I'm sorry.", "a red cat")
    asked = RunOptions("updown-tiny", labels=file, min_count=1)
    counted = "changes 8 of 24 captions (prefix 8, sentences 8) and drops 8 (refusal 8)."

    notes = Notes()
    raw = tiny(run_to_train(*options(scenes), asked, TRAINING))
    assert raw.labels == ImportCaptions.of(file)
    train_run(raw, store, notes)
    as_it_is, learnt = notes.said[0], notes.said[-1]
    assert as_it_is == f"{file}: learnt from as it is; `--clean-labels` {counted}"
    assert "has learnt next to nothing (validation CIDEr 0." in learnt
    assert learnt.endswith("Next step: train it longer (`--epochs`) or on more images.")

    notes = Notes()
    cleaning = dataclasses.replace(asked, clean_labels=True)
    clean = tiny(run_to_train(*options(scenes), cleaning, TRAINING))
    assert clean.labels == CleanLabels(ImportCaptions.of(file), 16)
    train_run(clean, store, notes)
    assert notes.said[0] == f"{file}: `--clean-labels` {counted}"
    captions = clean.labels.load(store)
    assert len(captions) == 16
    assert {text for id in captions for text in captions.texts(id)} == {"A dog.", "a red cat"}
    assert clean.summary(store)["images_seen"] == 16
    assert raw.summary(store)["images_seen"] == 24


def test_a_file_of_empty_captions_is_refused_before_any_training(
    scenes: Path, ids: tuple[str, ...], tmp_path: Path
) -> None:
    file, store = save(tmp_path / "theirs.jsonl", ids, "..."), Store(tmp_path / "store")
    run = run_to_train(*options(scenes), RunOptions("updown-tiny", labels=file, min_count=1), TRAINING)
    with pytest.raises(
        DataError, match=r"theirs.jsonl, training images: all 24 captions are empty\. .*look into the file\."
    ):
        train_run(run, store, SILENT)
    assert not store.has(run.features)
    with pytest.raises(
        DataError, match=r"import-captions-\w+: all 24 captions are empty; .* learnt nothing yet"
    ):
        store.build(run)  # as on a cluster


def test_captions_of_a_data_set_are_cleaned_in_all_splits(scenes: Path, store: Store, tmp_path: Path) -> None:
    content = json.loads((scenes / "dataset_scenes.json").read_text())
    for image in content["images"]:
        image["sentences"] = [
            {"raw": f"Caption: **{image['sentences'][0]['raw']}**"},
            {"raw": "I cannot see."},
        ]
    (tmp_path / "theirs.json").write_text(json.dumps(content))
    data = DataOptions(tmp_path / "theirs.json", scenes / "images")
    _, encoder = options(scenes)
    asked = DistillOptions(student="updown-tiny", clean_labels=True, min_count=1)
    _, plan = plan_own_images(data, encoder, asked, TRAINING, tmp_path)
    assert isinstance(plan.data, CleanReferences)
    assert plan.students[-1].trains[0].data == plan.data
    assert plan.features.data == data.stage()  # features do not depend on captions
    whole = dataclasses.replace(data.stage(), columns=Columns(caption_column=("x",)))
    for field in dataclasses.fields(ImportData):
        assert getattr(CleanReferences.of_data(whole), field.name) == getattr(whole, field.name)
    store.build(plan.data)
    cleaned = plan.data.load(store)
    assert {image.split for image in cleaned.images} == {"train", "val", "test"}
    first = {image["filename"]: image["sentences"][0]["raw"] for image in content["images"]}
    for image in cleaned.images:
        (text,) = cleaned.captions.texts(image.id)
        plain = first[image.path.name]
        assert text.lower() in plain.lower()
    counts = plan.data.cleaning(store)
    assert counts.dropped_by == {"refusal": len(first)}
    assert counts.changed_by["markup"] == counts.changed_by["preamble"] == len(first)


def test_captions_of_a_data_set_that_a_large_model_wrote_are_remarked_on(
    scenes: Path, store: Store, tmp_path: Path
) -> None:
    notes, asked = Notes(), RunOptions("updown-tiny")
    note_data(run_to_train(*options(scenes), asked, TRAINING), store, notes)
    assert not notes.said, "drawn captions are plain"
    content = json.loads((scenes / "dataset_scenes.json").read_text())
    theirs = [image for image in content["images"] if image["split"] == "train"][:12]
    for image in theirs:
        image["sentences"] = [{"raw": "A dog runs on the grass\n\nIt is happy"} for _ in image["sentences"]]
    (tmp_path / "theirs.json").write_text(json.dumps(content))
    data, (_, encoder) = DataOptions(tmp_path / "theirs.json", scenes / "images"), options(scenes)
    note_data(run_to_train(data, encoder, asked, TRAINING), store, notes)
    counts = re.search(
        r"of the first 120 training captions (\d+) are not plain .* changes (\d+) of 120 captions "
        r"\(sentences 60, .*length 1\)",
        notes.said[-1],
    )
    assert counts is not None
    assert all(int(count) >= sum(len(image["sentences"]) for image in theirs) for count in counts.groups())
    short = dataclasses.replace(TRAINING, max_words=4)
    note_data(run_to_train(data, encoder, asked, short), store, notes)
    assert "(length " in notes.said[-1], "most are longer"


def test_a_distillation_says_what_its_captioners_have_not_learnt(
    scenes: Path, store: Store, ids: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = ("rouge_l", "cider")
    monkeypatch.setattr("distilcap.reports.results.METRICS", metrics)
    content = json.loads((scenes / "dataset_scenes.json").read_text())
    bare = next(image for image in content["images"] if image["split"] == "test")
    bare["sentences"] = []  # as cleaning may leave it
    (tmp_path / "scenes.json").write_text(json.dumps(content))
    data = ImportData.of(tmp_path / "scenes.json", scenes / "images")
    teacher = GivenTeacher("theirs", WrittenLabels(("In this picture, a dog runs.",), ids), "theirs").cleaned(
        16
    )
    assert teacher.labels_in_words == "theirs, then cleaned"
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=32, weights="random")
    plan = plan_distillation(data, features, teacher, STUDENT, beam=2, min_count=1)
    notes = Notes()
    distilled = distill(plan, store, notes, export=False, metrics=metrics)
    said = [note for note in notes.said if "Next step" in note or "clean" in note]
    assert said[0] == "theirs: `--clean-labels` changes 24 of 24 captions (prefix 24) and drops 0."
    assert said[1].startswith("theirs, training images: all 24 captions say 'a dog runs'. Next step: ")
    assert said[2].startswith("theirs, training images: 33.3% of the words become <unk>")
    assert said[3].startswith("updown-tiny has learnt next to nothing (validation CIDEr ")
    assert said[4].startswith("updown-tiny, distilled has learnt next to nothing (validation CIDEr ")
    assert len(said) == 5
    assert "updown-tiny, distilled has learnt next to nothing: all 8 captions " in distilled.verdict
    results = collect_results("title", plan.systems, distilled.rows, distilled.verdict, store, notes)
    assert len(results.samples) == 7
    run = store.path(plan.students[-1].trains[0])
    file = str(tmp_path / "captions.jsonl")
    command = ["generate", str(run), "--beam-size", "1", "--split", "val", "--to", file]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, (result.output, result.exception)
    said_of_run = " ".join(result.stderr.split())
    assert "has learnt next to nothing: all 6 captions" in said_of_run
    assert Path(bare["filename"]).stem not in {sample.image for sample in results.samples}


def test_photographs_without_captions_are_told_two_ways_out(scenes: Path, tmp_path: Path) -> None:
    data, encoder = DataOptions(scenes / "images"), EncoderOptions(encoder_weights="random", image_size=32)
    said = r"no training image has a caption \(38 images in all\)\. Put 1\.txt beside 1\.jpg.*label_with_vlm"
    for recipe in ("auto", "paper"):
        with pytest.raises(DataError, match=said):
            plan_own_images(data, encoder, DistillOptions(recipe=recipe), {}, tmp_path)
        with pytest.raises(DataError, match=said):
            run_to_train(data, encoder, RunOptions("updown-tiny", recipe=recipe), {}, tmp_path)


def test_captions_for_photographs_that_have_none_are_taken_as_the_data(scenes: Path, tmp_path: Path) -> None:
    file = tmp_path / "theirs.jsonl"
    CaptionSet.of_texts({"train_0": ["a dog"]}).save(file)
    photos = scenes / "images"
    asked = DistillOptions(teacher_captions=file)
    with pytest.raises(DataError) as caught:
        plan_own_images(DataOptions(photos), EncoderOptions(), asked, TRAINING, tmp_path)
    assert str(caught.value).endswith(f"give it as the data: `--data {file} --images {photos}`.")


def test_an_image_that_features_lack_and_that_can_be_read_by_now_is_named(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (6, 2, 2), size=32)
    image = next((tmp_path / "scenes").rglob("*.jpg"))
    content, notes, store = image.read_bytes(), Notes(), Store(tmp_path / "store")
    image.write_bytes(bytes(4096) + content[4096:] if len(content) > 4096 else bytes(len(content)))
    run = tiny(run_to_train(*options(tmp_path / "scenes"), RunOptions("updown-tiny"), TRAINING))
    store.build(run.features)
    note_data(run, store, notes)
    assert not any("could not be read" in said for said in notes.said)
    image.write_bytes(content)
    note_data(run, store, notes)
    (said,) = (said for said in notes.said if "could not be read" in said)
    assert f"image {image.stem!r} could not be read when the features in {tmp_path}" in said
    with (store.path(run.features) / "store.json").open("a") as file:
        file.write(" ")
    note_data(run, store, notes)  # who needs the features says that they are damaged


def test_a_captioner_that_learnt_test_images_is_named(tmp_path: Path) -> None:
    """`train` takes a test split from nobody; `distill` does, where the data have none."""
    draw_scenes(tmp_path / "scenes", (20, 2, 2), size=32)
    captions = tmp_path / "scenes/dataset_scenes.json"
    captions.write_text(re.sub('"split": "[a-z]+"', '"split": "train"', captions.read_text()))
    data, notes = ImportData.of(tmp_path / "scenes"), Notes()
    store = Store(tmp_path / "store")
    dataset = data.read()
    first, student = (HoldOut.where_needed(data, dataset, needed) for needed in (["val"], ["val", "test"]))
    run = tiny(run_to_train(*options(tmp_path / "scenes"), RunOptions("updown-tiny"), TRAINING))
    run = dataclasses.replace(run, data=first)
    for stage in (first, student, run):
        store.build(stage)
    start = ImportCaptioner.of(store.path(run), "run")
    for captioner in (run, start):
        note_learnt_tests(student, [captioner], store, notes)
        (said,) = notes.said
        assert said.startswith(f"{store.path(run)} has learnt 2 of the 2 test images: its scores here")
        notes.said.clear()
    note_learnt_tests(first, [run, start], store, notes)
    assert not notes.said
