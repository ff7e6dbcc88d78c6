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
from dataclasses import dataclass, field, replace

from itslab.core import Cost, Node, Prompt, PromptTooLong, Sampling, Verifier
from itslab.options import Count, Limit, Options, Text, Whole
from itslab.run import Halt, Run
from itslab.strategies.chains import STEP_BY_STEP, pose
from itslab.strategies.steps import Selection, chosen, merit

LONGEST_NOTE = 1500
"""Characters of what a verifier says that go into a conversation."""


@dataclass(eq=False)
class Line:
    """An answer and its revisions, each of the one before.

    Args:
        versions: in their order.
        why: it is not revised any further; "" while it may be.
    """

    versions: list[Node] = field(default_factory=list)
    why: str = ""

    @property
    def last(self) -> Node:
        """The version that would be revised next."""
        return self.versions[-1]

    def add(self, run: Run, version: Node, stop_score: float) -> None:
        """Append a scored version. The line ends at the stop score, and where it repeats itself."""
        earlier = [_form(run, node) for node in self.versions]
        run.tree.log("version", version, of=self.last.id if earlier else None)
        self.versions.append(version)
        form = _form(run, version)
        if merit(version) >= stop_score:
            self.end(run, "stop_score")
        elif form in earlier:
            self.end(run, "unchanged" if form == earlier[-1] else "cycle")

    def end(self, run: Run, why: str) -> None:
        """Revise it no further."""
        self.why = why
        run.tree.log("settled", self.last, why=why)


def _form(run: Run, version: Node) -> str:
    """What equal versions share: their answer or, without one, their text."""
    answer = run.extract(version.turn_text)
    return version.turn_text.strip() if answer is None else run.key(answer)


def unjudged(version: Node) -> bool:
    """Whether a version could not be scored, so that nothing is known to be wrong with it."""
    return version.verdict is None or math.isnan(version.verdict.score)


def remark(version: Node) -> str:
    """What a verifier noted of a version; of a long note the end, where a traceback says most."""
    note = version.verdict.note.strip() if version.verdict else ""
    if len(note) <= LONGEST_NOTE:
        return note
    kept = note[-LONGEST_NOTE:]
    return f"…\n{kept[kept.find(chr(10)) + 1 :]}"


def converse(run: Run, requests: Sequence[Node], sampling: Sampling) -> list[Node | None]:
    """Draw the next turn of each conversation, all in one batch; None where a budget ended before.

    Where one outgrows the context, the oldest version and what was said of it are left out, again
    and again until it fits. The question, the last version and what was said of that stay; if even
    these do not fit, the run ends with its best answer so far.

    Raises:
        Halt: as ``Run.extend``; ``context`` if nothing is left to leave out.
    """
    asked = list(requests)
    while True:
        try:
            drawn = {node.parent: node for node in run.extend(asked, sampling)}
            return [drawn.get(request) for request in asked]
        except PromptTooLong:
            shorter = [_without_oldest(run, request) for request in asked]
            if shorter == asked:
                raise Halt("context") from None
            asked = shorter


