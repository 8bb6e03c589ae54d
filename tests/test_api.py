"""`import distilcap`: its names, what they say of themselves, and keywords that are the command's options."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import distilcap
from distilcap import api, keywords
from distilcap.box import box_bundle
from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import ImageRecord
from distilcap.data.readers import Columns
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.metrics.options import ScoreOptions
from distilcap.metrics.rouge import RougeL
from distilcap.options import Options, bounds_of, filled, named_fields
from distilcap.pipeline.own_images import DistillOptions
from distilcap.pipeline.train import RunOptions
from distilcap.progress import LOGGED
from distilcap.runtime.decode_options import DecodeChoice
from distilcap.stages.features import EncoderOptions
from distilcap.teachers.options import LabelOptions
from distilcap.training.options import TrainingOptions

NAMES = [
    "Caption",
    "CaptionSet",
    "Captioned",
    "Dataset",
    "DistilCapError",
    "ImageCaptioner",
    "compare",
    "distill",
    "evaluate",
    "label",
    "load",
    "read_dataset",
    "train",
]


def test_the_names_are_these() -> None:
    assert distilcap.__all__ == api.__all__ == NAMES
    assert set(NAMES) <= set(dir(distilcap))
    with pytest.raises(AttributeError, match=r"^module 'distilcap' has no attribute 'laod'$"):
        distilcap.laod  # type: ignore[attr-defined]  # noqa: B018


def _public(name: str) -> list[tuple[str, Any]]:
    """The object of a public name, and its public members if it is a class."""
    owner = getattr(distilcap, name)
    if not inspect.isclass(owner):
        return [(name, owner)]
    members = vars(owner).items()
    return [(name, owner), *((f"{name}.{key}", value) for key, value in members if not key.startswith("_"))]


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is_and_is_typed(name: str) -> None:
    for full, item in _public(name):
        if isinstance(item, property):
            item = item.fget
        item = getattr(item, "__func__", item)
        if not inspect.isclass(item) and not inspect.isfunction(item):
            continue  # the default of a field
        assert len((item.__doc__ or "").split()) > 3, full
        if inspect.isfunction(item):
            signature = inspect.signature(item)
            assert signature.return_annotation is not inspect.Signature.empty, full
            for parameter in list(signature.parameters.values())["." in full :]:
                assert parameter.annotation is not inspect.Parameter.empty, (full, parameter)


def test_importing_it_imports_nothing_and_a_bundle_needs_no_pytorch() -> None:
    """Modules are counted, not seconds: on a busy machine those say little."""
    code = (
        "import sys\nbefore = set(sys.modules)\nimport distilcap\n"
        "new = {name for name in set(sys.modules) - before if name.startswith('distilcap')}\n"
        "assert new == {'distilcap'}, new\n"
        "distilcap.load\n"
        "assert not {'torch', 'timm', 'onnxruntime', 'matplotlib', 'click'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


KEYWORDS = [
    (keywords.TrainKeywords, (Columns, EncoderOptions, RunOptions, TrainingOptions), ()),
    (
        keywords.DistillKeywords,
        (Columns, EncoderOptions, DistillOptions, TrainingOptions),
        ("label_smoothing", "seed", "encoder_learning_rate", "scst_encoder_learning_rate"),
    ),
]


def _as_keyword(hint: Any) -> Any:
    """How a field's type is written for a caller: a path may be text, and a tuple any sequence."""
    if typing.get_origin(hint) is tuple:
        return Sequence[_as_keyword(typing.get_args(hint)[0])]  # type: ignore[misc]
    optional = type(None) in typing.get_args(hint)
    if Path in (hint, *typing.get_args(hint)):
        hint = keywords.AnyPath
    return hint | None if optional else hint


@pytest.mark.parametrize("declared, kinds, without", KEYWORDS)
def test_keywords_for_type_checkers_are_the_options(
    declared: type, kinds: tuple[type[Options], ...], without: tuple[str, ...]
) -> None:
    options = {
        name: _as_keyword(typing.get_type_hints(owner)[field.name])
        for kind in kinds
        for name, owner, field in named_fields(kind)
        if name not in without
    }
    known = typing.get_type_hints(declared)
    missing = [f"{name}: {hint}" for name, hint in options.items() if known.get(name) != hint]
    assert not missing, f"write these into {declared.__name__}, or the class before it: {missing}"
    assert set(known) == set(options), "these are no options any more; delete them"


