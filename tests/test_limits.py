"""Buckets of compute by hand and in any order; keys that nobody sees."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itslab.core import OptionError
from itslab.serving.limits import Bucket, Limit, Limits, SeatsTaken, Short, User, Users

TEN = Limit("tokens", per_minute=600)  # ten a second, six hundred at once


def tokens(amount: float) -> dict[str, float]:
    return {"tokens": amount}


def test_a_bucket_begins_full_and_fills_by_the_second() -> None:
    limits = Limits(default=[TEN])
    assert limits.reserve("ann", tokens(500), now=100) is None
    short = limits.reserve("ann", tokens(200), now=100)
    assert short == Short(TEN, 100, pytest.approx(10))
    assert str(short) == "the limit of 600 tokens a minute leaves 100 now"
    assert limits.reserve("ann", tokens(200), now=109.9) is not None
    assert limits.reserve("ann", tokens(200), now=110) is None
    assert limits.reserve("bob", tokens(600), now=110) is None  # has a bucket of his own


def test_what_was_not_spent_is_given_back_and_what_was_spent_besides_is_owed() -> None:
    limits = Limits(default=[TEN])
    limits.reserve("ann", tokens(500), now=0)
    limits.settle("ann", tokens(500), tokens(100), now=0)
    assert limits.of("ann", 0)[0].level(0) == 500
    limits.reserve("ann", tokens(500), now=0)
    limits.settle("ann", tokens(500), tokens(800), now=0)
    assert limits.of("ann", 0)[0].level(0) == -300
    short = limits.reserve("ann", tokens(1), now=0)
    assert short is not None
    assert short.seconds == pytest.approx(30.1)


def test_more_than_a_full_bucket_may_be_taken_from_a_full_one() -> None:
    limits = Limits(default=[Limit("tokens", per_minute=60, burst=100)])
    assert limits.reserve("ann", tokens(250), now=0) is None
    short = limits.reserve("ann", tokens(1_000), now=0)
    assert short is not None
    assert short.seconds == pytest.approx(250)
    assert limits.reserve("ann", tokens(1_000), now=short.seconds) is None


def test_of_several_limits_every_one_must_have_enough_and_else_none_is_touched() -> None:
    limits = Limits({"ann": [TEN, Limit("flops", per_minute=6e12)]})
    both = {"tokens": 100, "flops": 4e12}
    assert limits.reserve("ann", both, now=0) is None
    short = limits.reserve("ann", both, now=0)
    assert short is not None
    assert short.limit.unit == "flops"
    assert short.seconds == pytest.approx(20)
    assert [bucket.level(0) for bucket in limits.of("ann", 0)] == [500, 2e12]


def test_who_has_no_limit_may_take_anything() -> None:
    limits = Limits({"ann": [TEN]})
    assert limits.reserve("bob", tokens(1e18), now=0) is None
    limits.settle("bob", tokens(1e18), tokens(0), now=1)
    assert limits.of("bob", 1) == []


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(TEN, now=100)
    bucket.take(Fraction(600), now=100)
    assert bucket.level(50) == 0
    bucket.take(Fraction(0), now=50)
    assert bucket.level(101) == 10


amounts = st.floats(0, 1e15, allow_subnormal=False)


@given(st.data())
def test_sums_are_exact_in_any_order_of_reservations_and_settlements(data: st.DataObject) -> None:
    limits = Limits(default=[Limit("tokens", per_minute=1e15, burst=1e15)])
    left, open_, spent_sum = Fraction(1e15), list[float](), Fraction(0)
    for _ in range(data.draw(st.integers(0, 20))):
        if open_ and data.draw(st.booleans()):
            predicted = open_.pop(data.draw(st.integers(0, len(open_) - 1)))
            spent = data.draw(amounts)
            limits.settle("ann", tokens(predicted), tokens(spent), now=7.3)
            spent_sum += Fraction(spent)
        else:
            predicted = data.draw(amounts)
            if limits.reserve("ann", tokens(predicted), now=7.3) is None:
                open_.append(predicted)
        held = sum(map(Fraction, open_))
        assert limits.of("ann", 7.3)[0].level(7.3) == left - held - spent_sum


@given(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6), amounts, st.floats(0, 1e9), st.floats(0, 1e4))
def test_who_comes_back_when_told_is_let_in(
    per_minute: float, burst: float, amount: float, now: float, owed: float
) -> None:
    limits = Limits(default=[Limit("tokens", per_minute, burst)])
    limits.settle("ann", {}, tokens(owed), now)
    short = limits.reserve("ann", tokens(amount), now)
    if short is not None:
        assert short.seconds > 0
        assert limits.reserve("ann", tokens(amount), now + short.seconds) is None


@given(st.lists(st.tuples(st.floats(0, 100), amounts, amounts), max_size=12))
def test_nobody_gets_more_than_burst_and_rate(asked: list[tuple[float, float, float]]) -> None:
    """What was reserved and spent is at most what was there and came in, and what is owed."""
    limits, now, used = Limits(default=[TEN]), 0.0, Fraction(0)
    for waited, predicted, spent in asked:
        now += waited
        if limits.reserve("ann", tokens(predicted), now) is None:
            limits.settle("ann", tokens(predicted), tokens(spent), now)
            used += Fraction(spent)
        buckets = limits.of("ann", now)
        assert used <= 600 + 10 * Fraction(now) - buckets[0].level(now)
        assert buckets[0].level(now) <= 600


def test_the_smallest_limit_and_the_largest_tell_a_time() -> None:
    for smallest in (Limit(per_minute=1e-3, burst=1e300), Limit(per_minute=1e300, burst=1e-3)):
        limits = Limits(default=[smallest])
        assert limits.reserve("ann", tokens(1e300), now=0) is None
        short = limits.reserve("ann", tokens(1e300), now=0)
        assert short is not None
        assert 0 < short.seconds < math.inf
    with pytest.raises(OptionError, match=r"per_minute must be a number ≥ 0.001"):
        Limit(per_minute=5e-324)
    with pytest.raises(OptionError, match=r"weight must be a number in \[1e-06, 1e\+06\]"):
        User("ann", "key", weight=1e-300)


# -- users -----------------------------------------------------------------------------------------

SECRET = "sk-s3cret-only-for-ann"


def test_a_user_is_found_by_its_key_alone() -> None:
    ann, bob = User("ann", SECRET, weight=2), User("bob", "sk-2", limits=(TEN,))
    users = Users([ann, bob])
    assert users.find(SECRET) is ann
    assert users.find("sk-2") is bob
    for wrong in ("", "sk", SECRET + " ", SECRET[:-1], "ann", "\ud800"):
        assert users.find(wrong) is None


def test_keys_are_in_no_repr_and_in_no_error() -> None:
    ann = User("ann", SECRET)
    shown = [repr(ann), str(ann), repr(Users([ann])), repr([ann])]
    wrong = [
        lambda: User("ann", [SECRET]),  # type: ignore[arg-type]
        lambda: User("ann", SECRET, weight=0),
        lambda: Users([ann, User("bob", SECRET)]),
        lambda: Users([ann, User("ann", SECRET + "2")]),
        lambda: Users.read([{"name": "ann", "kee": SECRET}]),
        lambda: Users.read([{"name": "ann", "key": SECRET, SECRET: 1}]),
        lambda: Users.read([{"key": SECRET}]),
        lambda: Users.read({"ann": SECRET}),  # type: ignore[arg-type]
        lambda: Users.read([SECRET]),  # type: ignore[list-item]
        lambda: Users.read([{"name": "ann", "key": SECRET, "limits": 7}]),
        lambda: Users.read([{"name": "ann", "key": SECRET, "limits": [{"per_hour": 7}]}]),
    ]
    for make in wrong:
        with pytest.raises(OptionError) as error:
            make()
        shown.append(str(error.value))
    assert not [text for text in shown if SECRET in text or "\n" in text]


def test_two_users_need_two_names_and_two_keys() -> None:
    with pytest.raises(OptionError, match="users 'ann' and 'bob' have the same key"):
        Users([User("ann", "a"), User("bob", "a")])
    with pytest.raises(OptionError, match="all different"):
        Users([User("ann", "a"), User("ann", "b")])


def test_users_are_read_from_plain_data_and_have_their_limits() -> None:
    given = [
        {"name": "ann", "key": "a", "weight": 2, "limits": [dataclasses.asdict(TEN)]},
        {"name": "bob", "key": "b"},
    ]
    users = Users.read(json.loads(json.dumps(given)))
    assert users.by_name["ann"] == User("ann", "a", 2, (TEN,))
    limits = users.limits(default=[Limit("flops", 1e12)])
    assert [bucket.limit for bucket in limits.of("ann", 0)] == [TEN]
    assert [bucket.limit.unit for bucket in limits.of("bob", 0)] == ["flops"]
    with pytest.raises(OptionError, match="user 1 is not valid: it may have name, key, weight"):
        Users.read([{"name": "ann"}])


def test_a_guest_is_known_by_its_name_and_there_are_so_many_seats() -> None:
    ann = User("ann", SECRET, weight=2)
    users = Users([ann], guests=2)
    zoe = users.find("Zo%C3%AB%20K")
    assert (zoe.name, zoe.weight, zoe.limits) == ("Zoë K", 1, ())
    assert users.find("Zo%C3%AB%20%20K%0A") is zoe
    assert users.find(SECRET) is ann
    nobody = ("", "%20", "ann", "a%00b", "%1b[31m", "x" * 65, "%ED%A0%80" * 30, "\ud800")
    assert [users.find(key) for key in nobody] == [None] * len(nobody)
    assert users.find("bob").name == "bob"
    with pytest.raises(SeatsTaken, match=r"all 2 seats are taken, and 'eve' has none"):
        users.find("eve")
    assert users.find("Zo%C3%AB%20K") is zoe
    assert repr(users) == "Users(ann, 2 of 2 seats taken)"


def test_a_seat_that_is_not_used_for_long_goes_to_who_comes(monkeypatch) -> None:
    users = Users([], guests=2)

    def ask(name: str) -> User | None:
        user = users.find(name)
        users.answered(user, True)
        return user

    ann = ask("ann")
    monkeypatch.setattr("itslab.serving.limits.IDLE", 0.2)
    time.sleep(0.25)
    assert ask("bob").name == "bob"
    assert ask("ann") is ann  # whom nobody waited for
    time.sleep(0.1)
    assert ask("bob").name == "bob"
    with pytest.raises(SeatsTaken, match=r"wait until .* for more \(--seats of a class"):
        ask("eve")
    time.sleep(0.15)
    assert ask("eve").name == "eve"  # in ann's, who was away for longest
    with pytest.raises(SeatsTaken):
        ask("ann")


def test_a_seat_is_kept_while_one_of_its_requests_is_under_way(monkeypatch) -> None:
    users = Users([], guests=1)
    ann = users.find("ann")
    assert users.find("ann") is ann
    users.answered(ann, False)  # the second is refused before the first is over
    assert "1 of 1 seats taken" in repr(users)
    monkeypatch.setattr("itslab.serving.limits.IDLE", 0.0)
    with pytest.raises(SeatsTaken):
        users.find("eve")
    users.answered(ann, True)
    assert users.find("eve").name == "eve"


def test_who_was_never_answered_has_no_seat() -> None:
    users = Users([User("ann", SECRET)], guests=1)
    for well, taken in ((False, 0), (False, 0), (True, 1), (False, 1)):
        users.answered(users.find("bob"), well)
        assert f"{taken} of 1 seats taken" in repr(users)
    with pytest.raises(SeatsTaken):
        users.find("eve")
    users.answered(users.find(SECRET), False)
    assert users.find(SECRET) is not None


def test_many_who_come_at_once_take_no_more_seats_than_there_are() -> None:
    users = Users([], guests=5)

    def come(number: int) -> bool:
        try:
            return users.find(f"guest {number}") is not None
        except SeatsTaken:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(come, range(400))) == 5
    limits = users.limits([TEN])
    assert [bucket.limit for bucket in limits.of("guest 1", 0)] == [TEN]


def test_a_limit_is_a_number_and_one_of_two_units() -> None:
    assert math.isclose(Limit(per_minute=5).size, 5)
    assert Limit(per_minute=5, burst=7).size == 7
    with pytest.raises(OptionError, match="'tokens' or 'flops'"):
        Limit("euros")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="per_minute"):
        Limit(per_minute=0)
