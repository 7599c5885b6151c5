// The gutter's drawing language: a spine, an arc beside each block, boxes as wide as they have
// channels. One function gives the marks of one row; rows stacked make an unbroken graph.

import { s } from "./dom.js";
import { has, t } from "./text.js";

export const DESKTOP = {
  width: 208, spine: 72, arc: 170, scale: 1, label: 11,
  heights: { io: 34, op: 36, stage: 40, block: 48, pile: 58, layer: 36, add: 32 },
};
export const PHONE = {
  width: 104, spine: 36, arc: 84, scale: 0.5, label: 10,
  heights: { io: 46, op: 46, stage: 46, block: 50, pile: 58, layer: 46, add: 46 },
};
const CORNER = 8, DOT = 3, PLUS = 6, LEAVES = 5, RETURNS = 6;

/** How wide a box is for so many channels: 32 -> 60, 64 -> 68, 2048 -> 108; 44 under 32. */
export const boxWidth = (channels, size) =>
  size.scale * (channels < 32 ? 44 : 60 + 8 * (Math.log2(channels) - 5));

/** The gutter of a row as one SVG. */
export function gutter(row, size, context = {}) {
  const height = size.heights[row.type];
  return s("svg", { class: "gutter", viewBox: `0 0 ${size.width} ${height}`, "aria-hidden": "true", focusable: "false" }, marks(row, size, context));
}

/** The marks of a row; a block has one set for closed and one for open, chosen by CSS. */
export function marks(row, size, context = {}) {
  const height = size.heights[row.type];
  switch (row.type) {
    case "io": return io(row, size, height);
    case "stage": return [spine(size, 0, height)];
    case "op": return [spine(size, 0, height), operation(row, size, size.spine, height / 2)];
    case "block":
    case "pile": {
      const open = row.type === "pile" ? [spine(size, 0, height)] : [spine(size, 0, height), leaving(row, size, height)];
      return [s("g", { class: "closed" }, closed(row, size, height)), s("g", { class: "open" }, open)];
    }
    case "layer": return [spine(size, 0, height), beside(context.block, size, height), operation(row, size, row.onShortcut ? size.arc : size.spine, height / 2)];
    case "add": return adding(row, context.block, size, height);
  }
  return [];
}

/** The marks of a block that is drawn whole. */
export const closedMarks = (row, size) => closed(row, size, size.heights[row.type]);

function io(row, size, height) {
  const middle = height / 2, half = Math.max(32 * size.scale, 16);
  const line = row.id === "input" ? spine(size, middle + 11, height) : spine(size, 0, middle - 11);
  return [line, s("rect", { class: "io", x: size.spine - half, y: middle - 11, width: 2 * half, height: 22, rx: 11 })];
}

function closed(row, size, height) {
  const isPile = row.type === "pile";
  const middle = (height + LEAVES - RETURNS) / 2 - (isPile ? 4 : 0);
  const width = boxWidth(row.shape[0], size);
  const x = size.spine - width / 2, y = middle - 11;
  const ghosts = isPile ? [2, 1].map((n) => s("rect", { class: "ghost", x: x + 3 * n, y: y + 4 * n, width, height: 22, rx: 3 })) : [];
  const text = isPile ? `×${row.rows.length}` : row.kernels.join("·");
  return [spine(size, 0, height), arc(row, size, height), ghosts, box("conv", x, y, width, 22, text, size)];
}

function arc(row, size, height) {
  if (row.shortcut === "none") return [];
  const bottom = height - RETURNS, right = size.arc;
  const path = `M${size.spine} ${LEAVES}H${right - CORNER}Q${right} ${LEAVES} ${right} ${LEAVES + CORNER}V${bottom - CORNER}Q${right} ${bottom} ${right - CORNER} ${bottom}H${size.spine}`;
  return [
    s("path", { class: `arc ${row.shortcut}`, d: path }),
    projection(row, size, (LEAVES + bottom) / 2),
    dot(row, size), plus(size, bottom),
  ];
}

function leaving(row, size, height) {
  if (row.shortcut === "none") return [];
  const right = size.arc;
  return [s("path", { class: `arc ${row.shortcut}`, d: `M${size.spine} ${LEAVES}H${right - CORNER}Q${right} ${LEAVES} ${right} ${LEAVES + CORNER}V${height}` }), dot(row, size)];
}

