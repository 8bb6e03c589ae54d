"""How thoroughly the paper's tables are trained: "paper", "flickr8k", "quick" and "smoke".

- paper: 30 epochs of cross-entropy and 10 of self-critical training, with the widths and rates that the two
  families were published with (Anderson et al. 2018, Huang et al. 2019, and their standard implementation).
  One departure: AoANet's self-critical rate falls by steps, not on plateaus. Days of CPU: for a GPU.
- flickr8k: both phases for teachers and students alike, as in the paper, sized for Flickr8k's 6,000 images;
  each student seed has a teacher of its own seed. A CPU core takes about 25 hours for tables 1 to 4 with
  three seeds.
- quick: narrow captioners and few epochs, so that a CPU core manages a table of Flickr8k in an hour. Students
  have no self-critical phase. The big Up-Down is the teacher of `study.flickr8k`: both share one training.
  Where a teacher learns from half of the captions it is a medium one.
- smoke: a few steps of minute captioners on random features, for tests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from distilcap.errors import ConfigError
from distilcap.models.aoanet import AoANetOptions
from distilcap.models.families import CaptionerOptions
from distilcap.models.presets import preset
from distilcap.models.transformer import TransformerOptions
from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.plan import Role
from distilcap.study.flickr8k import SELF_CRITICAL, STUDENT, TEACHER
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

__all__ = ["PRESETS", "EncoderChoice", "TablePreset", "table_preset"]

SIZES = ("big", "medium", "small")


@dataclass(frozen=True)
class EncoderChoice:
    """What `create_encoder` takes; None is the encoder's own."""

    name: str
    size: int | None = None
    form: str | None = "grid"
    weights: str | None = None


@dataclass(frozen=True)
class TablePreset:
    """Everything about a table but its data and its rows.

    Attributes:
        roles: by architecture and size.
        encoder: where the command names no other.
        beam: width of the beam column.
        min_count: words seen less often become `<unk>`.
        teacher_of_each_seed: a student's teacher has the student's seed, so that the teacher's luck is in the
            deviation over seeds; else all students of a row have the teacher of the first seed.
        half_teacher: size of the teacher that learns from half of the captions (table "extra"); it has
            a training of its own.
        worth_of: size of the Up-Down that table "worth" trains.
        length_penalty: of every beam search; None chooses each captioner's own on validation. The likeliest
            caption of a barely trained captioner is empty, so that it cannot choose.
        scenes: where these are the data and are to be drawn: images of each split, and their side in pixels.
    """

    name: str
    roles: Mapping[tuple[str, str], Role]
    encoder: EncoderChoice
    beam: int = 5
    min_count: int = 5
    scenes: tuple[tuple[int, int, int], int] = (1200, 150, 300), 160
    length_penalty: float | None = None
    half_teacher: str = "big"
    worth_of: str = "small"
    teacher_of_each_seed: bool = False


def _paper() -> TablePreset:
    updown = TrainingOptions(cross_entropy=CrossEntropyPhase(scheduled_sampling=0.25))
    aoanet = TrainingOptions(
        cross_entropy=CrossEntropyPhase(learning_rate=2e-4, label_smoothing=0.2, scheduled_sampling=0.5),
        self_critical=SelfCriticalPhase(learning_rate=2e-5),
    )
    training = {"updown": updown, "aoanet": aoanet}
    roles = {
        (architecture, size): Role(architecture, size, preset(architecture, size), options)
        for architecture, options in training.items()
        for size in SIZES
    }
    return TablePreset("paper", roles, EncoderChoice("efficientdet-d0", form="regions"))


FLICKR8K_WIDTHS = {"big": 384, "medium": 192, "small": 96}
"""Halved twice, for parameters in steps of about 2.6 (of 2,541 words Up-Down has 6.2, 2.3 and 0.9 million,
AoANet 7.3, 2.2 and 0.9). 384 is what 6,000 images carry: an Up-Down that wide gains nothing in the last
three of 9 epochs (docs/log.md, 2026-11-22). The paper does not say its widths."""

FLICKR8K_EPOCHS = {
    ("updown", "big"): (7, 2),
    ("updown", "medium"): (10, 3),
    ("updown", "small"): (12, 3),
    ("aoanet", "big"): (7, 2),
    ("aoanet", "medium"): (10, 3),
    ("aoanet", "small"): (12, 3),
    ("transformer", "big"): (7, 2),
    ("transformer", "medium"): (10, 3),
    ("transformer", "small"): (12, 3),
}
"""Of cross-entropy and of self-critical training: one count for each family and size, whatever it learns
from, so that both sides see as many images. Chosen in a pilot (docs/log.md, 2026-11-26) so that the last
quarter of the epochs of cross-entropy gains students less than 0.5 CIDEr on validation; docs/tables.md says
where the curves end. Teachers are short of it."""

FLICKR8K_RATES = {
    "updown": {"big": 1e-3, "medium": 1.5e-3, "small": 2e-3},
    "aoanet": {"big": 7e-4, "medium": 1e-3, "small": 1.5e-3},
    "transformer": {"big": 7e-4, "medium": 1e-3, "small": 1.5e-3},
}
"""Of cross-entropy: narrower captioners take larger steps, AoANet smaller ones (it is published with less
than half of Up-Down's), and the Transformer those of AoANet."""


