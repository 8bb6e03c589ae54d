"""The entry point: finds the command, and turns what a person can fix into one line and exit code 2."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from distilcap import __version__
from distilcap.cli.say import discard_unread, reader_gone, say
from distilcap.errors import DistilCapError, memory_error
from distilcap.files import DISK_FULL
from distilcap.plugins import add_plugin, plugin_failure
from distilcap.training.processes import first_to_fail, launched, leave_launch, processes_asked_for

__all__ = ["main"]

SPINS = "1000"
"""Of libgomp's threads before they sleep, instead of 300,000: a tenth slower at most where nothing else runs,
twice as fast and more where something does (docs/speed.md)."""

# name: (module, attribute, what it does)
COMMANDS = {
    "demo": ("demo", "demo", "The whole line on a drawn data set, in minutes."),
    "data": ("data", "data", "Check, convert, crop or draw a data set; set up COCO."),
    "features": ("features", "features", "Extract what an encoder sees in images."),
    "train": ("train", "train", "Train a captioner."),
    "generate": ("generate", "generate", "Caption a split, or any images, with a trained run."),
    "merge": ("generate", "merge", "Join labels that were made in parts."),
    "evaluate": ("evaluate", "evaluate", "Score captions against references."),
    "compare": ("evaluate", "compare", "Say whether two or more systems differ."),
    "metrics": ("evaluate", "metrics", "Set up metrics and their statistics."),
    "distill": ("distill", "distill", "Teacher to student on your own images."),
    "reproduce": ("reproduce", "reproduce", "Measure again what the paper and the README report."),
    "costs": ("costs", "costs", "Hours and money of the tables on GPUs."),
    "caption": ("caption", "caption", "Caption photographs."),
    "store": ("store", "store", "Look after a store: list, verify, clean up, take results along."),
    "models": ("models", "models", "List captioners and encoders with their sizes."),
    "report": ("report", "report", "Write a page from measured results."),
    "export": ("export", "export", "Write a bundle that needs no PyTorch."),
    "web": ("export", "web", "Write a page that captions in the browser."),
    "serve": ("export", "serve", "Serve that page."),
    "bench": ("export", "bench", "Measure a bundle's size and speed."),
    "push": ("export", "push", "Publish a bundle on the Hugging Face Hub."),
}

TOGETHER = {"train", "generate", "distill", "reproduce"}
"""Commands whose work the processes of a launch share (`accelerate launch`, `torchrun`)."""


class LazyGroup(click.Group):
    """Commands that are imported when they are called; their help lines are known before."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a command that cannot be shared is left to the first process of a launch.

        The others join before the command begins, so that an error of one process is known to all.
        """
        resolved = super().resolve_command(ctx, args)
        if resolved[0] in TOGETHER:
            if processes_asked_for()[1] > 1:
                launched()
        else:
            if os.environ.get("RANK", "0") != "0":
                ctx.exit()
            os.environ.pop("WORLD_SIZE", None)
        return resolved

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; of any pipe that breaks, by its number, Click would say that nothing is wrong."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            error.errno = None
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of a person's way through them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"distilcap.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List names and lines without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


def _load_plugins(_context: click.Context, _option: click.Parameter, names: tuple[str, ...]) -> None:
    """Before the command is looked up: its help lists what plugins add."""
    for name in names:
        add_plugin(name)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog="Begin with `distilcap caption photo.jpg`; with captions of your own images, "
    "`distilcap distill --data DIR`.",
)
@click.version_option(__version__, prog_name="distilcap")
@click.option("--plain", is_flag=True, help="Compute by plain PyTorch alone; or set DISTILCAP_PLAIN=1.")
@click.option(
    "--plugin",
    multiple=True,
    metavar="MODULE",
    is_eager=True,
    expose_value=False,
    callback=_load_plugins,
    help="Module, or .py file, that adds captioners, encoders, metrics, tokenizers, data forms or "
    "teachers; or DISTILCAP_PLUGINS.",
)
def cli(plain: bool) -> None:
    """Make image captioners small enough for a phone, by sequence-level knowledge distillation."""
    if plain:  # child processes inherit it
        os.environ["DISTILCAP_PLAIN"] = "1"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a bug, 2 something to fix, 130 interrupted, 143 ended."""
    code = None
    _wait_without_spinning()
    try:
        _run(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    for stream in (sys.stdout, sys.stderr):
        discard_unread(stream)
    leave_launch(code or 0)
    if code is not None:
        sys.exit(code)


def _wait_without_spinning() -> None:
    """Before PyTorch is imported: its threads wait for one another by spinning for milliseconds, which is for
    nothing where another program has the core of the one that they wait for."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _run(arguments: list[str] | None) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 must not end a command
            stream.reconfigure(errors="backslashreplace")
    try:
        with _sigterm_exits():
            cli(arguments, prog_name="distilcap", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except SystemExit as ended:
        # Click takes an EPIPE of its help for itself and ends with 1, though nothing is wrong (`| head`).
        sys.exit(0 if "PacifyFlush" in type(sys.stdout).__name__ else ended.code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        message, context = error.format_message(), getattr(error, "ctx", None)
        end = "" if message.endswith((".", "?")) else "."
        _fail(f"{message}{end} See `{context.command_path if context else 'distilcap'} --help`.", 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("Interrupted; the same command goes on from what was kept.", 130)
    except DistilCapError as error:
        _fail(str(error), 2)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and reader_gone(sys.stdout):
            sys.exit(0)  # nothing is wrong (`| head`)
        fix = "free some space and run it again" if error.errno in DISK_FULL else "check the path"
        _fail(f"{error.filename or 'A file'}: {error.strerror or error}; {fix}.", 2)
    except MemoryError:
        _fail("There is not enough memory for this; smaller options or files need less.", 2)
    except Exception as error:
        if short := memory_error(error):
            _fail(str(short), 2)
        if (failure := plugin_failure(error)) and not os.environ.get("DISTILCAP_TRACEBACK"):
            _fail(str(failure), 2)
        if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("distilcap"):
            _fail(
                f"The package {error.name} is needed for this: pip install 'distilcap[train]' brings it.", 2
            )
        if os.environ.get("DISTILCAP_TRACEBACK"):
            raise
        _fail(f"{_bug(error)} DISTILCAP_TRACEBACK=1 shows the traceback.", 1)


def _bug(error: Exception) -> str:
    """An exception that no check foresaw, with the innermost line of this package that it came through."""
    calls = traceback.extract_tb(error.__traceback__)
    ours = [call for call in calls if Path(__file__).parents[1] in Path(call.filename).parents]
    where = f" in {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"This is a bug in distilcap: {type(error).__name__}{where}: {error}."


@contextmanager
def _sigterm_exits() -> Iterator[None]:
    """SIGTERM raises SystemExit, so that scratch files are removed; a second ends the process at once."""

    def leave(number: int, _: object) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str, code: int) -> None:
    if first_to_fail():
        say("Error: " + " ".join(message.split()), err=True)
    sys.exit(code)
