"""Capacity: by hand, against the engine, against closed forms, and what never may happen."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import itslab as its
from itslab import share, tasks, viz
from itslab.backends.scheduler import Service
from itslab.core import Completion, Cost, ItslabError, OptionError, Tree, Verdict
from itslab.serving import capacity
from itslab.serving.capacity import Fleet, Scenario, Terms, simulate
from itslab.serving.limits import Limit
from itslab.serving.lobby import Admission
from itslab.serving.machine import Curve, Machine, Wave, saturated
from itslab.serving.mix import Mix, Query, questions
from itslab.serving.sizing import against_load, compare, machines_for
from itslab.serving.summary import Estimate
from itslab.serving.traces import Draw, Trace
from itslab.serving.traffic import (
    Arrival,
    Arrivals,
    Bursts,
    Diurnal,
    Poisson,
    Recorded,
    Users,
    thinned,
)

if TYPE_CHECKING:
    from itslab.backends.llama import Llama

LINEAR = Curve((1, 1000), (1.0, 1000.0))  # a step takes as many seconds as it has rows


# -- traces ----------------------------------------------------------------------------------------


def test_a_run_is_waves_of_what_was_ordered_before_anything_came_back() -> None:
    """Two samples, a verdict on each, of which one took two calls, then one sample more."""
    tree = Tree()
    root = tree.add(None, "user", "?")
    first, second = (tree.add(root, "assistant", status="open") for _ in range(2))
    tree.finish(second, Completion("b", cost=Cost(reused=10, decoded=7, calls=1)))
    tree.finish(first, Completion("a", cost=Cost(prefilled=4, reused=6, decoded=5, calls=1)))
    tree.judge(first, Verdict(1.0, Cost(prefilled=30, decoded=2, calls=2)))
    tree.judge(second, Verdict(0.0, Cost(prefilled=20, decoded=1, calls=1)))
    third = tree.add(first, "assistant", status="open")
    tree.finish(third, Completion("c", cost=Cost(prefilled=1, reused=15, decoded=3, calls=1)))
    trace = Trace.of(tree)
    assert trace.waves == (
        (Draw(10, 5), Draw(10, 7, 10)),  # the first evaluates all, whoever asked before
        (Draw(15, 1), Draw(15, 1), Draw(20, 1)),
        (Draw(16, 3, 15),),
    )
    assert (trace.tokens, trace.prefilled, trace.reused) == (18, 61, 25)


def test_recorded_samples_of_a_vote_are_one_wave() -> None:
    task = tasks.load("gsm_symbolic", n=2)
    model = share.Recording("replay").backend("qwen2.5-coder-0.5b", "gsm_symbolic")
    one, eight = (
        [its.solve(problem.prompt, its.SelfConsistency(n), model) for problem in task]
        for n in (1, 8)
    )
    asked = questions({"fast": one, "deep": eight}, ["easy", "hard"])
    assert [query.difficulty for query in asked] == ["easy", "hard"]
    for query, result in zip(asked, eight, strict=True):
        [wave] = query.traces["deep"].waves
        lengths = [node.completion.cost.decoded for node in result.tree if node.completion]
        assert len(lengths) == 8
        assert query.traces["deep"] == Trace.parallel(wave[0].prompt, lengths)
        assert query.traces["fast"].draws == [wave[0]]
    with pytest.raises(OptionError, match="results"):
        questions({"fast": one, "deep": eight[:1]})
    with pytest.raises(OptionError, match="difficulty"):
        questions({"fast": one}, ["easy"])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Trace(()), "waves"),
        (lambda: Trace(((),)), "waves"),
        (lambda: Trace.of(Tree()), "run"),
        (lambda: Trace.of("run"), "run"),  # type: ignore[arg-type]
        (lambda: Trace.parallel(3, []), "lengths"),
        (lambda: Draw(3, 4, 5), "cached"),
        (lambda: Draw(3, 0, 3), "cached"),
        (lambda: Draw(0, 0), "prompt"),
    ],
)
def test_what_draws_nothing_is_no_trace(made: object, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        made()  # type: ignore[operator]


# -- the curve -------------------------------------------------------------------------------------


def test_a_curve_is_linear_between_its_points_and_goes_on_with_their_slope() -> None:
    curve = Curve((1, 4, 8, 16), (1.0, 1.3, 2.0, 4.0))
    assert curve(1) == 1.0
    assert curve(6) == pytest.approx(1.65)
    assert curve(20) == pytest.approx(4.0 + 4 * 0.25)  # a line through 8 and 16
    assert Curve((4,), (2.0,))(1) == Curve((4,), (2.0,))(100) == 2.0
    assert Curve((1, 2), (2.0, 1.0))(9) == 1.0  # more rows never take less than those measured


def test_a_curve_is_read_off_speeds(tmp_path: Path) -> None:
    curve = Curve.of({8: [70.0, 80.0, 90.0], 1: 20.0})
    assert (curve.rows, curve.seconds) == ((1, 8), (0.05, 0.1))
    path = tmp_path / "speed.json"
    path.write_text(json.dumps({"speed": {"itslab": {"1": [20.0], "8": [80.0]}}}))
    assert Curve.read(path) == curve
    path.write_text("[]")
    with pytest.raises(ItslabError, match="itslab bench MODEL --json"):
        Curve.read(path)
    with pytest.raises(OptionError, match="speeds"):
        Curve.of({1: 0.0})
    with pytest.raises(OptionError, match="rows"):
        Curve((2, 1), (1.0, 1.0))


# -- the machine -----------------------------------------------------------------------------------


def run(machine: Machine, waves: Sequence[Wave], most: int = 10**9) -> float:
    """Step a machine until it is idle, as many alike steps at once as there may be."""
    now = 0.0
    while plan := machine.plan(now):
        times = min(machine.alike(plan), most)
        now += times * machine.seconds(plan)
        machine.take(plan, times, now)
    assert machine.work == 0
    assert not any(wave.left for wave in waves)
    return now


def test_two_samples_of_a_prompt_by_hand() -> None:
    """Four rows of the prompt; then both draw, the second from what the first evaluated."""
    ended: list[str] = []
    machine = Machine(LINEAR, batch_size=2)
    wave = Wave(lambda: ended.append("wave"))
    machine.submit(Trace.parallel(4, [2, 3]).waves[0], Service(), 0.0, wave)
    assert machine.work == 4 + 1 + 2
    assert run(machine, [wave]) == 4 + 2 + 1
    assert ended == ["wave"]
    assert (wave.joined, wave.first_token) == (0, 4)
    assert (machine.steps, machine.rows, machine.drawn) == (3, 7, 5)
    assert (wave.prefilled, wave.reused, wave.drawn, wave.seconds) == (4, 4, 5, 7)


def test_steps_that_are_alike_may_be_taken_at_once() -> None:
    times = []
    for most in (1, 10**9):
        rng = np.random.default_rng(0)
        machine, waves = Machine(Curve((1, 8), (1.0, 3.0)), batch_size=5), []
        for i in range(12):
            waves.append(Wave(lambda: None))
            lengths = rng.integers(1, 40, 3).tolist()
            draws = Trace.parallel(int(rng.integers(1, 300)), lengths).waves[0]
            machine.submit(draws, Service(f"user {i % 3}"), 0.0, waves[-1])
        run(machine, waves, most)
        times.append([(w.joined, w.first_token, w.seconds) for w in waves] + [machine.steps])
    assert times[0][-1] == times[1][-1] > 100
    assert np.allclose(times[0][:-1], times[1][:-1])


def test_a_wave_that_is_cancelled_leaves_the_batch() -> None:
    machine = Machine(LINEAR, batch_size=2)
    waves = [Wave(lambda: None), Wave(lambda: None)]
    for wave in waves:
        machine.submit([Draw(1, 50), Draw(1, 50)], Service(), 0.0, wave)
    plan = machine.plan(0.0)
    machine.take(plan, 10, 20.0)
    machine.cancel(waves[0])
    assert run(machine, waves) == 100
    assert (waves[0].drawn, waves[1].drawn) == (20, 100)


def test_the_machine_takes_the_steps_of_the_engine(llm: Llama) -> None:
    """Steps, rows and tokens are those of a real engine that was asked for the same."""
    before = replace(llm.stats)
    result = its.solve(
        "Name three rivers.", its.SelfConsistency(12, sampling=its.Sampling(max_tokens=24)), llm
    )
    trace = Trace.of(result)
    machine, wave = Machine(LINEAR, batch_size=llm.batch_size), Wave(lambda: None)
    machine.submit(trace.waves[0], Service(), 0.0, wave)
    run(machine, [wave])
    assert machine.drawn == llm.stats.drawn - before.drawn
    # A trace evaluates its first prompt anew, of which the engine may know the beginning.
    [_, first, *_] = result.tree
    assert first.completion is not None
    found = first.completion.cost.reused
    assert machine.rows == llm.stats.evaluated - before.evaluated + found
    assert machine.steps == llm.stats.steps - before.steps


# -- closed forms ----------------------------------------------------------------------------------

STEP, MEAN = 0.001, 1000  # seconds, tokens: a request takes a second on average


def queue(tokens: np.ndarray, places: int, rate: float) -> tuple[Scenario, float]:
    """Requests of one sequence at a machine that is a queue, and their mean service time."""
    lengths = np.ceil(tokens).astype(int).tolist()
    queries = [Query({"all": Trace.parallel(1, [n])}) for n in lengths]
    curve = Curve((1, places), (STEP, STEP)) if places > 1 else Curve((1,), (STEP,))
    everyone = Admission(at_once=10**6, queue=10**6, order="arrival")
    fleet = Fleet(curve, batch_size=places, admission=everyone)
    scenario = Scenario(fleet, Mix(queries, {"all": 1.0}), Poisson(rate))
    return scenario, float(np.mean(lengths)) * STEP


def within(found: Estimate, expected: float, tolerance: float) -> bool:
    """Whether it is near, and within twice the interval."""
    half = (found.high - found.low) / 2
    return abs(found.value - expected) < min(2 * half, tolerance * expected)


def erlang_c(places: int, load: float) -> float:
    """How likely one has to wait in M/M/c, of whose servers ``load`` are busy on average."""
    all_busy = load**places / math.factorial(places) * places / (places - load)
    return all_busy / (sum(load**k / math.factorial(k) for k in range(places)) + all_busy)


def test_one_server_with_exponential_services_is_m_m_1() -> None:
    """Times in the system are exponential, with the mean 1 / (μ − λ)."""
    scenario, service = queue(np.random.default_rng(0).exponential(MEAN, 5000), 1, rate=0.6)
    done = simulate(scenario, 3000, replications=6, seed=4)
    mean = 1 / (1 / service - 0.6)
    assert within(done.estimate("seconds"), mean, 0.08)
    assert within(done.estimate("wait"), 0.6 * service * mean, 0.12)
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert within(done.estimate("seconds", name), -math.log(1 - q) * mean, 0.15)
    assert within(done.estimate("utilisation"), 0.6 * service, 0.03)
    assert done.load == pytest.approx(0.6 * service, rel=0.01)
    assert "stable at load 0.6" in done.verdict


def test_a_batch_of_three_is_m_m_3() -> None:
    """Waiting is Erlang's C over what is left of the servers."""
    scenario, service = queue(np.random.default_rng(0).exponential(MEAN, 5000), 3, rate=2.1)
    done = simulate(scenario, 1200, replications=6, seed=5)
    load = 2.1 * service
    assert within(done.estimate("wait"), erlang_c(3, load) * service / (3 - load), 0.15)
    assert done.load == pytest.approx(load / 3, rel=0.01)


