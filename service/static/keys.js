// Requests to this server, with the key that it may ask for: kept for the tab, sent with every
// request, forgotten when the server refuses it.

import { h } from "./dom.js";
import { t } from "./text.js";

const PLACE = "resnet.key";
let key = stored();
let asking = null; // one form for all requests that wait for a key
let isLocked = false; // the form was closed without a key

export const hasKey = () => key !== null;
export const currentKey = () => key;

/** Why there is no answer, in words: no key was given, or no server is there. */
export const noAnswer = () => t(isLocked ? "key.title" : "unreachable", { host: location.host });

/** The same where the page could not load what it shows, with a way to try again. */
export const notLoaded = () => [h("p", { class: "notice" }, noAnswer()), h("button", { type: "button", onclick: () => location.reload() }, t("again"))];

/** `fetch`, which asks the person for a key on 401 and tries again with it. */
export async function request(path, options = {}) {
  for (;;) {
    const sent = key;
    const headers = sent === null ? options.headers : { ...options.headers, authorization: `Bearer ${sent}` };
    isLocked = false;
    const response = await fetch(path, { ...options, headers });
    isLocked = response.status === 401;
    if (!isLocked) return response;
    if (key !== sent) continue; // another request has met the refusal first
    keep(null);
    asking ??= form(sent !== null).finally(() => (asking = null));
    if (!(await asking)) return response;
  }
}

/** Show a picture of this server; with a key its bytes are fetched first. */
export function source(image, path) {
  if (!hasKey()) image.src = path;
  else {
    image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
    request(path).then((response) => response.blob()).then((blob) => (image.src = URL.createObjectURL(blob)), () => {});
  }
  return image;
}

/** Ask for a key; false if the form was closed without one. */
function form(isRefused) {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", id: "key", autocomplete: "off", required: true, oninput: () => input.setCustomValidity("") });
    const submit = (event) => {
      event.preventDefault();
      const given = input.value.trim();
      if (/^[!-~]+$/.test(given)) {
        keep(given);
        dialog.close();
      } else {
        input.setCustomValidity(t("key.malformed"));
        input.reportValidity();
      }
    };
    const dialog = h("dialog", { class: "key", "aria-labelledby": "key-title", onclose: () => (dialog.remove(), resolve(hasKey())) },
      h("form", { onsubmit: submit },
        h("h2", { id: "key-title" }, t("key.title")),
        isRefused ? h("p", { role: "alert" }, t("key.refused")) : null,
        h("p", {}, h("label", { for: "key" }, t("key.label")), " ", input, " ", h("button", { class: "main" }, t("key.send"))),
        h("p", { class: "note" }, t("key.kept"))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

function stored() {
  try {
    return sessionStorage.getItem(PLACE);
  } catch {
    return null;
  }
}

function keep(value) {
  key = value;
  try {
    if (value === null) sessionStorage.removeItem(PLACE);
    else sessionStorage.setItem(PLACE, value);
  } catch {
    // Private windows: the key lasts as long as the page.
  }
}
