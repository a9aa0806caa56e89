// The page: its three screens, and what is asked, which goes from one to the other.
import { render } from "./vendor/preact.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { file, getModel, hasKey, imagePath, setKey } from "./api.js";
import { Ask } from "./ask.js";
import { html } from "./html.js";
import { lazily } from "./lazily.js";
import { Model } from "./model.js";

const Gallery = lazily(async () => (await import("./gallery.js")).Gallery);

const SCREENS = { ask: "Ask", gallery: "Gallery", model: "Model" };

function here() {
  const name = location.hash.slice(1);
  return name in SCREENS ? name : "ask";
}

function App() {
  const [screen, setScreen] = useState(here);
  const [model, setModel] = useState(null);
  const [query, setQuery] = useState(null);
  const [problem, setProblem] = useState(null);
  const main = useRef();

  const load = () => getModel().then((found) => (setModel(found), setProblem(null)), setProblem);
  const forget = () => {
    setKey(null);
    setModel(null);
    load();
  };

  useEffect(() => {
    const go = () => {
      setScreen(here());
      main.current.focus();
      scrollTo(0, 0);
    };
    addEventListener("hashchange", go);
    load();
    return () => removeEventListener("hashchange", go);
  }, []);

  useEffect(() => {
    document.title = `${SCREENS[screen]} – RetrievalGuard`;
  }, [screen]);

  async function askWithItem(id) {
    setQuery({ name: id, file: await file(imagePath(id)) });
    location.hash = "ask";
  }

  return html`
    <header>
      <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current.focus())}>Skip to the content</a>
      <nav aria-label="Screens">
        <ul><li><strong class="name">RetrievalGuard</strong></li></ul>
        <ul>
          ${Object.entries(SCREENS).map(
            ([name, title]) =>
              html`<li><a href=${`#${name}`} aria-current=${name === screen ? "page" : null}>${title}</a></li>`,
          )}
          <li><a href="docs">API</a></li>
        </ul>
      </nav>
    </header>
    <main id="main" tabindex="-1" ref=${main}>
      ${problem && html`<p role="alert" class="problem">${problem.message}</p>`}
      ${problem?.status === 401 && html`<${KeyForm} given=${(key) => (setKey(key), load())} />`}
      ${model &&
      html`
        <div hidden=${screen !== "ask"}><${Ask} model=${model} query=${query} setQuery=${setQuery} /></div>
        ${screen === "gallery" && html`<${Gallery} askWithItem=${askWithItem} />`}
        ${screen === "model" && html`<${Model} model=${model} />`}
      `}
    </main>
    <footer>
      <small>
        A certificate says that an answer is stable, not that it is right.
        ${model && html` Model <code>${model.name}</code>, σ = ${model.sigma}.`}
        ${hasKey() && html` <a href="#ask" onClick=${forget}>Forget the key</a>`}
      </small>
    </footer>
  `;
}

function KeyForm({ given }) {
  const [key, setText] = useState("");
  const submit = (event) => {
    event.preventDefault();
    given(key.trim());
  };
  return html`
    <form class="key" onSubmit=${submit}>
      <h1>This service asks for a key</h1>
      <label>Key <input type="password" autocomplete="off" required value=${key} onInput=${(event) => setText(event.target.value)} /></label>
      <p><small>It is kept until this tab is closed, and sent to this service alone.</small></p>
      <button type="submit">Use it</button>
    </form>
  `;
}

render(html`<${App} />`, document.body);
