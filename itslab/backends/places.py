"""Where in a bank a sample belongs, and which samples are being drawn at this moment."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Collection

from itslab.core import Request

Place = tuple[bytes, int]
"""The digest of a request, and which of its samples."""


def request_digest(model: str, request: Request) -> bytes:
    """Name the place in a bank where the samples of a request are kept.

    ``max_tokens``, ``n``, ``first`` and whether signals were measured do not matter; of the prefix
    only its text does.
    """
    sampling = request.sampling
    exact = {
        "model": model,
        "messages": [[message.role, message.content] for message in request.messages],
        "prefix": request.prefix_text,
        "seed": int(request.seed),
        "temperature": float(sampling.temperature),
        "top_p": float(sampling.top_p),
        "top_k": int(sampling.top_k),
        "min_p": float(sampling.min_p),
        "stop": list(sampling.stop),
        "include_stop": bool(sampling.include_stop),
        "choices": list(sampling.choices),
    }
    return hashlib.blake2b(json.dumps(exact).encode(), digest_size=16).digest()


class Flights:
    """The samples that somebody draws now: whoever needs one of them as well waits for it.

    Several runs ask for the same samples at once where strategies, or sizes of one, are compared on
    one problem. Each sample is claimed by whoever comes first, and given free when it is stored, or
    when its drawing has failed and another may try.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._claimed: set[Place] = set()

    def claim(self, places: Collection[Place]) -> list[Place]:
        """Claim those of some samples that nobody draws yet, and return them."""
        with self._changed:
            free = [place for place in dict.fromkeys(places) if place not in self._claimed]
            self._claimed.update(free)
        return free

    def free(self, places: Collection[Place]) -> None:
        """Give claimed samples free."""
        with self._changed:
            self._claimed.difference_update(places)
            self._changed.notify_all()

    def wait(self, places: Collection[Place], seconds: float) -> None:
        """Wait until one of some claimed samples is free, or some seconds are over."""
        with self._changed:
            self._changed.wait_for(lambda: not self._claimed.issuperset(places), seconds)
