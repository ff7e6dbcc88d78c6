"""Read an answer out of a text, bring it to one form, compare, and vote.

Votes and grades never compare raw strings: they compare *canonical* answers. Numbers, quantities,
lists, sets and intervals are read here, exactly; other mathematics by math-verify and sympy, which
are imported only when such an answer turns up. Two answers are equal when their canonical forms
are: equality is symmetric and transitive, and the whole answer counts, never a part of it.

Whatever a model wrote, reading it takes bounded time, raises nothing, and is safe in any thread.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from numbers import Real
from typing import Any, Literal, get_args

from itslab.core import Key, require

_LONGEST = 20_000  # characters; nobody means a longer text as an answer
_LONGEST_PARSED = 120  # characters; what is longer is a number of many digits, or words

# -- extract ---------------------------------------------------------------------------------------

_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_STATED = re.compile(
    r"""(?:\banswers?\b[^.:\n]{0,40}?(?:\b(?:is|are|equals)\b|:)
     |^[#*\ ]*(?:final\ )?answers?[*\ ]*$
     |(?P<hashes>\#{4}))[\s*:]*""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_NUMBER = re.compile(
    r"""(?:(?<![\w)\]}.])-)?[$€£]?
    (?:\\[dt]?frac\{-?[0-9]+\}\{[0-9]+\}
     |(?<![\w.])(?:[0-9]+(?:,[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+|e[+-]?[0-9]+)?%?)
    """,
    re.VERBOSE,
)
_AND = re.compile(r"\s*(?:[,;]\s*(?:and|or)\b|[,;]|\b(?:and|or)\b|&)\s*(?:and\s+)?")
_LISTED = re.compile(r"[0-9]{1,2}[.)]\s+[^\W\d]|[0-9]{1,2}[.)]\s+\*\*")
_CHOICE = re.compile(r"\([A-J]\)|[A-J](?=[).:](?:\s|$))")
_MATH = re.compile(r"\$\$([^$]*)\$\$|\\\[(.*?)\\\]|\$([^$]*)\$|\\\((.*?)\\\)", re.DOTALL)
_END = re.compile(r"\\?[.?](?=[\s*_\"']|$)|[。！]|!(?=\s*$|\s+[A-Z])|\#{4}")
_ASIDE = re.compile(
    r"[\s,;:–—-]+(?:because|since|which|so|where|not|rather|instead)\b|\s\((?=[a-z]{2,}\b)(?!mod\b)"
)
_HEDGE = re.compile(
    r"\A(?:(?:therefore|thus|hence|then|simply|just|about|approximately|approx\.|around|roughly"
    r"|nearly|exactly|equal\ to|given\ by|option|choice)(?![\w-])[\s,:]*"
    r"|(?:≈|~|\\approx\b|=)\s*)+(?=\S)",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(
    r"(?:not|correct|incorrect|reasonable|helpful|as\ follows|below|above|unknown)\b", re.IGNORECASE
)
_BLANK = re.compile(
    r"(?:[\s?._…$-]|\\[()\[\]]|\\(?:[lc]?dots|square|quad|underline|text|hspace)\b|[{}])*"
)
_EMOJI = r"[\u2600-\u27bf\ufe0f\u200d\U0001f000-\U0001faff]+"
_TAG = r"</?[A-Za-z]{1,10}\s*/?>"
_DECOR = re.compile(rf"(?:[\s!]|{_EMOJI})+$|\*\*|{_TAG}")
_COMPOUND = re.compile(r"\S+ [a-z]+(?:,| and|, and)? [0-9]\S* [a-z]+", re.IGNORECASE)
_WINDOW = 500  # characters; a statement that goes on for longer is cut, unless by a long number


def extract(text: str) -> str | None:
    r"""Return the answer that a text gives, or None.

    What was only thought, before ``</think>``, is no answer. The last ``\boxed{…}`` that is not
    empty counts; without one, the last "answer is …" or "#### …"; without one, the last number.
    It is returned as written, but for the digits and signs of other scripts: ``−５`` is ``-5``.
    """
    text = _in_ascii(after_thinking(text))
    return _boxed(text) or _stated(text) or _last_number(text)


def readings(text: str) -> list[str]:
    """Return every answer that one might read out of a text: all that it boxes, all that it states
    as its answer, and its last number. To tell an answer misread from an answer never given.
    """
    _require_text(text, "text")
    text = _in_ascii(text)
    found = [*_boxes(text), *_statements(text), _last_number(text), extract(text)]
    return [answer for answer in dict.fromkeys(found) if answer]


def after_thinking(text: str) -> str:
    """Return what follows the thinking that a text closes; all of it if it closes none."""
    _require_text(text, "text")
    return re.split(r"</think(?:ing)?>|\[/THINK\]", text)[-1]


def _in_ascii(text: str) -> str:
    """The digits, minus signs and full-width letters of any script as ASCII; the rest as it is."""
    return text if text.isascii() else re.sub(r"[−‒﹣]|[\uff01-\uff5e]|(?![0-9])\d", _ascii, text)


def _ascii(match: re.Match[str]) -> str:
    char = match[0]
    if "\uff01" <= char <= "\uff5e":
        return chr(ord(char) - 0xFEE0)
    return str(unicodedata.decimal(char, "-"))


def _boxed(text: str) -> str | None:
    return next(_boxes(text), None)


def _boxes(text: str) -> Iterator[str]:
    """The contents of the boxes that are not empty, the last one first."""
    if "\\boxed" not in text and "\\fbox" not in text:
        return
    opened: list[int] = []  # for each open brace, where the content of its box begins, or -1
    boxes: list[tuple[int, int]] = []
    for match in _BRACE.finditer(text):
        token = match[0]
        if token == "{" or token.startswith(("\\boxed", "\\fbox")):
            opened.append(match.end() if len(token) > 1 else -1)
        elif token == "}" and opened and (start := opened.pop()) >= 0:
            boxes.append((start, match.start()))
    for start, end in sorted(boxes, reverse=True):
        if end - start <= _LONGEST and not _BLANK.fullmatch(content := text[start:end].strip()):
            yield content


def _stated(text: str) -> str | None:
    return next(_statements(text), None)


def _statements(text: str) -> Iterator[str]:
    """What a text states as its answer, the last statement first."""
    for announced in reversed(deque(_STATED.finditer(text), maxlen=100)):
        listed = "\n" in announced[0] and _LISTED.match(text, announced.end())  # steps follow
        if not listed and (answer := _said(text, announced.end(), bool(announced["hashes"]))):
            yield answer


def _said(text: str, start: int, hashes: bool) -> str | None:
    """What stands there, if it is a number, a list of numbers, a choice, mathematics, or short."""
    number = _NUMBER.match(text, start)
    if number and number.end() - start > _WINDOW:
        return number[0] if number.end() - start <= _LONGEST else None
    rest = text[start : start + _WINDOW]
    display = _MATH.match(rest)
    if display and "\n" in display[0]:
        rest = " ".join(display[0].split())
    line = _END.split(rest.partition("\n")[0], maxsplit=1)[0]
    said = _HEDGE.sub("", _ASIDE.split(line.strip(" *_`:"), maxsplit=1)[0].strip(" *_`:"), count=1)
    said = _DECOR.sub("", _last_side(said)).strip(" *_`:,;")
    if _NO_ANSWER.match(said) or _BLANK.fullmatch(re.sub(r"\\(?:boxed|fbox)\b", "", said)):
        return None
    plain = re.sub(r"\\[()\[\]]|\$(?!\d)|\$(?=[^$]*\$)", "", said).strip()
    numbers = _numbers(plain)
    if hashes and not numbers:
        return None
    if len(said.split()) <= 3 or "=" in said or _COMPOUND.fullmatch(said):
        return said
    choice, math = _CHOICE.match(said), _MATH.match(said)
    return numbers or (choice and choice[0]) or (math and math[0]) or None


def _last_side(said: str) -> str:
    """What the last equation of a chain of them gives; several equations stay as they are."""
    if "=" not in said or re.search(r"=[^=]*(?:[,;]|\b(?:and|or)\b)[^=]*=", said):
        return said
    side = said.rpartition("=")[2].strip()
    if said.count("$") % 2 == 0 and side.count("$") % 2:  # $x = 3$
        before, _, after = side.rpartition("$")
        side = before + after
    for opening, closing in ((r"\(", r"\)"), (r"\[", r"\]")):
        if side.count(closing) > side.count(opening):
            side = side.replace(closing, "", 1)
    return " ".join(side.split())


def _numbers(said: str) -> str | None:
    """The number at the start, or the list of numbers if nothing but a unit follows it."""
    first = number = _NUMBER.match(said)
    while number and (between := _AND.match(said, number.end())):
        following = _NUMBER.match(said, between.end())
        if not following:
            break
        number = following
    if first and number and len(said[number.end() :].split()) <= 1:
        return said[: number.end()]
    return first[0] if first else None


def _last_number(text: str) -> str | None:
    last = deque(_NUMBER.finditer(text), maxlen=1)
    return last[0][0] if last and len(last[0][0]) <= _LONGEST else None


# -- canonical form --------------------------------------------------------------------------------

_PLAIN = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?")
_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])(?:\.[0-9]+)?")
_SCIENTIFIC = re.compile(r"[+-]?[0-9]*\.?[0-9]+e[+-]?[0-9]{1,2}", re.IGNORECASE)
_RATIO = re.compile(
    r"""(?P<sign>[+-]?)\s*(?:(?P<whole>[0-9]+)(?:\s+|(?=\\)))?
    (?:(?P<a>[0-9.]+)\s*/\s*(?P<b>[0-9.]+)
     |\\frac\s*(?:\{\s*(?P<c>-?[0-9]+)\s*\}|(?P<c1>[0-9]))\s*(?:\{\s*(?P<d>[0-9]+)\s*\}|(?P<d1>[0-9])))
    """,
    re.VERBOSE,
)
_QUANTITY = re.compile(
    r"""(?P<amount>.*[0-9.})])
    (?P<unit>(?:\s+[a-z]{2,}|\s+[mgshL]|\s*[a-z]{3,}|cm|mm|km|kg|mg|ml|ft|lb|oz|hr|st|nd|rd|th)
     (?:[\s/][a-z/\s.-]*)?(?:\^\{?[23]\}?)?)""",
    re.VERBOSE | re.IGNORECASE,
)
_MAGNITUDES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9,
    "trillion": 10**12,
}  # fmt: skip
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: 10 * tens for tens, word in enumerate(_TENS.split())} | {
    word: ones for ones, word in enumerate(_ONES.split())
}
_NOT_UNITS = re.compile(
    r"\b(?:and|or|to|of|plus|minus|times|over|pi|sin|cos|tan|log|ln|am|pm|half|halves|quarters?"
    r"|(?:third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth)s?)\b"
)

