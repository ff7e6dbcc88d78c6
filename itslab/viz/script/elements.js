// Elements of a page, changed only where something changes.

const DRAWN = ["svg", "g", "path", "circle", "rect", "text", "title", "tspan"];

/** Make an element; of its properties, functions listen and all others are attributes. */
function make(tag, properties = {}, ...children) {
  const space = `http://www.w3.org/${DRAWN.includes(tag) ? "2000/svg" : "1999/xhtml"}`;
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Set an attribute only if it changes: a browser does not compare, and 2,000 nodes are many. */
function put(element, name, value) {
  element.known ??= {};
  if (element.known[name] === value) return;
  element.known[name] = value;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** Replace what is in an element only if it changes, so that one can select text in it. */
function refill(element, known, children) {
  const text = JSON.stringify(known);
  if (element.shown !== text) element.replaceChildren(...children());
  element.shown = text;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function table(pairs) {
  const cells = ([name, value]) => [make("span", {}, name), make("b", {}, say(value) ?? "")];
  return make("div", { class: "table" }, ...pairs.flatMap(cells));
}

const button = (text, title, click, more = {}) =>
  make("button", { title, type: "button", click, ...more }, text);
