// The photo that is searched with: its box is drawn, moved, changed and cleared by mouse, touch and keys.
import { AUTOMATIC, OWN, drawBox, drawMap, prepare } from './drawing.js';
import { say } from './texts.js';

const LEAST = 8, NEAR = 16; // pixels of the screen

export class Editor {
  constructor(image, canvas, changed) {
    [this.image, this.canvas, this.changed] = [image, canvas, changed];
    this.box = this.automatic = this.map = this.area = null;
    this.showsBox = true;
    this.strength = 0;
    canvas.addEventListener('pointerdown', (event) => this.begin(event));
    canvas.addEventListener('pointermove', (event) => this.move(event));
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => this.end());
    canvas.addEventListener('keydown', (event) => this.press(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  get size() { return [this.image.naturalWidth, this.image.naturalHeight]; }

  get scale() { return this.canvas.clientWidth / (this.image.naturalWidth || 1); }

  // What the server says of the photo: the region that the model selected, and its map.
  tell(automatic, map, area) {
    [this.automatic, this.map, this.area] = [automatic, map, area];
    this.draw();
  }

  setBox(box) {
    this.box = box;
    this.draw();
  }

  draw() {
    if (!this.image.naturalWidth || !this.canvas.clientWidth) return;
    const { context } = prepare(this.canvas);
    const place = { x: 0, y: 0, scale: this.scale };
    if (this.map && this.strength) drawMap(context, place, this.map, this.area || [0, 0, ...this.size], this.strength);
    if (this.automatic && this.showsBox) drawBox(context, place, this.automatic, AUTOMATIC, true);
    if (this.box) {
      drawBox(context, place, this.box, OWN);
      context.fillStyle = OWN;
      for (const [x, y] of corners(this.box)) context.fillRect(x * this.scale - 5, y * this.scale - 5, 10, 10);
    }
    const said = this.box ? ` ${say('editorBox', Object.fromEntries(['x0', 'y0', 'x1', 'y1'].map((name, at) => [name, Math.round(this.box[at])])))}` : '';
    this.canvas.setAttribute('aria-label', say('editor') + said);
  }

  point(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [(event.clientX - left) / this.scale, (event.clientY - top) / this.scale].map((value, at) => clamp(value, 0, this.size[at]));
  }

  begin(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    const point = this.point(event), box = this.box;
    const corner = box && corners(box).findIndex(([x, y]) => Math.hypot(x - point[0], y - point[1]) * this.scale < NEAR);
    if (box && corner >= 0) this.drag = { anchor: corners(box)[(corner + 2) % 4] };
    else if (box && point[0] > box[0] && point[0] < box[2] && point[1] > box[1] && point[1] < box[3]) this.drag = { from: point, box };
    else this.drag = { anchor: point };
    this.before = box;
  }

  move(event) {
    if (!this.drag) return;
    const point = this.point(event);
    if (this.drag.anchor) {
      const [x, y] = this.drag.anchor;
      this.box = [Math.min(x, point[0]), Math.min(y, point[1]), Math.max(x, point[0]), Math.max(y, point[1])];
    } else {
      this.box = this.shifted(this.drag.box, point[0] - this.drag.from[0], point[1] - this.drag.from[1]);
    }
    this.draw();
  }

  end() {
    if (!this.drag) return;
    this.drag = null;
    const box = this.box;
    if (box && ((box[2] - box[0]) * this.scale < LEAST || (box[3] - box[1]) * this.scale < LEAST)) this.box = this.before; // a click
    this.draw();
    if (String(this.box) !== String(this.before)) this.changed();
  }

  press(event) {
    const [width, height] = this.size;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step && this.box) {
      const [dx, dy] = [step[0] * width / 50, step[1] * height / 50];
      const [x0, y0, x1, y1] = this.box;
      this.box = event.shiftKey
        ? [x0, y0, clamp(x1 + dx, x0 + width / 50, width), clamp(y1 + dy, y0 + height / 50, height)]
        : this.shifted(this.box, dx, dy);
    } else if ((event.key === 'Enter' || event.key === ' ') && !this.box) {
      this.box = this.automatic && this.showsBox ? [...this.automatic] : [width / 4, height / 4, width * 3 / 4, height * 3 / 4];
    } else if (['Delete', 'Backspace', 'Escape'].includes(event.key) && this.box) {
      this.box = null;
    } else return;
    event.preventDefault();
    this.draw();
    this.changed();
  }

  shifted([x0, y0, x1, y1], dx, dy) {
    const [width, height] = this.size;
    const [x, y] = [clamp(dx, -x0, width - x1), clamp(dy, -y0, height - y1)];
    return [x0 + x, y0 + y, x1 + x, y1 + y];
  }
}

function corners([x0, y0, x1, y1]) {
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}
