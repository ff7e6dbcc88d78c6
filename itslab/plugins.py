"""What other packages add: tasks and strategies that they register as entry points.

A package names them in its ``pyproject.toml``; once it is installed, ``tasks.load("arc")`` and
``strategies.find("Debate")`` know them:

    [project.entry-points."itslab.tasks"]
    arc = "my_package.arc:load"

    [project.entry-points."itslab.strategies"]
    Debate = "my_package.debate:Debate"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from itslab.core import ItslabError

Group = Literal["itslab.tasks", "itslab.strategies"]


def names(group: Group) -> list[str]:
    """Return the names that installed packages register in a group."""
    return sorted(entry_points(group=group).names)


def find(group: Group, name: str) -> Any:
    """Return what an installed package registers under a name; None if none does.

    Raises:
        ItslabError: it cannot be imported, or several packages register different things.
    """
    found = {entry.value: entry for entry in entry_points(group=group, name=name)}
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


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown"
