"""`distilcap store`: what a store holds, whether it is undamaged, what can go, and results to take along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from distilcap.cli.bounds import PATH
from distilcap.cli.common import CONSOLE, store_option
from distilcap.errors import ConfigError, DataError
from distilcap.shown import counted, some

if TYPE_CHECKING:
    from distilcap.store.contents import Entry

__all__ = ["store"]

EXAMPLE = """\b
Example:
  distilcap store ls
  distilcap store verify --store runs
  distilcap store gc --keep results/results.json
  distilcap store export results.tar.gz --keep results/results.json
  distilcap store import results.tar.gz --store elsewhere/runs
"""
_UNKNOWN = "of a plugin that is not loaded (`distilcap --plugin MODULE`) or of another version"


@click.group(epilog=EXAMPLE)
def store() -> None:
    """Look after a store: list, verify, clean up, and take results along."""


@store.command("ls")
@store_option
def list_stages(store: Path) -> None:
    """List the stages of a store: bytes, seconds of building, and what uses each."""
    from distilcap.data.features import readable_size
    from distilcap.store.contents import unfinished

    entries = _contents(store)
    size = readable_size(sum(entry.bytes for entry in entries))
    table = Table(title=f"{store}: {len(entries)} stages, {size}")
    table.add_column("stage", no_wrap=True)
    for column in ("size", "seconds"):
        table.add_column(column, justify="right")
    table.add_column("used by")
    table.add_column("remark")
    for entry in entries:
        users = [item.key for item in entries if entry.key in item.inputs()]
        fault = "of a plugin or another version" if entry.unknown else "damaged" if entry.fault else ""
        remark = "results only" if entry.results_only else fault
        seconds = "" if entry.seconds is None else f"{entry.seconds:.1f}"
        table.add_row(entry.key, readable_size(entry.bytes), seconds, some(users, 2), remark)
    for build in unfinished(store):
        remark = "a process is at it" if build.running else "unfinished: the same command goes on"
        table.add_row(build.folder.name, readable_size(build.bytes), "", "", remark)
    CONSOLE.print(table)


@store.command()
@click.argument("keys", nargs=-1)
@store_option
def verify(keys: tuple[str, ...], store: Path) -> None:
    """Read every file of a store, or of the stages KEYS, and compare it with its checksum.

    Exit code 2 where something is damaged; each damage is named with its fix. Stages whose weights were left
    out by intention (results only) are not damaged.
    """
    entries = _chosen(keys, _contents(store))
    faults = [fault for fault in (entry.damage() for entry in entries) if fault is not None]
    for fault in faults:
        CONSOLE.print(fault, soft_wrap=True)
    if faults:
        raise DataError(f"{store}: {len(faults)} of {len(entries)} stages are damaged.")
    old = sum(entry.unchecked for entry in entries)
    remark = f"; {old} of them are of an older version and have no checksums" if old else ""
    if unknown := sum(entry.unknown for entry in entries):
        remark += f"; {unknown} of them are {_UNKNOWN}: their files are undamaged"
    CONSOLE.print(f"{store}: {len(entries)} stages, none damaged{remark}")


@store.command()
@click.option(
    "--keep",
    type=PATH,
    multiple=True,
    required=True,
    help="A results.json, or a stage's folder or key: kept, with all that its report needs.",
)
@click.option("--unfinished", "also_unfinished", is_flag=True, help="Delete unfinished builds too.")
@click.option("--yes", is_flag=True, help="Delete; without this flag, what would be deleted is only printed.")
@store_option
def gc(keep: tuple[Path, ...], also_unfinished: bool, yes: bool, store: Path) -> None:
    """Delete stages that neither a kept result needs nor an unfinished build, but with --unfinished.

    Their commands can build them again. Nothing is deleted while a process is at the store.
    """
    import shutil

    from distilcap.data.features import readable_size
    from distilcap.store.contents import IMPORT, keys_in, left_behind, needed_by, remove, unfinished

    entries = _contents(store)
    begun = list(unfinished(store))
    if yes and (running := [build.folder.name for build in begun if build.running]):
        raise DataError(
            f"{store}: a process is at {some(running)}; nothing was deleted, since what its command needs is "
            "not all known. Wait until it has ended."
        )
    named = {key for source in keep for key in keys_in(source, entries)}
    unfinished_need = set[str]().union(*(build.inputs for build in begun if not also_unfinished))
    kept = needed_by(named | unfinished_need, entries)
    for entry in entries:
        if entry.key in kept and entry.fault is not None:
            raise DataError(
                f"{entry.fault} Until then nothing is deleted: what {entry.key} was made of is not known."
            )
    doomed = [entry for entry in entries if entry.key not in kept]
    builds = [build for build in begun if also_unfinished and not build.running]
    rest = left_behind(store)
    for entry in doomed:
        CONSOLE.print(f"{entry.key}  {readable_size(entry.bytes)}")
        if yes:
            remove(store, entry.key)
    for build in builds:
        CONSOLE.print(f"unfinished {build.folder.name}  {readable_size(build.bytes)}")
        if yes:
            shutil.rmtree(build.folder)
    for folder, size in rest.items():
        what = "an import" if folder.name.startswith(IMPORT) else "a deletion"
        CONSOLE.print(f"rest of {what} {folder.name}  {readable_size(size)}")
        if yes:
            shutil.rmtree(folder, ignore_errors=True)
    size = sum(entry.bytes for entry in doomed) + sum(build.bytes for build in builds) + sum(rest.values())
    more = len(kept) - len(needed_by(named, entries))
    of_builds = f", {more} of them for unfinished builds (`--unfinished` deletes these)" if more else ""
    of_unfinished = f" and {counted(len(builds), 'unfinished build')}" if builds else ""
    CONSOLE.print(
        f"{'Deleted' if yes else 'To delete (with --yes)'}: {len(doomed)} of {len(entries)} stages"
        f"{of_unfinished}, {readable_size(size)}; {len(kept)} are kept{of_builds}."
    )


@store.command()
@click.argument("keys", nargs=-1, required=True)
@store_option
def rm(keys: tuple[str, ...], store: Path) -> None:
    """Delete the stages KEYS; a command that needs them builds them again."""
    from distilcap.store.contents import remove

    entries = _contents(store)
    for key in keys:
        remove(store, key)
        users = [entry.key for entry in entries if key in entry.inputs() and entry.key not in keys]
        remark = f"; {', '.join(users)} was made of it and stays" if users else ""
        CONSOLE.print(f"Deleted {key}{remark}", soft_wrap=True)


@store.command("export")
@click.argument("to", type=PATH)
@click.option(
    "--keep",
    type=PATH,
    multiple=True,
    help="A results.json, or a stage's folder or key: only what its report needs.  [default: everything]",
)
@click.option(
    "--without", type=PATH, multiple=True, help="A pack: what it has is left out, so that both go together."
)
@store_option
def export_(to: Path, keep: tuple[Path, ...], without: tuple[Path, ...], store: Path) -> None:
    """Pack captions, scores and recipes, without weights, into the file TO (.tar.gz)."""
    from distilcap.data.features import readable_size
    from distilcap.store.contents import keys_in, lacking, needed_by
    from distilcap.store.pack import export_results, packed_keys

    entries, gone = _contents(store), []
    if keep:
        kept = needed_by({key for source in keep for key in keys_in(source, entries)}, entries)
        everything, entries = entries, [entry for entry in entries if entry.key in kept]
        gone = lacking(keep, entries, everything)
    there = {key for pack in without for key in packed_keys(pack)}
    entries = [entry for entry in entries if entry.key not in there]
    packed = export_results(entries, to)
    CONSOLE.print(f"{to}: results of {len(packed)} stages, {readable_size(to.stat().st_size)}")
    if unknown := [entry.key for entry in entries if entry.unknown]:
        CONSOLE.print(f"Left out, {_UNKNOWN}: {some(unknown)}.", soft_wrap=True)
    if gone := [key for key in gone if key not in there]:
        CONSOLE.print(f"Not in the store, and so missing in the pack: {some(gone)}.", soft_wrap=True)


@store.command("import")
@click.argument("source", type=PATH)
@store_option
def import_(source: Path, store: Path) -> None:
    """Add the results in SOURCE to a store, where they count as complete."""
    _register()
    from distilcap.store.pack import import_results

    imported = import_results(source, store)
    CONSOLE.print(
        f"{store}: {len(imported.new)} stages are new, {len(imported.known)} were there already and stay."
    )
    if imported.different:
        CONSOLE.print(
            f"Of these {len(imported.different)} are another in {source}, by the same recipe: "
            f"{some(imported.different)}. A store of its own keeps the results of the pack together.",
            soft_wrap=True,
        )


def _register() -> None:
    from distilcap.stages.folders import import_stages

    import_stages()


def _contents(root: Path) -> list[Entry]:
    _register()
    from distilcap.store.contents import contents

    return contents(root)


def _chosen(keys: tuple[str, ...], entries: list[Entry]) -> list[Entry]:
    known = {entry.key: entry for entry in entries}
    for key in keys:
        if key not in known:
            raise ConfigError(f"{key!r} is no stage of this store; `distilcap store ls` lists them.")
    return [known[key] for key in keys] if keys else entries
