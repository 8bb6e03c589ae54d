"""Two processes (gloo) follow the loss curve of one, resume to the bit, and only the first writes; however a
process ends, both end, and one of them says why."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ranks import LIMIT, SCENES
from test_training import CAPTIONS, VOCABULARY, Pictures, options, training
from torch.distributed import TCPStore

from distilcap.data.captions import CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.decode.beam import BeamSearch
from distilcap.decode.captions import caption_images
from distilcap.errors import LaunchError, MissingError
from distilcap.training.objectives import SelfCritical
from distilcap.training.processes import ALONE, launched

HERE = Path(__file__).parent


class Outcome(NamedTuple):
    """How a process ended, and what it printed."""

    code: int
    out: str
    err: str


def key_store() -> TCPStore:
    """Where processes find one another, on a free port; it answers while this object lives."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `ranks.py` has left what two processes did in each of its scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    stores = {name: key_store() for name in SCENES}
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])  # of helpers of tests
    arguments = [text for name, store in stores.items() for text in (name, str(store.port))]
    subprocess.run(
        [sys.executable, str(HERE / "ranks.py"), str(folder), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": path},
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def outcomes(scenes: Path) -> dict[str, list[Outcome]]:
    """How the processes ended, and what they printed."""
    found = json.loads((scenes / "outcomes.json").read_text())
    return {name: [Outcome(*rank) for rank in ranks] for name, ranks in found.items()}


@pytest.fixture(scope="module")
def together(scenes: Path, outcomes: dict[str, list[Outcome]]) -> list[dict[str, Any]]:
    """What two processes found."""
    assert outcomes["training"] == [Outcome(0, "", "")] * 2
    return [json.loads((scenes / "training" / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_follow_the_curves_of_one(
    together: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from two_processes import curves

    monkeypatch.setattr(SelfCritical, "_draw", SelfCritical._draw)  # restored afterwards
    alone = curves(tmp_path)
    assert set(alone) == {"cross-entropy", "self-critical", "tokens", "tokens alone"}
    assert "reward" in alone["self-critical"][-1]
    for name, records in alone.items():
        for rank in (0, 1):
            found = together[rank]["curves"][name]
            assert len(found) == len(records) == 3
            for one, other in zip(found, records, strict=True):
                assert one == pytest.approx(other, rel=1e-4, abs=2e-6), name


def test_two_processes_resume_to_the_bit(together: list[dict[str, Any]]) -> None:
    assert [one["equal"] for one in together] == [True, True]


def test_captions_of_shares_are_those_of_all(together: list[dict[str, Any]], tmp_path: Path) -> None:
    captioner = training(tmp_path, Pictures(), options()).trained.captioner
    ids = tuple(CAPTIONS)[:5]
    alone = caption_images(captioner, VOCABULARY, Pictures(), ids, BeamSearch(3, 6), n_best=2)
    for one in together:
        assert one["captions"] == {id: alone.texts(id) for id in alone}
        assert list(one["captions"]) == list(ids)


def test_processes_tell_one_another(together: list[dict[str, Any]]) -> None:
    assert [one["count"] for one in together] == [2, 2]
    assert [one["gathered"] for one in together] == [[0, 1], [0, 1]]
    assert [one["agreed"] for one in together] == [0, 0]
    assert ALONE.agree("x") == "x"
    assert ALONE.gather("x") == ["x"]
    assert ALONE.share((1, 2, 3)) == (1, 2, 3)


def test_a_launch_without_accelerate_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingError, match=r"needs the package accelerate: pip install 'distilcap\[scale\]'"):
        launched()


def test_processes_leave_without_a_word(outcomes: dict[str, list[Outcome]], scenes: Path) -> None:
    assert outcomes["all is well"] == [Outcome(0, "", "")] * 2
    assert len(list((scenes / "all-is-well/store").glob("scene-*/stage.json"))) == 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_no_thread_of_the_connections_is_left_when_python_goes(
    outcomes: dict[str, list[Outcome]], scenes: Path
) -> None:
    """One that still returns a tensor then aborts the process, once in 25 times."""
    for scene in ("all-is-well", "the-first-fails"):
        for rank in (0, 1):
            names = json.loads((scenes / scene / f"threads{rank}").read_text())
            assert not [name for name in names if "gloo" in name]


@pytest.mark.parametrize(("who", "speaks"), [("the first fails", 0), ("the second fails", 1)])
def test_an_error_of_one_process_ends_both_and_is_told_once(
    outcomes: dict[str, list[Outcome]], scenes: Path, who: str, speaks: int
) -> None:
    ranks = outcomes[who]
    assert ranks[speaks] == Outcome(2, "", "Error: images.csv:7: damaged.\n")
    assert ranks[1 - speaks] == Outcome(2, "", "")
    assert not list(scenes.glob(f"{who.replace(' ', '-')}/store/scene-*"))


def test_the_same_error_of_both_is_told_once(outcomes: dict[str, list[Outcome]]) -> None:
    ranks = outcomes["both fail"]
    assert [rank.code for rank in ranks] == [2, 2]
    assert "".join(rank.err for rank in ranks) == "Error: images.csv:7: damaged.\n"


def test_a_process_that_ends_without_a_word_is_missed(outcomes: dict[str, list[Outcome]]) -> None:
    line = r"Error: Another process of this launch has ended \(.+\); what was finished is kept, and .*\n"
    first, second = outcomes["the second is killed"]
    assert second.code == -signal.SIGKILL
    assert first.code == 2
    assert re.fullmatch(line, first.err)
    first, second = outcomes["the second has a bug"]
    assert second.code == 1
    assert re.fullmatch(r"Error: This is a bug in distilcap: AssertionError in .*: a bug\. .*\n", second.err)
    assert first == Outcome(2, "", "")  # the bug was told already


def test_sigterm_ends_processes_without_a_word_or_a_scratch_file(
    outcomes: dict[str, list[Outcome]], scenes: Path
) -> None:
    first, second = outcomes["both are terminated"]
    assert first == Outcome(128 + signal.SIGTERM, "", "")
    assert second.code in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert second.err == ""
    (alone,) = outcomes["one process is terminated"]
    assert alone == Outcome(128 + signal.SIGTERM, "", "")
    for scene in ("both-are-terminated", "one-process-is-terminated"):
        (folder,) = scenes.glob(f"{scene}/store/.partial/scene-*")
        assert {file.name for file in folder.iterdir()} == {"begun", "seconds.json"}


def launch(command: list[str], count: int = 2) -> list[Outcome]:
    """Start a command in several processes as `torchrun` does."""
    store = key_store()
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    shared |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "LOCAL_WORLD_SIZE": str(count)}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    started = [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        printed = [process.communicate(timeout=LIMIT) for process in started]
    finally:
        for process in started:
            process.kill()
    return [Outcome(process.returncode, *texts) for process, texts in zip(started, printed, strict=True)]


@pytest.mark.parametrize("problem", [ValueError, RuntimeError])
def test_a_launch_whose_processes_do_not_meet_is_told_how_to_be_started(
    monkeypatch: pytest.MonkeyPatch, problem: type[Exception]
) -> None:
    def lost(**_: object) -> None:
        raise problem("there is no `MASTER_ADDR`")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("accelerate.PartialState", lost)
    with pytest.raises(
        LaunchError,
        match=r"^The 2 processes .* do not meet \(there is no `MASTER_ADDR`\); start .*`torchrun`",
    ):
        launched()


def end_by_sigterm(program: list[str], folder: Path) -> None:
    """Start a training by torchrun, and send SIGTERM to that once a checkpoint is there."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    torchrun += ["--log-dir", str(folder / "logs"), "--redirects", "3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with subprocess.Popen([*torchrun, *program], env=environment, stderr=subprocess.PIPE) as process:
        try:
            while not list((folder / "store").glob(".partial/train-*/checkpoint.safetensors")):
                assert process.poll() is None
                time.sleep(0.05)
            process.terminate()
            process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    assert process.returncode not in (0, -signal.SIGKILL)
    errors = [path.read_text() for path in (folder / "logs").rglob("stderr.log")]
    assert len(errors) == 2
    for text in errors:
        assert "Traceback" not in text
        assert "terminate called" not in text


@pytest.mark.slow
def test_commands_share_their_work_and_the_first_process_alone_speaks(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (24, 6, 8), size=64)
    program = [sys.executable, "-m", "distilcap"]
    train = [*program, "train", "--data", str(tmp_path / "scenes"), "--captioner", "updown-tiny"]
    train += ["--image-size", "64", "--epochs", "1", "--scst-epochs", "1", "--min-count", "1"]
    end_by_sigterm([*train[1:], "--store", str(tmp_path / "store")], tmp_path)
    first, second = launch([*train, "--store", str(tmp_path / "store")])  # goes on
    assert first.code == second.code == 0, first.err + second.err
    assert "validation CIDEr" in first.out
    assert second.out == second.err == ""
    (run,) = (tmp_path / "store").glob("train-*")
    assert (run / "stage.json").exists()
    assert not list((tmp_path / "store/.partial").iterdir())

    alone = [*program, "generate", str(run), "--split", "train", "--beam", "3", "--n-best", "2"]
    subprocess.run([*alone, "--to", str(tmp_path / "alone.jsonl")], check=True, capture_output=True)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    for made in (tmp_path / "copy").glob("generate-*"):
        shutil.rmtree(made)
    copied = [str(tmp_path / "copy" / run.name) if one == str(run) else one for one in alone]
    for one in launch([*copied, "--to", str(tmp_path / "together.jsonl")]):
        assert one.code == 0, one.err
    whole, shared = (CaptionSet.load(tmp_path / f"{name}.jsonl") for name in ("alone", "together"))
    assert list(shared) == list(whole)
    assert {id: shared.texts(id) for id in shared} == {id: whole.texts(id) for id in whole}

    first, second = launch([*program, "models"])
    assert "updown" in first.out
    assert (second.code, second.out) == (0, "")
    first, second = launch([*program, "generate", str(run), "--images", "x", "--to", str(tmp_path / "x")])
    assert first.code == second.code == 2
    assert (first.err + second.err).count("\n") == 1
    assert "start one process a shard" in first.err + second.err
