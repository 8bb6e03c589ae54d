"""Teachers: ensembles against averages by hand, interpolation, drawing, imitation, hidden captions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.errors import ConfigError
from distilcap.models.aoanet import AoANetOptions
from distilcap.models.captioner import Captioner
from distilcap.models.presets import build_captioner
from distilcap.models.updown import UpDownOptions
from distilcap.shapes import Regions
from distilcap.stages.data import HideCaptions, ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.folders import stage_at
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.other_labels import DrawCaptions, Interpolate
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.store import Store
from distilcap.teachers.ensemble import Beside, Ensemble
from distilcap.teachers.interpolation import closest_to_references
from distilcap.teachers.sampling import draw_captions
from distilcap.text.vocabulary import BOS, EOS, PAD, SPECIALS, Vocabulary
from distilcap.training.batches import Batch
from distilcap.training.imitation import Imitation, TokenTeacher
from distilcap.training.objectives import CrossEntropy
from distilcap.training.options import (
    CrossEntropyPhase,
    SelfCriticalPhase,
    TokenDistillation,
    TrainingOptions,
)

WORDS = 9
UPDOWN = UpDownOptions(hidden=6, embedding=5, attention=4, dropout=0.0)
AOANET = AoANetOptions(hidden=8, embedding=5, heads=2, refiner_layers=1, dropout=0.0, refiner_dropout=0.0)


def captioner(seed: int, family: str = "updown", words: int = WORDS) -> Captioner:
    options = UPDOWN if family == "updown" else AOANET
    made = build_captioner(family, options, words, 3, seed).eval()
    with torch.no_grad():  # random logits nearly tie: spread them
        for parameter in made.output.parameters():
            parameter.mul_(30)
    return made


def regions(images: int = 3) -> Regions:
    return Regions.full(torch.randn(images, 4, 3, generator=torch.Generator().manual_seed(5)))


class Source:
    def regions_of(self, ids: object) -> Regions:
        return regions(len(ids))  # type: ignore[arg-type]


def step_by_step(members: list[Captioner], tokens: Tensor) -> Tensor:
    """Probabilities of every next word, each member run by itself and averaged by hand."""
    probabilities = torch.stack([member(regions(), tokens).softmax(-1) for member in members])
    product = probabilities.prod(0) ** (1 / len(members))
    return product / product.sum(-1, keepdim=True)


@torch.no_grad()
def test_an_ensemble_averages_its_members_of_both_families() -> None:
    members = [captioner(0), captioner(1, "aoanet"), captioner(2)]
    together = Ensemble(members).eval()
    tokens = torch.randint(4, WORDS, (3, 2, 5), generator=torch.Generator().manual_seed(1))
    tokens[..., 0] = BOS
    expected = step_by_step(members, tokens)
    torch.testing.assert_close(together(regions(), tokens).exp(), expected)
    memory = together.encode(regions())
    state = together.initial_state(memory, 2)
    for place in range(5):
        logits, state = together.step(tokens[:, :, place], state, memory)
        torch.testing.assert_close(logits.exp(), expected[:, :, place])


@torch.no_grad()
def test_beam_search_runs_on_an_ensemble() -> None:
    members = [captioner(0), captioner(1, "aoanet")]
    found = beam_search(Ensemble(members).eval(), regions(), BeamSearch(4, 3, allow_unk=True))
    inputs = torch.cat([torch.full_like(found.tokens[..., :1], BOS), found.tokens[..., :-1]], dim=-1)
    chosen = step_by_step(members, inputs).log().gather(-1, found.tokens[..., None])[..., 0]
    scores = (chosen * (found.tokens != PAD)).sum(-1)
    torch.testing.assert_close(scores, found.log_probs)
    alone = beam_search(Ensemble([members[0]]).eval(), regions(), BeamSearch(3, 4))
    assert torch.equal(alone.tokens, beam_search(members[0], regions(), BeamSearch(3, 4)).tokens)


@torch.no_grad()
def test_members_that_see_features_of_their_own_average_what_each_says_of_its_own() -> None:
    members = [captioner(0), captioner(1, "aoanet")]
    seen = [regions(), Regions.full(regions().features.flip(0))]
    side_by_side = Regions.full(torch.cat([one.features for one in seen], dim=-1))
    together = Ensemble(members, beside=True).eval()
    assert together.region_dim == 6
    tokens = torch.randint(4, WORDS, (3, 2, 5), generator=torch.Generator().manual_seed(1))
    tokens[..., 0] = BOS
    own = torch.stack([member(one, tokens).softmax(-1) for member, one in zip(members, seen, strict=True)])
    expected = own.prod(0).sqrt() / own.prod(0).sqrt().sum(-1, keepdim=True)
    torch.testing.assert_close(together(side_by_side, tokens).exp(), expected)
    state = together.initial_state(memory := together.encode(side_by_side), 2)
    for place in range(5):
        logits, state = together.step(tokens[:, :, place], state, memory)
        torch.testing.assert_close(logits.exp(), expected[:, :, place])


def test_an_ensemble_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="An ensemble needs at least one captioner"):
        Ensemble([])
    with pytest.raises(ConfigError, match="must have the same `vocabulary_size`, but have 9, 11"):
        Ensemble([captioner(0), captioner(0, words=11)])


REFERENCES = CaptionSet.of_texts(
    {"a": ["a dog runs on the grass", "a brown dog runs"], "b": ["two cats sleep on a bed", "cats on a bed"]}
)


@pytest.mark.parametrize("measure", ["bleu", "cider"])
def test_interpolation_keeps_what_is_nearest_to_the_references(measure: str) -> None:
    hypotheses = CaptionSet(
        {
            # Every word of "a dog" is right, but it is too short.
            "a": (Caption("a dog", -1.0), Caption("a dog runs on the grass", -2.0), Caption("a cat", -3.0)),
            "b": (Caption("cats sleep on a bed", -1.0), Caption("a dog runs on the grass", -2.0)),
            "c": (Caption("nobody wrote of this", -1.0), Caption("a dog", -2.0)),
        }
    )
    chosen = closest_to_references(hypotheses, REFERENCES, measure)
    assert {id: several[0].text for id, several in chosen.items()} == {
        "a": "a dog runs on the grass",
        "b": "cats sleep on a bed",
        "c": "nobody wrote of this",
    }
    assert all(len(several) == 1 for several in chosen.values())
    assert chosen["a"][0].log_prob == -2.0


def test_equally_near_captions_leave_the_likelier_one() -> None:
    twice = CaptionSet({"a": (Caption("a dog", -1.0), Caption("a dog", -2.0))})
    assert closest_to_references(twice, REFERENCES, "bleu")["a"][0].log_prob == -1.0
    with pytest.raises(ConfigError, match="`measure` must be one of bleu, cider, but is 'spice'"):
        closest_to_references(twice, REFERENCES, "spice")


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_drawn_captions_follow_the_models_distribution(temperature: float) -> None:
    vocabulary = Vocabulary((*SPECIALS, *"vwxyz"))
    model = captioner(0)

    def draw() -> CaptionSet:
        asked: dict[str, Any] = {"captions": 400, "max_words": 1, "temperature": temperature, "seed": 3}
        return draw_captions(model, vocabulary, Source(), ["a", "b", "c"], **asked)

    drawn = draw()
    assert drawn == draw()
    with torch.no_grad():
        logits = model(regions(), torch.full((3, 1, 1), BOS))[:, 0, 0]
    logits[:, [0, 1, 3]] = -torch.inf
    for row, several in enumerate(drawn.values()):
        texts = [one.text for one in several]
        log_probs = [one.log_prob or 0.0 for one in several]
        assert log_probs == sorted(log_probs, reverse=True)
        for token, probability in enumerate((logits[row] / temperature).softmax(-1).tolist()):
            seen = texts.count("" if token == EOS else vocabulary.words[token]) / 400
            assert abs(seen - probability) < 0.11


def batch() -> Batch:
    targets = torch.tensor([[[5, 6, EOS]], [[7, EOS, PAD]], [[8, 4, EOS]]])
    inputs = torch.cat([torch.full_like(targets[..., :1], BOS), targets[..., :-1]], dim=-1)
    return Batch(("a", "b", "c"), inputs, targets)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_imitation_is_the_divergence_of_the_two_distributions(temperature: float) -> None:
    """Softened by the temperature, whose square keeps the gradient's size."""
    student, teacher = captioner(0), captioner(1, "aoanet")
    plain = CrossEntropy()
    given = batch()
    expected, count = 0.0, 0
    softened = ((one(regions(), given.inputs) / temperature).detach() for one in (teacher, student))
    q, p = (logits.softmax(-1) for logits in softened)
    for place in (given.targets != PAD).nonzero().tolist():
        one, other = q[tuple(place)], p[tuple(place)]
        expected += sum(float(a * (a / b).log()) for a, b in zip(one, other, strict=True) if a > 0)
        count += 1
    pure = Imitation(plain, TokenTeacher(teacher, Source(), TokenDistillation(1.0, temperature)))
    loss, figures = pure(student, regions(), given)
    assert loss.item() == pytest.approx(temperature**2 * expected / count, rel=1e-4)
    assert figures == {"divergence": loss.item()}
    part = TokenTeacher(teacher, Source(), TokenDistillation(0.3, temperature))
    mixed, _ = Imitation(plain, part)(student, regions(), given)
    crossed, _ = plain(student, regions(), given)
    assert mixed.item() == pytest.approx(0.7 * crossed.item() + 0.3 * loss.item(), rel=1e-5)
    mixed.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in teacher.parameters())
    itself = TokenTeacher(student, Source(), TokenDistillation(1.0, temperature))
    of_itself, _ = Imitation(plain, itself)(student, regions(), given)
    assert of_itself.item() == pytest.approx(0.0, abs=1e-6)


