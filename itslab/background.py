"""Work beside the caller: in threads, or in the caller where Python has none.

Python in a browser (Pyodide) starts no thread. What would go on beside the caller is then done
before the caller goes on: with recorded samples that takes moments. Nothing that waits for the
caller, such as a run that begins paused, may be begun like this there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import cache
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@cache
def threads() -> bool:
    """Whether this Python can start threads."""
    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        return False
    return True


def begin(work: Callable[[], object]) -> None:
    """Do some work in a thread that no exit waits for, or at once where there are no threads."""
    if threads():
        threading.Thread(target=work, daemon=True).start()
    else:
        work()


def pool(at_once: int | None) -> Executor:
    """Return what does some pieces of work at once, or one by one where there are no threads.

    Args:
        at_once: how many; None leaves it to Python.
    """
    return ThreadPoolExecutor(at_once) if threads() else _Caller()


class _Caller(Executor):
    """Does each piece of work when it is submitted."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = Future[T]()
        try:
            future.set_result(work(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future
