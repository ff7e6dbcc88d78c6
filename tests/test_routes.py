"""Pictures of routes: which problems stay, and what every threshold comes to."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from itslab import viz
from itslab.core import OptionError
from itslab.study import tables
from itslab.study.methods import MethodResult

FIRST = MethodResult(np.array([1.0, 1, 0, 0]), np.full(4, 10.0), np.full(4, 1e9))
SECOND = MethodResult(np.array([1.0, 0, 1, 0]), np.full(4, 30.0), np.full(4, 5e9))
SCORES = [1.0, 0.75, 0.5, math.nan]


def panel(**options):  # type: ignore[no-untyped-def]
    methods = {"the small one": FIRST, "the large & dear one": SECOND}
    return viz.RoutePanel(SCORES, methods, label="agreement", **options)


def dots(picture: str) -> list[str]:
    return re.findall(r"<title>(.*?)</title>", picture)


def test_a_threshold_parts_the_problems_and_the_picture_follows() -> None:
    shown = panel(threshold=0.75)
    assert shown.thresholds == [0.5, 0.75, 1.0, math.inf]
    assert shown.stays().tolist() == [True, True, False, False]
    assert shown.routed().success.tolist() == [1, 1, 1, 0]
    assert shown.routed().tokens.tolist() == [10, 10, 30, 30]
    assert "75%" in shown.view.value
    assert "20 tokens and 3 GFLOPs" in shown.view.value
    assert sum("the small one" in dot for dot in dots(shown.view.value)) == 2
    shown.threshold.value = math.inf
    assert not shown.stays().any()
    assert sum("the large &amp; dear one" in dot for dot in dots(shown.view.value)) == 4
    assert "50%" in shown.view.value
    assert shown.at(0.0).success.tolist() == [1, 1, 0, 0], "what cannot be scored goes on"
    assert shown.at(-math.inf).success.tolist() == FIRST.success.tolist()


def test_dots_tell_who_answers_and_whether_that_is_right() -> None:
    told = dots(panel(threshold=0.75, problems=["a", "b", "c", "<d>"]).picture())
    assert "a: agreement 1, the small one, right" in told
    assert "c: agreement 0.5, the large &amp; dear one, right" in told
    assert "&lt;d&gt;: agreement nan, the large &amp; dear one, wrong" in told
    assert panel(threshold=0.75).picture().count('fill="white" stroke') == 1, "wrong is hollow"


@pytest.mark.parametrize("scores", [[0.5] * 4, [math.nan] * 4, [0.0, 1e-9, 1e9, 2.0]])
def test_scores_of_any_kind_are_drawn(scores: list[float]) -> None:
    shown = viz.RoutePanel(scores, {"a": FIRST, "b": SECOND}, label="score")
    for threshold in shown.thresholds:
        shown.threshold.value = threshold
        assert len(dots(shown.view.value)) == 4
        assert "nan" not in re.sub(r"<title>.*?</title>", "", shown.view.value)


def test_what_costs_nothing_and_solves_nothing_is_drawn() -> None:
    free = MethodResult(np.zeros(4), np.zeros(4), np.zeros(4))
    assert "<svg" in viz.RoutePanel(SCORES, {"a": free, "b": free}, label="score").picture()


@pytest.mark.parametrize(
    ("scores", "methods", "threshold"),
    [
        ([1.0], {"a": FIRST, "b": SECOND}, None),
        (SCORES, {"a": FIRST}, None),
        (SCORES, {"a": FIRST, "b": SECOND}, 0.6),
    ],
)
def test_what_cannot_be_shown_is_refused(scores, methods, threshold) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError):
        viz.RoutePanel(scores, methods, label="score", threshold=threshold)


def did(gflops: float, solved: int) -> MethodResult:
    right = np.repeat([1.0, 0.0], [solved, 10 - solved])
    return MethodResult(right, np.ones(10), np.full(10, gflops * 1e9))


def test_on_the_front_is_whom_nobody_beats_for_as_much() -> None:
    results = {
        ("small", "cheap"): did(1, 3),
        ("small", "worse"): did(2, 2),
        ("large", "good"): did(4, 6),
        ("large", "as good, dearer"): did(5, 6),
    }
    table = tables.by_flops(results)
    figure = viz.front(table)
    line, *groups = figure.data
    assert list(zip(line.x, line.y, strict=True))[:-1] == [(1.0, 0.3), (4.0, 0.6)]
    assert [trace.name for trace in groups] == ["small", "large"]
    solved = results["small", "cheap"].solved
    assert groups[0].error_y.array[0] == pytest.approx(solved.high - 0.3)
    assert groups[0].error_y.arrayminus[0] == pytest.approx(0.3 - solved.low)
    assert groups[0].customdata[0][0] == "small: cheap"
    assert figure.layout.xaxis.type != "log"
    assert (
        "log" in viz.front(tables.by_flops({**results, ("x", "y"): did(50, 9)})).layout.xaxis.type
    )
    free = tables.by_flops({**results, ("server", "of unknown shape"): did(0, 9)})
    assert viz.front(free).layout.xaxis.type != "log", "there, 0 would be nowhere"
    noted = viz.front(table.assign(note=["", "", "here", ""]))
    assert list(noted.data[2].text) == ["here", ""]


@pytest.mark.parametrize(
    "scores",
    [
        [math.inf, -math.inf, math.nan, 0.5],
        [-math.inf, math.nan, math.nan, math.nan],
        [1e308, -1e308, 0.0, 1.0],
        [0.5, 0.50000001, 0.50000002, 0.7],
    ],
)
def test_scores_far_apart_or_close_together_are_drawn(scores: list[float]) -> None:
    shown = viz.RoutePanel(scores, {"a": FIRST, "b": SECOND}, label="score")
    labels = [label for label, _ in shown.threshold.options]
    assert len(set(labels)) == len(labels) == len(shown.thresholds)
    for threshold in shown.thresholds:
        shown.threshold.value = threshold
        picture = re.sub(r"<title>.*?</title>", "", shown.view.value)
        assert re.search(r"\b(nan|inf)\b", picture) is None


def test_a_method_stands_beside_and_the_axis_stays_where_it_is() -> None:
    def axis(picture: str) -> list[str]:
        return re.findall(r">(\d+%)<", picture)

    shown = panel(threshold=0.5, beside=("the large one & alone", SECOND))
    assert "the large one &amp; alone" in shown.view.value
    first = axis(shown.view.value)
    shown.threshold.value = math.inf
    assert axis(shown.view.value) == first


@pytest.mark.parametrize(
    "given",
    [
        {"problems": ["one"]},
        {"scores": []},
        {"scores": [], "methods": dict.fromkeys("ab", FIRST.part([]))},
        {"methods": {"a": FIRST, "b": replace(SECOND, flops=np.full(4, math.nan))}},
    ],
)
def test_what_cannot_be_drawn_is_refused(given: dict[str, object]) -> None:
    usual = {"scores": SCORES, "methods": {"a": FIRST, "b": SECOND}, "label": "score"}
    with pytest.raises(OptionError):
        viz.RoutePanel(**(usual | given))  # type: ignore[arg-type]


def test_a_front_is_drawn_of_the_methods_that_have_an_accuracy() -> None:
    table = tables.by_flops({("m", str(i)): did(i + 1, i) for i in range(3)})
    table.loc[table.gflops == 1, "accuracy"] = math.nan
    line = viz.front(table).data[0]
    assert [*line.y][:-1] == [0.1, 0.2]
    twice = viz.front(pd.concat([table, table]).assign(note="x"))
    assert [*twice.data[0].y][:-1] == [0.1, 0.2]
    for nothing in (table.iloc[:0], table[table.accuracy.isna()]):
        with pytest.raises(OptionError, match="one method at least"):
            viz.front(nothing)
