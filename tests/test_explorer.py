"""The explorer, curves and reports of studies: what they show is what the tables hold."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from studied import loads, number, sums, votes
from typer.testing import CliRunner

from itslab import viz
from itslab.cli import app
from itslab.conductor import conduct, loading
from itslab.core import ItslabError, OptionError, PromptTooLong
from itslab.report import write_report
from itslab.study import fits, methods, tables
from itslab.study.methods import MethodResult
from itslab.study.outcome import Outcome
from itslab.study.prices import Price
from itslab.testing import ScriptedModel
from itslab.viz.explorer import SLICES


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> Outcome:
    study = votes(tasks={"sums": sums(12), "few": sums(5)}, models=("small", "large"))
    store = tmp_path_factory.mktemp("study") / "s.sqlite"
    return conduct(study, store, load=loads, progress=False)


# -- curves ----------------------------------------------------------------------------------------


def test_curves_are_drawn_against_any_budget_that_is_known(outcome) -> None:
    table = tables.accuracy(outcome.results("sums", "small"))
    figure = viz.accuracy_against(table, x="GFLOPs")
    assert "GFLOPs per problem" in figure.layout.xaxis.title.text
    with pytest.raises(OptionError, match="'samples' or 'tokens' or 'GFLOPs' or 'seconds'"):
        viz.accuracy_against(table, x="dollars")
    priced = outcome.results("sums", "small", price=Price(output=1.0))
    dollars = viz.accuracy_against(tables.accuracy(priced), x="dollars")
    [vote] = [trace for trace in dollars.data if trace.name == "vote" and trace.mode != "lines"]
    assert list(vote.x) == pytest.approx(
        [1000 * 4 * k / 1e6 for k in (1, 2, 4)]
    )  # four tokens each


def test_few_lines_have_bands_and_many_a_bar_at_their_end() -> None:
    def lines(count: int) -> pd.DataFrame:
        rows = [
            (f"m{i}", k, 10.0 * k, 0.1 * i + 0.01 * k, 0.0, 1.0)
            for i in range(count)
            for k in (1, 2, 4)
        ]
        columns = ["method", "samples", "tokens", "accuracy", "low", "high"]
        return pd.DataFrame(rows, columns=columns)

    few, many = viz.accuracy_against(lines(3)), viz.accuracy_against(lines(5))
    assert sum(trace.fill == "toself" for trace in few.data) == 3
    assert not any(trace.fill for trace in many.data)
    for trace in many.data:
        assert [float(x) > 0 for x in trace.error_y.array] == [False, False, True]


def test_a_fit_is_drawn_with_what_it_leaves_over_and_what_was_held_out() -> None:
    ks = np.array([1, 2, 4, 8])
    law = fits.fit("power law", ks, np.array([[0.2, 0.4, 0.5, 0.7]]), draws=5)
    figure = viz.fitted(law, "title", "samples", held_out=([16], [0.8]))
    left = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert np.allclose(left[0].y, 100 * law.residuals)
    assert left[1].y[0] == pytest.approx(100 * (0.8 - law([16])[0]))
    names = [trace.name for trace in figure.data]
    assert "forecast" in names
    assert "held out" in names


def test_problems_are_shown_the_easiest_first() -> None:
    figure = viz.by_problem({"a": [0, 1, 1], "b": [0, 0, 1]}, ["x", "y", "z"])
    assert figure.data[0].z.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert figure.data[0].customdata[0].tolist() == ["z", "y", "x"]
    with pytest.raises(OptionError, match="rates"):
        viz.by_problem({"a": [1]}, ["x", "y"])


def test_an_atlas_compares_for_as_many_tokens_and_corrects_for_all_of_its_tests() -> None:
    def did(rates: list[float], tokens: float) -> MethodResult:
        return MethodResult(np.array(rates), np.full(len(rates), tokens), np.zeros(len(rates)))

    rng = np.random.default_rng(0)
    votes = [did([0.2] * 60, 100), did([0.4] * 60, 200)]
    better = did(list((rng.random(60) < 0.9).astype(float)), 150)
    held = [
        tables.Held("a", "beam", "150 tokens", better, votes),
        tables.Held("a", "chain", "one", votes[0], votes),
    ]
    table = tables.atlas(held)
    assert table.gain.tolist() == pytest.approx([better.success.mean() - 0.3, 0.0])
    assert table["p (Holm)"].tolist() == pytest.approx(
        [min(2 * better.gain(votes[0]).p, 1), 1], abs=0.01
    )
    figure = viz.atlas(table)
    drawn = [trace for trace in figure.data if trace.error_x.array]
    assert [trace.marker.symbol for trace in drawn] == ["triangle-right", "circle"]
    twice = tables.atlas([held[0], held[0]._replace(budget="more"), held[1]])
    places = [trace.y[0] for trace in viz.atlas(twice).data if trace.error_x.array]
    assert places == pytest.approx([-0.15, 0.15, 1])
    assert tables.atlas(held[:1]).solved[0] == better.solved.percent
    with pytest.raises(OptionError, match="held"):
        tables.atlas([])


# -- the explorer ----------------------------------------------------------------------------------


def drawn(explorer) -> dict[str, tuple[list, list]]:
    """The lines of the first picture."""
    return {
        trace.name: (list(trace.x), list(trace.y))
        for trace in explorer.figure().data
        if trace.mode == "lines+markers"
    }


def test_every_choice_changes_what_is_drawn(outcome) -> None:
    explorer = viz.Explorer(outcome, {"small": Price(output=1), "large": Price(output=9)})
    assert set(drawn(explorer)) == {
        f"{model}, {method}"
        for model in ("small", "large")
        for method in ("chain", "vote", "coverage of vote")
    }
    explorer.models.value = ("large",)
    assert set(drawn(explorer)) == {"chain", "vote", "coverage of vote"}
    explorer.methods.value = ("vote",)
    tokens = drawn(explorer)["vote"][0]
    for axis in ("samples", "seconds", "dollars", "GFLOPs"):
        explorer.axis.value = axis
        assert drawn(explorer)["vote"][0] != tokens
    explorer.axis.value = "tokens"
    whole = drawn(explorer)["vote"][1]
    explorer.slice.value = "hardest third"
    hard = drawn(explorer)["vote"][1]
    assert hard[-1] < whole[-1]
    assert "4 problems" in explorer.figure().layout.title.text
    explorer.slice.value = "all"
    explorer.task.value = "few"
    assert "5 problems" in explorer.figure().layout.title.text


def test_thirds_are_all_problems_once() -> None:
    for n in (3, 7, 100):
        place = (np.arange(n) + 0.5) / n
        parts = [(place >= low) & (place <= high) for low, high in list(SLICES.values())[1:]]
        assert (np.sum(parts, axis=0) == 1).all()


def test_differences_are_paired_for_as_many_tokens(outcome) -> None:
    explorer = viz.Explorer(outcome)
    explorer.models.value, explorer.methods.value = ("small",), ("chain", "coverage of vote")
    results = outcome.results("sums", "small", coverage=True)
    expected = 100 * results["coverage of vote", 4].gain(results["chain", 1]).value
    assert difference(explorer) == pytest.approx(expected)
    explorer.against.value = "coverage of vote"
    chain = results["chain", 1]
    sizes = [result for (name, _), result in results.items() if name == "coverage of vote"]
    theirs = chain.gain(methods.at_tokens(sizes, chain.tokens.mean()))
    assert difference(explorer) == pytest.approx(100 * theirs.value)
    explorer.methods.value = ("vote", "coverage of vote")
    assert explorer.against.value == "coverage of vote"
    explorer.methods.value = ("chain", "vote")
    assert explorer.against.value == "chain"  # what is gone gives way to the first


def difference(explorer: viz.Explorer) -> float:
    """The one paired difference that is drawn, in points."""
    [drawn] = [t for t in explorer.figure().data if t.xaxis == "x2" and t.error_x.array]
    return float(drawn.x[0])


def test_a_change_answers_in_half_a_second_and_a_page_has_the_picture(outcome) -> None:
    explorer = viz.Explorer(outcome)
    began = time.perf_counter()
    explorer.law.value = "logistic"
    assert time.perf_counter() - began < 0.5
    bundle = explorer._repr_mimebundle_()
    assert bundle["application/vnd.plotly.v1+json"]["data"]
    json.dumps(bundle["application/vnd.plotly.v1+json"], default=list)


def test_sliders_move_where_training_pays() -> None:
    """M + 3 (M − 1) / R = 16 for M = 4 at R = 9 ÷ 12; at 4 × and less it is never dearer."""
    panel = viz.Exchange(larger=4, spent=16)
    point = next(trace for trace in panel.figure().data if trace.mode == "markers+text")
    assert (point.x[0], point.y[0]) == (pytest.approx(0.75), 16)
    shown = panel.view.outputs[0]["data"]["application/vnd.plotly.v1+json"]
    assert "R\u00a0=\u00a00.75" in shown["layout"]["title"]["text"]
    panel.spent.value = 4.0
    shown = panel.view.outputs[0]["data"]["application/vnd.plotly.v1+json"]
    assert "never dearer" in shown["layout"]["title"]["text"]
    assert not any(trace.mode == "markers+text" for trace in panel.figure().data)
    with pytest.raises(OptionError, match="larger"):
        viz.Exchange(larger=-1)


def test_an_outcome_without_runs_is_refused(outcome) -> None:
    with pytest.raises(OptionError, match="of which some were drawn"):
        viz.Explorer(Outcome(outcome.runs.iloc[:0], outcome.samples.iloc[:0], outcome.about))
    with pytest.raises(OptionError, match="task='none'"):
        viz.Explorer(outcome, task="none")


# -- reports and the command -----------------------------------------------------------------------


def test_a_report_holds_curves_tables_and_what_it_takes_to_repeat_it(outcome, tmp_path) -> None:
    page = write_report(outcome, tmp_path / "new" / "report.html").read_text()
    for part in ("sums, small", "few, large", "Against chain", "p (Holm)", "slope", "drawn by"):
        assert part in page
    assert "SelfConsistency" in page
    plain = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)=["']https?:""", plain), "nothing is fetched"
    lacking = Outcome(outcome.runs.iloc[:0], outcome.samples, outcome.about)
    with pytest.raises(ItslabError, match=f"{len(outcome.runs)} runs are lacking"):
        write_report(lacking, tmp_path / "none.html")


