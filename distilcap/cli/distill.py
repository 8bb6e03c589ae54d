"""`distilcap distill`: the whole line on a person's own images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from distilcap.cli.bounds import BATCH, BEAM, COUNT, EPOCHS, LEARNING_RATE, SEEDS, check_n_best
from distilcap.cli.common import (
    captioner_name,
    data_options,
    encoder_options,
    engine_of,
    engine_options,
    store_option,
)
from distilcap.cli.given import Given, given_options
from distilcap.errors import ConfigError

__all__ = ["distill"]

EXAMPLE = """\b
Example:
  distilcap distill --data photos/ --teacher aoanet-big --student updown-small --beam 5 --to distilled
  distilcap distill --data photos/ --teacher-model blip-large/ --student updown-small
  distilcap distill --data photos/ --teacher-captions theirs.json --student updown-small
  distilcap distill --data photos/ --teacher-run runs/train-0f3a… --teacher-run runs/train-9b1c…
"""


@click.command(epilog=EXAMPLE)
@data_options
@encoder_options
@store_option
@engine_options
@click.option("--teacher", help="To be trained; see `distilcap models`.  [default: updown-medium]")
@given_options
@click.option("--student", default="updown-small", show_default=True)
@click.option("--intermediate", help="A captioner between teacher and student, distilled first.")
@click.option("--beam", type=BEAM, default=5, show_default=True, help="Width with which the teacher labels.")
@click.option("--n-best", type=BEAM, help="Hypotheses that become labels.  [default: 1]")
@click.option("--keep-originals", is_flag=True, help="Students learn from people's captions too.")
@click.option(
    "--epochs", type=EPOCHS, default=30, show_default=True, help="Of cross-entropy, for teacher and student."
)
@click.option(
    "--scst-epochs", type=EPOCHS, default=10, show_default=True, help="Of self-critical training, for both."
)
@click.option("--learning-rate", type=LEARNING_RATE, default=5e-4, show_default=True)
@click.option("--scst-learning-rate", type=LEARNING_RATE, default=5e-5, show_default=True)
@click.option("--schedule", type=click.Choice(["step", "cosine"]), default="step", show_default=True)
@click.option("--batch-images", type=BATCH, default=10, show_default=True)
@click.option(
    "--control-epochs", type=EPOCHS, default=0, help="Also an undistilled student with so many epochs."
)
@click.option("--seeds", type=SEEDS, default=1, show_default=True, help="Students are trained so many times.")
@click.option(
    "--min-count", type=COUNT, default=5, show_default=True, help="Words seen less often become <unk>."
)
@click.option("--teacher-encoder", help="A larger encoder, through which the teacher sees.")
@click.option(
    "--distill-encoder",
    "encoder_epochs",
    type=EPOCHS,
    default=0,
    help="So many epochs, the student's encoder first learns the features of the teacher's.",
)
@click.option("--to", type=click.Path(path_type=Path), default=Path("distilled"), show_default=True)
@click.option("--plan", is_flag=True, help="Print the stages and which are there already; run nothing.")
def distill(
    data: Path,
    images: Path | None,
    encoder: str,
    image_size: int | None,
    encoder_form: str,
    encoder_weights: Path | None,
    store: Path,
    engine: str,
    cpus_per_stage: int,
    gpus_per_stage: float | None,
    teacher: str | None,
    teacher_model: str | None,
    teacher_captions: Path | None,
    teacher_runs: tuple[Path, ...],
    student: str,
    intermediate: str | None,
    beam: int,
    n_best: int | None,
    keep_originals: bool,
    epochs: int,
    scst_epochs: int,
    learning_rate: float,
    scst_learning_rate: float,
    schedule: str,
    batch_images: int,
    control_epochs: int,
    seeds: int,
    min_count: int,
    teacher_encoder: str | None,
    encoder_epochs: int,
    to: Path,
    plan: bool,
) -> None:
    """Train a teacher, let it caption the training images, and train a student on its captions.

    Or bring a teacher that is there already: --teacher-model, --teacher-captions or --teacher-run.

    Beside it the same student learns from people's captions alone, and the table says what distillation
    cost and gained. Writes results.json and report.html; the trained runs stay in the store.
    """
    given = Given(teacher_model, teacher_captions, teacher_runs)
    given.check_beside(
        {
            "--teacher": (teacher, "a captioner to be trained"),
            "--teacher-encoder": (teacher_encoder, "what a teacher is trained to see through"),
            "--distill-encoder": (encoder_epochs, "learning from the encoder of a teacher in training"),
        }
    )
    if teacher_captions is not None and intermediate is None and n_best is not None:
        raise ConfigError(
            "`--n-best` says how many of a teacher's hypotheses become labels, but all captions of "
            "`--teacher-captions` do; leave it out."
        )
    teacher, n_best = teacher or "updown-medium", 1 if n_best is None else n_best
    names = {role: captioner_name(text) for role, text in (("teacher", teacher), ("student", student))}
    if intermediate is not None:
        names["intermediate"] = captioner_name(intermediate)
    from distilcap.cli.report import run_members
    from distilcap.models.presets import preset
    from distilcap.pipeline.distill import Role, distillation_line
    from distilcap.stages.data import ImportData
    from distilcap.stages.encoder import DistillEncoder
    from distilcap.stages.features import ExtractFeatures
    from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

    check_n_best(n_best, beam)
    cluster = engine_of(engine, cpus_per_stage, gpus_per_stage)
    if encoder_epochs and teacher_encoder is None:
        raise ConfigError("`distill_encoder` needs a `teacher_encoder` to learn from.")
    training = TrainingOptions(
        cross_entropy=CrossEntropyPhase(epochs=epochs, learning_rate=learning_rate, schedule=schedule),
        self_critical=SelfCriticalPhase(
            epochs=scst_epochs, learning_rate=scst_learning_rate, schedule=schedule
        ),
        batch_images=batch_images,
    )

    def role(name: str) -> Role:
        architecture, size = names[name]
        # AoANet is published with label smoothing 0.2 and a lower rate (Huang et al. 2019).
        smoothing = 0.2 if architecture == "aoanet" else 0.0
        smoothed = dataclasses.replace(training.cross_entropy, label_smoothing=smoothing)
        return Role(
            architecture,
            size,
            preset(architecture, size),
            dataclasses.replace(training, cross_entropy=smoothed),
        )

    source = ImportData.of(data, images)
    weights = str(encoder_weights) if encoder_weights else None
    seen = ExtractFeatures.of(source, encoder, image_size, weights, encoder_form)
    seen_by_teacher = None
    if teacher_encoder is not None:
        seen_by_teacher = ExtractFeatures.of(source, teacher_encoder, form=None)
        if encoder_epochs:
            seen = DistillEncoder(seen_by_teacher, seen, encoder_epochs).features()
    brought = given.teacher(source, store, beam, n_best)
    members = distillation_line(
        source,
        seen,
        brought or role("teacher"),
        role("student"),
        beam=beam,
        n_best=n_best,
        keep_originals=keep_originals,
        intermediate=role("intermediate") if intermediate else None,
        control_epochs=control_epochs,
        seeds=tuple(range(seeds)),
        min_count=min_count,
        teacher_features=seen_by_teacher,
    )
    systems = (*brought.rows, *members) if brought else members
    title = f"{source.name}: {brought.name if brought else teacher} to {student}"
    run_members(title, systems, store, to, plan, cluster)
