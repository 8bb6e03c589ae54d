"""The page: what is written, how it is served, and what a browser makes of it."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import threading
import urllib.request
from base64 import b64decode, b64encode
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from distilcap.cli.demo import demo
from distilcap.errors import BundleError, ConfigError, DistilCapError, MissingError
from distilcap.export.browser import site as site_module
from distilcap.export.browser.bench import captions_in_browser
from distilcap.export.browser.chromium import chromium_program, open_page
from distilcap.export.browser.server import create_server, serving
from distilcap.export.browser.site import RUNTIME_FILES, browser_runtime, write_web
from distilcap.export.bundle import export_bundle
from distilcap.export.pictures import sample_pictures
from distilcap.files import cache_folder, sha256_of
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.calibration import BINS, Calibration, Reliability
from distilcap.runtime.decode_options import DecodeChoice, DecodeOptions
from distilcap.runtime.manifest import write_manifest
from distilcap.runtime.pixels import _read
from distilcap.text.vocabulary import SPECIALS, Vocabulary


@pytest.fixture
def written(exported, tmp_path, runtime) -> Path:
    site = write_web(exported.folder, tmp_path / "site", runtime=runtime)
    assert site.missing is None
    return site.folder


def kept_offline(site: Path) -> dict:
    line = next(line for line in (site / "service-worker.js").read_text().splitlines() if "SITE =" in line)
    return json.loads(line.removeprefix("const SITE = ").removesuffix(";"))


def test_every_file_of_the_site_is_kept_offline(written):
    files = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    assert set(kept_offline(written)["files"]) == files - {"service-worker.js"}
    assert {"index.html", "bundle/manifest.json", "bundle/greedy.onnx", "bundle/MODEL_CARD.md"} <= files
    assert {f"ort/{name}" for name in RUNTIME_FILES} <= files


def test_files_that_the_page_names_are_there(written):
    for script in written.glob("*.js"):
        for line in script.read_text().splitlines():
            if line.startswith("import "):
                assert (written / line.split('"')[1]).is_file(), line
    page = (written / "index.html").read_text()
    for name in ("style.css", "page.js", "app.json", "bundle/MODEL_CARD.md"):
        assert f'"{name}"' in page
        assert (written / name).is_file()


def test_addresses_that_are_no_script_of_ours_are_left_alone_by_webpack(written):
    """It looks for a module behind each and fails without: `bundle` and `ort` are folders to serve."""
    named = re.compile(r'(?:new URL|\bimport)\((/\* webpackIgnore: true \*/ )?"([^"]+)"')
    found = [match for script in written.glob("*.js") for match in named.finditer(script.read_text())]
    assert {match[2] for match in found} == {"bundle", "worker.js", "./ort/", "./ort/ort.wasm.min.mjs"}
    for match in found:
        assert bool(match[1]) == (match[2] != "worker.js"), match[0]


def test_the_page_names_no_other_site(written):
    """Nothing leaves the device: not a single address of another machine in page, style or scripts."""
    for path in [*written.glob("*.js"), *written.glob("*.css"), written / "app.json", written / "index.html"]:
        addresses = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in addresses
        assert "https://" not in addresses


def test_the_page_shows_text_as_text(written):
    """Words, names and errors of a bundle never become markup or script."""
    for script in written.glob("*.js"):
        text = script.read_text()
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert way not in text, (script, way)


def test_its_version_follows_its_content(exported, tmp_path, runtime, monkeypatch):
    versions, name = set(), "ort-wasm-simd-threaded.mjs"
    for content in ("one", "two", "two"):
        (runtime / name).write_text(content)
        monkeypatch.setitem(RUNTIME_FILES, name, sha256_of(runtime / name))
        site = write_web(exported.folder, tmp_path / "site", runtime=runtime)
        versions.add(kept_offline(site.folder)["version"])
    assert len(versions) == 2


def test_the_page_of_another_bundle_is_another(exported, tmp_path, runtime):
    """By its text alone the service worker knows that another captioner is served at its address."""
    other = Path(shutil.copytree(exported.folder, tmp_path / "bundle"))
    write_manifest(other, replace(exported.manifest, made_by="another"))
    pages, versions = [], []
    for number, bundle in enumerate((exported.folder, other, exported.folder)):
        site = write_web(bundle, tmp_path / f"site{number}", runtime=runtime).folder
        pages.append((site / "index.html").read_text("utf-8"))
        versions.append(kept_offline(site)["version"])
    assert pages[0] == pages[2] != pages[1]
    assert all(version in page for version, page in zip(versions, pages, strict=True))


def test_without_the_runtime_the_page_is_written_and_told(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(site_module.shutil, "which", lambda name: None)
    site = write_web(exported.folder, tmp_path / "site")
    assert site.missing is not None
    assert site.missing.startswith(
        "The page lacks onnxruntime-web@1.30.0, and there is no npm to bring it. Run `npm"
    )
    assert (site.folder / "index.html").is_file()
    assert not (site.folder / "ort").exists()


def test_a_page_keeps_the_runtime_that_it_has(written, exported, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(site_module.shutil, "which", lambda name: None)
    files = sorted((written / "ort").iterdir())
    assert write_web(exported.folder, written).missing is None
    assert sorted((written / "ort").iterdir()) == files
    (written / "ort" / "ort.wasm.min.mjs").write_text("of another version")
    assert write_web(exported.folder, written).missing is not None


@pytest.mark.parametrize(
    "script, message",
    [
        ("exit 1", "npm could not fetch it"),
        ("echo damaged > onnxruntime-web-1.30.0.tgz", "what npm brought has another checksum"),
    ],
)
def test_npm_that_fails_is_told(tmp_path, monkeypatch, script, message):
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(site_module.shutil, "which", lambda name: str(npm))
    with pytest.raises(MissingError, match=message):
        browser_runtime()
    assert not (tmp_path / "cache").exists()


def test_a_runtime_folder_that_lacks_a_file(exported, tmp_path, runtime):
    (runtime / "ort-wasm-simd-threaded.wasm").unlink()
    with pytest.raises(
        MissingError, match=r"simd-threaded.wasm: missing; `--runtime` must be onnxruntime-web's"
    ):
        write_web(exported.folder, tmp_path / "site", runtime=runtime)
    assert not (tmp_path / "site").exists()


def test_a_runtime_folder_of_another_version_or_damaged(exported, tmp_path, runtime):
    (runtime / "ort.wasm.min.mjs").write_text("/*!\n * ONNX Runtime Web v1.29.0\n */")
    with pytest.raises(MissingError, match=r"ort.wasm.min.mjs: damaged, or not of version 1.30.0"):
        write_web(exported.folder, tmp_path / "site", runtime=runtime)
    assert not (tmp_path / "site").exists()


def test_a_cached_runtime_is_taken(tmp_path, runtime, monkeypatch):
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path))
    runtime.rename(tmp_path / "onnxruntime-web-1.30.0")
    assert browser_runtime() == tmp_path / "onnxruntime-web-1.30.0"


@pytest.mark.parametrize("damaged", RUNTIME_FILES)
def test_a_cached_runtime_that_is_damaged_is_fetched_anew(tmp_path, runtime, monkeypatch, damaged):
    def npm_pack(command, cwd, **_):
        with tarfile.open(cwd / "package.tgz", "w:gz") as archive:
            archive.add(runtime, "package/dist")
        packed = hashlib.sha512((cwd / "package.tgz").read_bytes()).digest()
        monkeypatch.setattr(site_module, "_INTEGRITY", b64encode(packed).decode())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path))
    monkeypatch.setattr(site_module.shutil, "which", lambda name: name)
    monkeypatch.setattr(site_module.subprocess, "run", npm_pack)
    cached = Path(shutil.copytree(runtime, tmp_path / "onnxruntime-web-1.30.0"))
    (cached / damaged).write_text("half")
    assert browser_runtime() == cached
    assert (cached / damaged).read_text() == damaged
    (cached / damaged).unlink()
    assert browser_runtime() == cached
    assert (cached / damaged).read_text() == damaged


def test_the_runtimes_checksums_are_of_its_version():
    """Of what lies in this machine's cache, where npm brought it by the checksum of the whole package."""
    folder = cache_folder() / "onnxruntime-web-1.30.0"
    if not folder.is_dir():
        pytest.skip("ONNX Runtime Web was never fetched here")
    assert {name: sha256_of(folder / name) for name in RUNTIME_FILES} == RUNTIME_FILES
    assert "ONNX Runtime Web v1.30.0" in (folder / "ort.wasm.min.mjs").read_text("utf-8")[:100]


