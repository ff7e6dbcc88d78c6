"""What was said on the way to a node, to be read."""

from __future__ import annotations

import html

from itslab.core import Node

_BOX = (
    "font: 14px/1.45 Helvetica, Arial, sans-serif; white-space: pre-wrap; word-break: normal; "
    "max-width: 46rem; margin: 0.5rem 0; padding: 0.3rem 0.9rem; border-left: 4px solid"
)
_COLOURS = {"system": "#6b6b6b", "user": "#0072b2", "assistant": "#d55e00"}


class Transcript:
    """The conversation that ends at a node; shows itself in a notebook.

    Args:
        node: any node of a tree. The nodes of a turn are shown as one text.
    """

    def __init__(self, node: Node) -> None:
        self.turns: list[tuple[str, str]] = []
        for step in node.path():
            if self.turns and self.turns[-1][0] == step.role == "assistant":
                self.turns[-1] = (step.role, self.turns[-1][1] + step.text)
            else:
                self.turns.append((step.role, step.text))

    def __str__(self) -> str:
        return "\n\n".join(f"{role}:\n{text.strip()}" for role, text in self.turns)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # Mathematics is not typeset inside <pre>: a price in dollars would become a formula.
        return "".join(
            f'<pre style="{_BOX} {_COLOURS[role]}"><b>{role}</b>\n{html.escape(text.strip())}</pre>'
            for role, text in self.turns
        )