@pytest.mark.parametrize(
    "function, kind, without",
    [
        (distilcap.load, DecodeChoice, ()),
        (distilcap.evaluate, ScoreOptions, ()),
        (distilcap.compare, ScoreOptions, ()),
        (distilcap.label, LabelOptions, ("shards", "shard", "batch_images", "threads", "encoder_engine")),
    ],
)
def test_parameters_are_the_options_with_their_defaults(
    function: Callable[..., Any], kind: type[Options], without: tuple[str, ...]
) -> None:
    parameters = inspect.signature(function).parameters
    for name, _, field in named_fields(kind):
        if name not in without:
            assert parameters[name].default == field.default, name


def test_keywords_reach_what_they_are_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(api.ImageCaptioner, "open", lambda *given: asked.append(given))
    monkeypatch.setattr("distilcap.pipeline.labelling.label_split", lambda *given: asked.append(given[:3]))
    search: dict[str, Any] = {"beam_size": 4, "n_best": 2, "length_penalty": 0.3, "never_write": ["dog"]}
    avoiding: dict[str, Any] = {"neutral_people": True, "avoid_repeats": True}
    distilcap.load("x", **search, **avoiding, max_words=9, threads=2, workers=3)
    distilcap.label(tmp_path / "x", **search, split="val", precision="bfloat16", neutral_people=True)
    chosen = DecodeChoice(4, 2, 9, 0.3, ("dog",), True, True)
    options = LabelOptions(
        4, 2, length_penalty=0.3, precision="bfloat16", never_write=("dog",), neutral_people=True
    )
    assert asked == [(Path("x"), chosen, 2, LOGGED, 3), (tmp_path / "x", "val", options)]


def test_values_by_name_fill_what_the_flags_fill() -> None:
    """What click reads from flags, and what Python is given, become the same objects: the same store keys."""
    given = {
        "scst_epochs": 2,
        "learning_rate": 1,
        "schedule": "cosine",
        "labels": "a.jsonl",
        "encoder_weights": None,
    }
    training = filled(TrainingOptions, given)
    assert training.self_critical.epochs == 2
    assert training.cross_entropy.epochs == TrainingOptions().cross_entropy.epochs
    assert training.self_critical.schedule == training.cross_entropy.schedule == "cosine"
    assert repr(training.cross_entropy.learning_rate) == "1.0"  # a recipe's hash tells 1 from 1.0
    assert filled(RunOptions, given).labels == Path("a.jsonl")
    assert filled(EncoderOptions, given) == EncoderOptions()
    assert filled(DecodeChoice, {"never_write": "a man"}).never_write == ("a man",)  # not its letters
    assert filled(DistillOptions, {"teacher_run": ["a", Path("b")]}).teacher_run == (Path("a"), Path("b"))


