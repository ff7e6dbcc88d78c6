"""Strategies: one contract for all of them, and a worked example by hand for each."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import MISSING, FrozenInstanceError, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from itslab import answers
from itslab.backends.bank import Bank
from itslab.backends.llama import Llama
from itslab.core import (
    Budget,
    Completion,
    Cost,
    Finish,
    Node,
    OptionError,
    Output,
    Prompt,
    PromptTooLong,
    Request,
    Sampling,
    Verdict,
)
from itslab.handle import solve, start
from itslab.run import Run, Strategy
from itslab.strategies import (
    ABMCTS,
    DVTS,
    MCTS,
    AdaptiveConsistency,
    BeamSearch,
    BestOfN,
    Cascade,
    ChainOfThought,
    CheckedRefine,
    DeepConf,
    Direct,
    ExtendedThinking,
    FirstVerified,
    Knockout,
    MCTSr,
    ParticleFilter,
    ProgramAided,
    Reflexion,
    RepairWithTests,
    Route,
    Router,
    SelfConsistency,
    SelfRefine,
    Stage,
    TreeOfThoughts,
)
from itslab.testing import ScriptedModel
from itslab.verifiers import Agreement

SHORT = Sampling(temperature=1, max_tokens=16)
PROMPT = "What is 2 + 3?"


def by_length(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
    return [Verdict(float(len(node.text))) for node in nodes]


def by_share(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
    """The share of vowels, in [0, 1]."""
    said = [node.turn_text.lower() for node in nodes]
    return [Verdict(sum(map(text.count, "aeiou")) / max(len(text), 1)) for text in said]


def printed(code: str) -> Output:
    """An interpreter that costs nothing."""
    return Output(code[-3:])


STEP = replace(SHORT, stop=(" ",), include_stop=True, max_tokens=6, signals=True)
BRIEF = replace(SHORT, max_tokens=8)

EVERY: list[Strategy] = [
    Direct(sampling=SHORT),
    ChainOfThought(sampling=SHORT),
    SelfConsistency(n=5, sampling=SHORT),
    SelfConsistency(n=5, verifier=by_length, sampling=SHORT),
    BestOfN(by_length, n=5, sampling=SHORT),
    Knockout(by_length, n=5, sampling=SHORT),
    ExtendedThinking(floor=20, ceiling=30, sampling=SHORT),
    ExtendedThinking(ceiling=12, tags=("<think>", "</think>"), sampling=SHORT),
    BeamSearch(by_share, width=2, expand=3, depth=3, lookahead=1, sampling=STEP),
    DVTS(by_share, width=2, expand=3, depth=3, sampling=STEP),
    ParticleFilter(by_share, n=4, depth=3, threshold=0.9, sampling=STEP),
    TreeOfThoughts(by_share, width=2, expand=3, depth=3, sampling=STEP),
    TreeOfThoughts(by_share, order="depth", expand=3, depth=3, sampling=STEP),
    MCTS(by_share, iterations=3, width=2, expand=2, depth=3, sampling=STEP),
    MCTS(by_share, iterations=3, width=2, expand=2, rollouts=1, sampling=STEP, rollout=BRIEF),
    ABMCTS(by_share, iterations=3, width=2, depth=2, sampling=BRIEF),
    CheckedRefine(by_share, iterations=2, branches=2, sampling=BRIEF),
    RepairWithTests(by_share, iterations=2, selection="vote", sampling=BRIEF),
    SelfRefine(by_share, iterations=2, branches=2, sampling=BRIEF, criticism=BRIEF),
    Reflexion(by_share, iterations=2, sampling=BRIEF, lesson=BRIEF),
    MCTSr(by_share, iterations=3, width=2, branches=2, sampling=BRIEF, criticism=BRIEF),
    AdaptiveConsistency(n=5, wave=2, sampling=SHORT),
    FirstVerified(by_share, n=5, wave=2, sampling=SHORT),
    DeepConf(n=5, warmup=2, wave=2, window=4, consensus=1.0, sampling=SHORT),
    ProgramAided(printed, n=3, repairs=1, sampling=SHORT),
    Cascade(
        (
            Stage(ChainOfThought(sampling=SHORT), accept=by_share),
            Stage(SelfConsistency(n=3, sampling=SHORT), None, Agreement()),
            Stage(Direct(sampling=SHORT)),
        )
    ),
    Router(
        Agreement(),
        (0.5,),
        (Route(SelfConsistency(n=4, sampling=SHORT)), Route()),
        SelfConsistency(n=2, sampling=SHORT),
    ),
]
every = pytest.mark.parametrize("strategy", EVERY, ids=lambda s: type(s).__name__)


# -- the contract ----------------------------------------------------------------------------------


@every
def test_the_cost_is_that_of_all_completions(llm: Llama, strategy: Strategy) -> None:
    result = solve(PROMPT, strategy, llm)
    drawn = [node.completion.cost for node in result.tree if node.completion]
    assert astuple(result.cost) == pytest.approx(astuple(sum(drawn, Cost())))
    assert result.cost.decoded > 0


@every
def test_the_tree_is_well_formed(llm: Llama, strategy: Strategy) -> None:
    result = solve(PROMPT, strategy, llm)
    assert [node.id for node in result.tree] == list(range(len(result.tree)))
    assert all(node.parent is None or node.parent.id < node.id for node in result.tree)
    assert all(node.status != "open" for node in result.tree)
    assert result.node is None or result.node in list(result.tree)


@every
@pytest.mark.parametrize("tokens", [1, 17, 40])
def test_a_budget_is_kept_and_named(llm: Llama, strategy: Strategy, tokens: int) -> None:
    result = solve(PROMPT, strategy, llm, budget=Budget(tokens=tokens))
    assert result.cost.decoded <= tokens
    assert result.stopped_by in (None, "tokens")


@every
def test_stopping_at_once_is_an_ordinary_ending(llm: Llama, strategy: Strategy) -> None:
    started = start(PROMPT, strategy, llm)
    started.stop()
    assert started.result(timeout=10).stopped_by in (None, "stop")


@every
def test_a_replay_equals_what_was_recorded(llm: Llama, strategy: Strategy, tmp_path: Path) -> None:
    with Bank(tmp_path / "bank.sqlite") as bank:
        live = solve(PROMPT, strategy, bank.record(llm))
        replayed = solve(PROMPT, strategy, bank.replay())
    assert replayed.answer == live.answer
    assert [node.text for node in replayed.tree] == [node.text for node in live.tree]
    assert astuple(replayed.cost) == pytest.approx(astuple(live.cost))


@every
def test_a_strategy_is_frozen_and_shows_its_options(strategy: Strategy) -> None:
    with pytest.raises(FrozenInstanceError):
        strategy.sampling = SHORT  # type: ignore[attr-defined]
    assert repr(strategy).startswith(type(strategy).__name__ + "(")


@pytest.mark.parametrize("n", [0, -1])
def test_no_samples_are_refused(n: int) -> None:
    with pytest.raises(OptionError, match=f"n={n}"):
        SelfConsistency(n=n)
    with pytest.raises(OptionError, match=f"n={n}"):
        BestOfN(by_length, n=n)
    with pytest.raises(OptionError, match=f"n={n}"):
        Knockout(by_length, n=n)


def test_a_thinking_budget_out_of_range_is_refused() -> None:
    with pytest.raises(OptionError, match="ceiling=0"):
        ExtendedThinking(ceiling=0)
    with pytest.raises(OptionError, match="≥ floor=200"):
        ExtendedThinking(floor=200, ceiling=100)


# -- by hand ---------------------------------------------------------------------------------------


@dataclass
class FakeScript(ScriptedModel):
    """Samples written down in advance."""

    texts: list[str]

    def draw(self, request: Request, index: int) -> Completion:
        return Completion(self.texts[index], index=index)


def test_self_consistency_counts_canonical_answers() -> None:
    texts = [
        "It is 7.",
        "So \\boxed{1,000}",
        "No idea",
        "The answer is 1000.0",
        "7",
        "\\boxed{1000}",
    ]
    result = solve(PROMPT, SelfConsistency(n=6), FakeScript(texts))
    assert result.answer is not None
    assert answers.equal(result.answer, "1000")  # three votes for 1000, two for 7
    assert result.node is not None
    assert result.node.text == texts[1]  # the first sample that says so


def test_self_consistency_settles_a_tie_for_the_answer_seen_first() -> None:
    assert solve(PROMPT, SelfConsistency(n=4), FakeScript(["8", "9", "9", "8"])).answer == "8"


def test_self_consistency_without_any_answer_has_none() -> None:
    result = solve(PROMPT, SelfConsistency(n=2), FakeScript(["?", "!"]))
    assert (result.answer, result.node) == (None, None)


def test_votes_weigh_what_a_verifier_says_of_their_chains() -> None:
    def scores(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(s) for s in (0.9, 0.3, 0.4, math.nan)]

    script = FakeScript(["1", "2", "2", "2"])
    assert solve(PROMPT, SelfConsistency(n=4, verifier=scores), script).answer == "1"  # 0.9 : 0.7
    # ranks are 3, 1 and 2: a tie, which the answer seen first wins
    assert solve(PROMPT, SelfConsistency(4, scores, "rank"), script).answer == "1"
    assert solve(PROMPT, SelfConsistency(n=4), script).answer == "2"


def test_negative_scores_are_no_weights_until_they_are_made_so() -> None:
    def scores(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(math.log(p)) for p in (0.9, 0.3, 0.4)]

    script = FakeScript(["1", "2", "2"])
    with pytest.raises(OptionError, match="weight"):
        solve(PROMPT, SelfConsistency(n=3, verifier=scores), script)
    assert solve(PROMPT, SelfConsistency(3, scores, "exp"), script).answer == "1"


def test_a_knockout_by_hand() -> None:
    """Five meet: 3 beats 1, 5 beats 2, 4 waits; then 5 beats 3; then 5 beats 4."""
    met: list[list[str]] = []

    def larger(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        met.append([node.text for node in nodes])
        return [Verdict(float(node.text)) for node in nodes]

    script = FakeScript(["1", "3", "5", "2", "4"])
    assert solve(PROMPT, Knockout(larger, n=5), script).answer == "5"
    assert met == [["1", "3", "5", "2"], ["3", "5"], ["5", "4"]]


def test_who_says_the_same_or_nothing_needs_no_judge() -> None:
    met: list[list[str]] = []

    def larger(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        met.append([node.text for node in nodes])
        return [Verdict(float(node.text)) for node in nodes]

    script = FakeScript(["7", "7.0", "nothing", "8", "3", "5", "5", "no"])
    assert solve(PROMPT, Knockout(larger), script).answer == "8"
    assert met == [["3", "5"], ["7", "8"], ["8", "5"]]


def test_a_knockout_without_opinions_keeps_the_first() -> None:
    def silent(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(math.nan)] * len(nodes)

    assert solve(PROMPT, Knockout(silent, n=4), FakeScript(["1", "2", "3", "4"])).answer == "1"


def test_on_a_draw_the_earlier_one_stays():
    def even(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(0.5)] * len(nodes)

    result = solve(PROMPT, Knockout(even, n=5), FakeScript(["1", "2", "3", "4", "5"]))
    assert result.answer == "1"
    events = [event for event in result.tree.events if event.kind == "pruned"]
    assert [result.tree.nodes[event.node].text for event in events] == ["2", "4", "3", "5"]


class FakeThinker(ScriptedModel):
    """A turn for each request: text, finish reason, tokens."""

    def __init__(self, *turns: tuple[str, Finish, int]) -> None:
        super().__init__()
        self.turns = list(turns)

    def draw(self, request: Request, index: int) -> Completion:
        text, finish, decoded = self.turns.pop(0)
        return Completion(text, finish=finish, cost=Cost(decoded=decoded))


def test_a_model_that_stops_too_early_is_made_to_wait() -> None:
    thinker = FakeThinker(("It is 5.", "end", 4), ("No, \\boxed{6}", "end", 8))
    result = solve(PROMPT, ExtendedThinking(floor=10, ceiling=50, wait=" Wait."), thinker)
    assert result.answer == "6"
    assert result.node is not None
    assert result.node.turn_text == "It is 5. Wait.No, \\boxed{6}"
    assert [request.sampling.max_tokens for request in thinker.asked] == [50, 46]
    assert thinker.asked[1].prefix_text == "It is 5. Wait."


def test_thinking_is_cut_at_the_ceiling_and_the_answer_forced() -> None:
    thinker = FakeThinker(("Let me think", "length", 20), ("7}", "stop", 2))
    result = solve(PROMPT, ExtendedThinking(ceiling=20), thinker)
    assert result.answer == "7"
    assert thinker.asked[1].prefix_text == "Let me think\n\nThe final answer is \\boxed{"
    assert thinker.asked[1].sampling.stop == ("}",)


def test_what_was_answered_before_the_ceiling_is_not_asked_again() -> None:
    thinker = FakeThinker(("So \\boxed{7}. Also", "length", 20))
    assert solve(PROMPT, ExtendedThinking(ceiling=20), thinker).answer == "7"


@pytest.mark.parametrize(("thought", "calls"), [(9, 2), (10, 1), (11, 1)])
def test_thinking_ends_at_the_floor(thought: int, calls: int) -> None:
    thinker = FakeThinker(("It is 5.", "end", thought), ("No, 6.", "end", 99))
    solve(PROMPT, ExtendedThinking(floor=10, ceiling=50), thinker)
    assert len(thinker.asked) == calls


def test_an_answer_that_was_cut_inside_is_forced() -> None:
    thinker = FakeThinker(("So \\boxed{12", "length", 20), ("123}", "stop", 2))
    assert solve(PROMPT, ExtendedThinking(ceiling=20), thinker).answer == "123"


def test_a_floor_beyond_the_context_ends_with_the_best_so_far() -> None:
    class Small(FakeThinker):
        def draw(self, request: Request, index: int) -> Completion:
            if not self.turns:
                raise PromptTooLong("no room")
            return super().draw(request, index)

    strategy = ExtendedThinking(floor=900, ceiling=1000)
    result = solve(PROMPT, strategy, Small(("It is \\boxed{5}.", "end", 9)))
    assert (result.answer, result.stopped_by) == ("5", "context")
    with pytest.raises(PromptTooLong):
        solve(PROMPT, strategy, Small())


@pytest.mark.parametrize(
    "bad",
    [{"final": ""}, {"final": " \n"}, {"wait": ""}, {"tags": ("<think>", "")}, {"tags": "think"}],
)
def test_what_could_not_be_said_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(bad))}="):
        ExtendedThinking(**bad)


NONSENSE: list[Any] = [None, "?", "", math.nan, 2.5, -7, [], [3], (), np.float64(2), np.int64(3)]


@pytest.mark.parametrize("kind", sorted({type(strategy) for strategy in EVERY}, key=repr))
def test_nonsense_is_refused_in_one_line(kind: type[Any]) -> None:
    """Each option is given each of these: only what is like its default may pass."""
    fits = {"edges": (0.5,), "routes": (Route(Direct()), Route(Direct()))}
    must = {f.name: fits.get(f.name, by_length) for f in fields(kind) if f.default is MISSING}
    for option, value in itertools.product(fields(kind), NONSENSE):
        usual = must.get(option.name, option.default)
        alike = isinstance(value, int | float) and isinstance(usual, int | float)
        if type(value) is type(usual) or (alike and not isinstance(value, np.generic)):
            continue
        if usual is None and value is None:
            continue
        if isinstance(value, list) and isinstance(usual, tuple):
            continue  # it is made a tuple
        with pytest.raises(OptionError) as caught:
            kind(**must | {option.name: value})
        assert str(caught.value).startswith(f"{option.name}=")
        assert "\n" not in str(caught.value)
    counts = [f.name for f in fields(kind) if isinstance(f.default, int)]
    for name, bad in itertools.product(counts, [math.nan, 2.5, -7, True, np.int64(3)]):
        with pytest.raises(OptionError, match=f"^{name}="):
            kind(**must | {name: bad})


def test_thinking_between_tags_ends_with_an_answer_outside_of_them() -> None:
    thinker = FakeThinker(("Hm, 8.", "stop", 5), ("\\boxed{9}", "end", 4))
    result = solve(PROMPT, ExtendedThinking(tags=("<think>", "</think>")), thinker)
    assert result.answer == "9"
    assert result.node is not None
    assert result.node.turn_text == "<think>\nHm, 8.</think>\n\\boxed{9}"
    assert thinker.asked[0].sampling.stop == ("</think>",)


def test_best_of_n_takes_the_highest_score_among_those_with_an_answer() -> None:
    texts = ["1", "no answer, but very long", "some words, then 22", "3"]
    assert solve(PROMPT, BestOfN(by_length, n=4), FakeScript(texts)).answer == "22"


def test_best_of_n_passes_over_what_cannot_be_scored() -> None:
    def scores(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(s) for s in (math.nan, -5.0, -7.0)]

    assert solve(PROMPT, BestOfN(scores, n=3), FakeScript(["1", "2", "3"])).answer == "2"


def test_the_instruction_ends_the_last_message_and_is_all_that_is_added() -> None:
    script = FakeScript(["5"])
    solve(PROMPT, Direct(instruction="Only the number."), script)
    [request] = script.asked
    assert [m.content for m in request.messages] == [f"{PROMPT}\n\nOnly the number."]


def test_a_run_knows_nothing_of_a_gold_answer() -> None:
    """A strategy gets a run and a prompt; neither has a way to a problem."""
    seen: list[object] = []

    def spy(run: Run, prompt: Prompt) -> Node:
        seen.extend([prompt, *vars(run).values()])
        return run.extend(run.reply(None, prompt), SHORT)[0]

    solve(PROMPT, spy, FakeScript(["5"]))
    assert not any(hasattr(value, "answer") for value in seen)
