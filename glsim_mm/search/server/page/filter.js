// Conditions on what is known about photos, built from the columns of the gallery.

import { Problem, get } from './api.js';
import { at, later, make } from './elements.js';
import { number, sentence, t } from './texts.js';

const SIGNS = { is: '=', not: '!=', less: '<', most: '<=', least: '>=', more: '>', in: ' in ' };
const WITHOUT = { empty: '=', filled: '!=' };
const OF_TEXT = ['is', 'not', 'in', 'empty', 'filled'];
const OF_NUMBERS = ['is', 'not', 'least', 'most', 'more', 'less', 'in', 'empty', 'filled'];
const quote = (text) => `"${text.replaceAll('"', '""')}"`;

export class Filter {
  /** changed: called when other rows pass. */
  constructor(changed) {
    this.conditions = [];
    this.columns = {};
    this.values = {};
    this.gallery = null;
    this.soon = later(400, () => {
      this.count();
      changed();
    });
    at('more').addEventListener('click', () => this.add());
    at('filter-clear').addEventListener('click', () => this.clear());
  }

  use(gallery) {
    this.gallery = gallery.name;
    this.columns = gallery.columns;
    this.values = {};
    this.conditions = this.conditions.filter((one) => one.column in this.columns);
    this.render();
    this.count();
  }

  /** The conditions as the server reads them; those that are not finished are left out. */
  words() {
    const finished = this.conditions.filter((one) => one.comparison in WITHOUT || one.value.trim());
    return finished.map(({ column, comparison, value }) => {
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
    at('conditions').lastElementChild.querySelector('select').focus();
  }

  clear() {
    this.conditions = [];
    this.render();
    this.soon();
    at('more').focus();
  }

  remove(place) {
    this.conditions.splice(place, 1);
    this.render();
    this.soon();
    at('more').focus();
  }

  render() {
    at('conditions').replaceChildren(...this.conditions.map((one, place) => this.line(one, place)));
    at('filter-clear').hidden = !this.conditions.length;
    this.tell();
  }

  tell() {
    const count = this.words().length;
    at('filter-count').textContent = count ? t('filter_count', { count }) : '';
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
    const list = make('datalist', { id: `values-${place}` });
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
    const says = at('filter-says');
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
