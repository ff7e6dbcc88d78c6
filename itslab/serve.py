"""``itslab serve``, ``load``, ``bench-serve`` and ``bench-class``: a service as commands."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from itslab.core import ItslabError, require


def serve(
    models: Annotated[
        list[str], typer.Argument(help="Names or files of models; see `itslab models`.")
    ],
    config: Annotated[
        Path | None,
        typer.Option(help="Tiers, users, limits (YAML): `python -m pydoc itslab.serving`."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="0.0.0.0 lets other machines ask; use keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    remote: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The models run behind this OpenAI-compatible server."),
    ] = None,
    logprobs: Annotated[
        bool, typer.Option(help="Ask the remote server for log-probabilities.")
    ] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences at once.")] = 16,
    context: Annotated[int, typer.Option(min=1, help="Tokens of a sequence.")] = 4096,
    prefix_cache: Annotated[
        int, typer.Option(min=0, help="MiB of memory for prompts that may come again.")
    ] = 128,
    log: Annotated[
        Path | None, typer.Option(help="Where each request's cost goes, as JSON lines.")
    ] = None,
) -> None:
    """Serve models and strategies to anything that speaks to OpenAI's API."""
    import itslab as its
    from itslab.serving.config import Config, read
    from itslab.serving.desk import Desk
    from itslab.serving.server import Server
    from itslab.serving.tiers import TIERS, Menu

    told = read(config) if config else Config(TIERS)
    _log(log)
    loaded: dict[str, Any] = {}
    for name in models:
        require(name not in loaded, "models", name, "named once each")
        loaded[name] = (
            its.Remote(name, remote, batch_size=batch_size, logprobs=logprobs)
            if remote
            else its.load(
                name, batch_size=batch_size, context=context, prefix_cache=prefix_cache * 2**20
            )
        )
    menu = Menu({getattr(m, "name", name): m for name, m in loaded.items()}, told.tiers)
    forecasts = {name: fitted for name in menu.models if (fitted := _recorded(name))}
    desk = Desk(menu, told.admission, told.users, told.limits, forecasts)
    server = Server(desk, host, port)
    if told.users is None and host not in ("127.0.0.1", "localhost", "::1"):
        typer.secho("itslab: anyone who reaches this address may ask: name users", err=True)
    typer.secho(f"itslab: {', '.join(menu.names)}\nitslab: serving at {server.url}", err=True)
    server.run()


def _recorded(name: str) -> Any:
    """A forecast by the samples of word problems that were recorded of a model; None without."""
    from itslab import tasks
    from itslab.core import Sampling
    from itslab.serving.forecast import Forecast
    from itslab.share import Recording
    from itslab.strategies import SelfConsistency
    from itslab.study.runner import solve_all
    from itslab.study.samples import Samples

    try:
        bank = Recording("replay").backend(name, "gsm_symbolic")
    except ItslabError:  # nothing was
        return None
    words = tasks.load("gsm_symbolic", n=100, seed=0, difficulty=1.0)
    votes = {"vote": SelfConsistency(16, sampling=Sampling(signals=True))}
    results = solve_all(words, votes, bank, progress=False)["vote"]
    return Forecast.fit(Samples(words, results))


def _log(path: Path | None) -> None:
    """Write the log of requests to a file, or to standard output."""
    try:
        handler = logging.FileHandler(path) if path else logging.StreamHandler(sys.stdout)
    except OSError as error:
        raise ItslabError(f"the log {path} cannot be written: {error.strerror}") from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("itslab.serving")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def load(
    url: Annotated[str, typer.Argument(help="Of the endpoint, …/v1 included.")],
    model: Annotated[
        list[str],
        typer.Option("--model", metavar="NAME[=SHARE]", help="What is asked for. Repeatable."),
    ],
    users: Annotated[int, typer.Option(min=1, help="That ask at once.")] = 8,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Requests a second, answered or not (Poisson)."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="After which nobody asks.")] = 60.0,
    cancel: Annotated[float, typer.Option(min=0, max=1, help="Share that is given up.")] = 0.0,
    think: Annotated[float, typer.Option(min=0, help="Seconds before asking again.")] = 0.0,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of an answer.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="One for each user in turn.")] = None,
    task: Annotated[str, typer.Option(help="Whose problems are asked.")] = "gsm_symbolic",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Where a row for each request goes: CSV.")
    ] = None,
) -> None:
    """Send traffic to an endpoint, and say how long its answers took."""
    from itertools import takewhile

    import numpy as np

    from itslab import tasks
    from itslab.serving.load import Load, failures, measure, summary
    from itslab.serving.traffic import Poisson

    shares = {}
    for text in model:
        name, _, share = text.partition("=")
        require(name not in shares, "model", name, "named once each")
        shares[name] = _number("model", text, share) if share else 1.0
    placed = out is None or out.parent.is_dir()
    require(placed, "out", str(out), "a file in a folder that exists")
    rng = np.random.default_rng(seed)
    coming = Poisson(rate).times(rng) if rate else iter(())
    arrivals = tuple(one.time for one in takewhile(lambda one: one.time < seconds, coming))
    asked = Load(
        shares,
        users=users,
        arrivals=arrivals,
        seconds=seconds,
        cancel=cancel,
        think=think,
        max_tokens=max_tokens,
        seed=seed,
        keys=tuple(key or ()),
    )
    prompts = [problem.prompt for problem in tasks.load(task, n=100, seed=seed)]
    rows = measure(url, prompts, asked)
    if out:
        rows.to_csv(out, index=False)
    typer.echo(summary(rows).to_string(float_format="%.2f"))
    for line in failures(rows):
        typer.secho(f"itslab: failed: {line}", err=True)


def bench_serve(
    model: Annotated[str, typer.Argument(help="See `itslab models`.")] = "qwen2.5-coder-0.5b",
    clients: Annotated[int, typer.Option(min=1, help="That ask at once.")] = 16,
    tokens: Annotated[int, typer.Option(min=2, help="Of each sample.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 5,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: physical cores.")] = None,
) -> None:
    """Measure what the endpoint costs the engine, and how soon its first words come."""
    from itslab import models
    from itslab.backends import library
    from itslab.bench import measure_serving

    library.start()
    report = measure_serving(
        models.resolve(model),
        clients=clients,
        tokens=tokens,
        rounds=rounds,
        threads=threads,
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(report.table())


def bench_class(
    model: Annotated[str, typer.Argument(help="See `itslab models`.")] = "smollm2-135m",
    participants: Annotated[int, typer.Option(min=2, help="The last is greedy.")] = 25,
    seconds: Annotated[
        float, typer.Option(min=1, help="After which nobody begins another question.")
    ] = 300.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of a sample.")] = 96,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sequences at once; default: a class's.")
    ] = None,
) -> None:
    """Let a class ask one model at once; does anybody wait longer than a fair share takes?"""
    from itslab.bench.classroom import Participants, measure_class, ten_questions

    asked = Participants(
        ten_questions(), count=participants, seconds=seconds, max_tokens=max_tokens
    )
    report = measure_class(
        model, asked, batch_size=batch_size, say=lambda line: typer.echo(line, err=True)
    )
    typer.echo(str(report))


def _number(option: str, text: str, given: str) -> float:
    try:
        return float(given)
    except ValueError:
        require(False, option, text, "written as NAME or NAME=SHARE, such as small@fast=3")
        raise
