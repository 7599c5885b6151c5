// The first view: a picture on the left, its answer on the right, samples and terminal below.

import { askMany, showMany } from "./many.js";
import { answerView, spokenAnswer, terminal } from "./answer.js";
import { Asking } from "./ask.js";
import { doorButtons, fromSample, openDoors } from "./doors.js";
import { h } from "./dom.js";
import { maxBytes, samples } from "./facts.js";
import { noAnswer, notLoaded, source } from "./keys.js";
import { COARSE, mapControls, shot, showMap } from "./picture.js";
import { bytes, has, number, t } from "./text.js";

const FEW = 10; // labels that are named
const view = { root: null, changed: null, asking: null, parts: null, rendered: null };

/** Build the view, anew in each language; its machine and its doors are made once. */
export function buildTry(root, card, { arrive, changed }) {
  Object.assign(view, { root, changed });
  if (!view.asking) {
    view.asking = new Asking(card, update);
    openDoors(() => view.asking, { arrive, several });
  }
  build(card);
  update(view.asking);
}

/** Several files: a table under the pair, which stays as it is. */
function several(files) {
  askMany(view.parts.many, files, () => view.asking.path(false));
  view.parts.many.scrollIntoView({ block: "nearest" });
}

/** The view comes into sight: if nothing was asked yet, the first sample is. */
export function showTry(card) {
  const [sample] = samples(card);
  if (sample && !view.asking.controller && view.asking.state === "empty") view.asking.ask({ ...fromSample(sample), isFirst: true });
}

function build(card) {
  const { asking, root } = view;
  const doors = doorButtons(asking, several);
  const frame = h("button", { type: "button", class: "frame", onclick: doors.choose });
  const parts = { frame, map: mapControls(frame), noMap: h("p", { class: "note", hidden: true }, t("map.none")), message: h("div", { class: "message" }), answer: h("div", { class: "answer" }), terminal: h("div", { class: "below" }), many: h("div", { class: "many" }) };
  view.parts = parts;
  view.rendered = null;
  root.replaceChildren(...flat([
    h("h1", { class: "unseen" }, t("view.try")),
    card ? purpose(card) : notLoaded(),
    h("div", { class: "pair" },
      h("div", { class: "picture" }, frame, doors.element, parts.map, parts.noMap),
      h("div", { class: "reply" }, parts.message, parts.answer, parts.terminal)),
    parts.many,
    gallery(card)]));
  showMany(parts.many);
}

/** What the model tells apart, and what it learned from. */
function purpose(card) {
  const { labels, metrics, data } = card?.manifest ?? {};
  if (!labels) return null;
  const names = labels.slice(0, FEW).join(", ") + (labels.length > FEW ? " …" : "");
  const origin = [metrics?.dataset, data?.licence].filter(Boolean).join(", ");
  return h("p", { class: "lead" }, t("purpose", { n: number(labels.length), names }), origin ? ` (${origin})` : "");
}

function gallery(card) {
  const found = samples(card);
  if (!found.length) return null;
  const items = found.map((sample) =>
    h("li", {}, h("button", { type: "button", class: "thumb", title: sample.label, "data-path": sample.path, onclick: () => view.asking.ask(fromSample(sample)) },
      source(h("img", { alt: "", loading: "lazy", class: card.manifest.preprocessing.resize <= COARSE ? "coarse" : "" }), sample.path), h("span", {}, sample.label))));
  return h("div", { class: "samples" }, h("h2", { id: "samples" }, t("samples")), h("ul", { "aria-labelledby": "samples" }, items),
    h("p", { class: "note" }, t(!card.are_samples_pictures ? "samples.blots" : card.manifest.metrics?.split === "test" ? "samples.test" : "samples.validation")));
}

