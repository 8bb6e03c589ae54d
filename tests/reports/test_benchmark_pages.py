"""Measurements that write into docs/ put nothing there that is partial or goes under another name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks import across, bundle, encoders, features, labelling, memory, speed
from distilcap.errors import ConfigError, DataError
from distilcap.files import read_json
from distilcap.reports.records import RESULTS, read_results

DOCS = Path(__file__).resolve().parents[2] / "docs/results"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be put into pages, or kept."""
    done: list[str] = []
    for module in (bundle, speed):
        monkeypatch.setattr(module, "put_between", lambda *given: done.append(given[2]))
    monkeypatch.setattr(bundle, "write_json", lambda *_: done.append("kept"))
    return done


def test_a_table_of_bundles_loses_no_precision(written: list[str]) -> None:
    lines = read_json(bundle.KEPT)
    with pytest.raises(SystemExit, match=r"would lose chromium-wasm float16, .* onnxruntime float32"):
        bundle.write_pages([line for line in lines if line["precision"] == "int8"])
    with pytest.raises(KeyError):
        bundle.write_pages([*lines, {"runtime": "onnxruntime", "precision": "int4"}])
    assert not written
    bundle.write_pages(lines)
    assert written[2] == "kept"


def test_a_table_of_speed_loses_no_row(
    written: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = str(tmp_path / "speed.md")
    monkeypatch.setattr(speed, "measure", lambda _: pytest.fail("measured"))
    monkeypatch.setattr("sys.argv", ["speed", "--tasks", "xe", "--table", page])
    with pytest.raises(SystemExit, match="has 12 rows more"):
        speed.main()
    row: dict[str, Any] = {"task": "xe", "model": "updown", "size": "big", "lengths": "full"}
    with pytest.raises(SystemExit, match="has 15 rows more"):
        speed.write_table(tmp_path / "speed.md", [], [row, row | {"model": "aoanet", "lengths": "coco"}])
    assert not written


def test_scores_of_encoders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        encoders.scores_of(tmp_path / "resluts.json")


def test_an_engine_is_the_one_that_was_asked_for() -> None:
    graph, plain = SimpleNamespace(name="x", engine="onnxruntime"), SimpleNamespace(name="x")
    features.check_engine(graph, "onnxruntime")
    features.check_engine(plain, "torch")
    with pytest.raises(ConfigError, match="x cannot be run by onnxruntime here"):
        features.check_engine(plain, "onnxruntime")


@pytest.mark.parametrize(
    ("code", "said"), [(1, "labelling by ray failed"), (0, "before a worker could be killed")]
)
def test_a_command_that_ended_early_is_not_waited_for_nor_called_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    class Ended:
        pid, exitcode = 1, code

        def __init__(self, **_: Any) -> None: ...

        def is_alive(self) -> bool:
            return False

        def start(self) -> None: ...

        join = start

    context = SimpleNamespace(Process=Ended)
    monkeypatch.setattr(labelling.multiprocessing, "get_context", lambda _: context)
    monkeypatch.setattr(labelling.time, "sleep", lambda _: pytest.fail("waited"))
    monkeypatch.setattr(labelling, "_kill_a_worker", lambda *_: 0)
    with pytest.raises(SystemExit, match=said):
        labelling.command(tmp_path, tmp_path, tmp_path, 1, "ray", kill=True)


def test_only_a_worker_that_the_command_began_is_killed() -> None:
    def begin(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([name, "30"], executable="/bin/sleep")

    other, worker = begin("sleep"), begin("ray::shard")
    try:
        assert labelling._kill_a_worker("ray", other.pid) == 0
        assert worker.poll() is None
        assert labelling._kill_a_worker("ray", os.getpid()) == 1
        assert worker.wait(5) == -signal.SIGKILL
    finally:
        for process in (other, worker):
            process.kill()
            process.wait()


def test_images_to_extract_from_have_any_ending_of_theirs(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there are no images in it"):
        features.images_in(tmp_path, 5)
    for name in ("a.jpeg", "b.JPG", "c.webp", "d.txt", "e.png"):
        (tmp_path / name).touch()
    assert [image.id for image in features.images_in(tmp_path, 3)] == ["a", "b", "c"]


def test_rows_of_reports_are_compared_by_what_is_packed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run each, so that the interval is over test images alone, as in the report."""
    folder = str(DOCS / "flickr8k-families")
    rows = [folder, "transformer-small", folder, "updown-small"]
    monkeypatch.setattr(sys, "argv", ["across", *rows])
    across.main()
    said = capsys.readouterr().out
    assert said == f"{folder}: transformer-small less {folder}: updown-small: +4.4 (+2.1 to +6.8)\n"
    monkeypatch.setattr(sys, "argv", ["across", *rows[:3], "updown-tiny"])
    with pytest.raises(
        ConfigError, match="no scores of a row 'updown-tiny', but of updown-medium; updown-small; "
    ):
        across.main()


def test_of_two_scores_of_a_run_the_reports_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack may hold the captions of one run by a CPU and by another machine."""
    folder = DOCS / "flickr8k-families"
    row = read_results(folder / RESULTS).rows[0]
    row = replace(row, scores=replace(row.scores, beam={across.METRIC: 0.5}))
    here, other, second = {"a": 0.3, "b": 0.5}, {"a": 0.4, "b": 0.6}, {"a": 0.5, "b": 0.5}
    for packed in ([[here, other], [second]], [[other, here], [second]]):
        assert across.reported(row, packed, folder) == (other, second)
    with pytest.raises(ConfigError, match=r"its packs have scores of .*, but none with the report's mean"):
        across.reported(row, [[here], [second]], folder)
    monkeypatch.setattr(across, "own_teachers", lambda _: "by the rule of tables")
    assert {scored.own_teachers for scored, _ in across.rows_of(folder).values()} == {"by the rule of tables"}


def test_memory_of_less_than_ten_batches(tmp_path: Path) -> None:
    memory.sparse_store(tmp_path / "store", 20, 2, 8)
    found = memory.epoch(tmp_path / "store", 20, 2, 8, step_every=100)
    assert [line["images"] for line in found["curve"]] == [10, 20]
