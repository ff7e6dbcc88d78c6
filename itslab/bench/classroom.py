"""What a class gets of one model: whether anybody waits for longer than a fair share would take."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from itslab.bench.rounds import Say, quiet
from itslab.core import BackendError, ItslabError
from itslab.share import key

if TYPE_CHECKING:
    import httpx
    import pandas as pd

SECONDS = 120.0
"""That a server has to start."""


@dataclass(frozen=True)
class Participants:
    """Who asks what, how often.

    All but the last ask one question after the other, ``votes`` samples of it at once, as a
    notebook's majority vote does. The last is greedy: it asks ``greedy`` questions at once, again
    and again until all others are done.

    Args:
        questions: that each asks, in an order of its own.
        count: of participants.
        votes: samples of a question.
        greedy: questions that the last one asks at once.
        max_tokens: of a sample.
        seconds: after which nobody begins another question.
    """

    questions: Sequence[str]
    count: int = 25
    votes: int = 8
    greedy: int = 8
    max_tokens: int = 96
    seconds: float = 300.0


@dataclass
class Work:
    """What a participant asked at once, and waited for.

    Args:
        user: its number.
        sent: seconds from the beginning.
        end: when the last of its samples was there.
        samples: end and tokens of each.
        failed: why samples were not drawn.
    """

    user: int
    sent: float
    end: float = float("nan")
    samples: list[tuple[float, int]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Drawn for it."""
        return sum(tokens for _, tokens in self.samples)


@dataclass(frozen=True)
class ClassReport:
    """How long each participant waited, beside what is fair.

    **Fair** is the time in which work is done by one of ``count`` equal shares of the machine:
    its tokens × ``count`` ÷ the tokens that the machine drew a second for all together, while all
    were asking. It is what would have passed had each a machine of its own, so much slower. Work is
    what a participant asks at once: a vote, or the greedy one's questions.

    Args:
        label: the model, and who asked.
        count: of participants.
        works: all that was asked.
    """

    label: str
    count: int
    works: Sequence[Work]

    @property
    def until(self) -> float:
        """Until when all were asking, in seconds: the first one's last end.

        Whoever had nothing, as where all seats were taken, was not asking.
        """
        last: dict[int, float] = {}
        for work in self.works:
            if work.tokens:
                last[work.user] = max(last.get(work.user, 0.0), work.end)
        return min(last.values())

    @property
    def speed(self) -> float:
        """Tokens a second for all together, while all were asking."""
        return sum(self.served().values()) / self.until

    def served(self) -> dict[int, int]:
        """Tokens of the samples that each participant had while all were asking."""
        found = dict.fromkeys(range(self.count), 0)
        for work in self.works:
            found[work.user] += sum(tokens for end, tokens in work.samples if end <= self.until)
        return found

    def fair(self, work: Work) -> float:
        """Seconds that are fair for some work."""
        return work.tokens * self.count / self.speed

    @property
    def worst(self) -> float:
        """The longest that anybody waited for what was drawn, as a multiple of what is fair."""
        return max((work.end - work.sent) / self.fair(work) for work in self.works if work.tokens)

    def table(self) -> pd.DataFrame:
        """Return for each participant how much it asked and had, and how long it waited."""
        import pandas as pd

        served, rows = self.served(), []
        for user in range(self.count):
            works = [work for work in self.works if work.user == user and work.tokens]
            waits = [work.end - work.sent for work in works]
            against = [wait / self.fair(work) for wait, work in zip(waits, works, strict=True)]
            rows.append(
                {
                    "participant": "greedy" if user == self.count - 1 else str(user + 1),
                    "votes": len(works),
                    "samples": sum(len(work.samples) for work in works),
                    "failed": sum(len(work.failed) for work in works),
                    "tokens while all asked": served[user],
                    "waited, mean s": sum(waits) / max(len(waits), 1),
                    "waited, max s": max(waits, default=float("nan")),
                    "max ÷ fair": max(against, default=float("nan")),
                }
            )
        return pd.DataFrame(rows).set_index("participant")

    def __str__(self) -> str:
        served = [*self.served().values()]
        failed = [why for work in self.works for why in work.failed]
        nobody = "nobody who had an answer" if failed else "nobody"
        return "\n".join(
            [
                self.label,
                self.table().to_string(float_format="%.2f"),
                f"all were asking for {self.until:.0f} s, {self.speed:.0f} tokens/s together; "
                f"of that each had {min(served):,} to {max(served):,} tokens",
                f"{nobody} waited longer than {self.worst:.2f} × the fair time",
                *(f"failed: {len(failed)}, such as {why}" for why in failed[:1]),
            ]
        )


