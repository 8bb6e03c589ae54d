"""COCO rehearsed: the tables' whole way at full size, with time, memory and disk of every stage.

    OMP_NUM_THREADS=1 nice python -m benchmarks coco_rehearsal --to FOLDER [--learnt 2000]
    … --images 2000              # everything small, to see that it works
    … --write                    # only put what was measured into docs/scale.md

Captions are COCO's own 616,767, the 123,287 images drawn (`benchmarks.coco_data`); FOLDER grows to 2 GB.
Each part runs in a process of its own: `distilcap data check`, the plan of all tables by the paper's preset,
and a table of a teacher and its student of each family, by what `distilcap reproduce` calls. Captioners are
as wide as those of preset smoke and have an epoch of each phase, students of cross-entropy alone. With
`--learnt` they learn from so many of the training images; vocabulary, features, reward and scores are those
of all.

`measured.jsonl` gets a line for each command and stage that ended. A killed rehearsal goes on where it was;
the stage that was broken off begins anew, so that it is measured whole. The page's tables are made of these
lines alone.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.coco_data import make_coco
from benchmarks.coco_rehearsal_page import MEASURED, write_page
from benchmarks.features import COCO_IMAGES
from benchmarks.memory import resident
from benchmarks.pages import read_lines
from distilcap.data.dataset import Dataset
from distilcap.files import read_json, write_json
from distilcap.metrics.reward import CiderReward
from distilcap.progress import LOGGED, Progress
from distilcap.reports.report import write_report
from distilcap.reports.results import METRICS
from distilcap.stages.captions import Labels
from distilcap.stages.changed_data import ChangedData
from distilcap.stages.data import ImportData
from distilcap.stages.label import Generate
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import judge_data
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.study.options import TableOptions
from distilcap.study.presets import TablePreset
from distilcap.study.rows import FAMILIES, LABEL_BEAM, Students
from distilcap.study.tables import Table, TableRow, run_tables, stages_of_tables
from distilcap.training.batches import encode_captions

CHECK = ("data", "check", "coco")
PLAN = ("reproduce", "all", "--data", "coco", "--preset", "paper", "--plan")
SIZE = "images.json"


def rehearsed(preset: TablePreset) -> TablePreset:
    """The smoke preset at COCO's size: the paper's beam and vocabulary, an epoch a phase."""
    roles = {}
    for (family, size), role in preset.roles.items():
        first, second = role.training.cross_entropy, role.training.self_critical
        training = dataclasses.replace(
            role.training,
            cross_entropy=dataclasses.replace(first, epochs=1, learning_rate=5e-3),
            self_critical=dataclasses.replace(second, epochs=int(size == "big"), samples=2),
            batch_images=64,
        )
        roles[family, size] = dataclasses.replace(role, training=training)
    return dataclasses.replace(preset, roles=roles, beam=5, min_count=5)


def rehearsal_table(students: Students) -> Table:
    """A teacher and its student of each family; there being no other row, it is compared with its teacher."""
    rows: list[TableRow] = []
    for family in FAMILIES:
        teacher = students.teacher(family)
        student = students.taught(family, "small", teacher.member, LABEL_BEAM)
        rows += [teacher, dataclasses.replace(student, baseline=teacher.member.name)]
    return Table("rehearsal", "COCO rehearsed", tuple(rows), judged=False)


def run_table(folder: Path, learnt: int | None) -> None:
    """What `distilcap reproduce` does, with each stage measured; see the module for `learnt`."""
    shutil.rmtree(folder / "store" / ".partial", ignore_errors=True)
    with measured(folder, "read the data set, before any stage"):
        data = ImportData.of(folder / "coco")
    options = TableOptions(preset="smoke", seeds=1, encoder_engine="onnxruntime")
    plain = options.students(data)
    same = {field.name: getattr(data, field.name) for field in dataclasses.fields(ImportData)}
    fewer = None if learnt is None else FewerToLearn(**same, whole=data, kept=learnt)
    students = RehearsedStudents(data, plain.features, rehearsed(plain.preset), learnt=fewer)
    tables = (rehearsal_table(students),)
    store = MeasuredStore(folder / "store", progress=LOGGED)
    measure_reading(folder, students, store)
    judge_data(stages_of_tables(tables, METRICS), store)
    for stage in stages_of_tables(tables, METRICS):
        store.build(stage)
    with measured(folder, "table and report of what the store has"):
        write_report(run_tables("COCO rehearsed", tables, store, LOGGED, METRICS), folder / "report", LOGGED)


def measure_reading(folder: Path, students: Students, store: Store) -> None:
    """What each stage does with the data set first, and the self-critical reward of all training captions."""
    train = students.train("updown", "big", 0)
    store.build(students.data)
    store.build(train.vocabulary)
    vocabulary = train.vocabulary.load(store)
    with measured(folder, "read the data set from the store, as stages do"):
        references = students.data.load(store).references("train")
    with measured(folder, "number all training captions"):
        encoded = encode_captions(references, vocabulary, max_words=None)
    with measured(folder, "prepare the self-critical reward of all training captions"):
        CiderReward(encoded)


@dataclass(frozen=True, kw_only=True)
class FewerToLearn(ChangedData):
    """The data set with fewer training images, spread evenly; validation and test stay whole."""

    kept: int

    def changed(self, dataset: Dataset) -> Dataset:
        """See `ChangedData.changed`."""
        train = dataset.split("train")
        kept = [train[number * len(train) // self.kept] for number in range(min(self.kept, len(train)))]
        images = (*kept, *dataset.split("val"), *dataset.split("test"))
        captions = dataset.captions.only(image.id for image in images if image.id in dataset.captions)
        return Dataset(dataset.name, images, captions)

    def note(self, store: Store) -> str:
        """See `ChangedData.note`."""
        return f"{self.kept:,} training images are learnt from."

    def describe(self) -> str:
        """How many training images there are."""
        return f"{self.kept:,} training images"


@dataclass(frozen=True)
class RehearsedStudents(Students):
    """Captioners that learn from fewer images; vocabulary and features are those of all."""

    learnt: FewerToLearn | None = None

    def train(self, architecture: str, size: str, seed: int, labels: Labels | None = None) -> Train:
        """See `Students.train`."""
        run = super().train(architecture, size, seed, labels)
        return dataclasses.replace(run, data=self.learnt or self.data)


class MeasuredStore(Store):
    """A store that records what each of its stages takes."""

    def build(self, stage: Stage, progress: Progress | None = None, whole: bool = False) -> Path:
        """Build inputs first, so that they are not measured with the stage."""
        if self.has(stage, whole):
            return super().build(stage, progress, whole)
        for needed in stage.inputs():
            self.build(needed, progress)
        what = f"{type(stage).__name__}: {stage.describe()}".rstrip(": ")
        if isinstance(stage, Train) or (isinstance(stage, Generate) and stage.split == "train"):
            run = stage if isinstance(stage, Train) else stage.captioner
            assert isinstance(run, Train)
            what += f", {len(run.data.load(self).split('train')):,} images"
        with measured(self.root.parent, what) as line:
            path = super().build(stage, progress, whole)
            line["bytes"] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return path


@contextlib.contextmanager
def measured(folder: Path, what: str) -> Iterator[dict[str, Any]]:
    """Record seconds, CPU seconds (of helper programs too) and memory of a block that ends well (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # begin the peak of resident memory anew
    anonymous, ended = [resident()["anonymous"]], threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            anonymous.append(resident()["anonymous"])

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    line: dict[str, Any] = {"what": what}
    started, cpu = time.perf_counter(), sum(os.times()[:4])
    try:
        yield line
    finally:
        ended.set()
        watcher.join()
    line |= {"seconds": time.perf_counter() - started, "cpu_seconds": sum(os.times()[:4]) - cpu}
    record(folder, line | {"anonymous": max(anonymous), "peak": resident()["peak"]})


def record(folder: Path, line: dict[str, Any]) -> None:
    with (folder / MEASURED).open("a") as file:
        file.write(json.dumps(line) + "\n")


def run_command(folder: Path, *words: str) -> None:
    """Run `distilcap` with these words beside the data, its output to a file, and record what it took."""
    what = shlex.join(["distilcap", *words])
    if any(line["what"] == what for line in read_lines(folder / MEASURED)):
        return
    started = time.perf_counter()
    with (folder / f"{words[0]}.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *what.split()], stdout=output, stderr=output, cwd=folder
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # or it is taken to run still
    line: dict[str, Any] = {"what": what, "seconds": time.perf_counter() - started}
    line |= {"cpu_seconds": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss // 1024}
    record(folder, line | ({"failed": True} if process.returncode else {}))


def images_of(folder: Path, asked: int | None) -> int:
    """How many images the rehearsal in a folder has, or a new one gets."""
    known = read_json(folder / SIZE) if (folder / SIZE).exists() else None
    if known is None and asked is None and (folder / MEASURED).exists():
        raise SystemExit(f"{folder}: does not say of how many images it is; give `--images`.")
    if None not in (known, asked) and known != asked:
        raise SystemExit(f"{folder}: a rehearsal of {known:,} images; leave `--images` out or take another.")
    return int(known or asked or COCO_IMAGES)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, required=True, help="folder for data, store and measurements")
    parser.add_argument("--images", type=int, help=f"[default: the folder's, or {COCO_IMAGES}]")
    parser.add_argument("--learnt", type=int, help="training images to learn from  [default: all]")
    parser.add_argument("--only", choices=("data", "table"), help="this part alone, in this process")
    parser.add_argument("--write", action="store_true", help="put what was measured into docs/scale.md")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    given.images = images_of(given.to, given.images)
    if given.write:
        write_page(given.to, given.images)
    elif given.only == "data":
        make_coco(given.to, given.images)
    elif given.only == "table":
        run_table(given.to, given.learnt)
    else:
        given.to.mkdir(parents=True, exist_ok=True)
        write_json(given.to / SIZE, given.images)
        if not (given.to / "coco" / "dataset_coco.json").exists():
            run_part("data", given)
        run_command(given.to, *CHECK)
        run_command(given.to, *PLAN)
        run_part("table", given)


def run_part(name: str, given: argparse.Namespace) -> None:
    part = ["coco_rehearsal", "--to", str(given.to), "--images", str(given.images), "--only", name]
    part += [] if given.learnt is None else ["--learnt", str(given.learnt)]
    subprocess.run([sys.executable, "-m", "benchmarks", *part], check=True)


if __name__ == "__main__":
    main()
