// The second view: the network that is loaded, as a list with a drawn gutter.

import { h, s, style } from "./dom.js";
import { get, under } from "./facts.js";
import { DESKTOP, PHONE, gutter, sizeMark } from "./glyphs.js";
import { noAnswer } from "./keys.js";
import { blocksOf, rowsOf, walk } from "./rows.js";
import { saveSvg } from "./save.js";
import { count, number, share, t } from "./text.js";
import { operationNames, partName, pathOf, rowName, shapeText, spoken } from "./words.js";

const narrow = matchMedia("(max-width: 40rem)");
const view = { root: null, network: null, by: "macs", fold: true, open: new Set(), place: null, parts: {} };

/** Draw the view into its section; asks the service once. */
export async function showArchitecture(root, place) {
  view.root = root;
  view.by = place.query.get("by") === "params" ? "parameters" : "macs";
  if (place.query.has("fold")) view.fold = place.query.get("fold") !== "0";
  view.place = place.id;
  try {
    view.network ??= await get(under("architecture"));
  } catch {
    root.replaceChildren(h("p", { class: "notice" }, noAnswer()), h("button", { onclick: () => showArchitecture(root, place) }, t("again")));
    return;
  }
  render();
  if (place.id) open(place.id);
}

/** Forget what was fetched, so that another model shows itself. */
export const forgetArchitecture = () => (view.network = null);

narrow.addEventListener("change", () => view.network && !view.root.hidden && draw());

function render() {
  const { network, root } = view;
  const figures = { name: network.architecture.name, blocks: number(blocksOf(network).length), parameters: count(network.parameters), macs: count(network.macs) };
  view.parts = { strip: h("div"), list: h("div") };
  root.replaceChildren(
    h("h1", {}, t("net.title", figures)),
    h("p", { class: "lead" }, t("net.lead")),
    controls(),
    view.parts.strip,
    view.parts.list,
    legend(),
  );
  draw();
}

function draw() {
  const rows = rowsOf(view.network, view.fold);
  const size = narrow.matches ? PHONE : DESKTOP;
  view.parts.strip.replaceChildren(strip(rows));
  view.parts.list.replaceChildren(list(rows, size));
}

function controls() {
  const radio = (by, key) =>
    h("label", { class: "choice" },
      h("input", { type: "radio", name: "by", value: by, checked: view.by === by, onchange: () => go({ by }) }), t(key));
  const fold = h("button", { type: "button", "aria-pressed": String(view.fold), onclick: () => {
    view.fold = !view.fold;
    fold.setAttribute("aria-pressed", String(view.fold));
    go({});
  } }, t("net.fold"));
  const all = h("button", { type: "button", onclick: () => {
    const details = [...view.root.querySelectorAll("details")];
    const opening = details.some((one) => !one.open);
    for (const one of details) one.open = opening;
  } }, t("net.openAll"));
  return h("div", { class: "controls" },
    h("fieldset", {}, h("legend", {}, t("net.sizeBy")), radio("macs", "net.macs"), radio("parameters", "net.parameters")),
    fold, all,
    h("button", { type: "button", onclick: () => saveSvg(view.network, rowsOf(view.network, view.fold), view.by) }, t("net.save")));
}

/** Every state of this view is a link. */
const link = (id, by = view.by) => {
  const query = new URLSearchParams();
  if (by === "parameters") query.set("by", "params");
  if (!view.fold) query.set("fold", "0");
  return `#/architecture${id ? `/${id}` : ""}${query.size ? `?${query}` : ""}`;
};

function go({ by = view.by }) {
  view.by = by;
  history.replaceState(null, "", link(view.place));
  draw();
}

function strip(rows) {
  const parts = rows.filter((row) => row.type === "stage");
  const total = parts.reduce((sum, row) => sum + row[view.by], 0);
  const named = (row) => `${partName(row)} ${percent(row[view.by] / total)}`;
  const segments = parts.map((row) => {
    const part = row[view.by] / total;
    const segment = h("a", { href: link(row.id), "aria-label": named(row), title: named(row), class: `segment ${row.part}` }, h("span", { "aria-hidden": "true" }, partName(row)));
    return style(h("li", { "data-share": part.toFixed(5) }, segment), { "flex-grow": part });
  });
  return h("nav", { "aria-label": t("net.strip") },
    h("ol", { class: "strip" }, segments),
    h("p", { class: "shares" }, parts.map((row, index) => [index ? " · " : "", h("span", {}, named(row))])));
}

const percent = (part) => (part && part < 0.0005 ? t("less", { n: share(0.001) }) : share(part, part < 0.0995 ? 1 : 0));

