"""A published report is held against the captions that lie packed beside it."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from distilcap.cli.main import cli
from distilcap.data.scenes import draw_scenes
from distilcap.metrics.spice import Spice
from distilcap.reports.records import LATER, read_results
from distilcap.stages.label import Generate
from distilcap.stages.train import Train
from distilcap.store.contents import contents, remove
from distilcap.store.pack import export_results, packed_keys
from distilcap.study import check as check_module
from distilcap.study import rows as tables_module
from distilcap.study.tables import Table, TableRow

PACK = "results.tar.gz"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report of table 1, its captions, and the store and data that it was made from."""
    root = tmp_path_factory.mktemp("published")
    draw_scenes(root / "scenes", (16, 4, 6), size=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables_module, "BEAMS", (1,))
        arguments = ["reproduce", "table1", "--data", root / "scenes", "--preset", "smoke", "--seeds", "1"]
        arguments += ["--metrics", "rouge_l,cider", "--store", root / "store", "--to", root / "report"]
        patch.setattr(sys, "argv", ["distilcap", *map(str, arguments)])
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    result = run("store", "export", "--store", root / "store", root / "report" / PACK)
    assert result.exit_code == 0, result.output
    return root


TEXTS = ("report.md", "report.csv", "report.tex", "report.html")


def results_alone(published: Path, to: Path) -> Path:
    """The report's results and pack, to be changed: its other forms would no longer say the same."""
    shutil.copytree(published / "report", to, ignore=shutil.ignore_patterns(*TEXTS))
    return to


@pytest.fixture(autouse=True)
def one_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_module, "BEAMS", (1,))


def test_a_report_agrees_with_its_captions(published: Path, tmp_path: Path) -> None:
    """Which may lie in several packs, as rows of another seed come later."""
    report = tmp_path / "report"
    shutil.copytree(published / "report", report, ignore=shutil.ignore_patterns(PACK))
    result = run("reproduce", "--check", report)
    assert "there is no pack of results" in str(result.exception)
    first, second = report / PACK, report / "results-more.tar.gz"
    run_key = read_results(report / "results.json").row("updown-big").runs[0]
    export = ["store", "export", "--store", published / "store"]
    assert run(*export, first, "--keep", run_key).exit_code == 0
    assert run(*export, second, "--without", first).exit_code == 0
    assert run_key in packed_keys(first)
    assert not packed_keys(first) & packed_keys(second)
    assert packed_keys(first) | packed_keys(second) == packed_keys(published / "report" / PACK)
    result = run("reproduce", "--check", report)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "every number is as its captions score" in " ".join(result.output.split())
    assert "Scoring captions again" in result.stderr


def test_a_changed_number_is_named(published: Path, tmp_path: Path) -> None:
    report = results_alone(published, tmp_path / "report")
    content = json.loads((report / "results.json").read_text())
    content["rows"][1]["scores"]["beam"]["cider"] += 1e-6
    content["tables"][0]["rows"][2]["differences"]["cider"]["p"] /= 2
    (report / "results.json").write_text(json.dumps(content))
    result = run("reproduce", "--check", report)
    assert "rows[1].scores.beam.cider" in result.output
    assert "tables[0].rows[2].differences.cider.p" in result.output
    assert "2 numbers or texts are not as its captions score" in str(result.exception)


def test_a_report_of_an_older_version_is_compared_by_what_it_has(published: Path, tmp_path: Path) -> None:
    report = results_alone(published, tmp_path / "report")
    content = json.loads((report / "results.json").read_text())
    parts = [content, *content["rows"], *content["tables"][0]["rows"]]
    had = {key for part in parts for key in LATER if part.pop(key, None)}
    assert had == set(LATER)
    (report / "results.json").write_text(json.dumps(content))
    result = run("reproduce", "--check", report)
    assert result.exit_code == 0, (result.output, result.exception)
    content["rows"][1]["width"] = 13  # what it has is compared
    (report / "results.json").write_text(json.dumps(content))
    result = run("reproduce", "--check", report)
    assert "rows[1].width: 13 in the report, 12 now" in result.output


