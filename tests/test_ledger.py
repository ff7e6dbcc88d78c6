"""The account of a run, by hand."""

from types import SimpleNamespace

import pytest

from itslab.core import Budget, Cost
from itslab.ledger import Ledger

SMALL = SimpleNamespace(name="small", digest="a" * 64)
LARGE = SimpleNamespace(name="large", digest="b" * 64)


def test_each_model_has_its_own_sum_and_the_total_is_that_of_all() -> None:
    ledger = Ledger()
    ledger.charge(SMALL, Cost(prefilled=10, decoded=5, calls=1, flops=100.0))
    ledger.charge(LARGE, Cost(prefilled=20, decoded=7, calls=1, flops=900.0))
    ledger.charge(SMALL, Cost(reused=10, decoded=6, calls=1, flops=60.0))
    assert ledger.by_model == {
        "small": Cost(prefilled=10, reused=10, decoded=11, calls=2, flops=160.0),
        "large": Cost(prefilled=20, decoded=7, calls=1, flops=900.0),
    }
    assert ledger.total == sum(ledger.by_model.values())


def test_models_of_one_name_are_told_apart_by_their_digests() -> None:
    ledger = Ledger()
    ledger.charge(SMALL, Cost(decoded=1))
    ledger.charge(SimpleNamespace(name="small", digest="c" * 64), Cost(decoded=2))
    ledger.charge(SMALL, Cost(decoded=4))
    assert ledger.by_model == {"small": Cost(decoded=5), f"small ({'c' * 64})": Cost(decoded=2)}


def test_what_is_read_does_not_change_with_later_purchases() -> None:
    ledger = Ledger()
    ledger.charge(SMALL, Cost(decoded=1))
    before = ledger.by_model
    ledger.charge(SMALL, Cost(decoded=1))
    assert before == {"small": Cost(decoded=1)}


@pytest.mark.parametrize(
    ("budget", "spent", "wanted", "affordable"),
    [
        (Budget(), Cost(decoded=900), (8, 100), (8, 100)),
        (Budget(tokens=1000), Cost(), (8, 100), (8, 100)),
        (Budget(tokens=1000), Cost(decoded=700), (8, 100), (3, 100)),
        (Budget(tokens=1000), Cost(decoded=950), (8, 100), (1, 50)),  # a shorter one
        (Budget(samples=10), Cost(calls=7), (8, 100), (3, 100)),
        (Budget(seconds=60), Cost(), (8, 100), (4, 100)),  # a batch, then its price is known
        (Budget(flops=1e9), Cost(), (3, 100), (3, 100)),
    ],
)
def test_what_a_budget_affords(budget, spent, wanted, affordable) -> None:
    ledger = Ledger(budget)
    ledger.charge(SMALL, spent)
    count, max_tokens = wanted
    assert ledger.affordable(count, max_tokens, batch=4) == affordable


def test_what_is_spared_for_a_sample_is_spared_for_those_before_too() -> None:
    ledger = Ledger(Budget(tokens=1000))
    # 1000 tokens, of which 3 × 20 are spoken for: 9 samples of 80 + 20 fit into 940.
    assert ledger.affordable(99, 80, batch=4, spare=20, bought=3) == (9, 80)
    ledger.charge(SMALL, Cost(decoded=870))
    assert ledger.affordable(99, 80, batch=4, spare=20, bought=3) == (1, 50)


def test_a_limit_is_exhausted_when_it_is_reached_or_nothing_can_be_spared() -> None:
    ledger = Ledger(Budget(tokens=100, samples=50))
    ledger.charge(SMALL, Cost(decoded=79, calls=1))
    assert ledger.exhausted() is None
    assert ledger.exhausted(spare=20) is None
    assert ledger.exhausted(spare=21) == "tokens"
    ledger.charge(SMALL, Cost(calls=49))
    assert ledger.exhausted() == "samples"


def test_a_reserve_takes_a_quarter_of_a_limit_at_most() -> None:
    ledger = Ledger(Budget(tokens=1000, samples=8))
    ledger.reserve = 100
    assert ledger.affordable(99, 100, batch=4) == (6, 100)  # 900 tokens; two of eight samples
    ledger.reserve = 512
    assert ledger.affordable(99, 250, batch=4) == (3, 250)  # of 750 tokens
    assert ledger.total == Cost()


def test_a_verifier_that_computes_for_itself_stands_under_its_own_name() -> None:
    class Tests:
        pass

    def by_hand() -> None:
        pass

    ledger = Ledger()
    ledger.charge(Tests(), Cost(seconds=1.0))
    ledger.charge(by_hand, Cost(seconds=2.0))
    assert ledger.by_model == {"Tests": Cost(seconds=1.0), "by_hand": Cost(seconds=2.0)}


def test_digests_that_begin_alike_are_two_models() -> None:
    ledger = Ledger()
    for digest, tokens in (("weights-a", 1), ("weights-b", 2), ("weights-c", 4)):
        ledger.charge(SimpleNamespace(name="m", digest=digest), Cost(decoded=tokens))
    assert [cost.decoded for cost in ledger.by_model.values()] == [1, 2, 4]


def test_calls_that_follow_are_left_over_of_samples_too() -> None:
    ledger = Ledger(Budget(samples=8))
    assert ledger.affordable(8, 10, 8, spare=1) == (4, 10)
    assert ledger.affordable(8, 10, 8, spare=1, bought=3) == (2, 10)
    ledger.charge(SMALL, Cost(calls=7))
    assert ledger.exhausted(1) == "samples"
    assert ledger.exhausted() is None
