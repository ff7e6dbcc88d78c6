"""Budget, stop and ledger hold for every strategy with every verifier that draws, as scripted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, product
from threading import Event, Lock
from typing import Any

import pytest

from itslab.core import (
    Budget,
    Completion,
    Cost,
    Message,
    OnSample,
    OnText,
    Request,
    Sampling,
    Verdict,
    Verifier,
)
from itslab.handle import solve, start
from itslab.run import Strategy
from itslab.strategies import (
    ABMCTS,
    DVTS,
    MCTS,
    BeamSearch,
    BestOfN,
    Cascade,
    ChainOfThought,
    CheckedRefine,
    FirstVerified,
    Knockout,
    MCTSr,
    ParticleFilter,
    Reflexion,
    RepairWithTests,
    Route,
    Router,
    SelfConsistency,
    SelfRefine,
    Stage,
    TreeOfThoughts,
)
from itslab.verifiers import (
    Ballot,
    Calibrated,
    Critic,
    Judge,
    PairwiseJudge,
    Reward,
    Rollouts,
    StepReward,
)

WORDS = ("one ", "two ", "six ", "ten ")


@dataclass(kw_only=True)
class Talk:
    """Says some words, two to eight tokens of them; what it says depends on all that it is asked.

    Args:
        name, digest, batch_size: as of every backend.
        at_call: called in the middle of each call, with its number.
    """

    name: str = "talk"
    digest: str = "talk"
    batch_size: int = 4
    at_call: Callable[[int], None] = lambda number: None
    calls: int = 0
    after_stop: int = 0
    lock: Lock = field(default_factory=Lock)

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: Event | None = None,
    ) -> list[list[Completion]]:
        with self.lock:
            self.calls += 1
            self.after_stop += bool(cancel and cancel.is_set())
            rows: list[list[Completion]] = []
            for i, request in enumerate(requests):
                rows.append([])
                for j in range(request.n):
                    if i or j or len(requests) == request.n == 1:
                        self.at_call(self.calls)
                    cut = bool(cancel and cancel.is_set())
                    rows[i].append(self._draw(request, request.first + j, cut))
                    if on_sample:
                        on_sample(i, j, rows[i][j])
            return rows

    def _draw(self, request: Request, index: int, cut: bool) -> Completion:
        sampling = request.sampling
        said = repr((request.messages, request.prefix_text, request.seed, index, self.digest))
        dice = hashlib.blake2b(said.encode()).digest()
        wanted = 2 + dice[0] % 7
        n = min(wanted, sampling.max_tokens)
        pieces = [WORDS[dice[1 + k] % 4] for k in range(n)]
        if sampling.stop and n == wanted:
            pieces[-1] = sampling.stop[0]
        ended = "end" if not sampling.stop or dice[20] % 3 == 0 else "stop"
        return Completion(
            "".join(pieces),
            tuple(range(n)),
            (-0.5,) * n,
            tuple(accumulate(map(len, pieces))),
            "cancelled" if cut else "length" if n < wanted else ended,
            Cost(prefilled=3, decoded=n, calls=1, seconds=0.01, flops=1e6 * n),
            index,
            choices=tuple(math.log((1 + dice[30 + k]) / 300) for k in range(len(sampling.choices))),
        )


@dataclass
class Marks:
    """A reward model of nobody's weights."""

    name: str = "marks"
    digest: str = "marks"

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[Verdict]:
        return [
            Verdict(len(c[-1].content) % 7 / 7, Cost(prefilled=9, calls=1, seconds=0.01, flops=1e6))
            for c in conversations
        ]


OTHER = Talk(name="other", digest="other")
WHOLE = Sampling(max_tokens=9)
STEP = Sampling(max_tokens=9, stop=("\n\n",), include_stop=True)

