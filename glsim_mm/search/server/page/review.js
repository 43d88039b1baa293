// The page Review: one photo after the other whose class somebody should look at, decided by single keys.

import { get, idOf, photoAddress, write } from './api.js';
import { framed, make } from './elements.js';
import { ClassField, readClasses } from './fields.js';
import { applyOverlays, facts, named, shownRow } from './hits.js';
import { number, percent, sentence, t } from './texts.js';

const KINDS = ['suspects', 'unknown', 'new'];
const AHEAD = 5; // items left when more are asked for

export async function open(element, context) {
  const { gallery, kept, signal } = context;
  const kind = KINDS.includes(context.asked.get('kind')) ? context.asked.get('kind') : KINDS[0];
  const own = (kept[kind] ??= { items: null, next: null, total: 0, generation: null, skipped: new Set(), done: [] });
  const views = KINDS.map((one) => {
    const href = context.address('review', { kind: one });
    return make('a', { href, 'aria-current': one === kind && 'page', text: t(`review_${one}`) });
  });
  const status = make('p', { class: 'muted', role: 'status', text: t('loading') });
  const place = make('div');
  const title = make('h2', { text: t('page_review') });
  element.replaceChildren(make('div', { class: 'head' }, title, make('nav', { class: 'views', 'aria-label': t('view') }, ...views), status), place);
  let classes = [];
  let keys = {};

  document.addEventListener('keydown', (event) => {
    const isTyped = event.target.closest('input:not([type=checkbox]), select, dialog');
    if (isTyped || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }, { signal });
  const back = own.done.findIndex((one) => one.change === context.undone);
  if (back >= 0) {
    own.items.unshift(own.done.splice(back, 1)[0].item);
    own.total += 1;
    own.generation = gallery.generation;
  } else if (own.generation !== gallery.generation) await load(null);
  show();
  classes = await readClasses(gallery, signal, true);
  if (own.items.length) show();

  async function load(cursor) {
    const found = await get('review', { gallery: gallery.name, kind, cursor, limit: 20 }, signal);
    const known = new Set(cursor === null ? [] : own.items.map((one) => one.row.id));
    const fresh = found.items.filter(({ row }) => !own.skipped.has(row.id) && !known.has(row.id));
    Object.assign(own, { items: [...(cursor === null ? [] : own.items), ...fresh], next: found.next, total: found.total, generation: found.generation });
    gallery.generation = found.generation;
    if (!own.items.length && own.next !== null) await load(own.next);
  }

  /** Show the first of those that wait. */
  function show() {
    const item = own.items[0];
    status.textContent = own.total ? t('review_left', { count: number(own.total) }) : '';
    keys = { z: () => context.undo() };
    if (!item) {
      nothing();
      return;
    }
    const { row } = item;
    const similar = similarTo(row, context);
    const decide = (label, name) => decided(item, label, name, similar.chosen());
    const button = (key, name, click, more = {}) => {
      keys[key] = click;
      return make('button', { type: 'button', 'aria-keyshortcuts': key, on: { click }, ...more }, make('kbd', { text: key }), ' ', name);
    };
    const samples = new Map(classes.map((one) => [one.label, one.prototype]));
    const suggestions = item.suggestions.map((one, at) => {
      const sample = samples.get(one.label) ?? null;
      const source = sample === null ? '' : photoAddress(sample, gallery.name, 320);
      const card = button(String(at + 1), make('span', { text: one.name }), () => decide(one.label, one.name), { class: 'suggestion' });
      card.firstChild.after(framed({ source, alt: '', missing: '' }));
      card.append(make('span', { class: 'muted', text: percent(one.share) }));
      return make('li', {}, card);
    });
    const field = new ClassField({ label: t('class_other'), classes, picked: decide, left: () => field.input.blur() });
    keys['/'] = () => field.input.focus();
    const photo = framed({ alt: t('row_query', { id: row.id, label: named(row) }), missing: t('no_photo'), ...shownRow(row, gallery.name, 1600) });
    place.replaceChildren(make('div', { class: 'review' },
      make('div', {}, photo, make('details', {}, make('summary', { text: t('row_about') }), make('dl', {}, ...facts(row)))),
      make('div', {},
        make('p', { class: 'word', text: row.label === null ? t('no_class') : t('review_now', { label: named(row) }) }),
        make('p', { lang: 'en', text: sentence(item.reason) }),
        make('h3', { text: t('review_which') }),
        make('ol', { class: 'suggestions' }, ...suggestions),
        make('div', { class: 'line' }, make('kbd', { text: '/' }), field.element),
        make('div', { class: 'buttons' },
          ...(row.label === null ? [] : [button('k', t('review_right'), () => decide(row.label, named(row)))]),
          button('u', t('unknown'), () => decide(null, t('unknown'))), button('s', t('skip'), skip),
          ...(context.canUndo() ? [button('z', t('undo'), keys.z)] : []), button('m', t('similar_too'), similar.toggle)),
        similar.element)));
    applyOverlays();
    const following = own.items[1]?.row;
    if (following?.has_photo) new Image().src = photoAddress(following.id, gallery.name, 1600);
  }

  function nothing() {
    const again = make('button', { type: 'button', text: t('review_skipped', { count: number(own.skipped.size) }) });
    again.addEventListener('click', () => {
      own.skipped.clear();
      own.generation = null;
      context.reopen();
    });
    place.replaceChildren(
      make('p', { class: 'empty' }, t(`review_none_${kind}`), ' ', own.skipped.size ? again : '', ' ',
        kind === 'suspects' ? make('a', { href: context.address('gallery'), text: t('page_gallery') }) : '', kind === 'suspects' ? '.' : ''),
    );
  }

  async function next() {
    own.items.shift();
    if (own.items.length < AHEAD && own.next !== null) await load(own.next);
    show();
  }

  function skip() {
    own.skipped.add(own.items[0].row.id);
    next().catch(context.tell);
  }

  async function decided(item, label, name, others) {
    keys = {};
    const send = (generation) =>
      write('POST', `review/${item.row.id}`, { label, and_similar: others }, { gallery: gallery.name, generation, signal });
    try {
      const answer = await send(own.generation).catch(async (error) => {
        // Others may review at the same time: what was decided holds where the row itself is as it was.
        if (error.status !== 412 || others.length) throw error;
        const now = await get(`rows/${item.row.id}`, { gallery: gallery.name }, signal);
        if (now.label !== item.row.label) throw error;
        return send(error.generation);
      });
      own.generation = answer.generation;
      own.total -= 1;
      own.items = own.items.filter(({ row }) => row === item.row || !others.includes(row.id));
      own.done.push({ change: answer.change, item });
      const count = 1 + others.length;
      context.changed(answer, t(count === 1 ? 'labelled_one' : 'labelled', { count: number(count), label: name }));
      await next();
    } catch (error) {
      own.generation = null; // what waits is read anew
      context.tell(error);
      if (!signal.aborted && error.status !== 412) show();
    }
  }
}

/** The rows that are most similar to one, of which some get its class too. */
function similarTo(row, { gallery, signal, tell }) {
  const element = make('div', { class: 'similar', hidden: true, role: 'group', 'aria-label': t('similar_too') });
  const boxes = () => [...element.querySelectorAll('[type=checkbox]')];
  const all = (isOn) => {
    for (const one of boxes()) one.checked = isOn;
  };

  async function toggle() {
    element.hidden = !element.hidden;
    if (element.hidden || element.childElementCount) return;
    element.append(make('p', { class: 'muted', text: t('loading') }));
    try {
      const { rows } = await get(`rows/${row.id}/similar`, { gallery: gallery.name, limit: 20 }, signal);
      const cards = rows.map((one) => {
        const box = make('input', { type: 'checkbox', value: one.id });
        box.checked = one.label === null; // a label that somebody gave is replaced on purpose alone
        const source = one.has_photo ? photoAddress(one.id, gallery.name, 320) : '';
        return make('label', {}, framed({ source, alt: '', missing: t('no_prototype') }), box, ` ${named(one)}`);
      });
      const buttons = [['choose_all', true], ['choose_none', false]].map(([key, isOn]) =>
        make('button', { type: 'button', text: t(key), on: { click: () => all(isOn) } }));
      element.replaceChildren(make('p', { class: 'buttons' }, t('similar_why'), ...buttons), make('div', { class: 'tiles' }, ...cards));
    } catch (error) {
      element.replaceChildren();
      element.hidden = true;
      tell(error);
    }
  }

  const chosen = () => (element.hidden ? [] : boxes().filter((one) => one.checked).map((one) => idOf(one.value)));
  return { element, toggle, chosen };
}
