// Texts of the page, one file per language; what comes from the server stays as it is.

export const LANGUAGES = ['en', 'de'];
let texts = {};
let spoken = 'en';

export const language = () => spoken;

/** The language to begin with: the one chosen before, else the first of the browser's that there is. */
export function firstLanguage() {
  const wanted = [recall('language'), ...(navigator.languages || [navigator.language])];
  return wanted.map((one) => String(one).slice(0, 2)).find((one) => LANGUAGES.includes(one)) || 'en';
}

/** Load the texts of a language and put them into the page. */
export async function useLanguage(name) {
  const response = await fetch(new URL(`texts.${name}.json`, import.meta.url));
  if (!response.ok) throw new TypeError(`texts.${name}.json: ${response.status}`);
  texts = await response.json();
  spoken = name;
  document.documentElement.lang = name;
  document.title = t('title');
  translate(document);
}

/** A text, with values in its places. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (place, name) => String(values[name] ?? place));
}

/** Fill in all elements that name a text: data-text is their content, data-label what is read out for them. */
export function translate(root) {
  for (const one of root.querySelectorAll('[data-text]')) one.textContent = t(one.dataset.text);
  for (const one of root.querySelectorAll('[data-label]')) one.setAttribute('aria-label', t(one.dataset.label));
}

export const number = (value, digits = 0) =>
  value.toLocaleString(spoken, { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const percent = (value) => value.toLocaleString(spoken, { style: 'percent', maximumFractionDigits: 0 });

export const seconds = (value) => number(value / 1000, value < 9950 ? 1 : 0);

/** A message of the server, which may begin small and end without a full stop, as a sentence. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) || !text ? '' : '.');

/** What this browser was told to remember; null where it remembers nothing. */
export function recall(name) {
  try {
    return localStorage.getItem(`glsim-${name}`);
  } catch {
    return null;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`glsim-${name}`, value);
  } catch {
    // Private windows may refuse; then it is chosen anew.
  }
}
