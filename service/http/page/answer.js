// An answer: what is promised, in words; the pictures; the radius as it grows; and what its size looks like.
import { useEffect, useState } from "./vendor/hooks.js";
import { file, imagePath, modelInput } from "./api.js";
import { Attack } from "./attack.js";
import { Growth } from "./growth.js";
import { html } from "./html.js";
import { Captioned, ItemPicture, TensorPicture } from "./pictures.js";
import { Size } from "./size.js";
import { counted, distanced, down, kept, lengths, odds, ofFile, subject } from "./words.js";

export function Answer({ query, input, rounds, answer, problem, running, asked, model, stop }) {
  const last = rounds.at(-1);
  const neighbor = answer?.neighbor ?? last?.neighbor;
  const radius = answer?.certificate.radius ?? last?.radius ?? 0;
  const rival = useRival(answer?.explanation.rival ?? null);
  const shown = { radius, guarantee: asked.guarantee, neighbor, rival, input };
  return html`
    ${problem && html`<p role="alert" class="problem">${problem.message}</p>`}
    <div class="told">
      <div>
        <div role="status" class="verdict">
          ${answer && html`<${Verdict} answer=${answer} shape=${model.input_shape} />`}
          ${!answer && !running && last && html`<${Stopped} last=${last} guarantee=${asked.guarantee} />`}
          ${running && !answer && html`<h2>${last ? `${subject(asked.guarantee, last.neighbor)}, so far` : "Asking"}</h2>`}
        </div>
        ${running && html`<button type="button" class="secondary" onClick=${stop}>Stop</button>`}
      </div>
      <${Growth}
        rounds=${rounds}
        certificate=${answer?.certificate}
        target=${+asked.target_radius || null}
        most=${+asked.max_samples || model.defaults.samples}
      />
    </div>
    <${Pictures} query=${query} input=${input} answer=${answer} neighbor=${neighbor} />
    ${answer && input && html`<${Size} ...${shown} sigma=${model.sigma} asked=${asked} />`}
    ${answer && input && model.attack_seconds > 0 && html`<${Attack} ...${shown} sigma=${model.sigma} asked=${asked} seconds=${model.attack_seconds} />`}
  `;
}

// The item that the guarantee keeps behind, with what the model sees of its picture and how far that is.
function useRival(item) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    setFound(null);
    if (!item) return undefined;
    let wanted = true;
    const see = async () => modelInput(await file(imagePath(item.id)));
    see().then((input) => wanted && setFound({ ...item, input }), () => {});
    return () => (wanted = false);
  }, [item?.id]);
  return found;
}

function Verdict({ answer: { neighbor, certificate, explanation }, shape }) {
  const { guarantee, radius, alpha, samples, reason } = certificate;
  const name = subject(guarantee, neighbor);
  if (certificate.status === "abstained") {
    return html`
      <h2>${name}, without a promise</h2>
      <p>This is the nearest neighbour, but nothing is certified: ${reason}.</p>
    `;
  }
  return html`
    <h2>${name}, certified within ${down(radius)}</h2>
    <p>
      No change smaller than <strong>${down(radius)}</strong> turns this answer into ${kept(guarantee)}. ${lengths(shape)}
    </p>
    <p>${ofFile(certificate)}</p>
    <p>
      <small>
        The chance that this promise is wrong is ${odds(alpha)} (α = ${alpha}), from ${counted(samples)} noisy copies of the
        picture. ${reason && `Note: ${reason}.`}
        ${explanation.expected_radius > radius * 1.02 && ` Four times as many may raise it to about ${down(explanation.expected_radius)}.`}
      </small>
    </p>
  `;
}

const Stopped = ({ last, guarantee }) => html`
  <h2>${subject(guarantee, last.neighbor)}, ${last.radius ? `certified within ${down(last.radius)}` : "without a promise"}</h2>
  <p>Stopped after ${counted(last.samples)} samples. What was certified by then holds.</p>
`;

function Pictures({ query, input, answer, neighbor }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (!query.file) return setUrl(null);
    const made = URL.createObjectURL(query.file);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [query]);
  const rest = answer?.neighbors ?? [];
  const rival = answer?.explanation.rival;
  return html`
    <div class="pictures">
      ${url && html`<${Captioned} title="Your picture" detail=${query.name}><img class="picture" src=${url} alt="The picture that you asked with" /><//>`}
      ${input && html`<${Captioned} title="What the model sees" detail=${sizeOf(input)}><${TensorPicture} tensor=${input} alt="The picture as the model sees it" /><//>`}
      ${neighbor &&
      html`<${Captioned} title=${`Nearest: ${neighbor.label}`} detail=${answer ? `${neighbor.id}, distance ${distanced(neighbor.distance)}` : neighbor.id}>
        <${ItemPicture} id=${neighbor.id} alt=${`Nearest neighbour, label ${neighbor.label}`} />
      <//>`}
      ${rival &&
      html`<${Captioned} title=${`Likely rival: ${rival.label}`} detail=${`${rival.id}, distance ${distanced(rival.distance)}`}>
        <${ItemPicture} id=${rival.id} alt=${`Likely rival, label ${rival.label}`} />
      <//>`}
    </div>
    ${input?.losses.map((loss) => html`<p class="loss">${loss}</p>`)}
    ${rest.length > 0 &&
    html`
      <h3>Runners-up</h3>
      <ol class="runners" start="2">
        ${rest.map(
          ({ id, label, distance: away }) => html`<li>
            <${ItemPicture} id=${id} alt=${`Item ${id}`} /><strong>${label}</strong><small>${distanced(away)}</small>
          </li>`,
        )}
      </ol>
    `}
  `;
}

const sizeOf = ({ shape: [channels, height, width] }) => `${width} × ${height}, ${channels === 1 ? "grey" : "colour"}`;
