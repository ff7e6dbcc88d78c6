"""Model-written code runs here and nowhere else."""

from itslab.sandbox.confine import LIBRARIES, SandboxError, mechanism
from itslab.sandbox.examine import RULES, Examine, Outcomes, examine, execute, run
from itslab.sandbox.program import Program, ProgramError

__all__ = [
    "LIBRARIES",
    "RULES",
    "Examine",
    "Outcomes",
    "Program",
    "ProgramError",
    "SandboxError",
    "examine",
    "execute",
    "mechanism",
    "run",
]
