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
        Tree,
        Verdict,
        Verifier,
    )
    from itslab.models import pull, quantize
    from itslab.run import Run, Strategy, solve, start
    from itslab.strategies import (
        BestOfN,
        ChainOfThought,
        Direct,
        ExtendedThinking,
        Knockout,
        SelfConsistency,
    )
    from itslab.verifiers import (
        Calibrated,
        Checker,
        Confidence,
        Judge,
        Oracle,
        PairwiseJudge,
        Probe,
        Reward,
        StepReward,
        Tests,
    )

__all__ = [
    "Backend",
    "Bank",
    "BestOfN",
    "Budget",
    "Calibrated",
    "ChainOfThought",
    "Checker",
    "Completion",
    "Confidence",
    "Cost",
    "Direct",
    "ExtendedThinking",
    "ItslabError",
    "Judge",
    "Knockout",
    "Llama",
    "Message",
    "Node",
    "Oracle",
    "PairwiseJudge",
    "Piece",
    "Probe",
    "Problem",
    "Remote",
    "Request",
    "Result",
    "Reward",
    "RewardModel",
    "Run",
    "Sampling",
    "SelfConsistency",
    "StepReward",
    "Strategy",
    "Tests",
    "Tree",
    "Verdict",
    "Verifier",
    "load",
    "pull",
    "quantize",
    "solve",
    "start",
]

_HOME = {
    "itslab.core": (
        "Backend Budget Completion Cost ItslabError Message Node Piece Problem Request Result "
        "Sampling Tree Verdict Verifier"
    ),
    "itslab.models": "pull quantize",
    "itslab.backends": "Bank Llama Remote RewardModel load",
    "itslab.run": "Run Strategy solve start",
    "itslab.strategies": (
        "BestOfN ChainOfThought Direct ExtendedThinking Knockout SelfConsistency"
    ),
    "itslab.verifiers": (
        "Calibrated Checker Confidence Judge Oracle PairwiseJudge Probe Reward StepReward Tests"
    ),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'itslab' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
