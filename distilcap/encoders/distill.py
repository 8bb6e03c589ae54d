"""Encoder distillation: a small encoder learns to give the features of a large one.

Regression on features as in FitNets (Romero et al. 2015, equation 3), with each of the teacher's features in
units of its standard deviation. The teacher's features come from its store: it is not run again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distilcap.data.dataset import ImageRecord
from distilcap.data.features import FeatureStore
from distilcap.encoders.base import Encoder, GridEncoder, freeze_batch_norm
from distilcap.encoders.loader import image_batches
from distilcap.encoders.registry import save_encoder
from distilcap.errors import ConfigError, DataError, TrainingError
from distilcap.files import atomic_path, parse_json, read_json, write_json
from distilcap.progress import SILENT, Progress

__all__ = ["EncoderDistillation", "distill_encoder"]


@dataclass(frozen=True)
class EncoderDistillation:
    """How the student is trained.

    Attributes:
        epochs: passes over the images.
        batch_images: images a step.
        learning_rate: of Adam at the beginning; falls to zero as half a cosine.
        seed: of the order of images and of the student's new layers.
        threads: that decode images.
        checkpoint_seconds: at most so much work is lost with a killed process.
    """

    epochs: int = 10
    batch_images: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    threads: int = 2
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_images", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` must be at least 1, but is {getattr(self, name)}.")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"`learning_rate` must be above 0 and finite, but is {self.learning_rate}.")
        if not 0 <= self.seed < 2**40:
            raise ConfigError(f"`seed` must be at least 0 and below 2 ** 40, but is {self.seed}.")


def distill_encoder(
    student: Encoder,
    teacher: FeatureStore,
    images: Sequence[ImageRecord],
    validation: Sequence[ImageRecord],
    path: Path,
    options: EncoderDistillation | None = None,
    progress: Progress = SILENT,
) -> list[dict[str, float]]:
    """Train `student` towards the features in `teacher` and write it to `path` for `create_encoder`.

    The student gets a linear map to the teacher's number of features where it has another. A run that was
    killed goes on from its checkpoint beside `path` and ends in the same weights; a finished one is kept.

    Args:
        student: of grid form, with as many regions as the teacher (`create_encoder(…, regions=…)`).
        teacher: features of all images.
        images: to learn from; those that the teacher skipped are left out.
        validation: to measure on after each epoch; may be empty.
        path: .safetensors file; beside it a log, `path` with the ending .json.

    Returns:
        One record an epoch: `epoch`, `loss`, `seconds`, and `explained`: the share of the teacher's variance
        on the validation images that the student gives, 1 at best, 0 for a constant.

    Raises:
        ConfigError: the student's regions do not fit the teacher's.
        DataError: an image cannot be decoded, or the teacher knows none of them.
        TrainingError: the loss is not finite.
    """
    options = options or EncoderDistillation()
    if not isinstance(student, GridEncoder) or student.regions != teacher.regions:
        raise ConfigError(
            f"The student must see a grid of `regions` {teacher.regions} as its teacher does, "
            f"but {student.name} sees {student.regions}."
        )
    images = [image for image in images if image.id in teacher]
    validation = [image for image in validation if image.id in teacher]
    if not images:
        raise DataError(f"{teacher.folder}: holds features of none of the images to learn from.")
    run = _Run(student, teacher, images, validation, path, options, progress)
    return run.run()


class _Run:
    """One distillation: what it works on, and how far it is."""

    def __init__(
        self,
        student: GridEncoder,
        teacher: FeatureStore,
        images: Sequence[ImageRecord],
        validation: Sequence[ImageRecord],
        path: Path,
        options: EncoderDistillation,
        progress: Progress,
    ) -> None:
        self.student, self.teacher, self.images, self.validation = student, teacher, images, validation
        self.path, self.options, self.progress = path, options, progress
        self.checkpoint, self.log = path.with_suffix(".checkpoint"), path.with_suffix(".json")
        if student.dim != teacher.dim:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(options.seed)
                device = next(student.parameters()).device
                student.project(teacher.dim)
                student.projection.to(device)
        self.recipe = {
            "student": student.recipe(),
            "teacher": teacher.recipe,
            "images": [image.id for image in images],
            "options": {
                key: value
                for key, value in asdict(options).items()
                if key not in ("threads", "checkpoint_seconds")
            },
        }
        # Of the first thousand images in the order of training: enough for a scale.
        sample = teacher.regions_of([image.id for image in images[:1000]])
        self.mean = sample.features.float().mean((0, 1))
        deviation = sample.features.float().flatten(0, 1).std(0)
        # A feature that is all but constant must not weigh more than all others.
        self.deviation = deviation.clamp(min=0.1 * float(deviation.mean()) or 1.0)
        freeze_batch_norm(student)
        self.optimizer = torch.optim.Adam(
            [one for one in student.parameters() if one.requires_grad], options.learning_rate
        )
        self.step, self.history, self.seconds, self.losses = 0, list[dict[str, float]](), 0.0, list[float]()

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.images) / self.options.batch_images)

    def run(self) -> list[dict[str, float]]:
        total = self.steps_per_epoch * self.options.epochs
        if self.path.exists() and self._resume(self.log):
            return self.history
        self._resume(self.checkpoint)
        batches = list(self._batches(self.step))
        pixels = image_batches(batches, self.student.preprocessing, self.options.threads)
        saved = started = time.perf_counter()
        for batch, one in zip(
            self.progress.track(batches, "Encoder distillation", total, self.step), pixels, strict=True
        ):
            self.losses.append(self._learn(batch, one, total))
            self.step += 1
            ended = self.step % self.steps_per_epoch == 0
            now = time.perf_counter()
            if ended or now - saved > self.options.checkpoint_seconds:
                self.seconds += now - started
                if ended:
                    self._end_epoch()
                self._save()
                saved = started = time.perf_counter()
        self.student.eval()
        save_encoder(self.student, self.path)
        write_json(self.log, {"recipe": self.recipe, "history": self.history})
        self.checkpoint.unlink(missing_ok=True)
        return self.history

    def _batches(self, first: int) -> Iterator[list[ImageRecord]]:
        """The batches of all epochs from step `first` on; the order of an epoch is drawn from its number."""
        for epoch in range(first // self.steps_per_epoch, self.options.epochs):
            generator = torch.Generator().manual_seed(1_000_003 * self.options.seed + epoch)
            order = torch.randperm(len(self.images), generator=generator).tolist()
            size = self.options.batch_images
            for number in range(self.steps_per_epoch):
                if epoch * self.steps_per_epoch + number >= first:
                    yield [self.images[row] for row in order[number * size : (number + 1) * size]]

    def _errors(self, batch: Sequence[ImageRecord], pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Student minus teacher, and teacher minus its mean, both (B, R, D) in standard deviations."""
        device = next(self.student.parameters()).device
        target = self.teacher.regions_of([image.id for image in batch]).features.to(device, torch.float32)
        given = self.student(pixels.to(device)).features
        mean, deviation = self.mean.to(device), self.deviation.to(device)
        return (given - target) / deviation, (target - mean) / deviation

    def _learn(self, batch: Sequence[ImageRecord], pixels: Tensor, total: int) -> float:
        self.student.train()
        freeze_batch_norm(self.student)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * 0.5 * (1 + math.cos(math.pi * self.step / total))
        loss = self._errors(batch, pixels)[0].square().mean()
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"Encoder distillation diverged at step {self.step + 1}: the loss is {loss.item()}; "
                f"a lower `learning_rate` than {self.options.learning_rate:g} is the usual mend."
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def _explained(self) -> float:
        self.student.eval()
        size = self.options.batch_images
        batches = [self.validation[start : start + size] for start in range(0, len(self.validation), size)]
        wrong = spread = 0.0
        pixels = image_batches(batches, self.student.preprocessing, self.options.threads)
        for batch, one in zip(batches, pixels, strict=True):
            errors, deviations = self._errors(batch, one)
            wrong += errors.square().sum().item()
            spread += deviations.square().sum().item()
        return 1 - wrong / spread if spread else 0.0

    def _end_epoch(self) -> None:
        record = {
            "epoch": self.step // self.steps_per_epoch,
            "loss": sum(self.losses) / len(self.losses),
            "seconds": round(self.seconds, 2),
        }
        if self.validation:
            record["explained"] = self._explained()
        self.losses = []
        self.history.append(record)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in record.items())
        self.progress.note(figures)

    def _save(self) -> None:
        tensors = {f"student:{key}": value.clone() for key, value in self.student.state_dict().items()}
        for number, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer:{number}:{slot}": value.clone() for slot, value in slots.items()}
        position = {"step": self.step, "seconds": self.seconds, "losses": self.losses}
        content = {"recipe": self.recipe, "history": self.history, "position": position}
        with atomic_path(self.checkpoint) as scratch:
            save_file(tensors, scratch, {"distilcap": json.dumps(content)})

    def _resume(self, path: Path) -> bool:
        """Take up where a file left off, if it is there and of the same recipe."""
        if not path.exists():
            return False
        try:
            content, tensors = self._read(path)
            if content["recipe"] != json.loads(json.dumps(self.recipe)):
                raise DataError(f"{path}: of another encoder distillation; choose another file or delete it.")
            self.history = list(content["history"])
            if tensors:
                self._restore(tensors, content["position"])
        except (SafetensorError, KeyError, TypeError, RuntimeError):
            raise DataError(f"{path}: is damaged; delete it, and the distillation begins anew.") from None
        return True

    def _read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What the log or a checkpoint says, and the tensors of the latter."""
        if path == self.log:
            return read_json(path), {}
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return parse_json((file.metadata() or {})["distilcap"], path), tensors

    def _restore(self, tensors: Mapping[str, Tensor], position: Mapping[str, Any]) -> None:
        weights = {
            key.removeprefix("student:"): value
            for key, value in tensors.items()
            if key.startswith("student:")
        }
        self.student.load_state_dict(weights)
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer:"):
                _, number, slot = key.split(":")
                slots.setdefault(int(number), {})[slot] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": slots})
        self.step, self.seconds, self.losses = position["step"], position["seconds"], position["losses"]
