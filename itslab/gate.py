"""A turnstile that a run passes once an iteration, so that it can be paused and taken in steps."""

from __future__ import annotations

import math
import threading


class Gate:
    """Lets a run through freely, or as often as it was told to.

    Args:
        open: whether it may pass; else it waits until it is told to.
    """

    def __init__(self, open: bool = True) -> None:
        self._passes = math.inf if open else 0.0
        self._waiting = False
        self._changed = threading.Condition()

    @property
    def waiting(self) -> bool:
        """Whether the run stands before the gate."""
        return self._waiting

    def let(self, passes: float) -> None:
        """Let it through this many times from now on: ``math.inf`` opens the gate, 0 shuts it."""
        with self._changed:
            self._passes = passes
            self._waiting = self._waiting and passes == 0
            self._changed.notify_all()

    def enter(self) -> None:
        """Pass, in the run's thread; waits while the gate is shut."""
        with self._changed:
            self._waiting = self._passes == 0
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._passes > 0)
            self._waiting = False
            self._passes -= 1

    def arrived(self, timeout: float) -> bool:
        """Wait until the run stands before the gate, at most ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting, timeout)
