"""Figures, panels that watch a run, and samples to be read."""

from itslab.viz.accuracy import accuracy_against_tokens, forest
from itslab.viz.breakdown import losses
from itslab.viz.browser import SampleBrowser
from itslab.viz.calibration import reliability
from itslab.viz.panels import slider
from itslab.viz.refinement import refinement
from itslab.viz.revisions import RefinementPanel
from itslab.viz.thinking import ThinkingPanel
from itslab.viz.transcript import Transcript
from itslab.viz.tree_view import TreePanel, TreeView
from itslab.viz.vote_panel import VotePanel
from itslab.viz.voting import votes

__all__ = [
    "RefinementPanel",
    "SampleBrowser",
    "ThinkingPanel",
    "Transcript",
    "TreePanel",
    "TreeView",
    "VotePanel",
    "accuracy_against_tokens",
    "forest",
    "losses",
    "refinement",
    "reliability",
    "slider",
    "votes",
]
