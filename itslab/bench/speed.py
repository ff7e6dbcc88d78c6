"""How fast is this machine: tokens per second through our engine and through its alternatives.

The job is n samples of one prompt, new in every round, of the same number of tokens each: the clock
runs from the request to the last token, evaluating the prompt included, and the model's end of turn
does not end a sample. Contenders take turns within each round, and their ratios are taken within
rounds, so that a machine whose speed drifts still gives steady ratios.
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
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from itslab.backends.library import build
from itslab.backends.llama import Llama, default_threads
from itslab.core import BackendError, Request, Sampling, as_messages
from itslab.models import ModelFile

CONTEXT = 512  # tokens per sequence, the same for everyone
PROMPT = (
    "Traveller number {who} is on the way. Write a very long and detailed story of the journey, in "
    "at least twenty chapters, each of many paragraphs. Tell of every place and person at length, "
    "with all that they say, and do not summarise."
)
SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95}
WIDTHS = (1, 4, 8, 16, 32)
WIDTH = 16  # at which uneven samples are timed
UNEVEN = 50
ENGINE, PLAIN, BATCHED, SERVER = "itslab", "Llama()", "llama-batched-bench", "llama-server"

Timer = Callable[[], float]  # do the job once -> seconds

_llama: Any = None  # plain Llama(), in the process that times it


@dataclass
class Report:
    """What was measured.

    Args:
        model, build: what was timed.
        tokens: decoded per sequence.
        speed: tokens per second, by contender and number of sequences, one per round.
        python_share: the part of the engine's steps spent outside llama.cpp, by sequences.
        uneven: one sample each of 50 prompts, of uneven lengths: how long their prompts alone and
            their tokens in full batches take, over the time they took.
    """

    model: str
    build: str
    tokens: int
    speed: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    python_share: dict[int, float] = field(default_factory=dict)
    uneven: dict[int, list[float]] = field(default_factory=dict)

    def ratios(self, other: str, n: int) -> list[float]:
        """The engine's speed over another's, round by round."""
        return [a / b for a, b in zip(self.speed[ENGINE][n], self.speed[other][n], strict=True)]

    def table(self) -> str:
        """The medians as text, and what they mean."""
        others = [who for who in self.speed if who != ENGINE]
        heads = [f"{'samples':>9}", f"{ENGINE:>10}"]
        for other in others:
            heads += [f"{other:>20}", f"{'ratio':>7}"]
        lines = [
            f"{self.model}; {self.build}",
            f"n samples of one prompt, {self.tokens} tokens each; tokens/s from the request to the "
            "last token, medians",
            "  ".join([*heads, f"{'Python':>7}"]),
        ]
        for n, speeds in self.speed[ENGINE].items():
            cells = [f"{n:>9}", f"{statistics.median(speeds):>10.1f}"]
            for other in others:
                theirs = statistics.median(self.speed[other][n])
                ratio = f"{statistics.median(self.ratios(other, n)):.2f}×"
                cells += [f"{theirs:>20.1f}", f"{ratio:>7}"]
            lines.append("  ".join([*cells, f"{self.python_share[n]:>7.1%}"]))
        lines.append(f"{PLAIN} draws one sample after the other: two are timed, more inferred.")
        for n, fractions in self.uneven.items():
            share = statistics.median(fractions)
            lines.append(
                f"{UNEVEN} different prompts and lengths, {n} at a time: {share:.0%} of the speed "
                "of full batches."
            )
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
    texts = (PROMPT.format(who=who) for who in count(1))
    for n in widths:
        with ExitStack() as stack:
            llm = stack.enter_context(
                Llama(file.path, file.name, file.digest, width=n, context=CONTEXT, threads=threads)
            )
            llm._model.ends = lambda token: False  # type: ignore[method-assign]
            length = len(llm.tokens(_request(next(texts))))
            prompts = (llm.render(_request(text)) for text in texts)
            timers = {ENGINE: _engine(llm, texts, n, tokens)}
            timers[PLAIN] = stack.enter_context(_plain(file.path, prompts, n, tokens, threads))
            if batched_bench:
                timers[BATCHED] = _batched(batched_bench, file.path, length, n, tokens, threads)
            if server:
                timers[SERVER] = stack.enter_context(
                    _server(server, file.path, prompts, n, tokens, threads)
                )
            for _ in range(rounds):
                for who, timer in timers.items():
                    seconds = timer()
                    speed = n * tokens / seconds
                    report.speed.setdefault(who, {}).setdefault(n, []).append(speed)
                    say(f"{who} × {n}: {speed:.1f} tokens/s")
                if n == WIDTH:
                    full = report.speed[ENGINE][n][-1]
                    report.uneven.setdefault(n, []).append(_uneven(llm, texts, tokens, full))
                    say(f"uneven × {n}: {report.uneven[n][-1]:.0%} of the speed of full batches")
            stats = llm.stats
            report.python_share[n] = 1 - stats.native / stats.busy
    return report


def _request(text: str, n: int = 1, tokens: int = 1) -> Request:
    sampling = Sampling(max_tokens=tokens, **SAMPLING)  # type: ignore[arg-type]
    return Request(as_messages(text), sampling=sampling, n=n)


def _draw(llm: Llama, requests: list[Request]) -> float:
    began = time.perf_counter()
    rows = llm.generate(requests)
    decoded = sum(sample.cost.decoded for row in rows for sample in row)
    return _since(began, decoded, sum(r.n * r.sampling.max_tokens for r in requests))


def _since(began: float, drawn: int, ordered: int) -> float:
    seconds = time.perf_counter() - began
    if drawn != ordered:
        raise BackendError(f"{drawn} tokens were drawn, {ordered} were ordered")
    return seconds


def _engine(llm: Llama, texts: Iterator[str], n: int, tokens: int) -> Timer:
    _draw(llm, [_request(next(texts), n, 2)])
    return lambda: _draw(llm, [_request(next(texts), n, tokens)])


def _uneven(llm: Llama, texts: Iterator[str], tokens: int, full: float) -> float:
    """Draw from 50 prompts ¼ to 1¾ of ``tokens`` each; the fraction of the ideal speed.

    Ideal is what the prompts take alone, and their tokens in full batches of ``full`` tokens/s.
    """
    rng = random.Random(0)
    lengths = [rng.randint(tokens // 4, 7 * tokens // 4) for _ in range(UNEVEN)]
    prompts = _draw(llm, [_request(next(texts)) for _ in lengths])
    ideal = prompts + sum(lengths) / full
    return ideal / _draw(llm, [_request(next(texts), tokens=length) for length in lengths])


@contextmanager
def _plain(
    path: Path, prompts: Iterator[str], n: int, tokens: int, threads: int
) -> Iterator[Timer]:
    # In a process of its own: OpenMP's threads hardly spin, and so wait long at every barrier, once
    # a process holds two teams of them.
    with ProcessPoolExecutor(1, get_context("spawn"), _load_plain, (path, threads)) as process:

        def timer() -> float:
            # One sample follows another, the prompt's memory reused: two of them tell of n.
            prompt = next(prompts)
            first, *later = (
                process.submit(_ask_plain, prompt, tokens).result() for _ in range(min(n, 2))
            )
            return first + (n - 1) * sum(later)

        process.submit(_ask_plain, next(prompts), 2).result()
        yield timer


def _load_plain(path: Path, threads: int) -> None:
    import llama_cpp

    global _llama
    _llama = llama_cpp.Llama(
        str(path), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False
    )


def _ask_plain(prompt: str, tokens: int) -> float:
    never = {_llama.token_eos(): -math.inf}
    began = time.perf_counter()
    reply = _llama.create_completion(prompt, max_tokens=tokens, logit_bias=never, **SAMPLING)
    seconds = time.perf_counter() - began
    return seconds * tokens / int(reply["usage"]["completion_tokens"])  # now and then one more


def _batched(binary: Path, model: Path, length: int, n: int, tokens: int, threads: int) -> Timer:
    command = [str(binary), "-m", str(model), "-c", str(n * CONTEXT), "-b", "2048", "-ub", "512"]
    command += ["-npp", str(length), "-pps", "-ntg", str(tokens), "-npl", str(n), "-fa", "on"]
    command += ["-t", str(threads), "-tb", str(threads), "--output-format", "jsonl"]

    def timer() -> float:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r'"t": ([0-9.]+)', done.stdout)
        if not found:
            raise BackendError(f"{binary} printed no time: {done.stderr[-300:].strip()}")
        return float(found[1])

    return timer


@contextmanager
def _server(
    binary: Path, model: Path, prompts: Iterator[str], n: int, tokens: int, threads: int
) -> Iterator[Timer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(binary), "-m", str(model), "-c", str(n * CONTEXT), "-np", str(n)]
    command += ["-t", str(threads), "-tb", str(threads), "-fa", "on", "--port", str(port)]

    url = f"http://127.0.0.1:{port}"

    def ask(prompt: str, tokens: int = tokens) -> int:
        body = {"prompt": prompt, "n_predict": tokens, "ignore_eos": True, **SAMPLING}
        return int(_post(f"{url}/completion", body)["tokens_predicted"])

    def timer() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(n) as clients:
            drawn = sum(clients.map(ask, [next(prompts)] * n))
        return _since(began, drawn, n * tokens)

    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(f"{url}/health", process)
            ask(next(prompts), 2)
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
