"""The simulator of notebook 08: every control of it is moved, and says what it does."""

from __future__ import annotations

import pytest

from itslab.core import OptionError
from itslab.serving.capacity import Fleet, Terms
from itslab.serving.lobby import Admission
from itslab.serving.machine import Curve
from itslab.serving.mix import Query
from itslab.serving.traces import Trace
from itslab.viz.simulator import RULES, TRAFFIC, Simulator

CURVE = Curve((1, 16), (0.05, 0.2))
TERMS = {"fast": Terms(1, 60.0), "deep": Terms(0, 60.0)}
FLEET = Fleet(CURVE, admission=Admission(at_once=4, queue=4), terms=TERMS)
SHARES = {"fast": 0.7, "deep": 0.3}


def query(length: int, difficulty: str) -> Query:
    fast, deep = Trace.parallel(50, [length]), Trace.parallel(50, [length] * 8)
    return Query({"fast": fast, "deep": deep}, difficulty)


@pytest.fixture
def simulator() -> Simulator:
    queries = [query(60, "easy"), query(90, "middling"), query(300, "hard")]
    return Simulator(FLEET, queries, SHARES, seconds=600)


def title(panel: Simulator) -> str:
    return panel.figure().layout.title.text


def p95(panel: Simulator) -> float:
    return panel.simulation.estimate("seconds", "p95").value


def test_what_is_shown_is_what_was_simulated(simulator) -> None:
    shown = simulator.figure()
    assert title(simulator).startswith("Stable at load")
    named = [trace.name for trace in shown.data]
    assert [name.split(":")[0] for name in named] == ["fast", "deep"]
    rows = simulator.simulation.counted
    for trace, tier in zip(shown.data, SHARES, strict=True):
        asked = rows[rows.asked == tier]
        assert f"n = {len(asked):,}" in trace.name
        within = ((asked.end - asked.arrival) <= trace.x[9]).mean()
        assert trace.y[9] == pytest.approx(within)


def test_every_control_does_what_it_says(simulator) -> None:
    slow = p95(simulator)
    simulator.rate.value = 24
    assert "nstable" in title(simulator)
    crowded = p95(simulator)
    assert crowded > slow
    simulator.machines.value = 8
    assert "Stable" in title(simulator)
    assert p95(simulator) < crowded
    simulator.share.value = 0.0
    assert [trace.name[:4] for trace in simulator.figure().data] == ["fast"]
    simulator.share.value, simulator.rate.value, simulator.machines.value = 0.3, 4, 1
    assert simulator.hard.description == "hard questions"  # those that take most, by any name
    easier = p95(simulator)
    simulator.hard.value = 4.0
    assert p95(simulator) > easier
    for rules in RULES:
        simulator.rules.value = rules
        assert simulator.simulation.counted.asked.isin([*SHARES]).all()
    for traffic in TRAFFIC:
        simulator.traffic.value = traffic
        assert len(simulator.simulation.counted) > 20
    simulator.rules.value = "tiers first, degrade when full"
    simulator.rate.value = 24
    assert simulator.simulation.estimate("degraded").value > 0


def test_one_tier_is_no_choice() -> None:
    with pytest.raises(OptionError, match="two or more"):
        Simulator(FLEET, [query(60, "easy")], {"fast": 1.0})
