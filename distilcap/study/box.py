"""The captioner in the box, step by step, each step a row; and the same steps without a teacher.

Command: `distilcap reproduce box --data flickr8k/ --seeds 3 --to box`, with `--crops crops/` for all rows
An Up-Down of preset `flickr8k` labels the training images, five hypotheses each, and the student, an AoANet,
learns these. Then the last two stages of its encoder learn along, on views of the images
(`encoders.tuned.view_of`) and on crops (`data.crops`), labelled by the preset's AoANet, a better teacher.
What that encoder sees is what self-critical training reads, which comes last. Two controls see no crops, and
the images as many times as often, so that all have as many updates: one learns from the same teachers, the
other from people's captions alone. A distilled step is compared with the equal step without a teacher, and
a step without one with the step before it.
With three seeds or more, the control is a teacher, too: a student of each seed begins like the control and
tunes its encoder on captions of the other seeds' finished controls together, the only teacher that scores
more than what it teaches. What is written is the run that scores best on validation, of all seeds and rows.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distilcap.box import LICENCE, box_limits
from distilcap.export.folders import whole_folder
from distilcap.export.options import ExportOptions
from distilcap.files import sha256_of
from distilcap.integrity import read_sealed_json, write_sealed_json
from distilcap.models.aoanet import AoANetOptions
from distilcap.pipeline.plan import BUNDLE_BEAM, Role
from distilcap.progress import Progress
from distilcap.reports.results import Member
from distilcap.stages.captions import Labels
from distilcap.stages.changed_data import AddUnlabelled
from distilcap.stages.features import TUNED
from distilcap.stages.label import Generate, GenerateTogether, decoding_of
from distilcap.stages.train import Train
from distilcap.store.store import Store
from distilcap.study.flickr8k import CROSS_ENTROPY, SELF_CRITICAL
from distilcap.study.rows import Students
from distilcap.study.tables import Table, TableRow
from distilcap.training.options import SelfCriticalPhase, TrainingOptions

__all__ = ["LEAST_SEEDS", "PRESET", "best_run", "box_table", "write_box"]

PRESET = "flickr8k"
BEAM = 5
CROPS, CROPS_BEAM = " and crops", 3
VIEWS, STAGES = 4, 2
STUDENT = Role(
    "aoanet",
    "256 wide",
    AoANetOptions(256, 256, refiner_layers=2, dropout=0.25),
    TrainingOptions(
        cross_entropy=dataclasses.replace(CROSS_ENTROPY, epochs=6, learning_rate=8e-4),
        self_critical=SelfCriticalPhase(epochs=0),
        batch_images=16,
    ),
)
TUNING = TrainingOptions(
    cross_entropy=dataclasses.replace(
        CROSS_ENTROPY, epochs=3, learning_rate=5e-4, warmup_steps=50, weight_averaging=0.99
    ),
    self_critical=SelfCriticalPhase(epochs=0),
    batch_images=16,
    encoder_learning_rate=2e-4,
)
LEAST_SEEDS = 3
"""Of which two can teach the third."""
WITHOUT_CROPS = 12
"""Epochs of the images alone: three crops beside each make four times as many updates an epoch."""
REWARDED = 5
"""Epochs of self-critical training. Six more, or five after another teacher's labels, brought nothing, and
training the encoder along lost 3 CIDEr on validation (docs/log.md)."""


def box_table(students: Students, crops: Path | None) -> Table:
    """The teachers, the steps without one and those of other seeds' students, and the steps with teachers.

    Args:
        students: of `PRESET`; a teacher for each seed.
        crops: of the training images, three each, as `data.crops.write_crops` makes them. None leaves out
            the rows that learn from them.
    """
    first, second = (students.teacher(family).member for family in ("updown", "aoanet"))
    labels = [students.labels(run, BEAM, BEAM) for run in students.teacher_runs(first)]
    of_images = [students.labels(run, BEAM, BEAM) for run in students.teacher_runs(second)]
    alone = [_student(students, seed) for seed in students.seeds]
    taught = [_student(students, *both) for both in zip(students.seeds, labels, strict=True)]
    without = [
        _tuned(dataclasses.replace(run, labels=given), run, WITHOUT_CROPS)
        for run, given in zip(taught, of_images, strict=True)
    ]
    steps = _steps(taught, without)
    left_out: list[str] = []
    if crops is None:
        of_crops_alone = _steps(taught, without, CROPS).keys() - steps.keys()
        left_out = sorted(f"{STUDENT.name}, distilled{step}" for step in of_crops_alone)
    else:
        more = AddUnlabelled.beside(students.data, crops)
        of_crops = [
            dataclasses.replace(students.labels(run, CROPS_BEAM, CROPS_BEAM), data=more)
            for run in students.teacher_runs(second)
        ]
        with_crops = [
            _tuned(_with_crops(run, given), run) for run, given in zip(taught, of_crops, strict=True)
        ]
        steps |= _steps(taught, with_crops, CROPS)

    rows, before = [TableRow(first), TableRow(second)], None
    controls = _steps(alone, [_tuned(run, run, WITHOUT_CROPS) for run in alone])
    for step, runs in controls.items():
        member = students.member(STUDENT.name + step, "student", STUDENT.size, runs)
        rows.append(TableRow(member, baseline=before))
        before = member.name
    rows += _of_other_seeds(students, rows[-1].member, controls)
    for step, runs in steps.items():
        teacher, beam = (second, CROPS_BEAM if CROPS in step else BEAM) if step else (first, BEAM)
        member = students.member(
            f"{STUDENT.name}, distilled{step}",
            "distilled",
            STUDENT.size,
            runs,
            teacher.name,
            f"{teacher.name}, beam {beam}, top {beam}",
        )
        # No crop is a test image: their features are not asked for.
        member = dataclasses.replace(member, data=students.data if runs[0].data != students.data else None)
        rows.append(TableRow(member, beam, STUDENT.name + step.replace(CROPS, "")))
    title = "The captioner in the box, step by step"
    return Table("box", title, tuple(rows), judged=False, left_out=tuple(left_out))


def _of_other_seeds(
    students: Students, control: Member, controls: dict[str, tuple[Train, ...]]
) -> list[TableRow]:
    """Students that the finished controls of all other seeds teach together; none where one is left alone.

    Args:
        control: the last step without a teacher.
        controls: the runs of each such step.
    """
    if len(students.seeds) < LEAST_SEEDS:
        return []
    begun = controls[""]
    tuned = []
    for run in begun:
        others = tuple(other for other in control.trains if other.training.seed != run.training.seed)
        labels = GenerateTogether.as_chosen(others, "train", BEAM, BEAM)
        tuned.append(_tuned(dataclasses.replace(run, labels=labels), run, WITHOUT_CROPS))
    how = f"{control.name} of the other seeds together, beam {BEAM}, top {BEAM}"
    rows = []
    for step, runs in list(_steps(list(begun), tuned).items())[1:]:
        name = f"{STUDENT.name}, distilled by other seeds{step}"
        member = students.member(name, "distilled", STUDENT.size, runs, control.name, how)
        rows.append(TableRow(member, BEAM, STUDENT.name + step))
    return rows


def best_run(table: Table, store: Store) -> Train:
    """The student with a tuned encoder that scores best on validation, greedily: what comes into the box."""
    students = (row.member for row in table.rows if row.member.size == STUDENT.size)
    runs = [run for member in students for run in member.trains if run.seen.tuned_by is not None]
    return max(runs, key=lambda run: float(run.summary(store)["best_validation_cider"]))


def write_box(run: Train, store: Store, to: Path, progress: Progress) -> None:
    """Write what `distilcap/box` holds: `training/`, the run's weights in float16, and `bundle/` in int8.

    Large JPEGs are decoded at a reduced size, as people's photographs want it; Flickr8k's are too small for
    that to change anything.
    """
    from distilcap.encoders.registry import create_encoder
    from distilcap.export.bundle import export_bundle
    from distilcap.models.weights import CONFIG, WEIGHTS
    from distilcap.tensors import load_tensors, save_tensors

    trained, training, choice = store.open(run), to / "training", decoding_of(run, BUNDLE_BEAM)
    with whole_folder(training, CONFIG) as new:
        for name in (WEIGHTS, TUNED):
            tensors, content = load_tensors(trained / name, "train again")
            for encoder in content.values():  # only the encoder's file has a description
                encoder["preprocessing"]["decoding"] = "reduced"
            save_tensors(new / name, {key: tensor.half() for key, tensor in tensors.items()}, content)
        config = read_sealed_json(trained / CONFIG, "train again")
        config["features"]["preprocessing"]["decoding"] = "reduced"
        config["features"]["weights"] = sha256_of(new / TUNED)
        write_sealed_json(new / CONFIG, config)
    store.build(choice, progress)
    export_bundle(
        training,
        to / "bundle",
        ExportOptions("int8"),
        encoder=create_encoder(str(training / TUNED)),
        data=run.data.load(store),
        decode=choice.load(store).options(run.max_words),
        licence=LICENCE,
        limits=box_limits(),
        progress=progress,
    )


def _student(students: Students, seed: int, labels: Labels | None = None) -> Train:
    """The student, with the words of its teachers."""
    training = dataclasses.replace(STUDENT.training, seed=seed)
    like_teacher = students.train(STUDENT.architecture, "big", seed, labels)
    return dataclasses.replace(like_teacher, options=STUDENT.options, training=training)


def _steps(begun: list[Train], tuned: list[Train], crops: str = "") -> dict[str, tuple[Train, ...]]:
    """The runs of each step, by what its name adds to the student's."""
    rewarded = (_rewarded(*both) for both in zip(begun, tuned, strict=True))
    how = f", tuned encoder{crops}"
    return {"": tuple(begun), how: tuple(tuned), f"{how}, self-critical": tuple(rewarded)}


