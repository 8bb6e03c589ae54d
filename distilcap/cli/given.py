"""Options of `distilcap distill` that bring a teacher which is there already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from distilcap.errors import ConfigError

if TYPE_CHECKING:
    from distilcap.pipeline.given import GivenTeacher
    from distilcap.stages.data import ImportData

__all__ = ["Given", "given_options"]

Function = TypeVar("Function", bound=Callable[..., Any])


def given_options(function: Function) -> Function:
    """--teacher-model, --teacher-captions, --teacher-run."""
    function = click.option(
        "--teacher-run",
        "teacher_runs",
        type=click.Path(path_type=Path),
        multiple=True,
        help="Train no teacher: this trained run of the store labels. Several are an ensemble.",
    )(function)
    function = click.option(
        "--teacher-captions",
        type=click.Path(path_type=Path),
        help="Train no teacher: a file of captions of the training images, by any model.",
    )(function)
    return click.option(
        "--teacher-model",
        help="Train no teacher: an image-to-text model of transformers labels, by folder or hub name.",
    )(function)


@dataclass(frozen=True)
class Given:
    """What these options say."""

    model: str | None
    captions: Path | None
    runs: tuple[Path, ...]

    @property
    def option(self) -> str | None:
        """The option that brings a teacher; None where one is to be trained.

        Raises:
            ConfigError: several do.
        """
        options = {
            "--teacher-model": self.model,
            "--teacher-captions": self.captions,
            "--teacher-run": self.runs,
        }
        named = [f"`{option}`" for option, value in options.items() if value]
        if len(named) > 1:
            raise ConfigError(f"{' and '.join(named)} each bring a teacher; leave one out.")
        return named[0] if named else None

    def check_beside(self, others: dict[str, tuple[object, str]]) -> None:
        """Refuse options that have nothing to say once a teacher is given.

        Args:
            others: by option: its value (None where it was not given), and what it speaks of.

        Raises:
            ConfigError: one of them was given.
        """
        for other, (value, what) in others.items():
            if self.option is not None and value:
                raise ConfigError(
                    f"`{other}` is {what}, but {self.option} brings a teacher that needs no training; "
                    "leave one of the two out."
                )

    def teacher(self, data: ImportData, store: Path, beam: int, n_best: int) -> GivenTeacher | None:
        """The teacher; None where one is to be trained."""
        from distilcap.pipeline.given import captions_teacher, model_teacher, runs_teacher

        if self.model is not None:
            return model_teacher(self.model, data, beam, n_best)
        if self.captions is not None:
            return captions_teacher(self.captions, data)
        return runs_teacher(self.runs, data, store, beam, n_best) if self.runs else None