_SYMBOLS = str.maketrans(
    {"−": "-", "–": "-", "⁄": "/", "÷": "/", "×": r"\times ", "·": r"\cdot ", "π": r"\pi ",
     "∞": r"\infty ", "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "√": r"\sqrt ",
     "∅": r"\emptyset ", "∪": r"\cup ", "∩": r"\cap ",
     "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3",
     "\u00a0": " ", "\u2009": " ", "\u202f": " ", "’": "'", "“": '"', "”": '"', "。": "."}
)  # fmt: skip
_SUPER, _SUB = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "₀₁₂₃₄₅₆₇₈₉₊₋"
_DIGITS = str.maketrans(_SUPER + _SUB, "0123456789+-" * 2)
_RAISED = re.compile(f"(?P<up>[{_SUPER}]+)|[{_SUB}]+")
_GROUPS = re.compile(r"(?<=[0-9])['’\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_CONTINENTAL = re.compile(
    r"(?<![0-9.,])[0-9]{1,3}(?:(?:\.[0-9]{3})+,[0-9]+|(?:\.[0-9]{3}){2,})(?![0-9.,])"
)
_DEGREES = re.compile(r"\s*(?:°|\^\s*\{?\s*\\circ\s*\}?)\s*(?:[CFK]\b)?")
_NOTHING = re.compile(r"\{,\}|\\[,!]|\\displaystyle|\\(?=[$%€£])|\\+$|\$|" + f"{_EMOJI}|{_TAG}")
_SPACE = re.compile(r"\\(?:left|right|big|Big|quad|qquad|[;: ])(?![A-Za-z])|~|\\[()\[\]]|\s+")
_WRAPPED = re.compile(
    r"\\(?:text|textrm|textit|textsf|texttt|mathrm|textbf|mathbf|mathit|mathsf|mbox|emph|operatorname)"
    r"\s*\{([^{}]*)\}"
)
_COIN = re.compile(r"^([+-]?)\s*(?:(?:US|CA|AU|A|C|NZ|HK)?\s*[$€£¥₹]|(?:USD|EUR|GBP|Rs\.?)\s)\s*")
_BINOMIAL = re.compile(
    r"\\[dt]?binom\s*\{\s*([0-9]{1,2})\s*\}\s*\{\s*([0-9]{1,2})\s*\}"
    r"|\{\s*([0-9]{1,2})\s*\\choose\s*([0-9]{1,2})\s*\}"
)
_FACTORIAL = re.compile(r"(?<![\w.!^{)])([0-9]{1,2})!(?![!=])")
_CLOCK = re.compile(r"([0-9]{1,2})(?:[:.]([0-9]{2}))?\s*([ap])\.?\s?m\.?", re.IGNORECASE)
_LETTER = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?[\[(]?\s*([A-J])\s*[\])]?[.:]?", re.IGNORECASE
)
_MATRIX = re.compile(
    r"(?:[A-Za-z]\s*=\s*)?(?:\\left)?[\[(]?\s*\\begin\{([pb]?matrix|smallmatrix|array)\}(?:\{[lcr|]+\})?"
    r"(.*)\\end\{\1\}\s*(?:\\right)?[\])]?",
    re.DOTALL,
)
_NAME = re.compile(r"[A-Za-z](?:_?[0-9A-Za-z])?|[A-Za-z]\([a-z]\)")
_LEFT_SIDE = re.compile(
    r"(?:[a-z]\w{0,9}(?:\([a-z]\))?|[-+*/^().0-9\s]+)?\s*(?:=|≈|\\approx\b|\\in\b)\s*(?=\S)",
    re.IGNORECASE,
)
_MARKUP = " \t\r\n$€£¥*`\"'"


