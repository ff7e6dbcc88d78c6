"""Who runs next, by hand: each rule on a few sequences of plain numbers."""

import math
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from itslab.backends.scheduler import PATIENCE, Entry, Scheduler, Service
from itslab.core import OptionError


class Job(Entry):
    """A sequence with a name."""

    def __init__(self, name: str, prompt: int = 10, most: int = 10, **more: object) -> None:
        asked = {key: more.pop(key) for key in tuple(more) if key in vars(Service())}
        super().__init__(prompt, most, service=Service(**asked), **more)  # type: ignore[arg-type]
        self.name = name

    def __repr__(self) -> str:
        return self.name


def names(jobs: object) -> str:
    return "".join(job.name for job in jobs)  # type: ignore[attr-defined]


def order(scheduler: Scheduler[Job], now: float = 0.0) -> str:
    """Who gets one place after the other, when each ends before the next may join."""
    gone = ""
    while scheduler.waiting:
        for job in scheduler.admit(now):
            gone += job.name
            scheduler.remove(job)
    return gone


def submitted(*jobs: Job, batch_size: int = 1, **options: object) -> Scheduler[Job]:
    scheduler: Scheduler[Job] = Scheduler(batch_size, **options)  # type: ignore[arg-type]
    scheduler.submit(jobs)
    return scheduler


def advance(scheduler: Scheduler[Job], now: float = 0.0) -> list[tuple[Job, int]]:
    """Take a step as an engine would, and return its rows."""
    for _ in scheduler.admit(now):
        pass
    rows = scheduler.plan(now)
    for job, n in rows:
        job.evaluated += n
        if not job.pending:
            job.drawn += 1
            if job.drawn == job.most:
                scheduler.remove(job)
    return rows


def step(scheduler: Scheduler[Job]) -> dict[str, int]:
    return {job.name: n for job, n in advance(scheduler)}


# -- who joins -------------------------------------------------------------------------------------


def test_one_caller_is_served_first_come_first_served() -> None:
    scheduler = submitted(Job("a"), Job("b"))
    scheduler.submit([Job("c")])
    assert order(scheduler) == "abc"


def test_who_continues_cached_text_goes_first_the_latest_to_come_before_all() -> None:
    scheduler = submitted(Job("a"), Job("b", cached=6), Job("c", cached=5), Job("d", cached=9))
    scheduler.submit([Job("e", cached=7), Job("f")])
    assert order(scheduler) == "ebdacf"  # of c just half is cached


def test_a_higher_priority_goes_before_everything_else() -> None:
    jobs = [Job("a", cached=9), Job("b", priority=1), Job("c", priority=-1), Job("d", deadline=3)]
    assert order(submitted(*jobs, Job("e", priority=1))) == "bedac"


def test_the_earliest_deadline_goes_first_unless_it_has_passed() -> None:
    def jobs() -> list[Job]:
        return [Job("a"), Job("b", deadline=9), Job("c", deadline=5), Job("d", deadline=2)]

    assert order(submitted(*jobs()), now=0) == "dcba"
    assert order(submitted(*jobs()), now=2) == "cbad"  # 2 is too late to be complete by 2
    assert order(submitted(*jobs()), now=math.inf) == "abcd"


def test_as_many_join_as_there_are_places_and_the_width_may_change() -> None:
    scheduler = submitted(*map(Job, "abcdef"), batch_size=2)
    assert names(scheduler.admit(0)) == "ab"
    scheduler.batch_size = 3
    assert names(scheduler.admit(0)) == "c"
    scheduler.batch_size = 1
    assert names(scheduler.admit(0)) == ""
    scheduler.remove(scheduler.running[0])
    scheduler.remove(scheduler.running[0])
    assert names(scheduler.admit(0)) == ""
    scheduler.remove(scheduler.running[0])
    assert names(scheduler.admit(0)) == "d"
    assert names(scheduler.waiting) == "ef"


# -- shares of callers -----------------------------------------------------------------------------


def test_callers_take_turns_however_many_sequences_one_of_them_has() -> None:
    many = [Job(letter, caller="many") for letter in "abcdef"]
    few = [Job(letter, caller="few", arrival=1) for letter in "xy"]
    assert names(submitted(*many, *few, batch_size=4).admit(0)) == "axby"
    assert names(submitted(*many, *few, batch_size=8).admit(0)) == "axbycdef"


