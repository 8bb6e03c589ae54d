"""The store's own commands, on a small store that was really trained."""

from __future__ import annotations

import errno
import fcntl
import gzip
import io
import json
import shutil
import tarfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from distilcap.cli.main import cli
from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError, DataError
from distilcap.integrity import left_out, seal
from distilcap.models.updown import UpDownOptions
from distilcap.stages.captions import CaptionsOfSplit
from distilcap.stages.data import CleanReferences, ImportData
from distilcap.stages.export import Export
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.folders import import_stages
from distilcap.stages.label import Generate
from distilcap.stages.measure import Evaluate, read_scores
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store import pack as pack_module
from distilcap.store import stage as stage_module
from distilcap.store.contents import Entry, contents, left_behind, needed_by, unfinished
from distilcap.store.pack import _without_folders, export_results, import_results
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions


class Built:
    """A store with a teacher, its labels, a student and its scores."""

    def __init__(self, home: Path) -> None:
        draw_scenes(home / "scenes", (12, 4, 4), size=32)
        self.data = ImportData.of(home / "scenes")
        self.features = ExtractFeatures.of(self.data, "efficientnet-lite0", size=32, weights="random")
        self.root = home / "store"
        self.teacher = self.run(0)
        self.labels = Generate(self.teacher, "train", 2)
        self.student = self.run(1, self.labels)
        self.captions = Generate(self.student, "test", 1)
        self.scores = Evaluate.of(self.captions, ("cider",))
        self.teacher_scores = Evaluate.of(Generate(self.teacher, "test", 1), ("cider",))
        Store(self.root).build(self.scores)
        Store(self.root).build(self.teacher_scores)

    def run(self, seed: int, labels: CaptionsOfSplit | None = None) -> Train:
        phases = CrossEntropyPhase(epochs=1, learning_rate=2e-3), SelfCriticalPhase(epochs=0)
        training = TrainingOptions(*phases, batch_images=6, seed=seed)
        vocabulary = BuildVocabulary(self.data, 1)
        options = UpDownOptions(hidden=8, embedding=8, attention=4)
        return Train(self.data, vocabulary, self.features, "updown", options, training, labels)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Built:
    import_stages()
    return Built(tmp_path_factory.mktemp("home"))


@pytest.fixture
def root(original: Built, tmp_path: Path) -> Path:
    """A copy of the store, to be changed."""
    return shutil.copytree(original.root, tmp_path / "store")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["store", *map(str, arguments)])


def words(result: Result) -> str:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return " ".join(result.output.split())


def flip(path: Path, position: int = -3) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(bytes(content))


def test_ls_tells_sizes_and_users(original: Built, root: Path) -> None:
    entries = {entry.key: entry for entry in contents(root)}
    folder = root / original.teacher.key
    assert entries[original.teacher.key].bytes == sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file()
    )
    assert entries[original.student.key].inputs() >= {original.labels.key, original.features.key}
    listed = words(call("ls", "--store", root))
    assert f"{len(entries)} stages" in listed
    for key in entries:
        assert key in listed
    assert isinstance(call("ls", "--store", root / "absent").exception, ConfigError)