def measure_class(
    model: str = "smollm2-135m",
    asked: Participants | None = None,
    *,
    batch_size: int | None = None,
    say: Say = quiet,
) -> ClassReport:
    """Let a class ask a server in a process of its own, and say how long each participant waited.

    Args:
        model: as of ``itslab.load``.
        asked: who asks what; by default 25 the ten questions of the workshop.
        batch_size: sequences at once; None is that of a class.
        say: is told of the beginning.
    """
    from itslab.workshop import classroom

    asked = asked or Participants(ten_questions())
    batch_size = batch_size or classroom.BATCH
    label = (
        f"{model}, {asked.count} participants, one of them greedy; votes of {asked.votes}, "
        f"up to {asked.max_tokens} tokens a sample, {batch_size} sequences at once"
    )
    say(label)
    with _server(model, batch_size, asked.count) as url:
        return ClassReport(label, asked.count, ask(url, model, asked))


def ten_questions() -> list[str]:
    """Return the questions that the workshop's participants deploy a service for."""
    from itslab.share import shared

    lines = shared("notebooks/workshop/ten_questions.txt").read_text(encoding="utf-8")
    return [json.loads(line)["question"] for line in lines.splitlines()]


@contextmanager
def _server(model: str, batch_size: int, seats: int) -> Iterator[str]:
    code = (
        "import sys; from itslab.workshop.classroom import serve; "
        "model, folder, seats, batch = sys.argv[1:]; "
        "serve(model, folder, seats=int(seats), host='127.0.0.1', port=0, batch_size=int(batch), "
        "say=lambda text: print(text, flush=True))"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, model, folder, str(seats), str(batch_size)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            lines = (line.split('"')[1] for line in server.stdout if 'mode = "' in line)
            url = next(lines, "")
            if not url:
                raise ItslabError(f"the class's server did not start: exit status {server.wait()}")
            yield url
        finally:
            server.terminate()
            server.wait(SECONDS)


def ask(url: str, model: str, asked: Participants) -> list[Work]:
    """Ask as a class does, and return what each asked at once.

    Args:
        url: of a class's server, ``…/v1`` included.
        model: by the server's name.
        asked: who asks what.

    Raises:
        BackendError: nothing answers there.
    """
    return asyncio.run(_Class(url, model, asked).run())


class _Class:
    def __init__(self, url: str, model: str, asked: Participants) -> None:
        self.url, self.model, self.asked = f"{url.rstrip('/')}/chat/completions", model, asked
        self.works: list[Work] = []
        self.began = 0.0
        self.left = asked.count - 1  # who are not done
        self.http: httpx.AsyncClient

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    async def run(self) -> list[Work]:
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False) as self.http:
            self.began = time.monotonic()
            users = [self._patient(user) for user in range(self.asked.count - 1)]
            await asyncio.gather(*users, self._greedy(self.asked.count - 1))
        if not any(work.samples for work in self.works):
            why = next((why for work in self.works for why in work.failed), "nothing was asked")
            raise BackendError(f"{self.url} draws nothing: {why}")
        return self.works

    async def _patient(self, user: int) -> None:
        questions, asked = self.asked.questions, 0
        while asked < len(questions) and self.now < self.asked.seconds:
            await self._work(user, [questions[(user + asked) % len(questions)]], asked)
            asked += 1
        self.left -= 1

    async def _greedy(self, user: int) -> None:
        questions, asked = self.asked.questions, 0
        while self.left and self.now < self.asked.seconds:
            some = [questions[(asked + i) % len(questions)] for i in range(self.asked.greedy)]
            await self._work(user, some, asked)
            asked += len(some)

    async def _work(self, user: int, questions: Sequence[str], number: int) -> None:
        work = Work(user, self.now)
        self.works.append(work)
        samples = [
            self._sample(work, question, 1000 * user + 100 * (number + i) + vote)
            for i, question in enumerate(questions)
            for vote in range(self.asked.votes)
        ]
        await asyncio.gather(*samples)
        work.end = self.now

    async def _sample(self, work: Work, question: str, seed: int) -> None:
        import httpx

        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": self.asked.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "seed": seed,
        }
        headers = {"Authorization": f"Bearer {key(f'participant {work.user + 1}')}"}
        try:
            async with self.http.stream("POST", self.url, json=body, headers=headers) as answer:
                if answer.status_code != httpx.codes.OK:
                    work.failed.append((await answer.aread()).decode(errors="replace")[:300])
                    return
                tokens = 0
                async for line in answer.aiter_lines():
                    if '"usage"' in line:
                        tokens = json.loads(line[6:])["usage"]["completion_tokens"]
            work.samples.append((self.now, tokens))
        except httpx.HTTPError as error:
            work.failed.append(repr(error))
