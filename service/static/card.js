// The third view: the model card, every figure from the manifest; what is missing says so.

import { confusionChart, largestConfusions, reliabilityChart } from "./charts.js";
import { h } from "./dom.js";
import { notLoaded } from "./keys.js";
import { confusionOf, driftOf, labelsOf, precisionsOf, reliabilityOf, restOf, under, wilson } from "./facts.js";
import { bytes, has, number, share, t } from "./text.js";

const MANY = 20;
const FEW = 8; // fields that are listed at once

export function showCard(root, card) {
  const manifest = card?.manifest;
  if (!manifest) {
    root.replaceChildren(...notLoaded());
    return;
  }
  root.replaceChildren(
    h("h1", {}, t(manifest.input.channels === 1 ? "card.title.grey" : "card.title", { name: manifest.name, labels: number(manifest.labels.length), size: manifest.input.size })),
    verdict(manifest),
    uses(manifest),
    section("precisions", precisions(manifest, card)),
    h("div", { class: "charts" }, section("reliability", reliability(manifest)), section("confusions", confusions(manifest))),
    section("labels", labels(manifest)),
    h("div", { class: "charts" }, section("data", pairs(data(manifest))), section("recipe", pairs(recipe(manifest)))),
    section("provenance", pairs(provenance(manifest))),
    drift(card),
    rest(manifest),
    h("p", { class: "links" }, h("a", { href: under("card"), "data-file": "card.json" }, t("footer.manifest")), " · ", h("a", { href: under("card.md"), "data-file": "README.md" }, t("footer.readme"))),
  );
}

const splitName = (name) => (has(`split.${name}`) ? t(`split.${name}`) : name);
const none = () => h("span", { class: "none" }, t("none"));
const section = (name, ...children) => h("section", { "aria-labelledby": `card-${name}`, class: `part-${name}` }, h("h2", { id: `card-${name}` }, t(`card.${name}`)), children);

/** Top-1 with its interval, calibration error, and on how many pictures. */
function verdict({ metrics, labels: names }) {
  const figure = (key, value, note) => h("div", { class: "figure-box" }, h("dt", {}, t(key)), h("dd", {}, value ?? none(), note ? h("small", {}, " ", note) : null));
  const around = metrics ? wilson(metrics.top1, metrics.n) : null;
  return h("dl", { class: "verdict" },
    figure("card.top1", metrics && share(metrics.top1), around && t("card.interval", { low: share(around.low), high: share(around.high) })),
    names.length > 5 ? figure("card.top5", metrics && share(metrics.top5, 2)) : null,
    figure("card.ece", metrics && share(metrics.ece)),
    figure("card.n", metrics && number(metrics.n), metrics && `${metrics.dataset}, ${splitName(metrics.split)}`));
}

function uses(manifest) {
  const origin = manifest.provenance;
  const names = manifest.labels.slice(0, MANY).join(", ");
  const more = manifest.labels.length > MANY ? ` ${t("card.more", { n: number(manifest.labels.length - MANY) })}` : "";
  const { crop, resize } = manifest.preprocessing;
  return h("div", { class: "uses" },
    h("div", {}, h("h2", {}, t("card.for")), h("p", {}, t("card.for.text", { dataset: manifest.metrics?.dataset ?? t("none") }), " ", h("span", {}, names), more)),
    h("div", {}, h("h2", {}, t("card.not")), h("ul", {},
      h("li", {}, t("card.not.other")),
      h("li", {}, t("card.not.people")),
      h("li", {}, t(crop === resize ? "card.not.centre" : "card.not.outside", { crop: number(crop), resize: number(resize) })),
      origin?.recipe || origin?.weights ? null : h("li", {}, t("card.not.random")))));
}

function precisions(manifest, card) {
  const cell = (value, write) => h("td", {}, value === null ? none() : write(value));
  return table("precisions", ["precision", "bytes", "top1", "agreement", "error", "speed"], precisionsOf(manifest).map((row) => [
    h("th", { scope: "row" }, row.precision, row.precision === card.model.precision ? h("span", { class: "here" }, ` ● ${t("card.served")}`) : null),
    cell(row.bytes, bytes), cell(row.top1, (value) => share(value, 2)), cell(row.agreement, (value) => share(value, 2)),
    cell(row.error, (value) => value.toExponential(1)), cell(row.speed, (value) => number(value, 0)),
  ]));
}

const scrolls = (name, ...children) => h("div", { class: "scrolls", tabindex: "0", role: "group", "aria-label": t(`card.${name}`) }, children);

