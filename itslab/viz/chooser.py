"""The choice of a strategy, and a form with its options, which it keeps while others are tried."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from itslab.core import ItslabError, require
from itslab.viz import style
from itslab.viz.fields import LOOK, Fixed
from itslab.viz.form import Form, Offers, settable
from itslab.viz.methods import Method, listed

_FEWER = (4, 2, 1)
"""Samples that are tried in replay, where as many as a strategy takes were not recorded."""


_NOWHERE = object()


def _at(value: Any, path: str) -> Any:
    """The option of a strategy that a path leads to, such as ``stages.0.threshold``."""
    for name in path.split("."):
        if name.isdigit() and isinstance(value, tuple):
            value = value[int(name)] if int(name) < len(value) else _NOWHERE
        else:
            value = getattr(value, name, _NOWHERE)
    return value


class Chooser:
    """A strategy among several, and the options of each.

    Args:
        methods: that can be chosen, by their names.
        first: that is chosen at first.
        choices: of options: the values to choose from, as of ``Lab``.
        offers: returns what can be chosen where an option of a class is no plain value.

    Attributes:
        strategy: chooses one.
        reset: a button that sets the options of that one to what they were at first.
        about: what it does, in a sentence.
        form: its options.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        first: str,
        choices: Mapping[str, Sequence[Any]],
        offers: Callable[[Any], Offers],
    ) -> None:
        import ipywidgets as widgets

        self._methods, self._choices, self._offers = methods, choices, offers
        self._forms: dict[str, Form | Fixed] = {}  # as each was left
        self._moved: set[str] = set()  # those in which somebody has set something
        self._changed: list[Callable[[], None]] = []
        self._opened: list[Callable[[], None]] = []
        self._offering = False
        look = {"description": "strategy", **LOOK}
        self.strategy = widgets.Dropdown(options=listed(methods), value=first, **look)
        self.strategy.tooltip = "how compute is spent; each strategy keeps its options"
        self.reset = widgets.Button(description="reset options", icon="undo")
        self.reset.tooltip = "set the options of this strategy to what they were at first"
        self.about = widgets.HTML()
        self._check_choices()
        self.open()
        self.strategy.observe(self._follow, "value")
        self.reset.on_click(lambda _: self._reset())

    def _check_choices(self) -> None:
        """Refuse choices that lack what a caller has set: another value would be set instead."""
        for method in self._methods.values():
            options = {option.name for option in settable(method.kind)} if method.given else ()
            for path, values in self._choices.items():
                if path.partition(".")[0] in options:
                    value = _at(method.start, path)
                    valid = f"values that hold {value!r}, which is set"
                    require(value in (*values, _NOWHERE), f"choices[{path!r}]", values, valid)

    def watch(self, changed: Callable[[], None], opened: Callable[[], None]) -> None:
        """Call functions when an option changes, and when another form is there."""
        self._changed.append(changed)
        self._opened.append(opened)

    def open(self) -> None:
        """Show the options of the strategy that is chosen, as they were when it was left."""
        name = self.strategy.value
        if name not in self._forms:
            self._keep(name, self._made(name))
        self.form = self._forms[name]
        doc = self._methods[name].kind.__doc__ or ""
        said = html.escape(" ".join(doc.strip().partition("\n\n")[0].split()))
        note = style.note(re.sub(r"``(.+?)``", r"<code>\1</code>", said))
        self.about.value = style.view(note)
        for opened in self._opened:
            opened()

    def renew(self, check: Callable[[Any], Any]) -> list[str]:
        """Make all forms anew, since other things can be chosen; they keep their values.

        Args:
            check: raises an ``ItslabError`` where the value of an option cannot be chosen any more.

        Returns:
            The options of the chosen strategy that are what they were at first again.
        """
        lost = []
        for name, left in [*self._forms.items()]:
            form = self._made(name)
            for option, field in left.options.items():
                try:
                    value = field.get()
                    check(value)
                    form.options[option].set(value)
                except ItslabError:  # not valid, or a check that is not there any more
                    lost += [option] if name == self.strategy.value else []
            self._keep(name, form)
        return lost

    def offer(self, names: Sequence[str]) -> None:
        """Offer only some strategies."""
        offered = listed({name: self._methods[name] for name in names})
        if [*self.strategy.options] == offered:
            return
        before, self._offering = self.strategy.value, True  # the value changes for a moment
        self.strategy.options = offered
        self.strategy.value = before if before in names else names[0]
        self._offering = False

    def possible(self, lacks: Callable[[Form | Fixed], bool]) -> list[str]:
        """Return the strategies that lack nothing: as they were left, as at first, or of fewer.

        A form in which nobody has set anything is set to what lacks nothing; others stay.
        """
        return [name for name in self._methods if self._settle(name, lacks)]

    def _settle(self, name: str, lacks: Callable[[Form | Fixed], bool]) -> bool:
        moved = self._forms[name] if name in self._moved else None
        for left in [moved, None] if moved is not None else [None]:
            form = self._made(name)
            for fewer in (None, *_FEWER):
                if fewer and "n" not in form.options:
                    continue
                try:
                    if left is not None:
                        form.set(left.get())
                    if fewer:
                        form.options["n"].set(fewer)
                    lacking = lacks(form)
                except ItslabError:  # nothing is asked, or an option is not valid
                    continue
                if not lacking:
                    if moved is None:
                        self._keep(name, form)
                    return True
        return False

    def _keep(self, name: str, form: Form | Fixed) -> None:
        """Have a form stand for a strategy, and follow it."""

        def follow() -> None:
            self._moved.add(name)
            for changed in self._changed:
                changed()

        form.watch(follow)
        self._forms[name] = form

    def _made(self, name: str) -> Form | Fixed:
        """A form of a strategy, with the options that are given set."""
        kind, start, _ = self._methods[name]
        options = [f.name for f in settable(kind)]
        if not options:
            return Fixed(start)
        form = Form(kind, self._offers(kind))
        if start is not None:
            form.set(start)
        for path, values in self._choices.items():
            if path.partition(".")[0] in options:
                form.limit(path, values)
        return form

    def _follow(self, _: Any) -> None:
        if not self._offering:
            self.open()

    def _reset(self) -> None:
        del self._forms[self.strategy.value]
        self._moved.discard(self.strategy.value)
        self.open()
