"""Verifiers that ask no model: by the gold answer, by a rule, by visible tests."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from itslab import answers, background
from itslab.core import (
    Account,
    Cost,
    Extractor,
    Node,
    Problem,
    Prompt,
    Verdict,
    Verifier,
    as_messages,
)
from itslab.options import Options, Positive, Text
from itslab.sandbox import Examine, examine


@dataclass(frozen=True, repr=False)
class Oracle(Options):
    """Score 1 for a right answer, 0 for a wrong one or none.

    This is the only way in which a gold answer may enter a run, and its name says so in every plot.

    Args:
        problem: the one that is being solved.
        grade: the task's grader.
        extract: the task's extractor.
    """

    problem: Problem
    grade: Callable[[Problem, str | None], bool]
    extract: Extractor = answers.extract

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Grade what each node's turn says so far."""
        said = [self.extract(node.turn_text) for node in nodes]
        return [Verdict(float(self.grade(self.problem, answer))) for answer in said]

    def __repr__(self) -> str:
        return "Oracle()"


Check = Callable[[Mapping[str, Any], str | None], bool]  # the facts of a problem, an answer


@dataclass(frozen=True)
class Checker(Options):
    """Score 1 for an answer that does what the problem asks, 0 for any other; needs no gold.

    Args:
        check: the task's rule, such as ``tasks.puzzles.reaches_target``.
        facts: what the problem itself says (its ``meta``), such as numbers and target.
        extract: reads the answer from the model's turn.
    """

    check: Check
    facts: Mapping[str, Any] = field(repr=False)
    extract: Extractor = field(default=answers.extract, repr=False)

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Check what each node's turn says so far."""
        said = [self.extract(node.turn_text) for node in nodes]
        return [Verdict(float(self.check(self.facts, answer))) for answer in said]

    def __spec__(self) -> list[object]:
        return [self.check, self.facts, self.extract]

    def __repr__(self) -> str:
        return f"Checker({getattr(self.check, '__name__', self.check)})"


@dataclass(frozen=True)
class Agreement(Options):
    """Score an answer by how far its samples agree: self-consistency as a signal.

    The samples are those of the vote that the answer leads (the event ``vote``), else all that the
    run drew to answer the same conversation; those without an answer agree with none.

    Args:
        measure: ``share`` of the samples that give this answer; ``entropy``, minus that of all
            their answers (nats), whichever this one is.
    """

    measure: Literal["share", "entropy"] = "share"

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Compare each node's answer with those of all samples of its conversation."""
        given: dict[int | None, list[str | None]] = {}
        bought = {node.id for node in run.drawn}  # a fork's tree holds those of others
        for leaf in run.tree.leaves():
            if any(step.id in bought for step in leaf.turn()):
                given.setdefault(_asked(leaf), []).append(_keyed(run, leaf))
        led = {e.node: e.data["votes"] for e in list(run.tree.events) if e.kind == "vote"}
        return [
            self._verdict(_keyed(run, node), led.get(node.id, given.get(_asked(node), [])))
            for node in nodes
        ]

    def _verdict(self, answer: str | None, others: Sequence[str | None]) -> Verdict:
        agree = sum(other == answer for other in others if other is not None)
        said = f"{agree} of {len(others)} samples agree"
        if self.measure == "entropy":
            return Verdict(-dispersion(others), note=said)
        return Verdict(agree / max(len(others), 1), note=said)


def dispersion(answers: Sequence[Hashable | None]) -> float:
    """Return the entropy of answers (nats); each None differs from all others; of none nan."""
    if not answers:
        return math.nan
    counts = Counter(answer for answer in answers if answer is not None)
    parts = [*counts.values(), *[1] * (len(answers) - counts.total())]
    return -math.fsum(c / len(answers) * math.log(c / len(answers)) for c in parts)


def _asked(node: Node) -> int | None:
    """The id of the message that a node's turn answers."""
    before = node.turn()[0].parent
    return None if before is None else before.id


def _keyed(run: Account, node: Node) -> str | None:
    answer = run.extract(node.turn_text)
    return None if answer is None else run.key(answer)


