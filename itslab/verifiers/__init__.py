"""Verifiers: who scores a node, and by what."""

from itslab.verifiers.arithmetic import Arithmetic
from itslab.verifiers.ballot import Ballot
from itslab.verifiers.by_problem import ByProblem
from itslab.verifiers.calibration import Calibrated
from itslab.verifiers.checker import Checker
from itslab.verifiers.code import Tests
from itslab.verifiers.confidence import Confidence
from itslab.verifiers.critic import Critic
from itslab.verifiers.judge import Judge, PairwiseJudge
from itslab.verifiers.oracle import Oracle
from itslab.verifiers.probe import Probe
from itslab.verifiers.reward import Reward, StepReward
from itslab.verifiers.rollouts import Rollouts

__all__ = [
    "Arithmetic",
    "Ballot",
    "ByProblem",
    "Calibrated",
    "Checker",
    "Confidence",
    "Critic",
    "Judge",
    "Oracle",
    "PairwiseJudge",
    "Probe",
    "Reward",
    "Rollouts",
    "StepReward",
    "Tests",
]
