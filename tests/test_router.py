"""Routers: who answers what, what a look costs, and whom a policy refuses."""

import math
from collections.abc import Sequence

import pytest

from itslab import Bank
from itslab.core import (
    BackendError,
    Budget,
    Completion,
    Node,
    OptionError,
    Output,
    Prompt,
    Request,
    Result,
    Sampling,
)
from itslab.handle import solve, start
from itslab.run import Run, Strategy, judged
from itslab.spec import spec
from itslab.strategies import (
    AdaptiveConsistency,
    BestOfN,
    Cascade,
    ChainOfThought,
    FirstVerified,
    ProgramAided,
    Route,
    Router,
    SelfConsistency,
    Stage,
)
from itslab.strategies.chains import pose
from itslab.strategies.stopping import DecidedStop
from itslab.testing import ScriptedModel
from itslab.verifiers import Agreement, Combined, Confidence, Question

ONE = ChainOfThought()


def model(name: str, *replies: str) -> ScriptedModel:
    return ScriptedModel(
        replies=[f"\\boxed{{{reply}}}" for reply in replies], name=name, digest=name
    )


def stage(result: Result) -> tuple[int, str, str]:
    [event] = [event for event in result.tree.events if event.kind == "stage"]
    return event.data["stage"], event.data["model"], event.data["why"]


def test_samples_that_agree_leave_it_at_the_look_and_others_go_on_from_it() -> None:
    routes = (Route(SelfConsistency(6)), Route())
    router = Router(Agreement(), (0.75,), routes, SelfConsistency(4))
    agreed = model("small", *"2224")
    easy = solve("?", router, agreed)
    assert (easy.answer, easy.cost.calls) == ("2", 4)
    assert stage(easy) == (1, "small", "Agreement(measure='share'): 0.75 ≤ 0.75")

    split = model("small", *"224455")
    hard = solve("?", router, split)
    assert hard.cost.calls == 6, "four were drawn before"
    assert [request.n for request in split.asked] == [4, 2]
    assert [request.first for request in split.asked] == [0, 4]
    assert stage(hard)[:2] == (0, "small")
    assert sum(node.role == "user" for node in hard.tree) == 1, "the question was asked once"


def test_the_answer_counts_the_look() -> None:
    router = Router(Agreement(), (0.9,), (Route(SelfConsistency(5)), Route()), SelfConsistency(3))
    result = solve("?", router, model("small", *"12122"))
    assert result.answer == "2", "of all five; the look would say 1"


def test_a_route_of_waves_goes_on_from_the_look_as_well() -> None:
    waves = AdaptiveConsistency(DecidedStop(), n=8, wave=2)
    router = Router(Agreement(), (0.9,), (Route(waves), Route()), SelfConsistency(4))
    small = model("small", *"12112222")
    assert solve("?", router, small).cost.calls == 8
    assert [request.n for request in small.asked] == [4, 2, 2]


def test_another_model_or_another_sampling_draws_its_own() -> None:
    large = model("large", *"77")
    router = Router(
        Agreement(), (2.0,), (Route(SelfConsistency(2), large), Route()), SelfConsistency(2)
    )
    result = solve("?", router, model("small", *"24"))
    assert result.answer == "7"
    assert (result.costs["small"].calls, result.costs["large"].calls) == (2, 2)
    hotter = Route(SelfConsistency(2, sampling=Sampling(temperature=1.0)))
    router = Router(Agreement(), (2.0,), (hotter, Route()), SelfConsistency(2))
    assert solve("?", router, model("small", *"2477")).answer == "7"


def test_samples_are_used_again_once_only() -> None:
    def twice(run: Run, prompt: Prompt) -> Node:
        first = run.extend(pose(run, prompt, ""), n=2)
        with run.reusing(first):
            again = run.extend(pose(run, prompt, ""), n=3)
            more = run.extend(pose(run, prompt, ""), n=2)
        assert again[:2] == first
        assert not set(again) & set(more)
        return run.extend(pose(run, prompt, ""))[0]

    assert solve("?", twice, model("small", *"123456")).cost.calls == 6


def test_a_question_routes_without_any_look() -> None:
    routes = (Route(SelfConsistency(3)), Route(ONE))
    router = Router(Question("words"), (-math.log1p(3),), routes)
    short, long = model("m", "4"), model("m", *"444")
    assert solve("2 + 2?", router, short).cost.calls == 1
    assert solve("How much is two and two?", router, long).cost.calls == 3


