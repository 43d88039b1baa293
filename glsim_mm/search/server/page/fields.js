// Fields that know the gallery: conditions on its columns, and a class, known or new.

import { Problem, get } from './api.js';
import { later, make } from './elements.js';
import { number, sentence, t } from './texts.js';

const SIGNS = { is: '=', not: '!=', less: '<', most: '<=', least: '>=', more: '>', in: ' in ' };
const WITHOUT = { empty: '=', filled: '!=' };
const OF_TEXT = ['is', 'not', 'in', 'empty', 'filled'];
const OF_NUMBERS = ['is', 'not', 'least', 'most', 'more', 'less', 'in', 'empty', 'filled'];
let lists = 0;
const quote = (text) => `"${text.replaceAll('"', '""')}"`;

export class Filter {
  /**
   * element: A details element, which it fills. changed(): called when other rows pass. conditions: To begin with, as
   * they are kept in addresses.
   */
  constructor(element, changed, conditions = []) {
    Object.assign(this, { element, conditions, columns: {}, values: {}, gallery: null });
    this.soon = later(400, () => {
      this.count();
      changed();
    });
    this.told = make('span', { class: 'muted' });
    this.list = make('ul', { class: 'conditions' });
    this.more = make('button', { type: 'button', class: 'more', on: { click: () => this.add() } });
    this.none = make('button', { type: 'button', class: 'none', on: { click: () => this.clear() } });
    this.says = make('p', { class: 'says muted small', 'aria-live': 'polite' });
    this.title = make('span');
    element.replaceChildren(
      make('summary', {}, this.title, ' ', this.told), this.list, make('div', { class: 'buttons' }, this.more, this.none), this.says,
    );
  }

  use(gallery) {
    this.gallery = gallery.name;
    this.columns = gallery.columns;
    this.values = {};
    this.conditions = this.conditions.filter((one) => one.column in this.columns);
    this.render();
    this.count();
  }

  /** Those that can be asked with already. */
  finished() {
    return this.conditions.filter((one) => one.comparison in WITHOUT || one.value.trim());
  }

  /** The conditions as the server reads them. */
  words() {
    return this.finished().map(({ column, comparison, value }) => {
      if (comparison in WITHOUT) return `${quote(column)}${WITHOUT[comparison]}`;
      const text = value.trim();
      const isText = this.columns[column] === 'TEXT';
      return `${quote(column)}${SIGNS[comparison]}${comparison !== 'in' && isText ? quote(text) : text}`;
    });
  }

  add() {
    const column = 'label' in this.columns ? 'label' : Object.keys(this.columns)[0];
    this.conditions.push({ column, comparison: 'is', value: '' });
    this.render();
    this.list.lastElementChild.querySelector('select').focus();
  }

  clear() {
    this.conditions = [];
    this.render();
    this.soon();
    this.more.focus();
  }

  remove(place) {
    this.conditions.splice(place, 1);
    this.render();
    this.soon();
    this.more.focus();
  }

  render() {
    this.title.textContent = t('filter');
    this.more.textContent = t('condition_add');
    this.none.textContent = t('filter_clear');
    this.list.replaceChildren(...this.conditions.map((one, place) => this.line(one, place)));
    this.none.hidden = !this.conditions.length;
    this.tell();
  }

  tell() {
    const count = this.words().length;
    this.told.textContent = count ? t('filter_count', { count }) : '';
  }

  line(one, place) {
    const label = (key) => ({ 'aria-label': t(key, { number: place + 1 }) });
    const changed = () => {
      this.tell();
      this.soon();
    };
    const column = make('select', label('column'));
    for (const name of Object.keys(this.columns)) column.append(make('option', { value: name, text: name }));
    column.value = one.column;
    const comparison = make('select', label('operator'));
    const list = make('datalist', { id: `values-${(lists += 1)}` });
    const value = make('input', { ...label('value'), list: list.id, value: one.value, autocomplete: 'off', maxlength: 1000 });
    const suit = () => {
      const isText = this.columns[one.column] === 'TEXT';
      const names = isText ? OF_TEXT : OF_NUMBERS;
      if (!names.includes(one.comparison)) one.comparison = 'is';
      comparison.replaceChildren(...names.map((name) => make('option', { value: name, text: t(`op_${name}`) })));
      comparison.value = one.comparison;
      value.hidden = one.comparison in WITHOUT;
      value.inputMode = isText ? 'text' : 'decimal';
      this.suggest(one.column).then((found) => {
        list.replaceChildren(...found.map(([known, told]) => make('option', { value: known, text: told })));
      });
    };
    column.addEventListener('change', () => {
      Object.assign(one, { column: column.value, value: '' });
      value.value = '';
      suit();
      changed();
    });
    comparison.addEventListener('change', () => {
      one.comparison = comparison.value;
      suit();
      changed();
    });
    value.addEventListener('input', () => {
      one.value = value.value;
      changed();
    });
    const remove = make('button', {
      type: 'button', class: 'remove', ...label('condition_remove'), text: '×', on: { click: () => this.remove(place) },
    });
    suit();
    return make('li', {}, column, comparison, remove, value, list);
  }

  /** The most frequent values of a column, and how many rows have each. */
  suggest(column) {
    this.values[column] ??= this.find(column).catch(() => []);
    return this.values[column];
  }

  async find(column) {
    if (column === 'id' || column === 'path') return [];
    const { values } = await get(`columns/${encodeURIComponent(column)}`, { gallery: this.gallery, limit: 1000 });
    return values.map(({ value, count }) => [String(value), number(count)]);
  }

  /** Say how many rows pass. */
  async count() {
    const where = this.words();
    const { says } = this;
    if (!where.length) {
      says.textContent = '';
      return;
    }
    try {
      const [some, all] = await Promise.all([
        get('rows', { gallery: this.gallery, where, limit: 1 }), get('rows', { gallery: this.gallery, limit: 1 }),
      ]);
      if (String(where) !== String(this.words())) return;
      says.textContent = t('filter_says', { rows: number(some.total), of: number(all.total) });
    } catch (error) {
      says.textContent = error instanceof Problem ? sentence(error.message) : '';
    }
  }
}

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
