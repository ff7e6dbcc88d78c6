"""A model whose samples follow a rule, so that a strategy can be followed on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event

from itslab.core import Completion, OnSample, OnText, Request


@dataclass(kw_only=True)
class FakeModel:
    """A backend for which a subclass says what the samples are.

    Args:
        name, digest, width: as of every backend.
        asked: the requests so far.
    """

    name: str = "fake"
    digest: str = "fake"
    width: int = 8
    asked: list[Request] = field(default_factory=list)

    def draw(self, request: Request, index: int) -> Completion:
        raise NotImplementedError

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: Event | None = None,
    ) -> list[list[Completion]]:
        self.asked += requests
        rows = [[self.draw(r, r.first + j) for j in range(r.n)] for r in requests]
        for i, row in enumerate(rows):
            for j, completion in enumerate(row):
                if on_sample:
                    on_sample(i, j, completion)
        return rows
