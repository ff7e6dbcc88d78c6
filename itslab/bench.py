"""How fast is this machine: tokens per second through our engine and through its alternatives.

Every contender decodes the same number of tokens after the same prompt, which is evaluated before
the clock starts; the model's end of turn does not end a sample. Contenders take turns within each
round, and their ratios are taken within rounds, so that a machine whose speed drifts still gives
steady ratios.
"""

from __future__ import annotations

import json
import math
import random
import re
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from itslab.backends.llama import Llama, default_threads
from itslab.backends.native import build
from itslab.core import BackendError, Request, Sampling, as_messages
from itslab.models import ModelFile

CONTEXT = 512  # tokens per sequence, the same for everyone
PROMPT = (
    "Write a very long and detailed story in at least twenty chapters, each of many paragraphs, "
    "and do not summarise. Tell of every place and person at length, with all that they say. It "
    "is about traveller number {start}."
)
SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95}
WIDTHS = (1, 4, 8, 16, 32)
WIDTH = 16  # at which uneven prompts are timed
ENGINE, PLAIN, BATCHED, SERVER = "itslab", "Llama()", "llama-batched-bench", "llama-server"

Timer = Callable[[], float]  # run once -> tokens per second


@dataclass
class Report:
    """What was measured.

    Args:
        model, build: what was timed.
        tokens: decoded per sequence.
        speed: tokens per second, by contender and number of sequences, one per round.
        python_share: the part of the engine's steps spent outside llama.cpp, by sequences.
        uneven: speed over 50 different prompts and uneven lengths, as a fraction of the engine's
            at the same number of sequences.
    """

    model: str
    build: str
    tokens: int
    speed: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    python_share: dict[int, float] = field(default_factory=dict)
    uneven: dict[int, list[float]] = field(default_factory=dict)

    def ratios(self, other: str, n: int) -> list[float]:
        """The engine's speed over another's, round by round. ``Llama()`` knows only n = 1."""
        theirs = self.speed[other][1 if other == PLAIN else n]
        return [a / b for a, b in zip(self.speed[ENGINE][n], theirs, strict=True)]

    def table(self) -> str:
        """The medians as text, and what they mean."""
        others = [who for who in self.speed if who != ENGINE]
        heads = [f"{'sequences':>9}", f"{ENGINE:>10}"]
        for other in others:
            heads += [f"{other:>20}", f"{'ratio':>7}"]
        lines = [
            f"{self.model}, {self.tokens} tokens each, median tokens/s; {self.build}",
            "  ".join([*heads, f"{'Python':>7}"]),
        ]
        for n, speeds in self.speed[ENGINE].items():
            cells = [f"{n:>9}", f"{statistics.median(speeds):>10.1f}"]
            for other in others:
                theirs = self.speed[other].get(1 if other == PLAIN else n)
                speed = f"{statistics.median(theirs):.1f}" if theirs else ""
                ratio = f"{statistics.median(self.ratios(other, n)):.2f}×" if theirs else ""
                cells += [f"{speed:>20}", f"{ratio:>7}"]
            lines.append("  ".join([*cells, f"{self.python_share[n]:>7.1%}"]))
        if PLAIN in self.speed:
            lines.append(f"{PLAIN} draws one sequence after the other, whatever their number.")
        for n, fractions in self.uneven.items():
            share = statistics.median(fractions)
            lines.append(f"50 uneven prompts, {n} at a time: {share:.0%} of the speed above.")
        lines.append(f"best: {self.best_n} sequences at once (width={self.best_n})")
        return "\n".join(lines)

    @property
    def best_n(self) -> int:
        """The number of sequences at which the engine is fastest."""
        speeds = self.speed[ENGINE]
        return max(speeds, key=lambda n: statistics.median(speeds[n]))

    def json(self) -> str:
        """All figures, machine-readable."""
        return json.dumps(asdict(self) | {"best_n": self.best_n}, indent=2)


