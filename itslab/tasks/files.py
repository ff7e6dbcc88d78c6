"""Tasks read from files: JSONL (JSON lines), or parquet as on the Hugging Face hub."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from itslab.core import Problem, TaskError, require
from itslab.tasks.task import Task

SUFFIXES = (".jsonl", ".txt", ".parquet")
"""``.txt`` is JSONL too, under a name that opens in an editor, and that JupyterLite can read."""
_QUESTION = ("question", "prompt", "problem")
_EXPECTED = (
    f"expected an object with one of {', '.join(_QUESTION)} (text) and answer (text, number)"
)


def from_file(n: int | None, seed: int | None, path: str | Path, name: str = "") -> Task:
    """Read a task from a JSONL or parquet file with a question and an answer per line or row.

    Args:
        n: how many problems; None takes all.
        seed: which ones, and in which order: fewer problems of a seed are the first of more.
            None keeps the order of the file.
        path: fields ``question``, ``prompt`` or ``problem``, and ``answer``, where the gold answer
            may follow reasoning and ``####``. Other fields become the problem's ``meta``.
        name: of the task; by default the file's. A problem's id is the name and its line, from 1.

    Raises:
        TaskError: the file cannot be read, a line is malformed, or there are not n problems.
    """
    path = Path(path)
    name = name or path.stem
    problems = [_problem(name, path, line, row) for line, row in _rows(path)]
    if not problems:
        raise TaskError(f"{path} holds no problems; {_EXPECTED} on each line")
    if len(problems) < (n or 0):
        raise TaskError(f"{path} holds {len(problems)} problems, fewer than n={n}: take n=None")
    if seed is not None:
        problems = random.Random(seed).sample(problems, len(problems))
    return Task(name, tuple(problems[:n]))


def gsm8k(n: int | None, seed: int | None, split: str = "test") -> Task:
    """Grade-school word problems (Cobbe et al. 2021, arXiv:2110.14168) from the Hugging Face hub.

    Args:
        n: how many problems; None takes all.
        seed: which ones, and in which order; None keeps the order of the data set.
        split: ``test`` (1,319 problems) or ``train`` (7,473).

    Raises:
        OptionError: unknown split.
        TaskError: the hub cannot be reached.
    """
    require(split in ("test", "train"), "split", split, "'test' or 'train'")
    file = _from_hub("openai/gsm8k", f"main/{split}-00000-of-00001.parquet")
    return from_file(n, seed, file, f"gsm8k/{split}")


def _from_hub(repo: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:  # what is in the cache needs no network, and the hub's client would first wait for it
        return Path(hf_hub_download(repo, file, repo_type="dataset", local_files_only=True))
    except FileNotFoundError:
        pass
    try:
        return Path(hf_hub_download(repo, file, repo_type="dataset"))
    except OSError as error:
        raise TaskError(
            f"cannot fetch {file} of {repo} from the Hugging Face hub ({type(error).__name__}): "
            "connect to the network, or load a JSONL file by its path"
        ) from error


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Lines or rows of a file, counted from 1."""
    if path.suffix.casefold() == ".parquet":
        yield from enumerate(_parquet(path), start=1)
        return
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = json.loads(line, parse_constant=_no_number)
                if isinstance(row, list):
                    raise ValueError("an array")
                yield number, row
            except UnicodeDecodeError as error:
                raise TaskError(
                    f"{path}, line {number}: save the file as UTF-8; {_EXPECTED}"
                ) from error
            except (ValueError, RecursionError) as error:
                why = _slip(line.decode(errors="replace").strip()) or error
                raise TaskError(f"{path}, line {number}: {why}; {_EXPECTED}") from error


def _slip(line: str) -> str:
    """What is wrong with a line that is nearly JSON; empty if it is none of the usual slips."""
    if line.startswith("["):
        return "a JSON array is no JSON lines: write each object on a line of its own, without [ ]"
    if line.endswith(","):
        return "no comma may stand at the line's end: take it away"
    curly = sorted({*line} & {*"“”„"})
    return f"{' '.join(curly)} are no quotes of JSON: write straight ones" if curly else ""


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _parquet(path: Path) -> Sequence[Mapping[Any, Any]]:
    import pandas

    try:
        return pandas.read_parquet(path).to_dict("records")
    except (OSError, ValueError) as error:
        raise TaskError(f"cannot read {path}: {error}") from error


def _problem(name: str, path: Path, line: int, row: Any) -> Problem:
    question = answer = None
    if isinstance(row, Mapping):
        question = next((row[field] for field in _QUESTION if field in row), None)
        answer = row.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    gold = answer.rsplit("####", 1)[-1].strip() if isinstance(answer, str) else ""
    if not gold or not isinstance(question, str) or not question.strip():
        raise TaskError(f"{path}, line {line}: got {_short(row)}; {_EXPECTED}")
    meta = {key: value for key, value in row.items() if key not in (*_QUESTION, "answer")}
    return Problem(f"{name}/{line}", question, gold, meta)


def _short(row: Any) -> str:
    shown = repr(row)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"
