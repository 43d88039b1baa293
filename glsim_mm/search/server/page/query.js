// What is searched with: photos of one individual with their boxes, a row of the gallery, or a text.

import { photoAddress } from './api.js';
import { at, framed, later, layers, make, mapPicture } from './elements.js';
import { applyOverlays } from './hits.js';
import { sentence, t } from './texts.js';

const CORNERS = { nw: [0, 1], ne: [2, 1], se: [2, 3], sw: [0, 3] };
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Args:
 *   photo: Has url, size, box (its own, or null) and auto (that of the model, or null).
 *   place: Number of the photo, from 1.
 *   changed: Called when the box is another one.
 */
export class BoxEditor {
  constructor(photo, place, changed) {
    this.photo = photo;
    this.place = place;
    this.changed = changed;
    this.soon = later(600, changed);
    this.element = make('div', { class: 'boxed', tabindex: 0, role: 'application', 'aria-describedby': 'box-help' });
    this.own = make('div', { class: 'own', hidden: true });
    for (const corner of Object.keys(CORNERS)) {
      const handle = make('span', { class: `handle ${corner}` });
      handle.dataset.corner = corner;
      this.own.append(handle);
    }
    this.shade = make('div', { class: 'shade' });
    this.over = make('div', { class: 'over' });
    this.image = make('img', { src: photo.url, alt: '', draggable: 'false' });
    this.element.append(this.image, this.over, make('div', { class: 'around' }, this.shade), this.own);
    for (const [name, listener] of Object.entries({ pointerdown: 'press', keydown: 'type' })) {
      this.element.addEventListener(name, (event) => this[listener](event));
    }
    this.show();
  }

