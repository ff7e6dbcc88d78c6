// The view: what a kernel or a page says becomes a picture with cards, a clock and a reader.

const ICONS = {
  run: "M3 1l9 6-9 6z",
  resume: "M3 1l9 6-9 6z",
  stop: "M2 2h10v10H2z",
  pause: "M2 1h4v12H2zM8 1h4v12H8z",
  step: "M1 1l7 6-7 6zM9 1h3v12H9z",
  whole: "M1 1h5v2H3v3H1zM8 1h5v5h-2V3H8zM1 8h2v3h3v2H1zM11 8h2v5H8v-2h3z",
  fork: "M3 1h2v4l4 2.500V13H7V8.700L3 6.300z M9 1h2v4.500L9.500 6.500z",
};
const KEYS = [
  ["Tab", "to the next button, bar or field"],
  ["← → ↑ ↓", "in the tree: to the parent, the first child, the siblings"],
  ["Home", "in the tree: to its root"],
  ["Enter", "in the tree: fold or unfold; in the search: the next one (Shift: the one before)"],
  ["P", "in the tree: pin the node, to compare it with another"],
  ["+ − 0", "in the tree: zoom in, zoom out, show all"],
  ["Enter, Space", "on a bar of the votes: light the paths to that answer"],
  ["← →", "on the time: to the event before, to the next one"],
  ["Esc", "close this, empty the search, put out the light"],
];
let views = 0; // on this page

/**
 * Draw into an element.
 * @param send tells the kernel what to do; null in a page.
 * @param typeset typesets the mathematics in an element; null where nothing can.
 * @returns take: hands over a message; lost: says that the kernel is gone.
 */
function treeView(root, send, typeset = null) {
  let due = 0;
  const me = stateOf(root, send, typeset, () => (due ||= requestAnimationFrame(draw)));
  const picture = pictureOf(me);
  const legend = make("div", { class: "legend" });
  const status = make("p", { class: "spoken", "aria-live": "polite" });
  const [tools, options, cards, time, reader] = [toolsOf(me, picture), optionsOf(me, picture),
    cardsOf(me), clockOf(me), readerOf(me)];
  const canvas = make("div", { class: "canvas" }, picture.element, legend);
  root.replaceChildren(make("style", {}, STYLE), tools.element, options.element,
    make("div", { class: "middle" }, canvas, cards.element), time.element, reader.element, status);
  me.side = cards.element;
  root.classList.add("its-tree", "mathjax_ignore");
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab has its own uses for keys
  steer(me, picture);
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.fullscreenElement) return;
    me.lit = null;
    options.clear();
    me.soon();
  });

  function draw() {
    due = 0;
    if (me.stale) me.plan = place(me.all, drawnBelow(me));
    if (me.counted !== me.all.rows) {
      me.scaled = measured(me.all);
      assignHues(me.hues, me.all, me.about.gold);
      me.counted = me.all.rows;
    }
    me.stale = false;
    picture.draw();
    for (const part of [tools, options, time, cards, reader]) part.draw();
    drawLegend(legend, me);
    announce();
  }

  function announce() {
    const node = me.now.nodes.get(me.chosen);
    if (node?.place === null || !me.all.nodes.get(me.chosen)?.place) return write(status, summary(me));
    const text = spoken(me, node);
    picture.name(me.all.nodes.get(me.chosen), text);
    write(status, text);
  }

  function take(message) {
    if (message.tokens) for (const [id, bits] of Object.entries(message.tokens)) me.tokens.set(Number(id), bits);
    me.leftOut ||= Boolean(message.leftOut);
    if (message.rows === undefined) return me.soon();
    me.gone = false;
    if (message.run !== me.run) reset(message.run);
    if (message.first > me.rows.length) return me.tell("ask", { first: me.rows.length });
    me.take(message);
    me.about = message;
    me.soon();
  }

  function reset(number) {
    const tokens = me.run === null ? me.tokens : new Map();
    Object.assign(me, fresh(), { run: number, tokens });
    time.pause();
    picture.reset();
  }

  function lost() {
    me.gone = true;
    me.soon();
  }

  const watcher = new ResizeObserver(me.soon);
  watcher.observe(picture.element);
  document.addEventListener("fullscreenchange", me.soon);
  const close = () => {
    watcher.disconnect();
    document.removeEventListener("fullscreenchange", me.soon);
  };
  return { take, lost, close };
}

