"""How far many runs have come, and how long the rest will take."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NoReturn

from itslab import background
from itslab.core import Cost, Result

if TYPE_CHECKING:
    from tqdm import tqdm


_LATELY = 30.0
"""Seconds that are looked back."""


class Progress:
    """A bar of finished runs with their samples and tokens, and the time that is left.

    A run will cost what finished runs of its strategy did on average, in seconds of compute as they
    were recorded; and such seconds will pass as quickly as they did of late. So samples that are
    served from a bank, within no time, say nothing of how long it takes to draw others, for longer
    than half a minute.

    Args:
        label: what is solved.
        runs: name of a strategy -> how many runs of it there will be.
        shown: whether the bar is drawn, on standard output.
    """

    def __init__(self, label: str, runs: Mapping[str, int], shown: bool = True) -> None:
        self._left = Counter(runs)
        self._done: Counter[str] = Counter()
        self._seconds = dict.fromkeys(runs, 0.0)
        self._cost = Cost()
        self._failed = 0
        self._past = deque([(time.monotonic(), 0.0)])  # when, and how much compute was done
        self._bar = _bar(label, sum(runs.values()), shown)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def finish(self, name: str, result: Result) -> None:
        """Count a finished run of a strategy."""
        self._left[name] -= 1
        self._done[name] += 1
        self._cost += result.cost
        self._failed += bool(result.failed)
        self._seconds[name] += result.cost.seconds
        self._bar.update()

    def show(self, running: Iterable[Cost]) -> None:
        """Draw the bar; ``running`` is what the runs under way have cost so far."""
        now = sum(running, Cost())
        cost, left = self._cost + now, self.remaining(now.seconds, time.monotonic())
        clock = "?" if left is None else time.strftime("%H:%M:%S", time.gmtime(left))
        state = f"{cost.calls:,} samples, {cost.decoded:,} tokens, {clock} left"
        if self._failed:
            state = f"{self._failed} failed, {state}"
        self._bar.set_postfix_str(state, refresh=False)
        self._bar.update(0)

    def remaining(self, running: float, now: float) -> float | None:
        """Estimate the seconds until all runs are finished; None as long as nobody can know.

        Args:
            running: seconds of compute of runs that are not finished.
            now: by a clock that never goes back.
        """
        done = sum(self._seconds.values()) + running
        self._past.append((now, done))
        while len(self._past) > 2 and self._past[1][0] <= now - _LATELY:
            self._past.popleft()
        ahead = 0.0
        for name, left in self._left.items():
            if left and not self._done[name]:
                return None
            ahead += left * self._seconds[name] / max(self._done[name], 1)
        began, before = self._past[0]
        pace = (done - before) / (now - began) if now > began else 0.0
        if ahead and pace <= 0:
            return None
        return max(ahead - running, 0.0) / pace if ahead else 0.0


def _bar(label: str, total: int, shown: bool) -> tqdm[NoReturn]:
    from tqdm import tqdm

    if not background.threads():
        tqdm.monitor_interval = 0  # else it warns that its own cannot be started
    unicode = "utf" in (getattr(sys.stdout, "encoding", None) or "").lower()
    return tqdm(
        total=total,
        ascii=" ━" if unicode else True,  # whole blocks are a glaring slab on a dark page
        desc=label,
        bar_format="{desc}: |{bar}| {n_fmt}/{total_fmt} runs{postfix} [{elapsed}]",
        ncols=110,
        mininterval=0.5,
        miniters=0,  # redraw although no run is finished: tokens are
        disable=not shown,
        file=sys.stdout,
    )
