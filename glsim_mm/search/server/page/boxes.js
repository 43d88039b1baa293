// A box on a photo that is drawn, moved, resized and cleared: by mouse, finger or keyboard.

import { later, layers, make, mapPicture } from './elements.js';
import { t } from './texts.js';

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
