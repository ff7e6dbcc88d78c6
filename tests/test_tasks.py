"""Tasks: what is loaded, in which order, under which names, and how it is graded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import median

import pytest

from itslab import tasks
from itslab.answers import canonical
from itslab.core import OptionError, Problem, TaskError


def write(path: Path, *rows: object) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def ten(tmp_path):
    rows = ({"question": f"What is {i} + {i}?", "answer": 2 * i, "level": i} for i in range(10))
    return write(tmp_path / "sums.jsonl", *rows)


# -- gsm_symbolic ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def levels():
    return {d: tasks.load("gsm_symbolic", n=200, difficulty=d) for d in (1.0, 2.0, 3.0)}


def test_generated_problems_have_stable_ids_and_content(levels):
    again = tasks.load("gsm_symbolic", n=20)
    assert levels[1.0].name == "gsm_symbolic/d1.0/s0"
    assert again.problems == levels[1.0].problems[:20]
    assert all(problem.id.startswith("gsm_symbolic/d1.0/s0/") for problem in again)
    assert len({problem.id for problem in levels[1.0]}) == len(levels[1.0]) == 200


def test_every_generated_gold_answer_is_a_whole_number(levels):
    for task in levels.values():
        assert all(problem.answer.isdigit() for problem in task)


def test_generated_prompts_are_the_bare_question(levels):
    for task in levels.values():
        assert not any("final answer" in problem.prompt for problem in task)
        assert not any(".3333" in problem.prompt or ".6666" in problem.prompt for problem in task)


def test_difficulty_enlarges_the_numbers_of_the_same_templates(levels):
    easy, hard = levels[1.0].problems, levels[3.0].problems
    assert [p.meta["template"] for p in easy] == [p.meta["template"] for p in hard]
    assert median(int(p.answer) for p in hard) > 2 * median(int(p.answer) for p in easy)


def test_neighbouring_seeds_share_problems_by_chance_only(levels):
    other = tasks.load("gsm_symbolic", n=200, seed=1)
    assert len({p.prompt for p in other} & {p.prompt for p in levels[1.0]}) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": 0.5}, "difficulty=0.5 is not valid: difficulty must be a number in"),
        ({"difficulty": 9}, "difficulty=9"),
        ({"dificulty": 2}, "option='dificulty' is not valid: option must be difficulty"),
        ({"n": None}, "n=None"),
        ({"n": 0}, "n=0"),
        ({"n": -1}, "n=-1"),
        ({"seed": None}, "seed=None"),
        ({"seed": -1}, "seed=-1"),
        ({"n": 2.5}, "n=2.5"),
        ({"n": True}, "n=True"),
        ({"n": "5"}, "n='5'"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"difficulty": None}, "difficulty=None"),
        ({"difficulty": "1"}, "difficulty='1'"),
        ({"difficulty": float("nan")}, "difficulty=nan"),
    ],
)
def test_a_bad_option_is_named_with_the_valid_ones(options, message):
    with pytest.raises(OptionError, match=message):
        tasks.load("gsm_symbolic", **{"n": 5, **options})


# -- files -----------------------------------------------------------------------------------------


def test_a_file_without_a_seed_keeps_its_order(ten):
    task = tasks.load(ten, seed=None)
    assert task.name == "sums"
    assert [problem.id for problem in task] == [f"sums/{line}" for line in range(1, 11)]
    assert task.problems[3] == Problem("sums/4", "What is 3 + 3?", "6", {"level": 3})


def test_fewer_problems_of_a_seed_are_the_first_of_more(ten):
    everything = tasks.load(ten, seed=7)
    assert tasks.load(ten, n=4, seed=7).problems == everything.problems[:4]
    assert sorted(p.id for p in everything) == sorted(p.id for p in tasks.load(ten, seed=None))
    assert everything.problems != tasks.load(ten, seed=8).problems


def test_gold_answers_follow_the_hashes_and_questions_may_be_called_prompt_or_problem(tmp_path):
    path = write(
        tmp_path / "mixed.jsonl",
        {"question": "a?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2,000"},
        {"prompt": "b?", "answer": 2.5},
        {"problem": "c?", "answer": r"\frac{1}{2}"},
    )
    task = tasks.load(path, seed=None)
    assert [(p.prompt, p.answer) for p in task] == [
        ("a?", "2,000"),
        ("b?", "2.5"),
        ("c?", r"\frac{1}{2}"),
    ]


def test_a_file_that_is_not_utf8_is_told_to_be_saved_as_such(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes('{"question": "Wie groß?", "answer": 2}'.encode("latin-1"))
    with pytest.raises(TaskError, match=r"mine.jsonl, line 1: save the file as UTF-8"):
        tasks.load(path, seed=None)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1, 2]",
        '"text"',
        "{}",
        '{"question": "a?"}',
        '{"answer": "1"}',
        '{"question": 5, "answer": "1"}',
        '{"question": "a?", "answer": null}',
        '{"question": "a?", "answer": true}',
        '{"question": "a?", "answer": "####"}',
        '{"question": " ", "answer": "1"}',
        "[" * 100_000,
        b"\xff\xfe{",
    ],
)
def test_a_malformed_line_is_named_with_what_was_expected(tmp_path, line):
    path = tmp_path / "bad.jsonl"
    line = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(b'{"question": "a?", "answer": "1"}\n\n' + line + b"\n")
    with pytest.raises(TaskError, match=r"bad\.jsonl, line 3: .*expected an object with") as error:
        tasks.load(str(path))
    assert len(str(error.value)) < 500


QUESTION = '{"question": "a?", "answer": "1"}'


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (f"[{QUESTION}]", r"line 1: a JSON array is no JSON lines: write each object on a line"),
        (f"[\n  {QUESTION},\n  {QUESTION}\n]", "line 1: a JSON array is no JSON lines"),
        (f"{QUESTION},\n{QUESTION}", "line 1: no comma may stand at the line's end"),
        (QUESTION.replace('"', "”"), "line 1: ” are no quotes of JSON: write straight ones"),
    ],
)
def test_what_is_nearly_json_lines_is_told_apart_from_them(tmp_path, held, said):
    (tmp_path / "q.txt").write_text(held, encoding="utf-8")
    with pytest.raises(TaskError, match=said):
        tasks.load(tmp_path / "q.txt")


def test_a_files_name_may_end_in_capitals(tmp_path):
    (tmp_path / "Q.TXT").write_text(QUESTION)
    assert [problem.id for problem in tasks.load(tmp_path / "Q.TXT")] == ["Q/1"]


def test_an_empty_or_missing_file_and_too_few_problems_are_named(tmp_path, ten):
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(TaskError, match="holds no problems"):
        tasks.load(str(tmp_path / "empty.jsonl"))
    with pytest.raises(TaskError, match=r"none\.jsonl: No such file"):
        tasks.load(str(tmp_path / "none.jsonl"))
    with pytest.raises(TaskError, match="holds 10 problems, fewer than n=11"):
        tasks.load(ten, n=11)


def test_an_option_that_a_file_does_not_have_is_refused(ten):
    with pytest.raises(OptionError, match="option='difficulty' is not valid"):
        tasks.load(ten, difficulty=2)


def test_an_unknown_task_is_answered_with_close_names():
    with pytest.raises(TaskError, match="unknown task 'gsm_symbolik': did you mean 'gsm_symbolic'"):
        tasks.load("gsm_symbolik")
    with pytest.raises(TaskError, match="'gsm_symbolic' or 'gsm8k'"):
        tasks.load("xyz")


def test_an_unknown_split_of_gsm8k_is_refused():
    with pytest.raises(OptionError, match="split='dev' is not valid"):
        tasks.load("gsm8k", split="dev")


def test_parquet_is_read_like_jsonl(tmp_path, ten):
    import pandas

    path = tmp_path / "sums.parquet"
    pandas.read_json(ten, lines=True).to_parquet(path)
    assert tasks.load(str(path)).problems == tasks.load(ten).problems


@pytest.mark.skipif("ITSLAB_TEST_GSM8K" not in os.environ, reason="names no JSONL file of GSM8K")
def test_gsm8k_as_published_is_read():
    task = tasks.load(os.environ["ITSLAB_TEST_GSM8K"])
    assert all(canonical(problem.answer).lstrip("-").isdigit() for problem in task)
    assert not any("####" in problem.answer or "<<" in problem.prompt for problem in task)


# -- grading ---------------------------------------------------------------------------------------


def test_the_whole_answer_must_match_the_gold_answer(ten):
    task = tasks.load(ten)
    problem = Problem("p", "?", "1,234")
    assert task.grade(problem, task.extract("so it is $1234.00, hence \\boxed{1234 dollars}"))
    for wrong in (None, "1", "234", "1, 234", "12345", ""):
        assert not task.grade(problem, wrong)


def test_a_task_does_not_show_gold_answers():
    task = tasks.load("gsm_symbolic", n=1)
    assert task.problems[0].answer not in repr(task)
    assert "answer=" not in repr(task.problems)
