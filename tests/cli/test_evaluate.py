"""`evaluate`, `compare` and `metrics df` as people use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from distilcap.cli.main import cli
from distilcap.data.captions import CaptionSet
from distilcap.errors import DistilCapError
from distilcap.metrics.frequencies import DocumentFrequencies

REFERENCES = {str(n): ["a dog runs on the grass", f"the dog number {n} is running"] for n in range(40)}
GOOD = {image: ["a dog runs on the grass"] for image in REFERENCES}
BAD = {image: ["a cat"] for image in REFERENCES}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    CaptionSet.of_texts(REFERENCES).save(tmp_path / "references.jsonl")
    CaptionSet.of_texts(GOOD).save(tmp_path / "good.jsonl")
    CaptionSet.of_texts(BAD).save(tmp_path / "bad.jsonl")
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, [str(one) for one in arguments])


def test_scores_have_values_intervals_and_signatures(files: Path) -> None:
    to = files / "scores.json"
    arguments = ["evaluate", files / "good.jsonl", "--references", files / "references.jsonl", "--to", to]
    result = run(*arguments, "--metrics", "bleu,rouge_l,cider", "--resamples", 200)
    assert result.exit_code == 0, result.output
    scores = json.loads(to.read_text())
    assert scores["rouge_l"]["value"] == pytest.approx(1.0)
    assert scores["rouge_l"]["interval"] == [pytest.approx(1.0)] * 2
    assert scores["bleu_4"]["signature"] in result.output
    assert set(scores["cider"]["per_image"]) == set(REFERENCES)


def test_coco_results_are_read(files: Path) -> None:
    results = [{"image_id": int(image), "caption": texts[0]} for image, texts in GOOD.items()]
    (files / "results.json").write_text(json.dumps(results))
    arguments = ["evaluate", files / "results.json", "--references", files / "references.jsonl"]
    result = run(*arguments, "--metrics", "rouge_l")
    assert "100.00" in result.output
    (files / "results.json").write_text("[1]")
    result = run(*arguments)
    assert isinstance(result.exception, DistilCapError)
    assert "expected COCO results" in str(result.exception)


def test_a_clear_difference_is_starred_and_none_is_not(files: Path) -> None:
    common = ["--references", files / "references.jsonl", "--metrics", "rouge_l", "--resamples", 500]
    found = run("compare", files / "good.jsonl", files / "bad.jsonl", *common)
    assert found.exit_code == 0, found.output
    row = next(line for line in found.output.splitlines() if line.count("│") > 5)
    assert " *" in row
    same = run("compare", files / "good.jsonl", files / "good.jsonl", *common)
    assert same.exit_code == 0, same.exception
    row = next(line for line in same.output.splitlines() if line.count("│") > 5)
    assert "+0.00" in row
    assert " *" not in row


def test_unknown_metrics_are_refused(files: Path) -> None:
    result = run(
        "evaluate", files / "good.jsonl", "--references", files / "references.jsonl", "--metrics", "x"
    )
    assert "one is 'x'" in str(result.exception)


def test_document_frequencies_of_a_data_set(files: Path) -> None:
    data = files / "data.jsonl"
    lines = (
        json.dumps({"image": f"{image}.jpg", "caption": text, "split": "train"})
        for image, texts in REFERENCES.items()
        for text in texts
    )
    data.write_text("".join(line + "\n" for line in lines))
    result = run("metrics", "df", data, "--to", files / "df.json")
    assert result.exit_code == 0, (result.output, result.exception)
    frequencies = DocumentFrequencies.load(files / "df.json")
    assert frequencies.images == 40
    assert frequencies.counts["a dog"] == 40
