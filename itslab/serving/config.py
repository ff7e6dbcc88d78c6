"""A service written down: tiers, users, limits and admission, from YAML.

    tiers:
      fast: {strategy: {use: SelfConsistency, n: 1}, deadline: 20, priority: 1}
      deep:
        strategy: {use: SelfConsistency, n: 16}
        budget: {tokens: 8000}
        deadline: 120
        cheaper: fast
        price: {input: 0.1, cached: 0.01, output: 0.4}
    users:
      - {name: ann, key: change-me, weight: 2, limits: [{per_minute: 20000}]}
    limits: [{unit: tokens, per_minute: 5000}]
    admission: {at_once: 16, queue: 64, full: degrade}

A ``price`` is in US dollars for a million tokens, or ``hourly``, of compute: it is listed, and what
an answer came to by it stands beside it and in the log. ``limits`` are those of users who have none
of their own; ``guests: 30`` gives so many others a seat each, by the name that they send as their
key. What is left out is as it is by default, but that of one user among several at most ``SHARE``
requests wait: one cannot fill the queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from itslab.core import ItslabError, OptionError, require
from itslab.options import Options
from itslab.serving.limits import Limit, Users
from itslab.serving.lobby import Admission, Lobby
from itslab.serving.tiers import TIERS, Tier
from itslab.study.reading import build, plain

SHARE = 16
"""Requests of one user that may wait, where users are told apart."""


@dataclass(frozen=True)
class Config(Options):
    """What a server is told besides its models.

    Args:
        tiers: by name.
        users: who may ask; None lets everybody.
        limits: of users who have none of their own.
        admission: how many are served at once, and what befalls the others.
    """

    tiers: Mapping[str, Tier]
    users: Users | None = None
    limits: tuple[Limit, ...] = ()
    admission: Admission = field(default_factory=Admission)


def read(path: str | Path) -> Config:
    """Read a service from a YAML file.

    Raises:
        ItslabError: the file cannot be read.
        OptionError: it holds what no service has; the text names the place. Keys are not shown.
    """
    import yaml

    try:
        given = plain(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ItslabError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    except yaml.YAMLError as error:  # its text quotes the file, and so perhaps a key
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        twice = " (or a name stands twice)" if place else ""
        raise ItslabError(f"{path} is no YAML{place}{twice}") from error
    return parse(given if given is not None else {})


def parse(given: Mapping[str, Any]) -> Config:
    """Return the service that plain data describes; see ``read``."""
    known = ("tiers", "users", "guests", "limits", "admission")
    require(
        isinstance(given, Mapping), "the service", type(given).__name__, f"a mapping of {known}"
    )
    for name in given:
        require(name in known, "the service", name, f"made of {', '.join(known)}")
    guests = given.get("guests") or 0
    users = Users([], guests) if guests else None
    if "users" in given:  # left empty, it would let everybody ask
        users = Users.read(given["users"] or [], guests)
    tiers, limits = given.get("tiers") or {}, given.get("limits") or []
    _mapping("tiers", tiers)
    admission = given.get("admission") or {}
    _mapping("admission", admission)
    usual = {"per_user": SHARE} if users else {}
    if not isinstance(limits, list):
        raise OptionError(f"limits is a {type(limits).__name__}, and must be a list of limits")
    made = {str(name): _at(f"tiers.{name}", Tier, one) for name, one in tiers.items()} or TIERS
    for name, tier in made.items():
        others = ["", *(other for other in made if other != name)]
        require(tier.cheaper in others, f"tiers.{name}: cheaper", tier.cheaper, f"one of {others}")
    Lobby(cheaper={name: tier.cheaper for name, tier in made.items() if tier.cheaper})  # no cycle
    return Config(
        tiers=made,
        users=users,
        limits=tuple(_at(f"limits.{i}", Limit, one) for i, one in enumerate(limits)),
        admission=_at("admission", Admission, usual | admission),
    )


def _mapping(place: str, given: Any) -> None:
    """Refuse what is none, without showing it: a key may stand in the wrong place."""
    if not isinstance(given, Mapping):
        raise OptionError(f"{place} is a {type(given).__name__}, and must be names with values")


def _at(place: str, kind: Any, given: Any) -> Any:
    """Make a part; an error says where it stands."""
    _mapping(place, given)
    try:
        return build(kind, given)
    except ItslabError as error:
        raise type(error)(f"{place}: {error}") from error