@dataclass(frozen=True)
class Tests(Options):
    """Score a node by the share of tests that its program passes; without tests, nan.

    Programs run in the sandbox, several at once. A verdict's note says what went wrong first, for a
    strategy that repairs.

    Args:
        function: the name under which the tests call it.
        tests: Python statements, such as ``assert add(1, 2) == 3``; never the hidden ones.
        extract: reads the program from the model's turn.
        complete: makes what was read into a program that runs.
        seconds: of processor time, for each test; see ``itslab.sandbox.examine``.
        examine: runs them: the sandbox, or a bank that remembers what came of them.
    """

    __test__ = False  # pytest collects classes of this name

    function: Text
    tests: Sequence[str] = field(repr=False)
    extract: Extractor = field(repr=False)
    complete: Callable[[str], str] = field(default=str, repr=False)
    seconds: Positive = 3.0
    examine: Examine = field(default=examine, repr=False)

    def __spec__(self) -> list[object]:
        return [self.tests, self.extract, self.complete]

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Test what each node's turn says so far. Verdicts cost seconds, and no tokens."""
        if why := self.blind():
            return [Verdict(math.nan, note=why)] * len(nodes)
        with background.pool(os.cpu_count()) as pool:
            return list(pool.map(self._verdict, nodes))

    def blind(self, run: Account | None = None, prompt: Prompt | None = None) -> str:
        """Say why nothing can be scored, or "" where there are tests; see ``Verifier``."""
        return "" if self.tests else "there are no visible tests"

    def _verdict(self, node: Node) -> Verdict:
        program = self.extract(node.turn_text)
        if program is None:
            return Verdict(0.0, note="there is no program")
        code = self.complete(program)
        outcomes = self.examine(code, self.function, self.tests, seconds=self.seconds)
        failures = [outcome for outcome in outcomes if outcome]
        cost = Cost(seconds=getattr(outcomes, "seconds", 0.0))  # of the sandbox, as ``Outcomes``
        return Verdict(1 - len(failures) / len(outcomes), cost, next(iter(failures), ""))


@dataclass(frozen=True, repr=False)
class ByProblem:
    """Score with the verifier that belongs to the problem of the run.

    So that one strategy serves all problems of a task, although each has tests or a target of its
    own, whatever the strategy says before or after the problem. A run of a task knows its problem;
    of one that was asked by hand, the problem is the one whose prompt its own holds. Where there is
    none, or more than one with the same prompt, nothing can be scored.

    Args:
        name: what the verifiers are, for plots.
        verifiers: the problem's id -> its verifier.
        prompts: the problem's id -> its prompt.
    """

    name: str
    verifiers: Mapping[str, Verifier] = field(repr=False)
    prompts: Mapping[str, str] = field(repr=False, default_factory=dict)

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Let the problem's own verifier score."""
        own, why = self._own(run, prompt)
        if own is None:
            return [Verdict(math.nan, note=why)] * len(nodes)
        return run.verdicts(own, prompt, nodes)

    def blind(self, run: Account, prompt: Prompt) -> str:
        """Say why nothing can be scored, or "" where it can; see ``Verifier``."""
        own, why = self._own(run, prompt)
        blind = getattr(own, "blind", None)
        return str(blind(run, prompt) or "") if callable(blind) else why

    def _own(self, run: Account, prompt: Prompt) -> tuple[Verifier | None, str]:
        """The verifier of the problem that was asked, or why there is none."""
        asked = prompt if run.prompt is None else run.prompt
        known = self._named(asked) if run.problem is None else [run.problem]
        found = [self.verifiers[problem] for problem in known if problem in self.verifiers]
        if len(found) == 1:
            return found[0], ""
        several = "the prompt is that of several problems: name one, start(…, problem=id)"
        return None, several if found else "the prompt is none of the task's problems"

    def _named(self, prompt: Prompt) -> list[str]:
        """The problems whose prompt this one contains; of several prompts, the longest."""
        said = [message.content for message in as_messages(prompt) if message.role == "user"]
        held = {i: p for i, p in self.prompts.items() if any(p in text for text in said)}
        longest = max(map(len, held.values()), default=0)
        return [i for i, p in held.items() if len(p) == longest]

    def __repr__(self) -> str:
        return self.name
