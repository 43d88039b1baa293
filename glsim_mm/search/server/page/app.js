// The search page: what is asked with, and when.
import { ask, get, openSession, photoAddress } from './api.js';
import { Compare } from './compare.js';
import { mapFromValues } from './drawing.js';
import { Editor } from './editor.js';
import { element, showAnswer, showHits } from './results.js';
import { number, say, stored, usualLanguage, useLanguage } from './texts.js';

const find = (id) => document.getElementById(id);
const PAUSE = 350; // milliseconds after the last key before a search begins
const state = { info: null, gallery: null, photos: [], shown: 0, row: null, text: '', where: [], found: null, asked: null };
let running = null, timer = null;

const editor = new Editor(find('shown'), find('editor'), () => {
  state.photos[state.shown].box = editor.box;
  refresh();
  soon();
});
const compare = new Compare(find('compare'), explain, (hit) => askRow(hit));

// -- states ------------------------------------------------------------------------------------------------------

function tell(kind, text, retry = false) {
  const place = find('status');
  place.className = kind;
  place.textContent = text;
  find('retry').hidden = !retry;
}

function report(error) {
  if (error.kind === 'aborted') return;
  if (error.status === 401) { openDoor(); return; }
  find('hits').replaceChildren();
  find('answer').hidden = find('tools').hidden = true;
  find('facts').textContent = '';
  const said = error.kind === 'offline' ? say('offline') : say('failed', { why: error.message });
  tell('alarm', said, error.kind === 'offline' || error.status >= 500 || error.status === 429);
}

function rest() {
  tell('', say(state.gallery.rows ? 'empty' : 'noRows'));
}

// -- what is asked with ------------------------------------------------------------------------------------------

function addPhotos(files) {
  const { photos, bytes } = state.info.limits;
  const said = [];
  for (const file of files) {
    const isPhoto = file.type.startsWith('image/') || /\.(heic|heif|jpe?g|png|webp|gif|bmp|tiff?)$/i.test(file.name);
    if (!isPhoto || file.type === 'image/svg+xml') said.push(say('notPhoto', { name: file.name }));
    else if (file.size > bytes) said.push(say('tooLarge', { name: file.name, most: bytes >> 20 }));
    else if (state.photos.length >= photos) { said.push(say('tooMany', { most: photos })); break; }
    else state.photos.push({ file, address: URL.createObjectURL(file), box: null });
  }
  if (state.photos.length) {
    [state.row, state.text, state.shown] = [null, '', state.photos.length - 1];
    showPhoto();
    search(said);
  } else if (said.length) tell('alarm', said.join(' '));
}

function removePhotos(photos) {
  for (const one of photos) URL.revokeObjectURL(one.address);
  state.photos = state.photos.filter((one) => !photos.includes(one));
  state.shown = 0;
}

function askRow(row) {
  removePhotos(state.photos);
  state.row = row;
  state.text = '';
  showPhoto();
  search();
  find('results').scrollIntoView();
}

function showPhoto() {
  const photo = state.photos[state.shown];
  const address = photo ? photo.address : state.row ? photoAddress(state.row, state.gallery.name, 800) : null;
  find('stage').hidden = !address;
  find('unseen').hidden = true;
  editor.tell(null, null, null);
  editor.setBox(photo?.box ?? null);
  find('editor').hidden = !photo;
  find('shown').hidden = false;
  if (address) find('shown').src = address;
  else find('shown').removeAttribute('src');
  refresh();
}

function refresh() {
  const photo = state.photos[state.shown];
  find('drop-hint').hidden = Boolean(photo || state.row);
  find('box-hint').hidden = !photo;
  find('clear').hidden = !photo && !state.row;
  find('clear-box').hidden = !photo?.box;
  find('remove').hidden = state.photos.length < 2;
  find('strip').replaceChildren(...(state.photos.length < 2 ? [] : state.photos.map((one, at) => {
    const image = element('img', { src: one.address, alt: '' });
    image.addEventListener('error', () => image.replaceWith(String(at + 1))); // of a kind that this browser cannot show
    const button = element('button', { type: 'button', ariaLabel: say('photo', { number: at + 1 }), ariaPressed: String(at === state.shown) }, image);
    button.addEventListener('click', () => { state.shown = at; showPhoto(); showFound(); });
    return button;
  })));
  find('conditions').replaceChildren(...state.where.map((condition) => {
    const button = element('button', { type: 'button', textContent: `${condition} ×`, ariaLabel: say('removeFilter', { what: condition }) });
    button.addEventListener('click', () => { state.where = state.where.filter((one) => one !== condition); refresh(); search(); });
    return element('li', {}, button);
  }));
}

