"""Runs: budgets hold, costs are complete, they can be stopped, trees are well formed."""

import itertools
import math
import threading
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from itslab.backends.llama import Llama
from itslab.core import (
    BackendError,
    Budget,
    Completion,
    Cost,
    Message,
    Node,
    OptionError,
    Problem,
    Prompt,
    PromptTooLong,
    Request,
    Sampling,
    Verdict,
    Verifier,
)
from itslab.handle import solve, start
from itslab.run import Halt, Run, Strategy
from itslab.strategies import BestOfN, SelfConsistency
from itslab.study.runner import solve_all
from itslab.study.samples import Samples
from itslab.tasks import Task
from itslab.testing import ScriptedModel
from itslab.verifiers import ByProblem, Calibrated, Critic, Judge, Reward

SHORT = Sampling(temperature=1, max_tokens=8)


@pytest.fixture
def run(llm: Llama) -> Run:
    return Run(llm, str.strip)


def test_extend_returns_the_children_of_each_node_in_order(run: Run) -> None:
    a, b = run.reply(None, "Name a colour."), run.reply(None, "Name a bird.")
    assert run.extend([], SHORT) == []
    nodes = run.extend([a, b], SHORT, n=2)
    assert [node.parent for node in nodes] == [a, a, b, b]
    assert all(node.completion and node.text == node.completion.text for node in nodes)
    assert run.cost.decoded == sum(n.completion.cost.decoded for n in nodes if n.completion)
    assert run.cost.calls == 4


def test_more_samples_than_can_be_asked_for_at_once_are_refused_before_any_is(run: Run) -> None:
    root = run.reply(None, "Hello?")
    with pytest.raises(OptionError, match=r"n=10{14} is not valid: n must be .* in \[1, 100000\]"):
        run.extend(root, n=10**14)
    assert len(run.tree) == 1


def test_extending_again_draws_new_samples_and_another_run_draws_the_same(llm: Llama) -> None:
    def draw(*counts: int) -> list[str]:
        run = Run(llm, str.strip)
        root = run.reply(None, "Invent a name.")
        return [node.text for n in counts for node in run.extend(root, SHORT, n)]

    four = draw(4)
    assert draw(1, 3) == four
    assert len(set(four)) > 1


def test_a_turn_is_built_from_samples_and_appended_text(run: Run, llm: Llama) -> None:
    question = run.reply(None, [Message("system", "Be brief."), Message("user", "Count.")])
    [first] = run.extend(question, SHORT)
    waited = run.append(first, "\nWait, 41, 42, 43,")
    [second] = run.extend(waited, Sampling(temperature=0, max_tokens=4))
    assert second.turn() == [first, waited, second]
    assert second.turn_text == first.text + "\nWait, 41, 42, 43," + second.text
    assert "44" in second.text
    followed = run.reply(second, "Why?")
    [answer] = run.extend(followed, SHORT)
    assert answer.turn_text == answer.text
    assert [n.role for n in answer.path()] == [
        "system",
        "user",
        *["assistant"] * 3,
        "user",
        "assistant",
    ]


@pytest.mark.parametrize("tokens", [1, 5, 8, 19, 40])
def test_a_budget_of_tokens_is_never_overdrawn(llm: Llama, tokens: int) -> None:
    run = Run(llm, str.strip, Budget(tokens=tokens))
    root = run.reply(None, "Write a long story about the sea.")
    nodes = run.extend(root, SHORT, n=4)
    assert run.cost.decoded == sum(n.completion.cost.decoded for n in nodes if n.completion)
    assert run.cost.decoded <= tokens
    assert run.stopped_by == (None if len(nodes) == 4 else "tokens")
    if run.cost.decoded == tokens:
        with pytest.raises(Halt, match="tokens"):
            run.extend(root, SHORT)


def test_a_budget_of_samples_clips_the_count(llm: Llama) -> None:
    run = Run(llm, str.strip, Budget(samples=3))
    assert len(run.extend(run.reply(None, "Hi"), SHORT, n=5)) == 3
    assert run.stopped_by == "samples"


@pytest.mark.parametrize("budget", [Budget(flops=1.0), Budget(seconds=1e-6)])
def test_budgets_known_only_afterwards_end_after_one_batch(llm: Llama, budget: Budget) -> None:
    run = Run(llm, str.strip, budget)
    assert len(run.extend(run.reply(None, "Hi"), SHORT, n=20)) == llm.batch_size


