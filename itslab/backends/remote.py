"""Any OpenAI-compatible server as a backend: vLLM, SGLang, llama.cpp's servers, hosted ones.

Through the official client, by chat completions. Every sample is a streamed call with a seed of its
own, ``batch_size`` of them at once, because some servers ignore ``n`` (llama.cpp's); so text, stop
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
import queue
import re
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from itslab.backends.sequence import stream_seed
from itslab.backends.servers import SERVERS, Server, StreamedSample, fix_for, speaks
from itslab.core import (
    BackendError,
    Completion,
    Cost,
    OnSample,
    OnText,
    OptionError,
    PromptRefused,
    PromptTooLong,
    Request,
    Shape,
    require,
)
from itslab.options import Count, NotNegative, Positive, Text, checked

TRIES = 8  # of one call, at most
REDIRECTS = 3  # of one try, at most
SHOWN = 300  # characters of what a server says, at most


class Remote:
    """A model behind an OpenAI-compatible server.

    Args:
        model: the name the server knows it by.
        base_url: where the server is, ``…/v1`` included.
        api_key: the key sent with every call; your own server mostly needs none.
        server: a key of ``SERVERS``. By default the server's list of models tells; one that is not
            known there is taken to understand OpenAI's own options and nothing else.
        batch_size: how many calls may be open at once, over all threads.
        timeout: seconds after which a try is given up, whatever came by then, and made again: more
            than the longest sample takes. In the 1,200 of the default, a server that writes 30
            tokens a second in each of ``batch_size`` calls finishes 36,000; one that writes 1, as
            on a busy CPU, 1,200.
        patience: seconds that a call may pause between tries, in all.
        logprobs: ask for log-probabilities, where the server can stream them.
        shape: what the model multiplies, for ``Cost.flops``; ``Shape(parameters)`` where no more is
            known of it, None where nothing is.

    Raises:
        OptionError: an option is not valid. The key and a password are never shown.
        BackendError: the server is down, refuses the key or does not serve the model.
    """

    @checked
    def __init__(
        self,
        model: Text,
        base_url: str,
        api_key: Any = "none",  # checked below, where it is not shown
        *,
        server: str | None = None,
        batch_size: Count = 16,
        timeout: Positive = 1200.0,
        patience: NotNegative = 60.0,
        logprobs: bool = True,
        shape: Shape | None = None,
    ) -> None:
        from openai import DefaultHttpxClient, OpenAI

        key = isinstance(api_key, str) and api_key.isascii() and api_key.isprintable()
        if not (key and api_key.strip()):
            raise OptionError("api_key is not valid: api_key must be printable ASCII, not empty")
        require(server in (None, *SERVERS), "server", server, f"one of {', '.join(SERVERS)}")
        self._secrets = _secrets(base_url, api_key)
        self.name, self.base_url, self.batch_size = model, self._masked(base_url), batch_size
        self.digest = hashlib.sha256(f"remote {model}".encode()).hexdigest()
        self._client = OpenAI(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=0,
            http_client=DefaultHttpxClient(
                max_redirects=REDIRECTS,
                event_hooks={
                    "request": [lambda request: _set_deadline(request, timeout)],
                    "response": [_enforce_deadline],
                },
            ),
        )
        self._limit = "max_tokens"  # or as newer hosted models want it named
        self._timeout, self._patience = timeout, patience
        self.shape = shape
        self._seats = threading.Semaphore(batch_size)
        self._clock = _Clock()
        self.server = server or self._ask()
        self.provenance = f"remote; {self.server}"
        self._kind = SERVERS[self.server]
        self._logprobs = logprobs and self._kind.logprobs

    def _masked(self, text: str) -> str:
        """A text in one line of bounded length, without the key and the password."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

    @property
    def takes_top_k(self) -> bool:
        """Whether its server knows ``top_k`` and ``min_p``."""
        return self._kind.all_tokens is not None

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
        cannot be taken back, and its tokens are charged. One that the server ends for a reason of
        its own, such as a content filter, comes back as ``cancelled``; ``Completion.refused`` and a
        warning tell why.
        """
        calls = [
            _Call(i, j, request, self._body(request, request.first + j), self._kind)
            for i, request in enumerate(requests)
            for j in range(request.n)
        ]
        order = _Order(calls)
        drawn: dict[tuple[int, int], Completion] = {}

        def deliver(call: _Call) -> None:
            drawn[call.i, call.j] = sample = self._completion(call)
            if on_sample:
                on_sample(call.i, call.j, sample)

        for _ in range(min(self.batch_size, len(calls))):
            # Daemons: a server that has gone silent must not hold up the end of the program.
            threading.Thread(target=self._work, args=(order,), daemon=True).start()
        try:
            while len(drawn) < len(calls) and not (cancel and cancel.is_set()):
                try:
                    call, event, data = order.news.get(timeout=0.05)
                except queue.Empty:
                    continue
                if event == "error":
                    raise self._explain(data, call.tries)  # from nothing: a cause shows the key
                piece = call.take(event, data)
                if piece and on_text:
                    on_text(call.i, call.j, piece)
                if call.ended:
                    if call.sample.refused:
                        said = self._masked(call.sample.refused)
                        text = f"{self.base_url} ended sample {call.index} for {said!r}"
                        warnings.warn(text, stacklevel=2)
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
            self._limit: sampling.max_tokens,
            "seed": stream_seed(json.dumps([request.seed, index, messages]).encode()),
            "stream": True,
            "extra_body": extra,
        }

    def _work(self, order: _Order) -> None:
        """Make calls until none is waiting, and report what arrives."""
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
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
        from openai import BadRequestError, OpenAIError

        if order.halt.is_set():
            return
        call.tries += 1
        order.news.put((call, "begin", None))
        call.began = self._clock.tick(+1)
        ended = False
        try:
            try:
                opened = self._client.chat.completions.create(**call.body)
            except BadRequestError as error:
                # https://platform.openai.com/docs/api-reference/chat/create: for reasoning models
                if "max_tokens" not in call.body or "max_completion_tokens" not in str(error):
                    raise
                self._limit = "max_completion_tokens"
                call.body[self._limit] = call.body.pop("max_tokens")
                opened = self._client.chat.completions.create(**call.body)
            with opened as chunks:
                spoken, most = 0, call.body[self._limit]
                for chunk in chunks:
                    spoken += speaks(chunk, self._kind)
                    order.news.put((call, "chunk", chunk))
                    ended = ended or any(choice.finish_reason for choice in chunk.choices or ())
                    if call.sample.complete or order.halt.is_set() or spoken > most:
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
        """The sample as far as it came, with its cost."""
        sample, offsets = call.sample, call.sample.text.offsets
        tries = (call.lost, sample.usage)
        paid = sum((self.shape.price(cost) if self.shape else cost for cost in tries), Cost())
        began = call.began
        under_way = 0.0 if began is None else self._clock.tick(0) - began
        known = len(sample.logprobs) >= len(offsets)
        whole = call.ended and not sample.refused
        return Completion(
            text=sample.text.text,
            logprobs=tuple(sample.logprobs[: len(offsets)]) if known else (),
            offsets=tuple(offsets) if known else (),
            finish=sample.finish if whole and sample.finish else "cancelled",
            cost=replace(paid, calls=min(call.tries, 1), seconds=call.seconds + under_way),
            index=call.index,
            choices=sample.choices,
            shape=self.shape,
            refused=self._masked(sample.refused),
        )

    def _ask(self) -> str:
        """Ask the server what it is, and whether it serves the model."""
        failure: BackendError | None = None
        served: dict[str, str] = {}
        try:
            listed = self._client.models.list()
            served = {model.id: model.owned_by for model in getattr(listed, "data", None) or ()}
        except Exception as error:
            failure = self._explain(error)
        if failure:
            raise failure  # out here: what it came of shows the key
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
        if isinstance(error, APITimeoutError) or isinstance(error.__cause__, _LateError):
            what = f"took more than {self._timeout:g} s: raise timeout=, or lower batch_size="
        elif _redirected(error):
            what = f"redirects more than {REDIRECTS} times: name the final address in base_url="
        elif isinstance(error, APIConnectionError):
            cause = self._masked(str(error.__cause__ or error))
            what = f"cannot be reached ({cause}): is the server running there?"
        elif re.search(r"context[ _](length|size|window)", str(error)):
            return PromptTooLong(
                f"{self.base_url}: the prompt is too long, shorten it: {self._masked(str(error))}"
            )
        elif re.search(r"content[ _-](filter|policy|management)|moderation", str(error)):
            return PromptRefused(f"{self.base_url} refuses the prompt: {self._masked(str(error))}")
        else:
            what = f"failed: {self._masked(str(error))}: {fix_for(error)}"
        return BackendError(f"{self.base_url} {what}{f' ({tries} tries)' if tries > 1 else ''}")


class _Order:
    """The calls that a caller wants made, and the queue by which the workers report.

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

    def __init__(
        self, i: int, j: int, request: Request, body: dict[str, Any], kind: Server
    ) -> None:
        self.i, self.j, self.index = i, j, request.first + j
        self.body = body
        self.tries = 0
        self.seconds = 0.0
        self.began: float | None = None  # the try under way, by the clock
        self.ended = False
        self.lost = Cost()  # of tries whose stream broke
        self._sampling, self._kind = request.sampling, kind
        self.sample = StreamedSample(self._sampling, self._kind)

    def take(self, event: str, data: Any) -> str:
        """Read what a worker passed on; return the text that is new."""
        if event == "begin":
            self.lost += self.sample.usage
            self.sample = StreamedSample(self._sampling, self._kind)
        elif event == "end":
            self.ended = True
        else:
            self.sample.read(data)
        return self.sample.text.fresh(final=self.sample.finish is not None)


