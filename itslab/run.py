"""The one place where compute is bought.

A strategy gets a ``Run`` and spends through four verbs: ``reply`` opens a turn, ``extend`` buys
continuations, ``append`` writes into the model's own turn, ``score`` buys verdicts. A verifier that
draws buys through the same run: ``ask`` samples, ``rate`` scores of a reward model. Nothing is
bought elsewhere, so discarded branches, truncated samples and a judge's tokens are all paid for,
and a budget holds whatever the strategy does.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import astuple, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from itslab import answers, background
from itslab.core import (
    Backend,
    BackendError,
    BadPrompt,
    Budget,
    Completion,
    Cost,
    Cutoff,
    Drawn,
    Extractor,
    Interpreter,
    Key,
    Message,
    Node,
    OptionError,
    Output,
    Prompt,
    Request,
    Sampling,
    Scorer,
    Tree,
    Verdict,
    Verifier,
    as_messages,
    require,
)
from itslab.ledger import Ledger
from itslab.options import Draws, Whole, checked


class Strategy(Protocol):
    """A way to spend compute on a prompt. Frozen, with nothing but its own options."""

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        """Return the node that holds the answer; None if there is none."""
        ...


class Halt(Exception):
    """Nothing more can be bought; ``reason`` as of ``Result.stopped_by``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAVerifier(OptionError):
    """Something that cannot be called as a verifier, or returns no scores."""


