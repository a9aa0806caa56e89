// The model card: what answers, what it was trained on, what a certificate is and is not, and how to ask by program.
import { html } from "./html.js";
import { counted, recalled } from "./words.js";

export function Model({ model }) {
  const [channels, height, width] = model.input_shape;
  const { forward_pass: run, defaults, trained_on: trained, recall } = model;
  const server = new URL(".", document.baseURI).href.slice(0, -1);
  const curl = `curl -s --data-binary @picture.png -H 'Content-Type: image/png' ${server}/v1/retrieve`;
  const python = `from retrievalguard.client import Client

answer = Client("${server}").retrieve("picture.png")
print(answer.neighbor.label, answer.certificate.radius)`;
  return html`
    <h1>${model.name}</h1>
    <dl>
      <dt>Input</dt>
      <dd>${width} × ${height} pixels, ${channels === 1 ? "grey" : "colour"}${model.preprocessing ? "" : ", whatever the size of the picture: it is stretched"}</dd>
      <dt>Trained on</dt>
      <dd>${trained.images}, ${trained.size[1]} × ${trained.size[0]}, ${trained.colour === "grey" ? "grey" : "colour"}</dd>
      ${recall && html`<dt>Recall</dt><dd>${recalled(recall)}</dd>`}
      <dt>Noise</dt>
      <dd>σ = ${model.sigma}, in pixels of [0, 1]</dd>
      <dt>Embedding</dt>
      <dd>${model.dimension} numbers</dd>
      <dt>Radii</dt>
      <dd>${model.radius_unit}</dd>
      <dt>Run as</dt>
      <dd><code>${run.variant}</code>: ${run.reason}</dd>
      <dt>Unless asked otherwise</dt>
      <dd>α = ${defaults.alpha}, at most ${counted(defaults.samples)} samples, guarantee ${defaults.guarantee}, method ${defaults.method}</dd>
      <dt>Digest</dt>
      <dd><code class="long">${model.digest}</code></dd>
    </dl>
    ${model.warnings.map((warning) => html`<p class="loss">${warning}</p>`)}
    <h2>Limits</h2>
    <ul>
      <li>A certificate says that an answer is stable, not that it is right: a wrong answer may be certified.</li>
      <li>Beyond the radius nothing is known. It does not say that the answer changes there, nor that it holds.</li>
      <li>The radius is about changes of the model's input, measured as a length: many pixels a little, or a few pixels a lot. Turning, moving or scaling a picture are large changes in that sense.</li>
      <li>A promise is wrong with a chance of at most α = ${defaults.alpha}, over the noise that was drawn for it.</li>
      <li>The model answers any picture, also of things that it never saw: trained on ${trained.images}, it knows nothing else.</li>
      <li>The gallery is taken as it is: who may change it may change answers.</li>
    </ul>
    <h2>Ask by program</h2>
    <h3>curl</h3>
    <pre tabindex="0" aria-label="The request with curl"><code>${curl}</code></pre>
    <h3>Python</h3>
    <pre tabindex="0" aria-label="The request in Python"><code>${python}</code></pre>
    <p>Every route can be tried at <a href="docs">the documentation</a>.</p>
  `;
}
