"""From cheap to dear: a stage answers, and where that will not do, the next one does.

FrugalGPT (Chen, Zaharia & Zou 2023, arXiv:2305.05176) with a strategy in each stage, so that a
small model that computes longer is a stage as well as a larger model is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from itslab.core import (
    Backend,
    BackendError,
    BadPrompt,
    MissingSample,
    Node,
    Prompt,
    Verifier,
    require,
)
from itslab.options import Limit, Options, check
from itslab.run import Halt, Run, Strategy
from itslab.strategies.chains import pose

PASSING = ("server", "context")
"""What ends a stage and not the run; see ``Result.stopped_by``."""


@dataclass(frozen=True, repr=False)
class Stage(Options):
    """One stage of a cascade: who answers how, and what accepts the answer.

    Args:
        strategy: how to spend compute.
        model: who draws; None is the model of the run.
        accept: scores the answer: by tests, by the agreement of its samples (``Agreement``), by
            confidence, by a probe or a judge. With None every answer is accepted.
        threshold: the score from which on it is accepted. What cannot be scored is not.
    """

    strategy: Strategy
    model: Backend | None = field(default=None)
    accept: Verifier | None = None
    threshold: Limit = 1.0

    def __post_init__(self) -> None:
        check(self)
        asks = self.accept is not None or self.threshold == 1.0
        require(asks, "accept", None, f"a verifier, if its threshold is {self.threshold:g}")

    def __repr__(self) -> str:
        options = [repr(self.strategy)]
        options += [f"model={self.model.name}"] if self.model else []
        options += [f"accept={self.accept!r}, threshold={self.threshold!r}"] if self.accept else []
        return f"Stage({', '.join(options)})"


@dataclass(frozen=True)
class Cascade(Options):
    """Let stages answer one after the other, until an answer is accepted.

    The last stage's answer is taken as it is; where it has none, the latest of those before stands.
    A stage without an answer is never accepted. One whose model, or whose verifier's model, cannot
    be used is passed over, as long as another one is left. So is one whose verifier says beforehand
    that it can score nothing here (``Verifier``), such as tests where there are none, as long as
    another model is left: whatever it drew would be refused. Where no other model is left, its
    answer stands.
    Which stage answered, and why the others did not, is in ``Result.stages`` and, of many problems,
    in ``study.tables.stages``.

        Cascade([Stage(ChainOfThought(), accept=task.verifier), Stage(ChainOfThought(), larger)])

    Args:
        stages: the cheapest first.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        check(self)
        require(len(self.stages) > 0, "stages", self.stages, "at least one Stage")

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        answered: tuple[int, Node] | None = None
        waiting, blind = deque(range(len(self.stages))), dict[int, str]()
        while waiting:
            number = waiting.popleft()
            stage, last = self.stages[number], not waiting
            unseen = "" if last else run.blind(stage.accept, prompt)
            ours = self._model(run, number).digest
            others = {self._model(run, i).digest for i in waiting} - {ours}
            if unseen and others:
                blind[number] = unseen
                continue
            drawn = len(run.drawn)
            try:
                with run.drawing_from(stage.model):
                    node = stage.strategy(run, prompt)
            except (BackendError, Halt) as error:
                there = found(run, drawn)
                if passing(run, error) or len(run.drawn) > drawn:
                    self._note(run, prompt, number, there, False, named(error), blind)
                if last and answered is None and there is not None and passing(run, error):
                    answered = number, there
                if not passing(run, error) or (last and answered is None and not blind):
                    raise
                if last and answered is None:  # one that was passed over is better than nobody
                    waiting.append(min(blind))
                    del blind[min(blind)]
                continue
            if node is None or run.extract(node.turn_text) is None:
                self._note(run, prompt, number, node, False, "no answer", blind)
                continue
            answered, run.best = (number, node), node
            if last:
                accepted, why = True, "the last stage"
            elif unseen:
                accepted, why = True, f"no other model is left, and {unseen}"
            else:
                accepted, why = self._accepts(run, stage, node)
            self._note(run, prompt, number, node, accepted, why, blind)
            if accepted:
                return node
        if answered is None:
            return None
        self._note(run, prompt, *answered, True, "nobody after it gave an answer", blind)
        return answered[1]

    def _model(self, run: Run, number: int) -> Backend:
        return self.stages[number].model or run.backend

    def _accepts(self, run: Run, stage: Stage, node: Node) -> tuple[bool, str]:
        """Whether a stage's answer will do, and why."""
        if stage.accept is None:
            return True, "every answer is accepted"
        if run.stopped_by:  # what is there is not what the stage would have drawn
            return False, f"the budget ended ({run.stopped_by})"
        if node.verdict is not None and _same(
            getattr(stage.strategy, "verifier", None), stage.accept
        ):
            score = node.verdict.score  # the strategy has asked already
        else:
            try:
                [score] = run.score([node], stage.accept)
            except (BackendError, Halt) as error:
                if not passing(run, error):
                    raise
                return False, f"{stage.accept!r} cannot be asked: {named(error)}"
        accepted = score >= stage.threshold
        sign = "≥" if accepted else "is not ≥"
        return accepted, f"{stage.accept!r}: {score:.3g} {sign} {stage.threshold:g}"

    def _note(
        self,
        run: Run,
        prompt: Prompt,
        number: int,
        node: Node | None,
        accepted: bool,
        why: str,
        blind: Mapping[int, str],
    ) -> None:
        """Log what became of a stage, on its answer or on the last that it drew."""
        stage, seen = self.stages[number], node or latest(run, prompt)
        over = [f"stage {i + 1} was passed over: {said}" for i, said in blind.items()]
        why = "; ".join([why, *over])
        note(run, seen, number, stage.strategy, self._model(run, number), accepted, why)


def _same(one: object, other: object) -> bool:
    """Whether two verifiers are the same; some hold arrays, which compare item by item."""
    try:
        return one is other or bool(one == other)
    except Exception:
        return False


def found(run: Run, drawn: int) -> Node | None:
    """Return the best answer so far, if it was drawn since there were so many nodes."""
    best, since = run.best, {node.id for node in run.drawn[drawn:]}
    said = best is not None and run.extract(best.turn_text) is not None
    return best if best and said and since & {step.id for step in best.turn()} else None


def passing(run: Run, error: BackendError | Halt) -> bool:
    """Whether an error ends a stage and not the run, which then is another one than it would be."""
    if isinstance(error, Halt):
        return error.reason in PASSING
    if isinstance(error, MissingSample):
        return False  # a replay that lacks what was drawn is no outage
    if not isinstance(error, BadPrompt) and named(error) not in run.outages:
        run.outages.append(named(error))
    return True


def named(error: Exception) -> str:
    """Return what went wrong, with the error's own name."""
    return f"{type(error).__name__}: {error}"


def latest(run: Run, prompt: Prompt) -> Node:
    """The node that was made last; of a run that said nothing yet, the question."""
    return run.tree.nodes[-1] if run.tree.nodes else pose(run, prompt, "")


def note(
    run: Run,
    node: Node,
    number: int,
    strategy: Strategy | None,
    model: Backend,
    accepted: bool,
    why: str,
) -> None:
    """Log who answers how, and why, as an event of the kind ``stage``.

    Its ``level`` is 0, and in a stage or route of another one higher by 1.
    """
    stage = {
        "stage": number,
        "strategy": repr(strategy),
        "model": model.name,
        "accepted": accepted,
        "why": why,
        "level": run.level,
    }
    run.tree.log("stage", node, **stage)
    run.stages.append({**stage, "node": node.id})
