"""What a task is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from itslab import answers
from itslab.core import Extractor, Problem

Grader = Callable[[Problem, str | None], bool]  # a problem, an answer -> whether it is right


def grade(problem: Problem, answer: str | None) -> bool:
    """Whether the whole answer equals the gold answer; None is wrong."""
    return answers.equal(answer, problem.answer)


@dataclass(frozen=True, slots=True)
class Task:
    """Problems with gold answers, how to read an answer out of a text, and how to grade it.

    A problem's prompt is the bare question: how to think and where to put the answer is said by
    the strategy.
    """

    name: str
    problems: tuple[Problem, ...] = field(repr=False)
    extract: Extractor = field(default=answers.extract, repr=False)
    grade: Grader = field(default=grade, repr=False)

    def __len__(self) -> int:
        return len(self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems)
