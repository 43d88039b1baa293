// Every text of the page, by language. {name} stands for a value.
export const TEXTS = {
  en: {
    title: 'Search by photo', skip: 'Skip to the results', gallery: 'Gallery', language: 'Language', api: 'API',
    about: '{rows} photos', queryTitle: 'Your photo', resultsTitle: 'Similar photos',
    doorTitle: 'This server needs its token', doorWhy: 'Open the address that glsim serve has printed, or enter the token here.',
    token: 'Token', enter: 'Enter', wrongToken: 'This is not the token of this server.',
    dropHint: 'Drop a photo here, paste one, or choose it. Up to five photos of the same individual count together.',
    choose: 'Choose photos', camera: 'Take a photo', clear: 'Remove all', clearBox: 'Whole photo',
    boxHint: 'Draw a box around what you mean. Drag it to move it, its corners to change it. With keys: Enter makes a box, arrows move it, Shift and arrows change its size, Delete clears it.',
    editor: 'The photo. Enter makes a box, arrow keys move it, Shift and arrow keys change its size, Delete clears it.',
    editorBox: 'Box from {x0}, {y0} to {x1}, {y1} pixels.',
    unseen: 'This browser cannot show this kind of photo; the search works all the same.',
    textQuery: 'Or describe it', search: 'Search', filter: 'Only photos with', add: 'Add',
    filterHint: 'such as label=Wren, year>=2019, split in train,val', removeFilter: 'Remove {what}',
    advanced: 'More options', count: 'Results', space: 'Compare by', rerank: 'Rank again', groupBy: 'Best of each',
    excludeSame: 'Leave out copies of my photo', none: 'no', usual: 'usual',
    grouped: 'By class', boxes: 'Boxes', maps: 'Where the model looked', strength: 'Strength',
    empty: 'Nothing has been asked yet. Choose a photo to begin.', noRows: 'This gallery has no photos yet. Add some with glsim add.',
    busy: 'Searching ...', waiting: 'The server is busy. Trying again in {seconds} s.',
    noHits: 'Nothing was found.', found: '{count} photos', failed: 'That did not work: {why}',
    offline: 'The server cannot be reached. Is it still running?', retry: 'Try again',
    badPhoto: 'Photo {number} was left out: {why}', tooMany: 'More than {most} photos were given; the first {most} are taken.',
    notPhoto: '{name} is no photo.', tooLarge: '{name} is larger than {most} MiB.',
    clear_: '{label}', likely: 'Probably {label}', split: 'Perhaps {label}', unknown: 'Unknown', nothing: 'No answer',
    because: '{count} of the {neighbors} nearest photos are of it, with {share} of the votes.',
    becauseUnknown: 'Even the nearest class has little support.', becauseNothing: 'No photo that could be compared has a label.',
    passed: '{rows} of {of} photos passed the filter.', time: '{ms} ms.',
    noLabel: 'no label', compare: 'Compare', similar: 'Find similar', showPhoto: 'Compare with {label}',
    gone: 'The photo is not there', compareTitle: 'Query and result', close: 'Close', lines: 'Lines between parts that are alike',
    explaining: 'Looking for parts that are alike ...', pairs: '{count} pairs of parts, {similarity} alike in all. Shown are the {shown} that count most; the thicker a line, the more.',
    score: 'Score', file: 'File', row: 'Row {id}', remove: 'Remove this photo', photo: 'Photo {number}',
    pairAlt: 'Query on the left, result on the right; {count} lines join parts that are alike.',
    apiTitle: 'The API', apiWhy: 'All answers are JSON; errors are application/problem+json (RFC 9457). The machine-readable description is', back: 'Back to the search', parameters: 'Parameters', body: 'Body', answers: 'Answers',
  },
  de: {
    title: 'Suche mit einem Foto', skip: 'Zu den Ergebnissen', gallery: 'Galerie', language: 'Sprache', api: 'API',
    about: '{rows} Fotos', queryTitle: 'Dein Foto', resultsTitle: 'Ähnliche Fotos',
    doorTitle: 'Dieser Server verlangt sein Token', doorWhy: 'Öffne die Adresse, die glsim serve ausgegeben hat, oder gib das Token hier ein.',
    token: 'Token', enter: 'Weiter', wrongToken: 'Das ist nicht das Token dieses Servers.',
    dropHint: 'Zieh ein Foto hierher, füge eines ein oder wähle es aus. Bis zu fünf Fotos desselben Individuums zählen zusammen.',
    choose: 'Fotos wählen', camera: 'Foto aufnehmen', clear: 'Alle entfernen', clearBox: 'Ganzes Foto',
    boxHint: 'Zieh einen Kasten um das, was du meinst. Er lässt sich verschieben und an den Ecken ändern. Mit Tasten: Eingabe macht einen Kasten, Pfeile verschieben ihn, Umschalt und Pfeile ändern seine Größe, Entf löscht ihn.',
    editor: 'Das Foto. Eingabe macht einen Kasten, Pfeiltasten verschieben ihn, Umschalt und Pfeiltasten ändern seine Größe, Entf löscht ihn.',
    editorBox: 'Kasten von {x0}, {y0} bis {x1}, {y1} Pixel.',
    unseen: 'Dieser Browser kann solche Fotos nicht zeigen; die Suche geht trotzdem.',
    textQuery: 'Oder beschreibe es', search: 'Suchen', filter: 'Nur Fotos mit', add: 'Dazu',
    filterHint: 'etwa label=Wren, year>=2019, split in train,val', removeFilter: '{what} entfernen',
    advanced: 'Mehr Einstellungen', count: 'Ergebnisse', space: 'Vergleichen nach', rerank: 'Neu ordnen', groupBy: 'Bestes je',
    excludeSame: 'Kopien meines Fotos weglassen', none: 'nein', usual: 'wie üblich',
    grouped: 'Nach Klassen', boxes: 'Kästen', maps: 'Wohin das Modell sah', strength: 'Stärke',
    empty: 'Noch nichts gefragt. Wähle ein Foto, um zu beginnen.', noRows: 'Diese Galerie hat noch keine Fotos. Mit glsim add kommen welche dazu.',
    busy: 'Suche läuft ...', waiting: 'Der Server ist beschäftigt. Neuer Versuch in {seconds} s.',
    noHits: 'Nichts gefunden.', found: '{count} Fotos', failed: 'Das ging nicht: {why}',
    offline: 'Der Server ist nicht erreichbar. Läuft er noch?', retry: 'Noch einmal',
    badPhoto: 'Foto {number} blieb weg: {why}', tooMany: 'Es waren mehr als {most} Fotos; die ersten {most} zählen.',
    notPhoto: '{name} ist kein Foto.', tooLarge: '{name} ist größer als {most} MiB.',
    clear_: '{label}', likely: 'Wahrscheinlich {label}', split: 'Vielleicht {label}', unknown: 'Unbekannt', nothing: 'Keine Antwort',
    because: '{count} der {neighbors} ähnlichsten Fotos gehören dazu, mit {share} der Stimmen.',
    becauseUnknown: 'Selbst die nächste Klasse hat wenig Rückhalt.', becauseNothing: 'Kein Foto, das verglichen werden konnte, hat eine Klasse.',
    passed: '{rows} von {of} Fotos erfüllten den Filter.', time: '{ms} ms.',
    noLabel: 'ohne Klasse', compare: 'Vergleichen', similar: 'Ähnliche suchen', showPhoto: 'Mit {label} vergleichen',
    gone: 'Das Foto ist nicht da', compareTitle: 'Anfrage und Ergebnis', close: 'Schließen', lines: 'Linien zwischen ähnlichen Teilen',
    explaining: 'Ähnliche Teile werden gesucht ...', pairs: '{count} Paare von Teilen, zusammen {similarity} ähnlich. Gezeigt sind die {shown}, die am meisten zählen; je dicker eine Linie, desto mehr.',
    score: 'Wert', file: 'Datei', row: 'Zeile {id}', remove: 'Dieses Foto entfernen', photo: 'Foto {number}',
    pairAlt: 'Links die Anfrage, rechts das Ergebnis; {count} Linien verbinden ähnliche Teile.',
    apiTitle: 'Die API', apiWhy: 'Alle Antworten sind JSON, Fehler application/problem+json (RFC 9457). Für Programme beschreibt sie', back: 'Zurück zur Suche', parameters: 'Parameter', body: 'Inhalt', answers: 'Antworten',
  },
};

let language = 'en';

export function useLanguage(wanted) {
  language = wanted in TEXTS ? wanted : 'en';
  document.documentElement.lang = language;
  for (const one of document.querySelectorAll('[data-text]')) one.textContent = say(one.dataset.text);
  document.title = `${say('title')} - glsim`;
}

export function usualLanguage() {
  return stored('language') || navigator.language.slice(0, 2);
}

export function stored(key, value) {
  try {
    if (value !== undefined) localStorage.setItem(`glsim.${key}`, value);
    return localStorage.getItem(`glsim.${key}`);
  } catch { return null; } // a browser that keeps nothing
}

export function say(key, values = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

export function number(value, digits = 0) {
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function percent(share) {
  return share.toLocaleString(language, { style: 'percent' });
}
