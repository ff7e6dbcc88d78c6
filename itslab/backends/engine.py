"""One thread, one context: sequences become rows of ``llama_decode``, and tokens are drawn.

The scheduler says who joins the batch, and how many tokens of each sequence a step evaluates. Every
running sequence has some: a fresh prompt many, one that draws exactly one. Whoever has none left
after a step draws its next token; prefill and decoding need no distinction.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from itslab.backends.kv import Cache, Reuse, Tokens
from itslab.backends.library import Cores
from itslab.backends.native import Model, Unshared
from itslab.backends.scheduler import PREFILL_ROWS, Scheduler
from itslab.backends.sequence import ActiveSequence, Distribution, Drawn
from itslab.core import BackendError, Completion

ROWS_A_THREAD = 4  # from which two threads read them faster than one


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


class Rows(NamedTuple):
    """A sequence's rows of a step: some tokens from position ``start`` on, in a stream."""

    stream: int
    start: int
    tokens: Tokens
    output: bool  # whether logits are wanted after the last of them
    sequence: ActiveSequence | None  # None pads the batch

    @classmethod
    def of(cls, sequence: ActiveSequence, n: int) -> Rows:
        """The next ``n`` tokens of a sequence."""
        assert sequence.stream is not None  # it is running
        start = sequence.evaluated
        tokens = sequence.tokens[start : start + n]
        return cls(sequence.stream.index, start, tokens, n == sequence.pending, sequence)


