"""One budget for many problems: the next tokens go where they are worth most.

Every problem is a run of a strategy that draws in waves, paused before each. Whoever is worth most
by the token is let on; a problem that is solved, or not worth another wave, leaves. ReD
(arXiv:2601.21522) is one such rule, for samples that can be verified.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from itslab.core import Backend, Budget, Cost, Node, Result, require
from itslab.handle import RunHandle, start
from itslab.options import Count, Limit, Options, Whole, checked
from itslab.run import Run
from itslab.strategies.stopping import AdaptiveConsistency, FirstVerified, MarginalValue, encode
from itslab.study.progress import Progress
from itslab.study.runner import outcome
from itslab.tasks import Task

NEARLY = 0.5
"""The part of the highest worth from which on a problem is let on beside the best one."""
Waves = AdaptiveConsistency | FirstVerified


class Value(Protocol):
    """Says what another wave of a run is worth."""

    def __call__(self, run: Run) -> float:
        """Return the gain that is expected by the token; 0 or less if there is none."""
        ...


@dataclass(frozen=True)
class VoteValue(Options):
    """How much surer of its vote a run would be: see ``MarginalValue``.

    Args:
        ahead: most further samples that are looked at.
    """

    ahead: Count = 32

    def __call__(self, run: Run) -> float:
        """Return the gain in P(the leader is more frequent than the second) by the token."""
        drawn = _samples(run)
        said = [run.extract(node.turn_text) for node in drawn]
        keys = [None if answer is None else run.key(answer) for answer in said]
        [loss] = MarginalValue(ahead=self.ahead).evidence(encode([keys]), self.ahead)
        return -float(loss) / _tokens(drawn)


@dataclass(frozen=True)
class PassValue(Options):
    """How likely the next sample is the first to pass, after those that failed.

    With a uniform prior over a problem's chance, (0 + 1) ÷ (failures + 2): Laplace's rule of
    succession. A problem with a sample that passed is solved.

    Args:
        stop_score: the score at which a sample passes.
    """

    stop_score: Limit = 1.0

    def __call__(self, run: Run) -> float:
        """Return that probability by the token."""
        drawn = _samples(run)
        scores = [node.verdict.score for node in drawn if node.verdict]
        if any(score >= self.stop_score for score in scores):
            return 0.0
        return 1 / (len(drawn) + 2) / _tokens(drawn)


@checked
def allocate(
    task: Task,
    strategy: Waves,
    backend: Backend,
    value: Value,
    budget: Budget,
    *,
    seed: Whole = 0,
    progress: bool = True,
) -> list[Result]:
    """Solve the problems of a task under one budget; return the results in their order.

    Each problem gets one wave, or as many samples of it as its share of the budget affords; then
    whoever is worth most by the token is let on, and with it
    those worth at least half as much, as many at once as the model's batch holds. Tokens and
    samples are never overdrawn.

    Args:
        task: what to solve; a strategy sees a problem's prompt only.
        strategy: draws in waves. Where it stops by itself its problem leaves.
        backend: the model.
        value: what another wave is worth.
        budget: the most to spend on all problems together.
        seed: of each run.
        progress: show what is spent, on standard output.

    Raises:
        OptionError: the budget does not hold a sample of each problem; a value is no number; the
            strategy's verifier asks a model.
        BackendError: the model cannot be used.
    """
    for name in ("samples", "tokens"):
        limit = getattr(budget, name)
        enough = limit is None or limit >= len(task)
        require(enough, name, limit, f"at least {len(task)}, one for each problem")
    handles = [
        start(
            problem.prompt,
            strategy,
            backend,
            extract=task.extract,
            key=task.key,
            seed=seed,
            problem=problem.id,
            paused=True,
        )
        for problem in task
    ]
    desk = _Desk(handles, strategy, value, budget)
    try:
        with Progress(task.name, {"problems": len(task)}, progress) as bar:
            while desk.grant(backend.batch_size):
                bar.show([desk.spent])
                time.sleep(0.005)
    finally:
        for handle in handles:
            handle.stop()
    return list(desk.results())


class _Grant(NamedTuple):
    """What a run that is at work is worth by the token, and the most that it may spend."""

    worth: float
    most: Cost


class _Desk:
    """Who may spend what is left.

    Args:
        handles: the runs, all of them paused.
        strategy, value, budget: as of ``allocate``.
    """

    def __init__(
        self, handles: list[RunHandle], strategy: Waves, value: Value, budget: Budget
    ) -> None:
        self._handles, self._strategy = handles, strategy
        self._value, self._budget = value, budget
        self._granted: dict[int, _Grant] = {}
        self._ended_by: str | None = None

    @property
    def spent(self) -> Cost:
        """What all runs have spent."""
        return sum((handle.run.cost for handle in self._handles), Cost())

    def grant(self, batch_size: int) -> bool:
        """Let those on that are worth most; return whether anybody is at work."""
        for i in [i for i in self._granted if self._idle(i) or not self._handles[i].running]:
            del self._granted[i]
            self._check(self._handles[i].run)
        worth = {
            i: self._worth(self._handles[i].run)
            for i in range(len(self._handles))
            if i not in self._granted and self._idle(i)
        }
        best = max([*worth.values(), *(grant.worth for grant in self._granted.values())], default=0)
        room = max(batch_size // self._strategy.wave, 1) - len(self._granted)
        good = [i for i in worth if worth[i] > 0 and worth[i] >= best * NEARLY]
        for i in sorted(good, key=lambda i: (-worth[i], i))[: max(room, 0)]:
            if not self._let(i, worth[i]):
                break
        return any(h.running and not h.paused for h in self._handles) or bool(self._granted)

    def _check(self, run: Run) -> None:
        """Refuse a verifier for whose calls a wave leaves nothing."""
        asks = any("the budget ended" in why for why in run.unscored)
        who = getattr(self._strategy, "verifier", None)
        left = self._budget.exhausted(self.spent) is None
        require(not (asks and left), "verifier", who, "one that asks no model: waves pay for none")

    def _idle(self, i: int) -> bool:
        return self._handles[i].running and self._handles[i].paused

    def _worth(self, run: Run) -> float:
        if not _samples(run):
            return math.inf
        worth = self._value(run)
        real = isinstance(worth, int | float | np.number) and not math.isnan(worth)
        require(real, "value", self._value, f"one that returns numbers, not {worth!r}")
        return float(worth)

    def _let(self, i: int, worth: float) -> bool:
        """Let a run take a wave, if the budget has anything left for it."""
        run, wave = self._handles[i].run, self._strategy.wave
        held = self.spent + sum((grant.most for grant in self._granted.values()), Cost())
        self._ended_by = self._budget.exhausted(held)
        if self._ended_by:
            return False
        sharing, longest = 1, self._strategy.sampling.max_tokens
        if not _samples(run):  # those who wait for their first wave have a part in it, too
            sharing = sum(
                not _samples(handle.run)
                for j, handle in enumerate(self._handles)
                if j not in self._granted
            )
        samples, tokens = wave, wave * longest
        if self._budget.samples is not None:
            samples = min(samples, (self._budget.samples - held.calls) // sharing)
        if self._budget.tokens is not None:
            share = (self._budget.tokens - held.decoded) // sharing
            samples, tokens = min(samples, max(share // longest, 1)), min(tokens, share)
        own = run.cost
        run.ledger.budget = Budget(tokens=own.decoded + tokens, samples=own.calls + samples)
        self._granted[i] = _Grant(worth, Cost(decoded=tokens, calls=samples))
        self._handles[i].step()
        return True

    def results(self) -> Iterator[Result]:
        """What every run came to, once it was stopped."""
        for handle in self._handles:
            result = outcome(handle)
            ours = result.stopped_by == "stop"
            yield replace(result, stopped_by=self._ended_by if ours else result.stopped_by)


def _samples(run: Run) -> list[Node]:
    return [node for node in run.drawn if node.completion]


def _tokens(drawn: list[Node]) -> float:
    """The mean length of these samples."""
    decoded = [node.completion.cost.decoded for node in drawn if node.completion]
    return max(sum(decoded) / max(len(decoded), 1), 1.0)
