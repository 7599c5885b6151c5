// The camera of a desktop: a dialog with the live picture; Esc, Cancel and Take all let it go.

import { h } from "./dom.js";
import { t } from "./text.js";

/** Ask for the camera, show it, and hand one picture over. */
export async function openCamera(asking) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    asking.say("door.cameraRefused");
    return;
  }
  const video = h("video", { autoplay: true, muted: true, playsinline: true, "aria-label": t("camera.live") });
  video.muted = true;
  video.srcObject = stream;
  const dialog = h("dialog", { id: "camera-dialog", "aria-label": t("door.camera"), onclose: () => {
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
  } },
  video,
  h("div", { class: "doors" },
    h("button", { type: "button", class: "main", autofocus: true, onclick: () => take(video, dialog, asking) }, t("camera.take")),
    h("button", { type: "button", onclick: () => dialog.close() }, t("camera.cancel"))));
  document.body.append(dialog);
  dialog.showModal();
}

function take(video, dialog, asking) {
  if (!video.videoWidth) return; // the first frame has not come yet
  const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    dialog.close();
    asking.ask({ name: "camera.jpg", door: "camera", load: async () => blob });
  }, "image/jpeg", 0.92);
}
