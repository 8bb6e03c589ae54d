"""Training: a killed run resumed equals one that was not; divergence ends clearly; objectives are exact."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_captioners import small_captioner, small_options
from torch import nn

from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError, DataError, TrainingError
from distilcap.metrics.reward import CiderReward
from distilcap.models.captioner import Captioner
from distilcap.models.families import families
from distilcap.models.fast import accelerate
from distilcap.models.presets import build_captioner, options_of
from distilcap.models.weights import TrainedCaptioner, load_captioner
from distilcap.progress import Silent
from distilcap.shapes import Regions
from distilcap.tensors import load_tensors
from distilcap.text.tokenize import tokenize
from distilcap.text.vocabulary import BOS, EOS, PAD, Vocabulary
from distilcap.training import loop
from distilcap.training.batches import Batch, Batches, encode_captions
from distilcap.training.checkpoint import Position
from distilcap.training.divergence import fallen
from distilcap.training.imitation import TokenTeacher
from distilcap.training.loop import CHECKPOINT, Training
from distilcap.training.objectives import CrossEntropy, SelfCritical, scheduled_sampling_logits
from distilcap.training.options import (
    CrossEntropyPhase,
    SelfCriticalPhase,
    TokenDistillation,
    TrainingOptions,
)
from distilcap.training.processes import Processes

CAPTIONS = CaptionSet.of_texts(
    {
        f"image{n}": [f"a {colour} {thing} runs", f"one {thing} in {colour}", f"the {thing} is {colour}"]
        for n, (colour, thing) in enumerate(
            (colour, thing) for colour in ("red", "blue", "green") for thing in ("dog", "cat", "car")
        )
    }
)
VOCABULARY = Vocabulary.build((tokenize(t) for id in CAPTIONS for t in CAPTIONS.texts(id)), 1)


class Killed(Exception):
    """Stands for SIGKILL: nothing of ours catches it."""


class Pictures:
    """Regions that tell the images apart; dies at the call numbered `dies_at`."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.calls, self.dies_at = 0, dies_at
        generator = torch.Generator().manual_seed(0)
        self.features = dict(zip(CAPTIONS, torch.randn(9, 4, 6, generator=generator), strict=True))

    def regions_of(self, ids: Sequence[str]) -> Regions:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed
        return Regions.full(torch.stack([self.features[id] for id in ids]))


