"""Ways to spend compute on a prompt, in four families: chains, samples, search, refinement."""

from itslab.strategies.abmcts import ABMCTS
from itslab.strategies.beams import DVTS, BeamSearch, TreeOfThoughts
from itslab.strategies.chains import ChainOfThought, Direct, ExtendedThinking
from itslab.strategies.mcts import MCTS
from itslab.strategies.mctsr import MCTSr
from itslab.strategies.particles import ParticleFilter
from itslab.strategies.refinement import CheckedRefine, Reflexion, RepairWithTests, SelfRefine
from itslab.strategies.samples import BestOfN, Knockout, SelfConsistency
from itslab.strategies.steps import LINE, PARAGRAPH

__all__ = [
    "ABMCTS",
    "DVTS",
    "LINE",
    "MCTS",
    "PARAGRAPH",
    "BeamSearch",
    "BestOfN",
    "ChainOfThought",
    "CheckedRefine",
    "Direct",
    "ExtendedThinking",
    "Knockout",
    "MCTSr",
    "ParticleFilter",
    "Reflexion",
    "RepairWithTests",
    "SelfConsistency",
    "SelfRefine",
    "TreeOfThoughts",
]
