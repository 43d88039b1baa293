// A grid of any number of photos in the window: those in sight alone are in the page, and its scrollbar is that of all.

import { later, make } from './elements.js';

const BLOCK = 100; // rows of a request
const BLOCKS = 40; // that are remembered
const RANGE = 2000; // rows that may be chosen at once
const TALLEST = 8e6; // pixels; browsers cannot lay out what is much taller
const GAP = 10;
const MOVES = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: (grid) => -grid.columns, ArrowDown: (grid) => grid.columns };
const PAGES = { PageUp: -1, PageDown: 1 };

/** What outlives a grid: rows by blocks, how many there are, what is chosen, and where one is. */
export const newState = () => ({ total: null, generation: null, blocks: new Map(), chosen: new Map(), active: 0, anchor: 0, scroll: 0 });

export class Grid {
  /**
   * Args:
   *   state: See newState.
   *   label: Its name for those who hear it.
   *   least: Smallest width of a card in pixels.
   *   caption: Height of what is below the photo of a card.
   *   load(start, count, before, signal): Promises { rows, total, generation, next }; before: the block before, or undefined.
   *   fill(row): What is in a card: its name, the address of its picture or '', words in place of one, and further elements.
   *   chose(): Other rows are chosen. opened(row): One is to be looked at. failed(error): Rows could not be loaded.
   *   signal: Ends it.
   */
  constructor({ state, signal, label, ...others }) {
    Object.assign(this, others, { state, signal, columns: 1, cards: new Map(), asked: new Map(), extended: [] });
    this.element = make('div', { class: 'grid', role: 'listbox', tabindex: 0, 'aria-multiselectable': 'true', 'aria-label': label });
    for (const name of ['click', 'dblclick', 'keydown', 'focus', 'blur']) this.element.addEventListener(name, (event) => this[name](event));
    const soon = () => requestAnimationFrame(() => this.render());
    for (const name of ['scroll', 'resize']) addEventListener(name, soon, { signal, passive: true });
    const watch = new ResizeObserver(soon);
    watch.observe(this.element);
    signal.addEventListener('abort', () => watch.disconnect());
    this.fetchSoon = later(60, () => this.fetch());
  }

  /** Show it where it was left, and read its rows anew. */
  begin() {
    const { scroll } = this.state;
    this.render();
    scrollTo(0, scroll);
    this.render();
    return this.fetch();
  }

  layout() {
    const across = this.element.clientWidth;
    this.columns = Math.max(1, Math.floor((across + GAP) / (this.least + GAP)));
    this.across = (across + GAP) / this.columns;
    this.down = Math.round((this.across - GAP) * 0.75) + this.caption + GAP;
    const whole = Math.ceil((this.state.total || 0) / this.columns) * this.down;
    this.element.style.height = `${Math.min(whole, TALLEST)}px`;
    this.scale = whole > TALLEST ? (whole - innerHeight) / (TALLEST - innerHeight) : 1;
  }

  /** Put cards where they are to be seen, and take those away that are not. */
  render() {
    if (this.signal.aborted || !this.element.isConnected || this.element.offsetParent === null) return;
    this.layout();
    const { state, columns } = this;
    const above = -this.element.getBoundingClientRect().top;
    const top = Math.max(0, above);
    const seen = top * this.scale;
    const first = Math.max(0, (Math.floor(seen / this.down) - 1) * columns);
    const end = Math.min(state.total || 0, (Math.ceil((seen + innerHeight - Math.max(0, -above)) / this.down) + 1) * columns);
    this.range = [first, end];
    state.scroll = scrollY;
    for (const [place, card] of this.cards) {
      if (place >= first && place < end) continue;
      card.remove();
      this.cards.delete(place);
    }
    for (let place = first; place < end; place += 1) {
      const card = this.cards.get(place) || this.card(place);
      const line = Math.floor(place / columns);
      const [x, y] = [(place % columns) * this.across, top + line * this.down - seen];
      card.style.transform = `translate(${x}px, ${y}px)`;
      Object.assign(card.style, { width: `${this.across - GAP}px`, height: `${this.down - GAP}px` });
    }
    this.mark();
    if (this.missing().length) this.fetchSoon();
  }

