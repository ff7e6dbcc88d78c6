"""Conduct a study: draw what its store lacks, here or on many workers, and return what came of it.

A store is a bank: the samples, the finished runs and what they came to. So a study that was
interrupted, killed or widened goes on from there, and a finished one is read without a model.

With an executor, problems go to workers in chunks. A worker loads each model once, draws into a
store of its own for each chunk, in the folder ``STORE.parts``, and reads what the main store holds;
finished parts are merged into that. What a killed worker had drawn is found by whoever gets its
chunk next. Workers that do not share the folder send their parts instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from itslab import models
from itslab.backends import Bank
from itslab.core import Backend, Completion, ItslabError, Result, require
from itslab.options import Count, Text, checked
from itslab.spec import spec
from itslab.study import rows
from itslab.study.outcome import Outcome, Row, tables
from itslab.study.plan import Cell, Study
from itslab.study.runner import Job, sweep

MODES = ("live", "replay")
Load = Callable[[str], Backend]
Until = Callable[[Outcome], bool]
Problems = Mapping[str, Sequence[int]]  # the name of a task -> the numbers of its problems


@checked
def conduct(
    study: Study,
    store: Text | Path,
    *,
    mode: str = "live",
    executor: Any = None,
    chunk: Count = 8,
    until: Until | None = None,
    load: Load | None = None,
    others: Sequence[Bank] = (),
    progress: bool = True,
) -> Outcome:
    """Draw what a study's store lacks, and return what came of the study.

    Args:
        study: what is tried on what.
        store: the file of a bank, made if it is not there; in replay perhaps a packed one.
        mode: ``live``, or ``replay``, which takes what is there and needs no model.
        executor: any of ``concurrent.futures``, or of Dask (``Client(…).get_executor()``), whose
            workers draw; by default this process does.
        chunk: how many problems a worker is sent at once; all methods of a problem go together.
        until: looked at after each problem, in their order; the study ends early where it returns
            True. See ``study.sequential``.
        load: makes a model of its name; by default as ``itslab.load``, with quantizations.
        others: further banks whose samples and runs are taken, where no executor draws.
        progress: show it on standard output.

    Raises:
        BackendError: a model, or the store, cannot be used; finished runs are kept.
        ItslabError: somebody else conducts the same study into this store, workers died, or there
            is no store to replay.
    """
    require(mode in MODES, "mode", mode, " or ".join(map(repr, MODES)))
    fits = executor is None or (callable(getattr(executor, "submit", None)) and until is None)
    require(fits, "executor", executor, "an Executor, and none with until, which looks in order")
    began, store = time.monotonic(), Path(store)
    if mode == "replay" and not store.exists():
        raise ItslabError(f"there is no store {store}: conduct the study with mode='live' first")
    made: dict[tuple[Cell, int], Row] = {}
    with Bank(store) as bank, ExitStack() as stack:
        if mode == "live":
            stack.enter_context(_alone(study, store))
            _merge_parts(bank, store)
        for model in study.models:
            wanted = _Part(study, model, {name: range(len(t)) for name, t in study.tasks.items()})
            lacking = wanted.known(bank, _identities(study, bank, load, mode), made)
            if mode == "replay" or not lacking.problems:
                continue
            if executor is None:
                _draw_here(lacking, bank, made, until, load, others, progress)
            else:
                _draw_there(lacking, bank, store, made, executor, chunk, load, progress)
        about = _about(study, bank, load, mode) | {
            "lacking": study.runs - len(made),
            "seconds": round(time.monotonic() - began, 1),
        }
        return tables(study, made.values(), about)


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


# -- models by name --------------------------------------------------------------------------------


def load_named(name: str) -> Backend:
    """Load a model by the name that it has in a study.

    Args:
        name: as of ``itslab.load``, perhaps with ``@`` and a type of ``models.TYPES``; or the
            address of a server and its model, ``https://…/v1#model``.
    """
    if name.startswith(("http://", "https://")):
        from itslab.backends import Remote

        address, _, model = name.partition("#")
        require(bool(model), "model", name, "written as https://…/v1#model")
        key = os.environ.get("OPENAI_API_KEY", "none")
        return Remote(model, address, key)
    from itslab.backends import Llama, library

    library.start()  # before a model is pulled in vain
    file = _file(name)
    return Llama(file.path, name, file.digest)


def _file(name: str) -> models.ModelFile:
    base, _, type = name.rpartition("@")
    if base and type in models.TYPES:
        return models.resolve(models.quantize(base, type))
    return models.resolve(name)


_loaded = lru_cache(3)(load_named)
"""A worker is sent many chunks, and loads a model once; of many models few are in memory."""


@dataclass(frozen=True)
class _Identity:
    """A model of which no more is known than under what its samples are kept."""

    name: str
    digest: str
    batch_size: int = 1

    def generate(self, *args: Any, **kwargs: Any) -> list[list[Completion]]:
        raise NotImplementedError


def _identities(study: Study, bank: Bank, load: Load | None, mode: str) -> dict[str, Backend]:
    """The models of a study, without loading those that need not be."""
    if mode == "replay":
        digests = {source.name: source.digest for source in bank.sources}
        return {name: _Identity(name, digests.get(name, "")) for name in study.named}
    if load is not None:
        return {name: load(name) for name in study.named}
    return {
        name: _loaded(name) if "://" in name else _Identity(name, _file(name).digest)
        for name in study.named
    }


def _recorded(part: _Part, bank: Bank, load: Load | None, *others: Bank) -> dict[str, Backend]:
    """The models that these runs ask, with all that they draw kept in a bank."""
    names = dict.fromkeys([part.model, *part.study.asked])
    return {name: bank.record((load or _loaded)(name), *others) for name in names}


# -- drawing ---------------------------------------------------------------------------------------


class _Archives(NamedTuple):
    """Where finished runs are looked up: the store, where new ones are kept, and other banks."""

    store: Bank
    others: Sequence[Bank]

    def find_run(self, key: str) -> str | None:
        found = (bank.find_run(key) for bank in (self.store, *self.others))
        return next((text for text in found if text is not None), None)

    def keep_run(self, key: str, strategy: str, problem: str, text: str) -> None:
        self.store.keep_run(key, strategy, problem, text)


@dataclass(frozen=True)
class _Part:
    """The runs of one model on some problems of each task."""

    study: Study
    model: str
    problems: Problems

    def jobs(self, backends: Mapping[str, Backend]) -> dict[tuple[Cell, int], Job]:
        return self.study.jobs(self.model, backends, self.problems)

    def known(
        self, bank: Bank, backends: Mapping[str, Backend], made: dict[tuple[Cell, int], Row]
    ) -> _Part:
        """Add what a bank knows of these runs, and return the problems of which one is lacking."""
        lacking: dict[str, dict[int, None]] = {}
        for (cell, i), job in self.jobs(backends).items():
            text = bank.find_memo(rows.row_key(job))
            if text is None:
                lacking.setdefault(cell.task, {})[i] = None
            else:
                made[cell, i] = Row(cell, job.problem, json.loads(text))
        return replace(self, problems={name: [*numbers] for name, numbers in lacking.items()})

    def draw(
        self,
        bank: Bank,
        backends: Mapping[str, Backend],
        progress: bool,
        others: Sequence[Bank] = (),
    ) -> Generator[tuple[tuple[Cell, int], Row], None, None]:
        """Make the runs, in the order of the problems, and yield what each came to as it ends."""
        jobs = self.jobs(backends)
        label = f"{self.study.name}, {self.model}"
        archive = _Archives(bank, others)
        runs = sweep(jobs, archive=archive, label=label, progress=progress)
        with closing(runs), ThreadPoolExecutor(2) as pool:  # programs are graded beside
            waiting: list[tuple[tuple[Cell, int], Future[Row]]] = []
            for place, result in runs:
                waiting.append((place, pool.submit(_keep, bank, place[0], jobs[place], result)))
                while waiting and waiting[0][1].done():
                    first, row = waiting.pop(0)
                    yield first, row.result()
            for place, row in waiting:
                yield place, row.result()

    def chunks(self, size: int) -> Iterator[_Part]:
        """Divide the problems."""
        for name, numbers in self.problems.items():
            for start in range(0, len(numbers), size):
                yield replace(self, problems={name: numbers[start : start + size]})

    @property
    def name(self) -> str:
        """What tells its store from those of others."""
        problems = [
            (name, self.study.tasks[name].problems[i].id)
            for name, numbers in self.problems.items()
            for i in numbers
        ]
        named = json.dumps([_study_key(self.study), self.model, problems])
        return hashlib.blake2b(named.encode(), digest_size=8).hexdigest()


def _keep(bank: Bank, cell: Cell, job: Job, result: Result) -> Row:
    """What a run came to, kept beside it, unless it would be another with all models there."""
    if result.outages:
        return Row(cell, job.problem, rows.row(job, result))
    text = bank.memo(rows.row_key(job), lambda: json.dumps(rows.row(job, result)))
    return Row(cell, job.problem, json.loads(text))


def _draw_here(
    part: _Part,
    bank: Bank,
    made: dict[tuple[Cell, int], Row],
    until: Until | None,
    load: Load | None,
    others: Sequence[Bank],
    progress: bool,
) -> None:
    backends = _recorded(part, bank, load, *others)
    _compare_builds(bank, backends[part.model])
    counts = {name: sum(1 for _ in part.study.cells(name, part.model)) for name in part.problems}
    ahead = [(name, i) for name, numbers in part.problems.items() for i in numbers]
    every = ((name, i) for name, task in part.study.tasks.items() for i in range(len(task)))
    place = {problem: number for number, problem in enumerate(every)}

    def answered() -> bool:
        """Whether the problems before the first that is not done yet answer the question.

        What ended first is not looked at first: quick problems are easy ones.
        """
        first = place[ahead[0]] if ahead else len(place)
        past = [row for (cell, i), row in made.items() if place[cell.task, i] < first]
        known = tables(part.study, past, _clusters(part.study))
        return until is not None and bool(past) and until(known)

    if answered():
        return
    done: dict[tuple[str, int], int] = {}
    with closing(part.draw(bank, backends, progress, others)) as drawn:
        for (cell, i), row in drawn:
            made[cell, i] = row
            done[cell.task, i] = done.get((cell.task, i), 0) + 1
            while until and ahead and done.get(ahead[0], 0) == counts[ahead[0][0]]:
                ahead.pop(0)
                if answered():
                    return


def _draw_there(
    part: _Part,
    bank: Bank,
    store: Path,
    made: dict[tuple[Cell, int], Row],
    executor: Executor,
    size: int,
    load: Load | None,
    progress: bool,
) -> None:
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
    left = part.known(bank, _identities(part.study, bank, load, "live"), made)
    if left.problems:
        why = f"{type(lost[0]).__name__}: {lost[0]}" if lost else "no worker has drawn them"
        count = sum(map(len, left.problems.values()))
        raise ItslabError(
            f"{count} problems are not finished ({' '.join(why.split())}): what was drawn of them "
            f"is kept, conduct the study again to go on"
        ) from (lost[0] if lost else None)
    shutil.rmtree(folder, ignore_errors=True)


def work(part: _Part, store: str, token: str, load: Load | None) -> str | bytes:
    """Draw a part of a study in a worker; return its store's name, or all that it holds."""
    shared = _shares(token)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(token).parent if shared else Path(scratch)
        path = folder / f"{part.name}.sqlite"
        try:
            others = [stack.enter_context(Bank(store))] if shared else []
            with Bank(path) as bank:
                backends = _recorded(part, bank, load, *others)
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


