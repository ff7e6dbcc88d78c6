"""Inference-time scaling with real quantized models: sample, verify, and count the cost.

    import itslab as its

    llm = its.load("qwen2.5-coder-0.5b")
    result = its.solve("What is 17 * 23?", its.SelfConsistency(n=8), llm)
    result.answer, result.cost

Names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from itslab.backends import Bank, Llama, Remote, RewardModel, load
    from itslab.core import (
        Backend,
        Budget,
        Completion,
        Cost,
        ItslabError,
        Message,
        Node,
        Piece,
        Problem,
        Request,
        Result,
        Sampling,
        Shape,
        Tree,
        Verdict,
        Verifier,
    )
    from itslab.handle import solve, start
    from itslab.models import pull, quantize
    from itslab.run import Run, Strategy
    from itslab.strategies import (
        ABMCTS,
        DVTS,
        LINE,
        MCTS,
        PARAGRAPH,
        BeamSearch,
        BestOfN,
        ChainOfThought,
        CheckedRefine,
        Direct,
        ExtendedThinking,
        Knockout,
        MCTSr,
        ParticleFilter,
        Reflexion,
        RepairWithTests,
        SelfConsistency,
        SelfRefine,
        TreeOfThoughts,
    )
    from itslab.verifiers import (
        Arithmetic,
        Ballot,
        Calibrated,
        Checker,
        Confidence,
        Critic,
        Judge,
        Oracle,
        PairwiseJudge,
        Probe,
        Reward,
        Rollouts,
        StepReward,
        Tests,
    )
    from itslab.viz.tree import view

__all__ = [
    "ABMCTS",
    "DVTS",
    "LINE",
    "MCTS",
    "PARAGRAPH",
    "Arithmetic",
    "Backend",
    "Ballot",
    "Bank",
    "BeamSearch",
    "BestOfN",
    "Budget",
    "Calibrated",
    "ChainOfThought",
    "CheckedRefine",
    "Checker",
    "Completion",
    "Confidence",
    "Cost",
    "Critic",
    "Direct",
    "ExtendedThinking",
    "ItslabError",
    "Judge",
    "Knockout",
    "Llama",
    "MCTSr",
    "Message",
    "Node",
    "Oracle",
    "PairwiseJudge",
    "ParticleFilter",
    "Piece",
    "Probe",
    "Problem",
    "Reflexion",
    "Remote",
    "RepairWithTests",
    "Request",
    "Result",
    "Reward",
    "RewardModel",
    "Rollouts",
    "Run",
    "Sampling",
    "SelfConsistency",
    "SelfRefine",
    "Shape",
    "StepReward",
    "Strategy",
    "Tests",
    "Tree",
    "TreeOfThoughts",
    "Verdict",
    "Verifier",
    "load",
    "pull",
    "quantize",
    "solve",
    "start",
    "view",
]

_HOME = {
    "itslab.core": (
        "Backend Budget Completion Cost ItslabError Message Node Piece Problem Request Result "
        "Sampling Shape Tree Verdict Verifier"
    ),
    "itslab.models": "pull quantize",
    "itslab.backends": "Bank Llama Remote RewardModel load",
    "itslab.run": "Run Strategy",
    "itslab.handle": "solve start",
    "itslab.strategies": (
        "ABMCTS BeamSearch BestOfN ChainOfThought CheckedRefine DVTS Direct ExtendedThinking "
        "Knockout LINE MCTS MCTSr PARAGRAPH ParticleFilter Reflexion RepairWithTests "
        "SelfConsistency SelfRefine TreeOfThoughts"
    ),
    "itslab.verifiers": (
        "Arithmetic Ballot Calibrated Checker Confidence Critic Judge Oracle PairwiseJudge Probe "
        "Reward Rollouts StepReward Tests"
    ),
    "itslab.viz.tree": "view",
}
_MODULE = {name: module for module, names in _HOME.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'itslab' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
