"""A captioner's length penalty is chosen on validation, by the captions that a search would have given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from distilcap.cli.export import _decode_options
from distilcap.cli.main import cli
from distilcap.data.captions import Caption, CaptionSet
from distilcap.errors import DataError, MissingError
from distilcap.progress import Progress, Silent
from distilcap.runtime.decode_options import DecodeChoice, DecodeOptions
from distilcap.stages.captions import CAPTIONS, CaptionsOfSplit
from distilcap.stages.data import ImportData
from distilcap.stages.decoding import ChooseDecoding, Decoding
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate, decode_options, decoding_of
from distilcap.stages.measure import Evaluate, read_scores
from distilcap.stages.train import Train
from distilcap.store.contents import Entry, needed_by
from distilcap.store.record import complete, to_json
from distilcap.store.store import Store
from distilcap.study.presets import table_preset
from distilcap.study.rows import Students
from distilcap.text.vocabulary import SPECIALS, Vocabulary

REFERENCES = CaptionSet.of_texts(
    {
        "dog.jpg": ["a brown dog runs on the wet grass", "a dog runs over wet grass"],
        "man.jpg": ["a man in red climbs a steep rock", "a climber in red on a rock"],
        "sea.jpg": ["two boats sail on the blue sea", "two sailing boats at sea"],
    }
)
SHORT = dict.fromkeys(REFERENCES, "a dog")
GOOD = {id: REFERENCES.texts(id)[0] for id in REFERENCES}


@dataclass(frozen=True)
class Written(CaptionsOfSplit):
    """Captions that were written for this test, into a file."""

    file: str
    split: str

    @property
    def source(self) -> ImportData:
        return DATA

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        CaptionSet.load(Path(self.file)).save(folder / CAPTIONS)


class Data(ImportData):
    def load(self, store: Store):  # type: ignore[no-untyped-def]
        return self

    def references(self, split: str) -> CaptionSet:
        return REFERENCES if split == "val" else CaptionSet({})


DATA = Data("0", "data", "nowhere", None)


def choice(tmp_path: Path, first: dict[str, str], second: dict[str, str], greedy: dict[str, str]) -> Decoding:
    """Of beams of two captions, of which the first are the likelier."""
    tmp_path.mkdir(exist_ok=True)
    beams = CaptionSet({id: (Caption(first[id], -4.0), Caption(second[id], -4.5)) for id in first})
    beams.save(tmp_path / "beams.jsonl")
    CaptionSet({id: (Caption(text),) for id, text in greedy.items()}).save(tmp_path / "greedy.jsonl")
    whole, best = (Written(str(tmp_path / f"{name}.jsonl"), "val") for name in ("beams", "greedy"))
    stage = ChooseDecoding(whole, best, 2, 20)
    store = Store(tmp_path)
    store.build(stage)
    return stage.load(store)


def test_the_better_of_the_beam_decides(tmp_path: Path) -> None:
    chosen = choice(tmp_path / "1", SHORT, GOOD, SHORT)
    # -4 / 3^p is below -4.5 / 9^p from p = 0.11 on.
    assert (chosen.beam, chosen.length_penalty) == (2, 0.3)
    assert chosen.cider > chosen.greedy_cider
    assert not chosen.below_greedy
    assert choice(tmp_path / "2", GOOD, SHORT, SHORT).length_penalty == 0.0


def test_a_beam_below_greedy_is_remarked(tmp_path: Path) -> None:
    assert choice(tmp_path, SHORT, SHORT, GOOD).below_greedy


def test_of_one_image_the_first_penalty_is_taken(tmp_path: Path) -> None:
    """Its CIDEr is 0 by any captions, for words weigh by images."""
    one = {"dog.jpg": "a dog"}
    assert choice(tmp_path, one, one, one) == Decoding(2, 0.0, 0.0, 0.0)


def test_scores_of_a_metric_that_fails_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next build tries again, where `evaluate` says n/a."""

    def fail(*_: object) -> None:
        raise MissingError("the program took too long")

    CaptionSet.of_texts(GOOD).save(tmp_path / "good.jsonl")
    store, stage = Store(tmp_path), Evaluate.of(Written(str(tmp_path / "good.jsonl"), "val"), ("rouge_l",))
    with monkeypatch.context() as broken:
        broken.setattr("distilcap.metrics.rouge.RougeL.statistics", fail)
        with pytest.raises(MissingError, match="the program took too long"):
            store.build(stage)
    store.build(stage)
    assert read_scores(stage, store)["rouge_l"]["value"] == 1.0


def test_a_damaged_choice_is_refused(tmp_path: Path) -> None:
    choice(tmp_path, SHORT, GOOD, SHORT)
    (path,) = tmp_path.rglob("decoding.json")
    path.write_text(path.read_text().replace("0.3", "0.7", 1))
    with pytest.raises(DataError, match=r"decoding\.json: damaged"):
        choice(tmp_path, SHORT, GOOD, SHORT)


