"""The page's own arithmetic, run by Node: resizing against Pillow, beam search against Python's."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from distilcap.errors import DataError
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.large import MAX_JPEG_PIXELS, reduce
from distilcap.runtime.pixels import Preprocessing, _read, normalise, to_pixels
from distilcap.runtime.search import search
from distilcap.text.unspaced import join_words

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    for name in ("distilcap.js", "captioner.js", "pixels.js", "search.js"):
        shutil.copyfile(str(resources.files("distilcap.export.browser") / "web" / name), folder / name)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def run_node(folder: Path, script: str, given: object) -> object:
    (folder / "given.json").write_text(json.dumps(given))
    (folder / "main.js").write_text(
        'import { readFileSync } from "node:fs";\n'
        f'const given = JSON.parse(readFileSync("given.json"));\n{script}\n'
    )
    done = subprocess.run(["node", "main.js"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


WORKER = """
globalThis.Worker = class {
  constructor() { setTimeout(() => this.onerror({ message: given }), 5); }
  postMessage() {}
  terminate() { this.ended = true; }
};
const { load } = await import("./distilcap.js");
const said = await load({ threads: 1 }).then(() => "loaded", (error) => error.message);
console.log(JSON.stringify(said));
"""


def test_a_worker_whose_script_fails_is_told(scripts):
    assert run_node(scripts, WORKER, "no such script") == "The captioner's worker failed: no such script."
    assert run_node(scripts, WORKER, "") == "The captioner's worker failed: its script did not load."


ENDED = """
const asked = [];
globalThis.document = { baseURI: "https://a.io/page/" };
globalThis.createImageBitmap = async () => ({});
let worker;
globalThis.Worker = class {
  constructor() { worker = this; }
  postMessage({ id, call, bundle }) {
    if (call === "load") asked.push(bundle);
    if (call === "load") setTimeout(() => this.onmessage({ data: { id, type: "done", result: {} } }));
  }
  terminate() {}
};
const { load } = await import("./distilcap.js");
const said = (promise) => promise.then(() => "described", (error) => error.message);
for (const [bundle, end] of [
  ["bundle/", (captioner) => captioner.close()],
  ["/bundle", () => worker.onerror({ message: "no memory" })],
]) {
  const captioner = await load({ bundle, threads: 1 });
  const before = said(captioner.describe({}));
  await new Promise((done) => setTimeout(done, 5));
  end(captioner);
  asked.push(await before, await said(captioner.describe({})));
}
console.log(JSON.stringify(asked));
"""


def test_who_waits_for_a_worker_that_ended_is_told(scripts: Path) -> None:
    closed, failed = "The captioner is closed.", "The captioner's worker failed: no memory."
    addresses = ["https://a.io/page/bundle", "https://a.io/bundle"]
    told = run_node(scripts, ENDED, None)
    assert told == [addresses[0], closed, closed, addresses[1], failed, failed]


SIZES = [(224, 224, 224), (300, 201, 64), (37, 53, 64), (500, 375, 96), (375, 500, 96), (7, 5, 32)]
SIZES += [(100, 150, 75), (66, 110, 64), (64, 300, 48)]  # tall: Pillow 13 resizes downwards first
CASES = [(width, height, size, name) for width, height, size in SIZES for name in ("bicubic", "bilinear")]
RESIZE = """
import { resize } from "./pixels.js";
const resized = given.map((one) => resize(Uint8Array.from(one.rgba), one.width, one.height, one));
console.log(JSON.stringify(resized.map((rgb) => Array.from(rgb))));
"""


def resized(scripts, pictures, cases):
    """What the page makes of pictures, (S, S, 3) each."""
    given = []
    for (width, height, size, name), picture in zip(cases, pictures, strict=True):
        rgba = np.concatenate([picture, np.full((height, width, 1), 255, np.uint8)], axis=-1)
        given.append(
            {"rgba": rgba.ravel().tolist(), "width": width, "height": height} | {"size": size, "filter": name}
        )
    found = run_node(scripts, RESIZE, given)
    return [np.array(one).reshape(case[2], case[2], 3) for one, case in zip(found, cases, strict=True)]


def test_resizing_is_pillows_to_the_byte(scripts):
    generator = np.random.default_rng(1)
    pictures = []
    for width, height, *_ in CASES:
        noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        noise[: height // 2] = np.where(noise[: height // 2] > 127, 255, 0)  # overshoots are clipped
        pictures.append(noise)
    for case, picture, found in zip(CASES, pictures, resized(scripts, pictures, CASES), strict=True):
        *_, size, name = case
        expected = to_pixels(Image.fromarray(picture), Preprocessing(size, filter=name))
        np.testing.assert_array_equal(found, expected, err_msg=str(case))


def test_a_part_of_a_picture_is_resized_as_by_pillow(scripts):
    generator, given, expected = np.random.default_rng(5), [], []
    for width, height, size in ((101, 76, 32), (76, 150, 40)):
        picture = generator.integers(0, 256, (height, width, 4), np.uint8)
        picture[..., 3] = 255
        left, upper, right, lower = box = (0.25, 0.75, width - 0.5, height - 0.125)
        parts = {"left": left, "upper": upper, "right": right, "lower": lower}
        given.append({"rgba": picture.ravel().tolist(), "width": width, "height": height, "box": parts})
        given[-1] |= {"size": size, "filter": "bicubic"}
        expected.append(to_pixels(Image.fromarray(picture).convert("RGB"), Preprocessing(size), box))
    script = RESIZE.replace("one.height, one)", "one.height, one, one.box)")
    for answer, pixels in zip(run_node(scripts, script, given), expected, strict=True):
        np.testing.assert_array_equal(np.array(answer).reshape(pixels.shape), pixels)


FILLED = """
import { filledBox, jpegSize } from "./pixels.js";
const bytes = (file) => Uint8Array.from(atob(file), (one) => one.charCodeAt(0));
const boxes = given.map(({ file, part, decoded }) => filledBox(jpegSize(bytes(file)), part, decoded));
console.log(JSON.stringify(boxes.map((box) => Object.values(box))));
"""


def test_what_a_reduced_picture_fills_is_told_as_by_python(scripts):
    given, boxes = [], []
    for orientation, (width, height) in itertools.product(range(1, 9), [(403, 801), (404, 802), (399, 400)]):
        exif, buffer = Image.Exif(), io.BytesIO()
        exif[0x10E], exif[0x112] = "before it", orientation
        Image.new("RGB", (width, height)).save(buffer, "JPEG", exif=exif)
        image, box = _read(buffer.getvalue(), 99)
        decoded = dict(zip(("width", "height"), image.size, strict=True))
        file = base64.b64encode(buffer.getvalue()).decode()
        given.append({"file": file, "part": 4, "decoded": decoded})
        boxes.append(list(box))
    assert run_node(scripts, FILLED, given) == boxes
    # A decoder that gave other sides: all of what it gave.
    given[0]["decoded"] = {"width": 403, "height": 801}
    assert run_node(scripts, FILLED, given[:1]) == [[0, 0, 403, 801]]


REDUCE = """
import { jpegSize, reduction } from "./pixels.js";
const sizes = given.files.map((file) => jpegSize(Uint8Array.from(atob(file), (one) => one.charCodeAt(0))));
const parts = given.cases.map(([width, height, size, decoding]) =>
  reduction({ width, height }, { size, decoding }));
