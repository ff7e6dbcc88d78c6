"""What tasks share whose rules judge what is half done: one rule for each problem, as verifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from itslab.core import Extractor, Node, Problem, Prompt, Verdict
from itslab.options import Options
from itslab.tasks.task import Grader, Task
from itslab.verifiers import ByProblem


class Rule(Options):
    """Scores what each turn says so far, by the rules of a problem and not by its solution."""

    def judge(self, text: str) -> Verdict:
        """Return what the rules say of a text: 1 if it is finished and right."""
        raise NotImplementedError

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Judge each turn."""
        return [self.judge(node.turn_text) for node in nodes]


def by_rules(
    name: str,
    problems: Sequence[Problem],
    rule: Callable[[Problem], Rule],
    extract: Extractor,
    grade: Grader,
) -> Task:
    """Return a task whose verifier is the rule of each problem.

    Args:
        name, extract, grade: of the task; answers are alike if their texts are.
        problems: of the task.
        rule: makes the rule of a problem.
    """

    def readings(text: str) -> list[str]:
        found = extract(text)
        return [] if found is None else [found]

    rules = {problem.id: rule(problem) for problem in problems}
    verifier = ByProblem("rules", rules, {problem.id: problem.prompt for problem in problems})
    return Task(name, tuple(problems), extract, grade, str, readings, verifier)
