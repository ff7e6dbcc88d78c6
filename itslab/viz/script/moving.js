// Moving in the picture: an overview of it, and what pointers, wheels and keys do.

/** A small picture of the whole tree, while one sees a part of it; a press goes there. */
function mapOf(me, go) {
  const [wide, tall] = [130, 84];
  const frame = make("rect", { class: "frame", width: wide, height: tall, rx: 4 });
  const points = make("path", { class: "points" });
  const seen = make("rect", { class: "seen" });
  const element = make("g", { class: "map", "aria-hidden": "true" }, frame, points, seen);
  let drawn = null;
  let place = [0, 0];
  const scale = () => [(wide - 12) / Math.max(me.plan.depth, 1), (tall - 12) / Math.max(me.plan.slots - 1, 1)];
  const jump = (event) => {
    event.stopPropagation();
    if (event.type === "pointermove" && !event.buttons) return;
    const box = frame.getBoundingClientRect();
    const [sx, sy] = scale();
    go((event.clientX - box.x - 6) / sx, (event.clientY - box.y - 6) / sy);
  };
  for (const type of ["pointerdown", "pointermove"]) element.addEventListener(type, jump);

  function draw(view, width, height, top) {
    const [across, down] = [me.plan.depth * view.dx, (me.plan.slots - 1) * view.dy];
    const all = view.x >= 0 && view.y >= top && view.x + across <= width && view.y + down <= height;
    put(element, "display", me.own && !all ? "inline" : "none");
    if (!me.own || all) return;
    const [sx, sy] = scale();
    place = [width - wide - 8, height - tall - 8];
    put(element, "transform", `translate(${place})`);
    if (drawn !== me.plan) {
      const dot = (node) => `M${(6 + node.place[0] * sx).toFixed(1)} ${(6 + node.place[1] * sy).toFixed(1)}h.1`;
      put(points, "d", me.plan.order.map(dot).join(""));
      drawn = me.plan;
    }
    const clip = (value, most) => Math.min(Math.max(value, 1), most - 1);
    const [x0, x1] = [-view.x, width - view.x].map((x) => clip(6 + (x / view.dx) * sx, wide));
    const [y0, y1] = [top - view.y, height - view.y].map((y) => clip(6 + (y / view.dy) * sy, tall));
    for (const [name, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 })) {
      put(seen, name, value.toFixed(1));
    }
  }

  return { element, draw };
}

/** Let pointers, wheels and keys move a picture, and choose and fold nodes. */
function steer(me, picture) {
  const { element } = picture;
  let drag = null;
  element.addEventListener("pointerdown", (event) => {
    const { x, y } = picture.place();
    if (event.button === 0) drag = { at: picture.here(event), x, y, moved: false };
  });
  element.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = picture.here(event).map((c, i) => c - drag.at[i]);
    if (!drag.moved && Math.hypot(x, y) < 4) return; // a click may tremble
    if (!drag.moved) element.setPointerCapture(event.pointerId);
    drag.moved = true;
    picture.pan(drag.x + x, drag.y + y);
  });
  element.addEventListener("pointerup", (event) => {
    const node = drag && !drag.moved && picture.nearest(event);
    drag = null;
    if (node) me.choose(node);
  });
  element.addEventListener("pointercancel", () => (drag = null));
  element.addEventListener("dblclick", (event) => {
    const node = picture.nearest(event);
    if (node) me.toggle(node);
  });
  element.addEventListener("wheel", (event) => { // else one could not scroll past the tree
    if (!event.ctrlKey && document.activeElement !== element) return;
    event.preventDefault();
    picture.zoom(Math.exp(-event.deltaY / 400), ...picture.here(event));
  }, { passive: false });
  element.addEventListener("keydown", (event) => {
    const node = me.all.nodes.get(me.chosen) ?? me.plan.order[0];
    if (!node || event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = node.above?.kids ?? me.plan.order.filter((root) => !root.above);
    const go = (to) => to?.place && me.now.nodes.has(to.id) && (me.choose(to), picture.reveal(to));
    const beside = (by) => go(rows[rows.indexOf(node) + by]);
    const keys = { ArrowLeft: () => go(node.above), ArrowRight: () => go(node.kids[0]),
      ArrowUp: () => beside(-1), ArrowDown: () => beside(1), Home: () => go(me.plan.order[0]),
      Enter: () => me.toggle(node), p: () => me.pin(node), "+": () => picture.zoom(1.5),
      "=": () => picture.zoom(1.5), "-": () => picture.zoom(1 / 1.5), 0: () => me.fit() };
    if (!(event.key in keys)) return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab has its own uses for keys
    keys[event.key]();
  });
}
