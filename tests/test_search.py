"""Search over steps and trees: each followed on paper, then on bad input and on a real model."""

import math
import random
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itslab.backends.llama import Llama
from itslab.core import (
    Budget,
    Completion,
    Cost,
    Finish,
    Node,
    OptionError,
    Prompt,
    PromptTooLong,
    Request,
    Result,
    Sampling,
    Verdict,
    Verifier,
)
from itslab.handle import solve, start
from itslab.run import Run, Strategy
from itslab.strategies import (
    ABMCTS,
    DVTS,
    MCTS,
    BeamSearch,
    BestOfN,
    ChainOfThought,
    Direct,
    ParticleFilter,
    TreeOfThoughts,
)
from itslab.strategies.abmcts import Attempt
from itslab.strategies.mcts import Search, Step
from itslab.strategies.particles import effective_size, multinomial, systematic, tempered
from itslab.strategies.trees import puct, thompson, uct
from itslab.testing import ScriptedModel, ScriptedSteps
from itslab.testing import ScriptedVerifier as Points
from itslab.verifiers import Ballot

LETTER = Sampling(max_tokens=1)


@dataclass
class FakeLetters(ScriptedSteps):
    """Writes a letter a step, of which b and d are likelier than a and c."""

    ends: Collection[str] = ".x"
    logprobs: Mapping[str, float] = field(
        default_factory=lambda: {chr(i): -1.0 - i % 2 for i in range(128)}
    )


def search(strategy: Strategy, order: str | dict[str, str]) -> Result:
    return solve("?", strategy, FakeLetters(order), extract=lambda text: text or None)


def alive(result: Result, depth: int) -> set[str]:
    """What the chains say that go on at a depth."""
    chains = (node for node in result.tree if node.completion and node.status == "done")
    return {node.turn_text for node in chains if len(node.turn_text) == depth}


@dataclass
class Voter(ScriptedModel):
    """Chooses among the options shown in proportion to what they are worth to it."""

    worth: dict[str, float]

    def draw(self, request: Request, index: int) -> Completion:
        options = re.findall(r"Option .:\n(.*)", request.messages[-1].content)
        choices = tuple(math.log(self.worth[option]) for option in options)
        return Completion("A", choices=choices, cost=Cost(decoded=1, calls=1))


# -- beams -----------------------------------------------------------------------------------------

POINTS = Points(
    {"a": 0.9, "b": 0.8, "c": 0.1, "d": 0.7, "ae": 0.3, "af": 0.2, "be": 0.6, "bf": 0.5, "de": 0.4}
)
TWO_LEVELS = {"": "abcd", "a": "ef", "b": "ef", "c": "ef", "d": "ef"}


def test_a_lone_step_does_not_beat_the_best_of_a_ballot_by_being_alone() -> None:
    # Of four, x is chosen twice as often as by chance; after that, a step after "a" has no rival.
    voter = Voter({"x": 0.5, "a": 0.3, "b": 0.1, "c": 0.1, "a.": 0.3})
    beams = BeamSearch(Ballot(voter), width=2, expand=2, depth=2, sampling=LETTER)
    result = search(beams, {"": "xabc", "a": "."})  # both steps after "a" are the same
    scores = {node.turn_text: node.verdict.score for node in result.tree if node.verdict}
    assert scores["x"] == pytest.approx(2)
    assert scores["a."] == 1
    assert result.answer == "x"


def test_beam_search_keeps_the_best_wherever_they_come_from() -> None:
    result = search(BeamSearch(POINTS, width=2, expand=2, depth=2, sampling=LETTER), TWO_LEVELS)
    assert alive(result, 1) == {"a", "b"}  # of a, b, c, d
    assert alive(result, 2) == {"be", "bf"}  # of ae, af, be, bf: both of one parent
    assert result.answer == "be"


def test_dvts_keeps_the_best_of_each_subtree() -> None:
    result = search(DVTS(POINTS, width=2, expand=2, depth=2, sampling=LETTER), TWO_LEVELS)
    assert alive(result, 1) == {"a", "d"}  # the best of a, b and the best of c, d
    assert alive(result, 2) == {"ae", "de"}
    assert result.answer == "de"


def test_a_finished_chain_keeps_its_place_until_something_better_takes_it() -> None:
    beam, script = (
        BeamSearch(Points({}), width=2, expand=2, depth=2),
        {"": "a.", "a": "c."},
    )
    kept = Points({"a": 0.5, ".": 0.6, "ac": 0.3, "a.": 0.4})
    assert search(replace(beam, verifier=kept), script).answer == "."
    ousted = Points({"a": 0.5, ".": 0.1, "ac": 0.3, "a.": 0.4})
    result = search(replace(beam, verifier=ousted), script)
    assert result.answer == "a."
    assert [n.turn_text for n in result.tree if n.status == "pruned" and n.ended] == [".", "."]


def test_a_lookahead_judges_a_step_by_where_it_leads() -> None:
    points = Points({"a": 0.9, "b": 0.1, "ac": 0.2, "bc": 0.7})
    beam = BeamSearch(points, width=1, expand=2, depth=1, sampling=LETTER)
    script = {"": "ab", "a": "c", "b": "c"}
    assert search(beam, script).answer == "ac"  # a, and the rest of its chain
    ahead = search(replace(beam, lookahead=1), script)
    assert ahead.answer == "bc"
    # The looks ahead are paid for; and so is the rest of the chain.
    assert ahead.cost.decoded == 4 + 2


