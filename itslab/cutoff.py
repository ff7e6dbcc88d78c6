"""Where a sample is given up in the middle: a rule on the confidence of its last tokens."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from itslab.options import Count, NotNegative, Options, check

MOST = 65_504.0
"""The highest confidence (nats), as the greatest number of 16 bits."""


@dataclass(frozen=True, slots=True)
class Cutoff(Options):
    """Where a sample is given up while it is drawn: when the model is no longer confident.

    The confidence of a group of tokens is the mean of theirs (``Signals.confidences``); a sample is
    cut after the first group of consecutive tokens whose confidence is lower than a level. Fu et
    al. 2025, DeepConf (arXiv:2508.15260), who call it the lowest group confidence.

    Args:
        confidence: the level (nats).
        window: tokens of a group.
    """

    confidence: NotNegative
    window: Count = 64

    def __post_init__(self) -> None:
        check(self)

    def group(self, confidences: Sequence[float]) -> float:
        """Return the confidence of the last group; inf before the first is complete.

        Banks keep confidences at 16 bits: so they are read here, that a replay cuts where the model
        was cut. A server's that is none, such as nan, counts as the highest.
        """
        if len(confidences) < self.window:
            return math.inf
        known = (max(c, 0.0) if c < MOST else MOST for c in confidences[-self.window :])
        last = struct.pack(f"<{self.window}e", *known)
        return math.fsum(struct.unpack(f"<{self.window}e", last)) / self.window

    def lowest(self, confidences: Sequence[float]) -> float:
        """Return the lowest confidence of any group; inf where there is none."""
        return min(self._groups(confidences), default=math.inf)

    def place(self, confidences: Sequence[float]) -> int | None:
        """Return how many tokens there are when the sample is cut; None if it is not."""
        groups = enumerate(self._groups(confidences), start=self.window)
        return next((k for k, group in groups if group < self.confidence), None)

    def _groups(self, confidences: Sequence[float]) -> Iterator[float]:
        for end in range(self.window, len(confidences) + 1):
            yield self.group(confidences[end - self.window : end])
