// Conditions on what is known about photos, built from the columns of the gallery.

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