def test_only_an_older_page_is_replaced(written, exported, runtime, tmp_path):
    (written / "bundle" / "stray.bin").touch()
    (written / "CNAME").write_text("example.org")
    write_web(exported.folder, written, runtime=runtime)
    assert not (written / "bundle" / "stray.bin").exists()
    assert (written / "CNAME").read_text() == "example.org"
    assert "CNAME" not in (written / "service-worker.js").read_text()
    with pytest.raises(ConfigError, match=r"`to` must be a new folder or a folder written before"):
        write_web(exported.folder, exported.folder, runtime=runtime)
    (own := tmp_path / "own").mkdir()
    (own / "service-worker.js").write_text("// A person's own site.")
    with pytest.raises(ConfigError, match=r"service-worker\.js is damaged or somebody else's"):
        write_web(exported.folder, own, runtime=runtime)
    with pytest.raises(BundleError, match=r"not a bundle"):
        write_web(tmp_path / "nothing", tmp_path / "other", runtime=runtime)


def test_the_demo_ends_in_a_page_that_a_second_run_replaces(exported, tmp_path, monkeypatch):
    def distil(title, plan, store, engine, output):
        shutil.copytree(exported.folder, output.to / "bundle", dirs_exist_ok=True)

    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(site_module.shutil, "which", lambda name: None)
    monkeypatch.setattr("distilcap.cli.report.run_distillation", distil)
    monkeypatch.setattr("distilcap.data.scenes.draw_scenes", lambda *_, **__: None)
    monkeypatch.setattr("distilcap.pipeline.demo.demo_plan", lambda data, store: None)
    for _ in range(2):
        result = CliRunner().invoke(demo, ["--to", str(tmp_path / "demo")])
        assert result.exit_code == 0, result.output
        page = tmp_path / "demo" / "web" / "bundle"
        assert (page / "manifest.json").read_bytes() == (exported.folder / "manifest.json").read_bytes()


