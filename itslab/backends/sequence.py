"""A sequence under way: its tokens, the text they spell, and what the model said of each.

A token need not be a character, a stop string need not be a token. Both are settled here, on the
growing text, so that the engine only draws.
"""

from __future__ import annotations

import codecs
import hashlib
import math
import threading
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from itslab.backends.kv import Stream, Tokens
from itslab.backends.native import Floats, Sampler
from itslab.backends.scheduler import DEFAULT, Entry, Service
from itslab.core import BackendError, Completion, Cost, Finish, Request, Shape, Signals

TOP = 20
"""Tokens whose mean makes the token confidence of DeepConf; see ``itslab.core.Signals``."""
_NEAR = (7.0, 10.0, 14.0)  # nats below the likeliest token, within which the TOP are mostly found


@dataclass(eq=False)
class Ticket:
    """A caller's order: where its samples are delivered, and how it cancels them.

    Items are (request, sample, new text | completion | exception).
    """

    wants_text: bool
    cancel: threading.Event | None = None
    service: Service = DEFAULT
    items: SimpleQueue[tuple[int, int, str | Completion | Exception]] = field(
        default_factory=SimpleQueue
    )
    abandoned: bool = False

    @property
    def cancelled(self) -> bool:
        """Whether the samples are no longer wanted."""
        return self.abandoned or (self.cancel is not None and self.cancel.is_set())


class ActiveSequence(Entry):
    """A sequence under way: its tokens, its random stream, what it has cost.

    Args:
        ticket: where to deliver it.
        request: what it is a sample of.
        place: positions of the request and of the sample in the order.
        prompt: token ids before it; at least one.
        before: the bytes that the prompt's last tokens spell.
        choices: the tokens that its first one is compared with.
        room: tokens that the context holds besides the prompt.
    """

    def __init__(
        self,
        ticket: Ticket,
        request: Request,
        place: tuple[int, int],
        prompt: Tokens,
        before: bytes,
        choices: Tokens,
        room: int,
    ) -> None:
        sampling = request.sampling
        super().__init__(
            len(prompt),
            min(sampling.max_tokens, room),
            arrival=time.monotonic(),
            service=ticket.service,
            signals=sampling.signals,
        )
        self.ticket, self.place, self.prompt = ticket, place, prompt
        self.index = request.first + place[1]
        self.tokens = prompt
        self.text = TextStream(sampling.stop, sampling.include_stop, before)
        key = f"{request.seed}/{self.index}/".encode() + array("i", prompt).tobytes()
        self.cutoff = request.cutoff
        self.sampler = Sampler(sampling, stream_seed(key))
        self.logprobs: list[float] = []
        self.token_signals: list[tuple[float, float, float]] = []  # as in Signals, by token
        self.state: tuple[float, ...] = ()
        self.choices = choices
        self.choice_logprobs: tuple[float, ...] = ()
        self.stream: Stream | None = None
        self.finish: Finish | None = None
        self.failures = 0
        self.prefilled = self.reused = 0
        self.seconds = 0.0

    def begin(self, stream: Stream) -> None:
        """Go on in a stream that holds some of the tokens already.

        After a failed step it holds none, and they are evaluated again: that is not charged twice.
        """
        self.stream, self.evaluated = stream, len(stream.tokens)
        if not self.drawn:
            self.prefilled, self.reused = 0, self.evaluated

    def note_evaluated(self, tokens: Tokens) -> None:
        """Note that the next tokens have been evaluated."""
        assert self.stream is not None  # it is running
        self.stream.tokens += tokens
        self.evaluated += len(tokens)
        if not self.drawn:
            self.prefilled += len(tokens)

    def lose(self) -> None:
        """Note that nothing of it is held in memory any more."""
        self.stream, self.evaluated = None, 0

    @property
    def unsure(self) -> bool:
        """Whether the model is no longer confident enough, so that it is to be cut."""
        if self.cutoff is None:
            return False
        last = [confidence for *_, confidence in self.token_signals[-self.cutoff.window :]]
        return self.cutoff.group(last) < self.cutoff.confidence

    def drawn_from(self, distribution: Distribution, token: int) -> Drawn:
        """What is kept of a token drawn from a distribution."""
        return Drawn(
            token,
            distribution.logprob(token),
            distribution.signals() if self.signals else None,
            () if self.drawn else tuple(map(distribution.logprob, self.choices)),
        )

    def completion(self, shape: Shape) -> Completion:
        """What was drawn from a model of this shape, as a completion."""
        assert self.finish is not None
        kept = len(self.text.tokens)
        signals = self.token_signals[:kept]
        entropies, certainties, confidences = zip(*signals, strict=True) if signals else ((),) * 3
        cost = Cost(
            prefilled=self.prefilled,
            reused=self.reused,
            decoded=self.drawn,
            calls=int(self.drawn > 0),
            seconds=self.seconds,
        )
        return Completion(
            text=self.text.text,
            tokens=tuple(self.text.tokens),
            logprobs=tuple(self.logprobs[:kept]),
            offsets=tuple(self.text.offsets),
            finish=self.finish,
            cost=shape.price(cost),
            index=self.index,
            signals=Signals(entropies, certainties, confidences, self.state),
            choices=self.choice_logprobs,
            shape=shape,
        )


