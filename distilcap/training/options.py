"""What a training run can be told. Frozen, and part of its recipe's hash."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distilcap.errors import ConfigError

__all__ = ["CrossEntropyPhase", "SelfCriticalPhase", "TokenDistillation", "TrainingOptions"]


def _require(condition: bool, name: str, requirement: str, value: object) -> None:
    if not condition:
        raise ConfigError(f"`{name}` must be {requirement}, but is {value!r}.")


def _require_rate(name: str, rate: float) -> None:
    _require(0 < rate < math.inf, name, "above 0 and finite", rate)


@dataclass(frozen=True)
class CrossEntropyPhase:
    """Cross-entropy on given captions (XE).

    Attributes:
        epochs: passes over the images.
        learning_rate: of Adam.
        schedule: "step" multiplies the rate by 0.8 every 3 epochs, as published captioners are trained;
            "cosine" lets it fall to zero along half a cosine.
        warmup_steps: the rate rises linearly over the first steps.
        label_smoothing: share of probability spread over all words (AoANet: 0.2).
        scheduled_sampling: final probability of reading the model's own last word instead of the
            caption's (Bengio et al. 2015); it rises by 0.05 every 5 epochs.
        weight_averaging: decay of an exponential moving average of the weights, which is what is
            validated and kept; 0 keeps the weights themselves.
    """

    epochs: int = 30
    learning_rate: float = 5e-4
    schedule: str = "step"
    warmup_steps: int = 0
    label_smoothing: float = 0.0
    scheduled_sampling: float = 0.0
    weight_averaging: float = 0.0

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, "epochs", "at least 0", self.epochs)
        _require_rate("learning_rate", self.learning_rate)
        _require(self.warmup_steps >= 0, "warmup_steps", "at least 0", self.warmup_steps)
        _require(self.schedule in ("step", "cosine"), "schedule", "step or cosine", self.schedule)
        _require(0 <= self.label_smoothing < 1, "label_smoothing", "in [0, 1)", self.label_smoothing)
        _require(
            0 <= self.scheduled_sampling <= 1, "scheduled_sampling", "in [0, 1]", self.scheduled_sampling
        )
        _require(0 <= self.weight_averaging < 1, "weight_averaging", "in [0, 1)", self.weight_averaging)


@dataclass(frozen=True)
class SelfCriticalPhase:
    """Self-critical training (SCST, Rennie et al. 2017) on CIDEr-D.

    Attributes:
        epochs: passes over the images.
        learning_rate: of Adam.
        schedule: as in `CrossEntropyPhase`.
        warmup_steps: as in `CrossEntropyPhase`.
        samples: captions drawn of each image.
        baseline: "others" is the mean reward of an image's other samples (Luo 2020); "greedy" the reward of
            its greedy caption, as published first.
        dropout: whether dropout is on while drawn captions are scored for the gradient; drawing has it off.
        weight_averaging: as in `CrossEntropyPhase`.
    """

    epochs: int = 10
    learning_rate: float = 5e-5
    schedule: str = "step"
    warmup_steps: int = 0
    samples: int = 5
    baseline: str = "others"
    dropout: bool = False
    weight_averaging: float = 0.0

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, "epochs", "at least 0", self.epochs)
        _require_rate("learning_rate", self.learning_rate)
        _require(self.warmup_steps >= 0, "warmup_steps", "at least 0", self.warmup_steps)
        _require(self.schedule in ("step", "cosine"), "schedule", "step or cosine", self.schedule)
        _require(self.baseline in ("others", "greedy"), "baseline", "others or greedy", self.baseline)
        least = 2 if self.baseline == "others" else 1
        _require(self.samples >= least, "samples", f"at least {least} with this baseline", self.samples)
        _require(0 <= self.weight_averaging < 1, "weight_averaging", "in [0, 1)", self.weight_averaging)


@dataclass(frozen=True)
class TokenDistillation:
    """Token-level distillation (Hinton et al. 2015; Kim & Rush 2016, section 3.1), beside cross-entropy.

    Attributes:
        weight: of the divergence from the teacher's distribution; the captions' own words get the rest.
        temperature: both distributions are softened by it.
    """

    weight: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _require(0 < self.weight <= 1, "weight", "above 0 and at most 1", self.weight)
        _require_rate("temperature", self.temperature)


@dataclass(frozen=True)
class TrainingOptions:
    """Both phases, and what they share.

    Attributes:
        batch_images: images in a batch (B).
        captions_per_image: captions of an image in a batch (K); where it has more, a random choice.
        max_words: captions are cut there (the paper: 16).
        gradient_clip: largest absolute value of a gradient's element.
        encoder_learning_rate: of an encoder that is trained along; unused without one.
        validation_beam: beam width of the captions that are validated; 1 is greedy.
        validation_every: validate after every so many epochs, and after a phase's last.
        validation_images: validate on the first so many images of the split; 0 is all.
        seed: of weights, order, dropout and samples.
        precision: "float32", or "bfloat16" for autocast.
    """

    cross_entropy: CrossEntropyPhase = CrossEntropyPhase()
    self_critical: SelfCriticalPhase = SelfCriticalPhase()
    batch_images: int = 10
    captions_per_image: int = 5
    max_words: int = 16
    gradient_clip: float = 0.1
    encoder_learning_rate: float = 1e-4
    validation_beam: int = 1
    validation_every: int = 1
    validation_images: int = 0
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        _require(self.batch_images >= 1, "batch_images", "at least 1", self.batch_images)
        _require(self.captions_per_image >= 1, "captions_per_image", "at least 1", self.captions_per_image)
        _require(self.max_words >= 1, "max_words", "at least 1", self.max_words)
        _require(self.gradient_clip > 0, "gradient_clip", "above 0", self.gradient_clip)
        _require_rate("encoder_learning_rate", self.encoder_learning_rate)
        _require(self.validation_beam >= 1, "validation_beam", "at least 1", self.validation_beam)
        _require(self.validation_every >= 1, "validation_every", "at least 1", self.validation_every)
        _require(self.validation_images >= 0, "validation_images", "at least 0", self.validation_images)
        _require(0 <= self.seed < 2**63, "seed", "at least 0 and below 2 ** 63", self.seed)
        _require(
            self.precision in ("float32", "bfloat16"), "precision", "float32 or bfloat16", self.precision
        )
