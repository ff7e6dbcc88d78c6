"""How our objects show themselves in a notebook: one function for each type, which returns HTML.

``itslab.ipython`` registers them. Each shows what a person would ask next of such an object, in a
few kilobytes however large it is; what models, servers and files say is escaped. Models and banks
are taken as they are: nothing of theirs is imported here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from html import escape
from typing import TYPE_CHECKING, Any

from itslab.core import Budget, Cost, Node, Result, Tree
from itslab.handle import RunHandle
from itslab.study.samples import Samples
from itslab.study.selection import majority_at_k
from itslab.study.statistics import Estimate, mean
from itslab.tasks import Task
from itslab.viz import style, theme
from itslab.viz.figures import bars, picture
from itslab.viz.panels import CHARACTERS, ending, error_text
from itslab.viz.sketch import sketch
from itslab.viz.style import BLUE, GRID, INK, MUTED, RED

if TYPE_CHECKING:
    from itslab.run import Run

SHOWN = 4_000
"""Characters of a text that are shown; of a problem's prompt fewer."""
PROMPT = 1_500
FEW = 3
"""Problems of a task that can be read."""
LINES = 8
"""Rows of a table, and remarks, that are shown; how many there are besides is said."""


# -- runs ------------------------------------------------------------------------------------------


def result(run: Result) -> str:
    """Show an answer, what ended the run, what it cost, and its votes or its tree."""
    ended = _ended(run)
    parts = [_head("no answer" if run.answer is None else run.answer, ended)]
    parts += [_costs(run.costs, run.cost), _stages(run.stages)]
    parts += [_remarks(_missing(run)), _drawn(run.tree, run.node)]
    if run.node is not None:
        parts.append(_folded("what the answer was read from", run.node.turn_text))
    return _view(*parts)


def handle(run: RunHandle) -> str:
    """Show how a run stands, its best answer so far, and what it has cost."""
    answer = _best(run.run)
    state, error = run.state, ""
    if state == "failed":
        try:
            run.result()
        except Exception as reason:
            error = error_text(reason)
    elif not run.running:
        state = ending(run.run.stopped_by, run.run.cost, run.run.budget)
    about = state if answer is None else f"{state} · the best so far"
    parts = [_head("no answer yet" if answer is None else answer, about)]
    parts += [_remarks([error] if error else []), _share(run.run.budget, run.run.cost)]
    parts += [_costs(run.run.ledger.by_model, run.run.cost), _drawn(run.run.tree, run.run.best)]
    if run.running:
        parts.append(style.note("its.view(…) shows it while it goes on"))
    return _view(*parts)


def tree(run: Tree) -> str:
    """Show the nodes of a run as a small picture."""
    return _view(_head(f"{len(run):,} nodes", "of a run"), _image(sketch(run)))


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
    said = "no answer yet" if answer is None else f"best so far: {brief_line(answer, 40)}"
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
    said = "no answer" if came.answer is None else brief_line(came.answer, 40)
    return _bundle(said, f"{_told(came.cost, seconds)} · {ending(came.stopped_by, came.cost)}")


def _told(cost: Cost, seconds: float) -> str:
    calls = f"{cost.calls:,} sample{'' if cost.calls == 1 else 's'}"
    return f"{calls} · {cost.decoded:,} tokens · {seconds:.0f} s"


def _bundle(said: str, told: str, above: str = "") -> dict[str, str]:
    html = style.view(f"{theme.SHEET}{above}<b>{escape(said)}</b> · {escape(told)}")
    return {"text/html": html, "text/plain": f"{said} · {told}"}


def _best(run: Run) -> str | None:
    """The best answer so far."""
    best = run.best
    return None if best is None else run.extract(best.turn_text)


def _share(budget: Budget, cost: Cost) -> str:
    """How much of a budget is spent: a bar for the limit that is nearest."""
    spent = budget.spent(cost)
    limits = {name: getattr(budget, name) for name in spent}
    shares = {name: spent[name] / limit for name, limit in limits.items() if limit}
    if not shares:
        return ""
    name = max(shares, key=lambda each: shares[each])
    share, whole = min(shares[name], 1), f"{limits[name]:,g} {name}"
    outer = f"background: {GRID}; width: 12rem; height: 8px; display: inline-block"
    inner = f"background: {BLUE}; width: {share:.0%}; height: 8px"
    bar = f'<div style="{outer}"><div style="{inner}"></div></div>'
    return f'<div>{bar} <span style="color: {MUTED}">{share:.0%} of {whole}</span></div>'


