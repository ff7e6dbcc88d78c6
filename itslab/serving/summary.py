"""What a simulation showed: waiting, percentiles, utilisation, and whether the load can be served.

Every number is a mean over independent replications, each read by itself, with Student's interval
of them, 95 % (Law 2015, Simulation Modeling and Analysis, §9.5.1). One replication has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from itslab.core import require

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

WAITS = ("wait", "first", "seconds")
"""Seconds from a request's arrival: until its first sequence is in a batch, until its first token
is drawn, until its end."""
QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
SHARES = ("utilisation", "refused", "degraded", "cut")
LOST = 0.05
"""A share of requests refused or degraded above which a load is not served."""
GROWS = 0.05
"""A queue that grows by more than this, as a fraction of the arrivals, will not stop growing."""


class Estimate(NamedTuple):
    """A number, and its interval; nan where there is none."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Return the mean of what replications gave, with its 95 % interval."""
        from scipy import stats

        found = np.array(values, dtype=float)
        found = found[~np.isnan(found)]
        value = float(found.mean()) if len(found) else math.nan
        if len(found) < 2 or not math.isfinite(value):
            return cls(value, math.nan, math.nan)
        half = stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found))
        return cls(value, value - float(half), value + float(half))

    def within(self, most: float) -> Estimate:
        """Return it with an interval that lies in [0, most]."""
        low, high = np.clip([self.low, self.high], 0.0, most)
        return Estimate(self.value, float(low), float(high))


