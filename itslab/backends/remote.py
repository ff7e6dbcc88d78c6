"""Any OpenAI-compatible server as a backend: vLLM, SGLang, llama.cpp's servers, hosted ones.

Through the official client, by chat completions. Every sample is a streamed call with a seed of its
own, ``width`` of them at once, because some servers ignore ``n`` (llama.cpp's); so text, stop
strings and cancelling work the same with all. A call that fails for a passing reason (no
connection, silence, a broken stream, 408, 425, 429, 5xx) is tried again after a growing, jittered
pause (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter).

What a server does not tell is not known here: there are no token ids, the weights behind a name
cannot be verified, and a log-probability is what the server takes it to be (vLLM and llama-server:
the model's own, before temperature; SGLang: after it).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import queue
import re
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from itslab.backends.text import TextStream
from itslab.core import (
    BackendError,
    Completion,
    Cost,
    Finish,
    OnSample,
    OnText,
    PromptTooLong,
    Request,
    require,
)

TRIES = 8  # of one call, at most
FIXES = {
    400: "if it does not know an option, tell the kind of server with server=",
    401: "pass the right api_key=",
    403: "pass the right api_key=",
    404: "check the model's name, and base_url, which mostly ends in /v1",
    422: "if it does not know an option, tell the kind of server with server=",
    429: "lower width=, or raise patience=",
}


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
    """

    owner: str
    options: Mapping[str, Any]
    all_tokens: int | None = None
    stops: bool = False
    continues: bool = False
    logprobs: bool = True


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
    "openai": Server("openai", _USAGE),
}


