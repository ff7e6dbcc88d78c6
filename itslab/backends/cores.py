"""How many threads may compute while other programs need the cores too.

llama.cpp splits each of its operations over its threads, which then wait for the slowest. A thread
that shares its core with a busy program holds all others up: with as many threads as cores, one
such program costs far more than its share. So a model gives up a thread for each core taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import psutil

INTERVAL = 0.5
"""Seconds between two looks; the operating system counts in hundredths of a second."""
STALE = 10 * INTERVAL
"""Seconds after which the last look tells of what others did before there was anything to share."""


def spent() -> tuple[float, float]:
    """Seconds for which cores were busy since the machine started: with this process, with others.

    What runs at low priority (nice) gives way by itself, and is not counted.
    """
    times, own = psutil.cpu_times(), time.process_time()
    busy = ("user", "system", "irq", "softirq", "interrupt", "dpc")
    return own, sum(getattr(times, name, 0.0) for name in busy) - own


class Cores:
    """Tells how many threads have a core to themselves.

    Args:
        most: threads, on a machine that is otherwise idle.
        cores: of the machine; all by default.
        clock, spent: where seconds are read.
    """

    def __init__(
        self,
        most: int,
        cores: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], tuple[float, float]] = spent,
    ) -> None:
        self._most, self._cores = most, cores or psutil.cpu_count() or most
        self._clock, self._spent = clock, spent
        self._seen, self._others = clock(), spent()[1]
        self.taken = 0.0
        self.free = most

    def look(self) -> int:
        """Return the number of threads to use now, at least 1."""
        now = self._clock()
        if now - self._seen >= INTERVAL:
            others = self._spent()[1]
            recent = now - self._seen < STALE
            self.taken = (others - self._others) / (now - self._seen) if recent else 0.0
            self._seen, self._others = now, others
            whole = math.floor(self.taken + 0.5)  # a core that is taken half of the time is lost
            self.free = min(max(self._cores - whole, 1), self._most)
        return self.free
