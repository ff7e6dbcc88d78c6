"""Who may start, who waits, and who is refused or served more cheaply. Nothing is run here.

Requests arrive, wait and start, as ``Scheduler`` lets sequences join a batch, one storey above it:
it is told the time and has no clock, so that an endpoint and a simulation of one ask the same
object. Who starts next is decided by, in this order,

1. the highest priority, if the order is by tier;
2. the user with the least compute for its weight, counting what its requests under way are thought
   to take (cf. the virtual token counter, Sheng et al. 2024, OSDI, arXiv:2401.00588); idle time
   gives no claim. So a user with a thousand requests keeps nobody waiting for longer than those
   under way;
3. the order, among the requests of one user.
"""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from itslab.options import Count, Options, Positive, Whole, require
from itslab.serving.limits import Amounts, Limits, Unit

PAUSE = 1.0
"""Seconds after which to come back, as long as no request has shown how long one takes."""
NEWEST = 0.1
"""The weight of the newest request in the mean time that one takes."""


@dataclass(frozen=True)
class Admission(Options):
    """How many are served at once, who is next, and what befalls the others.

    Args:
        at_once: requests under way at a time.
        queue: that may wait besides.
        per_user: that may wait of one user; None is all of them.
        order: of the requests of one user that wait: ``arrival``; ``shortest``, by predicted cost;
            ``tier``, by priority, before all fairness, then by deadline, then by arrival.
        full: what befalls a request for which there is no room, in the queue or in its user's
            limits. ``shed`` refuses it. ``degrade`` serves it in the next cheaper tier for which
            there is room: the cheapest may fill the whole queue, the next half of it, the one
            above a third and so on, so that the fuller it is, the cheaper is what one gets.
        patience: seconds after which one that waits is refused; None is never.
        unit: in which shares of users, and the shortest request, are counted.
    """

    at_once: Count = 16
    queue: Whole = 64
    per_user: Count | None = None
    order: Literal["arrival", "shortest", "tier"] = "tier"
    full: Literal["shed", "degrade"] = "shed"
    patience: Positive | None = None
    unit: Unit = "tokens"


Kind = Literal["full", "user", "limit", "deadline", "patience"]
"""What a request is refused for: the queue or its user's part of it is full, a limit of its user is
reached, its deadline has passed, or it waited for longer than anyone may."""


@dataclass(frozen=True)
class Refusal:
    """Why a request is not served.

    Args:
        reason: in words, for its user.
        retry_after: seconds after which it may be asked again.
        kind: the reason, for programs.
    """

    reason: str
    retry_after: float
    kind: Kind


@dataclass(eq=False)
class Visit:
    """A request as the lobby sees it.

    Args:
        user: its name; users share the machine in proportion to their weights.
        tier: its name. The lobby may change it to a cheaper one.
        predicted: tokens that it is thought to decode.
        arrival: when it came, seconds of the caller's clock.
        priority: a higher one starts first; it stays if the tier is changed.
        weight: of its user.
        deadline: when it is to be over, by the same clock.
        flops: that it is thought to take.

    Attributes:
        degraded_from: the tier that was asked for, if it was changed.
        started: when it was let in; nan while it waits.
        reserved: what was taken from its user's buckets, to be settled at its end.
    """

    user: str
    tier: str
    predicted: float
    arrival: float
    priority: int = 0
    weight: float = 1.0
    deadline: float = math.inf
    flops: float = 0.0
    degraded_from: str | None = field(default=None, init=False)
    started: float = field(default=math.nan, init=False)
    reserved: Amounts = field(default_factory=dict, init=False)

    @property
    def amounts(self) -> Amounts:
        """What it is thought to cost."""
        return {"tokens": self.predicted, "flops": self.flops}


