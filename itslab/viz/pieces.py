"""Pieces of the HTML in which objects show themselves: heads, tables of facts and sums, folds.

Whoever uses them hands over plain text, which is escaped, but for cells of ``table`` and what
stands inside of a fold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from itslab.viz import style, theme
from itslab.viz.style import BLUE, GRID, INK, MUTED, RED

SHOWN = 4_000
"""Characters of a text that are shown."""
LINES = 8
"""Rows of a table, and remarks, that are shown; how many there are besides is said."""


def brief_line(text: str, most: int = 120) -> str:
    """Return a text in one line, cut where it is long."""
    return style.short(" ".join(text.split()), most)


def view(*parts: str) -> str:
    """Return HTML as what an object shows, with the sheets that it needs."""
    return style.view(theme.SHEET + _SHEET + "".join(parts))


def head(name: str, about: str) -> str:
    """Return a name, and a few words about it."""
    return (
        '<div style="overflow-wrap: anywhere">'
        f'<b style="font-size: 17px">{escape(brief_line(name, 200))}</b> '
        f'<span style="color: {MUTED}">{escape(about)}</span></div>'
    )


def facts(known: Mapping[str, Any]) -> str:
    """Return facts by their names, one in a row."""
    rows = (
        f"<tr><th>{escape(name)}</th><td>{escape(brief_line(str(value), 300))}</td></tr>"
        for name, value in known.items()
    )
    return f'<table class="its-facts">{"".join(rows)}</table>'


_SHEET = f"""<style>
.its-view table.its-facts {{ border-collapse: collapse; border: 0; margin: 6px 0; color: {INK} }}
.its-view table.its-facts tbody tr {{ background: white }}
.its-view table.its-facts tbody :is(td, th) {{ font-size: 13px; font-weight: normal; border: 0;
  padding: 1px 14px 1px 0; vertical-align: top; text-align: left; white-space: normal;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; min-width: 3.5em }}
.its-view table.its-facts tbody th {{ color: {MUTED}; white-space: nowrap }}
.its-view table.its-sums tbody td:first-child {{ white-space: nowrap }}
.its-view table.its-sums tbody tr > :not(:first-child) {{ text-align: right; white-space: nowrap }}
.its-view table.its-sums tbody tr:first-child > th {{ border-bottom: 1px solid {GRID} }}
.its-view details {{ margin: 4px 0 }}
.its-view .its-drawn {{ overflow-x: auto }}
.its-drawn svg {{ max-width: 100%; min-width: 420px; height: auto }}
.its-view summary {{ cursor: pointer }}
</style>"""


def table(heads: Iterable[str], rows: Iterable[Sequence[str]], numbers: bool = True) -> str:
    """Return rows of HTML cells under their heads; numbers stand at the right, but the first."""
    lines = [f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"]
    lines += (f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    kind = "its-facts its-sums" if numbers else "its-facts"
    table = f'<table class="{kind}">{"".join(lines)}</table>'
    return f'<div style="overflow-x: auto">{table}</div>'


def image(svg: str) -> str:
    """Return an SVG image that shrinks with a page, and then is scrolled."""
    return f'<div class="its-drawn">{svg}</div>'


def bar(spent: int, limit: int | None) -> str:
    """Return what is spent of a budget of tokens as an HTML bar; without a limit, in words."""
    if not limit:
        return style.view(f"{spent:,} tokens spent, no limit")
    share = min(spent / limit, 1)
    done = f'<div style="width: {share:.1%}; height: 6px; background: {BLUE}"></div>'
    return style.view(
        f'<div style="height: 6px; background: {GRID}">{done}</div>'
        f"{spent:,} of {limit:,} tokens spent"
    )


def remarks(said: Sequence[str]) -> str:
    """Return what has to be noticed, in red."""
    shown = [brief_line(text, 300) for text in said[:LINES]]
    if len(said) > LINES:
        shown.append(f"and {len(said) - LINES} more")
    return "".join(
        f'<div style="color: {RED}; overflow-wrap: anywhere">{escape(text)}</div>' for text in shown
    )


def folded(title: str, text: str) -> str:
    """Return a text that is read when its title is clicked."""
    return details(title, style.box(cut(text, SHOWN), BLUE))


def details(title: str, inner: str) -> str:
    """Return HTML that is shown when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def cut(text: str, most: int) -> str:
    """Return a text escaped, and cut where it is too long."""
    more = len(text) - most
    return escape(text[:most]) + (f"… ({more:,} more characters)" if more > 0 else "")
