"""The line: teacher -> pseudo-captions -> student, beside the same student without them.

What `distilcap demo` and `distilcap distill` run, and the Flickr8k measurement of the README.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from distilcap.models.presets import Options
from distilcap.pipeline.given import GivenTeacher, labels_in_words
from distilcap.reports.results import Member
from distilcap.stages.captions import Labels
from distilcap.stages.data import BuildVocabulary, ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate
from distilcap.stages.train import Train
from distilcap.training.options import TrainingOptions

__all__ = ["Role", "distillation_line"]


@dataclass(frozen=True)
class Role:
    """A captioner and how it is trained.

    Attributes:
        architecture: "updown" or "aoanet".
        size: its preset's name, for tables.
        options: its widths.
        training: phases and rates.
    """

    architecture: str
    size: str
    options: Options
    training: TrainingOptions

    @property
    def name(self) -> str:
        """Such as "updown-small"."""
        return f"{self.architecture}-{self.size}"


def distillation_line(
    data: ImportData,
    features: ExtractFeatures,
    teacher: Role | GivenTeacher,
    student: Role,
    *,
    beam: int = 5,
    n_best: int = 1,
    keep_originals: bool = False,
    tuning: TrainingOptions | None = None,
    intermediate: Role | None = None,
    control_epochs: int = 0,
    seeds: tuple[int, ...] = (0,),
    min_count: int = 5,
    teacher_features: ExtractFeatures | None = None,
) -> tuple[Member, ...]:
    """Teacher, student, distilled student and, where asked for, a control that gets extra compute.

    Args:
        teacher: to be trained; or one that is there already, which then is no member itself.
        beam: width with which the teacher labels the training images.
        n_best: how many of its hypotheses become labels.
        keep_originals: the student learns from people's captions too.
        tuning: how the teacher learns on together with the last two stages of its encoder; None leaves
            the encoder as it is. Students read the untuned features in either case.
        intermediate: a captioner between teacher and student, distilled first.
        control_epochs: cross-entropy epochs of an undistilled student that is given the compute which
            distillation took; 0 leaves it out.
        seeds: of the students; the teacher is trained once.
        teacher_features: of a larger encoder that the teacher sees through; None is `features`.
    """
    vocabulary = BuildVocabulary(data, min_count, student.training.max_words)

    def run(
        role: Role,
        seed: int,
        labels: Labels | None = None,
        epochs: int | None = None,
        seen: ExtractFeatures = features,
    ) -> Train:
        training = dataclasses.replace(role.training, seed=seed)
        if epochs is not None:
            longer = dataclasses.replace(training.cross_entropy, epochs=epochs)
            training = dataclasses.replace(training, cross_entropy=longer)
        together = keep_originals and labels is not None
        return Train(data, vocabulary, seen, role.architecture, role.options, training, labels, together)

    members = []
    if isinstance(teacher, Role):
        labeller = run(teacher, seeds[0], seen=teacher_features or features)
        members.append(Member(f"teacher {teacher.name}", "teacher", teacher.size, (labeller,), beam=beam))
        if tuning is not None:
            labeller = dataclasses.replace(
                labeller, training=tuning, start=labeller, tune_encoder=True, tune_stages=2
            )
            name = f"{members[0].name}, tuned encoder"
            members.append(Member(name, "teacher", teacher.size, (labeller,), beam=beam))
        teacher = GivenTeacher(
            members[-1].name,
            Generate.as_chosen(labeller, "train", beam, n_best),
            labels_in_words(beam, n_best),
        )
    members.append(
        Member(student.name, "student", student.size, tuple(run(student, seed) for seed in seeds), beam=beam)
    )
    if control_epochs:
        controls = tuple(run(student, seed, epochs=control_epochs) for seed in seeds)
        name = f"{student.name}, longer"
        members.append(Member(name, "control", student.size, controls, beam=beam))
    if intermediate is not None:
        labeller = run(intermediate, seeds[0], teacher.labels)
        name = f"{intermediate.name}, distilled"
        members.append(
            Member(
                name, "distilled", intermediate.size, (labeller,), teacher.name, teacher.labels_in_words, beam
            )
        )
        labels = Generate.as_chosen(labeller, "train", beam, n_best)
        teacher = GivenTeacher(name, labels, labels_in_words(beam, n_best))
    members.append(
        Member(
            f"{student.name}, distilled",
            "distilled",
            student.size,
            tuple(run(student, seed, teacher.labels) for seed in seeds),
            teacher.name,
            teacher.labels_in_words + (" and references" if keep_originals else ""),
            beam,
        )
    )
    return tuple(members)
