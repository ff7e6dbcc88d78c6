"""What compute costs in money and energy: prices per token, per hour of a device, and its watts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from itslab.core import Cost, ItslabError
from itslab.options import NotNegative, Options, Text, checked

if TYPE_CHECKING:
    import pandas as pd

MILLION = 1_000_000
HOUR = 3600


@dataclass(frozen=True)
class Price(Options):
    """What a model costs: by tokens, as a provider bills it, or by the time of one's own device.

    Args:
        input: of a million prompt tokens that are evaluated, in US dollars.
        cached: of a million that were evaluated before.
        output: of a million that are decoded.
        hourly: of an hour of the device, in US dollars, such as its rent.
        watts: that the device takes while it computes, above what it takes anyway.
        energy: of a kilowatt-hour, in US dollars.
    """

    input: NotNegative = 0.0
    cached: NotNegative = 0.0
    output: NotNegative = 0.0
    hourly: NotNegative = 0.0
    watts: NotNegative = 0.0
    energy: NotNegative = 0.0

    def dollars(self, cost: Cost) -> float:
        """Return what was paid for a cost, in US dollars."""
        return self.of(cost.prefilled, cost.reused, cost.decoded, cost.seconds)

    def of(self, prefilled: float, reused: float, decoded: float, seconds: float) -> float:
        """Return what so many tokens, and seconds of compute, cost in US dollars."""
        tokens = self.input * prefilled + self.cached * reused + self.output * decoded
        energy = self.watts * seconds / HOUR / 1000 * self.energy
        return tokens / MILLION + self.hourly * seconds / HOUR + energy

    def kilowatt_hours(self, cost: Cost) -> float:
        """Return the energy that a cost took: watts × seconds of compute."""
        return self.watts * cost.seconds / HOUR / 1000

    def priced(self, runs: pd.DataFrame, others: Mapping[str, Price] = {}) -> pd.DataFrame:
        """Return runs of a study with columns ``dollars`` and ``kWh``; see ``Outcome.runs``.

        Each is billed for its prompt, even if another run had evaluated it.

        Args:
            runs: of a model that has this price.
            others: name -> price, where runs asked several models. Where one is not known, what a
                run cost is nan.
        """
        rows = [self._bill(run, others) for run in runs.itertuples()]
        return runs.assign(
            dollars=[_sum(Price.dollars, bill) for bill in rows],
            kWh=[_sum(Price.kilowatt_hours, bill) for bill in rows],
        )

    def _bill(self, run: Any, others: Mapping[str, Price]) -> list[tuple[Price | None, Cost]]:
        """What a run cost, each part with the price of its model."""
        alone = Cost(prefilled=run.found, reused=-run.found)
        if not run.costs:
            cost = Cost(run.prefilled, run.reused, run.decoded, run.calls, run.seconds)
            return [(self, cost + alone)]
        asked = [(others.get(model), Cost(*paid)) for model, paid in json.loads(run.costs).items()]
        # What other runs had evaluated: of several models, it is taken to be the run's own.
        owner = asked[0][0] if len(asked) == 1 else self
        return [(owner, alone), *asked]


def _sum(of: Callable[[Price, Cost], float], bill: Iterable[tuple[Price | None, Cost]]) -> float:
    """What a bill comes to, or nan where a price is not known."""
    return sum(math.nan if price is None else of(price, cost) for price, cost in bill)


@checked
def listed(model: Text, provider: str | None = None) -> Price:
    """Return what a provider asks for a model today, by the list of the package genai-prices.

    Where long prompts are dearer, these are the prices of short ones.

    Args:
        model: as the provider names it, such as ``gpt-4o-mini``.
        provider: such as ``openai``; None takes the first that has the model.

    Raises:
        ItslabError: the package is not installed, or does not know the model.
    """
    try:
        from genai_prices import Usage, calc_price
    except ImportError as error:
        raise ItslabError(
            "prices of providers take the package genai-prices: pip install genai-prices, or write "
            "them down as Price(input=…, cached=…, output=…)"
        ) from error

    few = 1000  # a million in one call would be billed at the dearer tier of long prompts

    def of(**tokens: int) -> float:
        paid = calc_price(Usage(**tokens), model, provider_id=provider).total_price
        return float(paid * MILLION / few)

    try:
        fresh = of(input_tokens=few)
        cached = of(input_tokens=few, cache_read_tokens=few)
        return Price(input=fresh, cached=cached, output=of(output_tokens=few))
    except LookupError as error:
        raise ItslabError(f"genai-prices does not know {model!r}: {error}") from error