def test_it_is_served_with_the_headers_of_threads(written):
    with serving(written) as address:
        for name, kind in [
            ("", "text/html"),
            ("page.js", "text/javascript"),
            ("ort/ort-wasm-simd-threaded.wasm", "application/wasm"),
            ("ort/ort.wasm.min.mjs", "text/javascript"),
        ]:
            with urllib.request.urlopen(address + name) as answer:
                assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
                assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
                assert answer.headers["Content-Type"].startswith(kind)


def test_errors_of_serving(written, tmp_path):
    with pytest.raises(
        ConfigError, match=r"holds no page; write it by `distilcap web BUNDLE --to .*nothing`"
    ):
        create_server(tmp_path / "nothing")
    with create_server(written, port=0) as server:
        port = server.server_address[1]
        with pytest.raises(
            ConfigError, match=rf"`port` {port} on 127.0.0.1 cannot be used .*; choose another"
        ):
            create_server(written, port=port)


def test_without_chromium_or_playwright(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(MissingError, match=r"Chromium is needed for this .*`apt-get install chromium`"):
        chromium_program()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"Playwright .* `pip install 'distilcap\[browser\]'`"):
        chromium_program()


# In a browser ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> None:
    try:
        chromium_program()
        browser_runtime()
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def site(exported, browser, tmp_path_factory) -> Path:
    return write_web(exported.folder, tmp_path_factory.mktemp("site") / "site").folder