/** Bring the page to the machine's state; runs after every change of it. */
function update(asking) {
  const { parts } = view;
  document.getElementById("content").dataset.state = asking.state;
  view.changed(asking.state);
  if (!parts) return;
  const waits = ["reading", "sending", "busy"].includes(asking.state);
  const picture = waits && asking.pending ? asking.pending : asking.shown?.picture;
  const answer = picture && picture === asking.shown?.picture ? asking.shown.answer : null;
  drawPicture(picture, answer, asking);
  parts.answer.classList.toggle("stale", waits || (asking.state !== "answer" && Boolean(asking.shown)));
  parts.answer.setAttribute("aria-busy", String(waits));
  if (view.rendered !== asking.shown) {
    view.rendered = asking.shown;
    parts.answer.replaceChildren(...flat(asking.shown ? answerView(asking.shown, asking.card, (...map) => showMap(parts.frame, ...map)) : []));
    parts.terminal.replaceChildren(...flat(asking.shown ? terminal(asking.shown, asking) : []));
  }
  parts.message.replaceChildren(...flat(messageOf(asking)));
  announce(asking);
}

function drawPicture(picture, answer, asking) {
  const { parts, root } = view;
  const key = `${picture?.url}${Boolean(answer)}`;
  if (parts.key !== key) {
    parts.key = key;
    const ready = !picture || picture.url; // while its bytes are read, the old one stays
    if (ready) parts.frame.replaceChildren(shot(picture, answer, asking.card));
  }
  parts.frame.setAttribute("aria-label", picture ? t("frame.label", { name: picture.sample?.label ?? picture.name }) : t("empty"));
  parts.map.hidden = !answer?.explanation;
  parts.noMap.hidden = !answer || Boolean(answer.explanation);
  for (const thumb of root.querySelectorAll(".thumb")) thumb.setAttribute("aria-pressed", String(picture?.sample?.path === thumb.dataset.path));
}

const flat = (children) => children.flat(Infinity).filter(Boolean);

/** What stands above the answer while it is on its way, or when it did not come. */
function messageOf(asking) {
  const { trouble, state } = asking;
  if (state === "sending" && asking.slow) return [h("p", { class: "notice" }, t("sending", { name: asking.card?.model?.name ?? "" }))];
  if (!trouble) return [];
  const again = trouble.picture ? h("button", { type: "button", onclick: () => asking.ask(trouble.picture) }, t("again")) : null;
  const old = asking.shown ? h("p", { class: "note" }, t("old")) : null;
  const box = (...children) => [h("div", { class: `notice ${state}` }, children)];
  if (trouble.key) return box(h("p", {}, t(trouble.key)), old);
  if (state === "busy") return box(h("p", {}, t("busy", { n: number(trouble.seconds) })), h("button", { type: "button", onclick: () => asking.stop() }, t("stop")));
  if (state === "unreachable") return box(h("p", {}, tooLarge(trouble, asking) ? t("tooLarge", { limit: bytes(maxBytes(asking.card)) }) : noAnswer()), again, old);
  return box(problem(trouble, asking), offersAgain(trouble) ? again : null, old);
}

/** A server that refuses a large body may hang up before the browser has sent it. */
const tooLarge = ({ picture }, { card }) => picture?.blob && maxBytes(card) && picture.blob.size > maxBytes(card);
const offersAgain = ({ problem: found }) => found && found.status >= 500;

/** The service's own words, then the way out. In another language its words are quoted. */
function problem({ picture, problem: found }, asking) {
  const translated = `problem.${found.code}`;
  const heading = has(translated) ? t(translated) : found.title;
  const limit = maxBytes(asking.card);
  return [
    h("p", {}, h("strong", {}, picture ? `${picture.name}: ` : "", heading)),
    found.detail ? h("p", { lang: "en" }, t("quoted", { detail: found.detail })) : null,
    found.status < 500 && limit ? h("p", {}, t("wayOut", { limit: bytes(limit) })) : null,
    found.status === 504 ? h("p", {}, t("nothingLost")) : null,
    found.code === "overloaded" ? h("p", {}, t("stillFull")) : null,
  ];
}

/** One live region says how it ended, once. */
function announce(asking) {
  const words = asking.state === "answer" ? spokenAnswer(asking.shown)
    : ["refused", "unreachable", "draining"].includes(asking.state) ? [...view.parts.message.querySelectorAll("p")].map((p) => p.textContent).join(" ")
    : asking.state === "sending" && asking.slow ? view.parts.message.textContent : null;
  const status = document.getElementById("status");
  if (words && status.textContent !== words) status.textContent = words;
}
