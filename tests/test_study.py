"""Studies: what is declared, what is drawn, what is kept, and what comes of it."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studied import SHORT, Built, loads, same, says, scripted, sums, votes

import itslab as its
from itslab import share, tasks
from itslab.conductor import conduct
from itslab.conductor.loading import recorded
from itslab.conductor.parts import Part
from itslab.core import ItslabError, OptionError, Problem, PromptRefused, Verdict
from itslab.report import write_report
from itslab.study import rows, tables
from itslab.study.outcome import Outcome
from itslab.study.plan import Named, OwnVerifier, Study, bound
from itslab.study.prices import Price
from itslab.study.reading import parse, read
from itslab.study.selection import majority_at_k
from itslab.study.sequential import Answered
from itslab.tasks import Task
from itslab.testing import ScriptedModel, ScriptedVerifier

# -- what is declared ------------------------------------------------------------------------------


def test_a_study_counts_its_runs_and_names_its_models() -> None:
    two = votes(
        models=("small", "large"), seeds=(0, 1), budgets=(its.Budget(), its.Budget(tokens=9))
    )
    # without a budget, what fewer samples do follows from the most
    assert two.runs == 6 * 2 * 2 * (2 + 4)
    cascade = its.Cascade(
        (
            its.Stage(its.Direct(), accept=ScriptedVerifier({})),
            its.Stage(its.Direct(), Named("huge")),
        )
    )
    assert votes(strategies={"both": cascade}).named == ["small", "huge"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tasks": {}}, "tasks"),
        ({"tasks": {"none": Task("none", ())}}, "a task with problems"),
        ({"models": ()}, "models"),
        ({"models": ("a", "a")}, "all different"),
        ({"strategies": {"twice": (its.Direct(), its.Direct())}}, "that differ"),
        ({"strategies": {"none": ()}}, "one at least"),
        ({"budgets": ()}, "budgets"),
        ({"seeds": (-1,)}, "seeds"),
        ({"strategies": {"tests": its.BestOfN(OwnVerifier())}}, "one with a verifier"),
        ({"strategies": {"coverage of vote": its.Direct()}}, "begin the names of what is derived"),
        (
            {"tasks": {"two": Task("two", (Problem("a", "1 + 1?", "2"), Problem("a", "0?", "0")))}},
            "problems with ids of their own",
        ),
    ],
)
def test_what_cannot_be_studied_is_refused(options, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        votes(**options)


def test_a_task_and_models_are_put_into_a_strategy_and_it_is_else_the_same() -> None:
    check = ScriptedVerifier({"a": 1.0})
    task = dataclasses.replace(sums(), verifier=check)
    plain = its.SelfConsistency(3)
    assert bound(plain, task, {}) is plain
    model = scripted("large")
    cascade = its.Cascade(
        (its.Stage(plain, accept=OwnVerifier()), its.Stage(plain, Named("large")))
    )
    made = bound(cascade, task, {"large": model})
    assert made.stages[0].accept is check
    assert made.stages[1].model is model
    assert made.stages[0].strategy is plain


YAML = """
tasks:
  words: {load: gsm_symbolic, n: 3, difficulty: 1.0}
models: [qwen2.5-coder-0.5b, qwen2.5-coder-0.5b@Q8_0]
strategies:
  chain: ChainOfThought
  vote: {use: SelfConsistency, n: [1, 4], sampling: {max_tokens: 64}}
  both:
    use: Cascade
    stages:
      - {strategy: Direct, accept: {use: Judge, backend: qwen2.5-coder-1.5b}, threshold: 0.9}
      - {strategy: {use: ProgramAided, interpreter: sandbox}, model: qwen2.5-coder-1.5b}
