// The page Browse: classes as cards, and all photos as a grid in which rows are chosen and labelled.

import { get, photoAddress, write } from './api.js';
import { framed, make } from './elements.js';
import { ClassField, Filter, readClasses, suit } from './fields.js';
import { Grid, newState } from './grid.js';
import { look, named } from './hits.js';
import { number, percent, t } from './texts.js';

const CARDS = 300; // classes that are shown at once

export async function open(element, context) {
  const isPhotos = context.asked.get('view') === 'photos';
  const link = (view, key, isOn) => {
    const href = context.address('browse', view ? { view } : {});
    return make('a', { href, 'aria-current': isOn && 'page', text: t(key) });
  };
  const views = make('nav', { class: 'views', 'aria-label': t('view') }, link('', 'classes', !isPhotos), link('photos', 'photos', isPhotos));
  const title = make('h2', { text: t('page_browse') });
  const content = make('div');
  const tools = make('div', { class: 'tools' });
  element.replaceChildren(make('div', { class: 'head' }, title, views, tools), content);
  if (isPhotos) await showPhotos(tools, content, context);
  else await showClasses(tools, content, context);
}

const classFilter = (label) => JSON.stringify([label === null ? ['label', 'empty', ''] : ['label', 'is', label]]);
const classAddress = (label, context) => context.address('browse', { view: 'photos', filter: classFilter(label) });

async function showClasses(tools, content, context) {
  const { gallery, kept, signal } = context;
  const status = make('p', { class: 'muted', role: 'status', text: t('loading') });
  const find = make('input', { id: 'find', type: 'search', value: kept.find || '', autocomplete: 'off' });
  const order = make('select', { id: 'class-order' });
  for (const key of ['by_name', 'by_count']) order.append(make('option', { value: key, text: t(key) }));
  order.value = kept.order || 'by_name';
  const list = make('ul', { class: 'classes' });
  const all = make('button', { type: 'button', hidden: true });
  for (const [input, key] of [[find, 'class_find'], [order, 'order']]) {
    tools.append(make('div', { class: 'line' }, make('label', { for: input.id, text: t(key) }), input));
  }
  content.replaceChildren(status, list, all);
  const classes = await readClasses(gallery, signal, true);
  let most = CARDS;

  function show() {
    const found = find.value.trim() ? suit(classes, find.value) : [...classes];
    if (order.value === 'by_count') found.sort((one, other) => other.count - one.count);
    list.replaceChildren(...found.slice(0, most).map((one) => classCard(one, context)));
    all.hidden = found.length <= most;
    all.textContent = t('classes_all', { count: number(found.length) });
    status.textContent = classes.length ? t('classes_count', { count: number(found.length) }) : t('samples_none');
    Object.assign(kept, { find: find.value, order: order.value });
  }

  all.addEventListener('click', () => {
    most = Infinity;
    show();
    list.children[CARDS].firstChild.focus();
  });
  for (const input of [find, order]) input.addEventListener('input', show);
  show();
  if (kept.classesAt) scrollTo(0, kept.classesAt);
  addEventListener('scroll', () => Object.assign(kept, { classesAt: scrollY }), { signal });
}

function classCard({ label, name, count, prototype }, context) {
  const isThere = prototype !== null && prototype !== undefined;
  const source = isThere ? photoAddress(prototype, context.gallery.name, 320) : '';
  const link = make('a', { href: classAddress(label, context), 'data-label': label },
    framed({ source, alt: '', missing: label === null ? '?' : t('no_prototype') }),
    make('strong', { text: named({ name }) }), make('span', { class: 'muted small', text: t(count === 1 ? 'photo_one' : 'photo_count', { count: number(count) }) }));
  return make('li', {}, link);
}