@pytest.fixture
def newer(exported, tmp_path) -> Path:
    """A bundle that takes the place of `exported`."""
    folder = Path(shutil.copytree(exported.folder, tmp_path / "newer"))
    vocabulary = exported.manifest.vocabulary
    others = replace(vocabulary, words=(*vocabulary.words[:-1], "newer"))
    write_manifest(folder, replace(exported.manifest, vocabulary=others))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for number, (_, picture) in enumerate(sample_pictures(16, 32)):
        paths.append(folder / f"{number}.png")
        image = Image.fromarray(picture)
        (image if number % 2 else image.resize((130, 95))).save(paths[-1])
    return paths


@pytest.mark.slow
def test_the_pages_captions_are_pythons(site, bundle, photos):
    with serving(site) as address, open_page() as page:
        answers = captions_in_browser(page, address, photos, [1, 4])
    for photo, answer in zip(photos, answers, strict=True):
        for beam, found in zip((1, 4), answer, strict=True):
            expected = bundle.alternatives(photo, DecodeOptions(beam))
            assert [tuple(one["tokens"]) for one in found["captions"]][:1] == [expected[0].tokens]
            assert found["captions"][0]["text"] == expected[0].text
            assert found["captions"][0]["logProb"] == pytest.approx(expected[0].log_prob, abs=1e-3)
            assert len(found["captions"]) == beam


@pytest.mark.slow
def test_a_large_jpeg_is_decoded_to_pythons_bytes(site, tmp_path):
    """At a part of its size, upright, in every form that cameras write."""
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (37, 50, 3), np.uint8)).resize((2001, 1303))
    forms = [
        (noise, 1, {}),
        (noise, 6, {"progressive": True}),
        (noise.crop((0, 0, 1999, 903)), 8, {"subsampling": 0}),
        (noise.convert("L"), 3, {}),
    ]
    paths = []
    for number, (image, orientation, options) in enumerate(forms):
        exif = Image.Exif()
        exif[0x112] = orientation
        paths.append(tmp_path / f"{number}.jpg")
        image.save(paths[-1], quality=92, exif=exif, **options)
    script = """async (size) => {
      const decoded = [];
      for (const file of document.getElementById("pictures").files) {
        const { bitmap, box } = await captioner.decodePicture(file, { size, decoding: "reduced" });
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
        context.drawImage(bitmap, 0, 0);
        const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
        const letters = Array.from(data, (byte) => String.fromCharCode(byte));
        decoded.push([bitmap.height, bitmap.width, btoa(letters.join("")), Object.values(box)]);
      }
      return decoded;
    }"""
    with serving(site) as address, open_page() as page:
        page.goto(address)
        page.evaluate(
            "Object.assign(document.body.appendChild(document.createElement('input')),"
            "{ type: 'file', id: 'pictures', multiple: true })"
        )
        page.set_input_files("#pictures", paths)
        decoded = page.evaluate(script, 112)
    for path, (height, width, values, box) in zip(paths, decoded, strict=True):
        image, expected_box = _read(path, 224)
        assert box == list(expected_box)
        expected = np.asarray(image)
        assert expected.shape == (height, width, 3)
        assert max(expected.shape) < 1100, "reduced"
        given = np.frombuffer(b64decode(values), np.uint8).reshape(height, width, 4)[..., :3]
        np.testing.assert_array_equal(given, expected)


@pytest.mark.slow
def test_captions_without_spaces_are_written_as_in_python(exported, browser, photos, tmp_path):
    words = ["狗", "猫", "a", "iphone", "น้ำ", "12", *map(chr, range(0x4E00, 0x4E32))]
    vocabulary = Vocabulary((*SPECIALS, *words), "characters", spaced=False)
    folder = Path(shutil.copytree(exported.folder, tmp_path / "bundle"))
    write_manifest(folder, replace(exported.manifest, vocabulary=vocabulary))
    bundle, site = Bundle.open(folder), write_web(folder, tmp_path / "site").folder
    with serving(site) as address, open_page() as page:
        answers = captions_in_browser(page, address, photos, [3])
        page.set_input_files("#file", photos[:1])
        page.locator("#status", has_text="Done.").wait_for()
        assert page.text_content("#caption") == bundle.caption(photos[0])[0]
        assert page.evaluate("document.querySelector('#caption').lang") == ""
    texts = [bundle.caption(photo, beam=3)[0] for photo in photos]
    assert [answer[0]["captions"][0]["text"] for answer in answers] == texts
    assert any(" " not in text and len(text) > 3 for text in texts)


