// Elements of the page. Texts enter as text alone, never as HTML.

const SVG = 'http://www.w3.org/2000/svg';

export const at = (id) => document.getElementById(id);

/** An element with attributes, listeners (under "on") and children. */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, { on = {}, text, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  if (text !== undefined) element.textContent = text;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Call a function once, when nothing has asked for it for a while. */
export function later(milliseconds, function_) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(function_, milliseconds);
  };
}

/** A box of a photo as a rectangle with a light rim. */
export function boxMarks(box, kind = '') {
  const [x, y, right, bottom] = box;
  const place = { x, y, width: right - x, height: bottom - y };
  return [draw('rect', { ...place, class: 'rim' }), draw('rect', { ...place, class: kind || null })];
}

/** Where the model looked: photos are darker where it did not. Its picture is loaded when it is shown. */
export function mapLayer(size, map) {
  const [x, y, right, bottom] = map.area || [0, 0, ...size];
  const over = 0.004 * Math.max(...size); // no seam of light between the two
  const outside = `M0 0H${size[0]}V${size[1]}H0ZM${x + over} ${y + over}V${bottom - over}H${right - over}V${y + over}Z`;
  const picture = draw('image', { x, y, width: right - x, height: bottom - y, preserveAspectRatio: 'none' });
  picture.dataset.source = map.source;
  const layer = draw('svg', { class: 'light', viewBox: `0 0 ${size[0]} ${size[1]}`, 'aria-hidden': 'true' });
  layer.append(draw('path', { d: outside, 'fill-rule': 'evenodd' }), picture);
  return layer;
}

/** A map of a query, whose values came with the answer, as the address of a picture. */
export function mapPicture(map) {
  const canvas = make('canvas', { width: map.columns, height: map.rows });
  const context = canvas.getContext('2d');
  const pixels = context.createImageData(map.columns, map.rows);
  map.values.forEach((value, place) => pixels.data.set([value, value, value, 255], 4 * place));
  context.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}

/** What lies over a photo: its map and its boxes. */
export function layers({ size, map, boxes = [] }) {
  if (!size) return [];
  const marks = draw('svg', { class: 'marks', viewBox: `0 0 ${size[0]} ${size[1]}`, 'aria-hidden': 'true' });
  for (const [box, kind] of boxes) if (box) marks.append(...boxMarks(box, kind));
  return [map ? mapLayer(size, map) : null, marks].filter(Boolean);
}

/** A photo with what lies over it, as large as there is room. */
export function framed({ source, alt, missing, ...over }) {
  if (!source) return make('div', { class: 'frame missing' }, make('span', { text: missing }));
  const frame = make('div', { class: 'frame' });
  const photo = make('img', { src: source, alt, loading: 'lazy', decoding: 'async', draggable: 'false' });
  photo.addEventListener('error', () => {
    frame.classList.add('missing');
    frame.replaceChildren(make('span', { text: missing }));
  });
  frame.append(photo, ...layers(over));
  return frame;
}

/** Files that are chosen, or dropped on a place, are given to a function. */
export function takeFiles(input, place, take) {
  input.addEventListener('change', () => {
    take(input.files);
    input.value = '';
  });
  for (const name of ['dragover', 'dragleave', 'drop']) {
    place.addEventListener(name, (event) => {
      if (![...(event.dataTransfer?.types || [])].includes('Files')) return;
      event.preventDefault();
      place.classList.toggle('over', name === 'dragover');
      if (name === 'drop') take(event.dataTransfer.files);
    });
  }
}
