"""bfloat16 wherever a run computes; what `auto` is; keys of float32 stay what they were."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from distilcap.cli.main import cli
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.errors import ConfigError
from distilcap.models.fast import accelerate
from distilcap.models.presets import build_captioner, options_of
from distilcap.pipeline.labelling import Labelling
from distilcap.progress import Progress
from distilcap.shapes import Regions
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.teachers.shard_files import Labelled
from distilcap.training import precision as precision_module
from distilcap.training.options import TrainingOptions
from distilcap.training.precision import resolved_precision

X86 = "processor\t: 0\nflags\t\t: fpu avx2 {}\nbugs\t\t:\n"


@pytest.mark.parametrize(
    "facts, expected",
    [
        (X86.format("avx512f"), "float32"),
        (X86.format("avx512_bf16 avx512f"), "bfloat16"),
        (X86.format("amx_bf16 amx_tile"), "bfloat16"),
        ("Features\t: fp asimd bf16 sve\n", "bfloat16"),
        ("Features\t: fp asimd\n", "float32"),
        ("model name: bf16 amx_bf16\n", "float32"),
        ("", "float32"),
    ],
)
def test_auto_is_what_the_processor_has_units_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: str, expected: str
) -> None:
    (tmp_path / "cpuinfo").write_text(facts)
    monkeypatch.setattr(precision_module, "CPU_FACTS", tmp_path / "cpuinfo")
    assert resolved_precision("auto") == expected
    assert resolved_precision("float32") == "float32"
    assert resolved_precision("bfloat16") == "bfloat16"


def test_on_a_gpu_auto_is_what_steps_are_recorded_in() -> None:
    assert resolved_precision("auto", "cuda:0") == "float32"
    assert resolved_precision("bfloat16", "cuda:0") == "bfloat16"


def test_where_the_processor_tells_nothing_auto_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_module, "CPU_FACTS", Path("/nowhere/cpuinfo"))
    assert resolved_precision("auto") == "float32"


def test_generate_says_what_auto_is_before_it_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A labelling's name must say what it computed in."""
    monkeypatch.setattr(precision_module, "CPU_FACTS", Path("/nowhere/cpuinfo"))
    begun: list[str | None] = []

    def label(labelling: Labelling, progress: Progress) -> Labelled:
        begun.append(labelling.options.precision)
        return Labelled(1, (), 1.0, (1,))

    monkeypatch.setattr(Labelling, "label", label)
    arguments = ["generate", "run", "--images", "photos", "--precision", "auto", "--to", str(tmp_path)]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert begun == ["float32"]
    assert "`precision` auto is float32 here (cpu)" in result.output


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("family", ["updown", "aoanet"])
def test_bfloat16_finds_nearly_the_same_captions(family: str, quick: bool) -> None:
    torch.manual_seed(0)
    options = options_of(family, {"hidden": 32, "embedding": 16})
    captioner = build_captioner(family, options, 30, 12, 0).eval()
    captioner = accelerate(captioner) if quick else captioner
    regions = Regions.full(torch.randn(4, 6, 12))
    search = BeamSearch(3, 6)
    exact = beam_search(captioner, regions, search)
    rounded = beam_search(captioner, regions, dataclasses.replace(search, precision="bfloat16"))
    assert rounded.log_probs.dtype == torch.float32
    gap = (exact.log_probs - rounded.log_probs)[:, 0].abs().max()  # later ones may be other captions
    assert 0 < float(gap) < 0.15  # 8 bits of a product's terms, over 6 words
    with pytest.raises(ConfigError, match="precision"):
        BeamSearch(precision="auto")


def test_keys_say_bfloat16_and_leave_float32_out() -> None:
    data = ImportData("0123456789abcdef", "photos", "photos", None)
    features = ExtractFeatures(data, "{}", None, "efficientnet-lite0", None, None, "grid")
    words = BuildVocabulary(data, 1, 16)
    run = Train(data, words, features, "updown", options_of("updown", {}), TrainingOptions())
    rounded = dataclasses.replace(run, training=TrainingOptions(precision="bfloat16"))
    assert Generate.as_chosen(run, "test").precision == "float32"
    assert "precision" not in Generate.as_chosen(run, "test").recipe()
    # A run captions as it was trained, unless told.
    assert Generate.as_chosen(rounded, "test").precision == "bfloat16"
    told = Generate.as_chosen(run, "test", precision="bfloat16")
    assert told.recipe()["precision"] == "bfloat16"
    assert told.decoding is not None
    assert told.decoding != Generate.as_chosen(run, "test").decoding
