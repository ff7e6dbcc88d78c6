"""Exercises whose checks name the mistake.

A check runs a participant's function, or takes their value, on a few inputs. What differs from the
right solution is held against plausible wrong ones: the one that errs in the same way on every
input says what went wrong. Where none does, it may be what goes wrong in any exercise, such as a
rounded number; else the first input that fails is shown with what was expected. So an exercise is
its right solution, some wrong ones, and inputs that tell them apart.

    VOTE = Exercise(
        "vote",
        inputs=((["7", "8", "8"],), (["7", None, None],)),
        right=vote,  # a function; its source is the solution that is shown
        mistakes=(Mistake(first, "that takes the first answer: count them all"),),
        said="A vote is all that self-consistency adds.",
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

    Lists and other sequences are the same if they hold the same in the same order; a truth value
    is no number.
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
    if _sequence(expected):
        return (
            _sequence(answer)
            and len(answer) == len(expected)
            and all(same(a, e) for a, e in zip(answer, expected, strict=True))
        )
    return bool(answer == expected)


def _sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


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
            last = answers[-1]
            if type(last) is _Raised and isinstance(last.error, KeyboardInterrupt):  # of the kernel
                said = f"for {_call(arguments)} it was interrupted: does every loop in it end?"
                return Checked(self, False, said)
        if ... in map(_plainly, answers):
            return Checked(self, None, "not written yet")
        expected = [self.right(*copy.deepcopy(arguments)) for arguments in inputs]
        pairs = enumerate(zip(answers, expected, strict=True))
        wrong = [i for i, (answer, right) in pairs if not self._fits(answer, right)]
        if not wrong:
            return Checked(self, True, f"right. {self.said}".strip())
        return Checked(self, False, self._hint(inputs, answers, expected, wrong))

    def _fits(self, answer: Any, expected: Any) -> bool:
        if type(answer) is _Raised or type(expected) is _Raised:
            return type(answer) is type(expected)
        try:
            return bool(self.right_of(answer, expected))
        except BaseException:  # odd types compare in odd ways
            return False

    def _hint(
        self,
        inputs: Sequence[tuple[Any, ...]],
        answers: Sequence[Any],
        expected: Sequence[Any],
        wrong: Sequence[int],
    ) -> str:
        returned = [i for i, one in enumerate(answers) if type(one) is not _Raised]
        fell = next((i for i, one in enumerate(answers) if type(one) is _Raised), None)
        raised = "" if fell is None else _fell(inputs[fell], answers[fell])
        known = [[_done(mistake.does, given) for given in inputs] for mistake in self.mistakes]
        looks: list[Sequence[int]] = [range(len(inputs))]
        if 2 * len(returned) >= len(inputs) and set(wrong) & set(returned):
            looks.append(returned)  # who errs in a known way, and raises besides
        for places in looks:
            for mistake, theirs in zip(self.mistakes, known, strict=True):
                if all(self._fits(answers[i], theirs[i]) for i in places):
                    return f"{mistake.hint} (and {raised})" if raised else mistake.hint
        first = wrong[0]
        answer, right = answers[first], expected[first]
        if type(answer) is _Raised:
            return raised
        if self.inputs and all(one is None for one in answers):
            return "it returns nothing: the last line must begin with return"
        if kind := self._kind(answers, expected):
            return kind
        gives = f"{_shown(answer)}{_odd(answer, right)}"
        if not self.inputs:
            return f"{_shown(answer)} is not it{_odd(answer, right)}"
        return f"for {_call(inputs[first])} it should give {_shown(right)}, and gives {gives}"

    def _kind(self, answers: Sequence[Any], expected: Sequence[Any]) -> str:
        """What is wrong with all answers in the same way, whatever was asked; often empty."""
        pairs = [*zip(answers, expected, strict=True)]
        if all(_number(a) and _number(e) and bool(a) == bool(e) for a, e in pairs):
            if all(self._fits(a, 100 * e) for a, e in pairs):
                return "that is a hundred times too much: is it in per cent, or in cents?"
            if any(all(self._fits(a, round(e, n)) for a, e in pairs) for n in range(7)):
                return "that is rounded: return the number as it comes"
        if (
            self.inputs
            and not any(map(_sequence, expected))
            and all(
                self._fits(a, e) or (_sequence(a) and any(self._fits(one, e) for one in a))
                for a, e in pairs
            )
        ):
            return f"what is asked for is in {_shown(answers[0])}: return that alone"
        return ""

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


def _done(does: Does, arguments: tuple[Any, ...]) -> Any:
    """What a solution returns, or what it raises: code that is being written raises anything."""
    try:
        return does(*copy.deepcopy(arguments))
    except BaseException as error:
        return _Raised(error)


def _fell(arguments: tuple[Any, ...], raised: _Raised) -> str:
    said = f"for {_call(arguments)} it raised {_shown(raised)}"
    if "'NoneType' object is not" in said:
        said += ". Is that what x.sort() returned? It sorts x itself: write x = sorted(x)"
    return said


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _odd(answer: Any, right: Any) -> str:
    """What is wrong about the type of an answer; often empty."""
    if isinstance(right, bool):
        return "" if isinstance(answer, bool) else ": True or False is asked for"
    if isinstance(answer, str) and isinstance(right, Real):
        return ", which is a text: a number has no quotes"
    if isinstance(right, str) and _number(answer):
        return ", which is a number: a text is asked for"
    if isinstance(answer, Iterator) and _sequence(right):
        return ", which gives one after the other: make a list of it, list(...)"
    return ""


def _plainly(answer: Any) -> Any:
    """``...`` or something else: what participants return may compare in odd ways."""
    return ... if answer is ... else None


def _shown(value: Any) -> str:
    try:
        value = value.tolist() if hasattr(value, "tolist") else value  # of numpy: 1.5, no type
        text = " ".join(repr(value).split())
    except BaseException:  # of a participant's own class
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
