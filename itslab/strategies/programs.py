"""Program-aided reasoning: the model writes a program, and a computer computes the answer.

PAL (Gao et al. 2022, arXiv:2211.10435) and Program of Thoughts (Chen et al. 2022,
arXiv:2211.12588) show the model worked examples of such programs; here an instruction asks for
one, as their zero-shot form does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from itslab.answers import vote
from itslab.code import extract_script, is_value
from itslab.core import Interpreter, Node, Output, Prompt, PromptTooLong, Sampling, require
from itslab.options import Count, Options, Text, Whole, check
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP, pose

WRITE_PROGRAM = (
    "Write a short Python program that computes the answer and prints it. Reply with the program "
    "in one ```python code block, and nothing else."
)
MEND = "The program fails:\n\n{error}\n\nCorrect it. Reply with the whole program."
NO_PROGRAM, PRINTS_NOTHING = "There is no program.", "The program prints nothing."
_SHOWN = 500  # characters of what a program prints, in a turn
_COMPLAINT = 1_000  # characters of an error, the last ones, that a model is shown
_LONGEST = 1_000  # characters of an answer; a number may have many digits
_DECIMALS = 10  # from which on the last ones of a float are noise
_EXACT = 1e15  # from which on all digits that a float holds stand before the point
_WHOLE = re.compile(r"(-?\d+)\.0*")
_EMPTY = ("None", "nan", "inf", "-inf")  # printed, but no answer
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Attempt(NamedTuple):
    """A program's turn, with what it printed.

    Args:
        node: where the turn ends.
        error: why no program has answered; "" if one has.
        readable: whether an answer may be read from the turn nevertheless.
    """

    node: Node
    error: str = ""
    readable: bool = True


@dataclass(frozen=True)
class ProgramAided(Options):
    """Draw ``n`` programs, run them, and answer what most of them print.

    What a program prints is appended to the model's turn, its last line as the answer: an answer
    is read from the turn as from any other. In a turn that reasons and holds a program on the way
    (``instruction=STEP_BY_STEP``), the program is run as well, whatever output the model made up.

    Args:
        interpreter: runs a program: ``itslab.sandbox.execute``, or a bank that remembers what came
            of it.
        n: programs.
        repairs: how often a program that fails or prints nothing is shown to the model with its
            error, to be corrected.
        fallback: what stands for a program that does not work in the end: a ``chain`` of thought
            that is drawn instead (and takes its tokens), the ``text`` of its turn, or ``none``.
        instruction: added to the end of the prompt, to ask for a program.
        mend: what the model is told of a program that fails; ``{error}`` is replaced.
        sampling: of a program, of its corrections, and of a chain.
    """

    interpreter: Interpreter = field(repr=False)
    n: Count = 1
    repairs: Whole = 0
    fallback: Literal["chain", "text", "none"] = "chain"
    instruction: str = WRITE_PROGRAM
    mend: Text = MEND
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        check(self)
        require("{error}" in self.mend, "mend", self.mend, "text with {error} in it")

    def __spec__(self) -> list[object]:
        return [self.interpreter]

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        asked = pose(run, prompt, self.instruction)

        def complain(failed: Sequence[Attempt]) -> list[Node]:
            said = [self.mend.replace("{error}", a.error[-_COMPLAINT:]) for a in failed]
            return [run.reply(a.node, text) for a, text in zip(failed, said, strict=True)]

        def ask_again(failed: Sequence[Attempt]) -> list[Node]:
            return [pose(run, prompt, STEP_BY_STEP)] * len(failed)

        as_text = self.fallback == "text"
        with nullcontext() if as_text else run.drafting():  # numbers in a program are no answer
            drawn = run.extend(asked, self.sampling, self.n)
            attempts = self._executed(run, drawn, as_text)
            for _ in range(self.repairs):
                attempts = self._replaced(run, attempts, complain, as_text)
        if self.fallback == "chain":
            attempts = self._replaced(run, attempts, ask_again, True)
        return self._lead(run, attempts)

    def _executed(self, run: Run, nodes: Sequence[Node], readable: bool) -> Sequence[Attempt]:
        """Run the program of each turn, and append what it prints."""
        programs = [extract_script(node.turn_text) for node in nodes]
        outputs = iter(run.execute([p for p in programs if p is not None], self.interpreter))
        attempts = []
        for node, program in zip(nodes, programs, strict=True):
            output = Output("", NO_PROGRAM) if program is None else next(outputs)
            said, error = ("", output.error) if output.error else _said(run, output.text)
            if error:
                attempts.append(Attempt(node, error, readable))
            else:
                attempts.append(Attempt(run.append(node, _shown(output.text, said))))
        return attempts

    def _replaced(
        self,
        run: Run,
        attempts: Sequence[Attempt],
        ask: Callable[[Sequence[Attempt]], Sequence[Node]],
        readable: bool,
    ) -> Sequence[Attempt]:
        """Draw anew for those that failed; the budget may end before all."""
        self._lead(run, attempts)
        failed = [attempt for attempt in attempts if attempt.error]
        if not failed:
            return attempts
        parents = ask(failed)
        try:
            drawn = self._executed(run, run.extend(parents, self.sampling), readable)
        except PromptTooLong:  # it stays as it is, and so do the others
            return attempts
        left = list(drawn)
        anew = {}
        for attempt, parent in zip(failed, parents, strict=True):
            same = (new for new in left if new.node.turn()[0].parent is parent)
            if (new := next(same, None)) is not None:
                left.remove(new)
                anew[attempt.node.id] = new
        return [anew.get(attempt.node.id, attempt) for attempt in attempts]

    def _lead(self, run: Run, attempts: Sequence[Attempt]) -> Node | None:
        """The one whose answer most of them give, noted as the best so far."""
        said = [run.extract(a.node.turn_text) if a.readable else None for a in attempts]
        votes = [None if answer is None else run.key(answer) for answer in said]
        winner = vote(votes, None, str)
        if winner is None:
            return None
        run.best = leader = attempts[winner].node
        run.tree.log("vote", leader, votes=votes)
        return leader


def _said(run: Run, text: str) -> tuple[str, str]:
    """The answer in what a program printed, or why there is none.

    Its last line, if that is a value; else what is read from the last line that holds something.
    """
    lines = [line.strip() for line in _COLOURS.sub("", text).splitlines() if line.strip()]
    if not lines:
        return "", PRINTS_NOTHING
    if len(lines[-1]) > _LONGEST:
        return "", f"The last line that the program prints has more than {_LONGEST:,} characters."
    held = (
        lines[-1] if is_value(lines[-1]) else next(filter(None, map(run.extract, lines[::-1])), "")
    )
    said = _rounded(held or lines[-1])
    if said in _EMPTY:
        return "", f"The program prints {said}, which is no answer."
    return said, ""


def _shown(text: str, said: str) -> str:
    """What is written into a turn of what its program printed."""
    shown = _COLOURS.sub("", text).strip()[-_SHOWN:]
    return f"\n\n```output\n{shown}\n```\n\nThe final answer is \\boxed{{{said}}}"


def _rounded(number: str) -> str:
    """A number without what floats add to it: 0.30000000000000004 is 0.3."""
    if whole := _WHOLE.fullmatch(number):
        return whole[1]
    try:
        value = float(number)
    except ValueError:
        return number
    if len(number.partition(".")[2]) < _DECIMALS or not abs(value) < _EXACT:
        return number
    short = float(f"{value:.12g}")
    return repr(short if math.isclose(short, value, rel_tol=1e-14) else float(f"{value:.15g}"))