/** What a class is like: its prototypes, and the classes that are near. */
async function describeClass(place, label, context) {
  const { gallery, signal } = context;
  const found = await get(`classes/${encodeURIComponent(label)}`, { gallery: gallery.name }, signal);
  const picture = (row) => framed({ source: row.has_photo ? photoAddress(row.id, gallery.name, 320) : '', alt: named(row), missing: t('no_photo') });
  const near = found.nearest.map((one) => {
    const told = [t('like_is', { similarity: number(one.similarity, 2) })];
    if (one.confused) told.push(t('like_confused', { share: percent(one.confused) }));
    return make('li', {}, make('div', { class: 'pair-of' }, ...one.pair.map(picture)),
      make('a', { href: classAddress(one.label, context), text: named(one) }), make('span', { class: 'muted small', text: told.join(' ') }));
  });
  place.replaceChildren(
    make('h3', {}, `${named(found)} `, make('small', { text: t(found.count === 1 ? 'photo_one' : 'photo_count', { count: number(found.count) }) })),
    make('div', { class: 'prototypes', role: 'group', 'aria-label': t('prototypes') }, ...found.prototypes.map(picture)),
    near.length ? make('details', {}, make('summary', { text: t('like') }), make('ul', { class: 'near' }, ...near)) : '',
  );
}

function conditionsOf(asked) {
  try {
    return JSON.parse(asked.get('filter') || '[]').map(([column, comparison, value]) => ({ column, comparison, value: String(value) }));
  } catch {
    return [];
  }
}

/** The class whose rows alone pass, or ''. */
function classOf({ conditions }) {
  const [{ column, comparison, value } = {}, ...others] = conditions;
  return !others.length && column === 'label' && comparison === 'is' ? value : '';
}

