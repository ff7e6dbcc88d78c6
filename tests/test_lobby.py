"""Who starts, waits and is refused, by hand; nothing is lost; fair shares in a simulated loop."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itslab.core import OptionError
from itslab.serving.limits import Limit, Limits
from itslab.serving.lobby import PAUSE, Admission, Lobby, Refusal, Visit

TIERS = {"deep": "balanced", "balanced": "fast"}
PRICE = {"deep": 400.0, "balanced": 200.0, "fast": 100.0}


def visit(user: str = "ann", tier: str = "fast", arrival: float = 0.0, **more: float) -> Visit:
    return Visit(user, tier, more.pop("predicted", PRICE[tier]), arrival, **more)  # type: ignore[arg-type]


def enter(lobby: Lobby, *visits: Visit, now: float = 0.0) -> list[Refusal | None]:
    return [lobby.arrive(one, now) for one in visits]


def order(lobby: Lobby, *visits: Visit, now: float = 0.0) -> list[Visit]:
    """Who starts one after the other, when each ends, at no cost, before the next may start."""
    assert set(enter(lobby, *visits, now=now)) == {None}
    gone = []
    while started := lobby.ready(now):
        gone += started
        for one in started:
            lobby.end(one, 0, now)
    return gone


ONE = Admission(at_once=1)


# -- who is next -----------------------------------------------------------------------------------


def test_as_many_start_as_there_are_places_in_the_order_of_arrival() -> None:
    a, b, c = (visit(arrival=i) for i in range(3))
    lobby = Lobby(Admission(at_once=2))
    enter(lobby, a, b, c, now=2)
    assert lobby.ready(2) == [a, b]
    assert lobby.ready(2) == []
    assert lobby.waiting == [c]
    assert a.started == 2
    assert math.isnan(c.started)
    lobby.end(a, 90, 3)
    assert lobby.ready(3) == [c]
    assert lobby.running == [b, c]
    lobby.admission = replace(lobby.admission, at_once=1)
    lobby.end(b, 90, 4)
    enter(lobby, d := visit(arrival=4), now=4)
    assert lobby.ready(4) == []
    lobby.end(c, 90, 5)
    assert lobby.ready(5) == [d]


def test_the_order_is_by_priority_then_deadline_or_by_cost_or_by_arrival() -> None:
    def visits() -> list[Visit]:
        return [
            visit(tier="deep"),
            visit(arrival=1, deadline=9),
            visit(arrival=2, deadline=5),
            visit(tier="balanced", arrival=3, priority=1),
        ]

    def places(**options: str) -> list[int]:
        lobby = Lobby(replace(ONE, **options))  # type: ignore[arg-type]
        return [int(one.arrival) for one in order(lobby, *visits())]

    assert places() == [3, 2, 1, 0]
    assert places(order="shortest") == [1, 2, 3, 0]
    assert places(order="arrival") == [0, 1, 2, 3]


def test_the_user_with_the_least_compute_for_its_weight_goes_first() -> None:
    lobby = Lobby(Admission(at_once=3))
    enter(lobby, *(visit("ann", arrival=i) for i in range(4)))
    enter(lobby, *(visit("bob", arrival=9, weight=2.0) for _ in range(4)))
    assert [one.user for one in lobby.ready(9)] == ["ann", "bob", "bob"]


def test_a_thousand_requests_of_one_user_keep_another_waiting_for_those_under_way_alone() -> None:
    lobby = Lobby(Admission(at_once=2, queue=2_000))
    enter(lobby, *(visit("greedy", predicted=0) for _ in range(1_000)))
    lobby.ready(0)
    for now in (1.0, 2.0, 3.0):
        mine = visit("modest", arrival=now)
        enter(lobby, mine, now=now)
        assert lobby.ready(now) == []
        lobby.end(lobby.running[0], 500, now)
        assert lobby.ready(now) == [mine]
        lobby.end(mine, 500, now)
        assert [one.user for one in lobby.ready(now)] == ["greedy"]


def test_users_take_turns_even_if_nothing_is_known_of_what_requests_take() -> None:
    lobby = Lobby(Admission(at_once=3))
    enter(lobby, *(visit("ann", predicted=0) for _ in range(4)))
    enter(lobby, visit("bob", predicted=0, arrival=9), now=9)
    assert [one.user for one in lobby.ready(9)] == ["ann", "bob", "ann"]


def test_idle_time_gives_no_claim() -> None:
    lobby = Lobby(ONE)
    enter(lobby, *(visit("ann") for _ in range(20)))
    for now in range(10):  # ann had a thousand while bob was away
        [one] = lobby.ready(now)
        lobby.end(one, 100, now)
    enter(lobby, *(visit("bob", arrival=10) for _ in range(10)), now=10)
    users = []
    for now in range(10, 16):
        [one] = lobby.ready(now)
        users.append(one.user)
        lobby.end(one, 100, now)
    assert users == ["ann", "bob"] * 3


def test_shares_are_of_what_was_spent_not_of_what_was_thought() -> None:
    lobby = Lobby(ONE)
    enter(lobby, *(visit(user, predicted=1) for user in ("ann", "bob") for _ in range(9)))
    spent = {"ann": 300.0, "bob": 100.0}
    users = Counter[str]()
    for now in range(8):
        [one] = lobby.ready(now)
        users[one.user] += 1
        lobby.end(one, spent[one.user], now)
    assert users == {"ann": 2, "bob": 6}


def test_shares_may_be_of_flops() -> None:
    lobby = Lobby(replace(ONE, unit="flops"))
    enter(lobby, *(visit(user) for user in ("ann", "bob") for _ in range(4)))
    users = []
    for now in range(4):
        [one] = lobby.ready(now)
        users.append(one.user)
        lobby.end(one, 0, now, flops=3e12 if one.user == "ann" else 1e12)
    assert users == ["ann", "bob", "bob", "bob"]


@pytest.mark.parametrize(("every", "weight"), [(0.5, 1.0), (0.5, 3.0), (5.0, 1.0)])
def test_a_greedy_and_a_modest_user_get_fair_shares(every: float, weight: float) -> None:
    """Four places make 400 tokens a second; the greedy user asks for three times as many.

    The other one asks for all of them as well, or, every five seconds, for less than its share.
    """
    lobby = Lobby(Admission(at_once=4, queue=50, per_user=25))
    takes = {"greedy": 3.0, "modest": 2.0}
    arrivals = [("greedy", i / 4) for i in range(2_400)]
    arrivals += [("modest", i * every) for i in range(int(600 / every))]
    events: list[tuple[float, int, str, Visit | None]] = []
    for number, (user, at) in enumerate(arrivals):
        heapq.heappush(events, (at, number, user, None))
    tokens, refused, longest = Counter[str](), Counter[str](), 0
    while events:
        now, number, user, done = heapq.heappop(events)
        if now > 600:
            break
        if done:
            tokens[user] += 100 * takes[user]
            lobby.end(done, 100 * takes[user], now)
        else:
            own = weight if user == "modest" else 1.0
            arrived = Visit(user, "fast", 250, now, weight=own)
            refused[user] += lobby.arrive(arrived, now) is not None
        for one in lobby.ready(now):
            heapq.heappush(events, (now + takes[one.user], 10_000 + number, one.user, one))
        longest = max(longest, len(lobby.waiting))
    assert longest <= 50
    assert refused["greedy"] > 1_000
    fair = min(200 / every, 400 * weight / (1 + weight)) * 600
    assert tokens["modest"] == pytest.approx(fair, rel=0.1)
    assert tokens["greedy"] == pytest.approx(400 * 600 - fair, rel=0.1)


# -- who is refused --------------------------------------------------------------------------------


def test_a_full_queue_sheds_and_says_when_to_come_back() -> None:
    lobby = Lobby(Admission(at_once=1, queue=2))
    a = visit()
    assert enter(lobby, a, visit(), visit()) == [None] * 3  # one of them starts
    assert lobby.ready(0) == [a]
    [refusal] = enter(lobby, visit())
    assert refusal == Refusal("2 requests wait already: come back in 1 s", PAUSE, "full")
    lobby.end(a, 100, 20)  # so a request takes 20 s, and three are before whoever comes now
    lobby.ready(20)
    assert enter(lobby, visit(arrival=20), now=20) == [None]
    [refusal] = enter(lobby, visit(arrival=20), now=20)
    assert refusal is not None
    assert refusal.retry_after == 60


def test_without_a_queue_there_are_the_places_alone() -> None:
    lobby = Lobby(Admission(at_once=1, queue=0))
    [none, refusal] = enter(lobby, visit(), visit())
    assert none is None
    assert refusal is not None
    assert refusal.kind == "full"


def test_one_user_cannot_fill_the_queue() -> None:
    lobby = Lobby(Admission(at_once=1, queue=9, per_user=2))
    said = enter(lobby, *(visit() for _ in range(4)), visit("bob"))
    assert [one and one.kind for one in said] == [None, None, None, "user", None]
    assert said[3] is not None
    assert said[3].reason == "3 requests of ann wait: come back in 1 s"


def test_a_limit_refuses_and_is_settled_at_the_end() -> None:
    limits = Limits(default=[Limit(per_minute=600)])
    lobby = Lobby(ONE, limits)
    a, b = visit(predicted=500), visit(predicted=200)
    [none, refusal] = enter(lobby, a, b)
    assert none is None
    assert refusal is not None
    assert refusal.kind == "limit"
    reason = "the limit of 600 tokens a minute leaves 100 now, and this request may take 200"
    assert refusal.reason.startswith(reason)
    assert refusal.retry_after == pytest.approx(10)
    lobby.ready(0)
    a.predicted = 10_000  # a forecast may change while it runs; what was reserved does not
    lobby.end(a, 100, 0)
    assert limits.of("ann", 0)[0].level(0) == 500
    c = visit(predicted=300)
    assert enter(lobby, b, c) == [None, None]
    lobby.end(c, 0, 0)  # it gave up, and all is given back
    assert enter(lobby, visit(predicted=300)) == [None]


def test_a_deadline_that_has_passed_is_refused_at_arrival_and_in_the_queue() -> None:
    lobby = Lobby(ONE)
    [refusal] = enter(lobby, visit(deadline=5), now=7.5)
    assert refusal == Refusal(
        "its deadline passed 2.5 s ago: ask with a later one", 0.0, "deadline"
    )
    enter(lobby, a := visit(), b := visit(deadline=9), c := visit(), now=0)
    assert lobby.ready(0) == [b]
    enter(lobby, d := visit(deadline=8))
    assert lobby.next_refusal() == 8
    assert lobby.refused(7.9) == []
    lobby.end(b, 100, 8)
    assert lobby.ready(8) == [a]  # not d, for whom it is too late
    [(gone, why)] = lobby.refused(8)
    assert gone is d
    assert why.kind == "deadline"
    assert lobby.waiting == [c]
    assert lobby.next_refusal() == math.inf


def test_patience_ends_and_gives_back_what_was_reserved() -> None:
    limits = Limits(default=[Limit(per_minute=6, burst=600)])
    lobby = Lobby(replace(ONE, patience=30), limits)
    enter(lobby, a := visit(), b := visit(), c := visit(arrival=10))
    assert lobby.ready(0) == [a]
    assert lobby.next_refusal() == 30
    [(gone, why)] = lobby.refused(30)
    assert gone is b
    assert why.kind == "patience"
    assert why.reason == "it waited 30.0 s for its turn: come back in 1 s"
    assert limits.of("ann", 0)[0].level(30) == 600 - 300 + 3 + 100
    assert lobby.waiting == [c]
    assert lobby.next_refusal() == 40
    with pytest.raises(OptionError, match="one that waits or is under way"):
        lobby.end(b, 0, 30)


# -- who is degraded -------------------------------------------------------------------------------


def price(one: Visit) -> tuple[float, float]:
    return PRICE[one.tier], 0.0


def test_the_fuller_the_queue_the_cheaper_the_tier() -> None:
    lobby = Lobby(Admission(at_once=1, queue=6, full="degrade"), None, TIERS, price)
    visits = [visit(tier="deep") for _ in range(8)]
    said = enter(lobby, *visits)
    assert [one.tier for one in visits[:7]] == ["deep"] * 3 + ["balanced"] + ["fast"] * 3
    assert [one.degraded_from for one in visits[:4]] == [None, None, None, "deep"]
    assert [one.predicted for one in visits[2:5]] == [400, 200, 100]
    assert said[:7] == [None] * 7
    assert said[7] is not None
    assert said[7].kind == "full"
    last = visits[7]
    assert (last.tier, last.predicted, last.degraded_from) == ("deep", 400, None)
    assert len(lobby.waiting) == 7  # of which one may start


def test_who_cannot_pay_for_a_tier_gets_a_cheaper_one() -> None:
    def lobby(full: str) -> Lobby:
        limits = Limits(default=[Limit(per_minute=600)])
        return Lobby(replace(ONE, full=full), limits, TIERS, price)  # type: ignore[arg-type]

    visits = [visit(tier="deep") for _ in range(4)]
    said = enter(lobby("degrade"), *visits)
    assert [one.tier for one in visits] == ["deep", "balanced", "deep", "deep"]
    assert said[2] is not None
    assert said[2].kind == "limit"
    shed = [visit(tier="deep") for _ in range(2)]
    assert enter(lobby("shed"), *shed)[1] is not None
    assert shed[1].tier == "deep"


def test_tiers_that_go_round_in_a_circle_are_refused() -> None:
    with pytest.raises(OptionError, match="an order of tiers that comes to an end"):
        Lobby(ONE, cheaper={"a": "b", "b": "c", "c": "b"})


@pytest.mark.parametrize(
    "bad",
    [{"predicted": math.inf}, {"predicted": -1}, {"weight": 0}, {"deadline": math.nan}],
)
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(bad))):
        Lobby().arrive(visit(**bad), 0)  # type: ignore[arg-type]


def test_a_visit_comes_once() -> None:
    lobby = Lobby(ONE)
    enter(lobby, a := visit())
    with pytest.raises(OptionError, match="never here"):
        lobby.arrive(a, 0)
    lobby.ready(0)
    lobby.end(a, 1, 1)
    with pytest.raises(OptionError, match="never here"):
        lobby.arrive(a, 0)
    with pytest.raises(OptionError, match="under way"):
        lobby.end(a, 1, 1)


# -- whatever happens ------------------------------------------------------------------------------

admissions = st.builds(
    Admission,
    at_once=st.integers(1, 3),
    queue=st.integers(0, 5),
    per_user=st.none() | st.integers(1, 3),
    order=st.sampled_from(["arrival", "shortest", "tier"]),
    full=st.sampled_from(["shed", "degrade"]),
    patience=st.none() | st.floats(0.5, 20),
)


@settings(max_examples=200)
@given(admissions, st.data())
def test_nothing_is_lost_or_started_twice_and_all_stays_bounded(
    admission: Admission, data: st.DataObject
) -> None:
    limits = Limits(default=[Limit(per_minute=6_000, burst=1_500)])
    lobby, now = Lobby(admission, limits, TIERS, price), 0.0
    came: list[Visit] = []
    here: set[Visit] = set()
    started: set[Visit] = set()
    for _ in range(data.draw(st.integers(0, 40))):
        now += data.draw(st.sampled_from([0.0, 0.25, 5.0]))
        act = data.draw(st.sampled_from(["arrive", "arrive", "end", "refused"]))
        if act == "arrive":
            tier, user = data.draw(st.sampled_from([*PRICE])), data.draw(st.sampled_from("ab"))
            due = now + data.draw(st.sampled_from([-1.0, 3.0, math.inf]))
            one = visit(user, tier, now, deadline=due, priority=data.draw(st.integers(0, 1)))
            before = one.tier, one.predicted
            if refusal := lobby.arrive(one, now):
                assert refusal.retry_after >= 0
                assert (one.tier, one.predicted) == before
            else:
                came.append(one)
                here.add(one)
                assert one.tier == tier or one.degraded_from == tier
        elif act == "end" and here:
            one = data.draw(st.sampled_from([one for one in came if one in here]))
            lobby.end(one, data.draw(st.floats(0, 500)), now)
            here.remove(one)
        else:
            gone = {one for one, _ in lobby.refused(now)}
            assert gone <= here - started
            here -= gone
            assert lobby.next_refusal() > now
        fresh = lobby.ready(now)
        assert len(set(fresh)) == len(fresh)
        assert not set(fresh) & started
        assert all(one.deadline > now for one in fresh)
        started |= set(fresh)
        assert set(lobby.running) == here & started
        assert len(lobby.waiting) == len(here - started)
        assert set(lobby.waiting) == here - started
        assert len(lobby.running) <= admission.at_once
        assert len(lobby.waiting) <= admission.queue + admission.at_once
        late = [one for one in lobby.waiting if one.deadline <= now]
        if lobby.waiting and len(lobby.running) < admission.at_once and not late:
            assert admission.patience is not None  # those left have none
    for one in here:  # all goes back that was reserved and not spent
        lobby.end(one, 0, now)
    assert not lobby.waiting
    assert not lobby.running
    for user in "ab":
        assert all(bucket.level(now + 3_600) == 1_500 for bucket in limits.of(user, now))
