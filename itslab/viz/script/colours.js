// Colours: one hue for each answer, and a scale for what is measured of a node.

const SHADES = [[226, 238, 248], [171, 207, 233], [104, 171, 216], [38, 122, 184], [6, 64, 116]];
const HUES = ["#0072b2", "#cc79a7", "#e69f00", "#5d4a9c", "#56b4e9", "#7a6a00"];
const RIGHT = "#009e73"; // of the gold answer, where it is known, and of no other
const RARE = "#b3b8bc"; // of all answers that have no hue of their own

function shade(share) {
  const at = Math.min(Math.max(share, 0), 1) * (SHADES.length - 1);
  const [low, high] = [SHADES[Math.floor(at)], SHADES[Math.ceil(at)]];
  return `rgb(${low.map((c, i) => Math.round(c + (high[i] - c) * (at % 1)))})`;
}

/**
 * Give the most frequent answers hues of their own: the one that was given, from an earlier run, or
 * the one that they have, so that colours stay while a tree grows; or else one that is free.
 */
function assignHues(hues, fold, { gold, hues: given = {} }) {
  const bars = votes(fold).filter((bar) => bar.key !== undefined && bar.key !== gold);
  const common = bars.filter((bar) => bar.count > 1);
  const most = bars.length > HUES.length && common.length ? common : bars;
  const leading = most.slice(0, HUES.length).map((bar) => bar.key);
  const had = new Map(hues);
  const taken = new Set();
  hues.clear();
  const take = (key, hue) => {
    if (hues.has(key) || !HUES.includes(hue) || taken.has(hue)) return;
    hues.set(key, hue);
    taken.add(hue);
  };
  for (const key of leading) take(key, given[key]);
  for (const key of leading) take(key, had.get(key));
  const elsewhere = Object.values(given); // of answers that may yet come
  const free = [...HUES.filter((hue) => !elsewhere.includes(hue)), ...HUES];
  for (const key of leading) take(key, free.find((hue) => !taken.has(hue)));
  if (gold !== null) hues.set(gold, RIGHT);
}

/** What nodes may be coloured by. */
const MEASURES = {
  answer: { name: "answer", of: () => undefined },
  value: { name: "value", unit: "by the search", of: merit },
  score: { name: "score", unit: "by the verifier", of: (node) => node.score },
  visits: { name: "visits", unit: "of the search", of: (node) => node.terms.visits },
  tokens: { name: "tokens", unit: "decoded", of: (node) => node.cost?.[2] },
  logprob: { name: "log-probability", unit: "nats per token, mean", of: (node) => node.logprob },
};

/** The measures that a run has: their names, and the least and the greatest value of each. */
function measured(fold) {
  const ends = {};
  const add = (name, value) => {
    if (!Number.isFinite(value)) return;
    ends[name] ??= [Infinity, -Infinity];
    ends[name] = [Math.min(ends[name][0], value), Math.max(ends[name][1], value)];
  };
  let valued = false;
  for (const node of fold.nodes.values()) {
    valued ||= Number.isFinite(number(node.terms.value));
    for (const [name, { of }] of Object.entries(MEASURES)) if (node.drawn) add(name, of(node));
    if (answerOf(node) !== undefined) ends.answer = [0, 0];
  }
  if (!valued) delete ends.value;
  return ends;
}
