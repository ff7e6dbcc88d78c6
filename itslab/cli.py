"""The command line: ``itslab --help``."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from itslab.core import BackendError, Budget, ItslabError, OptionError, Result, require
from itslab.printable import printable
from itslab.serve import bench_class, bench_serve, load, serve
from itslab.teach import open_lab, workshop


class _Commands(TyperGroup):
    """An error of ours is one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ItslabError as error:
            typer.secho(f"itslab: {printable(str(error))}", fg="red", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Commands,
    help="Inference-time scaling with real quantized language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Values = Annotated[list[str] | None, typer.Argument(hidden=True)]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Set a parameter. Repeatable."),
]
Folder = Annotated[Path, typer.Option(help="Where results go.")]


AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def _version(asked: bool) -> None:
    if asked:
        from itslab import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Say which version it is."
        ),
    ] = False,
) -> None:
    """Inference-time scaling with real quantized language models."""


# -- notebooks -------------------------------------------------------------------------------------


@app.command()
def lab(
    notebook: Annotated[str, typer.Argument(help="To begin with, such as 03.")] = "00",
    folder: Annotated[Path, typer.Option(help="Where your copies of the notebooks are.")] = Path(
        "itslab-notebooks"
    ),
) -> None:
    """Open the notebooks in JupyterLab, as copies of your own; nothing has to be drawn."""
    from itslab import notebooks

    source = notebooks.find(notebook, _notebooks())
    fresh = notebooks.copy(source.parent, folder)
    typer.echo(
        f"{fresh} notebooks copied to {_near(folder)}; those that were there stay as they are"
    )
    open_lab(folder / source.name)


@app.command("notebooks")
def list_notebooks(json: AsJson = False) -> None:
    """List the notebooks that come with the package: parameters, and minutes on two cores."""
    from itslab import notebooks

    found = notebooks.listed(_notebooks())
    if json:
        _dump([{**one._asdict(), "path": str(one.path)} for one in found])
        return
    typer.echo(f"{'minutes on two cores':<22} replay   live")
    for one in found:
        replay, live = (one.minutes.get(mode, "") for mode in ("replay", "live"))
        typer.echo(f"{one.name:<22} {replay:>6}  {live:>5}  {one.title}")
        typer.echo(f"{'':<38}-p {' '.join(one.parameters)}" if one.parameters else "")


def _notebooks() -> Path:
    from itslab.share import root

    return root() / "notebooks"


def _dump(data: Any) -> None:
    import json

    text = json.dumps(data, indent=1, ensure_ascii=False)
    # What JSON leaves as it is, and a terminal obeys or cannot write.
    text = re.sub(r"[\x7f-\x9f\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
    typer.echo(text)


@app.command()
def quickstart(
    model: Annotated[str, typer.Option(help="See `itslab models`.")] = "qwen2.5-coder-0.5b",
    n_problems: Annotated[int, typer.Option(min=1, help="Stories to write here.")] = 12,
    tries: Annotated[int, typer.Option(min=2, help="Most that are drawn of each.")] = 16,
    replay: Annotated[
        bool, typer.Option("--replay", help="Only show what was recorded; draw nothing.")
    ] = False,
) -> None:
    """Watch a small model do better with more compute: as recorded, then here."""
    from itslab import quickstart
    from itslab.backends import library, load

    began = time.monotonic()
    typer.echo(quickstart.ABOUT)
    past = quickstart.recorded()
    seconds = time.monotonic() - began
    typer.echo(
        f"\nAs recorded with {quickstart.MODEL}, replayed in {seconds:.1f} s:\n{past.table()}"
    )
    typer.echo(f"\n{past.example()}\n\n{quickstart.CAVEAT}")
    if not replay:
        try:
            library.start()  # before a model is pulled in vain
        except BackendError:
            typer.echo(f"\n{quickstart.WITHOUT}")
        else:
            task = quickstart.stories(n_problems, quickstart.HERE)
            typer.echo(
                f"\nNow here, with {model}: {n_problems} other stories. {quickstart.PATIENCE}"
            )
            with _Told() as told, load(model) as llm:
                now = quickstart.draw(task, tries, llm, told.say, told.show)
            seconds = time.monotonic() - began
            typer.echo(
                f"\nDrawn here with {model}, {seconds:.0f} s with everything:\n{now.table()}"
            )
    typer.echo(f"\n{quickstart.NEXT}")


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="Its path, or a short name such as 03.")],
    values: Values = None,
    parameter: Parameters = None,
    runs: Folder = Path("runs"),
    keep_outputs: Annotated[
        bool,
        typer.Option("--keep-outputs", help="Write outputs tagged keep_output back into it."),
    ] = False,
) -> None:
    """Execute a notebook with parameters; the result and its page get a folder of their own."""
    from itslab import notebooks

    own = not (keep_outputs and parameter)
    require(own, "--keep-outputs", parameter, "without -p: a notebook shows its own parameters")
    source = notebooks.find(notebook, _notebooks())
    given = notebooks.parse(source, _paired(parameter, values))
    executed = notebooks.execute(source, given, runs)
    if keep_outputs:
        notebooks.keep_outputs(executed, source)
    _report(executed)