def test_a_budget_must_be_positive() -> None:
    with pytest.raises(OptionError, match="tokens=0"):
        Budget(tokens=0)


def test_a_stopped_run_returns_its_best_answer_so_far(llm: Llama) -> None:
    def endless(run: Run, prompt: Prompt) -> Node:
        root = run.reply(None, prompt)
        while True:
            [run.best] = run.extend(root, SHORT)

    started = start("Name a colour.", endless, llm, extract=str.strip)
    time.sleep(1)
    assert started.running
    started.stop()
    result = started.result(timeout=5)
    assert result.stopped_by == "stop"
    assert result.node is started.run.best
    assert result.answer == result.node.text.strip()  # type: ignore[union-attr]


def test_an_interrupt_while_solving_leaves_the_model_usable(llm: Llama) -> None:
    """Ctrl-C in a notebook is a KeyboardInterrupt in the main thread."""
    import _thread

    threading.Timer(0.7, _thread.interrupt_main).start()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        solve("Write a novel.", _long, llm)
    assert time.perf_counter() - began < 2
    assert solve("Hi", _brief, llm, extract=str.strip).node is not None


def _long(run: Run, prompt: Prompt) -> Node:
    root = run.reply(None, prompt)
    return run.extend(root, Sampling(temperature=1, max_tokens=400), 8)[0]


def _brief(run: Run, prompt: Prompt) -> Node:
    return run.extend(run.reply(None, prompt), SHORT)[0]


def test_a_verifier_is_charged_and_its_verdicts_kept(run: Run) -> None:
    def by_length(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(len(n.text), Cost(decoded=3, calls=1)) for n in nodes]

    nodes = run.extend(run.reply(None, "Hi"), SHORT, n=2)
    before = run.cost
    assert run.score(nodes, by_length) == [len(n.text) for n in nodes]
    assert run.cost.decoded == before.decoded + 6
    assert [n.verdict.score for n in nodes if n.verdict] == [len(n.text) for n in nodes]


