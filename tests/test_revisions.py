"""Versions are read from a run's events, graded, counted, drawn and shown side by side."""

from __future__ import annotations

import math

import ipywidgets
import pytest

from itslab.core import Completion, Cost, Node, Problem, Result, Tree, Verdict
from itslab.study import tables
from itslab.study.samples import lines, versions
from itslab.study.statistics import mean
from itslab.study.tables import CHANGES
from itslab.tasks import Task
from itslab.viz import RefinementPanel, refinement
from itslab.viz.readers import changes, remarks

TASK = Task("by hand", tuple(Problem(str(i), f"Say {i}.", str(i)) for i in (1, 2)))


def told(problem: Problem, *branches: list[tuple[str, float]]) -> Result:
    """A run with a line of versions for each branch: answers and their scores."""
    tree = Tree()
    root = tree.add(None, "user", problem.prompt)
    last: Node | None = None
    for branch in branches:
        before: Node | None = None
        for answer, score in branch:
            asked = root if before is None else tree.add(before, "user", "Again.")
            last = tree.add(asked, "assistant", rf"It is \boxed{{{answer}}}")
            last.completion = Completion(last.text, cost=Cost(decoded=10, calls=1))
            last.verdict = Verdict(score, note="" if score == 1 else f"{answer} is off")
            tree.log("version", last, of=None if before is None else before.id)
            before = last
    return Result(None, last, tree, Cost(), None, 0)


RESULTS = [
    told(TASK.problems[0], [("5", 0.5), ("1", 1.0)], [("1", 1.0)]),
    told(TASK.problems[1], [("2", 0.5), ("3", 0.4), ("4", math.nan)], [("7", 0.1), ("7", 0.1)]),
]


def test_lines_go_from_an_answer_to_its_last_revision() -> None:
    first, second = lines(RESULTS[0].tree)
    assert [node.text for node in first] == [r"It is \boxed{5}", r"It is \boxed{1}"]
    assert [node.text for node in second] == [r"It is \boxed{1}"]


def test_a_version_that_was_revised_twice_is_in_two_lines() -> None:
    tree = Tree()
    nodes = [tree.add(None, "assistant", str(i)) for i in range(4)]
    for node, of in zip(nodes, (None, 0, 0, 2), strict=True):
        tree.log("version", node, of=of)
    assert [[node.id for node in line] for line in lines(tree)] == [[0, 1], [0, 2, 3]]
    assert [node.id for node in versions(tree)] == [0, 1, 2, 3]


def test_what_iterations_make_of_four_lines_by_hand() -> None:
    """Four lines: 5 → 1 (right), 1 (right), 2 → 3 → 4 (right, then wrong), 7 → 7 (wrong)."""
    table = tables.refinement(TASK, RESULTS)
    assert list(table.index) == [0, 1, 2]
    assert list(table["lines"]) == [4, 4, 4]
    assert list(table.revised) == [0, 3, 1]
    assert list(table.right) == [0.5, 0.5, 0.5]  # one gained, one lost
    assert list(table.kept) == [0.5, 0.75, 0.75]  # 2 scored higher than 3
    assert [list(table[name]) for name in CHANGES] == [[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 1]]
    assert [list(table[name]) for name in ("better", "equal", "worse")] == [
        [0, 1, 0],
        [0, 1, 0],
        [0, 1, 0],
    ]
    assert all(table.low <= table.right)
    assert all(table.right <= table.high)


def test_another_version_could_be_returned_by_hand() -> None:
    """Versions 5, 1, 1 of the first problem and 2, 3, 4, 7, 7 of the second."""
    table = tables.alternatives(TASK, {"refined": RESULTS})
    assert list(table.columns) == ["first", "last", "vote"]
    # 5 and 2: the second is right; 1 and 7: the first is; 1 has two votes of three, 7 two of five
    assert list(table.loc["refined"]) == [mean(right).percent for right in ([0, 1], [1, 0], [1, 0])]


def test_the_figure_names_what_got_worse_and_how_many() -> None:
    figure = refinement(tables.refinement(TASK, RESULTS), title="two problems")
    bars = {bar.name: bar for bar in figure.data if bar.type == "bar"}
    assert list(bars["right → wrong: worse"].y) == pytest.approx([1 / 3, 0])
    assert list(bars["right → wrong: worse"].x) == ["1<br>(3)", "2<br>(1)"]
    totals = [sum(bar.y[i] for bar in bars.values()) for i in range(2)]
    assert totals == pytest.approx([1, 1])


def test_changes_are_marked_word_by_word_and_escaped() -> None:
    before, after = changes("return x < 1", "return x <= 1")
    assert before == "return x &lt; 1"
    assert '">=</span>' in after
    gone, new = changes("a b c", "a d c")
    assert ">b</span>" in gone
    assert ">d</span>" in new
    assert gone.startswith("a <span")
    assert gone.endswith(" c")
    long = "word " * 10**5
    assert changes(long, long + "<")[1].endswith("&lt;")


def test_what_was_said_of_a_version_is_its_note_and_the_critique() -> None:
    tree = Tree()
    first = tree.add(tree.add(None, "user", "Say 1."), "assistant", "2")
    first.verdict = Verdict(0, note="off by 1")
    critique = tree.add(tree.add(first, "user", "Check."), "assistant", "Too large.")
    critique.completion = Completion("Too large.")
    second = tree.add(tree.add(critique, "user", "Revise."), "assistant", "1")
    second.verdict = Verdict(1)
    assert remarks(tree, first) == ["off by 1", "Too large."]
    assert remarks(tree, second) == []


def test_the_panel_goes_through_iterations_and_branches() -> None:
    graded: list[str | None] = []

    def judge(answer: str | None) -> bool:
        graded.append(answer)
        return answer == "2"

    result = RESULTS[1]
    slider = ipywidgets.IntSlider(value=1)
    panel = RefinementPanel(
        lambda n: pytest.fail("nobody pressed Run"),  # type: ignore[arg-type, return-value]
        result,
        [slider],
        extract=TASK.extract,
        judge=judge,
        describe=lambda version: f"<{len(version.text)}> characters",
    )
    assert (panel.line.value, panel.iteration.value) == (2, 1)  # what the run returned
    panel.line.value = 1
    assert panel.iteration.max == 2
    panel.iteration.value = 1
    shown = panel.view.value
    assert "version 1<" in shown
    assert "version 2<" in shown
    assert "version 3<" not in shown
    assert ">2</span>" in shown
    assert ">3</span>" in shown
    assert "✓ right" in shown
    assert "✗ wrong" in shown
    assert "2 is off" in shown
    assert "score 0.5 · &lt;15&gt; characters · 10 tokens" in shown
    page = panel.picture()
    assert "version 3<" in page
    assert len(graded) == len(set(graded))  # however often it is drawn