def canonical(answer: str) -> str:
    r"""Return the one form that equal answers share: the key of a vote, fit to be shown.

    - Numbers are exact: ``1,234`` → ``1234``, ``12.50`` → ``12.5``, ``\frac{2}{6}`` → ``1/3``.
    - Units, currency and percent signs go: ``$5`` and ``5 apples`` are 5, ``50\%`` is 50, not 0.5.
    - ``1.234,56`` is a number, ``1'234`` too; ``3,5`` may be either, and is the list of 3 and 5.
    - ``twenty-four`` is 24, ``5!`` is 120, ``5 p.m.`` is ``5:00 pm``, ``(B)`` is b.
    - Lists and sets ignore order and keep repeats; pairs and intervals keep order and brackets.
      ``840,840`` is a list: where all comma groups are the same, two answers were run together.
    - ``x = 5``, ``5 = x`` and ``2 + 3 = 5`` are 5; ``x = 5, y = 3`` keeps its names.
    - A matrix is its rows: ``[[1, 2], [3, 4]]``.
    - Expressions are expanded by sympy: ``(x+1)^2`` → ``x**2 + 2*x + 1``.
    - Anything else is its words in lower case.
    """
    _require_text(answer, "answer")
    if len(answer) > _LONGEST_PARSED:
        return _number(answer.strip(_MARKUP)) or _words(answer)
    form = _canonical(answer)
    for _ in range(3):  # without what typesets it may be read as something else
        if "\\" not in answer and "=" not in answer:
            break
        answer, form = form, _canonical(form)
    return form


