// A hit beside the query: both zoom and move together, why it was found, and what is known about it.

import { ask } from './api.js';
import { at, draw, framed, make } from './elements.js';
import { applyOverlays, facts, named, shownRow } from './hits.js';
import { Same } from './same.js';
import { number, percent, sentence, t } from './texts.js';

const MOST = 12;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const limit = (value, low, high) => Math.min(Math.max(value, low), high);

export class Stage {
  constructor() {
    this.element = at('stage');
    this.views = [at('view-query'), at('view-hit')].map((element) => ({ element, size: null, layer: null }));
    this.pointers = new Map();
    this.pairs = [];
    this.marked = null;
    this.reset();
    const listeners = {
      wheel: (event) => this.wheel(event), keydown: (event) => this.type(event), pointerdown: (event) => this.press(event),
      pointermove: (event) => this.drag(event), pointerup: (event) => this.release(event),
      pointercancel: (event) => this.release(event),
    };
    for (const [name, listener] of Object.entries(listeners)) {
      this.element.addEventListener(name, listener, name === 'wheel' ? { passive: false } : {});
    }
    at('zoom-in').addEventListener('click', () => this.zoom(1.5));
    at('zoom-out').addEventListener('click', () => this.zoom(1 / 1.5));
    at('zoom-reset').addEventListener('click', () => this.reset());
    new ResizeObserver(() => this.arrange()).observe(this.element);
  }

  /** Show other photos; each as framed() takes it. */
  show(...photos) {
    this.views.forEach((view, place) => {
      view.layer = framed(photos[place]);
      view.size = photos[place].size || null;
      const image = view.layer.querySelector('img');
      image?.addEventListener('load', () => {
        view.size ||= [image.naturalWidth, image.naturalHeight];
        this.arrange();
      });
      view.element.replaceChildren(view.layer);
    });
    this.match([]);
    this.reset();
  }

  match(pairs) {
    this.pairs = pairs;
    this.marked = null;
    this.arrange();
  }

  mark(place) {
    this.marked = place;
    this.arrange();
  }

  reset() {
    Object.assign(this, { scale: 1, x: 0.5, y: 0.5 });
    this.arrange();
  }

  /** Zoom by a factor; a place of the photos (0 to 1) stays where it is. */
  zoom(factor, place = [this.x, this.y]) {
    const scale = limit(this.scale * factor, 1, MOST);
    const left = this.scale / scale;
    this.x = place[0] + (this.x - place[0]) * left;
    this.y = place[1] + (this.y - place[1]) * left;
    this.scale = scale;
    this.arrange();
  }

  move(x, y) {
    this.x += x / this.scale;
    this.y += y / this.scale;
    this.arrange();
  }

  /** Where a photo lies in its view, in pixels. */
  fit({ element, size }) {
    const { clientWidth: across, clientHeight: down } = element;
    const [width, height] = size || [across, down];
    const factor = Math.min(across / width, down / height) || 0;
    const shown = [width * factor * this.scale, height * factor * this.scale];
    return { left: across / 2 - this.x * shown[0], top: down / 2 - this.y * shown[1], width: shown[0], height: shown[1] };
  }

