"""Program-aided reasoning: the model writes a program, and a computer computes the answer.

PAL (Gao et al. 2022, arXiv:2211.10435) and Program of Thoughts (Chen et al. 2022,
arXiv:2211.12588) show the model worked examples of such programs; here an instruction asks for
one, as their zero-shot form does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from itslab.answers import vote
from itslab.code import extract_script
from itslab.core import Interpreter, Node, Output, Prompt, Sampling, require
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


class Attempt(NamedTuple):
    """A program's turn, with what it printed, and why it has no answer; "" if it has one."""

    node: Node
    error: str = ""


@dataclass(frozen=True)
class ProgramAided(Options):
    """Draw ``n`` programs, run them, and answer what most of them print.

    What a program prints is appended to the model's turn, its last line as the answer: an answer
    is read from the turn as from any other. In a turn that reasons and holds a program on the way
    (``instruction=STEP_BY_STEP``), the program is run as well, whatever output the model made up.

    Args:
        interpreter: runs a program: ``sandbox.execute``, or a bank that remembers what came of it.
        n: programs.
        repairs: how often a program that fails or prints nothing is shown to the model with its
            error, to be corrected.
        fallback: what stands for a program that does not work in the end: a ``chain`` of thought
            that is drawn instead, the ``text`` of its turn, or ``none``.
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

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        drawn = run.extend(pose(run, prompt, self.instruction), self.sampling, self.n)
        attempts = self._executed(run, drawn)

        def complain(failed: Sequence[Attempt]) -> list[Node]:
            return [run.reply(a.node, self.mend.replace("{error}", a.error)) for a in failed]

        def ask_again(failed: Sequence[Attempt]) -> list[Node]:
            return [pose(run, prompt, STEP_BY_STEP)] * len(failed)

        for _ in range(self.repairs):
            attempts = self._replaced(run, attempts, complain)
        if self.fallback == "chain":
            attempts = self._replaced(run, attempts, ask_again)
        return self._lead(run, attempts)

    def _executed(self, run: Run, nodes: Sequence[Node]) -> Sequence[Attempt]:
        """Run the program of each turn, and append what it prints."""
        programs = [extract_script(node.turn_text) for node in nodes]
        outputs = iter(run.execute([p for p in programs if p is not None], self.interpreter))
        attempts = []
        for node, program in zip(nodes, programs, strict=True):
            output = Output("", NO_PROGRAM) if program is None else next(outputs)
            if output.error or not output.text.strip():
                attempts.append(Attempt(node, output.error or PRINTS_NOTHING))
            else:
                attempts.append(Attempt(run.append(node, _printed(run, output.text))))
        return attempts

    def _replaced(
        self,
        run: Run,
        attempts: Sequence[Attempt],
        ask: Callable[[Sequence[Attempt]], Sequence[Node]],
    ) -> Sequence[Attempt]:
        """Draw anew for those that failed; the budget may end before all."""
        self._lead(run, attempts)
        failed = [attempt for attempt in attempts if attempt.error]
        if not failed:
            return attempts
        drawn = self._executed(run, run.extend(ask(failed), self.sampling))
        anew = dict(zip(failed, drawn, strict=False))
        return [anew.get(attempt, attempt) for attempt in attempts]

    def _lead(self, run: Run, attempts: Sequence[Attempt]) -> Node | None:
        """The one whose answer most of them give, noted as the best so far."""
        silent = self.fallback == "none"
        said = [None if a.error and silent else run.extract(a.node.turn_text) for a in attempts]
        votes = [None if answer is None else run.key(answer) for answer in said]
        winner = vote(votes, None, str)
        if winner is None:
            return None
        run.best = leader = attempts[winner].node
        run.tree.log("vote", leader, votes=votes)
        return leader


def _printed(run: Run, text: str) -> str:
    """What is written into a turn of what its program printed."""
    last = text.strip().splitlines()[-1].strip()
    said = _rounded(run.extract(last) or last)
    return f"\n\n```output\n{text.strip()[-_SHOWN:]}\n```\n\nThe final answer is \\boxed{{{said}}}"


def _rounded(number: str) -> str:
    """A number without what floats add to it: 0.30000000000000004 is 0.3."""
    try:
        return f"{float(number):.10g}" if "." in number else number
    except ValueError:
        return number
