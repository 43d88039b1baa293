// The answer in words, and the photos that were found.

import { mapAddress, photoAddress } from './api.js';
import { at, framed, make } from './elements.js';
import { applyOverlays } from './overlays.js';
import { language, number, percent, sentence, t } from './texts.js';

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
  const { kind, count, neighbors, share, support, probability = null, decision = null } = answer;
  const best = votes[0] ? named(votes[0]) : '';
  const values = { label: best, count, neighbors, share: percent(share), support: number(support, 2) };
  let reason = t('reason', values);
  if (kind === 'unknown') reason = t('reason_unknown', values);
  if (kind === 'nothing') reason = t('reason_nothing');
  if (kind === 'split' && votes[1]) {
    reason += ` ${t('reason_second', { label: named(votes[1]), share: percent(votes[1].share) })}`;
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
    make('div', {}, make('p', { class: 'word', text: t(`answer_${kind}`, values) }), sure && make('p', { text: sure }), make('p', { text: reason })),
    make('ul', { class: 'votes', 'aria-label': t('votes') }, ...bars),
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