@app.command()
def record(
    notebook: Annotated[str, typer.Argument(help="A notebook with a parameter `mode`.")],
    values: Values = None,
    parameter: Parameters = None,
    runs: Folder = Path("runs"),
) -> None:
    """Draw the samples and runs that a notebook replays, and pack them in data/."""
    from itslab import notebooks, share
    from itslab.backends import Bank

    source = notebooks.find(notebook, _notebooks())
    given = notebooks.parse(source, [*_paired(parameter, values), "mode=record"])
    _report(notebooks.execute(source, given, runs))
    for bank in sorted((share.root() / "data").glob("*.sqlite")):
        typer.echo(f"packed: {Bank(bank).pack(f'{bank}.xz')}")


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="The study, as YAML; see `itslab.study.reading`.")],
    store: Annotated[
        Path | None, typer.Option(help="Where all is kept; by default FILE.sqlite.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for tables and report; by default FILE.outcome.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Take what is in the store, and draw nothing.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that draw.")] = None,
    dask: Annotated[str | None, typer.Option(help="The address of a Dask scheduler.")] = None,
) -> None:
    """Draw what a study lacks, and write its tables and its report."""
    from itslab.conductor import conduct, executing
    from itslab.report import write_report
    from itslab.study.reading import read
    from itslab.study.tables import comparison

    plan = read(file)
    folder = out or file.with_suffix(".outcome")
    with executing(workers, dask) as executor:
        outcome = conduct(
            plan,
            store or file.with_suffix(".sqlite"),
            mode="replay" if replay else "live",
            executor=executor,
        )
    saved = outcome.save(folder)
    report = write_report(outcome, folder / "report.html")
    parts = outcome.runs[["task", "model", "budget"]].drop_duplicates()
    for task, model, budget in parts.to_numpy():
        typer.echo(f"\n{', '.join(filter(None, (task, model, budget)))}")
        try:
            typer.echo(comparison(outcome.results(task, model, budget)).to_string())
        except OptionError as error:  # of this part nothing is finished
            typer.echo(str(error))
    if outcome.lacking:
        typer.echo(f"\n{outcome.lacking:,} of {plan.runs:,} runs are lacking")
    for lost in outcome.failed.itertuples():
        typer.echo(f"failed: {lost.problem}, {lost.method}: {lost.failed}")
    typer.echo(f"\ntables: {_near(saved)}\nreport: {_near(report)}")


def _paired(parameter: list[str] | None, values: list[str] | None) -> list[str]:
    """Parameters as NAME=VALUE; papermill writes ``-p NAME VALUE``, which is read as well."""
    names, rest = parameter or [], iter(values or [])
    paired = [name if "=" in name else f"{name}={next(rest, '')}" for name in names]
    left = [*rest]
    require(not left, "parameter", " ".join(left), "written as -p NAME=VALUE")
    return paired