@pytest.mark.parametrize("shape", [[500, 500, 500, 2500], [1000]])
def test_one_server_with_any_services_is_m_g_1(shape: list[int]) -> None:
    """Waiting is λ E[S²] / 2(1 − ρ), of Pollaczek and Khinchine."""
    scenario, service = queue(np.array(shape), 1, rate=0.6)
    done = simulate(scenario, 2500, replications=6, seed=0)
    square = float(np.mean(np.square(shape))) * STEP**2
    expected = 0.6 * square / 2 / (1 - 0.6 * service)
    assert within(done.estimate("wait"), expected, 0.12)


# -- what never may happen -------------------------------------------------------------------------

CURVE = Curve.of({1: 32, 4: 70, 8: 95, 16: 120})


def mixed(seed: int = 0, **more: object) -> Mix:
    """Twenty questions, the hard ones longer, in three tiers of 1, 4 and 8 samples."""
    rng = np.random.default_rng(seed)
    queries = []
    for i in range(20):
        mean = 60 if i % 2 else 30
        lengths = (1 + rng.poisson(mean, 8)).tolist()
        one, four, eight = (Trace.parallel(50, lengths[:n]) for n in (1, 4, 8))
        traces = {"fast": one, "balanced": four, "deep": Trace(eight.waves + four.waves)}
        queries.append(Query(traces, "hard" if i % 2 else "easy"))
    tiers = {"fast": 0.6, "balanced": 0.3, "deep": 0.1}
    return Mix(queries, tiers, {"ann": 2.0, "bob": 1.0}, **more)  # type: ignore[arg-type]


