// In words: the legend, and what is told to those who do not see the picture.

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
    text: `${cut(me.named(bar.key, bar.answer), 22)} ×${bar.count}` }));
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
  const said = bars.slice(0, 3).map((bar) => `${me.named(bar.key, bar.answer)} (${bar.count})`);
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
    node.answer === undefined || aside(node) ? "" : `answer ${node.answer}`, words(node.text)].filter(Boolean).join(", ");
}
