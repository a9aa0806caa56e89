// Asking: a picture from a file, the clipboard, a camera, the examples or one's own hand; and its answer.
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { file, get, getGalleries, imagePath, items, modelInput, retrieving } from "./api.js";
import { Answer } from "./answer.js";
import { Drawing } from "./drawing.js";
import { html } from "./html.js";
import { ItemPicture } from "./pictures.js";

// What may be drawn by hand: few cells, and no colours.
const MOST_CELLS = 32 * 32;
// Neighbours shown beside the first one.
const RUNNERS_UP = 6;

const NOTHING = { query: null, input: null, rounds: [], answer: null, problem: null, running: false, asked: null };

export function Ask({ model, query, setQuery }) {
  const [state, setState] = useState(NOTHING);
  const [options, setOptions] = useState({ gallery: "", guarantee: "label", target_radius: "", max_samples: "" });
  const [drawing, setDrawing] = useState(false);
  const under = useRef(null);
  const result = useRef();
  const [channels, height, width] = model.input_shape;

  async function run() {
    under.current?.abort();
    const controller = (under.current = new AbortController());
    const change = (part) => under.current === controller && setState((before) => ({ ...before, ...part(before) }));
    const asked = { ...options, top_k: 1 + RUNNERS_UP, explain: true };
    setState({ ...NOTHING, query, asked, running: true });
    // On a narrow screen the answer comes below.
    if (result.current.getBoundingClientRect().top > innerHeight / 2) result.current.scrollIntoView();
    if (query.tensor) change(() => ({ input: { ...query.tensor, losses: [] } }));
    // Without it there is still an answer, and why it failed the answer tells too.
    else modelInput(query.file).then((input) => change(() => ({ input })), () => {});
    try {
      for await (const [event, data] of retrieving(query, asked, controller.signal)) {
        if (event === "round") change(({ rounds }) => ({ rounds: [...rounds, data] }));
        else change(() => ({ answer: data }));
      }
    } catch (problem) {
      if (problem.name !== "AbortError") change(() => ({ problem }));
    }
    change(() => ({ running: false }));
  }

  useEffect(() => {
    if (query) run();
  }, [query]);

  useEffect(() => {
    const paste = (event) => {
      const pasted = [...event.clipboardData.files][0];
      if (pasted) setQuery({ name: "the clipboard", file: pasted });
    };
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  }, []);

  const drawable = channels === 1 && height * width <= MOST_CELLS;
  return html`
    <section class="asking" aria-labelledby="asking">
      <hgroup>
        <h1 id="asking">Ask with a picture</h1>
        <p>
          You get its nearest neighbour in the gallery, and a radius: no change of the picture smaller than that can turn the
          answer into another.
        </p>
      </hgroup>
      <${Chooser} setQuery=${setQuery} />
      <${Examples} model=${model} setQuery=${setQuery} />
      ${drawable &&
      html`<details open=${drawing} onToggle=${(event) => setDrawing(event.currentTarget.open)}>
        <summary>Draw one</summary>
        ${drawing && html`<${Drawing} height=${height} width=${width} setQuery=${setQuery} />`}
      </details>`}
      <${Options} options=${options} setOptions=${setOptions} model=${model} again=${query && run} />
    </section>
    <section class="answering" aria-label="Answer" aria-busy=${state.running} ref=${result}>
      ${state.query
        ? html`<${Answer} ...${state} model=${model} stop=${() => under.current.abort()} />`
        : html`<p class="empty">The answer comes here.</p>`}
    </section>
  `;
}

function Chooser({ setQuery }) {
  const [over, setOver] = useState(false);
  const choose = (files) => files[0] && setQuery({ name: files[0].name, file: files[0] });
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    choose(event.dataTransfer.files);
  };
  const field = (given) =>
    html`<input
      type="file"
      accept="image/png,image/jpeg,image/webp"
      ...${given}
      onChange=${(event) => (choose(event.target.files), (event.target.value = ""))}
    />`;
  return html`
    <label
      class=${`drop ${over ? "over" : ""}`}
      onDragOver=${(event) => (event.preventDefault(), setOver(true))}
      onDragLeave=${() => setOver(false)}
      onDrop=${drop}
    >
      <span>Drop a picture, paste one, or choose a file</span>
      <small>PNG, JPEG or WebP</small>
      ${field({})}
    </label>
    <label class="camera">Take a photo ${field({ capture: "environment" })}</label>
  `;
}

// Held-out pictures that ship with the page, by the name of the model that is served; else gallery items.
function Examples({ model, setQuery }) {
  const [found, setFound] = useState([]);
  useEffect(() => {
    const find = async () => {
      const shipped = (await get("page/examples/index.json"))[model.name];
      if (shipped) return shipped.map(({ path, alt }) => ({ path: `page/examples/${path}`, alt }));
      return (await items({ limit: 4 })).items.map(({ id }) => ({ id, path: imagePath(id), alt: `Item ${id}` }));
    };
    find().then(setFound, () => {});
  }, []);
  if (!found.length) return null;
  const choose = async ({ path, id }) => setQuery({ name: id ?? path.split("/").pop(), file: await file(path) });
  return html`
    <p class="examples-title">Or try one ${found[0].id ? "of" : "that is not in"} the gallery:</p>
    <ul class="examples">
      ${found.map((example) => {
        const { id, path, alt } = example;
        const picture = id ? html`<${ItemPicture} id=${id} alt=${alt} />` : html`<img class="picture" src=${path} alt=${alt} />`;
        return html`<li><button type="button" onClick=${() => choose(example)}>${picture}</button></li>`;
      })}
    </ul>
  `;
}

function Options({ options, setOptions, model, again }) {
  const [galleries, setGalleries] = useState([]);
  // Without them all items are asked.
  useEffect(() => void getGalleries().then(setGalleries, () => {}), []);
  const set = (name) => (event) => setOptions({ ...options, [name]: event.target.value });
  const ask = (event) => {
    event.preventDefault();
    again?.();
  };
  return html`
    <details>
      <summary>What to ask for</summary>
      <form onSubmit=${ask}>
        ${galleries.length > 1 &&
        html`<label>
          Gallery
          <select value=${options.gallery} onChange=${set("gallery")}>
            ${galleries.map(({ name }, place) => html`<option value=${place ? name : ""}>${place ? name : "all items"}</option>`)}
          </select>
        </label>`}
        <label>
          What must stay the same
          <select value=${options.guarantee} onChange=${set("guarantee")}>
            <option value="label">its label</option>
            <option value="item">the very item</option>
          </select>
        </label>
        <label>
          A radius to reach
          <input type="number" min="0" step="any" placeholder="none" value=${options.target_radius} onInput=${set("target_radius")} />
        </label>
        <label>
          Samples, at most
          <input
            type="number"
            min="2"
            placeholder=${model.defaults.samples}
            value=${options.max_samples}
            onInput=${set("max_samples")}
          />
        </label>
        <button type="submit" disabled=${!again}>Ask again</button>
      </form>
    </details>
  `;
}
