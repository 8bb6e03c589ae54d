"""SPICE with the official program, against what it gave elsewhere; needs an installation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from distilcap.errors import MissingError
from distilcap.metrics.spice_install import locate, self_test
from distilcap.metrics.spice_jar import SpiceJar

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def jar() -> SpiceJar:
    """The installed SPICE. Its parses are kept, so only the first run of these tests takes minutes."""
    try:
        return locate()
    except MissingError as error:
        pytest.skip(f"SPICE cannot run here: {error}")


def read(path: Path) -> tuple[list[str], list[list[str]], list[Any]]:
    """Candidates, references and ids of a file in SPICE's own format."""
    images = json.loads(path.read_text(encoding="utf-8"))
    return (
        [one["test"] for one in images],
        [one["refs"] for one in images],
        [one["image_id"] for one in images],
    )


def test_official_example_has_its_published_score(jar: SpiceJar, shared_data: Path) -> None:
    candidates, references, _ = read(shared_data / "spice_check" / "spice_fakecap_input.json")
    scores = [score.f for score in jar(candidates, references)]
    assert f"{sum(scores) / len(scores):.3f}" == "0.133"


def test_reference_tuples_of_a_thousand_images(jar: SpiceJar, shared_data: Path) -> None:
    folder = shared_data / "spice_check"
    candidates, references, ids = read(folder / "flickr8k_spice_input_raw.json")
    official = json.loads((folder / "flickr8k_spice_official_reftuple_counts.json").read_text())
    counts = {
        image_id: score.reference_tuples
        for image_id, score in zip(ids, jar(candidates, references), strict=True)
    }
    assert counts == official
    assert len(counts) == 1000


HARD = [
    *("", " ", ".", "!?", "\u00a0", "\u200b", "😀", "un café à la crème", "一只狗", "<b>a dog</b>", "a & b"),
    *(
        "a red\u2028ball",
        "a red\x0bball",
        "a red\rball",
        "a red\x85ball",
        "\ud83d",
        "dog " * 3,
        "-lrb- a dog",
    ),
    "-lrb- a dog",
    "a big dog and a small cat sit on a red sofa " * 5,
]


def test_hard_captions_shift_nothing_and_parses_are_kept(jar: SpiceJar, tmp_path: Path) -> None:
    own = dataclasses.replace(jar, parses=tmp_path / "parses")
    plain = "a dog on a chair"
    candidates = [caption for hard in HARD for caption in (hard, plain)]
    references = [several for hard in HARD for several in ([hard, "a green tree"], [plain])]
    first = own(candidates, references)
    assert any((tmp_path / "parses").iterdir())
    second = own(candidates, references)
    assert second == first
    assert [score.f for score in first[1::2]] == [1.0] * len(HARD)
    assert first[0].f == 0.0


@pytest.mark.parametrize("locale", ["-Duser.language=de -Duser.country=DE", "-Duser.language=ar"])
def test_other_locales_give_the_same(
    jar: SpiceJar, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, locale: str
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", locale)
    self_test(dataclasses.replace(jar, parses=tmp_path / "parses", seconds=300.0))


def test_damaged_parses_are_begun_anew(jar: SpiceJar, tmp_path: Path) -> None:
    own = dataclasses.replace(jar, parses=tmp_path / "parses")
    self_test(own)
    (tmp_path / "parses" / "data.mdb").write_bytes(b"garbage" * 4096)
    self_test(own)