class Remarks(Silent):
    """Hears what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def students() -> Students:
    features = ExtractFeatures(DATA, "{}", None, "efficientnet-lite0", None, "random", "grid")
    return Students(DATA, features, table_preset("flickr8k"))


def keep_choice(store: Store, run: Train, beam: int, penalty: float) -> None:
    """As `ChooseDecoding` would."""
    folder = store.path(decoding_of(run, beam))
    folder.mkdir()
    chosen = {"beam": beam, "length_penalty": penalty, "cider": 0.5, "greedy_cider": 0.4}
    (folder / "decoding.json").write_text(json.dumps({"chosen": chosen}))
    (folder / "stage.json").write_text("{}")


def test_greedy_captions_need_no_choice_and_old_captions_keep_their_names() -> None:
    run = students().train("updown", "small", 0)
    assert Generate.as_chosen(run, "test", 1) == Generate(run, "test", 1)
    assert "decoding" not in Generate(run, "test", 5).recipe()
    chosen = Generate.as_chosen(run, "test", 5)
    assert chosen.key != Generate(run, "test", 5).key
    assert decoding_of(run, 5) in chosen.inputs()


def test_what_a_report_needs_of_a_run_includes_how_it_decodes(tmp_path: Path) -> None:
    """A pack of results, and what `store gc` keeps, hold the captions of the chosen search."""
    run = students().train("updown", "small", 0)
    captions = Evaluate.of(Generate.as_chosen(run, "test", 5), ("cider",))
    stages = {planned.stage.key: planned.stage for planned in Store(tmp_path).plan([captions])}
    entries = [
        Entry(tmp_path / key, stage, None, False, 0, 0.0, False, False) for key, stage in stages.items()
    ]
    assert needed_by({run.key}, entries) == stages.keys()


def test_a_run_decodes_as_was_chosen_for_the_nearest_beam(tmp_path: Path) -> None:
    run, store = students().train("updown", "small", 0), Store(tmp_path)
    assert decode_options(run, store, 3).length_penalty == pytest.approx(0.7)
    keep_choice(store, run, 10, 0.3)
    assert decode_options(run, store, 3).length_penalty == 0.3
    keep_choice(store, run, 5, 1.0)
    options = decode_options(run, store, 3)
    assert (options.beam_size, options.max_words, options.length_penalty) == (3, 20, 1.0)


def test_a_choice_for_the_very_beam_is_found_however_wide_and_what_is_asked_for_needs_none(
    tmp_path: Path,
) -> None:
    run, store, remarks = students().train("updown", "small", 0), Store(tmp_path), Remarks()
    keep_choice(store, run, 20, 0.3)
    assert decode_options(run, store, 20, progress=remarks).length_penalty == 0.3
    assert decode_options(run, store, 5, 0.9, remarks).length_penalty == 0.9
    assert decode_options(run, store, 1, progress=remarks).length_penalty == pytest.approx(0.7)
    assert not remarks.notes


def test_greedy_search_is_called_the_same_whatever_else_was_chosen_by_then(tmp_path: Path) -> None:
    """The penalty is in the captioner's name: a file that was begun by another is not gone on with."""
    run, store = students().train("updown", "small", 0), Store(tmp_path)
    before = decode_options(run, store, 1)
    keep_choice(store, run, 3, 1.0)
    assert decode_options(run, store, 1) == before == DecodeOptions(1, run.max_words)


def test_a_bundle_that_is_exported_greedy_may_be_searched_with_a_beam(tmp_path: Path) -> None:
    run, store = students().train("updown", "small", 0), Store(tmp_path)
    keep_choice(store, run, 3, 1.0)
    options = _decode_options(tmp_path / run.key, run, DecodeChoice(beam_size=1))
    assert (options.length_penalty, options.avoid_repeats) == (1.0, True)


def test_where_none_can_be_chosen_it_is_said_which_is_taken_and_why(tmp_path: Path) -> None:
    run, store, remarks = students().train("updown", "small", 0), Store(tmp_path), Remarks()
    decode_options(run, store, 3, progress=remarks)
    keep_choice(store, run, 5, 1.0)
    decode_options(run, store, 3, progress=remarks)
    why = f"since none can be chosen for beam 3 ({run.key} is not in {tmp_path})"
    assert remarks.notes == [
        f"{run.key}: captions are ranked by length penalty {taken}, {why}; `length_penalty` sets another."
        for taken in ("0.7, the default", "1, that of beam 5")
    ]


@pytest.mark.parametrize(
    ("options", "penalty"), [([], 1.0), (["--length-penalty", "0.2", "--no-avoid-repeats"], 0.2)]
)
def test_an_export_decodes_as_was_chosen_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], penalty: float
) -> None:
    data = ImportData("0", "data", "nowhere", None)
    features = ExtractFeatures(data, "{}", None, "efficientnet-lite0", None, "random", "grid")
    run = Students(data, features, table_preset("flickr8k")).train("updown", "small", 0)
    store = Store(tmp_path)
    store.path(run).mkdir()
    complete(store.path(run), {"made_by": to_json(run), "seconds": 1.0}, ())
    keep_choice(store, run, 3, 1.0)
    taken: list[DecodeOptions] = []

    def export_bundle(*_: object, decode: DecodeOptions, **__: object) -> None:
        taken.append(decode)

    monkeypatch.setattr("distilcap.export.bundle.export_bundle", export_bundle)
    monkeypatch.setattr(
        "distilcap.models.weights.load_captioner",
        lambda run: SimpleNamespace(vocabulary=Vocabulary(SPECIALS)),
    )
    monkeypatch.setattr("distilcap.stages.train.Train.encoder_in", lambda run, folder: None)
    monkeypatch.setattr("distilcap.stages.train.Train.licence", {})
    monkeypatch.setattr("distilcap.cli.export._show_export", lambda exported: None)
    arguments = ["export", str(store.path(run)), "--to", str(tmp_path / "bundle"), "--max-words", "12"]
    result = CliRunner().invoke(cli, [*arguments, *options])
    assert result.exit_code == 0, result.output
    assert taken == [DecodeOptions(3, 12, penalty, avoid_repeats="--no-avoid-repeats" not in options)]
    (store.path(decoding_of(run, 3)) / "decoding.json").write_text("{}")  # damaged
    result = CliRunner().invoke(cli, [*arguments, *options])
    assert isinstance(result.exception, DataError) == (not options)
    assert len(taken) == (2 if options else 1)
