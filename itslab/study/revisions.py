"""What refinements did: versions in their order, and which got better or worse on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from itslab.core import Node, Result, Tree
from itslab.study.statistics import share
from itslab.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

CHANGES = ("right → right", "wrong → right", "right → wrong", "wrong → wrong")


def versions(tree: Tree) -> list[Node]:
    """Return the versions in a tree, in the order in which they were drawn."""
    return [tree.nodes[event.node] for event in list(tree.events) if event.kind == "version"]


def lines(tree: Tree) -> list[list[Node]]:
    """Return the lines of versions in a tree, each from an answer to its last revision.

    Where a version was revised more than once, as in ``MCTSr``, each of its revisions ends a line
    of its own.
    """
    told = [event for event in list(tree.events) if event.kind == "version"]
    before = {event.node: event.data["of"] for event in told}
    last = [node for node in before if node not in before.values()]
    return [_upwards(tree, before, node) for node in last]


def _upwards(tree: Tree, before: dict[int, int | None], last: int) -> list[Node]:
    node: int | None = last
    line: list[Node] = []
    while node is not None:
        line.append(tree.nodes[node])
        node = before[node]
    return line[::-1]


class Graded(NamedTuple):
    """A line of versions with what became of each.

    Args:
        scores: by the run's own verifier; nan where there is none.
        right: whether each is.
    """

    scores: list[float]
    right: list[bool]

    def at(self, iteration: int) -> int:
        """The place of the version that the line had come to; later ones may not exist."""
        return min(iteration, len(self.right) - 1)

    def kept(self, iteration: int) -> int:
        """The place of the best version by then: the earliest of the highest score."""
        so_far = self.scores[: iteration + 1]
        known = [-math.inf if math.isnan(score) else score for score in so_far]
        return known.index(max(known))


def graded(task: Task, results: Sequence[Result]) -> list[list[Graded]]:
    """Grade every version of every line, by problem; an answer that comes again is graded once."""
    rows = []
    for problem, result in zip(task, results, strict=True):
        marks: dict[str | None, bool] = {}
        row = []
        for line in lines(result.tree):
            said = [task.extract(node.turn_text) for node in line]
            for answer in said:
                if answer not in marks:
                    marks[answer] = answer is not None and task.grade(problem, answer)
            scores = [math.nan if n.verdict is None else n.verdict.score for n in line]
            row.append(Graded(scores, [marks[answer] for answer in said]))
        rows.append(row)
    return rows


def course(task: Task, results: Sequence[Result]) -> pd.DataFrame:
    """Return what became of all lines of versions, one row per iteration.

    Args:
        task: p problems.
        results: of a refinement, in the order of the problems.

    Returns:
        Index ``iteration``, 0 for the first answers. Columns: ``lines`` in all, ``revised`` in this
        iteration; ``right``, the share of lines whose version is right by then, with ``low`` and
        ``high`` (95 %, clustered by problem or template), and ``kept``, ``kept low``,
        ``kept high``, the same of the best version by score; of those revised the number of each
        of ``CHANGES``, and by the run's own verifier how many scored ``better``, ``equal`` and
        ``worse`` than before.
    """
    import pandas as pd

    rows = graded(task, results)
    most = max((len(line.right) for row in rows for line in row), default=0)
    counts = np.array([len(row) for row in rows], dtype=float)
    part = partial(share, whole=counts, clusters=task.clusters)
    table = []
    for i in range(most):
        last = part([sum(line.right[line.at(i)] for line in row) for row in rows])
        kept = part([sum(line.right[line.kept(i)] for line in row) for row in rows])
        revised = [line for row in rows for line in row if 0 < i < len(line.right)]
        changes = [_change(*line.right[i - 1 : i + 1]) for line in revised]
        steps = [np.sign(line.scores[i] - line.scores[i - 1]) for line in revised]
        table.append(
            {
                "iteration": i,
                "lines": int(counts.sum()),
                "revised": len(revised),
                "right": last.value,
                "low": last.low,
                "high": last.high,
                "kept": kept.value,
                "kept low": kept.low,
                "kept high": kept.high,
                **{name: changes.count(name) for name in CHANGES},
                "better": steps.count(1),
                "equal": steps.count(0),
                "worse": steps.count(-1),
            }
        )
    return pd.DataFrame(table).set_index("iteration")


def _change(before: bool, after: bool) -> str:
    return f"{'right' if before else 'wrong'} → {'right' if after else 'wrong'}"