def test_equal_steps_of_one_parent_are_one() -> None:
    result = search(BeamSearch(POINTS, width=2, expand=2, depth=1, sampling=LETTER), "aab")
    statuses = [node.status for node in result.tree if node.completion]
    assert statuses[:4] == ["done", "pruned", "done", "pruned"]


@pytest.mark.parametrize(("selection", "answer"), [("score", "."), ("vote", "x")])
def test_a_final_vote_outweighs_the_best_score(selection: str, answer: str) -> None:
    points = Points({"a.": 0.9, "bx": 0.8, "cx": 0.8})
    beam = BeamSearch(points, width=3, expand=1, depth=2, selection=selection, sampling=LETTER)  # type: ignore[arg-type]
    script = FakeLetters({"": "abc", "a": ".", "b": "x", "c": "x"})
    assert solve("?", beam, script, extract=lambda text: text[1:] or None).answer == answer


# -- thoughts --------------------------------------------------------------------------------------


def test_breadth_first_is_beam_search() -> None:
    result = search(TreeOfThoughts(POINTS, width=2, expand=2, depth=1, sampling=LETTER), "abcd")
    assert alive(result, 1) == {"a", "b"}


def test_depth_first_goes_on_from_the_best_thought_and_turns_back_at_a_dead_end() -> None:
    script = {"": "ab", "a": "cd", "ac": "e", "b": "."}
    points = Points({"a": 0.9, "b": 0.5, "ac": 0.6, "ad": 0.1, "ace": 0.0, "b.": 0.7})
    strategy = TreeOfThoughts(points, "depth", expand=2, depth=3, threshold=0.2, sampling=LETTER)
    result = search(strategy, script)
    order = [node.turn_text for node in result.tree if node.completion]
    assert order == ["a", "b", "ac", "ad", "ace", "ace", "b.", "b."]
    assert result.answer == "b."


# -- particles -------------------------------------------------------------------------------------


def test_the_effective_number_of_particles() -> None:
    assert effective_size(np.array([0.25] * 4)) == pytest.approx(4)
    assert effective_size(np.array([1.0, 0, 0, 0])) == 1
    assert effective_size(np.array([0.5, 0.5, 0, 0])) == pytest.approx(2)


class FakeRandom:
    """Draws numbers that were written down."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self, size: int | None = None) -> object:
        if size is None:
            return self.numbers.pop(0)
        return np.array([self.numbers.pop(0) for _ in range(size)])


def test_systematic_resampling_by_hand() -> None:
    weights = np.array([0.1, 0.5, 0.4])
    # u = 0.6: points 0.2, 0.533, 0.867; cumulated weights 0.1, 0.6, 1
    assert systematic(weights, FakeRandom(0.6)) == [1, 1, 2]  # type: ignore[arg-type]
    # u = 0.15: points 0.05, 0.383, 0.717
    assert systematic(weights, FakeRandom(0.15)) == [0, 1, 2]  # type: ignore[arg-type]


def test_multinomial_resampling_by_hand() -> None:
    weights = np.array([0.1, 0.5, 0.4])
    assert multinomial(weights, FakeRandom(0.95, 0.05, 0.61)) == [0, 2, 2]  # type: ignore[arg-type]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.integers(0, 2**32 - 1))
def test_systematic_resampling_rounds_up_or_down(scores: list[float], seed: int) -> None:
    weights = tempered(scores, 1.0)
    counts = np.bincount(systematic(weights, np.random.default_rng(seed)), minlength=len(weights))
    assert counts.sum() == len(weights)
    assert np.all(np.abs(counts - len(weights) * weights) < 1 + 1e-9)


def test_both_schemes_draw_in_proportion() -> None:
    weights, rng = tempered([1, 2, 5], 1.0), np.random.default_rng(0)
    for scheme in (systematic, multinomial):
        drawn = np.bincount([i for _ in range(20_000) for i in scheme(weights, rng)])
        assert drawn / drawn.sum() == pytest.approx(weights, abs=0.01)


def test_temperature_sharpens_and_flattens_weights() -> None:
    assert tempered([1, 3], 1.0) == pytest.approx([0.25, 0.75])
    assert tempered([1, 3], 0.5) == pytest.approx([0.1, 0.9])
    assert tempered([1, 3, 3], 0.0) == pytest.approx([0, 0.5, 0.5])
    assert tempered([0, 0], 1.0) == pytest.approx([0.5, 0.5])
    assert tempered([math.nan, 1], 1.0) == pytest.approx([0, 1])
    with pytest.raises(OptionError, match="weigh='exp'"):
        tempered([-1, 1], 1.0)


def test_a_particle_without_weight_dies_and_another_takes_its_place() -> None:
    points = Points({"a": 0.5, "b": 0.0, "ac": 0.2, "ad": 0.8})
    strategy = ParticleFilter(points, n=2, depth=2, sampling=LETTER)
    result = search(strategy, {"": "ab", "a": "cd"})
    drawn = [node.turn_text for node in result.tree if node.completion]
    assert drawn[:4] == ["a", "b", "ac", "ad"]
    weights = [e.data["weight"] for e in result.tree.events if e.kind == "value"]
    assert weights == pytest.approx([1, 0, 0.2, 0.8])


def test_particles_are_left_alone_while_enough_of_them_are_effective() -> None:
    points = Points({"a": 0.5, "b": 0.4})
    strategy = ParticleFilter(points, n=2, depth=1, threshold=0.5, sampling=LETTER)
    assert alive(search(strategy, "ab"), 1) == {"a", "b"}


def test_weights_are_annealed() -> None:
    points = Points({"a": 0.1, "b": 0.3, "ac": 0.1, "bd": 0.3})
    strategy = ParticleFilter(
        points, n=2, depth=2, cooling=0.5, threshold=0, temperature=1.0, sampling=LETTER
    )
    result = search(strategy, {"": "ab", "a": "c", "b": "d"})
    weights = [event.data["weight"] for event in result.tree.events if event.kind == "value"]
    # 0.1 and 0.3; then times 0.1² and 0.3²
    assert weights == pytest.approx([0.25, 0.75, 0.001 / 0.028, 0.027 / 0.028])


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.0])
def test_particles_follow_the_posterior_however_often_they_are_resampled(threshold: float) -> None:
    """A chain's share is the product of its scores: .18, .54, .27 and .03 of 1.02."""
    table = {"a": 0.9, "b": 0.3, "ac": 0.2, "ad": 0.6, "bc": 0.9, "bd": 0.1}
    strategy = ParticleFilter(Points(table), n=800, depth=2, threshold=threshold, sampling=LETTER)
    result = search(strategy, {"": "a" * 400 + "b" * 400, "a": "cd", "b": "cd"})
    shares = dict.fromkeys(("ac", "ad", "bc", "bd"), 0.0)
    for event in [event for event in result.tree.events if event.kind == "value"][-800:]:
        shares[result.tree.nodes[event.node].turn_text] += event.data["weight"]
    right = {"ac": 0.1765, "ad": 0.5294, "bc": 0.2647, "bd": 0.0294}
    assert shares == pytest.approx(right, abs=0.002)


