"""Programs for ExecuTorch against PyTorch; in an environment that has ExecuTorch."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from distilcap.errors import BundleError, MissingError
from distilcap.export.bundle import export_bundle
from distilcap.export.options import ExportOptions
from distilcap.export.pictures import sample_pictures
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.manifest import read_manifest

installed = pytest.mark.skipif(
    importlib.util.find_spec("executorch") is None,
    reason="ExecuTorch is not installed: it wants an environment of its own, see docs/bundle.md",
)


@pytest.mark.slow
@installed
@pytest.mark.filterwarnings("ignore")
def test_programs_say_what_pytorch_says(run, encoder, tmp_path, request, trained):
    if trained.architecture == "transformer":
        request.applymarker(pytest.mark.xfail(raises=BundleError, reason="1.5.1 cannot lower its step"))
    from distilcap.export.phone import PhoneBundle

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
    pixels = np.stack([one for _, one in sample_pictures(1, 32)])
    phone, bundle = PhoneBundle.open(exported.folder), Bundle.open(exported.folder)
    np.testing.assert_allclose(phone.see(pixels)[0], bundle.see(pixels)[0], atol=1e-4)
    for width in (1, 2, 8):
        found = phone.search(phone.see(pixels), DecodeOptions(width))
        expected = bundle.search(bundle.see(pixels), DecodeOptions(width))
        np.testing.assert_array_equal(found.tokens[:, 0], expected.tokens[:, 0])


def test_without_executorch(run, encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(
        MissingError, match=r"ExecuTorch is needed for this: `pip install 'distilcap\[train,export"
    ):
        export_bundle(run, tmp_path / "bundle", ExportOptions(executorch=True), encoder=encoder)
    assert not (tmp_path / "bundle").exists()
