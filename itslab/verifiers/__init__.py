"""Verifiers: who scores a node, and by what."""

from itslab.verifiers.confidence import Confidence
from itslab.verifiers.oracle import Oracle

__all__ = ["Confidence", "Oracle"]
