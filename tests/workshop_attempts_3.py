"""What participants may write in the third session; see ``workshop_attempts``."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate, permutations, product
from statistics import mean, mode

import numpy as np

RIGHT: dict[tuple[int, str], list] = {}
WRONG: dict[tuple[int, str], list] = {}
GIVEN: dict[tuple[int, str], tuple] = {}

# -- decided


def decided_by_cases(votes, left):
    if left == 0:
        return True
    if not votes:
        return False
    ranked = sorted(votes)
    second = ranked[-2] if len(ranked) > 1 else 0
    return ranked[-1] - second >= left


def decided_by_trying(votes, left):
    counts = dict(enumerate(votes))
    leader = max(counts, key=counts.get, default=None)
    if leader is None:
        return left == 0
    for rival in [*counts, "new"]:
        if rival != leader and counts.get(rival, 0) + left > counts[leader]:
            return False
    return True


def decided_by_every_future(votes, left):
    if not votes:
        return not left
    first = votes.index(max(votes))
    for future in product(range(len(votes) + 1), repeat=left):
        after = [*votes, 0]
        for i in future:
            after[i] += 1
        if any(n > after[first] for i, n in enumerate(after) if i != first):
            return False
    return True


RIGHT[3, "decided"] = [
    decided_by_cases,
    decided_by_trying,
    decided_by_every_future,
    lambda votes, left: sorted([*votes, 0])[-1] >= sorted([*votes, 0])[-2] + left,
    lambda votes, left: bool(np.diff(np.sort([0, 0, *votes]))[-1] >= left),
]


def decided_in_order(votes, left):
    leader = votes[0]
    second = votes[1]
    return leader - second >= left


def decided_without_new(votes, left):
    if len(votes) == 1:
        return True
    ranked = sorted(votes, reverse=True)
    return (ranked[0] if ranked else 0) - (ranked[1] if len(ranked) > 1 else 0) >= left


def decided_alone(votes, left):
    if not votes:
        return True
    top = sorted(votes, reverse=True)
    if len(top) == 1:
        return True
    return not top[1] + left > top[0]


WRONG[3, "decided"] = [
    (lambda votes, left: decided_by_cases(votes, left + 1) if votes else False, "tie"),
    (lambda votes, left: decided_by_cases(votes, 1), "leads now"),
    (lambda votes, left: max(votes, default=0) >= left, "leader only"),
    (lambda votes, left: max(votes, default=0) > (sum(votes) + left) / 2, "half"),
    (decided_in_order, "any order"),
    (lambda votes, left: sorted(votes)[-1] - sorted(votes)[-2] >= left, "fewer than two"),
    (decided_alone, "another one may still come"),
    (lambda votes, left: max(votes, default=0) - left >= sum(votes) - max(votes, default=0), "all"),
    (lambda votes, left: not left, "all of them"),
    (lambda votes, left: not decided_by_trying(votes, left), "opposite"),
    (lambda votes, left: True, "it should give False"),
    (lambda v, left: max(v, default=0) >= max([x for x in v if x < max(v)] or [0]) + left, "draw"),
    (lambda v, left: len(v) > 0 and np.diff(sorted({0, *v}))[-1] >= left, "draw"),
    (lambda votes, left: sorted(votes)[-1] > sorted(votes)[-2] + left, "tie goes to the leader"),
    (lambda votes, left: max(votes, default=0) > left, "leader only"),
    (lambda votes, left: max(votes, default=0) >= (sum(votes) + left) / 2, "half of all, or"),
    (lambda votes, left: "yes" if decided_by_cases(votes, left) else "no", "True or False"),
    (lambda votes, left: int(decided_by_cases(votes, left)), "True or False"),
]

# -- per_solved


def per_solved_by_counting(small, large, accepted, solved):
    problems = 1000
    paid = problems * small
    paid += (problems - accepted * problems) * large
    return paid / (solved * problems)


RIGHT[3, "per_solved"] = [
    per_solved_by_counting,
    lambda s, b, a, solved: (a * s + (1 - a) * (s + b)) / solved,
    lambda s, b, a, solved: float(np.dot([s, b], [1, 1 - a])) / solved,
]
WRONG[3, "per_solved"] = [
    (lambda s, b, a, solved: round((s + (1 - a) * b) / solved), "rounded"),
    (lambda s, b, a, solved: round((s + (1 - a) * b) / solved, 2), "rounded"),
    (lambda s, b, a, solved: s / solved + (1 - a) * b, "brackets"),
    (lambda s, b, a, solved: (1 - a) * (s + b) / solved, "every problem"),
    (lambda s, b, a, solved: (s + (1 - solved) * b) / solved, "not accepted"),
    (lambda s, b, a, solved: s + b - a * b, "that of a solved one"),
    (lambda s, b, a, solved: solved * (s + b * (1 - a)), "divide"),
    (lambda s, b, a, solved: (s * a + b * (1 - a)) / solved, "every problem"),
    (lambda s, b, a, solved: s / solved + b / solved, "not asked"),
    (lambda s, b, a, solved: (s + b * a) / solved, "accepted ones"),
    (lambda s, b, a, solved: (s * (1 - a) + b * a) / solved, "swapped"),
    (lambda s, b, a, solved: s + b * (1 - a) / solved, "brackets"),
    (lambda s, b, a, solved: (s + b) / 2, "it should give"),
]

# -- wait


def wait_by_trying(work):
    return min(mean(accumulate(order)) for order in permutations(work))


def wait_by_weights(work):
    ranked = sorted(work, reverse=True)  # the last one delays itself only
    return sum((i + 1) * seconds for i, seconds in enumerate(ranked)) / len(work)


RIGHT[3, "wait"] = [
    wait_by_trying,
    wait_by_weights,
    lambda work: float(np.cumsum(np.sort(work)).mean()),
]


def wait_until_begun(work):
    now = total = 0
    for seconds in sorted(work):
        total += now
        now += seconds
    return total / len(work)


def wait_sorted_in_place(work):
    work = work.sort()
    return sum(accumulate(work)) / len(work)


WRONG[3, "wait"] = [
    (lambda work: np.mean(np.cumsum(work)), "in which they came"),
    (lambda work: np.mean(np.cumsum(sorted(work)[::-1])), "longest first"),
    (wait_until_begun, "begins"),
    (mean, "mean work"),
    (sum, "last one"),
    (lambda work: sum(accumulate(sorted(work))), "divide"),
    (lambda work: list(accumulate(sorted(work))), "return their mean"),
    (wait_sorted_in_place, "sorts x itself"),
    (lambda work: round(wait_by_weights(work)), "rounded"),
    (lambda work: np.mean(np.cumsum(sorted(set(work)))), "it should give"),
    (lambda work: max(work), "it should give"),
]

# -- anytime


def anytime_by_counter(samples, deadline):
    there = Counter(a for t, a in samples if t <= deadline and a is not None)
    return there.most_common(1)[0][0] if there else None


def anytime_as_time_goes(samples, deadline):
    counts, leads = {}, None
    for time, answer in samples:
        if time > deadline:
            break
        if answer is None:
            continue
        counts[answer] = counts.get(answer, 0) + 1
    for answer in counts:
        if leads is None or counts[answer] > counts[leads]:
            leads = answer
    return leads


def anytime_by_sorting(samples, deadline):
    there = [a for t, a in samples if a is not None and not t > deadline]
    ranked = sorted(set(there), key=lambda a: (there.count(a), -there.index(a)))
    return ranked[-1] if ranked else None


RIGHT[3, "anytime"] = [anytime_by_counter, anytime_as_time_goes, anytime_by_sorting]


def anytime_strictly(samples, deadline):
    there = [a for t, a in samples if t < deadline and a]
    return Counter(there).most_common(1)[0][0] if there else None


def anytime_first(samples, deadline):
    for time, answer in samples:
        if time <= deadline and answer is not None:
            return answer
    return None


def anytime_latest(samples, deadline):
    last = None
    for time, answer in samples:
        if time <= deadline and answer is not None:
            last = answer
    return last


def anytime_none_counts(samples, deadline):
    there = Counter(a for t, a in samples if t <= deadline)
    return there.most_common(1)[0][0] if there else None


def anytime_late_ties(samples, deadline):
    counts, leads = Counter(), None
    for time, answer in samples:
        if time <= deadline and answer is not None:
            counts[answer] += 1
    for answer, count in counts.items():
        if leads is None or count >= counts[leads]:
            leads = answer
    return leads


def anytime_of_a_set(samples, deadline):
    there = [a for t, a in samples if t <= deadline and a is not None]
    return max(set(there), key=there.count, default=None)


def anytime_as_it_goes(samples, deadline):
    counts, leads = Counter(), None
    for time, answer in samples:
        if time <= deadline and answer is not None:
            counts[answer] += 1
            if leads is None or counts[answer] > counts[leads]:
                leads = answer
    return leads


def anytime_until_none(samples, deadline):
    counts = {}
    for time, answer in samples:
        if time > deadline or answer is None:
            break
        counts[answer] = counts.get(answer, 0) + 1
    return max(counts, key=counts.get, default=None)


def anytime_added_up(samples, deadline):
    now, there = 0, []
    for time, answer in samples:
        now += time
        if now <= deadline:
            there.append((now, answer))
    return anytime_by_counter(there, deadline)


WRONG[3, "anytime"] = [
    (anytime_as_it_goes, "first to have so many"),
    (anytime_of_a_set, "a set"),
    (anytime_until_none, "and go on"),
    (anytime_added_up, "do not add"),
    (lambda samples, deadline: anytime_by_counter(samples, int(deadline)), "fractions"),
    (lambda samples, deadline: anytime_by_counter(samples, -(-deadline // 1)), "fractions"),
    (
        lambda samples, deadline: max(
            (a for t, a in samples if t <= deadline and a),
            key=Counter(a for _, a in samples).get,
            default=None,
        ),
        "comes later",
    ),
    (lambda samples, deadline: mode(a for t, a in samples if t <= deadline and a), "return None"),
    (lambda samples, deadline: anytime_by_counter(samples, 1e9), "waits for all"),
    (anytime_strictly, "itself"),
    (anytime_first, "first answer"),
    (anytime_latest, "last answer"),
    (anytime_none_counts, "None has won"),
    (anytime_late_ties, "given first"),
    (
        lambda samples, deadline: Counter(
            a for t, a in samples if t <= deadline and a is not None
        ).most_common(1)[0][0],
        "return None",
    ),
    (lambda s, d: max([a for t, a in s if t <= d and a] or [None]), "largest"),
    (lambda s, d: anytime_by_counter([(-t, a) for t, a in s], -d), "it should give"),
]

# -- fee


def fee_by_search(costs, margin):
    low, high = 0.0, 1e3
    for _ in range(200):
        price = (low + high) / 2
        revenue = price * len(costs)
        low, high = (low, price) if revenue - sum(costs) > margin * revenue else (price, high)
    return price


def fee_in_steps(costs, margin):
    revenue = sum(costs) / (1 - margin)
    return revenue / len(costs)


RIGHT[3, "fee"] = [fee_by_search, fee_in_steps, lambda c, m: np.mean(c) / (1 - m)]
WRONG[3, "fee"] = [
    (lambda costs, margin: mean(costs) + margin * mean(costs), "share of the price"),
    (lambda costs, margin: mean(costs), "earns nothing"),
    (lambda costs, margin: sum(costs) / (1 - margin), "for one"),
    (lambda costs, margin: np.median(costs) / (1 - margin), "median"),
    (lambda costs, margin: sorted(costs)[-1] / (1 - margin), "most expensive"),
    (lambda costs, margin: np.mean(costs) - margin * np.mean(costs), "below the cost"),
    (lambda costs, margin: np.mean(costs) + margin, "no amount"),
    (lambda costs, margin: sum(costs) / len(costs) / margin, "1 - margin"),
    (lambda costs, margin: round(fee_in_steps(costs, margin), 2), "rounded"),
    (lambda costs, margin: 100 * fee_in_steps(costs, margin), "in cents"),
]

# -- cheapest


def cheapest_by_sorting(table, tolerance):
    most = max(row[1] for row in table)
    for way, solved, _ in sorted(table, key=lambda row: row[2]):
        if solved + tolerance >= most:
            return way
    return None


def cheapest_by_loop(table, tolerance):
    most = 0
    for _, solved, _ in table:
        most = max(most, solved)
    best = None
    for row in table:
        if most - row[1] <= tolerance and (best is None or row[2] < best[2]):
            best = row
    return best[0]


def cheapest_by_pandas(table, tolerance):
    import pandas as pd

    rows = pd.DataFrame(table, columns=["way", "solved", "cost"]).set_index("way")
    return rows[rows.solved >= rows.solved.max() - tolerance].cost.idxmin()


RIGHT[3, "cheapest"] = [cheapest_by_sorting, cheapest_by_loop, cheapest_by_pandas]


def cheapest_first(table, tolerance):
    most = max(row[1] for row in table)
    for way, solved, _ in table:
        if solved >= most - tolerance:
            return way
    return None


def cheapest_strictly(table, tolerance):
    most = max(row[1] for row in table)
    return cheapest_by_sorting([r for r in table if r[1] > most - tolerance or r[1] == most], 1e9)


WRONG[3, "cheapest"] = [
    (lambda table, tolerance: sorted(table, key=lambda row: -row[1])[0][0], "solves most"),
    (lambda table, tolerance: sorted(table, key=lambda row: row[2])[0][0], "cheapest of all"),
    (lambda table, tolerance: min(table, key=lambda row: row[2] / row[1])[0], "for the money"),
    (cheapest_first, "first of those"),
    (lambda table, tolerance: cheapest_by_sorting(table, 0), "leaves out the tolerance"),
    (cheapest_strictly, ">="),
    (
        lambda table, tolerance: min(
            (r for r in table if r[1] > max(r[1] for r in table) - tolerance), key=lambda r: r[2]
        )[0],
        ">= and not > (and for",
    ),
    (
        lambda table, tolerance: cheapest_by_sorting(table, tolerance + 0.9),
        "neither 1 less",
    ),
    (
        lambda table, tolerance: min(
            (r for r in table if r[1] >= int(max(r[1] for r in table) - tolerance)),
            key=lambda r: r[2],
        )[0],
        "nor rounded",
    ),
    (
        lambda table, tolerance: cheapest_by_sorting(
            [(way, int(solved), cost) for way, solved, cost in table], tolerance
        ),
        "nor rounded",
    ),
    (
        lambda table, tolerance: max(
            (r for r in table if r[1] >= max(r[1] for r in table) - tolerance),
            key=lambda row: row[1] / row[2],
        )[0],
        "of those that will do",
    ),
    (lambda table, tolerance: [cheapest_by_sorting(table, tolerance)], "return that alone"),
    (
        lambda table, tolerance: next(
            row for row in table if row[0] == cheapest_by_loop(table, tolerance)
        ),
        "whole row",
    ),
    (
        lambda table, tolerance: next(
            row[2] for row in table if row[0] == cheapest_by_loop(table, tolerance)
        ),
        "costs",
    ),
]
