// What a change of a given size looks like: noise, or the straight way to the rival; and what is promised of it.
import { useEffect, useMemo, useState } from "./vendor/hooks.js";
import { retrieve } from "./api.js";
import { html } from "./html.js";
import { TensorPicture } from "./pictures.js";
import { Promised } from "./promised.js";
import { difference, distance, gaussian, moved } from "./tensors.js";
import { distanced, down, subject } from "./words.js";

const STEPS = 200;

export function Size({ radius, guarantee, neighbor, rival, input, sigma, asked }) {
  const [kind, setKind] = useState("noise");
  const [seed, setSeed] = useState(0);
  const [step, setStep] = useState(STEPS / 4);
  const [reply, setReply] = useState(null);
  const way = kind === "rival" && rival ? difference(input, rival.input) : null;
  const most = way ? Math.max(distance(input, rival.input), 2 * radius) : 2 * (radius || sigma);
  const noise = useMemo(() => gaussian(input.pixels.length), [input, seed]);
  const length = (most * step) / STEPS;
  const changed = useMemo(
    () => (step ? moved(input, way ?? noise, length) : input),
    [input, noise, kind, rival, length],
  );
  const size = distance(input, changed);
  // By the radius as it is shown, rounded down: else a size may be below it that does not look so.
  const inside = size < +down(radius);
  useEffect(() => setReply(null), [changed]);

  async function ask() {
    setReply({ text: "Asking…" });
    try {
      const found = await retrieve({ tensor: changed }, { gallery: asked.gallery, guarantee, max_samples: 2048 });
      const same = subject(guarantee, found.neighbor) === subject(guarantee, neighbor);
      setReply({ text: `${subject(guarantee, found.neighbor)}: ${same ? "the same answer" : "another answer"}.`, same });
    } catch (problem) {
      setReply({ text: problem.message });
    }
  }

  const shown = { radius, guarantee, neighbor, rival, input, change: { kind, size } };
  const share = `${(100 * Math.min(radius / most, 1)).toFixed(2)}%`;
  return html`
    <section class="size" aria-labelledby="size">
      <h3 id="size">What a change of that size looks like</h3>
      <div class="sized">
        <${Promised} ...${shown} />
        <div class="change">
          <${TensorPicture} tensor=${changed} alt=${`The input, changed by ${distanced(size)}`} />
          <fieldset>
            <legend>Change it by</legend>
            <label><input type="radio" name="kind" checked=${kind === "noise"} onChange=${() => setKind("noise")} /> noise</label>
            ${rival &&
            html`<label>
              <input type="radio" name="kind" checked=${kind === "rival"} onChange=${() => setKind("rival")} /> going straight to
              the rival's picture, ${rival.label}
            </label>`}
          </fieldset>
        </div>
        <div class="choice">
          <label>
            Size of the change
            <input
              type="range" min="0" max=${STEPS} value=${step}
              aria-valuetext=${`${distanced(size)}, ${inside ? "promised" : "not known"}`}
              onInput=${(event) => setStep(+event.target.value)}
            />
          </label>
          <div class="track" aria-hidden="true" ref=${(track) => track?.style.setProperty("--share", share)}>
            <span>${radius > 0 && "promised"}</span><span>not known</span>
          </div>
          <p class=${inside ? "inside" : "outside"}>
            <strong>${distanced(size)}</strong> ${inside
              ? `is below ${down(radius)}. Promised: the answer stays ${subject(guarantee, neighbor)}.`
              : `is not below ${down(radius)}. Not known: the answer may change, or not.`}
          </p>
          <p class="buttons">
            <button type="button" onClick=${ask}>Ask with this change</button>
            ${kind === "noise" && html`<button type="button" class="secondary" onClick=${() => setSeed(seed + 1)}>Other noise</button>`}
          </p>
          <p role="status">${reply?.text}</p>
        </div>
      </div>
    </section>
  `;
}
