"""Full disks, folders that cannot be written, files that cannot be read, company, and lock holders that die.

Whatever happens, nothing half-written stands under its final name, the error names the path, and the same
work begun again comes to the same result.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_work import KINDS, Attempt, Work
from forks import KILLED, Ended

Figures = dict[str, Counter[str]]
NOBODY = 65534
ROOT = os.getuid() == 0
FULL = [pytest.param(name, marks=pytest.mark.faults) for name in KINDS if name != "training with the encoder"]
every_work = pytest.mark.parametrize("work", [*FULL, "evaluation"], indirect=True)
every_full = pytest.mark.parametrize("work", FULL, indirect=True)


@pytest.fixture
def folder(work: Work, request: pytest.FixtureRequest) -> Path:
    """A folder that any user may enter."""
    folder = work.experiment.folder / f"starved-{request.node.name}".replace("/", "-")
    folder.mkdir(exist_ok=True)
    return folder


def refused(work: Work, attempt: Attempt, ended: Ended) -> None:
    """One line that names where, and nothing half-written."""
    assert str(attempt.into) in ended.refusal(), ended.said
    assert work.half_made(attempt) == []


def again(work: Work, attempt: Attempt) -> None:
    """The same work comes to its end."""
    (ended,) = work.experiment.forks.together(attempt.call())
    ended.checked()
    work.check(attempt)


@every_work
def test_files_that_may_not_grow(work: Work, folder: Path, seed: int, figures: Figures) -> None:
    """What a full disk does, at one file."""
    sizes, met = random.Random(f"{seed} {work.name}"), 0
    largest = max(work.done.sizes)
    for _ in range(6):
        attempt = work.anew(folder / "work")
        (ended,) = work.experiment.forks.together(attempt.call(file_bytes=sizes.randint(1, largest)))
        if ended.code == 0:
            work.check(attempt)
            continue
        refused(work, attempt, ended)
        again(work, attempt)
        met += 1
    figures["other faults"]["files that may not grow"] += met
    assert met


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A small file system of its own."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "none", str(disk)]
    if not ROOT or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@every_full
def test_full_disks(work: Work, disk: Path, seed: int, figures: Figures) -> None:
    sizes, met = random.Random(f"{seed} {work.name}"), 0
    needed = sum(work.done.sizes)
    for _ in range(4):
        attempt = work.anew(disk / "work")
        free = os.statvfs(disk)
        room = sizes.randint(0, max(1, needed // free.f_bsize)) if met else 0
        (disk / "ballast").write_bytes(bytes(max(0, free.f_bavail - room) * free.f_bsize))
        (ended,) = work.experiment.forks.together(attempt.call())
        (disk / "ballast").unlink()
        if ended.code == 0:
            work.check(attempt)
            continue
        refused(work, attempt, ended)
        again(work, attempt)
        met += 1
    figures["other faults"]["full disks"] += met
    assert met


@every_full
def test_read_only_disks(work: Work, disk: Path, figures: Figures) -> None:
    attempt = work.anew(disk / "work")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    (ended,) = work.experiment.forks.together(attempt.call())
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    refused(work, attempt, ended)
    again(work, attempt)
    figures["other faults"]["read-only disks"] += 1


@every_work
def test_folders_that_may_not_be_written(work: Work, folder: Path, figures: Figures) -> None:
    attempt = work.anew(folder / "work")
    folders = [attempt.into, *(path for path in attempt.into.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    (ended,) = work.experiment.forks.together(attempt.call(user=NOBODY if ROOT else None))
    for path in folders:
        path.chmod(0o755)
    refused(work, attempt, ended)
    again(work, attempt)
    figures["other faults"]["folders that may not be written"] += 1


@every_work
def test_files_that_may_not_be_read(work: Work, folder: Path, seed: int, figures: Figures) -> None:
    """Each of the files that the work reads, as far as it lies in a folder of its own."""
    files, met = random.Random(f"{seed} {work.name}"), 0
    attempt = work.anew(folder / "work")
    there = [path for path in sorted(attempt.into.rglob("*")) if path.is_file()]
    for path in files.sample(there, min(8, len(there))):
        attempt = work.anew(folder / "work")
        if ROOT:
            for other in (attempt.into, *attempt.into.rglob("*")):
                os.chown(other, NOBODY, NOBODY)
        path.chmod(0)
        (ended,) = work.experiment.forks.together(attempt.call(user=NOBODY if ROOT else None))
        path.chmod(0o644)
        if ended.code == 0:  # it need not be read
            work.check(attempt)
            continue
        assert str(path) in ended.refusal()
        again(work, attempt)
        met += 1
    figures["other faults"]["files that may not be read"] += met


@every_work
@pytest.mark.parametrize("count", [2, 3])
def test_company(work: Work, count: int, folder: Path, figures: Figures) -> None:
    """All come to the same result, or one does and the others are told to wait."""
    attempt = work.anew(folder / "work")
    ends = work.experiment.forks.together(*[attempt.call() for _ in range(count)])
    for ended in ends:
        if ended.code:
            assert "another process is at this; wait until it ends" in ended.refusal()
    assert 0 in [ended.code for ended in ends]
    again(work, attempt)
    figures["other faults"][f"{count} processes at once"] += 1


@every_work
def test_lock_holders_that_die(work: Work, folder: Path, seed: int, figures: Figures) -> None:
    moments = random.Random(f"{seed} {work.name}")
    for _ in range(3):
        attempt = work.anew(folder / "work")
        after = moments.uniform(0.1, 0.8) * work.done.seconds
        first, second = work.experiment.forks.together(attempt.call(kill_after=after), attempt.call())
        for ended in (first, second):  # either may have the lock
            if ended.code not in (0, KILLED):
                assert "another process is at this; wait until it ends" in ended.refusal()
        again(work, attempt)
        figures["other faults"]["lock holders killed"] += first.code == KILLED
