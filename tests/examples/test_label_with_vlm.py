"""The example that captions photographs with a large model: behind a server on localhost, by transformers."""

from __future__ import annotations

import base64
import contextlib
import importlib
import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from PIL import Image

from distilcap.data.caption_files import read_references
from distilcap.data.readers import read_dataset
from distilcap.errors import DataError
from distilcap.progress import SILENT
from distilcap.record_log import RecordLog

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "label_with_vlm"


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The modules `label` and `captioners` of the example."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("label"), importlib.import_module("captioners")
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("label", "captioners"):
            del sys.modules[name]


class Stub(ThreadingHTTPServer):
    """Answers with the grey level of the photograph that it was sent, or as `replies` say, once each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.replies: list[tuple[int, bytes] | str] = []
        self.lock = threading.Lock()
        self.release = threading.Event()
        self.hold_after = sys.maxsize  # requests, after which none is answered
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def levels(self) -> list[int]:
        """The grey levels of the photographs that were asked about."""
        return [level_of(asked["body"]) for asked in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append({"path": self.path, "headers": dict(self.headers), "body": body})
            held = len(self.server.asked) > self.server.hold_after
            reply = self.server.replies.pop(0) if self.server.replies else answer(f"level {level_of(body)}")
        if held:
            self.server.release.wait(60)
            return
        if reply == "hang up":
            self.connection.close()
            return
        assert isinstance(reply, tuple)
        status, content = reply
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", content.decode())
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def answer(text: Any, finish: str | None = "stop", **more: str) -> tuple[int, bytes]:
    choice = {"message": {"content": text, **more}, "finish_reason": finish}
    return 200, json.dumps({"choices": [choice]}).encode()


def level_of(body: dict[str, Any]) -> int:
    """Grey level of the photograph in a request, to the next ten."""
    text, image = body["messages"][0]["content"]
    assert text["type"] == "text"
    head, data = image["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as photo:
        assert max(photo.size) <= 32
        return round(photo.convert("L").getpixel((1, 1)), -1)  # type: ignore[arg-type]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setenv("no_proxy", "*")
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photographs of grey levels 10 to 60, some in a folder, and a damaged file."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.png", "c.webp", "more/d.jpg", "more/e.jpg", "more/f.jpg"), 1):
        Image.new("RGB", (80, 48), (10 * number,) * 3).save(folder / name)
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:200])
    return folder


def ask(example: Any, stub: Stub, photos: Path, *more: str) -> int:
    options = [
        "--server",
        stub.url,
        "--model",
        "tiny",
        "--side",
        "32",
        "--to",
        str(photos.parent / "to.jsonl"),
    ]
    return int(example[0].main([str(photos), *options, *more]))


@pytest.fixture(autouse=True)
def _no_waits(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example[1], "time", SimpleNamespace(sleep=lambda seconds: None))


ALL = {
    f"{name}": f"level {10 * n}" for n, name in enumerate(("a", "b", "c", "more/d", "more/e", "more/f"), 1)
}


def test_every_photograph_is_captioned_once_and_the_file_serves_twice(
    example: Any,
    stub: Stub,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert ask(example, stub, photos, "--prompt", "What?") == 2  # one is damaged
    out = capsys.readouterr().out
    assert "skipped broken.jpg: " in out
    assert out.endswith("to.jsonl: captions of 6 photographs, 1 skipped\n")
    assert sorted(stub.levels()) == [10, 20, 30, 40, 50, 60]
    first = stub.asked[0]
    assert first["path"] == "/v1/chat/completions"
    assert first["headers"]["Authorization"] == "Bearer secret"
    assert first["body"]["model"] == "tiny"
    assert first["body"]["messages"][0]["content"][0]["text"] == "What?"

    file = photos.parent / "to.jsonl"
    captions = read_references(file)  # as --teacher-captions
    assert {id: captions.texts(id)[0] for id in captions} == ALL
    dataset = read_dataset(file, photos)  # as --data
    assert all(image.path.is_file() for image in dataset.images)
    # By the ids that the folder itself has.
    assert {image.id for image in read_dataset(photos).images} == {*ALL, "broken"}

    Image.new("RGB", (8, 8), (70,) * 3).save(photos / "g.jpg")
    (photos / "broken.jpg").unlink()
    assert ask(example, stub, photos, "--prompt", "What?") == 0
    assert stub.levels()[6:] == [70]
    assert len(read_references(file)) == 7
    assert ask(example, stub, photos, "--prompt", "Who?") == 2
    said = capsys.readouterr().err
    assert (
        "begun with other options (prompt: 'What?', now 'Who?'); give another `--to`, or delete this" in said
    )


def test_captions_that_a_person_corrected_are_not_replaced(
    example: Any, stub: Stub, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").unlink()
    file, log = photos.parent / "to.jsonl", photos.parent / ".to.jsonl.log"
    file.write_text('{"image": "a.jpg", "caption": "a person wrote this"}\n')
    assert ask(example, stub, photos) == 2
    assert "to.jsonl: was edited since it was written, or something else wrote it" in capsys.readouterr().err
    assert "a person wrote this" in file.read_text()
    file.unlink()
    assert ask(example, stub, photos) == ask(example, stub, photos) == 0
    written = file.read_text()
    Image.new("RGB", (8, 8), (70,) * 3).save(photos / "g.jpg")
    for edited in (written.replace("level 10", "a dog"), written.split("\n", 1)[1]):
        file.write_text(edited)
        assert ask(example, stub, photos) == 2
        assert file.read_text() == edited
    assert len(stub.asked) == 6
    file.unlink()
    assert ask(example, stub, photos) == 0
    assert len(stub.asked) == 7
    assert set(written.splitlines()) < set(file.read_text().splitlines())
    # Of a log of an earlier version, the lines tell.
    log.unlink()
    file.unlink()
    with RecordLog(log, {}) as old:
        old.append({"image": "a.jpg", "caption": "a dog"})
        for content, known in (('{"image": "a.jpg", "captions": ["a dog"]}\n', True), ("x\n", False)):
            file.write_text(content)
            with contextlib.nullcontext() if known else pytest.raises(DataError, match="was edited"):
                example[0]._check_written(file, old)


class Double:
    """A captioner that says what a function says about the name of a photograph."""

    recipe: ClassVar[dict[str, Any]] = {"model": "double"}
    earlier_recipe = recipe

    def __init__(self, says: Callable[[str], str], at_once: int = 1) -> None:
        self.says, self.at_once = says, at_once
        self.asked: list[str] = []

    def caption(self, photo: Path) -> str:
        self.asked.append(photo.stem)
        return self.says(photo.stem)


def test_a_file_that_a_person_corrects_while_it_runs_is_not_replaced(example: Any, photos: Path) -> None:
    (photos / "broken.jpg").unlink()
    file = photos.parent / "to.jsonl"
    example[0].label(photos, file, Double(lambda name: "a dog"), SILENT)
    corrected = file.read_text().replace("a dog", "a cat", 1)
    for name in ("g.jpg", "h.jpg"):
        Image.new("RGB", (8, 8)).save(photos / name)

    def correct(_: str) -> str:
        file.write_text(corrected)
        return "a cow"

    with pytest.raises(DataError, match="was edited since it was written"):
        example[0].label(photos, file, Double(correct), SILENT)
    assert file.read_text() == corrected
    file.unlink()
    asked_again = Double(lambda name: "a horse")
    assert example[0].label(photos, file, asked_again, SILENT).captions["g.jpg"] == "a cow"
    assert asked_again.asked == []


def test_a_folder_as_captions_file_is_refused_before_any_captioning(
    example: Any, stub: Stub, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(photos), "--to", str(photos.parent), "--server", stub.url, "--model", "tiny"]
    assert example[0].main(arguments) == 2
    assert f"{photos.parent}: is a folder; `--to` names the captions file" in capsys.readouterr().err
    assert stub.asked == []


def test_errors_pass_are_named_or_end_it(
    example: Any, stub: Stub, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.replies += [(429, b"slow down"), "hang up", (500, b"busy")]  # three tries: a.jpg goes without
    stub.replies += [(400, b'{"error": "no\x1bimages"}'), (200, b"{"), answer(""), answer("a cat\n")]
    assert ask(example, stub, photos, "--at-once", "1") == 2
    out = capsys.readouterr().out
    assert f"skipped a.jpg: no answer from {stub.url} (HTTP 500 Internal Server Error: busy)" in out
    assert '(HTTP 400 Bad Request: {"error": "no\\x1bimages"})' in out
    assert "skipped c.webp: " in out
    assert "not valid JSON" in out
    assert "skipped more/d.jpg: an empty answer" in out
    named = [line.split(":")[0].split()[1] for line in out.splitlines() if line.startswith("skipped ")]
    assert named == ["a.jpg", "b.png", "broken.jpg", "c.webp", "more/d.jpg"]
    assert out.endswith("captions of 2 photographs, 5 skipped (4 without an answer: run it again)\n")
    (photos / "broken.jpg").unlink()
    assert ask(example, stub, photos) == 0
    captions = read_references(photos.parent / "to.jsonl")
    assert {id: captions.texts(id)[0] for id in captions} == ALL | {"more/e": "a cat"}


@pytest.mark.parametrize(
    "reply",
    [
        answer("<think>There is sand. I should write", "length"),
        answer("<think>There is sand. I should write", None),
        answer("<think>There is sand.</think>", "length"),
        answer("<think>There is sand.</think>\nA dog at 3.5 m", "length"),
        answer("There is sand. I should write.</think>\nA dog", "length"),
        answer("A dog runs on the", "length"),
        answer("", "length"),
        answer(None, "length", reasoning_content="There is sand. I should write"),
        answer("", "stop", reasoning="There is sand. I should write"),
    ],
)
def test_thoughts_and_half_a_sentence_are_no_caption(
    example: Any, stub: Stub, photos: Path, reply: tuple[int, bytes]
) -> None:
    stub.replies.append(reply)
    with pytest.raises(example[1].NoAnswer, match=r"100 tokens .* larger `--max-tokens`"):
        example[1].Server(stub.url, "tiny").caption(photos / "a.jpg")


@pytest.mark.parametrize(
    "text, finish",
    [
        ("a dog", "stop"),
        ("a dog", None),
        ("A dog runs on the beach. The sky above it", "length"),
        ("<think>There is sand.</think>\n**A dog runs.** The sky", "length"),
        ("一只狗在跑。天空", "length"),
    ],
)
def test_an_answer_with_a_whole_sentence_is_a_caption(
    example: Any, stub: Stub, photos: Path, text: str, finish: str | None
) -> None:
    stub.replies.append(answer(text, finish, reasoning_content="There is sand."))
    assert example[1].Server(stub.url, "tiny").caption(photos / "a.jpg") == text


def test_a_server_that_is_gone_or_refuses_ends_it_at_once(
    example: Any, stub: Stub, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.replies += [(404, b"no such model")]
    assert ask(example, stub, photos, "--at-once", "1") == 2
    assert "404 Not Found: no such model; check `--server`, `--model`" in capsys.readouterr().err
    assert len(stub.asked) <= 3
    gone = ["--server", "http://127.0.0.1:9/v1", "--model", "tiny", "--to", str(photos.parent / "gone.jsonl")]
    assert example[0].main([str(photos), *gone]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: 5 photographs in a row: no answer from http://127.0.0.1:9/v1 (")
    assert not (photos.parent / "gone.jsonl").exists()
    for arguments in ([str(photos / "none"), *gone], [str(photos), *gone, "--server", "file:///etc/passwd"]):
        assert example[0].main(arguments) == 2
    with pytest.raises(SystemExit):
        example[0].main([str(photos), *gone, "--at-once", "0"])


def test_photographs_that_a_server_rejects_end_nothing_and_come_last(
    example: Any, stub: Stub, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").unlink()
    stub.replies += [(400, b"too small"), answer(None, refusal="No.")] * 2 + [(413, b"too large")]
    assert ask(example, stub, photos, "--at-once", "1") == 2
    out = capsys.readouterr().out
    assert f"skipped a.jpg: rejected by {stub.url} (HTTP 400 Bad Request: too small)" in out
    assert "skipped b.png: an empty answer" in out
    assert out.endswith("captions of 1 photographs, 5 skipped (5 without an answer: run it again)\n")
    Image.new("RGB", (8, 8), (70,) * 3).save(photos / "more" / "z.jpg")  # after those that failed
    Image.new("RGB", (8, 8), (80,) * 3).save(photos / "b.png")
    before = (photos.parent / ".to.jsonl.log").read_bytes().count(b'"failed"')
    stub.replies = [answer("new"), answer("another file"), *[(400, b"too small")] * 4]
    assert ask(example, stub, photos, "--at-once", "1") == 2
    captions = read_references(photos.parent / "to.jsonl")
    assert {id: captions.texts(id)[0] for id in captions} == {
        "b": "new",
        "more/f": "level 60",
        "more/z": "another file",
    }
    assert (photos.parent / ".to.jsonl.log").read_bytes().count(b'"failed"') == before == 5


def test_a_model_that_captions_nothing_ends_it(
    example: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example[0], "AT_FIRST", 3)

    def reject(name: str) -> str:
        if name in "ade":
            return "a dog"
        raise example[1].NoAnswer("no images")

    to, none = photos.parent / "to.jsonl", Double(lambda name: reject("f"))
    with pytest.raises(DataError, match="None of the first 3 photographs got a caption: no images; check"):
        example[0].label(photos, to, none, SILENT)
    assert sorted(none.asked) == ["a", "b", "broken"]
    assert len(example[0].label(photos, to, Double(reject), SILENT).captions) == 3


def test_answers_that_come_while_it_ends_are_kept(
    example: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example[0], "IN_A_ROW", 1)
    (photos / "broken.jpg").unlink()
    silent = threading.Event()

    def says(name: str) -> str:
        if name == "a":
            silent.set()
            raise example[1].Silence("nobody there")
        assert silent.wait(20)
        return name

    to = photos.parent / "to.jsonl"
    with pytest.raises(DataError, match="1 photographs in a row: nobody there"):
        example[0].label(photos, to, Double(says, at_once=3), SILENT)
    assert {"b", "c"} <= set(read_references(to))


def test_answers_that_have_come_are_kept_when_it_is_interrupted(example: Any, photos: Path) -> None:
    (photos / "broken.jpg").unlink()
    come = threading.Event()

    def says(name: str) -> str:
        if name == "a":
            assert come.wait(20)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        elif name == "c":
            come.set()
        return name

    to = photos.parent / "to.jsonl"
    with pytest.raises(KeyboardInterrupt):
        example[0].label(photos, to, Double(says, at_once=3), SILENT)
    assert {"a", "b", "c"} <= set(read_references(to))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_goes_to_no_address_that_the_server_sends_on_to(
    example: Any,
    stub: Stub,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as elsewhere:
        there = f"http://127.0.0.1:{elsewhere.server_address[1]}/v1/chat/completions"
        stub.replies += [(status, there.encode())]
        assert ask(example, stub, photos, "--at-once", "1") == 2
        assert f"HTTP {status}: it sends on to '{there}'" in capsys.readouterr().err
        elsewhere.socket.setblocking(False)  # whoever asked is waiting to be accepted
        with pytest.raises(BlockingIOError):
            elsewhere.socket.accept()


def test_a_caption_is_of_the_file_and_not_of_its_name(example: Any, stub: Stub, photos: Path) -> None:
    def captions(folder: Path) -> dict[str, str]:
        assert ask(example, stub, folder) == 0
        read = read_references(photos.parent / "to.jsonl")
        return {id: read.texts(id)[0] for id in read}

    (photos / "broken.jpg").unlink()
    (photos / "notes.txt").write_text("no image")
    assert captions(photos) == ALL
    other = photos.parent / "other"
    other.mkdir()
    Image.new("RGB", (80, 48), (90,) * 3).save(other / "a.jpg")
    assert captions(other) == {"a": "level 90"}
    (other / "a.jpg").replace(photos / "b.png")
    assert captions(photos) == ALL | {"b": "level 90"}
    assert len(stub.asked) == 6 + 2


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused(
    example: Any, photos: Path, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    to = ["--to", str(photos.parent / "to.jsonl")]
    assert example[0].main([str(photos), *to, "--server", "http://127.0.0.1:9", "--model", "tiny"]) == 2
    assert "Error: The variable OPENAI_API_KEY holds what no key has" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://a:b/v1", "http://ä/v1", "http://a..b/", "http://a b"]
)
def test_an_address_that_is_none_is_refused(
    example: Any, photos: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ["--to", str(photos.parent / "to.jsonl")]
    assert example[0].main([str(photos), *to, "--server", url, "--model", "tiny"]) == 2
    assert "Error: `--server` must be a URL such as http://localhost:8000/v1" in capsys.readouterr().err


def test_a_killed_run_goes_on(
    example: Any, stub: Stub, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.hold_after = 4
    options = ["--server", stub.url, "--model", "tiny", "--side", "32", "--at-once", "1"]
    to = photos.parent / "to.jsonl"
    command = [sys.executable, str(FOLDER / "label.py"), str(photos), "--to", str(to), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        log = photos.parent / ".to.jsonl.log"
        while not log.is_file() or log.read_bytes().count(b"\n") < 4:  # the header and three captions
            assert process.poll() is None
            threading.Event().wait(0.02)
        process.send_signal(signal.SIGKILL)
    stub.release.set()
    before = log.read_bytes().count(b"\n") - 1
    stub.hold_after = sys.maxsize
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    (photos / "broken.jpg").unlink()
    assert ask(example, stub, photos, "--at-once", "1") == 0
    assert sum("Authorization" in asked["headers"] for asked in stub.asked) == 6 - before <= 3
    captions = read_references(to)
    assert {id: captions.texts(id)[0] for id in captions} == ALL


def save_tiny_model(kind: str, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "teachers"))
    importlib.import_module("tiny_models").save_model(kind, to)


@pytest.mark.filterwarnings("default")  # the warnings of transformers are not ours
@pytest.mark.parametrize("kind", ["chat", "blip"])
def test_models_of_transformers_caption(
    example: Any, photos: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    save_tiny_model(kind, tmp_path / "model", monkeypatch)
    arguments = [str(photos), "--model", str(tmp_path / "model"), "--to", str(tmp_path / "to.jsonl")]
    arguments += ["--max-tokens", "5", "--prompt", "what"]
    assert example[0].main(arguments) == 2  # one is damaged
    captions = read_references(tmp_path / "to.jsonl")
    assert captions.keys() == ALL.keys()
    texts = [captions.texts(id)[0] for id in captions]
    assert all(len(text.split()) <= 5 for text in texts)
    assert not any(text.startswith("USER: what") for text in texts)  # the question is no part of the answer


@pytest.mark.filterwarnings("default")
def test_a_model_in_a_folder_is_known_by_what_it_holds(
    example: Any,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch_files = pytest.importorskip("safetensors.torch")
    pytest.importorskip("transformers")
    model, to, log = tmp_path / "model", tmp_path / "to.jsonl", tmp_path / ".to.jsonl.log"
    save_tiny_model("chat", model, monkeypatch)
    monkeypatch.setattr(example[1].Local, "_answer", lambda *_: "a dog")
    monkeypatch.chdir(tmp_path)
    (photos / "broken.jpg").unlink()
    weights, template = model / "model.safetensors", model / "chat_template.jinja"

    def run(name: object) -> int:
        return int(example[0].main([str(photos), "--model", str(name), "--to", str(to)]))

    assert run(model) == run("model") == 0
    before = log.read_bytes()
    trained_on = {name: 2 * tensor for name, tensor in torch_files.load_file(weights).items()}
    torch_files.save_file(trained_on, weights, {"format": "pt"})
    assert run(model) == 2
    assert "begun with other options (model: 'fingerprint " in capsys.readouterr().err
    assert log.read_bytes() == before

    # Earlier versions noted the folder: they are gone on with, by the weights that are there the first time.
    log.unlink()
    to.unlink()
    with RecordLog(
        log, {"model": "model", "prompt": example[1].PROMPT, "side": 768, "max_tokens": 100}
    ) as old:
        old.append({"image": "a.jpg", "caption": "a cat"})
    assert run("model") == run("model") == 0
    captions = read_references(to)
    assert {id: captions.texts(id)[0] for id in captions} == dict.fromkeys(ALL, "a dog") | {"a": "a cat"}
    template.write_text(template.read_text() + " ")
    capsys.readouterr()
    assert run("model") == 2
    assert "begun with other options (model: 'fingerprint " in capsys.readouterr().err


@pytest.mark.filterwarnings("default")
def test_a_photograph_that_a_model_fails_at_ends_nothing(
    example: Any,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("transformers")
    save_tiny_model("chat", tmp_path / "model", monkeypatch)
    (photos / "broken.jpg").unlink()
    seen = []

    def answer(captioner: Any, image: Image.Image) -> str:
        seen.append(image.size)
        if len(seen) == 2:
            raise RuntimeError("CUDA out of memory.\nTried to allocate")
        return "<think>There is sand." if len(seen) == 3 else "a dog"

    monkeypatch.setattr(example[1].Local, "_answer", answer)
    arguments = [str(photos), "--model", str(tmp_path / "model"), "--to", str(tmp_path / "to.jsonl")]
    assert example[0].main([*arguments, "--side", "40"]) == 2
    out = capsys.readouterr().out
    assert "skipped b.png: RuntimeError: CUDA out of memory." in out
    assert "skipped c.webp: no whole sentence within 100 tokens" in out
    assert len(read_references(tmp_path / "to.jsonl")) == 4
    assert seen == 6 * [(40, 24)]


@pytest.mark.filterwarnings("default")
def test_a_model_that_does_not_load_is_a_line(
    example: Any,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    transformers = pytest.importorskip("transformers")
    save_tiny_model("chat", tmp_path / "model", monkeypatch)
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:300])
    arguments = [str(photos), "--model", str(tmp_path / "model"), "--to", str(tmp_path / "to.jsonl")]
    assert example[0].main(arguments) == 2
    assert "model: not a model that loads (Error while" in capsys.readouterr().err

    def needs_more(*_: object, **__: object) -> None:
        raise ImportError("\nPackage `num2words` is required.")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", needs_more)
    assert example[0].main(arguments) == 2
    assert "(Package `num2words` is required); pip install what it names." in capsys.readouterr().err