class Gate:
    """A turnstile that a run passes once per iteration, so that it can be paused and stepped.

    Args:
        open: whether it may pass; else it waits until it is told to.
    """

    def __init__(self, open: bool = True) -> None:
        self._passes = math.inf if open else 0.0
        self._waiting = False
        self._for_good = False
        self._changed = threading.Condition()

    @property
    def waiting(self) -> bool:
        """Whether the run stands before the gate."""
        return self._waiting

    def let(self, passes: float) -> None:
        """Let it through this many times from now on: ``math.inf`` opens the gate, 0 shuts it."""
        with self._changed:
            self._passes = math.inf if self._for_good else passes
            self._waiting = self._waiting and self._passes == 0
            self._changed.notify_all()

    def open(self) -> None:
        """Let it through from now on, whatever is said later: nothing is to wait any more."""
        self._for_good = True
        self.let(math.inf)

    def enter(self) -> None:
        """Pass, in the run's thread; waits while the gate is shut."""
        with self._changed:
            self._waiting = self._passes == 0
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._passes > 0)
            self._waiting = False
            self._passes -= 1

    def arrived(self, timeout: float) -> bool:
        """Wait until the run stands before the gate, at most ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting, timeout)


_INTERPRETER = "a function that returns an Output, such as sandbox.execute"
SANDBOX = "sandbox"
"""The name in the ledger under which the seconds of programs stand."""
SCORED_AT_ONCE = 16
"""Conversations that a reward model scores between two looks at budget and stop."""


class Run:
    """One strategy at work on one prompt.

    Args:
        backend: who draws the samples.
        extract: reads an answer from the model's turn.
        budget: the most that may be spent.
        seed: of everything random in this run.
        key: the form that equal answers share, for votes.
        opening: a node of an earlier run's tree from which this one goes on, in the same tree.
        problem: the id of the problem that is asked, if it is one of a task.

    Attributes:
        tree: the nodes and the events that made them.
        ledger: what was spent so far, on which model, and what the budget still affords.
        rng: the only randomness a strategy may use.
        prompt: what the strategy was asked, before it said anything to it; None until then.
        stopped_by, outages, stages: as of ``Result``, so far.
        drawn: the nodes that it bought, in their order: a fork in the same tree has others.
        used: these, and the samples that were used again (``reusing``).
        stepwise: whether samples are steps, so that only the model itself can end a chain.
        level: of models that draw in place of another, as in a stage of a stage.
        unscored: why verdicts are missing, if any are -> how many.
    """

    @checked
    def __init__(
        self,
        backend: Backend,
        extract: Extractor,
        budget: Budget = Budget(),
        seed: Whole = 0,
        key: Key = answers.canonical,
        opening: tuple[Tree, Node] | None = None,
        problem: str | None = None,
    ) -> None:
        self.extract = extract
        self.key = key
        self.ledger = Ledger(budget)
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.tree: Tree
        self.opening: Node | None
        self.tree, self.opening = opening or (Tree(), None)
        if self.opening is not None:
            valid = "one of the tree that the run goes on in"
            require(holds(self.tree, self.opening), "node", self.opening, valid)
        self.prompt: Prompt | None = None
        self.problem = problem
        self.gate = Gate()
        self.stopped_by: str | None = None
        self.stepwise = False
        self.level = 0
        self.drawn: list[Node] = []
        self.used: list[Node] = []
        self.unscored: Counter[str] = Counter()
        self.outages: list[str] = []
        self.stages: list[Mapping[str, Any]] = []
        self.backend = backend
        self._best: Node | None = None
        self._bought: Counter[tuple[str, Request]] = Counter()
        self._asked_for: Counter[tuple[str, Request]] = Counter()
        self._drawn_by: dict[int, tuple[str, Sampling]] = {}  # node's id -> model's digest, how
        self._reused: list[Node] = []
        self._used_again: set[int] = set()  # ids of nodes
        self._drafts: set[int] = set()  # ids of nodes that are no answers by themselves
        self._drafting = False
        self._bill = Cost()  # of the verifier at work
        self._stop = threading.Event()

    @property
    def budget(self) -> Budget:
        """The most that may be spent."""
        return self.ledger.budget

    @property
    def cost(self) -> Cost:
        """All that has been spent so far, on whichever model."""
        return self.ledger.total

    # -- the four verbs ----------------------------------------------------------------------------

    def reply(self, node: Node | None, message: Prompt) -> Node:
        """Open a further turn after a node, or a conversation after None.

        A run that goes on from a node of an earlier one has been asked already: there a
        conversation after None is the one that led to that node.
        """
        if node is None and self.opening is not None:
            return self.opening
        messages = as_messages(message)
        questions = (drawn.parent for drawn in self._reused if node is None)
        asked = (q for q in questions if q is not None and q.conversation() == (messages, ()))
        if (question := next(asked, None)) is not None:
            return question
        for m in messages:
            node = self.tree.add(node, m.role, m.content)
        assert node is not None  # a prompt has at least one message
        return node

    def append(self, node: Node, text: str) -> Node:
        """Write into the model's own turn, as if it had said it.

        What was written there already, in a turn that is used again, is not written twice.
        """
        if node.id in self._used_again:
            same = (n for n in self.tree.nodes if n.parent is node and n.text == text)
            if (written := next((n for n in same if n.completion is None), None)) is not None:
                return written
        return self.tree.add(node, "assistant", text)

    @checked
    def extend(
        self,
        nodes: Node | Sequence[Node],
        sampling: Sampling = Sampling(),
        n: Draws = 1,
        cutoff: Cutoff | None = None,
    ) -> list[Node]:
        """Buy ``n`` continuations of each node, all in one batch.

        A budget in tokens is never overdrawn: where it may not last for everyone at full length,
        samples are bought while one of full length fits, then shorter ones while any token is left.
        So fewer nodes than asked for may come back.

        Args:
            nodes: what is continued.
            sampling: how each is drawn.
            n: continuations of each.
            cutoff: where one is given up while it is drawn, to free its place in the batch; what it
                has cost is paid. Its completion's ``finish`` is ``cut``.

        Returns:
            The new nodes, those of the first parent first; of no parents none.

        Raises:
            Halt: nothing could be bought, or the run was stopped.
        """
        parents = [nodes] if isinstance(nodes, Node) else list(nodes)
        made = self._take(parents[0], sampling, n) if len(parents) == 1 and not cutoff else []
        wanted = [parent for parent in parents for _ in range(n)]
        while len(made) < len(wanted):
            self.stopped_by = self._ended()
            if self.stopped_by and made:
                break
            if self.stopped_by:
                raise Halt(self.stopped_by)
            left = wanted[len(made) :]
            count, most = self.ledger.affordable(
                len(left), sampling.max_tokens, self.backend.batch_size
            )
            made += self._buy(left[:count], replace(sampling, max_tokens=most), cutoff)
        whole = [node for node in made if node.status == "done"]
        # What was cut short stays in the tree, and is paid for.
        if made and not whole:
            raise Halt("stop" if self._stop.is_set() else "server")
        if len(whole) < len(made) and self._stop.is_set():
            self.stopped_by = "stop"
        return whole

    def score(
        self, nodes: Sequence[Node], verifier: Verifier, ends: Sequence[Node] | None = None
    ) -> list[float]:
        """Buy a verdict on each node and return the scores.

        A verifier that fails by itself marks its nodes with ``nan`` and the reason; the run goes
        on, and its result tells what is missing. So do nodes for which the budget did not last.

        Args:
            nodes: what to score, by what its own turn says: answers to one and the same prompt, the
                first ones or their revisions.
            verifier: who scores.
            ends: where each node led to, if it is to be judged by that instead of by itself.

        Raises:
            Halt: no verdict could be bought, or the run was stopped before any was there.
            BackendError: its model cannot be used: as where that of the strategy cannot.
            OptionError: the verifier cannot be called as one, or returns no scores.
        """
        if not nodes:
            return []
        halt: Halt | None = None
        outer, self._bill = self._bill, Cost()  # a verifier may score by itself
        try:
            verdicts = self.verdicts(verifier, _asked(nodes[0]), ends or nodes)
        except NotAVerifier:
            self._bill = outer
            raise
        except Halt as reason:
            halt = reason
            verdicts = [Verdict(math.nan, note=_ended_by(halt.reason))] * len(nodes)
        except Exception as error:
            if isinstance(error, BackendError) and not isinstance(error, BadPrompt):
                raise  # another time its model can be used, and the run is another one
            verdicts = [Verdict(math.nan, note=f"{type(error).__name__}: {error}")] * len(nodes)
        if not _equal(sum((verdict.cost for verdict in verdicts), Cost()), self._bill):
            # What a verifier paid and did not share out as it was stands with its first verdict.
            costs = [self._bill] + [Cost()] * (len(verdicts) - 1)
            verdicts = [replace(v, cost=cost) for v, cost in zip(verdicts, costs, strict=True)]
        self._bill = outer
        for node, verdict in zip(nodes, verdicts, strict=True):
            self.tree.judge(node, verdict)
            if math.isnan(verdict.score):
                self.unscored[f"{verifier!r}: {verdict.note or 'the score is nan'}"] += 1
        if halt is not None:
            raise halt
        return [verdict.score for verdict in verdicts]

    def blind(self, verifier: Verifier | None, prompt: Prompt) -> str:
        """Return why a verifier says beforehand that it can score nothing; "" if it does not."""
        says = getattr(verifier, "blind", None)
        try:
            return str(says(self, prompt) or "") if callable(says) else ""
        except Exception:  # its verdicts will say what is wrong
            return ""

    def execute(self, programs: Sequence[str], interpreter: Interpreter) -> list[Output]:
        """Run programs that nodes wrote, several at once and equal ones once; pays their seconds.

        Those that the run's seconds do not last for have an error that says so.

        Raises:
            Halt: the run was stopped, or its seconds are spent, before any was run.
            SandboxError: there is no sandbox on this machine.
        """
        distinct, outputs = list(dict.fromkeys(programs)), dict[str, Output]()
        at_once, ended = os.cpu_count() or 1, None
        with background.pool(at_once) as pool:
            while some := distinct[len(outputs) :][:at_once]:
                spent = Budget(seconds=self.budget.seconds).exhausted(self.cost)
                ended = "stop" if self._stop.is_set() else spent
                if ended:
                    break
                came = dict(zip(some, pool.map(interpreter, some), strict=True))
                for output in came.values():
                    require(isinstance(output, Output), "interpreter", interpreter, _INTERPRETER)
                self.ledger.charge(SANDBOX, Cost(seconds=sum(o.seconds for o in came.values())))
                outputs |= came
        self.stopped_by = ended or self.stopped_by
        if ended and not outputs:
            raise Halt(ended)
        rest = Output("", _ended_by(ended or ""))
        return [outputs.get(program, rest) for program in programs]

    # -- what verifiers buy ------------------------------------------------------------------------

    def verdicts(self, verifier: Verifier, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Let a verifier score nodes: the one place where a verifier is called.

        It gets this run if it draws; see ``Verifier``. What one that does not says that it cost is
        charged here.

        Raises:
            Halt: nothing could be bought.
            OptionError: it cannot be called as a verifier, or returns no scores.
        """
        shown = list(nodes)  # which a verifier may sort
        if draws(verifier):
            return _as_verdicts(verifier, verifier(self, prompt, shown), len(nodes))
        verdicts = _as_verdicts(verifier, verifier(prompt, shown), len(nodes))
        computed = sum((verdict.cost for verdict in verdicts), Cost())
        if computed != Cost():
            self._charge(verifier, computed)
        return verdicts

    def ask(self, requests: Sequence[Request], backend: Backend, spare: int = 0) -> list[Drawn]:
        """Draw for a verifier, from this run's model or another, all in one batch.

        Clipped to the budget as ``extend`` is. Greedy requests are drawn as they stand; sampled
        ones from streams of this run's seed that its own samples never use.

        Args:
            requests: what to draw; a later one of the same text gets further samples.
            backend: who draws.
            spare: calls of one token left over for each sample: what will be asked next about it.

        Returns:
            What came of each request, in their order. One that does not fit into the context, or
            for which the budget did not last, says so.

        Raises:
            Halt: nothing could be bought, or the run was stopped before anything was there.
        """
        ordered = [self._order(request, backend) for request in requests]
        orders = _Orders(ordered, backend, partial(self._charge, backend), self._stop)
        ended, bought = None, 0
        while bought < len(orders.places) and ended is None:
            ended = self._ended(spare * (bought + 1))
            if ended is None:
                left = len(orders.places) - bought
                count, most = self.ledger.affordable(
                    left, orders.longest, backend.batch_size, spare, bought
                )
                orders.buy(orders.places[bought : bought + count], most)
                bought += count
        ended = ended or ("stop" if self._stop.is_set() else None)
        if ended is not None:
            self.stopped_by = ended
            if not any(orders.kept):
                raise Halt(ended)
        return orders.drawn(ended)

    def rate(self, conversations: Sequence[Sequence[Message]], model: Scorer) -> list[Verdict]:
        """Let a reward model score conversations for a verifier, as far as the budget lasts.

        Raises:
            Halt: nothing could be bought, or the run was stopped before anything was there.
        """
        verdicts: list[Verdict] = []
        ended = None
        while len(verdicts) < len(conversations):
            ended = self._ended()
            if ended is not None:
                self.stopped_by = ended
                break
            wanted = len(conversations) - len(verdicts)
            count, _ = self.ledger.affordable(wanted, 1, SCORED_AT_ONCE)
            rest = conversations[len(verdicts) :][: min(count, SCORED_AT_ONCE)]
            rated = model.score(rest)
            valid = f"{len(rest)}, one for each conversation"
            require(len(rated) == len(rest), "verdicts", len(rated), valid)
            self._charge(model, sum((verdict.cost for verdict in rated), Cost()))
            verdicts += rated
        if ended is not None and not verdicts:
            raise Halt(ended)
        missing = len(conversations) - len(verdicts)
        return verdicts + [Verdict(math.nan, note=_ended_by(ended or ""))] * missing

    def _order(self, request: Request, backend: Backend) -> Request:
        """A verifier's request with samples not bought in this run before."""
        if request.sampling.temperature == 0:
            return request
        seed = int.from_bytes(hashlib.blake2b(f"verifier/{self.seed}".encode()).digest()[:4], "big")
        order = replace(request, seed=seed >> 1)
        key = backend.digest, replace(order, sampling=replace(order.sampling, max_tokens=1), n=1)
        first = self._asked_for[key]
        self._asked_for[key] += request.n
        return replace(order, first=order.first + first)

    def _charge(self, model: object, cost: Cost) -> None:
        """Pay for what a verifier bought."""
        self.ledger.charge(model, cost)
        self._bill += cost

    # -- the course of a search --------------------------------------------------------------------

    def prune(self, nodes: Iterable[Node]) -> None:
        """Note that the search does not go on from these nodes."""
        for node in nodes:
            self.tree.prune(node)

    def checkpoint(self, best: Node) -> None:
        """End an iteration: note the best node so far, and wait here while the run is paused.

        Raises:
            Halt: the run was stopped.
        """
        self.best = best
        self.tree.log("iteration", best)
        self.gate.enter()
        if self._stop.is_set():
            raise Halt("stop")

    @contextmanager
    def drawing_from(self, backend: Backend | None) -> Iterator[None]:
        """Let another model draw for as long as the block lasts; None changes nothing."""
        own = self.backend
        self.backend = own if backend is None else backend
        self.level += 1
        try:
            yield
        finally:
            self.backend = own
            self.level -= 1

    @contextmanager
    def reusing(self, nodes: Iterable[Node]) -> Iterator[None]:
        """Let samples that were drawn be the first of those drawn, as long as the block lasts.

        Whoever opens the same conversation and asks the same model for samples of the same kind
        gets these first, at no cost: a strategy that goes on after a cheap look at a problem does
        not pay for that look again.
        """
        before, self._reused = self._reused, list(nodes)
        try:
            yield
        finally:
            self._reused = before

    @contextmanager
    def drafting(self) -> Iterator[None]:
        """Let no answer be read from what is drawn, as long as the block lasts, until the strategy
        itself says so (``best``): a number in a program that was not run yet is none.
        """
        before, self._drafting = self._drafting, True
        try:
            yield
        finally:
            self._drafting = before

    def _take(self, parent: Node, sampling: Sampling, n: int) -> list[Node]:
        """Samples of this kind that may be used again; each once."""
        same = self.backend.digest, sampling
        found = [
            node
            for node in self._reused
            if node.parent is parent
            and node.status == "done"
            and self._drawn_by.get(node.id) == same
        ]
        for node in found[:n]:
            self._reused.remove(node)
            self._used_again.add(node.id)
        self.used += found[:n]
        return found[:n]

    # -- the ending --------------------------------------------------------------------------------

    @property
    def best(self) -> Node | None:
        """The best answer so far: set by strategies as they go, returned if the run is stopped.

        Until they set one that holds an answer, the latest completion from which one can be read.
        """
        if self._best is not None and self.extract(self._best.turn_text) is not None:
            return self._best
        whole = (node for node in reversed(self.drawn) if node.completion)
        drawn = (node for node in whole if node.id not in self._drafts)
        answered = (node for node in drawn if self.extract(node.turn_text) is not None)
        return next(answered, self._best)

    @best.setter
    def best(self, node: Node) -> None:
        before = self._best
        answered = before is not None and self.extract(before.turn_text) is not None
        if answered and self.extract(node.turn_text) is None:
            return  # an answer is better than none
        self._best = node
        self.tree.log("best", node)

    def stop(self) -> None:
        """End the run at once, from any thread; its best answer so far is its result."""
        self._stop.set()
        self.gate.open()

    # -- buying ------------------------------------------------------------------------------------

    def _ended(self, spare: int = 0) -> str | None:
        """What forbids a further purchase, if ``spare`` calls of a token are to be left over."""
        return "stop" if self._stop.is_set() else self.ledger.exhausted(spare)

    def _buy(self, parents: list[Node], sampling: Sampling, cutoff: Cutoff | None) -> list[Node]:
        """Draw one continuation for each of these nodes; equal neighbours share a request."""
        requests, rows = [], []
        for parent, same in itertools.groupby(parents):
            count = len(list(same))
            request = self._request(parent, sampling, count)
            requests.append(replace(request, cutoff=cutoff))
            rows.append([self.tree.add(parent, "assistant", "", "open") for _ in range(count)])

        def grow(i: int, j: int, text: str) -> None:
            rows[i][j].text += text

        def close(i: int, j: int, completion: Completion) -> None:
            self.ledger.charge(self.backend, completion.cost)
            self.tree.finish(rows[i][j], completion)

        made = [node for row in rows for node in row]
        self.drawn += made
        self.used += made
        self._drafts |= {node.id for node in made if self._drafting}
        self._drawn_by |= {node.id: (self.backend.digest, sampling) for node in made if not cutoff}
        try:
            came = self.backend.generate(requests, grow, close, self._stop)
        except BaseException:  # Ctrl-C as well: its tree is kept
            for node in made:
                node.status = "failed" if node.status == "open" else node.status
            raise
        for i, row in enumerate(came):  # a backend that hands over everything at the end
            for j, completion in enumerate(row):
                if rows[i][j].status == "open":
                    close(i, j, completion)
        return made

    def _request(self, node: Node, sampling: Sampling, n: int) -> Request:
        """Return the request that continues a node with samples not bought in this run before."""
        messages, prefix = node.conversation()
        # Neither its length nor what is measured changes which sample it is.
        plain = replace(sampling, max_tokens=1, signals=False)
        key = self.backend.digest, Request(messages, prefix, plain)
        first = self._bought[key]
        self._bought[key] += n
        return Request(messages, prefix, sampling, n, self.seed, first)