class Remote:
    """A model behind an OpenAI-compatible server.

    Args:
        model: the name the server knows it by.
        base_url: where the server is, ``…/v1`` included.
        api_key: sent with every call; a server of one's own mostly wants none.
        server: a key of ``SERVERS``. By default the server's list of models tells; one that is not
            known there is taken to understand OpenAI's own options and nothing else.
        width: calls at once, over all threads.
        timeout: seconds of silence after which a call is given up and tried again.
        patience: seconds that a call may pause between tries, in all.
        logprobs: ask for log-probabilities, where the server can stream them.
        params: parameters of the model, for ``Cost.flops``; 0 if not known.

    Raises:
        BackendError: the server is down, refuses the key or does not serve the model.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str = "none",
        *,
        server: str | None = None,
        width: int = 16,
        timeout: float = 300.0,
        patience: float = 60.0,
        logprobs: bool = True,
        params: float = 0.0,
    ) -> None:
        from openai import OpenAI

        require(width >= 1, "width", width, "a whole number ≥ 1")
        require(server in (None, *SERVERS), "server", server, f"one of {', '.join(SERVERS)}")
        self.name, self.base_url, self.width = model, base_url, width
        self.digest = hashlib.sha256(f"remote {model}".encode()).hexdigest()
        self._client = OpenAI(base_url=base_url, api_key=api_key, timeout=timeout, max_retries=0)
        self._timeout, self._patience, self._params = timeout, patience, params
        self._seats = threading.Semaphore(width)
        self._clock = _Clock()
        self.server = server or self._ask()
        self.provenance = f"remote; {self.server}"
        self._kind = SERVERS[self.server]
        self._logprobs = logprobs and self._kind.logprobs

    def __repr__(self) -> str:
        return f"Remote({self.name!r}, {self.base_url!r}, server={self.server!r})"

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: threading.Event | None = None,
    ) -> list[list[Completion]]:
        """Draw samples; see ``Backend.generate``.

        A sample whose stream breaks is drawn anew: what ``on_text`` was given of the lost try
        cannot be taken back, and its tokens are charged.
        """
        calls = [
            _Call(i, j, request, self._body(request, request.first + j), self._kind.stops)
            for i, request in enumerate(requests)
            for j in range(request.n)
        ]
        order = _Order(calls)
        drawn: dict[tuple[int, int], Completion] = {}

        def deliver(call: _Call) -> None:
            drawn[call.i, call.j] = sample = self._completion(call)
            if on_sample:
                on_sample(call.i, call.j, sample)

        for _ in range(min(self.width, len(calls))):
            # Daemons: a server that has gone silent must not hold up the end of the program.
            threading.Thread(target=self._work, args=(order,), daemon=True).start()
        try:
            while len(drawn) < len(calls) and not (cancel and cancel.is_set()):
                try:
                    call, event, data = order.news.get(timeout=0.05)
                except queue.Empty:
                    continue
                if event == "error":
                    raise self._explain(data, call.tries) from data
                piece = call.take(event, data)
                if piece and on_text:
                    on_text(call.i, call.j, piece)
                if call.ended:
                    deliver(call)
        finally:
            order.halt.set()  # after an error or Ctrl-C, too: the workers drop the rest
        for call in calls:
            if (call.i, call.j) not in drawn:
                deliver(call)
        return [[drawn[i, j] for j in range(r.n)] for i, r in enumerate(requests)]

    def _body(self, request: Request, index: int) -> dict[str, Any]:
        sampling, kind = request.sampling, self._kind
        require(not sampling.signals, "signals", True, "False: a server tells no distributions")
        messages = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        extra = dict(kind.options)
        if request.prefix_text:
            if not kind.continues:
                able = ", ".join(name for name, other in SERVERS.items() if other.continues)
                raise BackendError(
                    f"{self.base_url} cannot continue the model's own turn, as a server of kind "
                    f"{self.server}: use one of {able}"
                )
            messages.append({"role": "assistant", "content": request.prefix_text})
            extra |= {"continue_final_message": True, "add_generation_prompt": False}
        if kind.all_tokens is None:
            valid = f"0 for a server of kind {self.server} (server= names another kind)"
            require(sampling.top_k == 0, "top_k", sampling.top_k, valid)
            require(sampling.min_p == 0, "min_p", sampling.min_p, valid)
        else:
            extra |= {"top_k": sampling.top_k or kind.all_tokens, "min_p": sampling.min_p}
        if kind.stops and sampling.stop:
            extra["stop"] = list(sampling.stop)
        if self._logprobs or sampling.choices:  # llama-server sends none for 0
            extra |= {"logprobs": True, "top_logprobs": 20 if sampling.choices else 1}
        return {
            "model": self.name,
            "messages": messages,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": _stream_seed(request.seed, index, messages),
            "stream": True,
            "extra_body": extra,
        }

    def _work(self, order: _Order) -> None:
        """Make calls until none is waiting, and report what comes in."""
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passes),
            wait=_pause,
            stop=lambda state: (
                order.halt.is_set()
                or state.attempt_number == TRIES
                or state.idle_for + state.upcoming_sleep > self._patience
            ),
            sleep=tenacity.sleep_using_event(order.halt),
            reraise=True,
        )
        with suppress(queue.Empty):
            while not order.halt.is_set():
                call = order.waiting.get_nowait()
                try:
                    with self._seats:
                        retrying(self._stream, call, order)
                    order.news.put((call, "end", None))
                except Exception as error:
                    order.news.put((call, "error", error))

    def _stream(self, call: _Call, order: _Order) -> None:
        from openai import OpenAIError

        if order.halt.is_set():
            return
        call.tries += 1
        order.news.put((call, "begin", None))
        call.began = self._clock.tick(+1)
        ended = False
        try:
            with self._client.chat.completions.create(**call.body) as chunks:
                for chunk in chunks:
                    order.news.put((call, "chunk", chunk))
                    ended = ended or any(choice.finish_reason for choice in chunk.choices)
                    if call.closed or order.halt.is_set():
                        return
        except OpenAIError:
            raise
        except Exception as error:  # older clients pass on what befalls an open connection
            raise _BrokenStreamError(repr(error)) from error
        finally:
            call.seconds += self._clock.tick(-1) - call.began
            call.began = None
        if not ended:
            raise _BrokenStreamError("the stream ended before the sample did")

    def _completion(self, call: _Call) -> Completion:
        """What has come of a sample, priced."""
        paid = call.lost + call.usage
        evaluated = paid.prefilled + max(paid.decoded - 1, 0)
        began = call.began
        under_way = 0.0 if began is None else self._clock.tick(0) - began
        told = len(call.logprobs) >= len(call.text.offsets)
        return Completion(
            text=call.text.text,
            logprobs=tuple(call.logprobs[: len(call.text.offsets)]),
            offsets=tuple(call.text.offsets) if told else (),
            finish=call.finish if call.ended and call.finish else "cancelled",
            cost=replace(
                paid,
                calls=min(call.tries, 1),
                seconds=call.seconds + under_way,
                flops=2 * self._params * evaluated,
            ),
            index=call.index,
            choices=call.choices,
        )

    def _ask(self) -> str:
        """Ask the server what it is, and whether it serves the model."""
        try:
            served = {model.id: model.owned_by for model in self._client.models.list()}
        except Exception as error:
            raise self._explain(error) from error
        if self.name not in served:
            close = difflib.get_close_matches(self.name, served, cutoff=0)
            raise BackendError(
                f"{self.base_url} does not serve {self.name!r}, but {', '.join(close) or 'nothing'}"
            )
        kinds = {kind.owner: server for server, kind in SERVERS.items()}
        return kinds.get(served[self.name], "openai")

    def _explain(self, error: Exception, tries: int = 1) -> BackendError:
        """Say what went wrong, where, and what to do about it."""
        from openai import APIConnectionError, APITimeoutError

        if isinstance(error, BackendError):
            return error
        if isinstance(error, APITimeoutError):
            what = f"was silent for {self._timeout:g} s: raise timeout=, or lower width="
        elif isinstance(error, APIConnectionError):
            what = f"cannot be reached ({error.__cause__}): is the server running there?"
        elif re.search(r"context[ _](length|size|window)", str(error)):
            return PromptTooLong(f"{self.base_url}: the prompt is too long, shorten it: {error}")
        else:
            what = f"failed: {error}: {FIXES.get(getattr(error, 'status_code', 0), 'see its log')}"
        return BackendError(f"{self.base_url} {what}{f' ({tries} tries)' if tries > 1 else ''}")


class _Order:
    """What a caller wants of the workers, and their way to report.

    News are (call, ``begin`` | ``chunk`` | ``end`` | ``error``, its data).
    """

    def __init__(self, calls: Sequence[_Call]) -> None:
        self.waiting: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self.news: queue.SimpleQueue[tuple[_Call, str, Any]] = queue.SimpleQueue()
        self.halt = threading.Event()
        for call in calls:
            self.waiting.put(call)


class _Call:
    """A sample on its way: a worker passes on what the server says, the caller's thread reads."""

    def __init__(self, i: int, j: int, request: Request, body: dict[str, Any], stops: bool) -> None:
        self.i, self.j, self.index = i, j, request.first + j
        self.body = body
        self.tries = 0
        self.seconds = 0.0
        self.began: float | None = None  # the try under way, by the clock
        self.ended = False
        self.closed = False  # tells the worker that nothing more is wanted
        self.lost = self.usage = Cost()
        self._sampling = request.sampling
        self._stops = stops
        self._begin()

    def _begin(self) -> None:
        self.lost += self.usage  # of a try whose stream broke
        self.usage = Cost()
        self.text = TextStream(self._sampling.stop, self._sampling.include_stop)
        self.logprobs: list[float] = []
        self.choices: tuple[float, ...] = ()
        self.finish: Finish | None = None

    def take(self, event: str, data: Any) -> str:
        """Read what a worker passed on; return the text that is new."""
        if event == "begin":
            self._begin()
        elif event == "end":
            self.ended = True
        else:
            self._read(data)
        return self.text.fresh(final=self.finish is not None)

    def _read(self, chunk: Any) -> None:
        for choice in chunk.choices:
            if not self.finish:
                self._extend(choice)
                self.finish = "stop" if self.text.stopped else _finish(choice.finish_reason)
                self.closed = self.text.stopped and not self._stops
        timings = (chunk.model_extra or {}).get("timings")  # llama-server's
        if chunk.usage:
            details = chunk.usage.prompt_tokens_details
            reused = (details and details.cached_tokens) or 0
            new = chunk.usage.prompt_tokens - reused
            self.usage = Cost(new, reused, chunk.usage.completion_tokens)
        elif timings:
            self.usage = Cost(timings["prompt_n"], timings["cache_n"], timings["predicted_n"])

    def _extend(self, choice: Any) -> None:
        """Append the text of a chunk, which may hold several tokens."""
        delta, entries = choice.delta, (choice.logprobs and choice.logprobs.content) or [None]
        if getattr(delta, "reasoning", None) or getattr(delta, "reasoning_content", None):
            raise BackendError(
                "the server parts the model's reasoning from its text: start it without a "
                "reasoning parser"
            )
        text = delta.content or ""
        for entry in entries[:-1]:
            self._push(text[: len(entry.token)], entry)
            text = text[len(entry.token) :]
        # What spells nothing at the end of the turn is the token that ends it.
        if text or (entries[-1] and not choice.finish_reason):
            self._push(text, entries[-1])

    def _push(self, text: str, entry: Any) -> None:
        if self.text.stopped:
            return
        self.text.push(0, text.encode(errors="replace"))
        self.usage = replace(self.usage, decoded=self.usage.decoded + 1)  # until the server tells
        if entry:
            self.logprobs.append(min(entry.logprob, 0.0))
        if entry and not self.choices:
            self.choices = tuple(_likelihood(text, entry) for text in self._sampling.choices)


