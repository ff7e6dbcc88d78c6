"""One model for a whole class, whose laptops ask it, and what they hand in.

Who comes has a seat by its name (``limits.Users``), and those who wait share the machine evenly:
requests start in the order of what their users had (``lobby``), and their sequences join the batch
by the same rule (``backends.scheduler``). Both put priorities before fairness, so a class has no
tiers.

    POST /class/journal   a journal, as JSON lines, with the name as the key
    GET  /class           the page of what was handed in, without names
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

from itslab.backends import load
from itslab.core import Backend, ItslabError, require
from itslab.options import Count, checked
from itslab.serving import wire
from itslab.serving.desk import Desk
from itslab.serving.endpoint import Endpoint, raw
from itslab.serving.limits import User, Users
from itslab.serving.lobby import Admission
from itslab.serving.server import Server, bound
from itslab.serving.tiers import Menu
from itslab.share import key
from itslab.workshop import page
from itslab.workshop.gathered import MOST_BYTES, MOST_ENTRIES, gather, sound
from itslab.workshop.journal import Entry, read, written

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

SEATS, PORT = 30, 8000
EVERYWHERE = "0.0.0.0"
"""The host of a server that listens on all of a machine's addresses."""
BATCH, CONTEXT = 32, 2048
"""Sequences at once, and tokens of each: about one for each participant, so that a sample is drawn
about as fast as its participant's share of the machine lets it."""
WAITING = 64
"""Requests of one participant that may wait: a notebook has 16 on their way."""
JOURNALS = 4
"""Files of journals that are kept of each guest, and for each seat: a participant's, and what her
folder came with."""
FILES = 64
"""That the process may open for each seat: half of them are for connections, and a notebook has 16
at once."""
RARELY = 4
"""Times as long as the page took to draw, after which it is drawn anew: the model has the rest."""
PREFIX_CACHE = 128 * 2**20
_OF = re.compile(r"[0-9a-f]{12}")
_VIRTUAL = ("docker", "br-", "veth", "virbr", "vmnet", "vboxnet", "tun", "utun", "wg")
"""How interfaces begin by which no other machine comes."""


class NotKept(ItslabError):
    """A journal is not kept, for there are too many, or too much stands in it."""

    status = 403
    code = "too_many_journals"