class TunedPictures(nn.Module):
    """A source that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))
        self.pictures = Pictures()

    def regions_of(self, ids: Sequence[str]) -> Regions:
        regions = self.pictures.regions_of(ids)
        return Regions(regions.features * self.scale, regions.mask)


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def options(**changes: object) -> TrainingOptions:
    values: dict[str, object] = {
        "cross_entropy": CrossEntropyPhase(epochs=2, learning_rate=1e-2, weight_averaging=0.9),
        "self_critical": SelfCriticalPhase(epochs=2, learning_rate=1e-3, samples=3),
        "batch_images": 4,
        "captions_per_image": 2,
        "seed": 11,
    }
    return TrainingOptions(**{**values, **changes})  # type: ignore[arg-type]


def training(
    folder: Path,
    source: object,
    run_options: TrainingOptions,
    width: int = 8,
    family: str = "updown",
    **changes: object,
) -> Training:
    small = small_options(family, hidden=width, embedding=width, dropout=0.3 if width == 8 else 0.0)
    captioner = build_captioner(family, small, len(VOCABULARY), 6, run_options.seed)
    return Training(
        TrainedCaptioner(captioner, family, small, VOCABULARY, {}),
        source,  # type: ignore[arg-type]
        CAPTIONS,
        CAPTIONS,
        lambda: CiderReward(encode_captions(CAPTIONS, VOCABULARY, None)),
        run_options,
        folder,
        **changes,  # type: ignore[arg-type]
    )


def weights(captioner: Captioner) -> dict[str, torch.Tensor]:
    return dict(captioner.state_dict())


def test_a_run_killed_at_any_step_and_resumed_gives_the_same_weights(tmp_path: Path) -> None:
    whole = training(tmp_path / "whole", Pictures(), options())
    whole.run()
    source = whole.source
    assert isinstance(source, Pictures)
    for dies_at in range(1, source.calls + 1):
        folder = tmp_path / f"killed{dies_at}"
        with pytest.raises(Killed):
            training(folder, Pictures(dies_at), options(), checkpoint_seconds=0.0).run()
        torch.manual_seed(999)  # another process would have another random state
        resumed = training(folder, Pictures(), options())
        resumed.run()
        for name, tensor in weights(whole._captioner).items():
            assert torch.equal(tensor, weights(resumed._captioner)[name]), (dies_at, name)
        best, best_resumed = load_captioner(tmp_path / "whole"), load_captioner(folder)
        for name, tensor in weights(best.captioner).items():
            assert torch.equal(tensor, weights(best_resumed.captioner)[name]), (dies_at, name)
        assert [record["loss"] for record in resumed.position.history] == [
            record["loss"] for record in whole.position.history
        ]


@pytest.mark.parametrize("path", ["plain", "accelerated"])
@pytest.mark.parametrize("family", families())
def test_every_family_learns_in_all_ways_from_another_and_resumes(
    family: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cross-entropy with scheduled sampling and imitation of a teacher's words, then self-critical."""
    monkeypatch.setenv("DISTILCAP_PLAIN", str(int(path == "plain")))
    # So few epochs would read no word of the captioner's own yet.
    monkeypatch.setattr(loop, "CrossEntropy", lambda smoothing, sampling: CrossEntropy(smoothing, 0.5))
    names = list(families())
    teacher = small_captioner(names[names.index(family) - 1], len(VOCABULARY), 6)
    crossed = CrossEntropyPhase(epochs=4, learning_rate=2e-2, label_smoothing=0.1)
    learning = options(cross_entropy=crossed, self_critical=SelfCriticalPhase(epochs=2, samples=3))

    def begun(folder: str, source: Pictures) -> Training:
        run = training(tmp_path / folder, source, learning, family=family, checkpoint_seconds=0.0)
        run.token_teacher = TokenTeacher(teacher, Pictures(), TokenDistillation(0.5))
        return run

    whole = begun("whole", Pictures())
    losses = [record["loss"] for record in whole.run().history if "divergence" in record]
    assert losses[-1] < losses[0]
    assert isinstance(whole.source, Pictures)
    with pytest.raises(Killed):
        begun("killed", Pictures(whole.source.calls - 1)).run()
    resumed = begun("killed", Pictures())
    resumed.run()
    for key, tensor in weights(whole._captioner).items():
        assert torch.equal(tensor, weights(resumed._captioner)[key]), key


