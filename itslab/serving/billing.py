"""What users pay by one price scheme or another, what their requests cost, and who pays for whom.

Everything is read off a table of requests, measured or simulated, one row each: ``user``, ``tier``
(that was served), ``difficulty`` (the class that it was thought to belong to), ``tokens``
(decoded), ``prefilled``, ``reused`` (of prompts) and ``seconds`` (of compute). Where it has a
column ``refused``, these rows are left out; where it has ``weight``, a row stands for so many
requests. Money is US dollars.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

import numpy as np

from itslab.core import require
from itslab.options import Bounds, Count, NotNegative, Options, Positive, described, fits
from itslab.study.prices import MILLION, Price

if TYPE_CHECKING:
    import pandas as pd

Below1 = Annotated[float, Bounds(high=1, open="high")]
GROUPS = ("user", "tier", "difficulty")
AMOUNTS = ("tokens", "prefilled", "reused", "seconds")
COLUMNS = GROUPS + AMOUNTS
Group = Literal["tier", "difficulty", "user"]

# -- schemes ---------------------------------------------------------------------------------------


class Scheme(Protocol):
    """What is asked for requests."""

    def charges(self, requests: pd.DataFrame, months: float) -> pd.Series[float]:
        """Return what each request of so many months is charged, in dollars."""
        ...


@dataclass(frozen=True)
class Flat(Options):
    """The same for everyone, whatever is asked.

    Args:
        month: of a user and month.
        request: of a request.
    """

    month: NotNegative = 0.0
    request: NotNegative = 0.0

    def charges(self, requests: pd.DataFrame, months: float) -> pd.Series[float]:
        """Return the price of a request, and its part of the user's fee that all of them share."""
        shared: pd.Series[float] = requests.groupby("user").user.transform("count")
        return self.request + self.month * months / shared


@dataclass(frozen=True)
class PerToken(Options):
    """By tokens, as providers bill: of a million of each kind; see ``Price``.

    Args:
        input: prompt tokens that are evaluated.
        cached: those that were evaluated before.
        output: decoded tokens, of samples that were not chosen as well.
    """

    input: NotNegative = 0.0
    cached: NotNegative = 0.0
    output: NotNegative = 0.0

    def charges(self, requests: pd.DataFrame, months: float) -> pd.Series[float]:
        """Return what the tokens of each request come to."""
        paid: pd.Series[float] = (
            self.input * requests.prefilled
            + self.cached * requests.reused
            + self.output * requests.tokens
        )
        return paid / MILLION


@dataclass(frozen=True)
class PerTier(Options):
    """By what was ordered: a price for a request of each tier.

    Args:
        prices: tier -> dollars.
    """

    prices: Mapping[str, NotNegative]

    def charges(self, requests: pd.DataFrame, months: float) -> pd.Series[float]:
        """Return the price of each request's tier."""
        return _listed(requests, "tier", self.prices)


@dataclass(frozen=True)
class ByDifficulty(Options):
    """By how hard a question is thought to be, before it is answered.

    Args:
        prices: class -> dollars of a request.
    """

    prices: Mapping[str, NotNegative]

    def charges(self, requests: pd.DataFrame, months: float) -> pd.Series[float]:
        """Return the price of each request's class."""
        return _listed(requests, "difficulty", self.prices)


def _listed(requests: pd.DataFrame, column: str, prices: Mapping[str, float]) -> pd.Series[float]:
    missing = {*requests[column]} - {*prices}
    require(not missing, "prices", prices, f"one for each {column}, {sorted(missing)} as well")
    return requests[column].map(prices).astype(float)


S = TypeVar("S", bound=Options)


def scaled(scheme: S, factor: float) -> S:
    """Return a scheme with all prices multiplied."""
    prices: dict[str, Any] = {}
    for each in fields(scheme):  # type: ignore[arg-type]
        value = getattr(scheme, each.name)
        several = isinstance(value, Mapping)
        prices[each.name] = {k: v * factor for k, v in value.items()} if several else value * factor
    return replace(scheme, **prices)  # type: ignore[type-var]


# -- what they come to -----------------------------------------------------------------------------


def charged(
    requests: pd.DataFrame, scheme: Scheme, price: Price, months: float = 1.0
) -> pd.DataFrame:
    """Return the requests with ``weight``, ``charge`` (what is asked), and ``cost`` (what is paid).

    Args:
        requests: see above.
        scheme: what is asked.
        price: what tokens, or the seconds of a device, cost whoever serves. Seconds in which it
            waits for requests are no request's: they are to be found in the price of an hour.
        months: that the table is of.

    Raises:
        OptionError: a column is missing or has gaps, an amount is no number or below 0, no
            request was served, or one has no price.
    """
    require(fits(months, Positive), "months", months, described(Positive))
    rows = _served(requests)
    cost = price.of(rows.prefilled, rows.reused, rows.tokens, rows.seconds)  # type: ignore[arg-type]
    return rows.assign(charge=scheme.charges(rows, months), cost=cost)


