// The API as its OpenAPI description tells it, without scripts of other hosts.
import { get } from './api.js';
import { element } from './results.js';
import { say, usualLanguage, useLanguage } from './texts.js';

useLanguage(usualLanguage());
const main = document.querySelector('main');
try {
  const { paths, components } = await get('openapi.json');
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, one] of Object.entries(operations)) main.append(section(path, method, one, components));
  }
} catch (error) {
  document.getElementById('status').textContent = error.kind === 'offline' ? say('offline') : error.message;
}

function section(path, method, one, components) {
  const made = element('section', { className: 'panel' },
    element('h2', { textContent: `${method.toUpperCase()} ${path}` }), element('p', { textContent: one.description ?? '' }));
  if (one.parameters?.length) {
    made.append(element('h3', { textContent: say('parameters') }), table(one.parameters.map((parameter) => [
      parameter.name, kind(parameter.schema), parameter.schema.default ?? '', parameter.description ?? ''])));
  }
  const body = one.requestBody?.content['application/json']?.schema;
  if (body) {
    made.append(element('h3', { textContent: say('body') }),
      element('p', { textContent: Object.keys(one.requestBody.content).join(', ') }),
      fields(body));
  }
  const answer = one.responses['200']?.content?.['application/json']?.schema;
  const found = answer?.$ref && components.schemas[answer.$ref.split('/').pop()];
  made.append(element('h3', { textContent: say('answers') }));
  if (found) made.append(fields(found));
  made.append(element('p', { className: 'quiet', textContent: Object.keys(one.responses).join(', ') }));
  return made;
}

function fields(schema) {
  return table(Object.entries(schema.properties ?? {}).map(([name, one]) => [name, kind(one), JSON.stringify(one.default) ?? '', one.description ?? '']));
}

function kind(schema) {
  if (schema.$ref) return schema.$ref.split('/').pop();
  if (schema.anyOf) return schema.anyOf.map(kind).filter((one) => one !== 'null').join(' | ');
  return schema.type === 'array' ? `${kind(schema.items ?? {})}[]` : schema.type ?? '';
}

function table(rows) {
  return element('table', {}, ...rows.map((row) => element('tr', {}, ...row.map((cell) => element('td', { textContent: String(cell) })))));
}