console.log(JSON.stringify([sizes.map((size) => size ?? null), parts]));
"""


def test_jpegs_are_reduced_as_python_reduces_them(scripts):
    random, files, sizes = np.random.default_rng(4), [], []
    for options in ({}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(60_000)}, {"comment": "x" * 999}):
        sizes.append({"width": int(random.integers(1, 400)), "height": int(random.integers(1, 400))})
        buffer = io.BytesIO()
        Image.new("RGB", tuple(sizes[-1].values())).save(buffer, "JPEG", **options)
        files.append(buffer.getvalue())
    files += [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", files[0][:20], b"\x89PNG", b"\xff\xd8" + bytes(99)]
    sides = [int(side) for side in np.geomspace(1, 65_000, 40).round()]
    cases = [
        (width, height, size, decoding)
        for width, height in [*itertools.product(sides, sides[::5]), (16_320, 12_240), (12_000, 9_000)]
        for size, decoding in ((224, "reduced"), (2048, "reduced"), (224, "whole"))
        if width * height <= MAX_JPEG_PIXELS
    ]
    given = {"files": [base64.b64encode(file).decode() for file in files], "cases": cases}
    found, parts = run_node(scripts, REDUCE, given)
    sizes = [size | {"orientation": 1} for size in sizes]
    assert found == sizes + [None] * (len(files) - len(sizes))
    assert {1, 2, 4, 8} == set(parts)
    for (width, height, size, decoding), part in zip(cases, parts, strict=True):
        image = JpegImageFile(io.BytesIO(files[0]))
        image._size, image.tile = (width, height), [image.tile[0]._replace(extents=(0, 0, width, height))]
        with contextlib.suppress(DataError):  # too large even so
            reduce(image, 2 * size if decoding == "reduced" else None)
        assert image.size == (-(-width // part), -(-height // part)), (width, height, size, decoding)


def test_normalisation_is_the_same_float32(scripts):
    rgb = np.random.default_rng(2).integers(0, 256, (1, 24, 24, 3), dtype=np.uint8)
    preprocessing = Preprocessing(24, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    script = """
