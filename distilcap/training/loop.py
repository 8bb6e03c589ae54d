"""The training loop: both phases, validation, checkpoints, and a clear end where a run diverges."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distilcap.data.captions import CaptionSet
from distilcap.decode.beam import BeamSearch
from distilcap.decode.captions import RegionSource, caption_images
from distilcap.errors import TrainingError
from distilcap.files import atomic_path, write_json
from distilcap.metrics import evaluate
from distilcap.models.captioner import Captioner
from distilcap.models.weights import TrainedCaptioner, load_captioner, save_captioner
from distilcap.progress import SILENT, Progress
from distilcap.training.batches import Batch, Batches, encode_captions
from distilcap.training.checkpoint import Position, load_checkpoint, save_checkpoint
from distilcap.training.imitation import Imitation, TokenTeacher
from distilcap.training.objectives import CrossEntropy, Objective, Reward, SelfCritical
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

__all__ = ["CHECKPOINT", "ENCODER", "LOG", "Training"]

CHECKPOINT, LOG, ENCODER = "checkpoint.safetensors", "log.json", "encoder.safetensors"
Phase = CrossEntropyPhase | SelfCriticalPhase


@dataclass
class Training:
    """One run: a captioner, what it learns from, and where it is kept.

    Attributes:
        trained: the captioner with random (or inherited) weights, and its vocabulary.
        source: regions of all images; where it is an `nn.Module`, it is trained along.
        labels: captions of the training images, by people or by a teacher.
        validation: references of the validation images.
        reward: of the self-critical phase, made when that begins.
        folder: gets `captioner.*` (the best by validation CIDEr), `log.json` and, while it runs,
            `checkpoint.safetensors`.
        checkpoint_seconds: at most so much work is lost with a killed process.
        token_teacher: imitated in the cross-entropy phase.
    """

    trained: TrainedCaptioner
    source: RegionSource
    labels: CaptionSet
    validation: CaptionSet
    reward: Callable[[], Reward]
    options: TrainingOptions
    folder: Path
    progress: Progress = SILENT
    checkpoint_seconds: float = 60.0
    token_teacher: TokenTeacher | None = None
    position: Position = field(default_factory=Position, init=False)

    def run(self) -> Position:
        """Train to the end, from the checkpoint in `folder` where there is one.

        A run that was killed and resumed gives the same weights as one that was not.

        Raises:
            TrainingError: the loss is not finite or far above a uniform guess; the best weights are kept.
        """
        torch.manual_seed(self.options.seed)
        encoded = encode_captions(self.labels, self.trained.vocabulary, self.options.max_words)
        batches = Batches(
            encoded, self.options.batch_images, self.options.captions_per_image, self.options.seed
        )
        if (self.folder / CHECKPOINT).exists():
            self.position = load_checkpoint(self.folder / CHECKPOINT, {}, None)
        phases: list[Phase] = [self.options.cross_entropy, self.options.self_critical]
        for number in range(self.position.phase, len(phases)):
            if phases[number].epochs:
                self._run_phase(number, phases[number], batches)
        if self.position.best_phase < 0:  # no epoch at all: the weights as they are
            save_captioner(self.folder, self.trained)
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return self.position

    @property
    def _captioner(self) -> Captioner:
        return self.trained.captioner

    def _run_phase(self, number: int, phase: Phase, batches: Batches) -> None:
        average = copy.deepcopy(self._captioner) if phase.weight_averaging else None
        modules: dict[str, nn.Module] = {"captioner": self._captioner}
        if average is not None:
            modules["average"] = average
        if isinstance(self.source, nn.Module):
            modules["encoder"] = self.source
        optimizer = self._optimizer(phase)
        resumes = (self.folder / CHECKPOINT).exists() and self.position.phase == number
        if resumes:
            self.position = load_checkpoint(self.folder / CHECKPOINT, modules, optimizer)
        else:
            self._begin_phase(number, modules)
            save_checkpoint(self.folder / CHECKPOINT, self.position, modules, optimizer)
        at = self.position
        reward = self.reward() if isinstance(phase, SelfCriticalPhase) else None
        total = phase.epochs * len(batches)
        saved = started = time.perf_counter()
        name = "Self-critical training" if reward else "Cross-entropy training"
        for batch in self.progress.track(self._remaining(phase, batches), name, total, at.step):
            figures = self._step(phase, batch, optimizer, total, reward)
            if average is not None:
                _move_average(average, self._captioner, phase.weight_averaging, at.step)
            at.step, at.batch, at.images = at.step + 1, at.batch + 1, at.images + len(batch.ids)
            ended = at.batch == len(batches)
            now = time.perf_counter()
            if ended or now - saved > self.checkpoint_seconds:
                at.seconds += now - started
                if ended:
                    at.epoch, at.batch = at.epoch + 1, 0
                    self._end_epoch(number, phase, average or self._captioner, figures)
                save_checkpoint(self.folder / CHECKPOINT, at, modules, optimizer)
                # Validation and saving are not training time.
                saved = started = time.perf_counter()

    def _begin_phase(self, number: int, modules: dict[str, nn.Module]) -> None:
        """The self-critical phase begins from the best weights of the cross-entropy phase."""
        if self.position.best_phase >= 0:
            best = load_captioner(self.folder).captioner.state_dict()
            for name in modules.keys() & {"captioner", "average"}:
                modules[name].load_state_dict(best)
            if "encoder" in modules:
                modules["encoder"].load_state_dict(load_file(self.folder / ENCODER))
        at = self.position
        self.position = Position(
            phase=number,
            best_score=at.best_score,
            best_phase=at.best_phase,
            seconds=at.seconds,
            images=at.images,
            history=at.history,
        )

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [
            {"params": list(self._captioner.parameters()), "base_rate": phase.learning_rate}
        ]
        if isinstance(self.source, nn.Module):
            tuned = [parameter for parameter in self.source.parameters() if parameter.requires_grad]
            groups.append({"params": tuned, "base_rate": self.options.encoder_learning_rate})
        return torch.optim.Adam(groups, lr=phase.learning_rate, fused=True)

    def _remaining(self, phase: Phase, batches: Batches) -> Iterator[Batch]:
        for epoch in range(self.position.epoch, phase.epochs):
            yield from batches.epoch(epoch, self.position.batch)

    def _objective(self, phase: Phase, reward: Reward | None) -> Objective:
        if isinstance(phase, SelfCriticalPhase):
            assert reward is not None
            return SelfCritical(reward, phase.samples, phase.baseline, self.options.max_words, phase.dropout)
        sampling = min(phase.scheduled_sampling, 0.05 * (self.position.epoch // 5))
        objective = CrossEntropy(phase.label_smoothing, sampling)
        return Imitation(objective, self.token_teacher) if self.token_teacher else objective

    def _step(
        self, phase: Phase, batch: Batch, optimizer: torch.optim.Optimizer, total: int, reward: Reward | None
    ) -> dict[str, float]:
        factor = _rate_factor(phase, self.position.step, self.position.epoch, total)
        for group in optimizer.param_groups:
            group["lr"] = group["base_rate"] * factor
        self._captioner.train()
        device = next(self._captioner.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            regions = self.source.regions_of(batch.ids).to(device)
            loss, figures = self._objective(phase, reward)(self._captioner, regions, batch)
        self._check(loss, phase)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clipped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_value_(clipped, self.options.gradient_clip)
        optimizer.step()
        return figures

    def _check(self, loss: Tensor, phase: Phase) -> None:
        uniform = math.log(self._captioner.vocabulary_size)
        too_high = isinstance(phase, CrossEntropyPhase) and loss.item() > 3 * uniform
        if math.isfinite(loss.item()) and not too_high:
            return
        kept = (
            f"The best weights so far (CIDEr {100 * self.position.best_score:.1f}) are kept in {self.folder}."
            if self.position.best_phase >= 0
            else "No epoch was finished before."
        )
        where = f"epoch {self.position.epoch + 1}, batch {self.position.batch + 1}"
        raise TrainingError(
            f"Training diverged at {where}: the loss is {loss.item():.3g}; "
            f"a lower `learning_rate` than {phase.learning_rate:g} is the usual mend. {kept}"
        )

    def _end_epoch(self, number: int, phase: Phase, captioner: Captioner, figures: dict[str, float]) -> None:
        at = self.position
        record: dict[str, Any] = {
            "phase": "self_critical" if isinstance(phase, SelfCriticalPhase) else "cross_entropy",
            "epoch": at.epoch,
            "images": at.images,
            "seconds": round(at.seconds, 2),
            **{name: round(value, 6) for name, value in figures.items()},
        }
        if at.epoch % self.options.validation_every == 0 or at.epoch == phase.epochs:
            score = self._validate(captioner)
            record["validation_cider"] = round(score, 6)
            if score > at.best_score:
                at.best_score, at.best_phase = score, number
                best = TrainedCaptioner(
                    captioner,
                    self.trained.architecture,
                    self.trained.options,
                    self.trained.vocabulary,
                    self.trained.features,
                )
                save_captioner(self.folder, best)
                if isinstance(self.source, nn.Module):
                    _save_module(self.folder / ENCODER, self.source)
            figures_text = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            self.progress.note(f"epoch {at.epoch}: {figures_text}, validation CIDEr {100 * score:.1f}")
        at.history.append(record)
        write_json(self.folder / LOG, at.history)

    def _validate(self, captioner: Captioner) -> float:
        ids = tuple(self.validation)[: self.options.validation_images or None]
        # Validation must not move the random state: a run validated less often stays the same run.
        state = torch.get_rng_state()
        options = BeamSearch(self.options.validation_beam, self.options.max_words + 4)
        captions = caption_images(captioner, self.trained.vocabulary, self.source, ids, options)
        torch.set_rng_state(state)
        return evaluate(captions, self.validation.only(ids), ["cider"])["cider"].value


def _rate_factor(phase: Phase, step: int, epoch: int, total: int) -> float:
    """The learning rate's factor: warm-up, then steps of 0.8 every 3 epochs or half a cosine to zero."""
    warmup = min(1.0, (step + 1) / phase.warmup_steps) if phase.warmup_steps else 1.0
    if phase.schedule == "cosine":
        return warmup * 0.5 * (1 + math.cos(math.pi * step / total))
    return warmup * float(0.8 ** (epoch // 3))


@torch.no_grad()
def _move_average(average: nn.Module, current: nn.Module, decay: float, step: int) -> None:
    decay = min(decay, (1 + step) / (10 + step))  # early weights are forgotten soon
    for kept, new in zip(average.parameters(), current.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def _save_module(path: Path, module: nn.Module) -> None:
    with atomic_path(path) as scratch:
        save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, scratch)
