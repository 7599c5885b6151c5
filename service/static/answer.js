// One answer in words, bars and figures: what, how likely, how far to trust it, how long it took.

import { download, h, s } from "./dom.js";
import { leftOutOf, limitOf } from "./facts.js";
import { hasKey } from "./keys.js";
import { number, probability, spokenProbability, t } from "./text.js";

const FEW = 5;

/** Everything beside the picture. `showMap(map, label)` is called where a bar is chosen. */
export function answerView({ picture, answer }, card, showMap) {
  const [top] = answer.predictions;
  const strange = answer.trust?.fits === false;
  return [
    strange ? trust(answer, card) : null,
    picture.door === "sample" && picture.isFirst ? h("p", { class: "hint" }, t("sample.first")) : null,
    strange ? unknown(top) : verdict(top),
    bars(answer, card, showMap),
    strange ? null : trust(answer, card),
    times(answer),
  ];
}

const verdict = ({ label, probability: p }) =>
  h("div", { class: "verdict" }, h("h2", {}, p >= 0.5 ? label : t("low")), p >= 0.5 ? h("p", { class: "large" }, probability(p)) : null);

/** An image unlike the training data: the network's label is no answer, so it stands small. */
const unknown = ({ label, probability: p }) =>
  h("div", { class: "verdict unsure" }, h("h2", {}, t("unknown")), h("p", { class: "note" }, t("unknown.label", { label, percent: probability(p) })));

/** The one sentence for a screen reader. */
export function spokenAnswer({ answer }) {
  const [top] = answer.predictions;
  const says = t("spoken.answer", { label: top.label, percent: spokenProbability(top.probability) });
  const trusted = answer.trust ? ` ${t("trust.fits.short")}` : "";
  if (answer.trust?.fits === false) return `${t("unknown")}. ${t("trust.strange.short")}`;
  return (top.probability >= 0.5 ? says : `${t("low")} ${says}`) + trusted;
}

function bars(answer, card, showMap) {
  const { predictions } = answer;
  const maps = answer.explanation?.maps ?? [];
  const chosen = { index: 0 };
  const all = card?.manifest?.labels?.length ?? predictions.length;
  const list = h("ol", { class: "bars" });
  const choose = (index) => {
    chosen.index = index;
    showMap(maps[index], predictions[index].label);
    for (const [i, button] of [...list.querySelectorAll("button")].entries()) button.setAttribute("aria-pressed", String(i === index));
  };
  const mark = (index) => (maps.length > 1 && maps[index] ? { isShown: index === chosen.index, choose: () => choose(index) } : null);
  const draw = (n) => list.replaceChildren(...predictions.slice(0, n).map((each, index) => bar(each, mark(index))));
  const note = (n) => t("shown", { n: number(Math.min(n, predictions.length)), all: number(all) });
  const words = h("span", {}, note(FEW));
  const more = h("button", { type: "button", class: "link", "aria-expanded": "false", onclick: () => {
    const isOpen = more.getAttribute("aria-expanded") === "true";
    more.setAttribute("aria-expanded", String(!isOpen));
    more.textContent = t(isOpen ? "showMore" : "showFewer", { n: number(predictions.length) });
    words.textContent = note(isOpen ? FEW : predictions.length);
    draw(isOpen ? FEW : predictions.length);
  } }, t("showMore", { n: number(predictions.length) }));
  draw(FEW);
  return [list, h("p", { class: "note" }, words, predictions.length > FEW ? [" · ", more] : null, " · ", t("barsMean"))];
}

/** A bar whose length against its frame is the probability itself; its label shows its own map, where there is one. */
const bar = ({ label, probability: p }, mark) =>
  h("li", {},
    mark ? h("button", { type: "button", class: "label link", title: t("map.show", { label }), "aria-pressed": String(mark.isShown), onclick: mark.choose }, label)
      : h("span", { class: "label" }, label),
    s("svg", { class: "meter", "aria-hidden": "true", focusable: "false" },
      s("rect", { class: "full", width: "100%", height: "100%" }), s("rect", { class: "part", width: `${(100 * p).toFixed(3)}%`, height: "100%" })),
    h("span", { class: "figure" }, probability(p)));

