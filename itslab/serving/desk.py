"""A request's life: it is priced, waits its turn, is worked on, answers by its deadline, is billed.

No network here: the endpoint and notebooks ask the same desk. Strategies run in threads of their
own; whoever they draw for, how urgent it is and by when, goes with them to the engine's scheduler.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from itslab.core import ItslabError, Message, require
from itslab.handle import RunHandle
from itslab.options import settings
from itslab.serving import wire
from itslab.serving.bounds import purchases
from itslab.serving.forecast import Expected, Forecast
from itslab.serving.limits import Limit, Limits, User, Users
from itslab.serving.lobby import Admission, Lobby, Refusal, Visit
from itslab.serving.order import Order
from itslab.serving.tiers import Menu, Offer, Plain, adjusted, samplings

ENDING = 2.0
"""Seconds that a run has to end when the desk is closed."""
SAMPLES = 10_000
"""Samples that one request may draw, judges' opinions included."""
TEXTS, CHARACTERS = 16, 256
"""Stop strings of a sample, and characters of each: its text is held against them at every token,
while all others wait."""
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
        if not refusal.retry_after:  # its deadline was past when it came: to come back is no help
            self.status, self.code = 400, "deadline_exceeded"


def check_size(offer: Offer, n: int) -> None:
    """Refuse what may draw more samples, or hold them against more texts, than any request may.

    Raises:
        OptionError: saying how many that are.
    """
    for sampling in samplings(offer.tier.strategy):
        for name in ("stop", "choices"):
            texts = getattr(sampling, name)
            valid = f"at most {TEXTS} texts of {CHARACTERS} characters each"
            small = len(texts) <= TEXTS and max(map(len, texts), default=0) <= CHARACTERS
            require(small, name, texts, valid)
    bought = n * sum(one.samples for one in purchases(offer.tier.strategy, offer.tier.budget))
    valid = f"one that draws {SAMPLES:,} samples at most: this one may draw {bought:,}"
    require(bought <= SAMPLES, "strategy", settings(offer.tier.strategy), valid)


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

    Raises:
        OptionError: a tier may draw more than any request may.

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
        for name in menu.names:
            check_size(menu.offer(name), 1)
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
        now, offer = time.monotonic(), self._offer(body)
        check_size(offer, body.n)
        order = Order(offer, body, user, now)
        with self._changed:
            if self._closed:
                raise ServerClosed("the server is shutting down: ask again when it is back")
            self._expect(order)
            self._orders[id(order.visit)] = order
            try:
                order.refusal = refusal = self.lobby.arrive(order.visit, now)
            except Exception:
                del self._orders[id(order.visit)]
                raise
            if refusal:
                del self._orders[id(order.visit)]
            else:
                self._start(now)
        if refusal:
            self._close(order)
            raise Refused(refusal)
        return order

    def predict(self, offer: Offer) -> float:
        """Return how many tokens an answer is thought to decode, to a question of no words."""
        with self._changed:
            return self._forecast(offer, [Message("user", "")]).tokens

    def cancel(self, order: Order, why: str = "disconnect") -> None:
        """Give up a request, since its user is gone. What was drawn by then is paid."""
        with self._changed:
            if id(order.visit) in self._orders and not order.handles:
                self._leave(order, why)
                self.lobby.end(order.visit, 0, time.monotonic())
                return
        order.stop(why)

    def close(self) -> None:
        """End all runs, wait until they are paid, and take no further requests."""
        with self._changed:
            self._closed = True
            waiting = [order for order in self._orders.values() if not order.handles]
            running = [order for order in self._orders.values() if order.handles]
            self._changed.notify_all()
        for order in waiting + running:
            self.cancel(order, "shutdown")
        for order in running:
            order.over.wait(ENDING)

    # -- who is next

    def _offer(self, body: wire.Body) -> Offer:
        """What a body asks for, drawn as it says."""
        offer = self.menu.offer(body.model, body.strategy)
        whole = getattr(self.menu.models[offer.model], "takes_top_k", True)
        options = {**({} if whole else {"top_k": 0}), **body.sampling}
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
        """Say what a request is thought to cost; the lock is held."""
        offer, body = order.offer, order.body
        order.expected = expected = self._forecast(offer, body.messages)
        order.visit.predicted = expected.tokens * body.n
        order.visit.flops = expected.flops * body.n

    def _forecast(self, offer: Offer, messages: Sequence[Message]) -> Expected:
        tier, forecast = offer.tier, self.forecasts[offer.model]
        return forecast.expect(self._kind(offer), [*messages], tier.strategy, tier.budget)

    def _expect_again(self, visit: Visit) -> tuple[float, float]:
        """What a request is thought to cost in the tier that the lobby has just put it into."""
        order = self._orders[id(visit)]
        named = f"{order.offer.name.partition('@')[0]}@{visit.tier}"
        cheap = self._offer(replace(order.body, model=named, strategy=None))
        # Who asked for a dearer tier has the time that this one would have had.
        tier = replace(cheap.tier, deadline=order.offer.tier.deadline)
        order.offer = cheap._replace(tier=tier)
        self._expect(order)
        return visit.predicted, visit.flops

    def _kind(self, offer: Offer) -> str:
        """Under which name it is learned what requests like this one cost; there are few names,
        whatever strategies requests describe.
        """
        known = offer.label in self.menu.tiers
        return offer.label if known else type(offer.tier.strategy).__name__

    def _learn(self, order: Order) -> None:
        """Learn what a request did cost, unless somebody gave it up."""
        whole = order.ended_by in (None, "deadline") and order.error is None
        if whole and order.expected is not None:
            forecast, kind = self.forecasts[order.offer.model], self._kind(order.offer)
            for handle in order.handles:
                forecast.learn(kind, order.expected, handle.run.cost)

    def _start(self, now: float) -> None:
        """Let those begin who may; the lock is held."""
        for visit in self.lobby.ready(now):
            order = self._orders[id(visit)]
            order.begin(self.menu.models[order.offer.model], now, self.users is not None)
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
            self._learn(order)
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
                    order.late = order.late or now >= order.closing
                coming = [t for order in running for t in (order.ending, order.closing)]
                until = min([t for t in coming if t > now] + [self.lobby.next_refusal()])
                self._changed.wait(min(max(until - now, 0.001), threading.TIMEOUT_MAX))
