"""Values of parameters, read by their annotations and written back as Python."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import nbformat
import pytest

from itslab import notebooks
from itslab.core import OptionError
from itslab.parameters import read, written

INF = math.inf


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        ("int", " 1_000 ", 1000),
        ("int", "-3", -3),
        ("float", "2", 2.0),
        ("float", "-inf", -INF),
        ("bool", "false", False),
        ("str", "", ""),
        ("str", "1", "1"),
        ("str", "a=b 'c' \\ \"d\"\n", "a=b 'c' \\ \"d\"\n"),
        ("str | None", "None", None),
        ("str | None", "none", "none"),
        ("None | int", "None", None),
        ("None | int", "7", 7),
        ("int | float", "0.5", 0.5),
        ("Optional[int]", "7", 7),
        ("typing.Union[int, bool]", "True", True),
        ("'int | None'", "None", None),
        ("list", "[1, 'a']", [1, "a"]),
        ("list[int]", "1, 2", [1, 2]),
        ("list", "1,2", [1, 2]),
        ("list[float] | None", "[1,-inf]", [1.0, -INF]),
        ("str | list[float]", "inf", "inf"),
        ("list[int]", "[]", []),
        ("list[float]", "(1, 2.5)", None),
        ("tuple[float, ...]", "1,inf", (1.0, INF)),
        ("list[str]", "a,b", ["a", "b"]),
        ("list[str]", "4,8", ["4", "8"]),
        ("list[str]", "a", ["a"]),
        ("list[int] | None", "3", [3]),
        ("str | list[str]", "a", "a"),
        ("tuple[()]", "()", ()),
        ("tuple[int, tuple[int, int]]", "1, (2, 3)", (1, (2, 3))),
        ("Annotated[int, 'samples']", "3", 3),
        ("Path | None", "None", None),
        ("list[Path]", "1,b", ["1", "b"]),
        ("list[int | None]", "[1, None]", [1, None]),
        ("tuple", "1,2", (1, 2)),
        ("tuple[str, int]", "('a', 2)", ("a", 2)),
        ("tuple[float, ...]", "(1, 2)", (1.0, 2.0)),
        ("dict[str, float]", "{'a': 1}", {"a": 1.0}),
        ("Literal['replay', 'live']", "live", "live"),
        ("Literal[1, 2]", "2", 2),
        ("Path", "a/b", "a/b"),
    ],
)
def test_a_value_is_read_by_its_annotation(annotation: str, text: str, value: Any) -> None:
    if annotation == "list[float]":  # a tuple was written, and a list is wanted
        with pytest.raises(OptionError, match=r"x must be list\[float\]"):
            read("x", text, annotation, "[]")
        return
    came = read("x", text, annotation, "None")
    assert came == value
    assert type(came) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text", "valid"),
    [
        ("int", "1.0", "a whole number"),
        ("int", "True", "a whole number"),
        ("int", "9" * 5000, "a whole number"),
        ("float", "one", "a number"),
        ("bool", "1", "True or False"),
        ("int | None", "", "a whole number or None"),
        ("list[int]", "[1, 'a']", r"list\[int\]"),
        ("list[int]", "x", r"list\[int\]"),
        ("int | list[int]", "x", r"a whole number or list\[int\]"),
        ("list[str]", "[1, 2]", r"list\[str\]"),
        ("list[str]", "", r"list\[str\]"),
        ("tuple[()]", "1", r"tuple\[\(\)\]"),
        ("tuple[int, int]", "1,2,3", r"tuple\[int, int\]"),
        ("Literal['replay', 'live']", "Live", "'replay' or 'live'"),
    ],
)
def test_what_is_no_such_value_is_refused(annotation: str, text: str, valid: str) -> None:
    with pytest.raises(OptionError, match=f"x must be {valid}$") as error:
        read("x", text, annotation, "None")
    assert len(str(error.value)) < 500


NO_TYPES = [
    "set[int]",
    "dict[str]",
    "list[()]",
    "list[int,str]",
    "Literal",
    "Literal[Mode.X]",
    "Union[()]",
    "Optional",
    "'list[int'",
    "int[str]",
    "list[set[int]]",
    "tuple[int,...,str]",
    "1",
    "...",
    "lambda:1",
]


@pytest.mark.parametrize("annotation", NO_TYPES)
def test_a_type_that_is_not_understood_is_refused_in_one_line(annotation: str) -> None:
    said = f"x is declared as {annotation}, which is not understood: let it be "
    for text in ("", "1", "[1]", "None", "{'a': 1}"):
        with pytest.raises(OptionError) as error:
            read("x", text, annotation, "None")
        assert str(error.value).startswith(said)
        assert "\n" not in str(error.value)


def test_without_an_annotation_the_default_tells() -> None:
    assert read("x", "2,3", "None", "(1,)") == (2, 3)
    assert read("x", "2", "None", "'word'") == "2"
    assert read("x", "2", "None", "None") == "2"


def test_a_value_is_written_as_python_reads_it(tmp_path: Path) -> None:
    values = {
        "a": (1,),
        "b": {1: ["x", (2, None)]},
        "c": 'it\'s "so" \\ …\n',
        "d": [INF, -0.5],
        "e": (),
    }
    for value in values.values():
        code = written(value)
        assert eval(code) == value, code
    assert math.isnan(eval(written(math.nan)))
    declared = "\n".join(f"{name} = 0" for name in values)
    cells = [nbformat.v4.new_code_cell(code) for code in (declared, "a, b, c, d, e")]
    cells[0].metadata["tags"], cells[1].metadata["tags"] = ["parameters"], ["summary"]
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(book, tmp_path / "a.ipynb")
    executed = notebooks.execute(tmp_path / "a.ipynb", values, tmp_path / "runs")
    [shown] = notebooks.summary(executed)
    assert ast.literal_eval(shown.replace("inf", "1e999")) == tuple(values.values())
