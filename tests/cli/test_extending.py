"""docs/extending.md does what it says: its modules are written as they stand there, its commands are run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from distilcap.cli.main import main
from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.readers import read_dataset
from distilcap.data.scenes import draw_scenes
from distilcap.encoders import families as encoder_families
from distilcap.encoders.registry import create_encoder
from distilcap.errors import ConfigError
from distilcap.files import read_json
from distilcap.metrics import evaluate
from distilcap.metrics import registry as metric_registry
from distilcap.models import families
from distilcap.models.presets import build_captioner, preset
from distilcap.progress import SILENT
from distilcap.teachers import registry as teacher_registry
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.registry import load_teacher
from distilcap.teachers.shards import label_shard

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
MODULES = dict(re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0].splitlines()
RUN = """
import shlex, sys, distilcap.cli.main as program
for line in sys.argv[1:]:
    print("$", line, flush=True)
    program.cli(shlex.split(line)[1:], prog_name="distilcap", standalone_mode=False)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page is tried: its modules, a data set, and captions of its test split."""
    monkeypatch.chdir(tmp_path)
    for name, content in MODULES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    draw_scenes(tmp_path / "photos", (12, 4, 4), size=64)
    data = read_dataset(tmp_path / "photos")
    references = data.references("test")
    said = {image: (Caption(references.texts(image)[0]),) for image in references}
    CaptionSet(said).save(tmp_path / "captions.jsonl")
    return tmp_path


@pytest.mark.slow
def test_the_page_s_modules_and_commands_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, plugins = COMMANDS[0].removeprefix("export ").partition("=")
    monkeypatch.setenv(name, plugins)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *COMMANDS[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    _, models, encoders, trained, distilled, captioned, scored, labelled = done.stdout.split("$ distilcap ")
    assert re.search(r"mean-small .*256 .*n/a", models)
    assert re.search(r"convolutions .*grid .*64 .*16 x 48 .*random", encoders)
    assert "mean-tiny, " in trained
    assert "mean-tiny" in distilled
    assert "test_00000.jpg" in captioned
    assert re.search(r"coverage .* 100\.00 .*coverage\|refs:\d\|tok:ptb-official\|v:1\.0", scored)
    assert "captions of 20 images" in labelled
    results = read_json(folder / "distilled" / "results.json")
    assert {row["architecture"] for row in results["rows"]} >= {"mean"}
    assert read_json(folder / "distilled" / "bundle" / "manifest.json")["model"]["architecture"] == "mean"


@pytest.mark.parametrize(
    ("plugin", "content", "message"),
    [
        ("absent_module", None, r"Plugin absent_module cannot be imported: ModuleNotFoundError, No module"),
        ("absent.py", None, r"Plugin .*absent.py cannot be imported: FileNotFoundError"),
        ("json.py", "x = 1", r"there is a module json already; rename the file"),
        (
            "broken.py",
            "1 / 0",
            r"Plugin .*broken.py cannot be imported: ZeroDivisionError at broken.py:1, division",
        ),
        (
            "twice.py",
            "from distilcap import metrics; from distilcap.metrics.bleu import Bleu\n"
            "metrics.register_metric(Bleu)",
            "The metric bleu cannot be registered: there is one of that name",
        ),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_one_line(
    plugin: str,
    content: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DISTILCAP_PLUGINS", "")
    if content is not None:
        (tmp_path / plugin).write_text(content)
    with pytest.raises(SystemExit) as left:
        main(["--plugin", str(tmp_path / plugin) if plugin.endswith(".py") else plugin, "models"])
    (line,) = capsys.readouterr().err.splitlines()
    assert left.value.code == 2
    assert re.search(message, line), line


REGISTERED = """
from distilcap.text.tokenizers import tokenizer_of
import torch
from distilcap.encoders.registry import create_encoder
from distilcap.metrics import create_metric
from distilcap.models.presets import build_captioner, preset
from distilcap.teachers.registry import is_registered
encoder = create_encoder("convolutions")
captioner = build_captioner("mean", preset("mean", "tiny"), 20, encoder.dim)
assert captioner(encoder(torch.zeros(2, 3, 64, 64)), torch.ones(2, 3, 5, dtype=int)).shape == (2, 3, 5, 20)
assert tokenizer_of("words").words("一只狗在奔跑") == ["一只", "狗", "在", "奔跑"]
assert create_metric("coverage").seconds and is_registered("colours") and not is_registered("blip")
"""


def test_the_page_s_modules_register_what_they_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(MODULES) == [
        "my_captioner.py",
        "my_encoder.py",
        "my_metric.py",
        "my_tokenizer.py",
        "my_form.py",
        "my_teacher.py",
    ]
    monkeypatch.setenv("DISTILCAP_PLUGINS", ",".join(MODULES))
    subprocess.run([sys.executable, "-c", REGISTERED], check=True)


def test_the_page_s_tokenizer_scores(folder: Path) -> None:
    for name, caption in (("c", "一只狗在草地上奔跑"), ("r", "一只猫在草地上奔跑。")):
        CaptionSet({"a": (Caption(caption),)}).save(folder / f"{name}.jsonl")
    code = "from distilcap.cli.main import main; main()"
    arguments = ["--plugin", "my_tokenizer.py", "evaluate", "c.jsonl", "--references", "r.jsonl"]
    arguments += ["--metrics", "bleu", "--tokenizer", "words", "--resamples", "0", "--json", "s.json"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    score = read_json(folder / "s.json")["scores"]["bleu_1"]
    assert (score["value"], score["signature"]) == (
        pytest.approx(4 / 5),  # 一只 狗 在 草地上 奔跑
        "bleu|refs:1|tok:words|len:closest|v:1.0",
    )


def test_the_page_s_form_of_data_is_read(folder: Path) -> None:
    (folder / "x.captions").write_text("test_00000.jpg\n  a dog\n  the dog\ntest_00001.jpg\n  two cats\n")
    code = "from distilcap.cli.main import main; main()"
    arguments = ["--plugin", "my_form.py", "data", "convert", "x.captions", "--images", "photos/images"]
    arguments += ["--split", "test", "--to", "x.jsonl"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    read = read_dataset(folder / "x.jsonl")
    assert [(image.id, image.path.is_file()) for image in read.images] == [
        ("test_00000", True),
        ("test_00001", True),
    ]
    assert read.captions.texts("test_00000") == ["a dog", "the dog"]


def test_installed_plugins_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_metric.py").write_text(MODULES["my_metric.py"])
    about = tmp_path / "toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[distilcap.plugins]\ntoy = my_metric\n")
    code = (
        "from distilcap.metrics import metric_names as names; import sys; sys.exit('coverage' not in names())"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    subprocess.run([sys.executable, "-c", code], check=True)


FAULTS = {  # module, what stands there, what a newcomer writes instead, what the line must say
    "logits": (
        "my_captioner.py",
        "return self.output(hidden), (hidden,)",
        "return self.output(hidden).flatten(0, 1), (hidden,)",
        r"family mean: `step` must return logits \(B, K, V\), here \(2, 3, 20\), but returns \(6, 20\)",
    ),
    "no state": (
        "my_captioner.py",
        "return self.output(hidden), (hidden,)",
        "return self.output(hidden)",
        r"family mean: `step` must return the logits and the next state, but returns \(2, 3, 20\)",
    ),
    "memory": (
        "my_captioner.py",
        ".relu(),)",
        ".relu())",
        r"family mean: `encode` must return a tuple of tensors .* but returns \(2, 32\)",
    ),
    "state": (
        "my_captioner.py",
        "new_zeros(",
        "new_ones(",
        "family mean: `initial_state` must return zeros",
    ),
    "flat state": (
        "my_captioner.py",
        "captions, self.options.hidden),)",
        "captions),)",
        r"`initial_state` must return .* \(2, 3, width\), but returns \(2, 3\) of float32",
    ),
    "deep state": (
        "my_captioner.py",
        "captions, self.options.hidden),)",
        "captions, 2, self.options.hidden),)",
        r"`initial_state` must return .* \(2, 3, width\), but returns \(2, 3, 2, 32\) of float32",
    ),
    "state of whole numbers": (
        "my_captioner.py",
        "captions, self.options.hidden),)",
        "captions, self.options.hidden, dtype=torch.int64),)",
        r"`initial_state` must return .*, but returns \(2, 3, 32\) of int64",
    ),
    "next state of whole numbers": (
        "my_captioner.py",
        "return self.output(hidden), (hidden,)",
        "return self.output(hidden), (hidden.long(),)",
        r"`step` must return a state like the one it was given, .*, but returns \(2, 3, 32\) of int64",
    ),
    "running numbers": (
        "my_captioner.py",
        "self.regions = nn.Linear(region_dim, options.hidden)",
        "self.regions = nn.Linear(region_dim, options.hidden); self.norm = nn.BatchNorm1d(options.hidden)",
        r"family mean: parameters alone are saved, but it keeps norm.num_batches_tracked, .* as buffers",
    ),
    "no region_dim": (
        "my_captioner.py",
        "self.region_dim, self.options = vocabulary_size, region_dim, options",
        "self.options = vocabulary_size, options",
        "family mean: `__init__` must set `self.region_dim`",
    ),
    "arguments": (
        "my_captioner.py",
        "def __init__(self, vocabulary_size, region_dim, options):",
        "def __init__(self, options):",
        "family mean cannot be built: .* takes 2 positional arguments but 4 were given",
    ),
    "no hidden": ("my_captioner.py", "hidden", "width", "options must have a field `hidden`"),
    "not frozen": ("my_captioner.py", "(frozen=True)", "", "options must be a frozen dataclass"),
    "no default": ("my_captioner.py", "hidden: int = 128", "hidden: int", "but `hidden` has none"),
    "backbone": (
        "my_encoder.py",
        "nn.Conv2d(24, 48, 2, 2), nn.ReLU()",
        "nn.Flatten()",
        r"encoder convolutions: its backbone must .* \(B, D, h, w\), but gives \(1, 1536\)",
    ),
    "metric's object": (
        "my_metric.py",
        "register_metric(Coverage)",
        "register_metric(Coverage())",
        "The metric coverage cannot be registered: register its class",
    ),
    "metric's rows": (
        "my_metric.py",
        "return np.array(",
        "return np.ravel(",
        r"metric coverage: `statistics` must return an array \(N, S\).* 2 images, but returns \(2,\)",
    ),
    "metric's NaN": (
        "my_metric.py",
        "len(common & {*words}) / len(common) if common else 1.0",
        "float('nan') if 'a' in words else 1.0",
        "metric coverage: `statistics` of image 'y' are not finite numbers",
    ),
    "teacher's object": (
        "my_teacher.py",
        '"colours", Colours)',
        '"colours", Colours())',
        "The teacher colours cannot be registered: register its class",
    ),
    "teacher's name": ("my_teacher.py", 'name = "colours 1"', "", "The teacher colours has no `name`"),
    "teacher's count": (
        "my_teacher.py",
        "for mean in photos]",
        "for mean in photos[:1]]",
        "teacher colours 1: `label` must return .* for each photograph, here 2, but returns 1",
    ),
    "teacher's caption": (
        "my_teacher.py",
        "for mean in photos]",
        "for mean in photos[:1]] + [()] * (len(photos) - 1)",
        "teacher colours 1: `label` must return .*, but returns none for image 'b'",
    ),
    "teacher's captions": (
        "my_teacher.py",
        "return [\n            tuple(",
        "return [\n            str(",
        "teacher colours 1: `label` must return a tuple of `Caption`s .*, but returns '<gen",
    ),
}


def use(module: str, folder: Path) -> None:
    if module == "my_captioner.py":
        build_captioner("mean", preset("mean", "tiny"), 20, 5)
    elif module == "my_encoder.py":
        create_encoder("convolutions")
    elif module == "my_metric.py":
        captions = CaptionSet.of_texts({"x": ["the dog"], "y": ["a cat"]})
        evaluate(captions, captions, ["coverage"])
    else:
        for name in ("a.png", "b.png"):
            Image.new("RGB", (8, 8), "red").save(folder / name)
        label_shard(load_teacher("colours"), folder, folder / "labels", LabelOptions(), SILENT)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_newcomer_s_mistake_is_one_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, right, wrong, message = FAULTS[fault]
    assert right in MODULES[module]
    (
        families.families(),
        encoder_families.encoder_families(),
    )  # register theirs once: not while these are copies
    for module_of, registry in (
        (families, "_families"),
        (encoder_families, "_families"),
        (metric_registry, "_metrics"),
        (teacher_registry, "_teachers"),
    ):
        monkeypatch.setattr(module_of, registry, dict(getattr(module_of, registry)))

    def try_it() -> None:
        code = MODULES[module].replace(right, wrong)
        exec(compile(code, module, "exec", dont_inherit=True), {"__name__": "a_plugin"})
        use(module, tmp_path)

    with pytest.raises(ConfigError, match=message) as raised:
        try_it()
    assert "\n" not in str(raised.value)


def test_a_plugin_may_be_one_module_of_a_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of another module of it is the plugin's too."""
    package = folder / "pack"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py"):
        (package / name).touch()
    broken = MODULES["my_metric.py"].replace("len(common)", "len(commons)")
    (package / "scores.py").write_text(broken)
    (package / "inner" / "plugin.py").write_text("import pack.scores\n")
    line = next(number for number, line in enumerate(broken.splitlines(), 1) if "commons" in line)
    monkeypatch.setenv("DISTILCAP_PLUGINS", "pack.inner.plugin")
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parents[2]}")
    code = "from distilcap.cli.main import main; main()"
    arguments = ["evaluate", "captions.jsonl", "--references", "captions.jsonl", "--metrics", "coverage"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert f"The plugin fails at scores.py:{line}: NameError" in done.stderr


def test_a_plugin_s_exception_names_its_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = MODULES["my_form.py"].replace("image = result.image", "image = result.picture")
    (folder / "my_form.py").write_text(broken)
    (folder / "x.captions").write_text("test_00000.jpg\n  a dog\n")
    monkeypatch.setenv("DISTILCAP_PLUGINS", "my_form.py")
    code = "from distilcap.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "check", "x.captions"],
        capture_output=True,
        text=True,
        check=False,
    )
    line = (
        broken.splitlines().index(next(line for line in broken.splitlines() if "result.picture" in line)) + 1
    )
    assert done.returncode == 2
    assert f"The plugin fails at my_form.py:{line}: AttributeError" in done.stderr
    assert "bug in distilcap" not in done.stderr
