// The radius against the samples, as it grows; the target is a line.
import { html } from "./html.js";
import { counted, down } from "./words.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [360, 220, 44, 12, 16, 36];
// Before the first look there is nothing to see.
const LEAST = 128;

export function Growth({ rounds, certificate, target, most }) {
  const points = rounds.length || !certificate ? rounds : [certificate];
  const last = points.at(-1);
  if (!last) return html`<figure class="growth"></figure>`;
  const end = Math.max(most, last.samples, 2 * LEAST);
  const highest = 1.15 * Math.max(...points.map(({ radius }) => radius), target ?? 0, 0.01);
  const x = (samples) => LEFT + ((WIDTH - LEFT - RIGHT) * Math.log(Math.max(samples, LEAST) / LEAST)) / Math.log(end / LEAST);
  const y = (radius) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * radius) / highest;
  const line = points.map(({ samples, radius }) => `${x(samples)},${y(radius)}`).join(" ");
  const label = `Radius against samples: ${down(last.radius)} after ${counted(last.samples)} samples${target ? `, target ${target}` : ""}`;
  const ticks = [512, 2048, 8192, 32768, 131072].filter((samples) => samples <= end);
  return html`
    <figure class="growth">
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label=${label}>
        <path class="axis" d=${`M${LEFT},${TOP} V${HEIGHT - BOTTOM} H${WIDTH - RIGHT}`} />
        ${ticks.map((samples) => html`<text x=${x(samples)} y=${HEIGHT - BOTTOM + 16} text-anchor="middle">${counted(samples)}</text>`)}
        <text x=${WIDTH - RIGHT} y=${HEIGHT - 4} text-anchor="end">samples</text>
        <text x=${LEFT - 6} y=${y(0)} text-anchor="end">0</text>
        ${target && html`<path class="target" d=${`M${LEFT},${y(target)} H${WIDTH - RIGHT}`} /><text class="target" x=${WIDTH - RIGHT} y=${y(target) - 5} text-anchor="end">target ${target}</text>`}
        <polyline class="radius" points=${line} />
        ${points.map(({ samples, radius }) => html`<circle class="radius" cx=${x(samples)} cy=${y(radius)} r="3" />`)}
        <text class="radius" x=${LEFT - 6} y=${y(last.radius) + 4} text-anchor="end">${down(last.radius)}</text>
      </svg>
      <figcaption>
        ${rounds.length ? "The radius grows with the samples." : "Asked before, and answered at once."} It was
        ${` ${down(last.radius)} after ${counted(last.samples)}.`}
      </figcaption>
    </figure>
  `;
}
