"""Figures, and panels that watch a run."""

from itslab.viz.panels import VotePanel
from itslab.viz.plots import accuracy_against_tokens, votes
from itslab.viz.transcript import Transcript

__all__ = ["Transcript", "VotePanel", "accuracy_against_tokens", "votes"]
