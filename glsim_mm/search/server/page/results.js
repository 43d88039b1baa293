// The answer and the hits.
import { mapAddress, photoAddress } from './api.js';
import { AUTOMATIC, contain, drawBox, drawMap, mapFromAddress, prepare } from './drawing.js';
import { number, percent, say } from './texts.js';

const SHOWN_VOTES = 5;

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function showAnswer(place, answer, votes) {
  place.root.hidden = !answer;
  if (!answer) return;
  const label = answer.name ?? '';
  place.sentence.textContent = say(answer.kind === 'clear' ? 'clear_' : answer.kind, { label });
  place.reason.textContent = answer.kind === 'nothing' ? say('becauseNothing')
    : answer.kind === 'unknown' ? say('becauseUnknown')
      : say('because', { count: number(answer.count), neighbors: number(answer.neighbors), share: percent(answer.share) });
  place.votes.replaceChildren(...votes.slice(0, SHOWN_VOTES).map((vote) => element('li', {},
    element('span', { textContent: vote.name }),
    element('meter', { min: 0, max: 1, value: vote.share, ariaLabel: vote.name }),
    element('span', { textContent: percent(vote.share) }))));
}

// `view`: gallery, grouped, boxes, maps, strength, and what to do: compare(hit, image), similar(hit).
export function showHits(root, hits, view) {
  if (!view.grouped) {
    root.replaceChildren(element('div', { className: 'grid' }, ...hits.map((hit) => card(hit, view))));
    return;
  }
  const groups = new Map();
  for (const hit of hits) groups.set(hit.name, [...(groups.get(hit.name) ?? []), hit]);
  root.replaceChildren(...[...groups].flatMap(([label, own]) => [
    element('h3', { textContent: `${label ?? say('noLabel')} (${number(own.length)})` }),
    element('div', { className: 'grid' }, ...own.map((hit) => card(hit, view)))]));
}

function card(hit, view) {
  const label = hit.name ?? say('noLabel');
  const frame = element('button', { className: 'frame', type: 'button', ariaLabel: say('showPhoto', { label }) });
  if (hit.has_photo) {
    const image = element('img', { alt: '', loading: 'lazy', decoding: 'async' });
    const canvas = element('canvas');
    image.addEventListener('load', () => overlay(canvas, image, hit, view));
    new ResizeObserver(() => overlay(canvas, image, hit, view)).observe(frame);
    image.src = photoAddress(hit, view.gallery, 320);
    frame.append(image, canvas);
  } else {
    frame.append(element('span', { className: 'gone quiet', textContent: say('gone') }));
  }
  frame.addEventListener('click', () => view.compare(hit));
  const buttons = element('div', { className: 'buttons' });
  for (const [text, act] of [['compare', view.compare], ['similar', view.similar]]) {
    const button = element('button', { type: 'button', textContent: say(text), ariaLabel: `${say(text)}: ${label}, ${say('row', { id: hit.id })}` });
    button.addEventListener('click', () => act(hit));
    buttons.append(button);
  }
  return element('article', { className: 'card' }, frame,
    element('div', { className: 'about' },
      element('strong', { textContent: `${hit.rank}. ${label}` }),
      element('p', { className: 'quiet', textContent: `${number(hit.score, 3)} · ${hit.path || say('row', { id: hit.id })}` })),
    buttons);
}

async function overlay(canvas, image, hit, view) {
  if (!image.naturalWidth || !canvas.clientWidth) return;
  let map = null;
  if (view.maps && hit.has_map) {
    try { map = await mapFromAddress(mapAddress(hit, view.gallery)); } catch { /* it has changed meanwhile */ }
  }
  const { context, width, height } = prepare(canvas);
  const size = hit.size ?? [image.naturalWidth, image.naturalHeight];
  const place = contain(size, 0, 0, width, height);
  if (map) drawMap(context, place, map, hit.map_area ?? [0, 0, ...size], view.strength);
  if (view.boxes && hit.box) drawBox(context, place, hit.box, AUTOMATIC, true);
}
