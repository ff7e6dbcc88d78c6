"""The report of a study: one page with its curves, tables and provenance, that needs no network."""

from __future__ import annotations

import html
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from itslab.core import ItslabError, OptionError
from itslab.study import fits, tables
from itslab.study.comparisons import band
from itslab.study.methods import MethodResult, Results, gains
from itslab.study.outcome import Outcome
from itslab.study.statistics import Estimate, holm, level
from itslab.viz import curves, sheet


def write_report(outcome: Outcome, path: str | Path) -> Path:
    """Write what came of a study as a page.

    Args:
        outcome: of the study.
        path: of the page.

    Raises:
        ItslabError: there are no runs, or the page cannot be written.
    """
    if outcome.runs.empty:
        raise ItslabError(f"there is nothing to report: {outcome.lacking} runs are lacking")
    about = outcome.about
    machine = about["machine"]
    read = "replayed" if about.get("mode") == "replay" else "conducted"
    lead = (
        f"{len(outcome.runs):,} runs, {outcome.lacking:,} lacking, {len(outcome.failed):,} failed; "
        f"{read} {about['at']} with itslab {about['versions']['itslab']} on "
        f"{machine['processor']}; by which builds it was drawn stands at the end. Intervals are "
        "95 %, over problems, or over the templates that they are made from."
    )
    target = Path(path)
    page = sheet.page(str(about["study"]), lead, "\n".join(_parts(outcome)))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:
        raise ItslabError(f"the report {target} cannot be written: {error}") from error
    return target


def _parts(outcome: Outcome) -> Iterator[str]:
    runs = outcome.runs
    for task, model, budget in runs[["task", "model", "budget"]].drop_duplicates().to_numpy():
        title = ", ".join(filter(None, (task, model, budget)))
        yield f"<h2>{html.escape(title)}</h2>"
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                results = outcome.results(task, model, budget)
        except OptionError as error:
            yield f"<p>{html.escape(str(error))}</p>"
            continue
        yield from (f"<p>{html.escape(str(warning.message))}</p>" for warning in told)
        count = len(next(iter(results.values())).success)
        table = tables.accuracy(results)
        heading = f"{title}: {count} problems, 95 % intervals"
        yield sheet.figure(curves.accuracy_against(table, heading))
        yield _html(tables.comparison(results))
        yield from _differences(results)
        yield from _fits(results)
    yield from _models(outcome)
    missing = int(outcome.runs.unscored.sum())
    if missing:
        yield f"<p>{missing:,} verdicts are missing: what chose by them chose without.</p>"
    if len(outcome.failed):
        yield "<h2>Runs that failed</h2>"
        yield _html(outcome.failed.set_index("task"))
    yield "<h2>To repeat it</h2>"
    yield f"<pre>{html.escape(_lines(outcome.about))}</pre>"


def _differences(results: Results) -> Iterator[str]:
    """Each method against the first, with p-values as one of several tests."""
    first = next(iter(results))[0]
    differences = gains(results, first)
    if differences:
        adjusted = holm([gain.p for gain in differences.values()])
        yield f"<h3>Against {html.escape(first)}, the largest size of each</h3>"
        rows = {
            name: {"points": gain.points, "p": level(gain.p), "p (Holm)": level(p)}
            for (name, gain), p in zip(differences.items(), adjusted, strict=True)
        }
        import pandas as pd

        yield _html(pd.DataFrame(rows).T)


def _models(outcome: Outcome) -> Iterator[str]:
    """Of each method at its largest size, every model against the first, for as many samples."""
    import pandas as pd

    rows: list[tuple[str, str, str, str, Estimate]] = []
    parts = outcome.runs[["task", "budget"]].drop_duplicates().itertuples(index=False)
    for task, budget in parts:
        runs = outcome.runs[(outcome.runs.task == task) & (outcome.runs.budget == budget)]
        first, *others = runs.model.unique()
        ours = _largest(outcome, task, first, budget)
        for model in others:
            for name, theirs in _largest(outcome, task, model, budget).items():
                if name in ours and len(theirs.success) == len(ours[name].success):
                    gain = theirs.gain(ours[name])
                    rows.append((", ".join(filter(None, (task, budget))), name, model, first, gain))
    if rows:
        adjusted = holm([gain.p for *_, gain in rows])
        table = pd.DataFrame(
            [(*row, gain.points, level(p)) for (*row, gain), p in zip(rows, adjusted, strict=True)],
            columns=["task", "method", "model", "against", "points", "p (Holm)"],
        )
        yield "<h2>Models against the first, for as many samples</h2>"
        yield _html(table.set_index("task"))


def _largest(outcome: Outcome, task: str, model: str, budget: str) -> dict[str, MethodResult]:
    """What each method did at its largest size; nothing where nothing is finished."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they stand in the model's own part
            results = outcome.results(task, model, budget)
    except OptionError:
        return {}
    return {name: result for (name, _), result in results.items()}


def _fits(results: Results) -> Iterator[str]:
    """A logistic in log tokens for each method with sizes enough, and a band over its curve."""
    rows: dict[str, dict[str, str]] = {}
    for method in dict.fromkeys(name for name, _ in results):
        sizes = [result for (name, _), result in results.items() if name == method]
        if len(sizes) < 3:
            continue
        rates = np.stack([result.success for result in sizes], axis=1)
        tokens = np.array([float(result.tokens.mean()) for result in sizes])
        whole = band(rates, clusters=sizes[0].clusters)[-1]
        try:
            law = fits.fit("logistic", tokens, rates, sizes[0].clusters)
        except OptionError as error:
            rows[method] = {"logistic in log tokens": str(error)}
            continue
        low, high = law.ranges()["b"]
        rows[method] = {
            "logistic in log tokens": f"slope {law.parameters['b']:.2f} [{low:.2f}, {high:.2f}]",
            "largest residual (points)": f"{100 * np.abs(law.residuals).max():.1f}",
            "at the largest size": sizes[-1].solved.percent,
            "the same, in a band over the whole curve": whole.percent,
        }
    if rows:
        import pandas as pd

        yield "<h3>Fits</h3>"
        yield _html(pd.DataFrame(rows).T.fillna(""))


def _html(table: Any) -> str:
    return str(table.to_html(border=0))


def _lines(about: Mapping[str, Any]) -> str:
    import yaml

    told = {n: value for n, value in about.items() if n not in ("clusters", "cells", "sizes")}
    return str(yaml.safe_dump(told, allow_unicode=True, sort_keys=False, width=96))
