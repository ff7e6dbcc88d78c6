"""Text of models and programs as it can be written anywhere: terminals obey, and XML refuses, some
characters.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"\r\n|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """Return a text whose control characters are seen (␛ for an escape); lines and tabs stay.

    What Unicode has no sign for, such as half of a surrogate pair, is ``�``. Windows' ends of lines
    become plain ones.
    """
    return _CONTROL.sub(_sign, text)


def _sign(found: re.Match[str]) -> str:
    if found[0] == "\r\n":
        return "\n"
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