@pytest.mark.slow
def test_the_page_leaves_out_the_bundles_words_and_says_how_sure_it_is(
    run, encoder, bundle, browser, photos, tmp_path
):
    first, second, third = (bundle.caption(photo)[0].split()[0] for photo in photos[:3])
    choice = DecodeChoice(4, never_write=(f"{first},{second}={third}",))
    decode = choice.over(DecodeOptions(), bundle.manifest.vocabulary)
    manifest = export_bundle(run, tmp_path / "bundle", encoder=encoder, decode=decode).manifest
    flat = Reliability((0,) * BINS, (0.0,) * BINS, (0.0,) * BINS)
    calibration = Calibration(3.0, 0.5, 0.5, 100, flat, "nothing")
    write_manifest(tmp_path / "bundle", replace(manifest, calibration=calibration))
    made, site = Bundle.open(tmp_path / "bundle"), write_web(tmp_path / "bundle", tmp_path / "site").folder
    with serving(site) as address, open_page() as page:
        answers = captions_in_browser(page, address, photos[:4], [1, 4])
        page.set_input_files("#file", photos[:1])
        page.locator("#status", has_text="Done.").wait_for()
        told = page.text_content("#sureness")
    for photo, answer in zip(photos[:4], answers, strict=True):
        for beam, found in zip((1, 4), answer, strict=True):
            expected = made.alternatives(photo, replace(decode, beam_size=beam))[0]
            best = found["captions"][0]
            assert tuple(best["tokens"]) == expected.tokens
            assert not {first, second} & set(best["text"].split())
            assert best["confidence"] == pytest.approx(expected.confidence, abs=1e-3)
    expected = made.alternatives(photos[0])[0].confidence
    words = "Likely right" if expected >= 0.6 else "May be wrong" if expected >= 0.4 else "Likely wrong"
    assert told.startswith(f"{words}: of 10 such captions, about {round(10 * expected)} are")


@pytest.mark.slow
def test_a_photo_is_chosen_and_described(site, bundle, photos):
    with serving(site) as address, open_page(width=390, height=844) as page:
        page.goto(address)
        page.evaluate("captioner.ready")
        assert page.evaluate("crossOriginIsolated") is True
        page.set_input_files("#file", photos[:1])
        page.locator("#status", has_text="Done.").wait_for()
        text = page.text_content("#caption")
        assert text == bundle.alternatives(photos[0])[0].text
        assert page.get_attribute("#photo", "alt") == text
        assert page.locator("#alternatives li").count() == 3
        assert "ms:" in page.text_content("#times")
        terms = bundle.manifest.licence["captioner"]
        assert page.text_content("#terms") == f"Terms of the captioner: {terms}."
        # On a phone nothing sticks out sideways, and everything to touch is large enough.
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        heights = (
            "[...document.querySelectorAll('button:not([hidden]), .button')].map((one) => one.offsetHeight)"
        )
        assert min(page.evaluate(heights)) >= 44
        # One sentence after the beam is narrowed.
        page.select_option("#beam", "1")
        page.locator("#alternatives-title").wait_for(state="hidden")
        assert page.screenshot().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_module_describes_pictures_of_other_pages(site, bundle, photos, tmp_path):
    examples = tmp_path / "web"
    shutil.copytree(Path(__file__).parents[2] / "examples" / "web", examples)
    shutil.copytree(site, examples / "site")
    Image.open(photos[1]).save(examples / "photo.jpg", quality=95)
    with serving(examples) as address, open_page() as page:
        page.goto(f"{address}index.html")
        page.locator("body[data-ready]").wait_for(state="attached")
        page.set_input_files("input", photos[:1])
        page.locator("#caption:not(:empty)").wait_for()
        assert page.text_content("#caption") == bundle.alternatives(photos[0])[0].text
        page.goto(f"{address}alt.html")
        page.locator("body[data-ready]").wait_for(state="attached")
        described, left = page.locator("img").all()
        assert described.get_attribute("alt") == bundle.alternatives(examples / "photo.jpg")[0].text
        assert left.get_attribute("alt") == "Described by a person, and left as it is."


