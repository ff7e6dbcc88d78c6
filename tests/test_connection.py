"""Connections whose clients go silent are closed; those that are worked on are not."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from itslab.serving import connection
from itslab.serving.desk import Desk
from itslab.serving.server import Server
from itslab.serving.tiers import Menu
from itslab.testing import ScriptedModel

SOON = 0.5
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\n"
ASK = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
HALF = {
    "nothing": b"",
    "half a line": HEAD[:9],
    "half a header": HEAD,
    "half a body": HEAD + b'Content-Length: 99\r\n\r\n{"model":',
    "half a piece": HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{",
    "one request and a half": b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n" + HEAD,
}


class Waiting:
    """Says its text when it may."""

    def __init__(self) -> None:
        self.text, self.may = "4", threading.Event()

    def __call__(self, request: object, index: int) -> str:
        self.may.wait(60)
        return self.text


@pytest.fixture
def model() -> Waiting:
    return Waiting()


@pytest.fixture
def server(model: Waiting, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that looks at its connections often."""
    monkeypatch.setattr(connection, "ARRIVAL", SOON)
    with Server(Desk(Menu({"m": ScriptedModel(replies=model)})), port=0) as server:
        yield server


def connected(server: Server) -> socket.socket:
    client = socket.create_connection((server.host, server.port))
    client.settimeout(60)
    return client


def left(server: Server) -> int:
    return len(server._server.server_state.connections)


def gone(server: Server) -> bool:
    until = time.monotonic() + 60
    while left(server) and time.monotonic() < until:
        time.sleep(0.02)
    return not left(server)


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF)
def test_who_sends_half_a_request_is_hung_up_on(server: Server, sent: bytes, caplog) -> None:
    with caplog.at_level(logging.INFO), connected(server) as client:
        client.sendall(sent)
        while client.recv(9999):
            pass
        assert gone(server)
    assert not [one for one in caplog.records if one.name.startswith("itslab")]


def test_who_sends_byte_by_byte_is_hung_up_on(server: Server) -> None:
    with connected(server) as client:

        def trickle() -> None:
            for byte in HEAD * 1000:
                client.sendall(bytes([byte]))
                time.sleep(SOON / 10)

        with pytest.raises(OSError, match=r"pipe|reset|abort"):
            trickle()


@pytest.mark.parametrize("stream", [False, True])
def test_who_is_answered_late_is_waited_for(server: Server, model: Waiting, stream: bool) -> None:
    threading.Timer(5 * SOON, model.may.set).start()
    url = f"{server.url}/chat/completions"
    with httpx.Client(timeout=60) as client:
        answer = client.post(url, json=ASK | {"stream": stream})
        assert answer.status_code == 200
        assert '"finish_reason":"stop"' in answer.text
        assert client.post(url, json=ASK).status_code == 200


def test_who_reads_nothing_is_hung_up_on(server: Server, model: Waiting) -> None:
    model.text = "so " * 2_000_000  # more than any socket holds
    model.may.set()
    body = json.dumps(ASK).encode()
    with connected(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        client.recv(1)  # the answer is there
        assert gone(server)


def test_those_for_whom_there_is_no_room_are_hung_up_on(server: Server, monkeypatch) -> None:
    monkeypatch.setattr(connection, "room", lambda: 3)
    monkeypatch.setattr(connection, "ARRIVAL", 3600.0)
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(9)]
        closed: set[socket.socket] = set()
        until = time.monotonic() + 60
        while len(closed) < 6 and time.monotonic() < until:
            closed |= {client for client in clients if hung_up(client)}
        assert (len(closed), left(server)) == (6, 3)
    assert gone(server)
    assert httpx.get(server.url.replace("/v1", "/health")).status_code == 200


def hung_up(client: socket.socket) -> bool:
    """Whether the server has closed a connection."""
    client.settimeout(0.02)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
