// The page Duplicates: groups of photos that are nearly the same, and what is to become of each.

import { get, photoAddress, write } from './api.js';
import { framed, make } from './elements.js';
import { named } from './hits.js';
import { runJob, showJob } from './jobs.js';
import { number, t } from './texts.js';

const PAGE = 20;

export async function open(element, context) {
  const { gallery, signal } = context;
  const progress = make('div', { class: 'progress' });
  const said = make('p', { role: 'status' });
  const list = make('ol', { class: 'groups' });
  const more = make('button', { type: 'button', text: t('more'), hidden: true });
  const look = make('button', { type: 'button', class: 'main', text: t('duplicates_look') });
  element.replaceChildren(
    make('h2', { text: t('page_duplicates') }),
    make('p', { class: 'muted', text: t('duplicates_why') }),
    make('div', { class: 'buttons' }, look), progress, said, list, more,
  );
  let next = null;
  const find = () => {
    look.disabled = true;
    return () => write('POST', 'jobs/duplicates', {}, { gallery: gallery.name, signal });
  };
  const finish = async (job) => {
    look.disabled = false;
    if (job) await show();
  };
  look.addEventListener('click', async () => finish(await runJob(find(), progress, context)));
  more.addEventListener('click', async () => {
    more.disabled = true;
    const last = list.lastElementChild;
    await page(next).catch(context.tell);
    more.disabled = false;
    last?.nextElementSibling?.focus();
  });

  async function page(cursor) {
    const found = await get('duplicates', { gallery: gallery.name, limit: PAGE, cursor }, signal);
    gallery.generation = found.generation;
    next = found.next;
    if (cursor === null) list.replaceChildren();
    list.append(...found.groups.map((group) => groupElement(group, context, decided)));
    more.hidden = next === null;
    return found;
  }

  async function show() {
    said.textContent = t('busy');
    const found = await page(null);
    const total = number(found.total);
    said.textContent = found.job === null ? t('duplicates_never') : t(found.total === 1 ? 'duplicates_one' : found.total ? 'duplicates_found' : 'duplicates_none', { total });
    look.textContent = t(found.job === null ? 'duplicates_look' : 'duplicates_again');
  }

  /** A group is done with: the next one gets the focus. */
  function decided(group, answer, text) {
    const near = group.nextElementSibling || group.previousElementSibling;
    group.remove();
    context.changed(answer, text);
    if (near) near.focus();
    else if (next !== null) page(null).catch(context.tell);
    else show().catch(context.tell);
  }

  await show();
  const { jobs } = await get('jobs', { gallery: gallery.name }, signal);
  const running = jobs.find((job) => job.kind === 'duplicates' && (job.state === 'running' || job.state === 'waiting'));
  if (running) {
    look.disabled = true;
    await finish(await showJob(running, progress, context));
  }
}

function groupElement(group, context, decided) {
  const { gallery, signal } = context;
  const title = `duplicates-${group.id}`;
  const element = make('li', { class: 'group', tabindex: '-1', 'aria-labelledby': title });
  const kind = group.same_content ? t('duplicates_same') : t('duplicates_alike', { similarity: number(group.similarity, 3) });
  const keep = new Map();
  const labels = new Set(group.rows.map((row) => row.label));
  const cards = group.rows.map((row, place) => {
    const box = make('input', { type: 'checkbox', checked: place === 0 });
    keep.set(row.id, box);
    const source = row.has_photo ? photoAddress(row.id, gallery.name, 320) : '';
    const size = row.size ? t('pixels', { width: row.size[0], height: row.size[1] }) : '';
    const words = [make('strong', { text: named(row) }), make('span', { text: row.path }), make('span', { class: 'muted', text: [size, row.split].filter(Boolean).join(', ') })];
    return make('li', {}, framed({ source, alt: named(row), missing: t('no_photo') }),
      make('label', {}, box, ` ${t('duplicates_keep', { id: row.id })}`), ...words,
      make('a', { href: context.address('search', { id: row.id }), text: t('search_with') }));
  });
  const act = async (action, text) => {
    const kept = [...keep].filter(([, box]) => box.checked).map(([id]) => id);
    for (const button of buttons) button.disabled = true;
    try {
      const content = action === 'distinct' ? { action } : { action, keep: action === 'keep' ? [...keep.keys()] : kept };
      const answer = await write('POST', `duplicates/${encodeURIComponent(group.id)}`, content, { gallery: gallery.name, generation: gallery.generation, signal });
      decided(element, answer, t(text, { count: group.rows.length - kept.length }));
      if (action === 'remove') await context.refresh();
    } catch (error) {
      context.tell(error);
    }
    allow();
  };
  const buttons = [
    ['remove', 'duplicates_remove', 'duplicates_removed', 'admin'],
    ['keep', 'duplicates_all', 'duplicates_kept', 'label'],
    ['distinct', 'duplicates_distinct', 'duplicates_told', 'label'],
  ].filter(([, , , right]) => context.can(right)).map(([action, name, told]) =>
    make('button', { type: 'button', 'data-action': action, text: t(name), on: { click: () => act(action, told) } }));
  /** Something is removed, and something kept. */
  const allow = () => {
    const count = [...keep.values()].filter((box) => box.checked).length;
    for (const button of buttons) button.disabled = button.dataset.action === 'remove' && (!count || count === keep.size);
  };
  for (const box of keep.values()) box.addEventListener('change', allow);
  allow();
  element.append(make('h3', { id: title, text: t('duplicates_group', { count: group.rows.length, kind }) }));
  if (labels.size > 1) element.append(make('p', { class: 'wrong', text: t('duplicates_labels') }));
  element.append(
    make('ul', { class: 'hits' }, ...cards), make('div', { class: 'buttons' }, ...buttons),
  );
  return element;
}
