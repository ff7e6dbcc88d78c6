"""Ways to spend compute on a prompt, in three families: chains, samples, and search."""

from itslab.strategies.abmcts import ABMCTS
from itslab.strategies.beams import DVTS, BeamSearch
from itslab.strategies.chains import ChainOfThought, Direct, ExtendedThinking
from itslab.strategies.mcts import MCTS
from itslab.strategies.particles import ParticleFilter
from itslab.strategies.samples import BestOfN, Knockout, SelfConsistency
from itslab.strategies.steps import LINE, PARAGRAPH
from itslab.strategies.thoughts import TreeOfThoughts

__all__ = [
    "ABMCTS",
    "DVTS",
    "LINE",
    "MCTS",
    "PARAGRAPH",
    "BeamSearch",
    "BestOfN",
    "ChainOfThought",
    "Direct",
    "ExtendedThinking",
    "Knockout",
    "ParticleFilter",
    "SelfConsistency",
    "TreeOfThoughts",
]