budgets: [{tokens: 500}]
"""


def test_a_study_is_read_from_yaml(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(YAML)
    study = read(tmp_path / "mine.yaml")
    assert study.name == "mine"
    assert [s.n for s in study.ladders["vote"]] == [1, 4]
    assert study.ladders["vote"][0].sampling.max_tokens == 64
    assert study.named == ["qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b@Q8_0", "qwen2.5-coder-1.5b"]
    assert study.budgets == (its.Budget(tokens=500),)
    assert study.runs == 3 * 2 * 4


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("modls", ["a"], "study has no 'modls': did you mean models"),
        ("strategies", {"a": "SelfConsistensy"}, "strategies.a: unknown strategy.*SelfConsistency"),
        ("strategies", {"a": {"use": "SelfConsistency", "m": 3}}, "SelfConsistency has no 'm'"),
        ("strategies", {"a": {"use": "SelfConsistency", "n": [1, 0]}}, "n=0 is not valid"),
        ("strategies", {"a": {"n": 3}}, "written as use"),
        ("strategies", {"a": {"use": "BestOfN", "verifier": "Judg"}}, "did you mean Judge"),
        ("strategies", {"a": {"use": "BestOfN"}}, "verifier"),
        ("tasks", {"a": "gsm_symbolik"}, "tasks.a: unknown task.*gsm_symbolic"),
        ("tasks", {"a": {"load": "gsm_symbolic", "n": 2, "hard": 1}}, "tasks.a"),
        ("budgets", [{"token": 3}], "budgets.0: Budget has no 'token': did you mean tokens"),
        ("seeds", ["one"], "seeds"),
        ("models", [3], "models"),
    ],
)
def test_what_is_misspelt_is_named_with_what_is_near(place: str, value, said: str) -> None:
    plain = {"tasks": {"a": "gsm_symbolic"}, "models": ["m"], "strategies": {"d": "Direct"}}
    plain["tasks"] = {"a": {"load": "gsm_symbolic", "n": 2}}
    with pytest.raises(ItslabError, match=said):
        parse(plain | {place: value})


def test_a_file_that_is_no_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(ItslabError, match="cannot be read"):
        read(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(OptionError, match="a mapping"):
        read(tmp_path / "list.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1: 2", "a name in study=1 is not valid"),
        ("? \n: 2", "a name in study=None is not valid"),
        ("tasks: {words: {load: moves, n: {1: 2}}}", "a name in study.tasks.words.n=1"),
        ("[1, 2]", "a mapping of tasks, models and strategies"),
        ("[" * 5000, "cannot be read"),
    ],
)
def test_yaml_that_is_no_study_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(ItslabError, match=said):
        read(file)


def test_yaml_may_share_parts_by_merge_keys_but_not_hold_itself(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        "tasks: {words: {load: keywords, n: 1}}\nmodels: [small]\nstrategies:\n"
        "  one: &brief {use: Direct, sampling: {max_tokens: 24}}\n"
        "  two: {<<: *brief, use: ChainOfThought}\n"
    )
    assert read(file).strategies["two"].sampling.max_tokens == 24
    file.write_text("tasks: &t {words: *t}\nmodels: [small]\nstrategies: {one: Direct}\n")
    with pytest.raises(ItslabError, match="no deeper than 20 levels"):
        read(file)


def test_names_that_no_file_can_hold_are_said(tmp_path: Path) -> None:
    with pytest.raises(ItslabError, match="null byte"):
        read("a\0b")
    with pytest.raises(OptionError, match="the name of a file"):
        conduct(votes(), "a\0b", load=loads, progress=False)
    study = votes(name="half a letter \ud800")
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    with pytest.raises(ItslabError, match="cannot be written"):
        outcome.save(tmp_path / "tables")
    assert write_report(outcome, tmp_path / "report.html").stat().st_size > 10_000
    (tmp_path / "t.sqlite.parts").write_text("a file")
    with pytest.raises(ItslabError, match="cannot use the folder"):
        conduct(votes(), tmp_path / "t.sqlite", load=loads, progress=False)
    (tmp_path / "about.json").write_text("[]")
    for name in ("runs", "samples"):
        getattr(outcome, name).to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(ItslabError, match=r"about\.json does not say what was tried"):
        Outcome.load(tmp_path)


# -- what is drawn ---------------------------------------------------------------------------------


def test_samples_are_drawn_once_for_all_sizes_and_the_rest_is_found(tmp_path: Path) -> None:
    model = scripted()
    store = tmp_path / "study.sqlite"
    first = conduct(votes(), store, load=lambda name: model, progress=False)
    # 4 sampled chains and a greedy one for each of 6 problems
    assert sum(request.n for request in model.asked) == 6 * 5
    again = scripted()
    second = conduct(votes(), store, load=lambda name: again, progress=False)
    assert again.asked == []
    assert second.runs.equals(first.runs)
    assert len(first.runs) == 6 * 2
    assert first.lacking == 0


def test_sizes_that_a_budget_may_cut_are_run_each(tmp_path: Path) -> None:
    model = scripted()
    study = votes(budgets=(its.Budget(tokens=10),))
    outcome = conduct(study, tmp_path / "s.sqlite", load=lambda n: model, progress=False)
    results = outcome.results("sums", "small", "tokens=10")
    assert [*results] == [("chain", 1), ("vote", 1), ("vote", 2), ("vote", 4)]
    assert results["vote", 4].tokens.max() == 10
    # the third chain is cut after two words; no sample is drawn twice, however it ends
    assert sum(request.n for request in model.asked) <= 6 * (4 + 1)
    stopped = outcome.runs[outcome.runs["size"] == 4].stopped_by
    assert set(stopped) == {"tokens"}


def test_a_wider_study_draws_what_is_new(tmp_path: Path) -> None:
    store = tmp_path / "study.sqlite"
    conduct(votes(), store, load=lambda name: scripted(), progress=False)
    model = scripted()
    wide = votes(
        tasks={"sums": sums(7)},
        strategies={"vote": its.SelfConsistency(6, instruction="", sampling=SHORT)},
    )
    conduct(wide, store, load=lambda name: model, progress=False)
    assert sum(request.n for request in model.asked) == 6 * 2 + 6


def test_a_replay_takes_what_is_there_and_says_what_is_not(tmp_path: Path) -> None:
    store = tmp_path / "study.sqlite"
    conduct(votes(), store, load=lambda name: scripted(), progress=False)
    outcome = conduct(votes(tasks={"sums": sums(8)}), store, mode="replay", progress=False)
    assert (len(outcome.runs), outcome.lacking) == (12, 4)
    assert repr(outcome) == "<outcome of study: 12 runs, 4 lacking, 0 failed>"


def test_a_replay_without_a_store_makes_none(tmp_path: Path) -> None:
    with pytest.raises(ItslabError, match="there is no store"):
        conduct(votes(), tmp_path / "none.sqlite", mode="replay")
    assert not list(tmp_path.iterdir())


def test_curves_average_over_all_subsets_of_the_samples(tmp_path: Path) -> None:
    outcome = conduct(votes(), tmp_path / "s.sqlite", load=lambda name: scripted(), progress=False)
    results = outcome.results("sums", "small", coverage=True)
    marks = np.array([[0, 0, 0, 0]] + [[1, 1, 0, 1]] * 5)
    keys = [["x"] * 4] + [["r", "r", "w", "r"]] * 5
    for k in (1, 2, 4):
        assert results["vote", k].success == pytest.approx(majority_at_k(keys, marks, [k])[:, 0])
    assert results["coverage of vote", 2].success.tolist() == [0, 1, 1, 1, 1, 1]
    assert results["vote", 2].tokens.tolist() == [8.0] * 6  # four words each
    assert results["chain", 1].clusters == [f"t{i % 2}" for i in range(6)]


def test_drawing_until_one_passes_costs_what_is_drawn(tmp_path: Path) -> None:
    """Of [1, 1, 0, 1] in random order: the second is drawn where the first is the one that fails.

    Problem 0 has none that passes.
    """

    def even(prompt, nodes):
        return [Verdict(float(int(node.text.split()[-1].strip(".")) % 2 == 0)) for node in nodes]

    task = dataclasses.replace(sums(), verifier=even)
    tested = tuple(its.BestOfN(OwnVerifier(), n, instruction="", sampling=SHORT) for n in (1, 2, 4))
    study = votes(tasks={"sums": task}, strategies={"tested": tested})
    outcome = conduct(study, tmp_path / "s.sqlite", load=lambda name: scripted(), progress=False)
    results = outcome.results("sums", "small", passing=1.0)
    first = results["first of tested", 2]
    assert first.success.tolist() == [0, 1, 1, 1, 1, 1]
    assert first.drawn == pytest.approx([2, *[1.25] * 5])
    assert first.tokens == pytest.approx([8, *[5.0] * 5])  # four words each
    assert results["tested", 2].tokens == pytest.approx([8.0] * 6)
    assert not any("first" in name for name, _ in outcome.results("sums", "small"))


def test_sizes_follow_from_the_most_samples_in_whatever_order_they_stand() -> None:
    sizes = (4, 1, 2)
    ladder = tuple(its.SelfConsistency(n, instruction="", sampling=SHORT) for n in sizes)
    study = votes(strategies={"vote": ladder})
    [(cell, _, _)] = study.cells("sums", "small")
    assert cell.size == 4


def test_how_far_samples_agree_is_not_averaged_over_subsets() -> None:
    """Among two samples agreement is another score than among all: each size is run."""
    ladder = tuple(its.BestOfN(its.Agreement(), n, sampling=SHORT) for n in (1, 2))
    assert [cell.size for cell, _, _ in votes(strategies={"a": ladder}).cells("sums", "small")] == [
        2,
        1,
    ]


def test_sizes_may_be_fractions(tmp_path: Path) -> None:
    scored = [its.FirstVerified(ScriptedVerifier({}), n=1, stop_score=t) for t in (0.3, 0.6, 0.9)]
    study = votes(strategies={"first": tuple(scored)})
    outcome = conduct(study, tmp_path / "s.sqlite", load=lambda name: scripted(), progress=False)
    assert [size for _, size in outcome.results("sums", "small")] == [0.3, 0.6, 0.9]


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("tasks: {a: {load: moves, n: 1}}\nmodels: [m]\nmodels: [n]\n")
    with pytest.raises(ItslabError, match="'models' stands twice"):
        read(file)


def test_a_recording_that_lacks_runs_is_not_replayed_in_part() -> None:
    with pytest.raises(ItslabError, match=r"study.sqlite.xz lacks 12 of the 12 runs.*mode=live"):
        share.Recording("replay").conduct(votes(), "study")


def test_where_ones_own_questions_were_not_drawn_it_is_questions_that_are_named(
    tmp_path: Path,
) -> None:
    ours = share.shared("notebooks/workshop/ten_questions.txt").read_text(encoding="utf-8")
    for name, held in (("mine.txt", ours), ("ten_questions.txt", f"\n{ours}")):
        (tmp_path / name).write_text(held, encoding="utf-8")
        asked = tasks.load(tmp_path / name, seed=None)
        model = "qwen2.5-coder-0.5b"
        study = its.Study({"own": asked}, (model,), {"chain": its.ChainOfThought()})
        said = "model and questions as they came, in the file of that name, line by line"
        with pytest.raises(ItslabError, match=f"{said}.*mode=live"):
            share.Recording("replay").conduct(study, "own")


def test_runs_of_other_banks_are_taken_and_not_copied(tmp_path: Path) -> None:
    conduct(votes(), tmp_path / "a.sqlite", load=lambda name: scripted(), progress=False)

    def silent(name: str) -> ScriptedModel:
        def refuse(request, index):
            raise AssertionError("drawn again")

        return dataclasses.replace(scripted(), replies=refuse)

    with its.Bank(tmp_path / "a.sqlite") as bank:
        there = conduct(votes(), tmp_path / "b.sqlite", load=silent, others=[bank], progress=False)
    assert there.lacking == 0
    with its.Bank(tmp_path / "b.sqlite") as bank:
        assert (bank.runs, bank.samples) == (0, 0)
    again = conduct(votes(), tmp_path / "b.sqlite", mode="replay")
    assert again.runs.equals(there.runs)


def test_tables_are_written_and_read_again(tmp_path: Path) -> None:
    outcome = conduct(votes(), tmp_path / "s.sqlite", load=lambda name: scripted(), progress=False)
    again = Outcome.load(outcome.save(tmp_path / "tables"))
    assert again.runs.equals(outcome.runs)
    assert again.samples.equals(outcome.samples)
    assert again.about == json.loads(json.dumps(outcome.about))
    for told in ("strategies", "models", "drawn by", "machine", "versions", "tasks"):
        assert again.about[told]
    with pytest.raises(ItslabError, match="holds no outcome"):
        Outcome.load(tmp_path)


def test_a_run_that_fails_for_good_is_counted_apart(tmp_path: Path) -> None:
    def breaks(run, prompt):
        if "3 + 3" in str(prompt):
            raise ZeroDivisionError("of this problem")
        return its.Direct()(run, prompt)

    study = votes(strategies={"breaks": breaks, "vote": votes().strategies["vote"]})
    outcome = conduct(study, tmp_path / "s.sqlite", load=lambda name: scripted(), progress=False)
    [lost] = outcome.failed.itertuples()
    assert (lost.problem, lost.method) == ("sum/3", "breaks")
    assert lost.failed == "ZeroDivisionError: of this problem"
    assert outcome.runs.correct.isna().sum() == 1
    results = outcome.results("sums", "small")
    assert {len(result.success) for result in results.values()} == {5}


def test_what_is_not_finished_by_all_is_left_out_and_said(tmp_path: Path) -> None:
    store, study = tmp_path / "s.sqlite", votes()
    few = sums(4)
    conduct(votes(tasks={"sums": few}), store, load=loads, progress=False)
    chain = {"chain": study.strategies["chain"]}
    conduct(votes(strategies=chain), store, load=loads, progress=False)
    outcome = conduct(study, store, mode="replay")
    assert outcome.lacking == 2
    with pytest.warns(UserWarning, match=r"2 of 6 problems left out.*6 by 'chain', 4 by 'vote 4'"):
        results = outcome.results("sums", "small")
    assert {len(result.success) for result in results.values()} == {4}


def test_a_strategy_that_always_fails_does_not_take_the_others_along(tmp_path: Path) -> None:
    def breaks(run, prompt):
        raise ZeroDivisionError("by design")

    study = votes(strategies={**votes().strategies, "broken": breaks})
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    with pytest.warns(UserWarning, match=r"broken.*ZeroDivisionError: by design"):
        results = outcome.results("sums", "small")
    assert ("vote", 4) in results
    assert ("broken", 1) not in results
    assert {len(result.success) for result in results.values()} == {6}


def test_a_grader_that_raises_fails_its_problem_only(tmp_path: Path) -> None:
    def picky(problem: Problem, answer: str | None) -> bool:
        if problem.id == "sum/3":
            raise ValueError("too hard")
        return answer == problem.answer

    study = votes(tasks={"sums": dataclasses.replace(sums(), grade=picky)})
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    assert {*outcome.failed.failed} == {"grading: ValueError: too hard"}
    assert {*outcome.failed.problem} == {"sum/3"}
    assert len(outcome.results("sums", "small")["vote", 4].success) == 5


def test_an_error_that_passes_is_not_kept(tmp_path: Path) -> None:
    full = [True]

    def writes(run, prompt):
        if full[0]:
            raise OSError(28, "No space left on device")
        return run.append(run.reply(None, prompt), "The answer is 4.")

    study = votes(strategies={"writes": writes})
    said = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    assert len(said.failed) == 6
    full[0] = False
    assert conduct(study, tmp_path / "s.sqlite", load=loads, progress=False).failed.empty


def test_an_error_of_a_grader_that_passes_is_not_kept(tmp_path: Path) -> None:
    gone = tmp_path / "gone"

    def reads(problem: Problem, answer: str | None) -> bool:
        if not gone.exists():
            raise OSError("the disk is away")
        return answer == problem.answer

    study = votes(tasks={"sums": dataclasses.replace(sums(), grade=reads)})
    said = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    assert {*said.failed.failed} == {"grading: OSError: the disk is away"}
    gone.touch()
    assert conduct(study, tmp_path / "s.sqlite", load=loads, progress=False).failed.empty


def test_a_verifier_that_cannot_score_is_told(tmp_path: Path) -> None:
    def lost(prompt, nodes):
        raise ValueError("no verifier here")

    study = votes(strategies={"best": its.BestOfN(lost, 3, instruction="", sampling=SHORT)})
    with pytest.warns(UserWarning, match=r"18 verdicts are missing.*no verifier here"):
        outcome = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    assert [*outcome.runs.unscored] == [3] * 6


def test_what_other_runs_had_evaluated_is_billed_as_if_alone(tmp_path: Path) -> None:
    @dataclasses.dataclass(kw_only=True)
    class Sharing(ScriptedModel):
        """Finds seven tokens of each prompt evaluated, and evaluates two."""

        def draw(self, request, index):
            drawn = super().draw(request, index)
            return dataclasses.replace(
                drawn, cost=dataclasses.replace(drawn.cost, prefilled=2, reused=7)
            )

    model = Sharing(replies=says, name="small", digest="d")
    outcome = conduct(votes(), tmp_path / "s.sqlite", load=lambda n: model, progress=False)
    chain = outcome.runs[outcome.runs.method == "chain"]
    assert [*chain.found] == [7] * 6
    price = Price(input=1.0)
    dollars = outcome.results("sums", "small", price=price)["chain", 1].dollars
    assert dollars == pytest.approx([9e-6] * 6)
    one = outcome.results("sums", "small", price=price)["vote", 1].dollars
    assert one == pytest.approx([9e-6] * 6), "a sample of a vote is billed alike"


def test_what_several_models_were_paid_is_billed_to_each(tmp_path: Path) -> None:
    large = its.Stage(its.Direct(sampling=SHORT), Named("large"))
    never = its.Stage(its.Direct(sampling=SHORT), accept=ScriptedVerifier({}))
    study = votes(strategies={"cascade": its.Cascade((never, large))})
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    assert json.loads(outcome.runs.costs[0]).keys() == {"small", "large"}
    prices = {"small": Price(output=1.0), "large": Price(output=10.0)}
    both = outcome.results("sums", "small", price=prices)["cascade", 1]
    assert both.dollars == pytest.approx([(4 * 1.0 + 4 * 10.0) / 1e6] * 6)
    assert outcome.results("sums", "small", price=prices["small"])["cascade", 1].dollars is None


def test_a_run_that_asked_another_model_alone_is_billed_at_its_price(tmp_path: Path) -> None:
    large = its.Stage(its.Direct(sampling=SHORT), Named("large"))
    study = votes(strategies={"larger": its.Cascade((large,))})
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    prices = {"small": Price(output=1.0), "large": Price(output=10.0)}
    larger = outcome.results("sums", "small", price=prices)["larger", 1]
    assert larger.dollars == pytest.approx([4 * 10.0 / 1e6] * 6)
    assert outcome.results("sums", "small", price=prices["small"])["larger", 1].dollars is None


def test_what_a_study_lacks_as_a_whole_is_said_too(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    chain = {"chain": votes().strategies["chain"]}
    conduct(votes(strategies=chain), store, load=loads, progress=False)
    with pytest.warns(UserWarning, match=r"'vote 4' left out, no run is finished: all are lacking"):
        assert [*conduct(votes(), store, mode="replay").results("sums", "small")] == [("chain", 1)]
    wider = conduct(votes(strategies=chain, tasks={"sums": sums(9)}), store, mode="replay")
    with pytest.warns(UserWarning, match="3 of 9 problems left out, runs are lacking"):
        wider.results("sums", "small")


def test_studies_are_joined_with_what_each_lacks_and_what_drew_it(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    conduct(votes(tasks={"sums": sums(4)}), store, load=loads, progress=False)
    other = conduct(votes(models=("large",)), store, load=loads, progress=False)
    conduct(votes(strategies={"chain": votes().strategies["chain"]}), store, load=loads)
    part = conduct(votes(), store, mode="replay")
    assert (part.lacking, other.lacking) == (2, 0)
    assert part.join(part).lacking == 2
    both = part.join(other)
    assert both.lacking == 2
    assert {*both.about["models"]} == {"large", "small"}
    assert {one["model"] for one in both.about["drawn by"]} == {"small", "large"}
    longer = tuple(its.SelfConsistency(n, instruction="", sampling=SHORT) for n in (1, 8))
    more = conduct(votes(strategies={"vote": longer}), store, load=loads, progress=False)
    results = part.join(more).results("sums", "small")
    assert [k for name, k in results if name == "vote"] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("strategy", "what"),
    [
        (its.SelfConsistency(4, instruction="", sampling=SHORT), "one size alone"),
        (
            tuple(
                its.SelfConsistency(n, sampling=dataclasses.replace(SHORT, temperature=1.5))
                for n in (2, 8)
            ),
            "other sizes of another one",
        ),
        (
            its.BestOfN(its.Confidence(), 3, instruction="", sampling=SHORT),
            "another rule",
        ),
    ],
)
def test_methods_of_one_name_that_differ_are_not_joined(tmp_path, strategy, what: str) -> None:
    store = tmp_path / "s.sqlite"
    one = conduct(votes(), store, load=loads, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one of them scores nothing
        other = conduct(votes(strategies={"vote": strategy}), store, load=loads, progress=False)
    for a, b in ((one, other), (other, one)):
        with pytest.raises(OptionError, match=r"'vote' is not valid.*the same strategy"):
            a.join(b)


def test_tasks_and_models_of_one_name_that_differ_are_not_joined(tmp_path: Path) -> None:
    one, few, other = (
        conduct(study, tmp_path / f"{i}.sqlite", load=load, progress=False)
        for i, (study, load) in enumerate(
            [
                (votes(), loads),
                (votes(tasks={"sums": sums(4)}), loads),
                (votes(), lambda n: ScriptedModel(replies=says, name="small", digest="other")),
            ]
        )
    )
    with pytest.raises(OptionError, match=r"tasks='sums' is not valid"):
        one.join(few)
    with pytest.raises(OptionError, match=r"models='small' is not valid"):
        one.join(other)


def test_what_a_grader_knows_of_a_problem_belongs_to_its_row(tmp_path: Path) -> None:
    def by_meta(problem: Problem, answer: str | None) -> bool:
        return answer == problem.meta["gold"]

    def study(shift: int) -> Study:
        made = tuple(
            dataclasses.replace(p, meta={"gold": str(int(p.answer) + shift)}) for p in sums()
        )
        return votes(tasks={"sums": dataclasses.replace(sums(), problems=made, grade=by_meta)})

    store = tmp_path / "s.sqlite"
    right = conduct(study(0), store, load=loads, progress=False)
    wrong = conduct(study(100), store, load=loads, progress=False)
    assert right.runs.correct.any()
    assert not wrong.runs.correct.any()


def test_a_size_that_always_fails_is_said_and_the_others_stay(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Fragile:
        n: int

        def __call__(self, run, prompt):
            if self.n == 4:
                raise ZeroDivisionError("too many")
            return run.append(run.reply(None, prompt), "The answer is 4.")

    study = votes(strategies={"w": tuple(map(Fragile, (1, 2, 4)))})
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    with pytest.warns(UserWarning, match=r"'w 4' left out.*too many"):
        assert [*outcome.results("sums", "small")] == [("w", 1), ("w", 2)]


def test_a_replay_of_two_models_of_one_name_says_so(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    for digest in ("first", "second"):
        model = ScriptedModel(replies=says, name="small", digest=digest)
        conduct(votes(), store, load=lambda n, m=model: m, progress=False)
    with pytest.warns(UserWarning, match=r"2 models that are called small.*first, second"):
        conduct(votes(), store, mode="replay")


def test_rows_of_an_older_version_are_made_anew_from_the_runs(tmp_path: Path, monkeypatch) -> None:
    store = tmp_path / "s.sqlite"
    before = conduct(votes(), store, load=loads, progress=False)
    monkeypatch.setattr(rows, "VERSION", rows.VERSION + 1)
    again = conduct(votes(), store, mode="replay")
    assert again.lacking == 0
    same(again, before)


def test_a_copy_and_a_link_are_the_same_study_and_store(tmp_path: Path, monkeypatch) -> None:
    store, link = tmp_path / "s.sqlite", tmp_path / "link.sqlite"
    begun, go = threading.Event(), threading.Event()

    def waits(request, index: int) -> str:
        begun.set()
        go.wait(20)
        return says(request, index)

    model = ScriptedModel(replies=waits, name="small", digest="digest of small")
    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(conduct, votes(), store, load=lambda n: model, progress=False)
        begun.wait()
        link.symlink_to(store)
        monkeypatch.setenv("ITSLAB_HOME", str(tmp_path / "elsewhere"))
        for other, place in ((votes(name="a copy"), store), (votes(), link)):
            with pytest.raises(ItslabError, match="is being conducted into"):
                conduct(other, place, load=loads, progress=False)
        go.set()
        drawn.result()
    assert not (tmp_path / "s.sqlite.parts").exists()


def test_a_loader_that_returns_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"load=None is not valid.*a Backend for 'small'"):
        conduct(votes(), tmp_path / "s.sqlite", load=lambda name: None, progress=False)


def test_a_prompt_that_a_server_refuses_fails_and_the_others_go_on(tmp_path: Path) -> None:
    def refuses(request, index):
        if "3 + 3" in str(request.messages):
            raise PromptRefused("content policy")
        return says(request, index)

    def load(name: str) -> ScriptedModel:
        return dataclasses.replace(scripted(), replies=refuses)

    outcome = conduct(votes(), tmp_path / "s.sqlite", load=load, progress=False)
    assert set(outcome.failed.problem) == {"sum/3"}
    assert set(outcome.failed.failed) == {"PromptRefused: content policy"}
    assert {len(r.success) for r in outcome.results("sums", "small").values()} == {5}


def test_the_same_study_is_not_conducted_twice_at_once(tmp_path: Path) -> None:
    store, go = tmp_path / "s.sqlite", threading.Event()

    def waits(request, index: int) -> str:
        go.wait(20)
        return says(request, index)

    slow = ScriptedModel(replies=waits, name="small", digest="digest of small")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(conduct, votes(), store, load=lambda name: slow, progress=False)
        while not slow.asked:
            time.sleep(0.01)
        with pytest.raises(ItslabError, match=r"is being conducted into .* already"):
            conduct(votes(), store, load=lambda name: scripted(), progress=False)
        other = votes(tasks={"sums": sums(2)})  # another one may
        with ThreadPoolExecutor(1) as beside:
            second = beside.submit(conduct, other, store, load=lambda n: scripted(), progress=False)
            go.set()
            assert len(second.result().runs) == 4
        assert len(first.result().runs) == 12


def test_a_store_that_another_build_filled_is_told(tmp_path: Path) -> None:
    def model(build: str):
        return Built(replies=says, name="small", digest="d", provenance=build)

    store = tmp_path / "s.sqlite"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conduct(votes(), store, load=lambda n: model("old build"), progress=False)
    with pytest.warns(UserWarning, match="several builds drew.*old build.*new build"):
        conduct(votes(seeds=(0, 1)), store, load=lambda n: model("new build"), progress=False)


# -- when to stop ----------------------------------------------------------------------------------


def alike(n: int) -> Task:
    """Problems i + i, each for itself."""
    return Task("sums", tuple(dataclasses.replace(p, meta={}) for p in sums(n)))


def test_a_study_ends_when_its_question_is_answered(tmp_path: Path) -> None:
    problems = (Problem(f"sum/{i}", f"{i} + {i}?", str(2 * i)) for i in range(1, 200))
    task = Task("sums", tuple(problems))

    def never(run, prompt):
        return run.append(run.reply(None, prompt), "The answer is -1.")

    study = votes(
        tasks={"sums": task},
        strategies={"chain": its.Direct(sampling=SHORT), "never": never},
    )
    asked = Answered("chain", "never", "sums", "small")
    outcome = conduct(
        study, tmp_path / "s.sqlite", load=lambda n: scripted(), until=asked, progress=False
    )
    estimate = asked.estimate(outcome)
    assert estimate.p <= 0.05
    assert estimate.low > 0
    assert 5 < len(outcome.runs) / 2 < 40
    assert outcome.lacking == study.runs - len(outcome.runs)


def test_a_question_stays_open_where_all_runs_failed(tmp_path: Path) -> None:
    def breaks(run, prompt):
        raise ZeroDivisionError

    study = votes(strategies={"a": breaks, "b": its.Direct(sampling=SHORT)})
    asked = Answered("a", "b", "sums", "small")
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, until=asked, progress=False)
    assert (asked.estimate(outcome).p, outcome.lacking) == (1.0, 0)


def test_a_question_about_the_second_model_is_asked_when_it_is_its_turn(tmp_path: Path) -> None:
    def never(run, prompt):
        return run.append(run.reply(None, prompt), "The answer is -1.")

    study = votes(
        tasks={"few": sums(3), "sums": alike(60)},
        models=("small", "large"),
        strategies={"chain": its.Direct(sampling=SHORT), "never": never},
    )
    asked = Answered("chain", "never", "sums", "large")
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, until=asked, progress=False)
    assert asked.estimate(outcome).p <= 0.05
    assert 0 < outcome.lacking < study.runs / 2
    misspelt = Answered("chains", "never", "sums", "large")
    with pytest.raises(OptionError, match=r"a='chains' is not valid: a must be 'chain' or 'never'"):
        misspelt.estimate(outcome)


def test_a_question_is_asked_within_a_budget_and_where_others_failed(tmp_path: Path) -> None:
    def never(run, prompt):
        if "7 + 7" in str(prompt):
            raise ZeroDivisionError
        return run.append(run.reply(None, prompt), "The answer is -1.")

    def chain(run, prompt):
        if run.problem == "sum/1":
            raise ZeroDivisionError
        return its.Direct(sampling=SHORT)(run, prompt)

    study = votes(
        tasks={"sums": alike(60)},
        strategies={"chain": chain, "never": never},
        budgets=(its.Budget(tokens=1000),),
    )
    asked = Answered("chain", "never", "sums", "small")
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, until=asked, progress=False)
    assert asked.estimate(outcome).p <= 0.05
    assert outcome.lacking > 0


def test_a_template_of_which_a_problem_failed_still_counts(tmp_path: Path) -> None:
    def fails(run, prompt):
        if run.problem == "sum/5":
            raise ZeroDivisionError
        return run.append(run.reply(None, prompt), "The answer is -1.")

    study = votes(strategies={"chain": its.Direct(sampling=SHORT), "fails": fails})
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    assert Answered("chain", "fails", "sums", "small").estimate(outcome).n == 2


def test_where_another_method_failed_a_template_counts_as_a_whole(tmp_path: Path) -> None:
    """The first two of three problems of each template are wrong, the last is right."""

    def late(run, prompt):
        right = run.problem in ("sum/4", "sum/5")
        i = int(run.problem.split("/")[1])
        return run.append(run.reply(None, prompt), f"The answer is {2 * i if right else -1}.")

    def never(run, prompt):
        return run.append(run.reply(None, prompt), "The answer is -1.")

    def breaks(run, prompt):
        raise ZeroDivisionError

    study = votes(strategies={"late": late, "never": never, "broken": breaks})
    outcome = conduct(study, tmp_path / "s.sqlite", load=loads, progress=False)
    estimate = Answered("late", "never", "sums", "small").estimate(outcome)
    assert (estimate.n, estimate.value) == (2, pytest.approx(1 / 3))


def test_a_study_that_goes_on_looks_at_problems_in_their_order(tmp_path: Path) -> None:
    """The last problems are known already, but not the first: nothing is known of the order yet."""
    store, whole = tmp_path / "s.sqlite", sums(6)
    last = votes(tasks={"sums": dataclasses.replace(whole, problems=whole.problems[3:])})
    conduct(last, store, load=lambda n: scripted(), progress=False)
    seen: list[list[str]] = []

    def looks(outcome: Outcome) -> bool:
        seen.append(list(dict.fromkeys(outcome.runs.problem)))
        return len(seen[-1]) == 2

    study = votes(tasks={"sums": whole})
    outcome = conduct(study, store, until=looks, load=lambda n: scripted(), progress=False)
    assert seen == [["sum/0"], ["sum/0", "sum/1"]]
    assert outcome.lacking <= 2  # the third may have ended meanwhile
    model, before = scripted(), len(seen)
    conduct(study, store, until=lambda o: True, load=lambda n: model, progress=False)
    assert (len(seen), model.asked) == (before, []), "it was answered before anything was drawn"


def test_only_the_models_that_are_asked_are_loaded_to_draw(tmp_path: Path) -> None:
    loaded: list[str] = []
    study = votes(models=("small", "large"))
    store = tmp_path / "s.sqlite"
    conduct(study, store, load=loads, progress=False)
    part = Part(study, "large", {"sums": [0]})
    with its.Bank(store) as bank:
        recorded(part.models, bank, lambda name: loaded.append(name) or scripted(name))
    assert loaded == ["large"]


def test_the_study_that_comes_with_the_package_is_replayed_from_its_file() -> None:
    study = read(share.shared("data/quantizations.yaml"))
    store = share.shared("data/quantizations.sqlite.xz")
    outcome = conduct(study, store, mode="replay")
    assert (outcome.lacking, len(outcome.runs), len(outcome.samples)) == (0, 300, 2400)
    solved = {
        model: outcome.results("word problems", model)["programs vote", 8].solved.percent
        for model in study.models
    }
    told = ["38% [25%, 53%]", "30% [19%, 45%]", "37% [24%, 52%]"]  # as data/README.md says
    assert [*solved.values()] == told


# -- many samples ----------------------------------------------------------------------------------


def test_a_hundred_thousand_samples_are_averaged_in_a_moment() -> None:
    """A tenth of a million: 1,000 problems of 100 samples, with all curves and their intervals."""
    rng = np.random.default_rng(0)
    right = rng.random((1000, 100)) < rng.beta(0.8, 1.2, 1000)[:, None]
    key = np.where(right, "r", rng.integers(1, 6, right.shape).astype(str))
    names = [f"p{i}" for i in range(1000)]
    place = {"task": "t", "model": "m", "method": "vote", "size": 100.0, "budget": "", "seed": 0}
    paid = {"tokens": 100, "flops": 1e9, "seconds": 1.0, "prefilled": 0, "reused": 0}
    samples = pd.DataFrame(
        {
            **place,
            "problem": np.repeat(names, 100),
            "sample": np.tile(np.arange(100), 1000),
            "key": pd.array(key.ravel(), dtype="string"),
            "correct": right.ravel(),
            "score": np.nan,
            **paid,
            "opening": 1e9,
            "prompt": 100,
        }
    )
    runs = pd.DataFrame(
        {**place, "problem": names, "cluster": names, "rule": "majority", "failed": ""}
    )
    ks = [1, 2, 4, 8, 16, 32, 64, 100]
    outcome = Outcome(
        runs,
        samples,
        {"sizes": {"t": {"vote": ks}}, "cells": [["t", "m", "vote", 100.0, "", 0, "kind", 1000]]},
    )
    began = time.thread_time()
    table = tables.accuracy(outcome.results("t", "m", coverage=True))
    assert time.thread_time() - began < 10, "a million in under 30 s leaves 3"
    coverage = table[table.method == "coverage of vote"].set_index("samples").accuracy
    assert coverage[1] == pytest.approx(right.mean())
    assert coverage[100] == pytest.approx(right.any(axis=1).mean())
