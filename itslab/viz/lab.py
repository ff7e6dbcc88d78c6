"""One panel to try everything: a question, a model, any strategy and its options, watched live."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from itslab.core import (
    Backend,
    Budget,
    ItslabError,
    Node,
    Result,
    Tree,
    Verifier,
    require,
)
from itslab.handle import RunHandle
from itslab.options import Whole, checked
from itslab.run import Strategy
from itslab.study import record
from itslab.study.plan import bound
from itslab.study.samples import lines
from itslab.tasks import Task
from itslab.viz import style, theme
from itslab.viz.asked import Asked
from itslab.viz.fields import Fixed
from itslab.viz.form import Form, Offers, settable
from itslab.viz.history import History, Past
from itslab.viz.methods import listed, methods_of, offers
from itslab.viz.panels import Panel, ending, error_text
from itslab.viz.readers import versions
from itslab.viz.setting import Setting, names_of
from itslab.viz.style import BLUE, GRID, ORANGE
from itslab.viz.tree import TreeView

_WIDE = {"style": {"description_width": "104px"}, "layout": {"width": "330px"}}


class Lab(Panel):
    """A question, a model, a strategy with all its options, a budget; Run, and watch.

    It says where settings differ from those of the run on view. Every run stays in a table, where
    two can be laid side by side, and the lines of Python that do the same can be copied. In replay,
    what was recorded of a problem can be put on view.

    Args:
        llm: a model, or the replay of a bank; or several, in a list or by name.
        task: whose problems can be asked; or several, by name.
        question: a text of one's own that is asked at first.
        strategy: that is set at first: its name, or one with its options; or all that can be
            chosen, by names of one's own, of which the first is set.
        budget: that is set at first; its tokens.
        choices: of options that strategies have, such as ``width`` or ``sampling.temperature``, and
            of ``tokens``, the budget: the values to choose from. They come first.
        more: verifiers of one's own that can be chosen, by name.
        seed: that is set at first.
        run: whether a run is begun at once, and waited for.
        instead: a result that is put on view if that run fails, under the reason.

    Attributes:
        view: the tree of the run on view, with the buttons Run, Stop, Pause, Step and Fork.
        asked: what is asked.
        form: the options of the strategy that is chosen.
        history: the runs so far.

    Raises:
        OptionError: a strategy is unknown, or a value cannot be chosen.
    """

    @checked
    def __init__(
        self,
        llm: Backend | Mapping[str, Backend] | Sequence[Backend],
        task: Task | Mapping[str, Task] | None = None,
        *,
        question: str = "",
        strategy: str | Strategy | Mapping[str, Strategy] = "SelfConsistency",
        budget: Budget = Budget(),
        choices: Mapping[str, Sequence[Any]] = {},
        more: Mapping[str, Verifier] = {},
        seed: Whole = 0,
        run: bool = False,
        instead: Result | None = None,
    ) -> None:
        import ipywidgets as widgets

        require(budget == Budget(tokens=budget.tokens), "budget", budget, "one of tokens")
        self._models, self._more = _by_name(llm), dict(more)
        self._names = names_of(self._models, self._more)
        self._methods, first = methods_of(strategy)
        self._choices = {name: values for name, values in choices.items() if name != "tokens"}
        known = {f.name for kind, _ in self._methods.values() for f in settable(kind)}
        for path in self._choices:
            valid = f"tokens, or options of the strategies here: {', '.join(sorted(known))}"
            require(path.partition(".")[0] in known, "choices", path, valid)
        self._shown: Setting | None = None
        self._going: Setting | None = None
        self.asked = Asked({task.name: task} if isinstance(task, Task) else task or {}, question)
        self.model = widgets.Dropdown(options=[*self._models], description="model", **_WIDE)
        self.strategy = widgets.Dropdown(
            options=listed(self._methods), value=first, description="strategy", **_WIDE
        )
        tip = "the most tokens to decode, by anyone; 0 is no limit"
        self.tokens = _number("most tokens", budget.tokens or 0, tip, choices.get("tokens", ()))
        self.seed = _number("seed", seed, "other seeds draw other samples")
        self.reset = widgets.Button(description="reset options", icon="undo")
        self.recorded = widgets.Dropdown(description="recorded", options=[("none", "")], **_WIDE)
        self._about, self._options = widgets.HTML(), widgets.VBox()
        self._told, self._bar, self._versions = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._code = widgets.HTML()
        self.history = History()
        super().__init__(self._chosen(), TreeView(Tree(), begin=self._begin, fork=self._fork))
        self._arrange()
        self._open()
        self._offer_recorded()
        self._listen()
        if not run and len(self.recorded.options) > 1:
            self.recorded.index = 1  # in replay there is something to see at once
        if run:
            self.view.run()
            self.view.wait()
            if self.view.error and instead is not None:
                self.view.show(instead)

    # -- how it looks

    def _chosen(self) -> list[Any]:
        models = [self.model] if len(self._models) > 1 else []
        return [*models, self.strategy, self.tokens, self.seed, self.recorded]

    def _arrange(self) -> None:
        import ipywidgets as widgets

        row, view = self.box.children
        row.layout.align_items = "center"
        code = widgets.Accordion([self._code], titles=["copy as code"], selected_index=None)
        above = [self.asked.box, row, self._about, self._options, self._told, self._bar]
        self.box.children = [*above, view, self._versions, self.history.box, code]

    def _listen(self) -> None:
        self.asked.watch(self._follow_asked)
        self.strategy.observe(lambda _: self._open(), "value")
        for control in (self.model, self.tokens, self.seed):
            control.observe(lambda _: self._follow(), "value")
        self.model.observe(lambda _: self._offer_recorded(), "value")
        self.reset.on_click(lambda _: self.form.reset())
        self.recorded.observe(self._show_recorded, "value")
        self.history.watch(self._show_again)
        self.view.followers.append(self._look)

    def picture(self) -> str:
        """Return the page's element that replaces the panel."""
        return f"{theme.SHEET}{self.view.html()}"

    # -- the strategy and its options

    @property
    def backend(self) -> Backend:
        """The model that is chosen."""
        return self._models[self.model.value]

    def _open(self, wanted: Any = None) -> None:
        """Show the options of the strategy that is chosen, with those that are given set."""
        kind, start = self._methods[self.strategy.value]
        first = start if wanted is None else wanted
        options = [f.name for f in settable(kind)]
        self.form: Form | Fixed = Form(kind, self._offers(kind)) if options else Fixed(start)
        if options and first is not None:
            self.form.set(first)
        for path, values in self._choices.items():
            if isinstance(self.form, Form) and path.partition(".")[0] in options:
                self.form.limit(path, values)
        self.form.watch(self._follow)
        self._options.children = [self.form.widget, *([self.reset] if options else [])]
        said = html.escape(" ".join((kind.__doc__ or "").strip().partition("\n\n")[0].split()))
        self._about.value = style.note(re.sub(r"``(.+?)``", r"<code>\1</code>", said))
        self._follow()

    def _offers(self, kind: Any) -> Offers:
        own = not self.asked.error and self.asked.task.verifier is not None
        return offers(kind.__name__, self._models, self._more, own)

    def _follow_asked(self) -> None:
        """Offer the check of another task, and what was recorded of another problem."""
        try:
            wanted = self.form.get()
            bound(wanted, self.asked.task, {})
        except ItslabError:  # of an option, or of a check that this task does not have
            wanted = None
        self._open(wanted)
        self._offer_recorded()

    # -- a run

    def setting(self) -> Setting:
        """Return all that a run would be begun with now.

        Raises:
            ItslabError: an option is not valid, or there is nothing to ask.
        """
        task, problem = self.asked.task, self.asked.problem
        require(bool(problem.prompt.strip()), "question", problem.prompt, "a text to ask")
        budget = Budget(tokens=self.tokens.value or None)
        strategy, names = self.form.get(), self._names
        place, seed = self.asked.code, self.seed.value
        return Setting(task, problem, place, self.backend, strategy, budget, seed, names)

    def settings(self) -> list[Setting]:
        """Return all that a run can be begun with where only ``choices`` are moved."""
        chosen, every = self.strategy.value, []
        for name in self._methods:
            self.strategy.value = name
            moved = [*self.form.limited, *([self.tokens] if hasattr(self.tokens, "index") else [])]
            before = [widget.index for widget in moved]
            for places in product(*(range(len(widget.options)) for widget in moved)):
                for widget, place in zip(moved, places, strict=True):
                    widget.index = place
                every.append(self.setting())
            for widget, place in zip(moved, before, strict=True):
                widget.index = place
        self.strategy.value = chosen
        return every

    def _begin(self) -> RunHandle:
        return self._go(self.setting()).begin()

    def _fork(self, handle: RunHandle, node: Node) -> RunHandle:
        """Go on with what is set from a node of the run on view: of its model, on its problem."""
        new, old = self.setting(), self._shown
        if old is not None:
            new = replace(new, task=old.task, problem=old.problem, place=old.place)
            new = replace(new, model=old.model, node=node.id)
        return self._go(new).fork(handle, node)

    def _go(self, setting: Setting) -> Setting:
        self._going, self.view.gold, self._bar.value = setting, setting.gold, ""
        self._versions.value = self.recorded.value = ""
        self.history.again.disabled = self.recorded.disabled = True  # until it is at its end
        self._follow()
        return setting

    def _look(self) -> None:
        """Follow a run: its budget, and at its end its place in the table."""
        handle, going = self.view.handle, self._going
        if handle is None or going is None:
            return
        if limit := going.budget.tokens:
            self._bar.value = bar(handle.run.cost.decoded, limit)
        if self.view.state in ("drawing", "pausing", "paused"):
            return
        self._going, self._shown = None, going
        self.history.again.disabled = self.recorded.disabled = False
        result = self.view.result
        if result is None:  # it failed: its tree stays, with the reason
            return
        self.history.add(
            setting=going, result=result, state=ending(result.stopped_by, result.cost, going.budget)
        )
        self._show_versions(going, result.tree)
        self._follow()

    # -- what is seen besides the tree

    def _follow(self) -> None:
        """Write the code anew, and say whether the settings are those of the run on view."""
        code = told = ""
        try:
            if self.asked.own and not self.asked.text.value.strip():
                told = "Write a question above, or choose a task."
            else:
                code = self.setting().code
        except Exception as error:  # a strategy of somebody's own may raise anything
            told = error_text(error)
        self._code.value = style.copied(code)
        known = self._going or self._shown
        if not told and known is not None and known.code != code:
            told = "Settings changed: press Run to see what comes of them."
        self._told.value = f'<b style="color: {ORANGE}">{html.escape(told)}</b>' if told else ""

    def _show_versions(self, asked: Setting | Asked, tree: Tree) -> None:
        """Show revisions beside each other, where a run made some."""
        revised = [line for line in lines(tree) if len(line) > 1]

        def right(version: Node) -> bool | None:
            try:
                return asked.right(asked.task.extract(version.turn_text))
            except Exception:  # a grader of somebody's own
                return None

        self._versions.value = versions(tree, revised[0], right) if revised else ""

    def _show_again(self, past: Past) -> None:
        if past.setting is self._shown or self._going is not None:
            return
        self._shown, self._bar.value, self.view.gold = past.setting, "", past.setting.gold
        self.view.show(past.result)
        self.view.notify()
        self._show_versions(past.setting, past.result.tree)
        self._follow()

    # -- replay

    def _offer_recorded(self) -> None:
        """Offer the runs that the bank holds of the problem."""
        bank = getattr(self.backend, "bank", None)
        asked = not (bank is None or self.asked.error or self.asked.own)
        found = bank.runs_of(self.asked.problem.id) if asked and bank is not None else []
        names = [name for _, name in found]
        labels = [
            f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name
            for i, name in enumerate(names)
        ]
        keys = [key for key, _ in found]
        self.recorded.options = [("none", ""), *zip(labels, keys, strict=True)]
        self.recorded.layout.display = "" if found else "none"

    def _show_recorded(self, _: Any) -> None:
        bank: Any = getattr(self.backend, "bank", None)
        key = self.recorded.value
        result = record.find(bank, key, self.asked.problem) if key else None
        if result is not None:
            self._shown, self._bar.value, self.view.error = None, "", ""
            self.view.gold = self.asked.gold
            self.view.show(result)
            self.view.notify()
            self._show_versions(self.asked, result.tree)
            self._follow()


