"""What a distillation consists of: every stage, decided before anything runs.

So a plan can be shown, or built side by side by an engine.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distilcap.pipeline.given import GivenTeacher, ensemble, labels_in_words, start_as_it_is
from distilcap.reports.results import Member, System, stages_of
from distilcap.stages.captioner import CaptionerStage, ImportCaptioner
from distilcap.stages.captions import Labels
from distilcap.stages.data import ImportData
from distilcap.stages.export import Export
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate, GenerateTogether, decoding_of
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.stage import Stage
from distilcap.text.tokenizers import PTB
from distilcap.training.options import TrainingOptions

if TYPE_CHECKING:
    from distilcap.models.families import CaptionerOptions

__all__ = ["BUNDLE_BEAM", "Distillation", "Role", "plan_distillation"]

BUNDLE_BEAM = 3
"""Beam size of bundles: on phones and in browsers, time counts more than the last tenth of a score."""


@dataclass(frozen=True)
class Role:
    """A captioner and how it is trained.

    Attributes:
        architecture: its family, such as "updown".
        size: its preset's name, for tables.
        options: its widths.
        training: phases and rates.
        start: what it begins from, if not from random weights.
        start_name: of that, for people.
        taught: phases and rates where it learns a teacher's labels; None is `training`.
    """

    architecture: str
    size: str
    options: CaptionerOptions
    training: TrainingOptions
    start: CaptionerStage | None = None
    start_name: str = ""
    taught: TrainingOptions | None = None

    @property
    def name(self) -> str:
        """Such as "updown-small", or "from box"."""
        return f"from {self.start_name}" if self.start_name else f"{self.architecture}-{self.size}"


@dataclass(frozen=True)
class Distillation:
    """What a distillation consists of.

    Attributes:
        data, features: what students learn from and see.
        starts: rows of what students begin from, as it is.
        teachers: rows of the teacher: those trained here, in that order, or of a given teacher.
        labels: the captions that the distilled students learn.
        students: undistilled students, then the control, then an intermediate, then the distilled students.
        exported: the run that becomes a bundle.
    """

    data: ImportData
    features: ExtractFeatures
    teachers: tuple[System, ...]
    labels: Labels
    students: tuple[Member, ...]
    starts: tuple[System, ...] = ()

    @property
    def systems(self) -> tuple[System, ...]:
        """All rows of the table, in its order."""
        return (*self.starts, *self.teachers, *self.students)

    @property
    def taught(self) -> dict[Labels, tuple[str, Train]]:
        """All labels that students learn from, in order, with their teachers' names and a run that learns."""
        return {
            run.labels: (str(student.teacher), run)
            for student in self.students
            for run in student.trains
            if run.labels is not None
        }

    @property
    def exported(self) -> Export:
        """The first distilled student as a bundle."""
        run = self.students[-1].trains[0]
        return Export(run, decoding=decoding_of(run, BUNDLE_BEAM))

    def stages(self, export: bool = True) -> list[Stage]:
        """Everything that `distill` builds, for a plan or a cluster."""
        return [self.data, self.features, *stages_of(self.systems), *([self.exported] if export else [])]


