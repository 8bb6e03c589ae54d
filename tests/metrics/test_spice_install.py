"""Installing SPICE without Java or Maven: files, sums, reasons, and that nothing is half there."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from fake_java import MAVEN, write_java, write_program

from distilcap.cli.install_spice import install_spice
from distilcap.errors import DataError, MissingError
from distilcap.metrics import spice_install
from distilcap.metrics.spice import Spice
from distilcap.metrics.spice_install import ARTIFACTS, Artifact, install, locate, self_test, spice_home


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Machine:
    """A machine with a fake Java, a fake Maven, and a pycocoevalcap with a fake jar."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.home, self.central, self.package = folder / "home", folder / "central", folder / "pycocoevalcap"
        self.log, self.patch, self.bin = folder / "log", patch, folder / "jvm" / "bin"
        write_java(folder / "jvm", self.log)
        write_program(self.bin / "mvn", MAVEN.format(central=str(self.central)))
        patch.setenv("PATH", str(self.bin))
        patch.delenv("JAVA_HOME", raising=False)
        patch.setattr("distilcap.metrics.java._FOLDERS", ())
        (self.package / "spice" / "lib").mkdir(parents=True)
        (self.package / "__init__.py").write_text("raise RuntimeError('nothing of it may run')")
        (self.package / "spice" / "spice-1.0.jar").write_bytes(b"spice")
        for name in ("Meteor-1.5.jar", "stanford-corenlp-3.6.0.jar"):
            (self.package / "spice" / "lib" / name).write_bytes(b"lib")
        patch.syspath_prepend(folder)
        for module in [name for name in sys.modules if name.split(".")[0] == "pycocoevalcap"]:
            patch.delitem(sys.modules, module)  # another test may have imported the real one
        patch.setattr(spice_install, "_SPICE_SHA256", sha256(b"spice"))
        self.central.mkdir()
        content = {name: f"content of {name}".encode() for name in ARTIFACTS}
        small = {
            name: Artifact(one.group, one.name, one.version, sha256(content[name]), one.classifier)
            for name, one in ARTIFACTS.items()
        }
        for name, one in small.items():
            (self.central / one.file).write_bytes(content[name])
        self.artifacts = small
        patch.setattr(spice_install, "ARTIFACTS", small)
        # What the fake Java answers to the self-test.
        truth = (("a dog", ("a dog", "the dog"), 4 / 5), ("", ("a",), 0.0))
        patch.setattr(spice_install, "_SELF_TEST", truth)

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


INSTALLED = [
    "jars/installed.json",
    "jars/rhino-1.7.15.jar",
    "jars/rhino-engine-1.7.15.jar",
    "jars/stanford-corenlp-3.6.0-models.jar",
    "jars/stanford-corenlp-3.6.0.jar",
]


def test_maven_fetches_by_coordinates_and_the_self_test_runs(machine: Machine) -> None:
    jar = install(home=machine.home)
    assert machine.files() == INSTALLED
    assert jar == locate(machine.home)
    assert jar.parses == machine.home / "parses"
    spice = machine.package / "spice"
    assert list(jar.jars) == [
        spice / "spice-1.0.jar",
        spice / "lib" / "Meteor-1.5.jar",
        *(machine.home / "jars" / one.file for one in machine.artifacts.values()),
    ]
    tested = [json.loads(line) for line in machine.log.read_text().splitlines()]
    assert len(tested) == 2
    assert "-cache" in tested[1]["after"]


def test_the_package_stays_as_it_was(machine: Machine) -> None:
    before = {path: path.read_bytes() for path in machine.package.rglob("*") if path.is_file()}
    install(home=machine.home)
    assert {path: path.read_bytes() for path in machine.package.rglob("*") if path.is_file()} == before


def test_coordinates_are_those_that_people_know() -> None:
    assert [one.coordinates for one in ARTIFACTS.values()] == [
        "edu.stanford.nlp:stanford-corenlp:3.6.0",
        "edu.stanford.nlp:stanford-corenlp:3.6.0:models",
        "org.mozilla:rhino:1.7.15",
        "org.mozilla:rhino-engine:1.7.15",
    ]


def test_local_files_need_no_maven(machine: Machine) -> None:
    (machine.bin / "mvn").unlink()
    paths = {name: machine.central / one.file for name, one in machine.artifacts.items()}
    install(paths, machine.home)
    assert machine.files() == INSTALLED


def test_what_is_there_is_not_fetched_again(machine: Machine) -> None:
    install(home=machine.home)
    (machine.bin / "mvn").unlink()
    install(home=machine.home)
    assert machine.files() == INSTALLED


def test_a_damaged_file_is_fetched_again_and_only_that(machine: Machine) -> None:
    install(home=machine.home)
    (machine.home / INSTALLED[1]).write_bytes(b"short")
    with pytest.raises(MissingError, match="damaged: run `distilcap metrics install-spice`"):
        locate(machine.home)
    (machine.central / machine.artifacts["models"].file).unlink()
    install(home=machine.home)
    assert locate(machine.home)