def _require_text(value: object, name: str) -> None:
    require(isinstance(value, str), name, value, "text")


@lru_cache(maxsize=65_536)
def _canonical(answer: str) -> str:
    if matrix := _matrix(answer):
        return matrix
    text = _right_side(_HEDGE.sub("", _tidy(answer), count=1))
    return _choice(text) or _number(text) or _quantity(text) or _form(text)


def _item(answer: str) -> str:
    """Canonical form of one of several items, where units and names carry meaning."""
    text = _tidy(answer)
    return _number(text) or _form(text)


def _form(text: str) -> str:
    return (
        _spelled(text)
        or _clock(text)
        or _matrix(text)
        or _collection(text)
        or _expression(text)
        or _words(text)
    )


def _tidy(answer: str) -> str:
    """Drop what only typesets, and write what has several spellings in one."""
    text = _GROUPS.sub("", _in_ascii(_boxed(answer) or answer.rpartition("####")[2]))
    text = _RAISED.sub(_raised, _DEGREES.sub("", text)).translate(_SYMBOLS)
    text = _SPACE.sub(" ", _NOTHING.sub("", _COIN.sub(r"\1", text.strip())))
    text = re.sub(r"\\[dtc]frac", r"\\frac", text).replace("==", "=")
    text = _WRAPPED.sub(r" \1 ", text).strip(_MARKUP).rstrip(".,;:" + _MARKUP)
    text = re.sub(r"_\{\s*(\w+)\s*\}", r"_\1", text)
    text = re.sub(r"(?i)(?<![\\a-z])infinity\b", r"\\infty ", text)
    text = re.sub(r"(?<=[0-9])\s*x\s*(?=10\s*\^)", "*", text)
    text = _FACTORIAL.sub(lambda n: f"({math.factorial(int(n[1]))})", text)
    return _BINOMIAL.sub(_binomial, text).strip()


