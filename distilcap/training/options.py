"""The options of a training run. Frozen, and part of its recipe's hash."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from distilcap.errors import ConfigError
from distilcap.options import SEED_LIMIT, Options, option
from distilcap.runtime.limits import MAX_BEAM, MAX_WORDS

__all__ = [
    "EXTRA_WORDS",
    "LEARNT_NOTHING",
    "CrossEntropyPhase",
    "SelfCriticalPhase",
    "TokenDistillation",
    "TrainingOptions",
]

EXTRA_WORDS = 4
"""That a captioner may write beyond those it learnt, so that captions may end."""

LEARNT_NOTHING = 0.01
"""Validation CIDEr (0 to 10) below which a captioner has learnt next to nothing: 1.0 in tables."""
_SCHEDULE = (
    "How the learning rate falls: step multiplies it by 0.8 every 3 epochs, as published captioners are "
    "trained; cosine lets it fall to zero along half a cosine."
)
_WARMUP = "Number of first steps over which the learning rate rises linearly."
_AVERAGING = (
    "Decay of an exponential moving average of the captioner's weights, which is what is validated and kept, "
    "with the last weights of an encoder that learns along; 0 keeps the weights themselves."
)


@dataclass(frozen=True)
class CrossEntropyPhase(Options):
    """Cross-entropy on given captions (XE)."""

    epochs: int = option(
        30, "Number of passes over the images in the cross-entropy phase.", least=0, most=100_000
    )
    learning_rate: float = option(
        5e-4, "Learning rate of Adam in the cross-entropy phase.", above=0, most=100
    )
    schedule: str = option("step", _SCHEDULE, choices=("step", "cosine"))
    warmup_steps: int = option(0, _WARMUP, least=0)
    label_smoothing: float = option(
        0.0, "Share of probability spread over all words; AoANet is published with 0.2.", least=0, below=1
    )
    scheduled_sampling: float = option(
        0.0,
        "Final probability of reading the captioner's own last word instead of the caption's (Bengio et al. "
        "2015); it rises by 0.05 every 5 epochs.",
        least=0,
        most=1,
    )
    weight_averaging: float = option(0.0, _AVERAGING, least=0, below=1)


@dataclass(frozen=True)
class SelfCriticalPhase(Options):
    """Self-critical training (SCST, Rennie et al. 2017) on CIDEr-D."""

    epochs: int = option(
        10, "Number of passes over the images in the self-critical phase.", least=0, most=100_000
    )
    learning_rate: float = option(
        5e-5, "Learning rate of Adam in the self-critical phase.", above=0, most=100
    )
    schedule: str = option("step", _SCHEDULE, choices=("step", "cosine"), follows="schedule")
    warmup_steps: int = option(0, _WARMUP, least=0)
    samples: int = option(5, "Number of captions drawn of each image.", least=1, most=1000)
    baseline: str = option(
        "others",
        "What a caption's reward is compared with: others is the mean reward of the image's other samples "
        "(Luo 2020), greedy the reward of its greedy caption (Rennie et al. 2017).",
        choices=("others", "greedy"),
    )
    dropout: bool = option(
        False, "Keep dropout on while drawn captions are scored for the gradient; drawing has it off."
    )
    weight_averaging: float = option(0.0, _AVERAGING, least=0, below=1)
    unk_is_wrong: bool = option(
        False,
        "Reward no <unk>, which captions are never written with; else a drawn <unk> is rewarded as any word, "
        "where a reference has a rare one.",
        omitted=False,
    )

    encoder_learning_rate: float | None = option(
        None,
        "Learning rate, in the self-critical phase, of an encoder that is trained along.  [default: of "
        "`train`, --encoder-learning-rate times what --scst-learning-rate is of --learning-rate]",
        above=0,
        most=100,
        omitted=None,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baseline == "others" and self.samples < 2:
            raise ConfigError(f"`samples` must be at least 2 with baseline others, but is {self.samples}.")


@dataclass(frozen=True)
class TokenDistillation(Options):
    """Token-level distillation (Hinton et al. 2015; Kim & Rush 2016, section 3.1), beside cross-entropy."""

    weight: float = option(
        0.5,
        "Weight of the divergence from the teacher's distribution; the captions' own words get the rest.",
        above=0,
        most=1,
    )
    temperature: float = option(1.0, "Temperature by which both distributions are softened.", above=0)


@dataclass(frozen=True)
class TrainingOptions(Options):
    """Both phases, and what they share."""

    cross_entropy: CrossEntropyPhase = CrossEntropyPhase()
    self_critical: SelfCriticalPhase = dataclasses.field(
        default=SelfCriticalPhase(), metadata={"prefix": "scst_"}
    )
    batch_images: int = option(10, "Number of images in a batch.", least=1, most=65_536)
    captions_per_image: int = option(
        5, "Number of captions of an image in a batch; where it has more, a random choice.", least=1
    )
    max_words: int = option(16, "Number of words at which captions are cut.", least=1, most=MAX_WORDS)
    gradient_clip: float = option(0.1, "Largest absolute value of a gradient's element.", above=0)
    encoder_learning_rate: float = option(
        1e-4, "Learning rate of an encoder that is trained along.", above=0, most=100
    )
    validation_beam: int = option(
        1, "Beam size of the captions that are validated; 1 is greedy.", least=1, most=MAX_BEAM
    )
    validation_every: int = option(
        1, "Number of epochs between validations; a phase's last epoch is always validated.", least=1
    )
    validation_images: int = option(
        0, "Number of validation images that are used, the first of the split; 0 is all.", least=0
    )
    validate_start: bool = option(
        False,
        "Validate the weights that training begins from, too: they stay unless the second half of a phase's "
        "validations is better on average.",
        omitted=False,
    )
    start_share: float = option(
        0.0,
        "Share of what training began from in the weights that are validated and kept; the trained ones have "
        "the rest. It keeps what few images would make forget (Wortsman et al. 2022).",
        least=0,
        below=1,
        omitted=0.0,
    )
    patience: int = option(
        0,
        "Number of validations in a row without better weights after which a phase ends; 0 is never. They "
        "are counted once the best has learnt something (validation CIDEr of 1 in tables).",
        least=0,
        omitted=0,
    )
    seed: int = option(0, "Seed of weights, order, dropout and samples.", least=0, most=SEED_LIMIT)
    precision: str = option(
        "float32",
        "Number format of products, in training and wherever the run captions: bfloat16 is PyTorch's "
        "autocast; auto is bfloat16 where the processor has units for it, float32 on a GPU.",
        choices=("float32", "bfloat16", "auto"),
    )

    def encoder_rate(self, phase: CrossEntropyPhase | SelfCriticalPhase) -> float:
        """Learning rate of a tuned encoder in a phase, before the schedule."""
        own = phase.encoder_learning_rate if isinstance(phase, SelfCriticalPhase) else None
        return own or self.encoder_learning_rate

    def with_slower_encoder(self) -> TrainingOptions:
        """The options with the captioner's and the encoder's rates at one ratio in both phases, where nothing
        else is said: the reward's gradient is noisy, and Adam's steps are as large as their rate."""
        phase = self.self_critical
        if not phase.epochs or phase.encoder_learning_rate is not None:
            return self
        slower = self.encoder_learning_rate * phase.learning_rate / self.cross_entropy.learning_rate
        return dataclasses.replace(
            self, self_critical=dataclasses.replace(phase, encoder_learning_rate=slower)
        )