@dataclass(frozen=True, eq=False)
class Simulation:
    """What came of some replications.

    Args:
        requests: a row for each: ``replication``, ``arrival``, ``start`` (its first sequence joined
            a batch), ``first`` (token), ``end`` (seconds from the beginning; nan if it did not come
            to that), ``asked`` (tier), ``tier`` (it got), ``user``, ``difficulty``, ``refused``,
            ``why``, ``retry_after`` (seconds), ``cut`` (ended by its deadline), ``predicted`` and
            ``tokens`` (decoded), ``prefilled``, ``reused``, ``seconds`` (of compute, its share of
            every step), ``machine``.
        machines: a row for each: ``replication``, ``machine``, ``busy`` (seconds that it computed),
            ``span`` (seconds until the last request's end), ``steps``, ``rows``, ``drawn``.
        warmup, until: requests that arrive in between are counted (seconds).
        load: work that is offered over work that can be done; nan where users wait for answers.
    """

    requests: pd.DataFrame
    machines: pd.DataFrame
    warmup: float
    until: float
    load: float

    def __repr__(self) -> str:
        return f"<{len(self.requests):,} requests, {self.told('p95')}; {self.verdict}>"

    @property
    def counted(self) -> pd.DataFrame:
        """The requests that arrived after the warm-up."""
        return self.requests[self.requests.arrival >= self.warmup]

    def estimate(self, quantity: str, statistic: str = "mean", tier: str | None = None) -> Estimate:
        """Return a mean or percentile over replications.

        A request that did not come so far counts as one that takes for ever. Times are those of
        requests that were served, and of those cut by a deadline that deadline: where many are
        refused or cut, few seconds are no good service. Read both shares beside them, or ``told``.

        Args:
            quantity: ``wait``, ``first`` or ``seconds``, see ``WAITS``; or a share: ``utilisation``
                (of the machines' time), ``refused``, ``degraded`` or ``cut`` (of the requests).
            statistic: of times ``mean``, ``p50``, ``p95`` or ``p99``; of shares ``mean``.
            tier: that was asked for; None is all.
        """
        require(quantity in WAITS + SHARES, "quantity", quantity, f"one of {WAITS + SHARES}")
        known = ("mean", *QUANTILES) if quantity in WAITS else ("mean",)
        require(statistic in known, "statistic", statistic, f"one of {known}")
        if quantity == "utilisation":
            by = self.machines.groupby("replication")[["busy", "span"]].sum()
            return Estimate.of([*(by.busy / by.span)]).within(1)
        rows = self.counted
        rows = rows if tier is None else rows[rows.asked == tier]
        found = [_read(one, quantity, statistic) for _, one in rows.groupby("replication")]
        return Estimate.of(found).within(math.inf if quantity in WAITS else 1)

    def told(self, statistic: str, tier: str | None = None) -> str:
        """Return in words after how many seconds that share of all requests has its answer.

        Args:
            statistic: ``p50``, ``p95`` or ``p99``. Where more than the rest are refused it is not
                reached; where more than the rest of those served are cut by their deadlines, they
                would have taken at least as long.
            tier: that was asked for; None is all.
        """
        require(statistic in QUANTILES, "statistic", statistic, f"one of {(*QUANTILES,)}")
        found, rest = self.estimate("seconds", statistic, tier), 1 - QUANTILES[statistic]
        refused, cut = (self.estimate(share, tier=tier).value for share in ("refused", "cut"))
        if refused > rest or not math.isfinite(found.value):
            return f"{statistic} not reached"
        seconds = f"{found.value:.2g} s" if found.value < 10 else f"{found.value:,.0f} s"
        if cut > rest * (1 - refused):
            by = "deadlines" if tier is None else "its deadline"
            return f"{statistic} ≥ {seconds} (cut by {by})"
        return f"{statistic} {seconds}"

    def summary(self, by_tier: bool = False) -> pd.DataFrame:
        """Return all estimates: ``tier`` ("" is all), ``quantity``, ``statistic``, ``value``,
        ``low``, ``high``, and ``n``, the requests that arrived."""
        import pandas as pd

        tiers: list[str | None] = [None]
        tiers += sorted(self.counted.asked.unique()) if by_tier else []
        wanted = [(quantity, name) for quantity in WAITS for name in ("mean", *QUANTILES)]
        wanted += [(share, "mean") for share in SHARES]
        rows = []
        for tier in tiers:
            n = len(self.counted) if tier is None else int((self.counted.asked == tier).sum())
            for quantity, name in wanted:
                if tier is None or quantity != "utilisation":
                    found = self.estimate(quantity, name, tier)
                    rows.append((tier or "", quantity, name, *found, n))
        columns = ["tier", "quantity", "statistic", "value", "low", "high", "n"]
        return pd.DataFrame(rows, columns=columns)

    # -- whether it can be served ------------------------------------------------------------------

    @property
    def growth(self) -> Estimate:
        """By how many requests a second those in the system grow, in the second half of the time.

        The slope of the least-squares line through their number at 200 times.
        """
        half = self.warmup + (self.until - self.warmup) / 2
        at = np.linspace(half, self.until, 200)
        slopes = []
        for _, rows in self.requests[~self.requests.refused].groupby("replication"):
            came, ended = np.sort(rows.arrival), np.sort(rows.end.fillna(math.inf))
            inside = np.searchsorted(came, at, "right") - np.searchsorted(ended, at, "right")
            slopes.append(float(np.polyfit(at - half, inside, 1)[0]))
        return Estimate.of(slopes)

    @property
    def unstable(self) -> bool:
        """Whether more is offered than is served: than the machines do with full batches, or so
        that those in the system grow and grow, or that many have to be refused or degraded.
        """
        return self.load > 1 or self._grows or self._lost > LOST

    @property
    def _lost(self) -> float:
        """The share of requests that do not get what they asked for, since there is no room."""
        return self.estimate("refused").value + self.estimate("degraded").value

    @property
    def _grows(self) -> bool:
        slope = self.growth
        least = slope.value if math.isnan(slope.low) else slope.low
        replications = max(self.requests.replication.nunique(), 1)
        rate = len(self.counted) / replications / max(self.until - self.warmup, 1e-9)
        return least > GROWS * rate

    @property
    def verdict(self) -> str:
        """Whether the load can be served, and what gives way, in words."""
        load = "" if math.isnan(self.load) else f" at load {self.load:.2f}"
        told = []
        if self.load > 1:
            told.append(f"{self.load:.2f} × the work that the machines can do is offered")
        if self._grows:
            told.append(f"the number of requests grows by {self.growth.value:.3g} a second")
        lost = {"refused": "refused", "degraded": "degraded", "cut": "cut by their deadlines"}
        for share, words in lost.items():
            if (found := self.estimate(share).value) > 0.01:
                told.append(f"{found:.0%} are {words}")
        if not self.unstable:
            return f"stable{load}{', but ' if told else ''}{', '.join(told)}"
        return f"unstable: {', '.join(told)}"


def _read(rows: pd.DataFrame, quantity: str, statistic: str) -> float:
    if quantity in ("refused", "cut"):
        return float(rows[quantity].mean())
    if quantity == "degraded":
        return float((rows.tier != rows.asked).mean())
    served = rows[~rows.refused]
    column = {"wait": "start", "first": "first", "seconds": "end"}[quantity]
    times = (served[column] - served.arrival).fillna(math.inf)
    if not len(times):
        return math.nan
    if statistic == "mean":
        return float(times.mean())
    return float(np.quantile(times, QUANTILES[statistic], method="inverted_cdf"))