def test_impossible_imitation_is_refused() -> None:
    with pytest.raises(ConfigError, match="`weight` must be above 0 and at most 1, but is 0"):
        TokenDistillation(0)
    with pytest.raises(ConfigError, match="`temperature` must be above 0, but is -1"):
        TokenDistillation(0.5, -1)


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Train]:
    folder = tmp_path_factory.mktemp("teachers")
    draw_scenes(folder / "scenes", (16, 4, 4), size=64)
    data = ImportData.of(folder / "scenes")
    features = ExtractFeatures.of(data, "efficientnet-lite0", 64, "random")
    training = TrainingOptions(
        cross_entropy=CrossEntropyPhase(epochs=2, learning_rate=5e-2),
        self_critical=SelfCriticalPhase(epochs=1, samples=2),
        batch_images=4,
        validation_every=9,
    )
    return Store(folder / "store"), Train(
        data, BuildVocabulary(data, 1), features, "updown", UPDOWN, training
    )


def test_every_kind_of_label_trains_a_student(teacher_run: tuple[Store, Train]) -> None:
    store, teacher = teacher_run
    several = Generate(teacher, "train", 3, 3, 1.0)
    other = dataclasses.replace(teacher, training=dataclasses.replace(teacher.training, seed=1))
    stages = (
        Interpolate(several),
        DrawCaptions(teacher, "train", 2),
        GenerateTogether((teacher, other), "train", 2),
    )
    for labels in stages:
        assert stage_at(store.build(labels)) == labels
        assert len(labels.load(store)) == 16
    drawn = stages[1].load(store)
    assert {len(captions) for captions in drawn.values()} == {2}
    candidates = several.load(store)
    assert all(one[0] in candidates[id] for id, one in stages[0].load(store).items())
    student = dataclasses.replace(teacher, labels=several, token_teacher=teacher)
    assert stage_at(store.build(student)) == student
    strange = dataclasses.replace(student, vocabulary=BuildVocabulary(teacher.data, 2))
    with pytest.raises(ConfigError, match="must have its student's vocabulary"):
        store.build(strange)
    with pytest.raises(ConfigError, match="must know the same words"):
        GenerateTogether((teacher, strange), "train").inputs()


