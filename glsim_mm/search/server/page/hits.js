// Rows of the gallery: what lies over their photos, how the answer and the hits are shown, and one of them, large.

import { mapAddress, photoAddress } from './api.js';
import { at, framed, make } from './elements.js';
import { language, number, percent, recall, remember, sentence, t } from './texts.js';

const state = { box: true, map: false, matches: true, strength: 70, ...read() };

function read() {
  try {
    const { box, map, matches, strength } = JSON.parse(recall('overlays') || '{}');
    const kept = { box, map, matches, strength };
    return Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined));
  } catch {
    return {};
  }
}

/** Show what is chosen; maps that are shown for the first time are loaded now. */
export function applyOverlays() {
  const root = document.documentElement;
  for (const one of ['box', 'map', 'matches']) root.classList.toggle(`show-${one}`, Boolean(state[one]));
  root.style.setProperty('--strength', String(state.strength / 100));
  if (!state.map) return;
  for (const one of document.querySelectorAll('.light image:not([href])')) one.setAttribute('href', one.dataset.source);
}

/** Make the switches, beside the hits and in the comparison. */
export function makeOverlays() {
  for (const place of document.querySelectorAll('.overlays')) {
    const isCompare = at('compare').contains(place);
    const names = isCompare ? ['box', 'map', 'matches'] : ['box', 'map'];
    const box = make('fieldset', {}, make('legend', { text: t('show') }));
    for (const name of names) {
      const input = make('input', { type: 'checkbox', name: `show-${name}` });
      input.checked = Boolean(state[name]);
      input.addEventListener('change', () => change(name, input.checked));
      box.append(make('label', {}, input, ` ${t(`show_${name}`)}`), ' ');
    }
    const range = make('input', { type: 'range', name: 'strength', min: 10, max: 100, step: 10, value: state.strength });
    range.addEventListener('input', () => change('strength', Number(range.value)));
    box.append(make('label', { class: 'strength' }, `${t('strength')} `, range));
    place.replaceChildren(box);
  }
  applyOverlays();
}

function change(name, value) {
  state[name] = value;
  remember('overlays', JSON.stringify(state));
  for (const input of document.querySelectorAll(`.overlays [name="show-${name}"]`)) input.checked = value;
  for (const input of document.querySelectorAll(`.overlays [name="${name}"]`)) input.value = value;
  applyOverlays();
}

const VOTES = 4;
export const named = (row) => row.name ?? t('no_class');

/** What is shown of a row: its photo, as large as asked for, with its map and box. */
export function shownRow(row, gallery, side) {
  const map = row.has_map ? { area: row.map_area, source: mapAddress(row.id, gallery) } : null;
  const source = row.has_photo ? photoAddress(row.id, gallery, side) : '';
  return { source, size: row.size, map, boxes: [[row.box, 'auto']] };
}

/** The answer with its reason, and the votes that it comes from. */
export function showAnswer(answer, votes) {
  const place = at('answer');
  place.hidden = !answer;
  if (!answer) return;
  const { kind, count, neighbors, share, support, basis, probability = null, decision = null } = answer;
  const best = answer.name || (votes[0] ? named(votes[0]) : '');  // the recogniser may know better than the vote
  const values = { label: best, count, neighbors, share: percent(share), support: number(support, 2) };
  let reason = t('reason', values);
  if (kind === 'unknown') reason = t('reason_unknown', values);
  if (kind === 'nothing') reason = t('reason_nothing');
  const second = votes.find((vote) => named(vote) !== best);
  if (kind === 'split' && second) {
    reason += ` ${t('reason_second', { label: named(second), share: percent(second.share) })}`;
  }
  // A tuned gallery's recogniser has words of its own, in English.
  if (decision && language() === 'en') reason = sentence(answer.sentence);
  const sure = decision && t(`decision_${decision}`, { probability: percent(probability ?? 0) });
  const bars = votes.slice(0, VOTES).map((vote) => {
    const bar = make('span', { class: 'bar', 'aria-hidden': 'true' }, make('span'));
    bar.firstChild.style.width = `${100 * vote.share}%`;
    const told = t(vote.count === 1 ? 'vote_one' : 'vote', { count: vote.count, similarity: number(vote.similarity, 2) });
    const share_ = make('strong', { text: percent(vote.share) });
    return make('li', {}, make('span', { text: named(vote) }), share_, bar, make('span', { class: 'muted small', text: told }));
  });
  place.replaceChildren(
    make('div', {}, make('p', { class: 'word', text: t(`answer_${kind}`, values) }), sure && make('p', { text: sure }), make('p', { text: reason }), basis === 'recogniser' ? null : make('p', { class: 'muted small', text: t(`basis_${basis}`) })),
    make('div', {}, make('p', { class: 'muted small', text: t('votes') }), make('ul', { class: 'votes', 'aria-label': t('votes') }, ...bars)),
  );
  place.classList.toggle('sure', decision ? decision === 'accept' : kind === 'clear' || kind === 'likely');
}

