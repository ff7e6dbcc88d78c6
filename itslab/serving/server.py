"""An endpoint at work on a port: in the foreground, or beside a notebook."""

from __future__ import annotations

import socket
import threading
import time
from types import FrameType
from typing import Any, Self

from itslab.core import ItslabError, extra
from itslab.serving.desk import Desk
from itslab.serving.endpoint import More, application

HOST, PORT = "127.0.0.1", 8000
QUEUED = 2048
"""Connections that may wait to be accepted."""
ACCEPTED = 32
"""Connections that are accepted before others are looked after."""
GRACE = 5
"""Seconds that open streams have to end when the server is shut down."""


class Server:
    """The endpoint of a desk on a port; as a context it serves in a thread of its own.

        with Server(Desk(Menu({"small": llm}))) as server:
            openai.OpenAI(base_url=server.url, api_key="none")

    Args:
        desk: that answers; it is closed with the server.
        host: the address on which it listens; only this machine reaches ``127.0.0.1``.
        port: 0 takes any that is free.
        more: routes beside those of the endpoint.

    Raises:
        ItslabError: the port is taken, or the packages of a server are not installed.
    """

    def __init__(
        self,
        desk: Desk,
        host: str = HOST,
        port: int = PORT,
        more: More = lambda endpoint: (),
    ) -> None:
        try:
            import uvicorn

            from itslab.serving.connection import Connection
        except ImportError as error:
            raise ItslabError(f"a server takes more packages: {extra('serve')}") from error
        self.desk = desk
        self._socket = bound(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        ended, listening = self._ended, self._socket

        class Ended(uvicorn.Server):
            """Lets requests say their best at once when it is told to end."""

            def handle_exit(self, sig: int, frame: FrameType | None) -> None:
                ended()
                super().handle_exit(sig, frame)

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                listening.listen(QUEUED)  # asyncio takes one number for both

        config = uvicorn.Config(
            application(desk, more),
            http=Connection,
            ws="none",
            backlog=ACCEPTED,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE,
        )
        self._server = Ended(config)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address for clients."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM."""
        self._server.run(sockets=[self._socket])

    def _ended(self) -> None:
        """End what is under way; not in this thread, which may be one that holds a lock."""
        threading.Thread(target=self.desk.close, daemon=True).start()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.run, name="itslab-server", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended()
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(2 * GRACE)


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ItslabError: it cannot, as where the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(QUEUED)  # who comes before the first request is served has to wait
    except (OSError, UnicodeError) as error:  # the latter of a name that no host can have
        listening.close()
        why = getattr(error, "strerror", None) or error
        raise ItslabError(f"{host}:{port} cannot be listened on: {why}") from error
    return listening
