"""Verifiers: who scores a node, by what, and for how much.

- ``Confidence``: log-probabilities, entropy, self-certainty, DeepConf: what sampling measured. Free
- ``Probe``: the model's hidden state, by a linear probe trained on a bank in seconds. Free
- ``Judge``, ``PairwiseJudge``: P(Yes) of any model about an answer or a step; which of two is
  better. A short prompt
- ``Reward``, ``StepReward``: a GGUF reward model: its head, or its yes and no at step tags. One
  evaluation
- ``Tests``, ``Checker``: visible tests in a sandbox; a rule of the task, such as the value of an
  expression. No tokens
- ``Arithmetic``: the equations that a chain states, each recomputed. No tokens
- ``Critic``: a model's critique, then how sure it is; a larger one sees more. A critique
- ``Calibrated``, ``Combined``: any of them, or several, made into a probability. As those
- ``Agreement``, ``Question``: how far samples agree; what can be counted in the question. Free
- ``Oracle``: the gold answer: for ceilings, never for results

What they may read is what the strategy saw. ``task.verifier`` is a task's own check that needs no
gold answer, if it has one::

    from itslab import tasks
    from itslab.study.runner import solve_all
    from itslab.study.samples import Samples

    short = its.Sampling(max_tokens=60)
    puzzles = tasks.load("puzzle24", n=2)
    drawn = solve_all(puzzles, {"checked": its.BestOfN(puzzles.verifier, n=4, sampling=short)}, llm)
    Samples(puzzles, drawn["checked"]).correct.mean()  # of single samples, before anyone chose
"""

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