def _ended(run: Result) -> str:
    if run.failed:
        return "failed"
    ended = ending(run.stopped_by, run.cost)
    unfinished = " · read from an unfinished chain" if run.unfinished else ""
    return f"{ended} · {run.elapsed:.1f} s{unfinished}"


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
    rows = [[escape(model), *_amounts(cost)] for model, cost in [*paid.items()][:LINES]]
    if len(paid) > LINES:
        rows.append(
            [f"{len(paid) - LINES} others", *_amounts(sum([*paid.values()][LINES:], Cost()))]
        )
    if len(paid) != 1:
        rows.append(["all", *_amounts(total)])
    heads = ["paid for", "samples", "tokens read", "reused", "drawn", "compute", "GFLOPs"]
    return _table(heads, rows)


def _amounts(cost: Cost) -> list[str]:
    prefilled, reused, decoded, calls, seconds, flops = astuple(cost)
    counts = [f"{count:,}" for count in (calls, prefilled, reused, decoded)]
    return [*counts, f"{seconds:.1f} s", f"{flops / 1e9:,.0f}" if flops else "–"]


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    """Which stages of a cascade were taken."""
    rows = [
        [
            f"{stage.get('stage', 0) + 1}",
            *(escape(str(stage.get(name, ""))) for name in ("model", "strategy")),
            "accepted" if stage.get("accepted") else "passed on",
            escape(style.short(str(stage.get("why", "")), 80)),
        ]
        for stage in stages[:LINES]
    ]
    return _table(["stage", "model", "strategy", "", "why"], rows, numbers=False) if rows else ""


def _drawn(run: Tree, best: Node | None) -> str:
    """The votes of a run that voted in the end, or its tree, if it branches at all."""
    voted = next((event for event in reversed(run.events) if event.kind == "vote"), None)
    if voted is not None and _flat(run):
        votes = Counter(voted.data["votes"])
        unanswered = votes.pop(None, 0)
        return _image(picture(bars(votes, (), unanswered), "votes (samples)"))
    drawn = sum(node.completion is not None or node.status == "open" for node in run.nodes)
    return _image(sketch(run, best)) if drawn > 1 else ""


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
        check = f"{brief_line(repr(problems.verifier))} (needs no gold answer)"
    facts = {"graded by": grader, "check": check}
    templates = len(set(problems.clusters))
    if templates < len(problems):
        facts["templates"] = f"{templates:,}, which are the units of intervals"
    first = "".join(_problem(problem) for problem in problems.problems[:FEW])
    rest = len(problems) - FEW
    more = style.note(f"and {rest:,} more, in .problems") if rest > 0 else ""
    count = f"{len(problems):,} problem{'' if len(problems) == 1 else 's'}"
    return _view(_head(problems.name, count), _facts(facts), first, more)


def _problem(problem: Any) -> str:
    inner = style.box(_cut(problem.prompt, PROMPT), GRID) + _folded("its answer", problem.answer)
    title = f"{problem.id}: {style.short(' '.join(problem.prompt.split()), 90)}"
    return _details(title, inner)


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
        "compute": f"{drawn.seconds.sum():,.1f} s",
    }
    many = f"{p:,} problem{'' if p == 1 else 's'} × {n:,} sample{'' if n == 1 else 's'}"
    table = _table(["", "of problems", "95 % interval"], rows)
    return _view(_head(drawn.task.name, many), table, _facts(facts))


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
    return _view(
        _head(model.name, "closed: load it again" if model.closed else "local"), _facts(facts)
    )


def reward_model(model: Any) -> str:
    """Show which file a reward model is."""
    facts = {
        "file": model.path,
        "weights": _size(model.path),
        "context": f"{model.context:,} tokens",
    }
    return _view(_head(model.name, "scores conversations"), _facts(facts))


def model_file(model: Any) -> str:
    """Show a model's file on disk."""
    metadata = model.metadata
    facts = {
        "file": model.path,
        "weights": " · ".join(filter(None, [model.quantization, _size(model.path)])),
        "architecture": metadata.get("general.architecture", "?"),
        "SHA-256": model.digest,
    }
    return _view(_head(model.name, "a file; its.load runs it"), _facts(facts))


def remote(model: Any) -> str:
    """Show where a remote model is; its key never."""
    facts = {
        "server": f"{model.server}, {model.base_url}",
        "at once": f"{model.batch_size} calls",
        "FLOPs": "from its shape" if model.shape else "unknown: give a shape",
    }
    return _view(_head(model.name, "remote"), _facts(facts))


