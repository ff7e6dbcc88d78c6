// Words: what is written beside a node, and how numbers and differences are written.

const COMPUTE = "compute, s"; // what models took; the words are those of style.py
const LIVE = ["drawing", "pausing", "paused"]; // states of a run that goes on

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);
const words = (text) => text.slice(0, 400).replace(/\s+/g, " ").trim().slice(0, 200);
/** The line that tells one program from another; of a text of one line, that. */
const headline = (text) => text.split("\n").find((l) => /^\s*(async def|def|class) /.test(l)) ?? text;
const count = (n, unit) => `${n.toLocaleString("en")} ${unit}${n === 1 ? "" : "s"}`;

function say(value) {
  value = number(value);
  if (typeof value !== "number" || Number.isInteger(value)) return value?.toLocaleString("en");
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "none" : value > 0 ? "∞" : "−∞";
  return Number(value.toPrecision(3)).toString().replace("-", "−");
}

const SIGNS = { times: "×", cdot: "·", div: "÷", le: "≤", ge: "≥", approx: "≈", "%": "%", "$": "$" };

/** Mathematics as one would type it. */
function plain(text) {
  return text.replace(/\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}/g, "$1/$2")
    .replace(/\\(?:(?:text|math)(?:|rm|bf|it|sf|tt)|boxed|emph)\{([^{}]*)\}/g, "$1")
    .replace(/\\(times|cdot|div|le|ge|approx|%|\$)/g, (_, name) => SIGNS[name])
    .replace(/\\[()[\]]|\*\*|```\w*|\\,/g, " ").replace(/\s+/g, " ").replace(/ ([.,;:])/g, "$1").trim();
}

const QUANTITY = String.raw`\(?[$−-]?\d[\d.,]*%?\)?(?: [a-z]+)?`; // such as 3, $1.50 or 6 toys
const EQUATION = new RegExp(`${QUANTITY}(?: ?[-+−*×·x/÷^] ?${QUANTITY})+ ?= ?[$−-]?\\d(?:[\\d.,]*\\d)?%?`, "g");

/** The equations that a text states. */
const equations = (text) => plain(text.slice(0, 4000)).match(EQUATION) ?? [];
const equation = (text) => equations(text).at(-1);

/** How many characters all of these texts begin with, to the end of a word. */
function common(texts) {
  const [first, ...others] = texts;
  let end = 0;
  while (end < first.length && others.every((text) => text[end] === first[end])) end += 1;
  return first.lastIndexOf(" ", end) + 1;
}

/** What tells a step from its siblings: its equation, or what they do not say too. */
function label(node) {
  if (!node.above) return "question";
  const brief = (text) => words(plain(text.slice(0, 800)));
  const said = brief(node.text);
  if (!node.drawn) return said;
  const siblings = (node.above?.below ?? []).filter((other) => other !== node && other.drawn).slice(0, 40);
  const states = equation(node.text);
  if (states && siblings.every((other) => equation(other.text) !== states)) return states;
  const program = headline(node.text);
  if (program !== node.text) return words(program);
  const others = siblings.map((other) => brief(other.text)).filter((text) => text && text !== said);
  const shared = said && others.length ? common([said, ...others]) : 0;
  const skipped = Math.min(shared, said.lastIndexOf(" ", said.length - 20) + 1); // some is left
  return skipped > 6 ? `…${said.slice(skipped)}` : said;
}

/** What a node is in its run, if it is more than a step; in a few letters where room is short. */
function kind({ stage, version }, short = false) {
  const became = stage?.accepted ? "accepted" : "not accepted";
  if (stage) return `stage ${stage.stage + 1}${short ? "" : `, ${stage.model}, ${became}`}`;
  return !version ? "" : short ? `v${version}` : `version ${version}`; // as in readers.py
}

/** What a finished chain says at its end: the equation that gives its answer, or else its last words. */
function ending(text, answer) {
  const last = plain(text.slice(-400));
  const gives = equations(text).findLast((one) => one.split("=").at(-1).trim() === answer);
  return gives ?? `…${last.slice(last.indexOf(" ", last.length - 70) + 1)}`;
}

/** A text in at most so many lines of so many characters. */
function lines(text, width, most) {
  const made = [""];
  for (const word of text.split(" ")) {
    const longer = made.at(-1) ? `${made.at(-1)} ${word}` : word;
    if (longer.length <= width || made.length === most) made[made.length - 1] = longer;
    else made.push(word);
  }
  return made.map((one) => cut(one, width));
}

/**
 * The words of two texts that are not in the other one, by the longest common subsequence.
 * @returns for each text its pieces [text, whether it is its own].
 */
function differences(one, other) {
  const [a, b] = [one, other].map((text) => (text.match(/\s+|\w+|[^\s\w]/g) ?? []).slice(0, 3000));
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const at = i * width + j;
      longest[at] = a[i] === b[j] ? 1 + longest[at + width + 1] : Math.max(longest[at + width], longest[at + 1]);
    }
  }
  const pieces = [[], []];
  const add = (side, text, own) => {
    const last = pieces[side].at(-1);
    if (last?.[1] === own) last[0] += text;
    else pieces[side].push([text, own]);
  };
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const at = i * width + j;
    if (i < a.length && j < b.length && a[i] === b[j]) {
      add(0, a[i++], false);
      add(1, b[j++], false);
    } else if (j === b.length || (i < a.length && longest[at + width] >= longest[at + 1])) add(0, a[i++], true);
    else add(1, b[j++], true);
  }
  return pieces;
}
