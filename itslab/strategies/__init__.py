"""Ways to spend compute, by the names the field gives them."""

from itslab.strategies.chains import ChainOfThought, Direct
from itslab.strategies.samples import BestOfN, SelfConsistency

__all__ = ["BestOfN", "ChainOfThought", "Direct", "SelfConsistency"]
