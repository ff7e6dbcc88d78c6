// Places. Nodes have places (depth, slot), and the view a scale for each axis: zooming spreads the
// places and leaves dots and texts as large as they are.

/**
 * Give leaves consecutive slots and parents the middle of their children. The room of a node is how
 * many slots away the next one of its depth is, ``over`` how many the one above it is.
 * @param below returns those children of a node that are drawn.
 */
function place(fold, below) {
  let slots = 0;
  const order = [];
  const lowest = []; // of each depth
  const visit = (node, level) => {
    order.push(node);
    node.kids = below(node);
    node.kids.forEach((child) => visit(child, level + 1));
    const ends = [node.kids[0], node.kids.at(-1)];
    node.leaf = !node.kids.length;
    const slot = node.leaf ? slots++ : (ends[0].place[1] + ends[1].place[1]) / 2;
    const over = lowest[level];
    node.place = [level, slot];
    node.room = node.over = over ? slot - over.place[1] : Infinity;
    if (over) over.room = Math.min(over.room, node.room);
    lowest[level] = node;
  };
  for (const node of fold.nodes.values()) node.place = null;
  for (const node of fold.nodes.values()) if (!node.above) visit(node, 0);
  return { order, slots, depth: lowest.length - 1 };
}

/** The children that are drawn, as the reader of a tree has set it: see ``settings`` in view.js. */
function drawnBelow(me) {
  const way = new Set(line(me.all.best).map((node) => node.id));
  const shown = ({ id, pruned }) => way.has(id) || !(me.onlyWay && me.all.best) && !(me.hidePruned && pruned);
  return (node) => (me.folded.has(node.id) ? [] : node.below.filter(shown));
}
