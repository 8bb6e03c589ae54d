"""Teacher -> pseudo-captions -> student, beside the same student without them.

`distill` is what `distilcap distill`, the demo and README's Flickr8k measurement run. `plan_distillation`
decides all stages before anything runs, so that a plan can be shown, or built on a cluster.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilcap.errors import MissingError
from distilcap.pipeline.given import GivenTeacher, ensemble, labels_in_words, start_as_it_is
from distilcap.pipeline.remarks import note_data, note_labels, note_training, remarks_on_captions
from distilcap.progress import Progress
from distilcap.reports.records import Results, Row
from distilcap.reports.results import (
    METRICS,
    Member,
    System,
    build_rows,
    stages_of,
)
from distilcap.reports.sentences import decoding_sentences, gain_sentence, which_to_take
from distilcap.stages.captioner import CaptionerStage, ImportCaptioner
from distilcap.stages.captions import Labels
from distilcap.stages.data import BuildVocabulary, ImportData
from distilcap.stages.export import Export
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate, decoding_of
from distilcap.stages.train import Train
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.text.tokenizers import PTB
from distilcap.training.options import TrainingOptions

if TYPE_CHECKING:
    from distilcap.models.families import CaptionerOptions

BUNDLE_BEAM = 3
"""Beam size of bundles: on phones and in browsers, time counts more than the last tenth of a score."""

__all__ = ["Distillation", "Distilled", "Role", "distill", "plan_distillation", "write_distilled"]


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
    """

    architecture: str
    size: str
    options: CaptionerOptions
    training: TrainingOptions
    start: CaptionerStage | None = None
    start_name: str = ""

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
    def taught(self) -> dict[Labels, str]:
        """All labels that students learn from, in order, with their teachers' names."""
        return {
            run.labels: str(student.teacher)
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
        return [*stages_of(self.systems), *([self.exported] if export else [])]


@dataclass(frozen=True)
class Distilled:
    """What came of a distillation.

    Attributes:
        rows: a row for each system, in the order of the table.
        verdict: what the distilled student gained, with its interval, and by what beam search ranks.
        bundle: the folder of the exported student; None where none was asked for or could be made.
    """

    rows: tuple[Row, ...]
    verdict: str
    bundle: Path | None


def distill(
    plan: Distillation,
    store: Store,
    progress: Progress,
    *,
    export: bool = True,
    metrics: tuple[str, ...] = METRICS,
) -> Distilled:
    """Run a distillation from the data to the bundle; what the store holds already is not made again."""
    store.build(plan.data, progress)
    note_data(plan.data, store, progress)
    store.build(plan.features, progress)
    for teacher in plan.teachers:
        for run in teacher.trains if isinstance(teacher, Member) else ():
            store.build(run, progress)
            note_training(teacher.name, run, store, progress, teaches=True)
    for labels, name in plan.taught.items():  # before any student: they may be worth none
        store.build(labels, progress)
        note_labels(labels, plan.data, store, progress, name)
    for student in plan.students:
        for run in student.trains:
            store.build(run, progress)
            note_training(student.name, run, store, progress)
    rows = build_rows(plan.systems, store, progress, metrics)
    advice = which_to_take(_alternatives(plan), plan.students[-1], store)
    sentences = [
        advice.sentence if advice else "",
        _how_to_take(advice.take, plan, store) if advice and export else "",
        gain_sentence(plan.systems, store),
        *decoding_sentences(rows),
    ]
    remarks = remarks_on_captions(plan.systems, store)
    verdict = " ".join(sentence for sentence in (*sentences, *remarks) if sentence)
    bundle = None
    if export:
        try:
            store.build(plan.exported, progress)
            bundle = store.open(plan.exported) / "bundle"
        except MissingError as error:
            progress.note(f"No bundle was written: {error}")
    return Distilled(rows, verdict, bundle)


def _how_to_take(system: System, plan: Distillation, store: Store) -> str:
    """Which captioner the bundle is, where it is not the one to take, and how to get that."""
    bundled = plan.students[-1]
    if system is bundled:
        return ""
    if isinstance(system, Member):
        way = f"`distilcap export {store.path(system.trains[0])} --to …` makes a bundle of '{system.name}'"
    else:
        way = f"'{system.name}' is what training began from, and is used as before"
    return f"The bundle is '{bundled.name}'; {way}."


def _alternatives(plan: Distillation) -> tuple[System, ...]:
    """What a person may take instead of a student that began from something: that, or the undistilled one."""
    if not plan.starts:
        return ()
    student = plan.students[-1]
    equal = (other for other in plan.students[:-1] if other.role == "student" and other.size == student.size)
    return (*plan.starts, *equal)


def write_distilled(
    title: str,
    plan: Distillation,
    distilled: Distilled,
    store: Store,
    to: Path,
    progress: Progress,
    photos: bool = True,
) -> Results:
    """Write results.json, report.html and bundle/ into the folder `to`.

    Args:
        photos: whether the report shows pictures of the data set.
    """
    from distilcap.export.folders import whole_folder
    from distilcap.reports.collect import collect_results
    from distilcap.reports.report import write_report
    from distilcap.runtime.manifest import MANIFEST

    results = collect_results(title, plan.systems, distilled.rows, distilled.verdict, store, progress)
    write_report(results, to, progress, photos)
    if distilled.bundle is not None:
        with whole_folder(to / "bundle", MANIFEST) as new:
            shutil.copytree(distilled.bundle, new, dirs_exist_ok=True)
    return results


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
) -> Distillation:
    """Decide all stages: teacher, student, distilled student and, where asked for, a control.

    Args:
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
    """
    begun = student.start if isinstance(student.start, ImportCaptioner) else None
    vocabulary = BuildVocabulary(data, min_count, student.training.max_words, tokenizer, begun)

    def run(role: Role, seed: int, labels: Labels | None = None, seen: ExtractFeatures = features) -> Train:
        training = dataclasses.replace(role.training, seed=seed)
        together = keep_originals and labels is not None
        return Train(
            data,
            vocabulary,
            seen,
            role.architecture,
            role.options,
            training,
            labels,
            together,
            start=role.start,
        )

    def labelled_by(name: str, labeller: Train) -> GivenTeacher:
        return GivenTeacher(
            name, Generate.as_chosen(labeller, "train", beam, n_best), labels_in_words(beam, n_best)
        )

    def member(name: str, kind: str, role: Role, runs: tuple[Train, ...], **taught: Any) -> Member:
        return Member(name, kind, role.size, runs, beam=beam, **taught)

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
        teacher = labelled_by(name, labeller)
    taught = {"teacher": teacher.name, "labels": teacher.labels_in_words}
    taught["labels"] += " and references" if keep_originals else ""
    runs = tuple(run(student, seed, teacher.labels) for seed in seeds)
    students.append(member(f"{student.name}, distilled", "distilled", student, runs, **taught))
    starts = (start_as_it_is(begun, data, beam),) if begun is not None else ()
    return Distillation(data, features, tuple(teachers), teacher.labels, tuple(students), starts)
