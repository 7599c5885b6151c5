// Words and figures in the reader's language: `t`, shares, counts, units.

export const LANGUAGES = { en: "English", "zh-CN": "中文" };
/** For the button, in letters that every system has. */
export const SHORT = { en: "EN", "zh-CN": "ZH" };
const texts = {};
let current = "en";

/** Choose: `?lang`, then what was chosen last, then what the browser prefers. */
export function preferred() {
  const wanted = [new URLSearchParams(location.search).get("lang"), recall("lang"), ...navigator.languages];
  for (const tag of wanted.filter(Boolean)) {
    if (/^zh\b/i.test(tag)) return "zh-CN";
    if (/^en\b/i.test(tag)) return "en";
  }
  return "en";
}

/** Load a language and make it the current one. */
export async function speak(language) {
  texts[language] ??= await (await fetch(`static/text.${language}.json`)).json();
  current = language;
  document.documentElement.lang = language;
}

export const language = () => current;

/** The text under a key, with `{name}` replaced by values; a missing key shows itself. */
export function t(key, values = {}) {
  const text = texts[current]?.[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

export const has = (key) => key in (texts[current] ?? {});

/** Fill every element that names its text, its label, or its title. */
export function translate(root = document) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(current, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

/** A probability: one digit, and never certainty nor impossibility. */
export function probability(p) {
  if (p >= 0.9995) return t("more", { n: t("percent", { n: number(99.9, 1) }) });
  if (p < 0.0005) return t("less", { n: t("percent", { n: number(0.1, 1) }) });
  return t("percent", { n: number(100 * p, 1) });
}

/** The same for the ear: whole percent, rounded but not up to certainty. */
export function spokenProbability(p) {
  if (p >= 0.995) return t("spoken.more");
  return t("spoken.percent", { n: number(Math.round(100 * p)) });
}

/** A measured share, which may well be a whole: 94.49 %. */
export const share = (value, digits = 1) => t("percent", { n: number(100 * value, digits) });

/** 231,211,008 -> "231 M"; three digits are enough to compare. */
export function count(value) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    const scaled = value / size;
    if (scaled >= 0.9995) return `${number(scaled, scaled < 99.95 && unit !== "k" ? (scaled < 9.995 ? 2 : 1) : scaled < 9.95 ? 1 : 0)} ${unit}`;
  }
  return number(value);
}

export const bytes = (value) =>
  value && value % 2 ** 20 === 0 ? `${number(value / 2 ** 20)} MiB` : value >= 1e6 ? `${number(value / 1e6, 1)} MB` : value >= 1e3 ? `${number(value / 1e3, 0)} kB` : `${number(value)} B`;

/** What the browser keeps for next time; a browser that refuses is no reason to stop. */
export function recall(name) {
  try {
    return localStorage.getItem(`resnet.${name}`);
  } catch {
    return null;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`resnet.${name}`, value);
  } catch {
    // Private windows: the choice lasts as long as the page.
  }
}
