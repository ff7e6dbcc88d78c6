"""Runs come back from an archive as they were: their trees, events, costs and answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from itslab.backends.llama import Llama
from itslab.core import (
    Budget,
    Completion,
    Cost,
    ItslabError,
    Node,
    OptionError,
    Problem,
    Prompt,
    Result,
    Sampling,
    Tree,
)
from itslab.run import Run, Strategy
from itslab.started import solve
from itslab.strategies import MCTS, BeamSearch, BestOfN
from itslab.study.archive import Archive, run_key
from itslab.study.runner import solve_all
from itslab.study.spec import identity
from itslab.tasks import Task
from itslab.verifiers import ByProblem, Checker, Confidence, Judge
from itslab.viz.tree_events import Feed

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
    archive = Archive(tmp_path / "runs.jsonl")
    archive.keep("a", "search", TASK.problems[0], result)
    assert TASK.problems[0].prompt not in archive.path.read_text()
    packed = archive.pack(tmp_path / "runs.jsonl.xz")
    for again in (archive, Archive(archive.path), Archive(packed)):
        found = again.find("a", TASK.problems[0])
        assert found is not None
        assert (found.answer, found.cost, found.stopped_by) == (result.answer, result.cost, None)
        assert (found.node and found.node.id) == (result.node and result.node.id)
        assert [seen(node) for node in found.tree] == [seen(node) for node in result.tree]
        drawn = [node.completion for node in found.tree if node.completion]
        assert {sample.shape for sample in drawn} == {llm.shape}
    assert archive.find("b", TASK.problems[0]) is None


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
def test_an_archive_that_cannot_be_written_is_read_and_keeps_nothing(tmp_path: Path) -> None:
    made = Archive(tmp_path / "runs.jsonl")
    made.keep("a", "by hand", TASK.problems[0], Result("3", None, Tree(), Cost(), None, 0.0))
    with made.path.open("a") as file:
        file.write('{"key": "b", "str')  # whoever wrote it was interrupted
    before = made.path.read_bytes()
    os.chmod(made.path, 0o444)
    os.chmod(tmp_path, 0o755)
    script = """
import os, sys
from itslab.core import Cost, ItslabError, Problem, Result, Tree
from itslab.study.archive import Archive
os.chdir(os.path.dirname(sys.argv[1]))
if os.getuid() == 0:
    os.setuid(65534)  # whom permissions hold for
archive = Archive(os.path.basename(sys.argv[1]))
print(len(archive))
try:
    archive.keep("c", "d", Problem("p", "", ""), Result("", None, Tree(), Cost(), None, 0.0))
