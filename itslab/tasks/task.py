"""What a task is: problems, how to read and compare answers, and how to grade them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from itslab import answers
from itslab.core import Extractor, Key, Problem, Verifier

Grader = Callable[[Problem, str | None], bool]  # a problem, an answer -> whether it is right
Readings = Callable[[str], list[str]]  # the model's turn -> all that may be meant as its answer


def grade(problem: Problem, answer: str | None) -> bool:
    """Whether the whole answer equals the gold answer; None is wrong."""
    return answers.equal(answer, problem.answer)


@dataclass(frozen=True, slots=True)
class Task:
    """Problems with gold answers, how to read an answer out of a text, and how to grade it.

    A problem's prompt is the bare question: how to think and where to put the answer is said by
    the strategy.

    Args:
        extract: reads the answer out of the model's turn.
        grade: whether an answer is right.
        key: the form that equal answers share: what a vote counts.
        readings: every answer that one might read out of the model's turn, by any rule; where
            ``extract`` errs and one of them is right, the answer was lost in reading.
        verifier: truth that needs no gold answer, such as visible tests; None if there is none.
    """

    name: str
    problems: tuple[Problem, ...] = field(repr=False)
    extract: Extractor = field(default=answers.extract, repr=False)
    grade: Grader = field(default=grade, repr=False)
    key: Key = field(default=answers.canonical, repr=False)
    readings: Readings = field(default=answers.readings, repr=False)
    verifier: Verifier | None = field(default=None, repr=False)

    @property
    def clusters(self) -> list[Hashable]:
        """Which problems belong together: by the template they are made from, else each alone."""
        return [_cluster(problem.meta.get("template", problem.id)) for problem in self.problems]

    def __spec__(self) -> tuple[object, ...]:
        """What a task is known by besides its name; see ``spec.spec``."""
        facts = [(p.id, p.prompt, p.answer, p.meta) for p in self.problems]
        return (facts, self.extract, self.grade, self.key, self.readings, self.verifier)

    # Its repr is part of what a study's runs are kept under, and stays that of a dataclass.
    def __str__(self) -> str:
        check = "" if self.verifier is None else f", checked by {self.verifier!r}"
        return f"{self.name}: {len(self):,} problem{'s' * (len(self) != 1)}{check}"

    def __len__(self) -> int:
        return len(self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems)


def _cluster(template: Any) -> Hashable:
    """A template as it can be counted; a list, say, by how it is written."""
    try:
        hash(template)
    except TypeError:
        return repr(template)
    return template  # type: ignore[no-any-return]