class Classroom:
    """A model and what is handed in, on a port; as a context it serves in a thread of its own.

        with Classroom(llm, "journals") as room:
            print(room.told)

    Args:
        model: that all ask.
        folder: of the journals that are handed in; it is made if it is not there.
        seats: for participants, by their names.
        host: on which it listens; ``EVERYWHERE`` is all addresses of this machine.
        port: 0 takes any that is free.
        at_once: requests under way at a time; the sequences that the model's batch has places for.
        names: whether the page that ``GET /class`` gives calls participants by their names, to
            anyone on the network.

    Raises:
        ItslabError: the port is taken, the folder cannot be made, or the packages of a server are
            not installed.
    """

    @checked
    def __init__(
        self,
        model: Any,
        folder: str | Path,
        *,
        seats: Count = SEATS,
        host: str = EVERYWHERE,
        port: int = PORT,
        at_once: Count = BATCH,
        names: bool = False,
    ) -> None:
        self.folder, self.seats = Path(folder), seats
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ItslabError(f"{self.folder} cannot be made: {error.strerror}") from error
        self.model: Backend = model
        menu = Menu({model.name: model}, {}, deadline=None)
        admission = Admission(at_once, queue=seats * WAITING, per_user=WAITING, order="arrival")
        desk = Desk(menu, admission, Users([], guests=seats))
        self.server = Server(desk, host, port, self._routes)
        self._names, self._page, self._of, self._again = names, "", object(), 0.0
        self._brought: Counter[str] = Counter()  # by each guest, files that were new
        self._keeping, self._drawing = threading.Lock(), asyncio.Lock()

    @property
    def addresses(self) -> list[str]:
        """What participants may give as ``mode``, the likeliest first."""
        everywhere = self.server.host in (EVERYWHERE, "::")
        hosts = (network() or ["127.0.0.1"]) if everywhere else [self.server.host]
        return [f"http://{_bracketed(host)}:{self.server.port}/v1" for host in hosts]

    @property
    def told(self) -> str:
        """What to type where, in lines."""
        addresses = self.addresses
        name = getattr(self.model, "name", "")
        first, *others = [f'    mode = "{address}"' for address in addresses]
        other = ["  or, where that does not answer:", *others] if others else []
        shown = addresses[0].removesuffix("/v1")
        return "\n".join(
            [
                f"{name or 'a model'} for {self.seats} participants; in the first cell of the"
                " notebooks (and in session 3 larger = ''):",
                *([f'    model = "{name}"'] if name else []),
                first,
                *other,
                f"what is handed in: {self.folder}, and as a page: {shown}/class",
            ]
        )

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM."""
        self.server.run()

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self.server.__exit__(*reason)

    # -- what is handed in

    def _routes(self, endpoint: Endpoint) -> Sequence[Route]:
        from starlette.routing import Route

        return [
            Route("/class/journal", endpoint.guarded(self._handed_in), methods=["POST"]),
            Route("/class", self._shown),
        ]

    async def _handed_in(self, request: Request, user: User) -> Response:
        """Keep what a journal holds, beside what was handed in before."""
        from starlette.responses import JSONResponse

        lines = [line for line in (await raw(request, MOST_BYTES)).splitlines() if line.strip()]
        told = await asyncio.to_thread(self._kept, lines, key(user.name))
        return JSONResponse(told)

    def _kept(self, lines: Sequence[bytes], guest: str) -> dict[str, Any]:
        """Keep what can be kept; what cannot is left out, unless it is all that the guest wrote."""
        entries, damaged = sound(lines)
        if not entries:
            raise wire.BadBody(
                "that is no journal: JSON lines, as a session's notebook writes them"
            )
        by: dict[str, list[Entry]] = {}
        for entry in entries:
            by.setdefault(entry.of, []).append(entry)
        hers = {of for of, wrote in by.items() if any(key(one.by) == guest for one in wrote)}
        # Who gave no name is one guest with all others who gave none.
        own = JOURNALS + (self.seats if guest == key("") else 0)
        whole: dict[str, bytes] = {}
        refused: dict[str, ItslabError] = {}
        with self._keeping:
            there = {path.stem for path in self.folder.glob("*.txt")}
            free = min(JOURNALS * self.seats - len(there), own - self._brought[guest])
            # Hers first, and of those what was written last: a folder comes with what is older.
            for of in sorted(by, key=lambda of: (of in hers, by[of][-1].time), reverse=True):
                try:
                    whole[of] = self._whole(of, by[of], of in there or free > 0)
                    free -= of not in there
                except ItslabError as error:
                    refused[of] = error
            if not whole or (hers and hers <= set(refused)):
                raise next(iter(refused.values()))
            for of, held in whole.items():
                if held:
                    _write(self.folder / f"{of}.txt", held)
                self._brought[guest] += of not in there
        kept = sum(len(by[of]) for of in whole)
        return {"entries": kept, "left_out": damaged + len(entries) - kept}

    def _whole(self, of: str, entries: Sequence[Entry], may: bool) -> bytes:
        """What one participant wrote; what is there already stays, whoever sends the rest.

        Args:
            of: names the participant.
            entries: that are sent.
            may: whether there may be one more file.

        Returns:
            The lines of the whole; nothing where all of it is there.

        Raises:
            OptionError: ``of`` names nobody.
            NotKept: it is too much, or there are too many.
        """
        fits = bool(_OF.fullmatch(of))
        require(fits, "of", of[:40], "12 digits of 0-9a-f, as a journal has them")
        if not may:
            said = f"{JOURNALS * self.seats} journals are kept, {JOURNALS} of each who hands in"
            raise NotKept(f"{said}, and no more: bring yours by hand")
        path = self.folder / f"{of}.txt"
        earlier = {repr(entry): entry for entry in read(path)} if path.exists() else {}
        whole = earlier | {repr(entry): entry for entry in entries}
        held = written([*whole.values()])
        if len(whole) > MOST_ENTRIES or len(held) > MOST_BYTES:
            said = f"{MOST_ENTRIES:,} entries of {MOST_BYTES:,} bytes together are kept of each"
            raise NotKept(f"{said}, and no more: bring yours by hand")
        return held if len(whole) > len(earlier) else b""

    async def _shown(self, request: Request) -> Response:
        """The page of what was handed in so far; others than its readers do not wait for it."""
        from starlette.responses import HTMLResponse, PlainTextResponse

        try:
            async with self._drawing:
                shown = await asyncio.to_thread(self._drawn)
        except ItslabError as error:
            return PlainTextResponse(str(error), 503)
        return HTMLResponse(shown, headers={"Cache-Control": "no-cache"})

    def _drawn(self) -> str:
        """The page, drawn anew if the folder has changed, but not all the time."""
        now = sorted((str(path), _changed(path)) for path in self.folder.rglob("*.txt"))
        began = time.monotonic()
        if self._of != now and began >= self._again:
            self._page, self._of = page.drawn(gather(self.folder, self._names)), now
            ended = time.monotonic()
            self._again = ended + RARELY * (ended - began)
        return self._page


def _changed(path: Path) -> int:
    """When a file was changed, in nanoseconds; 0 if it is gone meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _write(path: Path, held: bytes) -> None:
    """Write a journal as a whole: who reads meanwhile finds the earlier one."""
    fresh = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        fresh.write_bytes(held)
        os.replace(fresh, path)
    except OSError as error:
        with suppress(OSError):  # of a folder in which nothing can be changed
            fresh.unlink(missing_ok=True)
        raise ItslabError(f"{path} cannot be written: {error.strerror}") from error