@pytest.mark.parametrize("n", [6, 10, 12, 13, 28, 43, 46, 100])
def test_a_threshold_of_one_always_resamples(n: int) -> None:
    """Of equal weights too, whose effective number may be rounded above n."""
    strategy = ParticleFilter(Points({"a": 0.5}), n=n, depth=1, resampling="multinomial")
    result = search(replace(strategy, sampling=LETTER), "a")
    assert any(node.status == "pruned" for node in result.tree)


def test_a_particle_of_no_weight_is_never_drawn() -> None:
    """Not even where the weights before it add up to less than the point, by rounding."""
    weights = np.array([0.1] * 10 + [0.0])
    assert systematic(weights, FakeRandom(0.9999999999999999))[-1] == 9  # type: ignore[arg-type]


def test_particles_vote_with_their_weights() -> None:
    points = Points({"a.": 0.9, "bx": 0.3, "cx": 0.3})
    strategy = ParticleFilter(points, n=3, depth=2, threshold=0, selection="vote", sampling=LETTER)
    script = FakeLetters({"": "abc", "a": ".", "b": "x", "c": "x"})
    even = replace(points, scores=points.scores | {"a": 1.0, "b": 1.0, "c": 1.0})
    result = solve("?", replace(strategy, verifier=even), script, extract=lambda t: t[1:] or None)
    assert result.answer == "."  # 0.9 against 0.6


# -- bandits ---------------------------------------------------------------------------------------


def test_uct_by_hand() -> None:
    assert uct(0.5, visits=4, parent=16, c=1.0) == pytest.approx(0.5 + math.sqrt(math.log(16) / 4))
    assert uct(0.5, visits=4, parent=16, c=1.0) == pytest.approx(1.3326, abs=1e-4)
    assert uct(0.0, visits=0, parent=16, c=1.0) == math.inf
    assert uct(0.7, visits=9, parent=16, c=0.0) == 0.7


def test_puct_by_hand() -> None:
    assert puct(0.5, visits=3, parent=16, c=2.0, prior=0.25) == pytest.approx(0.5 + 2 * 0.25)
    assert puct(0.0, visits=0, parent=16, c=2.0, prior=0.25) == pytest.approx(2.0)


def test_thompson_sampling_draws_from_the_posterior() -> None:
    rng = np.random.default_rng(0)
    draws = [thompson(3.0, 4, rng) for _ in range(20_000)]
    a, b = 3.5, 1.5
    assert np.mean(draws) == pytest.approx(a / (a + b), abs=0.005)
    assert np.var(draws) == pytest.approx(a * b / ((a + b) ** 2 * (a + b + 1)), abs=0.002)


# -- Monte Carlo tree search -----------------------------------------------------------------------


def branches(root: Step) -> dict[str, tuple[int, float]]:
    """What was written -> visits and sum of values."""
    found = {root.node.turn_text if root.parent else "": (root.visits, root.total)}
    for child in root.children:
        found |= branches(child)
    return found


def test_two_iterations_by_hand() -> None:
    """Values 0.2 and 0.8: b is selected; then UCT of a against b, at c = 1."""
    points = Points({"a": 0.2, "b": 0.8, "bc": 0.3, "bd": 0.1})
    options = MCTS(points, width=1, expand=2, depth=3, sampling=LETTER)
    run = Run(FakeLetters({"": "ab", "b": "cd"}), lambda text: text or None)
    tree = Search(options, run, Step(run.reply(None, "?")))
    for _ in range(2):
        fresh = tree.expand(tree.select())
        tree.back_up(fresh, tree.simulate(fresh))
    totals = {"": (4, 1.4), "a": (1, 0.2), "b": (3, 1.2), "bc": (1, 0.3), "bd": (1, 0.1)}
    found = branches(tree.root)
    assert found.keys() == totals.keys()
    for name, (visits, total) in totals.items():
        assert found[name] == (visits, pytest.approx(total)), name
    # Values are scaled from [0.1, 0.8] to [0, 1]: a (0.2 - 0.1) / 0.7, b (0.4 - 0.1) / 0.7.
    a, b = tree.root.children
    assert tree.promise(a) == pytest.approx(1 / 7 + math.sqrt(math.log(4) / 1))
    assert tree.promise(b) == pytest.approx(3 / 7 + math.sqrt(math.log(4) / 3))
    assert tree.select() == [a]


