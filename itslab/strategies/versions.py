"""What refinements share: what is said of a version, when a line of versions ends, and a
conversation that stays within the context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from itslab.core import Cost, Node, PromptTooLong, Sampling
from itslab.run import Halt, Run
from itslab.strategies.steps import merit

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

    def add(self, run: Run, version: Node, enough: float) -> None:
        """Append a version that was scored. The line ends where it scores enough, or repeats."""
        earlier = [_form(run, node) for node in self.versions]
        run.tree.log("version", version, of=self.last.id if earlier else None)
        self.versions.append(version)
        form = _form(run, version)
        if merit(version) >= enough:
            self.end(run, "enough")
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
    """Say a conversation anew without its oldest version; as it is if that is also the last one."""
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
