"""The vocabulary of the package: what is asked, what comes back, what it cost. Read first.

Everything here is plain data. A *request* goes to a backend and returns *completions*; a run files
them as *nodes* of a tree, a verifier attaches *verdicts*, and every token anyone buys becomes a
*cost*. All types are frozen except ``Node`` and ``Tree``, which grow while a run is under way.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from itslab.cutoff import Cutoff as Cutoff
from itslab.options import (
    Bounds,
    Count,
    Draws,
    NotNegative,
    Options,
    Positive,
    Text,
    UnitInterval,
    Whole,
    check,
    checked,
)
from itslab.options import ItslabError as ItslabError
from itslab.options import OptionError as OptionError
from itslab.options import require as require

# -- errors ----------------------------------------------------------------------------------------


class ModelError(ItslabError):
    """A model is unknown, cannot be fetched, or its file is damaged."""


class BackendError(ItslabError):
    """A backend cannot serve a request: server down, wrong key, failed compute."""


class BadPrompt(BackendError, ValueError):
    """A prompt that this model will not answer another time either, while it answers others."""


class PromptTooLong(BadPrompt):
    """A prompt does not fit into the model's context."""


class PromptRefused(BadPrompt):
    """A server's content filter refuses a prompt."""


class MissingSample(BackendError, LookupError):
    """A replayed bank lacks a sample. The text says which."""


class TaskError(ItslabError, ValueError):
    """A task is unknown or its data cannot be read."""


def extra(name: str) -> str:
    """Return the command that installs an extra beside this package.

    No index has the package: the pip of its own environment takes the one that is installed there;
    where none is, as with a checkout on Python's path, the checkout is installed.
    """
    try:
        metadata.distribution("itslab")
        here = "itslab"
    except metadata.PackageNotFoundError:
        here = str(Path(__file__).parent.parent)
    return f'{sys.executable} -m pip install "{here}[{name}]"'


# -- what is asked ---------------------------------------------------------------------------------

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One finished turn of a conversation."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        check(self)


Prompt = str | Message | Sequence[Message]


def as_messages(prompt: Prompt) -> tuple[Message, ...]:
    """Return a prompt as messages; a bare string is one user turn."""
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    messages = (prompt,) if isinstance(prompt, Message) else tuple(prompt)
    require(len(messages) > 0, "prompt", prompt, "text, or at least one message")
    return messages


@dataclass(frozen=True, slots=True)
class Sampling:
    """The distribution that tokens are drawn from, and where drawing ends.

    Args:
        temperature: 0 is greedy decoding; 1 is the model's own distribution.
        top_p: nucleus mass kept, in (0, 1] (Holtzman et al. 2019, arXiv:1904.09751).
        top_k: most likely tokens kept; 0 keeps all of them.
        min_p: smallest probability kept, relative to the most likely token, in [0, 1].
        max_tokens: most tokens decoded per sample.
        stop: strings that end a completion, also across token borders. They are cut off.
        include_stop: keep the stop string, and its last token whole, so that the completion can be
            continued on the very same token ids. Search over steps needs this.
        signals: also measure what verifiers read besides the text: see ``Signals``.
        choices: also measure how likely the completion is to begin with each of these strings.
    """

    temperature: NotNegative = 0.8
    top_p: Annotated[float, Bounds(0, 1, open="low")] = 0.95
    top_k: Whole = 40
    min_p: UnitInterval = 0.0
    max_tokens: Count = 512
    stop: tuple[Text, ...] = ()
    include_stop: bool = False
    signals: bool = False
    choices: tuple[Text, ...] = ()

    def __post_init__(self) -> None:
        for name in ("stop", "choices"):  # a list will do
            if isinstance(strings := getattr(self, name), list):
                object.__setattr__(self, name, tuple(strings))
        check(self)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the model's own turn: sampled by it, or put into its mouth.

    ``tokens`` spell the start of ``text``; what they do not spell is tokenised by the backend.
    Sampled pieces carry their ids, so that a branch never re-tokenises its parent.
    """

    text: str
    tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(type(self.text) is str, "text", self.text, "text")
        require(type(self.tokens) is tuple, "tokens", self.tokens, "a tuple of token ids")


@dataclass(frozen=True, slots=True)
class Request:
    """``n`` samples that continue one conversation.

    Args:
        messages: the finished turns. The model's own turn is open after them.
        prefix: what the model's turn already holds.
        sampling: how to draw.
        n: number of samples.
        seed: names the family of random streams; sample ``i`` draws from stream ``(seed, i)``.
        first: index of the first sample, so that further samples of the same request are new ones.
        cutoff: where a sample is given up while it is drawn; takes signals.
    """

    messages: tuple[Message, ...]
    prefix: tuple[Piece, ...] = ()
    sampling: Sampling = Sampling()
    n: Draws = 1
    seed: int = 0
    first: Whole = 0
    cutoff: Cutoff | None = None

    def __post_init__(self) -> None:
        check(self)
        require(len(self.messages) > 0, "messages", self.messages, "at least one message")
        measured = self.cutoff is None or self.sampling.signals
        require(measured, "cutoff", self.cutoff, "None without Sampling(signals=True)")

    @property
    def prefix_text(self) -> str:
        """The model's turn so far, as text."""
        return "".join(piece.text for piece in self.prefix)


