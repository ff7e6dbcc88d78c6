"""The first minutes: what trying again buys where an answer can be checked, as a table.

The task is one whose answers anybody can judge: a very short story that has to hold seven given
words. A small model forgets one or the other, each time another one. First comes what was recorded,
in seconds and without llama.cpp; then other stories, drawn here.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from itslab import share, tasks
from itslab.backends import library
from itslab.core import Backend, Cost, Node, Problem, Result, Sampling
from itslab.handle import RunHandle
from itslab.strategies import ChainOfThought, FirstVerified
from itslab.study.runner import Job, outcome, solve_all
from itslab.study.statistics import Estimate, difference, mean
from itslab.tasks import Task
from itslab.tasks.keywords import lacking

MODEL, BANK, RECORDED = "qwen2.5-coder-0.5b", "stories", 60
WORDS, TRIES, MOST = 7, 16, 160
"""Words that a story has to hold; how often it is drawn, and its tokens, at most."""
HERE = 1
"""The seed of the stories that are drawn here; those of the record have 0."""
ABOUT = f"""\
The task: a very short story that holds {WORDS} given words. A rule sees whether it does, and tells
the model nothing; it may only try again."""
CAVEAT = """\
The rule that accepts a story is the one that counts it. So this is what trying again buys where
answers can be checked, by rules or by tests. Where nothing can check them, choosing is the problem:
`itslab run 07` holds ten methods against each other on three tasks."""
PATIENCE = "On two CPU cores twelve take three to four minutes."
WITHOUT = f"""\
To see other stories being drawn here, install llama.cpp, which builds for some five minutes:
  {library.INSTALL}
  itslab quickstart