BUSY = Scenario(
    Fleet(
        CURVE,
        machines=2,
        admission=Admission(at_once=6, queue=16, full="degrade", patience=6.0),
        terms={"fast": Terms(1, 4.0), "deep": Terms(-1)},
        limits=(Limit(per_minute=20_000),),
    ),
    mixed(),
    Bursts(quiet=0.5, busy=8.0),
)


def test_nothing_is_lost_and_every_second_is_charged() -> None:
    """The sums of requests are the counters of the machines, whatever befalls them."""
    done = simulate(BUSY, 400, replications=2, warmup=0, seed=4)
    rows = done.requests
    told = {"refused": rows.refused, "cut": rows.cut, "degraded": rows.asked != rows.tier}
    assert all(share.mean() > 0.01 for share in told.values())
    assert {"full", "patience"} <= {*rows.why}
    assert (rows.end.isna() == rows.refused).all()
    assert (rows.retry_after.notna() == rows.refused).all()
    for i, machines in done.machines.groupby("replication"):
        ours = rows[rows.replication == i]
        assert ours.tokens.sum() == machines.drawn.sum()
        assert ours.seconds.sum() == pytest.approx(machines.busy.sum())
        assert (machines.busy <= machines.span).all()
    served = rows[~rows.refused & ~rows.cut]
    assert (served.arrival <= served.start).all()
    assert (served.start < served["first"]).all()
    assert (served["first"] <= served.end).all()
    assert (served.prefilled > 0).all()
    late = rows[(rows.asked == "fast") & ~rows.refused]
    assert 4 < (late.end - late.arrival).max() < 4 + CURVE(16 + 128)  # with the step under way
    assert {*rows.machine} == {-1, 0, 1}


