"""Traffic against an endpoint, and how long it took: what a server does when many ask at once.

It runs in one thread, best in a process of its own (``itslab load``), since it would take the time
of a server in the same. What is measured is what a client sees, over the network.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from itslab.core import BackendError, require
from itslab.options import (
    Bounds,
    Count,
    NotNegative,
    Options,
    Positive,
    Text,
    UnitInterval,
    Whole,
    check,
)
from itslab.serving.traffic import Arrival, Recorded

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from itslab.serving.summary import Simulation


@dataclass(frozen=True)
class Load(Options):
    """Who asks what, how often.

    Args:
        models: names as the endpoint lists them -> how often each is asked, as a ratio.
        users: that ask; each waits for its answer before it asks again. With ``arrivals`` they take
            turns.
        arrivals: seconds from the beginning at which requests are sent, whether those before are
            answered or not; empty lets each user ask again as soon as it has its answer.
        seconds: after which nobody asks any more.
        most: requests, at most.
        cancel: the share of requests that are given up at a random time in their first
            ``impatience`` seconds.
        impatience: see ``cancel``.
        think: seconds that a user pauses before it asks again, on average (exponential).
        max_tokens: of an answer; None leaves it to the model.
        seed: of who asks what.
    """

    models: Mapping[str, float]
    users: Annotated[int, Bounds(1, 10_000)] = 8
    arrivals: Sequence[float] = ()
    seconds: Positive = 60.0
    most: Count = 100_000
    cancel: UnitInterval = 0.0
    impatience: Positive = 5.0
    think: NotNegative = 0.0
    max_tokens: Count | None = None
    seed: Whole = 0
    keys: Sequence[Text] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check(self)
        sent = all(key.isascii() and key.isprintable() for key in self.keys)
        require(sent, "keys", "…", "printable ASCII: they are sent in a header")
        shares = [*self.models.values()]
        told = bool(shares) and min(shares) > 0 and math.isfinite(sum(shares))
        require(told and all(self.models), "models", self.models, "names with shares > 0")


@dataclass
class _Asked:
    """One request, in seconds from the beginning; nan where that never was."""

    user: int
    model: str
    sent: float
    first: float = np.nan
    partial: float = np.nan
    end: float = np.nan
    status: int = 0
    ended_by: str = ""
    said: str = ""
    retry_after: float = np.nan
    prompt_tokens: int = 0
    tokens: int = 0
    told: dict[str, Any] = field(default_factory=dict)


def measure(url: str, prompts: Sequence[str], load: Load) -> pd.DataFrame:
    """Send traffic to an endpoint, and return a row for each request.

    Args:
        url: of the endpoint, ``…/v1`` included.
        prompts: asked in turn.
        load: who asks what, how often.

    Returns:
        ``sent``, ``first`` (the first streamed words), ``partial`` (the first whole sample of a
        strategy), ``end``, all in seconds from the beginning; ``status`` (200, 429, …; 0 where the
        connection broke, or what came could not be read), ``ended_by`` (``cancelled`` by this
        client), ``tokens``, ``cost``.

    Raises:
        BackendError: nothing answers there.
    """
    import pandas as pd

    require(len(prompts) > 0, "prompts", prompts, "at least one")
    asked = asyncio.run(_Client(url, prompts, load).run())
    rows = [{n: v for n, v in vars(one).items() if n != "told"} | one.told for one in asked]
    return pd.DataFrame(rows)


class _Client:
    def __init__(self, url: str, prompts: Sequence[str], load: Load) -> None:
        self.url, self.prompts, self.load = url.rstrip("/"), prompts, load
        self.rng = np.random.default_rng(load.seed)
        self.asked: list[_Asked] = []
        self.began = 0.0
        self.http: httpx.AsyncClient
        shares = np.array([*load.models.values()], dtype=float)
        self.shares = shares / shares.sum()

    async def run(self) -> list[_Asked]:
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        async with httpx.AsyncClient(timeout=httpx.Timeout(600), limits=limits) as self.http:
            try:
                await self.http.get(f"{self.url}/models")
            except Exception as error:  # there are many kinds of addresses that are none
                raise BackendError(f"nothing answers at {self.url}: {error!r}") from error
            self.began = time.monotonic()
            if self.load.arrivals:
                await self._open()
            else:
                users = [self._closed(i) for i in range(self.load.users)]
                await asyncio.gather(*users)
        return self.asked

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    async def _open(self) -> None:
        """Send at given times, whatever was answered."""
        sent = []
        for i, when in enumerate(sorted(self.load.arrivals)[: self.load.most]):
            if when > self.load.seconds:
                break
            await asyncio.sleep(max(when - self.now, 0))
            sent.append(asyncio.create_task(self._ask(i % self.load.users)))
        await asyncio.gather(*sent)

    async def _closed(self, user: int) -> None:
        """Ask again and again."""
        while self.now < self.load.seconds and len(self.asked) < self.load.most:
            one = await self._ask(user)
            pause = self.rng.exponential(self.load.think) if self.load.think else 0.0
            if one.status == 429:
                pause = max(one.retry_after if one.retry_after == one.retry_after else 1.0, 0.1)
            elif one.status != 200:
                pause = max(pause, 0.1)
            await asyncio.sleep(min(pause, max(self.load.seconds - self.now, 0)))

    async def _ask(self, user: int) -> _Asked:
        load = self.load
        model = [*load.models][int(self.rng.choice(len(self.shares), p=self.shares))]
        patience = self.rng.uniform(0, load.impatience) if self.rng.random() < load.cancel else None
        one = _Asked(user, model, self.now)
        prompt = self.prompts[len(self.asked) % len(self.prompts)]
        self.asked.append(one)
        try:
            await asyncio.wait_for(self._stream(one, prompt), patience)
        except TimeoutError:
            one.ended_by = "cancelled"
        except Exception as error:  # whatever a server does or says
            one.status, one.ended_by = 0, type(error).__name__
        one.end = self.now
        return one

    async def _stream(self, one: _Asked, prompt: str) -> None:
        body: dict[str, Any] = {
            "model": one.model,
            "messages": [{"role": "user", "content": prompt}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "seed": len(self.asked),
        }
        if self.load.max_tokens:
            body["max_tokens"] = self.load.max_tokens
        keys = self.load.keys
        headers = {"Authorization": f"Bearer {keys[one.user % len(keys)]}"} if keys else {}
        url = f"{self.url}/chat/completions"
        async with self.http.stream("POST", url, json=body, headers=headers) as answer:
            one.status = answer.status_code
            if answer.status_code != 200:
                one.said = _message(await answer.aread()) or f"status {one.status}"
                after = answer.headers.get("retry-after", "")
                one.retry_after = float(after) if after.isdecimal() else np.nan  # or it is a date
                return
            async for piece in _pieces(answer.aiter_lines()):
                self._read(one, piece)

    def _read(self, one: _Asked, piece: Mapping[str, Any]) -> None:
        if "error" in piece:
            one.ended_by, one.said = "error", str(piece["error"].get("message", ""))
        for choice in piece.get("choices", ()):
            delta = choice["delta"]
            thought, text = delta.get("reasoning_content"), delta.get("content")
            if (thought or text) and np.isnan(one.first):
                one.first = self.now
            if np.isnan(one.partial) and ((thought and "\n1. " in f"\n{thought}") or text):
                one.partial = self.now
        if piece.get("usage"):
            one.prompt_tokens = piece["usage"]["prompt_tokens"]
            one.tokens = piece["usage"]["completion_tokens"]
        if told := piece.get("itslab"):
            one.ended_by = told["ended_by"] or ""
            one.told = {"tier": told["tier"], "degraded_from": told["degraded_from"]}


async def _pieces(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    """What a stream of events holds."""
    async for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])


def arrivals(rows: pd.DataFrame) -> Recorded:
    """Return when the requests of a load were sent, and for which tiers: to be simulated."""
    sent = rows.sort_values("sent")
    columns = (sent[name].tolist() for name in ("sent", "tier", "user"))
    asked = zip(*columns, strict=True)
    return Recorded(tuple(Arrival(when, str(tier), f"user {user}") for when, tier, user in asked))


def against(rows: pd.DataFrame, predicted: Simulation) -> pd.DataFrame:
    """Return what a load took beside what a simulation of it said, in seconds, for each tier.

    Args:
        rows: of ``measure``, with a tier each.
        predicted: of the same tiers.

    Returns:
        For each tier and for all: ``n`` measured; p50 and p95 measured, predicted with the interval
        of its replications (95 %), and the ratio of the latter to the former. One load of some
        minutes tells little of how such loads differ: requests that wait together are no
        independent ones. The replications do, where each has arrivals of its own.
    """
    import pandas as pd

    done = rows[(rows.status == 200) & (rows.ended_by != "cancelled")]
    groups = {**{str(tier): part for tier, part in done.groupby("tier")}, "all": done}
    table = {}
    for tier, part in groups.items():
        took = (part.end - part.sent).to_numpy()
        row: dict[str, Any] = {"n": len(took)}
        for name, q in (("p50", 0.5), ("p95", 0.95)):
            here = float(np.quantile(took, q, method="inverted_cdf"))
            there = predicted.estimate("seconds", name, None if tier == "all" else tier)
            row[f"{name} measured"] = f"{here:.1f}"
            row[f"{name} predicted"] = f"{there.value:.1f} [{there.low:.1f}, {there.high:.1f}]"
            row[f"{name} ratio"] = f"{there.value / here:.2f}"
        table[tier] = row
    return pd.DataFrame(table).T.rename_axis("tier")


def _message(raw: bytes) -> str:
    """What an error says."""
    try:
        return str(json.loads(raw)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return raw.decode(errors="replace")[:200]


def failures(rows: pd.DataFrame) -> list[str]:
    """Return why requests failed, each reason once with how often it was given."""
    failed = rows[~rows.status.isin([200, 429]) | (rows.ended_by == "error")]
    failed = failed[failed.ended_by != "cancelled"]
    why = failed.said.where(failed.said != "", failed.ended_by)
    return [f"{n:,} × {said}" for said, n in why.value_counts().items()]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what requests of each model came to: how many, how long they took, in seconds."""
    import pandas as pd

    def of(group: pd.DataFrame) -> dict[str, Any]:
        done = group[(group.status == 200) & ~group.ended_by.isin(["cancelled", "error"])]
        took, first = done.end - done.sent, done["first"] - done.sent
        return {
            "requests": len(group),
            "answered": len(done),
            "refused": int((group.status == 429).sum()),
            "cancelled": int((group.ended_by == "cancelled").sum()),
            "failed": int((~group.status.isin([200, 429]) & (group.ended_by != "cancelled")).sum()),
            "first word, p50": first.quantile(0.5),
            "answer, p50": took.quantile(0.5),
            "answer, p95": took.quantile(0.95),
            "answer, p99": took.quantile(0.99),
            "tokens": int(done.tokens.sum()),
        }

    table = pd.DataFrame([{"model": name, **of(group)} for name, group in rows.groupby("model")])
    return table.set_index("model")
