"""How many machines a service needs: its requests, its lobby and its engines in simulated time.

A discrete-event simulation (SimPy) of what ``itslab serve`` does. Requests are recorded runs, and
arrive as ``traffic`` says; the endpoint's own ``Lobby`` lets them in; each goes to one machine, of
which the engine's own ``Scheduler`` plans every step, and a measured curve says how long it takes.
Steps that are alike are taken at once, until a sequence ends or another request comes.

With a batch of c places, steps whose time does not depend on their rows, and requests of one
sequence, a machine is a queue M/G/c: the tests hold it against Erlang's and Pollaczek and
Khinchine's formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np

from itslab.backends.scheduler import Service
from itslab.core import ItslabError, require
from itslab.options import Bounds, Count, NotNegative, Options, Positive, Whole, checked
from itslab.serving.limits import Limit, Limits
from itslab.serving.lobby import Admission, Lobby, Refusal, Visit
from itslab.serving.machine import Curve, Machine, Wave, saturated
from itslab.serving.mix import Ask, Mix
from itslab.serving.summary import Simulation
from itslab.serving.traces import Trace
from itslab.serving.traffic import Arrival, Arrivals, Users

MOST = 200_000
"""Requests of one replication, after which nobody comes any more."""
MOST_OVERLOADED = 5_000
"""The same where more work is offered than can be done: they tell it all."""
MOST_STEPS = 3_000_000
"""Steps of one replication that are planned one by one."""
Machines = Annotated[int, Bounds(1, 1000)]
Replications = Annotated[int, Bounds(1, 1000)]
Span = Annotated[float, Bounds(0, 1e9, open="low")]
"""Seconds that are simulated."""
DRAIN = 1.0
"""Requests under way at the end of the arrivals have as long again, times this, to end."""


@dataclass(frozen=True)
class Terms(Options):
    """What a tier promises.

    Args:
        priority: requests of a higher one go first, in the lobby and in the engine.
        deadline: seconds after its arrival at which a request ends with what it has; None is never.
    """

    priority: int = 0
    deadline: Positive | None = None


_NOTHING = Terms()


@dataclass(frozen=True)
class Fleet(Options):
    """The machines, and the rules by which they are shared.

    Args:
        curve: seconds of a machine's step by its rows.
        machines: how many.
        batch_size: sequences in the batch of each.
        admission: who may start; ``at_once`` is for each machine, so that more serve more.
        terms: of the tiers; those not named promise nothing.
        weights: of users, in lobby and engine; 1 where nothing is said.
        limits: of every user.
        choose: the machine that a request goes to: ``work``, the one with the fewest rows to do,
            which only a simulation knows; ``requests``, the one with the fewest requests, as
            balancers do; ``turn``, one after the other.
        predict: what the lobby takes a request's tokens for: ``exact``, what it will draw; the mean
            of its ``tier``; or that of its tier and ``difficulty``.
    """

    curve: Curve
    machines: Machines = 1
    batch_size: Count = 16
    admission: Admission = field(default_factory=Admission)
    terms: Mapping[str, Terms] = field(default_factory=dict)
    weights: Mapping[str, Positive] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    choose: Literal["work", "requests", "turn"] = "work"
    predict: Literal["exact", "tier", "difficulty"] = "difficulty"

    def __post_init__(self) -> None:
        super().__post_init__()
        units = {self.admission.unit, *(limit.unit for limit in self.limits)}
        valid = "in tokens, as admission is: a trace knows of no FLOPs"
        require(units == {"tokens"}, "limits", self.limits, valid)


@dataclass(frozen=True)
class Scenario(Options):
    """What is simulated.

    Args:
        fleet: who serves.
        mix: what is asked.
        arrivals: when; or ``Users`` who wait for their answers.
    """

    fleet: Fleet
    mix: Mix
    arrivals: Arrivals | Users

    @property
    def load(self) -> float:
        """Work that is offered over what the machines can do, with full batches; nan of ``Users``.

        At 1 or more those who wait grow without end, or have to be refused.
        """
        if isinstance(self.arrivals, Users):
            return math.nan
        curve, batch = self.fleet.curve, self.fleet.batch_size
        work = self.mix.mean(lambda trace: saturated(trace, curve, batch))
        return self.arrivals.mean * work / self.fleet.machines

    def faster(self, factor: float) -> Scenario:
        """Return the same with so many times the rate of arrivals."""
        require(not isinstance(self.arrivals, Users), "arrivals", self.arrivals, "not Users")
        return replace(self, arrivals=self.arrivals.faster(factor))  # type: ignore[union-attr]

    def on(self, machines: int) -> Scenario:
        """Return the same with so many machines."""
        return replace(self, fleet=replace(self.fleet, machines=machines))


@checked
def simulate(
    scenario: Scenario,
    seconds: Span = 3600.0,
    *,
    replications: Replications = 5,
    warmup: NotNegative | None = None,
    seed: Whole = 0,
) -> Simulation:
    """Simulate a service; the same seed gives the same requests, whoever serves them.

    Args:
        scenario: what is simulated.
        seconds: in which requests arrive. Those under way have as long again to end. At most
            ``MOST`` come, or ``MOST_OVERLOADED`` at a load above 1; see ``Simulation.until``.
        replications: with other random numbers each.
        warmup: seconds at the beginning, when all is empty, of which requests are not counted; None
            is a tenth of the time in which requests came.
        seed: of all random numbers.

    Raises:
        ItslabError: SimPy is not installed.
        ItslabError: a replication takes more than ``MOST_STEPS``.
        OptionError: no request is left to count.
    """
    import pandas as pd

    require((warmup or 0) < seconds, "warmup", warmup, f"below the {seconds:g} seconds")
    seeds = np.random.SeedSequence(seed).spawn(replications)
    done = [_Replication(scenario, seconds, np.random.default_rng(s)).run() for s in seeds]
    requests, machines = (
        pd.DataFrame([{"replication": i, **row} for i, rows in enumerate(tables) for row in rows])
        for tables in ([requests for requests, _, _ in done], [rows for _, rows, _ in done])
    )
    until = min(until for *_, until in done)
    valid = f"below {until:.3g} s, in which all came that are simulated, or None"
    require(warmup is None or warmup < until, "warmup", warmup, valid)
    warmup = until / 10 if warmup is None else warmup
    counted = any(row["arrival"] >= warmup for rows, _, _ in done for row in rows)
    require(counted, "seconds", seconds, f"long enough for requests after {warmup:g} s of warm-up")
    return Simulation(requests, machines, warmup, until, scenario.load)


# -- one replication -------------------------------------------------------------------------------


@dataclass(eq=False)
class _Request:
    """A request on its way."""

    ask: Ask
    visit: Visit
    over: Any  # the event of its end
    refusal: Refusal | None = None
    machine: int = -1
    waves: list[Wave] = field(default_factory=list)
    end: float = math.nan
    cut: bool = False

    @property
    def trace(self) -> Trace:
        return self.ask.query.traces[self.visit.tier]


_claim = lru_cache(Service)  # thousands of requests have the same


class _Replication:
    """Requests, lobby and machines, for once."""

    def __init__(self, scenario: Scenario, seconds: float, rng: np.random.Generator) -> None:
        self.scenario, self.fleet, self.seconds = scenario, scenario.fleet, seconds
        self.until = seconds
        self._most = MOST_OVERLOADED if scenario.load > 1 else MOST
        self._steps = 0
        self._rng = rng
        self._env = _simpy().Environment()
        self._over = self._env.event()
        fleet = self.fleet
        self._machines = [Machine(fleet.curve, fleet.batch_size) for _ in self._all]
        self._wakes = [self._env.event() for _ in self._all]
        self._under_way = [0 for _ in self._all]
        self._next = 0
        at_once = fleet.admission.at_once * fleet.machines
        self._forecast = _forecast(scenario)
        self._lobby = Lobby(
            replace(fleet.admission, at_once=at_once),
            Limits(default=fleet.limits),
            _cheaper(scenario.mix),
            lambda visit: (self._forecast(self._of[visit].ask, visit.tier), 0.0),
        )
        self._of: dict[Visit, _Request] = {}
        self._requests: list[_Request] = []

    @property
    def _all(self) -> range:
        return range(self.fleet.machines)

    def run(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
        """Return a row for each request, one for each machine, and when arrivals ended."""
        env, arrivals = self._env, self.scenario.arrivals
        for machine in self._all:
            env.process(self._work(machine))
        if isinstance(arrivals, Users):
            for i in range(arrivals.count):
                env.process(self._user(f"{arrivals.named}{i + 1}", arrivals.think))
        else:
            env.process(self._come(arrivals))
        env.process(self._close(self.seconds * (1 + DRAIN)))
        env.run(self._over)
        ends = [request.end for request in self._requests if not math.isnan(request.end)]
        unfinished = len(ends) < sum(request.refusal is None for request in self._requests)
        span = env.now if unfinished else max([self.until, *ends])
        machines = [
            {"machine": i, "busy": m.busy, "span": span, "steps": m.steps, "rows": m.rows}
            | {"drawn": m.drawn}
            for i, m in enumerate(self._machines)
        ]
        return [self._row(request) for request in self._requests], machines, self.until

    # -- who comes -----------------------------------------------------------------------------

    def _come(self, arrivals: Arrivals) -> Iterator[Any]:
        for arrival in arrivals.times(self._rng):
            if arrival.time >= self.seconds:
                return
            yield self._env.timeout(arrival.time - self._env.now)
            if self._full():
                return
            self._ask(arrival)

    def _user(self, name: str, think: float) -> Iterator[Any]:
        while True:
            yield self._env.timeout(self._rng.exponential(think) if think else 0.0)
            if self._env.now >= self.seconds or self._full():
                return
            request = self._ask(Arrival(self._env.now, user=name))
            if request.refusal:  # it comes back when it was told to
                yield self._env.timeout(max(request.refusal.retry_after, 1e-3))
            else:
                yield request.over

    def _full(self) -> bool:
        """Whether too many have come already; then this is when arrivals ended."""
        full = len(self._requests) >= min(self._most, MOST)
        if full and self.until == self.seconds:
            self.until = self._env.now
            self._env.process(self._close(self.until * DRAIN))
        return full

    def _close(self, seconds: float) -> Iterator[Any]:
        """End the replication after so many seconds."""
        yield self._env.timeout(seconds)
        if not self._over.triggered:
            self._over.succeed()

    def _ask(self, arrival: Arrival) -> _Request:
        now, fleet = self._env.now, self.fleet
        ask = self.scenario.mix.draw(arrival, self._rng)
        terms = fleet.terms.get(ask.tier, _NOTHING)
        visit = Visit(
            ask.user,
            ask.tier,
            self._forecast(ask, ask.tier),
            now,
            terms.priority,
            fleet.weights.get(ask.user, 1.0),
            now + (terms.deadline or math.inf),
        )
        request = self._of[visit] = _Request(ask, visit, self._env.event())
        self._requests.append(request)
        request.refusal = self._lobby.arrive(visit, now)
        self._let_in()
        patience = fleet.admission.patience or math.inf
        limit = min(terms.deadline or math.inf, patience)
        if not request.refusal and limit < math.inf:
            self._env.process(self._leave(limit))
        return request

    # -- the lobby -----------------------------------------------------------------------------

    def _let_in(self) -> None:
        for visit in self._lobby.ready(self._env.now):
            self._env.process(self._serve(self._of[visit]))

    def _leave(self, seconds: float) -> Iterator[Any]:
        """Refuse who still waits after so many seconds."""
        yield self._env.timeout(seconds + 1e-6)  # or sums of times round to just before it
        for visit, refusal in self._lobby.refused(self._env.now):
            self._of[visit].refusal = refusal
            self._of[visit].over.succeed()

    # -- the machines --------------------------------------------------------------------------

    def _serve(self, request: _Request) -> Iterator[Any]:
        """Submit one wave after the other, until the last is complete or the deadline is there."""
        env, visit = self._env, request.visit
        request.machine = at = self._choose()
        self._under_way[at] += 1
        claim = _claim(visit.user, visit.weight, visit.priority, visit.deadline)
        late = (
            env.timeout(max(visit.deadline - env.now, 0.0)) if visit.deadline < math.inf else None
        )
        for draws in request.trace.waves:
            complete = env.event()
            wave = Wave(complete.succeed)
            request.waves.append(wave)
            self._machines[at].submit(draws, claim, env.now, wave)
            self._wake(at)
            yield complete if late is None else complete | late
            if not complete.triggered:
                request.cut = True
                self._machines[at].cancel(wave)
                self._wake(at)
                yield complete  # with the step under way
                break
        request.end = env.now
        self._under_way[at] -= 1
        self._lobby.end(visit, sum(wave.drawn for wave in request.waves), env.now)
        request.over.succeed()
        self._let_in()

    def _choose(self) -> int:
        if self.fleet.choose == "turn":
            self._next += 1
            return (self._next - 1) % self.fleet.machines
        if self.fleet.choose == "requests":
            return min(self._all, key=self._under_way.__getitem__)
        return min(self._all, key=lambda i: self._machines[i].work)

    def _wake(self, at: int) -> None:
        if not self._wakes[at].triggered:
            self._wakes[at].succeed()

    def _work(self, at: int) -> Iterator[Any]:
        """Take steps for ever. Whatever comes waits for the end of the step under way."""
        env, machine = self._env, self._machines[at]
        while True:
            self._wakes[at] = env.event()
            plan = machine.plan(env.now)
            if not plan:
                yield self._wakes[at]
                continue
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise ItslabError(
                    f"more than {MOST_STEPS:,} steps by {env.now:.3g} of {self.seconds:g} s: "
                    "simulate fewer seconds, fewer requests or shorter ones"
                )
            began, seconds, times = env.now, machine.seconds(plan), machine.alike(plan)
            if times > 1:
                yield env.timeout(times * seconds) | self._wakes[at]
                under_way = math.ceil((env.now - began) / seconds - 1e-9)
                times = min(max(under_way, 1), times)
            yield env.timeout(max(began + times * seconds - env.now, 0.0))
            machine.take(plan, times, env.now)

    # -- what came of it -----------------------------------------------------------------------

    def _row(self, request: _Request) -> dict[str, Any]:
        visit, refusal, waves = request.visit, request.refusal, request.waves
        return {
            "arrival": visit.arrival,
            "start": waves[0].joined if waves else math.nan,
            "first": next((w.first_token for w in waves if w.drawn), math.nan),
            "end": request.end,
            "asked": request.ask.tier,
            "tier": visit.tier,
            "user": visit.user,
            "difficulty": request.ask.query.difficulty,
            "refused": refusal is not None,
            "why": refusal.kind if refusal else "",
            "retry_after": refusal.retry_after if refusal else math.nan,
            "cut": request.cut,
            "predicted": visit.predicted,
            "tokens": sum(wave.drawn for wave in waves),
            "prefilled": sum(wave.prefilled for wave in waves),
            "reused": sum(wave.reused for wave in waves),
            "seconds": sum(wave.seconds for wave in waves),
            "machine": request.machine,
        }


def _simpy() -> Any:
    try:
        import simpy
    except ImportError as error:
        raise ItslabError(
            "simulations take the package simpy, which itslab asks for: pip install simpy"
        ) from error
    return simpy


def _cheaper(mix: Mix) -> dict[str, str]:
    """Tier -> the one with the next fewer tokens."""
    order = sorted(mix.every_tier, key=mix.tokens, reverse=True)
    return dict(pairwise(order))


def _forecast(scenario: Scenario) -> Callable[[Ask, str], float]:
    """What a request is thought to draw in a tier, in tokens."""
    mix, predict = scenario.mix, scenario.fleet.predict
    if predict == "exact":
        return lambda ask, tier: float(ask.query.traces[tier].tokens)
    if predict == "tier":
        known = {tier: mix.tokens(tier) for tier in mix.every_tier}
        return lambda ask, tier: known[tier]
    classes = {query.difficulty for query in mix.queries}
    of = {(tier, c): mix.tokens(tier, c) for tier in mix.every_tier for c in classes}
    return lambda ask, tier: of[tier, ask.query.difficulty]