  arrange() {
    const margin = 0.5 / this.scale;
    this.x = limit(this.x, margin, 1 - margin);
    this.y = limit(this.y, margin, 1 - margin);
    for (const view of this.views) {
      if (!view.layer) continue;
      const { left, top, width, height } = this.fit(view);
      Object.assign(view.layer.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    }
    this.element.classList.toggle('zoomed', this.scale > 1);
    at('zoom-level').textContent = `${number(100 * this.scale)} %`;
    this.connect();
  }

  /** Draw the pairs; those of which an end is not in sight are left out. */
  connect() {
    const whole = this.element.getBoundingClientRect();
    const lines = [];
    const most = Math.max(...this.pairs.map((pair) => pair.weight), 1e-9);
    this.pairs.forEach((pair, place) => {
      const ends = [pair.query_box, pair.box].map((box, side) => box && this.place(box, this.views[side], whole));
      if (ends.some((end) => !end)) return;
      const isOther = this.marked !== null && this.marked !== place;
      const level = this.marked === place ? 1 : pair.weight / most;
      const shape = draw('g', { class: this.marked === place ? 'marked' : null, opacity: isOther ? 0.25 : null });
      const strokes = draw('g', { 'stroke-opacity': 0.5 + 0.5 * level });
      shape.append(strokes);
      const [from, to] = ends;
      const points = { x1: from.x, y1: from.y, x2: to.x, y2: to.y };
      for (const [kind, more] of [['rim', 2], ['match', 0]]) {
        strokes.append(draw('line', { ...points, class: kind, 'stroke-width': 1 + 2 * level + more }));
        for (const end of ends) strokes.append(draw('rect', { ...end.box, class: kind, 'stroke-width': 2 + more }));
      }
      for (const end of ends) {
        shape.append(draw('circle', { cx: end.x, cy: end.y, r: 9, class: 'chip' }));
        shape.append(draw('text', { x: end.x, y: end.y, text: String(place + 1) }));
      }
      lines.unshift(shape);
    });
    if (this.marked !== null) lines.sort((one, other) => one.classList.contains('marked') - other.classList.contains('marked'));
    at('lines').replaceChildren(...lines);
  }

  /** The middle of a box of a photo and the box, in pixels of the stage; null where it is out of sight. */
  place([left, top, right, bottom], view, whole) {
    if (!view.size) return null;
    const fit = this.fit(view);
    const scale = [fit.width / view.size[0], fit.height / view.size[1]];
    const middle = [fit.left + ((left + right) / 2) * scale[0], fit.top + ((top + bottom) / 2) * scale[1]];
    const { clientWidth, clientHeight } = view.element;
    if (middle[0] < 0 || middle[1] < 0 || middle[0] > clientWidth || middle[1] > clientHeight) return null;
    const own = view.element.getBoundingClientRect();
    const x = own.left - whole.left + middle[0];
    const y = own.top - whole.top + middle[1];
    const [width, height] = [(right - left) * scale[0], (bottom - top) * scale[1]];
    return { x, y, box: { x: x - width / 2, y: y - height / 2, width, height } };
  }

  /** The view below a pointer, and the place of its photo there, 0 to 1. */
  under(event) {
    const view = this.views.find((one) => one.element.contains(event.target)) || this.views[0];
    const { left, top } = view.element.getBoundingClientRect();
    const fit = this.fit(view);
    return [(event.clientX - left - fit.left) / fit.width, (event.clientY - top - fit.top) / fit.height];
  }

  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-limit(event.deltaY, -100, 100) * 0.003), this.under(event));
  }

  type(event) {
    const step = KEYS[event.key];
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === '+' || event.key === '=') this.zoom(1.5);
    else if (event.key === '-') this.zoom(1 / 1.5);
    else if (event.key === '0') this.reset();
    else if (step) this.move(0.1 * step[0], 0.1 * step[1]);
    else return;
    event.preventDefault();
  }

  press(event) {
    if (event.button !== 0) return;
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    this.element.setPointerCapture(event.pointerId);
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const far = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
      this.zoom(far(now) / far(before));
    } else {
      const { width, height } = this.fit(this.views[0]);
      this.x -= (now[0] - before[0]) / width;
      this.y -= (now[1] - before[1]) / height;
      this.arrange();
    }
    this.pointers.set(event.pointerId, now);
  }

  release(event) {
    this.pointers.delete(event.pointerId);
  }

  /** Words for where a box lies in a photo. */
  words(box, side) {
    const { size } = this.views[side];
    if (!box || !size) return '';
    const [column, row] = [0, 1].map((one) => limit(Math.floor((1.5 * (box[one] + box[one + 2])) / size[one]), 0, 2));
    return t('places').split('|')[3 * row + column];
  }
}

const STRONGEST = 8; // as the pages of glsim search draw

export class Compare {
  /**
   * similar(id): Searches with a row. failed(error): Tells what could not be helped here; the sentence to show, or ''.
   * relabelled(): The hits have other labels.
   */
  constructor(query, similar, failed, relabelled) {
    Object.assign(this, { query, failed, answer: null, place: 0, space: null, controller: null, pairs: [], isAll: false });
    this.dialog = at('compare');
    this.stage = new Stage();
    this.same = new Same(query, () => {
      this.name();
      relabelled();
    });
    at('all-pairs').addEventListener('click', () => {
      this.isAll = !this.isAll;
      this.fill();
    });
    at('compare-close').addEventListener('click', () => this.dialog.close());
    at('compare-previous').addEventListener('click', () => this.show(this.place - 1));
    at('compare-next').addEventListener('click', () => this.show(this.place + 1));
    at('similar').addEventListener('click', () => {
      const { id } = this.answer.hits[this.place];
      this.isLeft = true;
      this.dialog.close();
      similar(id);
    });
    this.dialog.addEventListener('close', () => {
      this.controller?.abort();
      if (this.isLeft) return;
      const { id } = this.answer.hits[this.place];
      document.querySelector(`.hit[data-row="${id}"]`)?.focus();
    });
  }

