"""A panel that lets a model think for as long as it is told to, while one reads along."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from itslab import answers
from itslab.core import Cost, Extractor, Node, Result, Tree, require
from itslab.viz.panels import RunPanel, price, slider
from itslab.viz.style import BLUE, BOX, GREEN, GRID, INK, MUTED, ORANGE, RED, VIEW, WINE

if TYPE_CHECKING:
    from itslab.handle import RunHandle

CHARACTERS = 3.5
"""Of English text per token, about: a token is counted once its completion is finished."""

# A reversed column starts at its end: the box stays scrolled to the last line as the text grows.
_SCROLL = "display: flex; flex-direction: column-reverse; max-height: 22rem; overflow-y: auto"
_TEXT = f"{BOX} {ORANGE}; flex: none; margin: 0; background: white; color: {INK}"
_WORD = (
    f"font-size: 11px; font-weight: bold; color: white; background: {WINE}; "
    "border-radius: 3px; padding: 1px 5px; margin-right: 5px"
)
_INSERTED = f"background: #f6e1ee; border-bottom: 2px solid {WINE}"
_INNER = re.compile(r"\S(?:.*\S)?", re.DOTALL)  # a text without the blanks and lines around it
_MARKED = rf'<span style="{_WORD}">inserted</span><span style="{_INSERTED}">\g<0></span>'


class ThinkingPanel(RunPanel):
    """Sliders for the least and the most tokens to think, Run and Stop, and the thinking itself.

    What the model was made to say, rather than drew itself, is marked as inserted.

    Args:
        begin: starts a run that thinks at least and at most so many tokens, such as a call of
            ``itslab.start`` with ``ExtendedThinking``.
        first: what is shown until Run is pressed, drawn with the first floor and the last budget.
        gold: the gold answer; None judges none.
        extract: reads the answer from the model's turn.
        budgets: choices for the ceiling, in tokens, ascending; the last one is set at first.
        floors: choices for the floor, in tokens, ascending; the first one is set at first.
    """

    def __init__(
        self,
        begin: Callable[[int, int], RunHandle],
        first: Result,
        *,
        gold: str | None = None,
        extract: Extractor = answers.extract,
        budgets: Sequence[int] = (32, 64, 128, 256, 512),
        floors: Sequence[int] = (0, 256, 512),
    ) -> None:
        fits = floors[0] <= budgets[0] and floors[-1] <= budgets[-1]
        valid = f"ascending, from at most {budgets[0]} to at most {budgets[-1]}"
        require(fits, "floors", floors, valid)
        self.budgets, self.floors = budgets, floors
        self.floor = slider("think at least", [(f"{n} tokens", n) for n in floors], floors[0])
        self.ceiling = slider("think at most", [(f"{n} tokens", n) for n in budgets], budgets[-1])
        self.floor.observe(self._raise_ceiling, "value")
        self.ceiling.observe(self._lower_floor, "value")
        self._gold, self._extract = gold, extract
        super().__init__(begin, first, [self.floor, self.ceiling])

    def _raise_ceiling(self, _: Any) -> None:
        if self.ceiling.value < self.floor.value:
            self.ceiling.value = next(n for n in self.budgets if n >= self.floor.value)

    def _lower_floor(self, _: Any) -> None:
        if self.floor.value > self.ceiling.value:
            self.floor.value = max(n for n in self.floors if n <= self.ceiling.value)

    def draw(self, tree: Tree, cost: Cost, state: str) -> str:
        """Return the model's turn as HTML, and below it what was thought, answered and paid."""
        floor, ceiling = self.settings
        last = tree.nodes[-1] if len(tree) else None
        turn = last.turn() if last and last.role == "assistant" else []
        answer = self._extract(turn[-1].turn_text) if turn else None
        return (
            f'<div style="{VIEW}"><div style="{_SCROLL}"><pre style="{_TEXT}">{said(turn)}</pre>'
            f"</div>{_bar(*thought(turn, floor), floor, ceiling)}"
            f"<div>{_judged(answer, self._gold, state == 'drawing')}</div>"
            f'<div style="color: {MUTED}">{state}: {price(cost, "completion")}</div></div>'
        )


def inserted(node: Node) -> bool:
    """Whether the model was made to say this, rather than drew it."""
    return node.completion is None and node.status == "done"


def said(turn: Sequence[Node]) -> str:
    """Return the model's turn as HTML, with what was put into its mouth marked by a word."""
    parts = []
    for node in turn:
        text = html.escape(node.text)
        parts.append(_INNER.sub(_MARKED, text) if inserted(node) else text)
    return "".join(parts)


def thought(turn: Sequence[Node], floor: int) -> tuple[int, bool]:
    """Return how many tokens were thought in a turn so far, and whether all of them are counted.

    Thinking is what was drawn until the floor was reached; what is drawn after it is the answer.
    """
    tokens, counted = 0, True
    for node in turn:
        if inserted(node):
            continue
        if node.completion is None:
            counted = False
            tokens += round(len(node.text) / CHARACTERS)
        else:
            tokens += node.completion.cost.decoded
        if tokens >= floor:
            break
    return tokens, counted


def _bar(tokens: int, counted: bool, floor: int, ceiling: int) -> str:
    """Draw the thinking so far as a part of the most that is allowed."""
    share = min(tokens / ceiling, 1)
    least = f", at least {floor}" if floor else ""
    tick = (
        f'<div style="position: absolute; left: {floor / ceiling:.1%}; top: -3px; height: 12px; '
        f'border-left: 2px solid {INK}"></div>'
    )
    return (
        f'<div style="position: relative; height: 6px; margin: 12px 0 6px; background: {GRID}">'
        f'<div style="width: {share:.1%}; height: 6px; background: {BLUE}"></div>'
        f"{tick if floor else ''}</div>"
        f"<div>thought {'' if counted else 'about '}<b>{tokens}</b> tokens of at most {ceiling}"
        f"{least}</div>"
    )


def _judged(answer: str | None, gold: str | None, drawing: bool) -> str:
    """Say what was answered, and whether it is right."""
    label = "answer so far" if drawing else "answer"
    if answer is None:
        return f"{label}: none"
    line = f"{label}: <code>{html.escape(answer)}</code> "
    if gold is None:
        return line
    if answers.equal(answer, gold):
        return f'{line}<b style="color: {GREEN}">✓ right</b>'
    return (
        f'{line}<b style="color: {RED}">✗ wrong</b>, the gold answer is '
        f"<code>{html.escape(gold)}</code>"
    )