function subject() {
  const asked = { gallery: state.gallery.name };
  if (state.photos.length) asked.boxes = state.photos.map((one) => one.box);
  else if (state.row) asked.id = state.row.id;
  else if (state.text) asked.text = state.text;
  else return null;
  return asked;
}

function question() {
  const asked = subject();
  if (!asked) return null;
  const count = Math.round(Number(find('k').value)) || 20;
  Object.assign(asked, { k: Math.min(Math.max(count, 1), state.info.limits.hits), where: state.where, exclude_same: find('exclude-same').checked });
  for (const [id, name] of [['space', 'space'], ['rerank', 'rerank'], ['group-by', 'group_by']]) if (find(id).value) asked[name] = find(id).value;
  return asked;
}

// -- searching ---------------------------------------------------------------------------------------------------

function soon() {
  clearTimeout(timer);
  timer = setTimeout(search, PAUSE);
}

async function search(said = []) {
  clearTimeout(timer);
  running?.abort();
  const asked = question();
  state.found = null;
  if (!asked) { showFound(); rest(); return; }
  const own = running = new AbortController();
  tell('busy', say('busy'));
  find('results').setAttribute('aria-busy', 'true');
  try {
    const files = state.photos.map((one) => one.file);
    const waiting = (seconds) => tell('busy', say('waiting', { seconds }));
    const found = await ask('search', asked, files, { signal: own.signal, waiting });
    if (own !== running) return;
    [state.found, state.asked] = [found, asked];
    showFound();
    const bad = found.queries.flatMap((one, at) => (one.error ? [say('badPhoto', { number: at + 1, why: one.error })] : []));
    const count = found.hits.length ? say('found', { count: number(found.hits.length) }) : `${say('noHits')} ${found.passed.note}`;
    tell(found.hits.length ? '' : 'alarm', [count, ...(Array.isArray(said) ? said : []), ...bad].join('. '));
  } catch (error) {
    if (own === running) report(error);
  } finally {
    if (own === running) find('results').removeAttribute('aria-busy');
  }
}

function showFound() {
  const { found } = state;
  find('tools').hidden = !found?.hits.length;
  showAnswer({ root: find('answer'), sentence: find('sentence'), reason: find('reason'), votes: find('votes') }, found?.hits.length ? found.answer : null, found?.votes ?? []);
  if (!found) {
    find('hits').replaceChildren();
    find('facts').textContent = '';
    return;
  }
  const view = {
    gallery: found.gallery, grouped: find('grouped').checked, boxes: find('boxes').checked, maps: find('maps').checked,
    strength: find('strength').value / 100, compare: openCompare, similar: askRow,
  };
  showHits(find('hits'), found.hits, view);
  const query = found.queries[state.shown];
  editor.showsBox = view.boxes;
  editor.strength = view.maps ? view.strength : 0;
  if (query) editor.tell(query.box, query.map && mapFromValues(query.map), query.map?.area);
  const { rows, of } = found.passed;
  find('facts').textContent = `${say('passed', { rows: number(rows), of: number(of) })} ${say('time', { ms: number(found.milliseconds.total) })}`;
}

// -- comparing ---------------------------------------------------------------------------------------------------

async function openCompare(hit) {
  const shown = find('shown');
  const query = state.found.queries[state.shown] ?? {};
  const own = { image: shown.naturalWidth ? shown : null, size: query.size ?? [shown.naturalWidth || 1, shown.naturalHeight || 1], box: query.box };
  const image = new Image();
  if (hit.has_photo) {
    image.src = photoAddress(hit, state.found.gallery, 800);
    try { await image.decode(); } catch { /* shown without */ }
  }
  const other = { image: image.naturalWidth ? image : null, size: hit.size ?? [image.naturalWidth || 1, image.naturalHeight || 1], box: hit.box };
  await compare.show(own, other, hit);
}

function explain(hit) {
  const photo = state.photos[state.shown];
  const asked = { gallery: state.found.gallery, hit: hit.id };
  if (photo) asked.boxes = [photo.box];
  else Object.assign(asked, state.row ? { id: state.row.id } : { text: state.text });
  return ask('explain', asked, photo ? [photo.file] : []);
}

// -- beginning ---------------------------------------------------------------------------------------------------

function openDoor() {
  find('main').hidden = true;
  find('door').hidden = false;
  find('token').focus();
}

