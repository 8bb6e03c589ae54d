"""Metrics: how good captions are, and how sure that is.

Takes candidates and references (`CaptionSet`); gives scores with signatures and intervals, and rewards.
May use data, text. Never: torch, models, printing.

    from distilcap.metrics import evaluate
    scores = evaluate(candidates, references, metrics=("bleu", "rouge_l", "cider"))
    print(scores["cider"].value, scores["cider"].signature)
"""

from distilcap.metrics.base import MeanMetric, Metric, Score
from distilcap.metrics.evaluation import Evaluator, evaluate
from distilcap.metrics.registry import DEFAULT, create_metric, metric_names, register_metric

__all__ = [
    "DEFAULT",
    "Evaluator",
    "MeanMetric",
    "Metric",
    "Score",
    "create_metric",
    "evaluate",
    "metric_names",
    "register_metric",
]