def test_captioners_with_encoders_of_their_own_label_together(teacher_run: tuple[Store, Train]) -> None:
    store, teacher = teacher_run
    trained = ExtractFeatures.of(teacher.data, "efficientnet-lite0", size=teacher.features.size)
    other = dataclasses.replace(teacher, features=trained)
    both = GenerateTogether((teacher, other), "train", 2)
    assert [stage.key for stage in both.inputs()[2:]] == [teacher.seen.key, trained.key]
    assert stage_at(store.build(both)) == both
    captions = both.load(store)
    assert len(captions) == 16
    # The likelihood of a caption is the mean of what each says of what its own encoder sees.
    ids = list(captions)[:4]
    members = [run.load(store).captioner.eval() for run in (teacher, other)]
    seen = [run.seen.load(store).regions_of(ids).to("cpu") for run in (teacher, other)]
    assert not torch.equal(seen[0].features, seen[1].features)
    words = teacher.load(store).vocabulary
    for place, image in enumerate(ids):
        written = [BOS, *words.encode(captions[image][0].text.split()), EOS]
        tokens = torch.tensor([[written[:-1]]])
        rows = slice(place, place + 1)
        with torch.no_grad():
            logs = [
                member(one[rows], tokens).log_softmax(-1) for member, one in zip(members, seen, strict=True)
            ]
        joint = torch.stack(logs).mean(0).log_softmax(-1)[0, 0]
        expected = sum(float(row[word]) for row, word in zip(joint, written[1:], strict=True))
        assert captions[image][0].log_prob == pytest.approx(expected, abs=1e-3)


