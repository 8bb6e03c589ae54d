"""`evaluate`, `compare` and `metrics df` as people use them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from distilcap.cli.main import cli
from distilcap.cli.scores import as_csv, as_latex
from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError, DistilCapError
from distilcap.integrity import write_sealed_json
from distilcap.metrics import registry
from distilcap.metrics.base import Score
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
    arguments = ["evaluate", files / "good.jsonl", "--references", files / "references.jsonl"]
    result = run(*arguments, "--metrics", "bleu,rouge_l,cider", "--resamples", 200, "--json", to)
    assert result.exit_code == 0, (result.output, result.exception)
    content = json.loads(to.read_text())
    scores = content["scores"]
    assert set(scores) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"}
    assert scores["rouge_l"]["value"] == pytest.approx(1.0)
    assert scores["rouge_l"]["interval"] == [pytest.approx(1.0)] * 2
    assert scores["bleu_4"]["signature"] in result.output
    assert scores["cider"]["signature"] == "cider-d|refs:2|tok:ptb-official|df:test|end:0|v:1.0"
    assert set(content["per_image"]) == set(REFERENCES)
    assert set(content["per_image"]["7"]) == set(scores)
    assert content["diversity"]["mean_length"] == 6
    assert content["diversity"]["distinct_captions"] == 1 / 40


def test_csv_and_latex(files: Path) -> None:
    arguments = ["evaluate", files / "good.jsonl", "--references", files / "references.jsonl"]
    outputs = ["--csv", files / "s.csv", "--latex", files / "s.tex", "--training", files / "bad.jsonl"]
    result = run(*arguments, "--metrics", "rouge_l,cider", "--resamples", 100, *outputs)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "100.0 % not in training" in result.output
    head, row, _ = csv.reader((files / "s.csv").read_text().splitlines())
    assert head == ["score", "value", "low", "high", "signature", "unavailable"]
    assert row == ["rouge_l", "1.0", "1.0", "1.0", "rouge-l|refs:2|tok:ptb-official|beta:1.2|v:1.0", ""]
    latex = (files / "s.tex").read_text()
    assert "& ROUGE-L & CIDEr-D" in latex
    assert "100.0\\,{\\scriptsize$\\pm$0.0}" in latex


def test_tables_hold_text_and_no_formulas_or_commands() -> None:
    for sign in "=+-@\t\r":
        text = as_csv({"cider": Score.missing("cider", "s", f'{sign}1,"2"')})
        assert list(csv.reader(io.StringIO(text, newline="")))[1][-1] == f'\'{sign}1,"2"'
    hostile = {"cider": Score("cider", 1.0, "x\n\\input{a}", {})}
    latex = as_latex("{}$&%#_~^<>\\input\x1b\n", hostile)
    (row,) = (line.split(" & ")[0] for line in latex.splitlines() if line.endswith(r"& 100.0 \\"))
    assert latex.splitlines()[0] == "% cider: x\\n\\input{a}"  # in a comment that ends where the line ends
    expected = r"\{\}\$\&\%\#\_\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"
    assert row == expected + "".join(rf"\textbackslash{{}}{word}" for word in ("input", "x1b", "n"))


def test_one_file_of_captions_is_wanted(files: Path) -> None:
    result = run("evaluate", "--references", files / "references.jsonl")
    assert result.exit_code == 2
    assert "Missing argument 'CAPTIONS'" in result.output


def test_document_frequencies_and_the_end_token_show_in_the_signature(files: Path) -> None:
    words = [[text.split() for text in texts] for texts in REFERENCES.values()]
    frequencies = DocumentFrequencies.of("mine", words, end=True)
    frequencies.save(files / "df.json")
    arguments = ["evaluate", files / "good.jsonl", "--references", files / "references.jsonl"]
    both = [
        "--metrics",
        "cider",
        "--df",
        files / "df.json",
        "--end",
        "--resamples",
        0,
        "--to",
        files / "s.json",
    ]
    result = run(*arguments, *both)
    assert result.exit_code == 0, (result.output, result.exception)
    (score,) = json.loads((files / "s.json").read_text())["scores"].values()
    assert score["signature"] == f"cider-d|refs:2|tok:ptb-official|df:{frequencies.label}|end:1|v:1.0"
    assert score["interval"] is None


def test_score_files_are_compared_without_captions(files: Path) -> None:
    common = ["--references", files / "references.jsonl", "--metrics", "bleu,rouge_l", "--resamples", 100]
    for name in ("good", "bad"):
        run("evaluate", files / f"{name}.jsonl", *common, "--json", files / f"{name}.json")
    found = run("compare", files / "bad.json", files / "good.json", "--resamples", 300)
    assert found.exit_code == 0, (found.output, found.exception)
    captions = run("compare", files / "bad.jsonl", files / "good.jsonl", *common[:4], "--resamples", 300)

    def rows(output: str) -> list[list[str]]:
        cells = ([cell.strip() for cell in line.split("│")] for line in output.splitlines())
        return [row[1:2] + row[3:] for row in cells if len(row) > 5 and row[1]]

    kept, again = rows(found.output), rows(captions.output)
    assert len(kept) == 5
    assert kept == again


def test_scores_that_only_some_have_are_named(files: Path) -> None:
    common = ["--references", files / "references.jsonl", "--resamples", 100, "--metrics"]
    for name, metrics in (("good", "rouge_l,bleu"), ("bad", "rouge_l"), ("other", "bleu")):
        CaptionSet.of_texts(GOOD).save(files / "other.jsonl")
        run("evaluate", files / f"{name}.jsonl", *common, metrics, "--json", files / f"{name}.json")
    good, bad, other = (files / f"{name}.json" for name in ("good", "bad", "other"))
    found = run("compare", bad, good, "--resamples", 100)
    assert found.exit_code == 0, found.exception
    assert f"bleu_1 is left out, since it was not scored of {bad}." in found.stderr
    error = run("compare", bad, other, "--resamples", 100).exception
    assert isinstance(error, ConfigError)
    assert "have no score in common" in str(error)


def test_references_in_another_order_are_the_same(files: Path) -> None:
    turned = dict(reversed([*REFERENCES.items()]))
    CaptionSet.of_texts(turned).save(files / "turned.jsonl")
    CaptionSet.of_texts({image: [image, "a dog"][:1] for image in REFERENCES}).save(files / "mixed.jsonl")
    for name, references in (("good", "references"), ("mixed", "references"), ("mixed", "turned")):
        to = ["--json", files / f"{name}-{references}.json", "--metrics", "rouge_l,bleu", "--resamples", 0]
        run("evaluate", files / f"{name}.jsonl", "--references", files / f"{references}.jsonl", *to)

    def compared(other: str) -> str:
        result = run("compare", files / "good-references.json", files / other, "--resamples", 100)
        assert result.exit_code == 0, result.exception
        return result.output.replace(other, "other")

    assert compared("mixed-turned.json").split() == compared("mixed-references.json").split()


def test_scores_that_cannot_be_compared_are_refused(files: Path) -> None:
    common = ["--references", files / "references.jsonl", "--metrics", "rouge_l", "--resamples", 0]
    run("evaluate", files / "good.jsonl", *common, "--json", files / "official.json")
    run("evaluate", files / "good.jsonl", *common, "--tokenizer", "ptb", "--json", files / "plain.json")
    result = run("compare", files / "official.json", files / "plain.json")
    assert "were scored differently and cannot be compared" in str(result.exception)
    other = {image: [*texts[:1], "another"] for image, texts in REFERENCES.items()}
    CaptionSet.of_texts(other).save(files / "other.jsonl")
    common[1] = files / "other.jsonl"
    run("evaluate", files / "good.jsonl", *common, "--json", files / "others.json")
    result = run("compare", files / "official.json", files / "others.json")
    assert "were scored against different references" in str(result.exception)
    result = run("compare", files / "official.json", files / "good.jsonl", *common)
    assert "were scored against different references" in str(result.exception)
    result = run("compare", files / "official.json", files / "good.jsonl")
    assert "so `--references` must name their references" in str(result.exception)
    (files / "broken.json").write_text('{"scores": {"cider": {}}, "per_image": {}}')
    result = run("compare", files / "broken.json", files / "broken.json")
    assert "broken.json: not scores; `distilcap evaluate … --json broken.json` writes them." in str(
        result.exception
    )


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


@pytest.mark.parametrize(
    "images, said", [(1, "Of one image there is neither"), (3, "Only 3 images: intervals are Student's t")]
)
def test_scores_of_few_images_say_so(files: Path, images: int, said: str) -> None:
    few = list(REFERENCES)[:images]
    for name, captions in (("good", GOOD), ("bad", BAD)):
        CaptionSet.of_texts({image: captions[image] for image in few}).save(files / f"{name}.jsonl")
    common = ["--references", files / "references.jsonl", "--metrics", "bleu,rouge_l"]
    scored = run(
        "evaluate", files / "good.jsonl", *common, "--json", files / "s.json", "--csv", files / "s.csv"
    )
    assert scored.exit_code == 0, scored.exception
    assert said in scored.output
    interval = json.loads((files / "s.json").read_text())["scores"]["rouge_l"]["interval"]
    assert (interval is None) == (images == 1)
    compared = run("compare", files / "bad.jsonl", files / "good.jsonl", *common)
    assert compared.exit_code == 0, compared.exception
    assert said in compared.output
    row = next(line for line in compared.output.splitlines() if "rouge_l" in line and "│" in line)
    difference, interval, bootstrap, *exact = (cell.strip() for cell in row.split("│")[3:-1])
    assert difference.startswith("+")
    assert (interval == "n/a") == (exact == ["n/a"] * 2) == (images == 1)
    assert bootstrap == "n/a"
    assert said not in run("evaluate", files / "good.jsonl", *common, "--resamples", 0).output


def test_a_metric_that_is_named_twice_is_scored_once(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    create = registry.create_metric
    monkeypatch.setattr(
        "distilcap.metrics.options.create_metric",
        lambda name, **rest: (made.append(name), create(name, **rest))[1],
    )
    common = ("evaluate", files / "good.jsonl", "--references", files / "references.jsonl", "--resamples", 0)
    run(*common, "--metrics", "rouge_l, rouge_l,")
    assert made == ["rouge_l"]
    assert "at least one metric" in str(run(*common, "--metrics", " ,").exception)


def test_unknown_metrics_are_refused(files: Path) -> None:
    result = run(
        "evaluate", files / "good.jsonl", "--references", files / "references.jsonl", "--metrics", "x"
    )
    assert "'x' is not" in str(result.exception)


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


def rows(count: int = 5) -> list[dict[str, object]]:
    return [{"image_id": n, "caption": f"a dog number {n} runs on the grass"} for n in range(count)]


def in_form(path: Path, records: list[dict[str, object]]) -> Path:
    """Candidates, or references, in the form that the ending says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in records))
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(
                file, ["image_id", "caption"], delimiter="\t" if path.suffix == ".tsv" else ","
            )
            writer.writeheader()
            writer.writerows(records)
    else:
        path.write_text(json.dumps(records))
    return path


