"""Teacher -> pseudo-captions -> student, beside the same student without them.

`distill` runs what `plan.plan_distillation` decided: the commands `distilcap distill` and
`distilcap reproduce flickr8k`, and the demo.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distilcap.box import NAME as BOX
from distilcap.errors import BundleError, DataError, MissingError
from distilcap.files import copy_all
from distilcap.pipeline.plan import Distillation
from distilcap.pipeline.remarks import (
    note_data,
    note_labels,
    note_learnt_tests,
    note_training,
    remarks_on_captions,
)
from distilcap.progress import Progress
from distilcap.reports.records import Results, Row
from distilcap.reports.results import METRICS, Member, System, build_rows
from distilcap.reports.sentences import decoding_sentences, gain_sentence, which_to_take
from distilcap.runtime.manifest import MANIFEST
from distilcap.stages.captioner import ImportCaptioner
from distilcap.store.store import Store

__all__ = ["Distilled", "check_distilled_folder", "distill", "write_distilled"]


@dataclass(frozen=True)
class Distilled:
    """What came of a distillation.

    Attributes:
        rows: a row for each system, in the order of the table.
        verdict: what the distilled student gained, with its interval, and by what beam search ranks.
        bundle: the folder of the exported student; None where none was asked for or could be made.
        take: the captioner to take, if not the bundle's: a run's folder, or `box`.
    """

    rows: tuple[Row, ...]
    verdict: str
    bundle: Path | None
    take: str = ""


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
    learner = plan.students[-1].trains[0]
    note_data(learner, store, progress)
    teachers = [run for teacher in plan.teachers if isinstance(teacher, Member) for run in teacher.trains]
    started = [learner.start] if learner.start is not None else []
    note_learnt_tests(plan.data, [*teachers, *started], store, progress)
    store.build(plan.features, progress)
    for teacher in plan.teachers:
        for run in teacher.trains if isinstance(teacher, Member) else ():
            store.build(run, progress)
            note_training(teacher.name, run, store, progress, teaches=True)
    for labels, (name, learner) in plan.taught.items():  # before any student: they may be worth none
        store.build(labels, progress)
        note_labels(labels, learner, store, progress, name)
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
        _whose_words(plan),
        *decoding_sentences(rows),
    ]
    remarks = remarks_on_captions(plan.systems, store)
    verdict = " ".join(sentence for sentence in (*sentences, *remarks) if sentence)
    bundle = None
    if export:
        try:
            store.build(plan.exported, progress)
            bundle = store.open(plan.exported) / "bundle"
        except (BundleError, DataError, MissingError) as error:
            # What the trainings brought is reported all the same.
            progress.note(f"No bundle was written: {error}")
    return Distilled(rows, verdict, bundle, _taken(advice.take, plan, store) if advice else "")


def _whose_words(plan: Distillation) -> str:
    """Of test references, where students are taught other words for people than those have."""
    if not plan.data.neutral_people:
        return ""
    start = f", which '{plan.starts[0].name}' writes too" if plan.starts else ""
    return (
        f"Test references keep people's own words (man, woman …){start}; neutral words for people "
        "(`--neutral-people`) score lower on them."
    )


def _taken(system: System, plan: Distillation, store: Store) -> str:
    """See `Distilled.take`."""
    if system is plan.students[-1]:
        return ""
    if isinstance(system, Member):
        return str(store.path(system.trains[0]))
    start = plan.students[-1].trains[0].start
    assert isinstance(start, ImportCaptioner), system.name
    return BOX if start.name == BOX else start.path


def _how_to_take(system: System, plan: Distillation, store: Store) -> str:
    """Which captioner the bundle is, where it is not the one to take, and how to get that."""
    taken = _taken(system, plan, store)
    if not taken:
        return ""
    if isinstance(system, Member):
        way = f"`distilcap export {taken} --to …` makes a bundle of '{system.name}'"
    else:
        run = "" if taken == BOX else f" --run {taken}"
        way = f"`distilcap caption photo.jpg{run}` takes '{system.name}', which training began from"
    return f"The bundle written here is '{plan.students[-1].name}' all the same; {way}."


def _alternatives(plan: Distillation) -> tuple[System, ...]:
    """What a person may take instead of a student that began from something: that, or the undistilled one."""
    if not plan.starts:
        return ()
    student = plan.students[-1]
    equal = (other for other in plan.students[:-1] if other.role == "student" and other.size == student.size)
    return (*plan.starts, *equal)


def check_distilled_folder(to: Path, plan: Distillation, export: bool) -> None:
    """Make sure that `write_distilled` can write into `to`, before hours of training.

    Raises:
        ConfigError: it cannot; see `check_report_folder` and `check_bundle_folder`.
    """
    from distilcap.export.folders import check_bundle_folder
    from distilcap.reports.report import check_report_folder

    check_report_folder(to, plan.data.folders)
    if export:
        check_bundle_folder(to / "bundle")


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
    from distilcap.export.folders import whole_bundle
    from distilcap.reports.collect import collect_results
    from distilcap.reports.report import write_report

    results = collect_results(title, plan.systems, distilled.rows, distilled.verdict, store, progress)
    write_report(results, to, progress, photos)
    if distilled.bundle is not None:
        with whole_bundle(to / "bundle") as new:
            copy_all(distilled.bundle, new)
    elif (to / "bundle" / MANIFEST).is_file():
        progress.note(
            f"{to / 'bundle'} is of an earlier run and stays as it was; `distilcap export "
            f"{store.path(plan.students[-1].trains[0])} --to {to / 'bundle'}` puts this report's captioner "
            "there."
        )
    return results
