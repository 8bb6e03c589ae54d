"""Getting what SPICE needs, and finding it again.

The program itself and most of its libraries are in the package `pycocoevalcap`, which stays untouched. The
rest, Stanford CoreNLP 3.6.0 with its models and a JavaScript engine (the program formats its output with
one, and Java has none since version 15), comes from Maven Central into a folder of the user.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.files import read_json, sha256_of, write_json
from distilcap.metrics.java import find_java
from distilcap.metrics.spice_jar import SpiceJar
from distilcap.progress import SILENT, Progress

__all__ = ["ARTIFACTS", "CORENLP_VERSION", "Artifact", "install", "locate", "self_test", "spice_home"]

CORENLP_VERSION = "3.6.0"
_DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
_SPICE_SHA256 = "6c6a73ae6dd108667047c1818707590413934dcb9f1a62cef6469059b41b3d59"
_RECORD = "installed.json"
_RUN = "run `distilcap metrics install-spice`"


@dataclass(frozen=True)
class Artifact:
    """A file of Maven Central: its coordinates and the SHA-256 of its content."""

    group: str
    name: str
    version: str
    sha256: str
    classifier: str | None = None

    @property
    def file(self) -> str:
        """The name of the file, such as "stanford-corenlp-3.6.0-models.jar"."""
        return "-".join(filter(None, (self.name, self.version, self.classifier))) + ".jar"

    @property
    def coordinates(self) -> str:
        """As people write them, such as "edu.stanford.nlp:stanford-corenlp:3.6.0:models"."""
        return ":".join(filter(None, (self.group, self.name, self.version, self.classifier)))


ARTIFACTS: Mapping[str, Artifact] = {
    "corenlp": Artifact(
        "edu.stanford.nlp",
        "stanford-corenlp",
        CORENLP_VERSION,
        "d341d5863276f55782c5ef73212222d6b3b48e02ae1951ab6de7618d28b12742",
    ),
    "models": Artifact(
        "edu.stanford.nlp",
        "stanford-corenlp",
        CORENLP_VERSION,
        "d285157bd7887ee3018094b5dbae092e49088b023361ccdb550ee1daf9b2c9bd",
        "models",
    ),
    "rhino": Artifact(
        "org.mozilla", "rhino", "1.7.15", "2427fdcbc149ca0a25ccfbb7c71b01f39ad42708773a47816cd2342861766b63"
    ),
    "rhino-engine": Artifact(
        "org.mozilla",
        "rhino-engine",
        "1.7.15",
        "b7bbb6724812a8ba6c650cf4a1e655a24af4d73a321add5a64a54c2d5963ce00",
    ),
}
"""What is installed, by the name of the option that takes a path instead."""


def spice_home() -> Path:
    """The folder of jars and parses: $DISTILCAP_SPICE, or `distilcap/spice` in the user's data folder.

    Raises:
        ConfigError: nobody knows where home is.
    """
    if named := os.environ.get("DISTILCAP_SPICE"):
        return Path(named)
    try:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    except RuntimeError:
        raise ConfigError(
            "This user has no home folder to keep SPICE in; name a folder in the environment variable "
            "DISTILCAP_SPICE."
        ) from None
    return data / "distilcap" / "spice"


def _program() -> list[Path]:
    """The class path of the official program, without CoreNLP.

    Raises:
        MissingError: `pycocoevalcap` is not installed, or has no SPICE.
    """
    spec = importlib.util.find_spec("pycocoevalcap")  # looks only; none of the package's code runs
    for folder in (spec.submodule_search_locations if spec else None) or ():
        jar = Path(folder, "spice", "spice-1.0.jar")
        if jar.is_file():
            # A CoreNLP that the package fetched itself is left out: ours is checked.
            others = (file for file in jar.parent.glob("lib/*.jar") if not file.name.startswith("stanford-"))
            return [jar, *sorted(others)]
    raise MissingError("the package pycocoevalcap is not installed: `pip install 'distilcap[metrics]'`")


def locate(home: Path | None = None) -> SpiceJar:
    """Find everything that SPICE needs.

    Raises:
        MissingError: something is not there; the message says what, and the fix, in a few words.
        ConfigError: as `spice_home`.
    """
    home = (home or spice_home()).absolute()  # the program has another folder as its own
    program = _program()
    folder = home / "jars"
    try:
        sizes = read_json(folder / _RECORD)["bytes"]
        whole = all((folder / jar.file).stat().st_size == sizes[jar.file] for jar in ARTIFACTS.values())
    except (DataError, KeyError, TypeError, OSError):
        raise MissingError(f"SPICE is not installed: {_RUN}") from None
    if not whole:
        raise MissingError(f"SPICE's files in {folder} are damaged: {_RUN}")
    return _jar(folder, program, home / "parses")


def _jar(folder: Path, program: list[Path], parses: Path | None) -> SpiceJar:
    return SpiceJar(find_java(), (*program, *(folder / jar.file for jar in ARTIFACTS.values())), parses)


def install(
    paths: Mapping[str, Path] | None = None, home: Path | None = None, progress: Progress = SILENT
) -> SpiceJar:
    """Put what SPICE needs into `home`, whole and tested or not at all; what is there and right stays.

    Args:
        paths: local files to take instead of Maven's, by the names of `ARTIFACTS`.
        home: None takes `spice_home()`.
        progress: hears of each step.

    Raises:
        MissingError: no Java, Maven or pycocoevalcap, or the download or the self-test failed.
        DataError: a file is not the expected file. ConfigError: as `spice_home`.
    """
    home = (home or spice_home()).absolute()
    folder = home / "jars"
    program = _program()
    _check(program[0], _SPICE_SHA256, "pycocoevalcap's spice-1.0.jar: install pycocoevalcap 1.2 again")
    progress.note(f"Java {find_java().version}: {find_java().program}")
    with _scratch_folder(folder) as scratch:
        missing: dict[str, Artifact] = {}
        for name, jar in ARTIFACTS.items():
            source = (paths or {}).get(name, folder / jar.file)
            if name in (paths or {}):
                _check(source, jar.sha256, jar.coordinates)
            elif not source.is_file() or sha256_of(source) != jar.sha256:
                missing[name] = jar
                continue
            shutil.copyfile(source, scratch / jar.file)
        if missing:
            progress.note("Maven fetches " + ", ".join(jar.coordinates for jar in missing.values()) + " …")
            _fetch(missing, scratch)
        for jar in missing.values():
            _check(scratch / jar.file, jar.sha256, jar.coordinates)
        progress.note("SHA-256 sums are right; testing …")
        self_test(_jar(scratch, program, scratch / "parses"), progress)
        shutil.rmtree(scratch / "parses", ignore_errors=True)
        sizes = {artifact.file: (scratch / artifact.file).stat().st_size for artifact in ARTIFACTS.values()}
        write_json(scratch / _RECORD, {"bytes": sizes})
    return _jar(folder, program, home / "parses")


@contextmanager
def _scratch_folder(final: Path) -> Iterator[Path]:
    """A new folder beside `final` that takes its place on a clean exit, and is removed after an exception."""
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{final.name}.", suffix=".partial", dir=final.parent) as folder:
        scratch = Path(folder) / final.name  # the temporary folder itself is its owner's alone
        scratch.mkdir()
        yield scratch
        shutil.rmtree(final, ignore_errors=True)
        scratch.rename(final)


def _check(path: Path, sha256: str, what: str) -> None:
    """Compare a file's SHA-256."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    checksum = sha256_of(path)
    if checksum != sha256:
        raise DataError(f"{path}: SHA-256 must be {sha256}, but is {checksum}; expected {what}.")


