"""Who runs next, and on how many rows of a step. Nothing is evaluated or drawn here.

Batching is continuous (Yu et al. 2022, Orca, OSDI, §3): before every step sequences that wait may
join the batch (``admit``), then each one in it gets rows of the step (``plan``). Who joins next is
decided by, in this order,

1. the highest priority;
2. the earliest deadline that has not passed (Liu and Layland 1973, JACM 20(1), §7);
3. the caller with the fewest rows for its weight, counting those that its running sequences may
   still take (cf. the virtual token counter, Sheng et al. 2024, OSDI, arXiv:2401.00588);
4. whether it continues text that is cached (cf. cache-aware scheduling, Zheng et al. 2023, SGLang,
   arXiv:2312.07104, §3), then who came first.

A sequence keeps its place until it ends. Lengths and times are plain numbers, and time is passed
in, so that a simulation of serving can ask what the engine asks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar

from itslab.options import Limit, Options, Positive

PREFILL_ROWS = 128  # prompt tokens a step: as fast as any larger chunk, and short enough to cancel


PATIENCE = 64
"""Continuations of cached text that may go before a new prompt of the same service."""


@dataclass(frozen=True)
class Service(Options):
    """The service that a caller asks for.

    Args:
        caller: its name; callers share the batch in proportion to their weights.
        weight: of the caller.
        priority: sequences of a higher priority join first.
        deadline: when the samples should be complete, in seconds of ``time.monotonic``. A deadline
            that has passed counts no more.
    """

    caller: str = ""
    weight: Positive = 1.0
    priority: int = 0
    deadline: Limit = math.inf

    def urgency(self, now: float) -> tuple[int, float]:
        """What comes before fairness; the smaller goes first."""
        return -self.priority, self.deadline if self.deadline > now else math.inf


DEFAULT = Service()
_CURRENT = ContextVar("service", default=DEFAULT)


@contextmanager
def serving(service: Service) -> Iterator[None]:
    """Let all that this thread asks of any local model be of a service, as long as the block lasts:
    so the models of stages, judges and routes are asked as the run's own is.
    """
    before = _CURRENT.set(service)
    try:
        yield
    finally:
        _CURRENT.reset(before)


def current() -> Service:
    """Return the service that this thread asks for."""
    return _CURRENT.get()


@dataclass(eq=False)
class Entry:
    """A sequence as the scheduler sees it.

    Args:
        prompt_length: tokens of its prompt.
        most: tokens that it may draw.
        cached: leading tokens of the prompt that need not be evaluated.
        arrival: when it was submitted, seconds.
        service: what its caller asked for.
        signals: whether hidden states of its tokens are wanted.

    Attributes:
        evaluated: tokens of it that the model's memory holds.
        drawn: tokens drawn so far.
        ahead: whether it went to the front, since most of it is cached.
    """

    prompt_length: int
    most: int
    cached: int = 0
    arrival: float = 0.0
    service: Service = DEFAULT
    signals: bool = False
    evaluated: int = field(default=0, init=False)
    drawn: int = field(default=0, init=False)
    ahead: bool = field(default=False, init=False)

    @property
    def length(self) -> int:
        """Tokens of the prompt and of what was drawn."""
        return self.prompt_length + self.drawn

    @property
    def pending(self) -> int:
        """Tokens to evaluate before the next one can be drawn."""
        return self.length - self.evaluated


E = TypeVar("E", bound=Entry)


def _cached(entry: Entry) -> int:
    return entry.cached


def _nothing_shared(entry: Entry, other: Entry) -> int:
    return 0


class Scheduler(Generic[E]):
    """The queue and the batch.

    Args:
        batch_size: most sequences in the batch. It may be changed between two steps.
        prefill_rows: most rows of prompts in a step.
        deterministic: evaluate prompts alone, and otherwise one token of every sequence, so that a
            step does not depend on what else is running.
        cached: how many leading tokens of a sequence need not be evaluated, as of now.
        shared: how many leading tokens of a sequence the prompt of another one could serve, once it
            is evaluated.

    Attributes:
        running: the sequences in the batch, the oldest first.
    """

    def __init__(
        self,
        batch_size: int,
        *,
        prefill_rows: int = PREFILL_ROWS,
        deterministic: bool = False,
        cached: Callable[[E], int] = _cached,
        shared: Callable[[E, E], int] = _nothing_shared,
    ) -> None:
        self.batch_size, self.prefill_rows, self.deterministic = (
            batch_size,
            prefill_rows,
            deterministic,
        )
        self.running: list[E] = []
        self._cached, self._shared = cached, shared
        self._queues: dict[Service, deque[E]] = {}  # none of them is empty
        self._overtaken: Counter[Service] = Counter()  # how often, since a new prompt was admitted
        self._rows: defaultdict[str, float] = defaultdict(float)  # had by a caller, ÷ its weight
        self._prompts_next = False

    @property
    def waiting(self) -> list[E]:
        """The sequences that are not in the batch."""
        return [*chain.from_iterable(self._queues.values())]

    def submit(self, entries: Iterable[E]) -> None:
        """Queue sequences; those that continue cached text go to the front.

        So that new prompts have their turn as well, only so many in a row (``PATIENCE``) go before
        those of the same service that wait.
        """
        entries = list(entries)
        self._level({entry.service.caller for entry in entries})
        for entry in entries:
            entry.ahead = 2 * self._cached(entry) > entry.length and self._may_overtake(entry)
        for entry in entries:
            if not entry.ahead:
                self._queue(entry).append(entry)
        for entry in reversed(entries):
            if entry.ahead:
                self._queue(entry).appendleft(entry)

    def _may_overtake(self, entry: E) -> bool:
        queue = self._queues.get(entry.service)
        if queue and not queue[-1].ahead:
            self._overtaken[entry.service] += 1
        return self._overtaken[entry.service] <= PATIENCE

    def _level(self, callers: set[str]) -> None:
        """Let newcomers begin at the least rows of those present: idle time gives no claim."""
        active = {service.caller for service in self._queues}
        active |= {entry.service.caller for entry in self.running}
        if not active:
            self._rows.clear()
        least = min((self._rows[caller] for caller in active), default=0.0)
        for caller in callers - active:
            self._rows[caller] = max(self._rows[caller], least)

    def admit(self, now: float) -> Iterator[E]:
        """Yield the sequences that join the batch, each to be started before the next is asked for.

        A sequence whose prompt another one is just evaluating waits for it, so that a prompt is
        evaluated once however many want it; its place stays reserved meanwhile.
        """
        places = self.batch_size - len(self.running)
        had = self._charged() if places > 0 and self._queues else {}
        reserved = dict.fromkeys(self._queues, 0)
        for _ in range(places):
            heads = {
                service: queue[reserved[service]]
                for service, queue in self._queues.items()
                if reserved[service] < len(queue)
            }
            if not heads:
                return
            service = min(heads, key=lambda s: (s.urgency(now), had[s.caller], heads[s].arrival))
            entry = heads[service]
            cached = self._cached(entry)
            evaluating = [other for other in self.running if not other.drawn]
            coming = max((self._shared(entry, other) for other in evaluating), default=0)
            had[service.caller] += _most_rows(entry, max(cached, coming)) / service.weight
            if coming > cached:
                reserved[service] += 1
                continue
            self._remove_waiting(entry)
            self.running.append(entry)
            yield entry

    def _charged(self) -> dict[str, float]:
        """Rows ÷ weight, by caller: those had, and those that its running sequences may take."""
        had = defaultdict(float, self._rows)
        for entry in self.running:
            rows = _most_rows(entry, entry.evaluated)
            had[entry.service.caller] += rows / entry.service.weight
        return had

    def plan(self, now: float) -> list[tuple[E, int]]:
        """Return the next step: the sequences that take part, and the rows of each."""
        rows = self._one_kind(now) if self.deterministic else self._both_kinds(now)
        self.repeat(rows, 1)
        return rows

    def repeat(self, rows: list[tuple[E, int]], times: int) -> None:
        """Count a planned step so many times more: steps in a row that are alike take one plan."""
        for entry, n in rows:
            self._rows[entry.service.caller] += times * n / entry.service.weight

    def _both_kinds(self, now: float) -> list[tuple[E, int]]:
        """One row for each sequence that draws, and a chunk of prompts."""
        singles = [(entry, 1) for entry in self.running if entry.pending == 1]
        prompts, left = [], self.prefill_rows
        for entry in self._by_urgency([e for e in self.running if e.pending > 1], now):
            n = min(entry.pending, left)
            left -= n
            if n:
                prompts.append((entry, n))
        if not any(entry.signals for entry in self.running):
            return singles + prompts
        # llama.cpp computes logits for every row of a step that gives hidden states, which would
        # make prompts twice as dear: so they and single tokens take turns.
        self._prompts_next = not self._prompts_next
        return (prompts or singles) if self._prompts_next else (singles or prompts)

    def _one_kind(self, now: float) -> list[tuple[E, int]]:
        """A chunk of one prompt, or one token of everyone."""
        prompts = self._by_urgency([entry for entry in self.running if not entry.drawn], now)
        if prompts:
            return [(prompts[0], min(prompts[0].pending, self.prefill_rows))]
        return [(entry, 1) for entry in self.running]

    def _by_urgency(self, entries: list[E], now: float) -> list[E]:
        return sorted(entries, key=lambda entry: entry.service.urgency(now))

    def remove(self, entry: E) -> None:
        """Forget a sequence that has come to its end, in the batch or waiting."""
        if entry in self.running:
            self.running.remove(entry)
        else:
            self._remove_waiting(entry)

    def restart(self) -> None:
        """Put the whole batch back to the heads of its queues, as after a failed step."""
        for entry in reversed(self.running):
            self._queue(entry).appendleft(entry)
        self.running = []

    def _queue(self, entry: E) -> deque[E]:
        return self._queues.setdefault(entry.service, deque())

    def _remove_waiting(self, entry: E) -> None:
        queue = self._queues[entry.service]
        queue.remove(entry)
        if not entry.ahead:
            del self._overtaken[entry.service]
        if not queue:
            del self._queues[entry.service]


def _most_rows(entry: Entry, held: int) -> int:
    """Rows that a sequence may still take of which so many tokens are held."""
    return entry.length - held + entry.most - entry.drawn
