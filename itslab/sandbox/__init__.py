"""Model-written code runs here and nowhere else."""

from itslab.sandbox.confine import mechanism
from itslab.sandbox.examine import Examine, examine
from itslab.sandbox.program import Program, ProgramError, run

__all__ = ["Examine", "Program", "ProgramError", "examine", "mechanism", "run"]