def _raised(match: re.Match[str]) -> str:
    return f"{'^' if match['up'] else '_'}{{{match[0].translate(_DIGITS)}}}"


def _binomial(match: re.Match[str]) -> str:
    n, k = (int(number) for number in match.groups() if number is not None)
    return f"({math.comb(n, k)})"


def _right_side(text: str) -> str:
    """What an equation says its name or its arithmetic equals, whichever side the name is on."""
    if text.count("=") > 1 and re.search(r"[,;]|\b(?:and|or)\b", text):
        return text
    left, equals, right = (side.strip() for side in text.rpartition("="))
    if equals and left and left[-1] not in "<>!" and _NAME.fullmatch(right):
        if not _NAME.fullmatch(left):
            return _right_side(left)
        return " = ".join(sorted((left, right)))
    while found := _LEFT_SIDE.match(text):
        named = _NAME.fullmatch(found[0].rstrip("= ")) or found[0][0] in "=≈\\"
        if not named and re.search(r"[0-9][xyz]\b", text[found.end() :]):
            break  # 5 = 2x + 3y is an equation
        text = text[found.end() :]
    return text.strip(_MARKUP)


def _choice(text: str) -> str | None:
    """A letter of a multiple choice, in lower case like other words."""
    letter = _LETTER.fullmatch(text)
    return letter[1].lower() if letter else None


def _clock(text: str) -> str | None:
    time = _CLOCK.fullmatch(text)
    return f"{int(time[1])}:{time[2] or '00'} {time[3].lower()}m" if time else None


def _spelled(text: str) -> str | None:
    """Canonical form of a whole number in words: ``two hundred and five``."""
    words = text.casefold().replace("-", " ").split()
    total = part = 0
    for place, word in enumerate(words):
        if word in _SMALL:
            value = _SMALL[word]
            if part % 100 and not (0 < value < 10 and part % 10 == 0 and part % 100 >= 20):
                return None  # two numbers
            part += value
        elif word in _MAGNITUDES and word != "dozen" and place:
            if word == "hundred":
                part *= 100
            else:
                total, part = total + part * _MAGNITUDES[word], 0
        elif not (word == "and" and part % 100 == 0 and total + part and place < len(words) - 1):
            return None
    return str(total + part) if words else None


def _matrix(text: str) -> str | None:
    """Canonical form of a matrix, in LaTeX or as a list of rows in brackets."""
    if latex := _MATRIX.fullmatch(text.strip(_MARKUP + ".")):
        lines = re.split(r"\\\\(?:\[[^\]]*\])?", latex[2].strip())
        rows = [line.split("&") for line in lines if line.strip()]
    elif re.match(r"\[\s*\[", text) and re.search(r"\]\s*\]$", text):
        rows = [_split(row[1:-1]) for row in _split(text[1:-1]) if row[:1] + row[-1:] == "[]"]
    else:
        return None
    if not rows or len({len(row) for row in rows}) > 1 or not rows[0]:
        return None
    return "[" + ", ".join("[" + ", ".join(map(_item, row)) + "]" for row in rows) + "]"