def test_a_walk_under_way_counts_as_a_loss_so_that_the_next_one_goes_elsewhere() -> None:
    points = Points({"a": 0.5, "b": 0.4, "c": 0.1})
    options = MCTS(points, width=3, expand=3, c=0.1, sampling=LETTER)
    run = Run(FakeLetters("abc"), lambda text: text or None)
    tree = Search(options, run, Step(run.reply(None, "?")))
    assert tree.select() == [tree.root]  # one leaf is all there is
    fresh = tree.expand([tree.root])
    tree.back_up(fresh, tree.simulate(fresh))
    assert [leaf.node.text for leaf in tree.select()] == ["a", "b", "c"]
    assert all(branch.pending == 0 for branch in (tree.root, *tree.root.children))


def test_a_walk_under_way_lowers_what_its_steps_promise() -> None:
    """a brought 0.6 four times, b 0.5 once; with a walk under way a is worth 4 · 0.6 ÷ 5 = 0.48."""
    points = Points({"a": 0.6, "b": 0.5} | dict.fromkeys(("ac", "ad", "af"), 0.6))
    options = MCTS(points, width=2, expand=3, c=0.0, sampling=LETTER)
    run = Run(FakeLetters({"": "abe", "a": "cdf"}), lambda text: text or None)
    tree = Search(options, run, Step(run.reply(None, "?")))
    tree.back_up(fresh := tree.expand([tree.root]), tree.simulate(fresh))
    tree.back_up(further := tree.expand(fresh[:1]), tree.simulate(further))
    assert [leaf.node.turn_text for leaf in tree.select()] == ["ac", "b"]


def test_a_finished_chain_is_visited_again_at_no_cost() -> None:
    """Its value 0.9 counts again in the second iteration, in which b is expanded."""
    points = Points({".": 0.9, "b": 0.1})
    options = MCTS(points, width=1, expand=2, c=0.1, sampling=LETTER)
    run = Run(FakeLetters({"": ".b", "b": "cd"}), lambda text: text or None)
    tree = Search(options, run, Step(run.reply(None, "?")))
    for _ in range(2):
        fresh = tree.expand(tree.select())
        tree.back_up(fresh, tree.simulate(fresh))
    found = branches(tree.root)
    assert found["."] == (2, pytest.approx(1.8))
    assert found[""] == (5, pytest.approx(1.9))  # two, the visit, and two below b
    assert run.cost.decoded == 4


@pytest.mark.parametrize("iterations", [2, 4, 8, 16])
@pytest.mark.parametrize("selection", ["value", "visits", "vote"])
def test_the_finished_chain_answers_whatever_promises_more_visits(
    selection: str, iterations: int
) -> None:
    def half(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(0.95 if node.turn_text == "." else 0.5) for node in nodes]

    strategy = MCTS(half, iterations, selection=selection, depth=3, sampling=LETTER)  # type: ignore[arg-type]
    result = search(strategy, {"": "abc."} | dict.fromkeys(("a", "b", "c"), "abc") | _pairs())
    assert (result.answer, result.unfinished) == (".", False)


def _pairs() -> dict[str, str]:
    return {a + b: "abc" for a in "abc" for b in "abc"}


@pytest.mark.parametrize("selection", ["value", "visits", "vote"])
def test_a_chain_good_enough_ends_the_search_wherever_it_is(selection: str) -> None:
    points = Points({"a": 0.5, "b": 0.6, ".": 1.0})
    strategy = MCTS(points, 15, expand=3, stop_score=1.0, selection=selection, sampling=LETTER)  # type: ignore[arg-type]
    result = search(strategy, "ab.")
    assert (result.answer, result.cost.decoded) == (".", 3)


def test_what_cannot_be_scored_is_worth_the_least_known_also_afterwards() -> None:
    """First nothing is known; then scores of -3 and -1 are."""
    points = Points({"a": math.nan, "b": math.nan, "ac": -3.0, "ad": -1.0, "bc": -4.0, "bd": -2.0})
    options = MCTS(points, width=1, expand=2, sampling=LETTER)
    run = Run(FakeLetters({"": "ab", "a": "cd", "b": "cd"}), lambda text: text or None)
    tree = Search(options, run, Step(run.reply(None, "?")))
    for leaf, a, b, root in [(None, 0.0, 0.0, 0.0), ("a", -7, -3, -10), ("b", -8, -10, -18)]:
        leaves = [c for c in tree.root.children if c.node.text == leaf] or [tree.root]
        fresh = tree.expand(leaves)
        tree.back_up(fresh, tree.simulate(fresh))
        found = branches(tree.root)
        assert [found["a"][1], found["b"][1], found[""][1]] == [a, b, root]


def test_unscored_rollouts_do_not_count_against_a_step() -> None:
    points = Points({"a.": math.nan, "ax": 0.5, "b.": math.nan, "bx": math.nan})
    strategy = MCTS(points, 1, expand=2, rollouts=2, sampling=LETTER, rollout=LETTER)
    result = search(strategy, {"": "ab", "a": ".x", "b": ".x"})
    values = {e.node: e.data["value"] for e in result.tree.events if e.kind == "value"}
    assert values == {0: 0.5, 1: 0.5, 2: 0.5}  # what b is worth is not known: the least


