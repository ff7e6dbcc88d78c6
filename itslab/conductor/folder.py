"""The folder beside a store in which workers leave their parts, and who may use it: one driver."""

from __future__ import annotations

import shutil
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from itslab.backends import Bank
from itslab.conductor.parts import study_key
from itslab.core import BackendError, ItslabError
from itslab.study.plan import Study


def folder(study: Study, store: Path) -> Path:
    """Return where workers leave their parts of a study; other studies have other places."""
    file = store.resolve()  # however it is called
    return file.with_name(f"{file.name}.parts") / study_key(study)


@contextmanager
def alone(study: Study, store: Path) -> Iterator[None]:
    """Let nobody else conduct the same study into a store meanwhile: all would be drawn twice.

    Raises:
        ItslabError: somebody does, or there can be no folder beside the store.
    """
    from filelock import FileLock, Timeout

    place = folder(study, store)
    lock = FileLock(place.with_suffix(".lock"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ItslabError(
            f"the study {study.name!r} is being conducted into {store} already: wait for it, or "
            "name another store"
        ) from error
    except OSError as error:
        raise ItslabError(f"the study cannot use the folder {place.parent}: {error}") from error
    try:
        for token in place.glob("*.token"):  # of a driver that was killed
            token.unlink(missing_ok=True)
        yield
    finally:
        with suppress(OSError):  # on Windows nobody may delete what is open
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # others are using it
            place.parent.rmdir()


@contextmanager
def open_to_workers(place: Path) -> Iterator[Path]:
    """Yield a file that is there as long as the driver: who sees it shares the folder."""
    place.mkdir(exist_ok=True)
    token = place / f"{uuid.uuid4().hex}.token"
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


def collect(bank: Bank, place: Path) -> None:
    """Add to a bank what workers have left, of whom some may still be at it."""
    for file in sorted(place.glob("*.sqlite")):
        try:
            bank.merge(file)
        except BackendError as error:
            aside = file.rename(file.with_suffix(".damaged"))
            warnings.warn(f"left out, and put aside as {aside.name}: {error}", stacklevel=2)


def clear(bank: Bank, place: Path) -> None:
    """Add to a bank what workers have left, and remove it."""
    collect(bank, place)
    shutil.rmtree(place, ignore_errors=True)