def _number(text: str) -> str | None:
    """Canonical form of a number, with or without currency and percent signs, of any length."""
    text = _COIN.sub(r"\1", text).removesuffix("%").strip(_MARKUP)
    if _CONTINENTAL.fullmatch(text.lstrip("+-")):
        text = text.replace(".", "").replace(",", ".")
    if _THOUSANDS.fullmatch(text.lstrip("+-")):
        text = _ungroup(text)
    if (plain := _PLAIN.fullmatch(text)) and (plain[2] or plain[3]):
        whole, decimals = plain[2].lstrip("0") or "0", (plain[3] or "").rstrip("0")
        value = f"{whole}.{decimals}" if decimals else whole
        return f"-{value}" if plain[1] == "-" and value != "0" else value
    if len(text) > _LONGEST_PARSED:
        return None
    if _SCIENTIFIC.fullmatch(text):
        return _decimal(Fraction(text))
    ratio = _RATIO.fullmatch(text)
    return _ratio(ratio) if ratio else None


def _ungroup(number: str) -> str:
    groups = number.lstrip("+-").split(",")
    return number.replace(",", "") if len(set(groups)) > 1 else number


def _ratio(match: re.Match[str]) -> str | None:
    top, bottom = match["a"] or match["c"] or match["c1"], match["b"] or match["d"] or match["d1"]
    try:
        value = int(match["whole"] or 0) + Fraction(top) / Fraction(bottom)
    except (ValueError, ZeroDivisionError):
        return None
    return _decimal(-value if match["sign"] == "-" else value)


def _decimal(value: Fraction) -> str:
    """A decimal number where that is exact, else a reduced fraction."""
    twos = (value.denominator & -value.denominator).bit_length() - 1
    fives = round(math.log(value.denominator >> twos, 5))
    if value.denominator != 2**twos * 5**fives:
        return str(value)
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).zfill(places + 1)
    cut = len(digits) - places
    return ("-" if value < 0 else "") + digits[:cut] + ("." + digits[cut:] if places else "")


def _quantity(text: str) -> str | None:
    """Canonical form of an amount with a unit: the amount; ``2 million`` is a number too."""
    match = _QUANTITY.fullmatch(text)
    if not match or _NOT_UNITS.search(match["unit"].lower()):
        return None
    number = _number(match["amount"])
    power = _MAGNITUDES.get(match["unit"].lower().split()[0])
    if number and power:
        return _decimal(Fraction(number) * power)
    return number or _expression(match["amount"])


def _collection(text: str) -> str | None:
    """Canonical form of a list, set, pair or interval: the canonical forms of its items."""
    opened, closed, inner = text[:1], text[-1:], text[1:-1]
    if text.startswith(r"\{") and text.endswith(r"\}"):
        opened, closed, inner = "{", "}", text[2:-2]
    items = _split(inner) if opened in "([{" and closed in ")]}" and len(text) > 1 else []
    if not items:
        opened = closed = ""
        items = _split(_THOUSANDS.sub(lambda number: _ungroup(number[0]), text), words=True)
    if not all(items) or (len(items) < 2 and opened in ("", "[")):
        return None
    if len(items) == 1 and opened == "(":
        return _canonical(items[0]) if closed == ")" else None
    keys = [_item(item) for item in items]
    if opened in ("", "{"):
        return "{" + ", ".join(sorted(keys)) + "}"
    return opened + ", ".join(keys) + closed


def _split(text: str, words: bool = False) -> list[str]:
    """The items between commas (or "and", "or") outside brackets; none if brackets do not match."""
    depth, start, items = 0, 0, []
    for match in re.finditer(r"[(\[{]|[)\]}]|[,;]\s*(?:and\b|or\b)?|\b(?:and|or)\b", text):
        token = match[0]
        depth += (token in "([{") - (token in ")]}")
        if depth < 0:
            return []
        if depth == 0 and token not in ")]}" and (words or token[0] in ",;"):
            items.append(text[start : match.start()].strip())
            start = match.end()
    return [*items, text[start:].strip()] if depth == 0 else []


