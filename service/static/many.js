// Several images at once: a table that fills while they are answered, and the same as CSV.

import { download, h } from "./dom.js";
import { answerOf } from "./facts.js";
import { probability, number, t } from "./text.js";
import { noAnswer, request } from "./keys.js";

const AT_ONCE = 4;
const RETRIES = 2;
const state = { items: [], run: null };

/** Ask for each file, a few at a time; one that fails is a row with its reason. */
export async function askMany(place, files, path) {
  const run = (state.run = new AbortController());
  state.items = files.map((file) => ({ file, status: "waiting" }));
  showMany(place);
  const queue = state.items.values();
  const work = async () => {
    for (const item of queue) {
      if (run.signal.aborted) return;
      Object.assign(item, await answered(item.file, path(), run.signal));
      if (run.signal.aborted) return;
      item.update();
      progress(place);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

async function answered(file, path, signal) {
  try {
    for (let attempt = 0; ; attempt += 1) {
      const response = await request(path, { method: "POST", body: file, headers: { "content-type": "application/octet-stream" }, signal });
      const body = await response.json();
      if (response.ok) {
        const { predictions: [top], trust } = answerOf(body);
        return { status: "answer", ...top, fits: trust?.fits ?? null };
      }
      if (response.status !== 503 || attempt === RETRIES) return { status: "refused", reason: body.detail ?? body.title };
      await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(response.headers.get("retry-after")) || 1)));
    }
  } catch {
    return { status: "refused", reason: noAnswer() };
  }
}

/** Draw what there is, also after a change of language. */
export function showMany(place) {
  if (!state.items.length) return place.replaceChildren();
  const columns = ["image", "name", "label", "probability", "fits"];
  place.replaceChildren(
    h("h2", { id: "many" }, t("many")),
    h("div", { class: "many-controls" },
      h("progress", { max: state.items.length, value: 0, "aria-labelledby": "many" }), h("span", { class: "note", role: "status" }),
      h("button", { type: "button", onclick: save }, t("many.save")),
      h("button", { type: "button", onclick: () => (state.run.abort(), (state.items = []), showMany(place)) }, t("many.close"))),
    h("div", { class: "scrolls many-table", tabindex: "0", role: "group", "aria-labelledby": "many" },
      h("table", {}, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, t(`many.${name}`))))),
        h("tbody", {}, state.items.map(row)))));
  progress(place);
}

function row(item) {
  const url = URL.createObjectURL(item.file);
  const forget = () => URL.revokeObjectURL(url);
  const image = h("img", { src: url, alt: "", onload: forget, onerror: () => (forget(), image.remove()) });
  const cells = h("tr", {});
  item.update = () => cells.replaceChildren(h("td", {}, image), h("th", { scope: "row" }, item.file.name), ...answerCells(item));
  item.update();
  return cells;
}

function answerCells({ status, label, probability: p, fits, reason }) {
  if (status === "waiting") return [h("td", { class: "words", colspan: 3 }, "…")];
  if (status === "refused") return [h("td", { class: "words", colspan: 3, lang: "en" }, reason)];
  const shown = fits === false ? [h("strong", {}, t("many.unknown")), ` (${label})`] : label;
  return [h("td", { class: "words" }, shown), h("td", {}, probability(p)), h("td", {}, fits === null ? "–" : t(fits ? "many.yes" : "many.no"))];
}

function progress(place) {
  const done = state.items.filter(({ status }) => status !== "waiting").length;
  if (!state.items.length) return;
  place.querySelector("progress").value = done;
  place.querySelector("[role=status]").textContent = t("many.done", { n: number(done), all: number(state.items.length) });
}

/** RFC 4180; a name that a spreadsheet would take for a formula gets an apostrophe. */
function save() {
  const cell = (value) => `"${String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
  const lines = state.items.map(({ file, label, probability: p, fits, reason }) => [file.name, label, p, fits, reason].map(cell).join(","));
  download(new Blob([["file,label,probability,in_distribution,error", ...lines, ""].join("\r\n")], { type: "text/csv" }), "predictions.csv");
}
