"""Ways to spend compute on a prompt, in four families: chains, samples, search, refinement.

**Chains.** ``Direct``, ``ChainOfThought``, ``ExtendedThinking``: one, as long as it is let.

**Samples.** ``SelfConsistency`` lets them vote (with a verifier's scores as weights, if it has
one), ``BestOfN`` takes the best by a verifier, ``Knockout`` lets them meet in pairs. These spend
more where it pays:

- ``ProgramAided(itslab.sandbox.execute)``: on a program that a computer runs; its output answers
- ``AdaptiveConsistency(rule)``: until the answers agree enough; ``stopping`` has the rules
- ``FirstVerified(verifier)``: until an answer is accepted
- ``DeepConf``: on chains of which the model stays confident; others are cut while they are drawn
- ``Cascade((Stage(…), Stage(…, larger)))``: on the next stage, where an answer is not accepted
- ``Router(estimate, edges, routes, look)``: as the difficulty says that an estimate finds, after a
  cheap look or before any

``study.allocation.allocate`` shares one budget between many problems in the same way. On recorded
samples, ``study.difficulty`` tells how far difficulty can be estimated, ``study.policy`` fits who
does what to it, and ``study.cascades`` computes what any sequence of stages would solve and cost.

**Search** draws by steps and looks at them on the way. Its verifier is any that can say something
of an unfinished chain, or ``Rollouts``, which draws it to its end a few times, or ``Ballot``, by
which a model votes on several. It goes on from:

- ``BeamSearch``, ``DVTS``: the best steps of all, or the best of each subtree
- ``ParticleFilter``: steps drawn in proportion to their weights
- ``TreeOfThoughts``: what the model itself thinks most promising, breadth or depth first
- ``MCTS``: wherever one more step is worth most, by UCT or with priors; steps, or whole chains
- ``ABMCTS``: a new answer beside the others, or a revision of one, as Thompson sampling decides

The text of a tree is evaluated once, however it branches: ``itslab bench-search`` measures what
that saves. A run is watched, taken in steps and forked like this::

    search = its.MCTS(its.Confidence(), iterations=4)
    handle = its.start("What is 17 * 23?", search, llm, budget=its.Budget(tokens=250))
    its.view(handle)  # in a notebook: the tree as it grows
    handle.result()

**Refinement** tells the model what is wrong with its answer and lets it answer again. It returns
the best version rather than the last, and stops where nothing is found, where an answer comes back
unchanged or goes round in a circle. What is said of an answer:

- ``RepairWithTests(task.verifier)``: the visible test that fails, or the traceback; in branches
- ``CheckedRefine(verifier)``: the note of any verifier: the first equation that does not hold
  (``Arithmetic``), another model's critique (``Critic``)
- ``SelfRefine(verifier)``: the model's own critique
- ``MCTSr(verifier)``: the same, of whichever version promises most: revisions as a tree
- ``Reflexion(verifier)``: nothing; it begins anew, with the lessons of its failures in mind

For example::

    refined = its.solve("What is 17 * 23?", its.CheckedRefine(its.Arithmetic()), llm)
    refined.answer

A function of a run and a prompt is a strategy as well (README); ``itslab.testing`` has models that
follow a script, to pin one by an example worked on paper. Strategies of other packages are entry
points in the group ``itslab.strategies``; see ``itslab.plugins``. ``find`` knows both by name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from contextlib import suppress
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
        known = [key for key, part in own.items() if _runs(part)] + [*plugins.names(GROUP)]
        close = _meant(name) or difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        likely = " or ".join(close or sorted(known))
        raise OptionError(f"unknown strategy {name!r:.100}: did you mean {likely}?")
    if not callable(made):
        raise OptionError(f"the strategy {name!r} is {type(made).__name__}, not a class")
    return cast(Callable[..., Strategy], made)


_CALLED = {
    "vote": "self-consistency",
    "voting": "self-consistency",
    "majority": "self-consistency",
    "maj": "self-consistency",
    "chain": "ChainOfThought",
    "cot": "ChainOfThought",
    "at once": "Direct",
    "program": "ProgramAided",
    "until": "AdaptiveConsistency",
}
"""What is found in the names that people, and our own tables, give to strategies."""


def _meant(name: str) -> list[str]:
    """The strategies that a name speaks of, with its size."""
    size = re.search(r"(?<!\d)[1-9]\d{0,5}$", name, re.ASCII)
    words = name.casefold()
    said = [made for word, made in _CALLED.items() if re.search(rf"\b{word}s?(?![a-z])", words)]
    found = [*dict.fromkeys(said)][:3]
    return [f"{made}-{size[0]}" if size and made.islower() else made for made in found]


_SIZED = re.compile(r"(.+)-(\d{1,6})")


def sized(name: str) -> tuple[str, dict[str, int]]:
    """Return a strategy's name and its size, where the name ends in one.

    ``best-of-8`` is ``best-of-n`` with n = 8, ``self-consistency-16`` is ``self-consistency``.

    Raises:
        OptionError: there is no such strategy; see ``find``.
    """
    parts = _SIZED.fullmatch(name)
    for stem in (f"{parts[1]}-n", parts[1]) if parts else ():
        with suppress(OptionError):
            find(stem)
            return stem, {"n": int(parts[2])}  # type: ignore[index]
    find(name)
    return name, {}


def _runs(part: type) -> bool:
    """Whether it is a strategy, and not what one is made of, such as a ``Stage``."""
    return any("__call__" in vars(base) for base in part.__mro__)


def _joined(name: str) -> str:
    """A name without what stands between its words."""
    return name.replace("-", "").replace("_", "").casefold()
