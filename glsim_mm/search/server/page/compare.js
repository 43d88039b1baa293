// One hit beside the query: why it was found, and what is known about it.

import { ask } from './api.js';
import { at, make } from './elements.js';
import { named, shownRow } from './hits.js';
import { facts } from './look.js';
import { applyOverlays } from './overlays.js';
import { Same } from './same.js';
import { Stage } from './stage.js';
import { number, percent, sentence, t } from './texts.js';

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
    const missing = asked.isText ? t('text_query', { text: this.query.text }) : t('not_shown');
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