def test_a_weight_of_two_gets_two_places_for_one() -> None:
    heavy = [Job(letter, caller="heavy", weight=2.0, arrival=1) for letter in "abcd"]
    light = [Job(letter, caller="light") for letter in "xyz"]
    assert names(submitted(*heavy, *light, batch_size=6).admit(0)) == "xabycd"


def test_what_a_sequence_may_still_take_counts_against_its_caller() -> None:
    long = [Job(letter, most=90, caller="long") for letter in "abc"]  # 100 rows each
    short = [
        Job(letter, most=15, caller="short", arrival=1) for letter in "tuvwxyz"
    ]  # 25 rows each
    assert names(submitted(*long, *short, batch_size=7).admit(0)) == "atuvwbx"


def test_what_running_sequences_may_still_take_counts_too() -> None:
    scheduler = submitted(Job("a", most=100, caller="A"), batch_size=2)
    step(scheduler)
    scheduler.submit([Job("b", caller="A"), Job("x", caller="X", arrival=1)])
    assert names(scheduler.admit(0)) == "x"


def test_cached_tokens_are_not_charged() -> None:
    cached = [Job(letter, prompt=90, cached=90, caller="cached") for letter in "abcdef"]
    fresh = [Job(letter, prompt=20, caller="fresh", arrival=1) for letter in "xy"]
    assert names(submitted(*cached, *fresh, batch_size=6).admit(0)) == "axbcdy"


def test_rows_had_are_remembered_while_others_are_there() -> None:
    a, x = Job("a", prompt=5, most=40, caller="A"), Job("x", prompt=100, most=2, caller="X")
    scheduler = submitted(a, x, batch_size=2)
    for _ in range(2):
        step(scheduler)
    assert names(scheduler.running) == "a"  # X has had 101 rows; A has had 6 and may take 39 more
    scheduler.submit([Job("y", caller="X"), Job("b", caller="A", arrival=1)])
    assert names(scheduler.admit(0)) == "b"


def test_who_comes_late_has_no_claim_on_the_time_before() -> None:
    scheduler = submitted(
        Job("a", most=200, caller="A"), Job("b", most=200, caller="B"), batch_size=2
    )
    for _ in range(100):
        step(scheduler)  # A and B have had 109 rows each
    scheduler.batch_size = 8
    late = [Job(letter, most=100, caller="L") for letter in "stuvwx"]
    scheduler.submit([*late, Job("c", most=100, caller="A", arrival=1)])
    # A has had 109 and may take 101 more; L begins at 109, and its first one takes 110.
    assert names(scheduler.admit(0))[:3] == "sct"


def test_an_idle_scheduler_forgets_who_had_what() -> None:
    scheduler = submitted(Job("a", caller="A"), batch_size=1)
    while scheduler.running or scheduler.waiting:
        step(scheduler)
    scheduler.submit([Job("b", caller="A"), Job("x", caller="X", arrival=1)])
    assert order(scheduler) == "bx"


def test_priority_and_deadline_come_before_shares() -> None:
    greedy = [Job(letter, caller="greedy", priority=1) for letter in "abc"]
    soon = [Job(letter, caller="greedy", deadline=9) for letter in "de"]
    modest = [Job("x", caller="modest")]
    assert names(submitted(*modest, *soon, *greedy, batch_size=6).admit(0)) == "abcdex"


# -- prompts that are on their way -----------------------------------------------------------------


def same_letter(entry: Job, other: Job) -> int:
    return other.prompt_length if entry.name[0] == other.name[0] else 0


def known_when_evaluated(done: set[str]) -> Callable[[Job], int]:
    return lambda job: job.prompt_length if job.name[0] in done else 0


def test_a_prompt_is_evaluated_once_and_places_are_kept_for_those_who_wait_for_it() -> None:
    done: set[str] = set()
    jobs = [Job("a1"), Job("a2"), Job("a3"), Job("b1"), Job("c1")]
    scheduler = submitted(
        *jobs, batch_size=4, shared=same_letter, cached=known_when_evaluated(done)
    )
    assert [job.name for job in scheduler.admit(0)] == ["a1", "b1"]
    assert [job.name for job in scheduler.admit(0)] == []  # the two other places are reserved
    step(scheduler)
    done.add("a")
    assert [job.name for job in scheduler.admit(0)] == ["a2", "a3"]
    assert [job.name for job in scheduler.waiting] == ["c1"]


