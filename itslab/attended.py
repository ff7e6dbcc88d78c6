"""The person before a run: what they watch it by, and how they end it.

``watch`` is what ``solve`` works under. Outside of notebooks nobody watches; in one,
``itslab.ipython`` puts its progress there, so that nothing below needs to know of notebooks.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from itslab.core import Result

PATIENCE = 3.0
"""Seconds that a run has to end by itself after an interrupt, before Python's own stops it."""


class Onlooker:
    """Who watches a run of ``solve``, which is carried out within it: by default nobody.

    Args:
        run: a ``Run``.
    """

    def __init__(self, run: Any) -> None:
        self.run = run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        """The run has ended, by an error or not."""

    def hear(self, result: Result) -> None:
        """Told of its result, unless an error ended it."""


watch: type[Onlooker] = Onlooker


class Brief(KeyboardInterrupt):
    """An interrupt that says all there is to say: IPython shows it in one line."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class StillRunning(Brief):
    """Waiting for a run was interrupted, and the run goes on."""

    def __init__(self) -> None:
        super().__init__("the run goes on: .stop() ends it, .result() waits for it again")


class Interrupted(Brief):
    """A run was interrupted; what it had come to by then is kept.

    Args:
        result: with everything that was drawn and paid.
    """

    def __init__(self, result: Result) -> None:
        super().__init__(
            f"{drawn(result)}; they are kept in the .result of this exception "
            "(except its.Interrupted as stopped: stopped.result)"
        )
        self.result = result


def drawn(result: Result) -> str:
    """Say how much a run that was interrupted had drawn."""
    calls, tokens = result.cost.calls, result.cost.decoded
    return f"{calls:,} samples and {tokens:,} tokens were drawn by then"


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Let Ctrl-C, or a notebook's interrupt, end a run as a stop does.

    So what is being drawn comes back, is paid for, and stands in the tree. A run that does not end
    within ``PATIENCE`` seconds (its strategy computes by itself), or that is interrupted again, is
    broken off by a ``KeyboardInterrupt`` where it stands. Outside of the main thread, and where
    the program handles SIGINT in its own way, nothing is changed.

    Args:
        stop: ends the run.

    Yields:
        The interrupts that have come, as numbers of signals: empty if none has.
    """
    came: list[int] = []
    usual = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or usual is not signal.default_int_handler:
        yield came
        return
    late = threading.Timer(PATIENCE, _interrupt)
    late.daemon = True

    def hear(number: int, _: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt
        stop()
        late.start()

    signal.signal(signal.SIGINT, hear)
    try:
        yield came
    finally:
        late.cancel()
        signal.signal(signal.SIGINT, usual)


def _interrupt() -> None:
    """Interrupt the main thread, also where it waits for something."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:  # Windows
        _thread.interrupt_main()
