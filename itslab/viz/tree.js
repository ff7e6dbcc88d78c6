// The tree of a run: drawn the same in a notebook, where a kernel sends it, and in a saved page.
//
// What happened arrives as rows [time, kind, node, data]. A Fold is what they add up to, so that any
// moment can be shown again. Nodes have places (depth, slot), and the view a scale for each axis:
// zooming spreads the places and leaves dots and texts as large as they are.

const SHADES = [[226, 238, 248], [171, 207, 233], [104, 171, 216], [38, 122, 184], [6, 64, 116]];
const ODD = { nan: NaN, inf: Infinity, "-inf": -Infinity };
const ICONS = {
  run: "M3 1l9 6-9 6z",
  resume: "M3 1l9 6-9 6z",
  stop: "M2 2h10v10H2z",
  pause: "M2 1h4v12H2zM8 1h4v12H8z",
  step: "M1 1l7 6-7 6zM9 1h3v12H9z",
  fork: "M3 1h2v4l4 2.500V13H7V8.700L3 6.300z M9 1h2v4.500L9.500 6.500z",
};

// -- what happened, up to some time -----------------------------------------------------------------

class Fold {
  constructor() {
    this.nodes = new Map();
    this.cost = [0, 0, 0, 0, 0, 0];
    this.rows = this.rounds = this.time = 0;
    this.best = this.ballot = null;
  }

  take([time, kind, id, data = {}]) {
    const node = this.nodes.get(id);
    this.rows += 1;
    this.time = time;
    if (kind === "node") this.add(id, data);
    else if (kind === "done") Object.assign(node, data, { open: false });
    else if (kind === "verdict") Object.assign(node, { score: number(data.score), note: data.note });
    else if (kind === "value") Object.assign(node.terms, data);
    else if (kind === "pruned") node.pruned = true;
    else if (kind === "best") this.best = Object.assign(node, data);
    else if (kind === "iteration") this.rounds += 1;
    else if (kind === "stage") node.stage = data;
    else if (kind === "vote") this.ballot = data.votes.filter((key) => key !== null);
    if (data.cost) data.cost.forEach((paid, i) => (this.cost[i] += paid));
  }

  add(id, { parent = null, role = "assistant", text }) {
    const drawn = text === undefined;
    const above = this.nodes.get(parent);
    const node = { id, role, text: text ?? "", drawn, open: drawn, above, below: [], terms: {} };
    this.nodes.set(id, node);
    if (above) above.below.push(node);
  }
}

const number = (value) => ODD[value] ?? value;
const merit = (node) => {
  const value = number(node.terms.value);
  return Number.isFinite(value) ? value : node.score;
};
const line = (node) => (node ? [...line(node.above), node] : []);

function turn(node) {
  const path = line(node);
  return path.slice(path.findLastIndex((step) => step.role !== node.role) + 1);
}

/**
 * Finished chains that gave the same answer, the most frequent answer first; where the run itself
 * told how its last vote went, as with programs whose output is the answer, that.
 */
function votes(fold) {
  const bars = new Map();
  const count = (key, answer) => {
    const bar = bars.get(key) ?? { key, answer, count: 0 };
    bar.count += 1;
    bars.set(key, bar);
  };
  if (fold.ballot) fold.ballot.forEach((key) => count(key, key));
  else for (const node of fold.nodes.values()) {
    if (node.finish === "end") count(node.key ?? node.answer, node.answer); // no step, nor cut short
  }
  return [...bars.values()].sort((a, b) => b.count - a.count);
}

// -- places -----------------------------------------------------------------------------------------

/**
 * Give leaves consecutive slots and parents the middle of their children. The room of a node is how
 * many slots away the next one of its depth is.
 */