def test_the_module_makes_a_package(written, tmp_path):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here")
    command = [npm, "pack", "--silent", "--offline", f"--pack-destination={tmp_path}"]
    subprocess.run(command, cwd=written, check=True, timeout=120, capture_output=True)
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    assert {
        "distilcap.js",
        "distilcap.d.ts",
        "worker.js",
        "bundle/manifest.json",
        "bundle/step.onnx",
    } <= names
    assert {f"ort/{name}" for name in RUNTIME_FILES} <= names
    assert not {"index.html", "service-worker.js"} & names
    for script in (name for name in names if name.endswith(".js") and "/" not in name):
        for line in (written / script).read_text().splitlines():
            if line.startswith("import "):
                assert line.split('"')[1].removeprefix("./") in names, line


@pytest.mark.slow
def test_the_page_needs_no_more_than_its_policy_allows(site, photos):
    """Several threads, the service worker and the camera's canvas included: not one violation."""
    with serving(site) as address, open_page() as page:
        page.add_init_script(
            "globalThis.violations = []; addEventListener('securitypolicyviolation', "
            "(event) => violations.push(event.violatedDirective + ' ' + event.blockedURI));"
        )
        page.goto(f"{address}?threads=2")
        assert page.evaluate("captioner.ready")["threads"] == 2
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.set_input_files("#file", photos[:1])
        page.locator("#status", has_text="Done.").wait_for()
        assert page.evaluate("violations") == []
        # The policy is at work.
        assert page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')") == "refused"
        script = "Object.assign(document.createElement('script'), {text: 'globalThis.ran = 1'})"
        page.evaluate(f"document.body.append({script})")
        assert page.evaluate("typeof ran") == "undefined"
        told = {"connect-src https://example.org/", "script-src-elem inline"}
        assert set(page.evaluate("violations")) == told  # by the page's own policy, and by the server's


@pytest.mark.slow
def test_everything_can_be_reached_by_keyboard_and_has_a_name(site):
    with serving(site) as address, open_page() as page:
        page.goto(address)
        page.evaluate("captioner.ready")
        reached = []
        for _ in range(5):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        assert reached[:4] == ["file", "open-camera", "beam", "A"]
        nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        roles = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]
        for role in ("button", "combobox", "link", "status", "heading"):
            assert any(one == role for one, _ in roles), role
        assert all(name for role, name in roles if role in ("button", "combobox", "link", "heading")), roles


@pytest.mark.slow
def test_dropping_and_pasting(site, photos):
    with serving(site) as address, open_page() as page:
        page.goto(address)
        page.evaluate("captioner.ready")
        events = """(async () => {{
          const canvas = new OffscreenCanvas(40, 30);
          canvas.getContext("2d").fillRect(0, 0, 20, 30);
          const data = new DataTransfer();
          data.items.add({file});
          dispatchEvent({event});
        }})()"""
        picture = 'new File([await canvas.convertToBlob()], "a.png", { type: "image/png" })'
        text = 'new File(["words"], "a.txt", { type: "text/plain" })'
        drop = 'new DragEvent("drop", { dataTransfer: data })'
        paste = 'new ClipboardEvent("paste", { clipboardData: data })'
        for file, event, status in [
            (picture, drop, "Done."),
            (text, drop, "That is not a picture."),
            (picture, paste, "Done."),
            (text, paste, "The clipboard holds no picture."),
        ]:
            page.evaluate(events.format(file=file, event=event))
            page.locator("#status", has_text=status).wait_for()


@pytest.mark.slow
def test_a_file_that_is_no_picture(site, tmp_path):
    fake = tmp_path / "fake.png"
    fake.write_bytes(b"not a picture")
    with serving(site) as address, open_page() as page:
        page.goto(address)
        page.evaluate("captioner.ready")
        page.set_input_files("#file", [fake])
        page.locator("#status.wrong", has_text="not a picture").wait_for()


