"""Stages of labels do as their fields say: how a search ranks, in which numbers, how captions are drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from distilcap.data.captions import CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.decode.beam import BeamSearch
from distilcap.decode.captions import caption_images, rank_captions
from distilcap.models.updown import UpDownOptions
from distilcap.models.weights import TrainedCaptioner
from distilcap.stages.data import ImportData
from distilcap.stages.decoding import ChooseDecoding
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.other_labels import DrawCaptions, Interpolate
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.store import Store
from distilcap.teachers.sampling import draw_captions
from distilcap.text.vocabulary import EOS
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Train]]:
    """A captioner of random weights, in its store, that rather ends: so captions are of several lengths."""
    folder = tmp_path_factory.mktemp("labels")
    draw_scenes(folder / "scenes", (4, 3, 0), size=32)
    data = ImportData.of(folder / "scenes")
    training = TrainingOptions(CrossEntropyPhase(epochs=0), SelfCriticalPhase(epochs=0), max_words=4)
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=32, weights="random")
    train = Train(data, BuildVocabulary(data, 1), features, "updown", UpDownOptions(8, 8, 4), training)
    load, store = Train.load, Store(folder / "store")

    def load_ending(self: Train, store: Store) -> TrainedCaptioner:
        trained = load(self, store)
        with torch.no_grad():
            trained.captioner.output.bias[EOS] += 3  # type: ignore[index, operator, union-attr]
        return trained

    store.build(train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Train, "load", load_ending)
        yield store, train


@pytest.mark.parametrize("together", [False, True])
def test_a_beam_is_ranked_by_the_length_penalty_that_was_chosen(
    run: tuple[Store, Train], together: bool
) -> None:
    """3 was all that there was to choose from. The likeliest caption of each image is the empty one."""
    store, train = run
    plain = GenerateTogether((train,), "val", 3, 3) if together else Generate(train, "val", 3, 3)
    greedy = dataclasses.replace(plain, beam=1, n_best=1)
    chosen = dataclasses.replace(plain, decoding=ChooseDecoding(plain, greedy, 3, train.max_words, (3.0,)))
    store.build(chosen)
    likeliest = plain.load(store)
    assert {captions[0].text for captions in likeliest.values()} == {""}
    assert chosen.load(store) == rank_captions(likeliest, 3.0, train.max_words) != likeliest


def test_captions_are_computed_in_the_precision_of_their_stage(run: tuple[Store, Train]) -> None:
    store, train = run
    stages = [Generate(train, "val", 2, precision=precision) for precision in ("float32", "bfloat16")]
    for stage in stages:
        store.build(stage)
    trained, features = train.load(store), train.seen.load(store)
    expected = [
        caption_images(
            trained.captioner,
            trained.vocabulary,
            features,
            list(stage.load(store)),
            BeamSearch(2, train.max_words, precision=stage.precision),
        )
        for stage in stages
    ]
    assert [stage.load(store) for stage in stages] == expected
    assert expected[0] != expected[1]


def test_captions_are_drawn_by_the_temperature_and_the_seed_of_their_stage(run: tuple[Store, Train]) -> None:
    store, train = run
    stage = DrawCaptions(train, "val", 3, temperature=0.5, seed=7)
    store.build(stage)
    drawn, trained = stage.load(store), train.load(store)
    captioner, features = trained.captioner.eval(), train.seen.load(store)
    how: dict[str, Any] = {"captions": 3, "max_words": train.max_words, "temperature": 0.5, "seed": 7}
    assert drawn == draw_captions(captioner, trained.vocabulary, features, list(drawn), **how)


def test_captions_nearest_to_the_references_are_chosen_by_the_measure_of_their_stage(
    run: tuple[Store, Train], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def closest(candidates: CaptionSet, _: CaptionSet, measure: str, __: str) -> CaptionSet:
        asked.append(measure)
        return candidates.top()

    monkeypatch.setattr("distilcap.teachers.interpolation.closest_to_references", closest)
    store, train = run
    store.build(Interpolate(Generate(train, "val", 3, 3), "cider"))
    assert asked == ["cider"]
