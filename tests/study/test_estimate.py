"""What a plan takes, before anything is built: rates of what is there, and what no rate is known of."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilcap.models.updown import UpDownOptions
from distilcap.stages.data import BuildVocabulary, ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate
from distilcap.stages.train import Train
from distilcap.store.planning import Facts
from distilcap.store.record import complete, to_json
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.study.estimate import measured_rates
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

DATA = ImportData("0123", "photos", "photos", None)
FEATURES = ExtractFeatures(DATA, "{}", None, "efficientnet-lite0", 32, "random", "grid")
UNTRAINED = TrainingOptions(CrossEntropyPhase(epochs=0), SelfCriticalPhase(epochs=0))
RUN = Train(DATA, BuildVocabulary(DATA, 1), FEATURES, "updown", UpDownOptions(8, 8, 4), UNTRAINED)
FACTS = Facts({"train": 8, "val": 2, "test": 0}, 1.0, 10, 1, 1280, 32**2)


def done(stage: Stage, store: Store, seconds: float) -> None:
    """A stage that took so long; its artifact holds nothing."""
    store.path(stage).mkdir(parents=True)
    complete(store.path(stage), {"seconds": seconds, "made_by": to_json(stage)}, ())


def test_stages_that_had_nothing_to_do_have_no_rate(tmp_path: Path) -> None:
    store, empty = Store(tmp_path), Generate(RUN, "test", 1)
    for stage in (RUN, empty):
        assert stage.work(FACTS).amount == 0
        done(stage, store, 0.5)
    some = Generate(RUN, "val", 1)
    done(some, store, 2.0)
    plan = store.plan([RUN])
    rates = measured_rates(plan, FACTS, store)
    assert rates == {some.rate_owner(): pytest.approx(some.work(FACTS).amount / 2)}