def plan_distillation(
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
    tokenizer: str = PTB,
    teacher_features: ExtractFeatures | None = None,
    teachers_together: int = 1,
    captioned: ImportData | None = None,
) -> Distillation:
    """Decide all stages: teacher, student, distilled student and, where asked for, a control.

    Args:
        data: that the distilled student learns from.
        features: what captioners see of `captioned`; of the other images the same encoder makes them.
        teacher: to be trained, or given.
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
        teachers_together: so many teachers, of different seeds, label as an ensemble.
        captioned: the data before images without captions were added. Who learns from people's captions
            learns from these, and need not be trained again when images are added; None is all of `data`.
    """
    captioned = captioned or data
    other = None if captioned == data else data
    begun = student.start if isinstance(student.start, ImportCaptioner) else None
    vocabulary = BuildVocabulary(captioned, min_count, student.training.max_words, tokenizer, begun)

    decides: Train | None = None  # see below

    def run(role: Role, seed: int, labels: Labels | None = None, seen: ExtractFeatures = features) -> Train:
        chosen = role.training if labels is None else role.taught or role.training
        training = dataclasses.replace(chosen, seed=seed)
        together = keep_originals and labels is not None
        learnt = captioned if labels is None else data
        train = Train(
            learnt,
            vocabulary,
            dataclasses.replace(seen, data=learnt.same_images),
            role.architecture,
            role.options,
            training,
            labels,
            together,
            start=role.start,
        )
        if role != student or train == decides:
            return train
        return dataclasses.replace(train, stays_with=decides)

    # The first run on people's captions decides for all that begin as it did: it is their teacher.
    judged = student.start is not None and student.training.validate_start
    if teacher == student and judged and intermediate is None and not keep_originals:
        decides = run(student, seeds[0])

    def labelled_by(name: str, labeller: Train) -> GivenTeacher:
        labels = Generate.as_chosen(labeller, "train", beam, n_best)
        return GivenTeacher(name, labels, labels_in_words(beam, n_best))

    def as_taught(teacher: GivenTeacher) -> GivenTeacher:
        """What a teacher began from may say other words for people than its references did."""
        return teacher.neutral() if data.neutral_people else teacher

    def member(name: str, kind: str, role: Role, runs: tuple[Train, ...], **taught: Any) -> Member:
        scored_on = captioned if runs[0].data != captioned else None  # one store of test images for all
        return Member(name, kind, role.size, runs, beam=beam, data=scored_on, **taught)

    teachers: list[System] = []
    if isinstance(teacher, Role):
        first = seeds[0]
        members = tuple(
            run(teacher, seed, seen=teacher_features or features)
            for seed in range(first, first + teachers_together)
        )
        labeller, name = members[0], f"teacher {teacher.name}"
        if teachers_together == 1:
            teachers.append(member(name, "teacher", teacher, members))
        if tuning is not None:
            labeller = dataclasses.replace(
                labeller, training=tuning, start=labeller, tune_encoder=True, tune_stages=2
            )
            name += ", tuned encoder"
            teachers.append(member(name, "teacher", teacher, (labeller,)))
        teacher = (
            labelled_by(name, labeller)
            if teachers_together == 1
            else ensemble(name, members, None, beam, n_best)
        )
        assert isinstance(teacher.labels, Generate | GenerateTogether)
        teacher = dataclasses.replace(teacher, labels=dataclasses.replace(teacher.labels, data=other))
    teacher = as_taught(teacher)
    teachers += teacher.rows
    students = [member(student.name, "student", student, tuple(run(student, seed) for seed in seeds))]
    if control_epochs:
        longer = dataclasses.replace(student.training.cross_entropy, epochs=control_epochs)
        control = dataclasses.replace(
            student, training=dataclasses.replace(student.training, cross_entropy=longer)
        )
        runs = tuple(run(control, seed) for seed in seeds)
        students.append(member(f"{student.name}, longer", "control", student, runs))
    if intermediate is not None:
        labeller = run(intermediate, seeds[0], teacher.labels)
        name = f"{intermediate.name}, distilled"
        taught = {"teacher": teacher.name, "labels": teacher.labels_in_words}
        students.append(member(name, "distilled", intermediate, (labeller,), **taught))
        teacher = as_taught(labelled_by(name, labeller))
    taught = {"teacher": teacher.name, "labels": teacher.labels_in_words}
    taught["labels"] += " and references" if keep_originals else ""
    runs = tuple(run(student, seed, teacher.labels) for seed in seeds)
    students.append(member(f"{student.name}, distilled", "distilled", student, runs, **taught))
    starts = (start_as_it_is(begun, captioned, beam),) if begun is not None else ()
    features = dataclasses.replace(features, data=data.same_images)
    return Distillation(data, features, tuple(teachers), teacher.labels, tuple(students), starts)
