"""A request under way: its runs, what is there of its answer, when it has to be there, its bill."""

from __future__ import annotations

import math
import secrets
import threading
import time

from itslab.backends.scheduler import Service, serving
from itslab.core import Backend, Cost, Node, Prompt
from itslab.handle import RunHandle, start
from itslab.options import settings
from itslab.run import Run, Strategy
from itslab.serving import wire
from itslab.serving.bounds import purchases
from itslab.serving.forecast import Expected
from itslab.serving.limits import User
from itslab.serving.lobby import Refusal, Visit
from itslab.serving.narration import Narrator, leading
from itslab.serving.tiers import Offer, Plain

MARGIN, LAST = 1.0, 0.3
"""Seconds before a deadline: at which a run is stopped, which then ends with the step under way;
and at which what is there is the answer, whether its run has ended or not, since it has to be sent
as well. Of a deadline that is near, a quarter and an eighth."""


class OnBehalf:
    """A strategy at work for somebody: all its models are asked as their service says."""

    def __init__(self, strategy: Strategy, service: Service) -> None:
        self.strategy, self.service = strategy, service

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        """Answer, as the strategy does."""
        with serving(self.service):
            return self.strategy(run, prompt)

    def __repr__(self) -> str:
        return repr(self.strategy)


class Order:
    """A request under way; any thread may look at it.

    Args:
        offer: how it is answered.
        body: what it asks.
        user: who asks.
        arrived: when, in seconds of ``time.monotonic``.

    Attributes:
        name: of the request.
        visit: the same as the lobby sees it.
        handles: its runs, one for each answer that is wanted; none while it waits.
        started, ended: when; None before.
        ended_by: ``deadline``, ``disconnect``, or as of ``Result.stopped_by``; None so far.
        expected: what one of its runs is thought to cost; None before that was asked.
        refusal: why it was sent away after it had waited; None if it was not.
        over: set when nothing more of it is drawn, and all of it is paid.
    """

    def __init__(self, offer: Offer, body: wire.Body, user: User, arrived: float) -> None:
        self.offer, self.body, self.user, self.arrived = offer, body, user, arrived
        self.name = wire.new_id()
        self.seed = secrets.randbelow(2**31) if body.seed is None else body.seed
        self.visit = Visit(
            user.name, offer.label, 0.0, arrived, offer.tier.priority, user.weight, self.deadline
        )
        self.handles: list[RunHandle] = []
        self.started: float | None = None
        self.ended: float | None = None
        self.ended_by: str | None = None
        self.refusal: Refusal | None = None
        self.expected: Expected | None = None
        self.over = threading.Event()
        self.late = False  # its deadline is here
        self._narrators: list[Narrator] = []
        self._written: list[int] = []  # characters of each answer

    @property
    def deadline(self) -> float:
        """When it is to be answered, in seconds of ``time.monotonic``."""
        allowed = (self.body.deadline, self.offer.tier.deadline)
        return self.arrived + min(one for one in (*allowed, math.inf) if one is not None)

    @property
    def answered(self) -> bool:
        """Whether nothing that comes later changes its answer."""
        return self.late or self.over.is_set()

    @property
    def plain(self) -> bool:
        """Whether the model answers as it is: its words are the answer as they come."""
        return isinstance(self.offer.tier.strategy, Plain)

    @property
    def ending(self) -> float:
        """When its runs are stopped, so that they have ended by the deadline."""
        return self.deadline - min(MARGIN, (self.deadline - self.arrived) / 4)

    @property
    def closing(self) -> float:
        """When what is there is the answer, so that it has been sent by the deadline."""
        return self.deadline - min(LAST, (self.deadline - self.arrived) / 8)

    def begin(self, model: Backend, now: float, apart: bool) -> None:
        """Let its runs begin on a model; each draws other samples.

        Args:
            model: that is asked.
            now: seconds of ``time.monotonic``.
            apart: whether users are told apart. Then it is their shares that decide whose samples
                are drawn, and not deadlines, of which anyone could name an early one.
        """
        tier, body, visit = self.offer.tier, self.body, self.visit
        soon = math.inf if apart else self.deadline
        service = Service(self.user.name, self.user.weight, visit.priority, soon)
        self.started = now
        for i in range(body.n):
            handle = start(
                [*body.messages],
                OnBehalf(tier.strategy, service),
                model,
                budget=tier.budget,
                seed=self.seed + i,
            )
            bought = purchases(tier.strategy, tier.budget)
            samples = sum(one.samples for one in bought if one.tokens > 1)
            expected = math.nan if self.expected is None else self.expected.tokens
            until = self.deadline - now
            self._narrators.append(Narrator(handle.run, samples, expected, until))
            self._written.append(0)
            self.handles.append(handle)  # last: other threads look at what there is of it

    def stop(self, why: str) -> None:
        """End its runs; their best answers so far stand."""
        self.ended_by = self.ended_by or why
        for handle in self.handles:
            handle.stop()

    # -- what is there of it

    def news(self, index: int) -> tuple[str, str]:
        """Return what is new of an answer since this was last asked: its reasoning, and its text.

        The text of an answer that had to be searched for comes last, and whole.
        """
        if index >= len(self.handles):
            return "", ""
        done = self.answered or not self.handles[index].running
        thought = "" if self.plain else self._narrators[index].news()
        if self.plain and not done:
            drawn = self.handles[index].run.drawn
            text = drawn[0].text if drawn else ""
        else:
            text = self.choice(index).content if done else ""
        new = text[self._written[index] :]
        self._written[index] += len(new)
        return thought, new

    def choice(self, index: int) -> wire.Choice:
        """Return an answer, as far as it has come."""
        node = self.node(index)
        if node is None:
            return wire.Choice("", finish="length")
        text, whole = _shortened(node, self.body.max_tokens)
        begun = getattr(self.offer.tier.strategy, "begun", "")
        text = text.removeprefix(begun)
        places = [at for one in self.body.stop if (at := text.find(one)) >= 0]
        finish = node.completion.finish if node.completion else "end"
        cut = not whole or finish in ("length", "cut", "cancelled")
        if places:
            return wire.Choice(text[: min(places)])
        return wire.Choice(text, finish="length" if cut else "stop")

    def node(self, index: int) -> Node | None:
        """Return where an answer stands; None if there is none."""
        handle = self.handles[index]
        whole = not handle.running and handle.error is None
        node = handle.result().node if whole else leading(handle.run)
        node = node or leading(handle.run)
        begun = (one for one in reversed(list(handle.run.drawn)) if one.text)
        return next(begun, None) if node is None else node  # part of an answer is better than none

    @property
    def spoke(self) -> bool:
        """Whether anything of it is there to be told."""
        return any(
            any(node.text and node.role == "assistant" for node in list(handle.run.drawn))
            for handle in self.handles
        )

    @property
    def own(self) -> int:
        """Tokens of the answers themselves."""
        nodes = [self.node(i) for i in range(len(self.handles))]
        drawn = [step.completion for node in nodes if node for step in node.turn()]
        return sum(completion.cost.decoded for completion in drawn if completion)

    @property
    def error(self) -> Exception | None:
        """What went wrong, if that left an answer out."""
        error = next((one.error for one in self.handles if one.error is not None), None)
        if error is None or isinstance(error, Exception):
            return error
        return RuntimeError(repr(error))  # one that would end the server, were it raised there

    @property
    def costs(self) -> dict[str, Cost]:
        """What it has cost so far, by model."""
        paid: dict[str, Cost] = {}
        for handle in self.handles:
            for model, cost in handle.run.ledger.by_model.items():
                paid[model] = paid.get(model, Cost()) + cost
        return paid

    @property
    def cost(self) -> Cost:
        """What it has cost so far."""
        return sum((handle.run.cost for handle in self.handles), Cost())

    @property
    def account(self) -> dict[str, object]:
        """What is told of it beside its answer, and written down: as JSON takes it."""
        runs = [handle.run for handle in self.handles]
        ended = self.ended_by or next((run.stopped_by for run in runs if run.stopped_by), None)
        until = time.monotonic() if self.ended is None else self.ended
        price = self.offer.tier.price
        nodes = [self.node(i) if self.error is None else None for i in range(len(runs))]
        return {
            "tier": self.visit.tier or self.offer.label or None,
            "degraded_from": self.visit.degraded_from,
            "strategy": settings(self.offer.tier.strategy),
            "answers": [n and run.extract(n.turn_text) for n, run in zip(nodes, runs, strict=True)],
            "ended_by": ended,
            "settled": self.over.is_set(),
            "costs": wire.bill(self.costs),
            "dollars": price and price.dollars(self.cost),
            "predicted_tokens": self.visit.predicted,
            "waited_seconds": round((self.started or until) - self.arrived, 3),
            "seconds": round(until - self.arrived, 3),
        }

    @property
    def entry(self) -> dict[str, object]:
        """What the log keeps of it: never what was asked, nor what was answered."""
        told = {name: value for name, value in self.account.items() if name != "answers"}
        ended = self.refusal.kind if self.refusal else told["ended_by"]
        error = self.error
        failed = {"error": f"{type(error).__name__}: {error}"} if error else {}
        return {
            "request": self.name,
            "user": self.user.name,
            "model": self.offer.model,
            "answers": self.body.n,
            **told,
            "strategy": type(self.offer.tier.strategy).__name__,  # its options may hold texts
            "ended_by": "error" if error else ended,
            **failed,
        }


def _shortened(node: Node, most: int | None) -> tuple[str, bool]:
    """The text of a node's turn, of so many tokens at most; and whether that is all of it."""
    text, left = "", math.inf if most is None else most
    for step in node.turn():
        drawn = step.completion
        if drawn is not None and drawn.cost.decoded > left:
            return (text + drawn.truncate(int(left)).text if left > 0 else text), False
        text, left = text + step.text, left - (drawn.cost.decoded if drawn else 0)
    return text, True
