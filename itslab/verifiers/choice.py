"""An opinion read from one token: which of two strings a model would say next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from itslab.core import Backend, Completion, Request, Sampling, Verdict


def choose(
    backend: Backend, requests: Sequence[Request], choices: tuple[str, str]
) -> list[Verdict]:
    """Return P(first choice) ÷ P(either) for the next token of each request, all in one batch.

    One token is drawn per verdict, whose whole distribution is read; the requests' own sampling is
    not.
    """
    brief = Sampling(temperature=0, max_tokens=1, choices=choices)
    rows = backend.generate([replace(request, sampling=brief) for request in requests])
    return [_verdict(reply, choices) for [reply] in rows]


def _verdict(reply: Completion, choices: tuple[str, str]) -> Verdict:
    if not reply.choices:
        return Verdict(math.nan, reply.cost, "the backend tells no log-probabilities")
    this, other = reply.choices
    unsaid = this == other == -math.inf
    score = math.nan if unsaid else 1 / (1 + math.exp(min(other - this, 700.0)))
    told = zip(choices, reply.choices, strict=True)
    note = ", ".join(f"P({choice}) {math.exp(logprob):.3f}" for choice, logprob in told)
    return Verdict(score, reply.cost, note)