def test_priors_are_shares_of_the_likelihood_per_token() -> None:
    options = MCTS(Points({}), rule="puct", expand=2, sampling=LETTER)
    run = Run(FakeLetters("ab"), lambda text: text or None)
    tree = Search(options, run, Step(run.reply(None, "?")))
    a, b = tree.expand(tree.select())  # log-probabilities -2 and -1
    assert a.prior == pytest.approx(math.exp(-2) / (math.exp(-1) + math.exp(-2)))
    assert a.prior + b.prior == pytest.approx(1)


def test_with_rollouts_a_step_is_worth_what_its_chains_score_on_average() -> None:
    points = Points({"a.": 1.0, "ax": 0.5, "b.": 0.2})
    strategy = MCTS(
        points,
        iterations=1,
        expand=2,
        rollouts=2,
        selection="value",
        sampling=LETTER,
        rollout=LETTER,
    )
    result = search(strategy, {"": "ab", "a": ".x", "b": ".."})
    values = {e.node: e.data["value"] for e in result.tree.events if e.kind == "value"}
    assert values == {0: pytest.approx(0.475), 1: pytest.approx(0.75), 2: pytest.approx(0.2)}
    assert result.answer == "a."


def test_a_step_gets_more_children_the_more_it_is_visited() -> None:
    options = MCTS(Points({}), expand=2, widening=0.5, sampling=LETTER)
    run = Run(FakeLetters("ab"), lambda text: text or None)
    root = Step(run.reply(None, "?"))
    tree = Search(options, run, root)
    rooms = []
    for root.visits in (0, 1, 3, 4, 9):  # 2 · √visits: 2, 2, 3, 4, 6
        rooms.append(tree._room(root))
    assert rooms == [2, 2, 3, 4, 6]
    root.drawn = 4
    assert tree._room(root) == 2


@pytest.mark.parametrize(
    ("selection", "answer"), [("visits", "b."), ("value", "a."), ("vote", "c.")]
)
def test_the_answer_is_chosen_by_visits_by_value_or_by_vote(selection: str, answer: str) -> None:
    """b is visited most, a. scores best, and most chains end in c."""
    run = Run(FakeLetters("abc"), extract=lambda text: text or None, key=lambda text: text[-2:])
    root = Step(run.reply(None, "?"))
    tree = Search(MCTS(Points({}), selection=selection), run, root)  # type: ignore[arg-type]
    for text, visits, score in [("a.", 1, 0.9), ("b.", 5, 0.3), ("c.", 1, 0.1), ("xc.", 1, 0.1)]:
        node = run.append(root.node, text)
        node.completion, node.verdict = Completion(text), Verdict(score)
        root.children.append(Step(node, root, visits=visits))
    assert tree.choose().turn_text == answer


def test_by_default_the_best_finished_chain_answers() -> None:
    """As best-of-n does; by visits, which a few iterations spread thinly, it would be another."""
    assert MCTS(Points({})).selection == "value"


def test_the_search_ends_with_an_answer_that_is_good_enough() -> None:
    points = Points({"a": 0.5, ".": 1.0})
    result = search(
        MCTS(points, iterations=50, stop_score=1.0, selection="value", sampling=LETTER), "a.b"
    )
    assert result.answer == "."
    assert sum(event.kind == "iteration" for event in result.tree.events) == 1


def test_the_search_ends_when_nothing_is_left_to_try() -> None:
    strategy = MCTS(Points({}), iterations=1000, expand=2, depth=3, sampling=LETTER)
    result = search(
        strategy, {"": "ab", "a": "cd", "b": "cd"} | dict.fromkeys(("ac", "ad", "bc", "bd"), "ef")
    )
    assert len(result.tree) == 1 + 2 + 4 + 8 + 1  # and the end of the best chain
    assert not result.unfinished


# -- adaptive branching ----------------------------------------------------------------------------


