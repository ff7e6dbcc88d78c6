"""Answer, see what is wrong, revise, and keep the version that is best.

Madaan et al. 2023, Self-Refine (arXiv:2303.17651, §2) let the model see for itself. Where nothing
can be checked, that often makes answers worse (Huang et al. 2023, arXiv:2310.01798, §3). So these
strategies are built around a verifier that says what is wrong, and return the best version rather
than the last.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from itslab.core import Node, Prompt, Sampling, Verifier
from itslab.options import Count, Limit, Options, Text, Whole
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP, pose
from itslab.strategies.steps import Final, chosen
from itslab.strategies.versions import Line, converse, remark, unjudged

CORRECT = (
    "There is a mistake: {note}\n\nCorrect it and all that follows from it. Give the whole "
    "solution again, with the final answer within \\boxed{}."
)
REPAIR = (
    "The function fails:\n\n{note}\n\nFind the mistake, and reply with the whole corrected "
    "function in one ```python code block."
)
CRITIQUE = (
    "Check your solution step by step, briefly. Say which step is wrong, and why. If none is, say: "
    "No mistake."
)
REVISE = "Now give the whole solution again, corrected, with the final answer within \\boxed{}."


@dataclass(frozen=True)
class CheckedRefine(Options):
    """Answer, let a verifier point at what is wrong, and revise until it finds nothing more.

    For mathematics with ``Arithmetic``, which recomputes each equation and points at the first that
    does not hold; or with ``Critic``, another model's critique. A line of versions ends when the
    verifier is content or has nothing to say, when a version repeats the one before or an earlier
    one, or after ``iterations``.

    Args:
        verifier: scores a version; what it notes goes into the request to revise it.
        iterations: revisions of an answer at most.
        branches: answers, each with its revisions, side by side in one batch. The first that is
            good enough ends them all.
        enough: a version that scores this needs no revision.
        final: which version is returned: the one with the best ``score``, the earliest of equal
            ones; or the first that most others agree with (``vote``).
        request: asks for a revision, with a place for what was noted: ``{note}``.
        instruction: as of ``ChainOfThought``.
        sampling: of an answer and of its revisions.
    """

    verifier: Verifier
    iterations: Whole = 3
    branches: Count = 1
    enough: Limit = 1.0
    final: Final = "score"
    request: str = CORRECT
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        drafts = run.extend(pose(run, prompt, self.instruction), self.sampling, self.branches)
        lines = [Line() for _ in drafts]
        self._judge(run, lines, lines, drafts)
        for _ in range(self.iterations):
            going = [line for line in lines if not line.why]
            if not going or any(line.why == "enough" for line in lines):
                break
            requests = dict(zip(going, self.ask(run, going), strict=True))
            asked = {line: request for line, request in requests.items() if request is not None}
            if not asked:
                break
            drawn = converse(run, list(asked.values()), self.sampling)
            self._judge(run, lines, list(asked), drawn)
        return self._choose(run, lines)

    def ask(self, run: Run, lines: Sequence[Line]) -> list[Node | None]:
        """Ask for a revision of each line's last version; of what could not be judged, none."""
        for line in lines:
            if unjudged(line.last):
                line.end(run, "unjudged")
        return [None if line.why else self._request(run, line.last) for line in lines]

    def _request(self, run: Run, version: Node) -> Node:
        return run.reply(version, self.request.replace("{note}", remark(version)))

    def _judge(
        self, run: Run, lines: Sequence[Line], grown: Sequence[Line], drawn: Sequence[Node | None]
    ) -> None:
        """Score the versions that were drawn for some of the lines, and end an iteration."""
        fresh = {line: node for line, node in zip(grown, drawn, strict=True) if node is not None}
        run.score(list(fresh.values()), self.verifier)
        for line, version in fresh.items():
            line.add(run, version, self.enough)
        run.checkpoint(self._choose(run, lines))

    def _choose(self, run: Run, lines: Sequence[Line]) -> Node:
        return chosen(run, [v for line in lines for v in line.versions], self.final)


@dataclass(frozen=True)
class RepairWithTests(CheckedRefine):
    """Write a program, run it against visible tests, and repair it by the first that fails.

    Chen et al. 2023, Self-Debug (arXiv:2304.05128) with unit tests; several programs at once as
    Olausson et al. 2023 (arXiv:2306.09896), who hold them against as many independent samples
    (§3.2), or as many tokens of them (appendix A). Without tests there is nothing to repair by.

    Args:
        verifier: such as ``Tests``, whose notes hold the failing call or the traceback.
        iterations, branches, enough, final, request, sampling: as of ``CheckedRefine``.
        instruction: by default none: a task says itself what to reply with.
    """

    request: str = REPAIR
    instruction: str = ""


@dataclass(frozen=True)
class SelfRefine(CheckedRefine):
    """Answer, criticise the answer, revise it by the critique: all by the same model.

    Madaan et al. 2023 (arXiv:2303.17651, §2). The critique is a turn of the conversation.

    Args:
        verifier: says which version is best, such as ``Confidence`` or ``Judge``; it does not see
            critiques, and none of its notes is told.
        iterations, branches, final, instruction, sampling: as of ``CheckedRefine``.
        enough: by default no score is; the critique ends a line.
        request: asks for a revision, after the critique.
        critique: asks for the critique.
        content: a critique whose last line says this, and no more, ends the line.
        criticism: the sampling of a critique.
    """

    enough: Limit = math.inf
    request: str = REVISE
    critique: str = CRITIQUE
    content: Text = "No mistake"
    criticism: Sampling = Sampling(max_tokens=256)

    def ask(self, run: Run, lines: Sequence[Line]) -> list[Node | None]:
        """Draw a critique of the last version of each line, and ask for a revision by it."""
        asked = [run.reply(line.last, self.critique) for line in lines]
        critiques = converse(run, asked, self.criticism)
        return [self._answer(run, *pair) for pair in zip(lines, critiques, strict=True)]

    def _answer(self, run: Run, line: Line, critique: Node | None) -> Node | None:
        if critique is None:
            return None
        if _says(critique.text, self.content):
            line.end(run, "content")
            return None
        return run.reply(critique, self.request)


def _says(critique: str, verdict: str) -> bool:
    """Whether the last line of a critique is a verdict, such as "So there is no mistake."."""
    line = re.sub(r"[*_`\"]", "", critique.strip().rpartition("\n")[2]).strip(" .!")
    opening = (
        r"(?:[a-z ]+: *)?(?:(?:so|thus|therefore|hence),? )?(?:there (?:is|are) |i see |i found )?"
    )
    return re.fullmatch(f"{opening}{re.escape(verdict.strip(' .!'))}s?", line, re.I) is not None