function place(fold, folded) {
  let slots = 0;
  const order = [];
  const lowest = []; // of each depth
  const visit = (node, level) => {
    order.push(node);
    const below = folded.has(node.id) ? [] : node.below;
    below.forEach((child) => visit(child, level + 1));
    const ends = [below[0], below.at(-1)];
    node.leaf = !below.length;
    const slot = node.leaf ? slots++ : (ends[0].place[1] + ends[1].place[1]) / 2;
    const over = lowest[level];
    node.place = [level, slot];
    node.room = over ? slot - over.place[1] : Infinity;
    if (over) over.room = Math.min(over.room, node.room);
    lowest[level] = node;
  };
  for (const node of fold.nodes.values()) node.place = null;
  for (const node of fold.nodes.values()) if (!node.above) visit(node, 0);
  return { order, slots, depth: lowest.length - 1 };
}

const size = (node) => node.below.reduce((sum, child) => sum + size(child), 1);

// -- words and colours ------------------------------------------------------------------------------

function shade(share) {
  const at = Math.min(Math.max(share, 0), 1) * (SHADES.length - 1);
  const [low, high] = [SHADES[Math.floor(at)], SHADES[Math.ceil(at)]];
  return `rgb(${low.map((c, i) => Math.round(c + (high[i] - c) * (at % 1)))})`;
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);
const words = (text) => text.slice(0, 200).replace(/\s+/g, " ").trim();
/** The line that tells one program from another; of a text of one line, that. */
const headline = (text) => text.split("\n").find((l) => /^\s*(async def|def|class) /.test(l)) ?? text;
const count = (n, unit) => `${n.toLocaleString("en")} ${unit}${n === 1 ? "" : "s"}`;

function say(value) {
  value = number(value);
  if (typeof value !== "number" || Number.isInteger(value)) return value?.toLocaleString("en");
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "none" : value > 0 ? "∞" : "−∞";
  return Number(value.toPrecision(3)).toString().replace("-", "−");
}

// -- elements ---------------------------------------------------------------------------------------