class FakeBeta:
    """Remembers the posteriors that were asked for, and draws their means."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []

    def beta(self, a: float, b: float) -> float:
        self.asked.append((a, b))
        return a / (a + b)


def grown(*scores: float, parent: Attempt) -> list[Attempt]:
    for score in scores:
        parent.add(Attempt(parent.node, parent, score=score))
    return parent.children


def test_wider_learns_from_the_children_and_deeper_from_those_below_them() -> None:
    """Root with children 0.2 and 0.6; below the second, 1.0 and 0.5."""
    root, rng = Attempt(Node(0, None, "user")), FakeBeta()
    first, second = grown(0.2, 0.6, parent=root)
    grown(1.0, 0.5, parent=second)
    root.wider(rng)  # type: ignore[arg-type]
    root.deeper(rng)  # type: ignore[arg-type]
    assert rng.asked == [
        (pytest.approx(0.5 + 0.8), pytest.approx(0.5 + 1.2)),
        (pytest.approx(0.5 + 1.5), pytest.approx(0.5 + 0.5)),
    ]
    assert (second.total, second.count) == (pytest.approx(2.1), 3)  # itself and those below
    assert (first.total, first.count) == (0.2, 1)
    assert (first.depth, second.children[0].depth) == (1, 2)


def test_thompson_sampling_walks_to_the_better_subtree() -> None:
    strategy = ABMCTS(Points({}), depth=4)
    root, rng = Attempt(Node(0, None, "user")), FakeBeta()
    assert strategy._walk(root, rng) is root  # type: ignore[arg-type]
    _, second = grown(0.2, 0.6, parent=root)
    grown(1.0, 0.9, parent=second)
    # Wider 0.5 + 0.8 of 3, deeper 0.5 + 1.9 of 3: deeper, into the second. There nothing is known
    # of revisions of revisions, so that wider is better: 0.5 + 1.9 of 3.
    assert strategy._walk(root, rng) is second  # type: ignore[arg-type]


class FixedBeta:
    """Draws what was written down."""

    def __init__(self, *draws: float) -> None:
        self.draws = list(draws)

    def beta(self, a: float, b: float) -> float:
        return self.draws.pop(0)


def test_wider_wins_only_where_its_draw_is_the_higher_one() -> None:
    strategy = ABMCTS(Points({}), depth=2)
    root = Attempt(Node(0, None, "user"))
    first, second = grown(0.2, 0.6, parent=root)
    assert strategy._walk(root, FixedBeta(0.7, 0.6)) is root  # type: ignore[arg-type]
    # Deeper; then of the children the one with the higher draw.
    assert strategy._walk(root, FixedBeta(0.6, 0.7, 0.4, 0.3)) is first  # type: ignore[arg-type]
    assert strategy._walk(root, FixedBeta(0.6, 0.7, 0.3, 0.4)) is second  # type: ignore[arg-type]


def test_an_answer_is_revised_no_more_often_than_depth_says() -> None:
    strategy = ABMCTS(Points({}), depth=1)
    root = Attempt(Node(0, None, "user"))
    [first] = grown(0.2, parent=root)
    [revised] = grown(0.9, parent=first)
    assert revised.depth == strategy.depth + 1  # the first answers are at 1
    assert strategy._walk(root, FixedBeta(0, 1, 0)) is first  # type: ignore[arg-type]


def test_a_finished_answer_is_revised_in_a_further_turn_and_told_what_the_verifier_noted() -> None:
    def noted(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(0.5, note=f"saw {node.turn_text}") for node in nodes]

    strategy = ABMCTS(noted, iterations=6, width=2, improve="Again.", sampling=LETTER)
    result = search(strategy, ".")
    asked = [node for node in result.tree if node.role == "user"][1:]
    assert asked
    assert all(node.text == "saw .\n\nAgain." for node in asked)
    assert all(node.parent is not None and node.parent.role == "assistant" for node in asked)


def test_why_an_answer_could_not_be_scored_is_no_advice() -> None:
    def unable(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(math.nan, note="there are no tests")] * len(nodes)

    strategy = ABMCTS(unable, iterations=6, width=2, improve="Again.", sampling=LETTER)
    asked = [node.text for node in search(strategy, ".").tree if node.role == "user"][1:]
    assert set(asked) == {"Again."}


def test_scores_outside_the_unit_interval_are_refused() -> None:
    with pytest.raises(OptionError, match=r"score=-3\.0.*Calibrated"):
        search(ABMCTS(Points({".": -3.0}), sampling=LETTER), ".")


# -- chains that are not finished -----------------------------------------------------------------


@dataclass
class Recital(ScriptedModel):
    """Says one text, a character a token."""

    text: str = "3+0=3\n3+1=4\n4+5=9."

    def draw(self, request: Request, index: int) -> Completion:
        rest = self.text[len(request.prefix_text) :]
        stop = next((rest.index(s) + len(s) for s in request.sampling.stop if s in rest), len(rest))
        said = rest[: min(stop, request.sampling.max_tokens)]
        cut: Finish = "stop" if len(said) == stop else "length"
        finish: Finish = "end" if said == rest else cut
        return Completion(said, finish=finish, cost=Cost(decoded=len(said), calls=1))


LINES = Sampling(stop=("\n",), include_stop=True, max_tokens=8)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(7))
@pytest.mark.parametrize("score", [0.5, math.nan])
def test_no_answer_is_read_from_half_a_chain_unsaid(index: int, score: float) -> None:
    """The steps say 3, 4, 9. Each search at depth 1, then at the end of every budget."""
    searches = [*every(constant(score), LINES), BeamSearch(constant(score), sampling=LINES)]  # type: ignore[arg-type]
    whole = replace(searches[index], depth=1)  # type: ignore[type-var]

    def last_digit(text: str) -> str | None:
        return max((c for c in text.rstrip(".\n")[-1:] if c.isdigit()), default=None)

    result = solve("?", whole, Recital(), extract=last_digit)
    assert (result.answer, result.unfinished) == ("9", False)
    for tokens in range(1, 120):
        for budget in (Budget(tokens=tokens), Budget(samples=max(tokens // 8, 1))):
            result = solve("?", searches[index], Recital(), budget=budget, extract=last_digit)
            assert result.unfinished or result.answer in ("9", None)
            assert result.cost.decoded <= (budget.tokens or math.inf)
            assert result.cost.calls <= (budget.samples or math.inf)
            if tokens >= 4 * 18 or budget.samples:
                assert not result.unfinished


def test_a_chain_that_promises_more_than_the_finished_one_is_finished_too() -> None:
    script = {"": ".a", "a": "b"}
    beam = BeamSearch(Points({".": 0.1, "a": 0.9}), width=2, expand=1, depth=1, sampling=LETTER)
    result = search(beam, script | {"a": "."})
    assert [node.turn_text for node in result.tree if node.completion] == [".", "a", "a."]
    assert result.answer == "."  # the promise was not kept: "a." scores 0
    settled = replace(beam, verifier=Points({".": 0.9, "a": 0.1}))
    assert search(settled, script).cost.decoded == 2


def test_what_a_budget_kept_finishes_as_many_chains_as_it_can() -> None:
    """Of 16 tokens 4 are kept: after twelve letters, four chains are finished."""
    points = Points({"ab.": 0.3, "ac.": 0.7})
    strategy = ParticleFilter(points, n=6, depth=9, threshold=0, sampling=LETTER)
    script = {"": "a", "a": "bc", "ab": ".", "ac": "."}
    letters = FakeLetters(script)
    result = solve("?", strategy, letters, extract=str, budget=Budget(tokens=16))
    assert (result.answer, result.cost.decoded, result.stopped_by) == ("ac.", 16, "tokens")
    assert sum(node.ended for node in result.tree) == 4


@pytest.mark.parametrize("index", range(6))
def test_where_the_context_ends_the_best_so_far_answers(index: int) -> None:
    @dataclass
    class Short(FakeLetters):
        def draw(self, request: Request, index: int) -> Completion:
            if len(request.prefix_text) + len(request.messages) > 2:
                raise PromptTooLong("no room")
            return super().draw(request, index)

    strategy = every(constant(0.5))[index]
    result = solve("?", strategy, Short("abc"), extract=lambda text: text or None)
    assert result.stopped_by == "context" or result.unfinished
    assert result.answer is not None
    with pytest.raises(PromptTooLong):
        solve("?", replace(strategy, instruction=""), _NoRoom("a"))  # type: ignore[type-var]


class _NoRoom(FakeLetters):
    def draw(self, request: Request, index: int) -> Completion:
        raise PromptTooLong("no room")


def test_a_revision_just_good_enough_ends_the_search() -> None:
    strategy = ABMCTS(Points({".": 0.75}), iterations=9, width=1, stop_score=0.75, sampling=LETTER)
    assert search(strategy, ".").cost.decoded == 1


def test_a_forced_answer_is_finished_and_a_cut_chain_is_not() -> None:
    direct = Direct(instruction="", final="", close="\n", sampling=Sampling(max_tokens=8))
    assert not solve("?", direct, Recital()).unfinished
    assert solve("?", direct, Recital(), budget=Budget(tokens=3)).unfinished
    assert solve("?", ChainOfThought(sampling=Sampling(max_tokens=8)), Recital()).unfinished


# -- worlds ----------------------------------------------------------------------------------------


@dataclass
class World(ScriptedModel):
    """Spells words: the right letter at each place by chance, otherwise any; a letter a token.

    Args:
        seed: of the right word, and of the samples.
        length, letters: of a word, and of the alphabet.
        skill: the chance of the right letter.
        early: the chance that a word ends after a letter.
    """

    seed: int
    length: int = 6
    letters: int = 26
    skill: float = 0.4
    early: float = 0.0

    def right(self, place: int) -> str:
        return chr(97 + zlib.crc32(f"{self.seed}:{place}".encode()) % self.letters)

    def share(self, text: str) -> float:
        """How much of the word is right."""
        return sum(letter == self.right(i) for i, letter in enumerate(text)) / self.length

    def draw(self, request: Request, index: int) -> Completion:
        told = (self.seed, request.messages, request.prefix_text, index)
        rng, said, ended = random.Random(repr(told)), "", False
        while not ended and len(said) < request.sampling.max_tokens:
            place = len(request.prefix_text) + len(said)
            lucky = rng.random() < self.skill
            said += self.right(place) if lucky else chr(97 + rng.randrange(self.letters))
            ended = place + 1 >= self.length or rng.random() < self.early
        cost = Cost(decoded=len(said), calls=1)
        return Completion(said, finish="end" if ended else "length", cost=cost)

    def expected(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """The exact verifier: the share that will be right in the end, on average."""
        each = self.skill + (1 - self.skill) / self.letters
        return [
            Verdict(
                self.share(node.turn_text)
                + (0 if node.ended else self.length - len(node.turn_text)) * each / self.length
            )
            for node in nodes
        ]


def rivals(verifier: Verifier, words: int) -> dict[str, Strategy]:
    few = {"width": max(words // 4, 1), "expand": 4, "sampling": LETTER}
    grow = {"iterations": 999, "sampling": LETTER, "rollout": Sampling(max_tokens=99)}
    return {
        "beam search": BeamSearch(verifier, **few),
        "DVTS": DVTS(verifier, **few),
        "particles": ParticleFilter(verifier, n=words, sampling=LETTER),
        "particles, rarely resampled": ParticleFilter(
            verifier, n=words, threshold=0.5, sampling=LETTER
        ),
        "thoughts": TreeOfThoughts(verifier, **few),
        "thoughts, depth first": TreeOfThoughts(verifier, "depth", solutions=99, sampling=LETTER),
        "MCTS": MCTS(verifier, **grow),
        "MCTS, PUCT": MCTS(verifier, rule="puct", **grow),
        "MCTS, widening": MCTS(verifier, widening=0.5, **grow),
        "MCTS, rollouts": MCTS(verifier, rollouts=1, **grow),
        "AB-MCTS": ABMCTS(verifier, iterations=99, sampling=Sampling(max_tokens=99)),
        "AB-MCTS over steps": ABMCTS(verifier, iterations=999, depth=9, sampling=LETTER),
    }


@pytest.mark.slow
@pytest.mark.parametrize("early", [0.0, 0.1])
def test_a_search_is_no_worse_than_the_best_of_as_many_samples(early: float) -> None:
    """By the exact verifier, at three budgets, on average over 12 words; and more never hurts."""
    got: dict[str, list[list[float]]] = {}
    for tokens in (48, 96, 192):
        for seed in range(12):
            world = World(seed=seed, early=early)
            best = BestOfN(world.expected, n=tokens // 6, sampling=Sampling(max_tokens=99))
            for name, strategy in {
                "best of n": best,
                **rivals(world.expected, tokens // 6),
            }.items():
                result = solve("?", strategy, world, extract=str, budget=Budget(tokens=tokens))
                row = got.setdefault(name, [[]])
                row[-1].append(world.share(result.answer or ""))
        for row in got.values():
            row.append([])
    means = {name: np.array([np.mean(c) for c in row[:-1]]) for name, row in got.items()}
    for name, mean in means.items():
        assert np.all(mean >= means["best of n"] - 0.03), name
        assert np.all(np.diff(mean) >= -0.03), name


# -- bad input -------------------------------------------------------------------------------------


def every(verifier: object, sampling: Sampling = LETTER) -> list[Strategy]:
    return [
        BeamSearch(verifier, width=2, expand=2, depth=3, sampling=sampling),  # type: ignore[arg-type]
        DVTS(verifier, width=2, expand=2, depth=3, sampling=sampling),  # type: ignore[arg-type]
        ParticleFilter(verifier, n=3, depth=3, sampling=sampling),  # type: ignore[arg-type]
        TreeOfThoughts(verifier, "depth", expand=2, depth=3, sampling=sampling),  # type: ignore[arg-type]
        MCTS(verifier, iterations=4, expand=2, depth=3, sampling=sampling),  # type: ignore[arg-type]
        ABMCTS(verifier, iterations=3, width=2, depth=2, sampling=sampling),  # type: ignore[arg-type]
    ]


def constant(score: float) -> object:
    return lambda prompt, nodes: [Verdict(score)] * len(nodes)


@pytest.mark.parametrize("score", [0.5, 0.0, math.nan])
@pytest.mark.parametrize("index", range(6))
def test_scores_that_say_nothing_still_give_an_answer(score: float, index: int) -> None:
    result = search(every(constant(score))[index], "ab.")
    assert result.answer is not None
    assert result.stopped_by is None


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("order", [".", "a"], ids=["ends at once", "repeats itself"])
def test_a_model_that_ends_at_once_or_repeats_itself_is_no_endless_search(
    order: str, index: int
) -> None:
    result = search(every(constant(0.5))[index], order)
    assert result.answer is not None
    assert len(result.tree) < 60


@pytest.mark.parametrize("index", range(6))
def test_a_model_without_step_breaks_makes_steps_of_so_many_tokens(llm: Llama, index: int) -> None:
    unbroken = Sampling(stop=("\x00",), include_stop=True, max_tokens=5)
    result = solve("Tell a story.", every(constant(0.5), unbroken)[index], llm, extract=str.strip)
    lengths = [n.completion.cost.decoded for n in result.tree if n.completion]
    assert 1 <= max(lengths[:-1]) <= 5  # the last is the end of the chain that answers
    assert result.answer


@pytest.mark.parametrize("index", range(6))
def test_a_budget_smaller_than_a_step_gives_what_it_could_buy(llm: Llama, index: int) -> None:
    long = Sampling(max_tokens=20)
    strategy = every(constant(0.5), long)[index]
    result = solve("Tell a story.", strategy, llm, extract=str.strip, budget=Budget(tokens=3))
    assert (result.stopped_by, result.cost.decoded) == ("tokens", 3)
    assert result.answer


@pytest.mark.parametrize(
    ("strategy", "option"),
    [
        (BeamSearch, "width"),
        (BeamSearch, "depth"),
        (DVTS, "expand"),
        (ParticleFilter, "n"),
        (TreeOfThoughts, "solutions"),
        (MCTS, "width"),
        (MCTS, "depth"),
        (ABMCTS, "iterations"),
    ],
)
def test_nothing_to_search_is_refused(strategy: type, option: str) -> None:
    with pytest.raises(OptionError, match=f"{option}=0.*≥ 1"):
        strategy(constant(1.0), **{option: 0})


def test_a_stop_during_a_rollout_returns_the_best_so_far(llm: Llama) -> None:
    strategy = MCTS(
        constant(0.5),  # type: ignore[arg-type]
        rollouts=2,
        expand=2,
        sampling=Sampling(max_tokens=3),
        rollout=Sampling(max_tokens=400),
    )
    started = start("Write a long story about the sea.", strategy, llm, extract=str.strip)
    while not any(n.status == "open" and len(n.text) > 60 for n in started.run.tree):
        assert started.running
    started.stop()
    result = started.result(timeout=5)
    assert result.stopped_by == "stop"
    assert result.answer


# -- on a real model -------------------------------------------------------------------------------


def test_the_text_of_a_tree_is_evaluated_once(llm: Llama) -> None:
    line = Sampling(max_tokens=12, signals=True)
    prompt = "Tell a long story about the sea. " * 8
    strategy = MCTS(constant(0.5), iterations=6, expand=3, depth=8, sampling=line)  # type: ignore[arg-type]
    result = solve(prompt, strategy, llm, extract=str.strip)
    [first, *_] = [node.completion.cost for node in result.tree if node.completion]
    once = first.prefilled + first.reused + result.cost.decoded  # the prompt and all text
    evaluated = result.cost.prefilled + result.cost.decoded - result.cost.calls
    assert evaluated <= 1.02 * once
    assert result.cost.reused > 4 * result.cost.prefilled


def test_going_on_from_a_chosen_node_with_another_search(llm: Llama) -> None:
    step = Sampling(max_tokens=4)
    started = start(
        "Tell a story.",
        BeamSearch(constant(0.5), width=2, expand=2, depth=2, sampling=step),  # type: ignore[arg-type]
        llm,
        extract=str.strip,
    )
    tree = started.result(timeout=30).tree
    at = tree.nodes[2]
    again = MCTS(constant(0.5), iterations=2, expand=2, sampling=replace(step, max_tokens=5))  # type: ignore[arg-type]
    forked = started.fork(at, again).result(timeout=30)
    assert forked.node is not None
    assert at in forked.node.path()
    assert forked.tree is tree
