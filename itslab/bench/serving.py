"""What an endpoint costs the engine behind it, and how soon its first words come."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from itslab.backends.llama import Llama
from itslab.bench.rounds import Say, new_texts, quiet, ratios
from itslab.core import Message, Request, Sampling
from itslab.models import ModelFile
from itslab.serving.desk import Desk
from itslab.serving.lobby import Admission
from itslab.serving.server import Server
from itslab.serving.tiers import Menu, Tier, looked
from itslab.strategies import SelfConsistency

_CLIENT = """
import socket, sys, json, threading
def ask(body):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    head = "POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n"
    s.sendall(f"{head}Content-Length: {len(body)}\\r\\n\\r\\n".encode() + body)
    while s.recv(65536):
        pass
bodies = [json.dumps(b).encode() for b in json.load(sys.stdin)]
threads = [threading.Thread(target=ask, args=(b,)) for b in bodies]
[t.start() for t in threads]
[t.join() for t in threads]
"""
"""A client that takes as little of the machine as one can: the model has the rest."""


@dataclass
class ServingReport:
    """An endpoint beside the same engine without one.

    Args:
        label: the model, and how it was asked.
        speed: ``direct`` and ``endpoint`` -> tokens/s of all samples drawn at once, by round.
        first: the same -> seconds to the first words of one sample, drawn alone.
        partial: ``fast`` and ``balanced`` -> seconds to the first whole sample.
    """

    label: str
    speed: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, list[float]] = field(default_factory=dict)
    partial: dict[str, list[float]] = field(default_factory=dict)

    def table(self) -> str:
        """The medians as text, and of the ratios the least and the greatest."""
        lines = [self.label]
        for name, unit, of in (
            ("tokens/s, all at once", "", self.speed),
            ("seconds to first words", "s", self.first),
            ("seconds to first answer", "s", self.partial),
        ):
            (a, some), (b, others) = of.items()
            found = sorted(ratios(others, some))
            lines.append(
                f"{name:<24} {a} {statistics.median(some):.3g}{unit}, {b} "
                f"{statistics.median(others):.3g}{unit}, ratio {statistics.median(found):.3f} "
                f"({found[0]:.3f} to {found[-1]:.3f}, {len(found)} rounds)"
            )
        return "\n".join(lines)


def measure_serving(
    model: ModelFile,
    *,
    clients: int = 16,
    tokens: int = 128,
    rounds: int = 5,
    threads: int | None = None,
    say: Say = quiet,
) -> ServingReport:
    """Measure throughput and first words, with and without an endpoint, in turns.

    Samples go on to ``tokens``, whatever the model says, so that all are equally long.

    Args:
        model: the file.
        clients: that ask at once, each over a connection of its own.
        tokens: of each sample.
        rounds: repetitions.
        threads: of llama.cpp; None for all physical cores.
        say: is told of each round.
    """
    options: dict[str, Any] = {"batch_size": clients, "context": 1024, "ignore_eos": True}
    report = ServingReport(f"{model.name}, {clients} clients, {tokens} tokens each")
    sampling = Sampling(max_tokens=64)
    tiers = {
        "fast": Tier(SelfConsistency(1, sampling=sampling)),
        "balanced": Tier(looked(5, sampling)),
    }
    texts = new_texts()
    with Llama(model.path, model.name, model.digest, threads=threads, **options) as llm:
        desk = Desk(Menu({"m": llm}, tiers), Admission(at_once=clients))
        with Server(desk, port=0) as server:
            for i in range(rounds):
                prompts = [next(texts) for _ in range(clients)]
                report.speed.setdefault("direct", []).append(
                    _speed(llm, lambda p=prompts: _direct(llm, p, tokens))  # type: ignore[misc]
                )
                prompts = [next(texts) for _ in range(clients)]
                report.speed.setdefault("endpoint", []).append(
                    _speed(llm, lambda p=prompts: _over(server, p, tokens))  # type: ignore[misc]
                )
                for _ in range(3):
                    report.first.setdefault("direct", []).append(_words(llm, next(texts)))
                    found = _until(server, "m", next(texts), _says)
                    report.first.setdefault("endpoint", []).append(found)
                for name in tiers:
                    found = _until(server, f"m@{name}", next(texts), _answers)
                    report.partial.setdefault(name, []).append(found)
                last = {name: f"{speeds[-1]:.1f}" for name, speeds in report.speed.items()}
                say(f"round {i + 1}: tokens/s {last}")
    return report


def _speed(llm: Llama, work: Callable[[], None]) -> float:
    """Tokens a second, from the first that is drawn to the last."""
    before = llm.stats.drawn
    thread = threading.Thread(target=work)
    thread.start()
    while llm.stats.drawn == before:
        time.sleep(0.002)
    began, first = time.perf_counter(), llm.stats.drawn
    ended, drawn = began, first
    while thread.is_alive():
        if llm.stats.drawn > drawn:
            ended, drawn = time.perf_counter(), llm.stats.drawn
        time.sleep(0.005)
    thread.join()
    return (drawn - first) / (ended - began)


def _direct(llm: Llama, prompts: list[str], tokens: int) -> None:
    requests = [_request(prompt, tokens) for prompt in prompts]
    threads = [
        threading.Thread(target=llm.generate, args=([request], lambda i, j, text: None))
        for request in requests
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _over(server: Server, prompts: list[str], tokens: int) -> None:
    bodies = [_body("m", prompt, max_tokens=tokens) for prompt in prompts]
    command = [sys.executable, "-c", _CLIENT, str(server.port)]
    subprocess.run(command, input=json.dumps(bodies), text=True, check=True)


def _request(prompt: str, tokens: int) -> Request:
    return Request((Message("user", prompt),), sampling=Sampling(max_tokens=tokens))


def _body(model: str, prompt: str, **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "messages": messages, "stream": True, **options}


def _words(llm: Llama, prompt: str) -> float:
    """Seconds to the first words of the model itself."""
    began = time.perf_counter()
    stream = llm.stream(_request(prompt, 8))
    next(stream)
    took = time.perf_counter() - began
    for _ in stream:
        pass
    return took


def _until(
    server: Server, model: str, prompt: str, there: Callable[[dict[str, Any]], bool]
) -> float:
    """Seconds until a streamed piece is what is waited for; the rest is read as well."""
    connection = http.client.HTTPConnection(server.host, server.port)
    options = {} if "@" in model else {"max_tokens": 8}
    began = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(_body(model, prompt, **options)))
    took = None
    for piece in _pieces(connection.getresponse()):
        if took is None and there(piece):
            took = time.perf_counter() - began
    connection.close()
    assert took is not None  # it answers
    return took


def _pieces(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in answer:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


def _delta(piece: dict[str, Any]) -> dict[str, str]:
    return next((choice["delta"] for choice in piece["choices"]), {})


def _says(piece: dict[str, Any]) -> bool:
    return bool(_delta(piece).get("content"))


def _answers(piece: dict[str, Any]) -> bool:
    return "\n1. " in _delta(piece).get("reasoning_content", "") or _says(piece)