def test_nobody_waits_for_a_prompt_that_is_evaluated() -> None:
    scheduler = submitted(Job("a1"), Job("a2"), batch_size=2, shared=same_letter)
    assert step(scheduler) == {"a1": 10}
    assert step(scheduler) == {"a1": 1, "a2": 10}  # though nothing of it is said to be cached


def test_places_reserved_for_a_callers_forks_are_charged_to_it() -> None:
    forks = [Job(f"a{i}", caller="forks") for i in range(8)]
    other = [Job(letter, caller="other", arrival=1) for letter in "xyz"]
    scheduler = submitted(*forks, *other, batch_size=6, shared=same_letter)
    assert [job.name for job in scheduler.admit(0)] == ["a0", "x", "y"]


# -- rows of a step --------------------------------------------------------------------------------


def test_a_step_has_a_row_of_everyone_who_draws_and_a_chunk_of_prompts() -> None:
    scheduler = submitted(
        Job("a", prompt=1), Job("b", prompt=100), Job("c", prompt=50), batch_size=4
    )
    assert step(scheduler) == {"a": 1, "b": 100, "c": 28}
    scheduler.submit([Job("d", prompt=300)])
    assert step(scheduler) == {"a": 1, "b": 1, "c": 22, "d": 106}
    assert step(scheduler) == {"a": 1, "b": 1, "c": 1, "d": 128}
    assert step(scheduler) == {"a": 1, "b": 1, "c": 1, "d": 66}
    assert step(scheduler) == {"a": 1, "b": 1, "c": 1, "d": 1}


def test_a_chunk_is_never_exceeded() -> None:
    scheduler = submitted(
        *(Job(letter, prompt=9) for letter in "abcd"), batch_size=4, prefill_rows=10
    )
    assert step(scheduler) == {"a": 9, "b": 1}
    assert step(scheduler) == {"a": 1, "b": 8, "c": 2}


def test_the_most_urgent_prompts_are_evaluated_first() -> None:
    jobs = [Job("a", prompt=9), Job("b", prompt=9, deadline=5), Job("c", prompt=9, priority=1)]
    scheduler = submitted(*jobs, batch_size=3, prefill_rows=20)
    assert names(scheduler.admit(0)) == "cba"
    scheduler.running.sort(key=lambda job: job.name)
    assert [(job.name, n) for job, n in scheduler.plan(0)] == [("c", 9), ("b", 9), ("a", 2)]
    assert [(job.name, n) for job, n in scheduler.plan(6)] == [("c", 9), ("a", 9), ("b", 2)]


def test_prompts_and_single_tokens_take_turns_where_hidden_states_are_wanted() -> None:
    scheduler = submitted(Job("a", prompt=2, signals=True), Job("b", prompt=200), batch_size=2)
    assert step(scheduler) == {"a": 2, "b": 126}
    assert step(scheduler) == {"a": 1}
    assert step(scheduler) == {"b": 74}
    assert step(scheduler) == {"a": 1, "b": 1}
    assert step(scheduler) == {"a": 1, "b": 1}


def test_a_deterministic_step_is_one_chunk_of_one_prompt_or_a_token_of_everyone() -> None:
    jobs = [Job("a", prompt=150), Job("b", prompt=20), Job("c", prompt=2, priority=1)]
    scheduler = submitted(*jobs, batch_size=3, deterministic=True)
    steps = [step(scheduler) for _ in range(5)]
    assert steps == [{"c": 2}, {"a": 128}, {"a": 22}, {"b": 20}, {"a": 1, "b": 1, "c": 1}]


def test_a_deterministic_prompt_is_alone_even_at_its_last_token_and_again_after_a_failure() -> None:
    scheduler = submitted(Job("a"), Job("b"), batch_size=2, deterministic=True)
    for job in scheduler.admit(0):
        job.evaluated = 9  # all but one were cached
    assert [step(scheduler) for _ in range(3)] == [{"a": 1}, {"b": 1}, {"a": 1, "b": 1}]
    for job in scheduler.running:
        job.evaluated = 0
    scheduler.restart()
    assert step(scheduler) == {"a": 1, "b": 1}  # in the steps in which they were drawn


