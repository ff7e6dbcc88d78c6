"""Studies written down: from YAML, or from the same as dictionaries, to a ``Study``.

    name: votes
    tasks:
      words: {load: gsm_symbolic, n: 50}
    models: [qwen2.5-coder-0.5b]
    strategies:
      chain: ChainOfThought
      vote: {use: SelfConsistency, n: [1, 4, 16], sampling: {max_tokens: 512}}
      first that passes: {use: FirstVerified, verifier: task, n: 8}
    budgets: [{tokens: 4000}]
    seeds: [0]

A list where an option takes one number or text makes a strategy of several sizes. ``task`` is the
verifier of whichever task is asked, a model is written by its name, and ``sandbox`` runs programs.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from itslab import sandbox, strategies, tasks, verifiers
from itslab.core import Backend, Budget, Interpreter, ItslabError, OptionError, Verifier, require
from itslab.options import declared
from itslab.run import Strategy
from itslab.study.plan import Ladder, Named, OwnVerifier, Study

T = TypeVar("T")


def read(path: str | Path) -> Study:
    """Read a study from a YAML file.

    Raises:
        ItslabError: the file cannot be read.
        OptionError: it holds what no study has; the text names the place and what is near.
    """
    import yaml

    try:
        given = plain(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ItslabError(f"the study {path} cannot be read: {reason}") from error
    return parse({"name": Path(path).stem, **given} if isinstance(given, dict) else given)


def plain(text: str) -> Any:
    """Return what YAML holds, as plain data.

    Raises:
        YAMLError: it is none, or a name stands twice, of which YAML would keep the last.
    """
    import yaml

    class Once(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            own = (key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge")
            keys = [self.construct_object(key, deep=True) for key in own]
            twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
            if twice is not None:
                said = f"{twice!r} stands twice,{node.start_mark}"
                raise yaml.MarkedYAMLError(problem=said, problem_mark=node.start_mark)
            return super().construct_mapping(node, deep)

    return yaml.load(text, Once)  # it is safe


def parse(given: Mapping[str, Any]) -> Study:
    """Return the study that plain data describes; see ``read``."""
    from pydantic import BaseModel, ConfigDict, ValidationError

    class Declared(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)

        tasks: dict[str, str | dict[str, Any]]
        models: list[str] | str
        strategies: dict[str, str | dict[str, Any]]
        budgets: list[dict[str, Any]] = [{}]  # pydantic copies it
        seeds: list[int] | int = 0
        name: str = "study"

    require(isinstance(given, Mapping), "study", given, "a mapping of tasks, models and strategies")
    _check_names("study", given)
    try:
        known = Declared(**given)
    except ValidationError as error:
        found = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        first = found[0]  # a misspelt key before one that is lacking for that
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise _unknown("study", place, Declared.model_fields) from error
        raise OptionError(
            f"{place}={first['input']!r} is not valid: {first['msg']}"
            if first["type"] != "missing"
            else f"the study has no {place}: {_FORM}"
        ) from error
    models = [known.models] if isinstance(known.models, str) else known.models
    seeds = [known.seeds] if isinstance(known.seeds, int) else known.seeds
    return Study(
        tasks={name: _at(f"tasks.{name}", _task, one) for name, one in known.tasks.items()},
        models=tuple(models),
        strategies={
            name: _at(f"strategies.{name}", _ladder, one) for name, one in known.strategies.items()
        },
        budgets=tuple(_at(f"budgets.{i}", _budget, b) for i, b in enumerate(known.budgets)),
        seeds=tuple(seeds),
        name=known.name,
    )


def _check_names(place: str, given: Any, within: Sequence[int] = ()) -> None:
    """Refuse names that are no text, at any depth, and what holds itself."""
    if isinstance(given, list | Mapping):
        require(
            id(given) not in within and len(within) < 20, place, "…", "no deeper than 20 levels"
        )
        within = [*within, id(given)]
    if isinstance(given, list):
        for i, item in enumerate(given):
            _check_names(f"{place}.{i}", item, within)
    elif isinstance(given, Mapping):
        for name, value in given.items():
            text = isinstance(name, str) and name.isprintable()
            require(text, f"a name in {place}", name, "printable text: write it in quotes")
            _check_names(f"{place}.{name}", value, within)


_FORM = "it holds tasks, models and strategies, perhaps budgets and seeds"


def _at(place: str, make: Callable[[Any], T], given: Any) -> T:
    """Make a part of the study; an error says where it stands."""
    try:
        return make(given)
    except ItslabError as error:
        raise type(error)(f"{place}: {error}") from error


def strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """Return the strategy that a name and plain options describe, as a study writes it.

    Where it asks for a verifier and none is given, it is the model's own confidence.

    Raises:
        OptionError: there is no such strategy, or an option is unknown, lacking or not valid.
    """
    stem, size = strategies.sized(name)
    hints = _hints(strategies.find(stem))
    needed = {"verifier": "Confidence"} if hints.get("verifier") == Verifier else {}
    return cast(Strategy, _chosen(stem, {**needed, **size, **options}, "strategy"))


def _task(given: str | Mapping[str, Any]) -> tasks.Task:
    options = {"load": given} if isinstance(given, str) else dict(given)
    require("load" in options, "task", given, "written as load: NAME, with n and other options")
    return tasks.load(options.pop("load"), **options)


def _budget(given: Mapping[str, Any]) -> Budget:
    return build(Budget, given)


def _ladder(given: str | Mapping[str, Any]) -> Strategy | Ladder:
    """A strategy, or several sizes of one where options are lists of values."""
    if isinstance(given, str):
        return cast(Strategy, _chosen(given, {}, "strategy"))
    options = dict(given)
    require("use" in options, "strategy", given, "written as use: NAME, with its options")
    name = options.pop("use")
    hints = _hints(strategies.find(name))
    lists = {
        option: value
        for option, value in options.items()
        if isinstance(value, list) and not _takes_lists(hints.get(option, Any))
    }
    if not lists:
        return cast(Strategy, _chosen(name, options, "strategy"))
    counts = {len(value) for value in lists.values()}
    require(len(counts) == 1 and 0 not in counts, "sizes", lists, "lists of equally many values")
    return tuple(
        _chosen(name, options | {o: value[i] for o, value in lists.items()}, "strategy")
        for i in range(counts.pop())
    )


# -- any option ------------------------------------------------------------------------------------


def build(kind: Callable[..., T], given: Mapping[str, Any]) -> T:
    """Make a dataclass from plain data: its options by name, each as its annotation says.

    Raises:
        OptionError: an option is unknown, lacking or not valid.
    """
    hints = _hints(kind)
    for option in given:
        if option not in hints:
            raise _unknown(getattr(kind, "__name__", str(kind)), option, hints)
    try:
        inspect.signature(kind).bind(**given)
    except TypeError as error:
        raise OptionError(f"{getattr(kind, '__name__', kind)}: {error}") from error
    return kind(**{name: _value(value, hints[name]) for name, value in given.items()})


def _value(given: Any, hint: Any) -> Any:
    """Plain data as an annotation asks for it; what fits no rule stays, and is checked later."""
    origin, arguments = get_origin(hint), get_args(hint)
    if given is None:
        return None
    if origin is Annotated:
        return _value(given, arguments[0])
    if origin in (Union, UnionType):
        kinds = [one for one in arguments if one is not type(None)]
        return _value(given, next((one for one in kinds if _is_special(one)), kinds[0]))
    if origin is tuple and isinstance(given, list):
        each = [arguments[0]] * len(given) if arguments[1:] == (...,) else arguments
        return tuple(_value(item, one) for item, one in zip(given, each, strict=False))
    if hint == Interpreter:
        require(given == "sandbox", "interpreter", given, "'sandbox'")
        return sandbox.execute
    if hint is Backend:
        return Named(given)
    if hint in (Strategy, Verifier):
        what = "strategy" if hint is Strategy else "verifier"
        if isinstance(given, str):
            return _chosen(given, {}, what)
        shaped = isinstance(given, Mapping) and "use" in given
        require(shaped, what, given, "a name, or use: NAME with its options")
        return _chosen(given["use"], {n: v for n, v in given.items() if n != "use"}, what)
    if is_dataclass(hint) and isinstance(given, Mapping):
        return build(hint, given)  # type: ignore[arg-type]
    return given


def _chosen(name: Any, options: Mapping[str, Any], what: str) -> Any:
    """A strategy or a verifier by its name, with options as plain data."""
    require(isinstance(name, str), what, name, "a name")
    if what == "verifier" and name == "task":
        require(not options, "task", options, "without options")
        return OwnVerifier()
    if what == "strategy":
        stem, size = strategies.sized(name)
        return build(strategies.find(stem), {**size, **options})
    known = {one: getattr(verifiers, one) for one in verifiers.__all__}
    if name not in known:
        raise _unknown("verifier", name, ["task", *known])
    return build(known[name], options)


def _is_special(hint: Any) -> bool:
    return hint in (Strategy, Verifier, Backend, Interpreter) or is_dataclass(hint)


def _takes_lists(hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(map(_takes_lists, get_args(hint)))
    return origin is tuple or hint is Any


def _hints(kind: Callable[..., Any]) -> dict[str, Any]:
    """The options of a class or function -> their annotations."""
    if is_dataclass(kind):
        known = declared(kind)
        return {option.name: known[option.name] for option in fields(kind) if option.init}
    return {name: declared(kind).get(name, Any) for name in inspect.signature(kind).parameters}


def _unknown(where: str, name: str, known: Iterable[str]) -> OptionError:
    close = difflib.get_close_matches(str(name), [*known], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return OptionError(f"{where} has no {name!r}: {hint}It has {', '.join(known)}")
