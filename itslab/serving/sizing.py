"""Questions to the simulation: what another mix, rule or load does, and the machines it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from itslab.core import require
from itslab.options import Positive, UnitInterval, Whole, checked
from itslab.serving.capacity import Machines, Replications, Scenario, Span, simulate

if TYPE_CHECKING:
    import pandas as pd


def compare(scenarios: Mapping[Any, Scenario], seconds: float = 3600.0, **how: Any) -> pd.DataFrame:
    """Simulate several scenarios with the same random numbers.

    Args:
        scenarios: by name: such as a mix of harder questions, another order, or more machines.
        seconds, how: as of ``simulate``.

    Returns:
        The columns of ``Simulation.summary``, after ``scenario``, ``load``, ``machines`` and
        ``unstable``.
    """
    import pandas as pd

    tables = []
    for name, scenario in scenarios.items():
        done = simulate(scenario, seconds, **how)
        table = done.summary(by_tier=True)
        table.insert(0, "unstable", done.unstable)
        table.insert(0, "machines", scenario.fleet.machines)
        table.insert(0, "load", scenario.load)
        table.insert(0, "scenario", name)
        tables.append(table)
    require(len(tables) > 0, "scenarios", scenarios, "at least one")
    return pd.concat(tables, ignore_index=True)


def against_load(
    scenario: Scenario, loads: Sequence[float], seconds: float = 3600.0, **how: Any
) -> pd.DataFrame:
    """Simulate a scenario at several loads: the same requests, coming faster or slower.

    Args:
        scenario: at any rate of arrivals.
        loads: work offered over what the machines can do; see ``Scenario.load``.
        seconds, how: as of ``simulate``.

    Returns:
        As of ``compare``; a scenario's name is its load.
    """
    wrong = [load for load in loads if not (math.isfinite(load) and load > 0)]
    require(not wrong, "loads", loads, "numbers > 0")
    return compare({load: scenario.faster(load / scenario.load) for load in loads}, seconds, **how)


@dataclass(frozen=True, eq=False)
class Sizing:
    """How many machines keep a promise.

    Args:
        machines: the fewest; None if none of those tried do.
        tried: a row for each number tried: ``machines``, ``load``, ``value``, ``low``, ``high``
            (of the quantity, seconds), ``refused``, ``cut`` (shares), ``enough``.
        said: that in words, and whether intervals leave it open.
    """

    machines: int | None
    tried: pd.DataFrame
    said: str

    def __repr__(self) -> str:
        return f"<{self.said}>"


@checked
def machines_for(
    scenario: Scenario,
    target: Positive,
    seconds: Span = 3600.0,
    *,
    quantity: Literal["wait", "first", "seconds"] = "seconds",
    statistic: Literal["mean", "p50", "p95", "p99"] = "p95",
    refused: UnitInterval = 0.01,
    cut: UnitInterval = 0.05,
    most: Machines = 64,
    replications: Replications = 5,
    seed: Whole = 0,
) -> Sizing:
    """Return the fewest machines that keep a percentile under a target.

    They do if the whole interval lies below it (with one replication, which has none: the value).
    Found by bisection between those below which the load is above 1, and ``most``: more machines
    are taken to be no worse.

    Args:
        scenario: its number of machines does not matter.
        target: seconds.
        seconds, replications, seed: as of ``simulate``.
        quantity, statistic: as of ``Simulation.estimate``: what has to stay under it.
        refused: the share of requests that may be refused besides.
        cut: the share that deadlines may end: who is cut has not waited longer, and no answer.
        most: machines, beyond which nobody looks.
    """
    import pandas as pd

    rows: dict[int, dict[str, Any]] = {}
    unsure: list[int] = []  # numbers whose interval has the target inside

    def enough(machines: int) -> bool:
        if machines not in rows:
            case = scenario.on(machines)
            done = simulate(case, seconds, replications=replications, seed=seed)
            found = done.estimate(quantity, statistic)
            lost, ended = (done.estimate(share).value for share in ("refused", "cut"))
            served = not done.unstable and lost <= refused and ended <= cut
            reaches = found.value if math.isnan(found.high) else found.high
            told = {"machines": machines, "load": case.load, **found._asdict()}
            told |= {"refused": lost, "cut": ended, "enough": served and reaches <= target}
            rows[machines] = told
            unsure.extend([machines] if served and found.value <= target < reaches else [])
        return bool(rows[machines]["enough"])

    load = scenario.on(1).load
    low = 1 if math.isnan(load) else max(math.ceil(load), 1)
    high: int | None = most
    if low > most or not enough(most):
        high = None
    while high is not None and low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    name = f"{statistic} of {quantity} under {target:g} s"
    if high is not None:
        one = high == 1
        said = f"{high} machine{'' if one else 's'} keep{'s' if one else ''} {name}"
    elif low > most:
        said = f"the load alone takes {low} machines, and at most {most} were to be tried"
    else:
        said = f"not even {most} machines keep {name}"
    if unsure:
        said += (
            f"; {min(unsure)} may, by an interval that reaches {rows[min(unsure)]['high']:.3g} s"
        )
    columns = ["machines", "load", "value", "low", "high", "refused", "cut", "enough"]
    table = pd.DataFrame([rows[n] for n in sorted(rows)], columns=columns)
    return Sizing(high, table, said)
