// The picture: the title, the nodes at their places, the edges between them, and an overview.

const LARGE = 600; // nodes
const BETWEEN = 28; // pixels from leaf to leaf, where there is room
const [LOWEST, HIGHEST] = [170, 480]; // pixels of the picture

/**
 * Make the picture of a tree.
 * @param me what is shown; see view.js.
 * @returns element, and what others do with it: draw, reset, zoom, reveal, nearest, here, pan.
 */
function pictureOf(me) {
  const layers = ["dim", "plain", "onPath"].map(() => make("g")); // of edges, the last above all
  const dots = make("g", { role: "group" });
  const world = make("g", { class: "world" }, ...layers, dots);
  const title = make("g", { class: "title", "aria-hidden": "true" }); // the picture's label says it
  const map = mapOf(me, (x, y) => centre(x, y));
  const element = make("svg", { class: "picture", tabindex: 0, role: "tree",
    "aria-keyshortcuts": "ArrowLeft ArrowRight ArrowUp ArrowDown Enter p + - 0" },
  world, title, map.element);
  const parts = new Map(); // node -> its elements
  let view = { x: 0, y: 0, dx: 100, dy: 20 };
  let painted = view; // when nodes were painted last
  let settling = 0;
  let [width, height, top] = [0, 0, 0]; // pixels of the picture, and of its title
  let [gliding, glided] = [0, null]; // until when nodes glide to their places, and to which

  // - scale

  function measure() {
    const tallest = document.fullscreenElement === me.root ? Math.max(window.innerHeight - 330, 300) : HIGHEST;
    width = element.clientWidth;
    drawTitle();
    const { offsetTop, offsetHeight } = me.side; // beside a short picture there is no empty room
    const beside = offsetTop <= element.parentNode.offsetTop ? offsetHeight - 46 : 0;
    const wanted = top + 30 + Math.max(me.plan.slots, 1) * BETWEEN;
    height = Math.round(Math.min(Math.max(wanted, LOWEST, Math.min(beside, 420)), tallest));
    put(element, "style", `height: ${height}px`);
  }

  function fit() {
    const free = height - top;
    const roomy = me.plan.slots * 15 < free;
    const right = !roomy ? 60 : width < 640 ? 120 : 210;
    const dx = Math.min(Math.max((width - 30 - right) / Math.max(me.plan.depth, 1), 4), 190);
    const dy = Math.min((free - 44) / Math.max(me.plan.slots - 1, 1), 72);
    view = { dx, dy, x: 24, y: top + (free - dy * (me.plan.slots - 1)) / 2 + 4 };
  }

  function zoom(by, x = width / 2, y = height / 2) {
    me.own = true;
    const dx = Math.min(Math.max(view.dx * by, 4), Math.max(view.dx, 230));
    const dy = Math.min(Math.max(view.dy * by, 0.1), 60);
    view = { dx, dy, x: x - (x - view.x) * dx / view.dx, y: y - (y - view.y) * dy / view.dy };
    if (me.plan.order.length < LARGE) return me.soon();
    move(); // painting so many takes longer than a frame: it waits for the end of the gesture
    clearTimeout(settling);
    settling = setTimeout(me.soon, 120);
  }

  function pan(x, y) {
    me.own = true;
    Object.assign(view, { x, y });
    move();
    const far = Math.abs(x - painted.x) > width / 2 || Math.abs(y - painted.y) > height / 2;
    if (far) me.soon(); // what is far outside is not painted
  }

  const move = () => {
    const grown = [view.dx / painted.dx, view.dy / painted.dy]; // since nodes were painted
    const scale = grown.every((by) => by === 1) ? "" : ` scale(${grown})`;
    put(world, "transform", `translate(${view.x} ${view.y})${scale}`);
    map.draw(view, width, height, top);
  };
  const centre = (depth, slot) => pan(width / 2 - depth * view.dx, (height + top) / 2 - slot * view.dy);

  /** Bring a node into view. */
  function reveal(node) {
    const [x, y] = spot(node).map((c, i) => c + [view.x, view.y][i]);
    if (x < 10 || y < top + 10 || x > width - 60 || y > height - 10) centre(...node.place);
  }

  const spot = (node) => [node.place[0] * view.dx, node.place[1] * view.dy];
  const here = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.x, event.clientY - box.y];
  };

  function nearest(event) {
    const name = event.target.closest("[data-node]");
    if (name) return me.all.nodes.get(Number(name.dataset.node));
    const [x, y] = here(event);
    const far = (node) => Math.hypot(...spot(node).map((c, i) => c + [view.x, view.y][i] - [x, y][i]));
    let best = null;
    for (const node of me.plan.order) {
      const distance = me.now.nodes.has(node.id) ? far(node) : Infinity;
      if (distance < (best?.distance ?? 10)) best = { node, distance };
    }
    return best?.node;
  }

  // - drawing

  function draw() {
    measure();
    if (!me.own) fit();
    const look = looks();
    painted = { ...view };
    move();
    // A model that draws beside the browser needs the cores that gliding nodes would take.
    if (glided !== me.plan) gliding = performance.now() + 300;
    glided = me.plan;
    const calm = performance.now() < gliding && me.plan.order.length < 300 && !me.own && !look.live;
    put(element, "class", `picture ${calm ? "calm" : ""}`);
    for (const node of me.all.nodes.values()) paint(node, look);
    const last = parts.get(me.now.best?.id);
    if (last && last.dot !== dots.lastChild) dots.append(last.dot); // above the others
    put(element, "aria-activedescendant", parts.get(me.chosen)?.dot.id ?? null);
  }

  function drawTitle() {
    const [asked, how] = me.about.title ?? ["", ""];
    const said = [...lines(asked, Math.floor((width - 24) / 7.4), 2).map((text) => ["question", 18, text]),
      ...lines(how, Math.floor((width - 24) / 6.1), 2).map((text) => ["by", 17, text])].filter((one) => one[2]);
    top = said.reduce((sum, [, tall]) => sum + tall, 16);
    put(element, "aria-label", `Tree of the run: ${asked}. ${how}`);
    refill(title, [width, said], () => {
      let y = 4;
      const rows = said.map(([name, tall, text]) => make("text", { class: name, x: 14, y: (y += tall) }, text));
      return [make("rect", { class: "back", width, height: top }), ...rows];
    });
  }

  /** What the look of each node depends on besides itself. */
  function looks() {
    let visits = 1;
    for (const node of me.all.nodes.values()) visits = Math.max(visits, node.terms.visits ?? 0);
    const best = new Set(line(me.now.best).map((node) => node.id));
    const found = new Set(me.found);
    const lit = me.lit === null ? null : new Set();
    if (lit) for (const node of me.now.nodes.values()) {
      if (answerOf(node) === me.lit) line(node).forEach((step) => lit.add(step.id));
    }
    const live = ["drawing", "pausing"].includes(me.about.state) && me.now === me.all;
    const edge = me.own ? Infinity : width - view.x; // where words would be cut off
    return { visits, best, live, edge, found, lit, ...me.scale() };
  }

  function paint(node, look) {
    const then = node.place && me.now.nodes.get(node.id);
    const part = parts.get(node.id);
    if (!then || outside(node)) return part && show(part, null);
    const { dot, edge, shape, text } = part ?? build(node);
    show(parts.get(node.id), "inline");
    then.dim = then.pruned || then.above?.dim || false;
    const [x, y] = spot(node);
    const share = Math.sqrt((then.terms.visits ?? 0) / look.visits);
    const room = node.room * view.dy; // pixels
    const least = node.id === me.chosen ? 4 : 1.5;
    const radius = Math.max(Math.min(4.5 + 5 * share, room * 0.42), least);
    const name = states(node, then, look, radius);
    put(dot, "class", name);
    put(dot, "style", `transform: translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`);
    const hue = me.hue(me.reads(then));
    const fill = look.by === "answer" ? hue : look.fill(then);
    put(shape, "fill", fill ?? (then.drawn ? "white" : "#6b6b6b"));
    resize(shape, radius);
    paintEdge(edge, node, name, share, room);
    const flag = hue !== null && look.by !== "answer" ? hue : null;
    paintFlag(parts.get(node.id), flag, radius, room, node.leaf);
    const right = radius + (flag ? 14 : 4);
    caption(text, node, then, right, radius, room, Math.floor((look.edge - x - right - 4) / 5.8));
  }

  /** Whether a node and its edge are more than a picture's size away from what is seen. */
  function outside(node) {
    if (!me.own || node.id === me.chosen) return false;
    const [[x, y], [x0, y0]] = [spot(node), spot(node.above ?? node)];
    const [left, up] = [x + view.x, Math.max(y, y0) + view.y];
    const [right, down] = [x0 + view.x, Math.min(y, y0) + view.y];
    return left < -width || right > 2 * width || up < -height || down > 2 * height;
  }

  function states(node, then, look, radius) {
    const onPath = look.best.has(node.id);
    const failed = ["cancelled", "failed"].includes(then.finish);
    const names = { node: 1, tiny: radius < 3, dim: then.dim && !onPath, open: then.open, failed,
      onPath, best: then === me.now.best, chosen: node.id === me.chosen,
      pinned: node.id === me.pinned, found: look.found.has(node.id),
      lit: look.lit?.has(node.id), unlit: look.lit && !look.lit.has(node.id) };
    return Object.keys(names).filter((key) => names[key]).join(" ");
  }

  function show({ dot, edge }, display) {
    put(dot, "display", display ?? "none");
    if (edge) put(edge, "display", display ?? "none");
  }

  function resize(shape, radius) {
    if (shape.tagName === "circle") return put(shape, "r", radius.toFixed(1));
    const side = (radius * 1.7).toFixed(1);
    for (const name of ["width", "height"]) put(shape, name, side);
    for (const name of ["x", "y"]) put(shape, name, -side / 2);
  }

  /** Edges run level below the words of their parent, and bend at the end. */
  function paintEdge(edge, node, name, share, room) {
    if (!edge) return;
    const [[x, y], [x0, y0]] = [spot(node), spot(node.above)];
    const bend = x - Math.min(view.dx, 46);
    const middle = (x + bend) / 2;
    const [a, b, c, d, e, f] = [x0, y0, bend, middle, y, x].map((n) => n.toFixed(1));
    const thin = Math.min(Math.max(room / 14, 0.35), 1);
    const onPath = name.includes("onPath");
    const lit = / lit/.test(name);
    const thick = Math.max((1.2 + 5 * share) * thin, onPath || lit ? 2.5 : 0);
    put(edge, "class", name.replace("node", "edge"));
    put(edge, "d", `M${a} ${b}H${c}C${d} ${b} ${d} ${e} ${f} ${e}`);
    put(edge, "stroke-width", thick.toFixed(1));
    put(edge, "style", lit ? `stroke: ${me.hue(me.lit)}` : null);
    const layer = layers[onPath || lit ? 2 : name.includes("dim") ? 0 : 1];
    if (edge.parentNode !== layer) layer.append(edge);
  }

  /** The colour of a chain's answer, beside a dot that is coloured by something else. */
  function paintFlag(part, hue, radius, room, leaf) {
    if (hue === null && !part.flag) return;
    part.flag ??= part.dot.insertBefore(make("rect", { class: "flag", rx: 1.5 }), part.text);
    put(part.flag, "display", hue === null ? "none" : "inline");
    if (hue === null) return;
    const tall = Math.max(Math.min(leaf ? 13 : 8, room * 0.8), 1);
    const low = leaf ? -tall / 2 : 2.5; // below the words of those that have some above
    put(part.flag, "fill", hue);
    put(part.flag, "x", (radius + 3).toFixed(1));
    put(part.flag, "y", low.toFixed(1));
    put(part.flag, "width", 6);
    put(part.flag, "height", tall.toFixed(1));
  }

  function caption(text, node, then, right, radius, room, fits) {
    const hidden = node.kids.length ? 0 : size(node) - 1;
    const leaf = node.leaf && view.dy > 13;
    const most = leaf ? Math.min(80, fits) : Math.floor((view.dx - radius - 26) / 5.8);
    const best = then === me.answering() && then.answer !== undefined;
    const crowded = view.dx < 90 && node.above?.id === me.answering()?.id; // by the star's words
    const clear = node.leaf || (!crowded && node.over * view.dy > 24); // of the words of the node above it
    let said = room > 13 && clear && most > 1 ? cut(captionOf(then, most, leaf), most) : "";
    if (best) said = `★ ${cut(captionOf(then, Math.max(most, 12) - 2, leaf), Math.max(most - 4, 10))}`;
    if (hidden) said = `+${hidden}  ${said}`;
    write(text, said);
    put(text, "x", (node.leaf ? right : radius + 4).toFixed(1));
    put(text, "y", node.leaf ? "3.5" : (-radius / 2 - 5).toFixed(1));
  }

  /** What a node is, and its answer, or else what tells it from its siblings. */
  function captionOf(then, most, leaf) {
    const answered = me.reads(then);
    const none = then.finish === "end" && !aside(then) && me.scaled.answer ? "no answer" : undefined;
    const lost = then.finish === "failed" ? "could not be drawn" : undefined;
    const said = answered === undefined ? none ?? lost ?? label(then) : me.named(answered, then.answer);
    const more = leaf && answered !== undefined && !then.answer?.includes("\n") && most > 36;
    const all = [kind(then, Boolean(then.version)), me.tests(then), said].filter(Boolean);
    const few = [kind(then, true), me.tests(then, true), said].filter(Boolean);
    if (more) return [...all, ending(then.text, then.answer)].join(" · ");
    const forms = [all, few, few.slice(0, 2), few.slice(0, 1)].map((parts) => parts.join(" · "));
    return forms.find((form) => form.length <= most) ?? (few.length > 1 ? forms[3] : said);
  }

  function build(node) {
    const shape = make(node.drawn ? "circle" : "rect");
    const text = make("text");
    const dot = make("g", { "data-node": node.id, id: `${me.name}-${node.id}`, role: "treeitem",
      "aria-level": line(node).length }, shape, text);
    const edge = node.above && make("path");
    dot.addEventListener("pointerenter", () => { // a tip is made when someone asks for it
      shape.replaceChildren(make("title", {}, cut(words(me.now.nodes.get(node.id).text), 200)));
    });
    dots.append(dot);
    parts.set(node.id, { dot, edge, shape, text });
    return parts.get(node.id);
  }

  function reset() {
    parts.clear();
    for (const layer of [...layers, dots]) layer.replaceChildren();
  }

  /** Say a node to those who do not see it. */
  function name(node, text) {
    const { dot } = parts.get(node.id) ?? build(node);
    put(dot, "aria-label", text);
    put(dot, "aria-selected", "true");
    put(dot, "aria-expanded", node.below.length ? String(!me.folded.has(node.id)) : null);
  }

  const place = () => ({ ...view });
  return { element, draw, reset, zoom, reveal, nearest, here, pan, place, name };
}
