"""The bundle that `distill` ships is in the smallest precision that keeps its scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distilcap.errors import BundleError
from distilcap.progress import Silent
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.stages.decoding import Decoding
from distilcap.stages.export import Export


class Remarks(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def stage(decoding: bool) -> Export:
    """Of a run and a choice of decoding that are there already."""
    run: Any = SimpleNamespace(
        seen=SimpleNamespace(create=lambda store: "its encoder"),
        data=SimpleNamespace(load=lambda store: "its data"),
        max_words=12,
        licence={"weights": "somebody's"},
    )
    chosen: Any = SimpleNamespace(load=lambda store: Decoding(3, 0.3, 0.5, 0.4))
    return Export(run, images=7, decoding=chosen if decoding else None)


STORE: Any = SimpleNamespace(open=lambda stage: Path("its run"))


def test_the_next_larger_precision_is_taken_where_one_loses_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def export_bundle(*given: Any, progress: object, **named: Any) -> None:
        asked.append((*given, named))
        if given[2].precision == "int8":
            raise BundleError("It lost 5 %.")

    monkeypatch.setattr("distilcap.export.bundle.export_bundle", export_bundle)
    remarks = Remarks()
    stage(decoding=True).build(tmp_path, STORE, remarks)
    assert remarks.notes == ["It lost 5 %. Trying float16."]
    assert [options.precision for _, _, options, _ in asked] == ["int8", "float16"]
    for run, to, options, named in asked:
        assert (run, to) == (Path("its run"), tmp_path / "bundle")
        assert (options.split, options.limit, options.max_loss) == ("val", 7, 0.01)
        assert named == {
            "encoder": "its encoder",
            "data": "its data",
            "decode": DecodeOptions(3, max_words=12, length_penalty=0.3, avoid_repeats=True),
            "licence": {"weights": "somebody's"},
        }


def test_where_every_precision_is_refused_the_last_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def export_bundle(run: Path, to: Path, options: Any, *, decode: object, **_: Any) -> None:
        assert decode is None, "nothing was chosen"
        asked.append(options.precision)
        raise BundleError(f"{options.precision} disagrees.")

    monkeypatch.setattr("distilcap.export.bundle.export_bundle", export_bundle)
    remarks = Remarks()
    with pytest.raises(BundleError, match=r"^float32 disagrees\.$"):
        stage(decoding=False).build(tmp_path, STORE, remarks)
    assert asked == ["int8", "float16", "float32"]
    assert len(remarks.notes) == 2