def test_what_cannot_be_estimated_is_the_hardest() -> None:
    router = Router(Confidence("entropy"), (-1.0,), (Route(SelfConsistency(3)), Route()), ONE)
    result = solve("?", router, model("small", *"1222"))
    assert result.answer == "2"
    assert stage(result)[2] == "Confidence(measure='entropy') tells nothing: as the hardest"


def test_a_look_without_an_answer_is_followed_and_an_answer_stands_where_a_route_has_none() -> None:
    mute = ScriptedModel(replies=["?", "?", r"\boxed{3}"])
    two = Router(Agreement(), (0.5,), (Route(SelfConsistency(3)), Route()), SelfConsistency(2))
    assert solve("?", two, mute).answer == "3"
    other = ScriptedModel(replies=["?", "?"], name="other", digest="other")
    routes = (Route(SelfConsistency(2), other), Route())
    kept = Router(Agreement(), (1.0,), routes, SelfConsistency(2))
    assert solve("?", kept, model("small", *"12")).answer == "1"


def test_another_model_than_it_was_fitted_on_is_refused_by_digest() -> None:
    router = Router(Agreement(), (), (Route(ONE),), digest="abc")
    with pytest.raises(OptionError, match="fitted on the model abc, and small is small"):
        solve("?", router, model("small", "1"))
    fits = Router(Agreement(), (), (Route(ONE),), digest="small")
    assert solve("?", fits, model("small", "1")).answer == "1"


def test_a_budget_of_the_look_alone_answers_by_the_look() -> None:
    router = Router(Agreement(), (0.9,), (Route(SelfConsistency(4)), Route()), SelfConsistency(2))
    result = solve("?", router, model("small", *"1234"), budget=Budget(samples=2))
    assert (result.answer, result.stopped_by) == ("1", "samples")


def test_it_is_paused_after_the_look_and_replayed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    router = Router(Agreement(), (0.9,), (Route(SelfConsistency(4)), Route()), SelfConsistency(2))
    handle = start("?", router, model("small", *"1222"), paused=True)
    handle.step()
    while not handle.paused:
        pass
    assert handle.run.cost.calls == 2
    handle.resume()
    assert handle.result().answer == "2"
    bank = Bank(tmp_path / "bank")
    drawn = solve("?", router, bank.record(model("small", *"1222")))
    again = solve("?", router, bank.replay("small"))
    assert (again.answer, again.cost.calls) == (drawn.answer, 4)


def test_every_part_is_in_its_spec_and_models_by_digest() -> None:
    def named(edge: float = 0.5, name: str = "m", digest: str = "") -> str:
        routes = (Route(ONE, model(name)), Route(SelfConsistency(2)))
        return spec(Router(Agreement(), (edge,), routes, ONE, digest)).text

    assert named() == named()
    assert len({named(), named(0.6), named(name="n"), named(digest="m")}) == 4
    assert repr(Route(ONE, model("m"))).endswith("model=m)")


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Router(Agreement(), (0.5, 0.5), (Route(ONE),) * 3), "edges"),
        (lambda: Router(Agreement(), (math.nan,), (Route(ONE),) * 2), "edges"),
        (lambda: Router(Agreement(), (0.5,), (Route(ONE),)), "2, one more than edges"),
        (lambda: Router(Agreement(), (), (Route(),)), "all with a strategy"),
        (lambda: Router("easy", (), (Route(ONE),)), "estimate"),
        (lambda: Router(Agreement(), (), (ONE,)), "routes"),
        (lambda: Route("best of 4"), "strategy"),
        (lambda: Route(ONE, "qwen"), "model"),
    ],
)
def test_what_is_no_router_is_refused(made, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError, match=says):
        made()


# -- what it goes by -------------------------------------------------------------------------------


def score(verifier: object, *replies: str) -> float:
    """A verifier's score of the best of these samples."""
    result = solve("Two and 2,000?", BestOfN(verifier, n=len(replies)), model("m", *replies))  # type: ignore[arg-type]
    assert result.node is not None
    assert result.node.verdict is not None
    return result.node.verdict.score


