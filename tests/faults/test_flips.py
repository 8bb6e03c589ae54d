"""One bit flipped at a random place of every kind of file: whatever reads it stops, or gives the same."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_files import flip
from fault_work import Experiment, Work
from forks import KILLED, Ended

STAGES = (
    *("data", "hidden", "vocabulary", "features", "training", "tuned", "labels", "drawn", "decoding"),
    *("captions", "scores", "latency", "bundle"),
)
FLIPS = 3  # of each file of a stage
Figures = dict[str, Counter[str]]


def judged(ended: Ended, what: str, figures: Figures) -> None:
    flips = ended.checked().value
    figures["flips"][what] += flips.refused + flips.unused + len(flips.wrong)
    assert not flips.wrong, "\n".join(flips.wrong)
    assert flips.refused > 0


@pytest.mark.parametrize(
    "stage", ["captions", *(pytest.param(name, marks=pytest.mark.faults) for name in STAGES)]
)
def test_complete_stages(
    stage: str,
    request: pytest.FixtureRequest,
    experiment: Experiment,
    seed: int,
    tmp_path: Path,
    figures: Figures,
) -> None:
    """Nothing that can be read by a stage's readers is read damaged; `store verify` finds every flip."""
    if stage == "bundle":
        request.getfixturevalue("bundled")
    store = Path(shutil.copytree(experiment.store, tmp_path / "store"))
    experiment.forks.run("build", experiment.scenes, store, stage).checked()
    ended = experiment.forks.run("flips_in_stage", stage, experiment.scenes, store, seed, FLIPS)
    judged(ended, "stages", figures)


def _captions(experiment: Experiment, folder: Path) -> tuple[str, tuple[object, ...]]:
    shutil.copytree(experiment.captions.parent, folder)
    return "flips_in_captions", (folder,)


def _scores(experiment: Experiment, folder: Path) -> tuple[str, tuple[object, ...]]:
    attempt = Work(experiment, "evaluate").anew(folder.parent / "evaluate")
    experiment.forks.run(attempt.job, *attempt.arguments).checked()
    folder.mkdir()
    shutil.copy(attempt.made / "scores.json", folder)
    return "flips_in_scores", (folder,)


def _encoder(experiment: Experiment, folder: Path) -> tuple[str, tuple[object, ...]]:
    experiment.forks.run("encoder_file", folder / "encoder.safetensors").checked()
    return "flips_in_encoder", (folder,)


def _bundle(experiment: Experiment, folder: Path) -> tuple[str, tuple[object, ...]]:
    shutil.copytree(experiment.store / experiment.keys["bundle"] / "bundle", folder)
    return "flips_in_bundle", (experiment.scenes, folder)


def _pack(experiment: Experiment, folder: Path) -> tuple[str, tuple[object, ...]]:
    folder.mkdir()
    experiment.forks.run("pack", experiment.store, folder / "results.tar.gz").checked()
    return "flips_in_pack", (folder,)


FILES: dict[str, tuple[int, Callable[[Experiment, Path], tuple[str, tuple[object, ...]]]]] = {
    "captions files": (10, _captions),
    "score files": (30, _scores),
    "saved encoders": (15, _encoder),
    "bundles": (4, _bundle),
    "packs": (30, _pack),
}


@pytest.mark.parametrize(
    "what, count",
    [
        ("captions files", 4),
        *(pytest.param(name, count, marks=pytest.mark.faults) for name, (count, _) in FILES.items()),
    ],
)
def test_files_by_themselves(
    what: str,
    count: int,
    request: pytest.FixtureRequest,
    experiment: Experiment,
    seed: int,
    tmp_path: Path,
    figures: Figures,
) -> None:
    if what == "bundles":
        request.getfixturevalue("bundled")
    job, arguments = FILES[what][1](experiment, tmp_path / "folder")
    judged(experiment.forks.run(job, *arguments, seed, count), what, figures)


def unfinished(folder: Path) -> list[Path]:
    """Files of work that was killed: all that the next start may read."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and (".partial/" in path.as_posix() or "shard-" in path.name)
        and path.stat().st_size
    )


@pytest.mark.parametrize(
    "work, count",
    [
        ("extraction", 3),
        pytest.param("training", 25, marks=pytest.mark.faults),
        pytest.param("training with the encoder", 10, marks=pytest.mark.faults),
        pytest.param("labelling photographs", 40, marks=pytest.mark.faults),
        pytest.param("labelling a split", 20, marks=pytest.mark.faults),
        pytest.param("extraction", 40, marks=pytest.mark.faults),
    ],
    indirect=["work"],
)
def test_unfinished_work(work: Work, count: int, seed: int, tmp_path: Path, figures: Figures) -> None:
    """Killed, damaged, started again: the damage is named, or what was damaged is done again."""
    bits, forks, done, again = random.Random(f"{seed} {work.name}"), work.experiment.forks, 0, 0
    while done < count:
        attempt = work.anew(tmp_path / "folder")
        (ended,) = forks.together(attempt.call(kill_after=bits.uniform(0.2, 1.0) * work.done.seconds))
        left = unfinished(attempt.into)
        if ended.code != KILLED or not left:
            continue
        path = bits.choice(left)
        bit = flip(path, bits)
        (ended,) = forks.together(attempt.call())
        done += 1
        if ended.code == 0:
            assert not work.half_made(attempt), (path, bit, ended.said)
            work.check(attempt)
            again += 1
        else:
            assert str(attempt.into) in ended.refusal(), (path, bit, ended.said)
    figures["flips"][f"unfinished {work.name}"] += done