import { normalise } from "./pixels.js";
console.log(JSON.stringify(Array.from(normalise(Uint8Array.from(given.rgb), given.preprocessing))));
"""
    found = run_node(scripts, script, {"rgb": rgb.ravel().tolist(), "preprocessing": preprocessing.to_json()})
    expected = normalise(rgb, preprocessing)
    np.testing.assert_array_equal(np.array(found, np.float32), expected.ravel())


@pytest.mark.parametrize("blocked", [(), ((4, 0), (5, 7), (6, 7))])
@pytest.mark.parametrize("length_penalty", [0.0, 0.7])
@pytest.mark.parametrize("avoid_repeats", [False, True])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_beam_search_is_pythons(scripts, width, avoid_repeats, length_penalty, blocked):
    generator = np.random.default_rng(width)
    size, max_words, count = 9, 6, 12
    tables = (2.5 * generator.standard_normal((count, size, size))).astype(np.float32)
    options = DecodeOptions(width, max_words, length_penalty, blocked=blocked, avoid_repeats=avoid_repeats)
    script = """
import { search } from "./search.js";
const answers = [];
for (const table of given.tables) {
  const step = async (tokens, state) => ({
    logits: tokens.map((token, place) =>
      Float32Array.from(table[token], (logit, word) => logit + state[place] * (word % 3))),
    state: tokens.map((token, place) => Math.fround(state[place] * 0.5 + token * 0.125)),
  });
  const reorder = (state, places) => places.map((place) => state[place]);
  const zeros = Array(given.options.width).fill(0);
  answers.push(await search(step, reorder, zeros, given.options));
}
console.log(JSON.stringify(answers.map((beam) => beam.map(({ tokens, logProb }) => [tokens, logProb]))));
"""
    given = {
        "tables": tables.tolist(),
        "options": {
            "width": width,
            "maxWords": max_words,
            "lengthPenalty": length_penalty,
            "allowUnk": False,
            "blocked": blocked,
            "avoidRepeats": avoid_repeats,
        },
    }
    answers = run_node(scripts, script, given)
    for table, answer in zip(tables, answers, strict=True):

        def step(tokens, state, memory, table=table):
            return table[tokens] + state[0] * (np.arange(size) % 3).astype(np.float32), (
                (state[0] * 0.5 + tokens[..., None] * 0.125).astype(np.float32),
            )

        found = search(step, (np.zeros((1, width, 1), np.float32),), (np.zeros((1, 1)),), options)
        for place, (tokens, log_prob) in enumerate(answer):
            if not np.isfinite(found.log_probs[0, place]):
                continue
            assert tokens == [token for token in found.tokens[0, place].tolist() if token]
            assert log_prob == pytest.approx(float(found.log_probs[0, place]), abs=1e-4)


def test_impossible_captions_come_after_those_that_repeat(scripts):
    script = """
import { search } from "./search.js";
const logits = Float32Array.from({ length: 6 }, (_, word) => (word === 5 ? 0 : -Infinity));
const step = async (tokens, state) => ({ logits: tokens.map(() => logits), state });
const options = { width: 3, maxWords: 3, lengthPenalty: 0.7, allowUnk: false, avoidRepeats: true };
console.log(JSON.stringify((await search(step, (state) => state, null, options))[0].tokens));
"""
    assert run_node(scripts, script, None) == [5, 5, 5]


def test_words_end_at_the_end_token(scripts):
    script = """
import { decode } from "./search.js";
const vocabulary = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "dog"];
console.log(JSON.stringify(given.map((tokens) => decode(tokens, vocabulary))));
"""
    assert run_node(scripts, script, [[4, 5, 2], [5, 4], [2]]) == ["a dog", "dog a", ""]


def test_captions_without_spaces_are_pythons_for_every_character(scripts):
    """A word of each character beside a Latin word: a space or none, as Python writes it."""
    script = """
