"""Regions to a greedy caption in one graph: `encode` and then `step` inside an ONNX Loop."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.search import forbidden_words
from distilcap.text.vocabulary import BOS, EOS, PAD
from distilcap.tracing import OPSET

__all__ = ["greedy_graph"]


def greedy_graph(
    encode: onnx.ModelProto, step: onnx.ModelProto, state: Iterable[int], words: int, options: DecodeOptions
) -> onnx.ModelProto:
    """Join the two graphs of a captioner: `features` and `mask` to `tokens` (B, T) and `log_probs` (B).

    The loop ends when every image's caption has, so T is the longest of them.

    Args:
        encode: of `graphs.export_encode`; `step`: of `graphs.export_step`.
        state: width of each tensor of the state.
        words: size of the vocabulary (V).
        options: all but the beam size and the length penalty count.
    """
    widths = list(state)
    first, inner = _prefixed(encode, "encode/"), _prefixed(step, "step/")
    memory = [value.name for value in encode.graph.output]
    groups = _groups(options)
    constants = {
        "max_words": np.array(options.max_words),
        "true": np.array(True),
        "bos": np.array([BOS]),
        "eos": np.array(EOS),
        "pad": np.array(PAD),
        "second": np.array([1]),
        "first": np.array([0]),
        "forbidden": forbidden_words(words, options),
    } | {f"width_{index}": np.array([1, width]) for index, width in enumerate(widths)}
    if groups:
        constants["instead"] = np.array([list(groups)])
    constants |= {f"group_{instead}": np.array(words) for instead, words in groups.items()}
    body = _body(inner, len(widths), list(groups))
    carried = ["last", "finished", "total", *(f"state_{index}" for index in range(len(widths)))]
    node = helper.make_node
    nodes = [
        *first.graph.node,
        node("Shape", [memory[0]], ["images"], end=1),
        node(
            "ConstantOfShape",
            ["images"],
            ["no_words"],
            value=helper.make_tensor("", TensorProto.INT64, [1], [0]),
        ),
        node("Unsqueeze", ["no_words", "second"], ["no_word"]),
        node("Add", ["no_word", "bos"], ["last_0"]),
        node("Cast", ["no_words"], ["finished_0"], to=TensorProto.BOOL),
        node("Cast", ["no_words"], ["total_0"], to=TensorProto.FLOAT),
    ]
    for index in range(len(widths)):
        nodes += [
            node("Concat", ["images", f"width_{index}"], [f"shape_{index}"], axis=0),
            node("ConstantOfShape", [f"shape_{index}"], [f"state_{index}_0"]),
        ]
    begin = [f"{name}_0" for name in carried]
    end = ["log_probs" if name == "total" else f"{name}_end" for name in carried]
    nodes += [
        node("Loop", ["max_words", "true", *begin], [*end, "written"], body=body),
        node("Transpose", ["written"], ["tokens"], perm=[1, 0]),
    ]
    graph = helper.make_graph(
        nodes,
        "greedy",
        list(encode.graph.input),
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, ["images", "words"]),
            helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ["images"]),
        ],
        [
            *first.graph.initializer,
            *inner.graph.initializer,
            *(numpy_helper.from_array(value, name) for name, value in constants.items()),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=step.ir_version
    )
    onnx.checker.check_model(model)
    return model


def _groups(options: DecodeOptions) -> dict[int, list[int]]:
    """Words that are written instead of others, each with itself and these others."""
    groups: dict[int, list[int]] = {}
    for word, instead in options.moved:
        groups.setdefault(instead, [instead]).append(word)
    return groups


def _moved(groups: list[int]) -> list[onnx.NodeProto]:
    """Logits `scores` (B, V) to `moved`, in which words have the probability of their whole group."""
    node = helper.make_node
    if not groups:
        return [node("Identity", ["scores"], ["moved"])]
    nodes = []
    for group in groups:
        nodes.append(node("Gather", ["scores", f"group_{group}"], [f"scores_{group}"], axis=1))
        nodes.append(node("ReduceLogSumExp", [f"scores_{group}", "second"], [f"score_{group}"], keepdims=1))
    return [
        *nodes,
        node("Concat", [f"score_{group}" for group in groups], ["together"], axis=1),
        node("Shape", ["together"], ["together_shape"]),
        node("Expand", ["instead", "together_shape"], ["instead_each"]),
        node("ScatterElements", ["scores", "instead_each", "together"], ["moved"], axis=1),
    ]


def _body(step: onnx.ModelProto, states: int, groups: list[int]) -> onnx.GraphProto:
    """One word: read the last, take the likeliest next; a finished caption goes on with pads at no cost."""
    node = helper.make_node
    nodes = [
        *step.graph.node,
        node("Squeeze", ["logits", "second"], ["scores"]),
        *_moved(groups),
        node("Add", ["moved", "forbidden"], ["allowed"]),
        node("ArgMax", ["allowed"], ["best"], axis=1, keepdims=0),
        node("ReduceMax", ["allowed", "second"], ["best_score"], keepdims=0),
        node("ReduceLogSumExp", ["scores", "second"], ["normaliser"], keepdims=0),
        node("Sub", ["best_score", "normaliser"], ["log_prob"]),
        node("Where", ["finished", "pad", "best"], ["word"]),
        node("Sub", ["total", "total"], ["nothing"]),
        node("Where", ["finished", "nothing", "log_prob"], ["gain"]),
        node("Add", ["total", "gain"], ["total_next"]),
        node("Equal", ["word", "eos"], ["ends"]),
        node("Or", ["finished", "ends"], ["finished_next"]),
        node("Unsqueeze", ["word", "second"], ["last_next"]),
        node("Cast", ["finished_next"], ["finished_count"], to=TensorProto.INT32),
        node("ReduceMin", ["finished_count", "first"], ["all_finished"], keepdims=0),
        node("Cast", ["all_finished"], ["over"], to=TensorProto.BOOL),
        node("Not", ["over"], ["going"]),
        node("Identity", ["word"], ["word_written"]),
    ]
    value = helper.make_tensor_value_info
    inputs = [value("number", TensorProto.INT64, []), value("was_going", TensorProto.BOOL, [])]
    inputs += [
        value("last", TensorProto.INT64, ["images", 1]),
        value("finished", TensorProto.BOOL, ["images"]),
    ]
    inputs += [value("total", TensorProto.FLOAT, ["images"])]
    outputs = [value("going", TensorProto.BOOL, []), value("last_next", TensorProto.INT64, ["images", 1])]
    outputs += [value("finished_next", TensorProto.BOOL, ["images"])]
    outputs += [value("total_next", TensorProto.FLOAT, ["images"])]
    for index in range(states):
        shape = ["images", 1, None]
        inputs.append(value(f"state_{index}", TensorProto.FLOAT, shape))
        outputs.append(value(f"next_{index}", TensorProto.FLOAT, shape))
    outputs.append(value("word_written", TensorProto.INT64, ["images"]))
    return helper.make_graph(nodes, "word", inputs, outputs)


def _prefixed(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """Rename a graph's inner values, so that two graphs can be joined; inputs and outputs keep their names.

    The step's `tokens` become the loop's `last`.
    """
    kept = {value.name for value in [*model.graph.input, *model.graph.output]}
    copied = copy.deepcopy(model)

    def renamed(name: str) -> str:
        if name == "tokens":
            return "last"
        return name if name in kept or not name else prefix + name

    for node in copied.graph.node:
        assert not any(attribute.HasField("g") for attribute in node.attribute), node.op_type
        node.name = prefix + node.name
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for initializer in copied.graph.initializer:
        initializer.name = renamed(initializer.name)
    return copied
