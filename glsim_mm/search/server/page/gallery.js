// The page Gallery: what is in it, how well it recognises, adding photos, jobs, changes, and taking data out.

import { addPhotos, download, get, write } from './api.js';
import { make, takeFiles } from './elements.js';
import { jobElement, hasEnded, runJob, showJob } from './jobs.js';
import { language, number, t } from './texts.js';

const FORMATS = ['csv', 'json', 'html', 'coco', 'table'];
const JOBS = 10;

export async function open(element, context) {
  const { gallery, signal } = context;
  const parts = [facts(context)];
  if (context.can('admin')) parts.push(adding(context));
  if (context.can('label')) parts.push(measuring(context));
  parts.push(exporting(context));
  const jobs = section('jobs');
  const changes = section('changes');
  element.replaceChildren(make('h2', { text: t('gallery_title', { name: gallery.name }) }), make('div', { class: 'sections' }, ...parts, jobs, changes));
  const [classes, listed, made] = await Promise.all([
    get('classes', { gallery: gallery.name }, signal),
    get('jobs', { gallery: gallery.name }, signal),
    get('changes', { gallery: gallery.name, limit: 10 }, signal),
  ]);
  gallery.generation = made.generation;
  const named = classes.filter((one) => one.label !== null);
  element.querySelector('[data-fact="classes"]').textContent = number(named.length);
  element.querySelector('[data-fact="unlabelled"]').textContent = number(classes.find((one) => one.label === null)?.count ?? 0);
  element.querySelector('#class-names').replaceChildren(...named.map((one) => make('option', { value: one.label })));
  showJobs(jobs, listed.jobs, context);
  showChanges(changes, made.changes, context);
}

function section(name, ...children) {
  return make('section', { 'aria-labelledby': `title-${name}`, 'data-part': name }, make('h3', { id: `title-${name}`, text: t(`gallery_${name}`) }), ...children);
}

function facts({ gallery }) {
  const columns = Object.keys(gallery.columns).filter((one) => one !== 'id').join(', ');
  const spaces = Object.entries(gallery.spaces).map(([name, width]) => t('gallery_space', { name, width: number(width) })).join(', ');
  const rows = [
    ['rows', number(gallery.rows)], ['classes', '…'], ['unlabelled', '…'], ['model', gallery.model], ['spaces', spaces],
    ['regions', t(gallery.has_regions ? 'yes' : 'no')], ['patches', t(gallery.keeps_patches ? 'yes' : 'no')], ['columns', columns],
    ['writable', t(gallery.writable ? 'yes' : 'no')],
  ];
  const list = rows.flatMap(([name, text]) => [make('dt', { text: t(`fact_${name}`) }), make('dd', { 'data-fact': name, text })]);
  return section('facts', make('dl', {}, ...list), make('datalist', { id: 'class-names' }));
}

/** Photos are sent as they are; which of them cannot be used is told one by one. */
function adding(context) {
  const { gallery, signal } = context;
  const progress = make('div', { class: 'progress' });
  const label = make('input', { id: 'add-label', list: 'class-names', maxlength: 1000, autocomplete: 'off' });
  const split = make('input', { id: 'add-split', maxlength: 1000, autocomplete: 'off' });
  const input = make('input', { type: 'file', accept: 'image/*,.heic,.heif,.tif,.tiff', multiple: true, id: 'add-photos' });
  const drop = make('div', { class: 'drop' }, make('p', { text: t('add_drop') }), make('div', { class: 'buttons' }, make('label', { class: 'button main' }, make('span', { text: t('choose') }), input)));
  const add = async (files) => {
    const photos = [...files];
    if (!photos.length) return;
    const bytes = photos.reduce((sum, one) => sum + one.size, 0);
    const limit = context.info.limits.request_bytes;
    if (bytes > limit) {
      progress.replaceChildren(make('p', { class: 'wrong', role: 'alert', text: t('add_too_much', { size: number(Math.floor(limit / 2 ** 20)) }) }));
      return;
    }
    const asked = { label: label.value.trim() || null, split: split.value.trim() || null };
    const job = await runJob(() => addPhotos(gallery.name, asked, photos, signal), progress, context);
    if (job?.result.added) await context.refresh();
  };
  takeFiles(input, drop, add);
  const sync = make('button', { type: 'button', text: t('sync'), on: {
    click: async () => {
      const job = await runJob(() => write('POST', 'jobs/sync', {}, { gallery: gallery.name, signal }), progress, context);
      if (job) await context.refresh();
    },
  } });
  return section('add',
    make('div', { class: 'fields' }, make('label', { for: 'add-label', text: t('add_label') }), label, make('label', { for: 'add-split', text: t('add_split') }), split),
    drop, make('p', { class: 'muted small', text: t('sync_why') }), make('div', { class: 'buttons' }, sync), progress);
}

