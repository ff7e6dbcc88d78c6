"""What a bank without a model has for a panel: runs that were recorded, and samples for others."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from html import escape
from types import BuiltinFunctionType, FunctionType
from typing import Any

from itslab.core import ItslabError, MissingSample, Problem, Result
from itslab.study import record
from itslab.study.plan import bound
from itslab.study.runner import Job
from itslab.tasks import named_by_id
from itslab.viz import pieces, style
from itslab.viz.panels import ended, error_text, price
from itslab.viz.setting import Setting

PATIENCE = 2.0
"""Seconds after which a run that still finds its samples is taken to have them all."""
SEARCH = 8.0
"""Seconds in which strategies are tried; those that were not reached by then are offered."""
EMPTIED = "The recorded run that was on view did not ask this, and was put away."
OWN = "settings of your own"
_UNKNOWN = "(the text that was asked here was not kept)"
MORE = "Load a model (its.load, or mode=live in a notebook) for all else."


def why(limited: bool, possible: bool, kept: bool) -> str:
    """Return as HTML why there are fewer controls in replay than with a model.

    Args:
        limited: whether what can be chosen was given, and so recorded.
        possible: whether the samples of any strategy are there.
        kept: whether any run is.
    """
    if limited:
        said = f"Replay: what was recorded can be chosen; what is grey was not. {MORE}"
    elif possible:
        said = f"Replay: only strategies whose samples were recorded are here. {MORE}"
    elif kept:
        said = f"Replay: of this problem only finished runs were recorded: see above. {MORE}"
    else:
        said = f"Replay: nothing was recorded of this problem: choose another. {MORE}"
    return style.view(style.note(escape(said)))


def damage(count: int) -> str:
    """Return as HTML how many runs of a problem are left out, since they cannot be read."""
    said = f"{count} recorded run{'' if count == 1 else 's'} of this problem cannot be read"
    return style.view(style.note(f"{said}: damaged in the bank, and left out.")) if count else ""


def instead(possible: bool) -> str:
    """Return what can be done where a recorded run is on view."""
    return f"Choose “{OWN}” for a form." if possible else MORE


def replays(model: Any) -> bool:
    """Whether a model has only what a bank holds."""
    return getattr(model, "bank", None) is not None and getattr(model, "model", "any") is None


def lacking(setting: Setting) -> str:
    """Return why a run cannot be replayed; empty where all of its samples were recorded.

    It is tried: which samples a strategy asks for shows as it runs, in hundredths of a second. A
    strategy of somebody's own is not.
    """
    if not ours(setting):
        return ""
    try:
        handle = setting.begin()
    except ItslabError as error:
        return str(error)
    try:
        handle.result(PATIENCE)
    except MissingSample:
        return f"No samples were recorded for these settings. {MORE}"
    except TimeoutError:
        return ""
    except (Exception, SystemExit) as error:
        return error_text(error)
    finally:
        handle.stop()
    return ""


def ours(setting: Setting) -> bool:
    """Whether a strategy, with all that it holds, is the package's own.

    What somebody wrote is run where they ask for it alone: it may do more than draw samples.
    """
    try:
        return _ours(bound(setting.strategy, setting.task, {}))
    except ItslabError:  # which is told where it is tried
        return True


def _ours(part: Any) -> bool:
    if isinstance(part, Mapping):
        return all(map(_ours, part.values()))
    if isinstance(part, list | tuple | Set):
        return all(map(_ours, part))
    if isinstance(part, partial):
        return _ours((part.func, part.args, part.keywords))
    named = part if isinstance(part, FunctionType | BuiltinFunctionType | type) else type(part)
    source = str(named.__module__).partition(".")[0]
    if source not in ("itslab", "numpy", *sys.stdlib_module_names):
        return False
    if not is_dataclass(part) or isinstance(part, type):
        return True
    return all(_ours(getattr(part, option.name, None)) for option in fields(part))


@dataclass(frozen=True)
class Kept:
    """A run that a bank keeps.

    Args:
        result: what came of it.
        how: with what settings, as far as the bank says.
        label: what it is called in a list.
        sure: whether it is known that this very text was asked.
    """

    result: Result
    how: Mapping[str, str]
    label: str
    sure: bool = True

    def facts(self, instead: str) -> str:
        """Return as HTML what is known of its settings, and what can be done ``instead``."""
        told = "These are the settings that it was recorded with."
        if "strategy" not in self.how:
            told = "Its record keeps what stands here; options, budget and seed were not kept."
        if not self.sure:
            told += " It does not tell which text was asked, only the id of the problem."
        note = f"A recorded run. {told} {instead}"
        models = ", ".join(self.result.costs) or "not kept"
        spent = price(self.result.cost).partition("\n")[0]
        known = {"recorded as": self.label.partition(" · ")[0], "models": models, **self.how}
        known |= {"spent": spent, "ended": ended(self.result)}
        return pieces.view(style.note(escape(note)), pieces.facts(known))


def known(settings: Iterable[Setting]) -> dict[str, dict[str, str]]:
    """Return how runs are made, by the keys under which a bank keeps them.

    Banks that were recorded before they kept the settings themselves are read by this.
    """
    found: dict[str, dict[str, str]] = {}
    for one in settings:
        with suppress(ItslabError):  # a strategy that cannot be identified, or not be used here
            strategy = bound(one.strategy, one.task, {})
            job = Job("", one.task, one.problem, strategy, one.model, one.budget, one.seed)
            found[job.key] = job.how
    return found


def kept_runs(
    bank: Any,
    problem: Problem,
    right: Callable[[str | None], bool | None],
    made: Mapping[str, Mapping[str, str]],
    model: Any,
) -> tuple[dict[str, Kept], int]:
    """Return the runs that a bank keeps of a problem, by their keys; their names tell them apart.

    Another text under the same id is another problem. Of runs that were kept before their records
    told what was asked, that is known of the package's own problems, and of ``made`` ones.

    Args:
        bank: where they are kept.
        problem: that was asked.
        right: tells whether an answer is right; None where that is not known.
        made: how runs are made, by their keys, where the bank itself does not say.
        model: whose runs are wanted.

    Returns:
        The runs, and how many more cannot be read.
    """
    kept: dict[str, Kept] = {}
    damaged, asked = 0, record.text_digest(problem.prompt)
    for key, name in bank.runs_of(problem.id):
        try:
            facts = record.facts(bank, key)
            sure = facts.asked == asked or key in made or named_by_id(problem)
            if facts.asked not in (None, asked):
                continue
            result = record.find(bank, key, problem if sure else replace(problem, prompt=_UNKNOWN))
            if result is None or not _by(model, facts, result):
                continue
            how = facts.how or made.get(key, {})
            label = _label(name, how, result, right if sure else _not_graded)
        except (ItslabError, AttributeError, TypeError, ValueError):
            damaged += 1
            continue
        kept[key] = Kept(result, how, label if sure else f"{label} · text not kept", sure)
    count, seen = Counter(one.label for one in kept.values()), Counter[str]()
    for key, one in kept.items():
        seen[one.label] += 1
        if count[one.label] > 1:  # the same answer for as much: seed and options are not kept
            kept[key] = replace(one, label=f"{one.label} · key {key[:4]}")
    return kept, damaged


def _by(model: Any, facts: record.Facts, result: Result) -> bool:
    """Whether a run asked a model: by its digest or, of older records, by whom they paid."""
    if facts.model is not None:
        return bool(facts.model == model.digest)
    return not result.costs or model.name in result.costs


def _not_graded(_: str | None) -> None:
    """Of an answer to who knows what it is not known whether it is right."""


def _label(
    name: str, how: Mapping[str, str], result: Result, right: Callable[[str | None], bool | None]
) -> str:
    answer, mark = style.short(" ".join((result.answer or "no answer").split()), 20), ""
    with suppress(Exception):  # a grader of somebody's own
        known = right(result.answer)
        mark = "" if known is None else " ✓" if known else " ✗"
    budget = f" of {how['budget']}" if how.get("budget", "none") != "none" else ""
    return f"{name} · {result.cost.decoded:,} tokens{budget} · {answer}{mark}"
