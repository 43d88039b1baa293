// The shell: who may see what, which gallery and page are open, and what concerns all pages.
//
// A page is a module NAME.js with `export function open(element, context)`, a row in PAGES, and the text page_NAME.
// open() is called each time that the page is shown, and anew where its address, the gallery or the language has changed.
// It fills `element`, which is as it left it; the first h2 gets the focus. What it throws, or its promise, is told. `context`:
//   info, gallery         what GET info says of the server, and of the gallery that is open
//   asked                 the values of the address: #page=NAME&gallery=G&...
//   kept                  an object that outlives visits, one per page and gallery
//   signal                is aborted when the page is left or opened anew: for requests and listeners
//   can(right)            whether 'read', 'label' or 'admin' is allowed in this gallery
//   address(page, values) of another page, for links; go(page, values) opens it
//   keep(values)          what of this page belongs in its address, without a further step back
//   tell(error)           says what went wrong
//   changed(answer, text) says what a write has changed, with a button that takes it back
//   undo(one), canUndo()  takes back a change, by default the last one that was made here, and opens the page anew
//   undone                the change that was taken back, where that is why the page is opened anew
//   reopen()              opens the page anew
//   refresh()             reads info anew, after rows came or went

import { Offline, Problem, get, signIn, write } from './api.js';
import { at, make } from './elements.js';
import { LANGUAGES, firstLanguage, number, remember, sentence, t, useLanguage } from './texts.js';

const ROLES = ['read', 'label', 'admin'];
// The right that each needs, and whether a gallery has what it is about.
const PAGES = {
  search: {},
  browse: {},
  review: { right: 'label' },
  duplicates: { right: 'label' },
  gallery: {},
  models: { suits: (gallery, info) => info.galleries.length > 1 || Object.keys(gallery.spaces).length > 1 },
};
const kept = new Map();
const addresses = new Map();
const done = []; // changes that were made here and can be taken back, the last one at the end
let info = null;
let gallery = null;
let shown = '';
let visit = new AbortController();

/** What the server knows; asks for the token where it must. */
async function begin() {
  at('offline').hidden = true;
  try {
    info = await get('info');
  } catch (error) {
    tell(error);
    return;
  }
  at('login').hidden = true;
  at('content').hidden = false;
  const names = info.galleries.map((one) => one.name);
  at('gallery').replaceChildren(...names.map((name) => make('option', { value: name, text: name })));
  at('gallery-field').hidden = names.length < 2;
  await follow();
}

const values = () => new URLSearchParams(location.hash.slice(1));

function can(right) {
  const role = ROLES.indexOf(info.role ?? 'read');
  return right === 'read' || (Boolean(gallery.writable) && role >= ROLES.indexOf(right));
}

const isOpen = (name) => can(PAGES[name].right || 'read') && (PAGES[name].suits?.(gallery, info) ?? true);

/** Show what the address asks for. */
async function follow(undone = null) {
  const asked = values();
  const found = info.galleries.find((one) => one.name === (asked.get('gallery') ?? gallery?.name)) || info.galleries[0];
  if (found.name !== gallery?.name) addresses.clear();
  gallery = found;
  const wanted = asked.get('page') ?? 'search';
  const name = wanted in PAGES && isOpen(wanted) ? wanted : 'search';
  const isOther = Boolean(shown) && name !== shown;
  at('gallery').value = gallery.name;
  at('served').textContent = t('served', { rows: number(gallery.rows), gallery: gallery.name });
  at('offline').hidden = true;
  at('trouble').hidden = true;
  if (isOther) at('changed').hidden = true;
  shown = name;
  visit.abort();
  visit = new AbortController();
  note();
  const own = visit;
  for (const one of document.querySelectorAll('.page')) one.hidden = one.id !== `page-${name}`;
  if (!at(`page-${name}`)) at('content').append(make('div', { id: `page-${name}`, class: 'page' }));
  const element = at(`page-${name}`);
  document.title = name === 'search' ? t('title') : `${t(`page_${name}`)} – ${t('title')}`;
  try {
    const page = await import(`./${name}.js`);
    if (own.signal.aborted) return;
    const place = `${gallery.name} ${name}`;
    if (!kept.has(place)) kept.set(place, {});
    if (isOther) scrollTo(0, 0);
    const opened = page.open(element, contextOf(name, { asked, undone, kept: kept.get(place), signal: own.signal }));
    if (isOther) focusOn(element);
    await opened;
  } catch (error) {
    if (!own.signal.aborted) tell(error instanceof TypeError && !navigator.onLine ? new Offline(error.message) : error);
  }
}

function contextOf(page, visited) {
  return {
    ...visited, info, gallery, can, go, tell, changed, undo, refresh, address: hash,
    reopen: () => follow(), canUndo: () => Boolean(lastChange()),
    keep: (more = {}) => {
      if (visited.signal.aborted) return;
      // An empty search of the first gallery needs no address.
      const isBare = page === 'search' && !Object.keys(more).length && gallery === info.galleries[0];
      history.replaceState(null, '', isBare ? location.pathname + location.search : hash(page, more));
      note();
    },
  };
}

/** The address of a page of this gallery. */
const hash = (page, more = {}) =>
  `#${new URLSearchParams({ ...(page === 'search' ? {} : { page }), gallery: gallery.name, ...more })}`;

