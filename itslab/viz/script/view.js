// The view: what a kernel or a page says becomes a picture with cards, a clock and a reader.

let views = 0; // on this page
const HIDDEN = 250; // milliseconds between two looks whether a view is shown

/**
 * Draw into an element.
 * @param send tells the kernel what to do; null in a page.
 * @param typeset typesets the mathematics in an element; null where nothing can.
 * @returns take: hands over a message; lost: says that the kernel is gone.
 */
function treeView(root, send, typeset = null) {
  let [due, later] = [0, 0]; // whether it will be drawn, and the timer while it cannot be
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
  // JupyterLab has its own uses for keys, unless what has the focus says otherwise.
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", ""));
  steer(me, picture);
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.fullscreenElement) return;
    me.lit = null;
    options.clear();
    me.soon();
  });

  function draw() {
    due = 0;
    if (!picture.element.clientWidth) { // taken out of the page for a moment, or not shown
      due = 1;
      later = setTimeout(() => { due = 0; me.soon(); }, HIDDEN);
      return;
    }
    if (me.stale) me.plan = place(me.all, drawnBelow(me));
    const counted = JSON.stringify([me.all.rows, me.about.hues, me.about.gold]);
    if (me.counted !== counted) {
      me.scaled = measured(me.all);
      const long = [...me.all.nodes.values()].filter(({ answer }) => answer?.includes("\n"));
      me.programs = [...new Set(long.map(answerOf))].filter((key) => key !== undefined);
      assignHues(me.hues, me.all, me.about);
      me.counted = counted;
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
    if (message.look) look(message.look);
    me.soon();
  }

  function reset(number) {
    const tokens = me.run === null ? me.tokens : new Map();
    Object.assign(me, fresh(), { run: number, tokens });
    time.pause();
    picture.reset();
  }

  /** Open as it was when it was saved. */
  function look({ folded, ...looked }) {
    Object.assign(me, looked, { folded: new Set(folded), stale: true });
    me.plan = place(me.all, drawnBelow(me)); // in which the search looks
    options.restore();
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
    clearTimeout(later);
    document.removeEventListener("fullscreenchange", me.soon);
  };
  return { take, lost, close };
}

// -- what is shown ----------------------------------------------------------------------------------

/** What a view knows of one run. */
function fresh() {
  const all = new Fold(); // everything that is known, drawn or not
  return { run: null, rows: [], all, now: all, // what is shown: all of it, or the past
    chosen: null, pinned: null, lit: null, found: [], own: false, stale: true, counted: "",
    folded: new Set(), hues: new Map(), tokens: new Map(), leftOut: false, scaled: {}, programs: [],
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
  me.over = () => me.now === me.all && me.all.best !== null && ![...LIVE, "failed"].includes(me.about.state);
  /** Whose answer is that of the run: while it goes on, the last best one that is finished. */
  me.answering = () => (me.over() ? me.now.best : me.now.ended);
  /** The form of the answer that is read from a node. */
  me.reads = (node) => answerOf(node) ?? (node === me.answering() ? node.key ?? node.answer : undefined);
  me.right = (key) => (me.about.gold === null || key === undefined ? null : key === me.about.gold);
  me.mark = (key) => ({ true: "✓ ", false: "✗ " })[me.right(key)] ?? "";
  /** An answer in one line: a program, whose first lines are those of others, has a number. */
  me.named = (key, answer) => {
    const number = me.programs.indexOf(key) + 1;
    return me.mark(key) + (number ? `program ${number}` : words(plain(headline(answer ?? key))));
  };
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
