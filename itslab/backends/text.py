"""Tokens become text: whole UTF-8 characters, stop strings, and where each token ends.

A token need not be a character, a stop string need not be a token. Both are settled here, on the
growing text, so that the engine only draws.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable


def spelled(pieces: Iterable[bytes]) -> str:
    """Return the whole characters that some tokens' bytes spell; a split one at the end is left."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(b"".join(pieces))


class TextStream:
    """The text of one sample while its tokens arrive.

    Args:
        stop: strings that end it.
        include_stop: keep the stop string and its last token whole.
        before: the bytes of the last tokens before the first, which may end within a character.

    Attributes:
        text: whole characters only, cut at a stop string.
        tokens: ids kept: those that end within ``text``.
        offsets: characters of ``text`` spelled after each token.
        stopped: whether a stop string was found.
    """

    def __init__(
        self, stop: tuple[str, ...] = (), include_stop: bool = False, before: bytes = b""
    ) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder.decode(before)
        self._stop = stop
        self._reach = max(map(len, stop), default=1) - 1
        self._include_stop = include_stop
        self._shown = 0
        self.text = ""
        self.tokens: list[int] = []
        self.offsets: list[int] = []
        self.stopped = False

    def push(self, token: int, piece: bytes) -> None:
        """Append a token that spells ``piece``."""
        start = max(len(self.text) - self._reach, 0)
        self.text += self._decoder.decode(piece)
        self.tokens.append(token)
        self.offsets.append(len(self.text))
        found = [at for s in self._stop if (at := self.text.find(s, start)) >= 0]
        if found:
            self.stopped = True
            if not self._include_stop:
                self._cut(min(found))

    def fresh(self, final: bool) -> str:
        """Return the text not returned before, holding back what may become a stop string.

        Args:
            final: no more tokens will come, so nothing needs to be held back.
        """
        end = len(self.text)
        if not final and self._reach:
            tail = range(max(end - self._reach, self._shown), end)
            end = next((i for i in tail if self._may_stop(self.text[i:])), end)
        new, self._shown = self.text[self._shown : end], max(end, self._shown)
        return new

    def _may_stop(self, tail: str) -> bool:
        return any(s.startswith(tail) for s in self._stop)

    def _cut(self, end: int) -> None:
        self.text = self.text[:end]
        kept = sum(offset <= end for offset in self.offsets)
        del self.tokens[kept:], self.offsets[kept:]
