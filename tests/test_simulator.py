"""The simulator of notebook 08: every control of it is moved, and says what it does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from itslab.core import OptionError
from itslab.serving.capacity import Fleet, Terms
from itslab.serving.lobby import Admission
from itslab.serving.machine import Curve
from itslab.serving.mix import Query
from itslab.serving.traces import Trace
from itslab.viz.panels import FigurePanel
from itslab.viz.simulator import ENOUGH, RULES, RUNS, TRAFFIC, Simulator

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
    named = [trace.name for trace in shown.data if trace.mode == "lines"]
    assert [name.split(":")[0] for name in named] == ["fast", "deep"]
    rows = simulator.simulation.counted
    lines = [trace for trace in shown.data if trace.mode == "lines"]
    for trace, tier in zip(lines, SHARES, strict=True):
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
    assert len(simulator.simulation.requests) < 1.2 * RUNS * ENOUGH
    simulator.machines.value = 8
    assert "Stable" in title(simulator)
    assert p95(simulator) < crowded
    simulator.share.value = 0.0
    assert {trace.name.split(":")[0] for trace in simulator.figure().data} <= {
        "fast",
        "deadline of fast",
    }
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


def test_more_load_does_not_look_like_faster_answers(simulator) -> None:
    terms = {"fast": Terms(1, 15.0), "deep": Terms(0, 60.0)}
    panel = Simulator(replace(FLEET, terms=terms), simulator._queries, SHARES, seconds=600)
    panel.rate.value = 24
    assert "are refused" in title(panel).replace("<br>", " ")
    assert "p95 not reached" in title(panel).replace("<br>", " ")
    panel.machines.value = 3
    shown = panel.figure()
    assert "cut by their deadlines" in title(panel).replace("<br>", " ")
    marks = {trace.name: trace.x[0] for trace in shown.data if trace.mode == "markers"}
    assert marks["deadline of deep"] == 60
    assert any("(cut by its deadline)" in (trace.name or "") for trace in shown.data)


def test_a_change_is_answered_at_once_and_then_in_full(simulator, monkeypatch) -> None:
    seen = []
    show = FigurePanel.show
    look = lambda panel: (seen.append((panel.message.value, panel._runs)), show(panel))  # noqa: E731
    monkeypatch.setattr(FigurePanel, "show", look)
    simulator.rate.value = 8
    assert [("computing" in message, runs) for message, runs in seen] == [(True, 1), (True, RUNS)]
    assert simulator.message.value == ""
    simulator.rate.value, seen[:] = 4, []
    simulator.rate.value = 8  # known by now
    assert [runs for _, runs in seen] == [RUNS]


def test_one_tier_is_no_choice() -> None:
    with pytest.raises(OptionError, match="two or more"):
        Simulator(FLEET, [query(60, "easy")], {"fast": 1.0})