def test_as_many_are_inside_as_arrive_while_one_is_inside() -> None:
    """Little's law: L = λ W, with L added up by itself."""
    done = simulate(replace(BUSY, arrivals=Poisson(0.7)), 600, replications=1, warmup=0, seed=5)
    rows = done.requests[~done.requests.refused]
    end = rows.end.max()
    at = np.linspace(0, end, 200_001)
    inside = np.searchsorted(np.sort(rows.arrival), at) - np.searchsorted(np.sort(rows.end), at)
    assert inside.mean() == pytest.approx(
        len(rows) / end * (rows.end - rows.arrival).mean(), rel=1e-3
    )


def test_the_same_seed_is_the_same_simulation() -> None:
    one, two, other = (simulate(BUSY, 60, replications=2, seed=seed) for seed in (1, 1, 2))
    assert one.requests.equals(two.requests)
    assert not one.requests.equals(other.requests)
    assert one.requests.arrival[one.requests.replication == 1].iloc[0] != one.requests.arrival[0]


def test_users_who_wait_for_answers_come_as_fast_as_they_are_served() -> None:
    done = simulate(replace(BUSY, arrivals=Users(8)), 200, replications=2, seed=6)
    served = done.requests[~done.requests.refused]
    inside = [((served.arrival <= t) & (served.end > t)).sum() / 2 for t in range(50, 200, 10)]
    assert max(inside) <= 8
    assert done.estimate("utilisation").value > 0.95
    assert math.isnan(done.load)
    assert {*done.requests.user} == {f"user{i}" for i in range(1, 9)}


# -- policies --------------------------------------------------------------------------------------


