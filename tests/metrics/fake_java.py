"""A Java and a Maven for tests: programs that answer as the real ones do, without what they need."""

from __future__ import annotations

import sys
from pathlib import Path

JAVA = """\
import json, os, sys, time
mode, arguments = os.environ.get("FAKE_JAVA", "ok"), sys.argv[1:]
if arguments == ["-version"]:
    sys.stderr.write('Picked up JAVA_TOOL_OPTIONS: -Da=b\\nopenjdk version "%s" 2025-04-15\\n' % {version!r})
    sys.exit(0)
main = arguments.index("edu.anu.spice.SpiceScorer")
options = arguments[main + 2:]
with open(arguments[main + 1], encoding="ascii") as file:
    images = json.load(file)
with open({log!r}, "a", encoding="utf-8") as file:
    file.write(json.dumps({{"options": arguments[:main], "after": options, "images": images}}) + "\\n")
if mode == "hang":
    time.sleep(60)
if mode == "chatty":
    sys.stderr.write("WARNING: Untokenizable\\n" * 200_000)
if mode == "silent":
    sys.stderr.write("Error: Could not score batched file input:\\n\\tat edu.anu.Spice\\n")
    sys.exit(0)
if mode == "memory":
    sys.stderr.write("java.lang.OutOfMemoryError: Java heap space\\n\\tat edu.stanford.nlp\\n")
    sys.exit(0)
if mode == "dies":
    sys.exit(3)
if "-cache" in options:
    cache = os.path.join(options[options.index("-cache") + 1], "data.mdb")
    if mode == "cache" or (os.path.exists(cache) and open(cache).read() != "good"):
        sys.stderr.write("org.fusesource.lmdbjni.LMDBException: MDB_CORRUPTED\\n")
        sys.exit(0)
    with open(cache, "w") as file:
        file.write("good")
def score(image):
    words, others = set(image["test"].split()), set(" ".join(image["refs"]).split())
    right = len(words & others)
    total = len(words) + len(others)
    return {{"f": 2 * right / total if total else 0, "tp": right, "fp": len(words - others),
            "fn": len(others - words), "pr": None, "re": None, "numImages": 1}}
results = [{{"image_id": one["image_id"], "scores": {{"All": score(one)}}}} for one in images]
if mode == "shifted":
    results = results[1:] + results[:1]
if mode == "null":
    results[0]["scores"]["All"]["f"] = None
with open(options[options.index("-out") + 1], "w", encoding="utf-8") as file:
    json.dump(results, file)
"""

MAVEN = """\
import os, pathlib, re, shutil, sys
if os.environ.get("FAKE_MAVEN") == "offline":
    print("[INFO] Scanning\\n[ERROR] Unknown host central.example")
    sys.exit(1)
target = next(one.split("=", 1)[1] for one in sys.argv if one.startswith("-DoutputDirectory="))
pom = pathlib.Path("pom.xml").read_text()
for name, version, classifier in re.findall(
    r"<artifactId>([^<*]+)</artifactId><version>([^<]+)</version>(?:<classifier>(\\w+)</classifier>)?<ex", pom
):
    file = "-".join(filter(None, (name, version, classifier))) + ".jar"
    shutil.copy(os.path.join({central!r}, file), target)
"""


def write_program(path: Path, source: str) -> Path:
    """Make an executable of Python source."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable} -IS\n{source}", encoding="utf-8")
    path.chmod(0o755)
    return path


def write_java(home: Path, log: Path, version: str = "17.0.15") -> Path:
    """Make `home/bin/java`, which writes what it is asked, a JSON line a call, to `log`."""
    return write_program(home / "bin" / "java", JAVA.format(version=version, log=str(log)))
