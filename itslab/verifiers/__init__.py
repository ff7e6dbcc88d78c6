"""Verifiers: who scores a node, and by what."""

from itslab.verifiers.arithmetic import Arithmetic
from itslab.verifiers.checks import Agreement, ByProblem, Checker, Oracle, Tests
from itslab.verifiers.combined import Combined, Question
from itslab.verifiers.confidence import Calibrated, Confidence
from itslab.verifiers.judges import Ballot, Critic, Judge, PairwiseJudge
from itslab.verifiers.probe import Probe
from itslab.verifiers.reward import Reward, Rollouts, StepReward

__all__ = [
    "Agreement",
    "Arithmetic",
    "Ballot",
    "ByProblem",
    "Calibrated",
    "Checker",
    "Combined",
    "Confidence",
    "Critic",
    "Judge",
    "Oracle",
    "PairwiseJudge",
    "Probe",
    "Question",
    "Reward",
    "Rollouts",
    "StepReward",
    "Tests",
]
