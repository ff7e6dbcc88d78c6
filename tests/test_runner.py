"""Many problems at once: in order, each as if alone, and ended by the first error."""

from __future__ import annotations

import _thread
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from itslab.backends.bank import Bank
from itslab.backends.llama import Llama
from itslab.core import (
    BackendError,
    Completion,
    Cost,
    Node,
    Problem,
    Prompt,
    PromptTooLong,
    Request,
    Result,
    Sampling,
    Tree,
)
from itslab.handle import solve
from itslab.run import Run
from itslab.strategies import ChainOfThought, SelfConsistency
from itslab.study.progress import Progress
from itslab.study.runner import solve_all
from itslab.tasks import Task
from itslab.testing import ScriptedModel

BRIEF = ChainOfThought(instruction="", sampling=Sampling(temperature=0, max_tokens=6))


def numbers(count: int) -> Task:
    problems = (Problem(str(i), f"Say the number {i}.", str(i)) for i in range(count))
    return Task("numbers", tuple(problems), extract=str.strip)


def test_results_come_in_the_order_of_the_problems_and_as_if_each_ran_alone(llm: Llama) -> None:
    asked = numbers(2 * llm.batch_size + 1)
    results = solve_all(asked, {"brief": BRIEF}, llm, progress=False)["brief"]
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

    solve_all(numbers(3 * llm.batch_size), {"counted": counted}, llm, progress=False)
    assert 1 < most[0] <= llm.batch_size


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
        solve_all(numbers(2), {"one fails": one_fails}, llm, progress=False)
    assert stopped.wait(10)


def test_an_interrupt_returns_promptly_and_the_model_goes_on(llm: Llama) -> None:
    endless = SelfConsistency(8, instruction="", sampling=Sampling(max_tokens=400))
    threading.Timer(0.5, _thread.interrupt_main).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        solve_all(numbers(40), {"endless": endless}, llm, progress=False)
    assert time.monotonic() - began < 5
    [result] = solve_all(numbers(1), {"brief": BRIEF}, llm, progress=False)["brief"]
    assert result.cost.calls == 1


def test_strategies_and_problems_share_one_queue_and_keep_their_places(llm: Llama) -> None:
    pair = {"one": BRIEF, "three": SelfConsistency(3, instruction="", sampling=BRIEF.sampling)}
    results = solve_all(numbers(5), pair, llm, progress=False)
    assert list(results) == ["one", "three"]
    assert [r.cost.calls for r in results["one"]] == [1] * 5
    assert [r.cost.calls for r in results["three"]] == [3] * 5


def test_what_was_interrupted_goes_on_from_the_bank(llm: Llama, tmp_path: Path) -> None:
    drawn: list[int] = []

    class Weak:
        """The model, until the third call."""

        name, digest, batch_size = llm.name, llm.digest, 1

        def generate(self, requests, *args):
            drawn.append(len(requests))
            if len(drawn) == 3:
                raise KeyboardInterrupt
            return llm.generate(requests, *args)

    task, bank = numbers(6), Bank(tmp_path / "bank.sqlite")
    with pytest.raises(KeyboardInterrupt):
        solve_all(task, {"brief": BRIEF}, bank.record(Weak()), progress=False)
    assert bank.samples == 2
    solve_all(task, {"brief": BRIEF}, bank.record(Weak()), progress=False)
    assert (bank.samples, len(drawn)) == (6, 3 + 4)


def test_a_task_brings_its_own_way_to_read_and_compare(llm: Llama) -> None:
    task = replace(numbers(1), extract=lambda text: text, key=lambda answer: "the same")
    many = {"many": SelfConsistency(4, instruction="", sampling=Sampling(max_tokens=6))}
    [result] = solve_all(task, many, llm, progress=False)["many"]
    assert result.node is result.tree.leaves()[0]  # all are the same, so the first wins
    assert result.answer == result.node.turn_text


def test_progress_names_the_task_the_runs_and_the_tokens(
    llm: Llama, capsys: pytest.CaptureFixture[str]
) -> None:
    [result] = solve_all(numbers(1), {"brief": BRIEF}, llm)["brief"]
    last = capsys.readouterr().out.rpartition("\r")[2]
    assert last.startswith("numbers: ")
    assert f"1/1 runs, 1 samples, {result.cost.decoded} tokens, 00:00:00 left" in last


def result_of(seconds: float, elapsed: float) -> Result:
    return Result(None, None, Tree(), Cost(seconds=seconds), None, elapsed)


def test_the_remaining_time_is_as_it_went_of_late() -> None:
    progress = Progress("by hand", {"cheap": 10, "dear": 10}, shown=False)
    began, _ = progress._past[0]
    assert progress.remaining(0, began) is None
    for _ in range(10):
        progress.finish("cheap", result_of(seconds=1, elapsed=0.001))  # from a bank
    assert progress.remaining(0, began + 0.1) is None  # nothing is known of the dear ones
    progress.finish("dear", result_of(seconds=8, elapsed=0.001))
    # 18 s of compute in 0.2 s: the rest may be recorded as well
    assert progress.remaining(0, began + 0.2) == pytest.approx(9 * 8 * 0.2 / 18)
    progress.finish("dear", result_of(seconds=8, elapsed=39.8))
    assert progress.remaining(0, began + 40) == pytest.approx(8 * 8 * 39.8 / 8)  # it is not
    assert progress.remaining(4, began + 60) == pytest.approx((8 * 8 - 4) * 59.8 / 12)


def test_the_results_equal_those_of_solve(llm: Llama) -> None:
    task = numbers(1)
    [result] = solve_all(task, {"brief": BRIEF}, llm, progress=False)["brief"]
    alone = solve(task.problems[0].prompt, BRIEF, llm, extract=task.extract)
    assert result.answer == alone.answer


class Short(ScriptedModel):
    """Has no room for the number 1."""

    def draw(self, request: Request, index: int) -> Completion:
        if "number 1." in request.messages[-1].content:
            raise PromptTooLong("no room")
        return Completion("said", cost=Cost(decoded=1, calls=1), index=index)


def test_a_run_that_fails_for_good_is_kept_as_failed_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Bank(tmp_path / "runs.sqlite")
    for asked in (3, 0):  # the second time all come from the archive, the failed one too
        model = Short()
        results = solve_all(numbers(3), {"brief": BRIEF}, model, archive=archive)["brief"]
        assert [r.failed for r in results] == ["", "PromptTooLong: no room", ""]
        assert [r.answer for r in results] == ["said", None, "said"]
        assert len(model.asked) == asked
    assert "3/3 runs, 1 failed, 2 samples" in capsys.readouterr().out
