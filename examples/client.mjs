// A small client for browsers and Node: no dependency. Copy it.
//
//   import { predict } from "./client.mjs";
//   const [result] = await predict("http://localhost:8000", file);   // a File, Blob or Buffer
//   console.log(result.predictions[0].label);
//
// In Node, as a command: node client.mjs http://localhost:8000 boot.png

/** The service refused a request (RFC 9457): `status`, a stable `code`, and `message`. */
export class ProblemError extends Error {
  constructor(status, { code = "unknown", detail = "" }) {
    super(`${status} ${code}: ${detail}`);
    Object.assign(this, { status, code });
  }
}

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

/** Classify one image; `options`: key, model, topK, coverage, attempts, signal. Gives `results`. */
export async function predict(url, image, options = {}) {
  const { key, model, topK = 5, coverage, attempts = 4, signal } = options;
  const path = model ? `models/${encodeURIComponent(model)}/predict` : "predict";
  const target = new URL(path, url.endsWith("/") ? url : `${url}/`);
  target.searchParams.set("top_k", topK);
  if (coverage) target.searchParams.set("coverage", coverage);
  const headers = { "content-type": "application/octet-stream" };
  if (key) headers.authorization = `Bearer ${key}`;
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(target, { method: "POST", body: image, headers, signal });
    if (response.ok) return (await response.json()).results;
    if (![429, 503].includes(response.status) || attempt >= attempts) {
      throw new ProblemError(response.status, await response.json().catch(() => ({})));
    }
    const wait = Number(response.headers.get("retry-after") ?? 0.1 * 2 ** attempt);
    await sleep(wait * (1 + Math.random() / 4)); // so that clients do not return together
  }
}

if (globalThis.process?.argv?.[1]?.endsWith("client.mjs")) {
  const { readFile } = await import("node:fs/promises");
  const [url, path] = process.argv.slice(2);
  const [{ predictions }] = await predict(url, await readFile(path));
  for (const { label, probability } of predictions) {
    console.log(`${label}, ${(100 * probability).toFixed(1)}%`);
  }
}
