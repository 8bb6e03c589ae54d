"""The commands; the only room that prints.

Each group of commands is a module here and is imported when it is called, so that `distilcap --help` is
there at once.
"""

from distilcap.cli.main import main

__all__ = ["main"]