class Drawn(NamedTuple):
    """A token, and what the model's distribution said of it; see ``Signals`` and ``Completion``."""

    token: int
    logprob: float
    signals: tuple[float, float, float] | None
    choices: tuple[float, ...]


def stream_seed(key: bytes) -> int:
    """The seed of a sample's random stream, by what names it. 31 bits, which every server takes.

    llama.cpp takes 2³² - 1 for "a random seed".
    """
    return int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "little") >> 1


# -- what a row of logits says ---------------------------------------------------------------------


class Distribution:
    """The model's own distribution over its vocabulary at one position.

    One object serves all rows of all steps, one after the other: passes over the vocabulary are
    most of Python's share of a step, and its buffer stays in the processor's cache.

    Args:
        n_vocab: entries in the vocabulary.
    """

    def __init__(self, n_vocab: int) -> None:
        self._scratch = np.empty(n_vocab, np.float32)

    def read(self, logits: Floats) -> None:
        """Read another row of logits, (n_vocab,), which must not change while it is in use.

        Raises:
            BackendError: it holds nan, or its largest is infinite.
        """
        with np.errstate(over="ignore"):
            self._weights = np.exp(logits, out=self._scratch)
        self._total = float(self._weights.sum())
        if not 0 < self._total < math.inf:  # too large or too small for exp
            if not math.isfinite(highest := float(logits.max())):
                raise BackendError(
                    "the model gave logits that are no numbers: is its file damaged?"
                )
            return self.read(logits - highest)
        self._logits, self._normaliser = logits, math.log(self._total)
        return None

    def logprob(self, token: int) -> float:
        """Log-probability of a token, nats."""
        return float(self._logits[token]) - self._normaliser

    def signals(self) -> tuple[float, float, float]:
        """Entropy, self-certainty and confidence; see ``itslab.core.Signals``."""
        logits = self._logits
        entropy = self._normaliser - float(self._weights @ logits) / self._total
        certainty = self._normaliser - float(logits.mean()) - math.log(len(logits))
        highest = logits.max()
        near = (logits[logits > highest - nats] for nats in _NEAR)  # a few are sorted sooner
        likely = next((some for some in near if len(some) >= TOP), logits)
        top = np.partition(likely, max(len(likely) - TOP, 0))[-TOP:]
        return entropy, certainty, self._normaliser - float(top.mean())


# -- text ------------------------------------------------------------------------------------------


def spelled(pieces: Iterable[bytes]) -> str:
    """Return the whole characters that some tokens' bytes spell; an incomplete one is left out."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(b"".join(pieces))


class TextStream:
    """The text of one sample while its tokens arrive.

    Args:
        stop: strings that end it.
        include_stop: keep the stop string and its last token whole.
        before: the bytes of the last tokens before the first, which may end within a character.

    Attributes:
        text: whole characters only, cut at a stop string.
        tokens: ids kept: those that end within ``text``.
        offsets: characters of ``text`` spelled after each token.
        stopped: whether a stop string was found.
    """

    def __init__(
        self, stop: tuple[str, ...] = (), include_stop: bool = False, before: bytes = b""
    ) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder.decode(before)
        self._stop = stop
        self._reach = max(map(len, stop), default=1) - 1
        self._include_stop = include_stop
        self._shown = 0
        self.text = ""
        self.tokens: list[int] = []
        self.offsets: list[int] = []
        self.stopped = False

    def push(self, token: int, piece: bytes) -> None:
        """Append a token that spells ``piece``."""
        start = max(len(self.text) - self._reach, 0)
        self.text += self._decoder.decode(piece)
        self.tokens.append(token)
        self.offsets.append(len(self.text))
        found = [at for s in self._stop if (at := self.text.find(s, start)) >= 0]
        if found:
            self.stopped = True
            if not self._include_stop:
                self._cut(min(found))

    def fresh(self, final: bool) -> str:
        """Return the text not returned before, holding back what may become a stop string.

        Args:
            final: no more tokens will come, so nothing needs to be held back.
        """
        end = len(self.text)
        if not final and self._reach:
            tail = range(max(end - self._reach, self._shown), end)
            end = next((i for i in tail if self._may_stop(self.text[i:])), end)
        new, self._shown = self.text[self._shown : end], max(end, self._shown)
        return new

    def _may_stop(self, tail: str) -> bool:
        return any(s.startswith(tail) for s in self._stop)

    def _cut(self, end: int) -> None:
        self.text = self.text[:end]
        kept = sum(offset <= end for offset in self.offsets)
        del self.tokens[kept:], self.offsets[kept:]
