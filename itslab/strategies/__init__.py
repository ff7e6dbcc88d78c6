"""Ways to spend compute, by the names the field gives them."""

from itslab.strategies.chains import ChainOfThought, Direct, ExtendedThinking
from itslab.strategies.samples import BestOfN, Knockout, SelfConsistency

__all__ = [
    "BestOfN",
    "ChainOfThought",
    "Direct",
    "ExtendedThinking",
    "Knockout",
    "SelfConsistency",
]