class _Orders:
    """Requests of a verifier while they are drawn.

    Args:
        requests: what to draw.
        backend: who draws.
        pay: is told what each sample has cost.
        cancel: ends it.

    Attributes:
        places: every sample that is wanted, as (request, position).
        kept: the whole samples of each request, as they came.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        backend: Backend,
        pay: Callable[[Cost], None],
        cancel: threading.Event,
    ) -> None:
        self._requests, self._backend, self._pay, self._cancel = requests, backend, pay, cancel
        self.places = [(i, j) for i, request in enumerate(requests) for j in range(request.n)]
        self.kept: list[list[Completion]] = [[] for _ in requests]
        self._costs, self._reasons = [Cost()] * len(requests), [""] * len(requests)

    @property
    def longest(self) -> int:
        """The most tokens that a sample is wanted with."""
        return max((request.sampling.max_tokens for request in self._requests), default=1)

    def buy(self, places: Sequence[tuple[int, int]], max_tokens: int) -> None:
        """Draw some of the samples, none longer than ``max_tokens``."""
        left = dict.fromkeys(places)
        rows = [list(row) for _, row in itertools.groupby(places, key=lambda place: place[0])]
        portions = [
            _portion(self._requests[row[0][0]], row[0][1], len(row), max_tokens) for row in rows
        ]

        def close(request: int, position: int, completion: Completion) -> None:
            place = rows[request][position]
            left.pop(place)
            self._close(place[0], completion)

        try:
            self._backend.generate(portions, on_sample=close, cancel=self._cancel)
        except BadPrompt as error:
            # Whoever is too long is found by halves, so that the others keep their batch.
            several = sorted({i for i, _ in left})
            if len(several) <= 1:
                for i in several:
                    self._reasons[i] = f"{type(error).__name__}: {error}"
                return
            middle = several[len(several) // 2]
            self.buy([place for place in left if place[0] < middle], max_tokens)
            self.buy([place for place in left if place[0] >= middle], max_tokens)

    def _close(self, request: int, completion: Completion) -> None:
        self._costs[request] += completion.cost
        self._pay(completion.cost)
        if completion.finish != "cancelled":
            self.kept[request].append(completion)
        elif completion.refused:
            self._reasons[request] = f"the server ended a sample: {completion.refused}"

    def drawn(self, ended: str | None) -> list[Drawn]:
        """What came of each request.

        Args:
            ended: what forbade to buy all of them; None if nothing did.
        """
        replies = zip(self._requests, self.kept, self._costs, self._reasons, strict=True)
        return [
            Drawn(
                tuple(sorted(kept, key=lambda completion: completion.index)),
                cost,
                reason or (_ended_by(ended) if ended and len(kept) < request.n else ""),
            )
            for request, kept, cost, reason in replies
        ]


def judged(
    verifier: Verifier, prompt: Prompt, nodes: Sequence[Node], problem: str | None = None
) -> list[Verdict]:
    """Let a verifier score nodes outside of any run, without a budget.

    Args:
        verifier, prompt, nodes: as of ``Run.verdicts``.
        problem: the id of the problem that they answer, if it is one of a task.
    """
    return Run(_Nobody(), answers.extract, problem=problem).verdicts(verifier, prompt, nodes)


class _Nobody:
    """The model of a run in which only verifiers draw."""

    name = digest = "nobody"
    batch_size = 1

    def generate(self, *args: object, **kwargs: object) -> list[list[Completion]]:
        raise NotImplementedError


def draws(verifier: Verifier) -> bool:
    """Whether a verifier is called with the run, and so may buy samples by itself."""
    try:
        signature = inspect.signature(verifier)
    except (TypeError, ValueError):
        return False  # a callable that does not tell
    for count in (2, 3):
        with suppress(TypeError):
            signature.bind(*range(count))
            return count == 3
    valid = "called as (prompt, nodes), or as (run, prompt, nodes) if it draws"
    raise NotAVerifier(f"{verifier!r} is not valid: a verifier is {valid}, not {signature}")


def _as_verdicts(verifier: Verifier, returned: object, count: int) -> list[Verdict]:
    """What a verifier returned, as verdicts."""
    if isinstance(returned, Iterable) and not isinstance(returned, str | bytes | Mapping | Set):
        verdicts = [_as_verdict(one) for one in itertools.islice(returned, count + 1)]
        if len(verdicts) == count and None not in verdicts:
            return [verdict for verdict in verdicts if verdict is not None]
    shown = " ".join(repr(returned).split())[:100]
    valid = f"one number or Verdict for each node, here {count}"
    raise NotAVerifier(f"{verifier!r} returned {shown}: a verifier returns a list of {valid}")


def _as_verdict(returned: object) -> Verdict | None:
    if isinstance(returned, Verdict):
        scored = _as_verdict(returned.score) if not isinstance(returned.score, Verdict) else None
        whole = scored and isinstance(returned.note, str) and _is_cost(returned.cost)
        return replace(returned, score=scored.score) if scored and whole else None
    if isinstance(returned, bool | int | float | np.number | np.bool_) and not np.iscomplexobj(
        returned
    ):
        return Verdict(float(returned))
    return None


def _is_cost(cost: object) -> bool:
    """Whether something is a cost that can be added up: whole tokens, and nothing below 0."""
    if not isinstance(cost, Cost):
        return False
    *counts, seconds, flops = astuple(cost)
    whole = all(type(count) is int and count >= 0 for count in counts)
    return whole and all(
        type(value) in (int, float) and 0 <= value < math.inf for value in (seconds, flops)
    )


def holds(tree: Tree, node: Node) -> bool:
    """Whether a node is one of this very tree."""
    return 0 <= node.id < len(tree.nodes) and tree.nodes[node.id] is node


def _equal(claimed: Cost, paid: Cost) -> bool:
    """Whether two costs are the same, but for rounding."""
    return all(map(math.isclose, astuple(claimed), astuple(paid)))


def _portion(request: Request, first: int, n: int, max_tokens: int) -> Request:
    """Some samples of a request, none longer than this."""
    sampling = request.sampling
    clipped = replace(sampling, max_tokens=min(sampling.max_tokens, max_tokens))
    return replace(request, sampling=clipped, n=n, first=request.first + first)


def _ended_by(reason: str) -> str:
    return "the run was stopped" if reason == "stop" else f"the budget ended before ({reason})"


def _asked(node: Node) -> tuple[Message, ...]:
    """The messages before anything was drawn: what a node answers, first or in the end."""
    first = next((step for step in node.path() if step.completion), node)
    return first.conversation()[0]
