// What happened arrives as rows [time, kind, node, data]. A Fold is what they add up to, so that any
// moment can be shown again.

const ODD = { nan: NaN, inf: Infinity, "-inf": -Infinity };
const number = (value) => ODD[value] ?? value;

class Fold {
  constructor() {
    this.nodes = new Map();
    this.cost = [0, 0, 0, 0, 0, 0];
    this.rows = this.rounds = this.time = 0;
    this.best = this.ended = this.ballot = null; // ended: the last best one that is a finished chain
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
    else if (kind === "best") this.choose(Object.assign(node, data));
    else if (kind === "iteration") this.rounds += 1;
    else if (kind === "version") node.version = 1 + (this.nodes.get(data.of)?.version ?? 0);
    else if (kind === "settled") node.settled = data.why;
    else if (kind === "stage") node.stage = data;
    else if (kind === "vote") this.count(data);
    if (data.cost) data.cost.forEach((paid, i) => (this.cost[i] += paid));
  }

  add(id, { parent = null, role = "assistant", text }) {
    const drawn = text === undefined;
    const above = this.nodes.get(parent);
    const node = { id, role, text: text ?? "", drawn, open: drawn, above, below: [], terms: {} };
    this.nodes.set(id, node);
    if (above) above.below.push(node);
  }

  /** A step of a search may be the best one, but what is read from it is no answer yet. */
  choose(node) {
    this.best = node;
    if (whole(node)) this.ended = node;
  }

  count({ votes, leaves = {} }) {
    this.ballot = votes.filter((key) => key !== null);
    for (const [id, key] of Object.entries(leaves)) this.nodes.get(Number(id)).votes = key;
  }
}

/** What the search thinks of a node or, where it does not say, the verifier. */
function merit(node) {
  const value = number(node.terms.value);
  return Number.isFinite(value) ? value : node.score;
}

/** Whether nothing is left to draw of a node's chain: the model ended it, or it was written. */
const whole = (node) => (node.drawn ? node.finish === "end" : node.role === "assistant");

const line = (node) => (node ? [...line(node.above), node] : []);
const size = (node) => node.below.reduce((sum, child) => sum + size(child), 1);

function turn(node) {
  const path = line(node);
  return path.slice(path.findLastIndex((step) => step.role !== node.role) + 1);
}

/** Whether a turn only speaks of an answer, as a critique or a lesson: a reply below a version, and none. */
function aside(node) {
  let replied = false;
  for (let above = node.version ? null : node.above; above; above = above.above) {
    replied ||= above.role !== "assistant";
    if (replied && above.version) return true;
  }
  return false;
}

/** The form of the answer that a finished chain gave; undefined of a step, or if it gave none. */
function answerOf(node) {
  return node.votes ?? (node.finish === "end" && !aside(node) ? node.key ?? node.answer : undefined);
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
    const counts = node.finish === "end" && !aside(node); // no step, nor cut short
    if (counts) count(node.key ?? node.answer, node.answer);
  }
  return [...bars.values()].sort((a, b) => b.count - a.count);
}
