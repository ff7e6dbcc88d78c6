"""Workers: each draws chunks of a study into a store of its own, merged into the main one."""

from __future__ import annotations

import itertools
import os
import platform
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import ExitStack, closing, contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from itslab.backends import Bank
from itslab.conductor.folder import clear, collect, folder, open_to_workers
from itslab.conductor.loading import Load, identities, recorded
from itslab.conductor.parts import Part
from itslab.core import ItslabError, extra, require
from itslab.study.outcome import Row
from itslab.study.plan import Cell

T = TypeVar("T")


@contextmanager
def executing(workers: int | None = None, dask: str | None = None) -> Iterator[Any]:
    """Yield an executor for ``conduct``: processes here, or a Dask cluster; None for neither.

    Args:
        workers: processes. Each has a model in memory, and its threads share the cores.
        dask: the address of a scheduler, such as ``tcp://host:8786``.

    Raises:
        OptionError: both are asked for.
        ItslabError: Dask is not installed, or its scheduler does not answer.
    """
    require(workers is None or dask is None, "workers", workers, "left out with dask")
    if workers is not None:
        with Workers(workers) as pool:
            yield pool
    elif dask is not None:
        try:
            from distributed import Client
        except ImportError as error:
            raise ItslabError(
                f"a cluster takes Dask: {extra('cluster')}, on its workers as well"
            ) from error
        try:
            client: Any = Client(dask, timeout=20)
        except (OSError, ValueError, TimeoutError) as error:
            raise ItslabError(f"the Dask scheduler {dask} does not answer: {error}") from error
        with client, client.get_executor(pure=False, retries=3) as cluster:
            yield cluster
    else:
        yield None


class Workers(Executor):
    """Processes here: where one dies, which breaks a pool, they are begun anew.

    Args:
        count: of processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = self._begin()

    def _begin(self) -> Executor:
        from concurrent.futures import ProcessPoolExecutor  # a browser's Python has no processes

        return ProcessPoolExecutor(self.count, get_context("spawn"), _end_with_driver)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See ``concurrent.futures.Executor``."""
        try:
            return self._pool.submit(fn, *args, **kwargs)
        except BrokenExecutor:
            self._pool.shutdown(wait=False)
            self._pool = self._begin()
            return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ``concurrent.futures.Executor``."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


def _end_with_driver() -> None:
    """Let this process end with the one that began it, which may be killed."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # what was drawn is in the part's store

    threading.Thread(target=watch, daemon=True).start()


Place = tuple[Cell, int]
Drawn = tuple[str | bytes, dict[Place, Row]]
"""A worker's store, or its name; and what runs came to that are not kept: they failed, but another
time may not."""


def draw_there(
    part: Part,
    bank: Bank,
    store: Path,
    made: dict[Place, Row],
    executor: Executor,
    size: int,
    load: Load | None,
    progress: bool,
) -> None:
    """Let workers make the runs that are lacking, and merge what they draw as each is done.

    What was at work when a process died is sent again, one problem after the other, so that one
    which its worker does not survive costs no other.
    """
    from tqdm import tqdm

    place, lost = folder(part.study, store), dict[str, BaseException]()
    with (
        open_to_workers(place) as token,
        ExitStack() as stack,
        tqdm(total=part.count, desc=part.label, unit="problem", disable=not progress) as bar,
    ):

        def send(chunks: Iterable[Part], window: int) -> list[Part]:
            """Have chunks drawn, so many at once; return those whose worker died."""
            died, waiting, running = [], deque(chunks), dict[Future[Drawn], Part]()
            stack.callback(lambda: [task.cancel() for task in running])  # if this is interrupted
            while waiting or running:
                while waiting and len(running) < window:
                    one = waiting.popleft()
                    try:
                        running[executor.submit(work, one, str(store), str(token), load)] = one
                    except RuntimeError as error:  # it is shut down, or broken for good
                        lost[one.name] = error
                for task in wait(running, return_when=FIRST_COMPLETED).done:
                    one = running.pop(task)
                    try:
                        store_of, passing = task.result()
                        _merge(bank, place, store_of)
                        made.update(passing)
                        bar.update(one.count)
                    except BrokenExecutor as error:
                        lost[one.name] = error
                        died.append(one)
                    except Exception as error:  # of one worker: the others go on
                        lost[one.name] = error
            return died

        chunks = [*part.chunks(size)]
        few = 2 * executor.count if isinstance(executor, Workers) else len(chunks)
        died = send(chunks, few)
        send([one for chunk in died for one in chunk.chunks(1)], 1)
    collect(bank, place)
    left = part.known(bank, identities(part.study, bank, load, "live"), made)
    if left.problems:
        reasons = dict.fromkeys(f"{type(e).__name__}: {e}" for e in lost.values())
        why = " ".join((next(reversed(reasons), "") or "no worker has drawn them").split())
        named = ", ".join(itertools.islice(left.ids, 3)) + (", …" if left.count > 3 else "")
        raise ItslabError(
            f"not finished: {left.count} of {part.count} problems, {named} ({why}): what was drawn "
            "of them is kept, conduct the study again to go on"
        ) from next(iter(lost.values()), None)
    clear(bank, place)


def work(part: Part, store: str, token: str, load: Load | None) -> Drawn:
    """Draw a part of a study in a worker; return its store's name, or all that it holds."""
    passing: dict[Place, Row] = {}
    shared = _shares(token)
    if not shared and _is_gone(token):
        return b"", passing
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        path = (Path(token).parent if shared else Path(scratch)) / f"{part.name}.sqlite"
        try:
            others = [stack.enter_context(Bank(store))] if shared else []
            with Bank(path) as bank, closing(_draw(part, bank, load, others)) as drawn:
                for run, row in drawn:
                    if row.data["passing"]:
                        passing[run] = row
                    if _orphaned() or (shared and not _shares(token)):
                        break  # nobody waits for it any more, and somebody may have begun anew
        except ItslabError as error:
            _say_where(error)
        return path.name if shared else path.read_bytes(), passing


def _draw(
    part: Part, bank: Bank, load: Load | None, others: Sequence[Bank]
) -> Generator[tuple[Place, Row], None, None]:
    if not _orphaned():
        yield from part.draw(bank, recorded(part.models, bank, load, *others), progress=False)


def _shares(token: str) -> bool:
    """Whether a worker sees the folder of the main store, and its driver is there."""
    return Path(token).exists()


def _is_gone(token: str) -> bool:
    """Whether the driver of a token that is not there was here once, and shared its folder."""
    return Path(token).parent.is_dir()


def _orphaned() -> bool:
    """Whether the process that began this one has died."""
    parent = parent_process()
    return parent is not None and not parent.is_alive()


def _say_where(error: ItslabError) -> NoReturn:
    where = f"worker {platform.node()}, process {os.getpid()}"
    raise ItslabError(f"{where}: {type(error).__name__}: {error}") from error


def _merge(bank: Bank, place: Path, part: str | bytes) -> None:
    """Add a worker's store to the main one, and remove it."""
    if part == b"":
        return
    if isinstance(part, bytes):
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, "part.sqlite")
            file.write_bytes(part)
            bank.merge(file)
        return
    bank.merge(place / part)
    for file in place.glob(f"{part}*"):  # and its journal
        file.unlink(missing_ok=True)