/** How well it searches and recognises, in the words of the server. */
function measuring(context) {
  const { gallery, signal } = context;
  const progress = make('div', { class: 'progress' });
  const words = make('pre', { class: 'words', lang: 'en', tabindex: '0', hidden: true, 'aria-label': t('gallery_measure') });
  const begin = (kind) => async () => {
    const job = await runJob(() => write('POST', `jobs/${kind}`, {}, { gallery: gallery.name, signal }), progress, context);
    if (job?.result.text) {
      words.hidden = false;
      words.textContent = job.result.text;
    }
    if (kind === 'calibrate' && job?.state === 'done') tuned.textContent = t('recogniser_tuned');
  };
  const tuned = make('p', { text: t(gallery.has_recogniser ? 'recogniser_tuned' : 'recogniser_untuned') });
  const buttons = ['calibrate', 'evaluate', 'audit'].map((kind) => make('button', { type: 'button', 'data-job': kind, text: t(`do_${kind}`), on: { click: begin(kind) } }));
  return section('measure', tuned, make('div', { class: 'buttons' }, ...buttons), progress, words);
}

function exporting(context) {
  const { gallery, signal } = context;
  const format = make('select', { id: 'export-format' }, ...FORMATS.map((one) => make('option', { value: one, text: t(`export_${one}`) })));
  const label = make('input', { id: 'export-label', list: 'class-names', maxlength: 1000, autocomplete: 'off' });
  const said = make('p', { class: 'muted', role: 'status' });
  const form = make('form', { class: 'fields' },
    make('label', { for: 'export-format', text: t('export_format') }), format,
    make('label', { for: 'export-label', text: t('export_label') }), label,
    make('button', { type: 'submit', class: 'wide', text: t('export_do') }));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    said.textContent = t('export_busy');
    try {
      const where = label.value.trim() ? [`label=${label.value.trim()}`] : [];
      const name = await download('export', { gallery: gallery.name, format: format.value, where }, signal);
      said.textContent = t('export_done', { name });
    } catch (error) {
      said.textContent = '';
      context.tell(error);
    }
  });
  return section('export', form, said);
}

function showJobs(place, jobs, context) {
  const cards = jobs.slice(0, JOBS).map((job) => {
    const card = make('li');
    card.append(jobElement(job, context, card));
    if (!hasEnded(job)) showJob(job, card, context).catch(context.tell);
    return card;
  });
  place.append(cards.length ? make('ul', { class: 'list' }, ...cards) : make('p', { class: 'muted', text: t('jobs_none') }));
}

function showChanges(place, changes, context) {
  const format = new Intl.DateTimeFormat(language(), { dateStyle: 'medium', timeStyle: 'short' });
  const cards = changes.map((one) => {
    const time = new Date(one.time);
    const back = one.can_undo && !one.undone && context.can('label');
    return make('li', {}, make('span', { lang: 'en', text: one.what }), ' ',
      make('span', { class: 'muted small', text: t('change_when', { time: Number.isNaN(time.valueOf()) ? one.time : format.format(time), rows: number(one.rows) }) }), ' ',
      one.undone ? make('span', { class: 'muted small', text: t('change_undone') }) : null,
      back ? make('button', { type: 'button', text: t('undo'), 'aria-label': t('change_undo', { what: one.what }), on: { click: () => context.undo({ change: one.id, text: one.what }) } }) : null);
  });
  place.append(cards.length ? make('ul', { class: 'list' }, ...cards) : make('p', { class: 'muted', text: t('changes_none') }));
}
