// The page Compare models: the same photo asked for in two galleries, or two embeddings of one.

import { ask, idOf, photoAddress } from './api.js';
import { framed, make, takeFiles } from './elements.js';
import { named } from './hits.js';
import { number, percent, sentence, t } from './texts.js';

const HITS = 20;

export async function open(element, context) {
  const { info, gallery, signal, kept } = context;
  const sides = info.galleries.flatMap((one) => Object.keys(one.spaces).map((space) => ({ gallery: one.name, space })));
  const own = sides.filter((one) => one.gallery === gallery.name);
  kept.chosen ||= [own[0], own[1] || sides.find((one) => one.gallery !== gallery.name) || own[0]];
  const said = make('p', { role: 'status' });
  const columns = make('div', { class: 'versus' });
  const query = make('div', { class: 'asked' });
  const selects = kept.chosen.map((chosen, place) => {
    const options = sides.map((one, number_) => make('option', { value: number_, text: info.galleries.length > 1 ? `${one.gallery}: ${one.space}` : one.space, selected: one.gallery === chosen.gallery && one.space === chosen.space }));
    const select = make('select', { id: `side-${place}` }, ...options);
    select.addEventListener('change', () => {
      kept.chosen[place] = sides[Number(select.value)];
      compare();
    });
    return make('div', {}, make('label', { for: `side-${place}`, text: t(place ? 'models_second' : 'models_first') }), ' ', select);
  });
  const input = make('input', { type: 'file', id: 'models-photo', accept: 'image/*,.heic,.heif,.tif,.tiff', multiple: true });
  const row = make('input', { id: 'models-row', inputmode: 'numeric', pattern: '\\d{1,19}', size: 8, value: context.asked.get('id') || '' });
  const form = make('form', { class: 'line' }, make('label', { for: 'models-row', text: t('models_row') }), row, make('button', { type: 'submit', text: t('search') }));
  const drop = make('div', { class: 'drop' }, make('p', { text: t('models_drop') }), make('div', { class: 'buttons' }, make('label', { class: 'button main' }, make('span', { text: t('choose') }), input)), form);
  element.replaceChildren(make('h2', { text: t('page_models') }), make('p', { class: 'muted', text: t('models_why') }), make('div', { class: 'tools' }, ...selects), drop, query, said, columns);

  const use = (files) => {
    const photos = [...files].slice(0, info.limits.photos);
    if (!photos.length) return;
    kept.photos = photos;
    kept.id = null;
    row.value = '';
    context.keep();
    compare();
  };
  takeFiles(input, drop, use);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (row.value === '') return;
    kept.id = idOf(row.value);
    kept.photos = null;
    context.keep({ id: kept.id });
    compare();
  });

  let running = new AbortController();
  async function compare() {
    if (!kept.photos && kept.id === null) return;
    running.abort();
    const own_ = (running = new AbortController());
    signal.addEventListener('abort', () => own_.abort());
    showQuery();
    said.textContent = t('busy');
    columns.setAttribute('aria-busy', 'true');
    try {
      const asked = { gallery: gallery.name, k: HITS, sides: kept.chosen, ...(kept.photos ? {} : { id: kept.id }) };
      const found = await ask('compare', asked, kept.photos || [], own_.signal);
      if (own_ !== running) return;
      const common = new Set(found.common);
      said.textContent = t('models_common', { count: number(common.size), of: number(Math.max(...found.sides.map((one) => one.hits.length))) });
      columns.replaceChildren(...found.sides.map((one, place) => sideElement(one, kept.chosen[place], common, context)));
    } catch (error) {
      if (own_ !== running || error.name === 'AbortError') return;
      said.textContent = '';
      columns.replaceChildren();
      context.tell(error);
    } finally {
      if (own_ === running) columns.removeAttribute('aria-busy');
    }
  }

  function showQuery() {
    for (const url of kept.urls || []) URL.revokeObjectURL(url);
    kept.urls = (kept.photos || []).map((photo) => URL.createObjectURL(photo));
    const sources = kept.photos ? kept.urls : [photoAddress(kept.id, gallery.name, 320)];
    query.replaceChildren(...sources.map((source) => framed({ source, alt: t('query'), missing: t('not_shown') })));
  }

  const id = context.asked.get('id');
  if (id !== null && /^\d{1,19}$/.test(id)) kept.id = idOf(id);
  kept.id ??= null;
  await compare();
}

function sideElement(found, side, common, context) {
  const { answer, hits } = found;
  const sure = answer && answer.probability !== null && answer.probability !== undefined ? ` ${t('models_probability', { share: percent(answer.probability) })}` : '';
  const cards = hits.map((hit) => {
    const source = hit.has_photo ? photoAddress(hit.id, side.gallery, 320) : '';
    const both = common.has(hit.path);
    const link = make('a', { class: 'hit', href: `#${new URLSearchParams({ gallery: side.gallery, id: hit.id })}`, 'aria-label': t(both ? 'models_hit_both' : 'models_hit', { rank: hit.rank, label: named(hit), score: number(hit.score, 3) }) },
      framed({ source, alt: '', missing: t('no_photo') }),
      make('span', { class: 'line' }, make('strong', { text: String(hit.rank) }), make('span', { text: number(hit.score, 3) })),
      make('span', { class: 'label', text: named(hit) }));
    return make('li', { class: both ? 'right' : 'other' }, link);
  });
  const name = context.info.galleries.length > 1 ? `${side.gallery}: ${side.space}` : side.space;
  return make('section', {}, make('h3', { text: name }),
    answer ? make('p', { class: 'word', text: answer.name ?? t('answer_unknown') }) : null,
    answer ? make('p', { lang: 'en', text: sentence(answer.sentence) + sure }) : null,
    make('p', { class: 'muted small', text: t('models_time', { time: number(found.milliseconds.total ?? 0) }) }),
    hits.length ? make('ol', { class: 'hits' }, ...cards) : make('p', { text: t('no_hits') }));
}