lab = Lab
"""As it is called in a notebook: ``its.lab(llm)``."""


def bar(spent: int, limit: int) -> str:
    """Return what is spent of a budget of tokens as an HTML bar."""
    done = (
        f'<div style="width: {min(spent / limit, 1):.1%}; height: 6px; background: {BLUE}"></div>'
    )
    return style.view(
        f'<div style="height: 6px; background: {GRID}">{done}</div>'
        f"{spent:,} of {limit:,} tokens spent"
    )


def _by_name(llm: Any) -> dict[str, Backend]:
    given = [llm] if hasattr(llm, "generate") else llm
    require(len(given) > 0, "llm", llm, "a model at least, such as its.load returns")
    if isinstance(given, Mapping):
        return dict(given)
    names = [str(getattr(model, "name", f"model {i}")) for i, model in enumerate(given, 1)]
    once = len({*names}) == len(names)
    require(once, "llm", names, "models of different names: give them as {name: model}")
    return dict(zip(names, given, strict=True))


def _number(name: str, value: int, tip: str, choices: Sequence[int] = ()) -> Any:
    import ipywidgets as widgets

    look = {"description": name, "tooltip": tip, **_WIDE}
    if choices:
        whole = all(type(one) is int and one > 0 for one in choices)
        require(whole, "choices['tokens']", choices, "whole numbers ≥ 1")
        first = value if value in choices else choices[0]
        return widgets.SelectionSlider(options=[*choices], value=first, **look)
    return widgets.BoundedIntText(value=value, min=0, max=2**53, **look)
