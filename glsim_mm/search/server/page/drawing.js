// Boxes, maps and lines on canvases. Boxes are x0, y0, x1, y1 in pixels of the upright photo.
export const OWN = '#ffb000', AUTOMATIC = '#35d0a5';
const HEAT = [255, 96, 0];

// Fit a canvas to its place on the screen; returns its context in CSS pixels, and their number.
export function prepare(canvas, width = canvas.clientWidth, height = canvas.clientHeight) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

// Where a photo lies that is shown as a whole in a part of the screen.
export function contain(size, x, y, width, height) {
  const scale = Math.min(width / size[0], height / size[1]);
  return { scale, x: x + (width - size[0] * scale) / 2, y: y + (height - size[1] * scale) / 2 };
}

export function drawBox(context, place, box, colour, dashed = false) {
  const [x0, y0, x1, y1] = box;
  const rectangle = [place.x + x0 * place.scale, place.y + y0 * place.scale, (x1 - x0) * place.scale, (y1 - y0) * place.scale];
  context.save();
  for (const [line, width, dash] of [['rgb(0 0 0 / .6)', 4, []], [colour, 2, dashed ? [7, 5] : []]]) { // seen on any photo
    context.setLineDash(dash);
    context.strokeStyle = line;
    context.lineWidth = width;
    context.strokeRect(...rectangle);
  }
  context.restore();
}

// A map is a canvas of one pixel for each patch, as opaque as the patch scores.
export function mapFromValues(map) {
  return tint(map.columns, map.rows, (index) => map.values[index]);
}

export async function mapFromAddress(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return tint(canvas.width, canvas.height, (index) => data[4 * index]);
}

export function drawMap(context, place, map, area, strength) {
  const [x0, y0, x1, y1] = area;
  context.save();
  context.globalAlpha = strength;
  context.imageSmoothingEnabled = true;
  context.drawImage(map, place.x + x0 * place.scale, place.y + y0 * place.scale, (x1 - x0) * place.scale, (y1 - y0) * place.scale);
  context.restore();
}

function tint(width, height, value) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext('2d');
  const pixels = context.createImageData(width, height);
  for (let index = 0; index < width * height; index += 1) pixels.data.set([...HEAT, value(index)], 4 * index);
  context.putImageData(pixels, 0, 0);
  return canvas;
}
