"""Many problems at once: in order, each as if alone, and ended by the first error."""

from __future__ import annotations

import _thread
import threading
import time

import pytest

from itslab.backends.llama import Llama
from itslab.core import BackendError, Node, Problem, Prompt, Sampling
from itslab.run import Run, solve
from itslab.strategies import ChainOfThought, SelfConsistency
from itslab.study.runner import solve_all

BRIEF = ChainOfThought(instruction="", sampling=Sampling(temperature=0, max_tokens=6))


def problems(count: int) -> list[Problem]:
    return [Problem(str(i), f"Say the number {i}.", str(i)) for i in range(count)]


def test_results_come_in_the_order_of_the_problems_and_as_if_each_ran_alone(llm: Llama) -> None:
    asked = problems(2 * llm.width + 1)
    results = solve_all(asked, BRIEF, llm, progress=False)
    assert [r.tree.nodes[0].text for r in results] == [problem.prompt for problem in asked]
    assert all(result.cost.calls == 1 for result in results)
    assert results[3].tree.nodes[-1].text  # something was said


def test_no_more_runs_go_on_at_once_than_the_backend_is_wide(llm: Llama) -> None:
    going, most, lock = [0], [0], threading.Lock()

    def counted(run: Run, prompt: Prompt) -> Node | None:
        with lock:
            going[0] += 1
            most[0] = max(most[0], going[0])
        node = BRIEF(run, prompt)
        with lock:
            going[0] -= 1
        return node

    solve_all(problems(3 * llm.width), counted, llm, progress=False)
    assert 1 < most[0] <= llm.width


def test_the_first_error_ends_all_runs(llm: Llama) -> None:
    stopped = threading.Event()

    def one_fails(run: Run, prompt: Prompt) -> Node | None:
        if "number 1." in str(prompt):
            raise BackendError("the model is gone")
        node = run.reply(None, prompt)
        long = Sampling(temperature=1, max_tokens=480)
        try:
            return run.extend(node, long, n=4)[0]
        finally:
            if run.tree.leaves()[0].status == "failed":
                stopped.set()

    with pytest.raises(BackendError, match="the model is gone"):
        solve_all(problems(2), one_fails, llm, progress=False)
    assert stopped.wait(10)


def test_an_interrupt_returns_promptly_and_the_model_goes_on(llm: Llama) -> None:
    endless = SelfConsistency(8, instruction="", sampling=Sampling(max_tokens=400))
    threading.Timer(0.5, _thread.interrupt_main).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        solve_all(problems(40), endless, llm, progress=False)
    assert time.monotonic() - began < 5
    [result] = solve_all(problems(1), BRIEF, llm, progress=False)
    assert result.cost.calls == 1


def test_progress_names_the_strategy_the_problems_and_the_tokens(
    llm: Llama, capsys: pytest.CaptureFixture[str]
) -> None:
    [result] = solve_all(problems(1), BRIEF, llm)
    last = capsys.readouterr().out.rpartition("\r")[2]
    assert last.startswith("ChainOfThought: ")
    assert f"1/1 problems, 1 samples, {result.cost.decoded} tokens" in last


def test_the_results_equal_those_of_solve(llm: Llama) -> None:
    [problem] = problems(1)
    [result] = solve_all([problem], BRIEF, llm, progress=False, extract=str.strip)
    assert result.answer == solve(problem.prompt, BRIEF, llm, extract=str.strip).answer
