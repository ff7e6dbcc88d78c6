"""How our objects show themselves in a notebook: one function for each type, which returns HTML.

``itslab.ipython`` registers them. Each shows what a person would ask next of such an object, in a
few kilobytes however large it is; what models, servers and files say is escaped. Models and banks
are taken as they are: nothing of theirs is imported here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from html import escape
from typing import TYPE_CHECKING, Any

from itslab.core import Budget, Cost, Node, Result, Tree
from itslab.handle import RunHandle
from itslab.study.samples import Samples
from itslab.study.selection import majority_at_k
from itslab.study.statistics import Estimate, mean
from itslab.tasks import Task
from itslab.viz import pieces, style, theme
from itslab.viz.figures import bars, picture
from itslab.viz.panels import CHARACTERS, ending, error_text
from itslab.viz.sketch import sketch
from itslab.viz.style import BLUE, GRID, MUTED

if TYPE_CHECKING:
    from itslab.run import Run

PROMPT = 1_500
"""Characters of a problem's prompt that are shown."""
FEW = 3
"""Problems of a task that can be read."""


# -- runs ------------------------------------------------------------------------------------------


def result(run: Result) -> str:
    """Show an answer, what ended the run, what it cost, and its votes or its tree."""
    ended = _ended(run)
    parts = [pieces.head("no answer" if run.answer is None else run.answer, ended)]
    parts += [_costs(run.costs, run.cost), _stages(run.stages)]
    parts += [pieces.remarks(_missing(run)), _drawn(run.tree, run.node)]
    if run.node is not None:
        parts.append(pieces.folded("what the answer was read from", run.node.turn_text))
    return pieces.view(*parts)


def handle(run: RunHandle) -> str:
    """Show how a run stands, its best answer so far, and what it has cost."""
    answer = run.answer
    state, error = run.state, ""
    if state == "failed":
        try:
            run.result()
        except Exception as reason:
            error = error_text(reason)
    elif not run.running:
        state = ending(run.run.stopped_by, run.run.cost, run.run.budget)
    best = "the answer" if not run.running else "the best so far"
    about = state if answer is None else f"{state} · {best}"
    none = "no answer yet" if run.running else "no answer"
    parts = [pieces.head(none if answer is None else answer, about)]
    parts += [pieces.remarks([error] if error else []), _share(run.run.budget, run.run.cost)]
    parts += [_costs(run.run.ledger.by_model, run.run.cost), _drawn(run.run.tree, run.run.best)]
    if run.running:
        now = time.strftime("%H:%M:%S")
        parts.append(style.note(f"as it stood at {now}; its.view(…) shows it while it goes on"))
    return pieces.view(*parts)


def tree(run: Tree) -> str:
    """Show the nodes of a run as a small picture."""
    return pieces.view(pieces.head(f"{len(run):,} nodes", "of a run"), pieces.image(sketch(run)))


def progress(run: Run, seconds: float) -> dict[str, str]:
    """Return how far a run of ``solve`` has come, as a MIME bundle: a bar of its budget, a line.

    Args:
        run: that goes on.
        seconds: by the clock, since it began.
    """
    drawing = [node for node in list(run.tree.nodes) if node.status == "open"]
    tokens = round(sum(len(node.text) for node in drawing) / CHARACTERS)
    growing = f" · {len(drawing):,} being drawn, about {tokens:,} tokens" if drawing else ""
    answer = _best(run)
    said = "no answer yet" if answer is None else f"best so far: {pieces.brief_line(answer, 40)}"
    told = _told(run.cost, seconds) + growing
    under_way = run.cost + Cost(calls=len(drawing), decoded=tokens)
    return _bundle(said, told, _share(run.budget, under_way))


