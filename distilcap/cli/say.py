"""Lines of output for people and programs alike; tables and bars are `common.CONSOLE` and `PROGRESS`."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TextIO

import click

from distilcap.shown import shown

__all__ = ["discard_unread", "reader_gone", "say"]


def say(*fields: str, err: bool = False) -> None:
    """Print one line, however long: its fields with tabs between, none of which controls the terminal.

    Raises:
        BrokenPipeError: whoever read the output has gone. What only says how it went (`err`) is dropped then.
    """
    line = "\t".join(map(shown, fields))
    if err:
        with suppress(BrokenPipeError):
            click.echo(line, err=True)
    else:
        click.echo(line)


def reader_gone(stream: TextIO | None) -> bool:
    """Whether a stream is a pipe that nobody reads any more, as after `| head`."""
    if stream is None:
        return False
    poll = select.poll()
    try:
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # closed, or no file
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def discard_unread(stream: TextIO | None) -> None:
    """Give up what a pipe that nobody reads has not taken: Python would end with 120 for it."""
    if stream is not None and reader_gone(stream):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
