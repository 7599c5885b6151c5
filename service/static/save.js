// "Save as SVG": the rows of the second view stacked into one picture that stands alone.
// The order of its source is the order of walking; each stage is a list, each block an item.

import { download, s } from "./dom.js";
import { DESKTOP, closedMarks, marks } from "./glyphs.js";
import { blocksOf } from "./rows.js";
import { count, number, t } from "./text.js";
import { partName, pathOf, rowName, shapeText, spoken } from "./words.js";

const WIDTH = 1040, NAME = 224, SHAPE = 760, BAR = 800, BAR_WIDTH = 130, FIGURE = 1020, TOP = 76;
const CSS = `text{font:14px system-ui,sans-serif;fill:#1B1F24}.inside,.ontag{font-size:11px;font-weight:600}.inside{fill:#fff}.code{font:11px ui-monospace,monospace;fill:#57606A}
.spine,.arc,.cross,.io,.plus{fill:none;stroke:#1B1F24;stroke-width:2}.io,.plus{fill:#fff}.cross{stroke-width:1.5}.dot{fill:#1B1F24}
.projection{stroke:#C44E00;stroke-dasharray:6 3}.tag{fill:#fff;stroke:#C44E00;stroke-width:2}.ontag{fill:#C44E00}
.conv,.cost{fill:#0072B2}.pool{fill:#007F5F}.linear{fill:#9C4A7D}.norm{fill:#8A6A00}.act,.other{fill:#6E7781}.ghost{fill:#fff;stroke:#0072B2}
.band{fill:#F3F4F8}.bold{font-weight:600}.end{text-anchor:end}`;

/** Build the picture and hand it to the browser as a file. */
export function saveSvg(network, rows, by) {
  const text = new XMLSerializer().serializeToString(picture(network, rows, by));
  download(new Blob([text], { type: "image/svg+xml" }), `${network.architecture.name}.svg`);
}

/** The whole picture as an SVG element. */
export function picture(network, rows, by) {
  const most = Math.max(...rows.map((row) => row[by] ?? 0));
  const stack = { y: TOP, most, by, network };
  const parts = rows.map((row) => (row.type === "stage" ? stage(row, stack) : item(row, stack)));
  const figures = { name: network.architecture.name, blocks: number(blocksOf(network).length), parameters: count(network.parameters), macs: count(network.macs) };
  return s("svg", { role: "group", "aria-labelledby": "t d", viewBox: `0 0 ${WIDTH} ${stack.y + 16}`, width: WIDTH, height: stack.y + 16 },
    s("title", { id: "t" }, t("net.title", figures)),
    s("desc", { id: "d" }, t("net.lead")),
    s("style", {}, CSS),
    s("rect", { width: "100%", height: "100%", fill: "#fff" }),
    s("text", { x: 16, y: 32, class: "bold", "aria-hidden": "true" }, t("net.title", figures)),
    s("text", { x: 16, y: 56, "aria-hidden": "true" }, `${t("net.sizeBy")}: ${t(by === "macs" ? "net.macs" : "net.parameters")}`),
    s("g", { role: "list" }, parts));
}

function stage(row, stack) {
  const head = item(row, stack);
  return s("g", { id: row.id, role: "list", "aria-label": partName(row) }, head, row.rows.map((inner) => item(inner, stack)));
}

function item(row, stack) {
  const height = DESKTOP.heights[row.type], y = stack.y, line = height / 2 + 5;
  stack.y += height;
  const isBlock = row.type === "block" || row.type === "pile";
  const cost = row[stack.by];
  const name = rowName(row, stack.network), path = pathOf(row);
  return s("g", { id: row.type === "stage" ? null : row.id, role: "listitem", transform: `translate(0 ${y})` },
    s("title", {}, isBlock ? spoken(row) : `${name}, ${shapeText(row.shape)}`),
    row.type === "stage" ? s("rect", { class: "band", width: WIDTH, height }) : null,
    isBlock ? closedMarks(row, DESKTOP) : marks(row, DESKTOP),
    s("text", { x: NAME, y: line, class: row.type === "stage" ? "bold" : null }, name, path ? s("tspan", { class: "code", dx: 8 }, path) : null),
    s("text", { x: SHAPE, y: line, class: "end" }, shapeText(row.shape)),
    cost ? s("rect", { class: "cost", x: BAR, y: height / 2 - 5, width: Math.max((BAR_WIDTH * cost) / stack.most, 1).toFixed(1), height: 10 }) : null,
    cost === undefined ? null : s("text", { x: FIGURE, y: line, class: "end" }, count(cost)));
}