def network() -> list[str]:
    """Return the IPv4 addresses at which others may reach this machine, cables and WLAN first."""
    up = {name for name, one in psutil.net_if_stats().items() if one.isup}
    found = [
        (name.lower().startswith(_VIRTUAL), address.address)
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family == socket.AF_INET and name in up
    ]
    usable = [
        (virtual, address)
        for virtual, address in found
        if not (ipaddress.ip_address(address).is_loopback or address.startswith("169.254."))
    ]
    return [address for _, address in sorted(usable, key=lambda one: one[0])]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _may_open(files: int) -> None:
    """Let this process open so many files, as far as the system lets it raise its own limit."""
    try:
        import resource
    except ImportError:  # Windows, where connections are no files
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = files if hard == unlimited else min(files, hard)
    if soft != unlimited and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(
    model: str,
    folder: str | Path,
    *,
    seats: int = SEATS,
    host: str = EVERYWHERE,
    port: int = PORT,
    batch_size: int = BATCH,
    context: int = CONTEXT,
    names: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Serve a model to a class until Ctrl-C or SIGTERM.

    Args:
        model: as of ``itslab.load``.
        folder: of the journals that are handed in.
        seats: for participants.
        host: on which it listens.
        port: 0 takes any that is free.
        batch_size: sequences at once, of all participants together.
        context: tokens of a sequence.
        names: whether anyone on the network may read who handed in what.
        say: is told what to type in the notebooks.

    Raises:
        ItslabError: the model, the port or the folder cannot be had.
    """
    bound(host, port).close()  # before a model is pulled and loaded in vain
    _may_open(FILES * seats)
    llm = load(model, batch_size=batch_size, context=context, prefix_cache=PREFIX_CACHE)
    room = Classroom(
        llm, folder, seats=seats, host=host, port=port, at_once=batch_size, names=names
    )
    say(room.told)
    room.run()