def test_a_wrong_sum_installs_nothing(machine: Machine) -> None:
    (machine.central / machine.artifacts["models"].file).write_bytes(b"other")
    with pytest.raises(DataError, match=r"SHA-256 must be .* expected edu.stanford.nlp:.*:models"):
        install(home=machine.home)
    assert machine.files() == []
    with pytest.raises(MissingError, match="SPICE is not installed: run"):
        locate(machine.home)


def test_a_wrong_or_missing_local_file_is_refused(machine: Machine, tmp_path: Path) -> None:
    wrong = tmp_path / "stanford-corenlp-4.0.jar"
    with pytest.raises(DataError, match=r"stanford-corenlp-4.0.jar: there is no such file"):
        install({"corenlp": wrong}, machine.home)
    wrong.write_bytes(b"4.0")
    with pytest.raises(DataError, match=r"stanford-corenlp-4.0.jar: SHA-256 must be"):
        install({"corenlp": wrong}, machine.home)
    assert machine.files() == []


def test_another_spice_jar_is_refused(machine: Machine) -> None:
    (machine.package / "spice" / "spice-1.0.jar").write_bytes(b"changed")
    with pytest.raises(DataError, match=r"spice-1.0.jar: install pycocoevalcap 1.2 again"):
        install(home=machine.home)


def test_no_maven_names_the_files_to_give(machine: Machine) -> None:
    (machine.bin / "mvn").unlink()
    with pytest.raises(MissingError, match=r"Maven .* was not found.*`--models FILE` \(edu.stanford.nlp:"):
        install(home=machine.home)
    assert machine.files() == []


def test_maven_without_a_network_is_named(machine: Machine) -> None:
    machine.patch.setenv("FAKE_MAVEN", "offline")
    with pytest.raises(MissingError, match=r"Maven could not fetch Stanford CoreNLP: .*Unknown host"):
        install(home=machine.home)
    assert machine.files() == []


def test_no_java_fetches_nothing(machine: Machine) -> None:
    (machine.bin / "java").unlink()
    with pytest.raises(MissingError, match="Java was not found"):
        install(home=machine.home)
    assert not machine.home.exists()


def test_no_pycocoevalcap_is_named(machine: Machine) -> None:
    machine.patch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pycocoevalcap is not installed: `pip install"):
        locate(machine.home)


def test_a_failed_self_test_keeps_the_old_installation(machine: Machine) -> None:
    install(home=machine.home)
    machine.patch.setattr(spice_install, "_SELF_TEST", (("a dog", ("a cat",), 1.0),))
    with pytest.raises(MissingError, match=r"self-test must give \[1.0\], but gives \[0.5\]"):
        install(home=machine.home)
    assert machine.files() == INSTALLED


def test_java_that_went_away_after_the_installation_is_a_reason(machine: Machine) -> None:
    install(home=machine.home)
    (machine.bin / "java").unlink()
    with pytest.raises(MissingError, match="Java was not found"):
        locate(machine.home)


def test_self_test_of_a_working_program_is_silent(machine: Machine) -> None:
    self_test(install(home=machine.home))


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DISTILCAP_SPICE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert spice_home() == tmp_path / "distilcap" / "spice"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert spice_home() == tmp_path / ".local" / "share" / "distilcap" / "spice"
    monkeypatch.setenv("DISTILCAP_SPICE", str(tmp_path / "elsewhere"))
    assert spice_home() == tmp_path / "elsewhere"


def test_a_relative_folder_is_the_same_to_the_program(machine: Machine) -> None:
    """Which has a folder of its own."""
    machine.patch.chdir(machine.home.parent)
    machine.patch.setenv("DISTILCAP_SPICE", machine.home.name)
    install()
    assert machine.files() == INSTALLED
    found = locate()
    assert found.parses == machine.home / "parses"
    assert all(jar.is_absolute() for jar in found.jars)


def test_without_a_home_folder_spice_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.delenv("DISTILCAP_SPICE", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert "name a folder in the environment variable DISTILCAP_SPICE" in (Spice().unavailable() or "")
    monkeypatch.setenv("DISTILCAP_SPICE", "here")
    assert spice_home() == Path("here")


def test_command_installs_and_says_where(machine: Machine) -> None:
    result = CliRunner().invoke(install_spice, ["--to", str(machine.home)], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"SPICE 1.0 is installed in {machine.home} and passed its test on Java 17." in result.output
    assert machine.files() == INSTALLED


def test_command_takes_local_files(machine: Machine) -> None:
    (machine.bin / "mvn").unlink()
    options = [f"--{name}={machine.central / one.file}" for name, one in machine.artifacts.items()]
    result = CliRunner().invoke(install_spice, [*options, "--to", str(machine.home)], catch_exceptions=False)
    assert result.exit_code == 0


def test_help_ends_with_an_example() -> None:
    result = CliRunner().invoke(install_spice, ["--help"])
    assert "distilcap metrics install-spice --corenlp" in result.output.split("Examples:")[1]
