"""A machine that takes steps as the engine does, in simulated time; nothing is evaluated.

The engine's own scheduler says who joins the batch and how many rows of a step each gets. What a
step takes is read off a measured curve. This is ``backends.engine`` without a model: whoever has
nothing left to evaluate after a step draws its next token.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from itslab.backends.scheduler import PREFILL_ROWS, Entry, Scheduler, Service
from itslab.core import ItslabError, require
from itslab.options import Count, Options, Positive
from itslab.serving.traces import Draw, Trace

# -- how long a step takes -------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve(Options):
    """Seconds of a step by its rows: linear between those measured.

    Below the fewest rows a step takes as long as with these. Beyond the most it goes on from there
    with the slope of the least-squares line through the upper half of the points, at least 0.

    Args:
        rows: of the steps that were measured, ascending.
        seconds: that each took.
    """

    rows: tuple[Count, ...]
    seconds: tuple[Positive, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        rows, seconds = self.rows, self.seconds
        require(len(rows) > 0 and [*rows] == sorted({*rows}), "rows", rows, "ascending")
        require(len(rows) == len(seconds), "seconds", seconds, f"one for each of {rows}")

    @cached_property
    def _slope(self) -> float:
        """Seconds of a row more, beyond those measured."""
        if len(self.rows) == 1:
            return 0.0
        upper = slice(min(len(self.rows) // 2, len(self.rows) - 2), None)
        return max(float(np.polyfit(self.rows[upper], self.seconds[upper], 1)[0]), 0.0)

    @cached_property
    def _known(self) -> dict[int, float]:
        return {}

    def __call__(self, rows: int) -> float:
        """Return the seconds of a step of so many rows."""
        if rows not in self._known:
            beyond = max(rows - self.rows[-1], 0) * self._slope
            self._known[rows] = float(np.interp(rows, self.rows, self.seconds)) + beyond
        return self._known[rows]

    @classmethod
    def of(cls, speeds: Mapping[int, float | Sequence[float]]) -> Curve:
        """Return the curve of an engine that draws so many tokens a second, by its sequences.

        Args:
            speeds: number of sequences drawn at once -> tokens/s of all, or those of several
                rounds, of which the median is taken; ``SpeedReport.speed["itslab"]`` is such.
        """
        medians = {int(n): float(np.median(speeds[n])) for n in speeds}
        for n, speed in medians.items():
            require(n > 0 and speed > 0, "speeds", {n: speed}, "above 0, of at least one sequence")
        rows = sorted(medians)
        return cls(tuple(rows), tuple(n / medians[n] for n in rows))

    @classmethod
    def read(cls, path: str | Path) -> Curve:
        """Read what ``itslab bench MODEL --json`` printed.

        Raises:
            ItslabError: the file is none of that.
        """
        try:
            speeds = json.loads(Path(path).read_text(encoding="utf-8"))["speed"]["itslab"]
            return cls.of({int(n): of for n, of in speeds.items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ItslabError(
                f"{path} holds no speeds: write them with itslab bench MODEL --json > {path}"
            ) from error


# -- what it works on ------------------------------------------------------------------------------


@dataclass(eq=False)
class Wave:
    """Sequences that were submitted together; the first evaluates what the others share with it.

    Args:
        complete: called when the last of them ends.

    Attributes:
        joined: when the first of them joined the batch; nan before.
        first_token: when the first token of any of them was drawn; nan before.
        evaluated: whether the prompt of the first is evaluated.
        left: those that have not ended.
        first: the first.
        drawn, prefilled, reused: tokens of all of them, as in ``Cost``.
        seconds: of compute: of every step its share of the rows, as the engine charges it.
    """

    complete: Callable[[], object]
    joined: float = math.nan
    first_token: float = math.nan
    evaluated: bool = False
    left: list[Item] = field(default_factory=list)
    first: Item | None = None
    drawn: int = 0
    prefilled: int = 0
    reused: int = 0
    seconds: float = 0.0


@dataclass(eq=False)
class Item(Entry):
    """A sequence of a wave."""

    wave: Wave = field(kw_only=True)


def _cached(item: Item) -> int:
    first = item.wave.first
    if item is first or item.wave.evaluated or first is None:
        return item.cached
    return min(item.cached, first.cached)


def _shared(item: Item, other: Item) -> int:
    return item.cached if other is item.wave.first is not item else 0


# -- the machine -----------------------------------------------------------------------------------

Plan = list[tuple[Item, int]]
"""A step: sequences, and the rows of each."""


class Machine:
    """One engine.

    Args:
        curve: seconds of a step by its rows.
        batch_size: most sequences in the batch.
        prefill_rows: most rows of prompts in a step.

    Attributes:
        busy: seconds of all steps.
        rows: of all steps.
        steps: how many.
        drawn: tokens drawn.
        work: rows still to be evaluated of what was submitted.
    """

    def __init__(self, curve: Curve, batch_size: int, prefill_rows: int = PREFILL_ROWS) -> None:
        self.curve = curve
        self.busy, self.rows, self.steps, self.drawn, self.work = 0.0, 0, 0, 0, 0
        self._scheduler: Scheduler[Item] = Scheduler(
            batch_size, prefill_rows=prefill_rows, cached=_cached, shared=_shared
        )
        self._cancelled: list[Wave] = []

    def submit(self, draws: Sequence[Draw], service: Service, now: float, wave: Wave) -> None:
        """Queue the sequences of a wave."""
        items = [Item(d.prompt, d.drawn, d.cached, now, service, wave=wave) for d in draws]
        wave.first, wave.left = items[0], items
        self.work += sum(map(_rows_left, items))
        self._scheduler.submit(items)

    def plan(self, now: float) -> Plan:
        """Let sequences join the batch, and return the next step; empty if there is nothing to do.

        Who finds its whole prompt evaluated draws its first token at once.
        """
        for wave in self._cancelled:
            for item in wave.left:
                self.work -= _rows_left(item)
                self._scheduler.remove(item)
            if wave.left:
                wave.left = []
                wave.complete()
        self._cancelled = []
        while self._scheduler.waiting or self._scheduler.running:
            for item in self._scheduler.admit(now):
                self._begin(item, now)
            if plan := self._scheduler.plan(now):
                return plan
        return []

    def cancel(self, wave: Wave) -> None:
        """Let a wave end with the step under way, at the latest."""
        self._cancelled.append(wave)

    def _begin(self, item: Item, now: float) -> None:
        wave = item.wave
        wave.joined = now if math.isnan(wave.joined) else wave.joined
        item.evaluated = _cached(item)
        self.work += item.cached - item.evaluated  # which it evaluates itself, if nobody did it
        item.cached = item.evaluated
        wave.reused += item.evaluated
        if not item.pending:
            self._draw(item, 1, now)

    def alike(self, plan: Plan) -> int:
        """Return how many steps in a row are this one: until the first of its sequences ends."""
        scheduler = self._scheduler
        # Who waits beside a free place waits for a prompt that this step may complete.
        joining = len(scheduler.running) < scheduler.batch_size and scheduler.waiting
        if joining or any(n != 1 or item.pending != 1 for item, n in plan):
            return 1
        return max(min(item.most - item.drawn for item, _ in plan), 1)

    def seconds(self, plan: Plan) -> float:
        """Return how long a step takes."""
        return self.curve(sum(n for _, n in plan))

    def take(self, plan: Plan, times: int, now: float) -> None:
        """Take a step, and the same again until it was taken so often.

        Args:
            plan: the step.
            times: at most as many as are ``alike``.
            now: when the last of them ends.
        """
        width, seconds = sum(n for _, n in plan), self.seconds(plan)
        self._scheduler.repeat(plan, times - 1)
        self.busy += seconds * times
        self.rows += width * times
        self.work -= width * times
        self.steps += times
        for item, n in plan:
            item.wave.seconds += seconds * times * n / width
            item.wave.prefilled += 0 if item.drawn else n
            item.evaluated += n
            if not item.pending:
                self._draw(item, times, now - seconds * (times - 1))
                item.evaluated += times - 1

    def _draw(self, item: Item, times: int, first: float) -> None:
        """Draw so many tokens of a sequence, the first of them at a time."""
        wave = item.wave
        wave.evaluated = wave.evaluated or item is wave.first
        if item.most:
            item.drawn += times
            wave.drawn += times
            self.drawn += times
            wave.first_token = first if math.isnan(wave.first_token) else wave.first_token
        if item.drawn == item.most:
            self._scheduler.remove(item)
            wave.left.remove(item)
            if not wave.left:
                wave.complete()


def _rows_left(item: Item) -> int:
    """Rows that a sequence will take: the last token is drawn and not evaluated."""
    held = item.evaluated or item.cached
    return item.prompt_length + max(item.most - 1, 0) - held


def saturated(trace: Trace, curve: Curve, batch_size: int) -> float:
    """Return a request's share of the seconds of a machine whose batch is always full."""
    full = curve(batch_size)
    token = full / batch_size
    prompt = (curve(batch_size + PREFILL_ROWS) - full) / PREFILL_ROWS
    decoded = sum(max(draw.drawn - 1, 0) for draw in trace.draws)
    return token * decoded + prompt * trace.prefilled
