"""What a run has spent, model by model, and what its budget still affords."""

from __future__ import annotations

from collections.abc import Mapping

from itslab.core import Budget, Cost


class Ledger:
    """The account of one run.

    Args:
        budget: the most that may be spent.

    Attributes:
        total: all that was spent so far.
        reserve: tokens kept back to finish a chain; they take a quarter of any limit at most.
    """

    def __init__(self, budget: Budget = Budget()) -> None:
        self.budget = budget
        self.total = Cost()
        self.reserve = 0
        self._by_model: dict[str, Cost] = {}
        self._labels: dict[tuple[str, str], str] = {}

    @property
    def by_model(self) -> Mapping[str, Cost]:
        """What was spent on each model, by its name, in the order of the first purchase."""
        return dict(self._by_model)

    def charge(self, model: object, cost: Cost) -> None:
        """Enter a purchase.

        Args:
            model: a backend, a reward model, a verifier that computes for itself, or a name. Two
                models of one name are told apart by their digests.
            cost: what was paid.
        """
        label = self._label(model)
        self.total += cost
        self._by_model[label] = self._by_model.get(label, Cost()) + cost

    def exhausted(self, spare: int = 0) -> str | None:
        """Return the limit that forbids a further purchase, or None.

        Args:
            spare: calls of one token each that must be left over.
        """
        return self.budget.exhausted(self._bound + Cost(decoded=spare, calls=spare))

    def affordable(
        self, count: int, max_tokens: int, batch: int, spare: int = 0, bought: int = 0
    ) -> tuple[int, int]:
        """Return how many of ``count`` samples can be bought now, and how long each may become.

        Args:
            count: samples that are wanted, at least one.
            max_tokens: the most tokens that each is wanted with.
            batch: samples that the model draws at once. Where only a purchase tells its price, no
                more are bought at a time.
            spare: calls of one token to leave over for each of them, and each one bought before.
            bought: samples bought before.
        """
        limits, bound = self.budget, self._bound
        if limits.samples is not None:
            calls = limits.samples - bound.calls - spare * bought
            count = min(count, max(calls // (1 + spare), 1))
        if limits.seconds is not None or limits.flops is not None:
            count = min(count, batch)
        if limits.tokens is not None:
            left = limits.tokens - bound.decoded - spare * bought
            count = min(count, max(left // (max_tokens + spare), 1))
            max_tokens = min(max_tokens, left - spare)
        return count, max_tokens

    @property
    def _bound(self) -> Cost:
        """What is spent, and what is kept back."""
        if not self.reserve:
            return self.total
        limits, spent = self.budget, self.total

        def kept(price: float, limit: float | None) -> float:
            return 0 if limit is None else min(self.reserve * price, limit / 4)

        decoded = max(spent.decoded, 1)
        return spent + Cost(
            decoded=int(kept(1, limits.tokens)),
            calls=max((limits.samples or 0) // 4, 1),
            seconds=kept(spent.seconds / decoded, limits.seconds),
            flops=kept(spent.flops / decoded, limits.flops),
        )

    def _label(self, model: object) -> str:
        if isinstance(model, str):
            return model
        own = getattr(model, "__name__", type(model).__name__)
        name = str(getattr(model, "name", None) or own)
        digest = str(getattr(model, "digest", ""))
        if (name, digest) not in self._labels:
            taken = name in self._labels.values()
            self._labels[name, digest] = f"{name} ({digest})" if taken else name
        return self._labels[name, digest]
