"""When requests arrive.

Times are seconds from the start, rates are requests a second. All randomness comes from the
generator that is passed in.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np

from itslab.core import ItslabError, require
from itslab.options import (
    Bounds,
    NotNegative,
    Options,
    Positive,
    Text,
    UnitInterval,
    described,
    fits,
)

Rate = Annotated[float, Bounds(1e-12, 1e6)]
"""Requests a second."""
Spell = Annotated[float, Bounds(1e-6, 1e9)]
"""Seconds that something lasts."""
Moment = Annotated[float, Bounds(0, 1e9)]
"""Seconds from the start."""
MOST_USERS = 10_000


class Arrival(NamedTuple):
    """A request comes: when, and for which tier and of which user, if that is known ("" if not)."""

    time: float
    tier: str = ""
    user: str = ""


class Arrivals(Protocol):
    """Requests that come whatever happens to those before them."""

    @property
    def mean(self) -> float:
        """Requests a second, in the long run."""
        ...

    def times(self, rng: np.random.Generator) -> Iterator[Arrival]:
        """Yield arrivals, the earliest first; most kinds never end."""
        ...

    def faster(self, factor: float) -> Arrivals:
        """Return the same with so many times the rate."""
        ...


@dataclass(frozen=True)
class Poisson(Options):
    """Requests of many users who know nothing of each other: gaps are exponential.

    Args:
        rate: requests a second.
    """

    rate: Rate

    @property
    def mean(self) -> float:
        """Requests a second."""
        return self.rate

    def times(self, rng: np.random.Generator) -> Iterator[Arrival]:
        """Yield arrivals without end."""
        now = 0.0
        while True:
            now += rng.exponential(1 / self.rate)
            yield Arrival(now)

    def faster(self, factor: float) -> Poisson:
        """Return the same with so many times the rate."""
        return Poisson(self.rate * factor)


def thinned(
    rate: Callable[[float], float], most: float, rng: np.random.Generator
) -> Iterator[Arrival]:
    """Yield arrivals at a rate that changes: those at the highest rate, each kept by chance.

    Thinning (Lewis and Shedler 1979, Naval Research Logistics 26(3), algorithm 1).

    Args:
        rate: requests a second at a time.
        most: what it never exceeds.
        rng: draws them.

    Raises:
        OptionError: it exceeds that.
    """
    for arrival in Poisson(most).times(rng):
        now = rate(arrival.time)
        require(0 <= now <= most * (1 + 1e-9), "rate", now, f"in [0, {most:g}], as was said")
        if rng.random() < now / most:
            yield arrival


@dataclass(frozen=True)
class Diurnal(Options):
    """Days and nights: the rate swings about its mean as a cosine.

    Args:
        rate: the mean, requests a second.
        swing: how far the peak is above it, as a fraction of it.
        period: seconds of a day.
        peak: when it is highest, in seconds from the start.
    """

    rate: Rate
    swing: UnitInterval = 0.8
    period: Spell = 86_400.0
    peak: Moment = 0.0

    @property
    def mean(self) -> float:
        """Requests a second, over whole days."""
        return self.rate

    def at(self, time: float) -> float:
        """Return the rate at a time."""
        turn = 2 * math.pi * (time - self.peak) / self.period
        return self.rate * (1 + self.swing * math.cos(turn))

    def times(self, rng: np.random.Generator) -> Iterator[Arrival]:
        """Yield arrivals without end."""
        return thinned(self.at, self.rate * (1 + self.swing), rng)

    def faster(self, factor: float) -> Diurnal:
        """Return the same with so many times the rate."""
        return replace(self, rate=self.rate * factor)


@dataclass(frozen=True)
class Bursts(Options):
    """Quiet and busy spells of random length, each with a rate of its own.

    A Markov-modulated Poisson process of two states (Fischer and Meier-Hellstern 1993, Performance
    Evaluation 18(2), §2): spells are exponential, and so are gaps within them. It starts in one of
    them by chance, as long as either lasts.

    Args:
        quiet, busy: requests a second in such a spell.
        quiet_seconds, busy_seconds: how long it lasts on average.
    """

    quiet: Annotated[float, Bounds(0, 1e6)]
    busy: Rate
    quiet_seconds: Spell = 60.0
    busy_seconds: Spell = 10.0

    @property
    def mean(self) -> float:
        """Requests a second, in the long run."""
        whole = self.quiet_seconds + self.busy_seconds
        return (self.quiet * self.quiet_seconds + self.busy * self.busy_seconds) / whole

    def times(self, rng: np.random.Generator) -> Iterator[Arrival]:
        """Yield arrivals without end.

        In either state a request comes or the spell ends, whichever is first. Rounds through both
        in which nobody comes are taken at once, or short spells with rare requests would take ages.
        """
        seconds = self.quiet_seconds, self.busy_seconds
        rates = self.quiet, self.busy
        first = [1 / (rate + 1 / lasts) for rate, lasts in zip(rates, seconds, strict=True)]
        comes = [rate * mean for rate, mean in zip(rates, first, strict=True)]
        either = comes[0] + comes[1] - comes[0] * comes[1]  # that somebody comes in a round
        now, state = 0.0, int(rng.random() < self.busy_seconds / sum(seconds))
        while True:
            if empty := int(rng.geometric(either)) - 1:
                now += float(rng.gamma(empty, first[0]) + rng.gamma(empty, first[1]))
            now += rng.exponential(first[state])
            if rng.random() * either >= comes[state]:
                state = 1 - state
                now += rng.exponential(first[state])
            yield Arrival(now)

    def faster(self, factor: float) -> Bursts:
        """Return the same with so many times the rate, in spells as long as before."""
        return replace(self, quiet=self.quiet * factor, busy=self.busy * factor)


@dataclass(frozen=True)
class Recorded(Options):
    """Arrivals that were recorded, as ``read`` finds them in a file.

    Args:
        arrivals: the earliest first, from 0 seconds on.
    """

    arrivals: tuple[Arrival, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.arrivals) > 1, "arrivals", self.arrivals, "at least two")
        times = [arrival.time for arrival in self.arrivals]
        finite = all(map(math.isfinite, times))
        ascending = finite and times == sorted(times) and times[0] >= 0
        require(ascending, "arrivals", times, "ascending, from 0 on")
        require(times[-1] > 0, "arrivals", times, "at more than one time")

    @property
    def mean(self) -> float:
        """Requests a second until the last of them."""
        return len(self.arrivals) / self.arrivals[-1].time

    def times(self, rng: np.random.Generator) -> Iterator[Arrival]:
        """Yield them; nothing of it is random."""
        return iter(self.arrivals)

    def faster(self, factor: float) -> Recorded:
        """Return the same with all gaps so many times shorter."""
        require(fits(factor, Positive), "factor", factor, described(Positive))
        return Recorded(tuple(a._replace(time=a.time / factor) for a in self.arrivals))

    @classmethod
    def read(cls, path: str | Path) -> Recorded:
        """Read a trace: a column ``time`` (seconds, from any start), and ``tier`` and ``user`` if
        there are any. Lines need not be in order.

        Args:
            path: of a CSV file with a header, or of ``.jsonl`` with an object a line.

        Raises:
            ItslabError: it cannot be read; a line that is wrong is named.
        """
        path = Path(path)
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = _objects(file) if path.suffix in (".jsonl", ".ndjson") else _table(file)
                found = sorted(_arrival(path, line, row) for line, row in rows)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ItslabError(f"the trace {path} cannot be read: {error}") from error
        if len(found) < 2 or found[0].time == found[-1].time:
            raise ItslabError(f"{path} holds {len(found)} arrivals: at least two times are needed")
        begin = found[0].time
        return cls(tuple(arrival._replace(time=arrival.time - begin) for arrival in found))


def _table(file: Any) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(file)
    for row in reader:
        yield reader.line_num, row


def _objects(file: Any) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                yield number, line.strip()


def _arrival(path: Path, line: int, row: Any) -> Arrival:
    try:
        time = float(row["time"])
        if not math.isfinite(time):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        given = " ".join(str(row).split())[:80]
        raise ItslabError(
            f"{path}, line {line}: {given} has no time: a column 'time' holds seconds as a number"
        ) from error
    return Arrival(time, str(row.get("tier") or ""), str(row.get("user") or ""))


@dataclass(frozen=True)
class Users(Options):
    """A fixed number of users, each of whom thinks, asks, and waits for the answer.

    So arrivals slow down as the service does: who waits asks nothing. It has no rate of its own.

    Args:
        count: how many.
        think: mean seconds between an answer and the next question, exponential.
        named: what their names begin with.
    """

    count: Annotated[int, Bounds(1, MOST_USERS)]
    think: NotNegative = 0.0
    named: Text = "user"