def test_what_was_added_to_the_results_is_named(published: Path, tmp_path: Path) -> None:
    """Also what a report leaves out where it is empty; of samples, all but where their pictures lie."""
    report = results_alone(published, tmp_path / "report")
    content = json.loads((report / "results.json").read_text())
    content["missing"] = content["decoding"] = ["one more"]
    content["samples"][0]["captions"]["updown-big"] = "a better caption"
    content["samples"][0]["path"] = "elsewhere.jpg"
    content["samples"] = content["samples"][:3]  # which images are shown is no number
    content["samples"][2] |= {"image": "no image"}
    (report / "results.json").write_text(json.dumps(content))
    result = run("reproduce", "--check", report)
    assert "missing: ('one more',) in the report, None now" in result.output
    assert "decoding: ('one more',) in the report, None now" in result.output
    assert "samples[0].captions.updown-big: 'a better caption' in the report" in result.output
    assert "samples[2].captions.updown-big: " in result.output
    assert "samples[1]" not in result.output


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_that_says_something_else_than_the_results_is_named(
    name: str, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_module, "run_tables", lambda *arguments: read_results(report / "results.json"))
    report = tmp_path / "report"
    shutil.copytree(published / "report", report)
    text = (report / name).read_text()
    before, last, after = text.rpartition("updown-small")
    (report / name).write_text(f"{before}updown-smaller{after}")
    result = run("reproduce", "--check", report)
    line = text[: text.rindex(last)].count("\n") + 1
    assert f"{name}, line {line}: " in result.output
    assert "1 numbers or texts" in str(result.exception)


def test_other_data_and_other_tables_are_told(published: Path, tmp_path: Path) -> None:
    """Rather than captions being missed in a pack that is whole."""
    other, renamed = tmp_path / "other" / "scenes", tmp_path / "renamed"
    shutil.copytree(published / "scenes", other)
    shutil.copytree(published / "scenes", renamed)
    next(iter(sorted(other.rglob("*.jpg")))).unlink()
    for data, says in ((other, "is not the data set of this report"), (renamed, "call it scenes")):
        result = run("reproduce", "--data", data, "--check", published / "report")
        assert f"`--data {data}` is" in str(result.exception)
        assert says in str(result.exception)
    arguments = ["--data", published / "scenes", "--preset", "smoke", "--seeds", "1"]
    result = run("reproduce", "table2", *arguments, "--check", published / "report")
    assert "no row of table2 with these options; the report is of table1" in str(result.exception)