const beside = (block, size, height) =>
  block.shortcut === "none" ? [] : s("path", { class: `arc ${block.shortcut}`, d: `M${size.arc} 0V${height}` });

function adding(row, block, size, height) {
  const middle = height / 2 - 3, right = size.arc;
  const path = `M${right} 0V${middle - CORNER}Q${right} ${middle} ${right - CORNER} ${middle}H${size.spine}`;
  const activated = row.layers.some((layer) => layer.kind === "activation");
  return [
    spine(size, 0, height),
    block.shortcut === "none" ? [] : [s("path", { class: `arc ${block.shortcut}`, d: path }), plus(size, middle)],
    activated ? s("rect", { class: "act", x: size.spine - 16, y: middle + 11, width: 32, height: 2 }) : [],
  ];
}

/** A convolution, pool, linear layer or dropout, centred on the spine or on the arc. */
function operation(row, size, x, y) {
  const width = row.onShortcut && row.kind === "conv" ? 54 * (size.scale < 1 ? 0.63 : 1) : boxWidth(row.shape[0], size);
  const left = x - width / 2;
  if (row.kind === "dropout") return s("rect", { class: "act", x: left, y: y - 1.5, width, height: 3 });
  if (row.onShortcut && row.kind === "conv") return tag(projectionText(row, size), x, y, size);
  const feet = (row.layers ?? []).slice(1).map((layer, index) =>
    s("rect", { class: layer.kind === "norm" ? "norm" : "act", x: left, y: y + 12 + 3 * index, width, height: 2 }));
  const text = row.kind === "conv" ? `${row.kernel}×${row.kernel}` : has(`glyph.${row.kind}`) ? t(`glyph.${row.kind}`) : row.kind;
  const kind = ["conv", "pool", "linear"].includes(row.kind) ? row.kind : "other";
  return [box(kind, left, y - 11, width, 22, text, size), feet];
}

function box(kind, x, y, width, height, text, size) {
  const letter = /[\u2e80-\uffff]/.test(text) ? 1.05 : 0.6; // share of the type size
  const fits = text.length * size.label * letter + 4 <= width;
  return [
    s("rect", { class: kind, x, y, width, height, rx: 3 }),
    fits ? s("text", { class: "inside", x: x + width / 2, y: y + height / 2 + size.label * 0.36, "text-anchor": "middle", "font-size": size.label }, text) : [],
  ];
}

const projectionText = (layer, size) => `${layer.kernel}×${layer.kernel}${layer.stride > 1 && size.scale === 1 ? ` /${layer.stride}` : ""}`;

function projection(row, size, y) {
  return row.projection ? tag(projectionText(row.projection, size), size.arc, y, size) : [];
}

/** The label on a projecting arc: 54 x 18, narrower on a phone. */
function tag(text, x, y, size) {
  const width = size.scale < 1 ? 34 : 54;
  return [
    s("rect", { class: "tag", x: x - width / 2, y: y - 9, width, height: 18, rx: 3 }),
    s("text", { class: "ontag", x, y: y + size.label * 0.36, "text-anchor": "middle", "font-size": size.label }, text),
  ];
}

const spine = (size, from, to) => s("path", { class: "spine", d: `M${size.spine} ${from}V${to}` });
const dot = (row, size) => s("circle", { class: "dot", cx: size.spine, cy: LEAVES, r: DOT });
const plus = (size, y) => [
  s("circle", { class: "plus", cx: size.spine, cy: y, r: PLUS }),
  s("path", { class: "cross", d: `M${size.spine - 3} ${y}h6M${size.spine} ${y - 3}v6` }),
];

/** The picture's size as an outlined square: 7 -> 10, 28 -> 14, 224 -> 20 pixels. */
export function sizeMark(side) {
  const edge = 4 + 2 * Math.log2(side);
  return s("svg", { class: "size", width: edge, height: edge, "aria-hidden": "true", focusable: "false" }, s("rect", { x: 0.75, y: 0.75, width: edge - 1.5, height: edge - 1.5 }));
}
