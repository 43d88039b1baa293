// "Same class?" in the comparison: what people see there becomes labels, or is remembered in the page.

import { idOf, write } from './api.js';
import { at, make } from './elements.js';
import { ClassField, readClasses } from './fields.js';
import { named } from './hits.js';
import { number, t } from './texts.js';

export class Same {
  /** changed(): Labels of hits, or of the query, are others now. */
  constructor(query, changed) {
    Object.assign(this, { query, changed, of: null, seen: new Map() });
    document.addEventListener('keydown', (event) => {
      const isSame = { y: true, n: false }[event.key];
      if (!at('compare').open || isSame === undefined || event.target.matches('input') || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.say(isSame);
    });
    for (const [id, isSame] of [['same-yes', true], ['same-no', false]]) at(id).addEventListener('click', () => this.say(isSame));
  }

  /** Ask about a hit; what was said of hits of another query is forgotten. */
  show(answer, hit, context) {
    Object.assign(this, { answer, hit, context });
    const { kind, row, text, photos } = this.query;
    const of = JSON.stringify([answer.gallery, kind, row?.id, text, photos.map((photo) => photo.url)]);
    if (this.of !== of) Object.assign(this, { of, seen: new Map() });
    at('same-more').replaceChildren();
    at('same-says').textContent = '';
    this.press();
  }

  press() {
    const said = this.seen.get(this.hit.id);
    at('same-yes').setAttribute('aria-pressed', String(said === true));
    at('same-no').setAttribute('aria-pressed', String(said === false));
    this.mark();
  }

  /** Put what was said beside the hits. */
  mark() {
    for (const card of document.querySelectorAll('#hits .hit')) {
      const said = this.seen.get(idOf(card.dataset.row));
      card.querySelector('.said')?.remove();
      if (said !== undefined) card.append(make('span', { class: said ? 'said' : 'said wrong', text: t(said ? 'same_is' : 'same_not') }));
    }
  }

  say(isSame) {
    const { hit, query, context } = this;
    this.seen.set(hit.id, isSame);
    this.press();
    at('same-more').replaceChildren();
    const says = (text) => {
      at('same-says').textContent = text;
    };
    if (query.kind !== 'row' || !context.can('label')) {
      const yes = [...this.seen.values()].filter(Boolean).length;
      says(t('same_kept', { yes: number(yes), no: number(this.seen.size - yes) }));
      return;
    }
    const own = query.row;
    if (isSame && own.label === null && hit.label === null) this.choose('same_both', [own, hit]);
    else if (isSame && own.label === null) this.label([own], hit.label, named(hit));
    else if (isSame && hit.label === null) this.label([hit], own.label, named(own));
    else if (isSame && own.label === hit.label) says(t('same_already', { label: named(own) }));
    else if (isSame) {
      says(t('same_which'));
      at('same-more').append(...[own, hit].map((row) => {
        const other = row === own ? hit : own;
        return make('button', { type: 'button', text: named(row), on: { click: () => this.label([other], row.label, named(row)) } });
      }));
    } else if (own.label !== null && own.label === hit.label) {
      says(t('same_wrong', { label: named(own) }));
      this.choose('same_query', [own]);
      this.choose('same_hit', [hit]);
    } else says(t(own.label === null || hit.label === null ? 'same_noted' : 'same_different'));
  }

  /** Ask for the class of some rows. */
  choose(key, rows) {
    const field = new ClassField({ label: t(key), classes: [], picked: (label, name) => this.label(rows, label, name) });
    at('same-more').append(field.element);
    readClasses(this.context.gallery, this.context.signal).then((found) => Object.assign(field, { classes: found }), this.context.tell);
  }

  async label(rows, label, name) {
    const { answer, context } = this;
    const ids = rows.map((row) => row.id);
    try {
      const { gallery, signal } = context;
      const written = await write('POST', 'rows:label', { ids, label }, { gallery: gallery.name, generation: answer.generation, signal });
      answer.generation = written.generation;
      for (const row of [...answer.hits, this.query.row]) if (ids.includes(row.id)) Object.assign(row, { label, name });
      const text = t(ids.length === 1 ? 'labelled_one' : 'labelled', { count: number(ids.length), label: name });
      context.changed(written, text);
      this.changed();
      at('same-says').textContent = text;
      at('same-more').replaceChildren(make('button', { type: 'button', text: t('undo'), on: { click: () => context.undo() } }));
    } catch (error) {
      context.tell(error);
      if (error.status !== 412) at('compare').close(); // what went wrong is told behind it
    }
  }
}
