"""Sizes and timings, and the four commands."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from distilcap.cli.export import bench as bench_command
from distilcap.cli.export import export as export_command
from distilcap.cli.export import serve as serve_command
from distilcap.cli.export import web as web_command
from distilcap.errors import BundleError, DataError, MissingError
from distilcap.export.bench import Spread, bench, megabytes_by_part
from distilcap.export.browser.site import browser_runtime
from distilcap.runtime.decode_options import DecodeOptions


def test_spread_is_the_middle_and_the_95th_percentile():
    assert Spread.of([3.0]) == Spread(3.0, 3.0)
    assert Spread.of(list(map(float, range(100, -1, -1)))) == Spread(50.0, 95.0)


def test_megabytes_by_part_add_up(exported):
    parts = megabytes_by_part(exported.manifest)
    on_disk = sum(path.stat().st_size for path in exported.folder.iterdir() if "manifest" not in path.name)
    assert parts["all"] == pytest.approx(on_disk / 1e6)
    assert parts["encoder"] == (exported.folder / "encoder.onnx").stat().st_size / 1e6
    assert parts["decoder"] > 0.9 * (exported.folder / "decoder.bin").stat().st_size / 1e6


def test_bench_in_onnx_runtime(exported):
    found, failed = bench(exported.folder, images=4, threads=(1, 2), browser=False)
    assert not failed
    assert [(one.runtime, one.precision, one.threads) for one in found] == [
        ("onnxruntime", "float32", 1),
        ("onnxruntime", "float32", 2),
    ]
    for one in found:
        assert list(one.ms_per_image) == ["pixels", "12 MP", "encoder", "greedy", "beam", "all"]
        assert all(0 < part.median <= part.p95 for part in one.ms_per_image.values())
        assert one.ms_per_image["all"].median > one.ms_per_image["encoder"].median
        if sys.platform == "linux":
            assert one.peak_megabytes is not None
            assert 20 < one.peak_megabytes < 400, "of a process without PyTorch"


def test_what_is_not_installed_is_left_out_and_told(exported, monkeypatch):
    notes = []

    class Notes:
        def track(self, items, description, total=None, done=0):
            yield from items

        def note(self, message):
            notes.append(message)

    monkeypatch.setenv("PATH", "")
    assert bench(exported.folder, images=1, threads=(), browser=True, progress=Notes()) == ([], [])
    monkeypatch.setattr("distilcap.export.browser.bench.chromium_program", lambda: None)
    bench(exported.folder, images=1, threads=(1,), progress=Notes())
    assert all("Chromium" in note for note in notes)
    assert notes


@pytest.mark.parametrize("failing", ["onnxruntime", "chromium-wasm", "executorch"])
def test_a_runtime_that_fails_costs_no_other_figure(exported, monkeypatch, tmp_path, failing):
    runtimes = {"_time_onnxruntime": "onnxruntime", "_time_executorch": "executorch"}

    def timing(runtime):
        def time(bundle, photos, threads):
            if runtime == failing and threads == 1:
                raise BundleError("encoder: it cannot run this.")
            return dict.fromkeys(("pixels", "encoder", "greedy", "beam"), [1.0] * len(photos)), None

        return time

    manifest = dataclasses.replace(
        exported.manifest, files=exported.manifest.files | {"encoder.pte": {"bytes": 5, "sha256": "0" * 64}}
    )
    monkeypatch.setattr("distilcap.export.bench.read_manifest", lambda folder: manifest)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    in_process = "distilcap.export.bench._in_new_process"
    monkeypatch.setattr(in_process, lambda function: timing(runtimes[function.__name__]))
    chromium = timing("chromium-wasm")
    monkeypatch.setattr(
        "distilcap.export.browser.bench.time_chromium",
        lambda bundle, photos, threads, runtime: chromium(bundle, photos, threads),
    )
    to = tmp_path / "bench.json"
    done = CliRunner().invoke(bench_command, [str(exported.folder), "--repeats", "1", "--json", str(to)])
    there = [(one["runtime"], one["threads"]) for one in json.loads(to.read_text())]
    every = [(name, threads) for name in ("onnxruntime", "chromium-wasm", "executorch") for threads in (1, 2)]
    assert there == [one for one in every if one != (failing, 1)]
    assert isinstance(done.exception, BundleError)
    assert str(done.exception) == (
        f"Not measured: {exported.folder} in {failing}, 1 thread: encoder: it cannot run this."
    )


def test_a_bundle_that_is_none_costs_no_other_figure(exported, tmp_path):
    to = tmp_path / "bench.json"
    bundles = [str(tmp_path), str(exported.folder)]
    options = ["--no-browser", "--threads", "1", "--repeats", "1", "--json", str(to)]
    done = CliRunner().invoke(bench_command, [*bundles, *options])
    assert [one["runtime"] for one in json.loads(to.read_text())] == ["onnxruntime"]
    assert isinstance(done.exception, BundleError)
    assert str(done.exception).startswith(f"Not measured: {tmp_path}: not a bundle")


@pytest.mark.slow
def test_bench_in_chromium(exported):
    try:
        browser_runtime()
        found, failed = bench(exported.folder, images=3, threads=(1,))
    except MissingError as error:
        pytest.skip(str(error))
    if len(found) < 2:
        pytest.skip("Chromium is not installed")
    assert not failed
    assert found[1].runtime == "chromium-wasm"
    assert found[1].ms_per_image["encoder"].median > 0
    assert found[1].peak_megabytes is None or found[1].peak_megabytes > 20


def test_the_bench_command_writes_json(exported, tmp_path):
    to = tmp_path / "bench.json"
    arguments = [str(exported.folder), "--no-browser", "--threads", "1", "--repeats", "2", "--json", str(to)]
    done = CliRunner().invoke(bench_command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "onnxruntime" in done.output
    (record,) = json.loads(to.read_text())
    keys = {"runtime", "precision", "threads", "megabytes", "ms_per_image", "peak_megabytes"}
    assert set(record) == keys
    assert set(record["ms_per_image"]["encoder"]) == {"median", "p95"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: holds no photos."):
        CliRunner().invoke(
            bench_command, [str(exported.folder), "--photos", str(tmp_path / "empty")], catch_exceptions=False
        )


def test_the_export_command_tells_parity_and_sizes(run, encoder, tmp_path, monkeypatch):
    recipe = SimpleNamespace(encoder_in=lambda run: encoder, licence=None)
    monkeypatch.setattr("distilcap.cli.export._recipe_of", lambda run: recipe)
    monkeypatch.setattr("distilcap.cli.export._decode_options", lambda *_: DecodeOptions())
    arguments = [str(run), "--to", str(tmp_path / "bundle"), "--precision", "int8"]
    done = CliRunner().invoke(export_command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    output = " ".join(done.output.split())
    assert "Float32 graphs: 16 of 16 beam captions" in output
    assert "This bundle, int8:" in output
    assert "decoder.bin" in output


def test_the_web_and_serve_commands(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("distilcap.export.browser.site.shutil.which", lambda name: None)
    site = tmp_path / "site"
    done = CliRunner().invoke(web_command, [str(exported.folder), "--to", str(site)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "The page lacks onnxruntime-web" in " ".join(done.output.split())
    with pytest.raises(BundleError, match=r"not a bundle"):
        CliRunner().invoke(web_command, [str(tmp_path), "--to", str(site)], catch_exceptions=False)

    class Interrupted:
        server_address = ("127.0.0.1", 1234)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def serve_forever(self):
            raise KeyboardInterrupt

    monkeypatch.setattr("distilcap.export.browser.server.create_server", lambda *_: Interrupted())
    done = CliRunner().invoke(serve_command, [str(site)], catch_exceptions=False)
    assert "http://127.0.0.1:1234/" in done.output
    assert "Ended." in done.output


@pytest.mark.parametrize(
    "command, option, value",
    [
        (serve_command, "--port", "99999"),
        (serve_command, "--port", "-1"),
        (export_command, "--beam", "1000000000"),
        (export_command, "--beam", "0"),
        (export_command, "--max-words", "1001"),
        (export_command, "--length-penalty", "inf"),
        (export_command, "--max-loss", "2"),
        (export_command, "--limit", "0"),
        (bench_command, "--threads", "100000"),
        (bench_command, "--repeats", "0"),
    ],
)
def test_options_out_of_range_are_named(command, option, value):
    required = ["x", "--to", "y"] if command is export_command else ["x"]
    done = CliRunner().invoke(command, [*required, option, value])
    assert done.exit_code == 2
    assert f"'{option}': {value}" in done.output
    assert "is not in the range" in done.output


def test_brackets_in_a_path_are_no_markup(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("distilcap.export.browser.site.shutil.which", lambda name: None)
    site = tmp_path / "[bold]a[/]"
    done = CliRunner().invoke(web_command, [str(exported.folder), "--to", str(site)], catch_exceptions=False)
    assert "[bold]a[/]" in "".join(done.output.split())


@pytest.mark.parametrize("command", [export_command, web_command, serve_command, bench_command])
def test_each_help_ends_with_an_example(command):
    lines = CliRunner().invoke(command, ["--help"]).output.rstrip().splitlines()
    assert any("Example:" in line for line in lines[-3:])


def test_the_commands_module_imports_neither_torch_nor_onnx():
    check = (
        "import sys, distilcap.cli.export; sys.exit(any(name in sys.modules for name in ('torch', 'onnx')))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_measured_is_plain_json(exported):
    found, _ = bench(exported.folder, images=1, threads=(1,), browser=False)
    assert json.loads(json.dumps([dataclasses.asdict(one) for one in found]))[0]["threads"] == 1