def overloaded(**admission: object) -> Scenario:
    """Ten times what one machine can do."""
    return Scenario(Fleet(CURVE, admission=Admission(**admission)), mixed(), Poisson(8.0))  # type: ignore[arg-type]


def test_more_than_can_be_done_is_said_and_ends() -> None:
    endless = overloaded(at_once=10**6, queue=10**6)
    done = simulate(endless, 120, replications=2)
    assert done.load > 4
    assert done.unstable
    assert "× the work" in done.verdict
    assert "grows by" in done.verdict
    assert math.isinf(done.estimate("seconds", "p99").value)  # never came to their end
    shed = simulate(overloaded(at_once=8, queue=8), 120, replications=2)
    assert re.search(r"\d\d% are refused", shed.verdict)
    assert math.isfinite(shed.estimate("seconds", "p99").value)
    assert (shed.requests.retry_after.dropna() > 0).all()


def test_a_simulation_is_bounded_in_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "MOST", 100)
    done = simulate(overloaded(at_once=8, queue=8), 1e6, replications=1, warmup=0)
    assert len(done.requests) == 100
    assert done.until < 100


def test_far_too_much_is_said_to_be_so_with_a_warm_up_that_fits_what_came() -> None:
    done = simulate(replace(overloaded(at_once=8, queue=8), arrivals=Poisson(600)), replications=1)
    assert done.until < 60
    assert done.warmup == pytest.approx(done.until / 10)
    assert "× the work" in done.verdict
    with pytest.raises(OptionError, match="in which all came"):
        simulate(overloaded(), 10_000, replications=1, warmup=9000)


def test_spells_too_short_to_be_walked_through_are_jumped_over() -> None:
    rare = Bursts(0, 2e-3, 1e-3, 1e-3)  # a request in a thousand seconds, or a million spells
    times = [next(rare.times(np.random.default_rng(i))).time for i in range(400)]
    assert np.mean(times) == pytest.approx(1000, rel=0.15)


def test_a_percentile_that_lies_at_a_deadline_says_so() -> None:
    """A deadline cuts what takes long, so that more load would look like faster answers."""
    fleet = Fleet(CURVE, terms={tier: Terms(deadline=2.0) for tier in mixed().tiers})
    done = simulate(Scenario(fleet, mixed(), Poisson(0.4)), 200, replications=2)
    assert done.estimate("cut").value > 0.05
    assert re.fullmatch(r"p95 ≥ 2\.\d+ s \(cut by deadlines\)", done.told("p95"))
    assert done.told("p95", "deep").endswith("(cut by its deadline)")
    assert re.search(r"\d+% are cut by their deadlines", done.verdict)
    shed = simulate(overloaded(at_once=8, queue=8), 60, replications=2)
    assert shed.told("p95") == "p95 not reached"
    alone = simulate(replace(BUSY, fleet=Fleet(CURVE), arrivals=Poisson(0.01)), 2000)
    assert re.fullmatch(r"p95 [\d.]+ s", alone.told("p95"))


def test_degrading_serves_more_than_shedding() -> None:
    shed, degrade = (
        simulate(overloaded(at_once=8, queue=16, full=full), 120, replications=2, seed=7)
        for full in ("shed", "degrade")
    )
    assert degrade.estimate("refused").value < shed.estimate("refused").value
    assert degrade.estimate("degraded").value > 0.05
    changed = degrade.requests[degrade.requests.tier != degrade.requests.asked]
    assert "fast" in {*changed.tier} <= {"fast", "balanced"}


def test_the_shortest_first_waits_less_and_a_tier_with_priority_least() -> None:
    def waits(order: str, tier: str | None = None) -> float:
        fleet = Fleet(
            CURVE,
            admission=Admission(at_once=2, queue=1000, order=order),  # type: ignore[arg-type]
            terms={"deep": Terms(priority=1)},
        )
        case = Scenario(fleet, mixed(), Poisson(0.6))
        return simulate(case, 400, replications=2, seed=8).estimate("wait", tier=tier).value

    assert waits("shortest") < 0.8 * waits("arrival")
    assert waits("tier", "deep") < 0.5 * waits("arrival", "deep")


