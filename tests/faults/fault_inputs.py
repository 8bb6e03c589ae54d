"""Broken inputs for every form of file that is read: generated from right ones, with right checksums.

A stranger computes a checksum as well as anyone, so content is broken first and sealed then. Only the warm
process imports this.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
from hostile import COCO, KARPATHY, ODD, RECORDS, UNUSABLE, changed, places
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from distilcap.data.caption_files import read_candidates, read_references
from distilcap.data.check import check_dataset
from distilcap.data.feature_writer import FeatureWriter
from distilcap.data.readers import find_entries, read_dataset
from distilcap.encoders.registry import create_encoder
from distilcap.errors import DistilCapError
from distilcap.integrity import CHECKSUMS, canonical_json, seal
from distilcap.metrics.files import read_scores
from distilcap.metrics.frequencies import DocumentFrequencies
from distilcap.models.weights import load_captioner
from distilcap.progress import SILENT
from distilcap.record_log import RecordLog
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.pixels import Preprocessing, load_pixels
from distilcap.store.contents import contents
from distilcap.store.pack import import_results
from distilcap.store.store import Store
from distilcap.teachers.listing import find_images, named_images
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shard_files import Shard, merge_shards
from distilcap.teachers.shards import _digest, _own, label_shard
from distilcap.tensors import load_tensors, save_tensors
from distilcap.text.vocabulary import Vocabulary
from distilcap.training.checkpoint import load_checkpoint

__all__ = ["FORMS", "Broken", "broken"]

HANG_SECONDS = 10  # of processor time


@dataclass(frozen=True)
class Form:
    """A right file, and how it is read.

    Attributes:
        path: the file. read: everything that reads it.
        content: JSON that is broken and then written by `write`; None breaks the file's bytes.
    """

    path: Path
    read: Callable[[], object]
    content: Any = None
    write: Callable[[Path, Any], None] = lambda path, content: _plain(path, content)


@dataclass(frozen=True)
class Broken:
    """What came of broken inputs.

    Attributes:
        inputs: how many were read. refused: in one line; the others were read as what they say.
        wrong: tracebacks and hangs, each with an input.
    """

    inputs: int
    refused: int
    wrong: tuple[str, ...]


class Hang(BaseException):
    """Reading took longer than `HANG_SECONDS`."""


def _hang(*_: object) -> None:
    raise Hang


def broken(form: str, scenes: Path, store: Path, folder: Path, seed: int, count: int) -> Broken:
    """Read `count` generated inputs of a form, and all that are unusable anywhere."""
    made = FORMS[form](scenes, store, folder)
    whole = made.path.read_bytes()
    made.read()
    refused: list[str] = []
    read: list[None] = []
    wrong: dict[str, str] = {}
    signal.signal(signal.SIGPROF, _hang)

    def attempt(show: object) -> None:
        read.append(None)
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
        try:
            made.read()
        except DistilCapError as error:
            refused.append(str(error))
            if "\n" in str(error) or not str(error):
                wrong["not one line"] = f"{error!r} for {show!r:.500}"
        except OSError as error:  # which the program tells with its path
            refused.append(str(error))
        except (Exception, Hang) as error:
            where = traceback.extract_tb(error.__traceback__)
            ours = [call for call in where if "/distilcap/" in call.filename] or where
            line = f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"
            wrong.setdefault(line, f"{line}: {error!s:.200} for {show!r:.500}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    for unusable in UNUSABLE.values():
        made.path.write_bytes(unusable)
        attempt(unusable[:100])

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @hypothesis.given(st.data())
    def generated(data: st.DataObject) -> None:
        if made.content is None or data.draw(st.integers(0, 4)) == 0:
            content: Any = data.draw(_broken_bytes(whole))
            made.path.write_bytes(content)
        else:
            content = data.draw(_broken_json(made.content))
            made.write(made.path, content)
        attempt(content)

    generated()
    return Broken(len(read), len(refused), tuple(wrong.values()))


_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_VALUES = (
    st.sampled_from((*ODD, ...))
    | _PLAIN
    | st.lists(_PLAIN, max_size=4)
    | st.dictionaries(st.text(max_size=5), _PLAIN, max_size=3)
)


@st.composite
def _broken_json(draw: st.DrawFn, content: Any) -> Any:
    """One value or two that are others, of another type, or gone."""
    for _ in range(draw(st.integers(1, 2))):
        way = draw(st.sampled_from(list(places(content))))
        value = draw(_VALUES)
        content = changed(content, way, value)
    return content


@st.composite
def _broken_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut, changed, doubled or with garbage in it."""
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, max(0, len(content) - 1)))
        last = draw(st.integers(first, min(len(content), first + 200)))
        between = draw(
            st.sampled_from([b"", content[first:last] * 2]) | st.binary(min_size=1, max_size=12)
            | st.sampled_from([b"{", b'"', b"9" * 5000, b"\n", b"\0", b"\xff", b"1e999", b"[" * 2000])
        )  # fmt: skip
        content = content[:first] + between + content[last:]
    return content


