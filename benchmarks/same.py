"""Whether two checkouts train, search and sample the same to the bit, on this machine.

`python -m benchmarks same ../before` trains tiny captioners of all families in this checkout and in the one
named, in processes of their own, and compares digests of their weights, losses, captions, log-probabilities
and samples. A change that says "the same, only tidier" runs it; a change that means to alter numbers says
which lines differ. Digests depend on the processor, so there are none to keep.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
WORDS, IMAGES, DIM = 1500, 12, 16  # so many words that the fast forms look at them in groups
RUNS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # name: family, its options, cross-entropy, self-critical
    "updown": ("updown", {"embedding": 32, "attention": 8}, {"weight_averaging": 0.9}, {}),
    "updown, tied, both states, dropout in the reward": (
        "updown",
        {"embedding": 32, "attention": 8, "tie_words": True, "output_states": "both"},
        {"label_smoothing": 0.1},
        {"baseline": "greedy", "dropout": True},
    ),
    "aoanet": (
        "aoanet",
        {"embedding": 32, "heads": 4, "refiner_layers": 2},
        {"label_smoothing": 0.2},
        {"baseline": "greedy"},
    ),
    "aoanet, tied": (
        "aoanet",
        {"heads": 2, "refiner_layers": 1, "tie_words": True, "embedding": 24},
        {"weight_averaging": 0.9},
        {},
    ),
    "transformer": ("transformer", {"heads": 4, "layers": 2, "window": 8}, {"label_smoothing": 0.1}, {}),
}


def digest(value: Any) -> str:
    """Of tensors, bit by bit, or of JSON."""
    import torch

    if isinstance(value, torch.Tensor):
        content = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    else:
        content = json.dumps(value).encode()
    return hashlib.sha256(content).hexdigest()[:12]


def results(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and digests of all that is compared, in this process's checkout."""
    import numpy as np
    import torch

    from distilcap.data.captions import CaptionSet
    from distilcap.decode.beam import BeamSearch, beam_search
    from distilcap.decode.sample import sample
    from distilcap.metrics.reward import CiderReward
    from distilcap.models.presets import build_captioner, options_of
    from distilcap.models.weights import TrainedCaptioner, load_captioner
    from distilcap.shapes import Regions
    from distilcap.teachers.ensemble import Ensemble
    from distilcap.text.vocabulary import SPECIALS, Vocabulary
    from distilcap.training import loop
    from distilcap.training.batches import encode_captions
    from distilcap.training.imitation import TokenTeacher
    from distilcap.training.options import (
        CrossEntropyPhase,
        SelfCriticalPhase,
        TokenDistillation,
        TrainingOptions,
    )

    class Pictures:
        """Random regions, of which some images have fewer."""

        def __init__(self) -> None:
            generator = torch.Generator().manual_seed(0)
            self.features = torch.randn(IMAGES, 9, DIM, generator=generator)
            self.mask = torch.arange(9) < torch.tensor([9, 9, 5, 7] * (IMAGES // 4))[:, None]

        def regions_of(self, ids: Sequence[str]) -> Regions:
            rows = [int(one) for one in ids]
            return Regions(self.features[rows], self.mask[rows])

    chance = np.random.default_rng(0)
    words = [f"w{number}" for number in range(WORDS - len(SPECIALS))]
    vocabulary = Vocabulary((*SPECIALS, *words))
    captions = CaptionSet.of_texts(
        {
            str(image): [" ".join(chance.choice(words[:40], chance.integers(2, 12))) for _ in range(3)]
            for image in range(IMAGES)
        }
    )
    ids, pictures = tuple(captions), Pictures()
    regions = pictures.regions_of(ids)
    loaded: dict[str, TrainedCaptioner] = {}
    for name, (family, widths, crossed, rewarded) in RUNS.items():
        if find_spec(f"distilcap.models.{family}") is None:
            continue  # an older checkout has fewer families
        for precision in ("float32", "bfloat16") if name == family else ("float32",):
            options = options_of(family, {"hidden": 32, **widths})
            training = TrainingOptions(
                CrossEntropyPhase(epochs=7, learning_rate=1e-2, scheduled_sampling=0.2, **crossed),
                SelfCriticalPhase(epochs=2, learning_rate=1e-3, samples=3, **rewarded),
                batch_images=5,
                captions_per_image=2,
                validation_every=3,
                validation_beam=3,
                seed=4,
                precision=precision,
            )
            at = folder / f"{name} {precision}"
            captioner = build_captioner(family, options, WORDS, DIM, 4)
            run = loop.Training(
                TrainedCaptioner(captioner, family, options, vocabulary, {}),
                pictures,
                captions,
                captions,
                lambda: CiderReward(encode_captions(captions, vocabulary, None)),
                training,
                at,
            )
            if name == "updown, tied, both states, dropout in the reward":
                run.token_teacher = TokenTeacher(
                    loaded["updown float32"].captioner, pictures, TokenDistillation()
                )
            log = [
                {key: value for key, value in record.items() if key != "seconds"}
                for record in run.run().history
            ]
            yield f"{at.name}: log", digest(log)
            yield (
                f"{at.name}: last weights",
                digest(torch.cat([one.flatten() for one in captioner.parameters()])),
            )
            loaded[at.name] = trained = load_captioner(at)
            best = trained.captioner
            yield f"{at.name}: best weights", digest(torch.cat([one.flatten() for one in best.parameters()]))
            if precision != "float32":
                continue
            for search in (BeamSearch(1, keep=1), BeamSearch(5), BeamSearch(3, 12, 0.7, keep=2)):
                written = beam_search(best, regions, search)
                yield f"{at.name}: captions of {search}", digest(written.tokens)
                yield f"{at.name}: log-probabilities of {search}", digest(written.log_probs)
            drawn = sample(best, regions, 4, 12, 0.9, False, torch.Generator().manual_seed(1))
            yield f"{at.name}: samples", digest(drawn.tokens)
            yield f"{at.name}: log-probabilities of samples", digest(drawn.log_probs)
    members = [loaded["updown float32"].captioner, loaded["aoanet float32"].captioner]
    written = beam_search(Ensemble(members).eval(), regions, BeamSearch(3))
    yield "ensemble: captions", digest(written.tokens)
    yield "ensemble: log-probabilities", digest(written.log_probs)


def results_of(checkout: Path, threads: int) -> dict[str, str]:
    """`results` of a checkout, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-P", str(HERE), "--print"]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    content: dict[str, str] = json.loads(done.stdout)
    return content


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, nargs="?", help="another checkout")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--print", action="store_true", help="digests of this process's code, as JSON")
    given = parser.parse_args()
    if given.print:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(dict(results(Path(folder)))))
        return
    if given.other is None:
        parser.error("name the other checkout")
    here, there = (results_of(one.resolve(), given.threads) for one in (HERE.parents[1], given.other))
    both = [name for name in here if name in there]
    differing = [name for name in both if here[name] != there[name]]
    for name in differing:
        print(f"differs: {name}")
    print(f"{len(both) - len(differing)} of {len(both)} results are the same to the bit")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