  card(place) {
    const card = make('div', { class: 'card', role: 'option', id: `card-${place}`, 'aria-posinset': place + 1 }, make('span', { class: 'picture' }));
    card.dataset.place = place;
    this.cards.set(place, card);
    this.put(card, place);
    // In order, for those who hear the page.
    const next = [...this.cards.keys()].filter((one) => one > place).reduce((one, other) => Math.min(one, other), Infinity);
    this.element.insertBefore(card, this.cards.get(next) || null);
    return card;
  }

  put(card, place) {
    const row = this.row(place);
    card.setAttribute('aria-setsize', this.state.total);
    card.classList.toggle('loading', !row);
    if (!row || card.row === row) return;
    card.row = row;
    const [label, source, missing, ...parts] = this.fill(row);
    card.setAttribute('aria-label', label);
    const photo = make('img', { alt: '', decoding: 'async', draggable: 'false' });
    const picture = make('span', { class: 'picture' }, photo);
    const lack = () => picture.replaceChildren(make('span', { class: 'muted small', text: missing }));
    photo.addEventListener('error', lack);
    if (!source) lack();
    const before = card.querySelector('img');
    if (before?.dataset.of === String(row.id)) photo.src = source;
    // What flies by is not asked for.
    else if (source) setTimeout(() => card.isConnected && card.row === row && (photo.src = source), 120);
    photo.dataset.of = row.id;
    card.replaceChildren(picture, ...parts);
  }

  row(place) {
    return this.state.blocks.get(Math.floor(place / BLOCK))?.rows[place % BLOCK];
  }

  /** Blocks in sight that are not there, or of another time. */
  missing() {
    const [first, end] = this.range || [0, 0];
    const found = [];
    for (let block = Math.floor(first / BLOCK); block * BLOCK < Math.max(end, 1); block += 1) {
      if (this.state.blocks.get(block)?.by !== this) found.push(block);
    }
    return found;
  }

  async fetch() {
    try {
      await Promise.all(this.missing().map((block) => this.read(block)));
    } catch (error) {
      if (!this.signal.aborted) this.failed(error);
    }
  }

  /** One block, asked for once. */
  read(block) {
    if (!this.asked.has(block)) {
      this.asked.set(block, this.readNow(block).finally(() => this.asked.delete(block)));
    }
    return this.asked.get(block);
  }

  async readNow(block) {
    const { state } = this;
    const before = state.blocks.get(block - 1);
    const found = await this.load(block * BLOCK, BLOCK, before?.by === this ? before.next : null, this.signal);
    if (this.signal.aborted) return;
    if (found.generation !== state.generation) {
      // All else is of another time; it stays in sight until it has been read anew.
      for (const one of state.blocks.values()) one.by = null;
    }
    Object.assign(state, { total: found.total, generation: found.generation });
    state.active = Math.max(0, Math.min(state.active, found.total - 1));
    state.blocks.set(block, { rows: found.rows, next: found.next, by: this });
    const far = (one) => Math.abs(one - block);
    const numbers = [...state.blocks.keys()].sort((one, other) => far(other) - far(one));
    for (const one of numbers.slice(0, Math.max(0, numbers.length - BLOCKS))) state.blocks.delete(one);
    for (const row of found.rows) if (state.chosen.has(row.id)) state.chosen.set(row.id, row);
    for (const [place, card] of this.cards) this.put(card, place);
    this.render();
  }

  /** Show what is chosen, and where one is. */
  mark() {
    const { active, chosen } = this.state;
    for (const [place, card] of this.cards) {
      const isChosen = Boolean(this.isAll || (card.row && chosen.has(card.row.id)));
      card.setAttribute('aria-selected', String(isChosen));
      card.classList.toggle('active', place === active);
    }
    if (this.cards.has(active)) this.element.setAttribute('aria-activedescendant', `card-${active}`);
    else this.element.removeAttribute('aria-activedescendant');
  }