def _plain(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def _sealed(path: Path, content: Any) -> None:
    if isinstance(content, dict):
        content = {"sealed": 1, **content}
        try:
            digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()
        except ValueError:  # NaN
            digest = ""
        content = {**content, "sha256": digest}
    path.write_text(json.dumps(content))


def _checked(path: Path, content: Any) -> None:
    if not isinstance(content, dict) or not content:
        path.write_text(json.dumps(content))
        return
    body = (json.dumps(content, indent=1) + "\n")[1:].encode()
    path.write_bytes(b'{\n "sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'",' + body)


def _json_of(path: Path) -> Any:
    """Without checksums."""
    content = json.loads(path.read_text())
    if isinstance(content, dict):
        content = {name: value for name, value in content.items() if name not in ("sealed", "sha256")}
    return content


def _data(name: str, content: bytes | Any) -> Callable[[Path, Path, Path], Form]:
    def make(scenes: Path, store: Path, folder: Path) -> Form:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        raw = isinstance(content, bytes)
        path.write_bytes(content if raw else json.dumps(content).encode())
        path.with_suffix(".jpg").touch()
        source = path if path.parent == folder else path.parent

        def read() -> None:
            check_dataset(source)
            find_entries(source)
            read_dataset(source, need_images=False).fingerprint()

        return Form(path, read, None if raw else content)

    return make


def _file(name: str, content: Any, *readers: Callable[[Path], object]) -> Callable[[Path, Path, Path], Form]:
    def make(scenes: Path, store: Path, folder: Path) -> Form:
        path = folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return Form(path, lambda: [_all_of(read, path) for read in readers], _none_of_text(content))

    return make


def _none_of_text(content: Any) -> Any:
    return None if isinstance(content, str) else content


def _all_of(read: Callable[[Path], object], path: Path) -> None:
    read(path)


def _in_stage(step: str, name: str) -> Callable[[Path, Path, Path], Form]:
    """A file of a complete stage, whose folder is sealed again."""

    def make(scenes: Path, store: Path, folder: Path) -> Form:
        from fault_jobs import keys, read_stage, steps

        root = folder / "store"
        shutil.copytree(store, root, ignore=shutil.ignore_patterns(".*"))
        path, stage = root / keys(scenes)[step] / name, steps(scenes).named()[step]
        Store(root).build(stage)

        def write(path: Path, content: Any) -> None:
            if name in ("stage.json", CHECKSUMS, "captioner.json"):
                _sealed(path, content)
            elif name == "store.json":
                _checked(path, content)
            else:
                _plain(path, content)

        def read() -> None:
            if name != CHECKSUMS:
                seal(path.parent, stage.checked_by_row)
            (entry,) = [entry for entry in contents(root) if entry.folder == path.parent]
            entry.damage()
            read_stage(step, scenes, root)

        as_json = name.endswith(".json")
        return Form(path, read, _json_of(path) if as_json else None, write)

    return make


def _captioner(scenes: Path, store: Path, folder: Path) -> Form:
    from fault_jobs import keys

    run = Path(shutil.copytree(store / keys(scenes)["training"], folder / "run"))
    (run / CHECKSUMS).unlink()
    (run / "stage.json").unlink()
    path = run / "captioner.json"
    return Form(path, lambda: load_captioner(run), _json_of(path), _sealed)


def _weights(scenes: Path, store: Path, folder: Path) -> Form:
    form = _captioner(scenes, store, folder)
    return Form(form.path.with_suffix(".safetensors"), form.read)


def _saved_encoder(content: bool) -> Callable[[Path, Path, Path], Form]:
    def make(scenes: Path, store: Path, folder: Path) -> Form:
        from fault_jobs import encoder_file

        path = folder / "encoder.safetensors"
        encoder_file(path)
        tensors, description = load_tensors(path, "")

        def write(path: Path, content: Any) -> None:
            _tensors(path, tensors, content)

        return Form(path, lambda: create_encoder(str(path)), description if content else None, write)

    return make


def _tensors(path: Path, tensors: dict[str, Any], content: Any) -> None:
    try:
        save_tensors(path, tensors, content if isinstance(content, dict) else {"x": content})
    except (ValueError, UnicodeError):  # NaN, or half a character: cannot be written
        path.write_bytes(b"")


def _checkpoint(scenes: Path, store: Path, folder: Path) -> Form:
    import torch

    path, content = folder / "checkpoint.safetensors", {"position": {"phase": 1, "history": [{"epoch": 1}]}}
    tensors = {"captioner:weight": torch.zeros(2, 2), "random": torch.get_rng_state()}
    save_tensors(path, tensors, content)
    return Form(
        path, lambda: load_checkpoint(path, {}, None), content, lambda path, one: _tensors(path, tensors, one)
    )


def _manifest(scenes: Path, store: Path, folder: Path) -> Form:
    bundle, photo = _bundle(scenes, store, folder)
    path = bundle / "manifest.json"

    def read() -> None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (bundle / "manifest.json.sha256").write_text(f"{digest}  manifest.json\n")
        Bundle.open(bundle).caption(photo)

    return Form(path, read, json.loads(path.read_text()))


def _bundle(scenes: Path, store: Path, folder: Path) -> tuple[Path, Path]:
    from fault_jobs import keys

    bundle = Path(shutil.copytree(store / keys(scenes)["bundle"] / "bundle", folder / "bundle"))
    return bundle, sorted((scenes / "images").iterdir())[0]


def _pack(packed: bool) -> Callable[[Path, Path, Path], Form]:
    """A pack's bytes, or those of the archive in it."""

    def make(scenes: Path, store: Path, folder: Path) -> Form:
        from fault_jobs import pack

        path = folder / "results.tar.gz"
        pack(store, path)
        read_from = path
        if not packed:
            path = folder / "results.tar"
            path.write_bytes(gzip.decompress(read_from.read_bytes()))

        def read() -> None:
            if not packed:
                read_from.write_bytes(gzip.compress(path.read_bytes(), 1))
            shutil.rmtree(folder / "imported", ignore_errors=True)
            import_results(read_from, folder / "imported")

        return Form(path, read)

    return make


def _log(path: Path, header: Any, records: list[Any]) -> list[Any]:
    with RecordLog(path, header) as log:
        for record in records:
            log.append(record)
    return records


def _write_log(header: Any) -> Callable[[Path, Any], None]:
    """Lines with right checksums, whatever they hold."""

    def write(path: Path, records: Any) -> None:
        checksum, lines = b"", b""
        for record in (header, *(records if isinstance(records, list) else [records])):
            content = json.dumps(record).encode()
            checksum = hashlib.sha256(checksum + b" " + content).hexdigest()[:16].encode()
            lines += checksum + b" " + content + b"\n"
        path.write_bytes(lines)

    return write


def _extraction_log(scenes: Path, store: Path, folder: Path) -> Form:
    import numpy as np

    def writer() -> FeatureWriter:
        return FeatureWriter(folder / "features", {"encoder": "x"}, 2, 3)

    begun = writer()
    for name in ("a", "b"):
        begun.add([name], np.ones((1, 2, 3), np.float16))
        begun.flush()
    begun.close()
    path = folder / "features" / "progress.jsonl"
    rows = (folder / "features" / "features.partial").read_bytes()

    def read() -> None:
        (folder / "features" / "features.partial").write_bytes(rows)
        writer().close()

    lines = path.read_bytes().splitlines()
    header, *records = [json.loads(line.partition(b" ")[2]) for line in lines]
    return Form(path, read, records, _write_log(header))


class _Nobody:
    """Captions every photograph alike."""

    name = "nobody"

    def read(self, photo: Path) -> Path:
        return photo

    def label(self, photos: Any, beam: int, n_best: int) -> Any:
        from distilcap.data.captions import Caption

        return [(Caption("a dog", -1.0),) for _ in photos]


def _label(scenes: Path, folder: Path) -> None:
    label_shard(_Nobody(), scenes / "images", folder, LabelOptions(1), SILENT)


def _labelling_log(scenes: Path, store: Path, folder: Path) -> Form:
    path = folder / ".shard-00000-of-00001.partial.jsonl"
    images, _ = _own(named_images(scenes / "images"), Shard(0, 1))
    header = {"run": "nobody", "beam": 1, "n_best": 1, "shards": 1, "images": _digest(images)}
    records = [
        {
            "captions": [{"image": "train_00000", "captions": [{"text": "a", "log_prob": -1.0}]}],
            "skipped": [{"id": "x", "reason": "y"}],
            "seconds": 1.0,
        }
    ]
    _log(path, header, records)

    def read() -> None:
        for finished in folder.glob("shard-*"):
            finished.unlink()
        _label(scenes, folder)

    return Form(path, read, records, _write_log(header))


def _shard_summary(scenes: Path, store: Path, folder: Path) -> Form:
    _label(scenes, folder)
    path = folder / "shard-00000-of-00001.json"
    captions = folder / "shard-00000-of-00001.jsonl"
    whole = captions.read_bytes()

    def read() -> None:
        captions.write_bytes(whole)
        try:
            merge_shards(folder, folder / "labels.jsonl")
        finally:
            _label(scenes, folder)

    return Form(path, read, _json_of(path), _checked)


def _seconds(scenes: Path, store: Path, folder: Path) -> Form:
    from fault_jobs import keys, steps

    root, key = folder / "store", keys(scenes)["vocabulary"]
    shutil.copytree(store, root, ignore=shutil.ignore_patterns(".*", key))
    path, content = root / ".partial" / key / "seconds.json", {"seconds": 1.0}
    path.parent.mkdir(parents=True)
    _sealed(path, content)

    def read() -> None:
        shutil.rmtree(root / key, ignore_errors=True)
        broken = path.read_bytes()
        try:
            Store(root).build(steps(scenes).vocabulary)
        finally:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(broken)

    return Form(path, read, content, _sealed)


def _photo(scenes: Path, store: Path, folder: Path) -> Form:
    path = Path(shutil.copy(sorted((scenes / "images").iterdir())[0], folder))
    return Form(path, lambda: load_pixels(path, Preprocessing(32)))


TABLE = b'image,caption,split\n1.jpg,a dog,train\n2.jpg,"a, cat",val\n3.jpg,a bird,test\n'
LINES = b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)
CAPTIONS = (
    '{"image": "1", "captions": [{"text": "a dog", "log_prob": -1.5}]}\n{"image": "2", "captions": []}\n'
)
FREQUENCIES = {"name": "x", "images": 3, "end": False, "counts": {"a": 2, "a dog": 3}}
WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "dog"]


