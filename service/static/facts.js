// The one place that knows the shapes of the service's answers; the views ask here.
// Everything is read defensively: what a model or a server does not have is null.

import { request } from "./keys.js";

let start = ""; // of the routes of the model that was chosen

/** Choose a model by its name and perhaps a version; null: the default one. */
export const choose = (name, version = null) => {
  start = [["models", name], ["versions", version]].map(([part, value]) => (value === null ? "" : `${part}/${encodeURIComponent(value)}/`)).join("");
};

/** A route of the model that was chosen. */
export const under = (path) => start + path;

/** Fetch JSON from this server; relative, so that a prefix before the page does no harm. */
export async function get(path) {
  const response = await request(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** Where the files of the samples lie, and their labels. */
export const samples = (card) => (card?.samples ?? []).map((sample) => ({ path: sample.path, label: sample.label }));

export const canExplain = (card) => (card?.options ?? []).includes("explain");

export const maxBytes = (card) => card?.limits?.max_body_bytes ?? null;

/** The square of an upright picture that the network sees, as shares of its sides. */
export function cropOf(card, width, height) {
  const spec = card?.manifest?.preprocessing;
  if (!spec || !width || !height) return null;
  const side = (Math.min(width, height) * spec.crop) / spec.resize;
  return { left: (1 - side / width) / 2, top: (1 - side / height) / 2, width: side / width, height: side / height };
}

/** One picture's answer, whatever of it is there. */
export function answerOf(body) {
  const result = body.results[0];
  return {
    model: body.model,
    predictions: result.predictions,
    explanation: explanationOf(result.explanation),
    trust: trustOf(result),
    body,
  };
}

function explanationOf(raw) {
  const map = raw?.map;
  if (!Array.isArray(map) || !Array.isArray(map[0])) return null;
  const { box, width, height } = raw;
  const placed = box && width && height;
  return {
    label: raw.label ?? null,
    map,
    maps: raw.maps ?? [map],
    crop: placed
      ? { left: box.left / width, top: box.top / height, width: (box.right - box.left) / width, height: (box.bottom - box.top) / height }
      : null,
  };
}

function trustOf(result) {
  const flag = result.in_distribution ?? result.refusal?.in_distribution;
  if (typeof flag !== "boolean") return null;
  const score = result.score ?? result.refusal?.score ?? null;
  return { fits: flag, score, limit: result.threshold ?? result.refusal?.threshold ?? null };
}

/** The score's limit, wherever the manifest keeps it. */
export function limitOf(manifest, precision) {
  const part = manifest?.files?.[precision]?.refusal ?? first(manifest, "refusal", "out_of_distribution", "in_distribution", "ood");
  return typeof part?.threshold === "number" ? part.threshold : null;
}

/** Why there is no limit; null if there is one, or nothing is said. */
export const leftOutOf = (manifest, precision) => manifest?.files?.[precision]?.refusal?.left_out ?? null;

/** 15 bins of confidence: [{confidence, accuracy, n}], after and, if known, before calibration. */
export function reliabilityOf(manifest) {
  const part = first(manifest?.metrics, "reliability") ?? first(manifest, "calibration", "reliability");
  if (!part) return null;
  const after = bins(part.bins ?? part.after?.bins ?? part.after ?? part.reliability?.bins ?? part.reliability ?? part);
  if (!after) return null;
  return {
    after,
    before: bins(part.before?.bins ?? part.before ?? part.bins_before),
    ece: number(part.ece, part.after?.ece, manifest.metrics?.ece),
    method: manifest.calibration?.method ?? part.method ?? part.name ?? null,
  };
}

function bins(raw) {
  if (Array.isArray(raw) && raw.every((bin) => "accuracy" in bin || "n" in bin || "count" in bin)) {
    return raw.map((bin) => ({ confidence: bin.confidence ?? null, accuracy: bin.accuracy ?? null, n: bin.n ?? bin.count ?? 0 }));
  }
  const counts = raw?.n ?? raw?.counts ?? raw?.count;
  if (Array.isArray(counts) && Array.isArray(raw.accuracy)) {
    return counts.map((n, i) => ({ confidence: raw.confidence?.[i] ?? null, accuracy: raw.accuracy[i], n }));
  }
  return null;
}

/** Counts, rows = truth, columns = answer. */
export function confusionOf(manifest) {
  const part = first(manifest?.metrics, "confusion", "confusion_matrix", "confusions") ?? first(manifest, "confusion", "confusion_matrix", "confusions");
  const matrix = Array.isArray(part) ? part : part?.matrix;
  const side = manifest?.labels?.length;
  return Array.isArray(matrix) && matrix.length === side && matrix.every((row) => Array.isArray(row) && row.length === side) ? matrix : null;
}

/** Per label: support, precision, recall, F1 and what it is most often taken for. */
export function labelsOf(manifest) {
  const matrix = confusionOf(manifest);
  const listed = first(manifest?.metrics, "per_label", "labels") ?? first(manifest, "per_label");
  return (manifest?.labels ?? []).map((label, index) => {
    if (matrix) return fromMatrix(matrix, manifest.labels, label, index);
    const row = Array.isArray(listed) ? listed[index] : listed?.[label];
    return {
      label,
      support: number(row?.support, row?.n),
      precision: number(row?.precision),
      recall: number(row?.recall),
      f1: number(row?.f1),
      confused: row?.most_confused_with ?? null,
    };
  });
}

function fromMatrix(matrix, names, label, index) {
  const support = sum(matrix[index]);
  const answered = sum(matrix.map((row) => row[index]));
  const right = matrix[index][index];
  const recall = support ? right / support : null;
  const precision = answered ? right / answered : null;
  const others = matrix[index].map((n, i) => (i === index ? -1 : n));
  const most = others.indexOf(Math.max(...others));
  return {
    label,
    support,
    precision,
    recall,
    f1: right ? (2 * precision * recall) / (precision + recall) : support && answered ? 0 : null,
    confused: others[most] > 0 ? names[most] : null,
  };
}

/** What `GET /drift` says, if this service has it: [{name, psi, status}]. */
export async function driftOf(card) {
  if (!(card?.routes ?? []).includes("/drift")) return null;
  const raw = await get(under("drift")).catch(() => null);
  const found = raw?.quantities ?? raw?.psi ?? raw;
  const rows = Array.isArray(found)
    ? found.map((one) => ({ name: one.name ?? one.quantity, psi: number(one.psi, one.value) }))
    : Object.entries(found ?? {}).map(([name, one]) => ({ name, psi: number(one, one?.psi), status: one?.status }));
  const known = rows.filter((row) => row.name && row.psi !== null);
  return known.length ? known : null;
}

/** One row per file of the artifact. */
export const precisionsOf = (manifest) =>
  Object.entries(manifest?.files ?? {}).map(([precision, file]) => ({
    precision,
    bytes: number(file.bytes),
    top1: number(file.top1),
    agreement: number(file.top1_agreement),
    error: number(file.max_abs_logit_error),
    speed: number(file.speed?.images_per_second, file.pictures_per_s, precision === "float32" ? besideOthers(manifest) : null),
    sha256: file.sha256 ?? null,
  }));

/** float32's pictures/s, as measured beside the last of the other precisions. */
const besideOthers = (manifest) => Object.values(manifest.files).at(-1).speed?.float32_images_per_second ?? null;

/** Parts of the manifest that no section of the card shows: listed as they are. */
export function restOf(manifest) {
  const shown = ["schema_version", "name", "version", "architecture", "labels", "input", "preprocessing", "temperature", "files", "metrics", "provenance", "data", "reference", "head_bias"];
  return Object.entries(manifest ?? {}).filter(([name]) => !shown.includes(name));
}

/** Wilson's 95 % interval of a share counted on n cases. */
export function wilson(share, n) {
  const z = 1.959963984540054;
  const weight = (z * z) / n;
  const centre = (share + weight / 2) / (1 + weight);
  const half = (z / (1 + weight)) * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
  return { low: Math.max(0, centre - half), high: Math.min(1, centre + half), half };
}

const first = (object, ...names) => names.map((name) => object?.[name]).find((value) => value !== undefined && value !== null) ?? null;
const number = (...values) => values.find((value) => typeof value === "number" && Number.isFinite(value)) ?? null;
const sum = (values) => values.reduce((total, value) => total + value, 0);
