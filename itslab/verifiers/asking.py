"""Verifiers that ask a model."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from itslab.options import Options


class Asking(Options):
    """A dataclass whose first field is a model, which its repr tells by name.

    Plots and archives know a verifier by its repr: two models are two verifiers.
    """

    def __repr__(self) -> str:
        asked, *options = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        named: Any = getattr(asked, "name", asked)
        return f"{type(self).__name__}({', '.join([str(named), *map(repr, options)])})"
