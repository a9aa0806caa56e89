// Try to break it: attacks of the server's own on the answer, below the radius and beyond it, and what came of them.
import { useEffect, useState } from "./vendor/hooks.js";
import { attack } from "./api.js";
import { html } from "./html.js";
import { Captioned, TensorPicture } from "./pictures.js";
import { distanced, down, subject } from "./words.js";

// In radii: below it, where the answer has to stay, and beyond it.
const TIMES = [0.9, 2, 4];

export function Attack({ radius, guarantee, input, sigma, asked, seconds }) {
  const [tried, setTried] = useState([]);
  const [told, setTold] = useState("");
  useEffect(() => (setTried([]), setTold("")), [input, asked]);

  async function attempt(size) {
    setTold("Attacking…");
    try {
      const found = await attack(input, size, asked);
      setTried((before) => [...before, found]);
      setTold(outcome(found));
    } catch (problem) {
      setTold(problem.message);
    }
  }

  const broken = tried.find((found) => found.broken);
  return html`
    <section class="attack" aria-labelledby="attack">
      <h3 id="attack">Try to break it</h3>
      <p>
        The server attacks its own answer: knowing the network and the gallery, it looks for the change that turns this answer
        into ${guarantee === "label" ? "another label" : "another item"}, for up to ${seconds} s.
      </p>
      <p class="buttons">
        ${TIMES.map((times) => {
          const size = times * (radius || sigma);
          const where = size < radius ? "Inside" : "Outside";
          return html`<button type="button" class="secondary" onClick=${() => attempt(size)}>${where}, by ${distanced(size)}</button>`;
        })}
      </p>
      ${broken && html`<${Bug} found=${broken} input=${input} asked=${asked} />`}
      <p role="status">${told}</p>
      <div class="pictures">
        ${tried.map(
          (found) => html`<${Captioned} title=${`Changed by ${distanced(found.size)}`} detail=${outcome(found)}>
            <${TensorPicture} tensor=${found} alt=${`The input that an attack of ${distanced(found.size)} led to`} />
          <//>`,
        )}
      </div>
    </section>
  `;
}

function outcome({ inside, changed, broken, answer, moved }) {
  const now = subject(answer.certificate.guarantee, moved.neighbor);
  if (broken) return `The promise is broken: the answer is ${now}.`;
  if (inside) return changed ? `Inside: ${now} looks nearest, but that is in doubt.` : `Inside: the answer stays ${now}, as promised.`;
  return changed ? `Outside: the answer is ${now}. Nothing was promised.` : `Outside: the answer stays ${now}. A better attack may change it.`;
}

// It should never be seen: what it takes to repeat it is at hand.
function Bug({ found, input, asked }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    const query = { shape: input.shape, pixels: [...input.pixels], options: asked };
    const file = new Blob([JSON.stringify({ query, attack: { ...found, pixels: [...found.pixels] } })], { type: "application/json" });
    const made = URL.createObjectURL(file);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [found]);
  const { radius, alpha } = found.answer.certificate;
  return html`
    <p role="alert" class="problem bug">
      <strong>This is a bug, please report it.</strong> A change of ${distanced(found.size)} turned the answer into another, and
      none below ${down(radius)} should (but with a chance of ${alpha}). <a href=${url} download="counterexample.json">What it takes to repeat it</a>
    </p>
  `;
}
