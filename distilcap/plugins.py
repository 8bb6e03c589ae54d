"""Extensions from outside the package: modules that register captioners, encoders, metrics and teachers.

A person names them (`distilcap --plugin MODULE`, or several in DISTILCAP_PLUGINS with commas between), or
installs a package that declares the entry point group `distilcap.plugins`. Nothing that is read from a file
of data, a store or a bundle names a module.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path

from distilcap.errors import ConfigError, DistilCapError

__all__ = ["GROUP", "PLUGINS", "add_plugin", "load_plugins", "plugin_failure"]

PLUGINS = "DISTILCAP_PLUGINS"
"""The environment variable that names plugins; child processes inherit it."""

GROUP = "distilcap.plugins"
"""The group of entry points whose modules are plugins."""

_loaded: set[str] = set()


def add_plugin(plugin: str) -> None:
    """Import a plugin, here and in processes that are started from here.

    Args:
        plugin: name of a module that Python can import, or path of a `.py` file.

    Raises:
        ConfigError: it cannot be imported, or registers what cannot be.
    """
    if plugin.endswith(".py"):
        plugin = str(Path(plugin).resolve())
    os.environ[PLUGINS] = ",".join(dict.fromkeys([*_named(), plugin]))
    load_plugins()


def load_plugins() -> None:
    """Import all plugins that are not yet imported.

    Raises:
        ConfigError: as `add_plugin`.
    """
    for plugin in [*_named(), *_installed()]:
        if plugin in _loaded:
            continue
        _loaded.add(plugin)  # before it is imported: what it registers with asks for plugins too
        try:
            _import(plugin)
        except Exception as error:
            reason = str(error) if isinstance(error, DistilCapError) else _reason(error)
            _loaded.remove(plugin)
            raise ConfigError(f"Plugin {plugin} cannot be imported: {reason}") from error


def plugin_failure(error: Exception) -> ConfigError | None:
    """An exception that came through a plugin, in one line that says where; None if it did not."""
    where = _plugin_line(error)
    if where is None:
        return None
    reason = f"{type(error).__name__}, {str(error).partition(chr(10))[0]}"
    return ConfigError(f"The plugin fails at {where}: {reason}. DISTILCAP_TRACEBACK=1 shows the traceback.")


def _plugin_line(error: Exception) -> str | None:
    """The innermost line of a plugin, or of its package, that an exception came through, as "toy.py:53"."""
    names = {Path(name).stem if name.endswith(".py") else name.partition(".")[0] for name in _loaded}
    where = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if any(module == name or module.startswith(f"{name}.") for name in names):
            where = f"{Path(frame.f_code.co_filename).name}:{line}"
    return where


def _named() -> list[str]:
    return [name for name in os.environ.get(PLUGINS, "").split(",") if name]


@functools.cache
def _installed() -> list[str]:
    return [point.module for point in entry_points(group=GROUP)]


def _import(plugin: str) -> None:
    if not plugin.endswith(".py"):
        importlib.import_module(plugin)
        return
    path = Path(plugin)
    if path.stem in sys.modules:
        raise ConfigError(f"there is a module {path.stem} already; rename the file.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise


def _reason(error: Exception) -> str:
    where = _plugin_line(error)
    return f"{type(error).__name__}{f' at {where}' if where else ''}, {str(error).partition(chr(10))[0]}."
