"""Ways to spend compute on a prompt, in four families: chains, samples, search, refinement.

Strategies of other packages are entry points in the group ``itslab.strategies``; see
``itslab.plugins``. ``find`` knows both by name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import cast

from itslab import plugins
from itslab.options import OptionError, Text, checked
from itslab.run import Strategy
from itslab.strategies.abmcts import ABMCTS
from itslab.strategies.beams import DVTS, BeamSearch, TreeOfThoughts
from itslab.strategies.cascade import Cascade, Stage
from itslab.strategies.chains import ChainOfThought, Direct, ExtendedThinking
from itslab.strategies.deepconf import DeepConf
from itslab.strategies.mcts import MCTS
from itslab.strategies.mctsr import MCTSr
from itslab.strategies.particles import ParticleFilter
from itslab.strategies.programs import ProgramAided
from itslab.strategies.refinement import CheckedRefine, Reflexion, RepairWithTests, SelfRefine
from itslab.strategies.router import Route, Router
from itslab.strategies.samples import BestOfN, Knockout, SelfConsistency
from itslab.strategies.steps import LINE, PARAGRAPH
from itslab.strategies.stopping import AdaptiveConsistency, FirstVerified

__all__ = [
    "ABMCTS",
    "DVTS",
    "LINE",
    "MCTS",
    "PARAGRAPH",
    "AdaptiveConsistency",
    "BeamSearch",
    "BestOfN",
    "Cascade",
    "ChainOfThought",
    "CheckedRefine",
    "DeepConf",
    "Direct",
    "ExtendedThinking",
    "FirstVerified",
    "Knockout",
    "MCTSr",
    "ParticleFilter",
    "ProgramAided",
    "Reflexion",
    "RepairWithTests",
    "Route",
    "Router",
    "SelfConsistency",
    "SelfRefine",
    "Stage",
    "TreeOfThoughts",
    "find",
]

GROUP: plugins.Group = "itslab.strategies"
"""Entry points of other packages: strategies' classes, or functions of options that return one."""


@checked
def find(name: Text) -> Callable[..., Strategy]:
    """Return a strategy's class by its name, to be called with its options.

    Args:
        name: of the package's own, such as ``BeamSearch``, or ``beam-search`` as one writes it in a
            shell; or one that another package registers.

    Raises:
        OptionError: there is no such strategy, or what is registered cannot be called.
        ItslabError: the other package cannot be imported.
    """
    own = {key: globals()[key] for key in __all__ if isinstance(globals()[key], type)}
    written = {key.casefold(): made for key, made in own.items()}
    made = own.get(name) or plugins.find(GROUP, name) or written.get(_joined(name))
    if made is None:
        known = [*own, *plugins.names(GROUP)]
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)
        raise OptionError(f"unknown strategy {name!r}: did you mean {' or '.join(close)}?")
    if not callable(made):
        raise OptionError(f"the strategy {name!r} is {type(made).__name__}, not a class")
    return cast(Callable[..., Strategy], made)


def _joined(name: str) -> str:
    """A name without what stands between its words."""
    return name.replace("-", "").replace("_", "").casefold()