function go(page, more = {}) {
  if (location.hash === hash(page, more)) follow();
  else location.hash = hash(page, more);
}

/** The links to pages; each leads to where one left it. */
function note() {
  addresses.set(shown, location.hash || hash(shown));
  const links = Object.keys(PAGES).filter(isOpen).map((name) => {
    const attributes = { href: addresses.get(name) || hash(name), 'aria-current': name === shown && 'page' };
    return make('a', { ...attributes, text: t(`page_${name}`) });
  });
  const hadFocus = at('pages').contains(document.activeElement);
  at('pages').replaceChildren(...links);
  if (hadFocus) at('pages').querySelector('[aria-current]')?.focus();
}

function focusOn(element) {
  const title = element.querySelector('h2') || element;
  title.tabIndex = -1;
  title.focus({ preventScroll: true });
}

function tell(error) {
  if (error.name === 'AbortError') return;
  if (error instanceof Problem && error.status === 401) {
    at('login').hidden = false;
    at('content').hidden = !info;
    at('token').focus();
    return;
  }
  const isOffline = error instanceof Offline;
  const isChanged = error.kind === 'changed-meanwhile';
  if (isChanged) follow(); // to see what it holds now
  const place = at(isOffline || !info ? 'offline' : 'trouble');
  place.hidden = false;
  place.firstElementChild.textContent = isOffline ? t('offline') : isChanged ? t('changed_meanwhile') : sentence(error.message);
  place.firstElementChild.lang = isOffline || isChanged ? '' : 'en';
  at('trouble-retry').hidden = isChanged;
}

const lastChange = () => done.findLast((one) => one.gallery === gallery.name);

function forget(change) {
  const place = done.findIndex((one) => one.gallery === gallery.name && one.change === change);
  if (place >= 0) done.splice(place, 1);
}

/** Say what a write has changed. */
function changed({ generation, change }, text) {
  gallery.generation = generation;
  at('trouble').hidden = true;
  if (change !== null) done.push({ gallery: gallery.name, change, text });
  const undoIt = make('button', { type: 'button', text: t('undo'), on: { click: () => undo() } });
  const close = make('button', { type: 'button', class: 'remove', 'aria-label': t('close'), text: '×' });
  close.addEventListener('click', () => {
    at('changed').hidden = true;
  });
  at('changed').replaceChildren(make('span', { text }), ...(change === null ? [] : [undoIt]), close);
  at('changed').hidden = false;
}

async function undo(one) {
  const last = one || lastChange();
  if (!last) {
    changed({ generation: gallery.generation, change: null }, t('undo_none'));
    return;
  }
  try {
    const { generation } = await get('changes', { gallery: gallery.name, limit: 1 });
    const answer = await write('POST', `undo/${last.change}`, {}, { gallery: gallery.name, generation });
    forget(last.change);
    changed({ ...answer, change: null }, t('undone', { what: last.text }));
    await refresh();
    await follow(last.change);
  } catch (error) {
    if (error instanceof Problem && error.status < 412) forget(last.change); // never again
    tell(error);
  }
}

async function refresh() {
  info = await get('info');
  // The page that is open goes on with the object that it has.
  info.galleries = info.galleries.map((one) => (one.name === gallery.name ? Object.assign(gallery, one) : one));
  at('served').textContent = t('served', { rows: number(gallery.rows), gallery: gallery.name });
}

async function enter(token) {
  at('token-wrong').textContent = '';
  try {
    // No header can carry other characters.
    if (!/^[\x21-\x7e]+$/.test(token)) throw new Problem(401, {});
    await signIn(token);
  } catch (error) {
    const said = error instanceof Offline ? t('offline') : sentence(error.message);
    at('login').hidden = false;
    at('token-wrong').textContent = error.status === 401 ? t('token_wrong') : said;
    at('token').select();
    return;
  }
  at('token').value = '';
  await begin();
  at('content').focus();
}

/** A token in the address is taken out of it, and out of the history, before anything else. */
function tokenOfAddress() {
  const asked = values();
  const token = asked.get('token');
  if (token === null) return null;
  asked.delete('token');
  const rest = String(asked);
  history.replaceState(null, '', location.pathname + location.search + (rest ? `#${rest}` : ''));
  return token;
}

function listen() {
  at('skip').addEventListener('click', (event) => {
    event.preventDefault(); // the address says what is shown
    at('content').focus();
  });
  at('gallery').addEventListener('change', () => {
    gallery = info.galleries.find((one) => one.name === at('gallery').value);
    addresses.clear();
    go(shown);
  });
  at('login').addEventListener('submit', (event) => {
    event.preventDefault();
    enter(at('token').value.trim());
  });
  at('language').addEventListener('change', async () => {
    remember('language', at('language').value);
    await useLanguage(at('language').value);
    if (info) await follow();
  });
  for (const id of ['retry', 'trouble-retry']) at(id).addEventListener('click', () => (info ? follow() : begin()));
  addEventListener('hashchange', () => {
    const token = tokenOfAddress();
    if (token !== null) enter(token);
    else if (info) follow();
  });
}

for (const name of LANGUAGES) {
  const text = new Intl.DisplayNames(name, { type: 'language' }).of(name);
  at('language').append(make('option', { value: name, lang: name, text }));
}
const token = tokenOfAddress();
await useLanguage(firstLanguage());
at('language').value = document.documentElement.lang;
listen();
if (token !== null) await enter(token);
else await begin();