async function showPhotos(tools, content, context) {
  const { gallery, asked, kept, signal } = context;
  const button = (key, click) => make('button', { type: 'button', text: t(key), on: { click } });
  const chooser = make('details', { id: 'browse-filter' });
  const filter = new Filter(chooser, () => begin(), conditionsOf(asked));
  const by = make('select', { id: 'sort' });
  const falling = make('input', { type: 'checkbox' });
  const about = make('div', { class: 'about-class' });
  const status = make('p', { role: 'status' });
  const help = make('p', { class: 'muted small keys', text: t('grid_help') });
  const empty = make('p', { class: 'empty' });
  const place = make('div');
  const field = new ClassField({ label: t('class_give'), classes: [], picked: label, left: () => focus() });
  const unknown = button('unknown', () => label(null, t('unknown')));
  const show = button('view_one', () => grid.opened([...grid.state.chosen.values()][0]));
  const every = button('choose_all', () => grid.chooseAll());
  const clear = () => {
    grid.clear();
    focus();
  };
  const none = make('button', { type: 'button', class: 'remove', 'aria-label': t('choose_none'), text: '×', on: { click: clear } });
  const undo = button('undo', () => context.undo());
  const writing = context.can('label') ? [field.element, unknown] : [];
  let grid = null;
  let visit = new AbortController();

  filter.use(gallery);
  chooser.open = filter.conditions.length > 0 && !classOf(filter);
  for (const name of Object.keys(gallery.columns)) by.append(make('option', { value: name, text: name === 'id' ? t('row_id') : name }));
  by.value = (asked.get('sort') || 'id').replace(/^-/, '');
  if (!by.value) by.value = 'id';
  falling.checked = (asked.get('sort') || '').startsWith('-');
  for (const input of [by, falling]) input.addEventListener('change', () => begin());
  tools.append(make('div', { class: 'line' }, make('label', { for: 'sort', text: t('sort') }), by), make('label', {}, falling, ` ${t('falling')}`));
  content.replaceChildren(
    about, chooser,
    make('div', { class: 'actions' }, none, status, ...writing.slice(0, 1), make('div', { class: 'buttons' }, ...writing.slice(1), show, every, undo)), help, empty, place,
  );
  if (context.can('label')) {
    readClasses(gallery, signal).then((found) => Object.assign(field, { classes: found }), context.tell);
  }
  await begin();

  /** Show the rows that the filter lets pass, in their order. */
  async function begin() {
    const where = filter.words();
    const sort = `${falling.checked ? '-' : ''}${by.value}`;
    const conditions = filter.finished().map(({ column, comparison, value }) => [column, comparison, value]);
    context.keep({ view: 'photos', ...(where.length && { filter: JSON.stringify(conditions) }), ...(sort !== 'id' && { sort }) });
    const what = JSON.stringify([where, sort]);
    if (kept.what !== what) Object.assign(kept, { what, state: newState() });
    visit.abort();
    visit = new AbortController();
    const { state } = kept;
    const own = AbortSignal.any([signal, visit.signal]);
    grid = new Grid({
      state, signal: own, label: t('photos'), least: innerWidth < 500 ? 150 : 165, caption: 26, chose, fill, failed: context.tell,
      load: (start, limit, before) => {
        const from = before ? { cursor: before } : { skip: start };
        return get('rows', { gallery: gallery.name, where, sort, limit, ...from }, own);
      },
      opened: (row) => look(row, context, { next: (step) => nextOf(grid, step), closed: focus }),
    });
    place.replaceChildren(grid.element);
    describe(classOf(filter));
    empty.hidden = true;
    chose();
    await grid.begin();
    if (own.aborted || state.total === null) return;
    empty.hidden = state.total > 0;
    empty.replaceChildren(t(where.length ? 'no_hits_filter' : 'samples_none'), ' ', where.length ? button('filter_clear', () => filter.clear()) : '');
    chose();
  }

  function describe(label) {
    if (about.dataset.label === label) return;
    about.replaceChildren(label ? make('p', { class: 'muted', text: t('loading') }) : '');
    about.dataset.label = label;
    // The photos below are there without it, and what concerns them too is told there.
    if (label) describeClass(about, label, context).catch(() => about.replaceChildren());
  }

  function fill(row) {
    const source = row.has_photo ? photoAddress(row.id, gallery.name, 320) : '';
    const name = make('span', { class: row.label === null ? 'label muted' : 'label', text: named(row) });
    return [t('row_query', { id: row.id, label: named(row) }), source, t('no_prototype'), name];
  }

  function focus() {
    grid.element.focus({ preventScroll: true });
  }

  /** Say how many there are, and what can be done with those that are chosen. */
  function chose() {
    const { total, chosen } = grid.state;
    const count = grid.isAll ? total : chosen.size;
    const key = count ? 'chosen' : total === 1 ? 'photo_one' : 'photo_count';
    status.textContent = total === null ? t('loading') : t(key, { count: number(count || total) });
    for (const one of [field.element, unknown, none]) one.hidden = !count;
    show.hidden = Boolean(grid.isAll) || count !== 1;
    every.hidden = !total || count === total;
    undo.hidden = Boolean(count) || !context.canUndo();
    help.hidden = !total;
  }

  async function label(given, name) {
    const { state } = grid;
    // A filter stands for all of its rows; where there is none, one that all rows pass.
    const all = { where: filter.words().length ? filter.words() : ['id>=0'] };
    const rows = grid.isAll ? all : { ids: [...state.chosen.keys()] };
    try {
      const answer = await write('POST', 'rows:label', { ...rows, label: given }, { gallery: gallery.name, generation: state.generation, signal });
      state.chosen.clear();
      context.changed(answer, t(answer.changed === 1 ? 'labelled_one' : 'labelled', { count: number(answer.changed), label: name }));
      await context.reopen();
      document.querySelector('#page-browse .grid')?.focus({ preventScroll: true });
    } catch (error) {
      context.tell(error);
    }
  }
}

/** The row before or after the one that the grid is at, which goes there. */
function nextOf(grid, step) {
  const row = grid.row(grid.state.active + step);
  if (row) grid.move(grid.state.active + step);
  return row;
}
