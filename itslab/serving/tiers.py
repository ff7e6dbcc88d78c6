"""What is on offer: models, and for each the ways to answer that a request may name.

``qwen2.5-coder-0.5b`` is the model as it is, ``…@balanced`` a tier, ``…@best-of-8`` any strategy by
its name and size. A tier is a strategy with a budget and a deadline: what compute costs, and how
long an answer may take, are the customer's choice.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple, cast

from itslab import strategies
from itslab.core import Backend, Budget, Node, OptionError, Prompt, Sampling, Verifier, require
from itslab.options import Options, Positive, check, declared
from itslab.run import Run, Strategy
from itslab.serving.bounds import Purchase, purchases
from itslab.strategies import Route, Router, SelfConsistency
from itslab.study.plan import Named, OwnVerifier
from itslab.study.prices import Price
from itslab.study.reading import strategy as described
from itslab.verifiers import Agreement

LONGEST = 2048
"""Tokens of an answer of the model as it is, where a request does not say."""
NEEDS: Mapping[str, str] = {
    "RepairWithTests": "a verifier that runs tests, and a question comes without any",
    "ABMCTS": "a verifier whose scores lie in [0, 1]",
    "Knockout": "a judge that compares two answers",
    "Cascade": "stages",
    "Router": "an estimate, edges and routes",
}
"""What has to be said of a strategy, for which no verifier of ours would do by itself."""


@dataclass(frozen=True)
class Plain(Options):
    """The model as it is: one sample of what follows the conversation.

    Args:
        begun: what its turn already says; the sample goes on from there.
        sampling: how it is drawn.
    """

    begun: str = ""
    sampling: Sampling = Sampling(max_tokens=LONGEST)

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        """Draw the sample."""
        node = run.reply(None, prompt)
        if self.begun:
            node = run.append(node, self.begun)
        [node] = run.extend(node, self.sampling)
        return node


@purchases.register
def _plain(strategy: Plain, budget: Budget) -> Sequence[Purchase]:
    return [Purchase(1, strategy.sampling.max_tokens)]


@dataclass(frozen=True)
class Tier(Options):
    """A level of service.

    Args:
        strategy: how it answers.
        budget: the most that one answer may cost.
        deadline: seconds from a request's arrival to its answer; the best answer by then is given.
            None: whenever it is there.
        priority: requests of a higher one are worked on first.
        cheaper: the tier to which a request is degraded where there is no room; "" for none.
        model: that answers; "" is the one that the request names.
        price: what it asks for what an answer took, in US dollars; None says nothing of money.
    """

    strategy: Strategy
    budget: Budget = Budget()
    deadline: Positive | None = None
    priority: int = 0
    cheaper: str = ""
    model: str = ""
    price: Price | None = None


def looked(n: int, sampling: Sampling = Sampling()) -> Router:
    """Return a strategy that answers at once, then lets ``n`` samples vote, the first among them.

    Args:
        n: samples.
        sampling: of each.
    """
    vote, first = SelfConsistency(n, sampling=sampling), SelfConsistency(1, sampling=sampling)
    return Router(Agreement(), (), (Route(vote),), first)


TIERS: Mapping[str, Tier] = {
    "fast": Tier(SelfConsistency(1), Budget(tokens=1_024), 30.0, priority=2),
    "balanced": Tier(looked(5), Budget(tokens=4_096), 60.0, priority=1, cheaper="fast"),
    "deep": Tier(looked(16), Budget(tokens=16_384), 180.0, cheaper="balanced"),
}
"""The tiers that a server has unless it is told others. All vote, so that they differ in compute
alone, and each gives its first answer as soon as the fast one does."""


class Offer(NamedTuple):
    """What a request gets: which model answers how.

    Args:
        name: the model's name as it was asked for.
        model: the name of the one that draws.
        label: the tier, or the name of the strategy; "" for the model as it is.
        tier: the strategy with its budget, deadline and priority.
    """

    name: str
    model: str
    label: str
    tier: Tier


@dataclass(frozen=True)
class Menu(Options):
    """All that a server offers.

    Args:
        models: by name; the first answers where a tier names none.
        tiers: by name.
        budget: the most that any request may cost, whatever its tier says.
        deadline: seconds, of requests that no tier gives one; None: whenever the answer is there.
    """

    models: Mapping[str, Backend]
    tiers: Mapping[str, Tier] = field(default_factory=lambda: TIERS)
    budget: Budget = Budget(tokens=32_768)
    deadline: Positive | None = 300.0

    def __post_init__(self) -> None:
        check(self)
        require(len(self.models) > 0, "models", self.models, "at least one")
        for name in (*self.models, *self.tiers):
            plain = bool(name) and "@" not in name and name.isprintable()
            require(plain, "name", name, "printable text without @")
        for name, tier in self.tiers.items():
            known = ("", *(other for other in self.tiers if other != name))
            require(tier.cheaper in known, "cheaper", tier.cheaper, f"one of {known}")
            require(tier.model in ("", *self.models), "model", tier.model, f"of {[*self.models]}")
            bound(tier.strategy, self.models)

    @property
    def names(self) -> list[str]:
        """What requests may name: each model, alone and with each tier."""
        tiers = [""] + [f"@{tier}" for tier in self.tiers]
        return [f"{model}{tier}" for model in self.models for tier in tiers]

    def cheaper(self) -> dict[str, str]:
        """Return tier -> the tier to which it is degraded."""
        return {name: tier.cheaper for name, tier in self.tiers.items() if tier.cheaper}

    def offer(self, name: str, spec: str | Mapping[str, Any] | None = None) -> Offer:
        """Return what a request asks for.

        Args:
            name: of a model, perhaps with ``@`` and a tier or a strategy's name and size.
            spec: a strategy as studies write it: a name, or ``use: NAME`` with its options. It
                comes in the place of what the name says.

        Raises:
            UnknownModel: there is no such model.
            OptionError: there is no such tier or strategy, or an option is not valid.
        """
        model, at, way = name.partition("@")
        if model not in self.models:
            close = difflib.get_close_matches(name, self.names, n=3, cutoff=0.3)
            raise UnknownModel(
                f"model={name!r:.100} is not served: this server has "
                f"{', '.join(close or self.names)}; a model may be followed by @ and a tier "
                f"({', '.join(self.tiers)}), or by a strategy with its size, such as @best-of-8"
            )
        if spec is not None:
            twice = f"the name of a model alone, such as {model!r}, where strategy says how"
            require(not at, "model", name, twice)
            return self._own(name, model, "", *_written(spec))
        if not at:
            return Offer(name, model, "", self._bounded(Tier(Plain())))
        if way in self.tiers:
            tier = self.tiers[way]
            return Offer(name, tier.model or model, way, self._bounded(tier))
        try:
            strategies.sized(way)
        except OptionError as error:
            raise OptionError(
                f"{way!r:.100} is no tier and no strategy: tiers are {', '.join(self.tiers)}; "
                f"strategies are written as best-of-8 or self-consistency-16 ({error})"
            ) from error
        return self._own(name, model, way, way, {})

    def _own(
        self, name: str, model: str, label: str, stem: str, options: Mapping[str, Any]
    ) -> Offer:
        """A strategy that the request itself describes."""
        kind = getattr(strategies.find(strategies.sized(stem)[0]), "__name__", stem)
        if kind in NEEDS and not {"verifier", "judge", "stages", "estimate"} & {*options}:
            raise OptionError(
                f"strategy={stem!r} is not valid: it needs {NEEDS[kind]}: describe it in the "
                f'field strategy of the body, as {{"use": "{kind}", …}}'
            )
        made = bound(described(stem, options), self.models)
        return Offer(name, model, label or kind, self._bounded(Tier(made)))

    def _bounded(self, tier: Tier) -> Tier:
        """A tier within what any request may cost, its models in place."""
        limits = {
            f.name: _least(getattr(tier.budget, f.name), getattr(self.budget, f.name))
            for f in fields(Budget)
        }
        made = bound(tier.strategy, self.models)
        deadline = tier.deadline or self.deadline
        return replace(tier, strategy=made, budget=Budget(**limits), deadline=deadline)


class UnknownModel(OptionError):
    """A request names a model that is not served."""


def _least(*limits: float | None) -> Any:
    return min((limit for limit in limits if limit is not None), default=None)


def _written(spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name and the options of a strategy that was written down."""
    if isinstance(spec, str):
        return spec, {}
    shaped = isinstance(spec, Mapping) and isinstance(spec.get("use"), str)
    require(shaped, "strategy", spec, "a name, or use: NAME with its options")
    return spec["use"], {name: value for name, value in spec.items() if name != "use"}