def summary(run: Run, seconds: float, came: Result | None) -> dict[str, str]:
    """Return what came of a run of ``solve`` in one line, as a MIME bundle.

    Args:
        run, seconds: as of ``progress``.
        came: its result; None if it failed.
    """
    if came is None:
        return _bundle("failed", _told(run.cost, seconds))
    said = "no answer" if came.answer is None else pieces.brief_line(came.answer, 40)
    return _bundle(said, f"{_told(came.cost, seconds)} · {ending(came.stopped_by, came.cost)}")


def _told(cost: Cost, seconds: float) -> str:
    calls = f"{cost.calls:,} sample{'' if cost.calls == 1 else 's'}"
    return f"{calls} · {cost.decoded:,} tokens · {seconds:.0f} s by the clock"


def _bundle(said: str, told: str, above: str = "") -> dict[str, str]:
    html = style.view(f"{theme.SHEET}{above}<b>{escape(said)}</b> · {escape(told)}")
    return {"text/html": html, "text/plain": f"{said} · {told}"}


def _best(run: Run) -> str | None:
    """The best answer so far: of a step on the way to one it is none yet."""
    best = run.best
    return None if best is None or not best.whole else run.extract(best.turn_text)


def unshown(thing: Any, error: Exception) -> str:
    """Say of an object that showing it failed, and why."""
    head = pieces.head(type(thing).__name__, "cannot be shown")
    return pieces.view(head, pieces.remarks([error_text(error)]))


def _share(budget: Budget, cost: Cost) -> str:
    """How much of a budget is spent: a bar for the limit that is nearest."""
    spent = budget.spent(cost)
    limits = {name: getattr(budget, name) for name in spent}
    shares = {name: spent[name] / limit for name, limit in limits.items() if limit}
    if not shares:
        return ""
    name = max(shares, key=lambda each: shares[each])
    share, whole = (
        min(shares[name], 1),
        f"{limits[name]:,g} {'s of compute' if name == 'seconds' else name}",
    )
    outer = f"background: {GRID}; width: 12rem; height: 8px; display: inline-block"
    inner = f"background: {BLUE}; width: {share:.0%}; height: 8px"
    bar = f'<div style="{outer}"><div style="{inner}"></div></div>'
    return f'<div>{bar} <span style="color: {MUTED}">{share:.0%} of {whole}</span></div>'


def _ended(run: Result) -> str:
    if run.failed:
        return "failed"
    ended = ending(run.stopped_by, run.cost)
    unfinished = " · read from an unfinished chain" if run.unfinished else ""
    return f"{ended} · {run.elapsed:.1f} s by the clock{unfinished}"


def _missing(run: Result) -> list[str]:
    """What a reader has to know of a result besides."""
    unscored = [f"{count} without a verdict: {why}" for why, count in run.unscored.items()]
    outages = [f"not reached: {why}" for why in run.outages]
    return [*([run.failed] if run.failed else []), *unscored, *outages]


def _costs(costs: Mapping[str, Cost], total: Cost) -> str:
    """What each model was paid, and all of them where there are several."""
    if total == Cost():
        return ""
    paid = {model: cost for model, cost in costs.items() if cost != Cost()}
    rows = [[escape(model), *_amounts(cost)] for model, cost in [*paid.items()][: pieces.LINES]]
    if len(paid) > pieces.LINES:
        rows.append(
            [
                f"{len(paid) - pieces.LINES} others",
                *_amounts(sum([*paid.values()][pieces.LINES :], Cost())),
            ]
        )
    if len(paid) != 1:
        rows.append(["all", *_amounts(total)])
    heads = ["paid for", "samples", "tokens read", "reused", "drawn", style.COMPUTE, "GFLOPs"]
    return pieces.table(heads, rows)


