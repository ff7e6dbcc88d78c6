// Cards beside the picture: the best answer, the votes, and what was paid.

const SHOWN = 8; // answers in the card

function cardsOf(me) {
  const element = make("div", { class: "side" });
  const cards = Object.fromEntries(["best", "votes", "cost"].map((name) => {
    const title = { best: "Best answer so far", votes: "Votes", cost: "Cost so far" }[name];
    const body = make("div", { class: name });
    element.append(make("section", { "aria-label": title }, make("h4", {}, title), body));
    return [name, body];
  }));

  function draw() {
    const [over, best] = [me.over(), me.answering()];
    const cutShort = over && best && !whole(best);
    const answer = best?.answer;
    const read = answer === undefined || answer.includes("\n") ? answer?.trim() : plain(answer) || answer;
    const right = me.right(best?.key ?? answer);
    const mark = answer === undefined || right === null ? "" : right ? " ✓" : " ✗";
    const kind = answer === undefined ? "none" : right === false ? "wrong" : "";
    const text = answer?.includes("\n") ? "text" : ""; // a program, say
    write(cards.best, answer === undefined ? over ? "none" : "none yet" : cut(read, 2000) + mark);
    write(cards.best.previousSibling, !over ? "Best answer so far" : cutShort ? "Answer, of an unfinished chain" : "Answer");
    put(cards.best, "class", `best ${kind} ${text}`);
    const names = ["samples", "tokens decoded", "tokens prefilled", "tokens reused", COMPUTE];
    const paid = [3, 2, 0, 1, 4].map((i, row) => [names[row], me.now.cost[i]]);
    const models = me.now === me.all ? Object.entries(me.about.costs ?? {}) : [];
    const priced = ([model, cost]) => [make("h4", {}, `This run: ${model}`),
      table([["tokens decoded", cost[2]], [COMPUTE, cost[4]]])];
    refill(cards.cost, [paid, models], () => (
      [table(paid), ...(models.length > 1 ? models.flatMap(priced) : [])]));
    write(cards.cost.previousSibling, over ? "Cost" : "Cost so far");
    drawVotes(votes(me.now));
  }

  function drawVotes(bars) {
    put(cards.votes, "class", bars.length ? "votes" : "votes none");
    const hues = bars.map((bar) => me.hue(bar.key));
    refill(cards.votes, [me.run, bars, hues, me.about.gold, me.everyVote, me.programs], () => {
      if (!bars.length) return ["no finished chain yet"];
      const shown = me.everyVote ? bars : bars.slice(0, SHOWN);
      const more = `and ${count(bars.length - SHOWN, "other answer")}`;
      const all = button(more, "Show all answers", () => { me.everyVote = true; me.soon(); }, { class: "link" });
      return [...shown.map((bar) => row(bar, bars[0].count)), ...(shown.length < bars.length ? [all] : [])];
    });
    for (const bar of cards.votes.querySelectorAll(".bar")) {
      put(bar, "aria-pressed", String(me.lit !== null && bar.answerKey === me.lit));
      put(bar, "class", bar.dataset.kind + (me.lit !== null && bar.answerKey !== me.lit ? " unlit" : ""));
    }
  }

  /** A bar, which lights the paths to its chains. */
  function row({ key, answer, count: votes }, most) {
    const none = key === undefined;
    const name = none ? "no answer" : me.named(key, answer);
    const fill = make("i", { style: `width: ${(100 * votes) / most}%; background: ${none ? "#dfe2e4" : me.hue(key)}` });
    const kind = none ? "bar none" : me.right(key) ? "bar right" : "bar";
    const press = () => { me.lit = me.lit === key ? null : key; me.soon(); };
    const title = none ? "Chains that ended without an answer" : `${answer}\nLight the paths to it`;
    const bar = make("button", { type: "button", class: kind, "data-kind": kind, title,
      "aria-label": `${name}: ${count(votes, "vote")}`, "aria-pressed": "false", click: press },
    make("span", {}, name), make("b", {}, fill), make("span", {}, String(votes)));
    bar.disabled = none;
    bar.answerKey = key;
    return bar;
  }

  return { element, draw };
}
