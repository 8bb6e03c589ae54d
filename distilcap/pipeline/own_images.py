"""A distillation on a person's own images, from options: what `distilcap distill` runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from distilcap.errors import ConfigError
from distilcap.options import Options, option
from distilcap.pipeline.distill import Distillation, Role, plan_distillation
from distilcap.pipeline.given import GivenTeacher, captions_teacher, model_teacher, runs_teacher
from distilcap.runtime.limits import MAX_BEAM
from distilcap.stages.captions import CLEAN_LABELS
from distilcap.stages.data import CleanReferences, DataOptions, ImportData
from distilcap.stages.features import EncoderOptions
from distilcap.text.people import NEUTRAL_PEOPLE, RULES_VERSION, check_english
from distilcap.text.tokenizers import PTB, TOKENIZER_HELP
from distilcap.training.options import TrainingOptions
from distilcap.training.precision import resolved_precision

__all__ = ["DistillOptions", "plan_own_images"]


@dataclass(frozen=True)
class DistillOptions(Options):
    """Who teaches whom, and how."""

    teacher: str | None = option(
        None, "Captioner that is trained as teacher; see `distilcap models`.  [default: updown-medium]"
    )
    teacher_model: str | None = option(
        None,
        "Image-to-text model of transformers that labels instead, by folder or hub name; or a plugin's "
        "teacher.",
    )
    teacher_captions: Path | None = option(
        None, "File of captions of the training images, by any model, to learn from instead."
    )
    teacher_run: tuple[Path, ...] = option(
        (), "Trained run of the store that labels instead; more than one form an ensemble."
    )
    teacher_encoder: str | None = option(None, "Name of a larger encoder, through which the teacher sees.")
    student: str = option("updown-small", "Captioner that learns from the teacher; see `distilcap models`.")
    intermediate: str | None = option(None, "Captioner between teacher and student, distilled first.")
    beam_size: int = option(
        5,
        "Number of hypotheses that the teacher keeps while it labels.",
        least=1,
        most=MAX_BEAM,
        aliases=("--beam",),
    )
    n_best: int | None = option(
        None, "Number of the teacher's hypotheses that become labels.  [default: 1]", least=1
    )
    clean_labels: bool = option(False, CLEAN_LABELS)
    neutral_people: bool = option(False, f"Teach {NEUTRAL_PEOPLE}.")
    keep_originals: bool = option(False, "Students learn from the captions of the data set too.")
    control_epochs: int = option(
        0, "Number of epochs of another undistilled student, as a control; 0 leaves it out.", least=0
    )
    seeds: int = option(1, "Number of times that students are trained.", least=1, most=1000)
    min_count: int = option(
        5, "Number of times that a training word must occur; rarer words become <unk>.", least=1
    )
    tokenizer: str = option(PTB, TOKENIZER_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neutral_people:
            check_english(self.tokenizer)
        given = {
            "--teacher-model": self.teacher_model,
            "--teacher-captions": self.teacher_captions,
            "--teacher-run": self.teacher_run,
        }
        named = [f"`{flag}`" for flag, value in given.items() if value]
        if len(named) > 1:
            raise ConfigError(f"{' and '.join(named)} each bring a teacher; leave out one of them.")
        trained = {
            "--teacher": (self.teacher, "a captioner to be trained"),
            "--teacher-encoder": (self.teacher_encoder, "what a teacher is trained to see through"),
        }
        for flag, (value, what) in trained.items():
            if named and value:
                raise ConfigError(
                    f"`{flag}` is {what}, but {named[0]} brings a teacher that needs no training; "
                    "leave one of the two out."
                )
        if self.teacher_captions is not None and self.intermediate is None and self.n_best is not None:
            raise ConfigError(
                "`--n-best` says how many of a teacher's hypotheses become labels, but all captions of "
                "`--teacher-captions` do; leave it out."
            )
        if not 1 <= (self.n_best or 1) <= self.beam_size:
            raise ConfigError(
                f"`n_best` must be in 1 to `beam_size` ({self.beam_size}), but is {self.n_best}."
            )

    def given_teacher(self, data: ImportData, store: Path) -> GivenTeacher | None:
        """The given teacher; None where a teacher is to be trained."""
        n_best = self.n_best or 1
        if self.teacher_model is not None:
            return model_teacher(self.teacher_model, data, self.beam_size, n_best, self.tokenizer)
        if self.teacher_captions is not None:
            return captions_teacher(self.teacher_captions, data)
        if self.teacher_run:
            return runs_teacher(self.teacher_run, data, store, self.beam_size, n_best)
        return None


def plan_own_images(
    data: DataOptions,
    encoder: EncoderOptions,
    options: DistillOptions,
    training: TrainingOptions,
    store: Path,
    device: str = "cpu",
) -> tuple[str, Distillation]:
    """A title and the stages of a distillation on a person's own images, in a store and on a device."""
    from distilcap.models.families import family_of
    from distilcap.models.presets import captioner_name, preset

    training = dataclasses.replace(training, precision=resolved_precision(training.precision, device))

    def role(name: str) -> Role:
        architecture, size = captioner_name(name)
        smoothing = family_of(architecture).label_smoothing
        smoothed = dataclasses.replace(training.cross_entropy, label_smoothing=smoothing)
        return Role(
            architecture,
            size,
            preset(architecture, size),
            dataclasses.replace(training, cross_entropy=smoothed),
        )

    teacher = role(options.teacher or "updown-medium")
    student = role(options.student)
    intermediate = role(options.intermediate) if options.intermediate else None
    source = data.stage()
    larger = None
    if options.teacher_encoder:
        larger = EncoderOptions(
            options.teacher_encoder, encoder_form=None, encoder_engine=encoder.encoder_engine
        )
    given = options.given_teacher(source, store)
    learnt = dataclasses.replace(source, neutral_people=RULES_VERSION) if options.neutral_people else source
    if options.clean_labels and given is not None:
        given = given.cleaned(training.max_words, options.tokenizer)
    elif options.clean_labels:
        learnt = CleanReferences.of_data(learnt, training.max_words, options.tokenizer)
    if options.neutral_people and given is not None:
        given = given.neutral()
    plan = plan_distillation(
        learnt,
        encoder.stage(source, store, device),
        given or teacher,
        student,
        beam=options.beam_size,
        n_best=options.n_best or 1,
        keep_originals=options.keep_originals,
        intermediate=intermediate,
        control_epochs=options.control_epochs,
        seeds=tuple(range(options.seeds)),
        min_count=options.min_count,
        tokenizer=options.tokenizer,
        teacher_features=larger.stage(source, store, device) if larger else None,
    )
    return f"{source.name}: {given.name if given else teacher.name} to {student.name}", plan
