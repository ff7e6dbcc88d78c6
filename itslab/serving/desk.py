"""A request's life: it is priced, waits its turn, is worked on, answers by its deadline, is billed.

No network here: the endpoint and notebooks ask the same desk. Strategies run in threads of their
own; whoever they draw for, how urgent it is and by when, goes with them to the engine's scheduler.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from itslab.backends.scheduler import Service, serving
from itslab.core import Backend, Cost, ItslabError, Node, Prompt, require
from itslab.handle import RunHandle, start
from itslab.options import settings
from itslab.run import Run, Strategy
from itslab.serving import wire
from itslab.serving.bounds import purchases
from itslab.serving.forecast import Expected, Forecast
from itslab.serving.limits import Limit, Limits, User, Users
from itslab.serving.lobby import Admission, Lobby, Refusal, Visit
from itslab.serving.narration import Narrator, leading
from itslab.serving.tiers import Menu, Offer, Plain, adjusted

MARGIN = 0.5
"""Seconds before a deadline at which a run is stopped: it ends with the step under way."""


LAST = 0.05
"""Seconds before a deadline at which what is there is the answer, whether its run has ended or not:
it still has to be sent."""
ENDING = 2.0
"""Seconds that a run has to end when the desk is closed."""
SAMPLES = 1_000
"""Samples that one request may draw, judges' opinions included."""
ANYONE = User("anyone", "none")
ADMISSION = Admission()


class ServerClosed(ItslabError):
    """The desk takes no more requests."""


