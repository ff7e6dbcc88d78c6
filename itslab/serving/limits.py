"""How much compute a user may take: token buckets in tokens or FLOPs, and whose key is whose.

A bucket holds what may be taken at once and fills at a steady rate (Turner 1986, IEEE
Communications Magazine 24(10); as a meter, RFC 2697). What a request is thought to cost is taken
when it is let in, and corrected by what it did cost when it is over. Levels are exact fractions, so
however many reservations and settlements there are, in any order, nothing is lost to rounding.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import unquote

from itslab.core import ItslabError, OptionError
from itslab.options import Bounds, Options, Text, Whole, check, checked, require

Unit = Literal["tokens", "flops"]
Amounts = Mapping[Unit, float]
"""So much of each unit."""
MINUTE = 60
Rate = Annotated[float, Bounds(1e-3)]
"""So that whatever is waited for is a time that can be told."""
Weight = Annotated[float, Bounds(1e-6, 1e6)]
"""So that no share of a user's becomes infinite, or nothing."""


@dataclass(frozen=True)
class Limit(Options):
    """What a user may take of one unit.

    Args:
        unit: ``tokens`` decoded, or ``flops``, which count prompts as well and a large model more.
        per_minute: how fast the bucket fills, in units.
        burst: what it holds, in units; None is what fills it in a minute.
    """

    unit: Unit = "tokens"
    per_minute: Rate = 10_000
    burst: Rate | None = None

    @property
    def size(self) -> float:
        """What a full bucket holds."""
        return self.per_minute if self.burst is None else self.burst

    def __str__(self) -> str:
        return f"{_shown(self.per_minute)} {self.unit} a minute"


class Short(NamedTuple):
    """What a bucket lacks.

    Args:
        limit: that is reached.
        level: what it has, in units; less than nothing after a request that cost more than thought.
        seconds: until it has enough, or is full if what is asked is more than that.
    """

    limit: Limit
    level: float
    seconds: float

    def __str__(self) -> str:
        return f"the limit of {self.limit} leaves {_shown(self.level)} now"


