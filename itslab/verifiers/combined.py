"""One estimate from several signals: P(right), by logistic regression over verifiers' scores."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from itslab.core import Account, Cost, Node, Prompt, Verdict, Verifier, as_messages, require
from itslab.options import Options, check
from itslab.verifiers.probe import Probe

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Question(Options):
    """Score a question by what can be counted in it, whatever was answered: more is harder.

    The question is what the strategy was asked, without what it said to it.

    Args:
        measure: ``words`` or ``numbers``, of which the score is minus the logarithm of the count
            and one; ``characters`` alike.
    """

    measure: Literal["words", "numbers", "characters"] = "words"

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Count in the last message, at no cost; all nodes get the same score."""
        text = as_messages(prompt if run.prompt is None else run.prompt)[-1].content
        return [Verdict(-math.log1p(self.count(text)))] * len(nodes)

    def count(self, text: str) -> int:
        """How many there are in a text."""
        if self.measure == "characters":
            return len(text)
        return len(text.split() if self.measure == "words" else _NUMBER.findall(text))


@dataclass(frozen=True)
class Combined(Options):
    """Score a node by the probability that it is right, given what several verifiers say.

    Args:
        verifiers: who is asked.
        slopes: of the score of each in the logit.
        intercept: of the logit.
        unknown: what stands for a score that is nan, of each.

    Raises:
        OptionError: there is no verifier, or not one weight and one substitute for each.
    """

    verifiers: tuple[Verifier, ...]
    slopes: tuple[float, ...]
    intercept: float = 0.0
    unknown: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check(self)
        if not self.unknown:
            object.__setattr__(self, "unknown", (0.0,) * len(self.slopes))
        count = len(self.verifiers)
        require(count > 0, "verifiers", self.verifiers, "at least one")
        for name in ("slopes", "unknown"):
            numbers = getattr(self, name)
            fits = len(numbers) == count and all(map(math.isfinite, numbers))
            require(fits, name, numbers, f"{count} finite numbers, one for each verifier")

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Ask every verifier, and weigh what they say."""
        said = [run.verdicts(verifier, prompt, nodes) for verifier in self.verifiers]
        return [self._weighed(verdicts) for verdicts in zip(*said, strict=True)]

    def _weighed(self, verdicts: Sequence[Verdict]) -> Verdict:
        scores = [
            unknown if math.isnan(verdict.score) else verdict.score
            for verdict, unknown in zip(verdicts, self.unknown, strict=True)
        ]
        logit = self.intercept + math.fsum(w * s for w, s in zip(self.slopes, scores, strict=True))
        cost = sum((verdict.cost for verdict in verdicts), Cost())
        return Verdict(1 / (1 + math.exp(-min(max(logit, -500.0), 500.0))), cost)

    @classmethod
    def fit(
        cls,
        verifiers: Sequence[Verifier],
        scores: ArrayLike,
        correct: ArrayLike,
        clusters: Sequence[Hashable] | None = None,
    ) -> Combined:
        """Fit the slopes to problems whose gold answers are known, such as a recorded bank.

        Args:
            verifiers: v of them, who gave the scores.
            scores: (p, v) of an answer to each of p problems, or of its question; nan where there
                is none.
            correct: (p, m) whether m samples of each problem are right: what is estimated is how
                likely one is. They should be others than those that were scored.
            clusters: as of ``Probe.fit``.

        Raises:
            OptionError: shapes do not fit, or as of ``Probe.fit``.
        """
        try:
            given, right = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
        except (TypeError, ValueError):  # no numbers, or rows of unequal length
            given = right = np.empty(0)
        require(right.ndim == 2, "correct", correct, "of shape (p, m): problems × samples")
        fits = given.shape == (len(right), len(verifiers)) and right.ndim == 2
        valid = f"of shape ({len(right)}, {len(verifiers)}): problems × verifiers"
        require(fits, "scores", given.shape, valid)
        require(not np.isinf(given).any(), "scores", "infinite", "finite, or nan where unknown")
        told = ~np.isnan(given).all(axis=0)
        require(bool(told.all()), "scores", "all nan of a verifier", "some of each verifier")
        unknown = np.nanmean(given, axis=0)
        known = np.where(np.isnan(given), unknown, given)
        probe = Probe.fit(np.repeat(known[:, None], right.shape[1], axis=1), right, clusters)
        # Further digits are the solver's tolerance, and would be others on another machine.
        numbers = [float(f"{w:.3g}") for w in (*probe.weights, probe.bias, *unknown)]
        v = len(verifiers)
        return cls(tuple(verifiers), tuple(numbers[:v]), numbers[v], tuple(numbers[v + 1 :]))
