// Query and hit side by side, with lines between patches that are alike.
import { AUTOMATIC, OWN, contain, drawBox, prepare } from './drawing.js';
import { number, say } from './texts.js';
import { element } from './results.js';

const GAP = 16;
const SHOWN = 12; // pairs; more could not be told apart

export class Compare {
  constructor(dialog, explain, similar) {
    [this.dialog, this.explain] = [dialog, explain];
    this.find = (id) => dialog.querySelector(`#${id}`);
    this.find('close').addEventListener('click', () => dialog.close());
    this.find('lines').addEventListener('change', () => this.draw());
    this.find('pair-similar').addEventListener('click', () => { dialog.close(); similar(this.hit); });
    new ResizeObserver(() => this.draw()).observe(dialog);
  }

  // `query` and `hit` are { image, size, box }; the image may be null where there is none to show.
  async show(query, hit, row) {
    [this.query, this.other, this.hit, this.pairs] = [query, hit, row, []];
    const facts = [['score', number(row.score, 4)], ['file', row.path], ...Object.entries(row.metadata)];
    this.find('pair-facts').replaceChildren(...[[row.name ?? say('noLabel'), say('row', { id: row.id })], ...facts].flatMap(([name, value]) => [
      element('dt', { textContent: name === 'score' || name === 'file' ? say(name) : name }), element('dd', { textContent: String(value) })]));
    this.dialog.showModal();
    this.draw();
    this.find('pair-status').textContent = say('explaining');
    let said;
    try {
      const found = await this.explain(row);
      if (this.hit !== row) return;
      this.pairs = found.pairs.filter((pair) => pair.box && pair.query_box).sort((a, b) => b.weight - a.weight);
      said = found.unexplained || say('pairs', { count: number(found.pairs.length), shown: number(Math.min(SHOWN, this.pairs.length)), similarity: number(found.region_similarity ?? 0, 2) });
    } catch (error) {
      if (this.hit !== row) return;
      said = error.kind === 'offline' ? say('offline') : error.message;
    }
    this.find('pair-status').textContent = said;
    this.draw();
  }

  draw() {
    if (!this.dialog.open) return;
    const canvas = this.find('pair');
    const width = canvas.clientWidth, beside = width > 500;
    const part = beside ? (width - GAP) / 2 : width;
    const tall = Math.max(...[this.query, this.other].map(({ size }) => part * size[1] / size[0]));
    const height = Math.min(tall, window.innerHeight * (beside ? 0.6 : 0.32));
    canvas.style.height = `${beside ? height : 2 * height + GAP}px`;
    const { context } = prepare(canvas, width, beside ? height : 2 * height + GAP);
    const places = [[this.query, 0, 0], [this.other, beside ? part + GAP : 0, beside ? 0 : height + GAP]].map(([one, x, y]) => {
      const place = contain(one.size, x, y, part, height);
      if (one.image) context.drawImage(one.image, place.x, place.y, one.size[0] * place.scale, one.size[1] * place.scale);
      if (one.box) drawBox(context, place, one.box, AUTOMATIC, true);
      return place;
    });
    canvas.setAttribute('aria-label', say('pairAlt', { count: Math.min(SHOWN, this.pairs.length) }));
    if (!this.find('lines').checked) return;
    const strongest = Math.max(...this.pairs.map((pair) => pair.weight), 1e-9);
    for (const pair of this.pairs.slice(0, SHOWN)) {
      const ends = [[pair.query_box, places[0]], [pair.box, places[1]]].map(([box, place]) => {
        drawBox(context, place, box, OWN);
        return [place.x + place.scale * (box[0] + box[2]) / 2, place.y + place.scale * (box[1] + box[3]) / 2];
      });
      for (const [colour, more] of [['rgb(0 0 0 / .7)', 2], [OWN, 0]]) {
        context.strokeStyle = colour;
        context.lineWidth = 1 + 4 * pair.weight / strongest + more;
        context.beginPath();
        context.moveTo(...ends[0]);
        context.lineTo(...ends[1]);
        context.stroke();
      }
    }
  }
}
