"""What benchmarks share: fresh prompts, ratios within rounds, and whom they tell."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count

PROMPT = (
    "Traveller number {who} is on the way. Write a very long and detailed story of the journey, in "
    "at least twenty chapters, each of many paragraphs. Tell of every place and person at length, "
    "with all that they say, and do not summarise."
)
Say = Callable[[str], None]  # gets a line on each measurement


def quiet(line: str) -> None:
    """Tell nobody."""


def new_texts(prompt: str = PROMPT) -> Iterator[str]:
    """Yield prompts that no model has seen, each with a number of its own."""
    return (prompt.format(who=who) for who in count(1))


def ratios(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """How many times some are the others, round by round."""
    return [a / b if b else math.nan for a, b in zip(some, others, strict=True)]