class _Clock:
    """A clock that runs at 1/n of the real speed while n calls are under way.

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


class _LateError(Exception):
    """A response went on past its deadline."""


def _secrets(base_url: str, api_key: str) -> list[str]:
    """Return the texts that must never be shown, longest first; "none" is not a key.

    Raises:
        OptionError: ``base_url`` is no address; its text, which may hold a password, is not shown.
    """
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise OptionError(
            "base_url is not valid: base_url must be such as http://localhost:8000/v1"
        )
    words = {parts.password or "", unquote(parts.password or ""), api_key}
    return sorted({word for word in words if word not in ("", "none")}, key=len, reverse=True)


def _set_deadline(request: Any, seconds: float) -> None:
    """Set the deadline of a try; redirects carry it on."""
    request.extensions.setdefault("deadline", time.monotonic() + seconds)


def _enforce_deadline(response: Any) -> None:
    """End a response at its try's deadline, even if it keeps sending."""
    # The client's own library, whose name has changed: the base of its streams.
    [base] = [kind for kind in type(response.stream).__mro__ if kind.__name__ == "SyncByteStream"]

    class Bound(base):  # type: ignore[misc, valid-type]
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __iter__(self) -> Any:
            for part in self.stream:
                if time.monotonic() > response.request.extensions["deadline"]:
                    raise _LateError("the timeout has passed")
                yield part

        def close(self) -> None:
            self.stream.close()

    response.stream = Bound(response.stream)


def _redirected(error: BaseException) -> bool:
    return type(error.__cause__).__name__ == "TooManyRedirects"


def _is_transient(error: BaseException) -> bool:
    """Whether another try may help."""
    from openai import APIConnectionError

    status = getattr(error, "status_code", 0)
    broken = isinstance(error, (_BrokenStreamError, APIConnectionError)) and not _redirected(error)
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
