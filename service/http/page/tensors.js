// Model inputs as arrays: { shape: [C, H, W], pixels } in [0, 1]; as pictures, and changed by an exact length.

export function paint(canvas, { shape: [channels, height, width], pixels }) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  const size = width * height;
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = Math.round(255 * pixels[(channels === 1 ? 0 : c) * size + i]);
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export function dataUrl(tensor) {
  const canvas = document.createElement("canvas");
  paint(canvas, tensor);
  return canvas.toDataURL();
}

export function distance(one, other) {
  return Math.sqrt(one.pixels.reduce((sum, value, i) => sum + (value - other.pixels[i]) ** 2, 0));
}

export function gaussian(count) {
  return Float64Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
    return radius * Math.cos(2 * Math.PI * Math.random());
  });
}

// How far `tensor` gets along so many times `direction`, where what leaves [0, 1] is cut off.
function reached({ pixels }, direction, times) {
  let sum = 0;
  for (let i = 0; i < pixels.length; i++) sum += (clipped(pixels[i] + times * direction[i]) - pixels[i]) ** 2;
  return Math.sqrt(sum);
}

const clipped = (value) => Math.min(1, Math.max(0, value));

// `tensor` moved along `direction` until it is `length` away, or as far as there is room in [0, 1]. By
// bisection, as the way only grows; never farther than `length`, so that below a radius is below it.
export function moved(tensor, direction, length) {
  let low = 0;
  let high = length / Math.sqrt(direction.reduce((sum, z) => sum + z * z, 0));
  for (let i = 0; i < 20 && reached(tensor, direction, high) < length; i++) high *= 2;
  for (let i = 0; i < 45; i++) {
    const middle = (low + high) / 2;
    if (reached(tensor, direction, middle) <= length) low = middle;
    else high = middle;
  }
  const pixels = Float64Array.from(tensor.pixels, (x, i) => clipped(x + low * direction[i]));
  return { shape: tensor.shape, pixels };
}

export const difference = (from, to) => Float64Array.from(from.pixels, (x, i) => to.pixels[i] - x);
