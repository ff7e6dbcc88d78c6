"""An opinion read from one token: which of some strings a model would say next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from itslab.core import Backend, Cost, Drawn, Request, Sampling, Till, Verdict


class Opinion(NamedTuple):
    """What a model would choose.

    Args:
        shares: of each choice in the probability of all; nan where none is ever said.
        cost: of asking.
        note: the probabilities, or why there are none.
    """

    shares: tuple[float, ...]
    cost: Cost
    note: str


def opinions(
    run: Till, backend: Backend, requests: Sequence[Request], choices: Sequence[str]
) -> list[Opinion]:
    """Return which of the choices the model would say next, for each request, all in one batch.

    One token is drawn per opinion, whose whole distribution is read; the requests' own sampling is
    not.
    """
    brief = Sampling(temperature=0, max_tokens=1, choices=tuple(choices))
    drawn = run.ask([replace(request, sampling=brief) for request in requests], backend)
    return [_opinion(reply, choices) for reply in drawn]


def choose(
    run: Till, backend: Backend, requests: Sequence[Request], choices: tuple[str, str]
) -> list[Verdict]:
    """Return P(first choice) ÷ P(either) for the next token of each request, all in one batch."""
    told = opinions(run, backend, requests, choices)
    return [Verdict(opinion.shares[0], opinion.cost, opinion.note) for opinion in told]


def _opinion(reply: Drawn, choices: Sequence[str]) -> Opinion:
    told = reply.completions[0].choices if reply.completions else ()
    if not told:
        unknown = (math.nan,) * len(choices)
        return Opinion(unknown, reply.cost, reply.why or "the backend tells no log-probabilities")
    likeliest = max(told)
    weights = [math.exp(logprob - likeliest) for logprob in told]
    shares = tuple(weight / sum(weights) for weight in weights)
    pairs = zip(choices, told, strict=True)
    note = ", ".join(f"P({choice}) {math.exp(logprob):.3f}" for choice, logprob in pairs)
    return Opinion(shares, reply.cost, note)
