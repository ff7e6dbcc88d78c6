"""A page that needs nothing but a browser: its style, and plotly.js once for all of its figures."""

from __future__ import annotations

import html
from typing import Any

from itslab.viz.theme import FIGURES, SYSTEM

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:;
script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<title>{title}</title><script charset="utf-8">{plotly}</script><style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 Helvetica, Arial, sans-serif; max-width: 64rem; margin: 0 auto;
  color: light-dark(#1b1b1b, #ececec); background: light-dark(white, #121212); padding: 1rem }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; font-size: 14px }}
th, td {{ padding: 0.25rem 0.8rem; text-align: right; border-bottom: 1px solid #8884;
  white-space: nowrap }}
th:first-child, td:first-child {{ text-align: left }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px }}
.figure {{ overflow-x: auto }}
{system}
</style></head><body><h1>{title}</h1><p>{lead}</p>{body}</body></html>
"""


def page(title: str, lead: str, body: str) -> str:
    """Return a page; a reader's browser fetches nothing for it.

    Args:
        title: in plain text.
        lead: what stands below it, in plain text.
        body: HTML.
    """
    from plotly.offline import get_plotlyjs

    return _PAGE.format(
        title=html.escape(title),
        plotly=get_plotlyjs(),
        system=FIGURES + SYSTEM,
        lead=html.escape(lead),
        body=body,
    )


def figure(drawn: Any) -> str:
    """Return a plotly figure as an element that the page's plotly.js fills."""
    import plotly.io

    config = {"responsive": True, "displaylogo": False, "toImageButtonOptions": {"format": "svg"}}
    element = plotly.io.to_html(drawn, config=config, include_plotlyjs=False, full_html=False)
    return f'<div class="figure">{element}</div>'
