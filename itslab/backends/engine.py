"""One thread, one context: samples become sequences, sequences become rows of ``llama_decode``.

Continuous batching (Yu et al. 2022, Orca, OSDI, §3): between any two steps sequences join and
leave, so the batch stays full while anybody waits. Each live sequence has tokens to evaluate: a
fresh prompt many, a running sample exactly one. A step evaluates some of each, and whoever has none
left draws its next token; prefill and decoding need no distinction.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from array import array
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate, compress, islice
from operator import not_
from queue import SimpleQueue
from typing import NamedTuple

from itslab.backends.cores import Cores
from itslab.backends.distribution import Distribution
from itslab.backends.kv import Cache, Reuse, Stream, Tokens
from itslab.backends.native import Model, Sampler, Unshared
from itslab.backends.text import TextStream
from itslab.core import BackendError, Completion, Cost, Finish, Sampling, Shape, Signals

PREFILL_ROWS = 128  # prompt tokens a step: as fast as any larger chunk, and short enough to cancel
ROWS_A_THREAD = 4  # from which two threads read them faster than one


@dataclass(eq=False)
class Ticket:
    """A caller's order: where its samples are delivered, and its way to call them off.

    Items are (request, sample, new text | completion | exception).
    """

    wants_text: bool
    cancel: threading.Event | None = None
    items: SimpleQueue[tuple[int, int, str | Completion | Exception]] = field(
        default_factory=SimpleQueue
    )
    abandoned: bool = False

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the samples any more."""
        return self.abandoned or (self.cancel is not None and self.cancel.is_set())


class Sample:
    """One sample under way: its tokens, its random stream, what it has cost.

    Args:
        ticket, request, position: where to deliver it.
        prompt: token ids before it; at least one.
        before: the bytes that the prompt's last tokens spell.
        index, seed: name its random stream.
        choices: the tokens that its first one is compared with.
    """

    def __init__(
        self,
        ticket: Ticket,
        request: int,
        position: int,
        prompt: Tokens,
        before: bytes,
        sampling: Sampling,
        index: int,
        seed: int,
        choices: Tokens = (),
    ) -> None:
        self.ticket, self.request, self.position = ticket, request, position
        self.prompt, self.sampling, self.index = prompt, sampling, index
        self.tokens = prompt
        self.text = TextStream(sampling.stop, sampling.include_stop, before)
        self.sampler = Sampler(sampling, _stream_seed(seed, index, prompt))
        self.logprobs: list[float] = []
        self.signals: list[tuple[float, float, float]] = []  # as in Signals, by token
        self.state: tuple[float, ...] = ()
        self.choices = choices
        self.choice_logprobs: tuple[float, ...] = ()
        self.stream: Stream | None = None
        self.finish: Finish | None = None
        self.failures = 0
        self.drawn = self.prefilled = self.reused = 0
        self.seconds = 0.0

    @property
    def pending(self) -> Tokens:
        """Tokens not yet evaluated."""
        return self.tokens[len(self.stream.tokens) :] if self.stream else self.tokens

    def begin(self, stream: Stream) -> None:
        """Go on in a stream that holds some of the tokens already.

        After a failed step it holds none, and they are evaluated again: that is not charged twice.
        """
        self.stream = stream
        if not self.drawn:
            self.prefilled, self.reused = 0, len(stream.tokens)

    def evaluated(self, tokens: Tokens) -> None:
        """Note that the next tokens have been evaluated."""
        assert self.stream is not None
        self.stream.tokens += tokens
        if not self.drawn:
            self.prefilled += len(tokens)

    def drawn_from(self, distribution: Distribution, token: int) -> Drawn:
        """What is kept of a token drawn from a distribution."""
        return Drawn(
            token,
            distribution.logprob(token),
            distribution.signals() if self.sampling.signals else None,
            () if self.drawn else tuple(map(distribution.logprob, self.choices)),
        )

    def completion(self, shape: Shape) -> Completion:
        """What was drawn from a model of this shape, as a completion."""
        assert self.finish is not None
        kept = len(self.text.tokens)
        told = self.signals[:kept]
        entropies, certainties, confidences = zip(*told, strict=True) if told else ((), (), ())
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


def _stream_seed(seed: int, index: int, prompt: Tokens) -> int:
    """31 bits: llama.cpp takes 2³² - 1 for "a random seed". Other prompts get other streams."""
    key = f"{seed}/{index}/".encode() + array("i", prompt).tobytes()
    return int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "little") >> 1


