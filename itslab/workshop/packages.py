"""What a package asks for, and what that asks for in turn: where something of it is lacking.

Of packages installed here, or of wheels that are meant for another machine. pip decides conditions
such as ``sys_platform == "win32"`` by the machine it runs on even where it downloads for another,
so that what it brings may lack packages.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename


class Package(NamedTuple):
    """A version of a package that is at hand, and what it requires, as in its metadata."""

    version: str
    requires: Sequence[str]


class Lack(NamedTuple):
    """A requirement that is not met.

    Args:
        wanted: what is required.
        by: the package that requires it; "" for what was asked.
        version: that is at hand instead; None if there is none.
    """

    wanted: Requirement
    by: str
    version: str | None


Look = Callable[[str], Package | None]
"""Returns the package of a name, if there is one."""


def lacking(root: str, look: Look, environment: Mapping[str, str] | None = None) -> list[Lack]:
    """Return what is not met of a requirement, and of all that follows from it.

    Args:
        root: such as ``itslab`` or ``itslab[llama]``.
        look: finds a package by its normalized name.
        environment: the values of environment markers that differ from those of this machine.
    """
    waiting, lacks = [(Requirement(root), "")], []
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted, by = waiting.pop()
        name = canonicalize_name(wanted.name)
        package = look(name)
        if package is None or not wanted.specifier.contains(package.version, prereleases=True):
            lacks.append(Lack(wanted, by, package and package.version))
            continue
        for extra in {"", *wanted.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            applies = {**(environment or {}), "extra": extra}
            for requirement in map(Requirement, package.requires):
                if requirement.marker is None or requirement.marker.evaluate(applies):
                    waiting.append((requirement, name))
    return lacks


def installed(name: str) -> Package | None:
    """Return a package of this environment; see ``Look``."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return Package(found.version, found.requires or ())


def wheels(folder: Path) -> dict[str, Package]:
    """Return the packages of a folder of wheels, one version of each, by normalized name."""
    found = {}
    for path in folder.glob("*.whl"):
        name, version, _, _ = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            [told] = [
                file
                for file in archive.namelist()
                if re.fullmatch(r"[^/]+\.dist-info/METADATA", file)
            ]
            header = HeaderParser().parsestr(archive.read(told).decode())
        found[str(name)] = Package(str(version), header.get_all("Requires-Dist") or ())
    return found