@pytest.mark.slow
def test_it_works_offline_once_loaded(site, bundle, photos):
    with open_page() as page:
        with serving(site) as address:
            page.goto(address)
            page.evaluate("captioner.ready")
            page.locator("#facts", has_text="works offline from now on").wait_for()
            page.wait_for_function("() => navigator.serviceWorker.controller")
        # The server is gone.
        page.goto(f"{address}?again")
        page.evaluate("captioner.ready")
        assert page.evaluate("crossOriginIsolated") is True
        page.set_input_files("#file", photos[:1])
        page.locator("#status", has_text="Done.").wait_for()
        expected = bundle.alternatives(photos[0])[0].text
        assert page.text_content("#caption") == expected


@pytest.mark.slow
def test_another_bundle_is_loaded_at_once_on_a_host_without_headers(exported, newer, site, tmp_path):
    """Where the page's worker has isolated it by then, which files of that host would not allow."""
    served, words = Path(shutil.copytree(site, tmp_path / "site")), exported.manifest.vocabulary.words
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, open_page() as page:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def visit() -> tuple[bool, str]:
            page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
            page.evaluate("captioner.ready")
            page.locator("#facts", has_text="works offline from now on").wait_for()
            page.wait_for_function("() => navigator.serviceWorker.controller")
            last = page.evaluate("fetch('bundle/manifest.json').then((one) => one.json())")["vocabulary"][-1]
            return page.evaluate("crossOriginIsolated"), last

        assert visit() == (False, words[-1])
        assert visit() == (True, words[-1])
        write_web(newer, served)
        assert visit() == (False, "newer")
        assert visit()[1] == "newer"  # isolated again, once the newer worker has installed itself
        server.shutdown()


@pytest.mark.slow
def test_it_says_that_it_works_offline_when_its_own_files_are_kept(newer, site, tmp_path):
    """Of a newer page, not while its worker is fetching them: the older worker is active, and keeps none."""
    served = Path(shutil.copytree(site, tmp_path / "site"))
    asked, answer = threading.Event(), threading.Event()
    answer.set()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/distilcap.d.ts":  # which a worker fetches to keep it, and no page does
                asked.set()
                answer.wait(60)
            super().do_GET()

    handler = functools.partial(Handler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, open_page() as page:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        said = page.locator("#facts", has_text="works offline from now on")
        page.goto(address)
        said.wait_for()
        page.wait_for_function("() => navigator.serviceWorker.controller")
        write_web(newer, served)
        asked.clear()
        answer.clear()
        page.goto(address)
        page.evaluate("captioner.ready")
        assert asked.wait(60)
        page.wait_for_timeout(1000)  # long enough to say it
        assert said.count() == 0
        answer.set()
        said.wait_for()
        server.shutdown()


@pytest.mark.slow
def test_a_damaged_file_is_told_on_the_page(site, tmp_path):
    damaged = Path(shutil.copytree(site, tmp_path / "damaged"))
    content = bytearray((damaged / "bundle" / "encoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / "bundle" / "encoder.onnx").write_bytes(content)

    def load():
        with serving(damaged) as address, open_page() as page:
            page.goto(address)
            page.locator("#status", has_text="encoder.onnx is damaged").wait_for()
            page.evaluate("captioner.ready")

    with pytest.raises(
        DistilCapError, match=r"^The page in Chromium failed: .*onnx is damaged: write the site"
    ):
        load()


@pytest.mark.slow
@pytest.mark.parametrize("beam", [1, 4])
def test_nan_is_told_on_the_page(exported, browser, photos, tmp_path, beam):
    damaged = Path(shutil.copytree(exported.folder, tmp_path / "damaged"))
    size = (damaged / "decoder.bin").stat().st_size
    (damaged / "decoder.bin").write_bytes(np.full(size // 4, np.nan, "<f4").tobytes())
    write_manifest(damaged, exported.manifest)
    site, told = write_web(damaged, tmp_path / "site").folder, r"gave NaN for this picture: its weights are"

    def load():
        with serving(site) as address, open_page() as page:
            captions_in_browser(page, address, photos[:1], [beam])

    with pytest.raises(DistilCapError, match=told):
        load()