class Refused(ItslabError):
    """There is no room for a request now.

    Args:
        refusal: why, and when to come back.
    """

    status = 429
    code = "rate_limit_exceeded"

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.retry_after = refusal.retry_after


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

    def begin(self, model: Backend, now: float) -> None:
        """Let its runs begin on a model; each draws other samples."""
        tier, body, visit = self.offer.tier, self.body, self.visit
        service = Service(self.user.name, self.user.weight, visit.priority, self.deadline)
        self.started = now
        for i in range(body.n):
            handle = start(
                [*body.messages],
                OnBehalf(tier.strategy, service),
                model,
                budget=tier.budget,
                seed=(body.seed or 0) + i,
            )
            self.handles.append(handle)
            expected = math.nan if self.expected is None else self.expected.tokens
            self._narrators.append(Narrator(handle.run, expected))
            self._written.append(0)

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
        if handle.running:
            return leading(handle.run)
        return handle.result().node or leading(handle.run)

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
        for handle in self.handles:
            if not handle.running:
                try:
                    handle.result()
                except Exception as error:
                    return error
        return None

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
        nodes = [self.node(i) if self.error is None else None for i in range(len(runs))]
        return {
            "tier": self.visit.tier or self.offer.label or None,
            "degraded_from": self.visit.degraded_from,
            "strategy": settings(self.offer.tier.strategy),
            "answers": [n and run.extract(n.turn_text) for n, run in zip(nodes, runs, strict=True)],
            "ended_by": ended,
            "settled": self.over.is_set(),
            "costs": wire.bill(self.costs),
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
            "model": self.offer.name,
            "answers": self.body.n,
            **told,
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


class Desk:
    """Takes requests, and sees to it that each is answered, and billed.

    Args:
        menu: what is offered.
        admission: how many are served at once, and what befalls the others.
        users: who may ask, with their limits; None lets everybody ask, as ``anyone``.
        default: limits of users who have none of their own.
        forecasts: what requests to each model are thought to cost; they learn from those that are
            over. A model without one is thought to cost the most that a tier may, at first.
        settled: is told of each request when it is over and paid, and of each that is refused, with
            the reason, in any thread.

    Attributes:
        lobby: who waits and who is served.
    """

    def __init__(
        self,
        menu: Menu,
        admission: Admission = ADMISSION,
        users: Users | None = None,
        default: Sequence[Limit] = (),
        forecasts: Mapping[str, Forecast] | None = None,
        settled: Callable[[Order], None] = lambda order: None,
    ) -> None:
        self.menu, self.users = menu, users
        known = forecasts or {}
        self.forecasts = {
            name: known.get(name) or Forecast(shape=getattr(model, "shape", None))
            for name, model in menu.models.items()
        }
        limits = users.limits(default) if users else Limits({}, default)
        self.lobby = Lobby(admission, limits, menu.cheaper(), self._expect_again)
        self.settled = settled
        self._orders: dict[int, Order] = {}  # id of its visit -> one that waits or is served
        self._changed = threading.Condition(threading.RLock())
        self._closed = False
        self._clock = threading.Thread(target=self._watch, name="itslab-desk", daemon=True)
        self._clock.start()

    @property
    def load(self) -> tuple[int, int]:
        """How many requests wait, and how many are served."""
        with self._changed:
            return len(self.lobby.waiting), len(self.lobby.running)

    def ask(self, body: wire.Body, user: User = ANYONE) -> Order:
        """Take a request; returns at once.

        Raises:
            UnknownModel, OptionError: it asks for what is not offered.
            Refused: there is no room for it.
        """
        now = time.monotonic()
        order = Order(self._offer(body), body, user, now)
        with self._changed:
            if self._closed:
                raise ServerClosed("the server is shutting down: ask again when it is back")
            self._expect(order)
            self._orders[id(order.visit)] = order
            refusal = self.lobby.arrive(order.visit, now)
            if refusal:
                del self._orders[id(order.visit)]
                order.refusal = refusal
            else:
                self._start(now)
        if refusal:
            self._close(order)
            raise Refused(refusal)
        return order

    def cancel(self, order: Order) -> None:
        """Give up a request: its user is gone. What was drawn by then is paid."""
        with self._changed:
            if id(order.visit) in self._orders and not order.handles:
                self._leave(order, "disconnect")
                self.lobby.end(order.visit, 0, time.monotonic())
                return
        order.stop("disconnect")

    def close(self) -> None:
        """End all runs, wait until they are paid, and take no further requests."""
        with self._changed:
            self._closed = True
            waiting = [order for order in self._orders.values() if not order.handles]
            running = [order for order in self._orders.values() if order.handles]
            self._changed.notify_all()
        for order in waiting:
            self.cancel(order)
        for order in running:
            order.stop("shutdown")
        for order in running:
            order.over.wait(ENDING)

    # -- who is next

    def _offer(self, body: wire.Body) -> Offer:
        """What a body asks for, drawn as it says."""
        offer = self.menu.offer(body.model, body.strategy)
        options = dict(body.sampling)
        if body.max_tokens is not None:
            options["max_tokens"] = body.max_tokens
        strategy = offer.tier.strategy
        if isinstance(strategy, Plain):
            options |= {"stop": body.stop} if body.stop else {}
            strategy = replace(strategy, begun=body.begun)
        else:
            only = "false, unless the model is asked as it is, without a strategy"
            require(not body.begun, "continue_final_message", True, only)
        tier = replace(offer.tier, strategy=adjusted(strategy, **options))
        return offer._replace(tier=tier)

    def _expect(self, order: Order) -> None:
        """Say what a request is thought to cost.

        Raises:
            OptionError: it may take more samples than any request may.
        """
        offer, body = order.offer, order.body
        bought = sum(one.samples for one in purchases(offer.tier.strategy, offer.tier.budget))
        valid = f"one that draws {SAMPLES:,} samples at most: this one may draw {bought:,}"
        require(bought * body.n <= SAMPLES, "strategy", settings(offer.tier.strategy), valid)
        expected = self.forecasts[offer.model].expect(
            self._kind(offer), [*body.messages], offer.tier.strategy, offer.tier.budget
        )
        order.expected = expected
        order.visit.predicted = expected.tokens * body.n
        order.visit.flops = expected.flops * body.n

    def _expect_again(self, visit: Visit) -> tuple[float, float]:
        """What a request is thought to cost in the tier that the lobby has just put it into."""
        order = self._orders[id(visit)]
        named = f"{order.offer.name.partition('@')[0]}@{visit.tier}"
        order.offer = self._offer(replace(order.body, model=named, strategy=None))
        self._expect(order)
        return visit.predicted, visit.flops

    def _kind(self, offer: Offer) -> str:
        """Under which name it is learned what requests like this one cost."""
        return offer.label if offer.label in self.menu.tiers else settings(offer.tier.strategy)

    def _learn(self, order: Order, cost: Cost) -> None:
        alone = order.ended_by in (None, "deadline") and order.error is None and order.expected
        if alone:
            for handle in order.handles:
                self.forecasts[order.offer.model].learn(
                    self._kind(order.offer), alone, handle.run.cost
                )

    def _start(self, now: float) -> None:
        """Let those begin who may; the lock is held."""
        for visit in self.lobby.ready(now):
            order = self._orders[id(visit)]
            order.begin(self.menu.models[order.offer.model], now)
            for handle in order.handles:
                handle.when_done(partial(self._ended, order))
        self._changed.notify_all()

    def _ended(self, order: Order, _: RunHandle) -> None:
        """One of its runs is over, in that run's thread."""
        with self._changed:
            if any(handle.running for handle in order.handles) or order.over.is_set():
                return
            now, cost = time.monotonic(), order.cost
            self.lobby.end(order.visit, cost.decoded, now, cost.flops)
            self._learn(order, cost)
            self._leave(order, None)
            self._start(now)

    def _leave(self, order: Order, why: str | None) -> None:
        """Strike it off; the lock is held."""
        del self._orders[id(order.visit)]
        order.ended_by = order.ended_by or why
        self._close(order)

    def _close(self, order: Order) -> None:
        order.ended = time.monotonic()
        order.over.set()
        self.settled(order)

    def _watch(self) -> None:
        """Keep deadlines, in a thread of its own."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for visit, refusal in self.lobby.refused(now):
                    order = self._orders[id(visit)]
                    order.refusal = refusal
                    self._leave(order, refusal.kind)
                self._start(now)
                running = [order for order in self._orders.values() if order.handles]
                for order in running:
                    if now >= order.ending:
                        order.stop("deadline")
                    order.late = order.late or now >= order.deadline - LAST
                coming = [t for order in running for t in (order.ending, order.deadline - LAST)]
                until = min([t for t in coming if t > now] + [self.lobby.next_refusal()])
                self._changed.wait(None if until == math.inf else max(until - now, 0.001))
