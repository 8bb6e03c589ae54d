"""Hostile files and options: one line and exit code 2, never a traceback, whatever is in a file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.cli.main import main
from distilcap.data.check import check_dataset
from distilcap.data.readers import find_entries, read_dataset
from distilcap.data.scenes import draw_scenes
from distilcap.errors import DistilCapError
from distilcap.files import parse_json
from distilcap.metrics.files import read_scores
from distilcap.metrics.frequencies import DocumentFrequencies
from distilcap.text.vocabulary import SPECIALS, Vocabulary

DEEP, LONG = 100_000, 5_000
UNUSABLE: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"images": [{"filename": "a.jpg"',
    "deep list": b"[" * DEEP,
    "deep list, closed": b"[" * DEEP + b"]" * DEEP,
    "deep object": b'{"images":' * DEEP + b"1" + b"}" * DEEP,
    "deep inside": b'{"images": [' + b"[" * DEEP + b"]" * DEEP + b"]}",
    "long number": b'{"images": [{"id": ' + b"9" * LONG + b"}]}",
    "NaN": b'{"images": NaN}',
    "infinity": b'[{"image": "a.jpg", "caption": "x", "score": -Infinity}]',
    "not UTF-8": b'{"images": [{"filename": "\xff.jpg"}]}',
    "UTF-16": '{"images": []}'.encode("utf-16"),
    "zeros": b"\0" * 100,
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "half a character": b'{"images": [{"filename": "\\ud800.jpg", "split": "train", "sentences": ["a"]}]}',
    "two values": b"{} {}",
    "escape": b'{"\x1b[31m": 1}',
    "number": b"1e400",
    "text": b'"images"',
    "null": b"null",
}
ODD = (
    None, True, -1, 0.5, 10**400, "", "\ud800", "\x1b[2J", "[/b]", "../../x", "a" * 5000, [], [[]], {},
    {"": None}, ["\udcff"], [None, 1], {"text": 3},
)  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as left:
        code = int(left.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end in one line and exit code 2; return the line."""
    code, out, err = run(capsys, *arguments)
    assert code == 2, (code, out, err)
    assert "Traceback" not in err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert "\x1b" not in out + err
    err.encode()
    return err


COMMANDS: dict[str, tuple[str, list[str]]] = {
    "train": ("x.json", ["train", "--data", "x.json"]),
    "train, lines": ("x.jsonl", ["train", "--data", "x.jsonl"]),
    "train, table": ("x.csv", ["train", "--data", "x.csv"]),
    "distill": ("x.json", ["distill", "--data", "x.json"]),
    "frequencies": ("df.json", ["evaluate", "c.json", "--references", "r.json", "--df", "df.json"]),
    "words": ("words.json", ["metrics", "df", "r.jsonl", "--words", "words.json", "--to", "y.json"]),
    "scenes": ("dataset_scenes.json", ["data", "scenes", "--to", "."]),
    "report": ("results.json", ["report", "results.json"]),
    "compare": ("s.json", ["compare", "s.json", "s.json", "--references", "r.json"]),
}


