"""A bank as a backend: it serves the samples that it holds, and buys the others from a model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from itslab.backends.places import Place, request_digest
from itslab.core import (
    Backend,
    Completion,
    MissingSample,
    OnSample,
    OnText,
    Request,
    Sampling,
)

if TYPE_CHECKING:
    from itslab.backends.bank import Bank

FIX = "Record it with Bank(path).record(model)"
Spot = tuple[int, int]  # positions in a call: request, sample
_LOOK = 0.1
"""Seconds after which one who waits for another's sample looks whether it was cancelled."""


@dataclass(frozen=True)
class Banked:
    """A bank as a backend; made by :meth:`Bank.record` and :meth:`Bank.replay`.

    A sample is stored the moment it is finished; cancelled ones never are. Completions come back as
    every later lookup returns them: log-probabilities in single precision, and with the cost they
    had when they were drawn.

    Args:
        bank: where samples are looked up and kept.
        name: of the model.
        digest: of its weights.
        batch_size: how many samples the model runs at once.
        model: where lacking samples are bought; None replays only.
        source: the bank's number for this build of the model.
        fix: how to come by a sample that is lacking, if there is no model.
        others: further banks whose samples are served.
    """

    bank: Bank
    name: str
    digest: str
    batch_size: int
    model: Backend | None = None
    source: int = 0
    fix: str = FIX
    others: tuple[Bank, ...] = ()

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: threading.Event | None = None,
    ) -> list[list[Completion]]:
        """Serve what the bank holds, each text in one piece, and buy all the rest in one call.

        Raises:
            MissingSample: there is no model to buy from; nothing has been handed over then.
        """
        served = [self._find(request) for request in requests]
        lacking = [(i, j) for i, row in enumerate(served) for j, one in enumerate(row) if not one]
        if lacking and self.model is None:
            i, j = lacking[0]
            raise MissingSample(self._lack(requests[i], requests[i].first + j))

        def hand_over(i: int, j: int, sample: Completion) -> None:
            served[i][j] = sample
            if on_sample:
                on_sample(i, j, sample)

        def found(i: int, j: int, sample: Completion) -> None:
            if on_text:
                on_text(i, j, sample.text)
            hand_over(i, j, sample)

        for i, row in enumerate(served):
            for j, sample in enumerate(row):
                if sample:
                    found(i, j, sample)
        places = {spot: self._place(requests, spot) for spot in lacking}
        while places:
            # What another draws is waited for, and not drawn again; so the bank is asked once more.
            mine = self._claimed(places)
            try:
                for i, j in list(mine):
                    one = replace(requests[i], first=requests[i].first + j, n=1)
                    [sample] = self._find(one)
                    if sample:
                        self.bank.flights.free([mine.pop((i, j))])
                        del places[i, j]
                        found(i, j, sample)
                self._buy(requests, mine, on_text, hand_over, cancel)
            finally:
                self.bank.flights.free(mine.values())
            places = {spot: place for spot, place in places.items() if not served[spot[0]][spot[1]]}
            if places and cancel is not None and cancel.is_set():
                for i, j in places:
                    hand_over(i, j, Completion("", finish="cancelled", index=requests[i].first + j))
                break
            if places:
                self.bank.flights.wait(places.values(), _LOOK)
        return [[sample for sample in row if sample is not None] for row in served]

    def _claimed(self, places: Mapping[Spot, Place]) -> dict[Spot, Place]:
        """Claim those of some samples that nobody draws; of twins in one call the first."""
        free = {*self.bank.flights.claim(places.values())}
        mine = {}
        for spot, place in places.items():
            if place in free:
                free.remove(place)
                mine[spot] = place
        return mine

    def _find(self, request: Request) -> list[Completion | None]:
        """Look up the samples of a request, here and in the other banks."""
        row = self.bank.find(self.digest, request)
        for other in self.others if None in row else ():
            found = other.find(self.digest, request)
            row = [ours or theirs for ours, theirs in zip(row, found, strict=True)]
        return row

    def _place(self, requests: Sequence[Request], spot: Spot) -> Place:
        request, number = requests[spot[0]], spot[1]
        return request_digest(self.digest, request), request.first + number

    def _buy(
        self,
        requests: Sequence[Request],
        places: dict[Spot, Place],
        on_text: OnText | None,
        hand_over: OnSample,
        cancel: threading.Event | None,
    ) -> None:
        """Draw some samples in one call. Whoever waits for one has it as soon as it is stored."""
        rows = [(i, [j for _, j in row]) for i, row in groupby(places, key=itemgetter(0))]
        gaps = [(i, gap) for i, row in rows for gap in _runs(row)]
        asked = [replace(requests[i], first=requests[i].first + g[0], n=len(g)) for i, g in gaps]

        def spot(order: int, position: int) -> Spot:
            i, gap = gaps[order]
            return i, gap[position]

        def keep(order: int, position: int, sample: Completion) -> None:
            i, j = spot(order, position)
            if sample.finish != "cancelled":
                sample = self.bank.keep(self.source, self.digest, requests[i], sample)
            self.bank.flights.free([places.pop((i, j))])
            hand_over(i, j, sample)

        if asked and self.model is not None:
            self.model.generate(
                asked,
                on_text and (lambda order, place, text: on_text(*spot(order, place), text)),
                keep,
                cancel,
            )

    def _lack(self, request: Request, index: int) -> str:
        stored = self.bank.stored(self.digest, request)
        if index in stored:
            without = ", or without signals" if request.sampling.signals else ""
            held = f"that one only up to {stored[index]} tokens{without}"
        elif stored:
            held = f"samples {_ranges(sorted(stored))} of this request"
        else:
            held = "none of this request"
        usual, asked = asdict(Sampling()), asdict(request.sampling)
        changed = {name: value for name, value in asked.items() if value != usual[name]}
        options = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        return (
            f"the bank {self.bank.path} lacks sample {index} of {self.name} with "
            f"seed={request.seed}{options and f', {options}'}. It holds {held}. {self.fix}"
        )


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Consecutive numbers together: 0, 1, 2, 5 gives [0, 1, 2], [5]."""
    runs = groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    return [[number for _, number in run] for _, run in runs]


def _ranges(numbers: Sequence[int]) -> str:
    return ", ".join(f"{r[0]}–{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in _runs(numbers))