def _words(text: str) -> str:
    text = re.sub(r"\\infty\b\s*", "infinity", text)
    return ("" if "\\" in text else " ").join(text.casefold().split())


# -- expressions -----------------------------------------------------------------------------------

_COMMAND = re.compile(r"\\([A-Za-z]+)")
_COMMANDS = frozenset(
    re.findall(
        r"\w+",
        "frac sqrt pi cdot times div pm cup cap infty emptyset le leq ge geq lt gt ne neq "
        "ln log sin cos tan alpha beta gamma theta lambda mu phi omega",
    )
)
_SPELLED_OUT = re.compile(r"(?<![\\A-Za-z])(sqrt|pi|sin|cos|tan|ln|log)(?![A-Za-z])")
_POWER = re.compile(
    r"\^\{\s*(?:(-?[0-9]{1,2})[A-Za-z]?|-?[A-Za-z](?:\s*[+-]\s*[0-9])?|-?\\frac\{[0-9]\}\{[0-9]\})\s*\}"
)
_UNREADABLE = re.compile(
    r"[^0-9A-Za-z\s+*/=<>()\[\]{}|.,-]|[A-Za-z]{3}|[A-Za-z][0-9]|[0-9]\s+[0-9]|\.[0-9]*\."
)
_sympy_lock = threading.Lock()  # neither math-verify nor the parser under it promises thread safety


