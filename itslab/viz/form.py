"""Controls for the options of a dataclass: made from its types, their bounds and its docstring.

    form = Form(BeamSearch, {Verifier: {"Confidence": Confidence}})
    form.box  # in a notebook
    form.get()  # BeamSearch(verifier=Confidence(), width=4, …)

Numbers within bounds are sliders, one of several words is a dropdown, what is made of options
itself has a form of its own within. What none of these can draw is written as in Python.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import html
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from itslab.core import OptionError, require
from itslab.options import Bounds, declared, described, documented, fits
from itslab.viz.style import RED

Offers = Mapping[Any, Mapping[str, Any]]
"""An annotation, such as ``Verifier`` -> what can be chosen: labels, and values or classes."""

_LOOK = {"style": {"description_width": "104px"}, "layout": {"width": "330px"}}
_TALL = {"style": {"description_width": "104px"}, "layout": {"width": "670px"}}
_NONE = "none"


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

    def reset(self) -> None:
        """Do nothing: it is as it was."""


class Plain(Field):
    """A widget whose value is that of the option."""

    def __init__(self, widget: Any, wide: bool = False) -> None:
        self.widget, self.wide = widget, wide

    def get(self) -> Any:
        """Return what the widget says; a slider's sums of steps are rounded."""
        value = self.widget.value
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

    def watch(self, changed: Callable[[], None]) -> None:
        """Follow the widget."""
        self.widget.observe(lambda _: changed(), "value")


class Written(Field):
    """A value as one writes it in Python; what is not valid is told beside it."""

    def __init__(self, name: str, hint: Any, value: Any, tip: str) -> None:
        import ipywidgets as widgets

        text = "" if value is MISSING else _literal(value)
        self._name, self._hint = name, hint
        self._text = widgets.Text(value=text, continuous_update=False, **_described(name, tip))
        self._told = widgets.HTML()
        self.widget = widgets.VBox([self._text, self._told])
        self._text.observe(self._check, "value")

    def get(self) -> Any:
        """Return the value that is written."""
        text = self._text.value.strip()
        try:
            value = _NUMBERS[text] if text in _NUMBERS else ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = text
        require(bool(text) and fits(value, self._hint), self._name, value, described(self._hint))
        return value

    def set(self, value: Any) -> None:
        """Write it."""
        self._text.value = _literal(value)

    def watch(self, changed: Callable[[], None]) -> None:
        """Follow the text."""
        self._text.observe(lambda _: changed(), "value")

    def _check(self, _: Any) -> None:
        try:
            self.get()
            self._told.value = ""
        except OptionError as error:
            self._told.value = f'<span style="color: {RED}">{html.escape(str(error))}</span>'


class Chosen(Field):
    """One of several things; one that is made of options has a form of its own within.

    Args:
        name: of the option.
        choices: labels, and values or their classes.
        offers: for the forms within.
        value: that is set at first; by default the first choice.
        tip: what is shown where the mouse rests.
    """

    wide = True

    def __init__(
        self, name: str, choices: Mapping[str, Any], offers: Offers, value: Any, tip: str
    ) -> None:
        import ipywidgets as widgets

        require(len(choices) > 0, name, value, "one of several; there is none here")
        self._choices, self._offers = dict(choices), offers
        self._form: Form | None = None
        self._changed: list[Callable[[], None]] = []
        self.choice = widgets.Dropdown(options=[*self._choices], **_described(name, tip))
        self._within = widgets.VBox(layout={"padding": "0 0 0 24px"})
        self.widget = widgets.VBox([self.choice, self._within])
        self._open()
        self.choice.observe(self._follow, "value")
        if value is not MISSING:
            self.set(value)

    @property
    def form(self) -> Form | None:
        """The form of what is chosen, if it is made of options."""
        return self._form

    def get(self) -> Any:
        """Return what is chosen, made of the options in its form."""
        return self._choices[self.choice.value] if self._form is None else self._form.get()

    def set(self, value: Any) -> None:
        """Choose a value, or the class that it is of, with its options.

        Raises:
            OptionError: it is none of the choices.
        """
        for label, offered in self._choices.items():
            if offered is value or (not isinstance(offered, type) and offered == value):
                self.choice.value = label
                return
        for label, offered in self._choices.items():
            if offered is type(value):
                self.choice.value = label
                if self._form is not None:
                    self._form.set(value)
                return
        require(False, self.choice.description, value, " or ".join(self._choices))

    def watch(self, changed: Callable[[], None]) -> None:
        """Follow the choice, and the form of whatever is chosen."""
        self._changed.append(changed)
        if self._form is not None:
            self._form.watch(changed)

    def _follow(self, _: Any) -> None:
        self._open()
        for changed in self._changed:
            changed()

    def _open(self) -> None:
        offered = self._choices[self.choice.value]
        made = isinstance(offered, type) and is_dataclass(offered)
        self._form = Form(offered, self._offers) if made else None
        if self._form is not None:
            for changed in self._changed:
                self._form.watch(changed)
        self._within.children = [self._form.box] if self._form and self._form.options else []


