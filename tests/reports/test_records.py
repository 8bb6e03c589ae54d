"""`results.json`: recorded ones read and written again, and broken ones."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distilcap.errors import DataError
from distilcap.progress import SILENT
from distilcap.reports import report
from distilcap.reports.records import Results, read_results
from distilcap.reports.report import write_report
from distilcap.reports.typed_json import from_json

RECORDED = sorted((Path(__file__).parents[2] / "docs/results").glob("*/results.json"))
Keys = tuple[str | int, ...]


def test_there_are_recorded_results() -> None:
    assert len(RECORDED) >= 4


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.parent.name)
def test_recorded_results_are_written_as_they_were_read(path: Path) -> None:
    results = read_results(path)
    again = json.loads(json.dumps(results.to_json()))
    assert again == json.loads(path.read_text())
    assert from_json(Results, again, "again") == results


def keys_of(content: Any, keys: Keys = ()) -> Iterator[Keys]:
    """The way to every value, from the outside in."""
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in inner:
        yield (*keys, key)
        if isinstance(value, dict | list):
            yield from keys_of(value, (*keys, key))


def holder(content: Any, keys: Keys) -> Any:
    for key in keys[:-1]:
        content = content[key]
    return content


def small(path: Path) -> dict[str, Any]:
    """Recorded results with a few rows, so that a way through them hits every kind of value soon."""
    content: dict[str, Any] = json.loads(path.read_text())
    content["rows"] = content["rows"][:3]
    names = [row["name"] for row in content["rows"]]
    content["curves"] = {name: content["curves"][name][:2] for name in names}
    content["samples"] = content["samples"][:1]
    for table in content.get("tables", []):
        table["rows"] = [entry for entry in table["rows"] if entry["row"] in names]
    return content


WRONG: list[Any] = [None, True, "x", -1, 0, 10**30, 1e17, float("inf"), "\ud800", [], ["x"], {}, {"x": 1}]


@pytest.mark.parametrize("name", ["flickr8k-quick", "flickr8k-line"])
def test_a_wrong_value_anywhere_is_named_or_harmless(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "draw_plots", lambda results: [])  # seconds each: drawn in the next test
    whole = small(next(path for path in RECORDED if path.parent.name == name))
    random_ = random.Random(0)
    path, refused = tmp_path / "results.json", 0
    for keys in random_.sample(list(keys_of(whole)), 60):
        content = copy.deepcopy(whole)
        inner = holder(content, keys)
        if isinstance(inner, dict) and random_.random() < 0.3:
            del inner[keys[-1]]
        else:
            inner[keys[-1]] = random_.choice(WRONG)
        path.write_text(json.dumps(content).replace("Infinity", "1e999"))
        try:
            write_report(read_results(path), tmp_path / "out", SILENT)
        except DataError as error:
            message, refused = str(error), refused + 1
            assert message.startswith((f"{path}: `", f"{path}: not usable JSON: "))
            assert "\n" not in message
            assert len(message) < 400 + len(str(path))
    assert refused > 20


def test_odd_results_are_drawn(tmp_path: Path) -> None:
    content = small(next(path for path in RECORDED if path.parent.name == "flickr8k-quick"))
    first, second, third = content["rows"]
    first |= {"architecture": None, "size": "huge", "role": "other", "megabytes": -1, "name": "$a$ $b"}
    second["scores"]["beam"]["cider"] = None
    third["scores"] = {"greedy": {"cider": -1e15}, "beam": {"cider": 1e15}}
    content["tables"] = []
    write_report(from_json(Results, content, "odd"), tmp_path, SILENT)
    content["tables"] = [{"name": "t", "title": "t", "rows": []}]
    write_report(from_json(Results, content, "odd"), tmp_path, SILENT)
    assert (tmp_path / "megabytes.png").stat().st_size > 1000


SAMPLE = {"image": "a", "path": "", "references": [], "captions": {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 5}, "`rows` must be a list, but is 5."),
        ({"title": None}, "`title` must be text, but is None."),
        ({"samples": 301 * [SAMPLE]}, "`samples` must have at most 300 items, but has 301."),
        ({"rows": []}, "`rows` must have at least one row, but has none."),
        (
            {"samples": [{"image": "a", "path": "b", "references": ["c"]}]},
            "`samples[0].captions` is missing.",
        ),
        ({"curves": {"a\x1b": [{"phase": 1}]}}, r"`curves['a\x1b'][0].phase` must be text, but is 1."),
        ({"curves": {"a": [{"phase": "x"}]}}, "`curves['a'][0].epoch` is missing."),
        ({"tables": [{"name": "t", "title": "t", "rows": [{}]}]}, "`tables[0].rows[0].row` is missing."),
    ],
)
def test_the_key_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    content = small(RECORDED[0]) | change
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        read_results(tmp_path / "results.json")
    assert str(caught.value) == f"{tmp_path / 'results.json'}: {message}"


@pytest.mark.parametrize("key", ["row", "baseline"])
def test_rows_of_tables_are_among_the_rows(key: str, tmp_path: Path) -> None:
    content = small(next(path for path in RECORDED if path.parent.name == "flickr8k-quick"))
    content["tables"][0]["rows"][1][key] = "nobody"
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"`tables\[0\].rows\[1\].{key}` names no row of `rows`: 'nobody'"):
        read_results(tmp_path / "results.json")


@pytest.mark.parametrize("text", ["[]", "NaN", '{"title": NaN}', "[" * 100_000, "1" * 5_000, '"', "\ufeff{}"])
def test_other_json_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match=r"^\S+results\.json[^\n]{1,200}$"):
        read_results(tmp_path / "results.json")
