"""What captions a photograph: a model behind a server, or a model of `transformers`."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from PIL import Image

from distilcap.data.cleaning_rules import without_thoughts
from distilcap.errors import ConfigError, DataError, DistilCapError, MissingError
from distilcap.files import expected, parse_json
from distilcap.runtime.pixels import read_image
from distilcap.shown import first_line

__all__ = ["PROMPT", "Captioner", "Local", "NoAnswer", "Server", "Silence"]

PROMPT = (
    "Describe this photograph in one plain English sentence of at most 15 words: who or what is in it, and "
    "what happens. Write nothing but the sentence."
)

_SENTENCE = re.compile(r"[.!?](?!\w)|[。！？।॥؟۔]")


class Captioner(Protocol):
    """Whatever captions photographs."""

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the captions, as JSON: a file is not continued by another captioner."""

    @property
    def earlier_recipe(self) -> dict[str, Any]:
        """What earlier versions gave as `recipe`: files that they began are continued."""

    @property
    def at_once(self) -> int:
        """How many photographs it takes at the same time, each in a thread."""

    def caption(self, photo: Path) -> str:
        """Caption one photograph.

        Raises:
            NoAnswer: none for this photograph, this time.
            Silence: none, and it may be that none comes for any.
            DataError: the photograph cannot be read.
            ConfigError: the model can be asked nothing.
        """


class NoAnswer(DataError):
    """The model said nothing about a photograph; the next run asks again."""


class Silence(NoAnswer):
    """Nobody answered, or nobody who could: a model that is so several times in a row is gone."""


@dataclass(frozen=True)
class Server:
    """A model behind an OpenAI-compatible server.

    Attributes:
        url: up to the version, such as http://localhost:8000/v1.
        side: longer side in pixels to which photographs are made smaller before they are sent.
        key: sent as bearer token; "" sends none.
        waits: seconds before each further try.

    Raises:
        ConfigError: the URL or the key is none that can be sent.
    """

    url: str
    model: str
    prompt: str = PROMPT
    max_tokens: int = 100
    side: int = 768
    at_once: int = 4
    key: str = field(default="", repr=False)
    timeout: float = 120.0
    waits: tuple[float, ...] = (1.0, 5.0)

    def __post_init__(self) -> None:
        if not _is_url(self.url):
            raise ConfigError(
                f"`--server` must be a URL such as http://localhost:8000/v1, in ASCII, but is {self.url!r}."
            )
        if not (self.key.isascii() and self.key.isprintable()):
            raise ConfigError("The variable OPENAI_API_KEY holds what no key has: set it to the key alone.")

    @property
    def recipe(self) -> dict[str, Any]:
        """See `Captioner.recipe`; where the server is does not matter."""
        return {
            "model": self.model,
            "prompt": self.prompt,
            "side": self.side,
            "max_tokens": self.max_tokens,
        }

    @property
    def earlier_recipe(self) -> dict[str, Any]:
        """See `Captioner.earlier_recipe`."""
        return self.recipe

    def caption(self, photo: Path) -> str:
        """See `Captioner.caption`."""
        request = self._request(read_image(photo))
        reason = ""
        opener = urllib.request.build_opener(_NoRedirect)
        for wait in (0.0, *self.waits):
            time.sleep(wait)
            try:
                with opener.open(request, timeout=self.timeout) as response:
                    return self._text_of(response.read(2**20))
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code} {error.reason}: {_first_line(error)}"
                if 300 <= error.code < 400:
                    there = str(error.headers.get("Location", "another address"))[:200]
                    raise ConfigError(
                        f"{self.url}: HTTP {error.code}: it sends on to {there!r}, where neither the "
                        "photograph nor the key goes; name by `--server` what answers itself."
                    ) from None
                if error.code in (401, 403, 404):
                    raise ConfigError(
                        f"{self.url}: {reason}; check `--server`, `--model` and the variable OPENAI_API_KEY."
                    ) from None
                if error.code < 500 and error.code not in (408, 429):
                    raise NoAnswer(f"rejected by {self.url} ({reason})") from None
            except (OSError, http.client.HTTPException) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise Silence(f"no answer from {self.url} ({reason})")

    def _request(self, image: Image.Image) -> urllib.request.Request:
        image.thumbnail((self.side, self.side))
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=90)
        url = "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()
        content = [{"type": "text", "text": self.prompt}, {"type": "image_url", "image_url": {"url": url}}]
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        address = f"{self.url.rstrip('/')}/chat/completions"
        return urllib.request.Request(address, json.dumps(body).encode(), headers)

    def _text_of(self, answer: bytes) -> str:
        try:
            content = parse_json(answer, self.url)
            with expected(self.url, "an answer of chat completions"):
                choice = content["choices"][0]
                message, cut = choice["message"], choice.get("finish_reason") == "length"
                text = message.get("content")
                # Servers give thoughts in a field of their own, or in the text.
                thought = message.get("reasoning_content") or message.get("reasoning")
        except DataError as error:
            raise NoAnswer(str(error)) from None
        return _caption(text if isinstance(text, str) else "", self.max_tokens, cut, bool(thought))


