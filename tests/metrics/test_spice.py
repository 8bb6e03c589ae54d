"""SPICE without Java: what is asked of the program, and what becomes of its answers and failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_java import write_java
from hypothesis import given
from hypothesis import strategies as st

from distilcap.data.captions import CaptionSet
from distilcap.errors import MissingError
from distilcap.metrics import evaluate
from distilcap.metrics.java import Java, find_java, memory_megabytes
from distilcap.metrics.spice import Spice
from distilcap.metrics.spice_jar import SpiceJar, clean

CANDIDATES = ["a dog", "a cat", ""]
REFERENCES = [["a dog", "the dog"], ["a bus"], ["a tree", "a house", "a"]]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
def make(tmp_path: Path, log: Path) -> Callable[..., SpiceJar]:
    program = write_java(tmp_path / "jvm", log)

    def jar(version: int = 17, **options: Any) -> SpiceJar:
        return SpiceJar(Java(program, version), (Path("spice.jar"), Path("models.jar")), **options)

    return jar


def calls(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


class Notes:
    """A progress that keeps what it hears."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(self, items: Any, description: str, total: int | None = None, done: int = 0) -> Any:
        yield from items

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_scores_come_in_the_order_of_the_images(make: Callable[..., SpiceJar]) -> None:
    scores = make()(CANDIDATES, REFERENCES)
    assert [score.f for score in scores] == [4 / 5, 2 / 4, 0.0]
    assert [score.reference_tuples for score in scores] == [3, 2, 3]
    assert [score.candidate_tuples for score in scores] == [2, 2, 0]


def test_batches_join_to_the_same_scores(make: Callable[..., SpiceJar], log: Path) -> None:
    assert make(images_per_run=2)(CANDIDATES, REFERENCES) == make()(CANDIDATES, REFERENCES)
    assert [len(call["images"]) for call in calls(log)] == [2, 1, 3]


def test_no_image_needs_no_java(make: Callable[..., SpiceJar], log: Path) -> None:
    assert make()([], []) == []
    assert not log.exists()


def test_java_is_called_with_an_english_locale_memory_and_opened_packages(
    make: Callable[..., SpiceJar], log: Path, tmp_path: Path
) -> None:
    make(parses=tmp_path / "parses", threads=3)(CANDIDATES, REFERENCES)
    (call,) = calls(log)
    options = call["options"]
    assert f"-Xmx{memory_megabytes()}m" in options
    assert {"-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8"} <= set(options)
    opened = ("lang", "math", "util", "util.concurrent", "net", "text")
    assert {f"--add-opens=java.base/java.{one}=ALL-UNNAMED" for one in opened} <= set(options)
    assert options[-2:] == ["-cp", "spice.jar:models.jar"]
    assert call["after"][-4:] == ["-cache", str(tmp_path / "parses"), "-threads", "3"]


def test_old_java_knows_no_modules(make: Callable[..., SpiceJar], log: Path) -> None:
    make(version=8)(CANDIDATES, REFERENCES)
    make(version=25)(CANDIDATES, REFERENCES)
    old, new = calls(log)
    assert not [one for one in old["options"] if one.startswith("--")]
    assert "--enable-native-access=ALL-UNNAMED" in new["options"]


@pytest.mark.parametrize(
    "separator", ["\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\ud800", "\0"]
)
def test_what_ends_a_line_somewhere_becomes_a_space(
    make: Callable[..., SpiceJar], log: Path, separator: str
) -> None:
    make()([f"a{separator}dog"], [[f"the{separator}dog", "é 名 😀"]])
    (image,) = calls(log)[0]["images"]
    assert image == {"image_id": 0, "test": "a dog", "refs": ["the dog", "é 名 😀"]}


@given(st.text(alphabet=st.characters(codec=None)))
def test_clean_captions_are_one_line_of_the_same_length_and_otherwise_unchanged(caption: str) -> None:
    cleaned = clean(caption)
    assert len(cleaned.splitlines()) <= 1
    assert len(cleaned) == len(caption)
    cleaned.encode()
    assert all(new in (old, " ") for old, new in zip(caption, cleaned, strict=True))


def test_a_flood_of_warnings_does_not_block(
    make: Callable[..., SpiceJar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_JAVA", "chatty")
    assert make(seconds=600.0)(CANDIDATES, REFERENCES)[0].f == 4 / 5


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("silent", "SPICE failed: Error: Could not score batched file input:"),
        ("dies", "SPICE failed: exit code 3"),
        ("shifted", "SPICE failed: exit code 0"),
        ("null", "SPICE failed: exit code 0"),
        ("memory", f"SPICE's parser needs more than {memory_megabytes()} MB"),
    ],
)
def test_failures_are_named(
    make: Callable[..., SpiceJar], monkeypatch: pytest.MonkeyPatch, mode: str, message: str
) -> None:
    monkeypatch.setenv("FAKE_JAVA", mode)
    with pytest.raises(MissingError) as error:
        make()(CANDIDATES, REFERENCES)
    assert str(error.value) == message


