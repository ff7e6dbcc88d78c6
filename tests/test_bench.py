"""The benchmark measures what it says, with a small model and few tokens."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from itslab import bench, models
from itslab.backends.llama import Llama
from itslab.bench import search, speed
from itslab.conductor import conduct
from itslab.core import BackendError, OptionError, Problem, Verdict
from itslab.handle import solve
from itslab.strategies import BestOfN, ChainOfThought
from itslab.study.plan import Study
from itslab.tasks import Task
from itslab.testing import ScriptedModel


def test_everyone_is_timed_and_the_table_says_so(small_model: models.ModelFile) -> None:
    said: list[str] = []
    report = bench.measure_speed(
        small_model, batch_sizes=(1, 2), tokens=8, rounds=2, threads=1, say=said.append
    )
    assert len(report.speed[speed.ENGINE][2]) == 2
    assert len(said) == 2 * 4  # twice our engine and plain Llama(), for one sample and for two
    assert all(0 < share < 1 for share in report.python_share.values())
    assert report.best_n in (1, 2)  # how fast this machine is just now decides
    head, _, columns, one, two, *_ = report.table().splitlines()
    assert small_model.name in head
    assert "Llama()" in columns
    assert (one.split()[0], two.split()[0]) == ("1", "2")
    assert json.loads(report.json())["speed"][speed.ENGINE]["2"] == report.speed[speed.ENGINE][2]


def test_the_best_width_is_the_fastest_by_medians() -> None:
    report = bench.SpeedReport("m", "b", 8)
    report.speed = {speed.ENGINE: {1: [10.0, 90.0, 10.0], 2: [20.0, 5.0, 20.0], 4: [19.0] * 3}}
    assert report.best_n == 2


def test_ratios_are_taken_round_by_round() -> None:
    report = bench.SpeedReport("m", "b", 8)
    report.speed = {speed.ENGINE: {16: [30.0, 60.0]}, speed.PLAIN: {16: [10.0, 30.0]}}
    assert report.ratios(speed.PLAIN, 16) == [3.0, 2.0]


def test_a_binary_that_measures_nothing_is_an_error(
    small_model: models.ModelFile, tmp_path: Path
) -> None:
    binary = tmp_path / "silent"
    binary.write_text("#!/bin/sh\nexit 0\n")
    binary.chmod(0o755)
    with pytest.raises(BackendError, match="printed no time"):
        bench.measure_speed(
            small_model, batch_sizes=(1,), tokens=2, rounds=1, threads=1, batched_bench=binary
        )


def test_a_search_is_timed_with_and_without_evaluating_its_tree_again(
    small_model: models.ModelFile,
) -> None:
    prompt = "{who}?"
    options = {"width": 2, "expand": 2, "depth": 2, "tokens": 4, "rounds": 1, "threads": 1}
    report = bench.measure_search(small_model, prompt=prompt, **options)
    assert list(report.seconds) == [search.ONCE, search.PER_NODE, search.PER_SAMPLE]
    assert report.evaluated[0] <= 1.02 * report.unique[0]
    assert 0 < report.full[0] <= 1
    assert report.gain(search.PER_SAMPLE)[0] > 1
    assert "again for each sample" in report.table()


def test_methods_take_turns_and_the_first_is_one() -> None:
    report = bench.MethodsReport("m, 2 problems", {"whole": [10.0, 30.0], "cut": [5.0, 6.0]})
    report.solved = {"whole": [1, 2], "cut": [1, 1]}
    report.tokens = {"whole": {"m": [1000, 3000]}, "cut": {"m": [500, 700]}}
    assert report.ratio("cut") == [0.5, 0.2]
    _, columns, whole, cut = (line.split() for line in report.table().splitlines())
    assert columns == ["method", "solved", "tokens", "m", "seconds", "ratio"]
    assert whole == ["whole", "2", "2,000", "20.0", "1.00×"]
    assert cut == ["cut", "1", "600", "5.5", "0.35×"]


def test_a_model_that_is_asked_in_some_rounds_only_is_counted_in_all() -> None:
    report = bench.MethodsReport("m")
    task = Task("one", (Problem("1", "?", "4"),))
    small, large = (ScriptedModel(replies=["\\boxed{4}"] * 9, name=name) for name in "sl")
    for model in (small, large, small):
        result = solve("?", ChainOfThought(), model)
        report.note("either", task, [result], 0.0)
    assert report.tokens["either"] == {"s": [1, 0, 1], "l": [0, 1, 0]}
    assert "nan" in report.table()


def test_rules_are_timed_beside_a_fixed_number(small_model: models.ModelFile) -> None:
    report = bench.measure_stopping(small_model, problems=1, n=3, max_tokens=6, rounds=1, threads=1)
    assert next(iter(report.seconds)) == "3 chains"
    assert len(report.seconds) == 5
    assert report.tokens["3 chains"] == {small_model.name: [18]}
    assert all(seconds > 0 for [seconds] in report.seconds.values())


def test_programs_until_one_passes_are_timed_beside_a_fixed_number(
    small_model: models.ModelFile, sandbox: str
) -> None:
    report = bench.measure_stopping(
        small_model, kind="functions", problems=1, n=2, max_tokens=6, rounds=1, threads=1
    )
    assert list(report.seconds) == ["2 programs", "until one passes", *list(report.seconds)[2:]]
    # six tokens pass nothing, so all draw both
    assert [paid[small_model.name] for paid in report.tokens.values()] == [[12]] * 3


def test_a_cascade_is_timed_beside_its_last_stage(
    small_model: models.ModelFile, sandbox: str
) -> None:
    larger = replace(small_model, name="larger")
    report = bench.measure_cascade(
        small_model, larger, problems=1, tries=2, max_tokens=6, rounds=1, threads=1
    )
    alone, smaller, plain, sampled = report.tokens.values()
    assert alone == {"larger": [6]}
    assert smaller == {small_model.name: [6]}
    assert plain == {small_model.name: [6], "larger": [6]}  # six tokens solve nothing
    assert sampled == {small_model.name: [18], "larger": [6]}


def test_models_are_held_against_each_other_in_the_same_seconds(tmp_path: Path) -> None:
    """The small one is right on a half, and on all with two samples, each as long as the large's.

    Twice as fast, it draws two in the seconds of the large one's first; as fast, one.
    """

    def says(request, index: int) -> str:
        number = int(request.messages[-1].content.split()[0])
        return "The answer is 1." if number % 2 == index % 2 else "The answer is 0."

    task = Task("t", tuple(Problem(f"p{i}", f"{i} what?", "1") for i in range(40)))
    votes = tuple(BestOfN(right, n, instruction="") for n in (1, 2))
    plan = Study(tasks={"t": task}, models=("large", "small"), strategies={"best": votes})
    scripted = {
        name: ScriptedModel(replies=says, name=name, digest=name) for name in ("large", "small")
    }
    outcome = conduct(plan, tmp_path / "s.sqlite", load=scripted.get, progress=False)
    report = bench.ModelsReport(outcome, {"large": [10.0, 20.0], "small": [5.0, 10.0]})
    assert report.ratio("small") == 0.5
    [(label, alike, timed)] = report.gains("small")
    assert label == "t, best 2"
    assert (alike.value, timed.value) == (0.0, -0.5)
    assert "take large" in report.table()
    report.speed["small"] = [20.0, 40.0]
    [(label, alike, timed)] = report.gains("small")
    assert label == "t, best 1", "whose seconds two of the small one's samples take"
    assert (alike.value, timed.value) == (0.0, 0.5)


def right(prompt, nodes):
    return [Verdict(float(node.text.endswith("1."))) for node in nodes]


def test_models_take_turns(small_model: models.ModelFile, tmp_path: Path) -> None:
    task = Task("t", (Problem("p", "What?", "1"),))
    plan = Study(tasks={"t": task}, models=("m",), strategies={"one": ChainOfThought()})
    model = ScriptedModel(replies=["The answer is 1."], name="m", digest="m")
    outcome = conduct(plan, tmp_path / "s.sqlite", load=lambda name: model, progress=False)
    report = bench.measure_models(
        outcome, {"m": small_model}, samples=2, tokens=8, rounds=2, threads=1
    )
    assert len(report.speed["m"]) == 2
    assert "1.00×" in report.table()
    with pytest.raises(OptionError, match="other"):
        bench.measure_models(outcome, {"other": small_model})


def test_steps_take_longer_the_more_rows_they_have(llm: Llama) -> None:
    curve = bench.measure_steps(llm, tokens=8, rounds=1)
    assert curve.rows[:4] == (1, 2, 4, 8)
    assert 60 < curve.rows[-1] <= 128
    assert curve(curve.rows[-1]) > 3 * curve(1)