@pytest.fixture
def references(tmp_path: Path) -> Path:
    texts = {
        str(n): [f"a dog number {n} runs on the green grass", f"the brown dog plays with ball {n}"]
        for n in range(5)
    }
    (tmp_path / "refs.json").write_text(json.dumps(texts))
    return tmp_path / "refs.json"


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".csv", ".tsv"])
def test_candidates_and_references_in_any_form_give_the_same_scores(references: Path, ending: str) -> None:
    candidates = in_form(references.with_name(f"cand{ending}"), rows())
    again = [
        {"image_id": key, "caption": text}
        for key, texts in json.loads(references.read_text()).items()
        for text in texts
    ]
    others = in_form(references.with_name(f"refs2{ending}"), again)
    scores = []
    for known in (references, others):
        result = run(
            "evaluate", candidates, "--references", known, "--metrics", "cider,rouge_l", "--resamples", 0
        )
        assert result.exit_code == 0, (result.output, result.exception)
        scores.append(result.output.splitlines()[1:])
    assert scores[0] == scores[1]
    assert "564.23" in result.output


@pytest.mark.parametrize(
    "name", ["{}.jpg", "photos/{}.jpg", "../of a trip/day {}/{}.png", "/home/ada/{}.jpg"]
)
def test_names_of_files_fit_the_ids_of_a_data_set(references: Path, name: str) -> None:
    named = [{**row, "image_id": name.format(row["image_id"], row["image_id"])} for row in rows()]
    candidates = in_form(references.with_name("cand.csv"), named)
    result = run("evaluate", candidates, "--references", references, "--metrics", "rouge_l", "--resamples", 0)
    assert "93.13" in result.output, result.exception
    assert not result.stderr