function chooseGallery(name) {
  state.gallery = state.info.galleries.find((one) => one.name === name) ?? state.info.galleries[0];
  const { gallery } = state;
  find('about').textContent = `${say('about', { rows: number(gallery.rows) })} · ${gallery.model}`;
  find('words').hidden = !gallery.reads_text;
  const columns = Object.keys(gallery.columns);
  find('columns').replaceChildren(...columns.map((one) => element('option', { value: `${one}=` })));
  const fill = (id, first, names) => find(id).replaceChildren(element('option', { value: '', textContent: first }), ...names.map((one) => element('option', { value: one, textContent: one })));
  fill('space', say('usual'), Object.keys(gallery.spaces));
  fill('rerank', say('none'), state.info.rerank.filter((one) => one !== 'region' || gallery.keeps_patches));
  fill('group-by', say('none'), columns.filter((one) => !['id', 'path', 'content_hash'].includes(one)));
}

async function begin() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token) history.replaceState(null, '', location.pathname); // it does not stay in the address
  try {
    if (token) await openSession(token);
    state.info = await get('info');
  } catch (error) {
    if (error.status === 401) { openDoor(); return; }
    find('main').hidden = false;
    report(error);
    return;
  }
  find('door').hidden = true;
  find('main').hidden = false;
  find('gallery').replaceChildren(...state.info.galleries.map((one) => element('option', { value: one.name, textContent: one.name })));
  find('gallery-choice').hidden = state.info.galleries.length < 2;
  chooseGallery(find('gallery').value);
  showPhoto();
  rest();
}

function takeFiles(input) {
  input.addEventListener('change', () => { addPhotos([...input.files]); input.value = ''; });
}

function listen() {
  takeFiles(find('choose'));
  takeFiles(find('camera'));
  addEventListener('paste', (event) => { if (state.info && event.clipboardData.files.length) addPhotos([...event.clipboardData.files]); });
  for (const kind of ['dragover', 'drop']) addEventListener(kind, (event) => event.preventDefault()); // else the browser opens the photo
  addEventListener('dragover', () => find('drop').classList.add('over'));
  for (const kind of ['dragleave', 'drop']) addEventListener(kind, () => find('drop').classList.remove('over'));
  addEventListener('drop', (event) => { if (state.info) addPhotos([...event.dataTransfer.files]); });
  addEventListener('offline', () => tell('alarm', say('offline'), true));
  find('shown').addEventListener('load', () => { find('editor').hidden = !state.photos.length; editor.draw(); });
  find('shown').addEventListener('error', () => { find('shown').hidden = find('editor').hidden = true; find('unseen').hidden = false; });
  find('clear').addEventListener('click', () => { removePhotos(state.photos); state.row = null; showPhoto(); search(); find('choose').focus(); });
  find('remove').addEventListener('click', () => { removePhotos([state.photos[state.shown]]); showPhoto(); search(); find('choose').focus(); });
  find('clear-box').addEventListener('click', () => { editor.setBox(null); state.photos[state.shown].box = null; refresh(); search(); });
  find('retry').addEventListener('click', () => (state.info ? search() : begin()));
  find('words').addEventListener('submit', (event) => {
    event.preventDefault();
    removePhotos(state.photos);
    [state.row, state.text] = [null, find('text').value.trim()];
    showPhoto();
    search();
  });
  find('filters').addEventListener('submit', (event) => {
    event.preventDefault();
    const condition = find('condition').value.trim();
    if (!condition || state.where.includes(condition)) return;
    state.where.push(condition);
    find('condition').value = '';
    refresh();
    search();
  });
  for (const id of ['k', 'space', 'rerank', 'group-by', 'exclude-same']) find(id).addEventListener('change', () => search());
  for (const id of ['grouped', 'boxes', 'maps', 'strength']) find(id).addEventListener('change', () => showFound());
  find('gallery').addEventListener('change', () => { chooseGallery(find('gallery').value); state.row = null; state.where = []; showPhoto(); search(); });
  find('door').addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      await openSession(find('token').value);
      find('token').value = find('door-error').textContent = '';
      await begin();
    } catch (error) {
      find('door-error').textContent = error.status === 401 ? say('wrongToken') : error.kind === 'offline' ? say('offline') : error.message;
    }
  });
  find('language').addEventListener('change', () => {
    useLanguage(stored('language', find('language').value) ?? find('language').value);
    if (!state.info) return;
    const kept = ['space', 'rerank', 'group-by'].map((id) => [id, find(id).value]);
    chooseGallery(state.gallery.name);
    for (const [id, value] of kept) find(id).value = value;
    refresh();
    showFound();
    editor.draw();
    tell('', state.found ? say('found', { count: number(state.found.hits.length) }) : say('empty'));
  });
}

useLanguage(usualLanguage());
find('language').value = document.documentElement.lang;
listen();
begin();