def test_machines_are_chosen_in_turn_or_by_what_they_have_to_do() -> None:
    long, short = (Query({"all": Trace.parallel(10, [n])}, str(n)) for n in (400, 10))
    arrivals = Recorded(tuple(Arrival(0.5 * i) for i in range(40)))
    waits = {}
    for choose in ("turn", "requests", "work"):
        fleet = Fleet(CURVE, machines=2, batch_size=1, choose=choose)  # type: ignore[arg-type]
        mix = Mix([long, short], {"all": 1.0})
        done = simulate(Scenario(fleet, mix, arrivals), 600, replications=1, warmup=0, seed=9)
        waits[choose] = done.estimate("wait").value
        if choose == "turn":
            assert list(done.requests.machine) == [0, 1] * 20
    assert waits["work"] <= waits["requests"] * 1.01
    assert waits["work"] < waits["turn"]


@pytest.mark.parametrize("predict", ["exact", "tier", "difficulty"])
def test_what_the_lobby_is_told_is_exact_or_a_mean(predict: str) -> None:
    fleet = replace(BUSY.fleet, predict=predict)  # type: ignore[arg-type]
    rows = simulate(replace(BUSY, fleet=fleet), 60, replications=1, warmup=0).requests
    rows = rows[~rows.refused & ~rows.cut & (rows.tier == "balanced")]
    assert rows.predicted.equals(rows.tokens.astype(float)) == (predict == "exact")
    assert rows.predicted.nunique() == {"tier": 1, "difficulty": 2}.get(
        predict, len({*rows.tokens})
    )


# -- questions -------------------------------------------------------------------------------------


def test_harder_questions_are_more_load_and_longer_waits() -> None:
    base = Scenario(Fleet(CURVE, machines=2), mixed(), Poisson(0.9))
    cases = {"as it is": base, "hard × 4": replace(base, mix=mixed(difficulty={"hard": 4.0}))}
    table = compare(cases, 300, replications=2)
    by_hand = saturated(Trace.parallel(50, [31]), CURVE, 16)
    assert by_hand == pytest.approx(30 / 120 + 50 * (CURVE(144) - CURVE(16)) / 128)
    p95 = table[(table.quantity == "seconds") & (table.statistic == "p95") & (table.tier == "")]
    assert list(p95.scenario) == [*cases]
    assert p95.load.is_monotonic_increasing
    assert p95.value.is_monotonic_increasing
    assert not table.unstable.any()


def test_the_fewest_machines_that_keep_a_promise() -> None:
    """Of M/M/c, by Erlang's formula: 3 servers keep a mean wait of 0.6 s, 2 do not."""
    scenario, service = queue(np.random.default_rng(0).exponential(MEAN, 5000), 1, rate=1.7)
    sized = machines_for(
        scenario, 0.6, 600, quantity="wait", statistic="mean", replications=3, most=8
    )
    load = 1.7 * service
    assert erlang_c(2, load) * service / (2 - load) > 0.6 > erlang_c(3, load) * service / (3 - load)
    assert sized.machines == 3
    assert list(sized.tried.machines) == [2, 3, 5, 8]
    assert sized.said == "3 machines keep mean of wait under 0.6 s"  # and the interval lies below
    unsure = machines_for(scenario, 0.36, 60, quantity="wait", statistic="mean", replications=2)
    assert "by an interval that reaches" in unsure.said
    assert (unsure.tried.high[unsure.tried.enough] <= 0.36).all()