// -- what is shown ----------------------------------------------------------------------------------

/** What a view knows of one run. */
function fresh() {
  const all = new Fold(); // everything that is known, drawn or not
  return { run: null, rows: [], all, now: all, // what is shown: all of it, or the past
    chosen: null, pinned: null, lit: null, found: [], own: false, stale: true, counted: -1,
    folded: new Set(), hues: new Map(), tokens: new Map(), leftOut: false, scaled: {},
    everyVote: false, plan: { order: [], slots: 0, depth: 0 } };
}

/** The state that all parts of a view share, and what they do to it. */
function stateOf(root, send, typeset, soon) {
  const me = { ...fresh(), root, typeset, soon, name: `its-node-${(views += 1)}`, gone: false,
    about: { state: "done", error: "", can: [], gold: null }, // what the last message said
    by: null, onlyWay: false, hidePruned: false, bits: true, query: "" };
  me.steered = Boolean(send);
  me.tell = (verb, more) => send?.({ do: verb, ...more });

  me.take = ({ first, rows, growth }) => {
    for (const row of rows.slice(me.rows.length - first)) {
      me.rows.push(row);
      me.all.take(row);
      me.stale ||= row[1] === "node" || (me.hidePruned && row[1] === "pruned") || (me.onlyWay && row[1] === "best");
    }
    for (const [id, [start, text]] of Object.entries(growth)) {
      const node = me.all.nodes.get(Number(id));
      if (node?.open && start <= node.text.length) node.text = node.text.slice(0, start) + text;
    }
  };
  me.choose = (node) => {
    me.chosen = node.id;
    me.tell("select", { node: node.id });
    if (node.logprob !== undefined && !me.tokens.has(node.id)) me.tell("tokens", { node: node.id });
    soon();
  };
  me.toggle = (node) => {
    if (!me.folded.delete(node.id) && node.below.length) me.folded.add(node.id);
    me.stale = true;
    soon();
  };
  me.pin = (node) => {
    me.pinned = me.pinned === node.id ? null : node.id;
    soon();
  };
  me.fit = () => {
    me.own = false;
    soon();
  };

  // - what a node is worth

  me.hue = (key) => (key === undefined ? null : me.hues.get(key) ?? RARE);
  me.right = (key) => (me.about.gold === null || key === undefined ? null : key === me.about.gold);
  me.mark = (key) => ({ true: "✓ ", false: "✗ " })[me.right(key)] ?? "";
  me.tests = ({ score }, short = false) => {
    const all = me.about.scale?.tests;
    if (!all || !Number.isFinite(score)) return "";
    const passed = Math.round(score * all);
    return short ? `${passed}/${all}` : `passes ${passed} of ${count(all, "test")}`;
  };
  /** The measure by which nodes are coloured, and the colour that it gives a node. */
  me.scale = () => {
    const by = me.by in me.scaled ? me.by
      : ["value", "score", "answer"].find((name) => name in me.scaled) ?? "answer";
    const [low, high] = me.scaled[by] ?? [0, 0];
    const fill = (node) => {
      const value = MEASURES[by].of(node);
      if (!Number.isFinite(value)) return null;
      return shade(high > low ? (value - low) / (high - low) : 0.5);
    };
    return { by, low, high, fill };
  };
  me.legend = (options) => legendItems(me, options);
  return me;
}

