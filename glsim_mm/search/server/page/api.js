// The server, seen from the page: requests, and errors that say what kind they are.
const ROOT = 'api/v1/';
const TRIES = 4;

export class Refusal extends Error {
  constructor(kind, detail, status = 0) {
    super(detail);
    this.kind = kind; // 'offline', 'aborted', or the last part of the problem's type
    this.status = status;
  }
}

export async function get(path, options) {
  return (await call(path, options)).json();
}

// Ask with photos (files), or with what `asked` says alone.
export async function ask(route, asked, files, { signal, waiting } = {}) {
  const options = { method: 'POST', signal, headers: { 'X-GLSim': '1' } };
  if (files.length) {
    options.body = new FormData();
    options.body.append('request', JSON.stringify(asked));
    for (const file of files) options.body.append('photo', file, 'photo');
  } else {
    options.body = JSON.stringify(asked);
    options.headers['Content-Type'] = 'application/json';
  }
  return (await call(route, options, waiting)).json();
}

export async function openSession(token) {
  await call('session', { method: 'POST', headers: { Authorization: `Bearer ${token}` } });
}

export function photoAddress(row, gallery, side) {
  return `${ROOT}photos/${row.id}?${new URLSearchParams({ side, gallery })}`;
}

export function mapAddress(row, gallery) {
  return `${ROOT}photos/${row.id}/map?${new URLSearchParams({ gallery })}`;
}

async function call(path, options = {}, waiting = () => {}) {
  for (let attempt = 1; ; attempt += 1) {
    let answer;
    try {
      answer = await fetch(ROOT + path, { credentials: 'same-origin', ...options });
    } catch (error) {
      throw new Refusal(error.name === 'AbortError' ? 'aborted' : 'offline', error.message);
    }
    if (answer.ok) return answer;
    const seconds = Number(answer.headers.get('Retry-After')) || 0;
    if ((answer.status === 503 || answer.status === 429) && seconds <= 10 && attempt < TRIES) {
      waiting(seconds || 1);
      await pause(1000 * (seconds || 1), options.signal);
      continue;
    }
    let problem = {};
    try { problem = await answer.json(); } catch { /* not from this server */ }
    throw new Refusal((problem.type || '').split(':').pop(), problem.detail || answer.statusText, answer.status);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener('abort', () => { clearTimeout(timer); reject(new Refusal('aborted', '')); });
  });
}