def _with_crops(run: Train, labels: Generate) -> Train:
    """The run on the images of these labels, which are its own and crops."""
    assert labels.data is not None
    features = dataclasses.replace(run.features, data=labels.data).by("onnxruntime", "whole")
    return dataclasses.replace(run, data=labels.data, features=features, labels=labels)


def _tuned(run: Train, start: Train, epochs: int = TUNING.cross_entropy.epochs) -> Train:
    """The run, learning on from `start` together with its encoder's last stages."""
    crossed = dataclasses.replace(TUNING.cross_entropy, epochs=epochs)
    training = dataclasses.replace(TUNING, cross_entropy=crossed, seed=run.training.seed)
    return dataclasses.replace(
        run, training=training, tune_encoder=True, tune_stages=STAGES, views=VIEWS, start=start
    )


def _rewarded(begun: Train, run: Train) -> Train:
    """The run, learning on by reward alone, on what its encoder sees of the images that it began with."""
    training = TrainingOptions(
        cross_entropy=dataclasses.replace(CROSS_ENTROPY, epochs=0, learning_rate=5e-4, warmup_steps=100),
        self_critical=dataclasses.replace(SELF_CRITICAL, epochs=REWARDED),
        batch_images=16,
        seed=run.training.seed,
    )
    return dataclasses.replace(
        run,
        data=begun.data,
        features=run.seen_in(begun.data),
        training=training,
        labels=None,
        tune_encoder=False,
        tune_stages=0,
        views=1,
        start=run,
    )