def _served(requests: pd.DataFrame) -> pd.DataFrame:
    """The requests that were served, with ``weight``; whatever cannot be billed is refused."""
    missing = [name for name in COLUMNS if name not in requests]
    require(not missing, "requests", [*requests], f"a table with {', '.join(missing)} as well")
    if "refused" in requests:
        told = requests.refused.dtype == bool
        require(told, "refused", requests.refused.dtype, "a column of True and False, without gaps")
        requests = requests[~requests.refused]
    require(len(requests) > 0, "requests", len(requests), "a table of one that was served, or more")
    rows = requests.assign(weight=requests.get("weight", 1.0))
    for name in GROUPS:
        kinds = sorted({type(value).__name__ for value in rows[name]})
        whole = len(kinds) == 1 and not rows[name].isna().any()
        require(whole, name, kinds, "named in every row, all of one type")
    for name in (*AMOUNTS, "weight"):
        column = rows[name]
        require(column.dtype.kind in "iuf", name, column.dtype, "a column of numbers")
        wrong = column[~(np.isfinite(column) & (column >= 0))].tolist()
        require(not wrong, name, wrong[:3], "finite and ≥ 0 in every row")
    require(bool((rows.weight > 0).any()), "weight", 0, "above 0 in one row or more")
    return rows


def bills(
    requests: pd.DataFrame, schemes: Mapping[str, Scheme], price: Price, months: float = 1.0
) -> pd.DataFrame:
    """Return what schemes come to, one row for each.

    Args:
        requests, price, months: as of ``charged``.
        schemes: by name.

    Returns:
        ``scheme``, ``users``, ``requests``; ``revenue``, ``cost``, ``margin`` (a month);
        ``margin_share`` (of the revenue); ``bill`` (of a user and month, the mean), ``p10``,
        ``p90``, ``cv`` (between users: standard deviation ÷ mean).
    """
    import pandas as pd

    require(len(schemes) > 0, "schemes", schemes, "at least one")
    rows = []
    for name, scheme in schemes.items():
        table = charged(requests, scheme, price, months)
        revenue, cost = (_sum(table, column) / months for column in ("charge", "cost"))
        users = _by_user(table)
        bill, weight = users.charge.to_numpy() / months, users.weight.to_numpy()
        mean = float(np.average(bill, weights=weight))
        spread = math.sqrt(np.average((bill - mean) ** 2, weights=weight))
        rows.append(
            {
                "scheme": name,
                "users": len(users),
                "requests": len(table),
                "revenue": revenue,
                "cost": cost,
                "margin": revenue - cost,
                "margin_share": _over(revenue - cost, revenue),
                "bill": mean,
                "p10": _quantile(bill, weight, 0.1),
                "p90": _quantile(bill, weight, 0.9),
                "cv": _over(spread, mean),
            }
        )
    return pd.DataFrame(rows)