  open(answer, place, space, context) {
    Object.assign(this, { answer, space, context, isLeft: false });
    if (!this.dialog.open) this.dialog.showModal();
    this.show(place);
    at('compare-title').focus();
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  show(place) {
    const { hits, gallery } = this.answer;
    const hit = hits[place];
    this.place = place;
    const from = document.activeElement;
    at('compare-title').textContent = t('compare', { rank: hit.rank, count: hits.length });
    at('compare-previous').disabled = place === 0;
    at('compare-next').disabled = place === hits.length - 1;
    if (from.disabled) at('compare-title').focus();
    const asked = this.query.first();
    const label = named(hit);
    const missing = this.query.isTyped() ? this.query.words() : t('not_shown');
    this.stage.show(
      { alt: t('query'), missing, ...asked },
      { alt: label, missing: t('no_photo'), ...shownRow(hit, gallery, 1600) },
    );
    this.name();
    this.same.show(this.answer, hit, this.context);
    applyOverlays();
    this.explain(asked, hit, gallery);
  }

  /** Say what is known about the hit. */
  name() {
    const hit = this.answer.hits[this.place];
    at('hit-caption').textContent = `${hit.rank}: ${named(hit)}, ${number(hit.score, 3)}`;
    at('metadata').replaceChildren(...facts(hit, [['score', number(hit.score, 4)]]));
  }

  async explain(asked, hit, gallery) {
    this.controller?.abort();
    this.controller = new AbortController();
    const { signal } = this.controller;
    Object.assign(this, { pairs: [], isAll: false });
    this.fill();
    if (asked.isText) {
      at('why').textContent = t('why_text');
      return;
    }
    at('why').textContent = t('why_busy');
    try {
      const request = { ...asked.request, gallery, hit: hit.id, space: this.space };
      const found = await ask('explain', request, asked.files, signal);
      if (signal.aborted) return;
      this.pairs = found.pairs.toSorted((one, other) => other.similarity - one.similarity);
      this.fill();
      at('why').textContent = sentence(found.unexplained) || this.words(found, asked);
      at('why').lang = found.unexplained ? 'en' : '';
    } catch (error) {
      if (error.name === 'AbortError') return;
      at('why').textContent = this.failed(error);
    }
  }

  words({ pairs, region_similarity: region }, asked) {
    const said = [pairs.length ? t('why_pairs', { count: pairs.length, shown: Math.min(pairs.length, STRONGEST) }) : t('why_none')];
    if (region !== null) said.push(t('why_region', { similarity: number(region, 2) }));
    if (asked.isOneOfMore) said.push(t('why_first'));
    return said.join(' ');
  }

  /** Pairs as lines, and as a table that says the same. */
  fill() {
    const pairs = this.isAll ? this.pairs : this.pairs.slice(0, STRONGEST);
    at('all-pairs').hidden = this.pairs.length <= STRONGEST;
    at('all-pairs').textContent = this.isAll ? t('strongest') : t('all_pairs', { count: this.pairs.length });
    this.stage.match(pairs);
    const table = at('pairs');
    table.hidden = !pairs.length;
    const names = [['pair'], ['similarity', 'number'], ['share', 'number'], ['in_query'], ['in_hit']];
    const heads = names.map(([name, kind]) => make('th', { scope: 'col', class: kind, text: t(name) }));
    const whole = this.pairs.reduce((sum, pair) => sum + pair.weight, 0) || 1;
    let pressed = null;
    const lines = pairs.map((pair, place) => {
      const button = make('button', { type: 'button', class: 'pair', 'aria-pressed': 'false', text: String(place + 1) });
      button.addEventListener('click', () => {
        const isOn = pressed !== button;
        pressed?.setAttribute('aria-pressed', 'false');
        pressed = isOn ? button : null;
        button.setAttribute('aria-pressed', String(isOn));
        this.stage.mark(isOn ? place : null);
      });
      const cells = [
        make('td', { class: 'number', text: number(pair.similarity, 2) }),
        make('td', { class: 'number', text: percent(pair.weight / whole) }),
        make('td', { text: this.stage.words(pair.query_box, 0) }),
        make('td', { text: this.stage.words(pair.box, 1) }),
      ];
      return make('tr', {}, make('th', { scope: 'row' }, button), ...cells);
    });
    table.replaceChildren(
      make('caption', { text: t('pairs') }), make('thead', {}, make('tr', {}, ...heads)), make('tbody', {}, ...lines),
    );
  }
}
