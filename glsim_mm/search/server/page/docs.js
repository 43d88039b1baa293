// The API as its OpenAPI description tells it, without scripts of other hosts.

import { Offline, get } from './api.js';
import { at, make } from './elements.js';
import { firstLanguage, t, useLanguage } from './texts.js';

const last = (reference) => reference.split('/').pop();

function kind(schema = {}) {
  if (schema.$ref) return last(schema.$ref);
  const either = schema.anyOf || schema.oneOf;
  if (either) return either.map(kind).filter((one) => one !== 'null').join(' | ');
  return schema.type === 'array' ? `${kind(schema.items)}[]` : schema.type || '';
}

function table(words, rows) {
  if (!rows.length) return null;
  const lines = rows.map((cells) => {
    const [name, ...others] = cells.map((cell) => String(cell ?? ''));
    return make('tr', {}, make('th', { scope: 'row', text: name }), ...others.map((text) => make('td', { text })));
  });
  const named = make('table', {}, make('caption', { text: words }), make('tbody', {}, ...lines));
  return make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': words }, named);
}

const fields = (schema) => Object.entries(schema?.properties || {}).map(([name, one]) => [
  name, kind(one), one.default === undefined ? '' : JSON.stringify(one.default), one.description,
]);

function route(path, method, one, schemas) {
  const parameters = (one.parameters || []).map(({ name, schema, description }) => [
    name, kind(schema), schema.default === undefined ? '' : JSON.stringify(schema.default), description,
  ]);
  const asked = one.requestBody?.content['application/json']?.schema;
  const answered = one.responses['200']?.content?.['application/json']?.schema;
  const answer = schemas[last((answered?.items || answered)?.$ref || '')];
  return make('section', {},
    make('h2', { text: `${method.toUpperCase()} ${path}` }), make('p', { text: one.description || '' }),
    table(t('docs_parameters'), parameters), table(t('docs_body'), fields(asked)), table(t('docs_answer'), fields(answer)),
    make('p', { class: 'muted small', text: t('docs_statuses', { statuses: Object.keys(one.responses).join(', ') }) }),
  );
}

await useLanguage(firstLanguage());
document.title = t('docs_title');
try {
  const { paths, components } = await get('openapi.json');
  const routes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, one]) => route(path, method, one, components.schemas)));
  at('routes').lang = 'en';
  at('routes').append(...routes);
} catch (error) {
  at('problem').textContent = error instanceof Offline ? t('offline') : error.message;
}
