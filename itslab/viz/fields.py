"""Single options as controls: how a value is shown, read and set."""

from __future__ import annotations

import ast
import html
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, get_args

from itslab.core import OptionError, require
from itslab.options import Bounds, described, fits
from itslab.viz.style import RED

LOOK = {"style": {"description_width": "104px"}, "layout": {"width": "330px"}}
TALL = {"style": {"description_width": "104px"}, "layout": {"width": "670px", "max_width": "98%"}}
"""Of a control, and of one for longer text."""
MOST = 10**15
"""Of a whole number: browsers know none of 2^53 or more, and Pyodide not even the last before."""


class Field(ABC):
    """One option: its widget, and how its value is read and set.

    Attributes:
        widget: to be shown.
        wide: whether it stands on a line of its own.
    """

    widget: Any
    wide = False

    @abstractmethod
    def get(self) -> Any:
        """Return the value that is set.

        Raises:
            OptionError: it is not valid.
        """

    @abstractmethod
    def set(self, value: Any) -> None:
        """Set a value."""

    @abstractmethod
    def watch(self, changed: Callable[[], None]) -> None:
        """Call a function whenever the value changes."""


class Fixed(Field):
    """Something without options, such as a function of one's own."""

    limited: Sequence[Any] = ()

    def __init__(self, value: Any) -> None:
        import ipywidgets as widgets

        self.widget, self._value = widgets.VBox(), value
        self.options: dict[str, Field] = {}

    def get(self) -> Any:
        """Return it."""
        return self._value

    def set(self, value: Any) -> None:
        """Do nothing: there is nothing to set."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Do nothing: nothing changes."""

    def lock(self, locked: bool) -> None:
        """Do nothing: nothing can be moved."""


class Plain(Field):
    """A widget whose value is that of the option."""

    def __init__(self, widget: Any, value: Any, wide: bool = False) -> None:
        self.widget, self.wide = widget, wide
        self._exact = widget.value, value  # what the widget says, and what was meant by it

    def get(self) -> Any:
        """Return what the widget says; a slider's sums of steps are rounded."""
        value = self.widget.value
        if value == self._exact[0]:
            return self._exact[1]
        return round(value, 9) if type(value) is float and math.isfinite(value) else value

    def set(self, value: Any) -> None:
        """Set it; a slider that does not reach so far is made longer.

        Raises:
            OptionError: it is none of those that are offered.
        """
        if offered := getattr(self.widget, "options", None):
            values = [pair[1] for pair in offered]
            name = self.widget.description
            require(value in values, name, value, " or ".join(map(repr, values)))
        if hasattr(self.widget, "max"):
            self.widget.max = max(self.widget.max, value)
            self.widget.min = min(self.widget.min, value)
        self.widget.value = value
        self._exact = self.widget.value, value

    def watch(self, changed: Callable[[], None]) -> None:
        """Follow the widget."""
        self.widget.observe(lambda _: changed(), "value")


class Written(Field):
    """A value as one writes it in Python; what is not valid is told beside it."""

    def __init__(self, name: str, hint: Any, value: Any, tip: str) -> None:
        import ipywidgets as widgets

        text = "" if value is MISSING else _literal(value)
        self._name, self._hint = name, hint
        self._exact = text, value  # what is written, and what was meant by it
        self._text = widgets.Text(value=text, continuous_update=False, **look_of(name, tip))
        self._told = widgets.HTML()
        self.widget = widgets.VBox([self._text, self._told])
        self._text.observe(self._check, "value")

    def get(self) -> Any:
        """Return the value that is written."""
        text = self._text.value.strip()
        if self._exact[1] is not MISSING and self._text.value == self._exact[0]:
            return self._exact[1]
        try:
            value = _NUMBERS[text] if text in _NUMBERS else ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = text
        require(bool(text) and fits(value, self._hint), self._name, value, described(self._hint))
        return value

    def set(self, value: Any) -> None:
        """Write it."""
        self._text.value = _literal(value)
        self._exact = self._text.value, value

    def watch(self, changed: Callable[[], None]) -> None:
        """Follow the text."""
        self._text.observe(lambda _: changed(), "value")

    def _check(self, _: Any) -> None:
        try:
            self.get()
            self._told.value = ""
        except OptionError as error:
            self._told.value = f'<span style="color: {RED}">{html.escape(str(error))}</span>'


def one_of(name: str, values: Sequence[Any], hint: Any, default: Any, tip: str) -> Plain:
    """A slider over numbers that can be chosen, a dropdown of all else."""
    import ipywidgets as widgets

    for value in values:
        require(fits(value, hint), name, value, described(hint))
    first = default if default in values else values[0]
    numbers = all(type(value) in (int, float) for value in values)
    make = widgets.SelectionSlider if numbers and len(values) > 1 else widgets.Dropdown
    pairs = [(str(value), value) for value in values]
    return Plain(make(options=pairs, value=first, **look_of(name, tip)), first)


def slider(hint: Any, plain: Any, default: Any, look: Mapping[str, Any]) -> Any:
    """A slider for a number that has a default, from its least value on; None for all others."""
    import ipywidgets as widgets

    if plain not in (int, float) or type(default) not in (int, float) or not math.isfinite(default):
        return None
    bounds = next((b for b in get_args(hint)[1:] if isinstance(b, Bounds)), Bounds())
    if math.isinf(bounds.low) and default < 0:
        return None
    low = max(bounds.low, 0)
    high = (
        bounds.high if math.isfinite(bounds.high) else max(4 * default, 16 if plain is int else 2)
    )
    look = {**look, "continuous_update": False}
    if plain is int:
        return widgets.IntSlider(value=default, min=int(low), max=int(high), **look)
    step = 0.05 if high - low <= 4 else 0.1
    low += step if bounds.open in ("low", "both") else 0
    high -= step if bounds.open in ("high", "both") else 0
    return widgets.FloatSlider(
        value=default, min=low, max=high, step=step, readout_format=".2f", **look
    )


_NUMBERS = {"inf": math.inf, "-inf": -math.inf}


def _literal(value: Any) -> str:
    return str(value) if isinstance(value, float) and math.isinf(value) else repr(value)


def number(name: str, value: int, tip: str, choices: Sequence[int] | None = None) -> Any:
    """A control for a whole number ≥ 0; of choices, one of which is set, a slider.

    Raises:
        OptionError: a choice is no whole number ≥ 1.
    """
    import ipywidgets as widgets

    if choices is not None:
        require(len(choices) > 0, "choices['tokens']", choices, "one value at least")
        whole = all(type(one) is int and one > 0 for one in choices)
        require(whole, "choices['tokens']", choices, "whole numbers ≥ 1")
        first = value if value in choices else choices[0]
        return widgets.SelectionSlider(options=[*choices], value=first, **look_of(name, tip))
    return widgets.BoundedIntText(value=value, min=0, max=MOST, **look_of(name, tip))


def look_of(name: str, tip: str) -> dict[str, Any]:
    """Return how a control is labelled."""
    return {"description": name, "tooltip": tip.replace("``", ""), **LOOK}
