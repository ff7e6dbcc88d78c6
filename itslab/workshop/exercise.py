"""Exercises whose checks name the mistake.

A check runs a participant's function, or takes their value, on a few inputs. What differs from the
right solution is held against plausible wrong ones: the one that errs in the same way on every
input says what went wrong. Where none does, the first input that fails is shown with what was
expected. So an exercise is its right solution, some wrong ones, and inputs that tell them apart.

    VOTE = Exercise(
        "vote",
        inputs=((["7", "8", "8"],), (["7", None, None],)),
        right=vote,  # a function; its source is the solution that is shown
        mistakes=(Mistake(first, "that takes the first answer: count them all"),),
        said="Right. That is itslab.answers.vote.",
    )
    VOTE.check(mine)
"""

from __future__ import annotations

import copy
import inspect
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from numbers import Real
from typing import Any, NamedTuple

from itslab.core import ItslabError
from itslab.viz import pieces, style
from itslab.viz.style import BLUE, GREEN, ORANGE

Does = Callable[..., Any]
SHOWN = 160
"""Characters of an input or an answer that are shown."""


class Mistake(NamedTuple):
    """A plausible wrong solution, and what is said to whoever errs like it.

    Args:
        does: what it returns, of the same arguments as the right solution.
        hint: what is wrong about it, in a sentence.
    """

    does: Does
    hint: str


def same(answer: Any, expected: Any) -> bool:
    """Whether two answers are the same: numbers up to rounding, texts up to case and blanks.

    Lists, tuples and arrays are the same if they hold the same in the same order; a truth value is
    no number.
    """
    if hasattr(answer, "tolist"):  # of numpy and pandas
        answer = answer.tolist()
    if hasattr(expected, "tolist"):
        expected = expected.tolist()
    if isinstance(expected, bool) or isinstance(answer, bool):
        return answer is expected
    if isinstance(expected, str):
        return isinstance(answer, str) and _plain(answer) == _plain(expected)
    if isinstance(expected, Real):
        return isinstance(answer, Real | Decimal) and math.isclose(
            answer, expected, rel_tol=1e-6, abs_tol=1e-9
        )
    if isinstance(expected, Mapping):
        return (
            isinstance(answer, Mapping)
            and set(answer) == set(expected)
            and all(same(answer[key], expected[key]) for key in expected)
        )
    if isinstance(expected, list | tuple):
        return (
            isinstance(answer, list | tuple)
            and len(answer) == len(expected)
            and all(same(a, e) for a, e in zip(answer, expected, strict=True))
        )
    return bool(answer == expected)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


