// The API, and what can go wrong with it. Addresses are relative: a proxy may serve the page below a path.

const API = new URL('../api/v1/', import.meta.url);

/** A request that the server has refused, with its sentence. */
export class Problem extends Error {
  constructor(status, content) {
    super(content.detail || content.title || `HTTP ${status}`);
    this.status = status;
    this.kind = String(content.type || '').replace('urn:glsim:problem:', '');
    this.generation = content.generation;
    this.errors = Array.isArray(content.errors) ? content.errors : [];
  }
}

/** The server was not reached. */
export class Offline extends Error {}

function address(path, values = {}) {
  const url = new URL(`./${path}`, API); // rows:label is no scheme
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined) url.searchParams.append(name, one);
    }
  }
  return url;
}

const isJson = (response) => /json/.test(response.headers.get('content-type') || '');

async function send(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { ...options, headers: { 'X-GLSim': '1', ...options.headers } });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Offline(error.message);
  }
  if (!response.ok) throw new Problem(response.status, isJson(response) ? await response.json() : {});
  return response;
}

async function call(url, options) {
  const response = await send(url, options);
  return isJson(response) ? response.json() : {};
}

export const get = (path, values, signal) => call(address(path, values), { signal });

/** Ask with photos, or, without any, with what the request names. */
export function ask(route, asked, photos, signal) {
  const text = JSON.stringify(asked);
  if (!photos.length) {
    return call(address(route), { method: 'POST', body: text, signal, headers: { 'Content-Type': 'application/json' } });
  }
  const form = new FormData();
  form.append('request', text);
  for (const photo of photos) form.append('photo', photo, 'photo');
  return call(address(route), { method: 'POST', body: form, signal });
}

/**
 * Change a gallery: what is sent was decided on a generation of it, and is refused where it is another one by now.
 * The answer: generation, changed (rows), and change, by whose number it can be taken back.
 */
export function write(method, path, content, { gallery, generation, signal }) {
  const seen = generation === undefined ? {} : { 'If-Match': `"${generation}"` };
  const headers = { ...seen, 'Content-Type': 'application/json' };
  return call(address(path, { gallery }), { method, signal, headers, body: content && JSON.stringify(content) });
}

/** Exchange the token for the cookie. */
export const signIn = (token) =>
  call(address('session'), { method: 'POST', headers: { Authorization: `Bearer ${token}` } });

/** An id as answers of the server have it: a number, or text where a number would be rounded. */
export const idOf = (text) => (Number.isSafeInteger(Number(text)) ? Number(text) : text);

export const photoAddress = (id, gallery, side) => address(`photos/${id}`, { gallery, side }).href;
export const mapAddress = (id, gallery) => address(`photos/${id}/map`, { gallery }).href;

/** A job as it is now, and after each change until it has ended. A lost connection is made anew by the browser. */
export async function* jobEvents(id, signal) {
  const source = new EventSource(address(`jobs/${id}/events`));
  const waiting = [];
  let wake = () => {};
  let failed = null;
  const push = (value) => {
    waiting.push(value);
    wake();
  };
  source.addEventListener('job', (event) => push(JSON.parse(event.data)));
  source.addEventListener('error', () => {
    if (source.readyState === EventSource.CLOSED) failed = new Offline('');
    wake();
  });
  signal.addEventListener('abort', () => wake());
  try {
    while (!signal.aborted) {
      while (waiting.length) {
        const job = waiting.shift();
        yield job;
        if (job.finished) return;
      }
      if (failed) throw failed;
      await new Promise((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    source.close();
  }
}

/** Photos that are to be added, with their names, by which those that cannot be used are told. */
export function addPhotos(gallery, asked, photos, signal) {
  const form = new FormData();
  form.append('request', JSON.stringify(asked));
  for (const photo of photos) form.append('photo', photo, photo.name || 'photo');
  return call(address('jobs/add', { gallery }), { method: 'POST', body: form, signal });
}

/** A file that the server makes, given to the browser to be saved. */
export async function download(path, content, signal) {
  const headers = { 'Content-Type': 'application/json' };
  const response = await send(address(path), { method: 'POST', body: JSON.stringify(content), headers, signal });
  const [, name = 'export'] = /filename="?([^";]+)/.exec(response.headers.get('content-disposition') || '') || [];
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement('a');
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return name;
}
