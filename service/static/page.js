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
  buildTry(byId("try"), card, () => place().view !== "try" && (location.hash = "#/"));
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

/** Where there are several models: take the one that the address names, and offer the others. */
function offerModels(models) {
  if (models.length < 2) return;
  const wanted = new URLSearchParams(location.search).get("model");
  const here = models.find((model) => model.name === wanted) ?? models.find((model) => model.default);
  choose(here.default ? null : here.name);
  byId("models").append(...models.map(({ name }) => h("option", { value: name, selected: name === here.name }, name)));
  byId("models").hidden = false;
  for (const link of document.querySelectorAll("footer [data-model]")) link.setAttribute("href", under(link.getAttribute("href")));
}

byId("models").addEventListener("change", () => {
  const query = new URLSearchParams(location.search);
  query.set("model", byId("models").value);
  location.search = query;
});
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
  offerModels(listed.models);
  card = await get(under("card")).catch(() => null);
}
write();