def _merge_parts(bank: Bank, store: Path) -> None:
    """Add what workers left that were killed, or whose driver was."""
    folder = _parts(store)
    if not folder.is_dir():
        return
    for file in sorted(folder.glob("*.sqlite")):
        _merge(bank, folder, file.name)
    shutil.rmtree(folder, ignore_errors=True)


# -- whose store, and what drew it -----------------------------------------------------------------


def _study_key(study: Study) -> str:
    return spec(study).digest


@contextmanager
def _alone(study: Study, store: Path) -> Iterator[None]:
    """Let nobody else conduct the same study meanwhile: all would be drawn twice."""
    from filelock import FileLock, Timeout

    place = f"{store.absolute()} {_study_key(study)}"
    name = f"{hashlib.blake2b(place.encode(), digest_size=12).hexdigest()}.lock"
    folder = models.home() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # there may be no cache folder
        folder = store.absolute().parent
    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ItslabError(
            f"the study {study.name!r} is being conducted into {store} already: wait for it, or "
            "name another store"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _compare_builds(bank: Bank, model: Backend) -> None:
    """Say where a store's samples were drawn by another build of the same model."""
    ours = str(getattr(getattr(model, "model", None), "provenance", ""))
    theirs = [source for source in bank.models if source.digest == model.digest]
    others = [source for source in theirs if source.build != ours and source.samples]
    if others:
        lines = "; ".join(f"{source.samples:,} by {source.build!r}" for source in others)
        warnings.warn(
            f"{bank.path} holds samples of {model.name} that another build drew: {lines}. This one "
            f"is {ours!r}. Tokens and FLOPs can be compared, seconds cannot",
            stacklevel=4,
        )


def _about(study: Study, bank: Bank, load: Load | None, mode: str) -> dict[str, Any]:
    """All that it takes to repeat a study, but for the problems of tasks."""
    import psutil

    named = {name: model.digest for name, model in _identities(study, bank, load, mode).items()}
    return {
        "study": study.name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tasks": {
            name: {"task": task.name, "problems": len(task), "digest": spec(task).digest}
            for name, task in study.tasks.items()
        },
        "models": named,
        "strategies": {
            name: [spec(strategy).text for strategy in ladder]
            for name, ladder in study.ladders.items()
        },
        **_clusters(study),
        "budgets": [repr(budget) for budget in study.budgets],
        "seeds": list(study.seeds),
        "drawn by": [
            {"model": source.name, "digest": source.digest, "build": source.build}
            | {"batch_size": source.batch_size, "samples": source.samples}
            for source in bank.models
            if source.digest in named.values()
        ],
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": psutil.cpu_count(logical=False),
            "memory": psutil.virtual_memory().total,
            "load": [round(load, 2) for load in psutil.getloadavg()],
        },
        "versions": {name: version(name) for name in ("itslab", "numpy", "pandas", "math-verify")}
        | {"python": platform.python_version()},
    }


def _clusters(study: Study) -> dict[str, Any]:
    """How many problems there are of each cluster of each task."""
    return {
        "clusters": {
            name: dict(Counter(map(str, task.clusters))) for name, task in study.tasks.items()
        }
    }


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