def _report(executed: Path) -> None:
    from itslab.notebooks import summary

    for table in summary(executed):
        typer.echo(f"\n{table}")
    jupyter = Path(sys.executable).with_name("jupyter-lab")
    typer.echo(f"\nexecuted notebook: {_near(executed)}")
    typer.echo(f"page with live plots: {_near(executed.with_suffix('.html'))}")
    typer.echo(f"to change things yourself: {_near(jupyter)} {_near(executed)}")


def _near(path: Path) -> str:
    """A path as short as it can be from here."""
    return min(str(path), os.path.relpath(path), key=len)


# -- one question ----------------------------------------------------------------------------------


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What the model is asked; - reads it.")],
    strategy: Annotated[
        str, typer.Option(help="Such as self-consistency, best-of-n, beam-search.")
    ] = "self-consistency",
    model: Annotated[str, typer.Option(help="See `itslab models`.")] = "qwen2.5-coder-0.5b",
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="Samples.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="Of the strategy. Repeatable."),
    ] = None,
    budget_tokens: Annotated[int | None, typer.Option(min=1, help="Most to decode.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Names the samples.")] = 0,
    json: AsJson = False,
) -> None:
    """Let a strategy answer one question; what it is doing is shown meanwhile."""
    import itslab as its

    chosen = _chosen(strategy, n, option or [])
    said = sys.stdin.read() if question == "-" else question
    require(bool(said.strip()), "question", said, "a text to ask")
    llm = its.load(model)
    budget = its.Budget(tokens=budget_tokens)
    handle = its.start(said, chosen, llm, budget=budget, seed=seed)
    with _Told(not json) as told:
        try:
            while handle.running:
                told.show(_so_far(handle.run.cost, handle.run.best))
                time.sleep(0.2)
        except KeyboardInterrupt:
            handle.stop()  # the best answer so far
        result = handle.result()
    if json:
        cost = dataclasses.asdict(result.cost)
        ended = {"stopped_by": result.stopped_by, "unfinished": result.unfinished}
        _dump({"answer": result.answer, **ended, "cost": cost})
        return
    _answered(result, budget)


def _chosen(name: str, n: int | None, options: list[str]) -> Any:
    """A strategy by its name, with options as they were typed."""
    import yaml

    from itslab.options import Draws, described, fits
    from itslab.study.reading import strategy

    require(n is None or fits(n, Draws), "n", n, described(Draws))
    given: dict[str, Any] = {} if n is None else {"n": n}
    for text in options:
        option, equals, value = text.partition("=")
        require(bool(equals), "option", text, "written as NAME=VALUE")
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise OptionError(
                f"option {text!r} cannot be read: write NAME=VALUE as in YAML"
            ) from error
        valid = f"given once, not as {option}={given.get(option)!r} as well"
        require(option not in given, "option", text, valid)
        given[option] = value
    return strategy(name, given)


def _answered(result: Result, budget: Budget) -> None:
    """Print an answer, and on standard error what led to it and what it took."""
    from itslab.options import settings
    from itslab.viz.panels import ended

    if result.node is not None:
        said = printable(result.node.turn_text.strip())
        typer.secho(f"{said}\n", fg="bright_black", err=True)
    cost = result.cost
    samples = f"{cost.calls:,} sample{'' if cost.calls == 1 else 's'}"
    spent = f"{samples}, {cost.decoded:,} tokens, {result.elapsed:.1f} s"
    typer.secho(f"{settings(result.strategy)}: {spent}, {ended(result, budget)}", err=True)
    typer.echo("no answer" if result.answer is None else printable(result.answer))


def _so_far(cost: Any, best: Any) -> str:
    text = "" if best is None else " ".join(best.turn_text.split())[-60:]
    return f"{cost.calls:,} samples, {cost.decoded:,} tokens  {text}"