@pytest.mark.parametrize("what", ["families", "extra"])
def test_tables_that_are_not_the_papers_are_checked_too(
    what: str, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the rows that table 1 has trained."""
    report = tmp_path / "report"
    arguments = ["reproduce", what, "--data", published / "scenes", "--preset", "smoke", "--seeds", "1"]
    arguments += ["--metrics", "rouge_l,cider", "--store", published / "store", "--to", report, "--finished"]
    monkeypatch.setattr(sys, "argv", ["distilcap", *map(str, arguments)])
    assert run(*arguments).exit_code == 0
    assert {row.name for row in read_results(report / "results.json").rows} >= {"updown-big", "updown-small"}
    shutil.copy(published / "report" / PACK, report / PACK)
    result = run("reproduce", "--check", report)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "every number is as its captions score" in " ".join(result.output.split())


def test_nothing_is_built_for_a_report_that_has_no_tables(published: Path, tmp_path: Path) -> None:
    """Its command may be a stranger's, and name any store."""
    report, store = tmp_path / "report", tmp_path / "store"
    shutil.copytree(published / "report", report)
    content = json.loads((report / "results.json").read_text())
    for what in ("encoders", "flickr8k"):
        command = f"distilcap reproduce {what} --data {published / 'scenes'} --store {store}"
        (report / "results.json").write_text(json.dumps(content | {"command": command}))
        result = run("reproduce", "--check", report)
        assert f"`reproduce {what}` has no use for `--check`" in str(result.exception)
    assert not store.exists()


def test_rows_that_are_not_trained_are_left_out_and_named(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    shutil.copytree(published / "store", store)
    row = read_results(published / "report" / "results.json").row("updown-small from updown-big, beam 1")
    for entry in contents(store):
        if isinstance(entry.stage, Generate) and entry.stage.captioner.key == row.runs[0]:
            remove(store, entry.key)
    report = tmp_path / "report"
    arguments = ["reproduce", "table1", "--data", published / "scenes", "--preset", "smoke", "--seeds", "1"]
    arguments += ["--metrics", "rouge_l,cider", "--store", store, "--to", report, "--finished"]
    monkeypatch.setattr(sys, "argv", ["distilcap", *map(str, arguments)])
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    results = read_results(report / "results.json")
    assert results.missing == (row.name,)
    assert row.name not in {other.name for other in results.rows}
    for page in ("report.md", "report.html"):
        assert f"Not trained yet, and left out: {row.name}" in (report / page).read_text()
    assert run("store", "export", "--store", store, report / PACK).exit_code == 0
    assert run("reproduce", "--check", report).exit_code == 0
    # A pack of fewer rows than the report has: they are told, and nothing is trained.
    shutil.copy(report / PACK, tmp_path / PACK)
    shutil.copytree(published / "report", tmp_path / "whole")
    shutil.copy(tmp_path / PACK, tmp_path / "whole" / PACK)
    result = run("reproduce", "--check", tmp_path / "whole")
    assert "missing: None in the report" in result.output
    assert result.exit_code != 0


def test_rows_that_are_not_asked_for_are_named_and_not_compared(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of the box that learn from crops, where no crops are given."""
    report = results_alone(published, tmp_path / "report")
    content = json.loads((report / "results.json").read_text())
    last = content["rows"][-1]["name"]
    all_rows = tables_module.paper_tables

    def without_last(*arguments: Any) -> tuple[Table, ...]:
        (table,) = all_rows(*arguments)
        assert table.rows[-1].member.name == last
        return (replace(table, rows=table.rows[:-1], left_out=(last,)),)

    monkeypatch.setattr(tables_module, "paper_tables", without_last)
    result = run("reproduce", "--check", report)
    assert result.exit_code == 0, (result.output, result.exception)
    assert f"Not compared: {last}." in " ".join(result.stderr.split())
    content["rows"][-1]["scores"]["beam"]["cider"] += 1e-6
    content["rows"][1]["scores"]["beam"]["cider"] += 1e-6
    (report / "results.json").write_text(json.dumps(content))
    result = run("reproduce", "--check", report)
    assert "rows[1].scores.beam.cider" in result.output
    assert "1 numbers or texts" in str(result.exception)


def test_a_report_of_a_version_whose_tables_had_fewer_rows_agrees(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_rows = tables_module.paper_tables

    def with_another(*arguments: Any) -> tuple[Table, ...]:
        (table,) = all_rows(*arguments)
        last = table.rows[-1].member
        runs = tuple(replace(run, training=replace(run.training, seed=77)) for run in last.trains)
        return (replace(table, rows=(*table.rows, TableRow(replace(last, name="another", trains=runs)))),)

    monkeypatch.setattr(tables_module, "paper_tables", with_another)
    result = run("reproduce", "--check", results_alone(published, tmp_path / "report"))
    assert result.exit_code == 0, (result.output, result.exception)


def test_a_run_that_a_pack_lacks_is_named_and_not_trained(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = results_alone(published, tmp_path / "report")
    gone = read_results(report / "results.json").row("updown-small from updown-big, beam 1").runs[0]
    kept = [entry for entry in contents(published / "store") if entry.key != gone]
    export_results(kept, report / PACK)
    monkeypatch.setattr(Train, "build", lambda *arguments: pytest.fail("trained"))
    assert f"lacks {gone}," in str(run("reproduce", "--check", report).exception)


def test_what_cannot_be_scored_here_is_not_compared_and_said(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SPICE, where it is not installed; the report has it from elsewhere."""
    report = results_alone(published, tmp_path / "report")
    content = json.loads((report / "results.json").read_text())
    content["command"] = content["command"].replace("rouge_l,cider", "rouge_l,cider,spice")
    for row in content["rows"]:
        row["scores"]["beam"]["spice"], row["signature"]["spice"] = 0.1, "spice|refs:5"
    (report / "results.json").write_text(json.dumps(content))
    monkeypatch.setattr(Spice, "unavailable", lambda self: "it is not installed")
    result = run("reproduce", "--check", report)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "spice was not compared: it is not installed." in result.output
    content["rows"][1]["scores"]["beam"]["cider"] += 1e-6
    (report / "results.json").write_text(json.dumps(content))
    assert "1 numbers or texts" in str(run("reproduce", "--check", report).exception)