class Bucket:
    """One limit of one user; it begins full.

    Args:
        limit: as given.
        now: when it begins, seconds of any clock.
    """

    def __init__(self, limit: Limit, now: float) -> None:
        self.limit = limit
        self._size, self._rate = Fraction(limit.size), Fraction(limit.per_minute) / MINUTE
        self._level, self._time = self._size, Fraction(now)

    def level(self, now: float) -> Fraction:
        """What it has, in units."""
        waited = max(Fraction(now) - self._time, Fraction(0))
        return min(self._size, self._level + self._rate * waited)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much may be taken; 0 if it may be now."""
        lacking = min(Fraction(amount), self._size) - self.level(now)
        if lacking <= 0:
            return 0.0
        seconds = float(lacking / self._rate)
        # Rounded up, so that who comes back at that very moment is let in.
        return seconds + 4 * math.ulp(abs(now) + seconds)

    def take(self, amount: Fraction, now: float) -> None:
        """Take so much, even if it has less; less than nothing is given back."""
        self._level = min(self._size, self.level(now) - amount)
        self._time = max(self._time, Fraction(now))


class Limits:
    """The buckets of all users.

    Args:
        limits: by user; each may have several, of which every one must have enough.
        default: of users who have none of their own; empty is no limit.
    """

    @checked
    def __init__(
        self, limits: Mapping[str, Sequence[Limit]] = {}, default: Sequence[Limit] = ()
    ) -> None:
        self._limits, self._default = dict(limits), default
        self._buckets: dict[str, list[Bucket]] = {}

    def of(self, user: str, now: float) -> list[Bucket]:
        """The buckets of a user."""
        if user not in self._buckets:
            limits = self._limits.get(user, self._default)
            if not limits:
                return []
            self._buckets[user] = [Bucket(limit, now) for limit in limits]
        return self._buckets[user]

    def reserve(self, user: str, predicted: Amounts, now: float) -> Short | None:
        """Take what a request is thought to cost from every bucket, or, if one lacks it, from none.

        What is thought to cost more than a full bucket may be taken from a full one.

        Returns:
            None if it was taken, else what lacks it for longest.
        """
        short: Short | None = None
        buckets = self.of(user, now)
        for bucket in buckets:
            seconds = bucket.wait(_of(predicted, bucket), now)
            if seconds > (short.seconds if short else 0):
                short = Short(bucket.limit, float(bucket.level(now)), seconds)
        if short is None:
            for bucket in buckets:
                bucket.take(Fraction(_of(predicted, bucket)), now)
        return short

    def settle(self, user: str, predicted: Amounts, spent: Amounts, now: float) -> None:
        """Correct a reservation by what was spent: the difference is taken, or given back."""
        for bucket in self.of(user, now):
            more = Fraction(_of(spent, bucket)) - Fraction(_of(predicted, bucket))
            bucket.take(more, now)


def _of(amounts: Amounts, bucket: Bucket) -> float:
    return amounts.get(bucket.limit.unit, 0.0)


def _shown(amount: float) -> str:
    """A number of units, in few letters."""
    return f"{amount:,.0f}" if 10 <= abs(amount) < 1e9 else f"{amount:.3g}"


# -- who it is -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class User(Options):
    """Someone who may ask. The key is in no repr and in no error.

    Args:
        name: by which users are told apart, billed and logged.
        key: what the user proves itself with, as in ``Authorization: Bearer KEY``.
        weight: its share of what the machine can do, relative to others'.
        limits: on what it may take; empty are those of everyone.

    Raises:
        OptionError: as of any options; of a bad key it says whose, not what it is.
    """

    name: Text
    key: Text = field(repr=False, compare=False)
    weight: Weight = 1.0
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        fits = type(self.key) is str and self.key.isascii() and self.key.isprintable()
        if not fits or not self.key or self.key != self.key.strip():
            said = "it must be printable ASCII, no space around it: it is sent in a header"
            raise OptionError(f"the key of user {self.name!r} is not valid: {said}")
        check(self)


LETTERS = 64
"""Of a guest's name."""


IDLE = 15 * MINUTE
"""Seconds without a request after which a guest's seat is given to another who comes."""


class SeatsTaken(ItslabError):
    """A guest comes, and all seats are taken."""

    status = 403
    code = "seats_taken"


@dataclass
class _Seat:
    """Of a guest: who, when it was last heard of, its requests under way, and whether any was
    answered for which a seat is kept."""

    user: User
    seen: float
    asking: int = 0
    kept: bool = False


