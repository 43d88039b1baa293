// A field for a class: those that there are are suggested while one types, and a new one is possible.

import { get } from './api.js';
import { make } from './elements.js';
import { number, t } from './texts.js';

const MOST = 8;
const recent = []; // labels that were given, the last first: they are likely to be given again
let fields = 0;
const fold = (text) => text.normalize('NFD').replace(/\p{M}/gu, '').replaceAll('_', ' ').toLowerCase();

/** The classes of a gallery: { label, name, count, prototype }; those without a label, if any, come last. */
export async function readClasses(gallery, signal, prototypes = null) {
  const found = await get('classes', { gallery: gallery.name, prototypes }, signal);
  return found.map((one) => ({ ...one, name: one.name ?? one.label }));
}

/** Classes that suit what was typed, the best first. */
export function suit(classes, text) {
  const wanted = fold(text.trim());
  const rank = ({ label, name }) => Math.min(...[label, name].map((one) => {
    const place = fold(one).indexOf(wanted);
    if (place < 0) return Infinity;
    if (fold(one) === wanted) return 0;
    return place === 0 ? 1 : /\W/.test(fold(one)[place - 1]) ? 2 : 3;
  }));
  const used = ({ label }) => (recent.includes(label) ? recent.indexOf(label) : recent.length);
  const ranked = classes.filter((one) => one.label !== null).map((one) => [rank(one), used(one), one]);
  const fit = ranked.filter(([one]) => one < Infinity);
  return fit.sort((one, other) => one[0] - other[0] || one[1] - other[1]).map(([, , one]) => one);
}

export class ClassField {
  /**
   * Args:
   *   label: What it asks for.
   *   classes: As readClasses gives them.
   *   picked(label, name): A class was chosen.
   *   left(): Escape was pressed.
   */
  constructor({ label, classes, picked, left = () => {} }) {
    Object.assign(this, { classes, picked, left, found: [], place: 0 });
    const name = `classes-${(fields += 1)}`;
    this.list = make('ul', { id: name, role: 'listbox', class: 'suggested', 'aria-label': label, hidden: true });
    this.input = make('input', {
      id: `${name}-field`, role: 'combobox', 'aria-expanded': 'false', 'aria-controls': name, 'aria-autocomplete': 'list',
      autocomplete: 'off', spellcheck: 'false', maxlength: 1000, placeholder: t('class_type'),
      on: { input: () => this.suggest(), focus: () => this.suggest(), blur: () => this.close(), keydown: (event) => this.type(event) },
    });
    this.element = make('div', { class: 'class-field' }, make('label', { for: this.input.id, text: label }), this.input, this.list);
  }

  suggest() {
    const text = this.input.value.trim();
    const found = suit(this.classes, text);
    const isKnown = found.some((one) => [one.label, one.name].some((known) => fold(known) === fold(text)));
    this.found = found.slice(0, MOST).map((one) => ({ ...one, text: one.name, more: number(one.count) }));
    if (text && !isKnown) this.found.push({ label: text, name: text, text: t('class_new', { label: text }), more: '' });
    this.place = 0;
    this.isMoved = false;
    const options = this.found.map((one, place) => {
      const parts = [make('span', { text: one.text }), make('span', { class: 'muted small', text: one.more })];
      const option = make('li', { role: 'option', id: `${this.list.id}-${place}` }, ...parts);
      option.addEventListener('pointerdown', (event) => event.preventDefault());
      option.addEventListener('click', () => this.pick(place));
      return option;
    });
    this.list.replaceChildren(...options);
    this.show(options.length > 0);
    this.mark();
  }

  show(isShown) {
    this.list.hidden = !isShown;
    this.input.setAttribute('aria-expanded', String(isShown));
  }

  mark() {
    [...this.list.children].forEach((one, place) => one.setAttribute('aria-selected', String(place === this.place)));
    const marked = this.list.hidden ? null : this.list.children[this.place];
    if (marked) this.input.setAttribute('aria-activedescendant', marked.id);
    else this.input.removeAttribute('aria-activedescendant');
    marked?.scrollIntoView({ block: 'nearest' });
  }

  type(event) {
    const count = this.found.length;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && count) {
      if (!this.list.hidden) this.place = (this.place + step + count) % count;
      this.isMoved = true;
      this.show(true);
      this.mark();
    } else if (event.key === 'Enter' && count && (this.input.value.trim() || this.isMoved)) this.pick(this.place);
    else if (event.key === 'Escape') {
      if (this.list.hidden || !this.input.value) this.left();
      this.close();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  pick(place) {
    const { label, name } = this.found[place];
    const before = recent.indexOf(label);
    if (before >= 0) recent.splice(before, 1);
    recent.unshift(label);
    this.input.value = '';
    this.close();
    this.picked(label, name);
  }

  close() {
    this.show(false);
    this.mark();
  }
}
