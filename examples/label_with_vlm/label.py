"""Caption a folder of photographs with a large vision-language model, as labels for `distilcap distill`.

The model runs here, by `transformers`, or answers behind an OpenAI-compatible server (vLLM, llama.cpp, Ollama
and others). Every caption is on disk before the next is asked for: a killed command goes on where it was when
it is run again. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioners import PROMPT, Captioner, Local, NoAnswer, Server, Silence

from distilcap.data.dataset import ImageRecord, probe
from distilcap.data.readers.entries import is_text
from distilcap.errors import DataError, DistilCapError
from distilcap.files import expected, sha256_of, write_bytes
from distilcap.progress import Progress
from distilcap.record_log import RecordLog, check_options, header_of
from distilcap.runtime.formats import left_out
from distilcap.teachers.listing import find_images

IN_A_ROW = 5  # photographs at which the model is silent, after which it is taken to be gone
AT_FIRST = 100  # photographs without a caption, after which a model that gave none is taken to give none
_CHECK = "check the model, then run this again"
_FIX = "give another `--to`, or delete this log and its captions"


@dataclass(frozen=True)
class Labelled:
    """What came of a run.

    Attributes:
        captions: by photograph's path from the folder.
        unread: photographs that are damaged, with what is wrong.
        unanswered: photographs that the model said nothing about, with why; the next run asks again.
    """

    captions: dict[str, str]
    unread: dict[str, str]
    unanswered: dict[str, str]


def label(folder: Path, to: Path, captioner: Captioner, progress: Progress) -> Labelled:
    """Caption all photographs of a folder that have no caption yet, and write those of this folder to `to`.

    A caption belongs to a name and the file's content: another folder, or a photograph that was replaced, is
    captioned anew. Photographs that the model gave nothing for in an earlier run come last.

    Raises:
        DataError: the model is gone, or captions nothing; what was captioned is kept. Or `to` is a folder,
            was begun by another captioner, or holds what this command did not write.
        ConfigError: the server refuses all photographs.
    """
    done = Labelled({}, {}, {})
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of photographs.")
    if to.is_dir():
        raise DataError(
            f"{to}: is a folder; `--to` names the captions file, such as {to / 'captions.jsonl'}."
        )
    others = Counter[str]()
    photos = [
        ImageRecord(photo.relative_to(folder).as_posix(), photo, "train")
        for photo in find_images(folder, others)
    ]
    if others:
        progress.note(f"{folder}: {left_out(others)}.")
    if not photos:
        raise DataError(f"{folder}: there are no photographs in it.")
    path = to.with_name(f".{to.name}.log")
    begun = captioner.earlier_recipe if header_of(path) == captioner.earlier_recipe else captioner.recipe
    with RecordLog(path, begun, progress, _FIX) as log:
        if begun != captioner.recipe:
            _check_recipe(log, captioner.recipe)
        with expected(log.path, "a log of captions; delete it"):
            captions = {
                (record["image"], *record.get("file", ())): str(record["caption"])
                for record in log.records
                if "image" in record
            }
            failed = {(record["failed"], *record["file"]) for record in log.records if "failed" in record}
        _check_written(to, log)
        files = {photo.id: probe(photo.path) for photo in photos}
        for photo in photos:
            keys = ((photo.id, *files[photo.id]), (photo.id,))  # the latter as earlier versions wrote it
            if key := next((key for key in keys if key in captions), None):
                done.captions[photo.id] = captions[key]
        asked = [photo for photo in photos if is_text(photo.id) and photo.id not in done.captions]
        asked.sort(key=lambda photo: (photo.id, *files[photo.id]) in failed)  # these last
        done.unread.update((photo.id, "its name is not UTF-8") for photo in photos if not is_text(photo.id))

        def keep(photo: ImageRecord, answer: Future[str]) -> None:
            name, error = photo.id, answer.exception()
            if error is None:
                log.append({"image": name, "file": files[name], "caption": answer.result()})
                done.captions[name] = answer.result()
            elif isinstance(error, NoAnswer):
                done.unanswered[name] = str(error)
                if (name, *files[name]) not in failed:
                    log.append({"failed": name, "file": files[name]})
            elif isinstance(error, DataError):
                done.unread[name] = str(error)

        tracked = progress.track(asked, "Captioning", len(photos), len(photos) - len(asked))
        try:
            _ask(captioner, iter(tracked), keep, done)
        finally:
            _write(to, [photo.id for photo in photos], done.captions, log)
    return done


def _ask(
    captioner: Captioner,
    asked: Iterator[ImageRecord],
    keep: Callable[[ImageRecord, Future[str]], None],
    done: Labelled,
) -> None:
    """Ask about photographs, and `keep` what comes when it comes: also while this ends, by Ctrl-C too."""
    running: dict[Future[str], ImageRecord] = {}
    silent = 0
    try:
        with ThreadPoolExecutor(captioner.at_once) as pool:
            while True:
                for photo in itertools.islice(asked, captioner.at_once - len(running)):
                    running[pool.submit(captioner.caption, photo.path)] = photo
                if not running:
                    return
                for answer in wait(running, return_when=FIRST_COMPLETED).done:
                    keep(running[answer], answer)
                    del running[answer]
                    error = answer.exception()
                    if error and not isinstance(error, DataError):
                        raise error
                    if isinstance(error, Silence):
                        silent += 1
                    elif error is None or isinstance(error, NoAnswer):
                        silent = 0
                    if silent == IN_A_ROW:
                        raise DataError(f"{silent} photographs in a row: {error}; {_CHECK}.")
                    if not done.captions and len(done.unanswered) == AT_FIRST:
                        raise DataError(
                            f"None of the first {AT_FIRST} photographs got a caption: {error}; {_CHECK}."
                        )
    finally:
        for answer, photo in running.items():
            if answer.done():
                keep(photo, answer)


def _check_recipe(log: RecordLog, recipe: dict[str, Any]) -> None:
    """Make sure that a log of an earlier version, which has another header, goes on with one captioner.

    Raises:
        DataError: it was gone on with by another before.
    """
    known = [record["recipe"] for record in log.records if "recipe" in record]
    if known:
        check_options(log.path, known[0], recipe, _FIX)
    else:
        log.append({"recipe": recipe})


def _check_written(to: Path, log: RecordLog) -> None:
    """Make sure that nobody's captions are replaced but those of the log.

    Raises:
        DataError: the file was corrected since it was written, or is somebody else's.
    """
    if not to.is_file():
        return
    written = [record["sha256"] for record in log.records if "sha256" in record]
    # Earlier versions did not say what they wrote: each line is then one of the log's.
    lines = {_line(record["image"], record["caption"]) for record in log.records if "image" in record}
    known = sha256_of(to) in written if written else lines.issuperset(to.read_bytes().splitlines(True))
    if not known:
        raise DataError(
            f"{to}: was edited since it was written, or something else wrote it; give another `--to`, or "
            "move this file away (captions that are known are then written without asking again)."
        )


def _line(name: str, caption: str) -> bytes:
    return json.dumps({"image": name, "captions": [caption]}, ensure_ascii=False).encode() + b"\n"


def _write(to: Path, names: list[str], captions: dict[str, str], log: RecordLog) -> None:
    """The captions file, as `--data` and `--teacher-captions` read it; none where there is no caption.

    Raises:
        DataError: see `_check_written`; asked again here, since captioning takes hours.
    """
    content = b"".join(_line(name, captions[name]) for name in names if name in captions)
    if content and not (to.is_file() and to.read_bytes() == content):
        _check_written(to, log)
        log.append({"sha256": hashlib.sha256(content).hexdigest()})  # before: it may be killed in between
        write_bytes(to, content)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code: 0 done, 2 something to fix or to run again."""
    from distilcap.cli.progress import PlainConsole, TerminalProgress
    from distilcap.cli.say import say

    given = _parser().parse_args(arguments)
    try:
        captioner: Captioner
        if given.server:
            key = os.environ.get("OPENAI_API_KEY", "").strip()
            captioner = Server(
                given.server, given.model, given.prompt, given.max_tokens, given.side, given.at_once, key
            )
        else:
            captioner = Local(given.model, given.prompt, given.max_tokens, given.side)
        done = label(given.photos, given.to, captioner, TerminalProgress(PlainConsole(stderr=True)))
    except DistilCapError as error:
        say(f"Error: {error}", err=True)
        return 2
    except OSError as error:
        say(f"Error: {error.filename}: {error.strerror or error}.", err=True)
        return 2
    except KeyboardInterrupt:
        say("Interrupted; the same command goes on from there.", err=True)
        return 130
    for name, reason in sorted((done.unread | done.unanswered).items()):  # they came in any order
        say(f"skipped {name}: {reason}")
    again = f" ({len(done.unanswered):,} without an answer: run it again)" if done.unanswered else ""
    skipped = len(done.unread) + len(done.unanswered)
    say(f"{given.to}: captions of {len(done.captions):,} photographs, {skipped:,} skipped{again}")
    return 2 if skipped else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", 1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("photos", type=Path, help="folder of photographs; those in its folders too")
    add("--to", type=Path, default=Path("captions.jsonl"), help="captions file to write")
    add("--model", required=True, help="name at the server; or a folder or hub name, for transformers")
    add("--server", help="URL of an OpenAI-compatible server, such as http://localhost:8000/v1")
    add("--prompt", default=PROMPT, help="what is asked about each photograph")
    add("--max-tokens", type=_count, default=100, help="longest answer, in tokens")
    add("--side", type=_count, default=768, help="longer side of what the model is given, in pixels")
    add("--at-once", type=_count, default=4, help="number of requests to the server at the same time")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 100_000):
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 99999, but is {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
