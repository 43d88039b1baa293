// Which of box, map and matches are shown, and how strongly: one choice for the whole page, which is remembered.

import { at, make } from './elements.js';
import { recall, remember, t } from './texts.js';

const state = { box: true, map: false, matches: true, strength: 70, ...read() };

function read() {
  try {
    const { box, map, matches, strength } = JSON.parse(recall('overlays') || '{}');
    const kept = { box, map, matches, strength };
    return Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined));
  } catch {
    return {};
  }
}

/** Show what is chosen; maps that are shown for the first time are loaded now. */
export function applyOverlays() {
  const root = document.documentElement;
  for (const one of ['box', 'map', 'matches']) root.classList.toggle(`show-${one}`, Boolean(state[one]));
  root.style.setProperty('--strength', String(state.strength / 100));
  if (!state.map) return;
  for (const one of document.querySelectorAll('.light image:not([href])')) one.setAttribute('href', one.dataset.source);
}

/** Make the switches, beside the hits and in the comparison. */
export function makeOverlays() {
  for (const place of document.querySelectorAll('.overlays')) {
    const isCompare = at('compare').contains(place);
    const names = isCompare ? ['box', 'map', 'matches'] : ['box', 'map'];
    const box = make('fieldset', {}, make('legend', { text: t('show') }));
    for (const name of names) {
      const input = make('input', { type: 'checkbox', name: `show-${name}` });
      input.checked = Boolean(state[name]);
      input.addEventListener('change', () => change(name, input.checked));
      box.append(make('label', {}, input, ` ${t(`show_${name}`)}`), ' ');
    }
    const range = make('input', { type: 'range', name: 'strength', min: 10, max: 100, step: 10, value: state.strength });
    range.addEventListener('input', () => change('strength', Number(range.value)));
    box.append(make('label', { class: 'strength' }, `${t('strength')} `, range));
    place.replaceChildren(box);
  }
  applyOverlays();
}

function change(name, value) {
  state[name] = value;
  remember('overlays', JSON.stringify(state));
  for (const input of document.querySelectorAll(`.overlays [name="show-${name}"]`)) input.checked = value;
  for (const input of document.querySelectorAll(`.overlays [name="${name}"]`)) input.value = value;
  applyOverlays();
}