except ItslabError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(made.path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == ["1", "no run can be kept in the archive runs.jsonl: Permission denied"]
    assert made.path.read_bytes() == before


def test_a_run_from_an_archive_is_told_to_a_browser_as_the_run_itself(
    result: Result, tmp_path: Path
) -> None:
    archive = Archive(tmp_path / "runs.jsonl")
    archive.keep("a", "search", TASK.problems[0], result)
    found = archive.find("a", TASK.problems[0])
    assert found is not None
    told = []
    for run in (result, found):
        feed = Feed(run.tree, str.strip, str.lower)
        feed.read()
        told.append([row[1:] for row in feed.rows])
    assert told[0] == told[1]


def test_what_is_kept_is_not_run_again_and_the_rest_is(llm: Llama, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "runs.jsonl")
    beam = BeamSearch(Confidence(), width=1, expand=1, depth=1, sampling=STEP)
    two = replace(TASK, problems=TASK.problems[:2])
    first = solve_all(two, {"beam": beam}, llm, archive=archive, progress=False)["beam"]
    every = solve_all(TASK, {"beam": beam}, llm, archive=archive, progress=False)["beam"]
    assert len(archive.path.read_text().splitlines()) == len(TASK)
    assert [r.answer for r in every[:2]] == [r.answer for r in first]
    assert len(archive) == 3


def test_a_run_is_known_by_all_that_it_depends_on(llm: Llama) -> None:
    beam, one, two = BeamSearch(Confidence(), width=1), *TASK.problems[:2]
    asked: list[tuple[Strategy, Problem, Budget, int]] = [
        (beam, one, Budget(), 0),
        (replace(beam, width=2), one, Budget(), 0),
        (replace(beam, verifier=Confidence("entropy")), one, Budget(), 0),
        (beam, two, Budget(), 0),
        (beam, one, Budget(tokens=9), 0),
        (beam, one, Budget(), 1),
    ]
    assert len({run_key(s, p, llm, b, seed) for s, p, b, seed in asked}) == len(asked)


def test_a_line_that_was_not_finished_is_left_out(result: Result, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "runs.jsonl")
    archive.keep("a", "search", TASK.problems[0], result)
    with archive.path.open("a") as file:
        file.write('{"key": "b", "tex')
    again = Archive(archive.path)
    assert len(again) == 1
    again.keep("c", "search", TASK.problems[0], result)
    assert len(Archive(archive.path)) == 2


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl.xz"
    with pytest.raises(ItslabError, match=r"runs\.jsonl\.xz cannot be read"):
        Archive(path)
    path.write_bytes(b"no xz")
    with pytest.raises(ItslabError, match=r"runs\.jsonl\.xz cannot be read"):
        Archive(path)


LINES = [
    '{"key": "b"}',
    '{"key": "b", "texts": ["a"], "events": [[0, "done", 3, {}]]}',
    '{"key": "b", "texts": 3, "events": 4}',
    "[]",
    "3",
]


@pytest.mark.parametrize("line", LINES)
def test_a_damaged_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(ItslabError, match=r"runs\.jsonl (is damaged|cannot be read)"):
        Archive(path).find("b", TASK.problems[0])


def test_a_users_function_is_known_by_its_source_and_what_it_holds() -> None:
    def made(text: str) -> Strategy:
        def strategy(run: Run, prompt: Prompt) -> Node:
            return run.append(run.reply(None, prompt), text)

        return strategy

    def other(run: Run, prompt: Prompt) -> Node:
        return run.reply(None, prompt)

    assert identity(made("a")) == identity(made("a"))
    assert len({identity(made("a")), identity(made("b")), identity(other)}) == 3
    scores = [BestOfN(lambda prompt, nodes: [1.0]), BestOfN(lambda prompt, nodes: [2.0])]
    assert identity(scores[0]) != identity(scores[1])


def test_a_changed_class_of_the_same_options_is_another_one() -> None:
    def beam(answer: int) -> Strategy:
        if answer:

            class Mine(BeamSearch):
                def __call__(self, run: Run, prompt: Prompt) -> Node:
                    return run.reply(None, "now")
        else:

            class Mine(BeamSearch):  # type: ignore[no-redef]
                def __call__(self, run: Run, prompt: Prompt) -> Node:
                    return run.reply(None, prompt)

        return Mine(Confidence())

    assert repr(beam(0)) == repr(beam(1))
    assert identity(beam(0)) != identity(beam(1))


def test_what_the_package_brings_is_known_by_its_repr() -> None:
    for strategy in (BestOfN(Confidence()), MCTS(Confidence()), BeamSearch(Confidence())):
        assert identity(strategy) == repr(strategy)


def test_verifiers_of_many_problems_are_known_by_their_name() -> None:
    by_name = BestOfN(ByProblem("by hand", {"0": lambda prompt, nodes: [1.0]}, {"0": "Why?"}))
    assert identity(by_name) == repr(by_name)


def test_what_cannot_be_told_from_others_is_refused() -> None:
    class Nameless:
        def __call__(self, run: Run, prompt: Prompt) -> Node:
            return run.reply(None, prompt)

    with pytest.raises(OptionError, match="must not hold an address"):
        identity(Nameless())
    names: dict[str, Strategy] = {}
    exec("def made(run, prompt): return run.reply(None, prompt)", names)
    with pytest.raises(OptionError, match="source cannot be read"):
        identity(names["made"])


def test_events_may_hold_data_of_any_shape(tmp_path: Path) -> None:
    tree = Tree()
    node = tree.add(None, "user", "?")
    tree.log("value", node, row=[1, 0.25, None], set={3}, array=np.array([1, 2]), more={"a": (1,)})
    archive = Archive(tmp_path / "runs.jsonl")
    archive.keep("a", "s", TASK.problems[0], Result(None, None, tree, Cost(), None, 0.0))
    found = Archive(archive.path).find("a", TASK.problems[0])
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
    archive = Archive(tmp_path / "runs.jsonl")
    archive.keep("a", "s", problem, Result(None, None, tree, Cost(), None, 0.0))
    found = Archive(archive.path).find("a", problem)
    assert found is not None
    assert [(n.text, n.status) for n in found.tree] == [(n.text, n.status) for n in tree]
    assert found.tree.events[-1].data == {
        "odd": repr(object),
        "bytes": [97, 98],
        "cost": Cost(calls=1),
    }


# -- who a user's code is --------------------------------------------------------------------------


def module(tmp_path: Path, text: str) -> ModuleType:
    """A user's own file, imported."""
    path = tmp_path / f"own{len(list(tmp_path.iterdir()))}.py"
    path.write_text(text)
    made = ModuleType("own")
    made.__file__ = str(path)
    exec(compile(text, path, "exec"), vars(made))
    return made


@pytest.mark.parametrize(
    "text",
    [
        "def used(x): return {0}\ndef s(run, prompt): return used(prompt)",
        "WEIGHT = {0}\ndef s(run, prompt): return WEIGHT",
        "class Used:\n    def go(self): return {0}\ndef s(run, prompt): return Used().go()",
        "class Used:\n    most = [{0}]\ndef s(run, prompt): return Used.most",
        "def s(run, prompt):\n    def inner(): return WEIGHT\n    return inner()\nWEIGHT = {0}",
        "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def call(*a):\n"
        "        return f(*a) * {0}\n    return call\n@twice\ndef s(run, prompt): return 1",
        "import functools\n@functools.cache\ndef used(x): return {0}\n"
        "def s(run, prompt): return used(prompt)",
        "class Held:\n    def __init__(self, x): self.x = x\ndef made(held):\n"
        "    def s(run, prompt): return held.x\n    return s\ns = made(Held({0}))",
        "def made(kind):\n    def s(run, prompt): return kind()\n    return s\nclass K:\n"
        "    def go(self): return {0}\ns = made(K)",
    ],
)
def test_a_change_in_what_a_users_function_uses_makes_another_one(
    tmp_path: Path, text: str
) -> None:
    first, same, other = (module(tmp_path, text.format(n)).s for n in (1, 1, 2))
    assert identity(first) == identity(same)
    assert identity(first) != identity(other)


def test_parts_that_are_called_alike_are_told_apart() -> None:
    def held(*parts: object) -> Strategy:
        def strategy(run: Run, prompt: Prompt) -> Node:
            return run.append(run.reply(None, prompt), repr(parts))

        return strategy

    longest, shortest = lambda ns: [len(n) for n in ns], lambda ns: [-len(n) for n in ns]
    row = np.arange(5000.0)
    other = np.where(row == 2500, 0, row)
    every = [
        (longest,), (shortest,), (longest, shortest), (shortest, longest),
        (longest, shortest, longest), (longest, shortest, shortest),
        (row,), (other,), (row + 1e-12,), (np.array([0.1]),), (np.array([0.1 + 1e-12]),),
    ]  # fmt: skip
    assert len({identity(held(*parts)) for parts in every}) == len(every)
    assert len({identity(partial(longest, *parts)) for parts in every}) == len(every)


def test_a_user_code_is_known_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from itslab.study.spec import identity\nfrom itslab.strategies import BestOfN\n"
        "def made(words):\n    return BestOfN(lambda p, nodes: [n.text in words for n in nodes])\n"
        "def unbound():\n    if not unbound: late = 1\n    return BestOfN(lambda p, n: late)\n"
        "print(repr(identity(made({'a', 'b', 'cc', 'ddd'})) + identity(unbound())))\n"
    )
    told = {
        subprocess.run(
            [sys.executable, tmp_path / "mine.py"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(told) == 1


def test_a_users_part_counts_where_ours_hide_it() -> None:
    def checker(extract: Callable[[str], str]) -> Strategy:
        return BestOfN(Checker(lambda facts, answer: True, {}, extract))

    assert identity(checker(lambda text: text)) != identity(checker(lambda text: text[1:]))


def test_a_run_is_kept_under_what_its_strategy_was_before_it(llm: Llama, tmp_path: Path) -> None:
    said: list[str] = []

    def strategy(run: Run, prompt: Prompt) -> Node:
        said.append("once")
        return run.reply(None, prompt)

    archive = Archive(tmp_path / "runs.jsonl")
    solve_all(TASK, {"s": strategy}, llm, archive=archive, progress=False)
    said.clear()
    solve_all(TASK, {"s": strategy}, llm, archive=archive, progress=False)
    assert not said