def banked(model: Any) -> str:
    """Show a bank as a model: what it replays, or what it records from."""
    source = model.model
    use = "replayed: nothing is drawn" if source is None else f"recorded from {source!r}"
    facts = {"bank": model.bank.path, "digest": model.digest}
    if model.others:
        facts["serves as well"] = ", ".join(str(other.path) for other in model.others[:LINES])
    held = [one for one in model.bank.sources if one.digest == model.digest]
    return _view(_head(model.name, use), _facts(facts), _sources(held))


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
        some = [f"{name} {count:,}" for name, count in [*runs.items()][:LINES]]
        rest = f", and {len(runs) - LINES} other tasks" if len(runs) > LINES else ""
        facts["runs"] = f"{sum(runs.values()):,}: {', '.join(some)}{rest}"
    return _view(_head(str(file.path), f"{held:,} samples"), _facts(facts), _sources(sources))


def _sources(sources: Sequence[Any]) -> str:
    """How many samples there are of each model, drawn by how many builds."""
    held: dict[tuple[str, str], list[int]] = {}
    for one in sources:
        held.setdefault((one.name, one.digest), []).append(one.samples)
    models = [(name, sum(counts), sum(map(bool, counts))) for (name, _), counts in held.items()]
    rows = [[escape(n), f"{count:,}", str(builds)] for n, count, builds in models[:LINES]]
    if rest := models[LINES:]:
        rows.append([f"{len(rest)} others", f"{sum(count for _, count, _ in rest):,}", ""])
    return _table(["model", "samples", "builds that drew them"], rows) if rows else ""


def _size(path: Any) -> str:
    try:
        return f"{path.stat().st_size / 1e6:,.1f} MB"
    except OSError:
        return "not on disk any more"


# -- pieces ----------------------------------------------------------------------------------------


def brief_line(text: str, most: int = 120) -> str:
    """Return a text in one line, cut where it is long."""
    return style.short(" ".join(text.split()), most)


def _view(*parts: str) -> str:
    return style.view(theme.SHEET + _SHEET + "".join(parts))


def _head(name: str, about: str) -> str:
    return (
        '<div style="overflow-wrap: anywhere">'
        f'<b style="font-size: 17px">{escape(brief_line(name, 200))}</b> '
        f'<span style="color: {MUTED}">{escape(about)}</span></div>'
    )


def _facts(facts: Mapping[str, Any]) -> str:
    rows = (
        f"<tr><th>{escape(name)}</th><td>{escape(brief_line(str(value), 300))}</td></tr>"
        for name, value in facts.items()
    )
    return f'<table class="its-facts">{"".join(rows)}</table>'


_SHEET = f"""<style>
.its-view table.its-facts {{ border-collapse: collapse; border: 0; margin: 6px 0; color: {INK} }}
.its-view table.its-facts tbody tr {{ background: white }}
.its-view table.its-facts tbody :is(td, th) {{ font-size: 13px; font-weight: normal; border: 0;
  padding: 1px 14px 1px 0; vertical-align: top; text-align: left; white-space: normal;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; min-width: 3.5em }}
.its-view table.its-facts tbody th {{ color: {MUTED}; white-space: nowrap }}
.its-view table.its-sums tbody td:first-child {{ white-space: nowrap }}
.its-view table.its-sums tbody tr > :not(:first-child) {{ text-align: right; white-space: nowrap }}
.its-view table.its-sums tbody tr:first-child > th {{ border-bottom: 1px solid {GRID} }}
.its-view details {{ margin: 4px 0 }}
.its-view .its-drawn {{ overflow-x: auto }}
.its-drawn svg {{ max-width: 100%; min-width: 420px; height: auto }}
.its-view summary {{ cursor: pointer }}
</style>"""


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]], numbers: bool = True) -> str:
    """Cells are HTML; those after the first of a row are at the right, if they are numbers."""
    lines = [f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"]
    lines += (f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    kind = "its-facts its-sums" if numbers else "its-facts"
    table = f'<table class="{kind}">{"".join(lines)}</table>'
    return f'<div style="overflow-x: auto">{table}</div>'


def _image(svg: str) -> str:
    return f'<div class="its-drawn">{svg}</div>'


def _remarks(said: Sequence[str]) -> str:
    shown = [brief_line(text, 300) for text in said[:LINES]]
    if len(said) > LINES:
        shown.append(f"and {len(said) - LINES} more")
    return "".join(
        f'<div style="color: {RED}; overflow-wrap: anywhere">{escape(text)}</div>' for text in shown
    )


def _folded(title: str, text: str) -> str:
    return _details(title, style.box(_cut(text, SHOWN), BLUE))


def _details(title: str, inner: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def _cut(text: str, most: int) -> str:
    more = len(text) - most
    return escape(text[:most]) + (f"… ({more:,} more characters)" if more > 0 else "")
