"""A distillation on a person's own images, from options: what `distilcap distill` runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from distilcap.box import NAME as BOX
from distilcap.errors import ConfigError
from distilcap.options import Options, option
from distilcap.pipeline.given import GivenTeacher, captions_teacher, model_teacher, runs_teacher
from distilcap.pipeline.plan import Distillation, Role, plan_distillation
from distilcap.pipeline.recipe import (
    AUTO,
    MIN_COUNT_HELP,
    PAPER,
    RECIPE_HELP,
    Amount,
    Given,
    chosen_max_words,
    chosen_min_count,
    chosen_training,
    learnt_data,
    refuse_early,
    refuse_without_start,
)
from distilcap.pipeline.start import NOTHING, START_HELP, USUAL_CAPTIONER, beginning
from distilcap.runtime.limits import MAX_BEAM
from distilcap.stages.captioner import box_folder
from distilcap.stages.captions import CLEAN_LABELS
from distilcap.stages.changed_data import AddUnlabelled
from distilcap.stages.data import NEUTRAL_VERSION, DataOptions, ImportData
from distilcap.stages.features import EncoderOptions, ExtractFeatures
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.text.people import NEUTRAL_PEOPLE, check_english
from distilcap.text.tokenizers import PTB, TOKENIZER_HELP
from distilcap.training.options import TrainingOptions
from distilcap.training.precision import resolved_precision

__all__ = ["NOT_OF_DISTILL", "DistillOptions", "plan_own_images"]

NOT_OF_DISTILL = ("label_smoothing", "seed", "encoder_learning_rate", "scst_encoder_learning_rate")
"""Options of training that it does not take: each family has its own label smoothing, each student its own
seed, and encoders stay as they are."""

TEACHERS = 3
"""So many, of different seeds, label together where training begins from a captioner that is there."""


@dataclass(frozen=True)
class DistillOptions(Options):
    """Who teaches whom, and how."""

    teacher: str | None = option(
        None,
        "Captioner that is trained as teacher, from random weights; see `distilcap models`.  [default: what "
        "the student begins from, trained further; else updown-medium]",
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
    student: str | None = option(
        None,
        "Captioner that learns from the teacher; see `distilcap models`.  [default: that of --start; else "
        "updown-small]",
    )
    start: Path | None = option(
        None,
        f"{START_HELP} The student begins from it, and the teacher, unless --teacher names another.  "
        "[default: box, unless --student, --teacher-encoder, --tokenizer or anything about the encoder is "
        "asked for; then none]",
    )
    recipe: str = option(AUTO, RECIPE_HELP, choices=(AUTO, PAPER))
    intermediate: str | None = option(None, "Captioner between teacher and student, distilled first.")
    beam_size: int = option(
        5,
        "Number of hypotheses that the teacher keeps while it labels.",
        least=1,
        most=MAX_BEAM,
        aliases=("--beam",),
    )
    n_best: int | None = option(
        None,
        "Number of the teacher's hypotheses that become labels.  [default: all, of a teacher that is "
        "trained here; else, and with --recipe paper, 1]",
        least=1,
    )
    clean_labels: bool = option(False, CLEAN_LABELS)
    neutral_people: bool = option(False, f"Teach {NEUTRAL_PEOPLE}.")
    keep_originals: bool = option(False, "Students learn from the captions of the data set too.")
    unlabelled: Path | None = option(
        None,
        "Folder of images without captions, which the teacher labels for its students beside the others.",
    )
    control_epochs: int = option(
        0, "Number of epochs of another undistilled student, as a control; 0 leaves it out.", least=0
    )
    seeds: int = option(1, "Number of times that students are trained.", least=1, most=1000)
    min_count: int | None = option(None, MIN_COUNT_HELP, least=1)
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
    training: Given,
    store: Path,
    device: str = "cpu",
) -> tuple[str, Distillation]:
    """A title and the stages of a distillation on a person's own images, in a store and on a device.

    Args:
        training: what is not among values given is decided by the recipe.
    """
    from distilcap.models.families import family_of

    refuse_early(training, options.teacher, options.student, options.intermediate)
    source, start = data.stage(), _start(options, encoder)
    refuse_without_start(training, start is not None)
    max_words = chosen_max_words(training)
    larger = None
    if options.teacher_encoder:
        larger = EncoderOptions(
            options.teacher_encoder, encoder_form=None, encoder_engine=encoder.encoder_engine
        )
    seen: ImportData = AddUnlabelled.beside(source, options.unlabelled) if options.unlabelled else source
    given = options.given_teacher(seen, store)
    clean = options.clean_labels and given is None
    learnt, amount, dataset = learnt_data(source, clean, max_words, options.tokenizer, ("val", "test"))
    by_paper = options.recipe == PAPER or isinstance(training, TrainingOptions) or amount.many
    min_count = chosen_min_count(options.min_count, training, options.recipe, amount)
    captioned = learnt
    if options.unlabelled:
        learnt = AddUnlabelled.beside(captioned, options.unlabelled)
        dataset = learnt.changed(dataset)
    everything = frozenset(image.id for image in dataset.split("train"))
    described = everything
    if given is not None and given.described is not None:
        described &= given.described  # which an intermediate learns; it labels everything itself
    originals = dataset.references("train").keys() if options.keep_originals else ()
    if given is not None and learnt != seen:
        given = given.of_students(learnt)
    if given is not None and options.clean_labels:
        given = given.cleaned(max_words, options.tokenizer)
    if options.neutral_people:
        learnt = dataclasses.replace(learnt, neutral_people=NEUTRAL_VERSION)
        captioned = dataclasses.replace(captioned, neutral_people=NEUTRAL_VERSION)
    vocabulary = BuildVocabulary(captioned, min_count, max_words, options.tokenizer)

    def role(name: str, labelled: frozenset[str], start: Path | None = None) -> tuple[Role, ExtractFeatures]:
        begun = beginning(start, name, vocabulary, encoder, source, store, device)

        def suited(amount: Amount) -> TrainingOptions:
            chosen = chosen_training(training, options.recipe, amount, begun.start is not None)
            crossed = chosen.cross_entropy
            if by_paper:
                smoothing = family_of(begun.family).label_smoothing
                crossed = dataclasses.replace(crossed, label_smoothing=smoothing)
            precision = resolved_precision(chosen.precision, device)
            return dataclasses.replace(chosen, cross_entropy=crossed, precision=precision)

        by_labels = dataclasses.replace(amount, labelled=len(labelled.union(originals)))
        alone, taught = suited(amount), suited(by_labels)
        begins = (begun.family, begun.size, begun.options, alone, begun.start, begun.name)
        return Role(*begins, None if taught == alone else taught), begun.features

    learns = everything if options.intermediate else described
    student, features = role(options.student or ("" if start else USUAL_CAPTIONER), learns, start)
    trained_further = student.start is not None and options.teacher is None and larger is None
    teacher = student if trained_further else role(options.teacher or "updown-medium", everything)[0]
    intermediate = role(options.intermediate, described)[0] if options.intermediate else None
    plan = plan_distillation(
        learnt,
        features,
        given or teacher,
        student,
        beam=options.beam_size,
        n_best=options.n_best or (1 if by_paper else options.beam_size),
        keep_originals=options.keep_originals,
        intermediate=intermediate,
        control_epochs=options.control_epochs,
        seeds=tuple(range(options.seeds)),
        min_count=min_count,
        tokenizer=options.tokenizer,
        teacher_features=larger.stage(source, store, device) if larger else None,
        teachers_together=TEACHERS if trained_further and given is None else 1,
        captioned=captioned,
    )
    return f"{source.name}: {given.name if given else teacher.name} to {student.name}", plan


def _start(options: DistillOptions, encoder: EncoderOptions) -> Path | None:
    """What the student begins from: by default the captioner in the box, unless another is asked for."""
    if options.start is not None:
        return None if str(options.start) == NOTHING else options.start
    others = options.student, options.teacher_encoder
    usual = dataclasses.replace(encoder, encoder_engine=None) == EncoderOptions()
    if any(others) or not usual or options.tokenizer != PTB or box_folder() is None:
        return None
    return Path(BOX)
