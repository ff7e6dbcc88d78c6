"""Strategies at work: to the end, or in a thread of their own, watched and steered."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from itslab import answers, attended, background
from itslab.core import (
    Backend,
    Budget,
    Extractor,
    Key,
    Node,
    Prompt,
    Result,
    brief,
    require,
    spent,
)
from itslab.options import Text, Whole, checked
from itslab.run import Halt, Run, Strategy, holds


class RunHandle:
    """A run in a thread of its own: watch it, pause it, stop it, wait for its result.

    To take it in steps, iterate over it: each ``next`` lets one iteration of the strategy happen
    and returns the best node so far.
    """

    def __init__(
        self,
        run: Run,
        strategy: Strategy,
        prompt: Prompt,
        paused: bool = False,
        seeds: Iterator[int] | None = None,
    ) -> None:
        self.run, self.strategy = run, strategy
        self._prompt = prompt
        self._seeds = itertools.count(run.seed + 1) if seeds is None else seeds  # of all forks
        self._outcome: Future[Result] = Future()
        if paused:
            valid = "False where Python has no threads, as in a browser"
            require(background.threads(), "paused", paused, valid)
            self.pause()
        background.begin(self._work)

    def _work(self) -> None:
        try:
            self.run.gate.enter()
            self._outcome.set_result(_execute(self.run, self.strategy, self._prompt))
        except BaseException as error:
            self._outcome.set_exception(error)

    @property
    def running(self) -> bool:
        """Whether the strategy is still at work."""
        return not self._outcome.done()

    @property
    def error(self) -> BaseException | None:
        """What its end was, if that was no result; None while it is at work."""
        return self._outcome.exception() if self._outcome.done() else None

    @property
    def paused(self) -> bool:
        """Whether it waits to be let on."""
        return self.run.gate.waiting

    def __repr__(self) -> str:
        answer, none = self.answer, "no answer yet" if self.running else "no answer"
        best = "best so far " if self.running else "answer "
        said = none if answer is None else f"{best}{brief(answer)}"
        return f"RunHandle({self.state}, {said}, {spent(self.run.cost)})"

    @property
    def state(self) -> str:
        """``running``, ``paused``, ``done``, ``ended by`` a limit or a person, or ``failed``."""
        if self.running:
            return "paused" if self.paused else "running"
        if self._outcome.exception() is not None:
            return "failed"
        return f"ended by {self.run.stopped_by}" if self.run.stopped_by else "done"

    @property
    def answer(self) -> str | None:
        """Its answer, or the best one so far: that of a finished chain, not of a step to one."""
        if not self.running and self._outcome.exception() is None:
            return self._outcome.result().answer
        best = self.run.best
        return None if best is None or not best.whole else self.run.extract(best.turn_text)

    def pause(self) -> None:
        """Let it finish the iteration under way, and wait."""
        self.run.gate.let(0)

    def resume(self) -> None:
        """Let it go on."""
        self.run.gate.let(math.inf)

    def step(self) -> None:
        """Let one iteration happen, of a run that is paused; returns at once."""
        self.run.gate.let(1)

    def __iter__(self) -> Iterator[Node | None]:
        return self

    def __next__(self) -> Node | None:
        """Let one iteration happen and wait for its end."""
        self.pause()
        self._arrive()
        events = len(self.run.tree.events)
        self.step()
        self._arrive()
        if not self.running:
            self.result()  # raises what went wrong
            if len(self.run.tree.events) == events:
                raise StopIteration
        return self.run.best

    def _arrive(self) -> None:
        while self.running and not self.run.gate.arrived(timeout=0.05):
            pass

    @checked
    def fork(
        self,
        node: Node,
        strategy: Strategy,
        *,
        budget: Budget = Budget(),
        seed: Whole | None = None,
    ) -> RunHandle:
        """Let a strategy go on from a node, in the same tree; at a cost of its own.

        Args:
            node: where to go on from: a step of the model's turn, or a message.
            strategy: how; what it would say before the model's turn is not said again.
            budget: the most to spend on this.
            seed: by default one that no other fork of the tree has, and not the run: with the
                same, the same samples would be drawn again.

        Raises:
            OptionError: the node is none of this run's tree.
        """
        run, opening = self.run, (self.run.tree, node)
        fresh = next(self._seeds) if seed is None else seed
        forked = Run(run.backend, run.extract, budget, fresh, run.key, opening, run.problem)
        return RunHandle(forked, strategy, self._prompt, seeds=self._seeds)

    def stop(self) -> None:
        """End the run; its result holds the best answer so far."""
        self.run.stop()

    def when_done(self, call: Callable[[RunHandle], object]) -> None:
        """Call a function with this handle at the end of the run, in its thread; at once if it has
        ended already.
        """
        self._outcome.add_done_callback(lambda _: call(self))

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the end, at most ``timeout`` seconds, and return the result.

        Raises:
            TimeoutError: it is not at its end yet.
            KeyboardInterrupt: waiting was interrupted; the run goes on.
        """
        try:
            return self._outcome.result(timeout)
        except KeyboardInterrupt:
            if self.running:
                raise attended.StillRunning from None
            raise