VERIFIERS: dict[str, Verifier] = {
    "judge": Judge(OTHER),
    "critic": Critic(OTHER, sampling=replace(WHOLE, temperature=0)),
    "critic by chance": Critic(OTHER, sampling=WHOLE),
    "ballot": Ballot(OTHER),
    "rollouts": Rollouts(OTHER, Judge(OTHER), n=2, sampling=WHOLE),
    "calibrated": Calibrated(Critic(OTHER, sampling=WHOLE), 2.0, 0.5),
    "reward": Reward(Marks()),
    "steps": StepReward(OTHER, "\nGood? "),
}
STRATEGIES: dict[str, Callable[[Verifier], Strategy]] = {
    "best": lambda v: BestOfN(v, n=5, sampling=WHOLE),
    "vote": lambda v: SelfConsistency(n=5, verifier=v, sampling=WHOLE),
    "beam": lambda v: BeamSearch(v, width=2, expand=2, depth=3, lookahead=1, sampling=STEP),
    "dvts": lambda v: DVTS(v, width=2, expand=2, depth=3, sampling=STEP),
    "particles": lambda v: ParticleFilter(v, n=3, depth=3, sampling=STEP),
    "thoughts": lambda v: TreeOfThoughts(v, width=2, expand=2, depth=3, sampling=STEP),
    "depth first": lambda v: TreeOfThoughts(v, order="depth", expand=2, depth=3, sampling=STEP),
    "mcts": lambda v: MCTS(v, iterations=3, width=2, expand=2, depth=3, sampling=STEP),
    "mcts with rollouts": lambda v: MCTS(
        v, iterations=3, width=2, expand=2, rollouts=1, depth=3, sampling=STEP, rollout=WHOLE
    ),
    "ab-mcts": lambda v: ABMCTS(v, iterations=3, width=2, depth=2, sampling=WHOLE),
    "checked": lambda v: CheckedRefine(v, iterations=2, branches=2, sampling=WHOLE),
    "repair": lambda v: RepairWithTests(v, iterations=2, sampling=WHOLE),
    "refine": lambda v: SelfRefine(v, iterations=2, sampling=WHOLE, criticism=WHOLE),
    "reflexion": lambda v: Reflexion(v, iterations=2, sampling=WHOLE, lesson=WHOLE),
    "mctsr": lambda v: MCTSr(v, iterations=2, sampling=WHOLE, criticism=WHOLE),
    "first verified": lambda v: FirstVerified(v, stop_score=9, n=5, wave=2, sampling=WHOLE),
    "cascade": lambda v: Cascade(
        (
            Stage(ChainOfThought(sampling=WHOLE), accept=v, threshold=9),
            Stage(SelfConsistency(n=3, sampling=WHOLE), None, v, 9),
            Stage(BestOfN(v, n=2, sampling=WHOLE)),
        )
    ),
    "router": lambda v: Router(
        v,
        (9.0,),
        (Route(BestOfN(v, n=4, sampling=WHOLE)), Route()),
        SelfConsistency(n=2, sampling=WHOLE),
    ),
}
# AB-MCTS takes scores in [0, 1]; of a lone version there is nothing to vote on.
UNFIT = product(("ab-mcts", "repair", "refine", "reflexion", "mctsr"), ("ballot",))
PAIRS = [
    *(
        (f"{s}, {v}", STRATEGIES[s](VERIFIERS[v]))
        for s, v in sorted({*product(STRATEGIES, VERIFIERS)} - {*UNFIT})
    ),
    ("knock-out", Knockout(PairwiseJudge(OTHER), n=4, sampling=WHOLE)),
]
pytestmark = pytest.mark.slow  # every strategy with every verifier
each = pytest.mark.parametrize("strategy", [s for _, s in PAIRS], ids=[name for name, _ in PAIRS])


@each
def test_no_budget_is_overdrawn_and_the_ledger_holds_all_of_it(strategy: Strategy) -> None:
    whole = solve("Say something.", strategy, Talk(), extract=str.strip)
    assert whole.stopped_by is None
    assert set(whole.costs) > {"talk"}  # the verifier draws elsewhere
    for tokens in (1, 7, whole.cost.decoded // 3, whole.cost.decoded - 1):
        limits = Budget(tokens=max(tokens, 1)), Budget(samples=max(tokens // 6, 1))
        for budget in limits:
            result = solve("Say something.", strategy, Talk(), budget=budget, extract=str.strip)
            assert result.cost.decoded <= (budget.tokens or math.inf)
            assert result.cost.calls <= (budget.samples or math.inf)
            total = sum(result.costs.values(), Cost())
            assert (total.decoded, total.calls) == (result.cost.decoded, result.cost.calls)
            told = sum((e.data["cost"] for e in result.tree.events if "cost" in e.data), Cost())
            assert (told.decoded, told.calls) == (result.cost.decoded, result.cost.calls)


@each
def test_after_a_stop_no_model_is_asked_again(strategy: Strategy) -> None:
    model = Talk()
    solve("Say something.", strategy, model, extract=str.strip)
    for at in range(1, model.calls + 1):
        OTHER.after_stop = 0
        handles = []

        def stop(number: int, at: int = at, handles: list[Any] = handles) -> None:
            if number == at:
                handles[0].stop()

        drawing = Talk(at_call=stop)
        handle = start("Say something.", strategy, drawing, extract=str.strip, paused=True)
        handles.append(handle)
        handle.resume()
        result = handle.result(timeout=20)
        assert (drawing.after_stop, OTHER.after_stop) == (0, 0)
        assert drawing.calls == at
        assert result.stopped_by == "stop"
        assert all(node.status != "open" for node in result.tree)