# -- what comes back -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """What was paid. Costs add up with ``+`` and scale with ``sum``.

    Args:
        prefilled: prompt tokens evaluated.
        reused: prompt tokens whose evaluation was shared with an earlier sequence.
        decoded: tokens sampled, discarded ones included.
        calls: completions (or scores) bought from a model.
        seconds: compute time. A decoding step shared by 16 sequences charges each a sixteenth, so
            the seconds of all samples add up to the time the engine was busy. For a remote server,
            which does not tell, the latency of the call shared by its samples.
        flops: floating point operations that these tokens need; see ``Shape``. 0 where the model's
            shape is unknown.
    """

    prefilled: int = 0
    reused: int = 0
    decoded: int = 0
    calls: int = 0
    seconds: float = 0.0
    flops: float = 0.0

    def __add__(self, other: Cost | Literal[0]) -> Cost:
        if other == 0:
            return self
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)))

    __radd__ = __add__


def spent(cost: Cost) -> str:
    """Return a cost in a few words."""
    return (
        f"{cost.calls:,} sample{'' if cost.calls == 1 else 's'}, "
        f"{cost.decoded:,} token{'' if cost.decoded == 1 else 's'}, {cost.seconds:.1f} s of compute"
    )


def brief(text: str | None, most: int = 60) -> str:
    """Return a text as Python writes it, in one line and of at most about ``most`` characters."""
    if text is None or len(text) <= most:
        return repr(text)
    return f"{text[: most - 1]!r}… ({len(text):,} characters)"


@dataclass(frozen=True, slots=True)
class Shape(Options):
    """What a model multiplies, from which the FLOPs of a sample follow, whoever draws it.

    Counted is what a sample needs: each token that is evaluated passes the matrices of the layers
    and attends to itself and all before it; the output head is multiplied where a token is drawn
    and nowhere else; the last token of a sample is drawn, but not evaluated. What was evaluated for
    an earlier sample, logits included, is that one's. Not counted is what an engine does besides:
    rows that pad a batch, logits that nobody draws from, work repeated after a failure; nor what no
    matrix does: looking up embeddings, norms, biases, activations, the softmax.

    A multiplication with its addition is 2 FLOPs (Kaplan et al. 2020, arXiv:2001.08361, §2.1).

    Args:
        matrices: weights that each evaluated token is multiplied with, of experts the active ones.
        head: weights of the output matrix.
        attention: query and value widths (heads × width of one), summed over the layers that
            attend: multiplications for each token that is attended to.
    """

    matrices: Whole
    head: Whole = 0
    attention: Whole = 0

    def flops(self, start: int, stop: int, outputs: int) -> float:
        """FLOPs of evaluating the tokens at positions ``start`` to ``stop - 1``.

        Args:
            start, stop: positions, from 0.
            outputs: how many of these tokens are followed by a drawn one.
        """
        attended = (stop * (stop + 1) - start * (start + 1)) // 2
        dense = self.matrices * (stop - start) + self.head * outputs
        return 2.0 * (dense + self.attention * attended)

    def price(self, cost: Cost) -> Cost:
        """Return the cost of one sample with its FLOPs. A sum of several samples has no positions.

        Where the whole prompt is reused, so are the logits that the first token is drawn from.
        """
        stop = cost.reused + cost.prefilled + max(cost.decoded - 1, 0)
        outputs = cost.decoded if cost.prefilled else max(cost.decoded - 1, 0)
        return replace(cost, flops=self.flops(cost.reused, stop, outputs))


Finish = Literal["end", "stop", "length", "cut", "cancelled"]


@dataclass(frozen=True, slots=True)
class Signals:
    """What a local model tells of a sample besides its text. All is of the model's own distribution
    p over its vocabulary of size V, at each token; empty where it was not measured.

    Args:
        entropies: entropy of p (nats).
        certainties: self-certainty, the divergence of p from the uniform distribution,
            −(1/V) Σ log(V p) (nats; Kang et al. 2025, arXiv:2502.18581).
        confidences: minus the mean log-probability of the 20 likeliest tokens (nats; Fu et al.
            2025, DeepConf, arXiv:2508.15260).
        state: (hidden size of the model,) its last hidden state, normed, from which the sample's
            last token was drawn. At 16 bits. Empty if that is also its first.
    """

    entropies: tuple[float, ...] = ()
    certainties: tuple[float, ...] = ()
    confidences: tuple[float, ...] = ()
    state: tuple[float, ...] = field(default=(), repr=False)

    def truncate(self, tokens: int) -> Signals:
        """Return the signals of the first tokens; the state belongs to the last, and is dropped."""
        return Signals(
            self.entropies[:tokens], self.certainties[:tokens], self.confidences[:tokens]
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """One sample.

    Args:
        text: what was drawn, without the prefix of its request.
        tokens: ids that spell the start of ``text`` (all of it, unless a stop string cut a token).
            Empty where a server gives no ids.
        logprobs: log-probability (nats) of each token under the model's own distribution, that is
            at temperature 1 and before top-k, top-p and min-p.
        offsets: ``offsets[i]`` characters of ``text`` are spelled once token ``i`` is there.
        finish: ``end`` the model closed its turn; ``stop`` a stop string; ``length`` max_tokens or
            the end of the context; ``cut`` the model was not confident any more (``Cutoff``);
            ``cancelled`` someone asked for it, or its server gave it up.
        cost: this sample's share.
        index: which sample of its request.
        signals: of the model's own distribution, if asked for.
        choices: log-probability (nats) that it begins with each of ``Sampling.choices``.
        shape: of the model that drew it; None if that is unknown.
        refused: why its server ended it of its own accord, such as ``content_filter``; else "".
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    offsets: tuple[int, ...] = ()
    finish: Finish = "end"
    cost: Cost = Cost()
    index: int = 0
    signals: Signals = Signals()
    choices: tuple[float, ...] = ()
    shape: Shape | None = field(default=None, repr=False)
    refused: str = ""

    def __repr__(self) -> str:
        refused = f", refused={self.refused!r}" if self.refused else ""
        return (
            f"Completion({brief(self.text)}, finish={self.finish!r}, index={self.index}{refused}, "
            f"{self.cost.decoded:,} tokens, {self.cost.seconds:.1f} s)"
        )

    @checked
    def truncate(self, max_tokens: Count) -> Completion:
        """Return this sample as it would have been, had it been drawn with fewer tokens.

        FLOPs are those of the shorter sample. Seconds shrink with the tokens evaluated, and so do
        FLOPs where the model's shape is unknown. A cancelled sample, or one whose server did not
        tell its tokens, cannot be shortened and is returned as it is.
        """
        if self.cost.decoded <= max_tokens or self.finish == "cancelled" or not self.offsets:
            return self
        kept = min(max_tokens, len(self.offsets))
        evaluated = self.cost.prefilled + self.cost.decoded - 1  # the last token is only drawn
        share = 1 - (self.cost.decoded - max_tokens) / evaluated
        cost = replace(
            self.cost,
            decoded=max_tokens,
            seconds=self.cost.seconds * share,
            flops=self.cost.flops * share,
        )
        return replace(
            self,
            text=self.text[: self.offsets[kept - 1]],
            tokens=self.tokens[:kept],
            logprobs=self.logprobs[:kept],
            offsets=self.offsets[:kept],
            signals=self.signals.truncate(kept),
            finish="length",
            cost=self.shape.price(cost) if self.shape else cost,
        )

    def cut(self, cutoff: Cutoff | None) -> Completion:
        """Return this sample as it would have been, had it been drawn with a cutoff."""
        place = None if cutoff is None else cutoff.place(self.signals.confidences)
        if place is None or place >= self.cost.decoded:
            return self
        return replace(self.truncate(place), finish="cut")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's opinion of a node: higher is better, ``nan`` means it could not be scored."""

    score: float
    cost: Cost = Cost()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most a run may spend; ``None`` is no limit.

    Args:
        tokens: decoded by anyone, judges included.
        samples: completions and scores bought (``Cost.calls``).
        seconds: compute time (``Cost.seconds``).
        flops: prefill included.

    Tokens and samples are never exceeded, by samples or by verifiers that buy through the run.
    Seconds and flops are known only after a purchase, so a run may pass them by at most one full
    batch.
    """

    tokens: Count | None = None
    samples: Count | None = None
    seconds: Positive | None = None
    flops: Positive | None = None

    def __post_init__(self) -> None:
        check(self)

    @staticmethod
    def spent(cost: Cost) -> dict[str, float]:
        """Return what a cost takes of each limit."""
        return {
            "tokens": cost.decoded,
            "samples": cost.calls,
            "seconds": cost.seconds,
            "flops": cost.flops,
        }

    def exhausted(self, cost: Cost) -> str | None:
        """Return the name of the first limit that ``cost`` has reached, or None."""
        for name, value in self.spent(cost).items():
            limit = getattr(self, name)
            if limit is not None and value >= limit:
                return name
        return None


@dataclass(frozen=True, slots=True)
class Problem:
    """An item of a task. Graders and the oracle see its gold ``answer``, strategies never."""

    id: str
    prompt: str
    answer: str = field(repr=False)
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check(self)

    def __repr__(self) -> str:
        return f"Problem({self.id!r}, {brief(self.prompt, 200)})"


# -- the tree --------------------------------------------------------------------------------------

Status = Literal["open", "done", "pruned", "failed"]
EventKind = Literal[
    "node",
    "done",
    "verdict",
    "pruned",
    "value",
    "best",
    "iteration",
    "version",
    "settled",
    "stage",
    "vote",
]


@dataclass(eq=False, slots=True)
class Node:
    """One step of a run: a message, a completion, or text appended to the model's turn.

    Its ``text`` grows while ``status`` is ``open``. Nodes are compared by identity.
    """

    id: int
    parent: Node | None = field(repr=False)
    role: Role
    text: str = ""
    completion: Completion | None = field(default=None, repr=False)
    verdict: Verdict | None = None
    status: Status = "done"

    def __repr__(self) -> str:
        parent = None if self.parent is None else self.parent.id
        score = "" if self.verdict is None else f", score {self.verdict.score:.3g}"
        state = "" if self.status == "done" else f", {self.status}"
        return f"Node({self.id}, after {parent}, {self.role}{state}{score}, {brief(self.text)})"

    def path(self) -> list[Node]:
        """The nodes from the root to this one."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def turn(self) -> list[Node]:
        """The nodes of the turn this one belongs to, up to it."""
        nodes = self.path()
        start = len(nodes)
        while start and nodes[start - 1].role == self.role:
            start -= 1
        return nodes[start:]

    def conversation(self) -> tuple[tuple[Message, ...], tuple[Piece, ...]]:
        """The finished turns up to this node, and the pieces of the model's own if it is open."""
        turn = self.turn() if self.role == "assistant" else []
        messages: list[Message] = []
        for role, nodes in itertools.groupby(
            self.path()[: -len(turn) or None], key=lambda step: step.role
        ):
            if role == "assistant":
                messages.append(Message(role, "".join(node.text for node in nodes)))
            else:
                messages += (Message(role, node.text) for node in nodes)
        return tuple(messages), tuple(
            Piece(node.text, node.completion.tokens if node.completion else ()) for node in turn
        )

    @property
    def turn_text(self) -> str:
        """All that this node's turn says up to here: what an answer is read from."""
        return "".join(node.text for node in self.turn())

    @property
    def ended(self) -> bool:
        """Whether the model closed its turn here, so that there is nothing left to extend."""
        return self.completion is not None and self.completion.finish == "end"

    @property
    def whole(self) -> bool:
        """Whether the model closed its turn here, or somebody else wrote the end of it."""
        told = self.completion is None and self.status not in ("open", "failed")
        written = self.role == "assistant" and told
        return self.ended or written


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a node, ``time`` seconds after the tree was begun.

    ``node``: it was added, with its ``parent`` (id or None) and ``role``. ``done``: its completion
    came, with ``finish`` and ``cost``, and why it was ``refused``, if it was. ``verdict``:
    ``score``, ``note`` and ``cost``. ``pruned``: the search does not go on from it. ``value``: what
    the search thinks of it by now, such as its ``visits`` and ``value``. ``best``: it holds the
    best answer so far. ``iteration``: one more was finished, this node its best. ``version``: it is
    a version of an answer, and revises the one ``of`` (id or None). ``settled``: it is not revised
    any further, and ``why``. ``stage``: it is what a ``stage`` of a cascade came to (a number from
    0), drawn from a ``model`` by a ``strategy``, whether it was ``accepted``, and ``why``.
    ``vote``: its answer leads ``votes``, the forms of the answers that were given; None is none.
    """

    time: float
    kind: EventKind
    node: int
    data: Mapping[str, Any] = field(default_factory=dict)


class Tree:
    """The nodes of a run and the timed events that made them; any thread may read as it grows."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.events: list[Event] = []
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def add(self, parent: Node | None, role: Role, text: str = "", status: Status = "done") -> Node:
        """Append a node."""
        with self._lock:
            data = {"parent": None if parent is None else parent.id, "role": role}
            event = Event(self._now(), "node", len(self.nodes), data)
            self.apply(event, text, status)
            self.events.append(event)
        return self.nodes[event.node]

    def finish(self, node: Node, completion: Completion) -> None:
        """Put a completion into the node that was opened for it."""
        data: dict[str, Any] = {"finish": completion.finish, "cost": completion.cost}
        if completion.refused:
            data["refused"] = completion.refused
        self._happen("done", node, data, completion)

    def judge(self, node: Node, verdict: Verdict) -> None:
        """Put a verdict on a node."""
        data = {"score": verdict.score, "note": verdict.note, "cost": verdict.cost}
        self._happen("verdict", node, data)

    def prune(self, node: Node) -> None:
        """Note that the search does not go on from a node."""
        self._happen("pruned", node, {})

    def log(self, kind: EventKind, node: Node, /, **data: Any) -> None:
        """Append an event; see ``Event`` for what it holds.

        Raises:
            OptionError: its ``cost`` is none: costs of events are what a run was paid.
        """
        paid = "cost" not in data or isinstance(data["cost"], Cost)
        require(paid, "cost", data.get("cost"), "a Cost; name what is none otherwise")
        self._happen(kind, node, data)

    def apply(
        self,
        event: Event,
        text: str = "",
        status: Status = "done",
        completion: Completion | None = None,
        shape: Shape | None = None,
    ) -> None:
        """Let an event change the nodes: all that ever changes them, live or restored.

        Args:
            event: that happened.
            text, status: of the node that it adds.
            completion: that it brings. In a restored run the event and the text say what it was,
                and ``shape`` which model's.
        """
        data = event.data
        if event.kind == "node":
            parent = None if data["parent"] is None else self.nodes[data["parent"]]
            self.nodes.append(Node(event.node, parent, data["role"], text, status=status))
            return
        node = self.nodes[event.node]
        if event.kind == "done":
            node.completion = completion or Completion(
                node.text,
                finish=data["finish"],
                cost=data.get("cost", Cost()),
                refused=data.get("refused", ""),
                shape=shape,
            )
            node.text = node.completion.text
            node.status = "failed" if data["finish"] == "cancelled" else "done"
        elif event.kind == "verdict":
            node.verdict = Verdict(data["score"], data.get("cost", Cost()), data.get("note", ""))
        elif event.kind == "pruned":
            node.status = "pruned"

    def _happen(
        self,
        kind: EventKind,
        node: Node,
        data: Mapping[str, Any],
        completion: Completion | None = None,
    ) -> None:
        event = Event(self._now(), kind, node.id, data)
        self.apply(event, completion=completion)
        self.events.append(event)

    def _now(self) -> float:
        return time.monotonic() - self._began

    def leaves(self) -> list[Node]:
        """The nodes without children."""
        parents = {id(node.parent) for node in self.nodes}
        return [node for node in self.nodes if id(node) not in parents]

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self.nodes))

    def __repr__(self) -> str:
        return f"Tree({len(self):,} nodes, {len(self.events):,} events)"


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Args:
        answer: extracted from ``node``; None if there is none.
        node: where the answer was read.
        tree: everything that was drawn.
        cost: everything that was paid, discarded branches and verifiers included.
        costs: the same by model: its name -> what it was paid. A verifier that computes for itself
            stands under its own name.
        stopped_by: the limit or person that ended it early (``tokens``, ``samples``, ``seconds``,
            ``flops``, ``stop``; ``context`` where a conversation outgrew it, ``server`` where that
            ended all samples by itself); None if the strategy came to its own end.
        elapsed: wall-clock seconds.
        unscored: why verdicts are missing, if any are -> how many.
        failed: the error that ended it, where many runs go on without it; "" otherwise.
        outages: what could not be asked while others answered in its place, such as a stage of a
            cascade whose server was down, or an error of the system, such as a full disk: another
            time the same run is another one.
        stages: which stages of a cascade, or route of a router, were taken, in their order: each
            with ``stage`` (from 0), ``model``, ``strategy``, ``accepted``, ``why`` and ``node``
            (its id); ``level`` is 0, and higher for those within another one.
        unfinished: whether the answer was read from a chain that was cut short: by the budget, by
            ``max_tokens``, or between two steps of a search.
        strategy: how it was answered; None where that is not known any more.
    """

    answer: str | None
    node: Node | None = field(repr=False)
    tree: Tree = field(repr=False)
    cost: Cost
    stopped_by: str | None
    elapsed: float
    unscored: Mapping[str, int] = field(default_factory=dict)
    failed: str = ""
    unfinished: bool = False
    costs: Mapping[str, Cost] = field(default_factory=dict)
    outages: tuple[str, ...] = ()
    stages: tuple[Mapping[str, Any], ...] = ()
    strategy: Any = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        remarks = [
            f"stopped_by={self.stopped_by!r}" if self.stopped_by else "",
            "unfinished" if self.unfinished else "",
            f"failed: {brief(self.failed)}" if self.failed else "",
            f"{sum(self.unscored.values())} verdicts missing" if self.unscored else "",
            f"{len(self.outages)} outages" if self.outages else "",
        ]
        said = "".join(f", {remark}" for remark in remarks if remark)
        return f"Result({brief(self.answer)}, {spent(self.cost)}{said})"


# -- who takes part --------------------------------------------------------------------------------

# Both are called in the thread that called generate, with positions in the call: request, sample.
OnText = Callable[[int, int, str], None]  # a new bit of a sample's text
OnSample = Callable[[int, int, Completion], None]  # a finished sample


class Backend(Protocol):
    """A model that draws samples."""

    @property
    def name(self) -> str:
        """A label for people."""
        ...

    @property
    def digest(self) -> str:
        """Identifies the weights; a bank keeps its samples under it."""
        ...

    @property
    def batch_size(self) -> int:
        """How many samples run at once at full speed."""
        ...

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: threading.Event | None = None,
    ) -> list[list[Completion]]:
        """Draw ``request.n`` samples for each request, batched; safe to call from any thread.

        Args:
            requests: what to draw.
            on_text: called in this thread with each new bit of text.
            on_sample: called in this thread with each sample as soon as it is finished.
            cancel: once set, samples under way come back with ``finish == "cancelled"`` and what
                they hold; what was decoded is still charged.

        Returns:
            One list per request with its ``n`` completions in the order of their index.

        Raises:
            PromptTooLong: a prompt leaves no room in the context.
            MissingSample: a replay lacks a sample.
            BackendError: the model cannot be reached or failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Drawn:
    """What came of one request of a verifier.

    Args:
        completions: its whole samples, fewer than it asked for if they could not all be bought.
        cost: of all that was drawn for it, samples that were cut short included.
        why: samples are missing; "" if none is.
    """

    completions: tuple[Completion, ...] = ()
    cost: Cost = Cost()
    why: str = ""