@dataclass(frozen=True)
class Exercise:
    """A question whose answer is a function, or a value.

    Args:
        name: by which notebooks and journals call it.
        right: the right solution; its source is shown to whoever asks for it.
        inputs: arguments of the calls on which a function is tried. Empty where a value is asked
            for: the notebook gives what it follows from.
        mistakes: what people do wrong.
        said: what the right answer is told, after "right".
        hints: one after the other, for those who do not know how to begin.
        right_of: whether an answer is right, given that and the right one; by default ``same``.
    """

    name: str
    right: Does
    inputs: tuple[tuple[Any, ...], ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    said: str = ""
    hints: tuple[str, ...] = ()
    right_of: Callable[[Any, Any], bool] = field(default=same, repr=False)

    def check(self, attempt: Any, *given: Any) -> Checked:
        """Say whether an attempt is right, and else what is wrong about it.

        Args:
            attempt: the function, or the value; what is, or returns, ``...`` is not written yet.
            given: what a value follows from: the arguments of the right solution.

        Raises:
            ItslabError: what was given does not fit the exercise, which is the notebook's mistake.
        """
        if bool(given) == bool(self.inputs):
            raise ItslabError(
                f"exercise {self.name} asks for a {'function' if self.inputs else 'value'}: "
                f"check it with {'nothing but that' if self.inputs else 'what it follows from'}"
            )
        inputs = self.inputs or (given,)
        if attempt is ...:
            return Checked(self, None, "not written yet")
        if self.inputs and not callable(attempt):
            return Checked(self, False, f"a function is asked for, and this is {_shown(attempt)}")
        if callable(attempt) and not self.inputs:
            return Checked(self, False, "a value is asked for, and this is a function: call it")
        does = attempt if self.inputs else lambda *_: attempt
        answers: list[Any] = []
        for arguments in inputs:
            answers.append(_done(does, arguments))
            if _raised(answers[-1], KeyboardInterrupt):  # of the kernel
                said = f"for {_call(arguments)} it was interrupted: does every loop in it end?"
                return Checked(self, False, said)
        if ... in map(_plainly, answers):
            return Checked(self, None, "not written yet")
        expected = [self.right(*copy.deepcopy(arguments)) for arguments in inputs]
        pairs = enumerate(zip(answers, expected, strict=True))
        wrong = [i for i, (answer, right) in pairs if not self._fits(answer, right)]
        if not wrong:
            return Checked(self, True, f"right. {self.said}".strip())
        return Checked(self, False, self._hint(inputs, answers, expected, wrong[0]))

    def _fits(self, answer: Any, expected: Any) -> bool:
        if type(answer) is _Raised or type(expected) is _Raised:
            return type(answer) is type(expected) and type(answer.error) is type(expected.error)
        try:
            return bool(self.right_of(answer, expected))
        except Exception:  # odd types compare in odd ways
            return False

    def _hint(
        self,
        inputs: Sequence[tuple[Any, ...]],
        answers: Sequence[Any],
        expected: Sequence[Any],
        first: int,
    ) -> str:
        for mistake in self.mistakes:
            if all(
                self._fits(answer, _done(mistake.does, arguments))
                for answer, arguments in zip(answers, inputs, strict=True)
            ):
                return mistake.hint
        answer, right, called = answers[first], expected[first], _call(inputs[first])
        if type(answer) is _Raised:
            return f"for {called} it raised {_shown(answer)}"
        if all(one is None for one in answers):
            return "it returns nothing: the last line must begin with return"
        kind = ""
        if isinstance(answer, str) and isinstance(right, Real):
            kind = ", which is a text: a number has no quotes"
        elif isinstance(answer, Iterator) and isinstance(right, list | tuple):
            kind = ", which gives one after the other: make a list of it, list(...)"
        if not self.inputs:
            return f"{_shown(answer)} is not it{kind}"
        return f"for {called} it should give {_shown(right)}, and gives {_shown(answer)}{kind}"

    @property
    def solution(self) -> str:
        """The source of the right solution, as one would write it in a notebook."""
        return textwrap.dedent(inspect.getsource(self.right)).strip()


class _Raised:
    """What a solution raised, which is not what it returned."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


def _raised(answer: Any, kind: type[BaseException]) -> bool:
    return type(answer) is _Raised and isinstance(answer.error, kind)


def _done(does: Does, arguments: tuple[Any, ...]) -> Any:
    """What a solution returns, or what it raises: code that is being written raises anything."""
    try:
        return does(*copy.deepcopy(arguments))
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return _Raised(error)


def _plainly(answer: Any) -> Any:
    """``...`` or something else: what participants return may compare in odd ways."""
    return ... if answer is ... else None


def _shown(value: Any) -> str:
    try:
        value = value.tolist() if hasattr(value, "tolist") else value  # of numpy: 1.5, no type
        text = " ".join(repr(value).split())
    except Exception:  # of a participant's own class
        raised = type(value) is _Raised
        text = type(value.error).__name__ if raised else f"something of {type(value).__name__}"
    return style.short(text, SHOWN)


def _call(arguments: tuple[Any, ...]) -> str:
    return ", ".join(map(_shown, arguments))


@dataclass(frozen=True)
class Checked:
    """What a check says; in a notebook with hints and the solution, folded.

    Args:
        exercise: that was tried.
        right: whether it is; None while nothing was written.
        said: what it is told, in a line.
    """

    exercise: Exercise
    right: bool | None
    said: str

    def __repr__(self) -> str:
        return f"{self.exercise.name}: {self.said}"

    def _repr_html_(self) -> str:
        mark, colour = {True: ("✓", GREEN), False: ("✗", ORANGE), None: ("…", BLUE)}[self.right]
        name = escape(self.exercise.name)
        parts = [style.box(f"<b>{mark} {name}</b>: {escape(self.said)}", colour)]
        if not self.right:
            count = len(self.exercise.hints)
            for number, hint in enumerate(self.exercise.hints, 1):
                title = "a hint" if count == 1 else f"hint {number} of {count}"
                parts.append(pieces.details(title, style.box(escape(hint), BLUE)))
        title = "a solution" if self.right else "the solution, if you have tried"
        parts.append(pieces.folded(title, self.exercise.solution))
        return pieces.view(*parts)
