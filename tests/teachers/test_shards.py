"""Labels in shards: every image once, a killed process goes on, what is bad or missing is named."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner
from dies import Dies, Killed

import distilcap
from distilcap.cli.main import cli
from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.decode.captions import rank_captions
from distilcap.errors import ConfigError, DataError
from distilcap.files import sha256_of
from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.labelling import Labelling, label_side_by_side
from distilcap.pipeline.photographs import RunCaptioner
from distilcap.progress import SILENT, Silent
from distilcap.runtime.decode_options import DecodeChoice
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.folders import run_of
from distilcap.stages.label import decoding_of
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.engine import EngineOptions
from distilcap.store.store import Store
from distilcap.teachers.listing import NamedImage, find_images
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shard_files import Labelled, Shard, merge_shards
from distilcap.teachers.shards import PhotoCaptioner, _own, label_shard
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

T = TypeVar("T")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn pictures in subfolders, one damaged and one of another's name."""
    folder = tmp_path_factory.mktemp("photos")
    draw_scenes(folder / "scenes", (20, 2, 2), size=64)
    pictures = sorted(path for path in folder.rglob("*.jpg"))
    assert len(pictures) == 24
    for number, path in enumerate(pictures):
        to = folder / "photos" / f"album{number % 3}" / path.name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    shutil.copy(pictures[0], folder / "photos/album0" / f"{pictures[0].stem}.jpeg")
    (folder / "photos/album1/broken.jpg").write_bytes(b"no picture")
    (folder / "photos/album1/notes.txt").write_text("no picture either")
    return folder


@pytest.fixture(scope="module")
def run(photos: Path) -> Path:
    """A captioner after one epoch."""
    data = ImportData.of(photos / "scenes")
    phases = TrainingOptions(CrossEntropyPhase(epochs=1), SelfCriticalPhase(epochs=0))
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=64, weights="random")
    train = Train(data, BuildVocabulary(data, 1), features, "updown", UpDownOptions(8, 8, 4), phases)
    return Store(photos / "store").build(train)


@pytest.fixture(scope="module")
def captioner(run: Path) -> RunCaptioner:
    return RunCaptioner.load(run)


def label(captioner: RunCaptioner, photos: Path, shard: Shard, to: Path, **options: object) -> Labelled:
    settings: dict[str, Any] = {"beam_size": 2, "batch_images": 4, "progress": SILENT, **options}
    progress = settings.pop("progress")
    label_options = LabelOptions(shard=shard.number, shards=shard.count, **settings)
    return label_shard(captioner, photos / "photos", to, label_options, progress)


def test_shards_hold_every_image_once_and_merge_to_one_file(
    captioner: RunCaptioner, photos: Path, tmp_path: Path
) -> None:
    parts = [label(captioner, photos, Shard(number, 3), tmp_path) for number in range(3)]
    whole = merge_shards(tmp_path, tmp_path / "labels.jsonl")
    captions = CaptionSet.load(tmp_path / "labels.jsonl")
    expected = {
        path.relative_to(photos / "photos").with_suffix("").as_posix()
        for path in find_images(photos / "photos")
    }
    same_stem = {image_id for image_id in captions if image_id.endswith((".jpg", ".jpeg"))}
    assert len(same_stem) == 1
    assert set(captions) == (expected | same_stem) - {"album1/broken"}
    assert whole.images == sum(part.images for part in parts) == len(captions) == 25
    assert min(part.images for part in parts) > 2
    assert [one.id for one in whole.skipped] == ["album1/broken"]
    assert "broken.jpg" in whole.skipped[0].reason
    assert whole.listed == (26,)
    assert not list(tmp_path.glob(".*"))
    # The same words as one picture at a time, whatever the shards and batches.
    image_id = next(id for id in captions if id.startswith("album2"))
    path = photos / "photos" / f"{image_id}.jpg"
    ((alone,),) = captioner.label([captioner.read(path)], 2, 1)
    assert captions.texts(image_id) == [alone.text]
    single = tmp_path / "single"
    label(captioner, photos, Shard(0, 1), single)
    merge_shards(single, tmp_path / "alone.jsonl")
    found = CaptionSet.load(tmp_path / "alone.jsonl")
    assert {id: found.texts(id) for id in found} == {id: captions.texts(id) for id in captions}


