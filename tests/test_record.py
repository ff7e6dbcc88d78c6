"""Runs come back from an archive as they were: their trees, events, costs and answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from itslab import tasks
from itslab.backends import Bank
from itslab.backends.llama import Llama
from itslab.core import (
    BackendError,
    Budget,
    Completion,
    Cost,
    ItslabError,
    Node,
    Problem,
    Prompt,
    Request,
    Result,
    Sampling,
    Tree,
)
from itslab.handle import solve
from itslab.run import Run, Strategy
from itslab.strategies import (
    MCTS,
    BeamSearch,
    Cascade,
    ChainOfThought,
    Route,
    Router,
    SelfConsistency,
    Stage,
)
from itslab.study import record
from itslab.study.runner import solve_all
from itslab.tasks import Task
from itslab.testing import ScriptedModel
from itslab.verifiers import Agreement, Confidence, Judge
from itslab.viz.feed import Feed

STEP = Sampling(max_tokens=5, signals=True)
TASK = Task(
    "sums",
    tuple(Problem(str(i), f"How much is {i} + 3?", str(i + 3)) for i in range(3)),
    extract=str.strip,
)


def search(llm: Llama) -> MCTS:
    return MCTS(Judge(llm), iterations=3, width=2, expand=2, depth=4, sampling=STEP)


@pytest.fixture(scope="module")
def result(llm: Llama) -> Result:
    return solve(TASK.problems[0].prompt, search(llm), llm, extract=str.strip)


def seen(node: Node) -> tuple[object, ...]:
    """All of a node that an archive keeps."""
    parent, drawn, verdict = node.parent, node.completion, node.verdict
    return (
        (node.id, parent and parent.id, node.role, node.text, node.status, node.ended),
        drawn and (drawn.text, drawn.finish, drawn.cost),
        verdict and (pytest.approx(verdict.score, rel=1e-5), verdict.cost, verdict.note),
    )


def test_a_run_comes_back_as_it_was(result: Result, llm: Llama, tmp_path: Path) -> None:
    archive = Bank(tmp_path / "runs.sqlite")
    record.keep(archive, "a", "search", TASK.problems[0], result)
    assert TASK.problems[0].prompt.encode() not in archive.path.read_bytes()
    packed = archive.pack(tmp_path / "runs.sqlite.xz")
    for again in (archive, Bank(archive.path), Bank(packed)):
        found = record.find(again, "a", TASK.problems[0])
        assert found is not None
        assert (found.answer, found.cost, found.stopped_by) == (result.answer, result.cost, None)
        assert (found.node and found.node.id) == (result.node and result.node.id)
        assert [seen(node) for node in found.tree] == [seen(node) for node in result.tree]
        drawn = [node.completion for node in found.tree if node.completion]
        assert {sample.shape for sample in drawn} == {llm.shape}
    assert record.find(archive, "b", TASK.problems[0]) is None


def test_a_packed_bank_keeps_no_run_and_one_of_samples_alone_holds_none(
    result: Result, tmp_path: Path
) -> None:
    bank = Bank(Bank(tmp_path / "samples.sqlite").pack(tmp_path / "samples.sqlite.xz"))
    record.keep(bank, "a", "search", TASK.problems[0], result)
    assert (bank.runs, record.find(bank, "a", TASK.problems[0])) == (0, None)


def test_of_two_runs_under_one_key_the_first_stays(tmp_path: Path) -> None:
    problem, bank = TASK.problems[0], Bank(tmp_path / "runs.sqlite")
    for answer in ("3", "4"):
        record.keep(bank, "a", "by hand", problem, Result(answer, None, Tree(), Cost(), None, 0.0))
    found = record.find(Bank(bank.path), "a", problem)
    assert (bank.runs, found and found.answer) == (1, "3")


def test_what_each_model_was_paid_comes_back(tmp_path: Path) -> None:
    costs = {"small": Cost(decoded=3, calls=1, flops=0.1), "large": Cost(decoded=4, seconds=0.3)}
    ran = Result("3", None, Tree(), sum(costs.values(), Cost()), None, 0.0, costs=costs)
    bank = Bank(tmp_path / "runs.sqlite")
    record.keep(bank, "a", "by hand", TASK.problems[0], ran)
    found = record.find(bank, "a", TASK.problems[0])
    assert found is not None
    assert (found.costs, found.cost) == (costs, ran.cost)


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
def test_a_bank_that_cannot_be_written_is_read_and_keeps_no_run() -> None:
    folder = Path(tempfile.mkdtemp())  # above pytest's own nobody else may go
    made = Bank(folder / "runs.sqlite")
    record.keep(made, "a", "by hand", TASK.problems[0], Result("3", None, Tree(), Cost(), None, 0))
    made.close()
    os.chmod(made.path, 0o444)
    os.chmod(folder, 0o755)
    script = """