With conda nothing has to be built: conda env create -f environment.yml"""
NEXT = """\
What to try next
  itslab lab                           notebooks with trees and sliders, replayed in seconds
  itslab ask "What is 17 * 23?" -n 16  a question of your own, sixteen answers that vote
  itslab run 06                        a small model that computes longer, against a larger one
  itslab quickstart --n-problems 40    more stories, narrower intervals"""


@dataclass(frozen=True)
class Tried:
    """What became of some stories.

    Args:
        task: the stories, as problems.
        once: the one that greedy decoding writes, of each.
        again: those drawn until the rule accepted one, of each.
        tries: how many were drawn of each at most.
    """

    task: Task
    once: Sequence[Result]
    again: Sequence[Result]
    tries: int

    def table(self) -> str:
        """The stories that hold all words, their share with its interval, and the tokens paid."""
        sizes = [2**i for i in range(1, self.tries.bit_length()) if 2**i < self.tries]
        rows = [("one story, greedy", self._right(), [one.cost.decoded for one in self.once])]
        for size in [*sizes, self.tries]:
            paid = [sum(map(_tokens, drawn[:size])) for drawn in self._drawn()]
            rows.append((f"up to {size} tries", self._accepted(size), paid))
        lines = [f"{'':<18}{'hold all words':>16}{'share, 95 % interval':>23}{'tokens each':>14}"]
        for name, right, tokens in rows:
            count, solved = f"{sum(right)} of {len(right)}", mean(right).percent
            lines.append(f"{name:<18}{count:>16}{solved:>23}{np.mean(tokens):>14,.0f}")
        return "\n".join([*lines, f"gained: {self.gain().points} points, on the same stories"])

    def gain(self) -> Estimate:
        """How many more hold all words than with one story each, as a share of them."""
        return difference(self._accepted(self.tries), self._right())

    def example(self) -> str:
        """The first story that trying again mended; empty if there is none."""
        for problem, one, right, again in zip(
            self.task, self.once, self._right(), self.again, strict=True
        ):
            if not right and self.task.grade(problem, again.answer):
                words = ", ".join(problem.meta["words"])
                lost = ", ".join(lacking(problem.meta["words"], one.answer or "")) or "length"
                told = " ".join((again.answer or "").split())
                head = f"For example, {words}: the greedy story lacks {lost}. Accepted:"
                return f"{head}\n{_indented(told)}"
        return ""

    def _right(self) -> list[bool]:
        return [self.task.grade(p, one.answer) for p, one in zip(self.task, self.once, strict=True)]

    def _accepted(self, size: int) -> list[bool]:
        """Whether one of the first tries was accepted."""
        return [any(map(_holds, drawn[:size])) for drawn in self._drawn()]

    def _drawn(self) -> list[list[Node]]:
        """The tries at each story, in their order."""
        return [[node for node in result.tree if node.completion] for result in self.again]


def _indented(text: str) -> str:
    return textwrap.fill(text, 96, initial_indent="  ", subsequent_indent="  ")


def _tokens(node: Node) -> int:
    return node.completion.cost.decoded if node.completion else 0


def _holds(node: Node) -> bool:
    return node.verdict is not None and node.verdict.score >= 1


def recorded() -> Tried:
    """What was recorded: sixty stories, without a model."""
    task = stories(RECORDED, 0)
    llm = share.Recording("replay").backend(MODEL, BANK)
    made = solve_all(task, _strategies(task, TRIES), llm, progress=False)
    return Tried(task, made["once"], made["again"], TRIES)


def stories(n: int, seed: int) -> Task:
    """Stories that are to be written."""
    return tasks.load("keywords", n=n, seed=seed, words=WORDS)


def _strategies(task: Task, tries: int) -> dict[str, ChainOfThought | FirstVerified]:
    assert task.verifier is not None  # its rule
    drawn = Sampling(max_tokens=MOST)
    return {
        "once": ChainOfThought(instruction="", sampling=Sampling(temperature=0, max_tokens=MOST)),
        "again": FirstVerified(task.verifier, n=tries, instruction="", sampling=drawn),
    }


def draw(
    task: Task,
    tries: int,
    llm: Backend,
    say: Callable[[str], None],
    show: Callable[[str], None],
) -> Tried:
    """Draw stories with a model, all of them at once so that its batch stays full.

    Args:
        task: of ``stories``.
        tries: how many are drawn of each at most.
        llm: the model.
        say: is told what came of each story.
        show: is told, some times a second, how far it has come.
    """
    began = time.monotonic()
    handles = {
        (name, problem.id): Job(name, task, problem, strategy, llm).start()
        for name, strategy in _strategies(task, tries).items()
        for problem in task
    }
    told: set[str] = set()
    try:
        while running := {key: handle for key, handle in handles.items() if handle.running}:
            _tell(task, handles, told, say)
            show(_state(handles, running, tries, time.monotonic() - began))
            time.sleep(0.25)
    finally:
        for handle in handles.values():
            handle.stop()
    _tell(task, handles, told, say)
    once, again = ([outcome(handles[name, p.id]) for p in task] for name in ("once", "again"))
    return Tried(task, once, again, tries)


def _tell(
    task: Task,
    handles: Mapping[tuple[str, str], RunHandle],
    told: set[str],
    say: Callable[[str], None],
) -> None:
    """Say what came of the stories that are finished since the last time."""
    for number, problem in enumerate(task, 1):
        mine = [handles[name, problem.id] for name in ("once", "again")]
        if problem.id not in told and not any(handle.running for handle in mine):
            told.add(problem.id)
            once, again = map(outcome, mine)
            say(f"story {number:>2}: {_verdict(task, problem, once, again)}")


def _verdict(task: Task, problem: Problem, once: Result, again: Result) -> str:
    lost = ", ".join(lacking(problem.meta["words"], once.answer or ""))
    first = "holds all words" if task.grade(problem, once.answer) else f"lacks {lost or 'length'}"
    tries = again.cost.calls
    later = f"accepted at try {tries}" if task.grade(problem, again.answer) else f"none of {tries}"
    return f"{later:<20} (greedy: {first})"


def _state(
    handles: Mapping[tuple[str, str], RunHandle],
    running: Mapping[tuple[str, str], RunHandle],
    tries: int,
    seconds: float,
) -> str:
    """One line: how far, how fast, how long at most, and what is being written now."""
    paid = sum((handle.run.cost for handle in handles.values()), Cost())
    samples = sum(
        (tries if name == "again" else 1) - handle.run.cost.calls
        for (name, _), handle in running.items()
    )
    left = at_most(samples, paid, seconds)
    clock = "measuring" if left is None else f"{left // 60:.0f}:{left % 60:02.0f} left at most"
    done = f"{len(handles) - len(running)} of {len(handles)} done"
    text = next((_last_words(handle) for handle in running.values()), "")
    return f"{done}, {paid.decoded:,} tokens, {clock}  …{text}"


def at_most(samples: int, paid: Cost, seconds: float) -> float | None:
    """Seconds until so many samples more are drawn, which nobody has to; None before the first.

    Args:
        samples: that may still be drawn.
        paid: what was drawn so far, within ``seconds``.
    """
    return samples * seconds / paid.calls if paid.calls and seconds else None


def _last_words(handle: RunHandle) -> str:
    """The end of what a run is writing."""
    return next((" ".join(n.text.split())[-40:] for n in [*handle.run.tree] if n.text), "")
