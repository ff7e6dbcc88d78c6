"""A small, still picture of a run's tree: its branches, what was dropped, the way to the answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from html import escape

from itslab.core import Node, Tree
from itslab.viz.style import BLUE, FONT, GREY, INK, MUTED

MOST = 300
"""Nodes that are drawn: those on the way to the answer, then those nearest to the root."""
_WIDTH, _HEIGHT, _EDGE = 640, 220, 14
"""Pixels, and those around the drawing."""

Places = dict[int, tuple[float, float]]  # a node's id -> where it is drawn


def sketch(tree: Tree, best: Node | None = None) -> str:
    """Return a tree as an SVG image of some kilobytes, from its root at the left.

    Args:
        tree: of a run, which may go on.
        best: the node that answers.
    """
    nodes = list(tree.nodes)
    way = best.path() if best is not None else []
    kept = _kept(nodes, way)
    places, height = _placed(kept)
    inside = {node.id for node in way}
    dropped = {node.id for node in kept if node.status in ("pruned", "failed")}
    edges = [(node.parent, node) for node in kept if node.parent is not None]
    radius = max(min(5.0, height / max(len(kept), 1) * 2), 1.5)
    parts = [
        _lines((edge for edge in edges if edge[1].id not in inside), places, GREY, 1),
        _lines((edge for edge in edges if edge[1].id in inside), places, INK, 2.5),
        _dots((n for n in kept if n.id in dropped), places, GREY, radius),
        _dots((n for n in kept if n.id not in dropped | inside), places, BLUE, radius),
        _dots((n for n in kept if n.id in inside), places, INK, radius + 1),
    ]
    caption = _caption(nodes, kept, bool(way))
    whole = height + 26
    head = (
        f'<svg class="its-view" role="img" aria-label="{escape(caption)}" '
        f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {whole:.0f}" '
        f'style="max-width: 100%" width="{_WIDTH}" font-family="{FONT}" font-size="13">'
        f'<rect width="100%" height="100%" fill="white"/>'
    )
    foot = f'<text x="{_EDGE}" y="{whole - 8:.0f}" fill="{MUTED}">{escape(caption)}</text></svg>'
    return "".join([head, *parts, foot])


def _kept(nodes: Sequence[Node], way: Sequence[Node]) -> list[Node]:
    """The nodes that are drawn, each after its parent."""
    chosen = {node.id for node in way[:MOST]}
    below: dict[int | None, list[Node]] = {}
    for node in nodes:
        below.setdefault(None if node.parent is None else node.parent.id, []).append(node)
    waiting = deque(below.get(None, ()))
    while waiting and len(chosen) < MOST:
        node = waiting.popleft()
        chosen.add(node.id)
        waiting += below.get(node.id, ())
    return [node for node in nodes if node.id in chosen]  # a parent is made before its children


def _placed(kept: Sequence[Node]) -> tuple[Places, float]:
    """Where each node is drawn, and the height that this takes: leaves in rows, parents between."""
    below: dict[int | None, list[Node]] = {}
    depth: dict[int, int] = {}
    for node in kept:
        parent = node.parent
        depth[node.id] = 0 if parent is None else depth[parent.id] + 1
        below.setdefault(None if parent is None else parent.id, []).append(node)
    rows: dict[int, float] = {}
    order: list[Node] = []
    waiting = below.get(None, [])[::-1]
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting += below.get(node.id, [])[::-1]
    for node in order:
        if node.id not in below:
            rows[node.id] = float(len(rows))
    leaves = max(len(rows), 1)
    for node in reversed(order):  # children before their parent
        if node.id in below:
            children = below[node.id]
            rows[node.id] = (rows[children[0].id] + rows[children[-1].id]) / 2
    across = min(90.0, (_WIDTH - 2 * _EDGE) / max(max(depth.values(), default=0), 1))
    down = min(18.0, (_HEIGHT - 2 * _EDGE) / leaves)
    places = {n.id: (_EDGE + across * depth[n.id], _EDGE + down * rows[n.id]) for n in kept}
    return places, 2 * _EDGE + down * (leaves - 1)


def _lines(edges: Iterable[tuple[Node, Node]], at: Places, colour: str, width: float) -> str:
    d = "".join(f"M{_spot(at[a.id])}L{_spot(at[b.id])}" for a, b in edges)
    return f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="{width}"/>' if d else ""


def _dots(nodes: Iterable[Node], at: Places, colour: str, radius: float) -> str:
    """Points, as the round ends of lines without a length: a tenth of as many circles."""
    d = "".join(f"M{_spot(at[node.id])}h0" for node in nodes)
    look = f'stroke="{colour}" stroke-width="{2 * radius:.1f}" stroke-linecap="round"'
    return f'<path d="{d}" {look}/>' if d else ""


def _spot(place: tuple[float, float]) -> str:
    return f"{place[0]:.0f} {place[1]:.1f}"


def _caption(nodes: Sequence[Node], kept: Sequence[Node], answered: bool) -> str:
    gone = sum(node.status == "pruned" for node in nodes)
    said = [f"{len(nodes):,} nodes"]
    said += [f"{len(nodes) - len(kept):,} of them not drawn"] if len(kept) < len(nodes) else []
    said += [f"{gone:,} pruned (grey)"] if gone else []
    said += ["black: the way to the answer"] if answered else []
    return f"{', '.join(said)}; its.view(…) opens it"