@pytest.mark.parametrize("began", ["plain", "accelerated"])
def test_a_run_goes_on_with_the_code_that_it_began_with(
    tmp_path: Path, began: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asking(for_plain: bool) -> None:
        monkeypatch.setenv("DISTILCAP_PLAIN", str(int(for_plain)))

    asking(began == "plain")
    whole = training(tmp_path / "whole", Pictures(), options())
    whole.run()
    assert whole._captioner.accelerated == (began == "accelerated")
    for dies_at in (4, 12):  # one in each phase
        folder = tmp_path / str(dies_at)
        asking(began == "plain")
        with pytest.raises(Killed):
            training(folder, Pictures(dies_at), options(), checkpoint_seconds=0.0).run()
        asking(began != "plain")
        notes = Notes()
        resumed = training(folder, Pictures(), options(), progress=notes)
        resumed.run()
        assert [note for note in notes.said if "began with" in note] == [
            f"This run began with {began} code, and goes on with it."
        ]
        for name, tensor in weights(whole._captioner).items():
            assert torch.equal(tensor, weights(resumed._captioner)[name]), name


def test_a_teacher_stays_fast_where_the_student_has_no_fast_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTILCAP_PLAIN", raising=False)
    slow = type(small_captioner("updown", len(VOCABULARY), 6))
    monkeypatch.setattr(loop, "accelerate", lambda one: one if type(one) is slow else accelerate(one))
    one_epoch = options(self_critical=SelfCriticalPhase(epochs=0))

    def begun(source: Pictures, notes: Notes) -> Training:
        run = training(tmp_path, source, one_epoch, progress=notes, checkpoint_seconds=0.0)
        teacher = small_captioner("aoanet", len(VOCABULARY), 6)
        run.token_teacher = TokenTeacher(teacher, Pictures(), TokenDistillation())
        return run

    with pytest.raises(Killed):
        begun(Pictures(3), Notes()).run()
    notes = Notes()
    resumed = begun(Pictures(), notes)
    resumed.run()
    assert not resumed._captioner.accelerated
    assert resumed.token_teacher is not None
    assert resumed.token_teacher.captioner.accelerated
    assert not [note for note in notes.said if "began with" in note]


@pytest.mark.parametrize(
    ("phase", "scores", "told"),
    [
        (SelfCriticalPhase(), (0.467, 0.301), "fell from 49.7 (cross-entropy, epoch 1) to 30.1"),
        (SelfCriticalPhase(), (0.467, 0.45), ""),
        (CrossEntropyPhase(), (0.3,), "lower `--learning-rate` than 0.0005"),
    ],
)
def test_validation_that_fell_is_told(phase: SelfCriticalPhase, scores: tuple[float, ...], told: str) -> None:
    history: list[dict[str, object]] = [
        {"phase": "cross_entropy", "epoch": 1, "validation_cider": 0.497},
        *({"phase": "self_critical", "epoch": 1 + n, "validation_cider": s} for n, s in enumerate(scores)),
    ]
    said = fallen(phase, Position(best_score=0.497, history=history))
    assert told in said
    assert bool(told) == bool(said)
    kept = Position(best_score=0.497, history=history, start_scores=[0.5, 0.494])
    assert not fallen(phase, kept)
    history.append({"phase": "self_critical", "epoch": 9, "validation_cider": 0.2})
    assert "to 20.0" in fallen(phase, kept)


def test_one_validation_image_is_validated(tmp_path: Path) -> None:
    """Its CIDEr is always 0, for words weigh by images; a run goes on by that number."""
    phases = options(self_critical=SelfCriticalPhase(epochs=0), validation_images=1)
    training(tmp_path, Pictures(), phases).run()
    log = json.loads((tmp_path / "log.json").read_text())
    assert [record["validation_cider"] for record in log] == [0.0, 0.0]


def test_a_warm_up_longer_than_its_phase_is_told(tmp_path: Path) -> None:
    notes = Notes()
    phases = options(
        cross_entropy=CrossEntropyPhase(epochs=1, warmup_steps=1),
        self_critical=SelfCriticalPhase(epochs=1, learning_rate=1e-3, samples=2, warmup_steps=100),
    )
    training(tmp_path, Pictures(), phases, progress=notes).run()
    (said,) = (note for note in notes.said if "warm-up" in note)
    assert "reaches 3e-05 of 0.001" in said  # 3 of 100 steps
    assert "`--scst-warmup-steps`" in said


def test_older_checkpoints_are_of_accelerated_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILCAP_PLAIN", "0")
    with pytest.raises(Killed):
        training(tmp_path, Pictures(4), options(), checkpoint_seconds=0.0).run()
    path = tmp_path / CHECKPOINT
    tensors, content = load_tensors(path, "")
    position = content["position"]
    assert position.pop("plain") is False
    assert position.pop("means")
    assert position.pop("device") == "cpu"
    save_file(tensors, path, metadata={"position": json.dumps(position)})
    monkeypatch.setenv("DISTILCAP_PLAIN", "1")
    resumed = training(tmp_path, Pictures(), options())
    resumed.run()
    assert resumed._captioner.accelerated


def test_the_log_has_the_means_over_an_epoch_s_steps_and_all_images_seen_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[dict[str, float]] = []
    own = Training._step

    def noted(self: Training, *given: object) -> dict[str, float]:
        steps.append(own(self, *given))  # type: ignore[arg-type]
        return steps[-1]

    monkeypatch.setattr(Training, "_step", noted)
    history = training(tmp_path, Pictures(), options()).run().history
    assert [record["images"] for record in history] == [9, 18, 27, 36]
    for number, record in enumerate(history):
        of_epoch = steps[3 * number : 3 * number + 3]
        for name in of_epoch[0]:
            mean = np.mean([figures[name] for figures in of_epoch])
            assert record[name] == pytest.approx(mean, abs=1e-6), (number, name)


def test_a_run_that_goes_on_elsewhere_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(device: str, dies_at: int | None = None) -> list[str]:
        monkeypatch.setattr(Processes, "device_name", device)
        notes = Notes()
        going = training(tmp_path, Pictures(dies_at), options(), progress=notes, checkpoint_seconds=0.0)
        if dies_at:
            with pytest.raises(Killed):
                going.run()
        else:
            assert going.run().device == "cpu, then A GPU"
        return [note for note in notes.said if "goes on on" in note]

    assert not run("cpu", 2)
    (said,) = run("A GPU", 3)
    assert "was on cpu, and goes on on A GPU:" in said
    assert not run("A GPU", 9)  # in the other phase
    assert not run("A GPU")


def test_a_checkpoint_of_another_shape_is_refused_whole_in_one_line(tmp_path: Path) -> None:
    def dies(folder: Path, **changes: object) -> None:
        with pytest.raises(Killed):
            training(folder, Pictures(4), options(**changes), checkpoint_seconds=0.0).run()

    dies(tmp_path)
    wider = training(tmp_path, Pictures(), options(), width=9)
    before = {name: tensor.clone() for name, tensor in weights(wider._captioner).items()}
    with pytest.raises(
        DataError, match=r"another run: `.*` of its captioner is .*8.*, but .*9.* in this run; "
    ):
        wider.run()
    for name, tensor in weights(wider._captioner).items():
        assert torch.equal(tensor, before[name])
    plain = CrossEntropyPhase(epochs=2, learning_rate=1e-2)
    dies(tmp_path / "plain", cross_entropy=plain)
    with pytest.raises(
        DataError, match=r"of its average is missing, but .*delete it to begin anew"
    ) as raised:
        training(tmp_path / "plain", Pictures(), options()).run()
    assert "\n" not in str(raised.value)
    assert (tmp_path / CHECKPOINT).exists(), "it is the person's to delete"


@pytest.mark.parametrize("family", families())
def test_training_learns_to_tell_the_images_apart(tmp_path: Path, family: str) -> None:
    phases = {
        "cross_entropy": CrossEntropyPhase(epochs=60, learning_rate=2e-2, schedule="cosine"),
        "self_critical": SelfCriticalPhase(epochs=10, learning_rate=2e-3),
    }
    run = training(tmp_path, Pictures(), options(**phases), width=24, family=family)
    position = run.run()
    scores = [record["validation_cider"] for record in position.history]
    assert scores[0] < 0.8
    assert position.best_score == pytest.approx(max(scores), abs=1e-6)
    assert position.best_score > 1.2
    rewards = [record["reward"] for record in position.history if record["phase"] == "self_critical"]
    assert len(rewards) == 10
    assert np.isfinite(rewards).all()


def test_an_encoder_is_trained_along_and_saved(tmp_path: Path) -> None:
    source = TunedPictures()
    training(tmp_path, source, options()).run()
    assert not torch.equal(source.scale, torch.ones(6))
    assert (tmp_path / "encoder.safetensors").exists()


def test_a_diverged_run_says_so_and_keeps_the_best_weights(tmp_path: Path) -> None:
    calm = options(cross_entropy=CrossEntropyPhase(epochs=1), self_critical=SelfCriticalPhase(epochs=0))
    training(tmp_path, Pictures(), calm).run()
    kept = (tmp_path / "captioner.safetensors").read_bytes()

    class Broken(Pictures):
        def regions_of(self, ids: Sequence[str]) -> Regions:
            regions = super().regions_of(ids)
            if self.calls > 5:
                regions.features.fill_(math.nan)
            return regions

    wild = options(cross_entropy=CrossEntropyPhase(epochs=5, learning_rate=0.5))
    with pytest.raises(TrainingError, match=r"the features of image \w+.* hold NaN or infinity") as raised:
        training(tmp_path / "wild", Broken(), wild).run()
    assert "learning_rate" not in str(raised.value)
    assert (tmp_path / "captioner.safetensors").read_bytes() == kept


class Spoils(Pictures):
    """Runs `spoil` at the call numbered `at`."""

    def __init__(self, at: int, spoil: Callable[[Regions], None]) -> None:
        super().__init__()
        self.at, self.spoil = at, spoil

    def regions_of(self, ids: Sequence[str]) -> Regions:
        regions = super().regions_of(ids)
        if self.calls == self.at:
            self.spoil(regions)
        return regions


@pytest.mark.parametrize(
    "at, epochs, message",
    [
        (4, (0, 1), r"diverged in epoch 1: the weight `\S+` .*; a lower `scst_learning_rate`"),
        (1, (1, 0), r"The weight `\S+` held NaN or infinity before the first step .* are damaged"),
        (
            2,
            (1, 0),
            r"diverged at epoch 1, batch 2: the loss is nan, and the weight `\S+` .*lower `learning_rate`",
        ),
        (
            2,
            (0, 1),
            r"diverged at epoch 1, batch 2: .*, and the weight `\S+` .*lower `scst_learning_rate` than 5e-05",
        ),
        (4, (1, 0), r"diverged in epoch 1: the weight `\S+` holds NaN or infinity; a lower `learning_rate`"),
    ],
)
def test_weights_that_are_nan_are_named(
    tmp_path: Path, at: int, epochs: tuple[int, int], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = options(
        cross_entropy=CrossEntropyPhase(epochs=epochs[0]), self_critical=SelfCriticalPhase(epochs=epochs[1])
    )

    def spoil(regions: Regions) -> None:
        next(run.trained.captioner.parameters()).data.fill_(math.nan)

    run = training(tmp_path, Spoils(at, spoil), phases)
    if at == 4:  # by the last of three steps itself
        validate = run._validate
        monkeypatch.setattr(run, "_validate", lambda captioner: (spoil(None), validate(captioner))[1])  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=message):
        run.run()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("epochs", [(1, 0), (0, 1)])
def test_features_that_are_nan_are_not_blamed_on_the_learning_rate(
    tmp_path: Path, value: float, epochs: tuple[int, int]
) -> None:
    phases = options(
        cross_entropy=CrossEntropyPhase(epochs=epochs[0]), self_critical=SelfCriticalPhase(epochs=epochs[1])
    )
    source = Pictures()
    source.features["image4"][1, 2] = value
    with pytest.raises(
        TrainingError, match=r"since the features of image image4 hold NaN or infinity; extract"
    ):
        training(tmp_path, source, phases).run()
    for image in source.features.values():
        image[0] = value
    with pytest.raises(TrainingError, match=r"of image (image\d+, ){2}image\d+ and \d+ more hold NaN"):
        training(tmp_path, source, phases).run()


def test_cross_entropy_is_the_mean_over_real_tokens() -> None:
    updown = options_of("updown", {"hidden": 8, "embedding": 8, "attention": 4})
    captioner = build_captioner("updown", updown, len(VOCABULARY), 6).eval()
    encoded = encode_captions(CAPTIONS, VOCABULARY, 16)
    batch = next(Batches(encoded, 3, 2, seed=0).epoch(0))
    regions = Pictures().regions_of(batch.ids)
    loss, _ = CrossEntropy()(captioner, regions, batch)
    log_p = captioner(regions, batch.inputs).log_softmax(-1)
    total, count = 0.0, 0
    for image, several in enumerate(batch.targets.tolist()):
        for caption, ids in enumerate(several):
            for place, target in enumerate(ids):
                if target != PAD:
                    total -= log_p[image, caption, place, target].item()
                    count += 1
    assert loss.item() == pytest.approx(total / count, rel=1e-5)


def test_scheduled_sampling_with_probability_zero_is_teacher_forcing() -> None:
    updown = options_of("updown", {"hidden": 8, "embedding": 8, "attention": 4})
    captioner = build_captioner("updown", updown, len(VOCABULARY), 6).eval()
    inputs = torch.randint(4, len(VOCABULARY), (2, 2, 5))
    regions = Pictures().regions_of(tuple(CAPTIONS)[:2])
    torch.testing.assert_close(
        scheduled_sampling_logits(captioner, regions, inputs, 0.0), captioner(regions, inputs)
    )
    always = scheduled_sampling_logits(captioner, regions, inputs, 1.0)
    torch.testing.assert_close(always[..., 0, :], captioner(regions, inputs)[..., 0, :])
    assert not torch.allclose(always, captioner(regions, inputs))


def test_the_self_critical_gradient_is_that_of_the_expected_reward() -> None:
    """Against the exact gradient: enumerate all captions of at most two words of a tiny captioner."""
    updown = options_of("updown", {"hidden": 3, "embedding": 3, "attention": 2, "dropout": 0.0})
    vocabulary_size = 6
    captioner = build_captioner("updown", updown, vocabulary_size, 2, seed=1).double().eval()
    regions = Regions.full(
        torch.randn(1, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    )
    values = {(EOS,): 0.1, (4,): 1.0, (5,): -0.5, (3,): 0.3}

    def reward(image_ids: list[str], samples: np.ndarray) -> np.ndarray:
        return np.array([[values[tuple(s[s != PAD].tolist())] for s in samples[0]]])

    # One word at most, so the captions are the four words that may be drawn.
    logits = captioner(regions, torch.full((1, 1, 1), BOS))[0, 0, 0]
    allowed = logits.clone()
    allowed[[PAD, BOS]] = -torch.inf
    exact = sum(allowed.softmax(-1)[caption[0]] * value for caption, value in values.items())
    assert isinstance(exact, torch.Tensor)
    expected = torch.autograd.grad(-exact, captioner.output.bias)[0]

    torch.manual_seed(0)
    objective = SelfCritical(reward, samples=30_000, max_words=0)
    batch = Batch(("x",), torch.full((1, 1, 1), BOS), torch.full((1, 1, 1), EOS))
    loss, figures = objective(captioner, regions, batch)
    found = torch.autograd.grad(loss, captioner.output.bias)[0]
    # The loss scores with the full softmax; pads and begin tokens, never drawn, have their share there.
    words = torch.tensor([EOS, 3, 4, 5])
    torch.testing.assert_close(found[words], expected[words], atol=0.012, rtol=0.0)
    assert figures["reward"] == pytest.approx(exact.item(), abs=0.02)


def test_batches_depend_on_seed_and_epoch_and_can_begin_anywhere() -> None:
    encoded = encode_captions(CAPTIONS, VOCABULARY, 16)
    batches = Batches(encoded, 4, 2, seed=1)
    first = list(batches.epoch(0))
    assert [batch.ids for batch in first] == [batch.ids for batch in batches.epoch(0)]
    assert [batch.ids for batch in first] != [batch.ids for batch in batches.epoch(1)]
    assert [batch.ids for batch in first] != [batch.ids for batch in Batches(encoded, 4, 2, seed=2).epoch(0)]
    (last,) = batches.epoch(0, start=2)
    assert torch.equal(last.targets, first[2].targets)
    assert sorted(id for batch in first for id in batch.ids) == sorted(CAPTIONS)
    for batch in first:
        assert batch.inputs[..., 0].eq(BOS).all()
        for row, image_id in enumerate(batch.ids):
            chosen = {tuple(t for t in one if t != PAD) for one in batch.targets[row].tolist()}
            assert len(chosen) == 2  # two different captions of its three
            assert chosen <= {tuple(one) for one in encoded[image_id]}


def test_over_the_epochs_every_caption_of_an_image_is_read() -> None:
    encoded = encode_captions(CAPTIONS, VOCABULARY, 16)
    batches = Batches(encoded, 9, 1, seed=1)
    read: dict[str, set[tuple[int, ...]]] = {image_id: set() for image_id in encoded}
    for epoch in range(20):
        (batch,) = batches.epoch(epoch)
        for image_id, ((*ids,),) in zip(batch.ids, batch.targets.tolist(), strict=True):
            read[image_id].add(tuple(id for id in ids if id != PAD))
    assert read == {image_id: {tuple(one) for one in several} for image_id, several in encoded.items()}


def test_captions_are_cut_and_end_only_where_they_do() -> None:
    texts = ["a dog runs in the red car", "a dog runs", "a dog", "..."]
    encoded = encode_captions(CaptionSet.of_texts({"x": texts, "y": [""]}), VOCABULARY, 3)
    assert set(encoded) == {"x"}
    long, whole, short = encoded["x"]
    assert len(long) == 3
    assert EOS not in long
    assert whole == [*long, EOS]
    assert short == [*long[:2], EOS]
    assert VOCABULARY.decode(whole) == "a dog runs"


def test_images_with_fewer_captions_are_padded_not_repeated() -> None:
    captions = CaptionSet.of_texts({"x": ["a dog", "a cat"], "y": ["the car"]})
    (batch,) = Batches(encode_captions(captions, VOCABULARY, 16), 2, 5, seed=0).epoch(0)
    assert batch.targets.shape[:2] == (2, 2)
    assert batch.targets[batch.ids.index("y"), 1].eq(PAD).all()


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(DataError, match="There is no caption to train on"):
        Batches({}, 4, 2, seed=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropyPhase(epochs=-1), "`epochs` must be at least 0 and at most 100000, but is -1"),
        (
            lambda: CrossEntropyPhase(learning_rate=0),
            "`learning_rate` must be above 0 and at most 100, but is 0",
        ),
        (lambda: CrossEntropyPhase(schedule="x"), "`schedule` must be one of step, cosine, but is 'x'"),
        (lambda: CrossEntropyPhase(label_smoothing=1), "`label_smoothing` must be at least 0 and below 1"),
        (lambda: SelfCriticalPhase(samples=1), "`samples` must be at least 2 with baseline others, but is 1"),
        (lambda: SelfCriticalPhase(baseline="x"), "`baseline` must be one of others, greedy"),
        (
            lambda: TrainingOptions(batch_images=0),
            "`batch_images` must be at least 1 and at most ",
        ),
        (lambda: TrainingOptions(precision="int4"), "`precision` must be one of float32, bfloat16"),
    ],
)
def test_impossible_options_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
