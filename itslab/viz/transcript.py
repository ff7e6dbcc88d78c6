"""What was said on the way to a node, to be read."""

from __future__ import annotations

import html

from itslab.core import Node
from itslab.viz.style import BLUE, BOX, MUTED, ORANGE

_COLOURS = {"system": MUTED, "user": BLUE, "assistant": ORANGE}


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
        return "".join(
            f'<pre style="{BOX} {_COLOURS[role]}; margin: 0.5rem 0"><b>{role}</b>\n'
            f"{html.escape(text.strip())}</pre>"
            for role, text in self.turns
        )
