// The card's two pictures: reliability with its counts, and the confusions. Numbers are in
// text too: a chart's summary for the ear, a count in every cell's title.

import { h, s } from "./dom.js";
import { number, share, t } from "./text.js";

const SIDE = 260, LEFT = 40, TOP = 12, COUNTS = 56, FEW = 30;

/** x confidence, y accuracy; the gap to the diagonal is hatched, counts stand under the same x. */
export function reliabilityChart({ after, before, ece }) {
  const width = SIDE / after.length;
  const most = Math.max(1, ...after.map((bin) => bin.n));
  const total = after.reduce((sum, bin) => sum + bin.n, 0);
  const up = (value) => TOP + SIDE * (1 - value);
  const bars = after.map((bin, index) => (bin.n ? reliabilityBar(bin, index, { width, up, count: after.length }) : []));
  const counts = after.map((bin, index) => {
    const height = (COUNTS * bin.n) / most;
    return s("rect", { class: "count", x: LEFT + index * width + 1, y: TOP + SIDE + 12 + COUNTS - height, width: width - 2, height });
  });
  const axis = [0, 0.5, 1].flatMap((value) => [
    s("text", { x: LEFT - 6, y: up(value) + 4, class: "end" }, number(value, 1)),
    s("text", { x: LEFT + SIDE * value, y: TOP + SIDE + COUNTS + 30, class: "middle" }, number(value, 1)),
  ]);
  const label = t("reliability.alt", { n: number(total), ece: ece === null ? t("none") : share(ece, 2) });
  return s("svg", { class: "chart", viewBox: `0 0 ${LEFT + SIDE + 12} ${TOP + SIDE + COUNTS + 54}`, role: "img", "aria-label": label },
    hatch(),
    s("rect", { class: "field", x: LEFT, y: TOP, width: SIDE, height: SIDE }),
    bars, before ? outline(before, width, up) : [],
    s("path", { class: "diagonal", d: `M${LEFT} ${up(0)}L${LEFT + SIDE} ${up(1)}` }),
    counts, axis,
    s("text", { x: LEFT + 8, y: TOP + 18, class: "over" }, `ECE ${ece === null ? t("none") : share(ece, 2)}`),
    s("text", { x: LEFT + 8, y: TOP + 36, class: "over" }, `n ${number(total)}`),
    s("text", { x: LEFT + SIDE / 2, y: TOP + SIDE + COUNTS + 48, class: "middle" }, t("reliability.x")),
    s("text", { x: 12, y: TOP + 0.75 * SIDE, class: "middle", transform: `rotate(-90 12 ${TOP + 0.75 * SIDE})` }, t("reliability.y")));
}

function reliabilityBar(bin, index, { width, up, count }) {
  const x = LEFT + index * width + 1, ideal = bin.confidence ?? (index + 0.5) / count;
  const low = Math.min(bin.accuracy, ideal), high = Math.max(bin.accuracy, ideal);
  return s("g", {},
    s("title", {}, t("reliability.bin", { confidence: share(ideal), accuracy: share(bin.accuracy), n: number(bin.n) })),
    s("rect", { class: bin.n < FEW ? "few" : "bin", x, y: up(bin.accuracy), width: width - 2, height: SIDE * bin.accuracy }),
    s("rect", { class: "gap", x, y: up(high), width: width - 2, height: SIDE * (high - low) }));
}

/** Accuracy before calibration, as one stepped line. */
function outline(before, width, up) {
  const steps = before.map((bin, index) => (bin.n ? `M${LEFT + index * width} ${up(bin.accuracy)}h${width}` : "")).join("");
  return s("path", { class: "before", d: steps });
}

const hatch = () => s("defs", {}, s("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, s("path", { class: "stripe", d: "M0 0V5" })));

/** Rows are the truth, columns the answer; each row is shaded by its own shares. */
export function confusionChart(matrix, labels) {
  const cell = (n, truth, answered, sum) =>
    h("td", { class: truth === answered ? "diagonal" : "", "data-depth": n ? String(Math.min(9, Math.ceil((9 * n) / sum))) : "0", title: t("confusion.cell", { truth: labels[truth], answer: labels[answered], n: number(n), share: sum ? share(n / sum) : t("none") }) }, n ? number(n) : "");
  return h("div", { class: "scrolls", tabindex: "0", role: "group", "aria-label": t("card.confusions") },
    h("table", { class: "confusion" },
      h("caption", {}, t("confusion.caption")),
      h("thead", {}, h("tr", {}, h("td", {}), labels.map((label) => h("th", { scope: "col", title: label }, h("span", {}, label))))),
      h("tbody", {}, matrix.map((row, truth) => {
        const sum = row.reduce((total, n) => total + n, 0);
        return h("tr", {}, h("th", { scope: "row", title: labels[truth] }, labels[truth]), row.map((n, answered) => cell(n, truth, answered, sum)));
      }))));
}

/** Over twenty labels a matrix says nothing: the largest confusions as a list. */
export function largestConfusions(matrix, labels, most) {
  const found = matrix.flatMap((row, truth) => row.map((n, answered) => ({ n, truth, answered }))).filter(({ n, truth, answered }) => n && truth !== answered);
  found.sort((a, b) => b.n - a.n);
  return h("ol", {}, found.slice(0, most).map(({ n, truth, answered }) => h("li", {}, t("confusion.item", { truth: labels[truth], answer: labels[answered], n: number(n) }))));
}