FLICKR8K_OPTIONS: dict[str, Callable[[int, float], CaptionerOptions]] = {
    "updown": lambda width, dropout: UpDownOptions(
        width, min(width, 256), width // 2, dropout=dropout, output_states="both"
    ),
    "aoanet": lambda width, dropout: AoANetOptions(
        width, width, refiner_layers=2 if width == FLICKR8K_WIDTHS["big"] else 1, dropout=dropout
    ),
    "transformer": lambda width, dropout: TransformerOptions(
        width, heads=width // 48, layers=2, encoder_layers=0, dropout=dropout
    ),
}
"""By width and dropout. The Transformer has as many parameters as Up-Down: 7.2, 2.4 and 0.9 million."""


def _flickr8k() -> TablePreset:
    roles = {}
    for (architecture, size), (crossed, critical) in FLICKR8K_EPOCHS.items():
        training = TrainingOptions(
            cross_entropy=CrossEntropyPhase(
                epochs=crossed,
                learning_rate=FLICKR8K_RATES[architecture][size],
                schedule="cosine",
                warmup_steps=300,
                label_smoothing=0.1,
                weight_averaging=0.998,
            ),
            self_critical=dataclasses.replace(SELF_CRITICAL, epochs=critical),
            batch_images=16,
        )
        dropout = {"big": 0.3, "medium": 0.2, "small": 0.1}[size]
        options = FLICKR8K_OPTIONS[architecture](FLICKR8K_WIDTHS[size], dropout)
        roles[architecture, size] = Role(architecture, size, options, training)
    # The student of README's first measurements, on a schedule to its end.
    training = dataclasses.replace(
        STUDENT.training,
        cross_entropy=dataclasses.replace(STUDENT.training.cross_entropy, epochs=10),
        self_critical=SELF_CRITICAL,
    )
    roles["updown", "256 wide"] = dataclasses.replace(STUDENT, size="256 wide", training=training)
    encoder = EncoderChoice("efficientnet-lite0")
    return TablePreset("flickr8k", roles, encoder, worth_of="256 wide", teacher_of_each_seed=True)


def _quick() -> TablePreset:
    students = TrainingOptions(
        cross_entropy=CrossEntropyPhase(
            epochs=2,
            learning_rate=4e-3,
            schedule="cosine",
            warmup_steps=60,
            weight_averaging=0.95,
        ),
        self_critical=SelfCriticalPhase(epochs=0),
        batch_images=16,
        validation_every=2,
    )
    # AoANet is published with less than half of Up-Down's rate.
    aoanet_students = dataclasses.replace(
        students, cross_entropy=dataclasses.replace(students.cross_entropy, learning_rate=2e-3)
    )
    aoanet_teacher = TrainingOptions(
        cross_entropy=CrossEntropyPhase(
            epochs=6,
            learning_rate=1e-3,
            schedule="cosine",
            warmup_steps=100,
            label_smoothing=0.1,
            weight_averaging=0.99,
        ),
        self_critical=dataclasses.replace(SELF_CRITICAL, epochs=1, warmup_steps=30, weight_averaging=0.98),
        batch_images=32,
        validation_every=3,
    )

    def aoanet(width: int, layers: int) -> AoANetOptions:
        return AoANetOptions(width, width, refiner_layers=layers, dropout=0.3)

    roles = {
        ("updown", "big"): dataclasses.replace(TEACHER, size="big"),
        ("aoanet", "big"): Role("aoanet", "big", aoanet(256, 2), aoanet_teacher),
    }
    for size, width in (("medium", 192), ("small", 96)):
        options = UpDownOptions(width, width, width // 2, dropout=0.2, output_states="both")
        roles["updown", size] = Role("updown", size, options, students)
        roles["aoanet", size] = Role("aoanet", size, aoanet(width, 1), aoanet_students)
    seen = EncoderChoice("efficientnet-lite0")
    return TablePreset("quick", roles, seen, length_penalty=0.0, half_teacher="medium")


def _smoke() -> TablePreset:
    training = TrainingOptions(
        # Fewer steps, or longer ones, and a teacher writes empty captions, from which nobody can learn.
        cross_entropy=CrossEntropyPhase(epochs=12, learning_rate=1e-2),
        self_critical=SelfCriticalPhase(epochs=1, samples=2),
        batch_images=4,
        validation_every=10,
    )
    roles = {}
    for size, width in (("big", 16), ("medium", 12), ("small", 8)):
        minute: tuple[tuple[str, CaptionerOptions], ...] = (
            ("updown", UpDownOptions(width, width, 4, dropout=0.1)),
            ("aoanet", AoANetOptions(width, width, heads=2, refiner_layers=1, dropout=0.1)),
            ("transformer", TransformerOptions(width, heads=2, layers=1, dropout=0.1)),
        )
        for architecture, options in minute:
            roles[architecture, size] = Role(architecture, size, options, training)
    seen = EncoderChoice("efficientnet-lite0", 64, weights="random")
    return TablePreset("smoke", roles, seen, beam=2, min_count=1, scenes=((16, 4, 6), 64), length_penalty=1.0)


PRESETS: dict[str, Callable[[], TablePreset]] = {
    "paper": _paper,
    "flickr8k": _flickr8k,
    "quick": _quick,
    "smoke": _smoke,
}


def table_preset(name: str) -> TablePreset:
    """Return a preset by its name.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"`preset` must be one of {', '.join(PRESETS)}, but is {name!r}.")
    return PRESETS[name]()
