"""One panel to try everything: a question, a model, any strategy and its options, watched live."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from itslab import attended
from itslab.core import (
    Backend,
    Budget,
    Node,
    Result,
    Tree,
    Verifier,
    require,
)
from itslab.handle import RunHandle
from itslab.options import Whole, checked
from itslab.run import Strategy
from itslab.study.plan import bound
from itslab.study.runner import failure
from itslab.study.samples import lines
from itslab.tasks import Task
from itslab.viz import pieces, replay, style, theme
from itslab.viz.asked import Asked
from itslab.viz.chooser import Chooser
from itslab.viz.fields import LOOK, Fixed, number
from itslab.viz.form import Form, Offers, settable
from itslab.viz.history import History, Past
from itslab.viz.methods import methods_of, offers
from itslab.viz.panels import Panel, ended, error_text
from itslab.viz.readers import versions
from itslab.viz.setting import Setting, models_by_name, names_of
from itslab.viz.style import ORANGE
from itslab.viz.tree import TreeView


class Lab(Panel):
    """A question, a model, a strategy with all its options, a budget; Run, and watch.

    It says where settings differ from those of the run on view. Every run stays in a table, where
    two can be laid side by side, and the lines of Python that do the same can be copied. In replay
    there is what was recorded: runs, which are put on view with the settings that they were kept
    with, and strategies whose samples are there.

    Args:
        llm: a model, or the replay of a bank; or several, in a list or by name.
        task: whose problems can be asked; or several, by name.
        question: a text of one's own that is asked at first.
        strategy: that is set at first: its name, or one with its options; or all that can be
            chosen, by names of one's own, of which the first is set.
        budget: that is set at first; its tokens.
        choices: of options that strategies have, such as ``width`` or ``sampling.temperature``, and
            of ``tokens``, the budget: the values to choose from, with those that ``strategy`` and
            ``budget`` set. They come first.
        more: verifiers of one's own that can be chosen, by name.
        seed: that is set at first.
        run: whether a run is begun at once, and waited for; an interrupt stops it.
        instead: a result that is put on view if that run fails, under the reason.

    Attributes:
        view: the tree of the run on view, with the buttons Run, Stop, Pause, Step and Fork.
        asked: what is asked.
        chooser: the strategy, and its options.
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

        require(budget == Budget(tokens=budget.tokens), "budget", budget, "one of tokens")
        self._models, self._more = models_by_name(llm), dict(more)
        self._names = names_of(self._models, self._more)
        self._methods, first = methods_of(strategy)
        self._choices = {name: values for name, values in choices.items() if name != "tokens"}
        known = {f.name for kind, *_ in self._methods.values() for f in settable(kind)}
        for path in self._choices:
            valid = f"tokens, or options of the strategies here: {', '.join(sorted(known))}"
            require(path.partition(".")[0] in known, "choices", path, valid)
        self._given = bool(choices)
        self._kept: dict[str, replay.Kept] = {}
        self._damaged = ""  # what is said of runs that cannot be read
        self._shown: Setting | None = None
        self._going: Setting | None = None
        self._wanted: Setting | None = None  # as it was set where Run was pressed
        self._replayed = False  # whether a recorded run is on view
        self._emptied = self._lost = (
            ""  # what is said of a view, and of options, that were put away
        )
        self.history = History()
        self._make_controls(task, question, first, budget, seed, choices)
        super().__init__(self._chosen(), TreeView(Tree(), begin=self._begin, fork=self._fork))
        self._arrange()
        self._listen()
        self._offer_recorded()
        if not run:
            self._show_first()  # there is something to see at once
        if run:
            self._run_at_once(instead)

    def _run_at_once(self, instead: Result | None) -> None:
        """Run, and wait; an interrupt stops the run, and the panel is there with what it drew."""
        try:
            self.view.run()
            self.view.wait()
        except KeyboardInterrupt:
            self.view.stop()
            self.view.wait(attended.PATIENCE)
            self.view.error = "Interrupted: the run was stopped; what it had drawn stands here."
            self.view.notify()
            return
        if self.view.error and instead is not None:
            self.view.show(instead)

    # -- how it looks

    def _make_controls(
        self, task: Any, question: str, first: str, budget: Budget, seed: int, choices: Any
    ) -> None:
        import ipywidgets as widgets

        if "tokens" in choices and budget.tokens is not None:
            held, values = budget.tokens in choices["tokens"], choices["tokens"]
            valid = f"numbers that hold {budget.tokens}, which is set as the budget"
            require(held, "choices['tokens']", values, valid)
        given = {task.name: task} if isinstance(task, Task) else task or {}
        live = [model for model in self._models.values() if not replay.replays(model)]
        self.asked = Asked(given, question, None if live else self._recorded_tasks())
        self.model = widgets.Dropdown(options=[*self._models], description="model", **LOOK)
        self.model.tooltip, self.model.disabled = "who is asked", len(self._models) == 1
        self.chooser = Chooser(self._methods, first, self._choices, self._offers)
        self.strategy, self.reset = self.chooser.strategy, self.chooser.reset
        tip = "the most tokens to decode, by anyone; 0 is no limit"
        self.tokens = number("most tokens", budget.tokens or 0, tip, choices.get("tokens"))
        self._unlimited = widgets.HTML('<span style="opacity: 0.7">no limit</span>')
        self.seed = number("seed", seed, "other seeds draw other samples")
        self.recorded = widgets.Dropdown(description="recorded", **LOOK)
        self.recorded.layout.width, self.recorded.layout.max_width = "500px", "98%"
        self.recorded.tooltip = "a finished run that the bank keeps: it is put on view as it was"
        self._options = widgets.VBox()
        self._told, self._bar, self._versions = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._code = widgets.HTML()

    def _recorded_tasks(self) -> list[str]:
        banks = (getattr(model, "bank", None) for model in self._models.values())
        return [name for bank in banks if bank is not None for name in bank.runs_by_task]

    def _chosen(self) -> list[Any]:
        return [self.model, self.strategy, self.tokens, self._unlimited, self.seed, self.recorded]

    def _arrange(self) -> None:
        import ipywidgets as widgets

        row, view = self.box.children
        row.layout.align_items = "center"
        self._copy = widgets.Accordion([self._code], titles=["copy as code"], selected_index=None)
        above = [self.asked.box, row, self.chooser.about, self._options, self._told, self._bar]
        self.box.children = [*above, view, self._versions, self.history.box, self._copy]

    def _listen(self) -> None:
        self.asked.watch(self._follow_asked)
        self.chooser.watch(self._follow, self._open)
        for control in (self.tokens, self.seed):
            control.observe(lambda _: self._follow(), "value")
        self.model.observe(lambda _: self._offer_recorded(), "value")
        self.recorded.observe(self._show_recorded, "value")
        self.history.watch(self._show_again)
        self.view.before.append(self._take)
        self.view.followers.append(self._look)

    def picture(self) -> str:
        """Return the page's element that replaces the panel."""
        return f"{theme.SHEET}{self.view.html()}"

    # -- the strategy and its options

    @property
    def backend(self) -> Backend:
        """The model that is chosen."""
        return self._models[self.model.value]

    @property
    def form(self) -> Form | Fixed:
        """The options of the strategy that is chosen."""
        return self.chooser.form

    def _open(self) -> None:
        self._fit()
        self._follow()

    def _offers(self, kind: Any) -> Offers:
        own = not self.asked.error and self.asked.task.verifier is not None
        return offers(kind.__name__, self._models, self._more, own)

    def _follow_asked(self) -> None:
        """Offer the check of another task, and what was recorded of another problem."""
        lost = self.chooser.renew(lambda value: bound(value, self.asked.task, {}))
        again = "is what it was at first" if len(lost) == 1 else "are what they were at first"
        why = f"{' and '.join(lost)} {again}: what was set is not there for this task."
        self._lost = why if lost else ""
        self._offer_recorded()

    # -- a run

    def setting(self) -> Setting:
        """Return all that a run would be begun with now.

        Raises:
            ItslabError: an option is not valid, or there is nothing to ask.
        """
        return self._setting(self.form)

    def _setting(self, form: Form | Fixed) -> Setting:
        task, problem = self.asked.task, self.asked.problem
        require(bool(problem.prompt.strip()), "question", problem.prompt, "a text to ask")
        budget = Budget(tokens=self.tokens.value or None)
        place, seed = self.asked.code, self.seed.value
        strategy, names = form.get(), self._names
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

    def _take(self) -> None:
        self._wanted = self.setting()

    def _begin(self) -> RunHandle:
        assert self._wanted is not None  # since Run was pressed
        return self._go(self._wanted).begin()

    def _fork(self, handle: RunHandle, node: Node) -> RunHandle:
        """Go on with what is set from a node of the run on view: of its model, on its problem."""
        new, old = self._wanted, self._shown
        assert new is not None  # since Fork was pressed
        if old is not None:
            new = replace(new, task=old.task, problem=old.problem, place=old.place)
            new = replace(new, model=old.model, node=node.id)
        return self._go(new).fork(handle, node)

    def _go(self, setting: Setting) -> Setting:
        self._going, self.view.gold, self._bar.value = setting, setting.gold, ""
        self._replayed, self._emptied, self._lost = False, "", ""
        self.view.hues, self._before = self.history.hues(setting.problem), self.view.handle
        self._versions.value = self.recorded.value = ""
        self.history.again.disabled = self.recorded.disabled = True  # until it is at its end
        self._follow()
        return setting

    def _look(self) -> None:
        """Follow a run: its budget, and at its end its place in the table."""
        handle, going = self.view.handle, self._going
        if handle is None or going is None:
            return
        self._bar.value = pieces.bar(handle.run.cost.decoded, going.budget.tokens)
        if self.view.state in ("drawing", "pausing", "paused"):
            return
        self._going, self._shown = None, going
        self.history.again.disabled = self.recorded.disabled = False
        result = self.view.result
        state = "failed" if result is None else ended(result, going.budget)
        if result is None:  # its tree stays, with the reason
            if handle is self._before:  # it was not even begun
                return
            result = failure(handle, self.view.error)
        self.history.add(setting=going, result=result, state=state)
        self.view.hues = self.history.hues(going.problem)
        self.view.notify()
        self._show_versions(going, result.tree)
        self._follow()

    # -- what is seen besides the tree

    def _follow(self) -> None:
        """Write the code anew, and say whether the settings are those of the run on view."""
        code = told = ""
        empty = self.asked.own and not self.asked.text.value.strip()
        self._unlimited.layout.display = "none" if self.tokens.value else ""
        try:
            if empty:
                told = "Write a question above, or choose a task."
            else:
                code = self.setting().code
        except Exception as error:  # a strategy of somebody's own may raise anything
            told = error_text(error)
        self._code.value = style.copied(code)
        if self._allow(not told):
            told = told or self.view.unrunnable
        known = self._going or self._shown
        if not told and known is not None and known.code != code:
            told = "Settings changed: press Run to see what comes of them."
        told = " ".join(one for one in (self._lost, self._emptied, told) if one)
        look = "opacity: 0.7" if empty else f"color: {ORANGE}; font-weight: bold"
        self._told.value = f'<span style="{look}">{html.escape(told)}</span>' if told else ""

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
        self._replayed, self._emptied = False, ""
        self.recorded.value = ""
        self.view.hues = self.history.hues(past.setting.problem)
        self.view.show(past.result)
        self.view.error = past.result.failed
        self.view.notify()
        self._show_versions(past.setting, past.result.tree)
        self._follow()

    # -- replay

    @property
    def _replays(self) -> bool:
        return replay.replays(self.backend)

    def _offer_recorded(self) -> None:
        """Offer the runs that the bank holds of the problem, and in replay what else can be run."""
        asked, chosen = not (self.asked.error or self.asked.own), bool(self.recorded.value)
        bank = getattr(self.backend, "bank", None) if asked else None
        self._kept, self._damaged = {}, ""
        if bank is not None:
            known = replay.known(self._given_settings())
            problem, right = self.asked.problem, self.asked.right
            model = self.backend
            self._kept, damaged = replay.kept_runs(bank, problem, right, known, model)
            self._damaged = replay.damage(damaged)
        self._offer_methods()
        none = [(replay.OWN if self._possible else "none", "")]
        self.recorded.options = [*none, *((one.label, key) for key, one in self._kept.items())]
        self.recorded.layout.display = "" if self._kept else "none"
        self.chooser.open()
        if self._replayed and self._going is None and not (chosen and self._show_first()):
            self._empty()

    def _given_settings(self) -> list[Setting]:
        """What runs of the strategies as they were given would be begun with."""
        task, problem, names = self.asked.task, self.asked.problem, self._names
        starts = [one.start for one in self._methods.values() if one.start is not None]
        budgets, seed = {Budget(), Budget(tokens=self.tokens.value or None)}, self.seed.value
        pairs = product(starts, budgets)
        return [Setting(task, problem, (), self.backend, *pair, seed, names) for pair in pairs]

    def _offer_methods(self) -> None:
        """Offer the strategies whose samples are there; all of them where a model can draw."""
        self._possible = [*self._methods]
        if self._replays and not self._given:
            until = time.monotonic() + replay.SEARCH
            self._possible = self.chooser.possible(lambda form: self._lacks(form, until))
        self.chooser.offer(self._possible or [*self._methods])

    def _lacks(self, form: Form | Fixed, until: float) -> bool:
        setting = self._setting(form)
        return time.monotonic() < until and bool(replay.lacking(setting))

    def _empty(self) -> None:
        """Take a recorded run off the view that did not ask what is asked now."""
        self._replayed, self._emptied = False, replay.EMPTIED
        self._shown, self._bar.value, self._versions.value, self.view.error = None, "", "", ""
        self.view.show(Tree())
        self.view.notify()
        self._follow()

    def _fit(self) -> None:
        """Show what can be set: in replay what was recorded, of a recorded run its settings."""
        import ipywidgets as widgets

        kept, limited = self._kept.get(self.recorded.value or ""), self._replays and self._given
        free = kept is None and bool(self._possible)
        for control in (self.strategy, self.tokens, self.seed, self.chooser.about):
            control.layout.display = "" if free else "none"
        self.form.lock(limited)
        self.tokens.disabled = limited and not hasattr(self.tokens, "index")
        self.seed.disabled = self.reset.disabled = limited
        options = [self.form.widget, *([self.reset] if self.form.options else [])] if free else []
        why = replay.why(limited, bool(self._possible), bool(self._kept)) if self._replays else ""
        self._copy.layout.display = "" if free else "none"
        if kept is not None:
            why = kept.facts(replay.instead(bool(self._possible)))
        notes = [widgets.HTML(one) for one in (why, self._damaged) if one]
        self._options.children = [*options, *notes]

    def _allow(self, ready: bool) -> bool:
        """Say whether Run can be pressed in replay, and return whether it is replay."""
        reason = ""
        if self._kept.get(self.recorded.value or ""):
            reason = f"A recorded run is on view: choose “{replay.OWN}” to begin another."
            reason = reason if self._possible else replay.MORE
        elif self._replays and not self._given and ready and self._going is None:
            reason = replay.lacking(self.setting())
        if reason != self.view.unrunnable:
            self.view.unrunnable = reason
            self.view.notify()
        return self._replays and not self._kept.get(self.recorded.value or "")

    def _show_first(self) -> bool:
        """Put the first recorded run on view of which it is known that this was asked."""
        first = next((key for key, one in self._kept.items() if one.sure), None)
        if first is not None:
            self.recorded.value = first
        return first is not None

    def _show_recorded(self, _: Any) -> None:
        kept = self._kept.get(self.recorded.value or "")
        if kept is not None:
            self._shown, self._bar.value, self.view.error = None, "", ""
            self._replayed, self._emptied = True, ""
            self.history.leave()
            self.view.gold = self.asked.gold
            self.view.hues = self.history.hues(self.asked.problem)
            self.view.show(kept.result)
            self.view.notify()
            self._show_versions(self.asked, kept.result.tree)
        self._fit()
        self._follow()


lab = Lab
"""As it is called in a notebook: ``its.lab(llm)``."""