function trust({ trust: found }, card) {
  const limit = found?.limit ?? limitOf(card?.manifest, card?.model?.precision);
  if (!found) {
    const reason = leftOutOf(card?.manifest, card?.model?.precision);
    return h("div", { class: "trust unknown" }, h("p", {}, t(reason ? "trust.leftOut" : "trust.unknown")),
      reason ? h("details", {}, h("summary", {}, t("trust.why")), h("p", { lang: "en" }, reason)) : null);
  }
  const figures = found.score === null ? "" : ` (${t(limit === null ? "trust.score" : "trust.scoreLimit", { score: number(found.score, 2), limit: limit === null ? "" : number(limit, 2) })})`;
  return h("div", { class: `trust ${found.fits ? "fits" : "strange"}` },
    h("p", {}, h("span", { "aria-hidden": "true" }, found.fits ? "✓ " : "⚠ "), t(found.fits ? "trust.fits" : "trust.strange", { figures })),
    h("details", {}, h("summary", {}, t("trust.what")), h("p", {}, t("trust.explained"))));
}

function times({ timing, elapsed }) {
  const total = timing.reduce((sum, [, ms]) => sum + ms, 0);
  let x = 0;
  const parts = timing.map(([name, ms], index) => {
    const width = total ? (100 * ms) / total : 0;
    x += width;
    return s("rect", { class: `part${index % 4}`, x: `${(x - width).toFixed(2)}%`, width: `${width.toFixed(2)}%`, height: "100%" });
  });
  const words = timing.map(([name, ms], index) => [index ? " │ " : "", h("span", { class: `time part${index % 4}` }, `${t(`stage.${name}`)} ${number(ms, 1)}`)]);
  return h("div", { class: "times" },
    s("svg", { class: "meter thin", "aria-hidden": "true", focusable: "false" }, parts),
    h("p", { class: "note" }, words, timing.length ? " " : "", t(timing.length ? "times" : "times.all", { server: number(total, 1), all: number(elapsed, 0) })));
}

/** The same question from a terminal, and the whole answer as it came. */
export function terminal({ picture, answer }, asking) {
  const command = curl(picture, asking);
  const code = h("code", {}, command);
  const copied = h("span", { class: "note", role: "status" });
  const keep = picture.door === "pasted" || picture.door === "camera";
  return [
    h("details", { class: "terminal" }, h("summary", {}, t("terminal")),
      h("div", { class: "command" }, h("pre", { tabindex: "0" }, code),
        h("button", { type: "button", onclick: () => copy(code, copied) }, t("copy"))),
      keep ? h("button", { type: "button", class: "link", onclick: () => download(picture.blob, picture.name) }, t("savePicture", { name: picture.name })) : null,
      copied),
    h("details", { class: "json" }, h("summary", {}, t("json")), h("pre", { tabindex: "0" }, JSON.stringify(answer.body, null, 2))),
  ];
}

/** A line that gives the same figures; a sample is fetched first. */
export function curl(picture, asking) {
  const url = new URL(asking.path(), document.baseURI);
  const secret = hasKey() ? ' -H "Authorization: Bearer $KEY"' : ""; // the key itself is not written down
  const post = (data) => `curl -s${secret} --data-binary ${data} -H ${quote(`content-type: ${picture.type}`)} ${quote(url.href)}`;
  if (picture.sample) return `curl -s${secret} ${quote(new URL(picture.sample.path, document.baseURI).href)} | ${post("@-")}`;
  return post(quote(`@${picture.name}`));
}

const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

async function copy(code, copied) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    copied.textContent = t("copied");
  } catch {
    getSelection().selectAllChildren(code);
    copied.textContent = t("copyKey");
  }
}
