"""A connection that is given up when its client has gone silent; uvicorn gives up idle ones alone.

Otherwise who connects and sends half a request, or byte by byte, or reads no answer, would hold its
socket for ever (slowloris, Hansen 2009), and a server has no more than so many.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVAL = 30.0
"""Seconds that a request may take to arrive, and an answer may stay unread; up to twice as many, as
a connection is looked at so often, and closed where two looks see the same."""

MOST = 2**16
"""Connections that may be open where no limit on files says less."""


def room() -> int:
    """Return how many connections may be open: half of the files that this process may open."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else files // 2


class Connection(H11Protocol):
    """A connection on which something happens, or that is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look after it."""
        super().connection_made(transport)
        self._pauses = 0
        self._look(None)
        if len(self.connections) > room():  # asyncio would complain of each, again and again
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look after it no longer."""
        self._next.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Count how often more was to be sent than is read."""
        self._pauses += 1
        super().pause_writing()

    def _look(self, before: Any) -> None:
        cycle = self.cycle  # the request that came last, with its answer
        idle = cycle is None or cycle.response_complete  # the next one is waited for, if any
        coming = idle or cycle.more_body
        seen = cycle, idle, coming, self._pauses, self.transport.get_write_buffer_size()
        # One that is worked on may take its time, as long as what it says is read.
        if seen == before and (coming or self.flow.write_paused):
            self.transport.abort()  # to close it would wait until all is read
        else:
            self._next = self.loop.call_later(ARRIVAL, self._look, seen)