/** Make an element; of its properties, functions listen and all others are attributes. */
function make(tag, properties = {}, ...children) {
  const drawn = ["svg", "g", "path", "circle", "rect", "text", "title"].includes(tag);
  const space = `http://www.w3.org/${drawn ? "2000/svg" : "1999/xhtml"}`;
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Set an attribute only if it changes: a browser does not compare, and 2,000 nodes are many. */
function put(element, name, value) {
  element.known ??= {};
  if (element.known[name] === value) return;
  element.known[name] = value;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** Replace what is in an element only if it changes, so that one can select text in it. */
function refill(element, known, children) {
  const text = JSON.stringify(known);
  if (element.shown !== text) element.replaceChildren(...children());
  element.shown = text;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function table(pairs) {
  const cells = ([name, value]) => [make("span", {}, name), make("b", {}, say(value) ?? "")];
  return make("div", { class: "table" }, ...pairs.flatMap(cells));
}

// -- the view ---------------------------------------------------------------------------------------

/**
 * Draw into an element.
 * @param send tells the kernel what to do; null in a page.
 * @returns take: hands over a message; lost: says that the kernel is gone.
 */
export function treeView(root, send) {
  let run = null;
  let rows = [];
  let all = new Fold(); // everything that is known, drawn or not
  let now = all; // what is shown: all of it, or the past
  let about = { state: "done", error: "", can: [], gold: null };
  let gone = false;
  let stale = true; // places are not those of the nodes
  let own = false; // the user moved the view
  let due = 0;
  let playing = 0;
  let chosen = null;
  let plan = { order: [], slots: 0, depth: 0 };
  let view = { x: 0, y: 0, dx: 100, dy: 20 };
  const folded = new Set();
  const parts = new Map(); // node -> its elements

  // - parts of the page

  const tell = (verb, more) => send?.({ do: verb, ...more });
  const press = (verb, title) => {
    const icon = make("svg", { viewBox: "0 0 14 14" }, make("path", { d: ICONS[verb] }));
    const label = verb === "resume" ? "Continue" : verb[0].toUpperCase() + verb.slice(1);
    return make("button", { title, type: "button", click: () => tell(verb) }, icon, label);
  };
  const buttons = {
    run: press("run", "Begin a run with these settings"),
    stop: press("stop", "End the run; the best answer so far is its answer"),
    pause: press("pause", "Finish the iteration under way, and wait"),
    resume: press("resume", "Let the run go on"),
    step: press("step", "Let one iteration happen"),
    fork: press("fork", ""),
  };
  buttons.fork.lastChild.data = "Fork from here";
  const state = make("span", { class: "state", role: "status" });
  const small = (text, title, click) => make("button", { title, type: "button", click }, text);
  const zoomer = (text, title, by) => small(text, title, () => zoom(by));
  const tools = make("div", { class: "tools" }, ...Object.values(buttons), state,
    zoomer("−", "Zoom out", 1 / 1.5), zoomer("+", "Zoom in", 1.5),
    small("Fit", "Show the whole tree", () => { own = false; soon(); }));

  const layers = ["dim", "plain", "onPath"].map(() => make("g")); // of edges, the last above all
  const dots = make("g");
  const world = make("g", {}, ...layers, dots);
  const label = "The tree. Arrow keys go from node to node, Enter folds what is below one.";
  const picture = make("svg", { class: "picture", tabindex: 0, role: "application",
    "aria-label": label }, world);
  const legend = make("div", { class: "legend" });
  const side = make("div", { class: "side" });
  const cards = Object.fromEntries(["best", "votes", "cost"].map((name) => {
    const title = { best: "Best answer so far", votes: "Votes", cost: "Cost so far" }[name];
    const body = make("div", { class: name });
    side.append(make("h4", {}, title), body);
    return [name, body];
  }));

  const play = small("▶", "Replay", () => (playing ? pausePlay() : startPlay()));
  const slider = make("input", { type: "range", min: 0, step: "any", title: "Time",
    "aria-label": "Time", input: () => { pausePlay(); goTo(Number(slider.value)); } });
  const clock = make("span", { class: "clock" });
  const reader = make("div", { class: "reader" });
  root.replaceChildren(tools,
    make("div", { class: "middle" }, make("div", { class: "canvas" }, picture, legend), side),
    make("div", { class: "time" }, play, slider, clock), reader);
  root.classList.add("its-tree", "mathjax_ignore");

  // - messages

  function take(message) {
    if (message.rows === undefined) return;
    gone = false;
    if (message.run !== run) reset(message.run);
    if (message.first > rows.length) return tell("ask", { first: rows.length });
    for (const row of message.rows.slice(rows.length - message.first)) {
      rows.push(row);
      all.take(row);
      stale ||= row[1] === "node";
    }
    for (const [id, [start, text]] of Object.entries(message.growth)) {
      const node = all.nodes.get(Number(id));
      if (node?.open && start <= node.text.length) node.text = node.text.slice(0, start) + text;
    }
    about = message;
    soon();
  }

  function reset(number) {
    run = number;
    rows = [];
    now = all = new Fold();
    chosen = null;
    own = false;
    folded.clear();
    parts.clear();
    for (const layer of [...layers, dots]) layer.replaceChildren();
    pausePlay();
  }

  function lost() {
    gone = true;
    soon();
  }

  // - time

  function goTo(time) {
    if (time >= all.time) now = all;
    else {
      if (now === all || time < now.time) now = new Fold();
      while (rows[now.rows][0] <= time) now.take(rows[now.rows]);
    }
    slider.value = time;
    soon();
  }

  function startPlay() {
    const speed = Math.max(all.time / 12, Math.min(all.time / 4, 1)); // for 4 to 12 seconds
    let time = now === all ? 0 : Number(slider.value);
    let before = performance.now();
    const tick = (at) => {
      time += ((at - before) / 1000) * speed;
      before = at;
      goTo(time);
      if (now === all) pausePlay();
      else playing = requestAnimationFrame(tick);
    };
    playing = requestAnimationFrame(tick);
  }

  function pausePlay() {
    cancelAnimationFrame(playing);
    playing = 0;
    soon();
  }

  slider.addEventListener("keydown", (event) => { // an arrow key goes to the next event
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    pausePlay();
    const shown = now === all ? Infinity : Number(slider.value);
    const later = (row) => row[0] > shown;
    const earlier = (row) => row[0] < Math.min(shown, all.time);
    const row = step > 0 ? rows.find(later) : rows.findLast(earlier);
    if (row) goTo(row[0]);
  });

  // - scale

  function fit() {
    const { clientWidth: width, clientHeight: height } = picture;
    const roomy = plan.slots * 15 < height;
    const [right, high] = [roomy ? 210 : 60, height - 44];
    const dx = Math.min(Math.max((width - 30 - right) / Math.max(plan.depth, 1), 4), 190);
    const dy = Math.min(high / Math.max(plan.slots - 1, 1), 46);
    view = { dx, dy, x: 24, y: (height - dy * (plan.slots - 1)) / 2 + 4 };
  }

  function zoom(by, x = picture.clientWidth / 2, y = picture.clientHeight / 2) {
    own = true;
    const dx = Math.min(Math.max(view.dx * by, 4), Math.max(view.dx, 230));
    const dy = Math.min(Math.max(view.dy * by, 0.1), 60);
    view = { dx, dy, x: x - (x - view.x) * dx / view.dx, y: y - (y - view.y) * dy / view.dy };
    soon();
  }

  const spot = (node) => [node.place[0] * view.dx, node.place[1] * view.dy];
  const here = (event) => {
    const box = picture.getBoundingClientRect();
    return [event.clientX - box.x, event.clientY - box.y];
  };

  function nearest(event) {
    const name = event.target.closest("[data-node]");
    if (name) return all.nodes.get(Number(name.dataset.node));
    const [x, y] = here(event);
    const far = (node) => Math.hypot(...spot(node).map((c, i) => c + [view.x, view.y][i] - [x, y][i]));
    let best = null;
    for (const node of plan.order) {
      const distance = now.nodes.has(node.id) ? far(node) : Infinity;
      if (distance < (best?.distance ?? 10)) best = { node, distance };
    }
    return best?.node;
  }

  let drag = null;
  picture.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag = { at: here(event), x: view.x, y: view.y, moved: false };
  });
  picture.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = here(event).map((c, i) => c - drag.at[i]);
    if (!drag.moved && Math.hypot(x, y) < 4) return; // a click may tremble
    if (!drag.moved) picture.setPointerCapture(event.pointerId);
    drag.moved = own = true;
    Object.assign(view, { x: drag.x + x, y: drag.y + y });
    put(world, "transform", `translate(${view.x} ${view.y})`);
  });
  picture.addEventListener("pointerup", (event) => {
    const node = drag && !drag.moved && nearest(event);
    drag = null;
    if (node) choose(node);
  });
  picture.addEventListener("pointercancel", () => (drag = null));
  picture.addEventListener("dblclick", (event) => {
    const node = nearest(event);
    if (node) toggle(node);
  });
  picture.addEventListener("wheel", (event) => { // else one could not scroll past the tree
    if (!event.ctrlKey && document.activeElement !== picture) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...here(event));
  }, { passive: false });
  picture.addEventListener("keydown", (event) => {
    const node = all.nodes.get(chosen) ?? plan.order[0];
    const rows = node?.above?.below ?? [node];
    const beside = (by) => rows[rows.indexOf(node) + by];
    const moves = { ArrowLeft: () => node.above, ArrowRight: () => node.below[0],
      ArrowUp: () => beside(-1), ArrowDown: () => beside(1) };
    if (!node || !(event.key in moves || event.key === "Enter")) return;
    event.preventDefault();
    if (event.key === "Enter") return toggle(node);
    const to = moves[event.key]();
    if (to?.place && now.nodes.has(to.id)) choose(to);
  });

  function choose(node) {
    chosen = node.id;
    tell("select", { node: node.id });
    soon();
  }

  function toggle(node) {
    if (!folded.delete(node.id) && node.below.length) folded.add(node.id);
    stale = true;
    soon();
  }

  // - drawing

  function soon() {
    due ||= requestAnimationFrame(draw);
  }

  function draw() {
    due = 0;
    if (stale) plan = place(all, folded);
    stale = false;
    if (!own) fit();
    const look = looks();
    put(world, "transform", `translate(${view.x} ${view.y})`);
    // A model that draws beside the browser needs the cores that gliding nodes would take.
    const calm = plan.order.length < 300 && !own && !look.live;
    put(picture, "class", `picture ${calm ? "calm" : ""}`);
    for (const node of all.nodes.values()) paint(node, look);
    const last = parts.get(now.best?.id);
    if (last && last.dot !== dots.lastChild) dots.append(last.dot); // above the others
    showTools();
    showTime();
    showCards();
    showLegend(look);
    showReader();
  }

  /** What the look of each node depends on besides itself. */
  function looks() {
    const values = [];
    let [visits, valued, scored] = [1, false, false];
    for (const node of all.nodes.values()) {
      const value = merit(node);
      if (Number.isFinite(value)) {
        values.push(value);
        if (Number.isFinite(number(node.terms.value))) valued = true;
        else scored = true;
      }
      visits = Math.max(visits, node.terms.visits ?? 0);
    }
    const low = values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const best = new Set(line(now.best).map((node) => node.id));
    const name = valued ? (scored ? "value, or else score" : "value") : "score";
    const live = ["drawing", "pausing"].includes(about.state) && now === all;
    const edge = own ? Infinity : picture.clientWidth - view.x; // where words would be cut off
    return { low, high, visits, best, name, live, edge };
  }

  function paint(node, look) {
    const then = node.place && now.nodes.get(node.id);
    const part = parts.get(node.id);
    if (!then) return part && show(part, null);
    const { dot, edge, shape, text } = part ?? build(node);
    show({ dot, edge }, "inline");
    then.dim = then.pruned || then.above?.dim || false;
    const [x, y] = spot(node);
    const share = Math.sqrt((then.terms.visits ?? 0) / look.visits);
    const room = node.room * view.dy; // pixels
    const least = node.id === chosen ? 4 : 1.5;
    const radius = Math.max(Math.min(4.5 + 5 * share, room * 0.42), least);
    const onPath = look.best.has(node.id);
    const failed = ["cancelled", "failed"].includes(then.finish);
    const names = { node: 1, tiny: radius < 3, dim: then.dim && !onPath, open: then.open, failed,
      onPath, best: then === now.best, chosen: node.id === chosen };
    const name = Object.keys(names).filter((key) => names[key]).join(" ");
    put(dot, "class", name);
    put(dot, "style", `transform: translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`);
    const value = merit(then);
    const fill = Number.isFinite(value)
      ? shade(look.high > look.low ? (value - look.low) / (look.high - look.low) : 0.5) : null;
    put(shape, "fill", fill ?? (then.drawn ? "white" : "#6b6b6b"));
    resize(shape, radius);
    paintEdge(edge, node, name, share, onPath, room);
    caption(text, node, then, radius, room, Math.floor((look.edge - x - radius - 8) / 5.8));
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
  function paintEdge(edge, node, name, share, onPath, room) {
    if (!edge) return;
    const [[x, y], [x0, y0]] = [spot(node), spot(node.above)];
    const bend = x - Math.min(view.dx, 46);
    const middle = (x + bend) / 2;
    const [a, b, c, d, e, f] = [x0, y0, bend, middle, y, x].map((n) => n.toFixed(1));
    const thin = Math.min(Math.max(room / 14, 0.35), 1);
    const width = Math.max((1.2 + 5 * share) * thin, onPath ? 2.5 : 0);
    put(edge, "class", name.replace("node", "edge"));
    put(edge, "d", `M${a} ${b}H${c}C${d} ${b} ${d} ${e} ${f} ${e}`);
    put(edge, "stroke-width", width.toFixed(1));
    const layer = layers[onPath ? 2 : name.includes("dim") ? 0 : 1];
    if (edge.parentNode !== layer) layer.append(edge);
  }

  function caption(text, node, then, radius, room, fits) {
    const best = then === now.best;
    const hidden = folded.has(node.id) ? size(node) - 1 : 0;
    const leaf = node.leaf && view.dy > 13;
    const most = leaf ? Math.min(34, fits) : Math.floor((view.dx - radius - 30) / 5.8);
    let said = room > 13 && most > 6 ? cut(words(then.text), most) : "";
    if (best && then.answer !== undefined) said = `★ ${cut(words(then.answer), Math.max(most, 16))}`;
    if (hidden) said = `+${hidden}  ${said}`;
    write(text, said);
    put(text, "x", (radius + 4).toFixed(1));
    put(text, "y", node.leaf ? "3.5" : (-radius / 2 - 3).toFixed(1));
  }

  function build(node) {
    const shape = make(node.drawn ? "circle" : "rect");
    const text = make("text");
    const dot = make("g", { "data-node": node.id }, shape, text);
    const edge = node.above && make("path");
    dot.addEventListener("pointerenter", () => { // a tip is made when someone asks for it
      shape.replaceChildren(make("title", {}, cut(words(now.nodes.get(node.id).text), 200)));
    });
    dots.append(dot);
    parts.set(node.id, { dot, edge, shape, text });
    return parts.get(node.id);
  }

  // - around the tree

  function showTools() {
    const live = ["drawing", "pausing", "paused"].includes(about.state);
    const can = (what) => send && about.can.includes(what);
    const set = (name, there, ready) => {
      buttons[name].hidden = !there;
      buttons[name].disabled = gone || !ready;
    };
    const held = about.state === "paused" || about.state === "pausing";
    set("run", can("run"), !live);
    set("stop", can("steer"), live);
    set("pause", can("steer") && !held, live);
    set("resume", can("steer") && held, live);
    set("step", can("steer"), about.state === "paused");
    const free = !live || about.state === "paused";
    set("fork", can("fork"), chosen !== null && free && !about.unforkable);
    const aim = chosen === null ? "Click a node first" : "Go on from it with these settings";
    put(buttons.fork, "title", about.unforkable || `${aim}; a paused run ends`);
    const parts = [about.state, count(now.nodes.size, "node")];
    if (now.rounds) parts.push(count(now.rounds, "iteration"));
    if (about.unfinished && now === all) parts.push("answer read from a chain that was cut short");
    const trouble = gone ? "The kernel is gone: this is what it drew." : about.error;
    state.classList.toggle("trouble", Boolean(trouble));
    write(state, trouble || parts.join(" · "));
  }

  function showTime() {
    slider.max = all.time;
    if (now === all) slider.value = all.time;
    const end = `${all.time.toFixed(1)} s`;
    write(clock, now === all ? end : `${Number(slider.value).toFixed(1)} of ${end}`);
    write(play, playing ? "❚❚" : "▶");
  }

  function showCards() {
    const best = now.best;
    const right = (key) => about.gold !== null && key === about.gold;
    const answer = best?.answer;
    const mark = about.gold === null ? "" : right(best?.key ?? answer) ? " ✓" : " ✗";
    const kind = answer === undefined ? "none" : mark === " ✗" ? "wrong" : "";
    const text = answer?.includes("\n") ? "text" : ""; // a program, say
    write(cards.best, answer === undefined ? "none yet" : cut(answer.trim(), 2000) + mark);
    put(cards.best, "class", `best ${kind} ${text}`);
    const names = ["samples", "tokens decoded", "tokens prefilled", "tokens reused", "seconds"];
    const paid = [3, 2, 0, 1, 4].map((i, row) => [names[row], now.cost[i]]);
    const models = now === all ? Object.entries(about.costs ?? {}) : [];
    const priced = ([model, cost]) => [make("h4", {}, `This run: ${model}`),
      table([["tokens decoded", cost[2]], ["seconds", cost[4]]])];
    refill(cards.cost, [paid, models], () => (
      [table(paid), ...(models.length > 1 ? models.flatMap(priced) : [])]));
    showVotes(votes(now), right);
  }

  function showVotes(bars, right) {
    const row = ({ key, answer, count }) => {
      const name = answer === undefined ? "no answer" : (right(key) ? "✓ " : "") + words(headline(answer));
      const bar = make("i", { style: `width: ${(100 * count) / bars[0].count}%` });
      const kind = answer === undefined ? "none" : right(key) ? "right" : "";
      return make("div", { class: `bar ${kind}`, title: answer ?? name },
        make("span", {}, name), make("b", {}, bar), make("span", {}, String(count)));
    };
    const others = bars.length > 6 ? [`and ${count(bars.length - 6, "other answer")}`] : [];
    put(cards.votes, "class", bars.length ? "votes" : "votes none");
    refill(cards.votes, [run, bars], () => (
      bars.length ? [...bars.slice(0, 6).map(row), ...others] : ["no finished chain yet"]));
  }

  function showLegend({ low, high, name }) {
    const text = (value) => make("span", {}, value);
    const key = (kind, words) => [make("i", { class: kind }), text(words)];
    const colours = SHADES.map((_, i) => shade(i / (SHADES.length - 1)));
    const ramp = make("i", { class: "ramp", style: `background: linear-gradient(90deg, ${colours})` });
    const scale = low > high ? [] : [text(name), text(say(low)), ramp, text(say(high))];
    refill(legend, [low, high, name], () => [...scale, ...key("empty", `no ${name.slice(0, 5)}`),
      ...key("drawing", "being drawn"), ...key("gone", "pruned"), ...key("way", "way to the best")]);
  }

  function showReader() {
    const node = now.nodes.get(chosen);
    put(reader, "class", node ? "reader" : "reader none");
    const hint = "Click a node to read it, double-click it to fold what is below; drag to pan, and "
      + "zoom with the wheel after a click.";
    if (!node) return refill(reader, hint, () => [hint]);
    const before = turn(node).slice(0, -1).map((step) => step.text).join("");
    const facts = factsOf(node);
    const here = all.nodes.get(chosen);
    const verb = !here.below.length ? "" : folded.has(chosen) ? "Unfold" : "Fold";
    const title = `${verb} ${count(size(here) - 1, "node")} below`;
    refill(reader, [run, node.id, before, node.text, facts, title], () => [
      make("pre", {}, before, make("mark", {}, node.text || " ")),
      make("div", { class: "facts" }, make("h4", {}, `Node ${node.id}`), table(facts),
        ...(verb ? [small(title, title, () => toggle(here))] : []))]);
  }

  /** What a stage of a cascade came to here. */
  function stageOf({ stage }) {
    if (!stage) return [];
    const verdict = `${stage.accepted ? "accepted" : "not accepted"}: ${stage.why}`;
    return [["stage", `${stage.stage + 1}, ${stage.model}`], ["its answer", verdict]];
  }

  function factsOf(node) {
    const [prefilled, reused, decoded, , seconds] = node.cost ?? [];
    const made = node.open ? "being drawn" : node.finish ?? (node.role === "assistant"
      ? "inserted" : `said by the ${node.role}`);
    const ends = { end: "the model ended its turn", stop: "a step", length: "cut at its length",
      cut: "given up: not confident", failed: "could not be drawn",
      cancelled: node.refused ? `ended by the server: ${node.refused}` : "broken off" };
    return [
      ["status", [ends[made] ?? made, node.dim ? "pruned" : ""].filter(Boolean).join(", ")],
      ["answer", node.answer], ["score", node.score], ["note", node.note || undefined],
      ...stageOf(node),
      ...Object.entries(node.terms), ["tokens decoded", decoded],
      ["tokens prefilled", prefilled], ["tokens reused", reused], ["seconds", seconds],
    ].filter(([, value]) => value !== undefined);
  }


  const watcher = new ResizeObserver(soon);
  watcher.observe(picture);
  return { take, lost, close: () => watcher.disconnect() };
}

/** Fill the elements of a page that are named so, from the data beside them. */
export function embed(name) {
  const message = JSON.parse(document.getElementById(name).textContent);
  for (const root of document.querySelectorAll(`[data-tree="${name}"]:not(.its-tree)`)) {
    treeView(root, null).take(message);
  }
}

export default {
  render({ model, el }) {
    const root = el.appendChild(document.createElement("div"));
    const view = treeView(root, (message) => model.send(message));
    model.on("msg:custom", view.take);
    model.on("comm_live_update", view.lost);
    model.send({ do: "ask", first: 0 });
    return view.close;
  },
};