import os, sys
from itslab.backends import Bank
from itslab.core import Cost, ItslabError, Problem, Result, Tree
from itslab.study import record
os.chdir(os.path.dirname(sys.argv[1]))
if os.getuid() == 0:
    os.setuid(65534)  # whom permissions hold for
bank = Bank(os.path.basename(sys.argv[1]))
print(bank.runs)
try:
    ran = Result("", None, Tree(), Cost(), None, 0.0)
    record.keep(bank, "c", "d", Problem("p", "", ""), ran)
except ItslabError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(made.path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "1"
    assert said[1].startswith("no run can be kept in runs.sqlite, which cannot be written")
    shutil.rmtree(folder)


def test_a_run_from_an_archive_is_told_to_a_browser_as_the_run_itself(
    result: Result, tmp_path: Path
) -> None:
    archive = Bank(tmp_path / "runs.sqlite")
    record.keep(archive, "a", "search", TASK.problems[0], result)
    found = record.find(archive, "a", TASK.problems[0])
    assert found is not None
    told = []
    for run in (result, found):
        feed = Feed(run.tree, str.strip, str.lower)
        feed.read()
        for row in feed.rows:
            row[-1].pop("logprob", None) if len(row) == 4 else None  # no archive keeps it
        told.append([row[1:] for row in feed.rows])
    assert told[0] == told[1]


def test_what_is_kept_is_not_run_again_and_the_rest_is(llm: Llama, tmp_path: Path) -> None:
    archive = Bank(tmp_path / "runs.sqlite")
    beam = BeamSearch(Confidence(), width=1, expand=1, depth=1, sampling=STEP)
    two = replace(TASK, problems=TASK.problems[:2])
    first = solve_all(two, {"beam": beam}, llm, archive=archive, progress=False)["beam"]
    every = solve_all(TASK, {"beam": beam}, llm, archive=archive, progress=False)["beam"]
    assert [r.answer for r in every[:2]] == [r.answer for r in first]
    assert archive.runs == 3


def test_a_run_is_known_by_all_that_it_depends_on(llm: Llama) -> None:
    beam, one, two = BeamSearch(Confidence(), width=1), *TASK.problems[:2]
    asked: list[tuple[Strategy, Task, Problem, Budget, int]] = [
        (beam, TASK, one, Budget(), 0),
        (replace(beam, width=2), TASK, one, Budget(), 0),
        (replace(beam, verifier=Confidence("entropy")), TASK, one, Budget(), 0),
        (beam, TASK, two, Budget(), 0),
        (beam, TASK, one, Budget(tokens=9), 0),
        (beam, TASK, one, Budget(), 1),
        (beam, replace(TASK, extract=str.lower), one, Budget(), 0),
        (beam, replace(TASK, extract=lambda text: text[-1]), one, Budget(), 0),
        (beam, replace(TASK, key=lambda text: text[-1]), one, Budget(), 0),
    ]
    keys = {record.run_key(s, t, p, llm, b, seed) for s, t, p, b, seed in asked}
    assert len(keys) == len(asked)


@pytest.mark.parametrize("name", ["humaneval", "gsm_symbolic", "puzzle24"])
def test_a_run_is_known_whichever_other_problems_there_are(llm: Llama, name: str) -> None:
    beam, few, more = BeamSearch(Confidence()), tasks.load(name, n=2), tasks.load(name, n=5)
    keys = [record.run_key(beam, t, few.problems[0], llm, Budget(), 0) for t in (few, more)]
    assert few.problems[0] == more.problems[0]
    assert keys[0] == keys[1]


DAMAGED = ['{"texts": ["a"]}', '{"texts": ["a"], "events": [[0, "done", 3, {}]]}', "[]", "3", "{"]


@pytest.mark.parametrize("text", [*DAMAGED, '{"texts": 3, "events": 4}'])
def test_a_damaged_run_is_named(text: str, tmp_path: Path) -> None:
    bank = Bank(tmp_path / "runs.sqlite")
    bank.keep_run("b", "by hand", "0", text)
    with pytest.raises(ItslabError, match=r"run b in Bank.*runs\.sqlite.* is damaged"):
        record.find(bank, "b", TASK.problems[0])


def test_events_may_hold_data_of_any_shape(tmp_path: Path) -> None:
    tree = Tree()
    node = tree.add(None, "user", "?")
    tree.log("value", node, row=[1, 0.25, None], set={3}, array=np.array([1, 2]), more={"a": (1,)})
    archive = Bank(tmp_path / "runs.sqlite")
    record.keep(archive, "a", "s", TASK.problems[0], Result(None, None, tree, Cost(), None, 0.0))
    found = record.find(Bank(archive.path), "a", TASK.problems[0])
    assert found is not None
    told = {"row": [1, 0.25, None], "set": [3], "array": [1, 2], "more": {"a": [1]}}
    assert found.tree.events[-1].data == told


def test_what_comes_back_is_what_was_said_whatever_stands_in_it(tmp_path: Path) -> None:
    problem = TASK.problems[0]
    tree = Tree()
    asked = tree.add(None, "user", f"{problem.prompt} \ufffc {problem.prompt}")
    drawn = tree.add(asked, "assistant", f"\ufffc {problem.prompt}", "open")
    drawn.completion, drawn.status = Completion(drawn.text), "done"
    tree.log("done", drawn, finish="end", cost=Cost())
    tree.add(asked, "assistant", "", "open").status = "failed"  # by an error
    tree.log("value", drawn, odd=object, bytes=b"ab", cost=Cost(calls=1))
    archive = Bank(tmp_path / "runs.sqlite")
    record.keep(archive, "a", "s", problem, Result(None, None, tree, Cost(), None, 0.0))
    found = record.find(Bank(archive.path), "a", problem)
    assert found is not None
    assert [(n.text, n.status) for n in found.tree] == [(n.text, n.status) for n in tree]
    assert found.tree.events[-1].data == {
        "odd": repr(object),
        "bytes": [97, 98],
        "cost": Cost(calls=1),
    }


def test_a_run_is_kept_under_what_its_strategy_was_before_it(llm: Llama, tmp_path: Path) -> None:
    said: list[str] = []

    def strategy(run: Run, prompt: Prompt) -> Node:
        said.append("once")
        return run.reply(None, prompt)

    archive = Bank(tmp_path / "runs.sqlite")
    solve_all(TASK, {"s": strategy}, llm, archive=archive, progress=False)
    said.clear()
    solve_all(TASK, {"s": strategy}, llm, archive=archive, progress=False)
    assert not said


@pytest.mark.parametrize("routed", [False, True])
def test_a_run_in_which_a_model_was_down_is_not_kept(routed: bool, tmp_path: Path) -> None:
    up = [False]

    def larger(request: Request, index: int) -> str:
        if not up[0]:
            raise BackendError("the server is down")
        return "8"

    large = ScriptedModel(replies=larger, name="large", digest="large")
    small = ScriptedModel(replies=lambda request, index: str(index), name="small", digest="small")
    votes, one = SelfConsistency(4, instruction=""), ChainOfThought(instruction="")
    strategy: Strategy = Cascade(
        (Stage(votes, accept=Agreement(), threshold=0.9), Stage(one, large))
    )
    if routed:
        strategy = Router(Agreement(), (0.9,), (Route(one, large), Route()), votes)
    with Bank(tmp_path / "bank.sqlite") as bank:
        [result] = solve_all(one_sum(), {"x": strategy}, small, archive=bank, progress=False)["x"]
        assert (result.answer, result.outages) == ("0", ("BackendError: the server is down",))
        assert bank.runs == 0
        up[0] = True
        [result] = solve_all(one_sum(), {"x": strategy}, small, archive=bank, progress=False)["x"]
        assert (result.answer, result.outages) == ("8", ())
        assert bank.runs == 1


def one_sum() -> Task:
    return replace(TASK, problems=TASK.problems[:1])