import { decode } from "./search.js";
const changes = [];
let last = null;
for (const point of given.points) {
  const joined = decode([0, 1], ["a", String.fromCodePoint(point)], false)[1] !== " ";
  if (joined !== last) changes.push(point);
  last = joined;
}
const specials = ["", "", "", ""];
const written = (words) => decode(words.map((_, place) => place + 4), [...specials, ...words], false);
const mixed = given.mixed.map(written);
console.log(JSON.stringify({ changes, mixed }));
"""
    mixed = [
        ["一", "只", "狗"],
        ["a", "b"],
        ["狗", "a", "b", "猫"],
        ["<unk>", "狗", "<unk>", "a"],
        ["น้ำ", "12"],
    ]
    points = [*range(0x20, 0xD800), *range(0xE000, 0x20100), *range(0x20100, 0x110000, 0xFD)]
    answer = run_node(scripts, script, {"points": points, "mixed": mixed})
    assert answer["mixed"] == [join_words(words, spaced=False) for words in mixed]
    joined = [join_words(["a", chr(point)], spaced=False)[1] != " " for point in points]
    before = [None, *joined[:-1]]
    changes = [point for point, now, last in zip(points, joined, before, strict=True) if now != last]
    assert answer["changes"] == changes


DECODED = """
import { decodePicture } from "./distilcap.js";
const asked = [];
globalThis.createImageBitmap = async (picture, options) => asked.push(options.resizeWidth ?? null);
for (const file of given) {
  const picture = new Blob([Uint8Array.from(atob(file), (one) => one.charCodeAt(0))]);
  await decodePicture(picture, { size: 224, decoding: "reduced" });
}
console.log(JSON.stringify(asked));
"""


def test_a_large_jpeg_is_reduced_however_much_metadata_it_has(scripts):
    segment = b"\xff\xe2\xff\xff" + bytes(0xFFFD)
    Image.new("RGB", (4000, 3000)).save(buffer := io.BytesIO(), "JPEG")
    head, rest = buffer.getvalue()[:2], buffer.getvalue()[2:]
    files = [head + count * segment + rest for count in (0, 40)] + [head + 40 * segment]
    given = [base64.b64encode(file).decode() for file in files]
    assert run_node(scripts, DECODED, given) == [1000, 1000, None]


ACTIVATE = """
import vm from "node:vm";
const kept = new Set(given.caches), handlers = {};
const self = {
  registration: { scope: given.scope }, clients: { claim() {} }, skipWaiting() {},
  addEventListener: (name, handler) => (handlers[name] = handler),
};
const caches = {
  keys: async () => [...kept],
  delete: async (name) => kept.delete(name),
  open: async (name) => (kept.add(name), { addAll: async () => {} }),
};
const fetch = async () => new Response("", { status: 404 });
vm.runInNewContext(given.script, { self, caches, fetch, Request: class {} });
for (const name of ["install", "activate"]) {
  let done;
  handlers[name]({ waitUntil: (promise) => (done = promise) });
  await done;
}
console.log(JSON.stringify([...kept]));
"""


def test_the_service_worker_clears_its_own_old_caches_alone(scripts: Path) -> None:
    script = (resources.files("distilcap.export.browser") / "web" / "service-worker.js").read_text()
    others = ["notes-v3", "distilcap-https://a.io/ 1", "distilcap-https://a.io/b/c/ 1"]
    given = {"script": script, "scope": "https://a.io/b/", "caches": [*others, "distilcap-https://a.io/b/ 1"]}
    assert run_node(scripts, ACTIVATE, given) == [*others, "distilcap-https://a.io/b/ unwritten"]


INSTALL = """
import vm from "node:vm";
const outcomes = [];
for (const folder of given.answers) {
  const kept = [];
  let install, done;
  const self = {
    registration: { scope: "https://a.io/b/" }, skipWaiting() {},
    addEventListener: (name, handler) => name === "install" && (install = handler),
  };
  const fetch = async ({ url }) => {
    if (url !== "./") return new Response("file");
    if (folder === "lost") throw new Error("no network");
    return new Response("page", { status: folder });
  };
  const cache = {
    put: async ({ url }) => kept.push(url),
    addAll: async (all) => {
      for (const one of all) if (!(await fetch(one)).ok) throw new Error("all or nothing");
      kept.push(...all.map((one) => one.url));
    },
  };
  class Request { constructor(url) { this.url = url; } }
  vm.runInNewContext(given.script, { self, caches: { open: async () => cache }, fetch, Request });
  install({ waitUntil: (promise) => (done = promise) });
  outcomes.push(await done.then(() => kept.sort(), (error) => error.message));
}
console.log(JSON.stringify(outcomes));
"""


def test_the_service_worker_installs_where_a_folders_address_has_no_page(scripts: Path) -> None:
    """As hosts of buckets answer; a network that is lost meanwhile is another thing: it is tried again."""
    script = (resources.files("distilcap.export.browser") / "web" / "service-worker.js").read_text()
    script = script.replace("files: []", 'files: ["index.html", "page.js"]')
    outcomes = run_node(scripts, INSTALL, {"script": script, "answers": [200, 403, 404, "lost"]})
    files = ["index.html", "page.js"]
    assert outcomes == [["./", *files], files, files, "no network"]


KEPT = """
import vm from "node:vm";
const at = (request) => new URL(request.url ?? request, "https://a.io/b/").href;
const kept = Object.fromEntries([["", "page"], ["index.html", "page"], ["page.js", "script"]].map(
  ([path, content]) => [at(path), content]));
