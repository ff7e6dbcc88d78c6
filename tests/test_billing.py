"""Bills and margins: one small table, worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from itslab import viz
from itslab.core import OptionError
from itslab.serving.billing import (
    ByDifficulty,
    Flat,
    PerTier,
    PerToken,
    adverse_selection,
    bills,
    charged,
    earning,
    margins,
    reweighed,
    scaled,
    selected,
)
from itslab.study.prices import Price

PRICE = Price(output=10)
"""Of a million tokens: Ann's two requests cost 1 cent each, Bob's one 8 cents."""

SCHEMES = {
    "flat": Flat(month=0.10),
    "per token": PerToken(output=20),
    "per tier": PerTier({"fast": 0.03, "deep": 0.06}),
    "by difficulty": ByDifficulty({"easy": 0.02, "hard": 0.16}),
}
"""Flat brings 20 cents of both, per token 4 and 16, per tier 6 and 6, by difficulty 4 and 16."""


def requests() -> pd.DataFrame:
    rows = [("ann", "fast", "easy", 1000), ("ann", "fast", "easy", 1000)]
    rows += [("bob", "deep", "hard", 8000)]
    table = pd.DataFrame(rows, columns=["user", "tier", "difficulty", "tokens"])
    return table.assign(prefilled=100, reused=50, seconds=table.tokens / 100)


def billed(**columns: Any) -> pd.DataFrame:
    return bills(requests().assign(**columns), SCHEMES, PRICE)


def row(table: pd.DataFrame, **where: Any) -> Any:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_what_users_pay_and_what_is_left() -> None:
    table = bills(requests(), SCHEMES, PRICE)
    assert list(table.scheme) == [*SCHEMES]
    assert list(table.cost) == pytest.approx([0.10] * 4)
    assert list(table.revenue) == pytest.approx([0.20, 0.20, 0.12, 0.20])
    assert list(table.margin) == pytest.approx([0.10, 0.10, 0.02, 0.10])
    assert list(table.margin_share) == pytest.approx([0.5, 0.5, 1 / 6, 0.5])
    assert list(table.bill) == pytest.approx([0.10, 0.10, 0.06, 0.10])
    assert list(table.p10) == pytest.approx([0.10, 0.04, 0.06, 0.04])
    assert list(table.p90) == pytest.approx([0.10, 0.16, 0.06, 0.16])
    assert list(table.cv) == pytest.approx([0, 0.6, 0, 0.6])
    assert (table.users == 2).all()
    assert (table.requests == 3).all()


def test_who_pays_for_whom() -> None:
    """Flat, Ann pays 10 cents where twice her cost would be 4; Bob's 10 are 6 short of his."""
    table = margins(requests(), SCHEMES, PRICE, by="user")
    assert row(table, scheme="flat", group="ann").subsidy == pytest.approx(0.06)
    assert row(table, scheme="flat", group="bob").subsidy == pytest.approx(-0.06)
    assert row(table, scheme="flat", group="ann").margin_share == pytest.approx(0.8)
    assert row(table, scheme="per token", group="ann").subsidy == pytest.approx(0)
    assert table.groupby("scheme").subsidy.sum().abs().max() < 1e-12
    tiers = margins(requests(), SCHEMES, PRICE)
    deep = row(tiers, scheme="per tier", group="deep")
    assert (deep.revenue, deep.cost, deep.margin) == pytest.approx((0.06, 0.08, -0.02))
    assert deep.subsidy == pytest.approx(0.06 - 1.2 * 0.08)
    classes = margins(requests(), SCHEMES, PRICE, by="difficulty")
    assert row(classes, scheme="flat", group="easy").requests == 2


def test_prompts_and_the_hours_of_a_device_are_paid_for() -> None:
    table = charged(requests(), PerToken(5, 2, 0), Price(input=4, cached=2, hourly=36))
    assert list(table.charge) == pytest.approx([(5 * 100 + 2 * 50) / 1e6] * 3)
    assert list(table.cost) == pytest.approx([5e-4 + s * 0.01 for s in (10, 10, 80)])


def test_a_fee_is_for_a_month_and_refused_requests_are_free() -> None:
    three = bills(requests(), {"flat": Flat(0.10, request=0.30)}, PRICE, months=3)
    assert three.bill[0] == pytest.approx(0.10 + (0.30 * 3 / 2) / 3)
    assert three.cost[0] == pytest.approx(0.10 / 3)
    refused = requests().assign(refused=[False, False, True])
    table = bills(refused, SCHEMES, PRICE)
    assert list(table.cost) == pytest.approx([0.02] * 4)
    assert (table.users == 1).all()


def test_a_scheme_is_scaled_to_a_margin() -> None:
    """Per tier has to bring 20 cents instead of 12 for half of them to be left."""
    scheme = earning(SCHEMES["per tier"], requests(), PRICE, margin=0.5)
    assert scheme.prices == pytest.approx({"fast": 0.05, "deep": 0.10})
    for name, each in SCHEMES.items():
        fitted = {name: earning(each, requests(), PRICE, margin=0.3)}
        assert bills(requests(), fitted, PRICE).margin_share[0] == pytest.approx(0.3)
    assert scaled(Flat(1.0, 2.0), 3) == Flat(3.0, 6.0)


