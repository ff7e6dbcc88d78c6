"""What a run is doing, told in lines while it goes on: the reasoning that a client is shown."""

from __future__ import annotations

import math
from collections import Counter

from itslab.core import Event, Node
from itslab.run import Run

LINES = 400
"""Lines that are told of one run at most."""
CHARACTERS = 3.5
"""Of a token, about: what is being drawn is not counted yet."""
_SHOWN = 70


def leading(run: Run) -> Node | None:
    """Return the node that would answer now: the strategy's best so far, or else of the finished
    completions the first that gives the most frequent answer; the latest where none gives any.
    """
    told = {event.node for event in list(run.tree.events) if event.kind == "best"}
    best = run.best
    if best is not None and best.id in told and run.extract(best.turn_text) is not None:
        return best
    whole = [n for n in list(run.used) if n.completion is not None and n.status != "failed"]
    answers = [(node, run.extract(node.turn_text)) for node in whole]
    votes = Counter(run.key(said) for _, said in answers if said is not None)
    if not votes:
        return best if best is not None else next(reversed(whole), None)
    [(winner, _)] = votes.most_common(1)
    return next(n for n, said in answers if said is not None and run.key(said) == winner)


class Narrator:
    """Tells what is new of a run whenever it is asked.

    The first chain is told word by word, as it is drawn; what comes of the others, when they are
    finished; and which stages and routes were taken.

    Args:
        run: that is told.
        samples: that it draws at most.
        tokens: that it is thought to decode; nan if nobody knows.
        until: seconds after its beginning at which it is ended.
    """

    def __init__(
        self, run: Run, samples: int = 0, tokens: float = math.nan, until: float = math.inf
    ) -> None:
        self._run, self._most, self._tokens, self._until = run, samples, tokens, until
        self._read = 0  # events
        self._begun = False
        self._first: Node | None = None  # while it is being told
        self._written = 0  # characters of it
        self._later: list[str] = []  # lines, while the first is being told
        self._votes: Counter[str] = Counter()
        self._shown: dict[str, str] = {}  # form -> the first answer of it
        self._samples = self._lines = 0
        self._drawing = 0  # characters of samples under way

    def news(self) -> str:
        """Return what is to be told since it was last asked; "" if nothing is."""
        events = self._run.tree.events
        came = events[self._read : len(events)]
        self._read += len(came)
        if came and self._lines < LINES:  # once for all that came: thousands may be drawn at once
            self._drawing = sum(len(n.text) for n in list(self._run.drawn) if n.status == "open")
        for event in came:
            if self._lines == LINES:
                break
            if line := self._line(event):
                self._lines += 1
                self._later.append(line)
        return self._told()

    def _told(self) -> str:
        first, text = self._first, ""
        if first is not None:
            over = first.status != "open"  # before its text is read, which grows until then
            text = first.text[self._written :]
            self._written += len(text)
            if not over:
                return text
            text += "\n"
            self._first = None
        lines, self._later = self._later, []
        return text + "".join(f"{line}\n" for line in lines)

    def _line(self, event: Event) -> str:
        node = self._run.tree.nodes[event.node]
        if event.kind == "node" and node.role == "assistant" and not self._begun:
            self._begun, self._first = True, node
        if event.kind == "done":
            return self._finished(node)
        if event.kind == "stage":
            data = event.data
            if data.get("accepted") and not data.get("stage"):
                return ""  # the first one would do: there is nothing to tell
            said = "accepted" if data.get("accepted") else "not accepted"
            why = f": {data['why']}" if data.get("why") else ""
            return f"stage {data.get('stage', 0) + 1}, {data.get('model', '')}: {said}{why}"
        return ""

    def _finished(self, node: Node) -> str:
        if node.status == "failed":  # it was cut off by the end of the run
            return ""
        self._samples += 1
        run = self._run
        said = None if run.stepwise and not node.ended else run.extract(node.turn_text)
        if said is None:
            return f"{self._samples}. {_short(node.text)}"
        form = run.key(said)
        self._votes[form] += 1
        self._shown.setdefault(form, _short(said))
        ahead = ", ".join(f"{self._shown[f]} ×{n}" for f, n in self._votes.most_common(3))
        ahead += ", …" if len(self._votes) > 3 else ""
        tally = f" (so far {ahead})" if self._samples > 1 else ""
        return f"{self._samples}. {_short(said)}{tally}{self._left()}"

    def _left(self) -> str:
        """About how long it still takes, as fast as it went so far, what is being drawn included;
        its other samples are thought to be as long as those that are finished.
        """
        run, passed = self._run, self._run.tree.events[-1].time
        drawing = self._drawing / CHARACTERS
        total = min(self._most * run.cost.decoded / self._samples, self._tokens)
        done = (run.cost.decoded + drawing) / total if total > 0 else 1.0
        if self._samples >= self._most - 1 or not 0 < done < 1:
            return ""
        left = min(passed * (1 - done) / done, self._until - passed)
        return f", about {left:.0f} s left" if left >= 1 else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