class Engine(Unshared):
    """Draws samples for any number of threads.

    Args:
        model: the weights and the vocabulary.
        batch_size: how many sequences the batch holds.
        context: how many tokens a sequence may have.
        threads: how many threads llama.cpp uses; fewer while other programs need the cores, see
            ``Cores``.
        prefix_cache: bytes of host memory for evaluated tokens that no stream has room for.
        deterministic: the same request gives the same samples whatever else is running. Steps are
            padded to ``batch_size`` rows, prompts are evaluated alone in fixed chunks, and only
            whole prompts are reused. ``batch_size`` must then be a multiple of 4, at least 8, and
            all threads are always used.
        ignore_eos: let samples go on after the token that ends the model's turn.
    """

    def __init__(
        self,
        model: Model,
        *,
        batch_size: int,
        context: int,
        threads: int,
        prefix_cache: int,
        deterministic: bool = False,
        ignore_eos: bool = False,
    ) -> None:
        self.model, self.batch_size = model, batch_size
        self.deterministic, self._ignore_eos = deterministic, ignore_eos
        self.stats = Stats()
        self._context = model.context(batch_size, context, batch_size + PREFILL_ROWS, threads)
        reuse: Reuse = "exact" if deterministic else "whole" if model.recurrent else "prefix"
        self._cache = Cache(self._context, reuse, prefix_cache)
        self._scheduler: Scheduler[ActiveSequence] = Scheduler(
            batch_size,
            prefill_rows=PREFILL_ROWS,
            deterministic=deterministic,
            cached=lambda sequence: self._cache.reach(sequence.tokens),
            shared=lambda sequence, other: self._cache.shareable(other.prompt, sequence.tokens),
        )
        self._arrivals: list[ActiveSequence] = []
        self._wake = threading.Condition()
        self._closed = False
        self._process = os.getpid()
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

    def submit(self, sequences: list[ActiveSequence]) -> None:
        """Queue sequences; they are delivered through their tickets."""
        self.model.check()
        with self._wake:
            if self._closed:
                raise BackendError("this model is closed: load it again")
            self._arrivals += sequences
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
        """Refuse further sequences, fail the unfinished ones, free the memory."""
        with self._wake:
            self._closed = True
            left = [*self._scheduler.running, *self._scheduler.waiting, *self._arrivals]
        for sequence in left:
            self._deliver(sequence, BackendError("this model was closed while it was drawing"))
        self._pool.shutdown(wait=False)
        self._context.close()
        self.model.close()

    def _intake(self) -> bool:
        """Sleep until there is work; return False when there will be none."""
        with self._wake:
            while not (self._closed or self._arrivals or self._everyone()):
                self._wake.wait()
            if self._closed:
                return False
            arrivals, self._arrivals = self._arrivals, []
        if arrivals:
            self._scheduler.submit(arrivals)
        return True

    def _everyone(self) -> list[ActiveSequence]:
        return [*self._scheduler.running, *self._scheduler.waiting]

    def _step(self) -> None:
        began = time.perf_counter()
        self._share_cores()
        self._drop_cancelled()
        now = time.monotonic()
        for sequence in self._scheduler.admit(now):
            self._begin(sequence)
        if not self._scheduler.waiting:
            self._close_gaps()
        step = self._laid_out(self._scheduler.plan(now))
        if not step:
            return
        self._evaluate(step)
        self._draw(step)
        seconds = time.perf_counter() - began
        total = sum(len(rows.tokens) for rows in step if rows.sequence)
        for rows in step:
            if rows.sequence:
                rows.sequence.seconds += seconds * len(rows.tokens) / total
                if rows.sequence.finish:
                    self._finish(rows.sequence)

    def _share_cores(self) -> None:
        """Give up threads whose cores other programs need."""
        if not self.deterministic and (threads := self._cores.look()) != self._threads:
            self._threads = threads
            self._context.use_threads(threads)

    def _drop_cancelled(self) -> None:
        for sequence in self._everyone():
            if sequence.ticket.cancelled:
                sequence.finish = "cancelled"
                self._finish(sequence)

    def _begin(self, sequence: ActiveSequence) -> None:
        """Give a sequence that joins the batch a stream, and its first token if all is known."""
        sequence.begin(self._cache.acquire(sequence.tokens))
        if sequence.pending:
            return
        logits = self._cache.prompt_logits.get(sequence.tokens)
        assert logits is not None  # acquire leaves a token to evaluate otherwise
        distribution = self._distributions[0]
        distribution.read(logits)
        self._take(sequence, sequence.drawn_from(distribution, sequence.sampler.draw(logits)))
        if sequence.finish:
            self._finish(sequence)

    def _close_gaps(self) -> None:
        """Move sequences so that their streams are neighbours; llama.cpp splits a batch at gaps."""
        if self.deterministic:
            return  # padding fills the gaps
        while running := self._scheduler.running:
            by_index = {s.stream.index: s for s in running if s.stream}
            holes = set(range(min(by_index), max(by_index))) - set(by_index)
            if not holes:
                return
            last = by_index[max(by_index)]
            assert last.stream is not None
            last.stream = self._cache.move(last.stream, min(holes))

    def _laid_out(self, plan: list[tuple[ActiveSequence, int]]) -> list[Rows]:
        """The rows of a step, streams ascending; those that draw are padded if deterministic."""
        step = [Rows.of(sequence, n) for sequence, n in plan]
        if self.deterministic and step and all(sequence.drawn for sequence, _ in plan):
            idle = set(range(self.batch_size)) - {rows.stream for rows in step}
            step += [Rows(stream, 0, (0,), True, None) for stream in idle]
        return sorted(step)

    def _evaluate(self, step: list[Rows]) -> None:
        tokens: list[int] = []
        positions: list[int] = []
        streams: list[int] = []
        outputs: list[bool] = []
        for rows in step:
            n = len(rows.tokens)
            tokens += rows.tokens
            positions += range(rows.start, rows.start + n)
            streams += [rows.stream] * n
            outputs += [False] * (n - 1) + [rows.output]
        began = time.perf_counter()
        states = any(r.sequence and r.sequence.signals for r in step if len(r.tokens) == 1)
        self._context.decode(tokens, positions, streams, outputs, states)
        self.stats.native += time.perf_counter() - began
        self.stats.steps += 1
        self.stats.live += len(self._scheduler.running)
        self.stats.evaluated += len(tokens)
        for rows in step:
            if rows.sequence:
                rows.sequence.note_evaluated(rows.tokens)
            else:
                self._context.cut(rows.stream, 0)

    def _draw(self, step: list[Rows]) -> None:
        """Draw a token for each sequence that has logits, several rows at a time."""
        ends = accumulate(len(rows.tokens) for rows in step)
        ready = [
            (rows.sequence, end - 1, len(rows.tokens) == 1)
            for rows, end in zip(step, ends, strict=True)
            if rows.sequence and rows.output
        ]
        drawn_of_all = self._drawn([(sequence, row) for sequence, row, _ in ready])
        for (sequence, row, single), drawn in zip(ready, drawn_of_all, strict=True):
            assert sequence.stream is not None  # it is running
            if isinstance(drawn, BackendError):  # of this row: the others' are good
                self._give_up(sequence, drawn)
                continue
            if not sequence.drawn:
                self._cache.remember(sequence.stream, self._context.logits(row))
            self._take(sequence, drawn)
            if sequence.finish and sequence.signals and single:
                sequence.state = self._context.state(row)

    def _drawn(self, rows: list[tuple[ActiveSequence, int]]) -> list[Drawn | BackendError]:
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
        self, distribution: Distribution, rows: list[tuple[ActiveSequence, int]]
    ) -> tuple[list[Drawn | BackendError], float]:
        """Draw from some rows, one after the other; also return the seconds inside llama.cpp."""
        drawn: list[Drawn | BackendError] = []
        native = 0.0
        for sequence, row in rows:
            try:
                distribution.read(self._context.logits(row))  # before anybody draws from nan
                began = time.perf_counter()
                token = self._context.sample(sequence.sampler, row)
                native += time.perf_counter() - began
                drawn.append(sequence.drawn_from(distribution, token))
            except BackendError as error:
                drawn.append(error)
        return drawn, native

    def _take(self, sequence: ActiveSequence, drawn: Drawn) -> None:
        """Add a drawn token to a sequence, and settle whether it ends there."""
        self.stats.drawn += 1
        sequence.drawn += 1
        sequence.tokens += (drawn.token,)
        if sequence.drawn == 1:
            sequence.choice_logprobs = drawn.choices
        if self.model.ends(drawn.token) and not self._ignore_eos:
            sequence.finish = "end"
            return
        sequence.logprobs.append(drawn.logprob)
        if drawn.signals:
            sequence.token_signals.append(drawn.signals)
        sequence.text.push(drawn.token, self.model.piece(drawn.token))
        if sequence.text.stopped:
            sequence.finish = "stop"
        elif sequence.drawn == sequence.most:
            sequence.finish = "length"
        elif sequence.unsure:
            sequence.finish = "cut"
        elif sequence.ticket.wants_text and (new := sequence.text.fresh(final=False)):
            self._deliver(sequence, new)

    def _finish(self, sequence: ActiveSequence) -> None:
        """Deliver a sample that has come to its end and free its place."""
        self._leave(sequence)
        if sequence.ticket.wants_text and (new := sequence.text.fresh(final=True)):
            self._deliver(sequence, new)
        self._deliver(sequence, sequence.completion(self.model.shape))

    def _give_up(self, sequence: ActiveSequence, error: Exception) -> None:
        self._leave(sequence)
        self._deliver(sequence, error)

    def _leave(self, sequence: ActiveSequence) -> None:
        if sequence.stream:
            self._cache.release(sequence.stream)
        self._scheduler.remove(sequence)

    def _deliver(self, sequence: ActiveSequence, item: str | Completion | Exception) -> None:
        if not isinstance(item, str):
            sequence.sampler.close()
        sequence.ticket.items.put((*sequence.place, item))

    def _recover(self, error: Exception) -> None:
        """After a failed step nothing in the context can be trusted: evaluate everything again.

        A sequence that was there when it failed twice is given up.
        """
        self._cache.clear()
        running, waiting = [*self._scheduler.running], self._scheduler.waiting
        if not running and waiting:  # it failed at the first of the queue
            self._give_up(waiting[0], error)
        for sequence in running:
            sequence.lose()
            sequence.failures += 1
            if sequence.failures > 1:
                self._give_up(sequence, error)
        self._scheduler.restart()