def _amounts(cost: Cost) -> list[str]:
    prefilled, reused, decoded, calls, seconds, flops = astuple(cost)
    counts = [f"{count:,}" for count in (calls, prefilled, reused, decoded)]
    return [*counts, f"{seconds:.1f}", f"{flops / 1e9:,.0f}" if flops else "–"]


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    """Which stages of a cascade were taken."""
    rows = [
        [
            f"{stage.get('stage', 0) + 1}",
            *(escape(str(stage.get(name, ""))) for name in ("model", "strategy")),
            "accepted" if stage.get("accepted") else "passed on",
            escape(style.short(str(stage.get("why", "")), 80)),
        ]
        for stage in stages[: pieces.LINES]
    ]
    return (
        pieces.table(["stage", "model", "strategy", "", "why"], rows, numbers=False) if rows else ""
    )


def _drawn(run: Tree, best: Node | None) -> str:
    """The votes of a run that voted in the end, or its tree, if it branches at all."""
    voted = next((event for event in reversed(run.events) if event.kind == "vote"), None)
    if voted is not None and _flat(run):
        votes = Counter(voted.data["votes"])
        unanswered = votes.pop(None, 0)
        return pieces.image(picture(bars(votes, (), unanswered), "votes (samples)"))
    drawn = sum(node.completion is not None or node.status == "open" for node in run.nodes)
    return pieces.image(sketch(run, best)) if drawn > 1 else ""


def _flat(run: Tree) -> bool:
    """Whether all samples were drawn side by side, so that votes are the whole picture."""
    parents = {id(node.parent) for node in run.nodes if node.completion is not None}
    return len(parents) <= 1


# -- what is measured on ---------------------------------------------------------------------------


def task(problems: Task) -> str:
    """Show what a task is: how many problems, how they are checked, and the first few."""
    grader = getattr(problems.grade, "__name__", type(problems.grade).__name__)
    check = "none without the gold answer"
    if problems.verifier is not None:
        check = f"{pieces.brief_line(repr(problems.verifier))} (needs no gold answer)"
    facts = {"graded by": grader, "check": check}
    templates = len(set(problems.clusters))
    if templates < len(problems):
        facts["templates"] = f"{templates:,}, which are the units of intervals"
    first = "".join(_problem(problem) for problem in problems.problems[:FEW])
    rest = len(problems) - FEW
    more = style.note(f"and {rest:,} more, in .problems") if rest > 0 else ""
    count = f"{len(problems):,} problem{'' if len(problems) == 1 else 's'}"
    return pieces.view(pieces.head(problems.name, count), pieces.facts(facts), first, more)


def _problem(problem: Any) -> str:
    inner = style.box(pieces.cut(problem.prompt, PROMPT), GRID) + pieces.folded(
        "its answer", problem.answer
    )
    title = f"{problem.id}: {style.short(' '.join(problem.prompt.split()), 90)}"
    return pieces.details(title, inner)


def samples(drawn: Samples) -> str:
    """Show how many samples were drawn of how many problems, and how often they are right."""
    p, n = drawn.correct.shape
    clusters = drawn.task.clusters
    rates: dict[str, Estimate] = {
        "one sample is right": mean(drawn.correct.mean(axis=1), clusters=clusters)
    }
    if n > 1:
        majority = majority_at_k(drawn.keys, drawn.correct, [n])[:, 0]
        rates[f"the majority of {n} is right"] = mean(majority, clusters=clusters)
        rates[f"one of {n} is right (coverage)"] = mean(
            drawn.correct.any(axis=1), clusters=clusters
        )
    rows = [[name, f"{e.value:.1%}", f"{e.low:.1%} to {e.high:.1%}"] for name, e in rates.items()]
    silent = drawn.unanswered.mean()
    facts = {
        "without an answer": f"{silent:.1%} of samples",
        "tokens": f"{drawn.tokens.sum():,}, {drawn.tokens.mean():,.0f} a sample",
        style.COMPUTE: f"{drawn.seconds.sum():,.1f}",
    }
    many = f"{p:,} problem{'' if p == 1 else 's'} × {n:,} sample{'' if n == 1 else 's'}"
    table = pieces.table(["", "of problems", "95 % interval"], rows)
    return pieces.view(pieces.head(drawn.task.name, many), table, pieces.facts(facts))