def test_entropy_of_answers() -> None:
    assert score(Agreement("entropy"), *"2222") == 0
    assert score(Agreement("entropy"), *"2233") == pytest.approx(-math.log(2))
    assert score(Agreement("entropy"), *"1234") == pytest.approx(-math.log(4))
    mute = ScriptedModel(replies=["?", "?", r"\boxed{3}", r"\boxed{3}"])
    best = solve("?", BestOfN(Agreement("entropy"), n=4), mute).node
    assert best is not None
    assert best.verdict is not None
    assert best.verdict.score == pytest.approx(-1.5 * math.log(2)), "those that say nothing differ"


def test_a_question_is_counted() -> None:
    def asks(text: str, measure: str) -> float:
        verifier = Question(measure)  # type: ignore[arg-type]
        [verdict] = judged(verifier, text, [Node(0, None, "user", text)])
        return verdict.score

    assert asks("Two and 2,000.5?", "words") == -math.log1p(3)
    assert asks("Two and 2,000.5, or 7?", "numbers") == -math.log1p(2)
    assert asks("Two", "characters") == -math.log1p(3)


def test_combined_adds_up_what_verifiers_say() -> None:
    def three(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        return [3.0] * len(nodes)

    def nothing(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        return [math.nan] * len(nodes)

    both = Combined((three, nothing), (0.5, 2.0), -1.0, (0.0, 0.25))
    assert score(both, "1") == pytest.approx(1 / (1 + math.exp(-(1.5 + 0.5 - 1))))
    for weights, unknown in [((1.0,), (0.0, 0.0)), ((1.0, math.inf), ()), ((1.0, 1.0), (0.0,))]:
        with pytest.raises(OptionError):
            Combined((three, nothing), weights, 0.0, unknown)
    with pytest.raises(OptionError, match="at least one"):
        Combined((), ())


def test_combined_is_fitted_to_how_often_samples_are_right() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    told = rng.normal(size=(300, 2))
    rates = 1 / (1 + np.exp(-(2 * told[:, 0] - 0.5)))
    right = rng.random((300, 8)) < rates[:, None]
    told[::7, 1] = np.nan
    fitted = Combined.fit([Agreement(), Confidence()], told, right)
    assert fitted.slopes[0] == pytest.approx(2, abs=0.3)
    assert fitted.slopes[1] == pytest.approx(0, abs=0.2)
    assert fitted.intercept == pytest.approx(-0.5, abs=0.3)
    assert fitted.unknown[1] == pytest.approx(np.nanmean(told[:, 1]), abs=0.01)
    with pytest.raises(OptionError, match=r"\(300, 1\)"):
        Combined.fit([Agreement()], told, right)
    with pytest.raises(OptionError, match="all nan"):
        Combined.fit([Agreement(), Confidence()], told * [1, np.nan], right)
    with pytest.raises(OptionError, match="finite, or nan"):
        Combined.fit([Agreement(), Confidence()], told * [1, np.inf], right)
    with pytest.raises(OptionError, match="problems × samples"):
        Combined.fit([Agreement(), Confidence()], told, right[:, 0])


def test_requests_of_a_router_are_those_of_its_parts() -> None:
    """So a bank in which both were drawn replays it."""
    seen: list[Request] = []

    def say(request: Request, index: int) -> str:
        seen.append(request)
        return f"\\boxed{{{index}}}"

    router = Router(Agreement(), (0.9,), (Route(SelfConsistency(4)), Route()), SelfConsistency(2))
    solve("?", router, ScriptedModel(replies=say))
    routed = [(r.messages, r.sampling) for r in seen]
    seen.clear()
    solve("?", SelfConsistency(4), ScriptedModel(replies=say))
    assert routed == [(r.messages, r.sampling) for r in seen]


def test_a_question_is_counted_without_what_a_strategy_says_to_it() -> None:
    router = Router(Question(), (-math.log1p(2.5),), (Route(ONE), Route()), ONE)
    assert stage(solve("Two words", router, model("small", "1")))[0] == 1
    assert stage(solve("Now three words", router, model("small", "1", "2")))[0] == 0


def test_a_look_that_draws_nothing_is_no_error() -> None:
    router = Router(Agreement(), (0.5,), (Route(ONE), Route()), lambda run, prompt: None)
    assert solve("?", router, model("small", "4")).answer == "4"


def test_a_router_in_a_cascade_goes_on_from_its_own_look_only() -> None:
    router = Router(Agreement(), (2.0,), (Route(SelfConsistency(2)), Route()), SelfConsistency(1))
    refused = Stage(SelfConsistency(2), None, lambda prompt, nodes: [0.0])
    small = model("small", *"11234")
    result = solve("?", Cascade((refused, Stage(router))), small)
    assert [request.n for request in small.asked] == [2, 1, 1]
    assert result.answer == "2"


def test_programs_of_a_look_are_not_run_into_the_tree_twice() -> None:
    replies = ["```python\nprint(1)\n```"] * 3
    router = Router(
        Agreement(), (2.0,), (Route(ProgramAided(Output, n=3)), Route()), ProgramAided(Output)
    )
    result = solve("?", router, ScriptedModel(replies=replies))
    assert len(result.tree.leaves()) == 3
    assert result.cost.calls == 3


def never(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
    return [0.0] * len(nodes)


def test_where_a_route_has_no_answer_that_of_the_look_stands() -> None:
    routes = (Route(FirstVerified(never, n=2)), Route())
    router = Router(never, (0.5,), routes, ONE)
    result = solve("?", router, ScriptedModel(replies=["\\boxed{5}", "", ""]))
    assert result.answer == "5"
    assert result.stages[-1]["why"] == "the look stands: the route gave no answer"


def test_a_route_or_an_estimate_that_is_down_leaves_the_look() -> None:
    class Down(ScriptedModel):
        def draw(self, request: Request, index: int) -> Completion:
            raise BackendError("nobody is there")

    def judge(run: Run, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        raise BackendError("nobody is there")

    down = Route(ONE, Down(name="down", digest="down"))
    result = solve("?", Router(never, (0.5,), (down, Route()), ONE), model("small", "5"))
    assert result.answer == "5"
    assert "nobody is there" in result.stages[-1]["why"]
    hardest = solve(
        "?", Router(judge, (0.5,), (Route(ONE), Route()), ONE), model("small", "5", "6")
    )
    assert (hardest.answer, hardest.cost.calls) == ("5", 1), "the same sample, used again"
    assert "cannot be asked" in hardest.stages[0]["why"]
    with pytest.raises(BackendError):
        solve("?", Router(judge, (0.5,), (down, down)), model("small", "5"))


def test_a_fork_counts_its_own_samples() -> None:
    first = start("?", SelfConsistency(4), model("small", *"123455"))
    first.result(10)
    stages = (Stage(AdaptiveConsistency(n=2), accept=Agreement(), threshold=0.9), Stage(ONE))
    fork = first.fork(first.run.tree.nodes[0], Cascade(stages))
    assert fork.result(10).stages[0]["accepted"]


def test_a_vote_of_a_stage_is_that_of_its_own_samples() -> None:
    stages = (
        Stage(SelfConsistency(2), accept=Agreement()),
        Stage(SelfConsistency(2), accept=Agreement()),
        Stage(ONE),
    )
    result = solve("?", Cascade(stages), model("small", *"12559"))
    assert [each["accepted"] for each in result.stages] == [False, True]


def test_stages_of_a_look_are_not_routes() -> None:
    look = Cascade((Stage(ONE, accept=never), Stage(ONE)))
    result = solve("?", Router(never, (0.5,), (Route(), Route(ONE)), look), model("small", *"12"))
    assert [each["level"] for each in result.stages] == [1, 1, 0]


def down(run: Run, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
    raise BackendError("the judge is down")


@pytest.mark.parametrize("look", [ChainOfThought(), SelfConsistency(1)])
def test_what_a_route_drew_before_its_judge_was_down_is_not_lost(look: Strategy) -> None:
    """The look says nothing; the route has drawn 3 when nobody can judge it."""
    small = ScriptedModel(replies=["I do not know.", "\\boxed{3}"], name="small")
    route = Route(FirstVerified(down, n=1, sampling=Sampling(temperature=0.5)))
    result = solve("?", Router(Question(), (), (route,), look), small)
    assert result.answer == "3"
    assert result.outages == ("BackendError: the judge is down",)


def test_a_router_in_a_route_goes_on_from_the_same_look() -> None:
    def after_four(route: Strategy) -> Router:
        return Router(Agreement(), (0.9,), (Route(route), Route()), SelfConsistency(4))

    small = model("small", *"12345678")
    result = solve("?", after_four(after_four(SelfConsistency(8))), small)
    assert result.cost.calls == 8
    assert [(request.first, request.n) for request in small.asked] == [(0, 4), (4, 4)]