def _without_oldest(run: Run, request: Node) -> Node:
    """Repeat a conversation without its oldest version; unchanged if that is also the last one."""
    path = request.path()
    opened = next(i for i, node in enumerate(path) if node.role == "assistant")
    later = [node for node in path if node.verdict is not None and path[opened] not in node.turn()]
    if not later:
        return request
    kept = path.index(later[0].turn()[0])
    node = None
    for step in path[:opened] + path[kept:]:
        node = run.tree.add(node, step.role, step.text)
        if step.verdict is not None:
            run.tree.judge(node, replace(step.verdict, cost=Cost()))  # it is paid for
    assert node is not None  # the question is there
    return node


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
        verifier: scores a version; its note goes into the request to revise it.
        iterations: most revisions of an answer.
        branches: answers, each with its revisions, side by side in one batch. The first that is
            good enough ends them all.
        stop_score: a version that scores this needs no revision.
        selection: how the version that is returned is selected: by the best ``score``, the earliest
            of equal ones; or by a ``vote``, the first that most others agree with.
        request: the message that asks for a revision, with ``{note}`` where the note goes.
        instruction: as of ``ChainOfThought``.
        sampling: of an answer and of its revisions.
    """

    verifier: Verifier
    iterations: Whole = 3
    branches: Count = 1
    stop_score: Limit = 1.0
    selection: Selection = "score"
    request: str = CORRECT
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        drafts = run.extend(pose(run, prompt, self.instruction), self.sampling, self.branches)
        lines = [Line() for _ in drafts]
        self._judge(run, lines, lines, drafts)
        for _ in range(self.iterations):
            going = [line for line in lines if not line.why]
            if not going or any(line.why == "stop_score" for line in lines):
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
            line.add(run, version, self.stop_score)
        run.checkpoint(self._choose(run, lines))

    def _choose(self, run: Run, lines: Sequence[Line]) -> Node:
        return chosen(run, [v for line in lines for v in line.versions], self.selection)


@dataclass(frozen=True)
class RepairWithTests(CheckedRefine):
    """Write a program, run it against visible tests, and repair it by the first that fails.

    Chen et al. 2023, Self-Debug (arXiv:2304.05128) with unit tests; several programs at once as
    Olausson et al. 2023 (arXiv:2306.09896), who hold them against as many independent samples
    (§3.2), or as many tokens of them (appendix A). Without tests there is nothing to repair by.

    Args:
        verifier: such as ``Tests``, whose notes hold the failing call or the traceback.
        iterations, branches, stop_score, selection, request, sampling: as of ``CheckedRefine``.
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
            critiques, and the model does not see its notes.
        iterations, branches, selection, instruction, sampling: as of ``CheckedRefine``.
        stop_score: by default no score is; the critique ends a line.
        request: the message that asks for a revision, after the critique.
        critique: the message that asks for the critique.
        content: a critique whose last line says this, and no more, ends the line.
        criticism: the sampling of a critique.
    """

    stop_score: Limit = math.inf
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
        verifier: scores an attempt; its note goes into the request for a lesson.
        iterations: most further attempts.
        memory: how many of the last lessons are kept.
        stop_score, selection, instruction, sampling: as of ``CheckedRefine``.
        reflect: the message that asks for a lesson, with ``{note}`` where the note goes.
        lesson: the sampling of a lesson.
    """

    verifier: Verifier
    iterations: Whole = 3
    memory: Count = 3
    stop_score: Limit = 1.0
    selection: Selection = "score"
    reflect: str = REFLECT
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()
    lesson: Sampling = Sampling(max_tokens=96)

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        line, lessons = Line(), list[str]()
        for left in reversed(range(self.iterations + 1)):
            [attempt] = run.extend(self._pose(run, prompt, lessons), self.sampling)
            run.score([attempt], self.verifier)
            line.add(run, attempt, self.stop_score)
            if unjudged(attempt) and not line.why:
                line.end(run, "unjudged")
            run.checkpoint(chosen(run, line.versions, self.selection))
            if line.why or not left:
                break
            request = self.reflect.replace("{note}", remark(attempt)).strip()
            [said] = converse(run, [run.reply(attempt, request)], self.lesson)
            assert said is not None  # one was asked for
            lessons = [*lessons, " ".join(said.text.split())][-self.memory :]
        return chosen(run, line.versions, self.selection)

    def _pose(self, run: Run, prompt: Prompt, lessons: Sequence[str]) -> Node:
        if not lessons:
            return pose(run, prompt, self.instruction)
        listed = LESSONS.replace("{lessons}", "\n".join(f"- {lesson}" for lesson in lessons))
        return pose(run, prompt, f"{listed}\n\n{self.instruction}".strip())