/** What the colours and lines mean: pieces with a swatch, a hue and a text. */
function legendItems(me, { answers = false } = {}) {
  const { by, low, high } = me.scale();
  const scorer = me.about.scale?.name;
  const { name, unit } = MEASURES[by];
  const whose = by === "score" && scorer ? `by ${scorer}` : by === "value" && scorer ? `of ${scorer}` : unit;
  const ends = by === "answer" ? [{ text: "coloured by answer" }]
    : [{ text: `${name}${whose ? ` (${whose})` : ""}` }, ...(low < high ? [{ text: say(low) }] : []),
      { swatch: "ramp", text: say(high) }];
  const bars = answers ? votes(me.now).filter(({ key }) => key !== undefined).slice(0, SHOWN) : [];
  const chains = bars.map((bar) => ({ swatch: "hue", hue: me.hue(bar.key),
    text: `${me.mark(bar.key)}${cut(words(plain(headline(bar.answer))), 20)} ×${bar.count}` }));
  const rest = answers ? votes(me.now).filter(({ key }) => key !== undefined).length - bars.length : 0;
  if (rest > 0) chains.push({ text: `and ${count(rest, "other answer")}` });
  const there = (test) => [...me.all.nodes.values()].some(test);
  const signs = [by !== "answer" && { swatch: "empty", text: `no ${name}` },
    there((node) => node.open) && { swatch: "drawing", text: "being drawn" },
    there((node) => node.pruned) && { swatch: "gone", text: "pruned" },
    me.now.best && { swatch: "way", text: "way to the best" },
    by !== "answer" && "answer" in me.scaled && !answers && { swatch: "flag", text: "hue of its answer" }];
  return [...ends, ...signs.filter(Boolean), ...chains];
}

function drawLegend(element, me) {
  const items = legendItems(me);
  const colours = SHADES.map((_, i) => shade(i / (SHADES.length - 1)));
  const ramp = `background: linear-gradient(90deg, ${colours})`;
  const about = me.about.scale?.about ?? "";
  put(element, "title", about);
  refill(element, items, () => items.map(({ swatch, text }) => make("span", {},
    ...(swatch ? [make("i", { class: swatch, style: swatch === "ramp" ? ramp : "" })] : []), text)));
}

/** The tree in a sentence, for those who do not see it. */
function summary(me) {
  const bars = votes(me.now).filter(({ key }) => key !== undefined);
  const ends = bars.reduce((sum, bar) => sum + bar.count, 0);
  const said = bars.slice(0, 3).map((bar) => `${me.mark(bar.key)}${words(headline(bar.answer))} (${bar.count})`);
  const parts = [`A tree of ${count(me.now.nodes.size, "node")}`, `${count(ends, "finished chain")} with an answer`];
  return `${parts.join(", ")}${said.length ? `: ${said.join(", ")}` : ""}.`;
}

/** A node in words. */
function spoken(me, node) {
  const { by } = me.scale();
  const value = MEASURES[by].of(node);
  const below = count(node.below.length, "child").replace("childs", "children");
  return [`Node ${node.id}`, kind(node), node.dim ? "pruned" : "", node === me.now.best ? "the best so far" : "",
    Number.isFinite(value) ? `${MEASURES[by].name} ${say(value)}` : "", below,
    node.answer === undefined ? "" : `answer ${node.answer}`, words(node.text)].filter(Boolean).join(", ");
}

// -- above the picture ------------------------------------------------------------------------------

