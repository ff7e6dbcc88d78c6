"""An OpenAI-compatible endpoint: what comes over the network goes to the desk, and back.

    POST /v1/chat/completions   GET /v1/models   GET /health   GET /metrics

Progress is streamed as ``reasoning_content``, the answer as ``content``. Whoever hangs up, or does
not read for ``SILENCE`` seconds, ends its request within a step of the engine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from itslab import strategies
from itslab.core import ItslabError, OptionError
from itslab.options import settings
from itslab.serving import wire
from itslab.serving.desk import ANYONE, Desk, Refused, ServerClosed, check_size
from itslab.serving.limits import LETTERS, User
from itslab.serving.metrics import Metrics
from itslab.serving.order import Order

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send

SILENCE = 30.0
"""Seconds that a client may leave what it is sent unread."""
PROMPT, CALM = 0.02, 0.05
"""Seconds between two looks at a request: until something of it is there, and after."""
QUEUED = 0.25
"""The same while it waits for its turn, as hundreds may."""
FIRST = 0.25
"""Seconds that a stream waits for its first words, so that an error can still be a status."""
GRACE = 3.0
"""Seconds that open streams have to say their best answers so far when the server is shut down."""
GONE = 499
"""The status, which nobody reads, of a client that has hung up."""
KNOWN = "POST /v1/chat/completions, GET /v1/models, /health and /metrics are"
LOG = logging.getLogger("itslab.serving")
FAULTS = logging.getLogger("itslab.faults")
"""What went wrong, apart from the log of requests, of which each line is JSON."""
More = Callable[["Endpoint"], Sequence["Route"]]
"""Routes that are served beside those of an endpoint."""


class NothingYet(ItslabError):
    """The deadline came before the first word."""

    status = 504
    code = "deadline_exceeded"


class BadPath(ItslabError):
    """Nothing answers there, or not so; ``status`` is the HTTP status that says which."""

    def __init__(self, asked: str, status: int) -> None:
        super().__init__(f"{asked:.100} is not known here: {KNOWN}")
        self.status = status


class BadKey(ItslabError):
    """A request has no key, or a wrong one."""

    status = 401
    code = "invalid_api_key"


def application(desk: Desk, more: More = lambda endpoint: ()) -> Starlette:
    """Return the ASGI application of a desk; it closes the desk when it is shut down.

    Args:
        desk: as it is; its ``settled`` is taken for metrics and the log.
        more: returns routes beside its own, of the same endpoint.
    """
    from starlette.applications import Starlette
    from starlette.routing import Route

    endpoint = Endpoint(desk)
    routes = [
        Route("/v1/chat/completions", endpoint.guarded(endpoint.chat), methods=["POST"]),
        Route("/v1/models", endpoint.guarded(endpoint.models, seat=False)),
        Route("/v1/models/{name:path}", endpoint.guarded(endpoint.model, seat=False)),
        Route("/health", endpoint.health),
        Route("/metrics", endpoint.measured),
        *more(endpoint),
    ]
    handlers: Any = dict.fromkeys((404, 405), endpoint.unknown)
    return Starlette(routes=routes, lifespan=endpoint.lifespan, exception_handlers=handlers)


async def _beside(order: Order, work: Callable[..., Any], *given: Any) -> Any:
    """Do some work in a thread, for there may be thousands of samples; not where there is one."""
    return work(*given) if order.plain else await asyncio.to_thread(work, *given)


class Endpoint:
    """The desk, as the network sees it."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.metrics = desk, Metrics(desk)
        self._began = int(time.time())
        desk.settled = self._settled

    def lifespan(self, app: Starlette) -> Any:
        """Close the desk when the server ends."""
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def span() -> AsyncIterator[None]:
            yield
            await asyncio.to_thread(self.desk.close)

        return span()

    # -- requests ----------------------------------------------------------------------------------

    def guarded(
        self, answer: Callable[[Request, User], Awaitable[Response]], seat: bool = True
    ) -> Callable[[Request], Awaitable[ASGIApp]]:
        """Let a request through if its key is right; errors become what OpenAI's clients read.

        Args:
            answer: what is asked.
            seat: whether a guest who was answered keeps its seat.
        """
        from starlette.requests import ClientDisconnect
        from starlette.responses import JSONResponse, Response

        async def seated(request: Request) -> ASGIApp:
            user = self._user(request)
            try:
                told = await answer(request, user)
            except BaseException:
                self._over(user, False)
                raise

            async def sent(scope: Scope, receive: Receive, send: Send) -> None:
                try:  # a stream is under way until its last word
                    await told(scope, receive, send)
                finally:
                    self._over(user, seat)

            return sent

        async def respond(request: Request) -> ASGIApp:
            try:
                return await seated(request)
            except ClientDisconnect:  # before all of its body was here
                return Response(status_code=GONE)
            except Exception as reason:
                status, body, headers = _told(reason)
                return JSONResponse(body, status, headers)

        return respond

    async def unknown(self, request: Request, reason: Any) -> Response:
        """Say what may be asked instead."""
        from starlette.responses import JSONResponse

        asked = f"{request.method} {request.url.path}"
        status, body, _ = wire.error(BadPath(asked, reason.status_code))
        return JSONResponse(body, status, reason.headers)

    def _over(self, user: User, well: bool) -> None:
        if self.desk.users is not None:
            self.desk.users.answered(user, well)

    def _user(self, request: Request) -> User:
        users = self.desk.users
        if users is None:
            return ANYONE
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        user = users.find(key.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            said = "the key is missing or wrong: send it as Authorization: Bearer KEY"
            guest = f"; a guest's is a name of up to {LETTERS} letters that is no user's"
            raise BadKey(said + (guest if users.seats else ""))
        return user

    async def chat(self, request: Request, user: User) -> Response:
        """Answer a conversation."""
        import anyio
        from sse_starlette import EventSourceResponse
        from starlette.responses import JSONResponse, Response

        body = wire.read(await raw(request))
        order = await asyncio.to_thread(self.desk.ask, body, user)  # others go on meanwhile
        headers = {"X-Request-Id": order.name}
        if not body.stream:
            while not order.answered:
                await asyncio.sleep(PROMPT if order.handles else QUEUED)
                if await request.is_disconnected():
                    self.desk.cancel(order)
                    return Response(status_code=GONE)
            whole = await asyncio.to_thread(self._whole, order)  # thousands of samples take a while
            return JSONResponse(whole, headers=headers)
        await _until(lambda: order.answered or order.spoke, FIRST)
        if order.answered:
            _check(order)
        ending = anyio.Event()
        events = self._events(order, ending)
        return EventSourceResponse(
            events,
            headers=headers,
            sep="\n",
            ping=15,
            send_timeout=SILENCE,
            shutdown_event=ending,
            shutdown_grace_period=GRACE,
        )

    def _whole(self, order: Order) -> dict[str, Any]:
        _check(order)
        thoughts = [order.news(i)[0] for i in range(order.body.n)]
        choices = [order.choice(i) for i in range(order.body.n)]
        told = [wire.Choice(c.content, t, c.finish) for c, t in zip(choices, thoughts, strict=True)]
        return wire.completion(
            order.name, order.offer.name, told, wire.usage(order.cost, order.own), order.account
        )

    async def _events(self, order: Order, ending: Any) -> AsyncIterator[dict[str, str]]:
        name, model, created = order.name, order.offer.name, int(time.time())

        def piece(index: int, **delta: str) -> dict[str, str]:
            return _data(wire.chunk(name, model, created, index, delta))

        try:
            for i in range(order.body.n):
                yield piece(i, role="assistant", content="")
            done = told = False
            while not done:
                if ending.is_set():
                    order.stop("shutdown")
                done = order.answered
                for i in range(order.body.n):
                    thought, text = await _beside(order, order.news, i)
                    told = told or bool(thought or text)
                    if thought:
                        yield piece(i, reasoning_content=thought)
                    if text:
                        yield piece(i, content=text)
                if not done:
                    await asyncio.sleep(CALM if told else PROMPT if order.handles else QUEUED)
            _check(order)
            for i in range(order.body.n):
                last = await _beside(order, order.choice, i)
                yield _data(wire.chunk(name, model, created, i, {}, last.finish))
            own = await _beside(order, lambda: order.own) if order.body.usage else 0
            used = wire.usage(order.cost, own) if order.body.usage else None
            account = await _beside(order, lambda: order.account)
            yield _data(wire.last(name, model, created, used, account))
            yield {"data": "[DONE]"}
        except Exception as reason:
            yield _data(_told(reason)[1])
        finally:
            if not order.answered:
                self.desk.cancel(order)

    # -- what is offered, and how it goes ----------------------------------------------------------

    async def models(self, request: Request, user: User) -> Response:
        """List the models, each alone, with each tier, and with each strategy."""
        from starlette.responses import JSONResponse

        return JSONResponse({"object": "list", "data": [self._model(one) for one in self._names]})

    async def model(self, request: Request, user: User) -> Response:
        """Tell of one model."""
        from starlette.responses import JSONResponse

        return JSONResponse(self._model(request.path_params["name"]))

    @cached_property
    def _names(self) -> list[str]:
        menu = self.desk.menu
        ways = [
            _dashed(name)
            for name in strategies.__all__
            if isinstance(getattr(strategies, name), type)
        ]
        return [
            *menu.names,
            *(f"{m}@{way}" for m in menu.models for way in ways if _offered(menu, m, way)),
        ]

    def _model(self, name: str) -> dict[str, Any]:
        offer = self.desk.menu.offer(name)
        tier = offer.tier
        told = {
            "strategy": settings(tier.strategy),
            "budget": asdict(tier.budget),
            "deadline": tier.deadline,
            "price": tier.price and asdict(tier.price),
            "predicted_tokens": round(self.desk.predict(offer)),
            "tier": offer.label in self.desk.menu.tiers,
        }
        return {
            "id": name,
            "object": "model",
            "created": self._began,
            "owned_by": "itslab",
            "itslab": told,
        }

    async def health(self, request: Request) -> Response:
        """Tell that it is up, and how many wait and are served."""
        from starlette.responses import JSONResponse

        waiting, running = self.desk.load
        return JSONResponse({"status": "ok", "waiting": waiting, "running": running})

    async def measured(self, request: Request) -> Response:
        """Give the metrics, as Prometheus reads them."""
        from starlette.responses import Response

        content, kind = self.metrics.page()
        return Response(content, media_type=kind)

    def _settled(self, order: Order) -> None:
        self.metrics.observe(order)
        LOG.info(json.dumps(order.entry))


def _offered(menu: Any, model: str, way: str) -> bool:
    try:
        check_size(menu.offer(f"{model}@{way}"), 1)
    except OptionError:
        return False
    return True


def _dashed(name: str) -> str:
    """``BestOfN`` as requests write it: ``best-of-n``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", "-", name).lower()


def _data(piece: dict[str, Any]) -> dict[str, str]:
    return {"data": json.dumps(piece, ensure_ascii=False, separators=(",", ":"))}


def _told(reason: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """An error as it is sent; what nobody raised on purpose is written down, too."""
    if not isinstance(reason, ItslabError):
        FAULTS.error("a request failed", exc_info=reason)
    return wire.error(reason)


def _check(order: Order) -> None:
    """Raise what left a request without its answer."""
    if order.refusal is not None:
        raise Refused(order.refusal)
    if order.error is not None:
        raise order.error
    if not order.handles or (order.ended_by == "shutdown" and not order.spoke):
        raise ServerClosed("the server is shutting down: ask again when it is back")
    if order.ended_by == "deadline" and not order.spoke:
        raise NothingYet("nothing had been drawn by the deadline: ask with a later one")


async def _until(there: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not there() and time.monotonic() < end:
        await asyncio.sleep(PROMPT)


async def raw(request: Request, most: int = wire.MOST) -> bytes:
    """Return the body of a request, of so many bytes at most.

    Raises:
        BadBody: it is longer; that is said as soon as it is known.
    """
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > most:
        raise wire.BadBody(f"the body has {int(told):,} bytes, and may have {most:,}", 413)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise wire.BadBody(f"the body may have {most:,} bytes", 413)
    return bytes(body)
