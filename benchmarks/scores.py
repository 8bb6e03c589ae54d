"""Scores and the self-critical reward beside the standard toolkit, in CPU seconds of one run.

`python -m benchmarks scores` takes 5,000 images of COCO val2014 with 5 references each (pycocoevalcap
carries the captions); a candidate is the first half of one reference and the second half of another.
The two sides take turns and count the CPU seconds of their child processes too; the median of the rounds
counts. `--quick` takes 500 images; `--json FILE` keeps the numbers; `--no-java` leaves out what needs Java.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import statistics
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reference import PlainReward
from distilcap.data.captions import CaptionSet
from distilcap.metrics import create_metric, evaluate
from distilcap.metrics.ngrams import References
from distilcap.metrics.resampling import intervals
from distilcap.metrics.reward import CiderReward
from distilcap.metrics.significance import System, compare_table
from distilcap.text.tokenize import tokenize, tokenize_stream
from distilcap.text.vocabulary import EOS, Vocabulary

Captions = dict[str, list[str]]


def cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        started = cpu_seconds()
        result = work()
        return cpu_seconds() - started, result


def turns(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Let the sides take turns; each one's median CPU seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            seconds[name].append(timed(work)[0])
    return {name: statistics.median(several) for name, several in seconds.items()}


def coco_annotations(name: str) -> dict[str, Any]:
    """COCO's captions of 2014 as they come with pycocoevalcap: "captions_train2014" or "captions_val2014"."""
    import pycocoevalcap.bleu.bleu

    folder = Path(pycocoevalcap.bleu.bleu.__file__).parents[1]
    with zipfile.ZipFile(folder / "spice" / "spice-1.0.jar") as jar:
        return dict(json.loads(jar.read(f"coco/annotations/{name}.json")))


def coco_captions(images: int) -> tuple[Captions, Captions]:
    """5 references of each image, and a candidate."""
    texts: Captions = defaultdict(list)
    for one in coco_annotations("captions_val2014")["annotations"]:
        texts[str(one["image_id"])].append(one["caption"])
    references = {image_id: texts[image_id][:5] for image_id in list(texts)[:images]}
    return references, {image_id: [_mixed(*several[:2])] for image_id, several in references.items()}


