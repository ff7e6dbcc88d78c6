// The reader: what the chosen node says, alone or beside the one that is pinned.

const HINT = "Click a node to read it, double-click it to fold what is below; drag to pan, and zoom "
  + "with the wheel after a click. Press ? for the keys.";
const ENDS = { end: "the model ended its turn", stop: "a step", length: "cut at its length",
  cut: "given up: not confident", failed: "could not be drawn" };
const SETTLED = { stop_score: "its score is good enough", unchanged: "it was not changed any more",
  cycle: "it came back to an earlier version" };

function readerOf(me) {
  const element = make("div", { class: "reader", role: "region", "aria-label": "Reader" });

  function draw() {
    const node = me.now.nodes.get(me.chosen);
    const pinned = me.now.nodes.get(me.pinned);
    put(element, "class", node || pinned ? "reader" : "reader none");
    if (!node && !pinned) return refill(element, HINT, () => [HINT]);
    const shown = [pinned, node].filter((one, i, both) => one && both.indexOf(one) === i);
    const [one, other] = shown;
    const pieces = other && differences(one.text, other.text);
    const panes = shown.map((each, i) => paneOf(each, pieces?.[i]));
    refill(element, panes.map((pane) => pane.known), () => panes.map((pane) => pane.make()));
  }

  function paneOf(node, pieces) {
    const before = turn(node).slice(0, -1).map((step) => step.text).join("");
    const facts = factsOf(node);
    const bits = !pieces && me.bits && me.tokens.get(node.id);
    const here = me.all.nodes.get(node.id);
    const verb = !here.below.length ? "" : me.folded.has(node.id) ? "Unfold" : "Fold";
    const fold = `${verb} ${count(size(here) - 1, "node")} below`;
    const tools = [verb && fold, node.id === me.pinned, Boolean(bits), me.bits, me.typeset !== null];
    const known = [me.run, node.id, before, node.text, facts, tools, pieces];
    return { known, make: () => {
      const text = make("pre", { tabindex: 0 }, before, marked(node, pieces, bits));
      const title = make("h4", {}, [`Node ${node.id}`, kind(node)].filter(Boolean).join(" · "));
      const buttons = make("div", { class: "tools" }, copier(before + node.text), pinner(node),
        ...(verb ? [button(fold, fold, () => me.toggle(here))] : []),
        ...(node.logprob === undefined || pieces ? [] : [colourer(node)]),
        ...(me.typeset ? [typesetter(text, before + node.text)] : []));
      return make("article", { class: "pane" }, text,
        make("div", { class: "facts" }, title, table(facts), buttons, ...(bits ? [scale()] : [])));
    } };
  }

  /** What the node itself says: with its differences, or its tokens coloured, or plain. */
  function marked(node, pieces, bits) {
    if (pieces) return make("mark", {}, ...pieces.map(([text, own]) => (
      own ? make("ins", {}, text) : text)));
    if (!bits) return make("mark", {}, node.text || " ");
    const letters = Array.from(node.text); // offsets count characters, not UTF-16 units
    let start = 0;
    const spans = bits.map(([length, logprob]) => {
      const text = letters.slice(start, (start += length)).join("");
      const title = `${(100 * Math.exp(logprob)).toPrecision(3)} % (${say(logprob)} nats)`;
      return make("span", { title, style: `background: ${doubt(logprob)}` }, text);
    });
    return make("mark", { class: "tokens" }, ...spans, letters.slice(start).join(""));
  }

  const doubt = (logprob) => `rgba(213, 94, 0, ${Math.min(-logprob / 4, 0.75).toFixed(3)})`;

  function scale() {
    const ends = [1, 0.5, 0.2, 0.05].map((p) => make("span", { style: `background: ${doubt(Math.log(p))}` },
      `${100 * p} %`));
    return make("p", { class: "scale" }, "probability of a token: ", ...ends);
  }

  function copier(text) {
    const copy = button("Copy", "Copy the text of this turn", async () => {
      write(copy, (await toClipboard(text)) ? "Copied" : "Not allowed here");
      setTimeout(() => write(copy, "Copy"), 1500);
    });
    return copy;
  }

  function pinner(node) {
    const held = node.id === me.pinned;
    const title = held ? "Put it back" : "Keep it here, and choose another node to compare it with";
    return button(held ? "Unpin" : "Pin", title, () => me.pin(node), { "aria-pressed": String(held) });
  }

  function colourer(node) {
    const known = me.tokens.has(node.id);
    const title = known ? "Colour each token by its probability"
      : me.leftOut ? "Left out of this page, which would grow too large" : "Not known here";
    const press = button("Tokens", title, () => { me.bits = !me.bits; me.soon(); },
      { "aria-pressed": String(me.bits && known) });
    press.disabled = !known;
    return press;
  }

  function typesetter(pre, text) {
    const press = button("Mathematics", "Typeset the formulas", async () => {
      const typeset = make("div", { class: "typeset" }, text);
      pre.replaceWith(typeset);
      press.disabled = true;
      await me.typeset(typeset);
    });
    return press;
  }

  /** What a stage of a cascade came to here. */
  function stageOf({ stage }) {
    if (!stage) return [];
    const verdict = `${stage.accepted ? "accepted" : "not accepted"}: ${stage.why}`;
    return [["stage", `${stage.stage + 1}, ${stage.model}`], ["by", stage.strategy], ["its answer", verdict]];
  }

  function factsOf(node) {
    const [prefilled, reused, decoded, , seconds] = node.cost ?? [];
    const made = node.open ? "being drawn" : node.finish ?? (node.role === "assistant"
      ? "inserted" : `said by the ${node.role}`);
    const cancelled = node.refused ? `ended by the server: ${node.refused}` : "broken off";
    const end = made === "cancelled" ? cancelled : ENDS[made] ?? made;
    const answer = aside(node) ? undefined : node.answer ?? node.votes;
    return [
      ["status", [end, node.dim ? "pruned" : ""].filter(Boolean).join(", ")],
      ["answer", answer === undefined ? undefined : me.mark(node.key ?? answer) + answer],
      ["tests", me.tests(node) || undefined],
      ["score", node.score], ["note", node.note || undefined],
      ["version", node.version], ["settled", SETTLED[node.settled] ?? node.settled], ...stageOf(node),
      ...Object.entries(node.terms), ["log-probability per token", node.logprob],
      ["tokens decoded", decoded],
      ["tokens prefilled", prefilled], ["tokens reused", reused], [COMPUTE, seconds],
    ].filter(([, value]) => value !== undefined);
  }

  return { element, draw };
}

/** Put a text on the clipboard. @returns whether the browser let us. */
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // a page without that right may still copy what is selected
    const field = document.body.appendChild(make("textarea", { style: "position: fixed; opacity: 0" }));
    field.value = text;
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