def _expression(text: str) -> str | None:
    """Canonical form of an expression by math-verify and sympy, or None if it is not one."""
    latex = _SPELLED_OUT.sub(r"\\\1", text).replace("**", "^")
    latex = re.sub(r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", latex)
    latex = re.sub(r"\^\s*(-?[0-9]+|[A-Za-z])", r"^{\1}", latex)
    latex = re.sub(r"\^\s*\(([^()]*)\)", r"^{\1}", latex)
    latex = re.sub(r"\^\{\s*(-?)([0-9])/([0-9])\s*\}", r"^{\1\\frac{\2}{\3}}", latex)
    latex = re.sub(r"((?<![_^\w.{])[0-9.]+|\))\s*\(", r"\1\\cdot (", latex)
    if not _harmless(latex):
        return None
    try:
        with _sympy_lock:
            return _simplified(latex)
    except Exception:  # parsers raise errors of every kind on what they cannot read
        return None


def _harmless(latex: str) -> bool:
    """Whether this is mathematics that cannot take long to evaluate: no parser has a time limit.

    Small powers, few brackets, known commands, no words (a parser would multiply their letters).
    """
    if len(latex) > _LONGEST_PARSED or not _COMMANDS.issuperset(_COMMAND.findall(latex)):
        return False
    bare = _COMMAND.sub("+", _POWER.sub("", re.sub(r"\\log_\{?[0-9]+\}?", "+", latex)))
    if _UNREADABLE.search(bare) or re.fullmatch(r"[A-Za-z\s]*", latex):
        return False
    powers = math.prod(abs(int(n)) or 1 for n in _POWER.findall(latex) if n)
    return powers <= (6 if re.search(r"[)}\]]\s*\^", latex) else 1000) and _depth(latex) <= 4


def _depth(text: str) -> float:
    """How deep brackets nest; infinite if they do not match."""
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
        if depth < 0:
            return math.inf
    return deepest if depth == 0 else math.inf


def _simplified(latex: str) -> str | None:
    import sympy
    from math_verify import LatexExtractionConfig, parse

    # Its time limit is a signal, which works in the main thread only; without, it logs a warning.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    config = LatexExtractionConfig(boxed_match_priority=0)
    config = replace(config, normalization_config=replace(config.normalization_config, units=False))
    boxed = f"\\boxed{{{latex}}}"
    found = parse(boxed, [config], fallback_mode="no_fallback", parsing_timeout=None)
    return _key(sympy, found[0]) if found else None


def _key(sympy: Any, parsed: Any) -> str | None:
    if isinstance(parsed, sympy.FiniteSet):  # what ± gives
        return "{" + ", ".join(sorted(filter(None, (_key(sympy, item) for item in parsed)))) + "}"
    exact = sympy.nsimplify(parsed, rational=True) if isinstance(parsed, sympy.Expr) else parsed
    value = exact.doit()
    if isinstance(value, sympy.Expr):
        value = sympy.expand(value)
    if value.is_algebraic:  # not known of symbols, of which radsimp may never end
        value = sympy.expand(sympy.radsimp(value))
    if value in (sympy.true, sympy.false) or value.has(sympy.zoo, sympy.nan):
        return None
    if value.is_Rational:
        return _decimal(Fraction(int(value.p), int(value.q)))
    if isinstance(value, sympy.Equality):  # the same whichever side is which
        zero = sympy.expand(value.lhs - value.rhs)
        value = -zero if zero.could_extract_minus_sign() else zero
        return None if value.is_Symbol else f"{_printed(value)} = 0"
    return _printed(value)


def _printed(value: Any) -> str:
    """A form that reads as itself: sympy's own names would read as products of letters."""
    text = re.sub(r"\boo\b", "infinity", str(value)).replace("log(", "ln(")
    return re.sub(r"\bE\b|[A-Z][a-z]{2,}", lambda name: name[0].lower(), text)


# -- compare and vote ------------------------------------------------------------------------------


def equal(a: str | None, b: str | None) -> bool:
    """Whether two answers are the same as a whole. None equals nothing.

    Raises:
        OptionError: an answer is neither text nor None.
    """
    return a is not None and b is not None and canonical(a) == canonical(b)


def tally(
    answers: Sequence[str | None], weights: Sequence[float] | None = None, key: Key = canonical
) -> dict[str, float]:
    """Return the votes for each canonical answer, in the order in which answers first appear.

    Args:
        answers: one per sample; None abstains.
        weights: one per sample, ≥ 0; by default 1 each. A sample weighted nan abstains.
        key: the form that equal answers share, where it is a task's own.

    Raises:
        OptionError: a weight is negative, or there are not as many weights as answers.
    """
    votes: dict[str, float] = {}
    weights = [1.0] * len(answers) if weights is None else weights
    require(len(weights) == len(answers), "weights", weights, f"{len(answers)}, one per answer")
    for answer, weight in zip(answers, weights, strict=True):
        real = isinstance(weight, Real) and not isinstance(weight, bool)
        require(real and not weight < 0, "weight", weight, "a number ≥ 0, or nan to abstain")
        if answer is not None and not math.isnan(weight):
            form = key(answer)
            votes[form] = votes.get(form, 0.0) + weight
    return votes


def vote(
    answers: Sequence[str | None], weights: Sequence[float] | None = None, key: Key = canonical
) -> int | None:
    """Return the index of the first sample that votes for the winner; None if all abstain.

    The answer with the most weight wins; of equal ones, the one that appears first. Weights, key
    and errors as in ``tally``.
    """
    votes = tally(answers, weights, key)
    if not votes:
        return None
    winner = max(votes, key=votes.__getitem__)
    voting = (
        (i, key(answer))
        for i, answer in enumerate(answers)
        if answer is not None and (weights is None or not math.isnan(weights[i]))
    )
    return next(i for i, form in voting if form == winner)


Weigh = Literal["score", "exp", "rank"]


def as_weights(scores: Sequence[float], how: Weigh = "score") -> list[float]:
    """Turn a verifier's scores into the weights of votes; nan, for what has no score, stays.

    Where nothing has a score, the verifier says nothing, and all weigh the same.

    Args:
        scores: the higher the better.
        how: ``score`` as they are, for scores ≥ 0 such as probabilities; ``exp`` in proportion to
            their exponentials, for log-probabilities; ``rank`` from n for the best of n down to 1,
            for scores on any other scale (Borda voting: Kang et al. 2025, arXiv:2502.18581, §4,
            with p = 1). Equal scores share the higher rank.
    """
    require(how in get_args(Weigh), "weigh", how, " or ".join(map(repr, get_args(Weigh))))
    known = [score for score in scores if not math.isnan(score)]
    if not known:
        return [1.0] * len(scores)
    if how == "score":
        return list(scores)
    if how == "exp":
        return [math.exp(score - max(known)) for score in scores]
    ranks = {score: float(place) for place, score in enumerate(sorted(known), start=1)}
    return [ranks.get(score, math.nan) for score in scores]