const table = (name, columns, rows) =>
  scrolls(name, h("table", {}, h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col" }, t(`col.${column}`))))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells)))));

function reliability(manifest) {
  const found = reliabilityOf(manifest);
  return found ? [reliabilityChart(found), h("p", { class: "note" }, t("reliability.note", { bins: number(found.after.length) }), found.before ? ` ${t("reliability.before")}` : "")] : h("p", {}, none());
}

function confusions(manifest) {
  const matrix = confusionOf(manifest);
  if (!matrix) return h("p", {}, none());
  return manifest.labels.length > MANY ? largestConfusions(matrix, manifest.labels, MANY) : confusionChart(matrix, manifest.labels);
}

/** Worst recall first; labels that were never measured stand in their own order. */
function labels(manifest) {
  const rows = labelsOf(manifest);
  if (rows.every((row) => row.recall === null)) {
    return [h("p", {}, t("card.labels.unmeasured"), " ", none()), scrolls("labels", h("ol", { class: "names", start: "0" }, manifest.labels.map((label) => h("li", {}, label))))];
  }
  const cell = (value) => h("td", {}, value === null ? none() : share(value));
  const sorted = rows.toSorted((a, b) => (a.recall ?? 2) - (b.recall ?? 2));
  return [h("p", { class: "note" }, t("card.labels.order")), table("labels", ["label", "support", "precision.label", "recall", "f1", "confused"], sorted.map((row) => [
    h("th", { scope: "row" }, row.label), h("td", {}, row.support === null ? none() : number(row.support)),
    cell(row.precision), cell(row.recall), cell(row.f1), h("td", { class: "words" }, row.confused ?? "–"),
  ]))];
}

const data = ({ metrics, provenance: origin, preprocessing: spec, ...manifest }) => [
  ["data.name", metrics?.dataset],
  ["data.licence", manifest.data?.licence],
  ["data.sha256", origin?.dataset_sha256, "code"],
  ["data.splits", manifest.data && Object.entries(manifest.data.splits).map(([name, n]) => `${splitName(name)} ${number(n)}`).join(" · ")],
  ["data.input", `${manifest.input.size}×${manifest.input.size}×${manifest.input.channels}`],
  ["data.preprocessing", `${spec.interpolation}, ${spec.resize} → ${spec.crop}`],
  ["data.mean", spec.mean.map((value) => number(value, 3)).join(" · ")],
  ["data.std", spec.std.map((value) => number(value, 3)).join(" · ")],
];

const recipe = ({ provenance: origin, metrics, temperature, ...manifest }) => [
  ["recipe.name", origin?.recipe],
  ...(Object.keys(origin?.changes ?? {}).length ? [["recipe.changes", changed(Object.entries(origin.changes))]] : []),
  ["recipe.seed", origin?.seed],
  ["recipe.cost", origin?.cost && t("recipe.cost.text", { epochs: number(origin.cost.epochs), minutes: number(origin.cost.seconds / 60, origin.cost.seconds < 600 ? 1 : 0), cpu: number(origin.cost.cpu_seconds), threads: number(origin.cost.threads), processor: origin.cost.processor })],
  ["recipe.loss", metrics && number(metrics.loss, 4)],
  ...(manifest.calibration && typeof temperature !== "number" ? [] : [["recipe.temperature", typeof temperature === "number" ? number(temperature, 4) : null]]),
];

/** Most recipes change few fields; `auto` chooses all of them. */
function changed(fields) {
  const code = h("code", {}, fields.map(([name, value]) => `${name}=${value}`).join(", "));
  return fields.length > FEW ? h("details", {}, h("summary", {}, number(fields.length)), code) : code;
}

const provenance = ({ provenance: origin, files, ...manifest }) => [
  ["provenance.version", `${manifest.name} ${manifest.version}`],
  ...(origin?.weights ? [["provenance.weights", origin.weights, "code"]] : []),
  ["provenance.created", origin?.created],
  ["provenance.commit", origin?.commit, "code"],
  ["provenance.torch", origin?.torch],
  ["provenance.opset", origin?.onnx_opset],
  ...Object.entries(files ?? {}).map(([name, file]) => ["provenance.digest", file.sha256, "code", name]),
];

const pairs = (entries) =>
  h("dl", { class: "pairs" }, entries.map(([key, value, tag = "span", name = ""]) => [
    h("dt", {}, t(key, { name })), h("dd", {}, value === null || value === undefined || value === "" ? none() : value instanceof Node ? value : h(tag, {}, String(value)))]));

const QUANTITIES = ["labels", "confidence", "brightness", "side", "out_of_distribution"];

/** How far what is served has moved from what was trained on; the service may be asked for it. */
function drift(card) {
  const place = h("div", {}, h("p", {}, none()));
  driftOf(card).then((rows) => rows && place.replaceChildren(...(rows.every(({ status }) => status === "unknown") ? [h("p", {}, t("drift.few"))] : [
    table("drift", ["quantity", "psi"], rows.map(({ name, psi }) => [h("th", { scope: "row" }, QUANTITIES.includes(name) ? t(`drift.${name}`) : name), h("td", {}, number(psi, 3))])),
    h("p", { class: "note" }, t("drift.note"))])));
  return section("drift", place);
}

/** What a newer exporter measured and no section above knows. */
function rest(manifest) {
  const entries = restOf(manifest);
  if (!entries.length) return section("rest", h("p", {}, t("card.rest.none"), " ", none()));
  return section("rest", entries.map(([name, value]) => h("details", {}, h("summary", {}, h("code", {}, name)), h("pre", { tabindex: "0" }, JSON.stringify(value, null, 1)))));
}
