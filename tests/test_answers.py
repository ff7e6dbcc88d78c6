"""Reading, comparing and voting: worked examples, traps, and hostile text."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from itslab.answers import (
    after_thinking,
    as_weights,
    canonical,
    equal,
    extract,
    readings,
    tally,
    vote,
)
from itslab.core import OptionError
from itslab.tasks.programs import extract_program

# -- extract ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{42}.", "42"),
        (r"First \boxed{1}, no: \boxed{2}.", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{x = \boxed{7}}", "7"),
        (r"\boxed {3}", "3"),
        (r"The total is 5, so \boxed{5} apples and 7 pears", "5"),
        (r"Put it in \boxed{}. The answer is 8.", "8"),
        (r"\boxed{3} is wrong, it is \boxed{\frac{1}{", "3"),
        ("The answer is 18.", "18"),
        ("The answer is 12.5. I hope it is correct.", "12.5"),
        ("The answer is not 5. The answer is $6$ dollars.", "$6$ dollars"),
        ("**Answer:** 42", "42"),
        ("The answer is:\n\n\\[ 42 \\]", r"\[ 42 \]"),
        ("The answer to part (b) is 12 * 3 = 36.", "36"),
        ("The answer is Monday.", "Monday"),
        ("The answer is (1, 2)", "(1, 2)"),
        ("She sells 9*2 = 18.\n#### 18", "18"),
        ("#### Step 2\nNow we have 7 apples.", "7"),
        ("Answer: first we add 3 and 4, which makes 7 in all", "7"),
        ("It costs $1,234.50", "$1,234.50"),
        ("10 - 5 leaves 5, and then -3", "-3"),
        ("we get 10-5", "5"),
        (r"which leaves \frac{3}{4}", r"\frac{3}{4}"),
        ("that is 3/4 of it", "3/4"),
        ("H2O and x1 and 1,2,3", "3"),
        ("", None),
        ("I do not know.", None),
        (r"\boxed{}", None),
    ],
)
def test_extract_reads_the_last_box_then_the_statement_then_the_last_number(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"The answer is \boxed{}.", None),
        (r"The answer is \boxed{?}. \boxed{\ldots}", None),
        (r"\boxed{} and in all \fbox{9}", "9"),
        ("The answer is −5.", "-5"),
        ("so that it drops to −5", "-5"),
        ("The answer is ２４。", "24"),
        ("The answer is ٢٤.", "24"),
        ("The answer is **24**!", "24"),
        ("The answer is 24! I am sure.", "24"),
        ("The answer is 24 🎉", "24"),
        ("The answer is <b>24</b>.", "24"),
        ("The answer is therefore 24", "24"),
        ("therefore 24", "24"),
        ("So the answer is\n\\[\n24\n\\]", "24"),
        ("The answer is $$\n24\n$$", "24"),
        ("**Final Answer**\n\n24 apples", "24"),
        ("24 #### 24", "24"),
        ("The answer is 24 #### 24", "24"),
        ("#### **24**", "24"),
        ("The answer is 1, 2 and 3", "1, 2, 3"),
        ("The answer is 1, 2, 3, 4, and 5 apples.", "1, 2, 3, 4, 5"),
        ("The answer is 10, 5 of them being red", "10"),
        ("The answer is x = 3, y = 4.", "x = 3, y = 4"),
        ("The answer is $x=3$ and $y=4$.", "x = 3, y = 4"),
        ("The answer is 18 dollars and 50 cents.", "18 dollars and 50 cents"),
        (r"The answer is \(24\) apples", "24"),
        ("The answer is $24$ clips", "24"),
        ("The answer is $24$ red paper clips in all", "24"),
        (r"The answer is \(\sqrt{2}\) units from the origin.", r"\sqrt{2}"),
        ("The answer is about 24", "24"),
        ("The answer is 5 (not 6).", "5"),
        ("The answer is 24 apples, not 25.", "24"),
        ("The answer is not 5, it is 6.", "6"),
        ("answer is $x=3$.", "3"),
        (r"The answer is \(x = 3\).", "3"),
        ("final answer: (B) because it is blue", "B"),
        ("final answer: (B) because …", "B"),
        ("Answer: C. Paris", "C"),
        ("The answer is 24. This answer is correct.", "24"),
        ("How to find the answer:\n\n1. Add 3 and 4, which gives 7", "7"),
        (r"<think>The answer is 3: \boxed{3}</think>It is 24", "24"),
        (r"<think>\boxed{3}</think>I do not know.", None),
        (r"<thinking>\boxed{3}</thinking> \boxed{24}", "24"),
    ],
)
def test_the_answer_is_what_the_text_says(text, answer):
    said = extract(text)
    assert (said is None) if answer is None else equal(said, answer), said


def test_readings_are_all_that_may_be_meant_thinking_included():
    text = r"<think>\boxed{3}. The answer is 4.</think> The answer is 5. Or 6"
    assert readings(text) == ["3", "5", "4", "6"]
    assert after_thinking(text) == " The answer is 5. Or 6"


NONSENSE = [5, 2.5, True, float("nan"), b"5", ["5"]]


@pytest.mark.parametrize("value", [None, *NONSENSE])
def test_what_is_no_text_is_refused(value):
    for read in (extract, readings, canonical, after_thinking, extract_program):
        with pytest.raises(OptionError, match="must be text"):
            read(value)


SAID = ["The answer is {}.", "**Answer:** {}", "So it is \\boxed{{{}}}.", "#### {}",
        "Thus the final answer is ${}$, which is right.", "The answer is \\[\n{}\n\\]",
        "<think>The answer is 0</think>The answer is {}"]  # fmt: skip


@settings(deadline=None)
@given(
    st.sampled_from(SAID),
    st.one_of(
        st.integers(-(10**9), 10**9).map(str),
        st.decimals(-999, 999, places=2).map(str),
        st.tuples(st.integers(1, 99), st.integers(2, 99)).map(
            lambda ab: f"\\frac{{{ab[0]}}}{{{ab[1]}}}"
        ),
        st.lists(st.integers(1, 99), min_size=2, max_size=5).map(
            lambda ns: ", ".join(map(str, ns))
        ),
    ),
)
def test_an_answer_is_read_back_in_any_phrasing(phrase, answer):
    assert equal(extract(phrase.format(answer)), answer)


PARTS = [
    "x", "y", "2", "30", ".5", "+", "-", "−", "(", ")", "[", "]", "{", "}", "^", "=", "!", "½", "²",
    ",", " and ", " ", "%", "$", "one", "hundred", " apples", r"\frac{1}{2}", r"\sqrt", r"\infty",
    "ln", "pi", r"\binom{4}{2}", "a = ",
]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(PARTS), max_size=7).map("".join))
@example("2one\\infty")
def test_a_canonical_form_is_its_own_canonical_form(text):
    form = canonical(text)
    assert canonical(form) == form


@settings(deadline=None)
@given(st.text(alphabet="0123456789.,/-+ \\{}boxedanswer is:#$^_()[]\n%", max_size=300))
def test_any_text_gives_an_answer_or_none(text):
    answer = extract(text)
    assert answer is None or canonical(answer) == canonical(answer)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_answer_has_a_canonical_form_and_equals_itself(text):
    assert isinstance(canonical(text), str)
    assert equal(text, text)


@settings(deadline=None)
@given(st.text(alphabet="abcxyz0123456789 +-*/^{}\\", max_size=40))
def test_what_was_boxed_is_read_back(text):
    content = text.replace("{", "").replace("}", "").replace("\\", "").strip()
    said = content.strip(" -.?_")
    assert extract(rf"so \boxed{{{content}}}") == (content if said else None)


MEGABYTE = 1_000_000
HOSTILE = {
    "digits": "9" * MEGABYTE,
    "zeros and a letter": "0" * MEGABYTE + "x",
    "commas": "9," * (MEGABYTE // 2),
    "thousands": "1" + ",000" * (MEGABYTE // 4),
    "nested braces": "{" * MEGABYTE,
    "nested box": r"\boxed" + "{" * (MEGABYTE // 2) + "}" * (MEGABYTE // 2),
    "open boxes": r"\boxed{" * (MEGABYTE // 7),
    "boxes in boxes": r"\boxed{" * (MEGABYTE // 8) + "1" + "}" * (MEGABYTE // 8),
    "box and spaces": (r"\boxed" + " " * 1000) * (MEGABYTE // 1000),
    "answers": "answer " * (MEGABYTE // 7),
    "answers and spaces": "the answer is" + " " * MEGABYTE,
    "fractions": r"\frac{1" * (MEGABYTE // 7),
    "hashes": "#" * MEGABYTE,
    "minus signs": "-" * MEGABYTE,
    "dots": "1." * (MEGABYTE // 2),
    "exponents": "1e" * (MEGABYTE // 2),
    "brackets": "([" * (MEGABYTE // 2),
    "words": "word " * (MEGABYTE // 5),
}


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_megabyte_is_read_in_bounded_time(text):
    began = time.thread_time()
    answer = extract(text)
    if answer is not None:
        canonical(answer)
    canonical(text)
    assert time.thread_time() - began < 5


POWERS = [
    "9^{9^{9}}",
    "9^9^9^9",
    "(2^{99})^{99}",
    r"\frac{1}{10^{999999999}}",
    "99999999!",
    "2^(10^10)",
]
EXPRESSIONS = [
    *POWERS,
    "(a+b+c+d+e+f+g)^{99}",
    "((((((((((((((((((((1))))))))))))))))))))+x",
    r"\sqrt{" * 20 + "2" + "}" * 20,
    r"\frac{1}{" * 15 + "x" + "}" * 15,
    r"\int_0^1 e^{-x^2} dx",
    r"\sum_{k=1}^{10^9} k",
    r"\binom{1000000000}{500000000}",
    "[" * 60 + "]" * 60,
    "{" * 60 + "}" * 60,
    "(" * 60 + "5" + ")" * 60,
    "x" * 120,
    "1 " * 60,
    "x=" * 60,
    "+" * 120,
    "1,234," * 20,
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_no_expression_takes_long_to_compare(text):
    canonical("x + 1")  # sympy is imported by now
    began = time.thread_time()
    assert canonical(text)
    assert time.thread_time() - began < 3


def test_powers_too_large_to_evaluate_stay_as_written():
    assert [canonical(power) for power in POWERS] == POWERS


def test_numbers_of_ten_thousand_digits_are_compared():
    digits = "123456789" * 1111
    assert extract(f"The answer is {digits}.") == digits
    assert equal(f"00{digits}.500", f"${digits}.5")
    assert not equal(digits, digits + "1")


# -- canonical form --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("1,234", "1234"),
        ("1{,}234", "1234"),
        (r"1\,234", "1234"),
        ("1,234,567.80", "1234567.8"),
        ("12.50", "12.5"),
        ("007", "7"),
        (".5", "0.5"),
        ("5.", "5"),
        ("-0", "0"),
        ("−5", "-5"),
        ("+5", "5"),
        (r"\$18.00", "18"),
        ("-$5", "-5"),
        ("$5$", "5"),
        (r"\(5\)", "5"),
        ("50%", "50"),
        (r"50\%", "50"),
        ("12 apples", "12"),
        (r"5\text{ cm}", "5"),
        ("5 cm^2", "5"),
        ("5 miles per hour", "5"),
        (r"45^\circ", "45"),
        ("2 million", "2000000"),
        ("1/2", "0.5"),
        (r"\frac{2}{6}", "1/3"),
        (r"-\dfrac12", "-0.5"),
        (r"1\frac{1}{2}", "1.5"),
        ("2 3/4", "2.75"),
        ("1.5e-3", "0.0015"),
        (r"2 \times 10^{5}", "200000"),
        ("**Monday.**", "monday"),
        (r"\text{Monday}", "monday"),
        ("(A)", "a"),
        ("x = 5", "5"),
        ("2 + 3 = 5", "5"),
        ("5, 6", "{5, 6}"),
        ("6 and 5", "{5, 6}"),
        (r"\{6, 5\}", "{5, 6}"),
        (r"\pm 3", "{-3, 3}"),
        ("(5, 6)", "(5, 6)"),
        ("[0, 1.0)", "[0, 1)"),
        ("1,234 and 5,678", "{1234, 5678}"),
        ("(x+1)^2", "x**2 + 2*x + 1"),
        (r"\frac{\sqrt{2}}{2}", "sqrt(2)/2"),
        (r"1/\sqrt{2}", "sqrt(2)/2"),
        (r"\frac{1}{1+\sqrt{2}}", "-1 + sqrt(2)"),
        (r"\frac{1+\sqrt{5}}{2}", "1/2 + sqrt(5)/2"),
        ("0.5x", "x/2"),
        ("3π", "3*pi"),
        ("12*(3+4)", "84"),
        ("3(10)", "30"),
        ("2^(1/3)", "2**(1/3)"),
        (r"\sqrt[3]{2}", "2**(1/3)"),
        ("twenty-four", "24"),
        ("two hundred and five", "205"),
        ("1.234,56", "1234.56"),
        ("3,5", "{3, 5}"),
        ("2 dozen", "24"),
        ("5 p.m.", "5:00 pm"),
        ("Option B", "b"),
        ("2x = 3y + 1", "-2*x + 3*y + 1 = 0"),
    ],
)
def test_canonical_form(answer, form):
    assert canonical(answer) == form


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        (r"A = \begin{bmatrix}1&2\\3&4\end{bmatrix}", "[[1, 2], [3, 4.0]]"),
        ("5!", "120"),
        ("5! ways", "120"),
        (r"\binom{5}{2}", "10"),
        (r"3\binom{5}{2}", "30"),
        ("11_{2}", "11_2"),
        ("11₂", "11_2"),
        (r"\infty", "infinity"),
        ("-∞", "-infinity"),
        (r"(-\infty, 3]", "(-infinity, 3.0]"),
        ("y = 2x+1", "2x+1 = y"),
        ("5 = x", "x = 5"),
        ("x = y", "y = x"),
        ("2x + 3y = 5", "5 = 2x + 3y"),
        (r"\(24\) apples", "24"),
        ("$24$ clips", "24"),
        ("about 24", "24"),
        ("24 #### 24", "24"),
        ("1'234", "1234"),
        ("1\u202f234", "1234"),
        ("25°C", "25"),
        ("2×10⁵", "200000"),
        ("2x10^5", "200000"),
        ("US$5", "5 USD"),
        (r"\cfrac{1}{2}", "½"),
        ("x²", "x^2"),
        ("[B]", r"\text{(B)}"),
    ],
)
def test_spellings_of_the_same_are_equal(a, b):
    assert equal(a, b), (canonical(a), canonical(b))
    assert equal(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("11_2", "11"),
        ("3,5", "3.5"),
        ("2 thirds", "2"),
        ("one two", "3"),
        ("ten five", "15"),
        ("twenty and five", "25"),
        ("five and six", "11"),
        ("x = 3, y = 4", "4"),
        ("18 dollars and 50 cents", "18"),
        ("infinity", "-infinity"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
        ("840,840", "840840"),  # two answers run together
        ("840,840", "840"),
        ("1, 2", "1, 2, 3"),  # a subset
        ("1331 and 1728", "1728"),
        ("(5, 6)", "(6, 5)"),
        ("[0, 1]", "(0, 1)"),
        ("x=5, y=3", "x=3, y=5"),
        ("3 hours and 20 minutes", "20 hours and 3 minutes"),
        ("5 am", "5 pm"),
        ("0.333", "1/3"),
        ("dog", "god"),  # a parser of LaTeX multiplies letters
        ("12:30", "0.4"),
        ("120_{3}", "120"),
        ("2ab", "2"),
        ("10!", "10"),
        ("1.2.3", "6"),
        ("2 or more", "2"),
        ("-5", "5"),
        ("", "0"),
    ],
)
def test_what_only_looks_alike_is_not_equal(a, b):
    assert not equal(a, b)
    assert not equal(b, a)


def test_none_equals_nothing():
    assert not equal(None, None)
    assert not equal(None, "5")
    assert not equal("5", None)


@settings(deadline=None)
@given(st.fractions(max_denominator=10_000))
def test_a_fraction_is_written_exactly_however_it_is_spelled(value):
    form = canonical(f"{value.numerator}/{value.denominator}")
    assert Fraction(form) == value
    assert canonical(form) == form
    assert canonical(rf"\frac{{{value.numerator}}}{{{value.denominator}}}") == form


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12), st.integers(0, 3))
def test_separators_and_zeros_do_not_change_a_number(number, zeros):
    plain, grouped = f"{number}.{'0' * zeros}", f"{number:,}"
    assert equal(plain, str(number))
    groups = grouped.lstrip("-").split(",")
    assert equal(grouped, str(number)) == (len(groups) == 1 or len(set(groups)) > 1)


@settings(deadline=None)
@given(st.lists(st.integers(-99, 99), min_size=2, max_size=6), st.randoms())
def test_a_list_ignores_order_only(numbers, rng):
    listed = ", ".join(map(str, numbers))
    shuffled = list(numbers)
    rng.shuffle(shuffled)
    assert equal(listed, ", ".join(map(str, shuffled)))
    assert not equal(listed, ", ".join(map(str, numbers[1:])))


def test_expressions_are_compared_from_any_thread():
    forms: list[str] = []
    threads = [
        threading.Thread(target=lambda i=i: forms.append(canonical(f"(x+{i})^2-{i}^2-{2 * i}x")))
        for i in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert forms == ["x**2"] * 8


def test_ten_thousand_numbers_take_well_under_a_second():
    numbers = [f"${i:,}.{i % 100:02d}" for i in range(10_000)]
    began = time.thread_time()
    for number in numbers:
        canonical(number)
    assert time.thread_time() - began < 0.5


# -- votes -----------------------------------------------------------------------------------------


def test_votes_are_counted_on_canonical_answers():
    answers = ["18", None, "$18.00", "20", r"\frac{36}{2}"]
    assert tally(answers) == {"18": 3.0, "20": 1.0}
    assert vote(answers) == 0


def test_of_equal_answers_the_earliest_wins():
    assert vote(["2", "1", "1", "2"]) == 0
    assert vote([None, "1", "2", "2", "1"]) == 1


def test_weights_can_overturn_the_majority():
    answers = ["1", "1", "2"]
    assert vote(answers) == 0
    assert vote(answers, [0.2, 0.2, 0.5]) == 2
    assert tally(answers, [0.25, 0.25, 0.5]) == {"1": 0.5, "2": 0.5}
    assert vote(answers, [0.25, 0.25, 0.5]) == 0


def test_unscored_samples_and_missing_answers_abstain():
    assert tally(["1", "2", None], [float("nan"), 1.0, 5.0]) == {"2": 1.0}
    assert vote([None, None]) is None
    assert vote([]) is None


def test_bad_weights_are_refused():
    with pytest.raises(OptionError, match=r"weight=-0\.5 is not valid"):
        vote(["1"], [-0.5])
    for odd in ("1", None, True):
        with pytest.raises(OptionError, match="weight must be a number"):
            vote(["1"], [odd])
    with pytest.raises(OptionError, match="weights must be 2, one per answer"):
        vote(["1", "2"], [1.0])


def test_scores_become_weights_by_hand():
    nan = float("nan")
    logs = [math.log(0.2), math.log(0.8), nan]
    assert as_weights([0.2, 0.8, nan])[:2] == [0.2, 0.8]
    assert as_weights(logs, "exp")[:2] == pytest.approx([0.25, 1])  # in proportion
    assert as_weights([-5, 7, 0, 7, nan], "rank")[:4] == [1, 4, 2, 4]
    assert all(math.isnan(as_weights(logs, how)[2]) for how in ("score", "exp", "rank"))
    assert as_weights([nan, nan], "exp") == [1, 1]  # who says nothing changes nothing
    with pytest.raises(OptionError, match=r"'score' or 'exp' or 'rank'"):
        as_weights([1.0], "log")  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["1", "1.0", "2", "3", None]), max_size=12))
def test_the_winner_has_the_most_votes_and_came_first_among_those(answers):
    winner, votes = vote(answers), tally(answers)
    assert sum(votes.values()) == sum(answer is not None for answer in answers)
    if winner is None:
        assert not votes
        return
    key = canonical(answers[winner])
    leaders = [k for k in votes if votes[k] == max(votes.values())]
    assert key == leaders[0]
    assert all(a is None or canonical(a) != key for a in answers[:winner])


def test_importing_answers_imports_no_algebra():
    code = (
        "import sys, itslab.answers, itslab.tasks, itslab.study.statistics;"
        "print(sys.modules.keys() & {'sympy', 'math_verify', 'pandas', 'reasoning_gym'})"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert printed.stdout.strip() == b"set()"


def test_the_winner_is_a_sample_that_voted_and_weights_may_be_an_array():
    import numpy as np

    assert vote(["7", "7", "8"], np.array([np.nan, 0.9, 0.4])) == 1
