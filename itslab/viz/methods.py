"""What can be chosen in the lab: strategies by family, who judges, and when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from itslab import sandbox, strategies, verifiers
from itslab.core import Backend, Interpreter, Verifier, require
from itslab.run import Strategy
from itslab.strategies import stopping
from itslab.study.plan import OwnVerifier
from itslab.viz.form import Offers

FAMILIES: Mapping[str, Sequence[str]] = {
    "chain": ("Direct", "ChainOfThought", "ExtendedThinking"),
    "samples": ("SelfConsistency", "BestOfN", "Knockout", "ProgramAided"),
    "adaptive": ("AdaptiveConsistency", "FirstVerified", "DeepConf", "Cascade", "Router"),
    "search": ("BeamSearch", "DVTS", "ParticleFilter", "TreeOfThoughts", "MCTS", "ABMCTS"),
    "refinement": ("CheckedRefine", "SelfRefine", "RepairWithTests", "Reflexion", "MCTSr"),
}
"""The strategies, by their families."""

CHECK = "the task's own check"
_JUDGES = ("Confidence", "Arithmetic", "Agreement", "Question", "Calibrated")
_ASKING = ("Judge", "PairwiseJudge", "Critic", "Ballot", "Rollouts")
"""Verifiers that need nothing but a form; and those that ask a model."""
_FIRST = {"Knockout": "PairwiseJudge", "CheckedRefine": "Arithmetic", "ABMCTS": "Judge"}
"""Who judges at first, where a task has no check and confidence would say nothing."""
_RULES = ("BetaStop", "DirichletStop", "WindowStop", "DecidedStop", "MarginalValue")
_START: Mapping[str, Strategy] = {
    "Cascade": strategies.Cascade(
        (
            strategies.Stage(strategies.SelfConsistency(4), None, verifiers.Agreement(), 0.75),
            strategies.Stage(strategies.SelfConsistency(16)),
        )
    ),
    "Router": strategies.Router(
        verifiers.Question(),
        (40.0,),
        (
            strategies.Route(strategies.ChainOfThought()),
            strategies.Route(strategies.SelfConsistency(8)),
        ),
    ),
}
"""What is set at first of strategies that are nothing by default."""


class Method(NamedTuple):
    """A strategy that can be chosen: its class, and what is set at first; None for the defaults.

    ``given`` is one that a caller has given with its options.
    """

    kind: Any
    start: Any
    given: bool = False


def methods_of(given: Any) -> tuple[dict[str, Method], str]:
    """The strategies that can be chosen: by name their class and what is set; and the first."""
    if isinstance(given, Mapping):
        require(bool(given), "strategy", given, "one strategy at least")
        return {name: Method(type(one), one, given=True) for name, one in given.items()}, next(
            iter(given)
        )
    methods = {
        name: Method(getattr(strategies, name), _START.get(name))
        for name in chain(*FAMILIES.values())
    }
    if isinstance(given, str):
        found = strategies.find(given)
        methods.setdefault(found.__name__, Method(found, None))
        return methods, found.__name__
    name = getattr(given, "__name__", type(given).__name__)
    return {**methods, name: Method(type(given), given, given=True)}, name


def listed(methods: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The strategies as they stand in the list, the package's own with their families."""
    family = {name: title for title, names in FAMILIES.items() for name in names}
    return [(f"{family[name]}: {name}" if name in family else name, name) for name in methods]


def offers(
    chosen: str, models: Mapping[str, Backend], more: Mapping[str, Verifier], own: bool
) -> Offers:
    """Return what can be chosen where an option is no plain value; what comes first is set.

    Args:
        chosen: the name of the strategy's class.
        models: that verifiers and stages may ask, by name.
        more: verifiers of somebody's own, by name.
        own: whether the task has a check of its own.
    """
    first = _FIRST.get(chosen, "Confidence")
    names = [first, *(name for name in (*_JUDGES, *_ASKING) if name != first)]
    if chosen == "Knockout":  # in which two meet
        names = [first]
    judges: dict[str, Any] = {name: getattr(verifiers, name) for name in names}
    if own and chosen != "Knockout":
        judges = {CHECK: OwnVerifier(), **judges}
    simple = {
        name: getattr(strategies, name) for name in chain(*FAMILIES.values()) if name not in _START
    }
    return {
        Verifier: {**more, **{name: one for name, one in judges.items() if name not in more}},
        Backend: models,
        Strategy: simple,
        Interpreter: {"sandbox": sandbox.execute},
        stopping.StoppingRule: {name: getattr(stopping, name) for name in _RULES},
    }
