"""How fast samples are drawn, by our engine and by its alternatives.

The end of the model's turn ends no sample here, so that everyone decodes the same number of tokens.
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
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from itslab.backends.library import build
from itslab.backends.llama import Llama, default_threads
from itslab.bench.rounds import Say, new_texts, quiet, ratios
from itslab.core import (
    BackendError,
    Request,
    Sampling,
    as_messages,
)
from itslab.models import ModelFile

CONTEXT = 512  # tokens per sequence, the same for everyone
SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95}
BATCH_SIZES = (1, 4, 8, 16, 32)
WIDTH = 16  # at which uneven samples are timed
UNEVEN = 50
ENGINE, PLAIN, BATCHED, SERVER = "itslab", "Llama()", "llama-batched-bench", "llama-server"

Timer = Callable[[], float]  # do the job once -> seconds


@dataclass
class SpeedReport:
    """How fast n samples of one prompt are drawn, by our engine and by its alternatives.

    The clock runs from the request to the last token, evaluating the prompt included.

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
        return ratios(self.speed[ENGINE][n], self.speed[other][n])

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
            lines.append(
                f"{UNEVEN} different prompts and lengths, {n} at a time: "
                f"{statistics.median(fractions):.0%} of the speed of full batches."
            )
        lines.append(f"best: {self.best_n} sequences at once (batch_size={self.best_n})")
        return "\n".join(lines)

    @property
    def best_n(self) -> int:
        """The number of sequences at which the engine is fastest."""
        speeds = self.speed[ENGINE]
        return max(speeds, key=lambda n: statistics.median(speeds[n]))

    def json(self) -> str:
        """All figures, machine-readable."""
        return json.dumps(asdict(self) | {"best_n": self.best_n}, indent=2)


@dataclass
class _Job:
    """What everyone does in a round: n samples of a new prompt, the same number of tokens each."""

    llm: Llama
    path: Path
    n: int
    tokens: int
    threads: int
    texts: Iterator[str]

    def request(self, tokens: int, n: int = 1) -> Request:
        """Ask for samples of the next text."""
        sampling = Sampling(max_tokens=tokens, **SAMPLING)  # type: ignore[arg-type]
        return Request(as_messages(next(self.texts)), sampling=sampling, n=n)

    def prompt(self) -> str:
        """The next text as the model is shown it."""
        return self.llm.render(self.request(1))


def measure_speed(
    file: ModelFile,
    *,
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
    tokens: int = 160,
    rounds: int = 3,
    threads: int | None = None,
    server: Path | None = None,
    batched_bench: Path | None = None,
    say: Say = quiet,
) -> SpeedReport:
    """Time everyone.

    Args:
        file: the model.
        batch_sizes: numbers of sequences at once.
        tokens: decoded per sequence.
        rounds: repetitions.
        threads: of llama.cpp, for everyone; physical cores by default.
        server, batched_bench: llama.cpp's binaries, if they are to be timed too.
        say: gets a line on each measurement.

    Raises:
        BackendError: a binary failed.
    """
    threads = threads or default_threads()
    report = SpeedReport(file.name, f"{build()}, {threads} threads", tokens)
    texts = new_texts()
    options = {"context": CONTEXT, "threads": threads, "ignore_eos": True}
    for n in batch_sizes:
        with ExitStack() as stack:
            llm = stack.enter_context(Llama(file.path, file.name, batch_size=n, **options))  # type: ignore[arg-type]
            job = _Job(llm, file.path, n, tokens, threads, texts)
            timers = {ENGINE: _engine(job), PLAIN: stack.enter_context(_plain(job))}
            if batched_bench:
                timers[BATCHED] = _batched(batched_bench, job)
            if server:
                timers[SERVER] = stack.enter_context(_server(server, job))
            for _ in range(rounds):
                for who, timer in timers.items():
                    speed = n * tokens / timer()
                    report.speed.setdefault(who, {}).setdefault(n, []).append(speed)
                    say(f"{who} × {n}: {speed:.1f} tokens/s")
                if n == WIDTH:
                    fraction = _uneven(job, report.speed[ENGINE][n][-1])
                    report.uneven.setdefault(n, []).append(fraction)
                    say(f"uneven × {n}: {fraction:.0%} of the speed of full batches")
            report.python_share[n] = 1 - llm.stats.native / llm.stats.busy
    return report


