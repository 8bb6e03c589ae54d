"""The paper's tables: exactly its rows, shared stages, and a whole run on a handful of drawn scenes."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from distilcap.cli.main import cli
from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError
from distilcap.integrity import leave_out
from distilcap.metrics import Score
from distilcap.progress import SILENT
from distilcap.reports.records import read_results
from distilcap.reports.report import write_report
from distilcap.reports.results import Member, latencies_of, read_beside_scores
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate
from distilcap.stages.measure import Evaluate
from distilcap.stages.train import Train
from distilcap.store.record import complete
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.study import rows as tables_module
from distilcap.study import tables
from distilcap.study.estimate import estimate_plan, facts_of
from distilcap.study.extra import extra_table
from distilcap.study.flickr8k import TEACHER
from distilcap.study.options import TableOptions
from distilcap.study.presets import PRESETS, table_preset
from distilcap.study.published import TABLE_1, TABLE_2
from distilcap.study.rows import Students, paper_tables
from distilcap.study.tables import (
    finished,
    members_of,
    run_tables,
    stages_of_tables,
)

METRICS = ("bleu", "rouge_l", "cider")
NOWHERE = Store(Path("nowhere"))


def students_of(preset: str, seeds: int = 3) -> Students:
    """Of no real data: enough to look at rows and keys."""
    data = ImportData("0", "data", "nowhere", None)
    features = ExtractFeatures(data, "{}", None, "efficientnet-lite0", None, "random", "grid")
    return Students(data, features, table_preset(preset), tuple(range(seeds)))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Students:
    folder = tmp_path_factory.mktemp("scenes")
    draw_scenes(folder, (16, 4, 6), size=64)
    data = ImportData.of(folder)
    features = ExtractFeatures.of(data, "efficientnet-lite0", 64, "random")
    return Students(data, features, table_preset("smoke"), (0,))


@pytest.mark.parametrize("preset", PRESETS)
def test_tables_have_the_papers_rows_and_those_that_it_left_out(preset: str) -> None:
    found = {table.name: table for table in paper_tables(students_of(preset))}
    for name, family in (("table1", "updown"), ("table2", "aoanet")):
        rows = found[name].rows
        assert [row.member.role for row in rows[:2]] == ["teacher", "student"]
        assert [(row.member.size, row.label_beam) for row in rows[1:]] == [
            (size, beam) for size in ("medium", "small") for beam in (None, 1, 3, 5, 10)
        ]
        assert {row.member.trains[0].architecture for row in rows} == {family}
        printed = TABLE_1 if family == "updown" else TABLE_2
        for row in rows[1:]:
            assert row.printed == printed[row.member.size, row.label_beam].as_scores()
    crossed = [row for row in found["table3"].rows if row.member.teacher]
    pairs = [(row.member.name.split("-")[0], (row.member.teacher or "").split("-")[0]) for row in crossed]
    assert pairs.count(("updown", "aoanet")) == pairs.count(("aoanet", "updown")) == 2
    assert pairs.count(("updown", "updown")) == pairs.count(("aoanet", "aoanet")) == 2
    chains = [row for row in found["table4"].rows if (row.member.teacher or "").split("-")[1:2] == ["medium"]]
    assert len(chains) == 2
    assert [row.member.size for row in chains] == ["small", "small"]
    distilled = [row for row in found["table4"].rows if "distilled" in row.member.name]
    assert [row.printed and round(row.printed["cider"], 3) for row in distilled] == [1.155, 1.227]


def test_rows_that_share_a_teacher_share_its_training() -> None:
    tables = paper_tables(students_of("paper"))
    runs = {train.key for member in members_of(tables) for train in member.trains}
    stages = NOWHERE.plan(stages_of_tables(tables, METRICS))
    trained = [planned.stage for planned in stages if isinstance(planned.stage, Train)]
    assert {train.key for train in trained} == runs  # no training that is not a row
    # 2 teachers, 4 undistilled and 16 + 4 + 4 distilled students, these with 3 seeds
    assert len(trained) == 2 + 3 * (4 + 16 + 4 + 4)
    labels = [planned.stage for planned in stages if isinstance(planned.stage, Generate)]
    # each big teacher labels with 4 beams, each family's two medium ones with 1
    assert sum(one.split == "train" for one in labels) == 2 * 4 + 2 * 2
    first, second = (paper_tables(students_of("paper"), [name]) for name in ("table1", "table3"))
    assert members_of(first)[0].trains[0].key == members_of(second)[0].trains[0].key


def test_spice_is_added_to_scores_that_are_there_and_only_to_beam_search() -> None:
    tables = paper_tables(students_of("paper"), ["table1"])

    def scored(*metrics: str) -> list[Evaluate]:
        return [stage for stage in stages_of_tables(tables, metrics) if isinstance(stage, Evaluate)]

    before, after = scored("bleu", "cider"), scored("bleu", "cider", "spice")
    added = [stage for stage in after if stage.key not in {one.key for one in before}]
    assert len(after) == len(before) + len(added)
    assert {stage.metrics for stage in added} == {("spice",)}
    of_beam = [member.scored("beam") for member in members_of(tables)]
    assert {stage.captions.key for stage in added} == {one.key for seeds in of_beam for one in seeds}


def test_presets_train_as_published_or_share_the_measured_teacher() -> None:
    paper = table_preset("paper")
    for role in paper.roles.values():
        assert (role.training.cross_entropy.epochs, role.training.self_critical.epochs) == (30, 10)
        assert (role.training.batch_images, role.training.max_words, paper.min_count) == (10, 16, 5)
    assert paper.roles["aoanet", "big"].training.cross_entropy.label_smoothing == 0.2
    quick = table_preset("quick")
    assert quick.roles["updown", "big"].options == TEACHER.options
    assert quick.roles["updown", "big"].training == TEACHER.training
    with pytest.raises(
        ConfigError, match="`preset` must be one of paper, flickr8k, quick, smoke, but is 'slow'"
    ):
        table_preset("slow")


def test_flickr8k_trains_all_alike_and_each_seed_by_a_teacher_of_its_own() -> None:
    students = students_of("flickr8k")
    for (architecture, size), role in students.preset.roles.items():
        assert role.training.cross_entropy.epochs > role.training.self_critical.epochs > 0
        wider = students.preset.roles.get((architecture, {"medium": "big", "small": "medium"}.get(size, "")))
        assert wider is None or role.options.hidden == wider.options.hidden // 2
    tables = (*paper_tables(students), extra_table(students))
    for table in tables:
        by_name = {row.member.name: row.member for row in table.rows}
        for member in by_name.values():
            assert [train.training.seed for train in member.trains] == [0, 1, 2]
            if member.teacher and (teacher := by_name.get(member.teacher)):  # else it is an ensemble
                for train, own in zip(member.trains, teacher.trains, strict=True):
                    assert own.key in {planned.stage.key for planned in NOWHERE.plan([train])}
    # 2 teachers, 4 undistilled and 16 + 4 + 4 distilled students, all with 3 seeds
    assert len({train.key for member in members_of(tables[:4]) for train in member.trains}) == 3 * 30


def test_names_are_unique_and_baselines_are_there() -> None:
    tables = (*paper_tables(students_of("quick")), extra_table(students_of("quick")))
    for table in tables:
        names = [row.member.name for row in table.rows]
        assert len(set(names)) == len(names)
        assert {row.baseline for row in table.rows if row.baseline} <= set(names)
    keys: dict[str, str] = {}
    for member in (row.member for table in tables for row in table.rows):
        assert keys.setdefault(member.name, member.trains[0].key) == member.trains[0].key


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        yield from csv.DictReader(file)


def test_a_table_from_end_to_end(smoke: Students, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_module, "BEAMS", (1, 3))
    tables = paper_tables(smoke, ["table1"])
    store = Store(tmp_path / "store")
    plan = store.plan(stages_of_tables(tables, METRICS))
    facts = facts_of(smoke.data, smoke.features, store, 1)
    before = estimate_plan(plan, facts, store)
    assert all(cost.seconds > 0 and cost.megabytes > 0 and not cost.measured for cost in before)
    assert not store.root.exists()  # a plan builds nothing

    results = run_tables("Table & co", tables, store, SILENT, METRICS, "distilcap reproduce table1")
    out = tmp_path / "out"
    write_report(results, out, SILENT)
    bare = tmp_path / "bare"
    write_report(results, bare, SILENT, photos=False)
    assert not (bare / "images").exists()
    assert "data:image/jpeg" in (out / "report.html").read_text()
    assert "data:image/jpeg" not in (bare / "report.html").read_text()
    assert "](images/" not in (bare / "report.md").read_text()
    after = estimate_plan(store.plan(stages_of_tables(tables, METRICS)), facts, store)
    assert sum(cost.seconds for cost in after) == 0
    longer = dataclasses.replace(smoke, seeds=(0, 1))
    more = estimate_plan(
        store.plan(stages_of_tables(paper_tables(longer, ["table1"]), METRICS)), facts, store
    )
    missing = [cost for cost in more if cost.planned.to_do]
    assert {cost.measured for cost in missing if isinstance(cost.planned.stage, (Train, Evaluate))} == {True}

    read = read_results(out / "results.json")
    assert dataclasses.replace(read, samples=()) == dataclasses.replace(results, samples=())
    (table,) = read.tables
    assert [entry.label_beam for entry in table.rows] == [None, None, 1, 3, None, 1, 3]
    for entry in table.rows:
        assert set(entry.differences) == ({"rouge_l", "cider"} if entry.baseline else set())
    assert len(read.schedules) == 3  # big, medium, small
    assert read.schedules[0] in (out / "report.md").read_text()
    elsewhere = f"efficientnet-lite0 instead of EfficientDet-D0 and {smoke.data.name} instead of COCO"
    verdicts = [conclusion.verdict for conclusion in read.conclusions]
    assert verdicts[0] == f"not decided at this noise, with the encoder {elsewhere}"
    assert all(elsewhere in verdict for verdict in (*verdicts, read.verdict))
    assert len(read.conclusions) == 3
    assert [row.width for row in read.rows] == [16, 12, 12, 12, 8, 8, 8]
    for row in read.rows:
        assert row.search == {"greedy": "beam:1", "beam": "beam:2|length-penalty:1"}
        assert row.devices == ("cpu",)
    teacher = read.row("updown-big").train_seconds
    assert [entry.teacher_seconds for entry in table.rows] == [
        None,
        None,
        *[teacher] * 2,
        None,
        *[teacher] * 2,
    ]
    assert (read.scored_images, read.test_images) == (6, 6)
    gain = table.rows[2].differences["cider"]
    undistilled, taught = (
        read.row(name).scores.beam["cider"]
        for name in ("updown-medium", "updown-medium from updown-big, beam 1")
    )
    assert undistilled is not None
    assert taught is not None
    assert gain.difference == pytest.approx(taught - undistilled)
    assert gain.interval[0] <= gain.difference <= gain.interval[1]

    page = (out / "report.html").read_text()
    assert "Table &amp; co" in page
    assert "Table & co" not in page
    assert page.count("<figure>") == 6
    assert page.count("data:image/png") == 3
    markdown = (out / "report.md").read_text()
    for name in ("beam_size.png", "megabytes.png", "greedy_gap.png"):
        assert f"({name})" in markdown
        assert (out / name).stat().st_size > 1000
    for picture in (sample.path for sample in read.samples):
        assert (out / picture).is_file()
        assert f"({picture})" in markdown
    lines = list(_lines(out / "report.csv"))
    assert [line["cider_paper"] for line in lines][:2] == ["", "1.192"]
    assert float(lines[2]["cider_gain"]) == gain.difference
    assert [line["width"] for line in lines] == ["16", "12", "12", "12", "8", "8", "8"]
    assert float(lines[2]["teacher_seconds"]) == teacher
    head = next(line for line in markdown.splitlines() if line.startswith("| system |"))
    assert head.endswith("| width | M par. | MB | ms/image | label s | train s | teacher s |")
    assert "- `beam:2|length-penalty:1`" in markdown
    assert "Gains are against the same captioner without a teacher" in markdown
    assert "Scores on the test split (6 images), times 100" in markdown
    tex = (out / "report.tex").read_text()
    assert r"Table \& co" in tex
    assert tex.count(r"\\") == len(lines) + 1
    for forbidden in "±▲▼":
        assert forbidden not in tex


def test_a_plan_on_the_command_line_runs_nothing(smoke: Students, tmp_path: Path) -> None:
    data, store = smoke.data.path, tmp_path / "store"
    arguments = ["reproduce", "all", "--data", data, "--preset", "smoke", "--seeds", "1", "--plan"]
    result = CliRunner().invoke(cli, [*arguments, "--store", str(store), "--metrics", "cider"])
    assert result.exit_code == 0, result.output
    assert "to do" in result.output
    assert "stages, 0 there. To do: about" in " ".join(result.output.split())
    assert not store.exists()
    missing = CliRunner().invoke(cli, ["reproduce", "table1", "--data", "coco", "--plan"])
    assert "`distilcap data coco --root coco` sets it up" in str(missing.exception)
    mixed = CliRunner().invoke(cli, [arguments[0], "table1", "extra", *arguments[2:]])
    assert "Only tables go together, but not table1 extra" in str(mixed.exception)
    more = ["--more-seeds", "3", "--more-for", "5 best; top 1 of all teachers"]
    extra = CliRunner().invoke(cli, [arguments[0], "extra", *arguments[2:], *more, "--store", str(store)])
    assert extra.exit_code == 0, (extra.output, extra.exception)
    wrong = CliRunner().invoke(cli, [*arguments, *more])
    assert "`more_seeds` is of `extra`, not of all" in str(wrong.exception)
    for option in ("--finished", "--check=x"):
        planned = CliRunner().invoke(cli, [*arguments, option])
        assert "`--plan` is of what is to be trained" in str(planned.exception)
    crops = CliRunner().invoke(cli, [*arguments, "--crops", data])
    assert "`reproduce all` has no use for `--crops`" in str(crops.exception)
    for option in (["--metrics", "cider"], ["--image-size", "64"], ["--finished"]):
        unused = CliRunner().invoke(cli, ["reproduce", "encoders", "--data", data, *option])
        assert f"`reproduce encoders` has no use for `{option[0]}`" in str(unused.exception)
    none = CliRunner().invoke(cli, [*arguments[:-3], "--seeds", "0"])
    assert "'--seeds': 0 is not in the range" in none.output


@pytest.mark.slow
@pytest.mark.parametrize("what", ["table1 table3", "all", "extra", "families", "worth"])
def test_every_recipe_on_the_command_line(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILCAP_DATA", str(tmp_path / "data"))
    arguments = ["reproduce", *what.split(), "--data", "scenes", "--preset", "smoke", "--seeds", "2"]
    places = ["--store", str(tmp_path / "store"), "--to", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, [*arguments, *places, "--metrics", "bleu,cider"])
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert len(results["tables"]) == {"table1 table3": 2, "all": 4}.get(what, 1)
    assert results["verdict"]


def pretend(store: Store, stage: Stage, *left: str) -> None:
    """Let a stage be complete, or so but for files that are left out."""
    store.path(stage).mkdir(parents=True)
    for name in left:
        (store.path(stage) / name).touch()
    complete(store.path(stage), {}, ())
    leave_out(store.path(stage), left)
    for name in left:
        (store.path(stage) / name).unlink()


def test_rows_that_a_training_would_be_needed_for_are_not_finished(tmp_path: Path) -> None:
    (table,) = paper_tables(students_of("smoke", 1), ["table1"])
    rows = (replace(row, member=replace(row.member, length_penalty=None)) for row in table.rows)
    tables = (replace(table, rows=tuple(rows)),)
    store, members = Store(tmp_path), members_of(tables)
    for member in members:
        for column in ("greedy", "beam"):
            for captions in member.scored(column):
                pretend(store, captions)
        for stage in read_beside_scores(member):
            if not store.has(stage):
                pretend(store, stage, *(["captioner.safetensors"] if isinstance(stage, Train) else ()))
    timed = {latency.key: latency for latency in latencies_of(members).values()}
    for latency in timed.values():
        pretend(store, latency)
    assert finished(tables, store) == (tables, ())
    student = members[-1]
    (beam,) = (generate.decoding for generate in student.scored("beam") if isinstance(generate, Generate))
    assert beam is not None
    for gone in (*student.trains, beam):
        store.path(gone).rename(tmp_path / "aside")
        assert finished(tables, store)[1] == (student.name,)
        (tmp_path / "aside").rename(store.path(gone))
    # A captioner is timed by its weights, which are none: the others of its shape neither have any.
    latency = latencies_of(members)[student.name]
    shutil.rmtree(store.path(latency))
    assert finished(tables, store)[1] == tuple(
        name for name, other in latencies_of(members).items() if other == latency
    )
    shutil.rmtree(store.path(student.trains[0]))
    pretend(store, student.trains[0])
    assert student.name not in finished(tables, store)[1]


def test_rows_are_compared_image_by_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are read in whatever order a file has its images."""
    (table,) = paper_tables(students_of("smoke", 2), ["table1"])
    table = replace(table, rows=table.rows[:2])
    names = {member.name: number for number, member in enumerate(members_of([table]))}
    files = [{"a": 0.1, "b": 0.2, "c": 0.3}, {"c": 0.3, "b": 0.2, "a": 0.1}]

    def read(member: Member, *_: object) -> list[dict[str, Score]]:
        return [{"cider": Score("cider", 0.2, "signature", files[names[member.name]])}] * 2

    monkeypatch.setattr(tables, "column_scores", read)
    first, second = tables._scored([table], NOWHERE, ("cider",))
    assert first.per_image.tolist() == second.per_image.tolist() == [[0.1, 0.2, 0.3]] * 2
    files[1]["d"] = files[1].pop("a")
    with pytest.raises(ConfigError, match=f"{second.name} is scored on other images than {first.name}"):
        tables._scored([table], NOWHERE, ("cider",))
    files[:] = [{}, {}]
    assert tables._scored([table], NOWHERE, ("cider",)) == [], "a single image has no CIDEr"


def test_stages_name_every_row_once() -> None:
    stages: list[Stage] = stages_of_tables(paper_tables(students_of("smoke", 1)), METRICS)
    assert len({stage.key for stage in stages if isinstance(stage, Evaluate)}) == 2 * 30


def test_an_engine_runs_the_encoder_and_by_default_features_keep_their_name(smoke: Students) -> None:
    plain = TableOptions(preset="smoke").students(smoke.data).features
    assert plain.key == smoke.features.key
    faster = TableOptions(preset="smoke", encoder_engine="onnxruntime").students(smoke.data).features
    assert faster == plain.by("onnxruntime", "reduced")
    assert (faster.engine, plain.engine) == ("onnxruntime", "torch")
