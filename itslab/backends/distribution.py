"""What one row of logits says: how likely a token is, and how sure the model was."""

from __future__ import annotations

import math

import numpy as np

from itslab.backends.native import Floats
from itslab.core import BackendError

TOP = 20
"""Tokens whose mean makes the token confidence of DeepConf; see ``itslab.core.Signals``."""
_NEAR = (7.0, 10.0, 14.0)  # nats below the likeliest token, within which the TOP are mostly found


class Distribution:
    """The model's own distribution over its vocabulary at one position.

    One object serves all rows of all steps, one after the other: passes over the vocabulary are
    most of Python's share of a step, and its buffer stays in the processor's cache.

    Args:
        n_vocab: entries in the vocabulary.
    """

    def __init__(self, n_vocab: int) -> None:
        self._scratch = np.empty(n_vocab, np.float32)

    def read(self, logits: Floats) -> None:
        """Turn to another row, (n_vocab,), which must not change while it is asked about.

        Raises:
            BackendError: it holds nan, or its largest is infinite.
        """
        with np.errstate(over="ignore"):
            self._weights = np.exp(logits, out=self._scratch)
        self._total = float(self._weights.sum())
        if not 0 < self._total < math.inf:  # too large or too small for exp
            if not math.isfinite(highest := float(logits.max())):
                raise BackendError(
                    "the model gave logits that are no numbers: is its file damaged?"
                )
            return self.read(logits - highest)
        self._logits, self._normaliser = logits, math.log(self._total)
        return None

    def logprob(self, token: int) -> float:
        """Log-probability of a token, nats."""
        return float(self._logits[token]) - self._normaliser

    def signals(self) -> tuple[float, float, float]:
        """Entropy, self-certainty and confidence; see ``itslab.core.Signals``."""
        logits = self._logits
        entropy = self._normaliser - float(self._weights @ logits) / self._total
        certainty = self._normaliser - float(logits.mean()) - math.log(len(logits))
        highest = logits.max()
        near = (logits[logits > highest - nats] for nats in _NEAR)  # a few are sorted sooner
        likely = next((some for some in near if len(some) >= TOP), logits)
        top = np.partition(likely, max(len(likely) - TOP, 0))[-TOP:]
        return entropy, certainty, self._normaliser - float(top.mean())