function list(rows, size) {
  const most = Math.max(...rows.map((row) => row[view.by] ?? 0));
  const context = { most, size };
  return h("ol", { class: "net", "data-size": size === PHONE ? "phone" : "desktop" }, rows.map((row) => item(row, context)));
}

function item(row, context) {
  if (row.type === "block" || row.type === "pile") return h("li", {}, opening(row, context));
  if (row.type === "stage") return h("li", { id: row.id }, line(h("div", {}), row, context), h("ol", {}, row.rows.map((inner) => item(inner, context))));
  return line(h("li", { id: row.id }), row, context);
}

function opening(row, context) {
  const inner = { ...context, block: row.type === "block" ? row : null };
  const details = h("details", { id: row.id, class: row.id === view.place ? `${row.type} aimed` : row.type, open: view.open.has(row.id), ontoggle: () => (details.open ? view.open.add(row.id) : view.open.delete(row.id)) },
    line(h("summary", { "aria-label": spoken(row) }), row, context),
    h("ol", {}, row.rows.map((one) => item(one, inner))));
  return details;
}

/** Fill one row: gutter, name, shape, cost. */
function line(element, row, context) {
  const { size, most, block } = context;
  element.classList.add("row", `is-${row.type}`);
  style(element, { "--h": size.heights[row.type] });
  const cost = row[view.by];
  const [name, ...then] = row.layers ? operationNames(row, view.network) : [rowName(row, view.network)];
  element.append(
    gutter(row, size, { block }),
    h("span", { class: "what" }, h("span", { class: "words" }, name, then.length ? h("span", { class: "then" }, then.map((one) => ` · ${one}`)) : null), " ", pathOf(row) ? h("code", {}, pathOf(row)) : null),
    h("span", { class: "shape" }, row.shape.length === 3 ? sizeMark(row.shape[1]) : null, shapeText(row.shape)),
    cost === undefined ? h("span", { class: "cost" }) : h("span", { class: "cost" }, bar(cost / most, row), h("span", { class: "figure" }, row.type === "add" && !cost ? "" : count(cost))),
  );
  return element;
}

const bar = (part, row) =>
  s("svg", { class: `bar ${row.part ?? row.kind ?? ""}`, "aria-hidden": "true", focusable: "false", preserveAspectRatio: "none" },
    part > 0 ? s("rect", { width: `${Math.max(100 * part, 0.6).toFixed(2)}%`, height: "100%", "data-part": part.toFixed(5) }) : null);

/** Open a block wherever it lies, and bring it into sight. */
function open(id) {
  view.place = id;
  const target = document.getElementById(id) ?? unfold(id);
  if (!target || !view.root.contains(target)) return;
  for (let outer = target; outer && outer !== view.root; outer = outer.parentElement) if (outer.matches("details")) outer.open = true;
  for (const old of view.root.querySelectorAll(".aimed")) old.classList.remove("aimed");
  target.classList.add("aimed");
  requestAnimationFrame(() => target.scrollIntoView({ block: target.matches("details") ? "center" : "start" }));
}

function unfold(id) {
  view.fold = false;
  const rows = [...walk(rowsOf(view.network, false))];
  if (!rows.some((row) => row.id === id)) return null;
  render();
  return document.getElementById(id);
}

function legend() {
  const sample = (width, ...inner) => s("svg", { class: "gutter", viewBox: `0 0 ${width} 24`, width, height: 24, "aria-hidden": "true" }, inner);
  const entries = [
    ["legend.conv", s("rect", { class: "conv", x: 0, y: 3, width: 48, height: 18, rx: 3 })],
    ["legend.feet", [s("rect", { class: "norm", x: 0, y: 9, width: 48, height: 2 }), s("rect", { class: "act", x: 0, y: 15, width: 48, height: 2 })]],
    ["legend.identity", s("path", { class: "arc identity", d: "M0 12H48" })],
    ["legend.projection", s("path", { class: "arc projection", d: "M0 12H48" })],
    ["legend.pile", [2, 1].map((n) => s("rect", { class: "ghost", x: 1 + 3 * n, y: 1 + 3 * n, width: 38, height: 14, rx: 3 })).concat(s("rect", { class: "conv", x: 1, y: 1, width: 38, height: 14, rx: 3 }))],
    ["legend.size", [s("rect", { class: "mark", x: 1, y: 2, width: 20, height: 20 }), s("rect", { class: "mark", x: 32, y: 7, width: 10, height: 10 })]],
  ];
  return h("ul", { class: "legend", "aria-label": t("legend") }, entries.map(([key, inner]) => h("li", {}, sample(48, inner), t(key))));
}
