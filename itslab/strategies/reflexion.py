"""Attempts that learn from each other in words.

Shinn et al. 2023, Reflexion (arXiv:2303.11366, §3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from itslab.core import Node, Prompt, Sampling, Verifier
from itslab.options import Count, Limit, Options, Whole
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP, pose
from itslab.strategies.steps import Final, chosen
from itslab.strategies.versions import Line, converse, remark, unjudged

REFLECT = (
    "{note}\n\nIn one or two sentences: what went wrong, and what should be done differently in "
    "the next attempt?"
)
LESSONS = "Lessons from earlier attempts, which were wrong:\n{lessons}"


@dataclass(frozen=True)
class Reflexion(Options):
    """Attempt, learn a lesson in words from what went wrong, attempt anew with the lessons in mind.

    An attempt does not see the earlier ones, only the lessons. It ends as ``CheckedRefine`` does.

    Args:
        verifier: scores an attempt; what it notes goes into the request for a lesson.
        iterations: further attempts at most.
        memory: lessons kept, the last ones.
        enough, final, instruction, sampling: as of ``CheckedRefine``.
        reflect: asks for a lesson, with a place for what was noted: ``{note}``.
        lesson: the sampling of a lesson.
    """

    verifier: Verifier
    iterations: Whole = 3
    memory: Count = 3
    enough: Limit = 1.0
    final: Final = "score"
    reflect: str = REFLECT
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()
    lesson: Sampling = Sampling(max_tokens=96)

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        line, lessons = Line(), list[str]()
        for left in reversed(range(self.iterations + 1)):
            [attempt] = run.extend(self._pose(run, prompt, lessons), self.sampling)
            run.score([attempt], self.verifier)
            line.add(run, attempt, self.enough)
            if unjudged(attempt) and not line.why:
                line.end(run, "unjudged")
            run.checkpoint(chosen(run, line.versions, self.final))
            if line.why or not left:
                break
            request = self.reflect.replace("{note}", remark(attempt)).strip()
            [said] = converse(run, [run.reply(attempt, request)], self.lesson)
            assert said is not None  # one was asked for
            lessons = [*lessons, " ".join(said.text.split())][-self.memory :]
        return chosen(run, line.versions, self.final)

    def _pose(self, run: Run, prompt: Prompt, lessons: Sequence[str]) -> Node:
        if not lessons:
            return pose(run, prompt, self.instruction)
        listed = LESSONS.replace("{lessons}", "\n".join(f"- {lesson}" for lesson in lessons))
        return pose(run, prompt, f"{listed}\n\n{self.instruction}".strip())