def _mixed(one: str, other: str) -> str:
    first, second = one.split(), other.split()
    return " ".join(first[: len(first) // 2] + second[len(second) // 2 :])


def joined(captions: Captions) -> Captions:
    """Official tokens, joined by spaces, as the toolkit hands them to its metrics."""
    words = iter(tokenize_stream([text for several in captions.values() for text in several]))
    return {image_id: [" ".join(next(words)) for _ in several] for image_id, several in captions.items()}


def metrics_part(references: Captions, candidates: Captions, rounds: int) -> dict[str, Any]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    known, texts = joined(references), joined(candidates)
    official = {
        "bleu": lambda: Bleu(4).compute_score(known, texts, verbose=0),
        "rouge_l": lambda: Rouge().compute_score(known, texts),
        "cider": lambda: Cider().compute_score(known, texts),
    }

    # Counting n-grams serves BLEU and CIDEr-D alike, so the three together are what a person waits for.
    def ours(*names: str) -> Callable[[], Any]:
        def work() -> None:
            prepared = References([text.split() for text in several] for several in known.values())
            words = [several[0].split() for several in texts.values()]
            for name in names:
                metric = create_metric(name)
                statistics_ = metric.statistics(words, metric.prepare(prepared))
                metric.pool(statistics_.sum(axis=0), len(words))
                metric.pool(statistics_, 1)

        return work

    result: dict[str, Any] = {}
    for name, work in official.items():
        result[name] = turns({"official": work, "ours": ours(name)}, rounds)
    result["together"] = turns(
        {"official": lambda: [work() for work in official.values()], "ours": ours(*official)}, rounds
    )
    return result


def java_part(references: Captions, candidates: Captions, rounds: int) -> dict[str, Any]:
    from pycocoevalcap.meteor.meteor import Meteor as OfficialMeteor
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    records = {id: [{"caption": text} for text in several] for id, several in references.items()}
    flat = [text for several in references.values() for text in several]
    result = {
        "tokenizer": turns(
            {"official": lambda: PTBTokenizer().tokenize(records), "ours": lambda: tokenize_stream(flat)},
            rounds,
        )
    }
    known, texts = joined(references), joined(candidates)

    def official() -> None:
        program = OfficialMeteor()
        program.compute_score(known, texts)
        # Its CPU seconds count once it has ended.
        program.meteor_p.stdin.close()
        program.meteor_p.wait()

    def ours() -> None:
        metric = create_metric("meteor")
        prepared = References([text.split(" ") for text in several] for several in known.values())
        metric.statistics([several[0].split(" ") for several in texts.values()], metric.prepare(prepared))

    try:
        reason = create_metric("meteor").unavailable()
    except ModuleNotFoundError:
        reason = "not there"
    if reason is None:
        result["meteor"] = turns({"official": official, "ours": ours}, 1)
    return result


def reward_part(references: Captions, rounds: int, batch: int = 10, samples: int = 5) -> dict[str, Any]:
    """10 images a step, 5 samples of each and the greedy caption, as the standard recipe has it."""
    words = {id: [tokenize(text)[:16] for text in several] for id, several in references.items()}
    vocabulary = Vocabulary.build([caption for several in words.values() for caption in several])
    tokens = {id: [vocabulary.encode(one) for one in several] for id, several in words.items()}
    reward = CiderReward(tokens)
    strings = {id: [" ".join(map(str, [*one, EOS])) for one in several] for id, several in tokens.items()}
    plain = PlainReward(list(strings.values()))
    random = np.random.default_rng(0)
    ids = list(tokens)
    steps = []
    for start in range(0, min(len(ids), 400), batch):
        chosen = ids[start : start + batch]
        drawn = np.zeros((len(chosen), samples + 1, 17), dtype=np.int64)
        for row, image_id in enumerate(chosen):
            for column in range(samples + 1):
                caption = list(tokens[image_id][column % len(tokens[image_id])])
                for _ in range(3):  # as a model errs: some words of the references, some others
                    caption[random.integers(len(caption))] = int(random.integers(4, len(vocabulary)))
                drawn[row, column, : len(caption) + 1] = [*caption, EOS]
        steps.append((chosen, drawn))

    def ours() -> list[float]:
        return [value for chosen, drawn in steps for value in reward(chosen, drawn).ravel()]

    def standard() -> list[float]:
        rewards = []
        for chosen, drawn in steps:
            texts = [" ".join(map(str, [*row[: list(row).index(EOS)], EOS])) for row in drawn.reshape(-1, 17)]
            rewards += plain(texts, [strings[id] for id in chosen for _ in range(samples + 1)])
        return rewards

    apart = max(abs(one - other) for one, other in zip(ours(), standard(), strict=True))
    seconds = turns({"official": standard, "ours": ours}, rounds)
    count = sum(drawn.shape[0] * drawn.shape[1] for _, drawn in steps)
    return {
        **seconds,
        "captions_per_second": {name: count / value for name, value in seconds.items()},
        "largest_difference": apart,
    }


def significance_part(references: Captions, candidates: Captions) -> dict[str, float]:
    """Wall seconds of 10,000 resamples: all intervals of one system, all tests of two."""
    known = CaptionSet.of_texts(references)
    names = ("bleu", "rouge_l", "cider")
    one = evaluate(CaptionSet.of_texts(candidates), known, names)
    other = evaluate(CaptionSet.of_texts({id: texts[:1] for id, texts in references.items()}), known, names)
    started = time.perf_counter()
    intervals(one, 10_000)
    middle = time.perf_counter()
    metrics = {key: create_metric(key.split("_")[0] if key.startswith("bleu") else key) for key in one}
    systems = {key: [System("a", (one[key],)), System("b", (other[key],))] for key in one}
    compare_table([(metrics[key], systems[key]) for key in one], 10_000)
    return {"intervals_s": middle - started, "comparison_s": time.perf_counter() - middle}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-java", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    images = 500 if options.quick else 5000
    rounds = 1 if options.quick else options.rounds
    references, candidates = coco_captions(images)
    result: dict[str, Any] = {"images": images, "rounds": rounds}
    result |= metrics_part(references, candidates, rounds)
    result["reward"] = reward_part(references, rounds)
    result["significance"] = significance_part(references, candidates)
    if not options.no_java:
        result |= java_part(references, candidates, 1)
    print(f"{images} images x 5 references; CPU seconds")
    print(f"{'':12}{'official':>10}{'ours':>10}{'ratio':>8}")
    for name, value in result.items():
        if isinstance(value, dict) and "official" in value:
            one, other = value["official"], value["ours"]
            print(f"{name:12}{one:10.3f}{other:10.3f}{one / other:8.1f}")
    speeds = result["reward"]["captions_per_second"]
    print(f"reward, captions a CPU second: {speeds['official']:.0f} and {speeds['ours']:.0f}")
    print("10,000 resamples, wall seconds:", {k: round(v, 1) for k, v in result["significance"].items()})
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
