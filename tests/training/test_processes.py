"""Two processes (gloo) follow the loss curve of one, resume to the bit, and only the first writes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_training import CAPTIONS, VOCABULARY, Pictures, options, training

from distilcap.data.captions import CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.decode.beam import BeamSearch
from distilcap.decode.captions import caption_images
from distilcap.errors import MissingError
from distilcap.training.objectives import SelfCritical
from distilcap.training.processes import ALONE, launched

HERE = Path(__file__).parent


def launch(command: list[str], count: int = 2) -> list[subprocess.CompletedProcess[str]]:
    """Start a command in several processes as `torchrun` does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "LOCAL_WORLD_SIZE": str(count)}
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
    done = []
    for process in started:
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
        done.append(subprocess.CompletedProcess(command, process.returncode, out, err))
    return done


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found."""
    folder = tmp_path_factory.mktemp("together")
    for one in launch([sys.executable, str(HERE / "two_processes.py"), str(folder)]):
        assert one.returncode == 0, one.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


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


def test_several_processes_without_accelerate_are_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingError, match=r"need the package accelerate: pip install 'distilcap\[scale\]'"):
        launched()


@pytest.mark.slow
def test_commands_share_their_work_and_the_first_process_alone_speaks(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (24, 6, 8), size=64)
    program = [sys.executable, "-m", "distilcap"]
    train = [*program, "train", "--data", str(tmp_path / "scenes"), "--captioner", "updown-tiny"]
    train += ["--image-size", "64", "--epochs", "1", "--scst-epochs", "1", "--min-count", "1"]
    first, second = launch([*train, "--store", str(tmp_path / "store")])
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "validation CIDEr" in first.stdout
    assert second.stdout == second.stderr == ""
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
        assert one.returncode == 0, one.stderr
    whole, shared = (CaptionSet.load(tmp_path / f"{name}.jsonl") for name in ("alone", "together"))
    assert list(shared) == list(whole)
    assert {id: shared.texts(id) for id in shared} == {id: whole.texts(id) for id in whole}

    first, second = launch([*program, "models"])
    assert "updown" in first.stdout
    assert (second.returncode, second.stdout) == (0, "")
    first, second = launch([*program, "generate", str(run), "--images", "x", "--to", str(tmp_path / "x")])
    assert first.returncode == 2
    assert "start one process a shard" in first.stderr
