// The picture in its frame, with the square that the network saw and the map of what counted.

import { h, style } from "./dom.js";
import { cropOf } from "./facts.js";
import { t } from "./text.js";

const TALLEST = 380; // pixels of the page
/** Up to this side, in pixels, an image is drawn with hard edges. */
export const COARSE = 64;
const HUE = [255, 106, 0]; // one hue; how much it covers says how much a place counted

/** Draw a picture, and over it crop and map if they are known. */
export function shot(picture, answer, card) {
  if (!picture) return h("span", { class: "invitation" }, t("empty"));
  if (!picture.width) return h("span", { class: "invitation" }, h("strong", {}, picture.name), h("br"), t("noPreview"));
  const ratio = picture.width / picture.height;
  const crop = answer?.explanation?.crop ?? cropOf(card, picture.width, picture.height);
  const image = h("img", { src: picture.url, alt: altOf(picture), class: Math.max(picture.width, picture.height) <= COARSE ? "coarse" : "" });
  const over = crop && !(crop.width > 0.999 && crop.height > 0.999) ? place(h("span", { class: "crop", "aria-hidden": "true" }), crop) : null;
  const map = answer?.explanation && crop ? place(mapOf(answer.explanation.map, answer.predictions[0].label), crop) : null;
  return style(h("span", { class: "shot" }, image, map, over), { "aspect-ratio": String(ratio), width: `min(100%, ${Math.round(TALLEST * ratio)}px)` });
}

const altOf = (picture) => (picture.sample ? t("sample.alt", { label: picture.sample.label }) : picture.name);

const place = (element, box) => style(element, Object.fromEntries(["left", "top", "width", "height"].map((side) => [side, `${(100 * box[side]).toFixed(4)}%`])));

/** Show another label's map in place of the one that is shown. */
export function showMap(frame, map, label) {
  const old = frame.querySelector("canvas.map");
  if (!old) return;
  const other = mapOf(map, label);
  other.style.cssText = old.style.cssText;
  old.replaceWith(other);
}

/** A canvas of the map's own size; CSS stretches it over the crop. */
function mapOf(map, label) {
  const rows = map.length, columns = map[0].length;
  const canvas = h("canvas", { class: "map", width: columns, height: rows, role: "img", "aria-label": t("map.alt", { label }) });
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const most = Math.max(...map.flat());
  map.flat().forEach((value, cell) => image.data.set([...HUE, most > 0 ? Math.round((255 * Math.max(value, 0)) / most) : 0], 4 * cell));
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Slider and tick for the map; they stay where they are while pictures change. */
export function mapControls(frame) {
  const opacity = h("input", { type: "range", min: 0, max: 100, value: 60, id: "opacity", oninput: () => style(frame, { "--map": opacity.value / 100 }) });
  const grid = h("input", { type: "checkbox", id: "grid", onchange: () => frame.classList.toggle("cells", grid.checked) });
  style(frame, { "--map": 0.6 });
  return h("div", { class: "map-controls", hidden: true },
    h("label", { for: "opacity" }, t("map.opacity")), opacity,
    h("label", {}, grid, " ", t("map.grid")));
}