def in_log(content: bytes) -> list[str]:
    """The images that a partial log has captions of; what it has skipped is tried again."""
    records = [json.loads(line.partition(b" ")[2]) for line in content.splitlines()[1:]]
    return [line["image"] for record in records for line in record["captions"]]


def test_a_killed_process_goes_on_after_its_last_batch(
    captioner: RunCaptioner, photos: Path, tmp_path: Path
) -> None:
    shard = Shard(0, 1)
    label(captioner, photos, shard, tmp_path / "whole")
    with pytest.raises(Killed):
        label(captioner, photos, shard, tmp_path / "killed", progress=Dies(24))
    partial = tmp_path / "killed" / f".{shard}.partial.jsonl"
    before = partial.read_bytes()
    images = set(in_log(before))
    assert len(images) >= 8
    assert not list((tmp_path / "killed").glob("shard-*"))
    partial.write_bytes(before + b'{"image": "album0/to')  # torn by the kill
    asked: list[str] = []

    class Watches(Silent):
        def track(
            self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
        ) -> Iterator[T]:
            for item in items:
                asked.append(item.id)  # type: ignore[attr-defined]
                yield item

    label(captioner, photos, shard, tmp_path / "killed", progress=Watches())
    assert not set(asked) & images
    assert len(asked) + len(images) == 26
    found, whole = (CaptionSet.load(tmp_path / name / f"{shard}.jsonl") for name in ("killed", "whole"))
    assert {id: found.texts(id) for id in found} == {id: whole.texts(id) for id in whole}
    # What is whole is not made again.
    asked.clear()
    assert label(captioner, photos, shard, tmp_path / "killed", progress=Watches()).images == 25
    assert not asked


def test_a_shard_is_made_by_one_process_and_with_one_set_of_options(
    captioner: RunCaptioner, photos: Path, tmp_path: Path
) -> None:
    partial = tmp_path / ".shard-00000-of-00002.partial.jsonl"
    with partial.open("wb") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is at this"):
            label(captioner, photos, Shard(0, 2), tmp_path)
    label(captioner, photos, Shard(0, 2), tmp_path)
    with pytest.raises(DataError, match=r"begun with other options \(beam: 2, now 1\); take another folder"):
        label(captioner, photos, Shard(0, 2), tmp_path, beam_size=1)


def test_missing_and_damaged_shards_are_named(captioner: RunCaptioner, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no shard"):
        merge_shards(tmp_path, tmp_path / "labels.jsonl")
    for number in (0, 2):
        label(captioner, photos, Shard(number, 4), tmp_path)
    with pytest.raises(Killed):
        label(captioner, photos, Shard(3, 4), tmp_path, progress=Dies(0))
    with pytest.raises(
        DataError, match=r"2 of 4 shards are missing: 1, 3 \(begun\); .*--shards 4 --shard 1`"
    ):
        merge_shards(tmp_path, tmp_path / "labels.jsonl")
    for number in (1, 3):
        label(captioner, photos, Shard(number, 4), tmp_path)
    path = tmp_path / "shard-00002-of-00004.jsonl"
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    again = r"`distilcap generate … --shards 4 --shard 2` makes it again"
    with pytest.raises(DataError, match=rf"shard-00002-of-00004.jsonl:1: damaged .*; {again}"):
        merge_shards(tmp_path, tmp_path / "labels.jsonl")
    assert not list(tmp_path.glob("labels*"))
    label(captioner, photos, Shard(0, 3), tmp_path)
    with pytest.raises(DataError, match="holds shards of 3 and of 4"):
        merge_shards(tmp_path, tmp_path / "labels.jsonl")


def test_the_commands(run: Path, photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in find_images(photos / "photos")))
    for number in range(2):
        arguments = ["generate", str(run), "--images", str(listed), "--to", str(tmp_path / "labels")]
        arguments += ["--shards", "2", "--shard", str(number), "--beam", "1"]
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert "images a second of a process" in done.output
    merged = ["merge", str(tmp_path / "labels"), "--to", str(tmp_path / "labels.jsonl")]
    done = CliRunner().invoke(cli, merged, catch_exceptions=False)
    assert "skipped broken:" in done.output
    assert "captions of 25 images, 1 skipped" in " ".join(done.output.split())
    assert len(CaptionSet.load(tmp_path / "labels.jsonl")) == 25
    split = ["generate", str(run), "--split", "test", "--beam", "1", "--to", str(tmp_path / "test.jsonl")]
    CliRunner().invoke(cli, split, catch_exceptions=False)
    assert len(CaptionSet.load(tmp_path / "test.jsonl")) == 2
    assert (tmp_path / "test.jsonl.sha256").read_text().split() == [
        sha256_of(tmp_path / "test.jsonl"),
        "test.jsonl",
    ]