/** What steers the run, how it stands, and what keeps the picture. */
function toolsOf(me, picture) {
  const press = (verb, title) => {
    const icon = make("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, make("path", { d: ICONS[verb] }));
    const label = verb === "resume" ? "Continue" : verb[0].toUpperCase() + verb.slice(1);
    return make("button", { title, type: "button", click: () => me.tell(verb) }, icon, label);
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
  const keep = (type, title) => button(type === "page" ? "Page" : type.toUpperCase(), title,
    () => save(me, picture.element, type));
  const icon = make("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, make("path", { d: ICONS.whole }));
  const whole = button(icon, "Full screen", () => (
    document.fullscreenElement ? document.exitFullscreen() : me.root.requestFullscreen()), { "aria-label": "Full screen" });
  const zoomer = (text, title, by) => button(text, title, () => picture.zoom(by), { "aria-label": title });
  const element = make("div", { class: "tools" }, ...Object.values(buttons), state,
    make("span", { class: "group", role: "group", "aria-label": "Save" }, make("span", { class: "what" }, "Save"),
      keep("png", "Save the picture as PNG"), keep("svg", "Save the picture as SVG"),
      keep("page", "Save a page in which replaying, folding and reading work")),
    make("span", { class: "group", role: "group", "aria-label": "Zoom" }, zoomer("−", "Zoom out", 1 / 1.5),
      zoomer("+", "Zoom in", 1.5), button("Fit", "Show the whole tree", me.fit), whole));

  function draw() {
    const { about, gone, chosen } = me;
    const live = ["drawing", "pausing", "paused"].includes(about.state);
    const can = (what) => me.steered && about.can.includes(what);
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
    const parts = [about.state, count(me.now.nodes.size, "node")];
    if (me.now.rounds) parts.push(count(me.now.rounds, "iteration"));
    if (about.unfinished && me.now === me.all) parts.push("answer read from a chain that was cut short");
    const trouble = gone ? "The kernel is gone: this is what it drew." : about.error;
    state.classList.toggle("trouble", Boolean(trouble));
    write(state, trouble || parts.join(" · "));
  }

  return { element, draw };
}

/** What is coloured, hidden and searched for, and the keys. */
function optionsOf(me, picture) {
  const select = make("select", { "aria-label": "Colour by", change: () => { me.by = select.value; me.soon(); } });
  const toggler = (name, text, title) => {
    const box = make("input", { type: "checkbox", change: () => { me[name] = box.checked; me.stale = true; me.soon(); } });
    return make("label", { title }, box, text);
  };
  const way = toggler("onlyWay", "only the way to the best", "Hide all that does not lead to the best answer");
  const prune = toggler("hidePruned", "hide pruned", "Hide what the search does not go on from");
  const field = make("input", { type: "search", placeholder: "Search", "aria-label": "Search in the nodes",
    input: () => { find(); step(0); } });
  const tally = make("span", { class: "tally", role: "status" });
  const [back, next] = [button("‹", "The one before", () => step(-1), { "aria-label": "The one before" }),
    button("›", "The next one", () => step(1), { "aria-label": "The next one" })];
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") clear();
  });
  const keys = make("dl", { class: "keys", hidden: "" }, ...KEYS.flatMap(([key, what]) => [
    make("dt", {}, key), make("dd", {}, what)]));
  const help = button("?", "Keys", () => { keys.hidden = !keys.hidden; put(help, "aria-expanded", String(!keys.hidden)); },
    { "aria-label": "Keys", "aria-expanded": "false" });
  const colour = make("label", {}, "Colour by ", select);
  const element = make("div", { class: "options" }, colour, way, prune,
    make("span", { class: "group search" }, field, back, next, tally, help), keys);
  let at = -1;

  function find() {
    me.query = field.value.trim().toLowerCase();
    const holds = (node) => me.query && node.text.toLowerCase().includes(me.query);
    me.found = me.plan.order.filter(holds).map((node) => node.id);
    at = -1;
    me.soon();
  }

  function step(by) {
    if (!me.found.length) return;
    at = by ? (at + by + me.found.length) % me.found.length : 0;
    const node = me.all.nodes.get(me.found[at]);
    if (!node.place || !me.now.nodes.has(node.id)) return;
    me.choose(node);
    picture.reveal(node);
  }

  function clear() {
    field.value = "";
    keys.hidden = true;
    put(help, "aria-expanded", "false");
    find();
  }

  function draw() {
    const names = Object.keys(MEASURES).filter((name) => name in me.scaled);
    refill(select, names, () => names.map((name) => make("option", { value: name }, MEASURES[name].name)));
    select.value = me.scale().by;
    colour.hidden = names.length < 2;
    way.hidden = !me.all.best || me.all.nodes.size < 4;
    prune.hidden = !me.hidePruned && ![...me.all.nodes.values()].some((node) => node.pruned);
    const found = `${at + 1} of ${me.found.length}`;
    write(tally, !me.query ? "" : me.found.length ? found : "not found");
    back.disabled = next.disabled = !me.found.length;
  }

  return { element, draw, clear };
}

// -- time -------------------------------------------------------------------------------------------

const SPEEDS = { fit: "in 12 s", 1: "as it was", 4: "4 times as fast", 16: "16 times as fast" };

function clockOf(me) {
  let playing = 0;
  const play = button("▶", "Replay", () => (playing ? pause() : start()), { "aria-label": "Replay" });
  const choices = Object.entries(SPEEDS).map(([value, text]) => make("option", { value }, text));
  const speed = make("select", { "aria-label": "Speed of the replay", title: "Speed of the replay" }, ...choices);
  speed.value = "fit";
  const slider = make("input", { type: "range", min: 0, step: "any", title: "Time",
    "aria-label": "Time", input: () => { pause(); goTo(Number(slider.value)); } });
  const clock = make("span", { class: "clock" });
  const element = make("div", { class: "time" }, play, speed, slider, clock);

  function goTo(time) {
    if (time >= me.all.time) me.now = me.all;
    else {
      if (me.now === me.all || time < me.now.time) me.now = new Fold();
      while (me.rows[me.now.rows][0] <= time) me.now.take(me.rows[me.now.rows]);
    }
    slider.value = time;
    me.soon();
  }

  function start() {
    const quick = Math.max(me.all.time / 12, Math.min(me.all.time / 4, 1)); // for 4 to 12 seconds
    let time = me.now === me.all ? 0 : Number(slider.value);
    let before = performance.now();
    const tick = (at) => {
      time += ((at - before) / 1000) * (Number(speed.value) || quick);
      before = at;
      goTo(time);
      if (me.now === me.all) pause();
      else playing = requestAnimationFrame(tick);
    };
    playing = requestAnimationFrame(tick);
  }

  function pause() {
    cancelAnimationFrame(playing);
    playing = 0;
    me.soon();
  }

  slider.addEventListener("keydown", (event) => { // an arrow key goes to the next event
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    pause();
    const shown = me.now === me.all ? Infinity : Number(slider.value);
    const later = (row) => row[0] > shown;
    const earlier = (row) => row[0] < Math.min(shown, me.all.time);
    const row = step > 0 ? me.rows.find(later) : me.rows.findLast(earlier);
    if (row) goTo(row[0]);
  });

  function draw() {
    slider.max = me.all.time;
    if (me.now === me.all) slider.value = me.all.time;
    const end = `${me.all.time.toFixed(1)} s`;
    write(clock, me.now === me.all ? end : `${Number(slider.value).toFixed(1)} of ${end}`);
    put(slider, "aria-valuetext", clock.textContent);
    write(play, playing ? "❚❚" : "▶");
    put(play, "aria-label", playing ? "Pause the replay" : "Replay");
  }

  return { element, draw, pause };
}

// -- where it is shown ------------------------------------------------------------------------------

/** Fill the elements of a page that are named so, from the data beside them. */
function embed(name) {
  const message = JSON.parse(document.getElementById(name).textContent);
  for (const root of document.querySelectorAll(`[data-tree="${name}"]:not(.its-tree)`)) {
    treeView(root, null).take(message);
  }
}

/** What typesets mathematics here: JupyterLab's own typesetter, or none. */
function typesetterOf(model) {
  const lab = model.widget_manager?.rendermime?.latexTypesetter;
  return lab ? async (element) => lab.typeset(element) : null;
}

const widget = {
  render({ model, el }) {
    const root = el.appendChild(document.createElement("div"));
    const view = treeView(root, (message) => model.send(message), typesetterOf(model));
    model.on("msg:custom", view.take);
    model.on("comm_live_update", view.lost);
    model.send({ do: "ask", first: 0 });
    return view.close;
  },
};
