// Jobs: they are begun, watched while they run, and ended.

import { jobEvents, write } from './api.js';
import { make } from './elements.js';
import { number, sentence, t } from './texts.js';

const ENDED = ['done', 'failed', 'cancelled', 'interrupted'];
const UNREADABLE = 20;

export const hasEnded = (job) => ENDED.includes(job.state);

/**
 * Begin a job and show it in `place` until it has ended, or the page is left: the job itself goes on then.
 * `begin()` sends the request. Returns the job as it is at its end; null if the page was left, or the server refused it.
 */
export async function runJob(begin, place, context) {
  place.replaceChildren(make('p', { class: 'muted', role: 'status', text: t('job_sending') }));
  try {
    return await showJob(await begin(), place, context);
  } catch (error) {
    place.replaceChildren();
    context.tell(error);
    return null;
  }
}

/** Show a job until it has ended; as runJob(). */
export async function showJob(job, place, context) {
  place.replaceChildren(jobElement(job, context, place));
  if (hasEnded(job)) return job;
  for await (const now of jobEvents(job.id, context.signal)) {
    job = now;
    refresh(place, job, context);
  }
  return hasEnded(job) ? job : null;
}

/** Only what has changed is made anew: the button in it may have the focus. */
function refresh(place, job, context) {
  const old = place.firstElementChild;
  if (!old || old.dataset.state !== job.state) {
    const hadFocus = place.contains(document.activeElement);
    place.replaceChildren(jobElement(job, context, place));
    if (hadFocus) (place.querySelector('button') || place.firstElementChild).focus();
    return;
  }
  old.querySelector('.job-text').textContent = textOf(job);
  old.querySelector('progress').replaceWith(bar(job));
}

/** A job: its kind and state, how far it is, what came out, and what can be done about it. */
export function jobElement(job, context, place) {
  const element = make('div', { class: 'job', tabindex: '-1', 'data-state': job.state, 'data-job': job.id });
  const state = make('span', { class: job.state === 'failed' ? 'wrong' : 'muted', text: t(`job_${job.state}`) });
  element.append(make('p', {}, make('strong', { text: t(`kind_${job.kind}`) }), ' ', state));
  const running = !hasEnded(job);
  if (running) element.append(bar(job));
  element.append(make('p', { class: 'job-text', role: 'status', lang: 'en', text: textOf(job) }));
  if (job.unreadable.length) element.append(unreadable(job.unreadable));
  const mayAct = context.can(['add', 'remove', 'sync'].includes(job.kind) ? 'admin' : 'label');
  const action = running ? 'cancel' : job.state === 'done' ? '' : 'resume';
  if (action && mayAct && place) {
    const act = async () => {
      try {
        const now = await write('POST', `jobs/${job.id}/${action}`, null, { gallery: context.gallery.name });
        if (action === 'resume') await showJob(now, place, context);
        else refresh(place, now, context);
      } catch (error) {
        context.tell(error);
      }
    };
    element.append(make('button', { type: 'button', text: t(`job_${action}`), on: { click: act } }));
  }
  return element;
}

const textOf = (job) =>
  hasEnded(job) || !job.total ? sentence(job.message || '') : `${sentence(job.message || '')} ${number(job.done)} / ${number(job.total)}`;

/** Without a value, a bar says that something is going on, and not how far it is. */
function bar(job) {
  const known = job.total ? { max: job.total, value: job.done } : {};
  return make('progress', { ...known, 'aria-label': t('job_progress', { kind: t(`kind_${job.kind}`) }) });
}

function unreadable(files) {
  const shown = files.slice(0, UNREADABLE);
  const rows = shown.map(({ name, reason }) => make('li', {}, make('strong', { text: name }), ': ', make('span', { lang: 'en', text: sentence(reason) })));
  if (files.length > shown.length) rows.push(make('li', { text: t('unreadable_more', { count: number(files.length - shown.length) }) }));
  const title = t(files.length === 1 ? 'unreadable_one' : 'unreadable', { count: number(files.length) });
  return make('details', { open: files.length <= 5 }, make('summary', { text: title }), make('ul', { class: 'small list' }, ...rows));
}
