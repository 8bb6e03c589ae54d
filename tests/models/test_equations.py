"""The captioners against an independent, plain reading of their papers' equations, with copied weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distilcap.models.aoanet import AoANet, AoANetOptions
from distilcap.models.captioner import Captioner
from distilcap.models.fast import accelerate, plain
from distilcap.models.transformer import Transformer, TransformerOptions
from distilcap.models.updown import UpDown, UpDownOptions
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS

Array = NDArray[np.float64]
WORDS, DIM, REGIONS, STEPS = 11, 7, 5, 4


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def lstm(x: Array, h: Array, c: Array, w_x: Array, w_h: Array, bias: Array) -> tuple[Array, Array]:
    i, f, g, o = np.split(w_x @ x + w_h @ h + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def layer_norm(x: Array, scale: Array, shift: Array) -> Array:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * scale + shift


def weights_of(model: torch.nn.Module) -> dict[str, Array]:
    return {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


@pytest.fixture
def picture() -> tuple[Regions, Array, Array]:
    """Two images, the second with two padded regions; and words to read."""
    features = torch.randn(2, REGIONS, DIM)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    words = torch.randint(4, WORDS, (STEPS,)).numpy()
    words[0] = BOS
    return Regions(features, mask), features.double().numpy(), words


@pytest.mark.parametrize("path", [plain, accelerate])
@pytest.mark.parametrize("output_states", ["language", "both"])
def test_updown_is_anderson_et_al_2018(
    picture: tuple[Regions, Array, Array], output_states: str, path: Callable[[Captioner], Captioner]
) -> None:
    regions, features, words = picture
    size = 6
    options = UpDownOptions(hidden=size, embedding=8, attention=3, output_states=output_states)
    model = path(UpDown(WORDS, DIM, options)).eval()
    w = weights_of(model)
    with torch.no_grad():
        logits = model(regions, torch.tensor(words).expand(2, 1, STEPS)).double().numpy()[:, 0]

    for image, real in enumerate([5, 3]):
        v = np.maximum(features[image, :real] @ w["regions.0.weight"].T + w["regions.0.bias"], 0)
        h1, c1, h2, c2 = (np.zeros(size) for _ in range(4))
        # Equation 2: x1 = [h2, mean(v), W_e word], so the input matrix has these three blocks.
        from_h2, from_h1 = np.split(w["attention_from_states.weight"], 2, axis=1)
        w_x1 = np.hstack([from_h2, w["attention_from_mean.weight"], w["attention_from_word.weight"]])
        from_v, from_h1_2, w_h2 = np.split(w["language.weight"], 3, axis=1)
        for t, word in enumerate(words):
            x1 = np.concatenate([h2, v.mean(0), np.maximum(w["words.table.weight"][word], 0)])
            h1, c1 = lstm(x1, h1, c1, w_x1, from_h1, w["attention_from_word.bias"])
            a = [
                w["scorer"] @ np.tanh(w["keys.weight"] @ one + w["keys.bias"] + w["query.weight"] @ h1)
                for one in v
            ]
            attended = softmax(np.array(a)) @ v
            x2 = np.concatenate([attended, h1])
            h2, c2 = lstm(x2, h2, c2, np.hstack([from_v, from_h1_2]), w_h2, w["language.bias"])
            out = h1 + h2 if output_states == "both" else h2
            expected = w["output.matrix"] @ out + w["output.bias"]
            np.testing.assert_allclose(logits[image, t], expected, atol=1e-5)


@pytest.mark.parametrize("path", [plain, accelerate])
def test_aoanet_is_huang_et_al_2019(
    picture: tuple[Regions, Array, Array], path: Callable[[Captioner], Captioner]
) -> None:
    regions, features, words = picture
    size, heads = 8, 2
    options = AoANetOptions(hidden=size, embedding=5, heads=heads, refiner_layers=2)
    model = path(AoANet(WORDS, DIM, options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # so that norms and biases matter
            parameter.add_(0.1 * torch.randn_like(parameter))
    w = weights_of(model)
    with torch.no_grad():
        logits = model(regions, torch.tensor(words).expand(2, 1, STEPS)).double().numpy()[:, 0]

    def attend(q: Array, keys: Array, values: Array) -> Array:
        parts = []
        width = size // heads
        for head in range(heads):
            s = slice(head * width, (head + 1) * width)
            parts.append(softmax(keys[:, s] @ q[s] / np.sqrt(width)) @ values[:, s])
        return np.concatenate(parts)

    def aoa(name: str, attended: Array, query: Array) -> Array:
        both = w[f"{name}.linear.weight"] @ np.concatenate([attended, query]) + w[f"{name}.linear.bias"]
        information, gate = np.split(both, 2)
        return sigmoid(gate) * information

    for image, real in enumerate([5, 3]):
        v = np.maximum(features[image, :real] @ w["regions.0.weight"].T + w["regions.0.bias"], 0)
        for n in range(2):
            p = f"refiner.{n}"
            normed = np.array([layer_norm(x, w[f"{p}.norm.weight"], w[f"{p}.norm.bias"]) for x in v])
            q, k, inner = np.split(
                normed @ w[f"{p}.query_key_value.weight"].T + w[f"{p}.query_key_value.bias"], 3, axis=1
            )
            v = v + np.array([aoa(f"{p}.aoa", attend(q[r], k, inner), normed[r]) for r in range(real)])
        v = np.array([layer_norm(x, w["norm.weight"], w["norm.bias"]) for x in v])
        keys, values = np.split(v @ w["keys_values.weight"].T + w["keys_values.bias"], 2, axis=1)
        h, c, context = (np.zeros(size) for _ in range(3))
        w_x = np.hstack([w["lstm_from_word.weight"], w["lstm_from_mean.weight"]])
        for t, word in enumerate(words):
            x = np.concatenate([np.maximum(w["words.table.weight"][word], 0), v.mean(0) + context])
            h, c = lstm(x, h, c, w_x, w["lstm_from_state.weight"], w["lstm_from_word.bias"])
            query = w["query.weight"] @ layer_norm(h, w["query_norm.weight"], w["query_norm.bias"])
            context = aoa("context", attend(query + w["query.bias"], keys, values), h)
            expected = w["output.matrix"] @ context + w["output.bias"]
            np.testing.assert_allclose(logits[image, t], expected, atol=1e-5)


@pytest.mark.parametrize("path", [plain, accelerate])
@pytest.mark.parametrize("window", [2, 10])
def test_the_transformer_is_vaswani_et_al_2017_before_each_part_normalised(
    picture: tuple[Regions, Array, Array], window: int, path: Callable[[Captioner], Captioner]
) -> None:
    regions, features, words = picture
    size, heads, part = 8, 2, 4
    options = TransformerOptions(hidden=size, heads=heads, layers=2, encoder_layers=2, window=window)
    model = path(Transformer(WORDS, DIM, options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # so that norms and biases matter
            parameter.add_(0.1 * torch.randn_like(parameter))
    w = weights_of(model)
    with torch.no_grad():
        logits = model(regions, torch.tensor(words).expand(2, 1, STEPS)).double().numpy()[:, 0]

    def linear(name: str, x: Array) -> Array:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, x: Array) -> Array:
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def attend(name: str, asking: Array, read: Array) -> Array:
        q = linear(f"{name}.query", asking)
        keys, values = np.split(linear(f"{name}.keys_values", read), 2, axis=1)
        cut = [slice(head * part, (head + 1) * part) for head in range(heads)]
        found = [softmax(keys[:, s] @ q[s] / np.sqrt(part)) @ values[:, s] for s in cut]
        return linear(f"{name}.output", np.concatenate(found))

    def think(name: str, x: Array) -> Array:
        return linear(f"{name}.feed_forward.2", np.maximum(linear(f"{name}.feed_forward.0", x), 0))

    for image, real in enumerate([5, 3]):
        v = np.maximum(linear("regions.0", features[image, :real]), 0)
        for n in range(2):
            p = f"encoder.{n}"
            normed = np.array([norm(f"{p}.attention_norm", x) for x in v])
            v = v + np.array([attend(f"{p}.attention", x, normed) for x in normed])
            v = v + np.array([think(p, norm(f"{p}.feed_norm", x)) for x in v])
        v = np.array([norm("region_norm", x) for x in v])
        x = np.zeros((STEPS, size))
        for t, word in enumerate(words):
            angles = t / 10_000 ** (2 * np.arange(size // 2) / size)
            x[t] = np.sqrt(size) * w["table.weight"][word] + np.concatenate([np.sin(angles), np.cos(angles)])
        for n in range(2):
            p = f"layers.{n}"
            normed = np.array([norm(f"{p}.word_norm", one) for one in x])
            first = [max(0, t + 1 - window) for t in range(STEPS)]
            x = x + np.array(
                [attend(f"{p}.words", normed[t], normed[first[t] : t + 1]) for t in range(STEPS)]
            )
            x = x + np.array([attend(f"{p}.regions", norm(f"{p}.region_norm", one), v) for one in x])
            x = x + np.array([think(p, norm(f"{p}.feed_norm", one)) for one in x])
        for t in range(STEPS):
            expected = w["output.matrix"] @ norm("norm", x[t]) + w["output.bias"]
            np.testing.assert_allclose(logits[image, t], expected, atol=1e-5)