# -- leaving and failing ---------------------------------------------------------------------------


def test_who_is_removed_is_neither_waiting_nor_running() -> None:
    a, b, c = jobs = [Job(letter) for letter in "abc"]
    scheduler = submitted(*jobs)
    assert names(scheduler.admit(0)) == "a"
    scheduler.remove(b)
    scheduler.remove(a)
    assert (scheduler.running, scheduler.waiting) == ([], [c])
    scheduler.remove(c)
    assert scheduler.waiting == []


def test_after_a_failed_step_the_batch_goes_before_those_who_waited() -> None:
    scheduler = submitted(*map(Job, "abcd"), batch_size=2)
    assert names(scheduler.admit(0)) == "ab"
    scheduler.restart()
    assert scheduler.running == []
    assert names(scheduler.waiting) == "abcd"


def test_who_ends_while_others_join_leaves_no_place_before_the_next_step() -> None:
    scheduler = submitted(*map(Job, "abc"), batch_size=2)
    joined = ""
    for job in scheduler.admit(0):
        joined += job.name
        scheduler.remove(job)
    assert joined == "ab"


@pytest.mark.parametrize(
    "bad",
    [{"weight": 0}, {"weight": math.inf}, {"priority": 1.5}, {"deadline": math.nan}, {"caller": 3}],
)
def test_nonsense_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(bad))}="):
        Service(**bad)  # type: ignore[arg-type]


# -- what it is for --------------------------------------------------------------------------------


def test_a_simulation_of_thousands_of_steps_takes_no_time_and_shares_them_by_weight() -> None:
    began = time.perf_counter()
    heavy = [Job("h", prompt=20, most=40, caller="heavy", weight=3.0) for _ in range(300)]
    light = [Job("l", prompt=20, most=40, caller="light", arrival=1) for _ in range(300)]
    rows = {"h": 0, "l": 0}
    scheduler = submitted(*heavy, *light, batch_size=8)
    for _ in range(1000):
        for job, n in advance(scheduler):
            rows[job.name] += n
    assert rows["h"] / rows["l"] == pytest.approx(3, rel=0.05)
    assert time.perf_counter() - began < 5


def test_it_needs_neither_numpy_nor_llama_cpp() -> None:
    code = "import sys, itslab.backends.scheduler; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"numpy", "llama_cpp", "sqlite3"} & set(loaded.stdout.split())


def test_a_new_prompt_is_not_overtaken_for_ever() -> None:
    scheduler: Scheduler[Job] = Scheduler(1, cached=lambda job: job.cached)
    scheduler.submit([Job("n")])
    gone = ""
    for _ in range(3 * PATIENCE):  # a search goes on as soon as it is served
        scheduler.submit([Job("c", cached=9)])
        for job in scheduler.admit(0.0):
            gone += job.name
            scheduler.remove(job)
    assert gone.index("n") == PATIENCE


def test_a_step_repeated_counts_like_as_many_steps() -> None:
    """Shares after k plans are those after one that is repeated k − 1 times."""

    def shares(times: int, at_once: bool) -> str:
        a, b = Job("a", 1, 99, caller="a", weight=2.0), Job("b", 1, 99, caller="b")
        scheduler = submitted(a, b, batch_size=2)
        advance(scheduler)
        rows = scheduler.plan(0.0)
        if at_once:
            scheduler.repeat(rows, times - 1)
        for _ in range(0 if at_once else times - 1):
            scheduler.plan(0.0)
        for job in (a, b):
            job.drawn = job.most
            scheduler.remove(job)
        # Whoever of both has had less goes first: a has half of b's rows for its weight.
        scheduler.submit([Job(f"{c}{times}", 1, 2 * times, caller=c) for c in "ab" * 3])
        return order(scheduler)

    for times in (1, 2, 7):
        assert shares(times, at_once=True) == shares(times, at_once=False)
    scheduler = submitted(Job("a", caller="a", weight=2.0), Job("b", caller="b"), batch_size=2)
    rows = advance(scheduler)
    had = dict(scheduler._rows)
    scheduler.repeat(rows, 3)
    assert scheduler._rows == {caller: 4 * n for caller, n in had.items()}
