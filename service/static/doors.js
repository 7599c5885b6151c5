// Five doors into one machine: drop anywhere, paste without focus, choose, camera, sample.
// Each ends in `ask(picture)`, or in `say(key)` when there was no picture in what came.

import { openCamera } from "./camera.js";
import { h } from "./dom.js";
import { request } from "./keys.js";
import { t } from "./text.js";

/** What the file dialog offers; naming the formats makes an iPhone hand over JPEG. */
export const ACCEPT = "image/jpeg,image/png,image/webp,image/gif,image/bmp";

export const fromFile = (file, door) => ({ name: file.name || `${door}.${(file.type.split("/")[1] ?? "png").replace("jpeg", "jpg")}`, door, load: async () => file });

export const fromSample = (sample) => ({
  name: sample.path.split("/").at(-1),
  door: "sample",
  sample,
  load: async (signal) => {
    const response = await request(sample.path, { signal });
    if (!response.ok) throw new Error(String(response.status));
    return response.blob();
  },
});

/** Listen on the whole document; `isHere` says whether the first view is the one in sight. */
export function openDoors(asking, { arrive, several }) {
  const curtain = document.getElementById("curtain");
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].some((type) => type === "Files" || type.startsWith("text/"));
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // always: else the browser leaves the page for the picture
    curtain.hidden = !carries(event);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) curtain.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    curtain.hidden = true;
    arrive();
    const [file, ...more] = event.dataTransfer?.files ?? [];
    if (more.length) several([file, ...more]);
    else if (file) asking().ask(fromFile(file, "dropped"));
    else asking().say(event.dataTransfer?.types.includes("text/uri-list") ? "door.link" : "door.nothing");
  });
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input:not([type=range]):not([type=radio]):not([type=checkbox]), textarea")) return;
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    event.preventDefault();
    arrive();
    if (file) asking().ask(fromFile(file, "pasted"));
    else asking().say("door.clipboard");
  });
}

/** The buttons under the frame. */
export function doorButtons(asking, several) {
  const input = h("input", { type: "file", accept: ACCEPT, multiple: true, class: "unseen", tabindex: "-1", "aria-hidden": "true", "data-door": "choose", onchange: () => take(input, "chosen") });
  const snap = h("input", { type: "file", accept: ACCEPT, capture: "environment", class: "unseen", tabindex: "-1", "aria-hidden": "true", onchange: () => take(snap, "camera") });
  const take = (from, door) => {
    const [file, ...more] = from.files;
    from.value = ""; // the same file may be chosen again
    if (more.length) several([file, ...more]);
    else if (file) asking.ask(fromFile(file, door));
  };
  const choose = () => input.click();
  const isPhone = matchMedia("(pointer: coarse)").matches;
  const camera = isPhone ? () => snap.click() : navigator.mediaDevices?.getUserMedia ? () => openCamera(asking) : null;
  const element = h("div", { class: "doors" },
    h("button", { type: "button", onclick: choose }, t("door.choose")),
    h("button", { type: "button", onclick: () => pasteFromClipboard(asking) }, t("door.paste")),
    camera ? h("button", { type: "button", onclick: camera, id: "camera" }, t("door.camera")) : null,
    input, snap);
  return { element, choose };
}

/** The button reads the clipboard where the browser lets it; Ctrl+V works everywhere. */
async function pasteFromClipboard(asking) {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((one) => one.startsWith("image/"));
      if (type) return asking.ask(fromFile(new File([await item.getType(type)], `pasted.${type.split("/")[1]}`, { type }), "pasted"));
    }
    asking.say("door.clipboard");
  } catch {
    asking.say("door.pasteKey");
  }
}