@pytest.mark.parametrize("names", [("a/0.jpg", "b/0.jpg"), ("a/0.jpg", "a/stranger.jpg")])
def test_names_of_files_that_fit_no_ids_are_refused(references: Path, names: tuple[str, str]) -> None:
    named = [{"image_id": name, "caption": "a dog"} for name in names]
    candidates = in_form(references.with_name("cand.csv"), named)
    result = run("evaluate", candidates, "--references", references, "--metrics", "rouge_l")
    assert isinstance(result.exception, DistilCapError)
    assert "'a/0.jpg' has a candidate, but no references, nor have 1 more" in str(result.exception)


@pytest.mark.parametrize(
    "records, message",
    [
        ([], r"cand.json: there are no captions in it."),
        ([*rows(2), {"image_id": 2, "caption": None}], r"entry 3 \(image 2\): .*must be text, but is null"),
        ([{"image_id": 0, "caption": ["a dog"]}], r"entry 1 \(image 0\): .*must be text, but is a list"),
        ([{"image_id": 0}], r"entry 1 \(image 0\): .*must be text, but is missing"),
        ([*rows(1), {"caption": "x"}], r"entry 2: expected COCO results"),
        ([*rows(5), *rows(2)], r"cand.json: image 0 must have one caption, but has 2; keep the best"),
        (
            [{"image_id": n, "caption": "x"} for n in (0, 7, 8)],
            r"'7' has a candidate, but no references, nor have 1",
        ),
    ],
)
def test_a_faulty_file_of_candidates_is_named_with_its_entry(
    references: Path, records: list[dict[str, object]], message: str
) -> None:
    candidates = in_form(references.with_name("cand.json"), records)
    result = run("evaluate", candidates, "--references", references, "--metrics", "rouge_l")
    assert isinstance(result.exception, DistilCapError)
    assert re.search(message, str(result.exception)), result.exception


