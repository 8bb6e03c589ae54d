"""A large model's captions, cleaned on the way from the file to what is learnt; and few photographs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from distilcap.data.caption_files import read_references
from distilcap.data.check import check_dataset
from distilcap.data.readers import read_dataset
from distilcap.errors import DataError
from distilcap.pipeline.own_images import DistillOptions, plan_own_images
from distilcap.pipeline.recipe import learnt_data
from distilcap.pipeline.remarks import note_data, note_training
from distilcap.pipeline.train import RunOptions, run_to_train
from distilcap.progress import Silent
from distilcap.stages.captions import CleanLabels, ImportCaptions
from distilcap.stages.changed_data import HoldOut
from distilcap.stages.data import CleanReferences, DataOptions, ImportData
from distilcap.stages.features import EncoderOptions
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.store import Store

WRITTEN = {
    "# Dogs\n\nA dog runs.": "A dog runs.",
    "1. A dog sits\n2. A cat": "A dog sits",
    "A boy jumps\n\nHe is happy": "A boy jumps",
    "**Two cows**\r\nTwo cows  stand\ton grass.": "Two cows stand on grass.",
    "a plain   caption": "a plain caption",
}
FORMS = ("jsonl", "json", "csv")


def write(folder: Path, form: str, texts: Mapping[str, str] | None = None) -> Path:
    """A data set of an image for each caption; `texts` are written instead."""
    rows = [(f"{n}.jpg", text) for n, text in enumerate(texts or WRITTEN)]
    for name, _ in rows:
        (folder / name).write_bytes(b"not looked into" + name.encode())
    path = folder / f"captions.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps({"image": n, "captions": [t]}) + "\n" for n, t in rows))
    elif form == "json":
        path.write_text(json.dumps([{"image": name, "caption": text} for name, text in rows]))
    else:
        quoted = "".join(f'{name},"{text}"\n' for name, text in rows)
        path.write_text("image,caption\n" + quoted, newline="")
    return path


def said(captions: Mapping[str, object]) -> list[str]:
    return [caption.text for of_image in captions.values() for caption in of_image]  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", FORMS)
def test_line_breaks_reach_the_cleaning(tmp_path: Path, form: str) -> None:
    path, store = write(tmp_path, form), Store(tmp_path / "store")
    one_line = [" ".join(text.split()) for text in WRITTEN]
    assert said(read_dataset(path).captions) == said(read_references(path)) == one_line
    data = ImportData.of(path)
    assert said(data.load(store).captions) == one_line
    clean = CleanReferences.of_data(data)
    assert said(clean.load(store).captions) == said(clean.read().captions) == list(WRITTEN.values())
    assert clean.cleaning(store).changed == 4
    labels = ImportCaptions.of(path)
    assert said(labels.load(store)) == one_line
    cleaned = CleanLabels.of(labels)
    assert said(cleaned.load(store)) == list(WRITTEN.values())
    assert cleaned.cleaning(store).changed == 4
    assert check_dataset(path).cleaning.changed == 4


def test_line_breaks_alone_make_other_clean_captions(tmp_path: Path) -> None:
    """The keys must differ where the captions as learnt without cleaning are the same."""
    lists = "1. A dog sits\n2. A cat", "1. A dog sits 2.\nA cat"
    paths = []
    for number, text in enumerate(lists):
        (tmp_path / str(number)).mkdir()
        paths.append(write(tmp_path / str(number), "jsonl", {text: ""}))
    first, second = map(ImportData.of, paths)
    assert first.key == second.key
    assert CleanReferences.of_data(first).key != CleanReferences.of_data(second).key


def test_data_without_line_breaks_keep_their_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "jsonl", dict.fromkeys(WRITTEN.values(), ""))
    data, labels = ImportData.of(path), ImportCaptions.of(path)
    assert CleanReferences.of_data(data).fingerprint == data.fingerprint
    assert CleanLabels.of(labels).labels == labels
    assert "line_breaks" not in labels.recipe()


REFUSAL = "I'm sorry, I can't describe this image."


def test_a_side_file_of_paragraphs_a_title_a_list_or_json_is_one_caption_where_it_is_cleaned(
    tmp_path: Path,
) -> None:
    texts = (
        *WRITTEN,
        "Here is a caption:\n\nA pig sits.",
        "a dog\nthe dog\n\n",
        "- a cow\n- a hen\n",
        '{\n  "objects": ["dog"],\n  "caption": "Two dogs run."\n}\n',
        'The caption:\n```json\n{\n  "caption": "Two \\"dogs\\" sit."\n}\n```',
        '{"caption": "a hen"}\n{"caption": "a goose"}\n',
        "x\n\ny\n\nz\n",
    )
    for number, text in enumerate(texts):
        (tmp_path / f"{number:02}.jpg").write_bytes(b"not looked into %d" % number)
        (tmp_path / f"{number:02}.txt").write_bytes(text.encode())
    plain = said(read_dataset(tmp_path).captions)
    assert plain[:5] == ["# Dogs", "A dog runs.", "1. A dog sits", "2. A cat", "A boy jumps"]
    _, dataset, cleaning = CleanReferences.read_from(ImportData.of(tmp_path))
    assert said(dataset.captions) == [
        *(*WRITTEN.values(), "A pig sits.", "a dog", "the dog", "a cow", "Two dogs run."),
        *('Two "dogs" sit.', "a hen", "a goose", *"xyz"),
    ]
    assert cleaning.dropped == 0
    assert check_dataset(tmp_path).counts["empty caption"] == 2  # between x, y and z


def photographs(folder: Path, captions: list[tuple[str, str]]) -> Path:
    """A data set of images with a split and a caption each."""
    path = folder / "captions.jsonl"
    lines = []
    for number, (split, text) in enumerate(captions):
        (folder / f"{number}.jpg").write_bytes(b"not looked into %d" % number)
        lines.append(json.dumps({"image": f"{number}.jpg", "split": split, "captions": [text]}) + "\n")
    path.write_text("".join(lines))
    return path


def test_splits_and_amount_are_those_of_clean_captions(tmp_path: Path) -> None:
    given = [("train", f"a dog and ball {n}") for n in range(12)] + [("train", REFUSAL), ("test", REFUSAL)]
    path, store = photographs(tmp_path, [*given, ("val", REFUSAL)]), Store(tmp_path / "store")
    source = ImportData.of(path)
    learnt, amount, _ = learnt_data(source, True, 16, "ptb", ("val", "test"))
    assert isinstance(learnt, HoldOut)
    assert isinstance(learnt.whole, CleanReferences)
    assert (amount.images, amount.captions) == (12, 12)
    splits = {split: len(learnt.load(store).references(split)) for split in ("train", "val", "test")}
    assert splits == {"train": 8, "val": 2, "test": 2}
    unclean, amount, _ = learnt_data(source, False, 16, "ptb", ("val", "test"))
    assert unclean is source
    assert amount.images == 13


def test_no_image_is_set_aside_whose_file_is_missing(tmp_path: Path) -> None:
    path = photographs(tmp_path, [("train", f"a dog runs {n}") for n in range(8)])
    for number in range(4, 8):
        (tmp_path / f"{number}.jpg").unlink()
    learnt, *_ = learnt_data(ImportData.of(path), False, 16, "ptb", ("val", "test"))
    dataset = learnt.load(Store(tmp_path / "store"))
    apart = {id for split in ("val", "test") for id in dataset.references(split)}
    assert len(apart) == 2
    assert apart < {"0", "1", "2", "3"}
    assert check_dataset(path).notes == (
        "of 4 captioned training images `distill` sets 1 for val and 1 for test aside.",
    )


def test_that_cleaning_left_too_little_is_said(tmp_path: Path) -> None:
    drops = r"`--clean-labels` changes 0 of 4 captions and drops {} \(refusal {}\)"
    path = photographs(tmp_path, [("train", "a dog"), *[("train", REFUSAL)] * 3])
    few = r"1 photograph with captions \(1 train, 0 val, 0 test\); training takes 4 \(better 50\)"
    with pytest.raises(DataError, match=few + ".*" + drops.format(3, 3)):
        plan(path, tmp_path, clean_labels=True)
    path = photographs(tmp_path, [("train", REFUSAL)] * 4)
    with pytest.raises(
        DataError, match=drops.format(4, 4) + ", so that no training image has a caption left"
    ):
        plan(path, tmp_path, clean_labels=True)


def plan(path: Path, folder: Path, **options: bool) -> None:
    asked = DistillOptions(student="updown-tiny", **options)  # type: ignore[arg-type]
    encoder = EncoderOptions(encoder_weights="random", image_size=32)
    plan_own_images(DataOptions(path), encoder, asked, {}, folder)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_folder_of_too_few_photographs_is_refused_in_the_plan(tmp_path: Path, count: int) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(count):
        (tmp_path / f"photos/{number}.jpg").write_bytes(b"not looked into %d" % number)
        (tmp_path / f"photos/{number}.txt").write_text(f"a dog {number}")
    said = rf"photos: {count} photographs? with captions \(.*\); training takes 4 \(better 50\).*Caption more"
    with pytest.raises(DataError, match=said):
        plan(tmp_path / "photos", tmp_path)
    encoder = EncoderOptions(encoder_weights="random", image_size=32)
    with pytest.raises(DataError, match=said):
        run_to_train(DataOptions(tmp_path / "photos"), encoder, RunOptions("updown-tiny"), {}, tmp_path)


def test_data_check_sets_images_aside_as_distill_does(tmp_path: Path) -> None:
    given = [("train", f"a dog runs {n}") for n in range(6)]
    path = photographs(tmp_path, given)
    report = check_dataset(path)
    assert "nothing to learn" not in report.counts
    assert report.notes == ("of 6 captioned training images `distill` sets 2 for val and 1 for test aside.",)
    plan(path, tmp_path)
    assert report.coverage is not None
    learnt, *_ = learnt_data(ImportData.of(path), False, 16, "ptb", ("val", "test"))
    store = Store(tmp_path / "store")
    assert BuildVocabulary(learnt, 1).coverage(store) == report.coverage


def test_data_check_judges_what_cleaning_leaves_of_a_models_captions(tmp_path: Path) -> None:
    path = photographs(tmp_path, [("train", REFUSAL)] * 6)
    (problem,) = (one for one in check_dataset(path).problems if one.kind == "nothing to learn")
    assert "differ" not in problem.message
    assert problem.message.endswith("`--clean-labels` changes 0 of 6 captions and drops 6 (refusal 6).")
    long = (
        "The image shows a dog number {} that runs on the grass, with a red ball in its mouth, beside a man"
    )
    path = photographs(tmp_path, [("train", long.format(n)) for n in range(12)])
    report = check_dataset(path)
    assert report.coverage is not None
    assert report.coverage.warnings == []
    (note,) = (note for note in report.notes if "judged" in note)
    assert "as `--clean-labels` leaves them: many are as if a large model wrote them. Without" in note
    path = photographs(tmp_path, [("train", f"knock knock knock {n}") for n in range(12)])
    report = check_dataset(path)
    assert report.cleaning.dropped_by == {"repetition": 12}
    assert "judged" not in " ".join(report.notes), "people repeat themselves too"


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.mark.parametrize("count", [1, 2])
def test_a_single_validation_image_is_named_before_training_alone(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [("train", f"a dog {n}") for n in range(6)] + [("val", "a cat")] * count
    path, store, notes = photographs(tmp_path, given), Store(tmp_path / "store"), Notes()
    encoder = EncoderOptions(encoder_weights="random", image_size=32)
    run = run_to_train(DataOptions(path), encoder, RunOptions("updown-tiny"), {}, tmp_path)
    monkeypatch.setattr(Train, "summary", lambda *_: {"best_validation_cider": 0.0})
    note_data(run, store, notes)
    note_training("it", run, store, notes)
    (note,) = notes.said
    single = "only one image that has captions and can be read. CIDEr takes two"
    assert (single if count == 1 else "it has learnt next to nothing") in note


def test_a_single_validation_image_that_can_be_read_is_named_after_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [("train", f"a dog {n}") for n in range(6)] + [("val", "a cat")] * 2
    path, store, notes = photographs(tmp_path, given), Store(tmp_path / "store"), Notes()
    for number in range(7):  # the last is no image
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.jpg")
    encoder = EncoderOptions(encoder_weights="random", image_size=32)
    run = run_to_train(DataOptions(path), encoder, RunOptions("updown-tiny"), {}, tmp_path)
    store.build(run.features)
    monkeypatch.setattr(Train, "summary", lambda *_: {"best_validation_cider": 0.0})
    note_training("it", run, store, notes)
    (note,) = notes.said
    assert "only one image that has captions and can be read" in note


def test_labels_that_name_files_cost_no_second_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, labels = write(tmp_path, "json"), tmp_path / "labels.jsonl"
    labels.write_text('{"image": "0.jpg", "caption": "one"}\n{"image": "1.jpg", "caption": "two"}\n')
    readings = []
    own = ImportData.as_written
    monkeypatch.setattr(ImportData, "as_written", lambda *given, **k: readings.append(1) or own(*given, **k))
    encoder = EncoderOptions(encoder_weights="random", image_size=32)
    run_to_train(DataOptions(path), encoder, RunOptions("updown-tiny"), {}, tmp_path)
    without = len(readings)
    asked = RunOptions("updown-tiny", labels=labels)
    assert run_to_train(DataOptions(path), encoder, asked, {}, tmp_path).labels is not None
    assert len(readings) == 2 * without