const handlers = {}, told = [];
let network, whole = true;
const self = {
  registration: { scope: "https://a.io/b/", unregister: async () => told.push("unregistered") },
  addEventListener: (name, handler) => (handlers[name] = handler),
};
const caches = {
  match: async (request) => (whole && at(request) in kept ? new Response(kept[at(request)]) : undefined),
  delete: async () => (whole = false),
  open: async () => ({ put: async ({ url }, response) => (kept[url] = await response.text()) }),
};
const location = { origin: "https://a.io" };
const fetch = async (request) => network(at(request));
vm.runInNewContext(given.script, { self, caches, location, fetch, URL, Headers, Response });
async function ask(path, mode, cache = "default") {
  let answer;
  const request = { method: "GET", url: `https://a.io/b/${path}`, mode, cache };
  handlers.fetch({ request, respondWith: (promise) => (answer = promise) });
  const said = await answer.then(async (one) => {
    const own = one.headers.has("Cross-Origin-Embedder-Policy") ? "" : ", as it is";
    return one.status ? (await one.text()) + own : one.type;
  }, (error) => error.message);
  told.push(said);
}
"""
SERVED = (
    KEPT
    + """
network = () => new Response("new script");
await ask("page.js", "cors", "reload");
await ask("page.js", "cors");
network = (url) => new Response(url in kept ? kept[url] : `own ${url}`);
handlers.fetch({
  request: { method: "GET", url: "https://a.io/b/own.html", mode: "navigate" },
  respondWith: async (promise) => told.push([...(await promise).headers.keys()]),
});
await new Promise((done) => setTimeout(done, 20));
kept["https://a.io/b/page.js"] = "script";
for (const now of [
  () => { throw new Error("offline"); },
  () => new Response("page"),
  () => new Response("busy", { status: 503 }),
  () => Response.error(),
  (url) => new Response(`other ${url}`),
]) {
  network = now;
  await ask("", "navigate");
  await ask("page.js", "cors");
}
console.log(JSON.stringify(told));
"""
)


def test_the_service_worker_hides_no_other_site_at_its_address(scripts: Path) -> None:
    script = (resources.files("distilcap.export.browser") / "web" / "service-worker.js").read_text()
    offline, same, busy, moved = (
        ["page", "script"],
        ["page", "script"],
        ["busy", "script"],
        ["error", "script"],
    )
    # An isolated page would ask for headers that files of this server lack.
    other = ["unregistered", "other https://a.io/b/, as it is", "other https://a.io/b/page.js, as it is"]
    told = run_node(scripts, SERVED, {"script": script})
    renewed, own = ["new script", "new script"], ["content-type"]
    assert told == [*renewed, own, *offline, *same, *busy, *moved, *other]


BESIDE = (
    KEPT
    + """