class Lobby:
    """Those who wait and those who are served.

    Args:
        admission: how many are served, and who is next. It may be replaced at any time by one of
            the same order.
        limits: of the users; None is no limit.
        cheaper: tier -> the next cheaper one, if there is one.
        predict: the tokens and FLOPs that a visit is thought to cost in the tier that it was just
            changed to; None leaves them as they were.

    Attributes:
        admission: as given.
        running: the visits that are under way, the oldest first.
    """

    def __init__(
        self,
        admission: Admission = Admission(),
        limits: Limits | None = None,
        cheaper: Mapping[str, str] = {},
        predict: Callable[[Visit], tuple[float, float]] | None = None,
    ) -> None:
        self.admission = admission
        self.running: list[Visit] = []
        self._limits = limits or Limits()
        self._cheaper, self._predict = dict(cheaper), predict
        for tier in cheaper:
            self._below(tier)
        self._queues: dict[str, list[Visit]] = {}  # by user, in order; none of them is empty
        self._leaving: list[tuple[float, int, Visit]] = []  # a heap, also of some that have gone
        self._numbers = itertools.count()
        self._had: defaultdict[str, float] = defaultdict(float)  # of a user, ÷ its weight
        self._seconds = math.nan  # that a visit takes, in the mean

    @property
    def waiting(self) -> list[Visit]:
        """The visits that have not started, by user."""
        return [*itertools.chain.from_iterable(self._queues.values())]

    def _below(self, tier: str) -> list[str]:
        """The cheaper tiers, the dearest first."""
        below: list[str] = []
        while (tier := self._cheaper.get(tier, "")) and tier not in below:
            below.append(tier)
        require(not tier, "cheaper", self._cheaper, "an order of tiers that comes to an end")
        return below

    # -- arrival -----------------------------------------------------------------------------------

    def arrive(self, visit: Visit, now: float) -> Refusal | None:
        """Let a visit wait, perhaps in a cheaper tier; ask ``ready`` whether it starts at once.

        Returns:
            None if it waits; else why it does not, and the visit is as it was.

        Raises:
            OptionError: it was here before, or its weight or what it is thought to cost is no
                finite number.
        """
        self._check(visit)
        if visit.deadline <= now:
            late = f"its deadline passed {now - visit.deadline:.1f} s ago: ask with a later one"
            return Refusal(late, 0.0, "deadline")
        asked = visit.tier, visit.predicted, visit.flops
        degrade = self.admission.full == "degrade"
        refusal = self._enter(visit, now)
        for tier in self._below(visit.tier) if degrade else ():
            if refusal is None or refusal.kind not in ("full", "limit"):
                break
            visit.tier, visit.degraded_from = tier, asked[0]
            if self._predict:
                visit.predicted, visit.flops = self._predict(visit)
            refusal = self._enter(visit, now)
        if refusal:
            visit.tier, visit.predicted, visit.flops = asked
            visit.degraded_from = None
        return refusal

    def _check(self, visit: Visit) -> None:
        here = visit in self.running or visit in self._queues.get(visit.user, ())
        require(not here and math.isnan(visit.started), "visit", visit, "one that was never here")
        least = math.ulp(0)
        for name, value, low in (
            ("predicted", visit.predicted, 0),
            ("flops", visit.flops, 0),
            ("weight", visit.weight, least),
        ):
            more = "above 0" if low else "≥ 0"
            require(low <= value < math.inf, name, value, f"a finite number {more}")
        require(not math.isnan(visit.deadline), "deadline", visit.deadline, "a time, or infinity")

    def _enter(self, visit: Visit, now: float) -> Refusal | None:
        """Queue a visit, unless there is no room for it in its tier."""
        a = self.admission
        free = max(a.at_once - len(self.running), 0)
        waiting = sum(map(len, self._queues.values()))
        tiers = 1 + len(self._below(visit.tier)) if a.full == "degrade" else 1
        if waiting >= free + a.queue // tiers:
            return self._later(f"{_requests(waiting)} wait already", "full")
        own = len(self._queues.get(visit.user, ()))
        if a.per_user is not None and own >= free + a.per_user:
            return self._later(f"{_requests(own)} of {visit.user or 'this user'} wait", "user")
        if short := self._limits.reserve(visit.user, visit.amounts, now):
            asked = f"{visit.amounts[short.limit.unit]:,.4g}"
            reason = f"{short}, and this request may take {asked}"
            return Refusal(f"{reason}: {_again(short.seconds)}", short.seconds, "limit")
        visit.reserved = visit.amounts
        self._level(visit.user)
        insort(self._queues.setdefault(visit.user, []), visit, key=self._place)
        patience = math.inf if a.patience is None else a.patience
        until = min(visit.deadline, visit.arrival + patience)
        if until < math.inf:
            heapq.heappush(self._leaving, (until, next(self._numbers), visit))
        return None

    def _later(self, reason: str, kind: Kind) -> Refusal:
        seconds = self.wait()
        return Refusal(f"{reason}: {_again(seconds)}", seconds, kind)

    def wait(self) -> float:
        """Seconds until all who wait now have started, as fast as visits ended lately."""
        if math.isnan(self._seconds):
            return PAUSE
        turns = (1 + sum(map(len, self._queues.values()))) / self.admission.at_once
        return turns * self._seconds

    def _level(self, user: str) -> None:
        """Let a newcomer begin at the least that one of those present had."""
        active = self._queues.keys() | {visit.user for visit in self.running}
        if user in active:
            return
        least = min((self._had[other] for other in active), default=math.inf)
        for other in [*self._had]:  # who had less would begin there as well: it may be forgotten
            if other not in active and self._had[other] <= least:
                del self._had[other]
        if active:
            self._had[user] = max(self._had[user], least)

    def _place(self, visit: Visit) -> tuple[float, ...]:
        """Where a visit stands among those of its user; the smaller goes first."""
        if self.admission.order == "tier":
            return -visit.priority, visit.deadline, visit.arrival
        if self.admission.order == "shortest":
            return visit.amounts[self.admission.unit], visit.arrival
        return (visit.arrival,)

    # -- start and end -----------------------------------------------------------------------------

    def ready(self, now: float) -> list[Visit]:
        """Return the visits that start now, in order. Those whose time is up do not."""
        started: list[Visit] = []
        if len(self.running) >= self.admission.at_once or not self._queues:
            return started
        had, under_way = self._charged(), Counter(visit.user for visit in self.running)
        late = bool(self._leaving) and self._leaving[0][0] <= now
        over = {id(visit) for until, _, visit in self._leaving if until <= now} if late else set()

        def turn(visit: Visit) -> tuple[float, ...]:
            before = -visit.priority if self.admission.order == "tier" else 0
            return before, had[visit.user], under_way[visit.user], *self._place(visit)

        while len(self.running) < self.admission.at_once:
            queues = self._queues.values()
            heads = [next((v for v in queue if id(v) not in over), None) for queue in queues]
            visit = min((head for head in heads if head), key=turn, default=None)
            if visit is None:
                break
            self._remove(visit)
            visit.started = now
            self.running.append(visit)
            started.append(visit)
            had[visit.user] += self._share(visit, visit.amounts)
            under_way[visit.user] += 1
        return started

    def _charged(self) -> defaultdict[str, float]:
        """What users had and what those under way are thought to take, ÷ their weights."""
        had = defaultdict(float, self._had)
        for visit in self.running:
            had[visit.user] += self._share(visit, visit.amounts)
        return had

    def _share(self, visit: Visit, amounts: Amounts) -> float:
        return amounts[self.admission.unit] / visit.weight

    def refused(self, now: float) -> list[tuple[Visit, Refusal]]:
        """Take those from the queue who waited for too long, and return them with the reason.

        What was reserved for them is given back; ``end`` is not to be called for them.
        """
        gone = []
        while self._leaving and self._leaving[0][0] <= now:
            _, _, visit = heapq.heappop(self._leaving)
            if visit in self._queues.get(visit.user, ()):
                self.end(visit, 0, now)
                if visit.deadline <= now:
                    why = Refusal("its deadline passed while it waited", self.wait(), "deadline")
                else:
                    waited = f"it waited {now - visit.arrival:.1f} s for its turn"
                    why = self._later(waited, "patience")
                gone.append((visit, why))
        return gone

    def next_refusal(self) -> float:
        """When ``refused`` has to be asked again, by the caller's clock; infinity if not at all."""
        while self._leaving:
            until, _, visit = self._leaving[0]
            if visit in self._queues.get(visit.user, ()):
                return until
            heapq.heappop(self._leaving)
        return math.inf

    def end(self, visit: Visit, spent: float, now: float, flops: float = 0.0) -> None:
        """Settle a visit that is over, or gave up, waiting or under way.

        Args:
            visit: that is here.
            spent: tokens that it decoded.
            now: seconds.
            flops: that it took.

        Raises:
            OptionError: it is not here.
        """
        amounts: Amounts = {"tokens": spent, "flops": flops}
        if visit in self.running:
            self.running.remove(visit)
            self._had[visit.user] += self._share(visit, amounts)
            took = max(now - visit.started, 0.0)
            first = math.isnan(self._seconds)
            self._seconds = took if first else self._seconds + NEWEST * (took - self._seconds)
        else:
            self._remove(visit)
        self._limits.settle(visit.user, visit.reserved, amounts, now)

    def _remove(self, visit: Visit) -> None:
        """Take a visit from its queue."""
        queue = self._queues.get(visit.user, [])
        require(visit in queue, "visit", visit, "one that waits or is under way")
        queue.remove(visit)
        if not queue:
            del self._queues[visit.user]


def _requests(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}"


def _again(seconds: float) -> str:
    return f"come back in {math.ceil(seconds):,} s"