def test_a_user_who_asks_harder_questions_costs_more_and_pays_as_the_scheme_says() -> None:
    """Ann's second question becomes hard, and three times as frequent as her first."""
    table = requests().assign(difficulty=["easy", "hard", "hard"], tokens=[1000, 3000, 8000])
    harder = reweighed(table, {"hard": 3.0})
    assert list(harder.weight) == pytest.approx([0.5, 1.5, 1.0])
    before, after = (bills(t, SCHEMES, PRICE).set_index("scheme") for t in (table, harder))
    assert after.cost["flat"] == pytest.approx(0.01 * 0.5 + 0.03 * 1.5 + 0.08)
    assert after.revenue["flat"] == pytest.approx(before.revenue["flat"])
    assert after.revenue["by difficulty"] == pytest.approx(0.02 * 0.5 + 0.16 * 1.5 + 0.16)
    assert after.margin_share["flat"] < before.margin_share["flat"]
    assert after.margin_share["per token"] == pytest.approx(before.margin_share["per token"])


def test_at_one_price_for_all_those_who_cost_most_stay() -> None:
    """Bob pays 1 ¼ of his cost, Ann 5 times hers: he counts four times as much as she does."""
    few = selected(requests(), SCHEMES["flat"], PRICE)
    assert list(few.weight) == pytest.approx([0.5, 0.5, 2.0])
    came = bills(few, {"flat": SCHEMES["flat"]}, PRICE)
    assert came.revenue[0] == pytest.approx(0.25)
    assert came.cost[0] == pytest.approx(0.17)
    assert came.margin_share[0] == pytest.approx(0.32)
    fair = selected(requests(), SCHEMES["per token"], PRICE)
    assert list(fair.weight) == pytest.approx([1, 1, 1])
    assert list(selected(requests(), SCHEMES["flat"], PRICE, 0.0).weight) == [1, 1, 1]


def test_prices_that_follow_drive_the_others_away() -> None:
    """The fee goes from 10 cents to 13.6, and towards the 16 that Bob alone has to pay."""
    schemes = {name: SCHEMES[name] for name in ("flat", "per token")}
    table = adverse_selection(requests(), schemes, PRICE, margin=0.5, rounds=8)
    flat, token = (table[table.scheme == name] for name in schemes)
    assert list(flat.factor[:3]) == pytest.approx([1, 1.36, 0.65 / 3 / 0.5 / (0.1 * 8.5 / 3)])
    assert list(flat.margin_share[:2]) == pytest.approx([0.32, 1 - (0.65 / 3) / (0.136 * 8.5 / 3)])
    assert 1.59 < flat.factor.iloc[-1] < 1.6
    assert list(token.factor) == pytest.approx([1] * 8)
    assert list(token.margin_share) == pytest.approx([0.5] * 8)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Flat(-1.0), "month"),
        (lambda: PerTier({"fast": -1.0}), "prices"),
        (lambda: bills(requests(), {"t": PerTier({"fast": 1.0})}, PRICE), "'deep'"),
        (lambda: bills(requests().drop(columns="seconds"), SCHEMES, PRICE), "seconds"),
        (lambda: bills(requests()[:0], SCHEMES, PRICE), "requests"),
        (lambda: bills(requests(), SCHEMES, PRICE, months=0), "months"),
        (lambda: bills(requests(), {}, PRICE), "schemes"),
        (lambda: margins(requests(), SCHEMES, PRICE, by="model"), "by"),  # type: ignore[arg-type]
        (lambda: margins(requests(), {}, PRICE), "schemes"),
        (lambda: earning(Flat(), requests(), PRICE), "scheme"),
        (lambda: earning(Flat(1.0), requests(), PRICE, margin=1.0), "margin"),
        (lambda: reweighed(requests(), {"odd": 1.0}), "weights"),
        (lambda: reweighed(requests(), {"hard": math.nan}), "weights"),
        (lambda: reweighed(requests(), {"hard": 0.0}), "weights"),
        (lambda: selected(requests(), Flat(), PRICE), "scheme"),
        (lambda: selected(requests(), Flat(1.0), PRICE, -1), "strength"),
        (lambda: adverse_selection(requests(), SCHEMES, PRICE, rounds=0), "rounds"),
        (lambda: billed(tokens="many"), "tokens"),
        (lambda: billed(tokens=[1.0, math.nan, 2.0]), "tokens=.nan"),
        (lambda: billed(seconds=[1.0, -2.0, 2.0]), "seconds=.-2.0"),
        (lambda: billed(weight=0.0), "weight"),
        (lambda: billed(weight=[1.0, -1.0, 1.0]), "weight=.-1.0"),
        (lambda: billed(user=["ann", None, "bob"]), "user"),
        (lambda: billed(tier=["fast", 3, "deep"]), "tier=.'int', 'str'"),
        (lambda: billed(refused=[True, None, False]), "refused=dtype"),
        (lambda: billed(refused=[1.0, math.nan, 0.0]), "refused"),
        (lambda: reweighed(requests().assign(user=None), {"hard": 2.0}), "user"),
    ],
)
def test_nonsense_is_refused_by_name(wrong: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        wrong()


def test_bills_and_margins_are_drawn_of_the_same_schemes() -> None:
    told = bills(requests(), SCHEMES, PRICE)
    figure = viz.capacity.schemes(told, margins(requests(), SCHEMES, PRICE))
    bars = {trace.name: list(trace.x) for trace in figure.data if trace.type == "bar"}
    assert bars["deep"] == pytest.approx([0.02, 0.08, -0.02, 0.08])
    assert list(figure.data[0].x) == pytest.approx(list(told.bill))
    with pytest.raises(OptionError, match="margins"):
        viz.capacity.schemes(told[:2], margins(requests(), SCHEMES, PRICE))