def _caption(text: str, max_tokens: int, cut: bool = False, thought: bool = False) -> str:
    """What a model wrote, if there is a caption in it.

    Args:
        cut: whether it is known to end at the limit. The end of a long description may lack, since
            `--clean-labels` takes its first sentence.
        thought: whether there are thoughts beside the text.

    Raises:
        NoAnswer: there is none.
    """
    text = text.strip()
    said = without_thoughts(text).strip()
    if said and (not cut or _SENTENCE.search(said)):
        return text
    if cut or thought or text:
        raise NoAnswer(
            f"no whole sentence within {max_tokens} tokens (a model that thinks needs more, or to be told "
            "not to); give a larger `--max-tokens`, and another `--to`"
        )
    raise NoAnswer("an empty answer")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key is for the server that a person named, and urllib sends it to wherever that one sends on."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port, (parts.hostname or "").encode("idna")  # both raise where they are none
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname)


def _first_line(error: urllib.error.HTTPError) -> str:
    """The beginning of what a server says about an error."""
    try:
        return " ".join(error.read(2000).decode(errors="replace").split())[:200]
    except (OSError, http.client.HTTPException):
        return ""


class Local:
    """A model of `transformers`, by folder or hub name, on a GPU where there is one; its code is not run.

    A model with a chat template is given the prompt, and photographs made smaller to a longer side of `side`
    pixels; others (BLIP, GIT…) caption without, and have a size of their own. A folder is known by what it
    holds, not by its path: its weights may be replaced.
    """

    at_once = 1
    recipe: dict[str, Any]
    earlier_recipe: dict[str, Any]

    def __init__(self, model: str, prompt: str = PROMPT, max_tokens: int = 100, side: int = 768) -> None:
        try:
            import torch
            import transformers
        except ModuleNotFoundError as error:
            raise MissingError(f"{error.name} is missing: pip install 'distilcap[train,teachers]'.") from None
        from distilcap.teachers.pretrained import PretrainedTeacher, find_model, model_fingerprint

        self.prompt, self.max_tokens, self.side = prompt, max_tokens, side
        options: dict[str, Any] = {"prompt": prompt, "side": side, "max_tokens": max_tokens}
        cuda = torch.cuda.is_available()
        self._where = {"device": "cuda", "dtype": torch.bfloat16} if cuda else {"device": "cpu"}
        self._teacher = None
        try:
            self._processor = transformers.AutoProcessor.from_pretrained(model, trust_remote_code=False)
            if not getattr(self._processor, "chat_template", None):
                loaded = PretrainedTeacher.load(find_model(model))
                self._teacher = replace(loaded, max_tokens=max_tokens)
                options = {"max_tokens": max_tokens}
            else:
                kind = transformers.AutoModelForImageTextToText
                self._model = kind.from_pretrained(model, trust_remote_code=False)
        except DistilCapError:
            raise
        except Exception as error:  # of transformers, safetensors, tokenizers, torch and pickle, each its own
            fix = "pip install what it names" if isinstance(error, ImportError) else "check name and download"
            reason = first_line(error).rstrip(".")
            raise MissingError(f"{model}: not a model that loads ({reason}); {fix}.") from None
        if self._teacher is None:
            self._model.to(**self._where).eval()
        folder = Path(model)
        known_by = f"fingerprint {model_fingerprint(folder)[:16]}" if folder.is_dir() else model
        self.recipe, self.earlier_recipe = {"model": known_by, **options}, {"model": model, **options}

    def caption(self, photo: Path) -> str:
        """See `Captioner.caption`."""
        image = read_image(photo)
        try:
            if self._teacher is not None:
                ((caption,),) = self._teacher.caption([image])
                text = caption.text
            else:
                image.thumbnail((self.side, self.side))
                text = self._answer(image)
        # Of a model, a processor, a GPU's memory: one odd photograph ends nothing.
        except Exception as error:
            kind = Silence if isinstance(error, RuntimeError) else NoAnswer  # torch's: the GPU may be gone
            raise kind(f"{type(error).__name__}: {first_line(error)}") from None
        return _caption(text, self.max_tokens)

    def _answer(self, image: Image.Image) -> str:
        content = [{"type": "image"}, {"type": "text", "text": self.prompt}]
        asked = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        inputs = self._processor(text=[asked], images=[image], return_tensors="pt").to(**self._where)
        made = self._model.generate(**inputs, max_new_tokens=self.max_tokens, do_sample=False)
        new = made[:, inputs["input_ids"].shape[1] :]
        return str(self._processor.batch_decode(new, skip_special_tokens=True)[0])