def run(
    file: ModelFile,
    *,
    widths: tuple[int, ...] = WIDTHS,
    tokens: int = 160,
    rounds: int = 3,
    threads: int | None = None,
    server: Path | None = None,
    batched_bench: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Time everyone.

    Args:
        file: the model.
        widths: numbers of sequences at once.
        tokens: decoded per sequence.
        rounds: repetitions.
        threads: of llama.cpp, for everyone; physical cores by default.
        server, batched_bench: llama.cpp's binaries, if they are to be timed too.
        say: gets a line on each measurement.

    Raises:
        BackendError: a binary failed.
    """
    threads = threads or default_threads()
    report = Report(file.name, f"{build()}, {threads} threads", tokens)
    for n in widths:
        with ExitStack() as stack:
            llm = stack.enter_context(
                Llama(file.path, file.name, file.digest, width=n, context=CONTEXT, threads=threads)
            )
            prompt = llm.render(_request(n, tokens))
            timers = {ENGINE: _engine(llm, n, tokens)}
            if n == 1:
                timers[PLAIN] = _plain(file.path, prompt, tokens, threads)
            if batched_bench:
                timers[BATCHED] = _batched(batched_bench, file.path, n, tokens, threads)
            if server:
                timers[SERVER] = stack.enter_context(
                    _server(server, file.path, prompt, n, tokens, threads)
                )
            for _ in range(rounds):
                for who, timer in timers.items():
                    speed = timer()
                    report.speed.setdefault(who, {}).setdefault(n, []).append(speed)
                    say(f"{who} × {n}: {speed:.1f} tokens/s")
            stats = llm.stats
            report.python_share[n] = 1 - stats.native / stats.busy
            if n == WIDTH:
                even = statistics.median(report.speed[ENGINE][n])
                report.uneven[n] = [_uneven(llm, tokens) / even for _ in range(rounds)]
    return report


def _request(n: int, tokens: int, start: int = 1) -> Request:
    sampling = Sampling(max_tokens=tokens, **SAMPLING)  # type: ignore[arg-type]
    return Request(as_messages(PROMPT.format(start=start)), sampling=sampling, n=n)


def _engine(llm: Llama, n: int, tokens: int) -> Timer:
    llm._model.ends = lambda token: False  # type: ignore[method-assign]
    llm.generate([_request(n, 1)])

    def timer() -> float:
        began = time.perf_counter()
        [row] = llm.generate([_request(n, tokens)])
        return sum(c.cost.decoded for c in row) / (time.perf_counter() - began)

    return timer


def _plain(path: Path, prompt: str, tokens: int, threads: int) -> Timer:
    import llama_cpp

    llama = llama_cpp.Llama(
        str(path), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False
    )

    never = {llama.token_eos(): -math.inf}

    def ask(count: int) -> int:
        reply = llama.create_completion(prompt, max_tokens=count, logit_bias=never, **SAMPLING)
        return int(reply["usage"]["completion_tokens"])

    ask(1)

    def timer() -> float:
        began = time.perf_counter()
        return ask(tokens) / (time.perf_counter() - began)

    return timer


def _batched(binary: Path, model: Path, n: int, tokens: int, threads: int) -> Timer:
    command = [str(binary), "-m", str(model), "-c", str(n * CONTEXT), "-b", "2048", "-ub", "512"]
    command += ["-npp", "96", "-ntg", str(tokens), "-npl", str(n), "-t", str(threads)]
    command += ["-tb", str(threads), "-fa", "on", "--output-format", "jsonl"]

    def timer() -> float:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r'"speed_tg": ([0-9.]+)', done.stdout)
        if not found:
            raise BackendError(f"{binary} printed no speed: {done.stderr[-300:].strip()}")
        return float(found[1])

    return timer


@contextmanager
def _server(
    binary: Path, model: Path, prompt: str, n: int, tokens: int, threads: int
) -> Iterator[Timer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(binary), "-m", str(model), "-c", str(n * CONTEXT), "-np", str(n)]
    command += ["-t", str(threads), "-tb", str(threads), "-fa", "on", "--port", str(port)]

    def ask(count: int) -> int:
        body = {"prompt": prompt, "n_predict": count, "ignore_eos": True, **SAMPLING}
        reply = _post(f"http://127.0.0.1:{port}/completion", body)
        return int(reply["tokens_predicted"])

    def timer() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(n) as pool:
            decoded = sum(pool.map(ask, [tokens] * n))
        return decoded / (time.perf_counter() - began)

    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}/health", process)
            with ThreadPoolExecutor(n) as pool:
                list(pool.map(ask, [2] * n))  # every slot has evaluated the prompt
            yield timer
        finally:
            process.terminate()
            process.wait()


def _post(url: str, body: dict[str, Any]) -> Any:
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.load(reply)


def _wait(url: str, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise BackendError(f"no answer from {url} within {seconds:.0f} s")


def _uneven(llm: Llama, tokens: int) -> float:
    """Tokens per second over 50 prompts that end differently, for ¼ to 1¾ of ``tokens`` each."""
    rng = random.Random(0)
    requests = [_request(1, rng.randint(tokens // 4, 7 * tokens // 4), i + 10) for i in range(50)]
    began = time.perf_counter()
    rows = llm.generate(requests)
    return sum(c.cost.decoded for [c] in rows) / (time.perf_counter() - began)