@pytest.mark.parametrize("kind", [EncoderOptions, RunOptions, DistillOptions, TrainingOptions])
def test_every_option_refuses_what_it_is_not(kind: type[Options]) -> None:
    for name, owner, field in named_fields(kind):
        for value in (object(), {}, b"x", *([] if bounds_of(field).choices else [3j])):
            with pytest.raises(ConfigError, match=f"^`{name}` must be of type "):
                filled(kind, {name: value})
        if typing.get_type_hints(owner)[field.name] in (int, float):
            with pytest.raises(ConfigError, match=f"^`{name}` must be of type "):
                filled(kind, {name: True})


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: distilcap.train("x", epoch=5),  # type: ignore[call-arg]
            "There is no option `epoch`; did you mean `epochs`?",
        ),
        (lambda: distilcap.load(beam=5), "There is no option `beam`; did you mean `beam_size`?"),  # type: ignore[call-arg]
        (lambda: distilcap.evaluate("a", "b", metric="cider"), "There is no option `metric`; did you"),  # type: ignore[call-arg]
        (lambda: distilcap.distill("x", seed=5), "There is no option `seed`"),  # type: ignore[call-arg]
        (
            lambda: distilcap.distill("x", plan=True),  # type: ignore[call-arg]
            "There is no option `plan`; the closest are `patience`, `split_column`, `clean_labels`; "
            "`distilcap distill --help` lists all.",
        ),
        (
            lambda: distilcap.train("x", epochs=-1),
            "`epochs` must be at least 0 and at most 100000, but is -1.",
        ),
        (
            lambda: distilcap.train("x", epochs="5"),  # type: ignore[arg-type]
            "`epochs` must be of type int, but is '5'.",
        ),
        (
            lambda: distilcap.load("x", beam_size="3"),  # type: ignore[arg-type]
            "`beam_size` must be of type int, but is '3'.",
        ),
        (lambda: distilcap.load(box_bundle(), threads=-1), "`threads` must be at least 1, but is -1."),
        (lambda: distilcap.load(box_bundle(), workers=0), "`workers` must be at least 1, but is 0."),
        (lambda: distilcap.load("no-such"), "no-such: there is no such bundle or trained run."),
        (
            lambda: distilcap.load("x", beam_size=0),
            "`beam_size` must be at least 1 and at most 1000, but is 0.",
        ),
        (
            lambda: distilcap.load("x", beam_size=3, n_best=4),
            "`n_best` must be at most `beam_size` (3), but is 4.",
        ),
        (lambda: distilcap.label("no-such"), "no-such: not a folder of a store"),
        (lambda: distilcap.read_dataset("no-such"), "no-such: there is no such file or folder."),
        (lambda: distilcap.CaptionSet.load("no-such"), "no-such: there is no such captions file."),
        (lambda: distilcap.evaluate("no-such", CaptionSet.of_texts({"1": ["x"]})), "no-such"),
        (
            lambda: distilcap.evaluate("x", "y", resamples="10"),  # type: ignore[arg-type]
            "`resamples` must be of type int, but is '10'.",
        ),
        (
            lambda: distilcap.evaluate("x", "y", metrics=["bleu", 5]),  # type: ignore[list-item]
            "`metrics` must be of type str, but is 5.",
        ),
        (
            lambda: distilcap.compare("x", "y", "z", metrics=None),  # type: ignore[arg-type]
            "`metrics` must be of type str, but is None.",
        ),
        (
            lambda: distilcap.compare("x", "y", "z", df=5),  # type: ignore[arg-type]
            "`df` must be of type Path, but is 5.",
        ),
        (
            lambda: distilcap.evaluate({"1": "x"}, CaptionSet.of_texts({"1": ["x"]})),  # type: ignore[arg-type]
            "`candidates` must be a CaptionSet or a path, but is of type dict; `CaptionSet.of_texts` makes",
        ),
        (
            lambda: distilcap.evaluate("x", {"1": ["x"]}),  # type: ignore[arg-type]
            "`references` must be a CaptionSet, a Dataset or a path, but is of type dict;",
        ),
        (
            lambda: distilcap.compare(
                CaptionSet.of_texts({"1": ["x"]}),
                None,  # type: ignore[arg-type]
                CaptionSet.of_texts({"1": ["x"]}),
            ),
            "`baseline` must be a CaptionSet or a path, but is of type NoneType;",
        ),
    ],
)
def test_errors_say_what_is_wrong(
    call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(distilcap.DistilCapError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


REFERENCES = {f"{n}": [f"a dog runs over field {n}", "the dog is running"] for n in range(12)}


def test_scores_of_files_data_sets_and_captions_are_the_same(tmp_path: Path) -> None:
    references = CaptionSet.of_texts(REFERENCES)
    candidates = CaptionSet.of_texts({image: texts[:1] for image, texts in list(REFERENCES.items())[:9]})
    candidates.save(str(tmp_path / "caps.jsonl"))
    references.save(tmp_path / "refs.jsonl")
    images = tuple(ImageRecord(image, Path(f"{image}.jpg"), "test") for image in REFERENCES)
    dataset = distilcap.Dataset("dogs", images, references)
    scores = distilcap.evaluate(candidates, references, metrics=("cider", "bleu"), resamples=50)
    for ours, known in [
        (tmp_path / "caps.jsonl", references),
        (candidates, dataset),
        (str(tmp_path / "caps.jsonl"), str(tmp_path / "refs.jsonl")),
    ]:
        assert distilcap.evaluate(ours, known, metrics="cider,bleu", resamples=50) == scores
    assert set(scores) == {"cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4"}
    assert scores["bleu_1"].value == pytest.approx(1)
    assert scores["cider"].interval is not None
    assert len(scores["cider"].per_image) == 9
    without = distilcap.evaluate(candidates, references, metrics="cider", resamples=0)
    assert without["cider"].interval is None
    assert "|tok:ptb-official|" in without["cider"].signature
    assert "|end:0|" in without["cider"].signature
    other = distilcap.evaluate(
        candidates, references, metrics="cider", resamples=0, end=True, tokenizer="ptb"
    )
    assert "|tok:ptb|" in other["cider"].signature
    assert "|end:1|" in other["cider"].signature


def test_images_that_are_left_out_and_empty_captions_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By each function once, however many systems lack the same images."""
    references = CaptionSet.of_texts(REFERENCES)
    some = CaptionSet.of_texts({f"{n}": ["" if n < 2 else "a dog runs"] for n in range(5)})
    all_said = CaptionSet.of_texts({f"{n}": ["a dog"] for n in range(5)})
    some.save(tmp_path / "caps.jsonl")
    references.save(tmp_path / "refs.jsonl")
    lacking = "7 of the 12 images of the references have no caption and are left out."
    empty = "2 of the 5 captions of the candidates are empty, and are scored as they are."
    with caplog.at_level("INFO", logger="distilcap"):
        distilcap.evaluate(some, references, metrics="bleu", resamples=0)
        assert caplog.messages == [lacking, empty]
        caplog.clear()
        distilcap.evaluate(tmp_path / "caps.jsonl", tmp_path / "refs.jsonl", metrics="bleu", resamples=0)
        files = zip(
            (lacking, empty),
            ("the references", "the candidates"),
            (tmp_path / "refs.jsonl", tmp_path / "caps.jsonl"),
            strict=True,
        )
        assert caplog.messages == [said.replace(name, str(path)) for said, name, path in files]
        caplog.clear()
        distilcap.compare(some, all_said, references, metrics="bleu", resamples=1)
        assert caplog.messages[:2] == [lacking, empty]
        assert [message for message in caplog.messages[2:] if "images of" in message] == []
        caplog.clear()
        distilcap.evaluate(references.top(), references, metrics="bleu", resamples=0)
        assert not caplog.messages


def test_a_score_that_fails_for_one_of_two_systems_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[object] = []

    def fails_at_the_second(metric: RougeL, *arguments: Any) -> Any:
        calls.append(metric)
        if len(calls) == 2:
            raise MissingError("the program took too long")
        return statistics(metric, *arguments)

    statistics = RougeL.statistics
    monkeypatch.setattr(RougeL, "statistics", fails_at_the_second)
    references = CaptionSet.of_texts(REFERENCES)
    with caplog.at_level("INFO", logger="distilcap"):
        compared = distilcap.compare(
            references.top(), references.top(), references, metrics="rouge_l,bleu", resamples=2
        )
    assert "rouge_l is left out: n/a (the program took too long)." in caplog.messages
    assert set(compared) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4"}
    assert len(calls) == 2


def test_a_better_system_is_compared_with_a_worse() -> None:
    references = CaptionSet.of_texts(REFERENCES)
    good = references.top()
    bad = CaptionSet.of_texts({image: ["a cat"] for image in REFERENCES})
    compared = distilcap.compare(good, bad, references, metrics=["cider", "rouge_l"], resamples=200)
    assert set(compared) == {"cider", "rouge_l"}
    scores = [
        distilcap.evaluate(captions, references, metrics="cider", resamples=0) for captions in (good, bad)
    ]
    assert compared["cider"].difference == pytest.approx(scores[0]["cider"].value - scores[1]["cider"].value)
    assert compared["cider"].interval[0] > 0
    assert compared["cider"].corrected_p < 0.05
    backwards = distilcap.compare(bad, good, references, metrics="cider", resamples=200)
    assert backwards["cider"].difference == -compared["cider"].difference
    with pytest.raises(ConfigError, match="different images"):
        distilcap.compare(good, bad.only(["1", "2"]), references, metrics="cider", resamples=10)
    with pytest.raises(ConfigError, match="`resamples` must be at least 1"):
        distilcap.compare(good, bad, references, metrics="cider", resamples=0)
    with pytest.raises(DataError, match="has a candidate, but no references"):
        distilcap.compare(good, bad, references.only(["1"]), metrics="cider", resamples=10)


def test_progress_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="distilcap"):
        assert list(LOGGED.track([1, 2], "Counting")) == [1, 2]
        LOGGED.note("two % signs: %s")
    assert [record.name for record in caplog.records] == ["distilcap"] * 2
    counted, remark = (record.getMessage() for record in caplog.records)
    assert counted.startswith("Counting: ")
    assert remark == "two % signs: %s"