  /** Go to a card. */
  move(place) {
    const { state } = this;
    state.active = Math.max(0, Math.min(place, state.total - 1));
    const line = Math.floor(state.active / this.columns) * this.down;
    const top = this.element.getBoundingClientRect().top + scrollY + line / this.scale;
    const room = parseFloat(getComputedStyle(this.element).scrollMarginTop) || 0;
    if (top - room < scrollY) scrollTo(0, top - room);
    else if (top + this.down > scrollY + innerHeight - room) scrollTo(0, top + this.down - innerHeight + room);
    this.render();
  }

  /** Choose, or do not choose, the rows of some places. */
  async choose(places, isOn) {
    const { chosen } = this.state;
    if (this.isAll) this.clear();
    for (const block of new Set(places.map((place) => Math.floor(place / BLOCK)))) {
      if (!this.state.blocks.has(block)) await this.read(block).catch(this.failed);
    }
    for (const place of places) {
      const row = this.row(place);
      if (row && isOn) chosen.set(row.id, row);
      else if (row) chosen.delete(row.id);
    }
    this.mark();
    this.chose();
  }

  /** All that there are, whether they have been seen or not. */
  chooseAll() {
    this.isAll = true;
    this.mark();
    this.chose();
  }

  clear() {
    this.isAll = false;
    this.state.chosen.clear();
    this.mark();
    this.chose();
  }

  toggle(place) {
    const row = this.row(place);
    this.state.anchor = place;
    this.extended = [];
    return this.choose([place], this.isAll || !row || !this.state.chosen.has(row.id));
  }

  /** From the card that was chosen last to another; what an extension before had and this one has not is left. */
  async extend(place) {
    const [first, last] = [this.state.anchor, place].sort((one, other) => one - other);
    const count = Math.min(last - first + 1, RANGE);
    const start = place < this.state.anchor ? last - count + 1 : first;
    const places = Array.from({ length: count }, (_, step) => start + step);
    const left = this.extended.filter((one) => one < start || one >= start + count);
    this.extended = places;
    if (left.length) await this.choose(left, false);
    await this.choose(places, true);
  }

  placeOf(event) {
    const card = event.target.closest('.card');
    return card ? Number(card.dataset.place) : null;
  }

  click(event) {
    const place = this.placeOf(event);
    if (place === null) return;
    this.state.active = place;
    if (event.shiftKey) this.extend(place);
    else this.toggle(place);
  }

  dblclick(event) {
    const row = this.row(this.placeOf(event) ?? -1);
    if (row) this.opened(row);
  }

  focus() {
    this.element.classList.add('focused');
  }

  blur() {
    this.element.classList.remove('focused');
  }

  keydown(event) {
    const { state } = this;
    const isCommand = event.ctrlKey || event.metaKey;
    const before = state.active;
    if (isCommand && event.key === 'a') this.chooseAll();
    else if (isCommand || event.altKey) return;
    else if (event.key in MOVES) this.move(before + MOVES[event.key](this));
    else if (event.key in PAGES) this.move(before + PAGES[event.key] * this.columns * Math.max(1, Math.floor(innerHeight / this.down) - 1));
    else if (event.key === 'Home') this.move(0);
    else if (event.key === 'End') this.move(state.total - 1);
    else if (event.key === ' ') this.toggle(before);
    else if (event.key === 'Enter' && this.row(before)) this.opened(this.row(before));
    else if (event.key === 'Escape') this.clear();
    else return;
    event.preventDefault();
    if (event.shiftKey && state.active !== before) {
      if (!this.isExtending) {
        state.anchor = before;
        this.extended = [];
      }
      this.extend(state.active);
    }
    this.isExtending = event.shiftKey;
  }
}