class Several(Field):
    """A row of things of one class, such as the stages of a cascade, with more and fewer."""

    wide = True

    def __init__(self, name: str, kind: type, offers: Offers, value: Any, tip: str) -> None:
        import ipywidgets as widgets

        self._kind, self._offers, self._name = kind, offers, name
        self._changed: list[Callable[[], None]] = []
        self.forms: list[Form] = []
        self.more = widgets.Button(description="one more", icon="plus", tooltip=tip)
        self.fewer = widgets.Button(description="one fewer", icon="minus", tooltip=tip)
        self.more.on_click(lambda _: self._resize(len(self.forms) + 1))
        self.fewer.on_click(lambda _: self._resize(max(len(self.forms) - 1, 1)))
        self._rows = widgets.VBox()
        title = widgets.HTML(f"<b>{html.escape(name)}</b>")
        self.widget = widgets.VBox([widgets.HBox([title, self.more, self.fewer]), self._rows])
        if value in (MISSING, ()):
            self._resize(2)
        else:
            self.set(value)

    def get(self) -> tuple[Any, ...]:
        """Return them all."""
        return tuple(form.get() for form in self.forms)

    def set(self, value: Sequence[Any]) -> None:
        """Set as many as there are."""
        self._resize(len(value))
        for form, one in zip(self.forms, value, strict=True):
            form.set(one)

    def watch(self, changed: Callable[[], None]) -> None:
        """Follow them all."""
        self._changed.append(changed)
        for form in self.forms:
            form.watch(changed)

    def _resize(self, count: int) -> None:
        import ipywidgets as widgets

        while len(self.forms) < count:
            form = Form(self._kind, self._offers)
            self.forms.append(form)
            for changed in self._changed:
                form.watch(changed)
        del self.forms[count:]
        titles = [f"{self._name} {i}" for i in range(1, count + 1)]
        self._rows.children = [
            widgets.VBox([widgets.HTML(f"<i>{html.escape(title)}</i>"), form.box])
            for title, form in zip(titles, self.forms, strict=True)
        ]
        for changed in self._changed:
            changed()


class Form(Field):
    """The options of a dataclass.

    Args:
        kind: the dataclass.
        offers: what can be chosen where an option is no plain value.

    Attributes:
        options: name of an option -> its field.
        box: all of them, the longer ones folded.
    """

    wide = True

    def __init__(self, kind: type, offers: Offers | None = None) -> None:
        import ipywidgets as widgets

        self.kind = kind
        hints, tips = declared(kind), documented(kind)
        self.options: dict[str, Field] = {}
        self._defaults: dict[str, Any] = {}
        self._limited: dict[str, Field] = {}  # those that stand first, some of forms within
        self._lifted: set[str] = set()  # those that stand elsewhere
        for option in settable(kind):
            name, make = option.name, option.default_factory
            default = option.default if make is MISSING else make()
            self.options[name] = _field(
                name, hints[name], default, tips.get(name, ""), offers or {}
            )
            self._defaults[name] = default
        self.box = self.widget = widgets.VBox()
        self._arrange()

    def limit(self, path: str, values: Sequence[Any]) -> None:
        """Offer only some values of an option, above all others.

        Args:
            path: its name; of a form within ``sampling.temperature`` or ``stages.0.threshold``.
            values: one of which is set: what is set now, or else the first.

        Raises:
            OptionError: there is no such option, or a value is not valid.
        """
        self._limited[path] = self._limit(path, values)
        self._arrange()

    @property
    def limited(self) -> list[Any]:
        """The widgets of the options that were limited."""
        return [field.widget for field in self._limited.values()]

    def _limit(self, path: str, values: Sequence[Any]) -> Field:
        name, _, rest = path.partition(".")
        valid = f"options of {self.kind.__name__}: {', '.join(self.options)}"
        require(name in self.options, "choices", path, valid)
        if rest:
            several = isinstance(self.options[name], Several)
            return self._within(name, rest)._limit(
                rest.partition(".")[2] if several else rest, values
            )
        require(len(values) > 0, f"choices[{path!r}]", values, "one value at least")
        with contextlib.suppress(OptionError):
            self._defaults[name] = self.options[name].get()
        hint, tip = declared(self.kind)[name], documented(self.kind).get(name, "")
        self.options[name] = field = _one_of(name, values, hint, self._defaults[name], tip)
        self._lifted.add(name)
        self._arrange()
        return field

    def _within(self, name: str, path: str) -> Form:
        """The form within that a path leads to."""
        inner, place = self.options[name], path.partition(".")[0]
        if isinstance(inner, Several) and place.isdigit() and int(place) < len(inner.forms):
            return inner.forms[int(place)]
        require(isinstance(inner, Form), f"choices in {name}", path, "an option of a form within")
        assert isinstance(inner, Form)
        return inner

    def get(self) -> Any:
        """Return the dataclass with the options that are set.

        Raises:
            OptionError: one of them is not valid, or they do not go together.
        """
        return self.kind(**{name: option.get() for name, option in self.options.items()})

    def set(self, value: Any) -> None:
        """Set all options to those of a value of the dataclass."""
        for name, option in self.options.items():
            option.set(getattr(value, name))

    def watch(self, changed: Callable[[], None]) -> None:
        """Follow all options."""
        for option in self.options.values():
            option.watch(changed)

    def reset(self) -> None:
        """Set all options that have a default back to it."""
        for name, option in self.options.items():
            if self._defaults[name] is not MISSING:
                option.set(self._defaults[name])

    def _arrange(self) -> None:
        """Short options in rows, then what has a line of its own, then texts and forms, folded."""
        import ipywidgets as widgets

        here = {name: o for name, o in self.options.items() if name not in self._lifted}
        short = [field.widget for field in self._limited.values()]
        short += [o.widget for o in here.values() if not o.wide]
        opened = [o.widget for o in here.values() if isinstance(o, Chosen | Several)]
        folded = {
            name: option.widget
            for name, option in here.items()
            if option.wide and not isinstance(option, Chosen | Several)
        }
        parts = [widgets.HBox(short, layout={"flex_flow": "row wrap"})] if short else []
        parts += opened
        if folded:
            parts.append(
                widgets.Accordion(
                    [*folded.values()],
                    titles=[*folded],
                    selected_index=None,
                    layout={"max_width": "740px"},
                )
            )
        self.box.children = parts


