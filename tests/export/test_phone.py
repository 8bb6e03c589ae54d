"""Programs for ExecuTorch against PyTorch; in an environment that has ExecuTorch."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch
from small_captioners import small_captioner

from distilcap.errors import ConfigError, MissingError
from distilcap.export import phone
from distilcap.export.bundle import export_bundle
from distilcap.export.onnx.parity import compare
from distilcap.export.options import ExportOptions
from distilcap.export.phone import PROGRAMS, PhoneBundle, step_program
from distilcap.export.pictures import sample_pictures
from distilcap.models.families import families
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.manifest import CARD, read_manifest
from distilcap.shapes import Regions

installed = pytest.mark.skipif(
    importlib.util.find_spec("executorch") is None,
    reason="ExecuTorch is not installed: it wants an environment of its own, see docs/bundle.md",
)


@pytest.mark.slow
@installed
@pytest.mark.filterwarnings("ignore")
def test_programs_say_what_pytorch_says(run, encoder, tmp_path, trained):
    notes: list[str] = []

    class Notes:
        def track(self, items, description, total=None, done=0):
            yield from items

        def note(self, message):
            notes.append(message)

    options = DecodeOptions(beam_size=4)
    exported = export_bundle(
        run,
        tmp_path / "bundle",
        ExportOptions(executorch=True),
        encoder=encoder,
        decode=options,
        progress=Notes(),
    )
    assert {"encoder.pte", "decoder.pte"} <= set(read_manifest(exported.folder).files)
    assert any(
        one.startswith("PhoneBundle in float32: 16 of 16 beam captions and 16 of 16 greedy") for one in notes
    )
    phone, bundle = PhoneBundle.open(exported.folder), Bundle.open(exported.folder)
    more = compare(encoder, trained, phone, sample_pictures(50, 32), batch_images=1)
    assert (more.images, more.beam, more.greedy) == (50, 50, 50), more.differing
    pixels = np.stack([one for _, one in sample_pictures(1, 32)])
    np.testing.assert_allclose(phone.see(pixels)[0], bundle.see(pixels)[0], atol=1e-4)
    for width in (1, 2, 8):
        found = phone.search(phone.see(pixels), DecodeOptions(width))
        expected = bundle.search(bundle.see(pixels), DecodeOptions(width))
        np.testing.assert_array_equal(found.tokens[:, 0], expected.tokens[:, 0])


@pytest.mark.parametrize("family", families())
@pytest.mark.filterwarnings("ignore")
def test_no_list_of_tensors_fixes_the_number_of_hypotheses(family):
    """What ExecuTorch 1.5.1 does to it (see `step_program`), told without ExecuTorch."""
    captioner = small_captioner(family, words=20, dim=6)
    program = step_program(captioner, Regions.full(torch.randn(1, 3, 6)))
    lists = [value for node in program.graph.nodes if isinstance(value := node.meta.get("val"), list | tuple)]
    firsts = [tensor.shape[0] for tensors in lists for tensor in tensors]
    assert all(isinstance(first, int) for first in firsts), firsts


def test_without_executorch(run, encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch", None)
    monkeypatch.setattr("distilcap.export.bundle.Parts.trace", None)  # it is told before any work
    with pytest.raises(
        MissingError, match=r"ExecuTorch is needed for this: `pip install 'distilcap\[train,export"
    ):
        export_bundle(run, tmp_path / "bundle", ExportOptions(executorch=True), encoder=encoder)
    assert not (tmp_path / "bundle").exists()


def test_programs_are_of_float32_in_card_and_notes(run, encoder, tmp_path, monkeypatch):
    """Whatever the bundle is in; without ExecuTorch, whose programs stand for themselves."""
    notes = []

    def write(encoder, captioner, folder):
        for name in PROGRAMS.values():
            (folder / name).write_bytes(bytes(123_000))

    monkeypatch.setattr(phone, "_require", lambda: None)
    monkeypatch.setattr(phone, "write_programs", write)
    monkeypatch.setattr(phone, "PhoneBundle", Bundle)
    monkeypatch.setattr("distilcap.progress.Silent.note", lambda self, message: notes.append(message))
    options = ExportOptions(executorch=True, precision="float16")
    card = (export_bundle(run, tmp_path / "bundle", options, encoder=encoder).folder / CARD).read_text()
    assert "| decoder.pte (ExecuTorch, float32) | 0.123 |" in card
    assert "| step.onnx |" in card
    told = [note for note in notes if note.startswith("Bundle in")]
    assert [note.split()[2] for note in told] == ["float32:", "float16:", "float32:"]
    with pytest.raises(ConfigError, match=r"`beam_size` must be at most 8 for ExecuTorch, but is 9"):
        export_bundle(run, tmp_path / "wide", options, encoder=encoder, decode=DecodeOptions(9))
