"""The whole line on a handful of drawn scenes: both families, a chain, the store, the page, the command."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_captioners import small_options
from torch import Tensor

from distilcap.data.scenes import draw_scenes
from distilcap.encoders.tuned import ImageRegions
from distilcap.errors import BundleError, DataError
from distilcap.models.aoanet import AoANetOptions
from distilcap.models.captioner import Captioner
from distilcap.models.families import families
from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.distill import distill, write_distilled
from distilcap.pipeline.photographs import RunCaptioner
from distilcap.pipeline.plan import Role, plan_distillation
from distilcap.progress import SILENT, Silent
from distilcap.reports.collect import collect_results
from distilcap.reports.grids import grids_of
from distilcap.reports.records import read_results
from distilcap.reports.report import write_report
from distilcap.reports.results import stages_of
from distilcap.reports.sentences import decoding_sentences
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.decode_options import DecodeChoice
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.folders import run_of
from distilcap.stages.label import Generate, decode_options, decoding_of
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.store import Store
from distilcap.training.loop import Training
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

TRAINING = TrainingOptions(
    cross_entropy=CrossEntropyPhase(epochs=1, learning_rate=2e-3),
    self_critical=SelfCriticalPhase(epochs=1, samples=2),
    batch_images=8,
)
TEACHER = Role("aoanet", "tiny", AoANetOptions(hidden=16, embedding=8, heads=2, refiner_layers=1), TRAINING)
STUDENT = Role("updown", "tiny", UpDownOptions(hidden=8, embedding=8, attention=4), TRAINING)
LEARNING = dataclasses.replace(
    TRAINING,
    cross_entropy=CrossEntropyPhase(epochs=45, learning_rate=1e-2),
    batch_images=4,
    validation_every=10,
)
METRICS = ("bleu", "rouge_l", "cider")
BLEU = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    draw_scenes(folder, (24, 6, 8), size=64)
    return folder


def test_the_line_end_to_end(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilcap.reports.results.METRICS", METRICS)
    data = ImportData.of(scenes)
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=64, weights="random")
    plan = plan_distillation(
        data,
        features,
        TEACHER,
        STUDENT,
        beam=3,
        n_best=2,
        intermediate=STUDENT,
        control_epochs=2,
        seeds=(0, 1),
        min_count=1,
    )
    members = plan.systems
    assert [member.role for member in members] == ["teacher", "student", "control", "distilled", "distilled"]
    store = Store(tmp_path / "store")
    outcome = distill(plan, store, SILENT, export=False, metrics=METRICS)
    rows = outcome.rows
    assert outcome.bundle is None
    assert not any(planned.to_do for planned in store.plan(stages_of(members, METRICS)))
    for row in rows:
        assert row.parameters
        assert row.ms_per_image
        assert set(row.scores.greedy) == set(row.scores.beam) == {*BLEU, "rouge_l", "cider"}
        assert row.signature["cider"].startswith("cider-d|refs:5|")
    assert rows[1].seeds == (0, 1)
    assert rows[3].teacher == rows[0].name
    assert rows[4].teacher == rows[3].name

    # Labels: two captions of every training image, each with its log-probability, best first.
    distilled = members[-1].trains[0]
    assert isinstance(distilled, Train)
    assert isinstance(distilled.labels, Generate)
    assert distilled.labels.decoding == decoding_of(members[-2].trains[0], 3)
    labels = distilled.labels.load(store)
    assert len(labels) == 24
    for several in labels.values():
        assert len(several) == 2
        assert None not in [one.log_prob for one in several]
    teacher = members[-2].trains[0]
    chosen = decoding_of(teacher, 3).load(store)
    of_bundles = chosen.options(teacher.max_words)
    assert decode_options(teacher, store, 3) == dataclasses.replace(of_bundles, avoid_repeats=False)

    assert [len(row.decoding) for row in rows] == [1, 2, 2, 1, 2]
    rule, *remarks = decoding_sentences(rows)
    assert rule.count(";") == 4
    below = [one for row in rows for one in row.decoding if one.cider < one.greedy_cider]
    assert len(remarks) == len(below)

    verdict = outcome.verdict
    assert "CIDEr (beam), 95 % interval" in verdict
    results = collect_results("A <title>", members, rows, verdict, store, SILENT)
    write_report(results, tmp_path / "out", SILENT)
    page = (tmp_path / "out/report.html").read_text()
    assert "A &lt;title&gt;" in page
    assert page.count("<figure>") == page.count("data:image/jpeg") == 8
    assert not (tmp_path / "out/report.md").exists()
    assert read_results(tmp_path / "out/results.json").rows == rows
    (grid,) = grids_of(results)
    assert all(len(cells) == len(grid.headings) for cells in grid.rows)
    assert grid.rows[1][grid.headings.index("METEOR")] == "n/a (not measured)"

    # A bundle that cannot be made takes no report with it, and an earlier one is not taken for this report's.
    def refused(*_: object, **__: object) -> None:
        raise BundleError("captions differ")

    hear = Silent()
    monkeypatch.setattr(hear, "note", (notes := list[str]()).append)
    monkeypatch.setattr("distilcap.export.bundle.export_bundle", refused)
    (tmp_path / "out/bundle").mkdir()
    (tmp_path / "out/bundle/manifest.json").write_text("{}")
    again = distill(plan, store, hear, metrics=METRICS)
    assert (again.rows, again.bundle) == (rows, None)
    write_distilled("A title", plan, again, store, tmp_path / "out", hear)
    assert "No bundle was written: captions differ" in notes
    assert notes[-1].startswith(f"{tmp_path / 'out/bundle'} is of an earlier run and stays as it was; ")

    # A run knows from its folder how to caption a photograph, and says the same as the stage did.
    run = members[0].trains[0]
    assert run_of(store.path(run)) == run
    captioner = RunCaptioner.load(store.path(run), DecodeChoice(3))
    of_bundles = decoding_of(run, 3).load(store).options(run.max_words)
    assert captioner.decode == dataclasses.replace(of_bundles, avoid_repeats=False)
    image = run.data.load(store).split("test")[0]
    expected = members[0].captions(run, 3).load(store).texts(image.id)
    # Features go through float16 in the store, so only words, not log-probabilities, can be compared.
    (captions,) = captioner.label([captioner.read(image.path)], 3, 1)
    assert [caption.text for caption in captions] == expected
    with pytest.raises(DataError, match="holds no trained captioner, but ExtractFeatures"):
        run_of(store.path(features))


@pytest.mark.slow
@pytest.mark.parametrize("language, tokenizer", [("zh", "characters"), ("de", "unicode")])
def test_other_languages_keep_their_tokenizer(language: str, tokenizer: str, tmp_path: Path) -> None:
    pytest.importorskip("regex", reason="the properties of characters are not installed")
    draw_scenes(tmp_path / "scenes", (24, 4, 4), size=64, language=language)
    data = ImportData.of(tmp_path / "scenes")
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=64, weights="random")
    plan = plan_distillation(data, features, STUDENT, STUDENT, beam=2, min_count=1, tokenizer=tokenizer)
    store = Store(tmp_path / "store")
    rows = distill(plan, store, SILENT, export=False, metrics=("meteor", "cider")).rows
    for row in rows:
        assert row.signature["cider"].startswith(f"cider-d|refs:5|tok:{tokenizer}|")
        assert row.unavailable == {"meteor": "English only"}
    run = plan.students[-1].trains[0]
    vocabulary = run.load(store).vocabulary
    assert vocabulary == run.vocabulary.load(store)
    assert (vocabulary.tokenizer, vocabulary.spaced) == (tokenizer, language != "zh")
    coverage = run.vocabulary.coverage(store)
    assert coverage is not None
    assert (coverage.kept, coverage.unknown_words) == (len(vocabulary) - 4, 0)
    labels = plan.labels.load(store)
    texts = [text for image in labels for text in labels.texts(image)]
    written = [vocabulary.encode(vocabulary.words_of(text)) for text in texts]
    assert [vocabulary.decode(ids) for ids in written] == texts
    assert any(texts)
    assert language != "zh" or not any(" " in text for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("family", families())
def test_every_family_is_teacher_student_and_bundle(family: str, scenes: Path, tmp_path: Path) -> None:
    data = ImportData.of(scenes)
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=64, weights="random")
    # Of another family; an Up-Down so small learns too little here, and teaches in the test above.
    taught_by = "transformer" if family != "transformer" else "aoanet"
    teacher, student = (
        Role(name, "tiny", small_options(name, hidden=24, dropout=0.0), LEARNING)
        for name in (taught_by, family)
    )
    plan = plan_distillation(data, features, teacher, student, beam=3, min_count=1)
    store = Store(tmp_path / "store")
    outcome = distill(plan, store, SILENT, metrics=METRICS)
    assert {row.architecture for row in outcome.rows} == {family, taught_by}
    write_distilled("Families", plan, outcome, store, tmp_path / "out", SILENT)
    assert read_results(tmp_path / "out/results.json").rows == outcome.rows
    page = (tmp_path / "out/report.html").read_text()
    assert all(row.name in page for row in outcome.rows)
    bundle = Bundle.open(tmp_path / "out/bundle")
    assert bundle.manifest.model["architecture"] == family
    run = RunCaptioner.load(store.path(plan.exported.captioner), DecodeChoice(3))
    for image in data.load(store).split("test")[:4]:
        (captions,) = run.label([run.read(image.path)], 3, 1)
        assert bundle.caption(image.path, beam=3)[0] == captions[0].text


def test_an_encoder_tuned_with_its_captioner_is_what_captions_then_see(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was when its captioner was at its best, which is not at the end here."""
    encoders: list[dict[str, Tensor]] = []

    def validate(run: Training, captioner: Captioner) -> tuple[float, list[float]]:
        if isinstance(run.source, ImageRegions):
            encoders.append(copy.deepcopy(run.source.encoder.state_dict()))
        return 3.0 - run.position.epoch, []

    monkeypatch.setattr(Training, "_validate", validate)
    data = ImportData.of(scenes)
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=64)
    store = Store(tmp_path)
    crossed = dataclasses.replace(TRAINING.cross_entropy, epochs=2)
    phases = dataclasses.replace(
        TRAINING, cross_entropy=crossed, self_critical=SelfCriticalPhase(epochs=0), batch_images=12
    )
    vocabulary = BuildVocabulary(data, 1)
    frozen = Train(data, vocabulary, features, "updown", STUDENT.options, phases)
    tuned = dataclasses.replace(frozen, tune_encoder=True, start=frozen)
    assert tuned.key != frozen.key
    captions = Generate(tuned, "test", 2)
    store.build(captions)
    assert frozen.seen == features
    assert tuned.seen.key != features.key
    before, after = features.load(store), tuned.seen.load(store)
    assert after.recipe == tuned.load(store).features
    assert after.recipe["weights"] != before.recipe["weights"]
    kept = tuned.encoder_in(store.path(tuned)).state_dict()  # type: ignore[attr-defined]
    best, last = encoders
    assert all(torch.equal(kept[name], best[name]) for name in best)
    assert not all(torch.equal(kept[name], last[name]) for name in last)
    assert not np.array_equal(before.rows(before.ids)[0], after.rows(before.ids)[0])
    image = data.load(store).split("test")[0]
    captioner = RunCaptioner.load(store.path(tuned), DecodeChoice(2, length_penalty=0.0))
    ((caption,),) = captioner.label([captioner.read(image.path)], 2, 1)
    assert [caption.text] == captions.load(store).texts(image.id)
