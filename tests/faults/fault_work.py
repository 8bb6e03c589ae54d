"""Work that makes something on disk from the tiny experiment: what is killed, starved and repeated."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_files import content_of
from forks import Call, Forks

__all__ = ["Attempt", "Experiment", "Work"]

STAGES = ("features", "training", "decoding", "labels", "captions", "scores")
"""Those that other work is made of; the others are built where a test wants them."""


@dataclass(frozen=True)
class Experiment:
    """Scenes, and a store of stages on them (see `fault_jobs.Steps`).

    Attributes:
        folder: of all this; any user may enter.
        keys: folders of the stages in the store, by name.
    """

    forks: Forks
    folder: Path
    keys: dict[str, str]

    @staticmethod
    def make(forks: Forks, folder: Path) -> Experiment:
        """Draw and build."""
        folder.chmod(0o755)
        scenes = folder / "scenes"
        forks.run("draw", scenes).checked()
        forks.prepare("prepare", scenes)
        forks.run("build", scenes, folder / "store", *STAGES).checked()
        made = Experiment(forks, folder, forks.run("keys", scenes).checked().value)
        forks.run("captions_file", scenes, made.store, made.captions).checked()
        return made

    @property
    def scenes(self) -> Path:
        return self.folder / "scenes"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def captions(self) -> Path:
        """A captions file with its side file."""
        return self.folder / "captions" / "captions.jsonl"


@dataclass(frozen=True)
class Attempt:
    """Work to be done in a folder.

    Attributes:
        job, arguments: of `Forks.run`.
        made: what it makes, under its final name.
        into: the folder that it writes to.
    """

    job: str
    arguments: tuple[Any, ...]
    made: Path
    into: Path

    def call(self, **limits: Any) -> Call:
        """As a call."""
        return Call(self.job, self.arguments, **limits)


@dataclass(frozen=True)
class Done:
    """What came of undisturbed work: by `content_of`, in seconds, and the sizes of its files."""

    content: dict[str, Any]
    seconds: float
    sizes: list[int]


@dataclass(frozen=True)
class Work:
    """One kind of work, which can be done anew in any folder.

    Attributes:
        name: one of `KINDS`.
    """

    experiment: Experiment
    name: str

    def anew(self, folder: Path) -> Attempt:
        """In an empty folder, with all that it needs and nothing that it makes."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return KINDS[self.name](self.experiment, folder)

    @functools.cached_property
    def done(self) -> Done:
        """What comes of it when nothing disturbs it."""
        attempt = self.anew(self.experiment.folder / f"undisturbed-{self.name}")
        ended = self.experiment.forks.run(attempt.job, *attempt.arguments).checked()
        content = content_of(attempt.made)
        assert content
        sizes = [path.stat().st_size for path in attempt.made.rglob("*") if path.is_file()]
        return Done(content, ended.seconds, sizes)

    def check(self, attempt: Attempt) -> None:
        """What was made is whole, undamaged, and equal to what was made undisturbed."""
        content, right = content_of(attempt.made), self.done.content
        differing = [name for name in {**content, **right} if content.get(name) != right.get(name)]
        assert not differing, (differing, content.get(differing[0]), right.get(differing[0]))
        if attempt.job == "build":
            damages = self.experiment.forks.run("damages", attempt.into).checked().value
            assert not damages, damages
            assert not [path for path in attempt.made.rglob("*") if path.name.startswith(".")]

    def half_made(self, attempt: Attempt) -> list[str]:
        """Files under their final names that are not as they should be; there may be fewer than all."""
        content = content_of(attempt.made) if attempt.made.exists() else {}
        right = self.done.content
        if attempt.job == "build" and content and content.keys() != right.keys():
            return [f"{attempt.made}: holds {', '.join(content)}"]
        return [name for name, value in content.items() if value != right.get(name)]


def _stage(name: str, experiment: Experiment, folder: Path) -> Attempt:
    store = folder / "store"
    shutil.copytree(experiment.store, store, ignore=shutil.ignore_patterns(".*", experiment.keys[name]))
    return Attempt("build", (experiment.scenes, store, name), store / experiment.keys[name], store)


def _to_folder(job: str, experiment: Experiment, folder: Path) -> Attempt:
    to = folder / "to"
    return Attempt(job, (experiment.scenes, experiment.store, to), to, folder)


def _evaluate(experiment: Experiment, folder: Path) -> Attempt:
    to, references = folder / "to", experiment.scenes / "data.jsonl"
    to.mkdir()
    return Attempt("evaluate", (references, experiment.captions, to), to, folder)


def _pack(experiment: Experiment, folder: Path) -> Attempt:
    to = folder / "to"
    to.mkdir()
    return Attempt("pack", (experiment.store, to / "results.tar.gz"), to, folder)


KINDS: dict[str, Callable[[Experiment, Path], Attempt]] = {
    "training": functools.partial(_stage, "training"),
    "training with the encoder": functools.partial(_stage, "tuned"),
    "labelling a split": functools.partial(_stage, "labels"),
    "distillation from a start": functools.partial(_to_folder, "distil"),
    "labelling photographs": functools.partial(_to_folder, "label_and_merge"),
    "extraction": functools.partial(_stage, "features"),
    "evaluation": functools.partial(_stage, "scores"),
    "evaluate": _evaluate,
    "export": functools.partial(_to_folder, "bundle"),
    "store export": _pack,
}