# -- models and banks ------------------------------------------------------------------------------


def llama(model: Any) -> str:
    """Show which file a local model is, and how it is run."""
    facts = {
        "file": model.path,
        "weights": " · ".join(filter(None, [model.quantization, _size(model.path)])),
        "context": f"{model.context:,} tokens, prompt included",
        "at once": f"{model.batch_size} samples",
        "threads": model.threads,
        "build": model.provenance,
    }
    return pieces.view(
        pieces.head(model.name, "closed: load it again" if model.closed else "local"),
        pieces.facts(facts),
    )


def reward_model(model: Any) -> str:
    """Show which file a reward model is."""
    facts = {
        "file": model.path,
        "weights": _size(model.path),
        "context": f"{model.context:,} tokens",
    }
    return pieces.view(pieces.head(model.name, "scores conversations"), pieces.facts(facts))


def model_file(model: Any) -> str:
    """Show a model's file on disk."""
    metadata = model.metadata
    facts = {
        "file": model.path,
        "weights": " · ".join(filter(None, [model.quantization, _size(model.path)])),
        "architecture": metadata.get("general.architecture", "?"),
        "SHA-256": model.digest,
    }
    return pieces.view(pieces.head(model.name, "a file; its.load runs it"), pieces.facts(facts))


def remote(model: Any) -> str:
    """Show where a remote model is; its key never."""
    facts = {
        "server": f"{model.server}, {model.base_url}",
        "at once": f"{model.batch_size} calls",
        "FLOPs": "from its shape" if model.shape else "unknown: give a shape",
    }
    return pieces.view(pieces.head(model.name, "remote"), pieces.facts(facts))


def banked(model: Any) -> str:
    """Show a bank as a model: what it replays, or what it records from."""
    source = model.model
    use = "replayed: nothing is drawn" if source is None else f"recorded from {source!r}"
    facts = {"bank": model.bank.path, "digest": model.digest}
    if model.others:
        facts["serves as well"] = ", ".join(
            str(other.path) for other in model.others[: pieces.LINES]
        )
    held = [one for one in model.bank.sources if one.digest == model.digest]
    return pieces.view(pieces.head(model.name, use), pieces.facts(facts), _sources(held))


def bank(file: Any) -> str:
    """Show what a bank holds: samples of which models, and runs of which tasks."""
    sources = file.sources
    held = sum(source.samples for source in sources)
    runs = file.runs_by_task
    facts: dict[str, Any] = {
        "size": _size(file.path),
        "use": "to be replayed: it cannot be written" if file.fixed else "records and replays",
    }
    if runs:
        some = [f"{name} {count:,}" for name, count in [*runs.items()][: pieces.LINES]]
        rest = f", and {len(runs) - pieces.LINES} other tasks" if len(runs) > pieces.LINES else ""
        facts["runs"] = f"{sum(runs.values()):,}: {', '.join(some)}{rest}"
    return pieces.view(
        pieces.head(str(file.path), f"{held:,} samples"), pieces.facts(facts), _sources(sources)
    )


def _sources(sources: Sequence[Any]) -> str:
    """How many samples there are of each model, drawn by how many builds."""
    held: dict[tuple[str, str], list[int]] = {}
    for one in sources:
        held.setdefault((one.name, one.digest), []).append(one.samples)
    models = [(name, sum(counts), sum(map(bool, counts))) for (name, _), counts in held.items()]
    rows = [[escape(n), f"{count:,}", str(builds)] for n, count, builds in models[: pieces.LINES]]
    if rest := models[pieces.LINES :]:
        rows.append([f"{len(rest)} others", f"{sum(count for _, count, _ in rest):,}", ""])
    return pieces.table(["model", "samples", "builds that drew them"], rows) if rows else ""


def _size(path: Any) -> str:
    try:
        return f"{path.stat().st_size / 1e6:,.1f} MB"
    except OSError:
        return "not on disk any more"
