// Numbers and claims in words.

// Never rounded up: a radius is what is promised.
export const down = (radius) => (Math.floor(radius * 1000) / 1000).toFixed(3);
export const distanced = (distance) => distance.toFixed(3);
export const counted = (count) => count.toLocaleString("en");

export function odds(alpha) {
  return `at most ${+(100 * alpha).toPrecision(3)} %, 1 in ${counted(Math.round(1 / alpha))}`;
}

// What sizes are.
export function lengths([channels, height, width]) {
  const pixels = channels === 1 ? `${counted(height * width)} pixels` : `${counted(channels * height * width)} values`;
  return `Sizes are l2 lengths over the ${pixels} that the model sees, each from 0 to 1.`;
}

// What is promised to stay: the label, or the very item.
export const subject = (guarantee, neighbor) => (guarantee === "label" ? neighbor.label : neighbor.id);
export const kept = (guarantee) => (guarantee === "label" ? "another label" : "another item");

// What the promise says of the file that was sent.
export function ofFile({ file_radius: radius, file_radius_unit: unit, file_steps: steps, file_reason: reason }) {
  if (radius === null) return `Of a file nothing is promised: ${reason}.`;
  const promised = `Of your file: no change smaller than ${down(radius)} (${unit}).`;
  if (steps === null) return promised;
  const one = steps.one_pixel === 255 ? "any one pixel may change to anything" : `one pixel may change by less than ${down(steps.one_pixel)} of 255 steps`;
  return `${promised} So ${one}, or all of them by less than ${down(steps.all_pixels)} steps.`;
}

// How well the model answered when it was measured.
export function recalled({ data, queries, gallery, recall, certified, samples }) {
  const shares = certified.map(({ radius, share }) => `${percent(share)} within ${radius}`).join(", ");
  return `${percent(recall)} of ${counted(queries)} queries of the data set ${data} got the right label from a gallery of ${counted(gallery)}; right and certified, with ${counted(samples)} samples: ${shares}. Of other pictures and galleries that says nothing.`;
}
const percent = (share) => `${+(100 * share).toFixed(1)} %`;