def draw(llm: Llama, requests: list[Request]) -> float:
    """Draw samples, and return the seconds that it took."""
    began = time.perf_counter()
    rows = llm.generate(requests)
    decoded = sum(sample.cost.decoded for row in rows for sample in row)
    return _since(began, decoded, sum(r.n * r.sampling.max_tokens for r in requests))


def _since(began: float, drawn: int, ordered: int) -> float:
    seconds = time.perf_counter() - began
    if drawn != ordered:
        raise BackendError(f"{drawn} tokens were drawn, {ordered} were ordered")
    return seconds


def _engine(job: _Job) -> Timer:
    draw(job.llm, [job.request(2, job.n)])
    return lambda: draw(job.llm, [job.request(job.tokens, job.n)])


def _uneven(job: _Job, full: float) -> float:
    """Draw from 50 prompts ¼ to 1¾ of ``tokens`` each; the fraction of the ideal speed.

    Ideal is what the prompts take alone, and their tokens in full batches of ``full`` tokens/s.
    """
    rng = random.Random(0)
    lengths = [rng.randint(job.tokens // 4, 7 * job.tokens // 4) for _ in range(UNEVEN)]
    prompts = draw(job.llm, [job.request(1) for _ in lengths])
    ideal = prompts + sum(lengths) / full
    return ideal / draw(job.llm, [job.request(length) for length in lengths])


@contextmanager
def _plain(job: _Job) -> Iterator[Timer]:
    # In a process of its own: OpenMP's threads hardly spin, and so wait long at every barrier, once
    # a process holds two teams of them.
    with ProcessPoolExecutor(1, get_context("spawn")) as process:

        def ask(prompt: str, tokens: int) -> float:
            return process.submit(_ask_plain, job.path, job.threads, prompt, tokens).result()

        def timer() -> float:
            # One sample follows another, the prompt's memory reused: two of them tell of n.
            prompt = job.prompt()
            first, *later = (ask(prompt, job.tokens) for _ in range(min(job.n, 2)))
            return first + (job.n - 1) * sum(later)

        ask(job.prompt(), 2)
        yield timer


@cache
def _load_plain(path: Path, threads: int) -> Any:
    import llama_cpp

    options = {"n_ctx": CONTEXT, "n_threads": threads, "n_threads_batch": threads}
    return llama_cpp.Llama(str(path), **options, verbose=False)


def _ask_plain(path: Path, threads: int, prompt: str, tokens: int) -> float:
    llama = _load_plain(path, threads)
    never = {llama.token_eos(): -math.inf}
    began = time.perf_counter()
    reply = llama.create_completion(prompt, max_tokens=tokens, logit_bias=never, **SAMPLING)
    seconds = time.perf_counter() - began
    return seconds * tokens / int(reply["usage"]["completion_tokens"])  # now and then one more


def _batched(binary: Path, job: _Job) -> Timer:
    n, threads, length = str(job.n), str(job.threads), len(job.llm.tokens(job.request(1)))
    command = [str(binary), "-m", str(job.path), "-c", str(job.n * CONTEXT), "-b", "2048"]
    command += ["-ub", "512", "-npp", str(length), "-pps", "-ntg", str(job.tokens), "-npl", n]
    command += ["-fa", "on", "-t", threads, "-tb", threads, "--output-format", "jsonl"]

    def timer() -> float:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r'"t": ([0-9.]+)', done.stdout)
        if not found:
            raise BackendError(f"{binary} printed no time: {done.stderr[-300:].strip()}")
        return float(found[1])

    return timer


@contextmanager
def _server(binary: Path, job: _Job) -> Iterator[Timer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    n, threads, url = str(job.n), str(job.threads), f"http://127.0.0.1:{port}"
    command = [str(binary), "-m", str(job.path), "-c", str(job.n * CONTEXT), "-np", n]
    command += ["-t", threads, "-tb", threads, "-fa", "on", "--port", port]

    def ask(prompt: str, tokens: int = job.tokens) -> int:
        body = {"prompt": prompt, "n_predict": tokens, "ignore_eos": True, **SAMPLING}
        request = urllib.request.Request(f"{url}/completion", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=600) as reply:
            return int(json.load(reply)["tokens_predicted"])

    def timer() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(job.n) as clients:
            drawn = sum(clients.map(ask, [job.prompt()] * job.n))
        return _since(began, drawn, job.n * job.tokens)

    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(f"{url}/health", process)
            ask(job.prompt(), 2)
            yield timer
        finally:
            process.terminate()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise BackendError(f"no answer from {url} within {seconds:.0f} s")
