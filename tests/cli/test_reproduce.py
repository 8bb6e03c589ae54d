"""`distilcap reproduce`: which words go together, and by which command a report is checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from distilcap.cli.main import cli
from distilcap.cli.reproduce import reproduce
from distilcap.errors import ConfigError

RESULTS = Path(__file__).parents[2] / "docs/results/flickr8k-worth/results.json"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["reproduce", *map(str, arguments)])


@pytest.mark.parametrize("what", ["all extra", "extra all", "encoders all", "table1 worth", "all box"])
def test_only_tables_go_together(what: str) -> None:
    error = run(*what.split(), "--data", "nowhere").exception
    assert isinstance(error, ConfigError)
    assert f"Only tables go together, but not {what}" in str(error)


@pytest.mark.parametrize("what", ["all table1", "table2 table1", "extra extra"])
def test_tables_and_the_same_twice_go_together(what: str) -> None:
    assert "nowhere" in str(run(*what.split(), "--data", "nowhere", "--preset", "smoke").exception)


def report_of(command: str, folder: Path) -> Path:
    content = json.loads(RESULTS.read_text())
    (folder / "results.json").write_text(json.dumps(content | {"command": command}))
    return folder


@pytest.mark.parametrize(
    "before", ["", "--plain ", "--plugin stranger.py --plain ", "--plugin=stranger.py --plugin other "]
)
def test_a_report_is_checked_by_its_own_options_on_these_data(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(reproduce, "main", lambda arguments, **_: called.append(arguments))
    report = report_of(f"distilcap {before}reproduce worth --seeds 3", tmp_path)
    result = run("--check", report, "--data", "here", "--images", "there")
    assert result.exit_code == 0, result.exception
    assert called == [["worth", "--seeds", "3", "--data=here", "--images=there", "--check", str(report)]]


@pytest.mark.parametrize(
    "option", [("--seeds", "2"), ("--metrics", "bleu"), ("--store", "here"), ("--finished",)]
)
def test_other_options_are_the_reports_own(option: tuple[str, ...], tmp_path: Path) -> None:
    report = report_of("distilcap reproduce worth", tmp_path)
    error = run("--check", report, "--data", "here", *option).exception
    assert isinstance(error, ConfigError)
    assert f"and not `{option[0]}`: leave" in str(error)


@pytest.mark.parametrize(
    "option", [("--preset", "quick"), ("--preset", "paper"), ("--encoder", "efficientnet-lite1")]
)
def test_the_box_has_a_recipe_of_its_own(option: tuple[str, ...]) -> None:
    """Of the defaults, too: who writes them down asks for them."""
    error = run("box", "--data", "nowhere", "--crops", "nowhere", *option).exception
    assert isinstance(error, ConfigError)
    assert f"`reproduce box` has no use for `{option[0]}`" in str(error)


def test_an_option_is_refused_by_being_given_and_not_by_its_value() -> None:
    metrics = next(str(one.default) for one in reproduce.params if one.name == "metrics")
    error = run("encoders", "--data", "nowhere", "--metrics", metrics).exception
    assert str(error) == "`reproduce encoders` has no use for `--metrics`; leave it out."
    error = run("table1", "--data", "nowhere", "--crops", "nowhere").exception
    assert "`reproduce table1` has no use for `--crops`" in str(error)
    assert "nowhere" in str(run("encoders", "--data", "nowhere", "--seeds", 1).exception)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "`--crops` takes"),
        (("--seeds", "2"), "`--crops` takes"),
        (("--seeds", "3"), "nowhere"),
        (("--finished",), "nowhere"),
        (("--check", "report"), "nowhere"),
    ],
)
def test_what_the_box_learns_is_needed_where_it_is_trained(more: tuple[str, ...], said: str) -> None:
    """To score what is there, its data are enough; and of three seeds two teach the third."""
    assert said in str(run("box", "--data", "nowhere", *more).exception)