@checked
def solve(
    prompt: Prompt,
    strategy: Strategy,
    backend: Backend,
    *,
    budget: Budget = Budget(),
    extract: Extractor = answers.extract,
    key: Key = answers.canonical,
    seed: Whole = 0,
    problem: Text | None = None,
) -> Result:
    """Let a strategy answer a prompt.

    Args:
        prompt: a question, or the messages of a conversation.
        strategy: how to spend compute.
        backend: the model.
        budget: the most to spend; when it is exhausted, the best answer so far is returned.
        extract: reads the answer from the model's turn.
        key: the form that equal answers share, for votes.
        seed: other seeds draw other samples.
        problem: the id of the problem that is asked, for verifiers that know one from another.

    Raises:
        Interrupted: by Ctrl-C or a notebook's interrupt: a ``KeyboardInterrupt`` whose ``result``
            is what the run had come to. In a notebook it is shown, and kept in ``Out``.
    """
    run = Run(backend, extract, budget, seed, key, None, problem)
    with attended.watch(run) as onlooker, attended.interruptible(run.stop) as interrupts:
        result = _execute(run, strategy, prompt)
        if interrupts:
            raise attended.Interrupted(result)
        onlooker.hear(result)
        return result


@checked
def start(
    prompt: Prompt,
    strategy: Strategy,
    backend: Backend,
    *,
    budget: Budget = Budget(),
    extract: Extractor = answers.extract,
    key: Key = answers.canonical,
    seed: Whole = 0,
    problem: Text | None = None,
    paused: bool = False,
) -> RunHandle:
    """Begin to answer a prompt and return at once; see ``solve``.

    Args:
        prompt, strategy, backend, budget, extract, key, seed, problem: as of ``solve``.
        paused: wait before the first iteration; ``next`` takes them one by one.
    """
    run = Run(backend, extract, budget, seed, key, problem=problem)
    return RunHandle(run, strategy, prompt, paused)


def _execute(run: Run, strategy: Strategy, prompt: Prompt) -> Result:
    began = time.perf_counter()
    run.prompt = prompt
    try:
        node = strategy(run, prompt)
    except Halt as halt:
        node, run.stopped_by = run.best, halt.reason
    except KeyboardInterrupt:  # again, or where the strategy computes by itself
        run.stop()
        node, run.stopped_by = run.best, "stop"
        raise attended.Interrupted(_result(run, strategy, node, began)) from None
    valid = "a strategy that returns a node of the run, or None"
    ours = node is None or (isinstance(node, Node) and holds(run.tree, node))
    require(ours, "strategy", strategy, valid)
    return _result(run, strategy, node, began)


def _result(run: Run, strategy: Strategy, node: Node | None, began: float) -> Result:
    """What a run has come to, this node its answer; it began then by ``time.perf_counter``."""
    answer = None if node is None else run.extract(node.turn_text)
    text = answer is None or type(answer) is str
    require(text, "extract", run.extract, f"a function that returns text or None, not {answer!r}")
    return Result(
        answer=answer,
        node=node,
        tree=run.tree,
        strategy=strategy,
        cost=run.cost,
        costs=run.ledger.by_model,
        stopped_by=run.stopped_by,
        elapsed=time.perf_counter() - began,
        unscored=run.unscored,
        outages=tuple(run.outages),
        stages=tuple(run.stages),
        unfinished=node is not None and _cut(node, run.stepwise),
    )


def _cut(node: Node, stepwise: bool) -> bool:
    """Whether a chain goes no further than a limit or, in a search, a step's end."""
    finish = node.completion.finish if node.completion else "end"
    return finish in ("length", "cut", "cancelled") or (finish == "stop" and stepwise)
