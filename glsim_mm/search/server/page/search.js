// The page Search: what people ask becomes a request, and its answer is shown. Its elements are those of index.html.

import { Offline, Problem, ask, get, idOf, photoAddress } from './api.js';
import { Compare } from './compare.js';
import { at, framed, later, make } from './elements.js';
import { Filter } from './fields.js';
import { makeOverlays, named, showAnswer, showHits } from './hits.js';
import { Query } from './query.js';
import { language, number, seconds, sentence, t } from './texts.js';

const SAMPLES = 8;
const query = new Query((isOther) => {
  isNew ||= Boolean(isOther);
  search();
});
const filter = new Filter(at('filter'), () => search());
const compare = new Compare(query, (id) => goTo(id), told, () => show());
let page = null; // its context
let gallery = null;
let spoken = '';
let answer = null;
let running = null;
let order = 'ranked';
let isNew = false;

export function open(element, context) {
  const isFirst = !page;
  const before = page?.asked;
  page = context;
  query.limits = page.info.limits;
  context.signal.addEventListener('abort', () => compare.close());
  for (const name of ['dragover', 'dragleave', 'drop']) document.addEventListener(name, drag, { signal: context.signal });
  document.addEventListener('paste', take, { signal: context.signal });
  if (isFirst) {
    at('camera').parentElement.hidden = !matchMedia('(any-pointer: coarse)').matches;
    at('paste').hidden = !navigator.clipboard?.read;
    listen();
  }
  const isSame = gallery?.name === page.gallery.name;
  if (isSame && query.kind && answer?.generation === page.gallery.generation && String(before) === String(page.asked)) {
    if (spoken !== language()) speak();
    return;
  }
  if (!isSame && query.kind === 'row') query.clear();
  speak();
  follow();
}

function speak() {
  spoken = language();
  makeOverlays();
  useGallery(page.gallery);
  query.render();
  if (answer) show();
}

function useGallery(now) {
  gallery = now;
  query.gallery = gallery.name;
  const hosts = page.info.addresses || [];
  const others = [gallery.reads_text && t('by_text'), hosts.length && t('by_address', { hosts: hosts.join(', ') })].filter(Boolean);
  at('words').hidden = !others.length;
  at('words-of').textContent = others.join('; ');
  const spaces = Object.keys(gallery.spaces);
  const first = (name_, place) => [place ? name_ : '', place ? name_ : t('space_default', { name: name_ })];
  choices('space', spaces.map(first));
  choices('rerank', [['', t('none')], ...page.info.rerank.map((one) => [one, one])]);
  choices('group-by', [['', '–'], ...Object.keys(gallery.columns).filter((one) => one !== 'id').map((one) => [one, one])]);
  at('k').max = page.info.limits.hits;
  filter.use(gallery);
  showSamples();
}

/** Fill a list of choices; the one that is chosen stays where it is still there. */
function choices(id, values) {
  const before = at(id).value;
  at(id).replaceChildren(...values.map(([value, text]) => make('option', { value, text })));
  at(id).value = values.some(([value]) => value === before) ? before : '';
}

/** Photos to begin with: of different classes, spread over the first rows. */
async function showSamples() {
  const asked = gallery;
  const { rows } = await get('rows', { gallery: gallery.name, limit: 200 }).catch(() => ({ rows: null }));
  if (asked !== gallery || !rows) return;
  const seen = new Set();
  const others = rows.filter((row) => row.has_photo && !seen.has(row.label) && seen.add(row.label));
  const every = Math.max(1, others.length / SAMPLES);
  const chosen = others.filter((_, place) => Math.floor(place / every) !== Math.floor((place - 1) / every)).slice(0, SAMPLES);
  const cards = chosen.map((row) => {
    const label = named(row);
    const frame = framed({ source: photoAddress(row.id, gallery.name, 320), alt: '', missing: t('no_photo') });
    const words = { 'aria-label': t('sample', { id: row.id, label }), 'data-row': row.id };
    const button = make('button', { type: 'button', class: 'hit', ...words, on: { click: () => goTo(row.id) } });
    button.append(frame, make('span', { class: 'label', text: label }));
    return make('li', {}, button);
  });
  if (!gallery.rows) cards.push(make('li', { class: 'wide', text: t('samples_none') }));
  at('samples').replaceChildren(...cards);
}

/** Ask with a row, by an address that can be kept and sent. */
function goTo(id) {
  page.go('search', { id });
  at('found-title').focus({ preventScroll: false });
}

/** Do what the address asks for. */
function follow() {
  const id = page.asked.get('id') || '';
  if (/^\d{1,19}$/.test(id)) query.useRow(idOf(id));
  else if (!query.isTyped()) query.useOwn();
  search();
}

function options() {
  const within = (id) => Math.min(Math.max(Math.round(Number(at(id).value)) || 1, Number(at(id).min)), Number(at(id).max));
  const asked = { k: within('k'), depth: within('depth'), exclude_same: at('exclude-same').checked };
  return { ...asked, space: at('space').value || null, rerank: at('rerank').value || null, group_by: at('group-by').value || null };
}

