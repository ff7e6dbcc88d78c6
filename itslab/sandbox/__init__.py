"""Model-written code runs here and nowhere else."""

from itslab.sandbox.confine import mechanism
from itslab.sandbox.examine import examine
from itslab.sandbox.program import Program, ProgramError, run

__all__ = ["Program", "ProgramError", "examine", "mechanism", "run"]