def test_where_no_number_of_machines_will_do_it_is_said() -> None:
    case = Scenario(Fleet(CURVE), mixed(), Poisson(0.2))
    sized = machines_for(case, 0.1, 60, replications=2, most=4)
    assert sized.machines is None
    assert sized.said == "not even 4 machines keep p95 of seconds under 0.1 s"
    sized = machines_for(case.faster(100), 10.0, 60, most=4)
    assert re.fullmatch(r"the load alone takes \d+ machines, .* 4 were to be tried", sized.said)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Fleet(CURVE, machines=0), "machines"),
        (lambda: Fleet(CURVE, limits=(Limit("flops"),)), "limits"),
        (lambda: Fleet(CURVE, choose="random"), "choose"),  # type: ignore[arg-type]
        (lambda: simulate(BUSY, 0), "seconds"),
        (lambda: simulate(BUSY, 10, warmup=20), "warmup"),
        (lambda: simulate(replace(BUSY, arrivals=Poisson(1e-9)), 10), "seconds"),
        (lambda: simulate(BUSY, 60).estimate("waiting"), "quantity"),
        (lambda: simulate(BUSY, 60).estimate("refused", "p95"), "statistic"),
        (lambda: compare({}), "scenarios"),
        (lambda: machines_for(BUSY, -1.0), "target"),
        (lambda: machines_for(BUSY, 1.0, most=10**9), "most"),
        (lambda: simulate(BUSY, 10, seed=-1), "seed"),
        (lambda: simulate(BUSY, 10, replications=10**9), "replications"),
        (lambda: Fleet(CURVE, machines=10**9), "machines"),
        (lambda: Users(10**6), "count"),
        (lambda: Poisson(1e308), "rate"),
        (lambda: Diurnal(1, peak=1e308), "peak"),
        (lambda: Bursts(0, 1, 1e-9, 1e-9), "quiet_seconds"),
        (lambda: Recorded((Arrival(0), Arrival(1))).faster(0), "factor"),
        (lambda: Trace.parallel(50, [10] * 10_000), "waves"),
        (lambda: mixed(difficulty={"easy": 1e308, "hard": 1e308}), "difficulty"),
        (lambda: replace(BUSY, arrivals=Users(2)).faster(2), "arrivals"),
    ],
)
def test_nonsense_is_refused_by_name(wrong: object, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        wrong()  # type: ignore[operator]


def test_without_simpy_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simpy", None)
    with pytest.raises(ItslabError, match="asks for: pip install simpy"):
        simulate(BUSY, 10)


# -- traffic ---------------------------------------------------------------------------------------


def counts(arrivals: Arrivals, seconds: int, width: float = 1.0, seed: int = 0) -> np.ndarray:
    """Arrivals in each stretch of time."""
    rng = np.random.default_rng(seed)
    times = [a.time for a in islice(arrivals.times(rng), int(3 * seconds * arrivals.mean) + 100)]
    assert times == sorted(times)
    return np.histogram(times, np.arange(0, seconds + width, width))[0]


@pytest.mark.parametrize(
    "arrivals", [Poisson(2.0), Bursts(1.0, 8.0, 60, 10), Diurnal(2.0, period=100.0)]
)
def test_arrivals_have_the_rate_that_they_say(arrivals: Arrivals) -> None:
    assert arrivals.mean == 2.0
    assert counts(arrivals, 20_000).mean() == pytest.approx(2.0, rel=0.04)
    assert counts(arrivals.faster(3.0), 4000).mean() == pytest.approx(6.0, rel=0.1)


def test_bursts_are_uneven_and_days_have_nights() -> None:
    even, bursts = (counts(a, 20_000, 10.0) for a in (Poisson(2.0), Bursts(1.0, 8.0, 60, 10)))
    assert even.var() / even.mean() == pytest.approx(1.0, abs=0.1)
    assert bursts.var() / bursts.mean() > 5
    days = counts(Diurnal(2.0, swing=1.0, period=100.0, peak=25.0), 20_000, 50.0)
    assert days[::2].mean() / days[1::2].mean() == pytest.approx(
        (1 + 2 / math.pi) / (1 - 2 / math.pi), rel=0.1
    )
    with pytest.raises(OptionError, match="rate=3"):
        list(islice(thinned(lambda time: 3.0, 2.0, np.random.default_rng(0)), 1))


def test_a_trace_is_read_and_its_bad_lines_are_named(tmp_path: Path) -> None:
    table, lines = tmp_path / "a.csv", tmp_path / "a.jsonl"
    table.write_text("time,user,tier\n12,ann,fast\n10.5,bob,\n\n14,,deep\n")
    lines.write_text('{"time": 10.5, "user": "bob"}\n{"time": 12, "user": "ann", "tier": "fast"}\n')
    recorded = Recorded.read(table)
    assert [tuple(a) for a in recorded.arrivals] == [
        (0.0, "", "bob"),
        (1.5, "fast", "ann"),
        (3.5, "deep", ""),
    ]
    assert recorded.arrivals[:2] == Recorded.read(lines).arrivals
    assert recorded.mean == pytest.approx(3 / 3.5)
    done = simulate(replace(BUSY, arrivals=recorded), 10, replications=1, warmup=0)
    assert list(done.requests.asked[1:]) == ["fast", "deep"]
    assert list(done.requests.user[:2]) == ["bob", "ann"]
    for path, text, said in (
        (table, "time\n1\nsoon\n", r"a.csv, line 3: .*soon"),
        (table, "when\n1\n", "line 2"),
        (table, "time\n1\nnan\n", "line 3"),
        (lines, '{"time": 1}\n{"time": \n', r"a.jsonl, line 2: \{\"time\":"),
        (lines, "[1]\n", "line 1"),
        (table, "time\n5\n", "1 arrivals"),
    ):
        path.write_text(text)
        with pytest.raises(ItslabError, match=said):
            Recorded.read(path)
    with pytest.raises(ItslabError, match="cannot be read"):
        Recorded.read(tmp_path / "none.csv")
    table.write_text("time,tier\n0,\n1,gold\n")
    with pytest.raises(OptionError, match=r"tier='gold'.*'balanced', 'deep', 'fast'"):
        simulate(replace(BUSY, arrivals=Recorded.read(table)), 10, warmup=0)


def test_a_mix_draws_by_its_shares() -> None:
    mix = mixed(difficulty={"easy": 0.0})
    rng = np.random.default_rng(0)
    asked = [mix.draw(next(Poisson(1.0).times(rng)), rng) for _ in range(2000)]
    assert {ask.query.difficulty for ask in asked} == {"hard"}
    assert np.mean([ask.tier == "fast" for ask in asked]) == pytest.approx(0.6, abs=0.04)
    assert np.mean([ask.user == "ann" for ask in asked]) == pytest.approx(2 / 3, abs=0.04)
    hard = [q.traces["fast"].tokens for q in mix.queries if q.difficulty == "hard"]
    assert mix.tokens("fast", "hard") == np.mean(hard)
    means = {tier: mix.tokens(tier, "hard") for tier in mix.tiers}
    expected = sum(share * means[tier] for tier, share in mix.tiers.items())
    assert mix.mean(lambda trace: trace.tokens) == pytest.approx(expected)
    for wrong, said in (
        ({"tiers": {"gold": 1.0}}, "tiers"),
        ({"tiers": {"fast": 0.0}}, "tiers"),
        ({"users": {"ann": -1.0}}, "users"),
        ({"difficulty": {"odd": 1.0}}, "difficulty"),
        ({"queries": []}, "queries"),
    ):
        with pytest.raises(OptionError, match=said):
            replace(mix, **wrong)  # type: ignore[arg-type]


# -- figures ---------------------------------------------------------------------------------------


def test_waits_are_drawn_against_the_load_hollow_where_requests_are_refused() -> None:
    base = Scenario(Fleet(CURVE, admission=Admission(at_once=4, queue=4)), mixed(), Poisson(1.0))
    table = against_load(base, (0.2, 2.0), 60, replications=2)
    assert base.faster(2.0 / base.load).load == pytest.approx(2.0)
    figure = viz.capacity.waits(table, "Waits", target=9.0)
    p95 = next(trace for trace in figure.data if trace.name == "p95")
    assert list(p95.x) == pytest.approx([0.2, 2.0])
    assert list(p95.marker.symbol) == ["square", "square-open"]
    assert {note.text for note in figure.layout.annotations} >= {"target: 9 s"}
    with pytest.raises(OptionError, match="quantity"):
        viz.capacity.waits(table, quantity="refused")


def test_machines_that_keep_the_promise_are_told_from_the_others() -> None:
    tried = pd.DataFrame(
        {"machines": [1, 2, 3], "load": [1.2, 0.6, 0.4], "value": [math.inf, 9.0, 4.0]}
    ).assign(low=1.0, high=[math.inf, 10.0, 4.5], refused=0.0, cut=0.0)
    tried["enough"] = tried.high < 5
    figure = viz.capacity.machines(tried, 5.0)
    assert figure.layout.title.text.endswith(": 3 are enough")
    drawn = {trace.name.split(":")[0]: list(trace.x) for trace in figure.data}
    assert drawn == {"not enough": [2], "enough": [3]}  # one would wait for ever on one machine
