// The promise as a picture: a circle around the query, and the rival outside of it, to scale.
import { html } from "./html.js";
import { dataUrl, distance } from "./tensors.js";
import { distanced, down, subject } from "./words.js";

const [WIDTH, HEIGHT, CENTRE, REACH, THUMB] = [360, 220, 104, 210, 44];
// A circle smaller than this could not be seen: then the way to the rival is broken, and drawn as if shorter.
const LEAST = 20;

// `change`: what is looked at, { kind, size }: a point on the way to the rival, or somewhere on a ring.
export function Promised({ radius, guarantee, neighbor, rival, input, change }) {
  const away = rival && distance(input, rival.input);
  const scale = Math.min(84 / (radius || Infinity), REACH / (away ?? Infinity));
  const broken = radius > 0 && radius * scale < LEAST;
  const circle = radius && (away === null ? 84 : Math.max(radius * scale, LEAST));
  const middle = HEIGHT / 2;
  // In a drawing that is broken only what lies in the circle is to scale.
  const drawn = broken ? (circle / radius) * change.size : scale * change.size;
  const seen = drawn > 0 && (!broken || change.size < 1.5 * radius);
  const at = away === null ? null : CENTRE + (broken || !radius ? REACH : away * scale);
  const said = radius
    ? `Every input inside the circle gets ${guarantee === "label" ? "the label" : "the item"} ${subject(guarantee, neighbor)}.`
    : "There is no circle: nothing is promised.";
  const beyond = away === null ? "" : ` The likely rival's picture, ${rival.label}, is ${distanced(away)} away${broken ? " (the way is drawn shorter)" : ""}.`;
  return html`
    <figure class="promised">
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label=${`${said}${beyond}`}>
        ${circle > 0 && html`<circle class="promise" cx=${CENTRE} cy=${middle} r=${circle} />`}
        ${at !== null && html`<path class="way" d=${`M${CENTRE},${middle} H${at}`} />`}
        ${broken && html`<path class="break" d=${`M${CENTRE + 115},${middle + 8} l6,-16 M${CENTRE + 123},${middle + 8} l6,-16`} />`}
        ${circle > 0 && html`<path class="measure" d=${`M${CENTRE},${middle} L${CENTRE - circle * 0.6},${middle - circle * 0.8}`} />
          <text class="promise" x=${CENTRE} y=${middle - circle - 6} text-anchor="middle">${down(radius)}</text>`}
        ${seen && change.kind === "noise" && html`<circle class=${change.size < radius ? "change" : "change outside"} cx=${CENTRE} cy=${middle} r=${drawn} />`}
        <${Thumb} tensor=${input} x=${CENTRE} y=${middle} size=${Math.max(22, Math.min(THUMB, circle * 0.9 || THUMB))} />
        ${at !== null && html`<${Thumb} tensor=${rival.input} x=${at} y=${middle} size=${THUMB} rival=${true} />
          <text class="rival" x=${at} y=${middle + 40} text-anchor="middle">${rival.label.slice(0, 20)}</text>
          <text class="rival" x=${at} y=${middle - 30} text-anchor="middle">${distanced(away)}</text>`}
        ${seen && change.kind === "rival" && html`<circle class=${change.size < radius ? "spot" : "spot outside"} cx=${CENTRE + drawn} cy=${middle} r="5" />`}
      </svg>
      <figcaption>${said}${beyond} What lies between is not known.</figcaption>
    </figure>
  `;
}

const Thumb = ({ tensor, x, y, size, rival }) => html`
  <image class="pixels" href=${dataUrl(tensor)} x=${x - size / 2} y=${y - size / 2} width=${size} height=${size} />
  <rect class=${rival ? "frame rival" : "frame"} x=${x - size / 2} y=${y - size / 2} width=${size} height=${size} />
`;