def settable(kind: type) -> list[dataclasses.Field[Any]]:
    """Return the options that a caller sets: not those that are hidden and have a default.

    What is no dataclass has none.
    """

    def needed(field: dataclasses.Field[Any]) -> bool:
        return field.default is MISSING and field.default_factory is MISSING

    every = fields(kind) if is_dataclass(kind) else ()
    return [field for field in every if field.init and (field.repr or needed(field))]


# -- which field an option has ---------------------------------------------------------------------


def _field(name: str, hint: Any, default: Any, tip: str, offers: Offers) -> Field:
    """The field of an option, by its annotation."""
    import ipywidgets as widgets

    if (choices := _offered(hint, offers)) is not None:
        return Chosen(name, choices, offers, default, tip)
    if get_origin(hint) is tuple and is_dataclass(kind := get_args(hint)[0]):
        assert isinstance(kind, type)
        return Several(name, kind, offers, default, tip)
    if is_dataclass(hint):
        assert isinstance(hint, type)
        form = Form(hint, offers)
        if default is not MISSING:
            form.set(default)
            form._defaults = {f.name: getattr(default, f.name) for f in fields(hint)}
        return form
    look = _described(name, tip)
    if get_origin(hint) is Literal:
        return _one_of(name, get_args(hint), hint, default, tip)
    if hint is bool:
        return Plain(widgets.Checkbox(value=default is True, indent=False, **look))
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if plain is str and default is not MISSING:
        tall = {**look, **_TALL, "rows": max(2, min(str(default).count("\n") + 2, 8))}
        return Plain(widgets.Textarea(value=default, continuous_update=False, **tall), wide=True)
    if slider := _slider(hint, plain, default, look):
        return Plain(slider)
    return Written(name, hint, default, tip)


def _offered(hint: Any, offers: Offers) -> Mapping[str, Any] | None:
    """What can be chosen for an annotation; with None where that is one of its kinds."""
    if hint in offers:
        return offers[hint]
    if get_origin(hint) in (Union, UnionType):
        kinds = [one for one in get_args(hint) if one is not type(None)]
        if len(kinds) == 1 and kinds[0] in offers:
            return {_NONE: None, **offers[kinds[0]]}
    return None


def _one_of(name: str, values: Sequence[Any], hint: Any, default: Any, tip: str) -> Plain:
    """A slider over numbers that can be chosen, a dropdown of all else."""
    import ipywidgets as widgets

    for value in values:
        require(fits(value, hint), name, value, described(hint))
    first = default if default in values else values[0]
    numbers = all(type(value) in (int, float) for value in values)
    make = widgets.SelectionSlider if numbers and len(values) > 1 else widgets.Dropdown
    pairs = [(str(value), value) for value in values]
    return Plain(make(options=pairs, value=first, **_described(name, tip)))


def _slider(hint: Any, plain: Any, default: Any, look: Mapping[str, Any]) -> Any:
    """A slider for a number that has a default, from its least value on; None for all others."""
    import ipywidgets as widgets

    if plain not in (int, float) or default is MISSING or not math.isfinite(default):
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


# -- words -----------------------------------------------------------------------------------------

_NUMBERS = {"inf": math.inf, "-inf": -math.inf}


def _literal(value: Any) -> str:
    return str(value) if isinstance(value, float) and math.isinf(value) else repr(value)


def _described(name: str, tip: str) -> dict[str, Any]:
    return {"description": name, "tooltip": tip, **_LOOK}
