"""What other packages add: tasks and strategies that they register as entry points.

A package names them in its ``pyproject.toml``; once it is installed, ``tasks.load("arc")`` and
``strategies.find("Debate")`` know them:

    [project.entry-points."itslab.tasks"]
    arc = "my_package.arc:load"

    [project.entry-points."itslab.strategies"]
    Debate = "my_package.debate:Debate"
"""

from __future__ import annotations

import functools
import os
import sys
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Literal

from itslab.core import ItslabError

Group = Literal["itslab.tasks", "itslab.strategies"]


def names(group: Group) -> list[str]:
    """Return the names that installed packages register in a group."""
    return sorted(_registered(group).names)


def find(group: Group, name: str) -> Any:
    """Return what an installed package registers under a name; None if none does.

    Raises:
        ItslabError: it cannot be imported, or several packages register different things.
    """
    found = {entry.value: entry for entry in _registered(group).select(name=name)}
    if not found:
        return None
    if len(found) > 1:
        packages = " and ".join(sorted(map(_package, found.values())))
        raise ItslabError(f"{packages} both register {name!r} in {group}: uninstall one of them")
    [entry] = found.values()
    try:
        return entry.load()
    except (Exception, SystemExit) as error:  # whatever the package does while it is imported
        reason = f"{type(error).__name__}: {error}"
        raise ItslabError(
            f"{name!r} of the package {_package(entry)} cannot be imported from {entry.value} "
            f"({reason}): repair or uninstall it"
        ) from error


def _registered(group: Group) -> EntryPoints:
    """What is registered in a group. That is read from the files of all packages, and a server asks
    often: it is read again where a folder of packages has changed, as Python's import does it.
    """
    return _read(group, tuple((place, _changed(place)) for place in sys.path))


@functools.lru_cache(maxsize=2)  # groups
def _read(group: Group, places: tuple[tuple[str, int], ...]) -> EntryPoints:
    return entry_points(group=group)


def _changed(place: str) -> int:
    """When a folder was changed last, in nanoseconds; 0 if there is none."""
    try:
        return os.stat(place or os.curdir).st_mtime_ns
    except OSError:
        return 0


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown"