class _Clock:
    """Runs at the speed of 1 ÷ calls under way.

    So the seconds of all calls add up to the time during which there was any, like an engine's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reading = self._last = 0.0
        self._running = 0

    def tick(self, change: int) -> float:
        """Read the clock, and let ``change`` more calls be under way."""
        with self._lock:
            now = time.monotonic()
            self._reading += (now - self._last) / self._running if self._running else 0.0
            self._last = now
            self._running += change
            return self._reading


class _BrokenStreamError(Exception):
    """A stream ended too early."""


def _stream_seed(seed: int, index: int, messages: object) -> int:
    """31 bits, which every server takes. Other prompts get other random streams."""
    key = json.dumps([seed, index, messages]).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "little") >> 1


def _likelihood(text: str, entry: Any) -> float:
    """Log-probability that a text begins with one of the likeliest tokens told; −inf if none."""
    told = [
        likely for likely in entry.top_logprobs if likely.token and text.startswith(likely.token)
    ]
    return max((likely.logprob for likely in told), default=-math.inf)


def _finish(reason: str | None) -> Finish | None:
    if reason == "stop":
        return "end"  # a stop string is seen in the text
    if reason == "length":
        return "length"
    if reason is None:
        return None
    raise BackendError(f"the server ended a sample for {reason!r}: itslab knows stop and length")


def _passes(error: BaseException) -> bool:
    """Whether another try may help."""
    from openai import APIConnectionError

    status = getattr(error, "status_code", 0)
    broken = isinstance(error, (_BrokenStreamError, APIConnectionError))
    return broken or status in (408, 425, 429) or status >= 500


def _pause(state: Any) -> float:
    """Seconds before the next try: what the server asks, and a random part of a growing span."""
    from tenacity import wait_random_exponential

    wait = wait_random_exponential(multiplier=0.5, max=20)
    return wait(state) + _retry_after(state.outcome.exception())


def _retry_after(error: BaseException | None) -> float:
    """Read the header, seconds or a date (RFC 9110, §10.2.3); 0 without it."""
    response = getattr(error, "response", None)
    value = "" if response is None else response.headers.get("retry-after", "")
    with suppress(ValueError):
        return max(float(value), 0.0)
    with suppress(ValueError):
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    return 0.0