def test_a_revision_is_scored_as_an_answer_to_the_first_prompt(run: Run) -> None:
    asked: list[Prompt] = []

    def remember(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        asked.append(prompt)
        return [Verdict(0.0)] * len(nodes)

    example = (Message("user", "1 + 1"), Message("assistant", "2"), Message("user", "1 + 2"))
    [first] = run.extend(run.append(run.reply(None, example), "It is"), SHORT)
    [second] = run.extend(run.reply(first, "Are you sure?"), SHORT)
    run.score([second, first], remember)
    run.score([run.reply(None, example)], remember)
    assert asked == [example, example]


def test_a_verifier_that_raises_marks_its_nodes_and_the_run_goes_on(run: Run) -> None:
    def broken(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        raise ZeroDivisionError("no scale")

    nodes = run.extend(run.reply(None, "Hi"), SHORT, n=2)
    assert all(math.isnan(score) for score in run.score(nodes, broken))
    assert nodes[0].verdict is not None
    assert nodes[0].verdict.note == "ZeroDivisionError: no scale"
    assert run.unscored == {f"{broken!r}: ZeroDivisionError: no scale": 2}


def test_where_a_verifiers_model_cannot_be_used_the_run_ends_as_with_its_own() -> None:
    class Down(ScriptedModel):
        def draw(self, request: Request, index: int) -> Completion:
            raise BackendError("no server there")

    judged_by_nobody = BestOfN(Judge(Down(digest="down")), n=2, sampling=TEN)
    with pytest.raises(BackendError, match="no server there"):
        solve("3 + 4?", judged_by_nobody, Ten(), extract=str.strip)
    bank: dict[str, str] = {}

    class Runs:
        def find_run(self, key: str) -> str | None:
            return bank.get(key)

        def keep_run(self, key: str, strategy: str, problem: str, text: str) -> None:
            bank[key] = text

    task = Task("sums", (Problem("0", "3 + 4?", "7"),), extract=str.strip)
    with pytest.raises(BackendError, match="no server there"):
        solve_all(task, {"best": judged_by_nobody}, Ten(), archive=Runs(), progress=False)
    assert not bank  # so that it is run again once the server is there


def test_a_result_tells_which_verdicts_are_missing(llm: Llama) -> None:
    class Half:
        """Scores every other node."""

        def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
            return [Verdict(1.0 if i % 2 else math.nan) for i in range(len(nodes))]

        def __repr__(self) -> str:
            return "Half()"

    result = solve("Hi", BestOfN(Half(), n=4, sampling=SHORT), llm, extract=str.strip)
    assert result.unscored == {"Half(): the score is nan": 2}
    assert result.node in result.tree.leaves()[1::2]


def test_events_tell_the_tree_in_order(run: Run) -> None:
    run.extend(run.reply(None, "Hi"), SHORT, n=2)
    made = [event.node for event in run.tree.events if event.kind == "node"]
    assert made == [node.id for node in run.tree]
    times = [event.time for event in run.tree.events]
    assert times == sorted(times)
    assert sum(event.kind == "done" for event in run.tree.events) == 2


# -- iterations ------------------------------------------------------------------------------------


def three_rounds(run: Run, prompt: Prompt) -> Node:
    root = run.reply(None, prompt)
    for _ in range(3):
        [best, other] = run.extend(root, SHORT, n=2)
        run.prune([other])
        run.checkpoint(best)
    return best


def test_next_lets_one_iteration_happen(llm: Llama) -> None:
    started = start("Name a colour.", three_rounds, llm, extract=str.strip, paused=True)
    time.sleep(0.1)
    assert len(started.run.tree) == 0
    sizes = []
    for best in started:
        sizes.append(len(started.run.tree))
        assert best is started.run.tree.nodes[-2]
        assert started.paused
    assert sizes == [3, 5, 7]
    assert started.result(timeout=5).node is started.run.tree.nodes[-2]


def test_a_run_is_paused_between_iterations_and_goes_on(llm: Llama) -> None:
    started = start("Name a colour.", three_rounds, llm, extract=str.strip)
    started.pause()
    while not started.paused:
        assert started.running
        time.sleep(0.01)
    size = len(started.run.tree)
    time.sleep(0.2)
    assert len(started.run.tree) == size
    started.resume()
    assert len(started.result(timeout=20).tree) == 7


def test_a_paused_run_can_be_stopped(llm: Llama) -> None:
    started = start("Name a colour.", three_rounds, llm, extract=str.strip, paused=True)
    best = next(started)
    started.stop()
    result = started.result(timeout=5)
    assert (result.stopped_by, result.node) == ("stop", best)


def test_what_goes_wrong_in_an_iteration_is_raised_by_next(llm: Llama) -> None:
    def broken(run: Run, prompt: Prompt) -> Node:
        raise BackendError("the model is gone")

    with pytest.raises(BackendError, match="the model is gone"):
        next(start("Name a colour.", broken, llm, paused=True))


def test_a_pruned_node_says_so_in_the_tree_and_in_its_events(llm: Llama) -> None:
    tree = solve("Name a colour.", three_rounds, llm, extract=str.strip).tree
    pruned = [node.id for node in tree if node.status == "pruned"]
    assert pruned == [event.node for event in tree.events if event.kind == "pruned"]
    assert len(pruned) == 3


def test_a_fork_goes_on_from_a_node_in_the_same_tree_at_its_own_cost(llm: Llama) -> None:
    started = start("Count to fifty.", SelfConsistency(2, sampling=SHORT), llm, extract=str.strip)
    first = started.result(timeout=20)
    assert first.node is not None
    forked = started.fork(first.node, SelfConsistency(3, sampling=SHORT), seed=5)
    second = forked.result(timeout=20)
    assert second.tree is first.tree
    assert second.node is not None
    assert second.node.parent is first.node
    assert len(first.tree) == 1 + 2 + 3
    assert (first.cost.calls, second.cost.calls) == (2, 3)


def test_a_function_strategy_in_a_fork_goes_on_from_the_node(llm: Llama) -> None:
    started = start("Count to fifty.", SelfConsistency(2, sampling=SHORT), llm, extract=str.strip)
    first = started.result(timeout=20)
    assert first.node is not None
    second = started.fork(first.node, _brief, seed=5).result(timeout=20)
    assert second.node is not None
    assert second.node.parent is first.node
    assert len(first.tree) == 1 + 2 + 1


# -- verifiers buy through the run: followed on paper ----------------------------------------------


class Ten(ScriptedModel):
    """Every sample costs ten tokens, or as many as it may have."""

    def draw(self, request: Request, index: int) -> Completion:
        if "too long" in request.messages[1 if len(request.messages) > 1 else 0].content:
            raise PromptTooLong("no room")
        cost = Cost(decoded=min(10, request.sampling.max_tokens), calls=1)
        choices = (math.log(0.6), math.log(0.4)) if request.sampling.choices else ()
        return Completion("7", finish="end", cost=cost, choices=choices, index=index)


TEN = Sampling(max_tokens=10)


def told(run: Run) -> Cost:
    """What the events say was paid."""
    return sum((e.data["cost"] for e in run.tree.events if "cost" in e.data), Cost())


@pytest.mark.parametrize(
    ("tokens", "scored"), [(200, 4), (84, 4), (75, 4), (74, 3), (62, 2), (51, 1)]
)
def test_a_critic_draws_within_the_budget_and_what_was_bought_counts(
    tokens: int, scored: int
) -> None:
    model = Ten()
    run = Run(model, str.strip, Budget(tokens=tokens))
    nodes = run.extend(run.reply(None, "3 + 4?"), TEN, n=4)
    scores = run.score(nodes, Critic(model, sampling=TEN))
    assert sum(score == pytest.approx(0.6) for score in scores) == scored
    assert run.cost.decoded <= tokens
    assert told(run) == run.cost
    assert run.stopped_by == (None if scored == 4 else "tokens")


def test_what_a_run_cost_can_be_read_by_model() -> None:
    small, large = Ten(name="small"), Ten(name="large", digest="large")
    strategy = BestOfN(Critic(large, sampling=TEN), n=4, sampling=TEN)
    result = solve("3 + 4?", strategy, small, extract=str.strip)
    assert result.costs["small"] == Cost(decoded=40, calls=4)
    assert result.costs["large"] == sum(
        (node.verdict.cost for node in result.tree if node.verdict), Cost()
    )
    assert result.costs["large"].calls == 8  # a critique and a mark for each
    assert sum(result.costs.values(), Cost()) == result.cost


def test_best_of_n_says_that_the_budget_ended_its_critic() -> None:
    model = Ten()
    strategy = BestOfN(Critic(model, sampling=TEN), n=4, sampling=TEN)
    for tokens in (40, 41, 55):
        result = solve("3 + 4?", strategy, model, extract=str.strip, budget=Budget(tokens=tokens))
        assert result.cost.decoded <= tokens
        assert (result.stopped_by, result.answer) == ("tokens", "7")


def test_a_stop_while_a_verifier_draws_is_told_to_its_model() -> None:
    class Stopped(Ten):
        def generate(self, requests, on_text=None, on_sample=None, cancel=None):
            if len(requests[0].messages) > 1:
                run.stop()
                assert cancel.is_set()
                cut = Completion("7", finish="cancelled", cost=Cost(decoded=3, calls=1))
                for i in range(len(requests)):
                    on_sample(i, 0, cut)
                return []
            return super().generate(requests, on_text, on_sample, cancel)

    model = Stopped()
    run = Run(model, str.strip)
    nodes = run.extend(run.reply(None, "3 + 4?"), TEN, n=2)
    with pytest.raises(Halt, match="stop"):
        run.score(nodes, Judge(model))
    assert run.cost.decoded == 26
    assert told(run) == run.cost


def test_of_four_the_one_that_is_too_long_is_not_judged() -> None:
    model = Ten()
    run = Run(model, str.strip)
    root = run.reply(None, "3 + 4?")
    nodes = [run.append(root, text) for text in ("7", "this is too long", "8", "9")]
    scores = run.score(nodes, Judge(model))
    assert [math.isnan(score) for score in scores] == [False, True, False, False]
    assert nodes[1].verdict is not None
    assert "PromptTooLong: no room" in nodes[1].verdict.note
    assert run.cost.calls == 3


def test_sampled_verifiers_have_streams_of_the_runs_seed_that_its_samples_never_use() -> None:
    model, seeds = Ten(), []
    for seed in (0, 0, 1):
        run = Run(model, str.strip, seed=seed)
        for first in (0, 1):
            run.ask([Request((Message("user", "Hi"),), sampling=TEN)], model)
            assert model.asked[-1].first == first
        seeds.append(model.asked[-1].seed)
    assert seeds[0] == seeds[1] != seeds[2]
    assert not {0, 1} & set(seeds)
    run.ask([Request((Message("user", "Hi"),), sampling=Sampling(temperature=0))], model)
    assert model.asked[-1].seed == 0  # greedy: recorded once, replayed in every run


def test_scores_may_be_numbers_and_anything_else_is_refused_in_one_line() -> None:
    run = Run(Ten(), str.strip)
    nodes = run.extend(run.reply(None, "3 + 4?"), TEN, n=2)
    assert run.score(nodes, lambda prompt, nodes: [1.0, True]) == [1.0, 1.0]
    assert run.score(nodes, lambda run, prompt, nodes: np.array([0.5, 2])) == [0.5, 2.0]
    for wrong in ([1.0], [None, 1.0], None, "ab", 3, [1.0, 2.0, 3.0]):
        with pytest.raises(OptionError, match="one number or Verdict for each node, here 2"):
            run.score(nodes, lambda prompt, nodes, wrong=wrong: wrong)
    with pytest.raises(OptionError, match=r"called as \(prompt, nodes\)"):
        run.score(nodes, lambda node: 1.0)


def test_what_a_verifier_does_not_share_out_stands_with_its_first_verdict() -> None:
    model = Ten()
    run = Run(model, str.strip)
    nodes = run.extend(run.reply(None, "3 + 4?"), TEN, n=2)

    def drawing(run: Run, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        return [len(d.completions) for d in run.ask([Request((Message("user", "?"),))], model)] * 2

    assert run.score(nodes, drawing) == [1, 1]
    assert run.score(nodes, Calibrated(drawing)) == pytest.approx([1, 1], abs=1e-5)
    assert told(run) == run.cost == Cost(decoded=40, calls=4)


def test_a_verifier_of_many_problems_knows_its_own_whatever_is_said_before_it() -> None:
    ones = {"a": lambda prompt, nodes: [1.0], "b": lambda prompt, nodes: [0.0]}
    prompts = {"a": "3 + 4?", "b": "3 + 5?"}

    def politely(run: Run, prompt: Prompt) -> Node:
        nodes = run.extend(run.reply(None, f"Please: {prompt}"), TEN)
        run.score(nodes, ByProblem("by hand", ones, prompts))
        return nodes[0]

    result = solve("3 + 4?", politely, Ten(), extract=str.strip)
    assert result.node is not None
    assert result.node.verdict is not None
    assert result.node.verdict.score == 1.0


def scored_by(verifier: Verifier) -> Strategy:
    def strategy(run: Run, prompt: Prompt) -> Node:
        nodes = run.extend(run.reply(None, "Another wording."), TEN)
        run.score(nodes, verifier)
        return nodes[0]

    return strategy


def test_problems_of_one_prompt_have_verifiers_of_their_own() -> None:
    ones = {
        name: partial(lambda score, prompt, nodes: [score] * len(nodes), i)
        for i, name in enumerate("abc")
    }
    own = ByProblem("by hand", ones, {"a": "2 + 2?", "b": "2 + 2?", "c": "2 + 2? Again: 2 + 2?"})
    task = Task("twins", tuple(Problem(i, p, "") for i, p in own.prompts.items()), str.strip)
    results = solve_all(task, {"own": scored_by(own)}, Ten(), progress=False)["own"]
    assert [result.node and result.node.verdict.score for result in results] == [0, 1, 2]

    begun = start("2 + 2?", scored_by(own), Ten(), extract=str.strip, problem="b")
    first = begun.result().node
    again = begun.fork(first.parent, scored_by(own)).result().node
    assert (first.verdict.score, again.verdict.score) == (1, 1)
    drawn = SelfConsistency(2, instruction="", sampling=TEN)
    samples = Samples(task, solve_all(task, {"two": drawn}, Ten(), progress=False)["two"])
    assert samples.scores(own).tolist() == [[0, 0], [1, 1], [2, 2]]

    def by_hand(prompt: str) -> Verdict:
        return solve(prompt, scored_by(own), Ten(), extract=str.strip).node.verdict

    assert by_hand("Please: 2 + 2? Again: 2 + 2?").score == 2  # the longest
    assert "that of several problems" in by_hand("2 + 2?").note
    assert "none of the task's problems" in by_hand("3 + 3?").note


def test_costs_that_a_verifier_tells_wrongly_are_told_as_they_were_paid() -> None:
    model = Ten()
    run = Run(model, str.strip)
    nodes = run.extend(run.reply(None, "3 + 4?"), TEN, n=2)
    asked = [Request((Message("user", "?"),))]

    for told_of in ([1, 0], [2, 2], [0, 3]):

        def drawing(
            run: Run, prompt: Prompt, nodes: Sequence[Node], shares: list[int] = told_of
        ) -> list[Verdict]:
            [drawn, _] = run.ask(asked * 2, model)
            return [Verdict(1.0, sum([drawn.cost] * n, Cost())) for n in shares]

        run.score(nodes, drawing)
        assert told(run) == run.cost


def test_a_verifier_may_sort_what_it_is_shown() -> None:
    run = Run(Ten(), str.strip)
    nodes = run.extend(run.reply(None, "3 + 4?"), TEN, n=3)
    as_they_were = list(nodes)

    def sorting(prompt: Prompt, nodes: list[Node]) -> list[float]:
        nodes.sort(key=lambda node: -node.id)
        return [float(len(nodes)), 0.0, float(nodes.pop().id == as_they_were[0].id)]

    assert run.score(nodes, sorting) == [3.0, 0.0, 1.0]
    assert nodes == as_they_were


@pytest.mark.parametrize(
    "told",
    [
        [Verdict(None)], [Verdict("high")], [Verdict(np.ones(2))], [Verdict(Verdict(1.0))],
        [Verdict(1.0, None)], [Verdict(1.0, note=None)], {1.0}, {1.0: 1.0}, itertools.repeat(1.0),
    ],
)  # fmt: skip
def test_verdicts_that_are_none_are_refused_in_one_line(told: object) -> None:
    run = Run(Ten(), str.strip)
    nodes = run.extend(run.reply(None, "3 + 4?"), TEN)
    with pytest.raises(OptionError, match=r"one number or Verdict for each node, here 1$"):
        run.score(nodes, lambda prompt, nodes: told)


def test_a_verdict_of_numpys_numbers_is_one_of_ours() -> None:
    run = Run(Ten(), str.strip)
    nodes = run.extend(run.reply(None, "3 + 4?"), TEN)
    [score] = run.score(nodes, lambda prompt, nodes: [Verdict(np.float32(0.5))])
    assert type(score) is float


def test_a_strategy_that_returns_no_node_is_told_so() -> None:
    with pytest.raises(OptionError, match="a strategy that returns a node of the run, or None"):
        solve("3 + 4?", lambda run, prompt: "7", Ten())


# -- what a user's part may do wrong ---------------------------------------------------------------


def seven(count: int = 99) -> ScriptedModel:
    return ScriptedModel(replies=["\\boxed{7}"] * count)


def paced(run: Run, prompt: Prompt) -> Node:
    """Draw a sample in each of some iterations."""
    node = None
    for _ in range(50):
        [node] = run.extend(run.reply(None, prompt))
        run.checkpoint(node)
    assert node is not None
    return node


def test_pausing_after_a_stop_does_not_hold_it_up() -> None:
    handle = start("?", paced, seven(), paused=True)
    handle.stop()
    handle.pause()
    assert handle.result(10).stopped_by == "stop"


def test_a_run_and_its_fork_have_their_own_nodes() -> None:
    handle = start("?", paced, ScriptedModel(replies=["none yet"] * 50), paused=True)
    next(handle)
    node = handle.run.drawn[0]
    forked = handle.fork(node, SelfConsistency(2), budget=Budget(samples=2))
    forked.run.backend = seven()
    forked.result(10)
    handle.stop()
    result = handle.result(10)
    assert result.answer is None
    assert result.node in handle.run.drawn
    nothing = handle.fork(node, SelfConsistency(1))
    nothing.stop()
    assert nothing.result(10).node is None


def test_forks_draw_other_samples_than_each_other() -> None:
    handle = start("?", SelfConsistency(1), seven())
    handle.result(10)
    node = handle.run.drawn[0]
    first, second = (handle.fork(node, SelfConsistency(1)) for _ in range(2))
    third = first.fork(node, SelfConsistency(1))
    seeds = [handle.run.seed, *(fork.run.seed for fork in (first, second, third))]
    assert len(set(seeds)) == 4


def test_a_node_of_another_tree_is_refused() -> None:
    other = start("?", SelfConsistency(1), seven())
    other.result(10)
    with pytest.raises(OptionError, match="returns a node of the run"):
        solve("?", lambda run, prompt: other.run.drawn[0], seven())
    with pytest.raises(OptionError, match=r"node=.*one of the tree"):
        start("?", SelfConsistency(1), seven()).fork(other.run.drawn[0], SelfConsistency(1))


@pytest.mark.parametrize("said", [7, np.int64(7), b"7", ["7"]])
def test_an_answer_is_text_or_none(said: object) -> None:
    with pytest.raises(OptionError, match=r"extract=.*text or None"):
        solve("?", lambda r, p: r.extend(r.reply(None, p))[0], seven(), extract=lambda text: said)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    "cost",
    [
        Cost(decoded=np.int64(2)),  # type: ignore[arg-type]
        Cost(decoded=-1),
        Cost(decoded=2.5),  # type: ignore[arg-type]
        Cost(seconds=math.nan),
        Cost(flops=math.inf),
    ],
)
def test_a_verdict_costs_whole_tokens_and_finite_numbers(cost: Cost) -> None:
    with pytest.raises(OptionError, match="one number or Verdict for each node"):
        solve("?", BestOfN(lambda p, nodes: [Verdict(1.0, cost)] * len(nodes), n=2), seven())


def test_an_events_cost_is_a_cost() -> None:
    def logs(run: Run, prompt: Prompt) -> Node:
        [node] = run.extend(run.reply(None, prompt))
        run.tree.log("value", node, cost=0.5)
        return node

    with pytest.raises(OptionError, match=r"cost=0\.5"):
        solve("?", logs, seven())


def test_a_backend_that_hands_over_everything_at_the_end_is_paid_as_well() -> None:
    class Late(ScriptedModel):
        def generate(self, requests, on_text=None, on_sample=None, cancel=None):  # type: ignore[no-untyped-def]
            return super().generate(requests)

    result = solve("?", SelfConsistency(3), Late(replies=["\\boxed{7}"] * 3))
    assert (result.answer, result.cost.calls) == ("7", 3)


def test_a_scorer_that_returns_too_few_is_told_so() -> None:
    class Few:
        name = digest = "few"

        def score(self, conversations: Sequence[object]) -> list[Verdict]:
            return [Verdict(1.0)] * (len(conversations) - 1)

    result = solve("?", BestOfN(Reward(Few()), n=3), seven())  # type: ignore[arg-type]
    assert "one for each conversation" in next(iter(result.unscored))


def test_a_score_within_a_score_is_counted_once() -> None:
    judge = Judge(ScriptedModel(replies=["Yes"] * 99, name="judge"))

    def nested(run: Run, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        return run.score(nodes, judge)

    result = solve("?", BestOfN(nested, n=3), seven())
    paid = [event.data["cost"].calls for event in result.tree.events if "cost" in event.data]
    assert sum(paid) == result.cost.calls == 6


def test_a_budget_in_samples_is_shared_by_critiques_and_what_is_asked_after_them() -> None:
    critic = Critic(ScriptedModel(replies=["It is right.", "Yes"] * 99, name="critic"))
    result = solve("?", BestOfN(critic, n=4), seven(), budget=Budget(samples=8))
    assert result.cost.calls == 8
    assert result.costs["critic"].calls == 4  # two critiques and two opinions


@pytest.mark.parametrize("bad", [{"task": "gsm8k"}, {"strategies": []}, {"archive": "bank.sqlite"}])
def test_what_solve_all_is_given_is_checked(bad: dict[str, object]) -> None:
    task = Task("t", (Problem("0", "?", "7"),))
    given = {"task": task, "strategies": {"s": SelfConsistency(1)}, "backend": seven()} | bad
    with pytest.raises(OptionError, match=next(iter(bad))):
        solve_all(**given)  # type: ignore[arg-type]