class _Told:
    """A line on standard error that says how far a run has come, where somebody reads it."""

    def __init__(self, wanted: bool = True) -> None:
        self._shown = wanted and sys.stderr.isatty()

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def show(self, line: str) -> None:
        """Write the line anew."""
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{printable(line)[:100]}")
            sys.stderr.flush()

    def say(self, text: str) -> None:
        """Write to standard output, above the line."""
        self._clear()
        typer.echo(text)

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


app.command()(serve)
app.command()(workshop)
app.command()(load)
app.command()(bench_serve)
app.command()(bench_class)


# -- models ----------------------------------------------------------------------------------------


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="A name of the catalogue, or hf:owner/repo/file.")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="I have read the model's terms and accept.")
    ] = False,
) -> None:
    """Get a model on disk, verified."""
    from itslab import models

    typer.echo(models.pull(model, accept_licence=accept_licence))


@app.command("models")
def list_models(json: AsJson = False) -> None:
    """List the catalogue and what is on disk."""
    from itslab import models
    from itslab.models.sources import megabytes

    cached = {item.name: item for item in models.cached()}
    if json:
        known = {name: (m.size, m.licence, m.note) for name, m in models.CATALOGUE.items()}
        known |= {name: (m.size, "", "") for name, m in cached.items() if name not in known}
        names = ("size", "licence", "note")
        _dump(
            [
                {"name": name, **dict(zip(names, facts, strict=True)), "on disk": name in cached}
                for name, facts in known.items()
            ]
        )
        return
    for model in models.CATALOGUE.values():
        state = "on disk" if model.name in cached else "-"
        size = megabytes(model.size) if model.size else ""
        typer.echo(f"{model.name:<20} {size:>9}  {state:<8} {model.licence:<18} {model.note}")
    for item in cached.values():
        if item.name not in models.CATALOGUE:
            typer.echo(f"{item.name}  {megabytes(item.size)}  on disk")
    typer.echo(f"folder: {models.home() / 'models'} (ITSLAB_HOME moves it)")


@app.command()
def quantize(
    model: Annotated[str, typer.Argument(help="A name of the catalogue, or a GGUF file.")],
    type: Annotated[str, typer.Argument(help="Such as Q4_0 or Q8_0.")],
) -> None:
    """Quantize a model with llama.cpp."""
    from itslab import models

    typer.echo(models.quantize(model, type))


# -- this machine ----------------------------------------------------------------------------------


