"""Studies: what is declared, what is drawn, what is kept, and what comes of it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import itslab as its
from itslab import share
from itslab.conductor import conduct, workers
from itslab.conductor.loading import recorded
from itslab.conductor.parts import Part
from itslab.core import ItslabError, OptionError, Problem, PromptRefused, Verdict
from itslab.study import tables
from itslab.study.outcome import Outcome
from itslab.study.plan import Named, OwnVerifier, Study, bound
from itslab.study.reading import parse, read
from itslab.study.selection import majority_at_k
from itslab.study.sequential import Answered
from itslab.tasks import Task
from itslab.testing import ScriptedModel, ScriptedVerifier

SHORT = its.Sampling(max_tokens=20)


def sums(n: int = 6) -> Task:
    """Problems i + i, of two templates."""
    problems = (
        Problem(f"sum/{i}", f"{i} + {i}?", str(2 * i), {"template": f"t{i % 2}"}) for i in range(n)
    )
    return Task("sums", tuple(problems))


def says(request, index: int) -> str:
    """Two of three samples are right, those of problem 0 never."""
    i = int(request.messages[-1].content.split(" + ")[0].split("\n")[-1])
    right = i > 0 and index % 3 < 2
    return f"The answer is {2 * i if right else 2 * i + 1}."


def scripted(name: str = "small") -> ScriptedModel:
    return ScriptedModel(replies=says, name=name, digest=f"digest of {name}")


def votes(**options) -> Study:
    chains = tuple(its.SelfConsistency(n, instruction="", sampling=SHORT) for n in (1, 2, 4))
    greedy = its.ChainOfThought(instruction="", sampling=dataclasses.replace(SHORT, temperature=0))
    settings = {
        "tasks": {"sums": sums()},
        "models": ("small",),
        "strategies": {"chain": greedy, "vote": chains},
    }
    return Study(**(settings | options))


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
    @dataclasses.dataclass(kw_only=True)
    class Built(ScriptedModel):
        provenance: str = "old build"

    def model(build: str):
        return Built(replies=says, name="small", digest="d", provenance=build)

    store = tmp_path / "s.sqlite"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conduct(votes(), store, load=lambda n: model("old build"), progress=False)
    with pytest.warns(UserWarning, match="that another build drew.*old build.*new build"):
        conduct(votes(seeds=(0, 1)), store, load=lambda n: model("new build"), progress=False)


# -- when to stop ----------------------------------------------------------------------------------


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


# -- on many workers -------------------------------------------------------------------------------


def loads(name: str) -> ScriptedModel:
    """A model for workers, whose processes import this module."""
    return scripted(name)


def slowly(name: str) -> ScriptedModel:
    def waits(request, index: int) -> str:
        time.sleep(0.02)
        return says(request, index)

    return ScriptedModel(replies=waits, name=name, digest=f"digest of {name}")


def broken(name: str) -> ScriptedModel:
    if parent_process() is None:  # here, not in a worker
        return scripted(name)
    raise ItslabError(f"{name} is not on this machine")


@pytest.fixture
def alone(tmp_path: Path) -> Outcome:
    """What an uninterrupted study comes to."""
    return conduct(
        votes(tasks={"sums": sums(20)}), tmp_path / "alone.sqlite", load=loads, progress=False
    )


def same(a: Outcome, b: Outcome) -> None:
    """All but times."""
    drop = ["elapsed", "seconds"]
    assert a.runs.drop(columns=drop).equals(b.runs.drop(columns=drop))
    assert a.samples.drop(columns="seconds").equals(b.samples.drop(columns="seconds"))


@pytest.mark.slow
def test_worker_processes_draw_the_same_and_leave_nothing_behind(tmp_path, alone) -> None:
    store, study = tmp_path / "s.sqlite", votes(tasks={"sums": sums(20)})
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        outcome = conduct(study, store, executor=pool, chunk=3, load=loads, progress=False)
    same(outcome, alone)
    assert not (tmp_path / "s.sqlite.parts").exists()
    same(conduct(study, store, mode="replay"), alone)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_problems_only(tmp_path, alone) -> None:
    store, study = tmp_path / "s.sqlite", votes(tasks={"sums": sums(20)})
    pool = ProcessPoolExecutor(2, get_context("spawn"))

    def kill() -> None:
        while not list((tmp_path / "s.sqlite.parts").glob("*.sqlite")):
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(next(iter(pool._processes)), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ItslabError, match=r"problems are not finished .*conduct the study again"):
        conduct(study, store, executor=pool, chunk=2, load=slowly, progress=False)
    killer.join()
    with its.Bank(store) as bank:
        kept = bank.samples
    assert kept > 0
    model = slowly("small")
    outcome = conduct(study, store, load=lambda name: model, progress=False)
    same(outcome, alone)
    assert sum(request.n for request in model.asked) < 20 * 5  # the rest was there


def test_workers_that_share_no_folder_send_their_parts(tmp_path, alone, monkeypatch) -> None:
    """The token is not there, as on another machine."""
    store, study = tmp_path / "s.sqlite", votes(tasks={"sums": sums(20)})
    monkeypatch.setattr(workers, "_shares", lambda token: False)
    with ThreadPoolExecutor(2) as pool:
        outcome = conduct(study, store, executor=pool, chunk=5, load=loads, progress=False)
    same(outcome, alone)


@pytest.mark.slow
def test_a_worker_without_the_model_says_which_and_where(tmp_path: Path) -> None:
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
        pytest.raises(ItslabError, match=r"worker .*, process .*small is not on this machine"),
    ):
        conduct(votes(), tmp_path / "s.sqlite", executor=pool, load=broken, progress=False)


@pytest.mark.slow
def test_dask_workers_that_are_killed_again_and_again_lose_no_finished_sample(
    tmp_path, alone
) -> None:
    from distributed import Client, LocalCluster

    store, study = tmp_path / "s.sqlite", votes(tasks={"sums": sums(20)})
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        done = threading.Event()

        def kill() -> None:
            for turn in range(6):
                pids = [w["pid"] for w in client.run(lambda: {"pid": os.getpid()}).values()]
                os.kill(pids[turn % len(pids)], signal.SIGKILL)
                client.wait_for_workers(2, timeout=30)
                if done.wait(0.5):
                    return

        killer = threading.Thread(target=kill)
        killer.start()
        for _ in range(12):
            try:
                with client.get_executor(pure=False, retries=10) as pool:
                    outcome = conduct(
                        study, store, executor=pool, chunk=2, load=slowly, progress=False
                    )
                break
            except ItslabError:
                continue
        done.set()
        killer.join()
    same(outcome, alone)


@pytest.mark.slow
def test_a_driver_that_is_killed_again_and_again_loses_no_finished_sample(tmp_path, alone) -> None:
    store = tmp_path / "s.sqlite"
    code = (
        "from test_study import *\n"
        f"study = votes(tasks={{'sums': sums(20)}})\n"
        f"conduct(study, {str(store)!r}, load=slowly, progress=False)\n"
    )
    paths, kept, kills = [str(Path(__file__).parent), *sys.path], 0, 0
    for _ in range(40):
        driver = subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        before, began = kept, time.monotonic()
        while driver.poll() is None and kept < before + 25 and time.monotonic() - began < 60:
            time.sleep(0.02)
            kept = samples(store)
        if driver.poll() is None:
            driver.kill()
            kills += 1
        driver.wait()
        assert samples(store) >= before
        if driver.returncode == 0:
            break
    assert kills >= 3
    same(conduct(votes(tasks={"sums": sums(20)}), store, load=loads, progress=False), alone)
    assert samples(store) == 20 * 5, "each was drawn once"


def samples(store: Path) -> int:
    if not store.exists():
        return 0
    with its.Bank(store) as bank:
        return bank.samples


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
    outcome = Outcome(runs, samples, {"sizes": {"t": {"vote": ks}}})
    began = time.thread_time()
    table = tables.accuracy(outcome.results("t", "m", coverage=True))
    assert time.thread_time() - began < 10, "a million in under 30 s leaves 3"
    coverage = table[table.method == "coverage of vote"].set_index("samples").accuracy
    assert coverage[1] == pytest.approx(right.mean())
    assert coverage[100] == pytest.approx(right.any(axis=1).mean())
