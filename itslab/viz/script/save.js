// Keeping a picture: as SVG, as PNG, or as a page that needs nothing else.

const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "paint-order",
  "font-size", "font-weight", "font-family"];

/** The picture as it is seen, with its legend below, as the text of an SVG file. */
function svgOf(me, picture) {
  const { clientWidth: width, clientHeight: height } = picture;
  const clone = copied(picture);
  const legend = legendOf(me, width);
  const tall = height + legend.height;
  const paper = make("rect", { width, height: tall, fill: "#fcfcfd" });
  const [title, ...world] = [clone.querySelector(".title"), ...clone.childNodes];
  const whole = make("svg", { xmlns: "http://www.w3.org/2000/svg", width, height: tall,
    viewBox: `0 0 ${width} ${tall}`, "font-family": "Helvetica, Arial, sans-serif" },
  paper, ...world.filter((part) => part !== title), title,
  make("rect", { y: height, width, height: legend.height, fill: "#fcfcfd" }), legend.element(height));
  return printable(new XMLSerializer().serializeToString(whole));
}

/** Text in which control characters, of which XML holds none, are seen as the signs for them. */
function printable(text) {
  return text.replace(/(?![\t\n\r])[\p{Cc}\p{Cs}\ufffe\uffff]/gu, (found) => {
    const code = found.codePointAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\ufffd";
  });
}

/** A copy in which the looks stand with the elements; what is hidden is left out. */
function copied(element) {
  if (element.nodeType !== Node.ELEMENT_NODE) return element.cloneNode();
  const copy = element.cloneNode(false);
  for (const name of [...copy.getAttributeNames()]) if (/^(class|style|id|role|tabindex|aria-.*)$/.test(name)) copy.removeAttribute(name);
  if (element.classList.contains("title")) copy.setAttribute("class", "title");
  if (element.tagName !== "svg" && element.tagName !== "g") {
    const look = getComputedStyle(element);
    for (const name of KEPT) if (look[name] && look[name] !== "none" || name === "fill") copy.setAttribute(name, look[name]);
  } else if (getComputedStyle(element).opacity !== "1") copy.setAttribute("opacity", getComputedStyle(element).opacity);
  const moved = element.style?.transform?.match(/translate\(([-\d.]+)px, ([-\d.]+)px\)/);
  if (moved) copy.setAttribute("transform", `translate(${moved[1]} ${moved[2]})`);
  for (const child of element.childNodes) {
    const hidden = child.nodeType === Node.ELEMENT_NODE
      && (child.getAttribute("display") === "none" || child.classList.contains("map"));
    if (!hidden) copy.append(copied(child));
  }
  return copy;
}

/** The legend, with the answers, in lines of SVG. */
function legendOf(me, width) {
  const rows = [[]];
  let x = 14;
  for (const { swatch, text, hue } of me.legend({ answers: true })) {
    const room = (swatch ? (swatch === "ramp" ? 96 : 16) : 0) + text.length * 6.3 + 14;
    if (x + room > width && rows.at(-1).length) { rows.push([]); x = 14; }
    rows.at(-1).push({ swatch, text, hue, x });
    x += room;
  }
  const look = { ramp: [90, 10, 3], way: [14, 3, 0] };
  const draw = ({ swatch, text, hue, x: left }, y) => {
    const [w, h, rx] = look[swatch] ?? [10, 10, 5];
    const fill = { ramp: null, way: "#d55e00", drawing: "white", empty: "white", gone: "#d2e6f3" }[swatch] ?? hue;
    const stroke = { drawing: "#e69f00", empty: "#5d6c7a" }[swatch] ?? "none";
    const steps = SHADES.map((_, i) => make("rect", { x: left + (i * w) / SHADES.length, y: y - h / 2,
      width: w / SHADES.length + 0.5, height: h, fill: shade(i / (SHADES.length - 1)) }));
    const sign = swatch === "ramp" ? steps : swatch ? [make("rect", { x: left, y: y - h / 2, width: w, height: h, rx,
      fill, stroke, "stroke-width": 1.5 })] : [];
    const start = left + (swatch ? w + 5 : 0);
    return [...sign, make("text", { x: start, y: y + 4, "font-size": 12, fill: "#4a4a4a" }, text)];
  };
  const element = (top) => make("g", {}, ...rows.flatMap((row, i) => row.flatMap((item) => draw(item, top + 14 + 20 * i))));
  return { height: 20 * rows.length + 10, element };
}

/** How the tree is looked at: colour, search, what is hidden, folded, lit and read. */
const lookOf = ({ by, onlyWay, hidePruned, query, bits, lit, chosen, pinned, folded }) => (
  { by, onlyWay, hidePruned, query, bits, lit, chosen, pinned, folded: [...folded] });

/** The run up to now as a page, like the one that Python writes. */
function pageOf(me, title) {
  const growth = [...me.all.nodes.values()].filter((node) => node.open).map((node) => [node.id, [0, node.text]]);
  const message = { ...me.about, first: 0, rows: me.rows, growth: Object.fromEntries(growth), can: [],
    tokens: Object.fromEntries(me.tokens), look: lookOf(me) };
  const safe = (value) => JSON.stringify(value).replaceAll("<", "\\u003c");
  const script = `(${itsTree})(${safe(STYLE)}, ${safe(PAGE)}).embed("its-tree-page");`;
  const element = make("title", {}, title);
  return `<!doctype html><html><head><meta charset="utf-8"><title>${element.innerHTML}</title><style>${PAGE}</style></head><body>`
    + `<div data-tree="its-tree-page"></div><script type="application/json" id="its-tree-page">${safe(message)}<\/script>`
    + `<script type="module">${script}<\/script></body></html>`;
}

function download(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function pngOf(svg, scale = 2) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = make("canvas", { width: image.width * scale, height: image.height * scale });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Save what is on view under a name made of its question. */
async function save(me, picture, type) {
  const asked = me.about.title?.[0] ?? "";
  const name = words(asked).toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 40).replace(/^-|-$/g, "") || "tree";
  if (type === "page") return download(`${name}.html`, new Blob([pageOf(me, asked)], { type: "text/html" }));
  const svg = svgOf(me, picture);
  if (type === "svg") return download(`${name}.svg`, new Blob([svg], { type: "image/svg+xml" }));
  return download(`${name}.png`, await pngOf(svg));
}