def margins(
    requests: pd.DataFrame,
    schemes: Mapping[str, Scheme],
    price: Price,
    by: Group = "tier",
    months: float = 1.0,
) -> pd.DataFrame:
    """Return what each group of requests brings and costs, and who pays for whom.

    Args:
        requests, schemes, price, months: as of ``bills``.
        by: the column that groups them.

    Returns:
        ``scheme``, ``group``, ``requests``, ``revenue``, ``cost``, ``margin`` (a month),
        ``margin_share`` (of the revenue), and ``subsidy``: by how much the group's revenue is above
        what it would be if everyone paid their cost times the same number. Those above 0 pay for
        those below, and all of a scheme add up to 0.
    """
    import pandas as pd

    require(len(schemes) > 0, "schemes", schemes, "at least one")
    require(by in ("tier", "difficulty", "user"), "by", by, "'tier', 'difficulty' or 'user'")
    tables = []
    for name, scheme in schemes.items():
        table = charged(requests, scheme, price, months)
        money = table[["charge", "cost"]].mul(table.weight / months, axis=0)
        sums = money.groupby(table[by]).sum()
        revenue, cost = sums.charge, sums.cost
        tables.append(
            pd.DataFrame(
                {
                    "scheme": name,
                    "group": sums.index.astype(str),
                    "requests": table.groupby(by).size().to_numpy(),
                    "revenue": revenue.to_numpy(),
                    "cost": cost.to_numpy(),
                    "margin": (revenue - cost).to_numpy(),
                    "margin_share": [*map(_over, revenue - cost, revenue)],
                    "subsidy": (revenue - cost * _over(revenue.sum(), cost.sum())).to_numpy(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def earning(
    scheme: S, requests: pd.DataFrame, price: Price, margin: float = 0.3, months: float = 1.0
) -> S:
    """Return a scheme with its prices multiplied so that it earns a margin on these requests.

    Schemes can then be compared by what they do, and not by how dear they are.

    Args:
        scheme: of which the ratios of prices are kept.
        requests, price, months: as of ``charged``.
        margin: what is left of the revenue when costs are paid, as a fraction of it.

    Raises:
        OptionError: the scheme asks nothing for these requests.
    """
    return scaled(scheme, _needed(scheme, requests, price, margin, months))


def _needed(
    scheme: Any, requests: pd.DataFrame, price: Price, margin: float, months: float
) -> float:
    """What prices have to be multiplied with to earn a margin."""
    require(fits(margin, Below1), "margin", margin, described(Below1))
    table = charged(requests, scheme, price, months)
    revenue, cost = (_sum(table, column) for column in ("charge", "cost"))
    require(revenue > 0, "scheme", scheme, "one that asks something for these requests")
    return cost / (1 - margin) / revenue


# -- other mixes -----------------------------------------------------------------------------------


def reweighed(
    requests: pd.DataFrame, weights: Mapping[str, float], by: Group = "difficulty"
) -> pd.DataFrame:
    """Return the requests with weights, as if some groups were asked more often.

    Every user asks as much as before, so that fees stay as they are.

    Args:
        requests: as of ``charged``.
        weights: group -> how many times as often as now; 1 where nothing is said.
        by: the column that groups them.
    """
    _served(requests)
    unknown = {*weights} - {*requests[by]}
    require(not unknown, "weights", weights, f"of {sorted({*requests[by]})}")
    valid = all(fits(weight, NotNegative) for weight in weights.values())
    require(valid, "weights", weights, "numbers ≥ 0")
    weight = requests[by].map(lambda group: weights.get(group, 1.0)) * requests.get("weight", 1.0)
    mean = weight.groupby(requests.user).transform("mean")
    require(bool((mean > 0).all()), "weights", weights, "such that every user asks something")
    return requests.assign(weight=weight / mean)


def selected(
    requests: pd.DataFrame,
    scheme: Scheme,
    price: Price,
    strength: float = 1.0,
    months: float = 1.0,
) -> pd.DataFrame:
    """Return the requests with weights, as users come for whom the scheme is cheap, and others go.

    A user's weight is (cost ÷ bill) to the power of ``strength``, and all requests together are as
    many as before. This is adverse selection (Akerlof 1970, Quarterly Journal of Economics 84(3)):
    at one price for all, those who cost most stay.

    Args:
        requests, scheme, price, months: as of ``charged``.
        strength: how much users mind; at 0 they do not.
    """
    require(fits(strength, NotNegative), "strength", strength, described(NotNegative))
    users = _by_user(charged(requests, scheme, price, months))
    free = users.index[users.charge <= 0].tolist()
    require(not free, "scheme", scheme, f"one that asks something of everyone, {free[:3]} as well")
    weight = requests.user.map((users.cost / users.charge) ** strength).fillna(0.0)
    weight *= requests.get("weight", 1.0)
    before = requests.assign(weight=requests.get("weight", 1.0)).weight.sum()
    return requests.assign(weight=weight * before / weight.sum())


def adverse_selection(
    requests: pd.DataFrame,
    schemes: Mapping[str, Any],
    price: Price,
    *,
    strength: float = 1.0,
    rounds: int = 5,
    margin: float = 0.3,
    months: float = 1.0,
) -> pd.DataFrame:
    """Let users come and go, and prices follow, round by round.

    In every round prices are set so that the present users would bring the margin; then the next
    ones are ``selected`` among them by these prices. What is dear for those who cost little drives
    them away, so that it has to become dearer for those who stay.

    Args:
        requests, schemes, price, months: as of ``bills``.
        strength: as of ``selected``.
        rounds: how often.
        margin: as of ``earning``.

    Returns:
        ``scheme``, ``round`` (from 1), ``factor`` (prices over those of the first round) and
        ``margin_share`` (of the revenue, once users have come and gone).
    """
    import pandas as pd

    require(fits(rounds, Count), "rounds", rounds, described(Count))
    rows = []
    for name, scheme in schemes.items():
        present, factors = requests, []
        for number in range(1, rounds + 1):
            factors.append(_needed(scheme, present, price, margin, months))
            asked = scaled(scheme, factors[-1])
            present = selected(present, asked, price, strength, months)
            earned = bills(present, {name: asked}, price, months).margin_share[0]
            rows.append((name, number, factors[-1] / factors[0], earned))
    return pd.DataFrame(rows, columns=["scheme", "round", "factor", "margin_share"])


def _sum(table: pd.DataFrame, column: str) -> float:
    return float((table.weight * table[column]).sum())


def _by_user(table: pd.DataFrame) -> pd.DataFrame:
    """``charge`` and ``cost`` of each user, and the user's ``weight``: of how many it is one."""
    weight = table.groupby("user").weight.mean()
    money = table[["charge", "cost"]].mul(table.weight, axis=0).groupby(table.user).sum()
    money = money.div(weight, axis=0).assign(weight=weight)
    return money[weight > 0]


def _quantile(values: Any, weights: Any, q: float) -> float:
    """The smallest value at or below which lies that share of the weights."""
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(sums, q * sums[-1] * (1 - 1e-12))])


def _over(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
