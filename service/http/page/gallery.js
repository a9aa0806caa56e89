// The gallery: its labels, its items page by page, asking with one of them, and changing them.
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { add, getGallery, items, relabel, remove } from "./api.js";
import { html } from "./html.js";
import { Jobs } from "./jobs.js";
import { ItemPicture } from "./pictures.js";
import { counted } from "./words.js";

const PAGE = 60;

export function Gallery({ askWithItem }) {
  const [gallery, setGallery] = useState(null);
  const [label, setLabel] = useState("");
  // Where the pages up to this one begin.
  const [cursors, setCursors] = useState([null]);
  const [page, setPage] = useState({ items: [], next: null });
  const [problem, setProblem] = useState(null);
  // An item is wrapped anew each time: a dialog is told that it was closed only some 40 ms later, and may be open again.
  const [opened, setOpened] = useState(null);

  const load = () => {
    getGallery().then(setGallery, setProblem);
    items({ label, limit: PAGE, cursor: cursors.at(-1) }).then(setPage, setProblem);
  };
  useEffect(load, [label, cursors]);
  const filter = (wanted) => {
    setLabel(wanted);
    setCursors([null]);
  };
  if (!gallery) return problem && html`<p role="alert" class="problem">${problem.message}</p>`;
  const labels = Object.entries(gallery.labels).filter(([, count]) => count > 0);
  const number = cursors.length;
  return html`
    <h1>Gallery</h1>
    <p>
      ${counted(gallery.size)} ${gallery.size === 1 ? "item" : "items"}, ${counted(labels.length)} ${labels.length === 1 ? "label" : "labels"}, version ${gallery.version}.
      ${gallery.damaged > 0 && ` ${counted(gallery.damaged)} are left out, as they are not what was stored.`}
    </p>
    ${problem && html`<p role="alert" class="problem">${problem.message}</p>`}
    <label class="filter">
      Label
      <input type="search" list="labels" placeholder="all" onChange=${(event) => filter(event.target.value)} />
    </label>
    <datalist id="labels">${labels.map(([name, count]) => html`<option value=${name}>${counted(count)}</option>`)}</datalist>
    <nav class="pages" aria-label="Pages">
      <button type="button" class="secondary" disabled=${number === 1} onClick=${() => setCursors(cursors.slice(0, -1))}>
        Earlier
      </button>
      <span role="status">Page ${number}</span>
      <button type="button" class="secondary" disabled=${!page.next} onClick=${() => setCursors([...cursors, page.next])}>
        Later
      </button>
    </nav>
    <ul class="items">
      ${page.items.map(
        (item) => html`<li key=${item.id}>
          <button type="button" aria-haspopup="dialog" onClick=${() => setOpened({ item })}>
            <${ItemPicture} id=${item.id} alt=${`Item ${item.id}`} /><span>${item.label}</span>
          </button>
        </li>`,
      )}
    </ul>
    ${page.items.length === 0 && html`<p>There is none.</p>`}
    <${Adding} added=${load} />
    <${Jobs} changed=${load} />
    ${opened && html`<${ItemDialog} key=${opened} item=${opened.item} close=${() => setOpened((now) => (now === opened ? null : now))} changed=${load} askWithItem=${askWithItem} />`}
  `;
}

function ItemDialog({ item, close, changed, askWithItem }) {
  const dialog = useRef();
  const [label, setLabel] = useState(item.label);
  const [sure, setSure] = useState(false);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    const opener = document.activeElement;
    dialog.current.showModal();
    return () => opener.focus();
  }, []);
  const change = async (work) => {
    try {
      await work();
      changed();
      close();
    } catch (failure) {
      setProblem(failure);
    }
  };
  const submit = (event) => {
    event.preventDefault();
    change(() => relabel(item.id, label));
  };
  const metadata = Object.entries(item.metadata);
  return html`
    <dialog ref=${dialog} aria-labelledby="item" onClose=${close}>
      <article>
        <h2 id="item">${item.label}</h2>
        <${ItemPicture} id=${item.id} alt=${`The picture of item ${item.id}`} />
        <p><code>${item.id}</code></p>
        ${metadata.length > 0 && html`<dl>${metadata.map(([name, value]) => html`<dt>${name}</dt><dd>${JSON.stringify(value)}</dd>`)}</dl>`}
        ${problem && html`<p role="alert" class="problem">${problem.message}</p>`}
        <form class="row" onSubmit=${submit}>
          <label>Label <input required value=${label} onInput=${(event) => setLabel(event.target.value)} /></label>
          <button type="submit" class="secondary" disabled=${label === item.label}>Relabel</button>
        </form>
        <p class="buttons">
          <button type="button" onClick=${() => askWithItem(item.id)}>Ask with this</button>
          <button type="button" class="secondary" onClick=${() => (sure ? change(() => remove(item.id)) : setSure(true))}>
            ${sure ? "Delete it for good" : "Delete"}
          </button>
          <button type="button" class="secondary" onClick=${close}>Close</button>
        </p>
      </article>
    </dialog>
  `;
}

// One file after the other, each durable before the next; what went wrong is told by name.
function Adding({ added }) {
  const [label, setLabel] = useState("");
  const [told, setTold] = useState([]);
  const files = useRef();
  async function submit(event) {
    event.preventDefault();
    const chosen = [...files.current.files];
    const problems = [];
    for (const [index, file] of chosen.entries()) {
      setTold([`Adding ${index + 1} of ${chosen.length}`, ...problems]);
      try {
        await add(file, { id: file.name, label });
      } catch (problem) {
        problems.push(`${file.name}: ${problem.message}`);
      }
    }
    setTold([`${chosen.length - problems.length} of ${chosen.length} added.`, ...problems]);
    files.current.value = "";
    added();
  }
  return html`
    <details>
      <summary>Add pictures</summary>
      <form onSubmit=${submit}>
        <label>Pictures <input type="file" multiple required accept="image/png,image/jpeg,image/webp" ref=${files} /></label>
        <label>Their label <input required value=${label} onInput=${(event) => setLabel(event.target.value)} /></label>
        <p><small>The id of an item is the name of its file.</small></p>
        <button type="submit">Add</button>
      </form>
      <ul role="status" class="plain">${told.map((line) => html`<li>${line}</li>`)}</ul>
    </details>
  `;
}