def test_a_report_of_several_models_compares_them(tmp_path: Path) -> None:
    """The larger one is always right: against the first, for as many samples."""

    def load(name: str) -> ScriptedModel:
        right = ScriptedModel(
            replies=lambda request, index: f"The answer is {2 * number(request)}.",
            name=name,
            digest="digest of large",
        )
        return loads(name) if name == "small" else right

    study = votes(tasks={"sums": sums(12)}, models=("small", "large"))
    outcome = conduct(study, tmp_path / "s.sqlite", load=load, progress=False)
    page = write_report(outcome, tmp_path / "report.html").read_text()
    _, _, after = page.partition("Models against the first, for as many samples")
    cells = re.findall(r"<t[dh]>(.*?)</t[dh]>", after.partition("</table>")[0])
    small, large = (outcome.results("sums", name)["vote", 4] for name in ("small", "large"))
    place = cells.index("vote")
    assert cells[place : place + 4] == ["vote", "large", "small", large.gain(small).points]
    assert "conducted 20" in page
    again = conduct(study, tmp_path / "s.sqlite", mode="replay")
    page = write_report(again, tmp_path / "again.html").read_text()
    assert "replayed 20" in page


STUDY = """
tasks: {moves: {load: moves, n: 2, numbers: 3}}
models: [smollm2-135m]
strategies:
  greedy: {use: Direct, sampling: {temperature: 0, max_tokens: 24}}
  rules: {use: BestOfN, verifier: task, n: [1, 2], instruction: "", sampling: {max_tokens: 24}}
"""


