"""Workers: each draws chunks of a study into a store of its own, merged into the main one."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn

from itslab.backends import Bank
from itslab.conductor.loading import Load, identities, recorded
from itslab.conductor.parts import Part
from itslab.core import ItslabError, require
from itslab.study.outcome import Row
from itslab.study.plan import Cell


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
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            yield pool
    elif dask is not None:
        try:
            from distributed import Client
        except ImportError as error:
            raise ItslabError(
                "a cluster takes Dask: pip install 'itslab[cluster]', on its workers as well"
            ) from error
        try:
            client: Any = Client(dask, timeout=20)
        except (OSError, ValueError, TimeoutError) as error:
            raise ItslabError(f"the Dask scheduler {dask} does not answer: {error}") from error
        with client, client.get_executor(pure=False, retries=3) as cluster:
            yield cluster
    else:
        yield None


def draw_there(
    part: Part,
    bank: Bank,
    store: Path,
    made: dict[tuple[Cell, int], Row],
    executor: Executor,
    size: int,
    load: Load | None,
    progress: bool,
) -> None:
    """Let workers make the runs that are lacking, and merge what they draw as each is done."""
    folder = _parts(store)
    folder.mkdir(exist_ok=True)
    token = folder / f"{uuid.uuid4().hex}.token"  # who sees it shares the folder
    token.touch()
    from tqdm import tqdm

    lost: list[BaseException] = []
    chunks = [*part.chunks(size)]
    try:
        tasks = [executor.submit(work, one, str(store), str(token), load) for one in chunks]
        label, runs = f"{part.study.name}, {part.model}", sum(map(len, part.problems.values()))
        with tqdm(total=runs, desc=label, unit="problem", disable=not progress) as bar:
            for task in as_completed(tasks):
                try:
                    _merge(bank, folder, task.result())
                    bar.update(sum(map(len, chunks[tasks.index(task)].problems.values())))
                except Exception as error:  # of one worker: the others go on
                    lost.append(error)
    finally:
        token.unlink(missing_ok=True)
    left = part.known(bank, identities(part.study, bank, load, "live"), made)
    if left.problems:
        why = f"{type(lost[0]).__name__}: {lost[0]}" if lost else "no worker has drawn them"
        count = sum(map(len, left.problems.values()))
        raise ItslabError(
            f"{count} problems are not finished ({' '.join(why.split())}): what was drawn of them "
            f"is kept, conduct the study again to go on"
        ) from (lost[0] if lost else None)
    shutil.rmtree(folder, ignore_errors=True)


def work(part: Part, store: str, token: str, load: Load | None) -> str | bytes:
    """Draw a part of a study in a worker; return its store's name, or all that it holds."""
    shared = _shares(token)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(token).parent if shared else Path(scratch)
        path = folder / f"{part.name}.sqlite"
        try:
            others = [stack.enter_context(Bank(store))] if shared else []
            with Bank(path) as bank:
                backends = recorded(part.models, bank, load, *others)
                for _ in part.draw(bank, backends, progress=False):
                    pass
        except ItslabError as error:
            _say_where(error)
        return path.name if shared else path.read_bytes()


def _shares(token: str) -> bool:
    """Whether a worker sees the folder of the main store."""
    return Path(token).exists()


def _say_where(error: ItslabError) -> NoReturn:
    where = f"worker {platform.node()}, process {os.getpid()}"
    raise ItslabError(f"{where}: {type(error).__name__}: {error}") from error


def _parts(store: Path) -> Path:
    return store.with_name(f"{store.name}.parts")


def _merge(bank: Bank, folder: Path, part: str | bytes) -> None:
    """Add a worker's store to the main one."""
    if isinstance(part, bytes):
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, "part.sqlite")
            file.write_bytes(part)
            bank.merge(file)
        return
    bank.merge(folder / part)
    for file in folder.glob(f"{part}*"):  # and its journal
        file.unlink(missing_ok=True)


def merge_parts(bank: Bank, store: Path) -> None:
    """Add what workers left that were killed, or whose driver was."""
    folder = _parts(store)
    if not folder.is_dir():
        return
    for file in sorted(folder.glob("*.sqlite")):
        _merge(bank, folder, file.name)
    shutil.rmtree(folder, ignore_errors=True)