async function search() {
  running?.abort();
  if (!query.kind) {
    answer = null;
    show();
    return;
  }
  if (query.kind !== 'row') page.keep();
  const own = (running = new AbortController());
  const [request, files] = query.asked();
  const asked = { gallery: gallery.name, where: filter.words(), ...options(), ...request };
  busy(true);
  try {
    const [found, row] = await Promise.all([
      ask('search', asked, files, own.signal),
      query.kind === 'row' ? get(`rows/${query.row.id}`, { gallery: gallery.name }, own.signal) : null,
    ]);
    if (own !== running) return;
    answer = found;
    if (row) Object.assign(query.row, row, { map: null });
    query.learn(found.queries);
    busy(false);
    show();
    reveal();
  } catch (error) {
    if (own !== running || error.name === 'AbortError') return;
    answer = null;
    query.learn([], error.errors);
    busy(false);
    show();
    tell(error);
  }
}

/** On a phone, the answer is below the query: go there, once for each new query. */
function reveal() {
  if (!isNew || !matchMedia('(max-width: 48rem)').matches) return;
  isNew = false;
  at('found-title').scrollIntoView();
}

function busy(isBusy) {
  at('found').setAttribute('aria-busy', String(isBusy));
  at('problem').hidden = true;
  at('offline').hidden = true;
  if (isBusy) at('status').textContent = t('busy');
}

/** Show the answer, or how to begin where there is none. */
function show() {
  at('start').hidden = Boolean(query.kind);
  at('tools').hidden = !answer?.hits.length;
  showAnswer(answer && answer.hits.length ? answer.answer : null, answer?.votes || []);
  showHits(answer || { hits: [] }, order, (place) => compare.open(answer, place, options().space, page));
  compare.same.mark();
  at('status').lang = '';
  if (!answer) at('status').textContent = '';
  else if (!answer.hits.length) nothing();
  else {
    const { rows, of } = answer.passed;
    const values = { hits: number(answer.hits.length), rows: number(rows), of: number(of), seconds: seconds(answer.milliseconds.total) };
    at('status').textContent = t(rows < of ? 'filtered' : 'done', values);
  }
}

function nothing() {
  const { rows, note } = answer.passed;
  if (rows) {
    at('status').textContent = t('no_hits');
    return;
  }
  at('status').textContent = `${t('no_hits_filter')} `;
  if (note) at('status').append(make('span', { lang: 'en', text: `${sentence(note)} ` }));
  if (filter.words().length) {
    at('status').append(make('button', { type: 'button', text: t('filter_clear'), on: { click: () => filter.clear() } }));
  }
}

/** The sentence of an error where it is shown; '' where it is shown elsewhere. */
function told(error) {
  if (error instanceof Offline) return t('offline');
  if (error instanceof Problem && error.status === 401) {
    compare.close();
    tell(error);
    return '';
  }
  return sentence(error.message);
}

function tell(error) {
  if (error instanceof Offline || error.status === 401) {
    page.tell(error);
    return;
  }
  at('problem').hidden = false;
  at('problem').firstElementChild.textContent = sentence(error.message);
  at('problem').firstElementChild.lang = error instanceof Problem ? 'en' : '';
}

function listen() {
  for (const [id, isMore] of [['choose', false], ['camera', false], ['add', true]]) {
    at(id).addEventListener('change', () => {
      query.take(at(id).files, isMore);
      at(id).value = '';
    });
  }
  at('clear').addEventListener('click', () => {
    query.clear();
    page.keep();
    search();
    at('choose').focus();
  });
  at('paste').addEventListener('click', paste);
  at('words').addEventListener('submit', (event) => {
    event.preventDefault();
    if (at('text').value.trim()) query.useText(at('text').value.trim());
  });
  at('options').addEventListener('input', later(400, search));
  at('options').addEventListener('submit', (event) => event.preventDefault());
  for (const input of document.querySelectorAll('[name="order"]')) {
    input.addEventListener('change', () => {
      order = input.value;
      show();
    });
  }
  at('again').addEventListener('click', () => search());
}

function drag(event) {
  const isFile = [...(event.dataTransfer?.types || [])].includes('Files');
  at('drop').classList.toggle('over', event.type === 'dragover' && isFile);
  if (!isFile) return;
  event.preventDefault();
  if (event.type === 'drop') query.take(event.dataTransfer.files, at('add').parentElement.contains(event.target));
}

function take(event) {
  const { files } = event.clipboardData;
  if (!files.length) return;
  event.preventDefault();
  query.take(files);
}

async function paste() {
  const files = [];
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((one) => one.startsWith('image/'));
      if (type) files.push(new File([await item.getType(type)], 'clipboard', { type }));
    }
  } catch {
    // Not allowed: the text below says what else can be done.
  }
  if (files.length) query.take(files);
  else {
    query.note = t('paste_none');
    query.render();
  }
}
