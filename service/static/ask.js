// The one state machine behind every door: a picture goes in, and ends as an answer or as a
// trouble with a way out. A newer picture aborts the older; the last answer stays until then.
//
//   empty -> reading -> sending -> answer | refused | unreachable | busy | draining

import { answerOf, canExplain, under } from "./facts.js";
import { request } from "./keys.js";

const SLOW_MS = 400;
const RETRIES = 2;

export class Asking {
  /** `changed` is called after every change; `card` is what the service says of itself. */
  constructor(card, changed) {
    this.card = card;
    this.changed = changed;
    this.state = "empty";
    this.shown = null; // {picture, answer}: the last that was answered
    this.pending = null; // the picture on its way
    this.trouble = null; // why it did not arrive
    this.slow = false;
    this.explain = canExplain(card);
    this.controller = null;
  }

  /** Take a picture from any door: `{name, door, load}`, where `load` gives its bytes. */
  async ask(picture) {
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    if (this.pending !== picture) this.#forget(this.pending);
    this.#set("reading", { pending: picture, trouble: null, slow: false });
    try {
      await prepare(picture, controller.signal);
    } catch (error) {
      if (!controller.signal.aborted) this.#fail("unreachable", { picture, error });
      return;
    }
    if (!controller.signal.aborted) await this.#send(picture, controller.signal);
  }

  /** Give up waiting for a full server. */
  stop() {
    this.controller?.abort();
    this.#fail("refused", { ...this.trouble, stopped: true });
  }

  async #send(picture, signal) {
    this.#set("sending", {});
    const patience = setTimeout(() => !signal.aborted && this.#set(this.state, { slow: true }), SLOW_MS);
    try {
      for (let attempt = 0; ; attempt += 1) {
        const outcome = await this.#post(picture, signal);
        if (outcome.state !== "busy" || attempt === RETRIES) return this.#end(outcome);
        await this.#wait(outcome, signal);
        this.#set("sending", { trouble: null });
      }
    } catch (error) {
      if (!signal.aborted) this.#fail("unreachable", { picture, error });
    } finally {
      clearTimeout(patience);
    }
  }

  async #post(picture, signal) {
    const began = performance.now();
    const response = await request(this.path(), { method: "POST", body: picture.blob, headers: { "content-type": picture.type }, signal });
    const text = await response.text();
    if (signal.aborted) throw new DOMException("a newer picture came", "AbortError");
    const elapsed = performance.now() - began;
    if (response.ok) {
      const answer = { ...answerOf(JSON.parse(text)), elapsed, timing: stages(response.headers.get("server-timing")) };
      return { state: "answer", picture, answer };
    }
    const problem = problemOf(response, text);
    if (this.explain && [400, 404, 409, 501].includes(problem.status) && problem.code !== "malformed_request") {
      this.explain = false; // this model has no map
      return this.#post(picture, signal);
    }
    return { state: stateOf(problem), picture, problem, seconds: Number(response.headers.get("retry-after")) || 1 };
  }

  /** Count the seconds down before the next attempt. */
  async #wait(outcome, signal) {
    for (let seconds = outcome.seconds; seconds > 0; seconds -= 1) {
      this.#set("busy", { trouble: { ...outcome, seconds } });
      await new Promise((resolve, reject) => {
        const timer = setTimeout(resolve, 1000);
        signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
      });
    }
  }

  #end(outcome) {
    if (outcome.state !== "answer") return this.#fail(outcome.state === "busy" ? "refused" : outcome.state, outcome);
    if (this.shown?.picture !== outcome.picture) this.#forget(this.shown?.picture);
    this.#set("answer", { shown: outcome, pending: null, trouble: null, slow: false });
  }

  #fail(state, trouble) {
    this.#set(state, { pending: null, trouble, slow: false });
  }

  /** Show a trouble that needs no server: a drop without a picture, a refused camera. */
  say(key) {
    this.controller?.abort();
    this.#fail("refused", { key });
  }

  #set(state, changes) {
    Object.assign(this, changes, { state });
    this.changed(this);
  }

  #forget(picture) {
    if (picture?.url && picture !== this.shown?.picture) URL.revokeObjectURL(picture.url);
  }

  /** The route with its query: all labels if they are few, else the first ten. */
  path(extra = this.explain) {
    const labels = this.card?.manifest?.labels?.length ?? 10;
    return under(`predict?top_k=${labels <= 20 ? labels : 10}${extra ? "&explain=true" : ""}`);
  }
}

/** Get the bytes, and let the browser decode them: its rotation, its size, or no preview. */
async function prepare(picture, signal) {
  if (!picture.blob) {
    picture.blob = await picture.load(signal);
    picture.type = /^image\//.test(picture.blob.type) ? sendable(picture.blob.type) : "application/octet-stream";
  }
  picture.url = URL.createObjectURL(picture.blob);
  const image = new Image();
  image.src = picture.url;
  try {
    await image.decode();
    Object.assign(picture, { width: image.naturalWidth, height: image.naturalHeight });
  } catch {
    picture.width = picture.height = null; // the service says what is wrong with it
  }
}

/** A type that the service does not know would be refused before it looks at the bytes. */
const sendable = (type) => (/^image\/(jpeg|png|webp|gif|bmp)$/.test(type) ? type : "application/octet-stream");

function problemOf(response, text) {
  try {
    const { title, detail, code, status } = JSON.parse(text);
    return { title, detail, code, status: status ?? response.status };
  } catch {
    return { title: response.statusText || String(response.status), detail: "", code: "", status: response.status };
  }
}

function stateOf(problem) {
  if (problem.status !== 503) return "refused";
  return problem.code === "not_ready" ? "draining" : problem.code === "engine_stalled" ? "refused" : "busy";
}

/** `decode;dur=0.4, batch;desc="1"` -> [["decode", 0.4]]. */
function stages(header) {
  return [...(header ?? "").matchAll(/([\w-]+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]);
}