# -- strategies as a server runs them --------------------------------------------------------------


def bound(strategy: Strategy, models: Mapping[str, Backend]) -> Strategy:
    """Return a strategy with the models that it names in their places.

    Raises:
        OptionError: a model is not served, or it asks for the check of a task.
    """

    def place(part: Any) -> Any:
        if isinstance(part, OwnVerifier):
            raise OptionError(
                "verifier='task' is not valid: a request is of no task; choose one that reads the "
                "answer itself, such as Confidence or Arithmetic"
            )
        if isinstance(part, Named):
            valid = f"one of {', '.join(models)}"
            require(part.name in models, "model", part.name, valid)
            return models[part.name]
        return None

    return cast(Strategy, _mapped(strategy, place))


def adjusted(strategy: Strategy, **options: Any) -> Strategy:
    """Return a strategy whose own samples are drawn by these options; its judges' are not changed.

    Args:
        strategy: how a request is answered.
        options: of ``Sampling``. ``max_tokens`` shortens and never lengthens, but for ``Plain``.

    Raises:
        OptionError: a value is not valid, or the strategy draws no samples of its own.
    """
    if not options:
        return strategy
    seen = []

    def change(part: Any) -> Any:
        if not isinstance(part, Sampling):
            return None
        seen.append(part)
        most = options.get("max_tokens", part.max_tokens)
        valid = not isinstance(most, int) or isinstance(strategy, Plain)
        return replace(part, **options | {"max_tokens": most if valid else _shorter(part, most)})

    made = _mapped(strategy, change, judges=False)
    require(
        bool(seen),
        next(iter(options)),
        next(iter(options.values())),
        f"left out: {strategy!r} draws nothing that it would change",
    )
    return cast(Strategy, made)


def samplings(strategy: Strategy) -> list[Sampling]:
    """Return how samples of a strategy are drawn, those of its judges included."""
    found: list[Sampling] = []

    def look(part: Any) -> None:
        if isinstance(part, Sampling):
            found.append(part)

    _mapped(strategy, look)
    return found


def _shorter(sampling: Sampling, most: int) -> int:
    return min(sampling.max_tokens, most)


def _mapped(part: Any, change: Any, judges: bool = True) -> Any:
    """A part with what it holds replaced, wherever ``change`` returns something for it."""
    changed = change(part)
    if changed is not None:
        return changed
    if isinstance(part, tuple):
        items = tuple(_mapped(item, change, judges) for item in part)
        return part if all(a is b for a, b in zip(items, part, strict=True)) else items
    if not is_dataclass(part) or isinstance(part, type | Sampling):
        return part
    hints = declared(type(part))
    new = {}
    for option in fields(part):
        value = getattr(part, option.name)
        if not option.init or (not judges and hints[option.name] in (Verifier, Verifier | None)):
            continue
        made = _mapped(value, change, judges)
        if made is not value:
            new[option.name] = made
    return replace(part, **new) if new else part
