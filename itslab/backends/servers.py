"""What servers of OpenAI's chat completions understand, and how a streamed sample is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from itslab.backends.sequence import TextStream
from itslab.core import Cost, Finish, Sampling


@dataclass(frozen=True, slots=True)
class Server:
    """What a kind of server understands beyond OpenAI's own options.

    Args:
        owner: what its list of models says in ``owned_by``.
        options: sent with every call. They switch off what the server would do by itself, such as
            the penalties of a model's generation_config, and make it tell what it did.
        all_tokens: its ``top_k`` for all tokens; None if it knows neither top_k nor min_p.
        stops: it ends a sample at a stop string and keeps the string, so that it is seen here. The
            others do not tell a stop string from the end of the turn: there the stream is searched
            and closed here, and what the server decodes until it notices is not counted.
        continues: it can continue the model's own turn.
        logprobs: it can stream log-probabilities.
        narrates: what it streams as reasoning tells what it tries, and is no part of the sample.
    """

    owner: str
    options: Mapping[str, Any]
    all_tokens: int | None = None
    stops: bool = False
    continues: bool = False
    logprobs: bool = True
    narrates: bool = False


_USAGE = {"stream_options": {"include_usage": True}}
_RUNNING_USAGE = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
_VLLM = _RUNNING_USAGE | {"repetition_penalty": 1.0, "include_stop_str_in_output": True}
_SGLANG = _RUNNING_USAGE | {
    "repetition_penalty": 1.0,
    "no_stop_trim": True,
    "separate_reasoning": False,
}
_LLAMA = _USAGE | {"repeat_penalty": 1.0, "timings_per_token": True, "reasoning_format": "none"}
SERVERS = {
    "vllm": Server("vllm", _VLLM, all_tokens=-1, stops=True, continues=True),
    "sglang": Server("sglang", _SGLANG, all_tokens=-1, stops=True, continues=True),
    "llama-server": Server("llamacpp", _LLAMA, all_tokens=0, continues=True),
    # python -m llama_cpp.server. Its streams tell no usage, so prompt tokens are not counted; with
    # log-probabilities they lose characters that span tokens; and the next call breaks them off,
    # unless it is started with --interrupt_requests false.
    "llama-cpp-python": Server("me", {"repeat_penalty": 1.0}, all_tokens=0, logprobs=False),
    "itslab": Server("itslab", _USAGE, all_tokens=0, continues=True, logprobs=False, narrates=True),
    "openai": Server("openai", _USAGE),
}


FIXES = {
    400: "if it does not know an option, tell the kind of server with server=",
    401: "pass the right api_key=",
    403: "pass the right api_key=",
    404: "check the model's name, and base_url, which mostly ends in /v1; or pass server=",
    422: "if it does not know an option, tell the kind of server with server=",
    429: "lower batch_size=, or raise patience=",
}


def fix_for(error: Exception) -> str:
    """What the caller can do about a refusal."""
    if "logprobs" in str(error):
        return "pass logprobs=False"
    return FIXES.get(getattr(error, "status_code", 0), "see its log")


class StreamedSample:
    """A sample read from its stream, chunk by chunk.

    Args:
        sampling: what was asked for.
        kind: of the server.

    Attributes:
        text: what has arrived so far.
        logprobs: log-probabilities of its tokens, nats, as far as the server sends them.
        choices: log-probability that it begins with each of ``sampling.choices``.
        usage: the tokens that the server counts.
        finish: how it ended.
        refused: the reason of the server, if it ended the sample by itself.
    """

    def __init__(self, sampling: Sampling, kind: Server) -> None:
        self._sampling, self._kind = sampling, kind
        self.text = TextStream(sampling.stop, sampling.include_stop)
        self.logprobs: list[float] = []
        self.choices: tuple[float, ...] = ()
        self.usage = Cost()
        self.finish: Finish | None = None
        self.refused = ""
        self._pushed = 0
        self._full = False  # and yet there was more
        self._mark = ""  # of reasoning, before the next text
        self._reasons = False

    @property
    def complete(self) -> bool:
        """Whether nothing more of the stream is wanted."""
        return self._full or (self.text.stopped and not self._kind.stops)

    def read(self, chunk: Any) -> None:
        """Append what a chunk holds."""
        for choice in chunk.choices or ():
            if not self.finish:
                self._extend(choice)
                self.finish = self._finished(choice.finish_reason)
        timings = (chunk.model_extra or {}).get("timings")  # llama-server's
        if chunk.usage:
            details = chunk.usage.prompt_tokens_details
            reused = getattr(details, "cached_tokens", 0) or 0
            new = max((chunk.usage.prompt_tokens or 0) - reused, 0)
            decoded = chunk.usage.completion_tokens or self.usage.decoded
            self.usage = Cost(new, reused, decoded)
        elif timings:
            counts = [timings.get(name) or 0 for name in ("prompt_n", "cache_n", "predicted_n")]
            self.usage = Cost(counts[0], counts[1], counts[2] or self.usage.decoded)

    def _finished(self, reason: str | None) -> Finish | None:
        if self.text.stopped:
            return "stop"
        if self._full or reason == "length":
            return "length"
        if reason not in (None, "stop"):
            self.refused = str(reason)
        return "end" if reason else None  # a stop string is seen in the text

    def _extend(self, choice: Any) -> None:
        """Append the text of a chunk, which may hold several tokens.

        Reasoning that a server parts from the text is put before it, within <think>, as the model
        itself writes it.
        """
        delta, entries = choice.delta, (choice.logprobs and choice.logprobs.content) or [None]
        thought = getattr(delta, "reasoning", None) or getattr(delta, "reasoning_content", None)
        if self._kind.narrates:
            thought, entries = "", entries if getattr(delta, "content", None) else []
        text = getattr(delta, "content", None) or ""
        if thought and not self._reasons:
            self._mark, self._reasons = "<think>", True
        if thought and text:  # their log-probabilities cannot be told apart
            self._push(thought, None)
            entries, thought = [None], ""
        if text and self._reasons:
            self._mark, self._reasons = "</think>", False
        text = thought or text
        for entry in entries[:-1]:
            token = entry.token or ""
            self._push(text[: len(token)], entry)
            text = text[len(token) :]
        # What spells nothing at the end of the turn is the token that ends it.
        if text or (entries and entries[-1] and not choice.finish_reason):
            self._push(text, entries[-1])

    def _push(self, text: str, entry: Any) -> None:
        self._full = self._full or self._pushed == self._sampling.max_tokens
        if self.text.stopped or self._full:
            return
        self._pushed += 1
        self.text.push(0, f"{self._mark}{text}".encode(errors="replace"))
        self._mark = ""
        self.usage = replace(self.usage, decoded=self.usage.decoded + 1)  # until the server tells
        if entry and entry.logprob is not None:
            self.logprobs.append(min(entry.logprob, 0.0))
        if entry and not self.choices:
            self.choices = tuple(_likelihood(text, entry) for text in self._sampling.choices)


def speaks(chunk: Any, kind: Server) -> bool:
    """Whether a chunk of a kind of server holds text of a sample."""
    deltas = [choice.delta for choice in chunk.choices or ()]
    names = ("content", *(() if kind.narrates else ("reasoning", "reasoning_content")))
    return any(getattr(delta, name, None) for delta in deltas for name in names)


def _likelihood(text: str, entry: Any) -> float:
    """Log-probability that a text begins with one of the likeliest tokens; −inf if none."""
    fitting = [
        likely
        for likely in entry.top_logprobs or ()
        if likely.token and likely.logprob is not None and text.startswith(likely.token)
    ]
    return max((likely.logprob for likely in fitting), default=-math.inf)