def _fetch(artifacts: Mapping[str, Artifact], folder: Path) -> None:
    """Let Maven put files into `folder`, with the user's own settings (mirror, proxy).

    Its repository of this one call is thrown away: it would keep another 385 MB.
    """
    maven = shutil.which("mvn")
    if maven is None:
        options = " and ".join(f"`--{name} FILE` ({jar.coordinates})" for name, jar in artifacts.items())
        raise MissingError(f"Maven (`mvn`) was not found: install it, or give the files by {options}.")
    with tempfile.TemporaryDirectory(prefix=".maven.", dir=folder.parent) as work:
        Path(work, "pom.xml").write_text(_pom(artifacts), encoding="utf-8")
        repository, goal = f"-Dmaven.repo.local={work}/repository", f"{_DEPENDENCY_PLUGIN}:copy-dependencies"
        command = [maven, "-B", "-q", repository, goal, f"-DoutputDirectory={folder}"]
        try:
            done = subprocess.run(
                command,
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=3600,
            )
        except subprocess.TimeoutExpired:
            raise MissingError("Maven did not finish in an hour; run it again.") from None
    if done.returncode or not all((folder / jar.file).is_file() for jar in artifacts.values()):
        lines = done.stdout.decode(errors="replace").splitlines()
        errors = [line for line in lines if "ERROR" in line] or lines or [f"exit code {done.returncode}"]
        raise MissingError(f"Maven could not fetch Stanford CoreNLP: {errors[0][:300]}")


def _pom(artifacts: Mapping[str, Artifact]) -> str:
    """A project that depends on these files, and not on what they depend on."""
    dependencies = "".join(
        f"<dependency><groupId>{jar.group}</groupId><artifactId>{jar.name}</artifactId>"
        f"<version>{jar.version}</version>"
        + (f"<classifier>{jar.classifier}</classifier>" if jar.classifier else "")
        + "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
        "</dependency>"
        for jar in artifacts.values()
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>distilcap</groupId>"
        "<artifactId>spice</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{dependencies}</dependencies></project>\n"
    )


_SELF_TEST: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("a red ball on a table", ("a red ball on a table", "a ball that is red"), 0.8),
    ("a green tree near a house", ("a yellow bus", "a green tree near a house"), 0.8),
    ("a blue bus", ("a yellow bus", "a green tree near a house"), 0.25),
    ("", ("a red ball on a table",), 0.0),
)
"""Candidate, references, and the F-score that the official program gives on Java 17 and 25."""


def self_test(jar: SpiceJar, progress: Progress = SILENT) -> None:
    """Score known captions twice, the second time from the kept parses.

    Raises:
        MissingError: the program does not run or gives other scores.
    """
    candidates, references, truth = zip(*_SELF_TEST, strict=True)
    for _ in range(2):
        scores = [score.f for score in jar(candidates, references, progress)]
        if any(abs(score - right) > 1e-6 for score, right in zip(scores, truth, strict=True)):
            raise MissingError(f"SPICE's self-test must give {list(truth)}, but gives {scores}")
