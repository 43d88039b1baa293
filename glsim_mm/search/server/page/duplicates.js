// The page Duplicates.

import { make } from './elements.js';
import { t } from './texts.js';

export function open(element) {
  element.replaceChildren(make('h2', { text: t('page_duplicates') }));
}
