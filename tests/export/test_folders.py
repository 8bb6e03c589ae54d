"""Folders that are whole or not there, whatever ends the process that writes them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

import pytest

from distilcap.errors import ConfigError
from distilcap.export import folders
from distilcap.export.folders import scratch_folder, whole_folder
from distilcap.locks import LockedError

WRITER = """
import os, sys
from pathlib import Path
from distilcap.export import folders

to, moment = Path(sys.argv[1]), sys.argv[2]
moves = []

def stop(*_):
    print("here", flush=True)
    sys.stdin.read()

def replace(old, new, real=os.replace):
    moves.append(new)
    if moment == f"move {len(moves)}":
        stop()
    real(old, new)

folders.os.replace = replace
with folders.whole_folder(to, "mark") as new:
    (new / "mark").write_text("new")
    (new.with_name("beside")).mkdir()
    if moment == "inside":
        stop()
"""


def write(to: Path, content: str) -> None:
    with whole_folder(to, "mark") as new:
        (new / "mark").write_text(content)


def stopped_at(to: Path, moment: str) -> subprocess.Popen[str]:
    """A process that writes `to` and waits at a moment of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(to), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


@pytest.mark.parametrize("moment", ["inside", "move 1", "move 2"])
@pytest.mark.parametrize("older", [True, False])
def test_what_a_killed_process_left_is_removed_at_the_next_start(
    tmp_path: Path, moment: str, older: bool
) -> None:
    to = tmp_path / "bundle"
    if older:
        write(to, "older")
    elif moment == "move 2":
        return  # there is but one
    process = stopped_at(to, moment)
    # A folder that is being written is nobody's leftover.
    (alive,) = tmp_path.glob(".*")
    write(tmp_path / "other", "other")
    assert (alive / "new" / "mark").read_text() == "new"
    process.kill()
    process.communicate()
    assert to.exists() == (older and moment != "move 2")
    write(tmp_path / "other", "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == (["bundle", "other"] if older else ["other"])
    if older:  # put back, where it had been set aside
        assert (to / "mark").read_text() == "older"


def test_sigterm_as_an_exception_leaves_nothing(tmp_path: Path) -> None:
    script = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n" + WRITER
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "bundle"), "inside"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_everything_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "bundle", "older")

    def fail() -> None:
        with whole_folder(tmp_path / "bundle", "mark") as new:
            (new / "mark").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (tmp_path / "bundle" / "mark").read_text() == "older"


def test_what_a_person_put_there_stays(tmp_path: Path) -> None:
    to = tmp_path / "site"
    ours = {"mark", "old"}

    def write(**options: Collection[str]) -> None:
        with whole_folder(to, "mark", **options) as new:
            (new / "mark").write_text("new")

    write()
    (to / "old").write_text("ours, and of an older page")
    (to / ".git").mkdir()
    (to / ".git" / "HEAD").write_text("main")
    (to / "CNAME").write_text("example.org")
    with pytest.raises(ConfigError, match=r"holds \.git; move that elsewhere"):
        write()
    write(ours=ours)
    assert {path.name for path in to.iterdir()} == {"mark", ".git", "CNAME"}
    assert (to / ".git" / "HEAD").read_text() == "main"
    (tmp_path / "link").symlink_to(to)
    with whole_folder(tmp_path / "link", "mark", ours) as new:
        (new / "mark").write_text("newest")
    assert (tmp_path / "link").is_symlink()
    assert (to / "mark").read_text() == "newest"


def test_what_cannot_be_replaced_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted folder, and the one that a shell stands in: it would be left in a folder that is deleted."""
    inside = tmp_path / "here" / "inside"
    inside.mkdir(parents=True)
    (tmp_path / "here" / "mark").write_text("older")
    for place, to in ((inside.parent, Path(".")), (inside, inside.parent), (inside, Path(".."))):
        monkeypatch.chdir(place)
        with pytest.raises(ConfigError, match=r"here is replaced, but is the folder you are in or above"):
            write(to, "new")
    assert (tmp_path / "here" / "mark").read_text() == "older"
    write(Path("bundle"), "below it")
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "disk")
    with pytest.raises(ConfigError, match=r"disk is a mounted folder.*; name a folder inside it"):
        write(tmp_path / "disk", "new")
    monkeypatch.setattr("pathlib.Path.cwd", lambda: os.stat(tmp_path / "deleted"))
    write(tmp_path / "here", "new")


def test_ctrl_c_between_the_two_moves_puts_the_older_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(old: Path, new: Path) -> None:
        real(old, new)
        if new.name == "older":
            raise KeyboardInterrupt

    write(tmp_path / "bundle", "older")
    real = os.replace
    monkeypatch.setattr(folders.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "bundle", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (tmp_path / "bundle" / "mark").read_text() == "older"


def test_only_scratch_folders_are_removed(tmp_path: Path) -> None:
    """A link to a person's folder with a scratch folder's name is left alone, and so is what it leads to."""
    (tmp_path / "dear").mkdir()
    (tmp_path / "dear" / "photo").touch()
    (tmp_path / ".x.distilcap-scratch-1").symlink_to(tmp_path / "dear")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".y.distilcap-scratch-2").write_text("a file")
    before = sorted(tmp_path.rglob("*"))
    write(tmp_path / "dear2", "content")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "dear2", tmp_path / "dear2" / "mark"])


def _write_often(folder: str) -> None:
    for number in range(25):
        with scratch_folder(Path(folder), "name") as scratch:
            (scratch / "file").write_text(str(number))
            time.sleep(0.001)
            assert (scratch / "file").read_text() == str(number)


def test_processes_that_start_together_leave_each_other_alone(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_often, args=(str(tmp_path),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert os.listdir(tmp_path) == []


def test_a_folder_taken_for_a_leftover_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = folders.lock_folder, []

    def late(folder: Path) -> int:
        descriptor = lock(folder)
        if not taken:
            taken.append(folder)
            shutil.rmtree(folder)
            raise LockedError(folder)
        return descriptor

    monkeypatch.setattr(folders, "lock_folder", late)
    with scratch_folder(tmp_path) as scratch:
        assert scratch.is_dir()
        assert scratch not in taken
