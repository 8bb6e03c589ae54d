"""Tiny random models of `transformers`, made from configurations, as `save_pretrained` leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *"abcdefghijklmnopqrstuvwxyz"]
SIDE = 32
TEXT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL: dict[str, Any] = TEXT | {"intermediate_size": 16}


def _words(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(vocab=str(folder / "vocab.txt"), bos_token="[DEC]").save_pretrained(folder)


def _blip() -> Any:
    vision = SMALL | {"image_size": SIDE, "patch_size": 16}
    tokens = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = (
        SMALL | tokens | {"vocab_size": len(WORDS), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    )
    config = transformers.BlipConfig(text_config=text, vision_config=vision)
    return transformers.BlipForConditionalGeneration(config), transformers.BlipImageProcessor


def _git() -> Any:
    config = transformers.GitConfig(
        vision_config=SMALL | {"image_size": SIDE, "patch_size": 16},
        **SMALL,
        vocab_size=len(WORDS),
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
        max_position_embeddings=64,
    )
    return transformers.GitForCausalLM(config), transformers.CLIPImageProcessor


def _vit_gpt2() -> Any:
    vision = transformers.ViTConfig(**SMALL, image_size=SIDE, patch_size=16)
    tokens = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    text = transformers.GPT2Config(
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=64,
        vocab_size=len(WORDS),
        add_cross_attention=True,
        **tokens,
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        vision, text, decoder_start_token_id=2, **{"eos_token_id": 3, "pad_token_id": 0}
    )
    model = transformers.VisionEncoderDecoderModel(config=config)
    model.generation_config.update(decoder_start_token_id=2, eos_token_id=3, pad_token_id=0)
    return model, transformers.ViTImageProcessor


MODELS = {"blip": _blip, "git": _git, "vit-gpt2": _vit_gpt2}


def _save_chat_model(folder: Path) -> None:
    """A tiny random model with a chat template, as `save_pretrained` leaves it."""
    tokenizers = pytest.importorskip("tokenizers")
    words = ["<pad>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:", "what", "a", "dog", "cat"]
    plain = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    seen = {"height": 32, "width": 32}
    template = (
        "{% for m in messages %}USER: {% for c in m.content %}{% if c.type == 'image' %}<image> "
        "{% else %}{{ c.text }} {% endif %}{% endfor %}{% endfor %}ASSISTANT:"
    )
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size=seen, crop_size=seen),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=template,
        image_token="<image>",
        num_additional_image_tokens=1,
    )
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**small, image_size=32, patch_size=16),
        text_config=transformers.LlamaConfig(
            **small, vocab_size=len(words), pad_token_id=0, eos_token_id=1, bos_token_id=None
        ),
        image_token_index=3,
    )
    torch.manual_seed(3)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def save_model(kind: str, place: Path) -> None:
    """Write a model of `MODELS` with its image processor and its words; or "chat", which needs a prompt."""
    if kind == "chat":
        _save_chat_model(place)
        return
    torch.manual_seed(0)
    model, processor = MODELS[kind]()
    with torch.no_grad():  # random logits nearly tie
        for name, parameter in model.named_parameters():
            if "embed" in name or "wte" in name or "lm_head" in name:
                parameter.mul_(20)
    model.save_pretrained(place)
    seen = {"height": SIDE, "width": SIDE}
    processor(size=seen, crop_size=seen, do_center_crop=False).save_pretrained(place)
    _words(place)