def test_a_split_is_captioned_in_the_runs_own_store(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another, or under another name, the run would be missing, and be trained again."""
    monkeypatch.setenv("DISTILCAP_STORE", str(tmp_path / "elsewhere"))
    arguments = ["--split", "val", "--beam", "1", "--to", str(tmp_path / "val.jsonl")]
    CliRunner().invoke(cli, ["generate", str(run), *arguments], catch_exceptions=False)
    assert not (tmp_path / "elsewhere").exists()
    shutil.copytree(run, tmp_path / "mine")
    with pytest.raises(DataError, match=f"mine: .* rename this folder to {run.name}"):
        CliRunner().invoke(cli, ["generate", str(tmp_path / "mine"), *arguments], catch_exceptions=False)


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """The run in a store that nothing was chosen in."""
    store = shutil.copytree(run.parent, tmp_path / "store")
    for folder in (*store.glob("choose-decoding-*"), *store.glob("generate-*")):
        shutil.rmtree(folder)
    return store / run.name


def generate(run: Path, photos: Path, to: Path, number: int, *options: str) -> str:
    arguments = ["generate", str(run), "--images", str(photos / "photos"), "--to", str(to), "--beam", "2"]
    parts = ["--shards", "2", "--shard", str(number), "--encoder-engine", "torch"]
    return CliRunner().invoke(cli, [*arguments, *parts, *options], catch_exceptions=False).stderr


def penalties(folder: Path) -> set[str]:
    """By which the finished parts of a folder are ranked."""
    names = (json.loads(path.read_text())["recipe"]["run"] for path in folder.glob("shard-*.json"))
    return {name.rpartition("length penalty ")[2] for name in names}


def test_the_length_penalty_is_chosen_before_the_first_part_whatever_else_was_run(
    own_run: Path, photos: Path, tmp_path: Path
) -> None:
    decoding = decoding_of(run_of(own_run), 2)
    store = Store(own_run.parent)
    assert not store.has(decoding)
    assert "length penalty" not in generate(own_run, photos, tmp_path / "labels", 0)
    assert store.has(decoding)
    assert penalties(tmp_path / "labels") == {f"{decoding.load(store).length_penalty:g}"}
    # Other commands choose for other beams; a part that is begun in another folder ranks as the first.
    store.build(decoding_of(run_of(own_run), 3))
    generate(own_run, photos, tmp_path / "again", 1)
    assert penalties(tmp_path / "again") == penalties(tmp_path / "labels")


def test_parts_that_were_begun_by_another_length_penalty_go_on_with_it_and_merge(
    own_run: Path, photos: Path, tmp_path: Path
) -> None:
    """As they were begun before it was chosen ahead: by 0.7, or by what another command chose."""
    to, before = tmp_path / "labels", RunCaptioner.load(own_run, DecodeChoice(2, length_penalty=0.55))
    with pytest.raises(Killed):
        label(before, photos, Shard(0, 2), to, progress=Dies(6))
    begun = in_log((to / ".shard-00000-of-00002.partial.jsonl").read_bytes())
    said = [generate(own_run, photos, to, number) for number in (0, 1)]
    assert all("goes on with the length penalty 0.55 of its parts" in " ".join(one.split()) for one in said)
    assert penalties(to) == {"0.55"}
    assert begun == [*CaptionSet.load(to / "shard-00000-of-00002.jsonl")][: len(begun)]
    merge_shards(to, tmp_path / "labels.jsonl")
    assert not Store(own_run.parent).has(decoding_of(run_of(own_run), 2))
    with pytest.raises(
        DataError, match=r"begun with other options \(run: .* penalty 0.55', now '.* penalty 0.3'"
    ):
        generate(own_run, photos, to, 0, "--length-penalty", "0.3")


def test_a_run_without_its_store_says_by_which_length_penalty_it_ranks(
    own_run: Path, photos: Path, tmp_path: Path
) -> None:
    (alone := tmp_path / "alone").mkdir()
    own_run = own_run.rename(alone / own_run.name)
    said = " ".join(generate(own_run, photos, tmp_path / "labels", 0).split())
    assert "ranked by length penalty 0.7, the default, since none can be chosen for beam 2" in said
    assert "length penalty" not in generate(own_run, photos, tmp_path / "asked", 0, "--length-penalty", "0.3")
    assert (penalties(tmp_path / "labels"), penalties(tmp_path / "asked")) == ({"0.7"}, {"0.3"})


def test_a_split_is_ranked_by_the_length_penalty_that_is_asked_for(own_run: Path) -> None:
    """Of the same beams: the best by log-probability / length^p, as `rank_captions` has it."""
    likeliest, longest = (
        distilcap.label(own_run, split="val", beam_size=3, n_best=3, length_penalty=penalty)
        for penalty in (0.0, 10.0)
    )
    assert longest == rank_captions(likeliest, 10.0, run_of(own_run).max_words)


def test_photographs_are_captioned_in_the_precision_of_the_captioner(
    captioner: RunCaptioner, photos: Path
) -> None:
    seen = captioner.see([captioner.read(next(find_images(photos / "photos")))])
    scores = []
    for precision in ("float32", "bfloat16"):
        ((caption,),) = dataclasses.replace(captioner, precision=precision).describe(seen, 1, 1)
        search = BeamSearch(1, captioner.decode.max_words, precision=precision)
        (known,) = beam_search(captioner.trained.captioner, seen, search).log_probs.tolist()
        scores.append(caption.log_prob)
        assert known == [caption.log_prob]
    assert scores[0] != scores[1]


def test_parts_that_are_made_side_by_side_have_one_length_penalty_chosen_ahead(
    own_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    def call(_: Any, calls: dict[str, Any], *__: Any) -> None:
        asked.extend(part.options.length_penalty for part, _ in calls.values())

    monkeypatch.setattr("distilcap.pipeline.labelling.call_side_by_side", call)
    labelling = Labelling(photos / "photos", tmp_path / "labels", LabelOptions(2, shards=3), own_run)
    with pytest.raises(DataError, match="holds no shard"):
        label_side_by_side(labelling, EngineOptions(), SILENT)
    store = Store(own_run.parent)
    assert asked == [decoding_of(run_of(own_run), 2).load(store).length_penalty] * 3


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Shard(0, 0), ConfigError, "`shards` must be at least 1, but is 0"),
        (lambda: Shard(3, 3), ConfigError, "`shard` must be in 0 to 2, but is 3"),
        (lambda: list(find_images(Path("nowhere"))), DataError, "nowhere: there is no such folder of images"),
    ],
)
def test_what_cannot_be_is_refused(make: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()  # type: ignore[operator]


class Draws:
    """A captioner that needs no model: each photograph's caption is its name and size."""

    name = "draws"
    captions = 0

    def read(self, photo: Path) -> str:
        if not photo.stat().st_size:
            raise DataError(f"{photo}: an empty file.")
        return photo.name

    def label(self, photos: Sequence[str], beam: int, n_best: int) -> list[tuple[Caption, ...]]:
        self.captions += len(photos)
        return [tuple(Caption(f"ü {photo} {n}", -0.1 - n) for n in range(n_best)) for photo in photos]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A labelling of 21 files, one of them empty, in 2 shards; the files and the shards."""
    (tmp_path / "photos").mkdir()
    for number in range(21):
        (tmp_path / f"photos/{number}.jpg").write_bytes(b"x" * number)
    for number in range(2):
        draw(tmp_path, Draws(), number)
    return tmp_path


def draw(folder: Path, captioner: PhotoCaptioner, number: int = 0, progress: Silent = SILENT) -> Labelled:
    options = LabelOptions(2, 2, shard=number, shards=2, batch_images=3)
    return label_shard(captioner, folder / "photos", folder, options, progress)


class Remarks(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.mark.parametrize("what", ["flip", "cut at a line", "cut", "doubled", "swapped", "longer", "empty"])
@pytest.mark.parametrize("line", [0, 4])
def test_a_damaged_shard_is_made_again_from_where_it_is_whole(files: Path, what: str, line: int) -> None:
    path = files / "shard-00000-of-00002.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    rest = {
        "flip": [lines[line].replace(b"jpg", b"jph"), *lines[line + 1 :]],
        "cut at a line": [],
        "cut": [lines[line][:20]],
        "doubled": [lines[line - 1], *lines[line:]],
        "swapped": [lines[line + 1], lines[line], *lines[line + 2 :]],
        "longer": [*lines[line:], b'{"image": "new", "captions": []}\n'],
        "empty": [],
    }[what]
    path.write_bytes(b"" if what == "empty" else b"".join([*lines[:line], *rest]))
    with pytest.raises(DataError, match=r"shard-00000-of-00002.jsonl.*--shards 2 --shard 0` makes it again"):
        merge_shards(files, files / "labels.jsonl")
    captioner, remarks = Draws(), Remarks()
    labelled = draw(files, captioner, progress=remarks)
    assert path.read_bytes() == whole
    assert captioner.captions == {"longer": 0, "empty": len(lines)}.get(what, len(lines) - line // 3 * 3)
    assert [note.endswith("; it is made again from there.") for note in remarks.notes] == [True]
    assert labelled.images == len(lines)
    assert merge_shards(files, files / "labels.jsonl").images == 20
    assert draw(files, captioner).images == len(lines)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"flip", b'{"recipe": {}, "images": "x"}'])
def test_a_shard_without_its_summary_is_made_again(files: Path, content: bytes | None) -> None:
    path = files / "shard-00001-of-00002.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"beam", b"bean") if content == b"flip" else content or b"")
    if content is None:
        path.unlink()
    with pytest.raises(DataError, match=r"shard-00001-of-00002.json: .*--shard 1` makes it again"):
        merge_shards(files, files / "labels.jsonl")
    draw(files, Draws(), 1)
    assert merge_shards(files, files / "labels.jsonl").images == 20


def of_earlier_version(files: Path, number: int = 0) -> Path:
    path = files / f"shard-0000{number}-of-00002.json"
    content = json.loads(path.read_text())
    for name in ("sealed", "sha256", "format", "crc32"):
        del content[name]
    path.write_text(json.dumps(content))
    return path.with_suffix(".jsonl")


def test_shards_of_an_earlier_version_are_counted_and_read(files: Path) -> None:
    path = of_earlier_version(files)
    assert merge_shards(files, files / "labels.jsonl").images == 20
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    other = (files / "shard-00001-of-00002.jsonl").read_bytes().splitlines(keepends=True)
    for wrong, message in (
        (lines[:-1], r"has \d+ lines, but should have \d+"),
        ([*lines[:-1], lines[0]], "has a line already"),
        ([*lines[:-1], other[0]], "is not of this shard"),
        ([*lines[:-1], b"{}\n"], "expected"),
    ):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(
            DataError, match=rf"shard-00000-of-00002.jsonl.*{message}.*--shard 0` makes it again"
        ):
            merge_shards(files, files / "labels.jsonl")
    draw(files, Draws())
    assert path.read_bytes() == whole


def test_a_partial_log_of_an_earlier_version_is_begun_again(files: Path) -> None:
    for path in files.glob("shard-00000*"):
        path.unlink()
    old = files / ".shard-00000-of-00002.partial.jsonl"
    old.write_text('{"recipe": {}}\n{"image": "1", "captions": []}\n')
    remarks, captioner = Remarks(), Draws()
    labelled = draw(files, captioner, progress=remarks)
    assert captioner.captions == labelled.images > 5
    assert "of an earlier version" in remarks.notes[0]


def test_the_merged_file_has_a_checksum_that_readers_check(files: Path) -> None:
    merge_shards(files, files / "labels.jsonl")
    side = (files / "labels.jsonl.sha256").read_text()
    assert side == f"{sha256_of(files / 'labels.jsonl')}  labels.jsonl\n"
    assert len(CaptionSet.load(files / "labels.jsonl")) == 20
    lines = (files / "labels.jsonl").read_bytes().splitlines(keepends=True)
    (files / "labels.jsonl").write_bytes(b"".join(lines[:10]))
    with pytest.raises(DataError, match=r"labels.jsonl: differs from its checksum file"):
        CaptionSet.load(files / "labels.jsonl")
    merge_shards(files, files / "labels.jsonl")
    assert len(CaptionSet.load(files / "labels.jsonl")) == 20


def test_a_finished_shard_of_other_images_is_refused(files: Path) -> None:
    """Another folder, one that has grown, a picture of the same name: none gets the first one's captions."""
    photo = next(path for path in sorted((files / "photos").iterdir()) if Shard(0, 2).holds(path.stem))
    before = photo.read_bytes()
    photo.write_bytes(b"another picture")
    with pytest.raises(DataError, match=r"shard-00000-of-00002.json: was finished for other images"):
        draw(files, Draws())
    photo.write_bytes(before)
    moved = files.rename(files.with_name("moved"))
    assert draw(moved, captioner := Draws()).images
    assert captioner.captions == 0
    (moved / "photos" / photo.name).unlink()
    with pytest.raises(DataError, match="was finished for other images"):
        draw(moved, Draws())


def test_images_in_a_tar_are_captioned_by_their_names_in_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    album = photos / "photos" / "album2"
    with tarfile.open(tmp_path / "album.tar", "w") as tar:
        for path in sorted(album.iterdir()):
            tar.add(path, path.name)
    for number in range(2):
        options = LabelOptions(2, 1, shard=number, shards=2, batch_images=3)
        label_shard(Draws(), tmp_path / "album.tar", tmp_path, options, SILENT)
    merge_shards(tmp_path, tmp_path / "labels.jsonl")
    labels = CaptionSet.load(tmp_path / "labels.jsonl")
    assert {image_id.rpartition("/")[2] for image_id in labels} == {path.stem for path in album.iterdir()}


def test_an_empty_shard_is_finished_too(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"x")
    for _ in range(2):
        assert sorted(draw(tmp_path, Draws(), number).images for number in range(2)) == [0, 1]
    assert merge_shards(tmp_path, tmp_path / "labels.jsonl").images == 1


def test_nan_never_becomes_a_label(files: Path) -> None:
    class Broken(Draws):
        name = "broken"

        def label(self, photos: Sequence[str], beam: int, n_best: int) -> list[tuple[Caption, ...]]:
            return [(Caption("a a a", float("nan")),) for _ in photos]

    for path in files.glob("shard-*"):
        path.unlink()
    with pytest.raises(DataError, match=r"gives image '\d+' a log-probability that is NaN or infinite"):
        draw(files, Broken())
    assert not list(files.glob("shard-*"))


def test_names_that_are_not_utf_8_are_captioned_with_an_escaped_id(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    try:
        for name in (b"caf\xe9.jpg", b"cr\xe8me.jpg"):
            Path(os.fsdecode(bytes(tmp_path / "photos") + b"/" + name)).write_bytes(
                b"x" if name[0:2] == b"ca" else b""
            )
    except OSError:
        pytest.skip("this file system takes no such names")
    for number in range(2):
        draw(tmp_path, Escaping(), number)
    labelled = merge_shards(tmp_path, tmp_path / "labels.jsonl")
    assert list(CaptionSet.load(tmp_path / "labels.jsonl")) == ["caf&#56553;"]
    assert [image.id for image in labelled.skipped] == ["cr&#56552;me"]


class Escaping(Draws):
    def label(self, photos: Sequence[str], beam: int, n_best: int) -> list[tuple[Caption, ...]]:
        return [(Caption("a cup", -1.0),) for _ in photos]


@pytest.mark.slow
def test_onnx_runtime_sees_the_same_and_is_another_captioner(
    run: Path, captioner: RunCaptioner, photos: Path, tmp_path: Path
) -> None:
    quick = RunCaptioner.load(run, engine="onnxruntime")
    assert quick.name == f"{captioner.name}, onnxruntime"
    shard = Shard(0, 1)
    label(captioner, photos, shard, tmp_path / "torch")
    label(quick, photos, shard, tmp_path / "quick", threads=3)
    for folder in ("torch", "quick"):
        merge_shards(tmp_path / folder, tmp_path / f"{folder}.jsonl")
    ours, theirs = (CaptionSet.load(tmp_path / f"{folder}.jsonl") for folder in ("torch", "quick"))
    assert list(ours) == list(theirs)
    for image_id in ours:
        assert theirs[image_id][0].log_prob == pytest.approx(ours[image_id][0].log_prob, abs=1e-3)
    with pytest.raises(DataError, match=r"begun with other options.*onnxruntime"):
        label(quick, photos, shard, tmp_path / "torch")


def test_a_killed_labelling_of_other_images_is_not_gone_on_with(files: Path) -> None:
    """Else captions of images that are not meant would stay in the labels."""

    class Dies(Draws):
        def label(self, photos: Sequence[str], beam: int, n_best: int) -> list[tuple[Caption, ...]]:
            raise KeyboardInterrupt

    for path in files.glob("shard-*"):
        path.unlink()
    with pytest.raises(KeyboardInterrupt):
        draw(files, Dies())
    for photo in sorted((files / "photos").iterdir())[1:]:
        photo.unlink()
    with pytest.raises(
        DataError, match=r"begun with other options \(images: .*take another folder, or delete it"
    ):
        draw(files, Draws())


def test_a_killed_labelling_tries_again_what_it_skipped(tmp_path: Path) -> None:
    """Such as HEIC, once its package is installed; what is still no image is skipped with its reason."""
    (tmp_path / "photos").mkdir()
    for number in range(8):
        (tmp_path / f"photos/{number}.jpg").write_bytes(b"x")

    class Reads(Draws):
        unread: tuple[str, ...] = ()
        left = 9

        def read(self, photo: Path) -> str:
            if photo.stem in self.unread:
                raise DataError(f"{photo}: needs a package.")
            return super().read(photo)

        def label(self, photos: Sequence[str], beam: int, n_best: int) -> list[tuple[Caption, ...]]:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().label(photos, beam, n_best)

    def label_all(captioner: Reads, to: Path) -> Labelled:
        return label_shard(captioner, tmp_path / "photos", to, LabelOptions(2, 2, batch_images=3), SILENT)

    killed, later, never = Reads(), Reads(), Reads()
    killed.unread, killed.left = ("0", "2"), 1
    later.unread = never.unread = ("2",)
    with pytest.raises(KeyboardInterrupt):
        label_all(killed, tmp_path / "killed")
    label_all(never, tmp_path / "whole")
    labelled = label_all(later, tmp_path / "killed")
    assert (labelled.images, [one.id for one in labelled.skipped]) == (7, ["2"])
    name = f"{Shard(0, 1)}.jsonl"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert later.captions == 6  # all but what was captioned


def test_three_names_for_one_id_are_three_images(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    images = [NamedImage(name, tmp_path / name) for name in ("x.jpg.jpg", "x.png", "x.jpg", "x.png")]
    own, listed = _own(images, Shard(0, 1))
    assert listed == 4
    assert [image.path.name for image in own.values()] == ["x.jpg.jpg", "x.png", "x.jpg"]
    assert list(own) == ["x.jpg", "x", "x#2.jpg"]
