// The entry: language, colours, and which of the three views the address names.

import { showArchitecture } from "./architecture.js";
import { showCard } from "./card.js";
import { download, h } from "./dom.js";
import { choose, get, under } from "./facts.js";
import { hasKey, request } from "./keys.js";
import { LANGUAGES, SHORT, language, preferred, recall, remember, speak, t, translate } from "./text.js";
import { buildTry, showTry } from "./try.js";

const THEMES = ["auto", "light", "dark"];
const byId = (id) => document.getElementById(id);
let card = null;

/** `#/architecture/layer3.17?by=params` -> {view, id, query}. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, id = null] = path.split("/");
  return { view: ["architecture", "card"].includes(view) ? view : "try", id: id && decodeURIComponent(id), query: new URLSearchParams(query) };
}

function show() {
  const here = place();
  for (const view of ["try", "architecture", "card"]) byId(view).hidden = view !== here.view;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === here.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = [t(`view.${here.view}`), card?.model?.name].filter(Boolean).join(" · ");
  if (here.view === "try") showTry(card);
  if (here.view === "architecture") showArchitecture(byId("architecture"), here);
  if (here.view === "card") showCard(byId("card"), card);
}

/** Write everything that stands on the page in the current language. */
function write() {
  translate();
  const other = Object.keys(LANGUAGES).find((one) => one !== language());
  Object.assign(byId("language"), { textContent: SHORT[other], lang: other });
  byId("language").setAttribute("aria-label", `${SHORT[other]}, ${LANGUAGES[other]}`);
  theme(recall("theme") ?? "auto");
  buildTry(byId("try"), card, { arrive: () => place().view !== "try" && (location.hash = "#/"), changed: lookAgain });
  show();
  ready();
}

function theme(name) {
  const chosen = THEMES.includes(name) ? name : "auto";
  document.documentElement.dataset.theme = chosen;
  byId("theme").textContent = { auto: "◐", light: "○", dark: "●" }[chosen];
  byId("theme").setAttribute("aria-label", t(`theme.${chosen}`));
  byId("theme").title = t(`theme.${chosen}`);
}

/** Name the model, and say whether its server takes requests. */
async function ready() {
  const model = card?.model;
  byId("name").textContent = model ? model.name : "resnet-service";
  byId("version").textContent = model ? `v${model.version} · ${model.precision} · ${model.provider}` : "";
  const answered = await fetch("readyz").then((response) => response.ok, () => false);
  byId("ready").dataset.ready = String(answered);
  byId("ready").textContent = t(answered ? "ready" : "notReady");
}

/** A server that does not answer, or answers again, is not what the header says. */
const lookAgain = (state) => (["unreachable", "draining"].includes(state) || byId("ready").dataset.ready === "false") && ready();

/** Where there are several models or versions: take what the address names, and offer the others. */
function offerModels(listed) {
  const { models } = listed;
  const query = new URLSearchParams(location.search);
  const here = models.find((model) => model.name === query.get("model")) ?? models.find((model) => model.default);
  if (!here) return;
  const aliases = Object.entries(here.aliases ?? {});
  const named = query.get("version");
  const version = here.versions.find((one) => one === named) ?? aliases.find(([alias]) => alias === named)?.[1] ?? null;
  const answering = here.default ? listed.default.version : here.version;
  choose(here.default && version === null ? null : here.name, version);
  offer("models", models.map(({ name }) => [name, name]), here.name);
  offer("versions", here.versions.map((one) => [one, [`v${one}`, ...aliases.filter((pair) => pair[1] === one).map(([alias]) => alias)].join(" · ")]), version ?? answering);
  for (const link of document.querySelectorAll("footer [data-model]")) link.setAttribute("href", under(link.getAttribute("href")));
}

function offer(id, options, chosen) {
  byId(id).append(...options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
  byId(id).hidden = options.length < 2;
}

/** Load the page anew for another model, or another version of this one. */
function ask(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) value === null ? query.delete(name) : query.set(name, value);
  location.search = query;
}

byId("models").addEventListener("change", () => ask({ model: byId("models").value, version: null }));
byId("versions").addEventListener("change", () => ask({ version: byId("versions").value }));
byId("language").addEventListener("click", async () => {
  const other = Object.keys(LANGUAGES).find((one) => one !== language());
  await speak(other);
  remember("lang", other);
  write();
});
byId("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  remember("theme", next);
  theme(next);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("content").focus();
});
/** With a key a link's file is fetched and saved: the browser would ask for it without the key. */
document.addEventListener("click", async (event) => {
  const link = event.target.closest?.("a[data-file]");
  if (!link || !hasKey()) return;
  event.preventDefault();
  const response = await request(link.href);
  if (response.ok) download(await response.blob(), link.dataset.file);
});
addEventListener("hashchange", show);

document.documentElement.dataset.theme = recall("theme") ?? "auto";
await speak(preferred()); // before the first request, which may ask for a key
translate();
const listed = await get("models").catch(() => null);
if (listed) {
  offerModels(listed);
  card = await get(under("card")).catch(() => null);
}
write();
