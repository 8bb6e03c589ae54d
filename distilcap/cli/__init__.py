"""The commands; the only package that prints.

Each group of commands is a module here and is imported when it is called, so that `distilcap --help` is
there at once. The entry point is `distilcap.cli.main.main`.
"""
