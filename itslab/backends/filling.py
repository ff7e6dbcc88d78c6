"""Fills the chat template of a model file, which may be anybody's program, in a process of its own.

Run by ``ChatTemplate``, one JSON line in, one out, so that a template which loops for ever or fills
the memory costs a process and nothing else. Jinja's sandbox keeps it from the interpreter. What it
may use is what Hugging Face's ``apply_chat_template`` offers, after which templates are written.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from jinja2 import TemplateSyntaxError, ext, meta, nodes, parser, sandbox

MEMORY = 2**30  # bytes of this process, where the system can limit them
TODAY = datetime(2024, 7, 26)
"""What templates take for today, so that a prompt is the same tomorrow. It is the day that Llama
3's own template falls back to."""


class Refused(Exception):
    """The template called ``raise_exception``."""


class _Generation(ext.Extension):
    """``{% generation %}`` marks the model's turns for training; here it is passed over."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: parser.Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> None:
    raise Refused(message)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **options})


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _answered(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except Refused as error:
        return {"refused": _line(error)}
    except TemplateSyntaxError as error:
        return {"failed": f"line {error.lineno}: {_line(error)}"}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {_line(error)}"}


def _compiled(source: str) -> dict[str, Any]:
    """How to fill a template, and the names of the variables that it reads."""
    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    reads = meta.find_undeclared_variables(environment.parse(source))
    given = {"raise_exception": _refuse, "strftime_now": TODAY.strftime}
    fill = partial(environment.from_string(source).render, **given)
    return {"fill": fill, "reads": sorted(reads)}


def _filled(fill: Callable[..., str], variables: dict[str, Any]) -> dict[str, Any]:
    random.seed(0)  # Jinja's ``random`` and ``lipsum`` draw from it, and a prompt is the same twice
    return {"text": fill(**variables)}


def main() -> None:
    """Serve until the standard input ends: a text is a template, a mapping fills the last one."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    fill: Callable[..., Any] = _refuse
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, str):
            answer = _answered(partial(_compiled, asked))
            fill = answer.pop("fill", _refuse)
        else:
            answer = _answered(partial(_filled, fill, asked))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