def test_cider_of_one_image_is_not_a_number_but_a_reason(references: Path) -> None:
    one = in_form(references.with_name("one.json"), rows(1))
    to = references.with_name("scores.json")
    result = run("evaluate", one, "--references", references, "--metrics", "cider,rouge_l", "--json", to)
    assert result.exit_code == 0, result.exception
    assert "4 of the 5 images of" in result.stderr
    scores = json.loads(to.read_text())["scores"]
    assert scores["cider"]["value"] is None
    assert "of one image it is always 0" in scores["cider"]["unavailable"]
    assert scores["rouge_l"]["value"] == pytest.approx(0.9313, abs=1e-4)
    two = in_form(references.with_name("two.json"), rows(2))
    result = run("evaluate", two, "--references", references, "--metrics", "cider", "--resamples", 0)
    assert "n/a" not in result.output


@pytest.mark.parametrize(("ending", "empty"), [(".csv", ""), (".jsonl", ""), (".jsonl", None), (".txt", "")])
def test_captions_left_empty_are_scored_as_empty(references: Path, ending: str, empty: str | None) -> None:
    """What `caption --min-confidence --to` wrote; left out, doubtful captions would raise the score."""
    named = [
        {"image": f"{row['image_id']}.jpg", "caption": row["caption"] if number < 3 else empty}
        for number, row in enumerate(rows())
    ]
    candidates = references.with_name(f"cand{ending}")
    if ending == ".jsonl":
        in_form(candidates, named)
    else:
        sign, head = ("\t", "") if ending == ".txt" else (",", "image,caption\n")
        candidates.write_text(head + "".join(f"{row['image']}{sign}{row['caption']}\n" for row in named))
    to = references.with_name("s.json")
    arguments = [
        "--references",
        references,
        "--metrics",
        "bleu,rouge_l,cider",
        "--resamples",
        0,
        "--json",
        to,
    ]
    result = run("evaluate", candidates, *arguments)
    assert result.exit_code == 0, result.exception
    assert result.stderr.startswith(f"2 of the 5 captions of {candidates} are empty"), result.stderr
    scores = json.loads(to.read_text())
    assert set(scores["per_image"]["4"].values()) <= {0.0}
    assert scores["scores"]["rouge_l"]["value"] == pytest.approx(0.9313 * 3 / 5, abs=1e-3)
    cider = scores["scores"]["cider"]["value"]
    coco = [{"image_id": n, "caption": row["caption"]} for n, row in enumerate(named)]
    run("evaluate", in_form(references.with_name("coco.json"), coco), *arguments)
    assert json.loads(to.read_text())["scores"]["cider"]["value"] == cider
    part = in_form(references.with_name("part.jsonl"), named[:2])
    result = run("compare", candidates, part, *arguments[:4])
    said = "cand\\.\\w+ has captions of 5 images and .*part.jsonl of 2, 2 of them in both"
    assert re.search(said, str(result.exception)), result.exception


EMPTY_LISTS = {
    "own.jsonl": '{"image": "0", "captions": []}\n{"image": "1", "captions": [{"text": "a"}, {"text": ""}]}',
    "strings.jsonl": '{"image": "0.jpg", "captions": []}\n{"image": "1.jpg", "captions": ["a"]}\n',
    "last.jsonl": '{"image": "1.jpg", "captions": ["a"]}\n{"image": "0.jpg", "captions": []}\n',
    "list.json": '[{"image": "1.jpg", "captions": ["a"]}, {"image": "0.jpg", "captions": []}]',
    "by_id.json": '{"0": [], "1": ["a"]}',
}