def _scores(scenes: Path, store: Path, folder: Path) -> Form:
    from fault_jobs import captions_file, evaluate

    captions_file(scenes, store, folder / "captions.jsonl")
    evaluate(scenes / "data.jsonl", folder / "captions.jsonl", folder)
    path = folder / "scores.json"
    content = _json_of(path)
    return Form(path, lambda: read_scores(path), content, _checked)


FORMS: dict[str, Callable[[Path, Path, Path], Form]] = {
    "Karpathy JSON": _data("x.json", KARPATHY),
    "COCO JSON": _data("x.json", COCO),
    "JSON records": _data("x.json", RECORDS),
    "JSON lines": _data("x.jsonl", LINES),
    "CSV": _data("x.csv", TABLE),
    "TSV": _data("x.tsv", TABLE.replace(b'"a, cat"', b"a cat").replace(b",", b"\t")),
    "folder of texts": _data("photos/1.txt", b"a dog\na cat\n"),
    "captions file": _file("x.jsonl", CAPTIONS, read_candidates, read_references),
    "COCO results": _file("x.json", [{"image_id": 1, "caption": "a dog"}], read_candidates, read_references),
    "captions by id": _file("x.json", {"1": ["a dog"], "2": ["a"]}, read_candidates, read_references),
    "scores": _scores,
    "frequencies": _file("x.json", FREQUENCIES, DocumentFrequencies.load),
    "words": _file("x.json", WORDS, Vocabulary.load),
    "image list": _file("x.txt", "1.jpg\nfolder/2.jpg\n", lambda path: list(find_images(path))),
    "photograph": _photo,
    "manifest": _manifest,
    "stage.json": _in_stage("training", "stage.json"),
    "stage.json of scores": _in_stage("scores", "stage.json"),
    "checksums.json": _in_stage("labels", CHECKSUMS),
    "images.json": _in_stage("data", "images.json"),
    "words.json": _in_stage("vocabulary", "words.json"),
    "store.json": _in_stage("features", "store.json"),
    "features.safetensors": _in_stage("features", "features.safetensors"),
    "log.json": _in_stage("training", "log.json"),
    "training.json": _in_stage("training", "training.json"),
    "decoding.json": _in_stage("decoding", "decoding.json"),
    "scores.json": _in_stage("scores", "scores.json"),
    "latency.json": _in_stage("latency", "latency.json"),
    "captions.jsonl": _in_stage("labels", "captions.jsonl"),
    "captioner.json": _captioner,
    "captioner.safetensors": _weights,
    "saved encoder": _saved_encoder(False),
    "saved encoder's recipe": _saved_encoder(True),
    "checkpoint": _checkpoint,
    "seconds.json": _seconds,
    "log of extraction": _extraction_log,
    "log of labelling": _labelling_log,
    "shard": _shard_summary,
    "pack": _pack(True),
    "archive of a pack": _pack(False),
}
