// Above the picture: what steers the run and keeps the picture, and what is coloured and sought.

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
  ["Enter", "in the tree: fold or unfold; in the search: go to the next one (Shift: the one before)"],
  ["P", "in the tree: pin the node, to compare it with another"],
  ["+ − 0", "in the tree: zoom in, zoom out, show all"],
  ["Enter, Space", "on a bar of the votes: light the paths to that answer"],
  ["← →", "on the time: to the event before, to the next one"],
  ["Esc", "close this, empty the search, put out the light"],
];

const GONE = "The kernel that made this run is gone: what it drew can be read and saved; "
  + "run the cell again for a tree that can be steered.";

/** What steers the run, how it stands, and what keeps the picture. */
function toolsOf(me, picture) {
  const press = (verb, title) => {
    const icon = make("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, make("path", { d: ICONS[verb] }));
    const label = verb === "resume" ? "Continue" : verb[0].toUpperCase() + verb.slice(1);
    return make("button", { title, type: "button", click: () => me.tell(verb) }, icon, label);
  };
  const buttons = {
    run: press("run", ""),
    stop: press("stop", "End the run; the best answer so far is its answer"),
    pause: press("pause", "Finish the iteration under way, and wait"),
    resume: press("resume", "Let the run go on"),
    step: press("step", "Let one iteration of a paused run happen"),
    fork: press("fork", ""),
  };
  buttons.fork.lastChild.data = "Fork from here";
  const state = make("span", { class: "state", role: "status" });
  const trouble = make("p", { class: "trouble", role: "alert", hidden: "" });
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
      zoomer("+", "Zoom in", 1.5), button("Fit", "Show the whole tree", me.fit), whole), trouble);

  function draw() {
    const { about, gone, chosen } = me;
    const live = LIVE.includes(about.state);
    const can = (what) => me.steered && about.can.includes(what);
    const set = (name, there, ready) => {
      buttons[name].hidden = !there;
      buttons[name].disabled = gone || !ready;
    };
    const held = about.state === "paused" || about.state === "pausing";
    set("run", can("run"), !live && !about.unrunnable);
    put(buttons.run, "title", about.unrunnable || "Begin a run with these settings");
    set("stop", can("steer"), live);
    set("pause", can("steer") && !held, live);
    set("resume", can("steer") && held, live);
    set("step", can("steer"), about.state === "paused");
    const free = !live || about.state === "paused";
    set("fork", can("fork"), chosen !== null && free && !about.unforkable);
    const aim = chosen === null ? "Click a node first" : "Go on from it with these settings";
    put(buttons.fork, "title", about.unforkable || `${aim}; a paused run ends`);
    const idle = !me.all.nodes.size && about.state === "done";
    const parts = idle ? ["nothing was run here yet"] : [about.state, count(me.now.nodes.size, "node")];
    if (me.now.rounds) parts.push(count(me.now.rounds, "iteration"));
    if (about.unfinished && me.now === me.all) parts.push("answer read from a chain that was cut short");
    write(state, parts.join(" · "));
    write(trouble, gone ? GONE : about.error && `${about.state === "failed" ? "The run failed: " : ""}${about.error}`);
    trouble.hidden = !trouble.textContent;
  }

  return { element, draw };
}

/** What is coloured, hidden and searched for, and the keys. */
function optionsOf(me, picture) {
  const select = make("select", { "aria-label": "Colour by",
    title: "By what nodes are coloured; the legend says what the colours mean", change: () => { me.by = select.value; me.soon(); } });
  const boxes = []; // what they set, and they
  const toggler = (name, text, title) => {
    const box = make("input", { type: "checkbox", change: () => { me[name] = box.checked; me.stale = true; me.soon(); } });
    boxes.push([name, box]);
    return make("label", { title }, box, text);
  };
  const way = toggler("onlyWay", "only the way to the best", "Hide all that does not lead to the best answer");
  const prune = toggler("hidePruned", "hide pruned", "Hide what the search does not go on from");
  const field = make("input", { type: "search", placeholder: "Search", "aria-label": "Search in the nodes",
    title: "Light the nodes that say this; Enter goes to the next one", input: find });
  const tally = make("span", { class: "tally", role: "status" });
  const [back, next] = [button("‹", "Go to the match before", () => step(-1), { "aria-label": "The one before" }),
    button("›", "Go to the next match", () => step(1), { "aria-label": "The next one" })];
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") clear();
  });
  const keys = make("dl", { class: "keys", hidden: "" }, ...KEYS.flatMap(([key, what]) => [
    make("dt", {}, key), make("dd", {}, what)]));
  const help = button("?", "Show what can be done by keys", () => { keys.hidden = !keys.hidden; put(help, "aria-expanded", String(!keys.hidden)); },
    { "aria-label": "Keys", "aria-expanded": "false" });
  const colour = make("label", {}, "Colour by ", select);
  const element = make("div", { class: "options" }, colour, way, prune,
    make("span", { class: "group search" }, field, back, next, tally, help), keys);
  let at = -1;

  function find() {
    me.query = field.value.trim();
    const sought = me.query.toLowerCase();
    const holds = (node) => sought && node.text.toLowerCase().includes(sought);
    me.found = me.plan.order.filter(holds).map((node) => node.id);
    at = -1;
    me.soon();
  }

  function step(by) {
    if (!me.found.length) return;
    at = (Math.max(at, by < 0 ? 0 : -1) + by + me.found.length) % me.found.length;
    const node = me.all.nodes.get(me.found[at]);
    if (!node.place || !me.now.nodes.has(node.id)) return;
    me.choose(node);
    picture.reveal(node);
  }

  /** Show what is set: a page opens as it was when it was saved. */
  function restore() {
    for (const [name, box] of boxes) box.checked = me[name];
    field.value = me.query;
    find();
  }

  function clear() {
    field.value = "";
    keys.hidden = true;
    put(help, "aria-expanded", "false");
    find();
  }

  function draw() {
    const names = Object.keys(MEASURES).filter((name) => name in me.scaled || name === me.scale().by);
    refill(select, names, () => names.map((name) => make("option", { value: name }, MEASURES[name].name)));
    select.value = me.scale().by;
    colour.hidden = names.length < 2;
    way.hidden = !me.all.best || me.all.nodes.size < 4;
    prune.hidden = !me.hidePruned && ![...me.all.nodes.values()].some((node) => node.pruned);
    const found = at < 0 ? `${me.found.length} found` : `${at + 1} of ${me.found.length}`;
    write(tally, !me.query ? "" : me.found.length ? found : "not found");
    back.disabled = next.disabled = !me.found.length;
  }

  return { element, draw, clear, restore };
}