@pytest.mark.parametrize("name", EMPTY_LISTS)
def test_images_listed_without_caption_are_scored_as_empty(name: str, references: Path) -> None:
    candidates = references.with_name(name)
    candidates.write_text(EMPTY_LISTS[name])
    result = run("evaluate", candidates, "--references", references, "--metrics", "bleu", "--resamples", 0)
    assert result.exit_code == 0, result.exception
    assert f"1 of the 2 captions of {candidates} are empty" in result.stderr


def test_files_in_other_folders_are_matched_all_or_said_not_to_be(references: Path) -> None:
    named = [{"image_id": f"p400/{n}.jpg", "caption": "a dog"} for n in range(9)]
    candidates = in_form(references.with_name("cand.jsonl"), named)
    result = run("evaluate", candidates, "--references", references, "--metrics", "rouge_l")
    assert "5 of the 9 candidates are among them" in str(result.exception), result.exception
    assert "left out" not in result.stderr


CHINESE = {str(n): ["一只狗在绿色的草地上奔跑", "棕色的狗在玩球"] for n in range(3)}


def test_compare_says_once_what_is_left_out_and_of_each_file_what_is_empty(files: Path) -> None:
    CaptionSet.of_texts({**dict(list(GOOD.items())[:30]), "3": [""]}).save(files / "some.jsonl")
    CaptionSet.of_texts(dict(list(BAD.items())[:30])).save(files / "other.jsonl")
    arguments = ["--references", files / "references.jsonl", "--metrics", "bleu", "--resamples", 10]
    result = run("compare", files / "some.jsonl", files / "other.jsonl", *arguments)
    assert result.exit_code == 0, result.exception
    assert result.stderr.splitlines() == [
        f"10 of the 40 images of {files / 'references.jsonl'} have no caption and are left out.",
        f"1 of the 30 captions of {files / 'some.jsonl'} are empty, and are scored as they are.",
    ]


def test_other_languages_have_their_tokenizer_and_are_advised_of_it(tmp_path: Path) -> None:
    CaptionSet.of_texts(CHINESE).save(tmp_path / "references.jsonl")
    CaptionSet.of_texts({image: ["一只狗在草地上奔跑"] for image in CHINESE}).save(tmp_path / "c.jsonl")
    arguments = ["evaluate", tmp_path / "c.jsonl", "--references", tmp_path / "references.jsonl"]
    advised = run(*arguments, "--resamples", 0)
    assert advised.exit_code == 0
    assert "Warning: The captions do not look English: `--tokenizer characters` is for" in advised.stderr
    assert advised.stdout.count("n/a (English only)") == 1  # METEOR, whose 43 would mean nothing
    result = run(*arguments, "--resamples", 0, "--tokenizer", "characters", "--json", tmp_path / "s.json")
    assert "Warning" not in result.stderr
    assert "9.00 words a caption" in result.stdout
    scores = json.loads((tmp_path / "s.json").read_text())["scores"]
    # 9 of 9 characters, 7 of 8 pairs, 5 of 7 triples, 4 of 6 fours; no penalty beside a reference of 7.
    assert scores["bleu_1"]["value"] == pytest.approx(1)
    assert scores["bleu_2"]["value"] == pytest.approx((7 / 8) ** 0.5)
    assert scores["cider"]["signature"] == "cider-d|refs:2|tok:characters|df:test|end:0|v:1.0"
    assert scores["meteor"]["unavailable"] == "English only"


def test_document_frequencies_of_characters(tmp_path: Path) -> None:
    lines = [{"image": f"{n}.jpg", "captions": ["一只狗"], "split": "train"} for n in range(2)]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    to = tmp_path / "df.json"
    result = run("metrics", "df", tmp_path / "captions.jsonl", "--tokenizer", "characters", "--to", to)
    assert result.exit_code == 0, result.output
    assert len(DocumentFrequencies.load(to).counts) == 6  # 3 characters, 2 pairs, 1 triple
    captions = tmp_path / "c.json"
    captions.write_text(json.dumps({"0.jpg": ["一只狗"], "1.jpg": ["一只猫"]}))
    asked = ["evaluate", captions, "--references", captions, "--metrics", "cider", "--df", to]
    assert run(*asked, "--tokenizer", "characters", "--resamples", 0).exit_code == 0
    error = run(*asked).exception  # PTB has other words, and hardly one of them would be found
    assert isinstance(error, ConfigError)
    assert "metrics df --tokenizer ptb`" in str(error)
    # Files of older versions are PTB's.
    content = json.loads(to.read_text())
    del content["tokenizer"], content["sha256"]
    write_sealed_json(to, content)
    assert run(*asked, "--resamples", 0).exit_code == 0
