// Jobs: an archive is sent, its entries are added while queries go on; how far each job is, and what became of it.
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { endJob, getJob, getJobs, startJob } from "./api.js";
import { html } from "./html.js";
import { counted } from "./words.js";

// How often is asked, in milliseconds, while a job has not ended.
const EVERY = 500;

export function Jobs({ changed }) {
  const [jobs, setJobs] = useState([]);
  const [problem, setProblem] = useState(null);
  const open = jobs.filter(isOpen).length;
  const load = () => getJobs().then(setJobs, setProblem);
  useEffect(() => void load(), []);
  useEffect(() => {
    if (!open) return undefined;
    const asking = setInterval(load, EVERY);
    return () => clearInterval(asking);
  }, [open]);
  // The items of a job are there when it has ended, and some before.
  useEffect(changed, [open]);
  return html`
    <${Starting} started=${load} />
    ${problem && html`<p role="alert" class="problem">${problem.message}</p>`}
    ${jobs.length > 0 &&
    html`
      <h2>Jobs</h2>
      <ul class="jobs">${jobs.map((job) => html`<${Job} key=${job.id} job=${job} load=${load} failed=${setProblem} />`)}</ul>
    `}
  `;
}

const isOpen = ({ state }) => state === "waiting" || state === "running";

function Starting({ started }) {
  const [fields, setFields] = useState({ prefix: "", replace: false });
  const [told, setTold] = useState("");
  const chosen = useRef();
  async function submit(event) {
    event.preventDefault();
    const archive = chosen.current.files[0];
    setTold(`Sending ${archive.name}…`);
    try {
      await startJob(archive, fields);
      setTold(`${archive.name} is there.`);
      chosen.current.value = "";
      started();
    } catch (problem) {
      setTold(`${archive.name}: ${problem.message}`);
    }
  }
  return html`
    <details>
      <summary>Add an archive</summary>
      <form onSubmit=${submit}>
        <label>A zip, tar or tar.gz: a folder for each label, or a table of items <input type="file" required accept=".zip,.tar,.tgz,.gz" ref=${chosen} /></label>
        <label>Before every id <input value=${fields.prefix} onInput=${(event) => setFields({ ...fields, prefix: event.target.value })} /></label>
        <label><input type="checkbox" checked=${fields.replace} onChange=${(event) => setFields({ ...fields, replace: event.target.checked })} /> Replace items that are there</label>
        <button type="submit">Start</button>
      </form>
      <p role="status">${told}</p>
    </details>
  `;
}

function Job({ job, load, failed }) {
  const begun = new Date(job.created).toLocaleString();
  const end = () => endJob(job.id).then(load, failed);
  const skipped = Object.values(job.skipped).reduce((sum, count) => sum + count, 0);
  const counts = { added: job.added, replaced: job.replaced, unchanged: job.unchanged, refused: job.refused, skipped };
  const said = Object.entries(counts).filter(([, count]) => count).map(([name, count]) => `${counted(count)} ${name}`);
  const name = job.folder ?? (job.prefix || "an archive");
  return html`
    <li>
      <p>
        <strong>${job.state}</strong>, ${name}, ${begun}${said.length > 0 && `: ${said.join(", ")}`}${job.error && `: ${job.error}`}
      </p>
      ${isOpen(job) &&
      html`<progress aria-label=${`Progress of ${name}`} value=${job.total ? job.seen : null} max=${job.total || 1}>${job.seen} of ${job.total}</progress>`}
      ${!isOpen(job) && job.refused + job.warnings.length > 0 && html`<${Report} job=${job} failed=${failed} />`}
      <button type="button" class="secondary" onClick=${end}>${isOpen(job) ? "Cancel" : "Forget"}</button>
    </li>
  `;
}

// What was refused is asked for when somebody wants to read it.
function Report({ job, failed }) {
  const [refusals, setRefusals] = useState(null);
  const read = (event) => event.currentTarget.open && !refusals && getJob(job.id).then((found) => setRefusals(found.refusals), failed);
  return html`
    <details onToggle=${read}>
      <summary>Report</summary>
      <ul>
        ${job.warnings.map((warning) => html`<li>${warning}</li>`)}
        ${refusals?.map(({ place, reason }) => html`<li><code>${place}</code>: ${reason}</li>`)}
      </ul>
    </details>
  `;
}