class Users:
    """Those who may ask, known by their keys.

    Args:
        users: of different names and keys.
        guests: seats for those whose key is nobody's, as for a class whose names nobody types in.
            Such a key is its guest's name, percent-encoded: who comes with the same one is the same
            guest. A seat is kept, but where another has none it gets that of who has asked nothing,
            and has had nothing under way, for ``IDLE`` seconds. All weigh the same.

    Raises:
        OptionError: two have the same name, or the same key; the text says who.
    """

    @checked
    def __init__(self, users: Sequence[User], guests: Whole = 0) -> None:
        self.seats = guests
        self._guests: dict[str, _Seat] = {}
        self._seating = threading.Lock()
        self.by_name: Mapping[str, User] = {user.name: user for user in users}
        require(len(self.by_name) == len(users), "users", [u.name for u in users], "all different")
        self._digests = [(_digest(user.key), user) for user in users]
        owners: dict[bytes, str] = {}
        for digest, user in self._digests:
            if (other := owners.setdefault(digest, user.name)) != user.name:
                raise OptionError(f"users {other!r} and {user.name!r} have the same key")

    def __repr__(self) -> str:
        seats = f"{len(self._guests)} of {self.seats} seats taken" if self.seats else ""
        return f"Users({', '.join(filter(None, [*self.by_name, seats]))})"

    def find(self, key: str) -> User | None:
        """Return whose key it is, in a time that tells nothing of any named user's.

        A guest's seat is in use until ``answered`` is told of it, once for each time.

        Raises:
            SeatsTaken: it is a new guest's, and there is no seat left.
        """
        asked, found = _digest(key), None
        for digest, user in self._digests:
            if hmac.compare_digest(asked, digest):
                found = user
        return found or self._guest(key)

    def _guest(self, key: str) -> User | None:
        """Give a guest a seat; None where the key is no name, or that of a user with a key."""
        name = " ".join(unquote(key).split())
        fits = 0 < len(name) <= LETTERS and name.isprintable() and name not in self.by_name
        if not (self.seats and fits):
            return None
        with self._seating:
            now = time.monotonic()
            if name not in self._guests:
                if len(self._guests) >= self.seats:
                    self._free(name, now)
                self._guests[name] = _Seat(User(name, "a guest has none"), now)
            seat = self._guests[name]
            seat.seen = now
            seat.asking += 1
            return seat.user

    def _free(self, name: str, now: float) -> None:
        """Free the seat of who was away for longest."""
        seen = {one: math.inf if seat.asking else seat.seen for one, seat in self._guests.items()}
        away = min(seen, key=lambda one: seen[one])
        if now - seen[away] < IDLE:
            raise SeatsTaken(
                f"all {self.seats} seats are taken, and {name!r} has none: come with a name that "
                f"has one, wait until one was not used for {IDLE / MINUTE:.0f} minutes, or ask who "
                "runs this server for more (--seats of a class, guests of a service)"
            )
        del self._guests[away]

    def answered(self, user: User, well: bool) -> None:
        """Tell that a request is over; a seat for which nothing was answered is taken back.

        Args:
            user: as ``find`` returned it.
            well: whether it was answered, and a seat is kept for what was asked.
        """
        with self._seating:
            seat = self._guests.get(user.name)
            if seat and seat.user is user:
                seat.seen = time.monotonic()
                seat.asking -= 1
                seat.kept = seat.kept or well
                if not (seat.kept or seat.asking):
                    del self._guests[user.name]

    def limits(self, default: Sequence[Limit] = ()) -> Limits:
        """Return the buckets of all of them.

        Args:
            default: of those who have none of their own.
        """
        own = {name: user.limits for name, user in self.by_name.items() if user.limits}
        return Limits(own, default)

    @classmethod
    def read(cls, given: Sequence[Mapping[str, Any]], guests: int = 0) -> Users:
        """Make users from plain data, as JSON and YAML hold it.

        ``[{"name": "ann", "key": "…", "weight": 2, "limits": [{"per_minute": 20000}]}]``

        Args:
            given: the named ones.
            guests: seats for others.

        Raises:
            OptionError: an entry or an option is unknown, lacking or not valid.
        """
        if not isinstance(given, list | tuple) or not (given or guests):
            raise OptionError(
                "users are not valid: they must be a list of at least one, with name and key"
            )
        return cls([_user(entry, number) for number, entry in enumerate(given, 1)], guests)


def _digest(key: str) -> bytes:
    """As long for every key, so that comparing two does not tell how long one is."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def _user(entry: Any, number: int) -> User:
    fields = _named(entry, f"user {number}", User)
    limits = fields.get("limits", ())
    if not isinstance(limits, list | tuple):
        raise OptionError(f"the limits of user {number} are not valid: they must be a list")
    made = tuple(Limit(**_named(limit, f"a limit of user {number}", Limit)) for limit in limits)
    return User(**{**fields, "limits": made})


def _named(entry: Any, what: str, kind: type) -> dict[str, Any]:
    """The options of an entry; what is wrong with it is said without its values."""
    known = list(kind.__annotations__)
    given = set(entry) if isinstance(entry, Mapping) else set()
    lacking = [name for name in ("name", "key") if name in known and name not in given]
    ours = isinstance(entry, Mapping) and given <= set(known)
    if not ours or lacking:
        needed = f", {' and '.join(lacking)} at least" if lacking else ""
        raise OptionError(f"{what} is not valid: it may have {', '.join(known)}{needed}")
    return dict(entry)
