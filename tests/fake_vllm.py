"""A server that speaks as vLLM does (which needs a GPU), and fails on demand.

Its fields follow vLLM's ``vllm/entrypoints/openai/chat_completion/protocol.py``.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ["red", " green", " blue", "?", " grün", " the", " 17", " ×", "\n", " so"]
Token = tuple[str, float]  # text, log-probability


def words(body: dict[str, Any]) -> Iterable[Token]:
    """Endless tokens drawn by the request's seed; the same ones whenever it is greedy."""
    rng = random.Random(body["seed"] if body["temperature"] else 0)
    while True:
        yield rng.choice(WORDS), -rng.expovariate(1.0)


@dataclass
class Fault:
    """How one call goes wrong.

    Args:
        status: of the answer, with ``message`` as its error.
        headers: of the answer.
        silence: seconds without a word.
        cut: chunks after which the stream breaks off; ``politely``, it ends as if all was well.
    """

    status: int = 200
    message: str = "no reason"
    headers: dict[str, str] = field(default_factory=dict)
    silence: float = 0.0
    cut: int | None = None
    politely: bool = False


class FakeVLLM(ThreadingHTTPServer):
    """Listens on loopback from the time it is made.

    Attributes:
        faults: what goes wrong with the next calls, in order; then all goes well.
        calls: the bodies of all calls so far.
        abandoned: calls whose client went away before the end.
        speak: draws the tokens of a call; the turn ends with them.
    """

    daemon_threads = True
    model, key = "some/model", ""
    cached_tokens = 0
    tokens_per_chunk = 1
    delay = 0.0  # seconds before each chunk
    reasons = False  # as if started with a reasoning parser
    deaf = False  # to max_tokens
    script: list[dict[str, Any]] | None = None  # the chunks of the next call
    drip = ""  # sent instead of an answer, again and again

    def __init__(self, speak: Callable[[dict[str, Any]], Iterable[Token]] = words) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.speak = speak
        self.faults: list[Fault] = []
        self.calls: list[dict[str, Any]] = []
        self.abandoned = 0
        self.busy = self.busiest = 0
        self.counting = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Clients that go away are expected."""


class Handler(BaseHTTPRequestHandler):
    server: FakeVLLM
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.authorized():
            model = {"id": self.server.model, "object": "model", "owned_by": "vllm"}
            self.answer(200, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.calls.append(body)
        fault = self.server.faults.pop(0) if self.server.faults else Fault()
        time.sleep(fault.silence)
        if not self.authorized():
            return
        if body["model"] != self.server.model:
            self.fail(404, f"The model `{body['model']}` does not exist.")
        elif body.get("continue_final_message") and body.get("add_generation_prompt", True):
            self.fail(400, "Cannot set both `continue_final_message` and `add_generation_prompt`.")
        elif fault.status != 200:
            self.fail(fault.status, fault.message, fault.headers)
        else:
            self.stream(body, fault)

    def authorized(self) -> bool:
        good = self.server.key in ("", self.headers["authorization"].removeprefix("Bearer "))
        if not good:
            self.fail(401, "Unauthorized")
        return good

    def fail(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
        self.answer(status, {"error": error}, headers or {})

    def answer(self, status: int, data: object, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def stream(self, body: dict[str, Any], fault: Fault) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            with self.at_work():
                while self.server.drip:
                    drip = self.server.drip.encode()
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(drip), drip))
                    time.sleep(0.05)
                script, self.server.script = self.server.script, None
                for n, chunk in enumerate(script or self.chunks(body)):
                    if n == fault.cut:
                        if fault.politely:
                            self.send("[DONE]")
                            self.wfile.write(b"0\r\n\r\n")
                        self.close_connection = True
                        return
                    time.sleep(self.server.delay)
                    self.send(json.dumps(chunk))
            self.send("[DONE]")  # no longer at work: whoever reads this may call again at once
            self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            self.server.abandoned += 1

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count this call among those that go on."""
        server = self.server
        with server.counting:
            server.busy += 1
            server.busiest = max(server.busy, server.busiest)
        try:
            yield
        finally:
            with server.counting:
                server.busy -= 1

    def send(self, data: str) -> None:
        line = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def chunks(self, body: dict[str, Any]) -> Iterable[dict[str, Any]]:
        """The chunks of a stream; as in vLLM, the end of the turn is a token without text."""
        text, decoded, finish, stopped = "", 0, None, None
        tokens = iter(self.server.speak(body))
        yield self.chunk(body, decoded, [], None, None)
        while finish is None:
            batch: list[Token] = []
            while finish is None and len(batch) < self.server.tokens_per_chunk:
                token, logprob = next(tokens, ("", -0.5))
                decoded += 1
                start = len(text)
                text += token
                found = [(text.find(s), s) for s in body.get("stop", []) if s in text]
                if found:
                    at, stopped = min(found)
                    text = text[: at + len(stopped) * body["include_stop_str_in_output"]]
                if not token or found:
                    finish = "stop"
                elif decoded == body["max_tokens"] and not self.server.deaf:
                    finish = "length"
                batch.append((text[start:], logprob))
            yield self.chunk(body, decoded, batch, finish, stopped)
        yield self.chunk(body, decoded, None, None, None)

    def chunk(
        self,
        body: dict[str, Any],
        decoded: int,
        batch: list[Token] | None,
        finish: str | None,
        stopped: str | None,
    ) -> dict[str, Any]:
        """One chunk with some tokens; without any, the one that holds the usage alone."""
        options = body.get("stream_options", {})
        usage = None
        if options.get("continuous_usage_stats") or (batch is None and options["include_usage"]):
            prompt = sum(len(message["content"].split()) for message in body["messages"])
            usage = {
                "prompt_tokens": prompt,
                "completion_tokens": decoded,
                "total_tokens": prompt + decoded,
                "prompt_tokens_details": {"cached_tokens": min(self.server.cached_tokens, prompt)},
            }
        choices = [] if batch is None else [self.choice(body, batch, finish, stopped)]
        return {
            "id": "chatcmpl-0",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": self.server.model,
            "choices": choices,
            "usage": usage,
        }

    def choice(
        self, body: dict[str, Any], batch: list[Token], finish: str | None, stopped: str | None
    ) -> dict[str, Any]:
        entries = [
            {"token": text or "<|im_end|>", "logprob": logprob, "bytes": [], "top_logprobs": []}
            for text, logprob in batch
        ]
        field = "reasoning" if self.server.reasons else "content"
        return {
            "index": 0,
            "delta": {field: "".join(text for text, _ in batch)},
            "logprobs": {"content": entries} if body.get("logprobs") and entries else None,
            "finish_reason": finish,
            "stop_reason": stopped,
        }