@pytest.mark.parametrize("stage", ["data", "features", "teacher", "labels", "scores"])
def test_verify_names_a_flipped_bit_in_any_file(original: Built, root: Path, stage: str) -> None:
    assert "none damaged" in words(call("verify", "--store", root))
    folder = root / getattr(original, stage).key
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        kept = path.read_bytes()
        flip(path, len(kept) // 2)
        result = call("verify", "--store", root)
        assert isinstance(result.exception, DataError), path
        assert "1 of" in str(result.exception)
        assert folder.name in result.output
        path.write_bytes(kept)
    (folder / "checksums.json").unlink()
    assert "checksums.json: missing" in " ".join(call("verify", folder.name, "--store", root).output.split())


def test_what_a_missing_plugin_made_is_unknown_but_checked(
    original: Built, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(stage_module._kinds, "Generate")  # as if a plugin had brought it
    monkeypatch.setattr("distilcap.stages.folders.import_stages", lambda: None)
    shown = words(call("verify", "--store", root))
    assert "none damaged" in shown
    assert "of a plugin that is not loaded" in shown
    assert "of a plugin or another version" in words(call("ls", "--store", root))
    captions = root / original.labels.key / "captions.jsonl"
    flip(captions, captions.stat().st_size // 2)
    result = call("verify", "--store", root)
    assert "1 of" in str(result.exception)
    assert original.labels.key in result.output


def test_gc_keeps_what_a_report_needs(original: Built, root: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"rows": [{"runs": [original.teacher.key]}]}))
    everything = {entry.key for entry in contents(root)}
    gone = {original.student.key, original.captions.key, original.scores.key}
    assert everything - needed_by({original.teacher.key}, contents(root)) == gone
    shown = words(call("gc", "--keep", results, "--store", root))
    assert "To delete (with --yes): 3 of" in shown
    assert {entry.key for entry in contents(root)} == everything
    words(call("gc", "--keep", results, "--yes", "--store", root))
    assert {entry.key for entry in contents(root)} == everything - gone
    # The report can still be made, without anything being built again.
    assert not any(planned.to_do for planned in Store(root).plan([original.teacher_scores]))
    assert read_scores(original.teacher_scores, Store(root))
    (tmp_path / "other.json").write_text("{}")
    assert isinstance(call("gc", "--keep", tmp_path / "other.json", "--store", root).exception, DataError)
    assert isinstance(call("gc", "--keep", "nonsense", "--store", root).exception, ConfigError)


def test_nothing_but_stages_is_listed_or_deleted(original: Built, root: Path) -> None:
    (root / "my-thesis").mkdir()
    (root / "my-thesis" / "chapter1.txt").write_text("irreplaceable")
    assert "my-thesis" not in words(call("ls", "--store", root))
    words(call("gc", "--keep", original.data.key, "--yes", "--store", root))
    assert isinstance(call("rm", "my-thesis", "--store", root).exception, ConfigError)
    assert (root / "my-thesis" / "chapter1.txt").read_text() == "irreplaceable"
    assert {entry.key for entry in contents(root)} == {original.data.key}


def test_gc_deletes_nothing_while_a_kept_stage_cannot_be_read(
    original: Built, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was made of is not known then: features, teachers, hours of work."""
    everything = {entry.key for entry in contents(root)}
    gc = ("gc", "--keep", original.student.key, "--yes", "--store", root)
    with monkeypatch.context() as patch:
        patch.delitem(stage_module._kinds, "Train")  # as if a plugin had brought it
        patch.setattr("distilcap.stages.folders.import_stages", lambda: None)
        assert "nothing is deleted" in str(call(*gc).exception)
    flip(root / original.student.key / "stage.json")
    assert "nothing is deleted" in str(call(*gc).exception)
    (root / original.student.key / "stage.json").unlink()
    assert "nothing is deleted" in str(call(*gc).exception)
    assert {path.name for path in root.iterdir() if not path.name.startswith(".")} == everything


def test_a_pack_of_nothing_is_refused_when_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    result = call("export", tmp_path / "pack.tar.gz", "--store", tmp_path / "store")
    assert isinstance(result.exception, DataError)
    assert not (tmp_path / "pack.tar.gz").exists()


def test_no_pack_is_made_without_what_is_damaged(
    original: Built, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = tmp_path / "pack.tar.gz"
    with monkeypatch.context() as patch:
        patch.delitem(stage_module._kinds, "Evaluate")  # as if a plugin had brought it
        patch.setattr("distilcap.stages.folders.import_stages", lambda: None)
        shown = words(call("export", pack, "--store", root))
        keys = sorted((original.scores.key, original.teacher_scores.key))
        assert "of a plugin that is not loaded" in shown
        assert f"of another version: {keys[0]}, {keys[1]}." in shown
    pack.unlink()
    flip(root / original.student.key / "stage.json")
    for keep in ((), ("--keep", original.student.key)):
        error = call("export", pack, *keep, "--store", root).exception
        assert isinstance(error, DataError)
        assert f"{original.student.key}/stage.json" in str(error)
        assert not pack.exists()
    assert "Left out" not in words(call("export", pack, "--keep", original.teacher.key, "--store", root))
    (root / original.student.key / "stage.json").unlink()
    error = call("export", pack, "--store", root).exception
    assert "stage.json: missing; delete the folder" in str(error)


def test_a_pack_names_what_the_store_has_not(original: Built, root: Path, tmp_path: Path) -> None:
    pack, results = tmp_path / "pack.tar.gz", tmp_path / "results.json"
    results.write_text(json.dumps({"rows": [{"runs": [original.teacher.key, original.student.key]}]}))
    export = ("export", pack, "--keep", results, "--store", root)
    assert "Not in the store" not in words(call(*export))
    shutil.rmtree(root / original.student.key)
    assert f"missing in the pack: {original.student.key}." in words(call(*export))
    of_scores = ("export", pack, "--keep", original.scores.key, "--store", root)
    assert f"missing in the pack: {original.student.key}." in words(call(*of_scores))


def test_a_full_disk_does_not_make_a_pack_damaged(
    original: Built, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words(call("export", tmp_path / "pack.tar.gz", "--store", root))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("distilcap.store.pack.shutil.copyfileobj", full)
    error = call("import", tmp_path / "pack.tar.gz", "--store", tmp_path / "new").exception
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    assert str(tmp_path / "new") in str(error.filename)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".locks"]


def test_gc_deletes_unfinished_builds_only_when_asked(original: Built, root: Path) -> None:
    for name in ("train-aaaaaaaaaaaa", "train-bbbbbbbbbbbb"):
        (root / ".partial" / name).mkdir(parents=True)
        (root / ".partial" / name / "checkpoint").write_text("x")
    (root / ".locks").mkdir(exist_ok=True)
    keep = ("--keep", original.scores.key, "--yes", "--store", root)
    with (root / ".locks" / "train-bbbbbbbbbbbb").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "a process is at it" in words(call("ls", "--store", root))
        everything = contents(root)
        refused = call("gc", "--unfinished", *keep).exception
        assert isinstance(refused, DataError)
        assert "a process is at train-bbbbbbbbbbbb; nothing was deleted" in str(refused)
        assert contents(root) == everything
    words(call("gc", *keep))
    assert (root / ".partial" / "train-aaaaaaaaaaaa").exists()
    words(call("gc", "--unfinished", *keep))
    assert not (root / ".partial" / "train-aaaaaaaaaaaa").exists()


def test_a_store_that_may_only_be_read_is_listed_with_its_unfinished_builds(
    original: Built, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague's, or one on a read-only disk; a lock that may not be read either may be held."""
    (root / ".partial" / "train-aaaaaaaaaaaa").mkdir(parents=True)
    (root / ".locks").mkdir(exist_ok=True)
    (held := root / ".locks" / "train-aaaaaaaaaaaa").touch()
    denied, opened = set[Path](), Path.open

    def read_only(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if path in denied or (root in path.parents and mode.strip("b") != "r"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", read_only)
    gc = ("gc", "--keep", original.scores.key, "--unfinished", "--store", root)
    assert "unfinished: the same command goes on" in words(call("ls", "--store", root))
    shown = words(call(*gc))
    assert "unfinished train-aaaaaaaaaaaa" in shown
    assert "stages and 1 unfinished build, " in shown
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "a process is at it" in words(call("ls", "--store", root))
    denied.add(held)
    assert "unfinished" not in words(call(*gc))
    assert [build.running for build in unfinished(root)] == [True]
    assert isinstance(call(*gc, "--yes").exception, DataError)


def test_gc_keeps_what_a_killed_build_goes_on_from(
    original: Built, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    longer = original.run(2, original.labels)
    monkeypatch.setattr(Train, "build", killed)
    with pytest.raises(KeyboardInterrupt):
        Store(root).build(longer)
    keep = ("gc", "--keep", original.data.key, "--store", root)
    made_of = {stage.key for stage in longer.inputs()} | {original.teacher.key}
    assert "for unfinished builds" in words(call(*keep, "--yes"))
    assert made_of <= {entry.key for entry in contents(root)}
    words(call(*keep, "--yes", "--unfinished"))
    assert [entry.key for entry in contents(root)] == [original.data.key]


def test_what_a_killed_deletion_left_is_no_build_and_goes(original: Built, root: Path) -> None:
    rest = root / ".partial" / ".removed-train-aaaaaaaaaaaa"
    rest.mkdir(parents=True)
    (rest / "captioner.safetensors").write_bytes(bytes(2000))
    assert "removed" not in words(call("ls", "--store", root))
    gc = ("gc", "--keep", original.scores.key, "--store", root)
    assert f"rest of a deletion {rest.name}" in words(call(*gc))
    assert rest.exists()
    words(call(*gc, "--yes"))
    assert not rest.exists()


def test_what_a_killed_import_left_goes_but_not_of_one_that_runs(
    original: Built, root: Path, tmp_path: Path
) -> None:
    rest = root / ".import-abcd1234"
    (rest / "train-aaaaaaaaaaaa").mkdir(parents=True)
    gc = ("gc", "--keep", original.scores.key, "--yes", "--store", root)
    (root / ".locks").mkdir(exist_ok=True)
    with (root / ".locks" / ".import").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "rest of" not in words(call(*gc))
        assert rest.exists()
    assert f"rest of an import {rest.name}" in words(call(*gc))
    assert not rest.exists()
    # So it does with the next import, which says with its lock that it runs.
    rest.mkdir()
    export_results(contents(root), tmp_path / "pack.tar.gz")
    import_results(tmp_path / "pack.tar.gz", root)
    assert not rest.exists()


def test_a_running_import_is_left_alone(
    original: Built, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_results(contents(root), tmp_path / "pack.tar.gz")
    seen: list[dict[Path, int]] = []

    checked = pack_module._checked

    def meanwhile(folder: Path, source: Path) -> Stage:
        assert folder.parent in root.glob(".import-*")
        seen.append(left_behind(root))
        return checked(folder, source)

    monkeypatch.setattr(pack_module, "_checked", meanwhile)
    import_results(tmp_path / "pack.tar.gz", root)
    assert seen
    assert not any(seen)


def test_rm_says_what_was_made_of_it_and_it_is_built_again(original: Built, root: Path) -> None:
    before = (root / original.labels.key / "captions.jsonl").read_bytes()
    assert f"{original.student.key} was made of it" in words(call("rm", original.labels.key, "--store", root))
    assert not (root / original.labels.key).exists()
    original.labels.load(Store(root))
    assert (root / original.labels.key / "captions.jsonl").read_bytes() == before
    for name in ("../store", ".partial", "absent", "."):
        assert isinstance(call("rm", name, "--store", root).exception, ConfigError), name


def test_results_travel_without_weights_and_count_as_complete(
    original: Built, root: Path, tmp_path: Path
) -> None:
    pack, other = tmp_path / "results.tar.gz", tmp_path / "other"
    words(call("export", pack, "--store", root))
    text = gzip.decompress(pack.read_bytes())
    assert str(original.root.parent).encode() not in text  # nothing says where things lay
    again = tmp_path / "again.tar.gz"
    export_results(contents(root), again)
    assert again.read_bytes() == pack.read_bytes()
    assert "are new, 0 were there" in words(call("import", pack, "--store", other))
    assert "none damaged" in words(call("verify", "--store", other))
    assert "results only" in words(call("ls", "--store", other))
    store = Store(other)
    assert all(store.has(stage) for stage in (original.scores, original.student, original.captions))
    assert read_scores(original.scores, store) == read_scores(original.scores, Store(root))
    assert original.captions.load(store) == original.captions.load(Store(root))
    assert original.student.summary(store) == original.student.summary(Store(root))
    assert not list(other.rglob("*.safetensors"))
    again_there = words(call("import", pack, "--store", other))
    assert ", 0 were there" not in again_there
    assert "by the same recipe" not in again_there + words(call("import", pack, "--store", root))
    scores = other / original.scores.key / "scores.json"
    scores.write_text("{}")
    seal(scores.parent)
    said = words(call("import", pack, "--store", other))
    assert f"Of these 1 are another in {pack}, by the same recipe: {original.scores.key}." in said
    shutil.copy(root / original.scores.key / scores.name, scores)
    seal(scores.parent)
    # What needs weights makes them again, as they were.
    original.student.load(store)
    weights = f"{original.student.key}/captioner.safetensors"
    assert (other / weights).read_bytes() == (root / weights).read_bytes()
    assert "none damaged" in words(call("verify", "--store", other))


def test_a_pack_of_a_pack_still_says_what_it_lacks(original: Built, root: Path, tmp_path: Path) -> None:
    packs = [tmp_path / f"{number}.tar.gz" for number in range(2)]
    for number, pack in enumerate(packs):
        export_results(contents(root), pack)
        root = tmp_path / str(number)
        import_results(pack, root)
        assert left_out(root / original.student.key) == ["captioner.safetensors"]
    assert packs[0].read_bytes() == packs[1].read_bytes()


def test_a_pack_names_no_folder_of_the_data_before_cleaning(original: Built) -> None:
    data = original.data
    whole = {field.name: getattr(data, field.name) for field in fields(ImportData)}
    cleaned = CleanReferences(**whole, whole=data)
    assert _without_folders(cleaned).whole.path == "scenes"


def test_what_measures_a_run_with_a_tuned_encoder_is_kept(original: Built, root: Path) -> None:
    run = replace(original.student, tune_encoder=True)
    captions = Generate(run, "test", 1)
    stages = [run, run.seen, captions, Evaluate.of(captions, ("cider",)), Export(run)]
    entries = [Entry(root / stage.key, stage, None, False, 0, 0.0, False, False) for stage in stages]
    everything = {stage.key for stage in stages}
    assert needed_by({run.key}, [*contents(root), *entries]) >= everything
    # Features, and where the data lie, are in no pack.
    del entries[1]
    assert needed_by({run.key}, entries) == everything - {run.seen.key}
    # Neither the features nor the captions of another run.
    assert not needed_by({original.student.key}, contents(root) + entries) & everything


def packed(path: Path, members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    return path


def test_hostile_packs_add_nothing(original: Built, root: Path, tmp_path: Path) -> None:
    other, pack = tmp_path / "inside" / "other", tmp_path / "x.tar.gz"
    export_results(contents(root), tmp_path / "good.tar.gz")
    good: dict[str, bytes] = {}
    with tarfile.open(tmp_path / "good.tar.gz") as archive:
        for member in archive:
            file: Any = archive.extractfile(member)
            good[member.name] = file.read()
    captions = f"{original.captions.key}/captions.jsonl"
    renamed = {name.replace(original.captions.key, "generate-000000000000"): good[name] for name in good}
    cases: list[Path] = [
        packed(pack.with_name("1.tar.gz"), good | {"../../victim.txt": b"x"}),
        packed(pack.with_name("2.tar.gz"), good | {"/tmp/victim.txt": b"x"}),
        packed(pack.with_name("3.tar.gz"), {"a/b": b""}, tarfile.SYMTYPE),
        packed(pack.with_name("4.tar.gz"), good | {captions: good[captions] + b"\n"}),
        packed(pack.with_name("5.tar.gz"), renamed),
        packed(pack.with_name("6.tar.gz"), {}),
        packed(pack.with_name("7.tar.gz"), {"train-1/stage.json": b"[" * 100_000}),
    ]
    cut, text = tmp_path / "8.tar.gz", tmp_path / "9.tar.gz"
    cut.write_bytes((tmp_path / "good.tar.gz").read_bytes()[:-900])
    text.write_text("no pack")
    garbled = tmp_path / "10.tar.gz"  # the archive's own errors are not those of its compression
    whole = (tmp_path / "good.tar.gz").read_bytes()
    garbled.write_bytes(whole[: len(whole) // 2] + bytes(64) + whole[len(whole) // 2 :])
    shorter = tmp_path / "11.tar.gz"  # ends early, between two stages
    content = bytearray(gzip.decompress(whole))
    content[content.rindex(b"/captions.jsonl") - 1] ^= 1
    shorter.write_bytes(gzip.compress(content))
    for case in (*cases, cut, text, garbled, shorter, tmp_path / "absent.tar.gz"):
        with pytest.raises(DataError):
            import_results(case, other)
        assert not list(tmp_path.rglob("victim*"))
        assert not list(other.glob(".import-*")), case


def test_a_small_pack_does_not_fill_the_disk(
    original: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse, other = tmp_path / "sparse.tar.gz", tmp_path / "other"
    with tarfile.open(sparse, "w:gz") as archive:
        member = tarfile.TarInfo("train-000000000000/x.bin")
        member.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 20)}  # a megabyte of zeros
        archive.addfile(member)
    with pytest.raises(DataError, match=r"sparse\.tar\.gz: '.*x\.bin' is no file of a stage"):
        import_results(sparse, other)
    export_results(contents(original.root), tmp_path / "good.tar.gz")
    with tarfile.open(tmp_path / "good.tar.gz") as archive:
        size = sum(member.size for member in archive)
    monkeypatch.setattr("distilcap.store.pack._MOST_BYTES_IN_ALL", size - 1)
    with pytest.raises(DataError, match=r"good\.tar\.gz: holds more than"):
        import_results(tmp_path / "good.tar.gz", other)
    assert [path.name for path in other.iterdir()] == [".locks"]
    monkeypatch.setattr("distilcap.store.pack._MOST_BYTES_IN_ALL", size)
    assert import_results(tmp_path / "good.tar.gz", other).new


def test_a_small_pack_makes_no_files_without_end(
    original: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, pack = tmp_path / "other", tmp_path / "x.tar.gz"
    for name in ("train-000000000000/{}", "train-000000000000/{}/a/b/c"):
        packed(pack, {name.format(number): b"" for number in range(40)})
        monkeypatch.setattr("distilcap.store.pack._MOST_NAMES", 79)
        with pytest.raises(DataError, match=r"x\.tar\.gz: holds more than 79 files and folders"):
            import_results(pack, other)
        assert [path.name for path in other.iterdir()] == [".locks"]
    export_results(contents(original.root), pack)
    with tarfile.open(pack) as archive:
        names = sum(member.name.count("/") + 1 for member in archive)
    monkeypatch.setattr("distilcap.store.pack._MOST_NAMES", names)
    assert import_results(pack, other).new