for (const index of given.answers) {
  whole = true;
  told.length = 0;
  network = (url) => {
    if (!url.endsWith("index.html")) return new Response(`own ${url.split("/").pop()}`);
    if (index === null) throw new Error("offline");
    return new Response(...index);
  };
  await ask("app.html", "navigate");
  await ask("page.js", "cors");
  given.told.push([...told]);
}
console.log(JSON.stringify(given.told));
"""
)


def test_pages_of_another_site_get_no_file_of_the_service_workers(scripts: Path) -> None:
    """Of another program at the same port, say, whose page is `app.html` and has a `page.js` of its own."""
    script = (resources.files("distilcap.export.browser") / "web" / "service-worker.js").read_text()
    ours = [["page"], None, ["busy", {"status": 503}]]
    others = [["other"], ["nothing", {"status": 404}], ["nothing", {"status": 410}]]
    told = run_node(scripts, BESIDE, {"script": script, "answers": [*ours, *others], "told": []})
    beside = ["own app.html, as it is", "script"]
    alone = ["unregistered", "own app.html, as it is", "own page.js, as it is"]
    assert told == [*3 * [beside], *3 * [alone]]


DAMAGED = """
import { createHash } from "node:crypto";
import { Captioner } from "./captioner.js";
const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const files = { "step.onnx": { bytes: 5, sha256: sha256("whole") } };
const ort = { InferenceSession: { create: async () => ({}) } };
const told = [];
for (const { format = "distilcap bundle", version = 2, damaged, as = {} } of given) {
  const manifest = JSON.stringify({ format, version, vocabulary: ["cat"], decode: {}, files });
  const bundle = {
    "manifest.json": manifest,
    "manifest.json.sha256": `${sha256(manifest)}  manifest.json\\n`,
    "step.onnx": "whole",
  };
  globalThis.fetch = async (url, { cache }) => {
    const name = url.split("/").pop();
    const other = as[cache] ?? bundle[name].replace("cat", "car");
    const content = name === damaged && cache in as ? other : bundle[name];
    return new Response(content, { status: content === "" ? 404 : 200 });
  };
  told.push(await Captioner.load(ort, "bundle").then(() => "loaded", (error) => error.message));
}
console.log(JSON.stringify(told));
"""


def test_a_damaged_file_is_fetched_once_more(scripts: Path) -> None:
    once, always = {"default": "half"}, {"default": "half", "reload": "half"}
    given = [{"damaged": "step.onnx", "as": when} for when in (once, always)]
    told = "step.onnx is damaged: write the site again, or upload it whole."
    assert run_node(scripts, DAMAGED, given) == ["loaded", told]


def test_a_manifest_is_checked_as_by_python(scripts: Path) -> None:
    """One bit of a word would be a wrong caption."""
    once, always = {"default": None}, {"default": None, "reload": None}
    given = [{"damaged": "manifest.json", "as": when} for when in (once, always)]
    given += [{"damaged": "manifest.json.sha256", "as": {"default": ""}}]
    given += [{"version": version} for version in (1, 2, 0, 3, "2")]
    told = "manifest.json is damaged: write the site again, or upload it whole."
    missing = "bundle/manifest.json.sha256: the server answers 404; write the site again, or upload it whole."
    others = [f"The bundle is of version {version}; this page reads 1 and 2." for version in (0, 3, 2)]
    assert run_node(scripts, DAMAGED, given) == ["loaded", told, missing, "loaded", "loaded", *others]


CHOSEN = """
import { mkdirSync, writeFileSync } from "node:fs";
mkdirSync("site", { recursive: true });
writeFileSync("site/distilcap.js", `export const load = async () => ({
  async describe(file) {
    if (file === "slow") await new Promise((done) => setTimeout(done, 20));
    if (file === "text") throw new Error("This is no picture.");
    return { captions: [{ text: "a dog" }] };
  },
});`);
const caption = { textContent: "" };
const input = {};
globalThis.document = {
  body: { dataset: {} },
  getElementById: () => caption,
  querySelector: () => input,
};
await import("./index.js");
const shown = [];
for (const files of given) {
  await input.onchange({ target: { files } });
  shown.push(caption.textContent);
}
const slow = input.onchange({ target: { files: ["slow"] } });
await input.onchange({ target: { files: ["text"] } });
await slow;
shown.push(caption.textContent);
console.log(JSON.stringify(shown));
"""


def test_the_example_page_shows_no_caption_of_another_picture(tmp_path):
    shutil.copyfile(Path(__file__).parents[2] / "examples" / "web" / "index.js", tmp_path / "index.js")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shown = run_node(tmp_path, CHOSEN, [["photo"], [], ["photo"], ["text"]])
    assert shown == ["a dog", "", "a dog", *2 * ["This is no picture."]]
