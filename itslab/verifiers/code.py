"""Visible tests as a verifier: a program is worth the share of them that it passes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from itslab.core import Cost, Extractor, Node, Prompt, Verdict
from itslab.options import Options, Positive, Text
from itslab.sandbox import Examine, examine


@dataclass(frozen=True)
class Tests(Options):
    """Score a node by the share of tests that its program passes; without tests, nan.

    Programs run in the sandbox, several at once. A verdict's note says what went wrong first, for a
    strategy that repairs.

    Args:
        function: the name under which the tests call it.
        tests: Python statements, such as ``assert add(1, 2) == 3``; never the hidden ones.
        extract: reads the program from the model's turn.
        complete: makes what was read into a program that runs.
        seconds: of processor time, for each test; see ``itslab.sandbox.examine``.
        examine: runs them: the sandbox, or a bank that remembers what came of them.
    """

    __test__ = False  # pytest collects classes of this name

    function: Text
    tests: Sequence[str] = field(repr=False)
    extract: Extractor = field(repr=False)
    complete: Callable[[str], str] = field(default=str, repr=False)
    seconds: Positive = 3.0
    examine: Examine = field(default=examine, repr=False)

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Test what each node's turn says so far. Verdicts cost seconds, and no tokens."""
        if not self.tests:
            return [Verdict(math.nan, note="there are no visible tests")] * len(nodes)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self._verdict, nodes))

    def _verdict(self, node: Node) -> Verdict:
        program = self.extract(node.turn_text)
        if program is None:
            return Verdict(0.0, note="there is no program")
        code = self.complete(program)
        outcomes = self.examine(code, self.function, self.tests, seconds=self.seconds)
        failures = [outcome for outcome in outcomes if outcome]
        cost = Cost(seconds=getattr(outcomes, "seconds", 0.0))  # of the sandbox, as ``Outcomes``
        return Verdict(1 - len(failures) / len(outcomes), cost, next(iter(failures), ""))
