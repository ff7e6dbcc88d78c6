"""Cascades: which stage answers, why, and what becomes of one that cannot."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from itslab import Bank, tasks
from itslab.core import (
    BackendError,
    Budget,
    Completion,
    MissingSample,
    Node,
    OptionError,
    Output,
    Problem,
    Prompt,
    PromptTooLong,
    Request,
    Result,
    Sampling,
)
from itslab.handle import solve, start
from itslab.run import Run
from itslab.spec import spec
from itslab.strategies import (
    AdaptiveConsistency,
    BestOfN,
    Cascade,
    ChainOfThought,
    FirstVerified,
    ProgramAided,
    SelfConsistency,
    Stage,
)
from itslab.strategies.stopping import BetaStop
from itslab.study import tables
from itslab.tasks import Task
from itslab.testing import ScriptedModel
from itslab.verifiers import Agreement

ONE = ChainOfThought()


def model(name: str, *replies: str) -> ScriptedModel:
    return ScriptedModel(
        replies=[f"\\boxed{{{reply}}}" for reply in replies], name=name, digest=name
    )


def even(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
    return [float("24680".find(node.text[-2]) >= 0) for node in nodes]


def route(result: Result) -> list[tuple[int, str, bool]]:
    events = [event.data for event in result.tree.events if event.kind == "stage"]
    return [(data["stage"], data["model"], data["accepted"]) for data in events]


def why(result: Result) -> list[str]:
    return [event.data["why"] for event in result.tree.events if event.kind == "stage"]


class Down(ScriptedModel):
    """A model whose server does not answer."""

    def draw(self, request: Request, index: int) -> Completion:
        raise BackendError("nobody is there")


def test_an_answer_that_is_accepted_ends_it_and_the_larger_model_is_not_asked() -> None:
    small, large = model("small", "2"), model("large", "4")
    cascade = Cascade((Stage(ONE, accept=even), Stage(ONE, large)))
    result = solve("?", cascade, small)
    assert result.answer == "2"
    assert route(result) == [(0, "small", True)]
    assert set(result.costs) == {"small", "even"} or set(result.costs) == {"small"}
    assert large.asked == []


def test_the_next_stage_answers_where_the_first_is_refused_and_each_model_is_paid() -> None:
    small, large = model("small", "1", "3", "5"), model("large", "7")
    stages = (Stage(ONE, accept=even), Stage(SelfConsistency(2), accept=even), Stage(ONE, large))
    result = solve("?", Cascade(stages), small)
    assert result.answer == "7"
    assert route(result) == [(0, "small", False), (1, "small", False), (2, "large", True)]
    assert result.costs["small"].calls == 3
    assert result.costs["large"].calls == 1
    assert result.cost.calls == 4


def test_a_table_tells_which_stage_answered_what_and_for_how_much() -> None:
    task = Task("three", tuple(Problem(str(i), f"Say {i}.", "2") for i in range(3)))
    stages = (Stage(ONE, accept=even), Stage(ONE, model("large", "2", "3")))
    replies = model("small", "2", "1", "3")
    results = [solve(problem.prompt, Cascade(stages), replies) for problem in task]
    table = tables.stages(task, results)
    assert table.index.tolist() == [(1, "small"), (2, "large")]
    assert table.asked.tolist() == [3, 2]
    assert table.answered.tolist() == [1, 2]
    assert [cell.split()[0] for cell in table.right] == ["100%", "50%"]
    assert table.tokens.tolist() == [1, 2]


def test_two_models_asked_the_same_draw_their_own_first_samples() -> None:
    def say(request: Request, index: int) -> str:
        return f"\\boxed{{{2 * index + 1}}}"

    small, large = (
        ScriptedModel(replies=say, name=name, digest=name) for name in ("small", "large")
    )
    cascade = Cascade((Stage(ONE, accept=even), Stage(ONE, accept=even), Stage(ONE, large)))
    assert solve("?", cascade, small).answer == "1"
    assert [request.first for request in small.asked] == [0, 1]
    assert [request.first for request in large.asked] == [0]


def test_a_verifier_that_the_stage_has_asked_is_not_asked_again() -> None:
    asked: list[int] = []

    def count(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        asked.append(len(nodes))
        return [1.0] * len(nodes)

    stages = (Stage(BestOfN(count, n=2), accept=count), Stage(ONE))
    assert solve("?", Cascade(stages), model("small", "1", "3")).answer == "1"
    assert asked == [2]


def test_agreement_accepts_what_most_samples_say() -> None:
    def ask(answers: str, threshold: float) -> Result:
        stages = (
            Stage(SelfConsistency(4), None, Agreement(), threshold),
            Stage(ONE, model("l", "9")),
        )
        return solve("?", Cascade(stages), model("s", *answers))

    assert ask("1112", 0.75).answer == "1"
    assert ask("1123", 0.75).answer == "9"
    assert "0.5 is not ≥ 0.75" in why(ask("1123", 0.75))[0]


@pytest.mark.parametrize("fallback", ["chain", "text", "none"])
def test_agreement_is_that_of_the_vote_whatever_became_of_programs_that_failed(
    fallback: str,
) -> None:
    """Of four programs one fails, and a chain that stands for it answers another conversation."""

    def say(request: Request, index: int) -> str:
        if "step by step" in request.messages[-1].content:
            return "\\boxed{7}"
        return f"```python\n{index}\n```"

    def run(code: str) -> Output:
        number = int(code)
        return Output("", "fails") if number == 3 else Output(str(number // 2))  # 0, 0, 1

    def agreed(threshold: float) -> Result:
        aided = ProgramAided(run, n=4, fallback=fallback)  # type: ignore[arg-type]
        stages = (Stage(aided, None, Agreement(), threshold), Stage(ONE, model("l", "9")))
        return solve("?", Cascade(stages), ScriptedModel(replies=say))

    assert agreed(0.5).answer == "0"
    assert "2 of 4 samples agree" in str(agreed(0.5).node.verdict)  # type: ignore[union-attr]
    assert agreed(0.75).answer == "9"


def test_agreement_counts_programs_once_however_often_they_are_repaired() -> None:
    def say(request: Request, index: int) -> str:
        return "```python\n5\n```" if len(request.messages) > 1 else f"```python\n{index}\n```"

    def run(code: str) -> Output:
        return Output("", "fails") if code.strip() in "01" else Output(code.strip())

    aided = ProgramAided(run, n=4, repairs=1, fallback="none")
    stages = (Stage(aided, None, Agreement(), 0.5), Stage(ONE, model("l", "9")))
    result = solve("?", Cascade(stages), ScriptedModel(replies=say))  # 5, 5, 2, 3
    assert result.answer == "5"
    assert "2 of 4 samples agree" in str(result.node.verdict)  # type: ignore[union-attr]


def test_agreement_counts_samples_without_an_answer_as_disagreeing() -> None:
    talk = ScriptedModel(replies=["\\boxed{1}", "Well.", "Hm.", "\\boxed{1}"])
    stages = (Stage(SelfConsistency(4), None, Agreement(), 0.6), Stage(ONE, model("l", "9")))
    assert solve("?", Cascade(stages), talk).answer == "9"


@pytest.mark.parametrize("place", [0, 1])
def test_a_stage_whose_server_is_down_is_passed_over_and_the_events_say_so(place: int) -> None:
    stages = [Stage(ONE, model("up", "1"), even if place else None)]
    stages.insert(place, Stage(ONE, Down(name="down"), even))
    stages.append(Stage(ONE, model("last", "3")))
    result = solve("?", Cascade(tuple(stages)), model("own"))
    assert result.answer == ("3" if place else "1")
    assert "nobody is there" in why(result)[place]


def test_where_the_last_server_is_down_the_last_answer_stands_and_says_so() -> None:
    stages = (Stage(ONE, accept=even), Stage(ONE, Down(name="down")))
    result = solve("?", Cascade(stages), model("small", "1"))
    assert result.answer == "1"
    assert "nobody is there" in why(result)[1]
    with pytest.raises(BackendError, match="nobody is there"):
        solve("?", Cascade((Stage(ONE, Down()), Stage(ONE, Down()))), Down())


def test_a_replay_that_lacks_a_sample_is_an_error_and_no_reason_to_go_on(tmp_path) -> None:  # type: ignore[no-untyped-def]
    bank = Bank(tmp_path / "bank.sqlite")
    recorder = bank.record(model("small", "1"))
    solve("other", ONE, recorder)
    stages = (Stage(ONE, accept=even), Stage(ONE, model("large", "2")))
    with pytest.raises(MissingSample):
        solve("?", Cascade(stages), bank.replay("small"))


def test_a_context_that_is_too_small_is_passed_over() -> None:
    class Narrow(ScriptedModel):
        def draw(self, request: Request, index: int) -> Completion:
            raise PromptTooLong("400 tokens, 256 fit")

    result = solve("?", Cascade((Stage(ONE, Narrow()), Stage(ONE))), model("own", "1"))
    assert result.answer == "1"


def test_a_budget_holds_for_all_stages_and_leaves_the_best_so_far() -> None:
    stages = (Stage(ONE, accept=even), Stage(SelfConsistency(4), model("large", *"3577")))
    result = solve("?", Cascade(stages), model("small", "1"), budget=Budget(samples=3))
    assert (result.stopped_by, result.cost.calls) == ("samples", 3)
    assert result.answer == "3"


def test_a_stop_within_a_stage_ends_the_run() -> None:
    reached = threading.Event()

    class Waits(ScriptedModel):
        def generate(self, requests, on_text=None, on_sample=None, cancel=None):  # type: ignore[no-untyped-def]
            reached.set()
            assert cancel is not None
            assert cancel.wait(10)
            done = Completion("", finish="cancelled")
            for i, request in enumerate(requests):
                for j in range(request.n):
                    on_sample(i, j, done)
            return [[done] * request.n for request in requests]

    from itslab.handle import start

    handle = start("?", Cascade((Stage(ONE, accept=even), Stage(ONE, Waits()))), model("s", "1"))
    assert reached.wait(10)
    handle.stop()
    assert (handle.result(10).answer, handle.result().stopped_by) == ("1", "stop")


def test_a_cascade_is_known_by_its_stages_and_their_models() -> None:
    def cascade(name: str, threshold: float = 1.0) -> str:
        return spec(Cascade((Stage(ONE, model(name), even, threshold), Stage(ONE)))).text

    assert cascade("a") == cascade("a")
    assert len({cascade("a"), cascade("b"), cascade("a", 0.5)}) == 3
    assert "model=a" in cascade("a")


class Sees:
    """Accepts even answers, to a prompt that it sees."""

    def blind(self, run: object, prompt: Prompt) -> str:
        return "" if prompt == "seen" else "it is dark"

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        return even(prompt, nodes)


def test_a_stage_that_could_only_be_refused_draws_nothing() -> None:
    for prompt, small_calls, answered in (("seen", 1, "2"), ("unseen", 0, "3")):
        small, large = model("small", "2"), model("large", "3")
        result = solve(prompt, Cascade((Stage(ONE, accept=Sees()), Stage(ONE, large))), small)
        assert (len(small.asked), result.answer) == (small_calls, answered)
    assert why(result) == ["the last stage; stage 1 was passed over: it is dark"]


def test_where_nothing_can_be_judged_and_no_other_model_is_left_the_answer_stands() -> None:
    small, large = model("small", "1"), model("large", "3", "5", "7")
    first, second = Stage(ONE, accept=Sees()), Stage(ONE, large, Sees())
    last = Stage(SelfConsistency(2), large)
    result = solve("unseen", Cascade((first, second, last)), small)
    assert (result.answer, len(small.asked), len(large.asked)) == ("3", 0, 1)
    assert route(result) == [(1, "large", True)]
    assert why(result)[0].startswith("no other model is left, and it is dark; stage 1 was passed")
    seen = solve("seen", Cascade((first, second, last)), small)
    assert (len(small.asked), len(large.asked), seen.answer) == (1, 3, "5")


def test_a_verifier_that_has_nothing_to_say_of_a_prompt_is_not_blind() -> None:
    class Silent(Sees):
        def blind(self, run: object, prompt: Prompt) -> None:  # type: ignore[override]
            return None

    small = model("small", "2")
    stages = (Stage(ONE, accept=Silent()), Stage(ONE, model("large", "3")))
    assert solve("unseen", Cascade(stages), small).answer == "2"


def test_who_was_passed_over_answers_where_nobody_else_can() -> None:
    down = Stage(ONE, Down(name="down"))
    passed = Stage(ONE, accept=Sees())
    result = solve("unseen", Cascade((passed, down)), model("small", "1"))
    assert result.answer == "1"
    assert route(result) == [(1, "down", False), (0, "small", True)]
    first = Stage(ONE, Down(name="first"), Sees())
    result = solve("unseen", Cascade((first, passed, down)), model("small", "1"))
    assert route(result) == [(2, "down", False), (0, "first", False), (1, "small", True)]
    with pytest.raises(BackendError, match="nobody is there"):
        solve("unseen", Cascade((first, first, down)), model("small"))


def test_tests_say_beforehand_where_there_are_none() -> None:
    task = tasks.load("humaneval", n=None, seed=None)
    without = [problem for problem in task if not problem.meta["tests"]]
    assert len(without) == 31
    for problem, drawn_by_small in ((without[0], 0), (task.problems[0], 1)):
        small, large = model("small", "2"), model("large", "3")
        cascade = Cascade((Stage(ONE, accept=task.verifier), Stage(ONE, large)))
        result = solve(problem.prompt, cascade, small, problem=problem.id)
        assert len(small.asked) == drawn_by_small
    assert "is not ≥ 1" in why(result)[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cascade(()),
        lambda: Cascade((ONE,)),  # type: ignore[arg-type]
        lambda: Stage("chain"),  # type: ignore[arg-type]
        lambda: Stage(ONE, "qwen"),  # type: ignore[arg-type]
        lambda: Stage(ONE, None, 0.5),  # type: ignore[arg-type]
        lambda: Stage(ONE, threshold=float("nan")),
        lambda: Stage(ONE, sampling=Sampling()),  # type: ignore[call-arg]
    ],
)
def test_options_are_checked(make: object) -> None:
    with pytest.raises((OptionError, TypeError)):
        make()  # type: ignore[operator]


def test_lists_will_do_and_a_threshold_needs_a_verifier() -> None:
    stage = Stage(ONE)
    assert Cascade([stage]) == Cascade((stage,))  # type: ignore[arg-type]
    assert hash(Cascade([stage])) == hash(Cascade((stage,)))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"if its threshold is 0\.75"):
        Stage(ONE, threshold=0.75)


def test_a_result_tells_its_stages() -> None:
    result = solve("?", Cascade((Stage(ONE, accept=even), Stage(ONE))), model("small", "1", "3"))
    assert [(each["stage"], each["accepted"]) for each in result.stages] == [(0, False), (1, True)]


def silent(*replies: str) -> ScriptedModel:
    return ScriptedModel(replies=[*replies] or ["I do not know."], name="silent", digest="silent")


def accepts(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
    return [1.0] * len(nodes)


def refuses(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
    return [0.0] * len(nodes)


def test_a_turn_without_an_answer_is_not_accepted() -> None:
    for accept in (accepts, None):
        cascade = Cascade((Stage(ONE, accept=accept), Stage(ONE, model("large", "4"))))
        result = solve("?", cascade, silent())
        assert result.answer == "4"
        assert route(result) == [(0, "silent", False), (1, "large", True)]


@pytest.mark.parametrize("last", [silent(), Down(name="down", digest="down")])
def test_where_the_last_has_no_answer_the_one_before_stands_and_is_said_to(
    last: ScriptedModel,
) -> None:
    small = model("small", "2")
    result = solve("?", Cascade((Stage(ONE, accept=refuses), Stage(ONE, last))), small)
    assert result.answer == "2"
    assert route(result)[-2:] == [(1, last.name, False), (0, "small", True)]
    task = Task("one", (Problem("1", "?", "2"),))
    table = tables.stages(task, [result])
    assert table.asked.tolist() == [1, 1]
    assert table.answered.tolist() == [1, 0]


def test_nobody_answers() -> None:
    stages = (Stage(ONE, accept=accepts), Stage(ONE, silent()))
    result = solve("?", Cascade(stages), silent())
    assert (result.answer, result.node) == (None, None)
    assert solve("?", Cascade((Stage(lambda run, prompt: None),)), silent()).answer is None


def test_a_judge_that_cannot_be_asked_accepts_nothing() -> None:
    def judge(run: Run, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        raise BackendError("nobody is there")

    cascade = Cascade((Stage(ONE, accept=judge), Stage(ONE, model("large", "4"))))
    result = solve("?", cascade, model("small", "2"))
    assert result.answer == "4"
    assert "cannot be asked: BackendError: nobody is there" in why(result)[0]


def test_a_verifier_that_fails_at_saying_whether_it_is_blind_is_asked_for_a_score() -> None:
    class Broken:
        def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
            return [1.0]

        def blind(self, run: Run, prompt: Prompt) -> str:
            raise RuntimeError("broken")

    cascade = Cascade((Stage(ONE, accept=Broken()), Stage(ONE, model("large", "4"))))
    assert solve("?", cascade, model("small", "2")).answer == "2"


def test_a_vote_that_the_budget_cut_short_is_not_accepted() -> None:
    stages = (
        Stage(SelfConsistency(4), accept=Agreement(), threshold=0.9),
        Stage(ONE, model("large", "4")),
    )
    result = solve("?", Cascade(stages), model("small", *"2222"), budget=Budget(samples=2))
    assert (result.answer, result.stopped_by) == ("2", "samples")
    assert route(result) == [(0, "small", False)]
    assert why(result)[0] == "the budget ended (samples)"


@pytest.mark.parametrize(("most", "answer", "place"), [(3, "5", 1), (5, "7", 2)])
def test_a_stage_in_which_the_budget_ends_is_told_and_credited(
    most: int, answer: str, place: int
) -> None:
    waves = AdaptiveConsistency(BetaStop(0.99), n=8, wave=2)
    stages = (Stage(SelfConsistency(3), accept=refuses), Stage(waves), Stage(ONE))
    small = model("small", *"555777777")
    result = solve("?", Cascade(stages), small, budget=Budget(samples=most))
    assert (result.answer, result.stopped_by) == (answer, "samples")
    assert [stage for stage, *_ in route(result)] == list(range(place))
    table = tables.stages(Task("one", (Problem("1", "?", "7"),)), [result])
    assert table.asked.tolist() == [1] * place
    assert table.index[table.answered == 1].tolist() == [(place, "small")]


def test_a_vote_is_not_lost_to_samples_without_an_answer() -> None:
    for second in (AdaptiveConsistency(n=8, wave=1), FirstVerified(refuses, n=8)):
        stages = (Stage(SelfConsistency(3), accept=refuses), Stage(second), Stage(ONE))
        replies = ["\\boxed{5}", "\\boxed{5}", "\\boxed{7}", "?", "?", "?"]
        small = ScriptedModel(replies=replies)
        result = solve("?", Cascade(stages), small, budget=Budget(samples=5))
        assert result.answer == "5"


def test_an_answer_whose_verifier_is_down_is_better_than_none() -> None:
    def judge(run: Run, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        raise BackendError("nobody is there")

    stages = (Stage(ONE, Down(name="down", digest="down")), Stage(FirstVerified(judge, n=2)))
    result = solve("?", Cascade(stages), model("small", "2", "2"))
    assert result.answer == "2"
    assert route(result)[-1] == (1, "small", True)


def test_stages_within_a_stage_are_not_counted_with_it() -> None:
    inner = Cascade((Stage(ONE, accept=refuses), Stage(ONE, model("large", "4"))))
    result = solve("?", Cascade((Stage(inner),)), model("small", "2"))
    table = tables.stages(Task("one", (Problem("1", "?", "4"),)), [result])
    assert table.index.tolist() == [(1, "small")]


def test_two_models_of_one_name_are_two() -> None:
    """Servers may both call theirs `default`: nothing can be judged, so the other one is asked."""
    first, second = replace(model("m", "1"), digest="a"), replace(model("m", "2"), digest="b")
    result = solve("unseen", Cascade((Stage(ONE, accept=Sees()), Stage(ONE, second))), first)
    assert result.answer == "2"


def test_stages_that_measure_differently_draw_other_samples() -> None:
    """Whether signals are measured does not change which sample is drawn."""
    small = ScriptedModel(replies=lambda request, index: f"\\boxed{{{index}}}")
    plain, measured = (SelfConsistency(2, sampling=Sampling(signals=s)) for s in (False, True))
    solve("?", Cascade((Stage(plain, accept=even, threshold=2), Stage(measured))), small)
    assert [(request.first, request.n) for request in small.asked] == [(0, 2), (2, 2)]


def test_stages_of_a_fork_are_its_own() -> None:
    small = ScriptedModel(replies=lambda request, index: "\\boxed{1}", name="small")
    large = ScriptedModel(replies=lambda request, index: "\\boxed{2}", name="large", digest="l")
    handle = start("?", Cascade((Stage(ONE), Stage(ONE, large))), small)
    result = handle.result(10)
    both = Cascade((Stage(ONE, accept=even), Stage(ONE, large)))
    fork = handle.fork(result.tree.nodes[0], both).result(10)
    assert [stage["stage"] for stage in result.stages] == [0]
    assert [stage["stage"] for stage in fork.stages] == [0, 1]
    task = Task("one", (Problem("1", "?", "1"),))
    assert list(tables.stages(task, [result]).answered) == [1]
    assert list(tables.stages(task, [fork]).answered) == [0, 1]
