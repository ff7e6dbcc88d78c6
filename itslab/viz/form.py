"""Controls for the options of a dataclass: made from its types, their bounds and its docstring.

    form = Form(BeamSearch, {Verifier: {"Confidence": Confidence}})
    form.box  # in a notebook
    form.get()  # BeamSearch(verifier=Confidence(), width=4, …)

Numbers within bounds are sliders, one of several words is a dropdown, what is made of options
itself has a form of its own within. What none of these can draw is written as in Python.
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from itslab.core import OptionError, require
from itslab.options import declared, default_of, documented
from itslab.viz.fields import TALL, Field, Plain, Written, look_of, one_of, slider

Offers = Mapping[Any, Mapping[str, Any]]
"""An annotation, such as ``Verifier`` -> what can be chosen: labels, and values or classes."""

_NONE = "none"
_READ_WITH = {"weigh": "verifier"}
"""Options that are read only where another one is not none."""


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
        self.choice = widgets.Dropdown(options=[*self._choices], **look_of(name, tip))
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
        """Choose a value, or the class that it is of, with its options; another one is added."""
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
        named = getattr(value, "name", None) or getattr(value, "__name__", None)
        label = str(named or type(value).__name__)
        self._choices[label] = value
        self.choice.options = [*self._choices]
        self.choice.value = label

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
        titles = [f"{self._name.removesuffix('s')} {i}" for i in range(1, count + 1)]
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
        hints, tips = _hints(kind), documented(kind)
        self.options: dict[str, Field] = {}
        self._defaults: dict[str, Any] = {}
        self._limited: dict[str, Field] = {}  # those that stand first, some of forms within
        self._lifted: set[str] = set()  # those that stand elsewhere
        for option in settable(kind):
            name, default = option.name, default_of(option)
            self.options[name] = _field(
                name, hints.get(name, Any), default, tips.get(name, ""), offers or {}
            )
            self._defaults[name] = default
        self.box = self.widget = widgets.VBox()
        self._arrange()
        for name in {*_READ_WITH.values()} & {*self.options}:
            self.options[name].watch(self._grey)

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

    def lock(self, locked: bool) -> None:
        """Let only those options be moved that were limited; or all of them."""
        _lock(self.box, locked, self.limited)
        if not locked:
            self._grey()

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
        hint, tip = _hints(self.kind).get(name, Any), documented(self.kind).get(name, "")
        self.options[name] = field = one_of(name, values, hint, self._defaults[name], tip)
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
        for option in here.values():
            if isinstance(option, Plain) and option.wide:  # whose name is that of its fold
                option.widget.description, option.widget.layout.width = "", "98%"
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
        self._grey()

    def _grey(self) -> None:
        """Let no option be moved that is not read as the others are."""
        for name, other in _READ_WITH.items():
            needed, option = self.options.get(other), self.options.get(name)
            if option is None or not isinstance(needed, Chosen):
                continue
            option.widget.disabled = unread = needed.choice.value == _NONE
            tip = documented(self.kind).get(name, "").replace("``", "")
            option.widget.tooltip = f"not read without a {other}: {tip}" if unread else tip


def _lock(widget: Any, locked: bool, free: Sequence[Any]) -> None:
    """Disable the controls within a widget, but those that are free."""
    if any(widget is one for one in free):
        return
    if hasattr(widget, "disabled"):
        widget.disabled = locked
    for child in getattr(widget, "children", ()):
        _lock(child, locked, free)


def settable(kind: type) -> list[dataclasses.Field[Any]]:
    """Return the options that a caller sets: not those that are hidden and have a default.

    What is no dataclass has none.
    """

    every = fields(kind) if is_dataclass(kind) else ()
    return [f for f in every if f.init and (f.repr or default_of(f) is MISSING)]


def _hints(kind: type) -> dict[str, Any]:
    """What a class declares; nothing where it names what is not there."""
    try:
        return declared(kind)
    except NameError:
        return {}


# -- which field an option has ---------------------------------------------------------------------


def _field(name: str, hint: Any, default: Any, tip: str, offers: Offers) -> Field:
    """The field of an option, by its annotation."""
    import ipywidgets as widgets

    if (choices := _offered(hint, offers)) is not None:
        return Chosen(name, choices, offers, default, tip)
    many = get_origin(hint) is tuple and get_args(hint)[1:] == (...,)
    if many and is_dataclass(kind := get_args(hint)[0]):
        assert isinstance(kind, type)
        return Several(name, kind, offers, default, tip)
    if is_dataclass(hint) and (default is MISSING or type(default) is hint):
        assert isinstance(hint, type)
        form = Form(hint, offers)
        if default is not MISSING:
            form.set(default)
            form._defaults = {f.name: getattr(default, f.name) for f in fields(hint)}
        return form
    look = look_of(name, tip)
    if get_origin(hint) is Literal:
        return one_of(name, get_args(hint), hint, default, tip)
    if hint is bool and type(default) is bool:
        return Plain(widgets.Checkbox(value=default, indent=False, **look), default)
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if plain is str and type(default) is str:
        tall = {**look, **TALL, "rows": max(2, min(str(default).count("\n") + 2, 8))}
        area = widgets.Textarea(value=default, continuous_update=False, **tall)
        return Plain(area, default, wide=True)
    if (drawn := slider(hint, plain, default, look)) is not None:
        return Plain(drawn, default)
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