def test_out_of_memory_names_the_longest_caption(
    make: Callable[..., SpiceJar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_JAVA", "memory")
    with pytest.raises(MissingError, match="the longest caption has 400 words, shorten it"):
        make()(["dog " * 400], [["a dog"]])


def test_a_hanging_java_is_stopped(make: Callable[..., SpiceJar], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_JAVA", "hang")
    with pytest.raises(MissingError, match=r"^SPICE did not finish in 1 s$"):
        make(seconds=0.5 + 0.5)(CANDIDATES, REFERENCES)


def test_java_that_went_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"Java could not be started: .*gone"):
        SpiceJar(Java(tmp_path / "gone", 17), ())(CANDIDATES, REFERENCES)


def test_a_broken_cache_costs_time_not_scores(
    make: Callable[..., SpiceJar], log: Path, tmp_path: Path
) -> None:
    parses = tmp_path / "parses"
    jar, notes = make(parses=parses), Notes()
    truth = jar(CANDIDATES, REFERENCES)
    (parses / "data.mdb").write_text("garbage")
    assert jar(CANDIDATES, REFERENCES, notes) == truth
    assert [("-cache" in call["after"]) for call in calls(log)] == [True, True, False]
    assert "MDB_CORRUPTED" in notes.notes[0]
    # It is begun anew.
    assert jar(CANDIDATES, REFERENCES) == truth
    assert (parses / "data.mdb").read_text() == "good"


def test_other_failures_keep_the_cache(
    make: Callable[..., SpiceJar], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jar = make(parses=tmp_path / "parses")
    jar(CANDIDATES, REFERENCES)
    monkeypatch.setenv("FAKE_JAVA", "memory")
    with pytest.raises(MissingError):
        jar(CANDIDATES, REFERENCES)
    assert (tmp_path / "parses" / "data.mdb").read_text() == "good"


def test_nothing_is_left_behind(
    make: Callable[..., SpiceJar], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    make()(CANDIDATES, REFERENCES)
    monkeypatch.setenv("FAKE_JAVA", "silent")
    with pytest.raises(MissingError):
        make()(CANDIDATES, REFERENCES)
    assert list(scratch.iterdir()) == []


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Let only these versions of Java be there."""

    def install(**versions: str) -> None:
        monkeypatch.setattr("distilcap.metrics.java._FOLDERS", (str(tmp_path / "system/*/bin/java"),))
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path / "path" / "bin"))
        for where, version in versions.items():
            write_java(tmp_path / where.replace("_", "/"), tmp_path / "log", version)
        if "home" in versions:
            monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))

    return install


@pytest.mark.parametrize(
    ("versions", "where", "version"),
    [
        ({"home": "21-ea", "path": "17.0.1"}, "home", 21),
        ({"path": "1.8.0_301"}, "path", 8),
        ({"system_a": "11.0.2"}, "system/a", 11),
        ({"home": "1.7.0", "path": "1.6.0", "system_b": "25"}, "system/b", 25),
    ],
)
def test_java_is_found(
    only: Callable[..., None], tmp_path: Path, versions: dict[str, str], where: str, version: int
) -> None:
    only(**versions)
    assert find_java() == Java(tmp_path / where / "bin" / "java", version)


def test_java_named_from_the_folder_one_is_in_runs_in_another(
    only: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(home="21")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAVA_HOME", "home")
    assert find_java().program == tmp_path / "home" / "bin" / "java"


def test_no_java_and_old_java_are_told_apart(only: Callable[..., None], tmp_path: Path) -> None:
    only()
    with pytest.raises(
        MissingError, match=r"^Java was not found: install version 8 or later, or name its folder"
    ):
        find_java()
    only(path="1.7.0_80")
    with pytest.raises(MissingError, match=r"^Java must be of version 8 or later, but .*java is version 7$"):
        find_java()


def test_a_java_that_does_not_run_is_no_java(only: Callable[..., None], tmp_path: Path) -> None:
    only()
    stub = tmp_path / "path" / "bin" / "java"
    stub.parent.mkdir(parents=True)
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    with pytest.raises(MissingError, match="Java was not found"):
        find_java()


@pytest.mark.parametrize("gigabytes, megabytes", [(0.5, 1024), (10, 6144), (64, 8192)])
def test_java_gets_a_share_of_the_memory(
    gigabytes: float, megabytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": int(gigabytes * 2**30) // 4096}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    monkeypatch.setattr(Path, "read_text", lambda self: "max")  # of the control group
    assert memory_megabytes() == megabytes


def test_a_missing_installation_is_a_reason_never_a_score(tmp_path: Path) -> None:
    captions = CaptionSet.of_texts({"1": ["a dog"]})
    score = evaluate(captions, captions, [Spice(home=tmp_path)])["spice"]
    assert score.unavailable == "SPICE is not installed: run `distilcap metrics install-spice`"
    assert score.value != score.value
    assert not score.per_image


def test_the_metric_hands_words_to_the_program(
    make: Callable[..., SpiceJar], log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distilcap.metrics.spice.locate", lambda home: make())
    references = CaptionSet.of_texts({'ü "1"': ["A dog.", "The dog!"], "0": ["A bus"]})
    candidates = CaptionSet.of_texts({"0": ["a cat"], 'ü "1"': ["A dog ."]})
    score = evaluate(candidates, references, [Spice()])["spice"]
    images = calls(log)[0]["images"]
    assert images[0] == {"image_id": 0, "test": "a dog", "refs": ["a dog", "the dog"]}
    assert score.per_image == {'ü "1"': 4 / 5, "0": 2 / 4}
    assert score.value == pytest.approx((4 / 5 + 2 / 4) / 2)
    assert score.signature == "spice|refs:1-2|tok:ptb-official|jar:1.0|corenlp:3.6.0|v:1.0"