@dataclasses.dataclass
class Grid:
    cells: int

    def regions_of(self, ids: Sequence[str]) -> Regions:
        return Regions.full(torch.zeros(len(ids), self.cells, 3))

    def __contains__(self, image: object) -> bool:
        return image != str(self.cells)


def test_grids_of_other_sizes_are_no_ensemble() -> None:
    with pytest.raises(ConfigError, match="must see grids of equally many cells"):
        Beside([Grid(4), Grid(9)]).regions_of(["a"])
    alike = Beside([Grid(4), Grid(4)])
    assert alike.regions_of(["a", "b"]).features.shape == (2, 4, 6)
    assert "a" in alike
    assert "4" not in alike


def test_images_without_captions_get_labels_and_are_learnt_from(teacher_run: tuple[Store, Train]) -> None:
    store, whole = teacher_run
    data = HideCaptions.of_data(whole.data, 0.5)
    teacher = dataclasses.replace(whole, data=data, vocabulary=BuildVocabulary(data, 1))
    labels = Generate(teacher, "train", 2, 1, 1.0)
    student = dataclasses.replace(teacher, labels=labels)
    store.build(student)  # also its self-critical phase, on images that have no references
    images = len(data.load(store).split("train"))
    captioned = len(data.load(store).references("train"))
    assert 0 < captioned < images == len(labels.load(store)) == 16
    seen = [one.summary(store)["images_seen"] for one in (teacher, student)]
    assert seen == [3 * captioned, 3 * images]
    assert len(data.load(store).references("test")) == 4
    with pytest.raises(ConfigError, match="`share` must be between 0 and 1, but is 1"):
        HideCaptions.of_data(whole.data, 1)


def test_fields_added_later_left_the_keys_alone(tmp_path: Path) -> None:
    data = ImportData("0", "data", "nowhere", None)
    features = ExtractFeatures(data, "{}", None, "efficientnet-lite0", None, None, "grid")
    train = Train(data, BuildVocabulary(data), features, "updown", UPDOWN, TrainingOptions())
    assert not {"token_teacher", "token_distillation", "tune_stages"} & set(train.recipe())
    for labels in (Generate(train, "train"), GenerateTogether((train,), "train")):
        assert "data" not in labels.recipe()