@app.command()
def doctor(json: AsJson = False) -> None:
    """Say what this machine and this build of llama.cpp can do, and how to mend what is lacking."""
    from itslab.doctor import diagnose

    findings = list(diagnose())
    if json:
        _dump([finding._asdict() for finding in findings])
    for finding in findings if not json else ():
        colour = {"OK": "green", "lacking": "red", "optional": "yellow"}[finding.state]
        typer.secho(f"{finding.state:<9}", fg=colour, nl=False)
        typer.echo(f"{finding.part:<12} {finding.found}")
        if finding.fix:
            typer.echo(f"{'':<22}-> {finding.fix}")
    if any(finding.state == "lacking" for finding in findings):
        raise typer.Exit(1)


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="See `itslab models`.")] = "qwen2.5-coder-0.5b",
    batch_sizes: Annotated[str, typer.Option(help="Numbers of sequences at once.")] = "1,4,8,16,32",
    tokens: Annotated[int, typer.Option(min=2, help="Decoded per sequence.")] = 160,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: physical cores.")] = None,
    server: Annotated[Path | None, typer.Option(help="A llama-server binary.")] = None,
    batched_bench: Annotated[Path | None, typer.Option(help="A llama-batched-bench.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Measure tokens per second here: our engine, plain Llama(), llama.cpp's own binaries."""
    from itslab import models
    from itslab.backends import library
    from itslab.bench import measure_speed

    numbers = batch_sizes.split(",")
    valid = all(n.isascii() and n.isdigit() and int(n) for n in numbers)
    require(valid, "batch_sizes", batch_sizes, "whole numbers ≥ 1 with commas between")
    for option, binary in (("server", server), ("batched_bench", batched_bench)):
        runs = binary is None or (binary.is_file() and os.access(binary, os.X_OK))
        require(runs, option, str(binary), "a program that can be run")
    library.start()
    report = measure_speed(
        models.resolve(model),
        batch_sizes=tuple(map(int, numbers)),
        tokens=tokens,
        rounds=rounds,
        threads=threads,
        server=server,
        batched_bench=batched_bench,
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(report.json() if json else report.table())


@app.command()
def bench_models(
    file: Annotated[Path, typer.Argument(help="A study of several models, as YAML.")],
    store: Annotated[
        Path | None, typer.Option(help="Where its runs are; by default FILE.sqlite.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: physical cores.")] = None,
) -> None:
    """Measure which of a study's models, or quantizations, solves more in the same seconds here."""
    from itslab.backends import library
    from itslab.bench import measure_models
    from itslab.conductor import conduct, model_file
    from itslab.study.reading import read

    plan = read(file)
    outcome = conduct(plan, store or file.with_suffix(".sqlite"), mode="replay")
    library.start()
    report = measure_models(
        outcome,
        {name: model_file(name) for name in plan.models},
        rounds=rounds,
        threads=threads,
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(report.table())


@app.command()
def bench_search(
    model: Annotated[str, typer.Argument(help="See `itslab models`.")] = "qwen2.5-coder-0.5b",
    width: Annotated[int, typer.Option(min=1, help="Beams kept.")] = 8,
    expand: Annotated[int, typer.Option(min=1, help="Steps drawn after each.")] = 2,
    depth: Annotated[int, typer.Option(min=1, help="Steps in a chain.")] = 24,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens in a step.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: physical cores.")] = None,
) -> None:
    """Measure what a search gains here from evaluating the text of its tree once."""
    from itslab import models
    from itslab.backends import library
    from itslab.bench import measure_search

    library.start()
    report = measure_search(
        models.resolve(model),
        width=width,
        expand=expand,
        depth=depth,
        tokens=tokens,
        rounds=rounds,
        threads=threads,
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(report.table())


@app.command()
def bench_stopping(
    model: Annotated[str, typer.Argument(help="See `itslab models`.")] = "qwen2.5-coder-0.5b",
    functions: Annotated[
        bool, typer.Option("--functions", help="Programs with tests instead of word problems.")
    ] = False,
    problems: Annotated[int, typer.Option(min=1, help="All under way at once.")] = 12,
    n: Annotated[int, typer.Option("-n", min=1, help="Most samples for each.")] = 16,
    tokens: Annotated[int, typer.Option(min=1, help="Most in a sample.")] = 512,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 2,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: physical cores.")] = None,
) -> None:
    """Measure the seconds that stopping rules and DeepConf save here."""
    from itslab import models
    from itslab.backends import library
    from itslab.bench import measure_stopping

    library.start()
    report = measure_stopping(
        models.resolve(model),
        kind="functions" if functions else "words",
        problems=problems,
        n=n,
        max_tokens=tokens,
        rounds=rounds,
        threads=threads,
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(report.table())


@app.command()
def bench_cascade(
    model: Annotated[str, typer.Argument(help="Asked first.")] = "qwen2.5-coder-0.5b",
    larger: Annotated[str, typer.Argument(help="Asked last.")] = "qwen2.5-coder-1.5b",
    problems: Annotated[int, typer.Option(min=1, help="Functions of HumanEval.")] = 24,
    tries: Annotated[int, typer.Option(min=1, help="Most samples of the smaller model.")] = 4,
    tokens: Annotated[int, typer.Option(min=1, help="Most in a program.")] = 512,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 2,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: physical cores.")] = None,
) -> None:
    """Measure the seconds of a larger model, and of cascades that ask it last."""
    from itslab import models
    from itslab.backends import library
    from itslab.bench import measure_cascade

    library.start()
    report = measure_cascade(
        models.resolve(model),
        models.resolve(larger),
        problems=problems,
        tries=tries,
        max_tokens=tokens,
        rounds=rounds,
        threads=threads,
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(report.table())


if __name__ == "__main__":
    app()