class Scorer(Protocol):
    """Scores whole conversations: ``RewardModel``."""

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[Verdict]:
        """Return one verdict for each conversation, in their order."""
        ...


class Account(Protocol):
    """What a verifier sees of a run: the account that pays for what it draws; see ``Run``."""

    @property
    def prompt(self) -> Prompt | None:
        """What the run's strategy was asked; None outside of any run."""
        ...

    @property
    def problem(self) -> str | None:
        """The id of the problem that it was asked; None where it was asked by hand."""
        ...

    @property
    def tree(self) -> Tree:
        """All that the run has drawn so far."""
        ...

    @property
    def drawn(self) -> Sequence[Node]:
        """The nodes that it bought; a fork's tree has others as well."""
        ...

    @property
    def extract(self) -> Extractor:
        """Reads an answer from the model's turn."""
        ...

    @property
    def key(self) -> Key:
        """The form that equal answers share."""
        ...

    def ask(self, requests: Sequence[Request], backend: Backend, spare: int = 0) -> list[Drawn]:
        """Draw samples for each request."""
        ...

    def rate(self, conversations: Sequence[Sequence[Message]], model: Scorer) -> list[Verdict]:
        """Let a reward model score conversations."""
        ...

    def verdicts(self, verifier: Verifier, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Let another verifier score."""
        ...


class Verifier(Protocol):
    """Scores nodes; its repr is its name in messages and identities.

    A function or an object that is called as ``(prompt, nodes)``. One that draws, or that asks one
    that draws, is called as ``(run, prompt, nodes)`` instead and buys all through the run (a
    ``Account``), so that budget, stop and seed hold for it as for samples. It returns one score or
    ``Verdict`` for each node, in their order.

    One that can know beforehand that it will score nothing may have a method ``blind(run, prompt)``
    which says why, or "": a cascade then draws nothing that could only be refused.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Sequence[Verdict] | Sequence[float]:
        """Return one score or verdict for each node."""
        ...


@dataclass(frozen=True, slots=True)
class Output:
    """What came of a program that was run.

    Args:
        text: what it printed; of much, the end.
        error: why it failed, with its own traceback; "" if it did not.
        seconds: that it took, by the clock.
        certain: whether the same comes out on any machine. A program that was too slow by the clock
            without having used its processor time may have waited for others.
    """

    text: str
    error: str = ""
    seconds: float = 0.0
    certain: bool = True


Extractor = Callable[[str], str | None]  # the model's turn -> its answer
Interpreter = Callable[[str], Output]  # a program -> what came of it: ``sandbox.execute``
Key = Callable[[str], str]  # an answer -> what equal answers share