/** Hits by rank, or by class in the order of the best of each; open(place) shows one beside the query. */
export function showHits(answer, order, open) {
  const { hits, gallery } = answer;
  const right = answer.answer?.label ?? null;
  const cards = hits.map((hit, place) => card(hit, gallery, right, () => open(place)));
  const lists = [];
  if (order === 'grouped') {
    const groups = new Map();
    hits.forEach((hit, place) => groups.set(hit.label, [...(groups.get(hit.label) || []), place]));
    for (const places of groups.values()) {
      const values = { count: places.length, score: number(hits[places[0]].score, 3) };
      const said = t(places.length === 1 ? 'group_one' : 'group', values);
      const title = make('h3', {}, `${named(hits[places[0]])} `, make('small', { text: said }));
      lists.push(title, make('ol', { class: 'hits' }, ...places.map((place) => cards[place])));
    }
  } else if (hits.length) lists.push(make('ol', { class: 'hits' }, ...cards));
  at('hits').replaceChildren(...lists);
  applyOverlays();
}

function card(hit, gallery, right, open) {
  const label = named(hit);
  const score = number(hit.score, 3);
  const frame = framed({ alt: '', missing: t('no_photo'), ...shownRow(hit, gallery, 320) });
  const button = make('button', {
    type: 'button', class: 'hit', 'aria-label': t('hit', { rank: hit.rank, label, score }), 'data-row': hit.id,
    on: { click: open },
  }, frame, make('span', { class: 'line' }, make('strong', { text: `${hit.rank}` }), make('span', { text: score })), make('span', { class: 'label', text: label }));
  const kind = right === null ? 'other' : hit.label === right ? 'right' : 'other';
  return make('li', { class: kind }, button);
}

/** What is known about a row, as terms and values; `more` comes first. */
export function facts(row, more = []) {
  const size = row.size ? `${row.size[0]} × ${row.size[1]}` : null;
  const known = [['path', row.path], ['row_id', row.id], ['split', row.split], ['size', size]];
  const all = [...[['label', named(row)], ...more, ...known].map(([key, value]) => [t(key), value]), ...Object.entries(row.metadata)];
  const shown = all.filter(([, value]) => value !== null && value !== undefined);
  return shown.flatMap(([name, value]) => [make('dt', { text: name }), make('dd', { text: String(value) })]);
}

/**
 * Open a dialog with a row; next(step) gives the row before (-1) or after (1) the one that is shown, or nothing.
 * Closed when the page is left; closed() is called then too.
 */
export function look(row, context, { next, closed = () => {} }) {
  const title = make('h2', { id: 'look-title', tabindex: -1 });
  const photo = make('div');
  const known = make('dl');
  const similar = make('a', { class: 'button main', text: t('similar_row') });
  const button = (key, click) => make('button', { type: 'button', text: t(key), on: { click } });
  const steps = [button('previous', () => step(-1)), button('next', () => step(1))];
  const dialog = make('dialog', { class: 'look', 'aria-labelledby': title.id },
    make('div', { class: 'head' }, title, ...steps, button('close', () => dialog.close())),
    make('div', { class: 'below' }, photo, make('div', {}, known, make('p', { class: 'buttons' }, similar))));

  function show(now) {
    title.textContent = named(now);
    photo.replaceChildren(framed({ alt: named(now), missing: t('no_photo'), ...shownRow(now, context.gallery.name, 1600) }));
    known.replaceChildren(...facts(now));
    similar.href = context.address('search', { id: now.id });
    applyOverlays();
  }

  function step(by) {
    const other = next(by);
    if (other) show(other);
  }

  dialog.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) step(by);
  });
  dialog.addEventListener('close', () => {
    dialog.remove();
    closed();
  });
  context.signal.addEventListener('abort', () => dialog.remove());
  document.body.append(dialog);
  show(row);
  dialog.showModal();
  title.focus();
}