  /** Draw what is known now. */
  show() {
    const { size, box, auto, map } = this.photo;
    if (size) this.element.style.setProperty('--ratio', String(size[0] / size[1]));
    this.element.classList.toggle('touch', Boolean(box));
    this.own.hidden = this.shade.hidden = !box;
    if (box) {
      const [left, top, right, bottom] = box.map((value, side) => (100 * value) / size[side % 2]);
      const place = { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` };
      for (const one of [this.own, this.shade]) Object.assign(one.style, place);
    }
    const shown = map ? { area: map.area, source: mapPicture(map) } : null;
    this.over.replaceChildren(...layers({ size, map: shown, boxes: [[auto, 'auto']] }));
    this.element.setAttribute('aria-label', t('box_area', { number: this.place, box: this.words() }));
  }

  words() {
    const { size, box } = this.photo;
    if (!box) return t('box_none');
    const [left, top, right, bottom] = box.map((value, side) => Math.round((100 * value) / size[side % 2]));
    return t('box_is', { left, top, right, bottom });
  }

  /** Where the pointer is, in pixels of the photo. */
  point(event) {
    const { left, top, width, height } = this.element.getBoundingClientRect();
    const { size } = this.photo;
    return [((event.clientX - left) / width) * size[0], ((event.clientY - top) / height) * size[1]];
  }

  press(event) {
    const { box, size } = this.photo;
    // A finger that has not asked for a box scrolls the page.
    if (!size || event.button !== 0 || (event.pointerType === 'touch' && !box)) return;
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    this.element.setPointerCapture(event.pointerId);
    const start = this.point(event);
    const before = box && [...box];
    const corner = CORNERS[event.target.dataset.corner];
    const isInside = event.target === this.own;
    const move = (moved) => {
      const [x, y] = this.point(moved);
      if (corner) {
        const next = [...before];
        next[corner[0]] = x;
        next[corner[1]] = y;
        this.set(next);
      } else if (isInside) {
        this.shift(before, x - start[0], y - start[1]);
      } else if (this.isDrag(start, [x, y])) {
        this.set([...start, x, y]);
      }
    };
    const end = (ended) => {
      for (const name of ['pointermove', 'pointerup', 'pointercancel']) this.element.removeEventListener(name, listeners[name]);
      if (ended.type === 'pointercancel') {
        this.photo.box = before;
        this.show();
      } else if (String(before) !== String(this.photo.box)) this.changed();
    };
    const listeners = { pointermove: move, pointerup: end, pointercancel: end };
    for (const name of Object.keys(listeners)) this.element.addEventListener(name, listeners[name]);
  }

  isDrag(start, point) {
    return Math.hypot(point[0] - start[0], point[1] - start[1]) > 0.02 * Math.max(...this.photo.size);
  }

  type(event) {
    const { box, size } = this.photo;
    if (!size || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key];
    if (event.key === 'Enter' && !box) this.draw();
    else if ((event.key === 'Delete' || event.key === 'Backspace') && box) {
      this.photo.box = null;
      this.show();
    } else if (step && box) {
      const [x, y] = step.map((one, side) => one * Math.max(1, Math.round(0.02 * size[side])));
      if (event.shiftKey) this.set([box[0], box[1], Math.max(box[0], box[2] + x), Math.max(box[1], box[3] + y)]);
      else this.shift(box, x, y);
    } else return;
    event.preventDefault();
    this.soon();
  }

  /** A box to begin with: that of the model, else the middle of the photo. */
  draw() {
    const [width, height] = this.photo.size;
    this.set(this.photo.auto || [0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height]);
  }

  shift([left, top, right, bottom], x, y) {
    const [width, height] = this.photo.size;
    const across = Math.min(Math.max(x, -left), width - right);
    const down = Math.min(Math.max(y, -top), height - bottom);
    this.set([left + across, top + down, right + across, bottom + down]);
  }

  /** Take a box, whichever of its corners come first, inside the photo and not too small. */
  set([left, top, right, bottom]) {
    const sides = [[left, right], [top, bottom]].map(([one, other], side) => {
      const end = this.photo.size[side];
      const least = Math.min(end, Math.max(8, 0.03 * end));
      const low = Math.min(Math.max(0, Math.min(one, other)), end - least);
      return [low, Math.max(low + least, Math.min(end, Math.max(one, other)))].map(Math.round);
    });
    this.photo.box = [sides[0][0], sides[1][0], sides[0][1], sides[1][1]];
    this.show();
  }
}

const PARTS = ['whole', 'model', 'own'];

export class Query {
  /** changed(isOther): called when there is something else to search with; isOther for other photos, not boxes. */
  constructor(changed) {
    this.changed = changed;
    this.kind = '';
    this.photos = [];
    this.row = null; // the id, and when it is known, the row itself
    this.text = '';
    this.limits = { photos: 5, bytes: Infinity };
    this.gallery = null;
    this.note = '';
  }

  /** Take files as photos of one individual, in place of those before or beside them. */
  take(files, isMore = false) {
    const all = [...files];
    // What browsers do not know has no type; the server tells by the content.
    const given = all.filter((file) => file.type.startsWith('image/') || !file.type);
    const small = given.filter((file) => file.size <= this.limits.bytes);
    const large = given.find((file) => file.size > this.limits.bytes);
    this.note = '';
    if (!given.length) this.note = t('no_photos');
    if (large) this.note = t('too_large', { name: large.name, size: this.limits.bytes >> 20 });
    if (small.length) {
      if (!isMore || this.kind !== 'photos') this.forget();
      const room = this.limits.photos - this.photos.length;
      if (small.length > room) this.note = t('too_many', { count: this.limits.photos });
      for (const file of small.slice(0, room)) this.photos.push(this.open(file));
      this.kind = 'photos';
    }
    this.render();
    if (small.length) this.changed(true);
  }

  open(file) {
    const photo = { file, url: URL.createObjectURL(file), size: null, box: null, auto: null, map: null, error: '' };
    Object.assign(photo, { isShown: true, part: 'whole' });
    photo.editor = null;
    const image = new Image();
    image.addEventListener('load', () => {
      photo.size = [image.naturalWidth, image.naturalHeight];
      photo.editor?.show();
    });
    image.addEventListener('error', () => {
      photo.isShown = false;
      this.render();
    });
    image.src = photo.url;
    return photo;
  }

  forget() {
    for (const photo of this.photos) URL.revokeObjectURL(photo.url);
    this.photos = [];
  }

  useRow(id) {
    Object.assign(this, { kind: 'row', row: { id }, note: '' });
    this.render();
  }

  useText(text) {
    Object.assign(this, { kind: /^https?:/.test(text) ? 'url' : 'text', text, note: '' });
    this.render();
    this.changed();
  }

  isTyped() {
    return this.kind === 'text' || this.kind === 'url';
  }

  words() {
    return this.kind === 'url' ? `${t('path')}: ${this.text}` : t('text_query', { text: this.text });
  }

  /** Back to the photos before a row was asked with, if there were any. */
  useOwn() {
    this.kind = this.photos.length ? 'photos' : '';
    this.row = null;
    this.render();
  }

  clear() {
    this.forget();
    Object.assign(this, { kind: '', row: null, text: '', note: '' });
    this.render();
  }

  /** This as a request, and its files. */
  asked() {
    if (this.kind === 'row') return [{ id: this.row.id }, []];
    if (this.isTyped()) return [{ [this.kind]: this.text }, []];
    const boxes = this.photos.some((photo) => photo.box) ? this.photos.map((photo) => photo.box) : [];
    return [{ boxes }, this.photos.map((photo) => photo.file)];
  }

  /** The one photo, row or text that a hit is compared with: its request, and what is shown of it. */
  first() {
    if (this.kind !== 'photos') {
      const [request, files] = this.asked();
      const { size, box, map } = this.row || {};
      const source = this.kind === 'row' ? photoAddress(this.row.id, this.gallery, 1600) : '';
      return { request, files, source, size, map, boxes: [[box, 'auto']], isText: this.kind === 'text' };
    }
    const photo = this.photos.find((one) => !one.error) || this.photos[0];
    const size = photo.size || photo.told;
    return {
      request: { boxes: photo.box ? [photo.box] : [] },
      files: [photo.file],
      source: photo.isShown ? photo.url : '',
      size,
      map: photo.map && { area: photo.map.area, source: mapPicture(photo.map) },
      boxes: [[photo.auto, 'auto'], [photo.box, 'own']],
      isOneOfMore: this.photos.length > 1,
    };
  }

  /** Learn from an answer, or from a refusal, what the server made of each photo. */
  learn(queries, errors = []) {
    if (this.kind === 'row') {
      const { size, box, map } = queries[0] || {};
      Object.assign(this.row, { size, box, map: map && { area: map.area, source: mapPicture(map) } });
    }
    if (this.kind === 'photos') {
      this.photos.forEach((photo, place) => {
        const told = queries[place] || {};
        const refused = errors.find((one) => one.photo === place);
        Object.assign(photo, { told: told.size, map: told.map || null, auto: told.box || null });
        photo.error = sentence(told.error || refused?.detail || '');
        if (told.box && !photo.box) photo.suggested = told.box;
      });
    }
    this.render(false);
  }

  render(isNew = true) {
    const place = at('photos');
    const hadFocus = place.contains(document.activeElement) && document.activeElement.dataset.key;
    document.documentElement.classList.toggle('has-photos', this.kind === 'photos');
    document.documentElement.classList.toggle('has-query', Boolean(this.kind));
    if (isNew || this.kind !== 'photos') {
      const shown = this.kind === 'photos' ? this.photos.map((photo, number) => this.photoElement(photo, number + 1)) : [];
      if (this.kind === 'row') shown.push(this.rowElement());
      if (this.isTyped()) shown.push(make('p', { text: this.words() }));
      if (this.kind === 'photos') shown.push(make('p', { id: 'box-help', class: 'muted small' }, t('box_help'), ' ', make('span', { class: 'keys', text: t('box_keys') })));
      place.replaceChildren(make('p', { id: 'note', role: 'alert', class: 'wrong', text: this.note }), ...shown);
    }
    for (const photo of this.photos) photo.refresh?.();
    if (hadFocus) place.querySelector(`[data-key="${hadFocus}"]`)?.focus();
    applyOverlays();
  }

  photoElement(photo, number) {
    const count = this.photos.length;
    const remove = make('button', {
      type: 'button', class: 'remove', 'aria-label': t('remove', { number }), 'data-key': `remove-${number}`, text: '×',
      on: { click: () => this.remove(number - 1) },
    });
    const title = make('p', { class: 'of' }, make('span', { text: t('photo_of', { number, count }) }), remove);
    const wrong = make('p', { class: 'wrong small' });
    if (!photo.isShown) {
      const help = make('p', { class: 'small', text: t('not_shown') });
      photo.refresh = () => {
        wrong.textContent = photo.error;
        help.hidden = Boolean(photo.error);
      };
      const told = make('div', { class: 'frame missing' }, make('span', { text: photo.file.name }));
      return make('div', { class: 'photo' }, title, told, help, wrong);
    }
    const parts = make('fieldset', { class: 'parts' }, make('legend', { text: t('part') }));
    const inputs = {};
    for (const part of PARTS) {
      inputs[part] = make('input', {
        type: 'radio', name: `part-${number}`, value: part, 'data-key': `${part}-${number}`,
        on: { change: () => this.choose(photo, part) },
      });
      parts.append(make('label', {}, inputs[part], ` ${t(`part_${part}`)}`));
    }
    const changed = () => {
      photo.part = photo.box ? 'own' : 'whole';
      photo.refresh();
      this.changed();
    };
    photo.editor = new BoxEditor(photo, number, changed);
    photo.editor.element.dataset.key = `box-${number}`;
    photo.refresh = () => {
      inputs[photo.part].checked = true;
      inputs.model.disabled = !photo.suggested;
      wrong.textContent = photo.error;
      parts.hidden = Boolean(photo.error);
      photo.editor.show();
      applyOverlays();
    };
    return make('div', { class: 'photo' }, title, photo.editor.element, wrong, parts);
  }

  choose(photo, part) {
    if (!photo.size) return;
    const before = String(photo.box);
    photo.part = part;
    if (part === 'whole') photo.box = null;
    else if (part === 'model') photo.box = photo.suggested.map(Math.round);
    else if (!photo.box) photo.editor.draw(); // else that of the model, to be changed
    photo.refresh();
    if (before !== String(photo.box)) this.changed();
  }

  rowElement() {
    const { id, label, name, size, box, map } = this.row;
    const words = label === undefined ? '' : t('row_query', { id, label: name ?? t('no_class') });
    const source = photoAddress(id, this.gallery, 800);
    const frame = framed({ source, alt: words, missing: t('no_photo'), size, map, boxes: [[box, 'auto']] });
    return make('figure', { class: 'photo' }, frame, make('figcaption', { text: words }));
  }

  remove(place) {
    const [gone] = this.photos.splice(place, 1);
    URL.revokeObjectURL(gone.url);
    if (!this.photos.length) this.kind = '';
    this.note = '';
    this.render();
    this.changed();
    (at('photos').querySelector('.remove') || at('choose')).focus();
  }
}
