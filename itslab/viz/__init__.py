"""Figures of studies, panels that run and watch, samples to be read, and the tree of a run."""

from itslab.viz import capacity
from itslab.viz.controls import Controls, slider
from itslab.viz.curves import accuracy_against, atlas, by_problem, fitted, front, gains
from itslab.viz.exchange import Exchange
from itslab.viz.explorer import Explorer
from itslab.viz.figures import (
    forest,
    losses,
    refinement,
    reliability,
    votes,
)
from itslab.viz.lab import Lab, lab
from itslab.viz.panels import ThinkingPanel, VotePanel
from itslab.viz.readers import RefinementPanel, SampleBrowser, Transcript
from itslab.viz.routes import RoutePanel
from itslab.viz.simulator import Simulator
from itslab.viz.theme import dark
from itslab.viz.tiers import TierPanel, TierReplay
from itslab.viz.tiers import recorded as course
from itslab.viz.tree import TreeView

__all__ = [
    "Controls",
    "Exchange",
    "Explorer",
    "Lab",
    "RefinementPanel",
    "RoutePanel",
    "SampleBrowser",
    "Simulator",
    "ThinkingPanel",
    "TierPanel",
    "TierReplay",
    "Transcript",
    "TreeView",
    "VotePanel",
    "accuracy_against",
    "atlas",
    "by_problem",
    "capacity",
    "course",
    "dark",
    "fitted",
    "forest",
    "front",
    "gains",
    "lab",
    "losses",
    "refinement",
    "reliability",
    "slider",
    "votes",
]
