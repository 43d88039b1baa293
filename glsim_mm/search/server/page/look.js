// One photo of the gallery, large, with what is known about it.

import { make, framed } from './elements.js';
import { named, shownRow } from './hits.js';
import { applyOverlays } from './overlays.js';
import { t } from './texts.js';

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