def test_a_study_is_conducted_from_the_shell_with_a_real_model(tmp_path, small_model) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(STUDY)
    first = CliRunner().invoke(app, ["study", str(file)])
    assert first.exit_code == 0, first.output
    assert "moves, smollm2-135m" in first.output
    assert (tmp_path / "mine.outcome" / "report.html").is_file()
    kept = Outcome.load(tmp_path / "mine.outcome")
    assert len(kept.runs) == 4
    again = CliRunner().invoke(app, ["study", str(file), "--replay"])
    assert again.exit_code == 0, again.output
    assert Outcome.load(tmp_path / "mine.outcome").runs.equals(kept.runs)


def test_a_study_of_a_model_that_there_is_not_leaves_no_store(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("tasks: {s: {load: sums, n: 1}}\nmodels: [smollm3]\nstrategies: {a: Direct}\n")
    ended = CliRunner().invoke(app, ["study", str(file)])
    assert ended.exit_code == 1
    assert "smollm3" in ended.output
    assert [one.name for one in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_part_that_all_runs_failed_on_does_not_end_the_rest(tmp_path, monkeypatch) -> None:
    """Of one task every prompt is refused: the other has its table, and all have the report."""

    def picky(request, index: int) -> str:
        if "story" in request.messages[-1].content:
            raise PromptTooLong("too long")
        return "1 + 1 = 2"

    model = ScriptedModel(replies=picky, name="small", digest="d")
    monkeypatch.setattr(loading, "loaded", lambda name, load=None: model)
    monkeypatch.setattr(loading, "model_file", lambda name: SimpleNamespace(digest="d"))
    file = tmp_path / "study.yaml"
    file.write_text(
        "tasks: {sums: {load: sums, n: 2}, stories: {load: keywords, n: 2}}\n"
        "models: [small]\nstrategies: {one: {use: Direct, sampling: {max_tokens: 24}}}\n"
    )
    ended = CliRunner().invoke(app, ["study", str(file)])
    assert ended.exit_code == 0, ended.output
    assert "sums, small" in ended.output
    assert "one of which a method has finished a problem (PromptTooLong: too long)" in ended.output
    assert (tmp_path / "study.outcome" / "report.html").exists()


def test_a_study_that_is_misspelt_is_one_line(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(STUDY.replace("models", "modells"))
    result = CliRunner().invoke(app, ["study", str(file)])
    assert result.exit_code == 1
    assert result.stderr.strip().count("\n") == 0
    assert "did you mean models" in result.stderr
    both = CliRunner().invoke(app, ["study", str(file), "--workers", "2", "--dask", "tcp://x:1"])
    assert both.exit_code == 1