@dataclass
class Stats:
    """What the engine did since it was made.

    Args:
        steps: calls of ``llama_decode``.
        evaluated: tokens evaluated.
        drawn: tokens drawn.
        live: sequences in the batch, summed over the steps.
        busy: seconds of all steps.
        native: seconds of these inside llama.cpp.
    """

    steps: int = 0
    evaluated: int = 0
    drawn: int = 0
    live: int = 0
    busy: float = 0.0
    native: float = 0.0


class Share(NamedTuple):
    """A sequence's part of a step: some tokens from position ``start`` on, in a stream."""

    stream: int
    start: int
    tokens: Tokens
    output: bool  # whether logits are wanted after the last of them
    sample: Sample | None  # None pads the batch

    @classmethod
    def of(cls, sample: Sample, take: int) -> Share:
        """The next ``take`` tokens of a sample."""
        assert sample.stream is not None  # it is live
        pending = sample.pending
        start = len(sample.stream.tokens)
        return cls(sample.stream.index, start, pending[:take], take == len(pending), sample)


class Engine(Unshared):
    """Draws samples for any number of threads.

    Args:
        model: the weights.
        width: sequences at once.
        context: tokens per sequence.
        threads: of llama.cpp; fewer while other programs need the cores, see ``Cores``.
        parking: bytes of host memory for evaluated tokens that no stream has room for.
        deterministic: the same request gives the same samples whatever else is running. Steps are
            padded to ``width`` rows, prompts are evaluated alone in fixed chunks, and only whole
            prompts are reused. ``width`` must then be a multiple of 4, at least 8, and all threads
            are always used.
    """

    def __init__(
        self,
        model: Model,
        *,
        width: int,
        context: int,
        threads: int,
        parking: int,
        deterministic: bool = False,
    ) -> None:
        self.model, self.width, self.context_length = model, width, context
        self.deterministic = deterministic
        self.stats = Stats()
        self._context = model.context(width, context, width + PREFILL_ROWS, threads)
        reuse: Reuse = "exact" if deterministic else "whole" if model.recurrent else "prefix"
        self._cache = Cache(self._context, reuse, parking)
        self._waiting: deque[Sample] = deque()
        self._live: list[Sample] = []
        self._arrivals: list[Sample] = []
        self._wake = threading.Condition()
        self._closed = False
        self._process = os.getpid()
        self._prompts_next = False
        self._cores = Cores(threads)
        self._threads = threads
        self._distributions = [Distribution(model.n_vocab) for _ in range(threads)]
        self._helpers: set[int] = set()
        self._pool = ThreadPoolExecutor(
            threads, "itslab-draw", lambda: self._helpers.add(threading.get_ident())
        )
        self._thread = threading.Thread(target=self._serve, name="itslab-engine", daemon=True)
        self._thread.start()

    # -- for callers, from any thread --------------------------------------------------------------

    def submit(self, samples: list[Sample]) -> None:
        """Queue samples; they are delivered through their tickets."""
        self.model.check()
        with self._wake:
            if self._closed:
                raise BackendError("this model is closed: load it again")
            self._arrivals += samples
            self._wake.notify()

    def close(self) -> None:
        """Stop after the current step, fail what is under way, free the memory."""
        if os.getpid() != self._process:
            return  # a fork: the thread and the memory are another process's
        with self._wake:
            self._closed = True
            self._wake.notify()
        # Any of ours may be the one that collects garbage, and would wait for itself.
        if threading.get_ident() not in {self._thread.ident, *self._helpers}:
            self._thread.join()

    # -- the engine's thread -----------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while self._intake():
                began = time.perf_counter()
                try:
                    self._step()
                except Exception as error:
                    self._recover(error)
                self.stats.busy += time.perf_counter() - began
        finally:
            self._end()

    def _end(self) -> None:
        """Turn newcomers away, fail whoever waits, free the memory."""
        with self._wake:
            self._closed = True
            left = [*self._live, *self._waiting, *self._arrivals]
        for sample in left:
            self._deliver(sample, BackendError("this model was closed while it was drawing"))
        self._pool.shutdown(wait=False)
        self._context.close()
        self.model.close()

    def _intake(self) -> bool:
        """Sleep until there is work; return False when there will be none."""
        with self._wake:
            while not (self._closed or self._arrivals or self._waiting or self._live):
                self._wake.wait()
            if self._closed:
                return False
            arrivals, self._arrivals = self._arrivals, []
        # Who continues what was drawn goes first, as long as that is at hand (cf. cache-aware
        # scheduling, Zheng et al. 2023, SGLang, arXiv:2312.07104, §3).
        known = [2 * self._cache.reach(sample.tokens) > len(sample.tokens) for sample in arrivals]
        self._waiting += compress(arrivals, map(not_, known))
        self._waiting.extendleft(reversed(list(compress(arrivals, known))))
        return True

    def _step(self) -> None:
        began = time.perf_counter()
        self._share_cores()
        self._drop_cancelled()
        self._admit()
        if not self._waiting:
            self._close_gaps()
        shares = self._plan()
        if not shares:
            return
        self._evaluate(shares)
        self._draw(shares)
        seconds = time.perf_counter() - began
        rows = sum(len(share.tokens) for share in shares if share.sample)
        for share in shares:
            if share.sample:
                share.sample.seconds += seconds * len(share.tokens) / rows
                if share.sample.finish:
                    self._finish(share.sample)

    def _share_cores(self) -> None:
        """Leave cores that other programs need to them."""
        if not self.deterministic and (threads := self._cores.look()) != self._threads:
            self._threads = threads
            self._context.use_threads(threads)

    def _drop_cancelled(self) -> None:
        for sample in [s for s in [*self._live, *self._waiting] if s.ticket.cancelled]:
            sample.finish = "cancelled"
            self._finish(sample)

    def _admit(self) -> None:
        """Give streams to waiting samples, first come first served.

        A sample whose prompt another one is just evaluating waits for it, so that a prompt is
        evaluated once however many want it; its place stays reserved meanwhile.
        """
        places = self.width - len(self._live)
        for sample in list(islice(self._waiting, places)):
            known = self._cache.reach(sample.tokens)
            coming = (
                self._cache.shareable(s.prompt, sample.tokens) for s in self._live if not s.drawn
            )
            if any(length > known for length in coming):
                continue
            self._waiting.remove(sample)
            self._live.append(sample)
            sample.begin(self._cache.acquire(sample.tokens))
            if not sample.pending:
                logits = self._cache.tips.get(sample.tokens)
                assert logits is not None  # acquire leaves a token to evaluate otherwise
                distribution = self._distributions[0]
                distribution.read(logits)
                drawn = sample.drawn_from(distribution, sample.sampler.draw(logits))
                self._take(sample, drawn)
                if sample.finish:
                    self._finish(sample)

    def _close_gaps(self) -> None:
        """Move sequences so that their streams are neighbours; llama.cpp splits a batch at gaps."""
        if self.deterministic:
            return  # padding fills the gaps
        while self._live:
            by_index = {s.stream.index: s for s in self._live if s.stream}
            holes = set(range(min(by_index), max(by_index))) - set(by_index)
            if not holes:
                return
            last = by_index[max(by_index)]
            assert last.stream is not None
            last.stream = self._cache.move(last.stream, min(holes))

    def _plan(self) -> list[Share]:
        """Choose what each sequence evaluates in this step, streams ascending."""
        if self.deterministic:
            return self._plan_deterministic()
        budget = PREFILL_ROWS
        shares = []
        for sample in self._live:
            take = 1 if len(sample.pending) == 1 else min(len(sample.pending), budget)
            budget -= take if take > 1 else 0
            if take:
                shares.append(Share.of(sample, take))
        if any(sample.sampling.signals for sample in self._live):
            shares = self._apart(shares)
        return sorted(shares)

    def _apart(self, shares: list[Share]) -> list[Share]:
        """Prompts and single tokens in turn, where hidden states are wanted of the latter.

        llama.cpp computes logits for every row of a step that gives states, which would make
        prompts twice as dear.
        """
        prompts = [share for share in shares if len(share.tokens) > 1]
        singles = [share for share in shares if len(share.tokens) == 1]
        self._prompts_next = not self._prompts_next
        return (prompts or singles) if self._prompts_next else (singles or prompts)

    def _plan_deterministic(self) -> list[Share]:
        """One chunk of one prompt, or one token of everyone in a batch padded to the full width."""
        for sample in self._live:
            if not sample.drawn:
                return [Share.of(sample, min(len(sample.pending), PREFILL_ROWS))]
        shares = [Share.of(sample, 1) for sample in self._live]
        padding = set(range(self.width)) - {share.stream for share in shares} if shares else set()
        return sorted([*shares, *(Share(i, 0, (0,), True, None) for i in padding)])

    def _evaluate(self, shares: list[Share]) -> None:
        tokens: list[int] = []
        positions: list[int] = []
        streams: list[int] = []
        outputs: list[bool] = []
        for share in shares:
            n = len(share.tokens)
            tokens += share.tokens
            positions += range(share.start, share.start + n)
            streams += [share.stream] * n
            outputs += [False] * (n - 1) + [share.output]
        began = time.perf_counter()
        states = any(s.sample and s.sample.sampling.signals for s in shares if len(s.tokens) == 1)
        self._context.decode(tokens, positions, streams, outputs, states)
        self.stats.native += time.perf_counter() - began
        self.stats.steps += 1
        self.stats.live += len(self._live)
        self.stats.evaluated += len(tokens)
        for share in shares:
            if share.sample:
                share.sample.evaluated(share.tokens)
            else:
                self._context.cut(share.stream, 0)

    def _draw(self, shares: list[Share]) -> None:
        """Draw a token for each sequence that has logits, several rows at a time."""
        ends = accumulate(len(share.tokens) for share in shares)
        told = [
            (share.sample, end - 1, len(share.tokens) == 1)
            for share, end in zip(shares, ends, strict=True)
            if share.sample and share.output
        ]
        rows = [(sample, row) for sample, row, _ in told]
        for (sample, row, single), drawn in zip(told, self._drawn(rows), strict=True):
            assert sample.stream is not None  # it is live
            if isinstance(drawn, BackendError):  # of this row: the others' are good
                self._give_up(sample, drawn)
                continue
            if not sample.drawn:
                self._cache.remember(sample.stream, self._context.logits(row))
            self._take(sample, drawn)
            if sample.finish and sample.sampling.signals and single:
                sample.state = self._context.state(row)

    def _drawn(self, rows: list[tuple[Sample, int]]) -> list[Drawn | BackendError]:
        """Draw from each row, in as many threads as there are cores to use."""
        size = max(-(-len(rows) // self._threads), ROWS_A_THREAD)
        first, *others = (rows[i : i + size] for i in range(0, max(len(rows), 1), size))
        if others:
            self._context.logits(rows[0][1])  # from here on the context is only read
        own, *distributions = self._distributions
        try:
            begun = [
                self._pool.submit(self._read, distribution, part)
                for distribution, part in zip(distributions, others, strict=False)
            ]
        except RuntimeError:  # the interpreter is at its end, where no thread is begun any more
            begun, first = [], rows
        drawn, native = self._read(own, first)
        self.stats.native += native
        return [*drawn, *(one for part in begun for one in part.result()[0])]

    def _read(
        self, distribution: Distribution, rows: list[tuple[Sample, int]]
    ) -> tuple[list[Drawn | BackendError], float]:
        """Draw from some rows, one after the other; also return the seconds inside llama.cpp."""
        drawn: list[Drawn | BackendError] = []
        native = 0.0
        for sample, row in rows:
            try:
                distribution.read(self._context.logits(row))  # before anybody draws from nan
                began = time.perf_counter()
                token = self._context.sample(sample.sampler, row)
                native += time.perf_counter() - began
                drawn.append(sample.drawn_from(distribution, token))
            except BackendError as error:
                drawn.append(error)
        return drawn, native

    def _take(self, sample: Sample, drawn: Drawn) -> None:
        """Add a drawn token to a sample, and settle whether it ends there."""
        self.stats.drawn += 1
        sample.drawn += 1
        sample.tokens += (drawn.token,)
        if sample.drawn == 1:
            sample.choice_logprobs = drawn.choices
        if self.model.ends(drawn.token):
            sample.finish = "end"
            return
        sample.logprobs.append(drawn.logprob)
        if drawn.signals:
            sample.signals.append(drawn.signals)
        sample.text.push(drawn.token, self.model.piece(drawn.token))
        if sample.text.stopped:
            sample.finish = "stop"
        elif (
            sample.drawn == sample.sampling.max_tokens or len(sample.tokens) == self.context_length
        ):
            sample.finish = "length"
        elif sample.ticket.wants_text and (new := sample.text.fresh(final=False)):
            self._deliver(sample, new)

    def _finish(self, sample: Sample) -> None:
        """Deliver a sample that has come to its end and free its place."""
        self._leave(sample)
        if sample.ticket.wants_text and (new := sample.text.fresh(final=True)):
            self._deliver(sample, new)
        self._deliver(sample, sample.completion(self.model.shape))

    def _give_up(self, sample: Sample, error: Exception) -> None:
        self._leave(sample)
        self._deliver(sample, error)

    def _leave(self, sample: Sample) -> None:
        if sample.stream:
            self._cache.release(sample.stream)
            self._live.remove(sample)
        else:
            self._waiting.remove(sample)

    def _deliver(self, sample: Sample, item: str | Completion | Exception) -> None:
        if not isinstance(item, str):
            sample.sampler.close()
        sample.ticket.items.put((sample.request, sample.position, item))

    def _recover(self, error: Exception) -> None:
        """After a failed step nothing in the context can be trusted: evaluate everything again.

        A sample that was there when it failed twice is given up.
        """
        self._cache.clear()
        if not self._live and self._waiting:  # it failed at the first of the queue
            self._give_up(self._waiting[0], error)
        for sample in reversed(self._live):
            sample.stream = None
            sample.failures += 1
            if sample.failures > 1:
                self._deliver(sample, error)
            else:
                self._waiting.appendleft(sample)
        self._live = []