@pytest.mark.parametrize("content", UNUSABLE)
@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_are_not_of_their_form(
    command: str,
    content: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.json").write_text('[{"image_id": 1, "caption": "a dog"}]')
    Path("r.json").write_text('{"1": ["a dog"]}')
    Path("r.jsonl").write_text('{"image": "a.jpg", "caption": "a dog", "split": "train"}')
    name, arguments = COMMANDS[command]
    Path(name).write_bytes(UNUSABLE[content])
    assert name.split(".")[0] in refused(capsys, *arguments)


@pytest.mark.parametrize("content", UNUSABLE)
@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.csv", "x.tsv", "x.txt", "folder/x.txt"])
def test_data_check_names_what_is_wrong(
    name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(UNUSABLE[content])
    code, out, err = run(capsys, "data", "check", path if path.parent == tmp_path else path.parent)
    assert code == 2
    assert "Traceback" not in err
    assert "x." in out + err
    assert "\x1b" not in out + err


KARPATHY = {
    "images": [
        {"filename": f"{n}.jpg", "filepath": "images", "cocoid": n, "split": split, "imgid": n,
         "sentences": [{"raw": f"a dog {n}", "tokens": ["a"]}, {"tokens": ["a", "cat"]}]}
        for n, split in enumerate(("restval", "test"))
    ],
    "dataset": "x",
}  # fmt: skip
COCO = {
    "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
    "annotations": [{"image_id": 1, "id": 7, "caption": "a dog"}, {"image_id": 2, "id": 8, "caption": "b"}],
}
RECORDS = [
    {"image": "1.jpg", "captions": ["a dog", "a cat"], "split": "train"},
    {"file_name": "2.jpg", "caption": "a dog", "split": "val"},
    {"image": 3, "captions": [{"text": "a"}, {"raw": "b"}, {"caption": "c"}], "split": "test"},
]
SCORE = {"value": 0.5, "interval": [0.4, 0.6], "signature": "cider-d|refs:5", "unavailable": None}
SCORES = {
    "scores": {
        "cider": SCORE,
        "bleu_4": {**SCORE, "signature": "bleu"},
        "spice": {**SCORE, "unavailable": "x"},
    },
    "per_image": {"1": {"cider": 0.4, "bleu_4": 0.1}, "2": {"cider": 0.6, "bleu_4": 0.1}},
    "statistics": {"bleu": [[1, 2, 3, 4, 5, 6, 7, 8, 9, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9, 9]]},
    "references": "0123",
}
FREQUENCIES = {"name": "x", "images": 3, "end": False, "counts": {"a": 2, "a dog": 3}}
WORDS = [*SPECIALS, "a", "dog"]
SCENES = {
    "recipe": {"version": 1, "images": [1, 0, 0], "seed": 1, "size": 32},
    "images": [{"filename": "train_00000.jpg", "split": "train", "sentences": [{"raw": "a dog"}]}],
}


def _data(path: Path) -> None:
    find_entries(path)
    read_dataset(path, need_images=False).fingerprint()
    check_dataset(path)


FORMS: dict[str, tuple[str, Any, Callable[[Path], object]]] = {
    "karpathy": ("x.json", KARPATHY, _data),
    "coco": ("x.json", COCO, _data),
    "records": ("x.json", RECORDS, _data),
    "scores": ("x.json", SCORES, read_scores),
    "frequencies": ("x.json", FREQUENCIES, DocumentFrequencies.load),
    "words": ("x.json", WORDS, Vocabulary.load),
    "scenes": (
        "dataset_scenes.json",
        SCENES,
        lambda path: draw_scenes(path.parent, (1, 0, 0), 1, 32),
    ),
}


def error_of(work: Callable[[], object]) -> str | None:
    """What a person is told; anything else than a `DistilCapError` is a bug and fails the test."""
    try:
        work()
    except DistilCapError as error:
        return str(error)
    return None


def places(content: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all values of JSON."""
    yield way
    inner = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in inner:
        yield from places(value, (*way, key))


def changed(content: Any, way: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value there; `...` leaves it out."""
    if not way:
        return None if value is ... else value
    content = copy.deepcopy(content)
    inner = content
    for key in way[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[way[-1]]
    else:
        inner[way[-1]] = value
    return content


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_themselves_are_read(form: str, tmp_path: Path) -> None:
    """The changes below are of files that are right."""
    name, content, read = FORMS[form]
    (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train_00000.jpg").touch()
    read(tmp_path / name)


@pytest.mark.parametrize("form", FORMS)
def test_any_value_of_another_type_is_read_or_named(form: str, tmp_path: Path) -> None:
    """Every value of every form, replaced by each odd value and left out: thousands of files."""
    name, content, read = FORMS[form]
    path = tmp_path / name
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train_00000.jpg").touch()
    for way in places(content):
        for value in (*ODD, ...):
            path.write_text(json.dumps(changed(content, way, value)))
            error = error_of(lambda: read(path))
            assert error is None or path.stem in error, (way, value, error)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_json_or_named(content: bytes) -> None:
    values: list[Any] = []
    error = error_of(lambda: values.append(parse_json(content, "x.json")))
    assert error is None or (error.startswith("x.json") and "\n" not in error)
    json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
