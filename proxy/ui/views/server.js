// Server: models, jobs, how far recent answers lie towards their personas, what went wrong. Figures that no public
// route tells, such as queue and memory, are not shown.
import { get, key, post } from "../api.js";
import { Button, Notice } from "../components/controls.js";
import { Job, follow, titleOf } from "../components/jobs.js";
import { Table } from "../components/table.js";
import { html, useEffect, useState } from "../html.js";
import { jobs, models, refresh, refreshJobs, role, useKey } from "../store.js";
import { signed } from "./play/words.js";

const EVERY_MS = 5000;
const MOST_ENDED = 20;
const goesOn = ({ status }) => status === "queued" || status === "running";

export function View() {
  const [series, setSeries] = useState([]);
  const [error, setError] = useState(null);
  const look = (quiet) => Promise.all([refreshJobs(), get("api/monitor", { quiet }), quiet && refresh()]).then(([, report]) => {
    jobs.peek().filter(goesOn).forEach(follow);
    setSeries(report.data);
    setError(null);
  }, setError);
  useEffect(() => {
    if (role.value === "user" || role.value === "stranger") return undefined;
    look(false);
    const timer = setInterval(() => document.hidden || look(true), EVERY_MS);
    return () => clearInterval(timer);
  }, [role.value]);
  return html`
    <h1 tabindex="-1">Server</h1>
    ${role.value === "user" && html`<${Notice} kind="warning">Your key is a user key: it opens Play. An admin key shows the server too.</${Notice}>`}
    ${key.value && html`<p>This tab uses an API key${role.value === "admin" ? ", an admin key" : ""}. <${Button} onClick=${() => useKey("")}>Forget the key</${Button}></p>`}
    ${error && error.status && html`<${Notice} kind="error">${error.message}</${Notice}>`}
    <h2>Models</h2>
    <${Models} />
    <h2>Recent answers</h2>
    <${Recent} series=${series} />
    <h2>Jobs</h2>
    ${jobs.value.filter(goesOn).map((job) => html`<${Job} key=${job.id} job=${job} />`)}
    <${Ended} />
  `;
}

function Models() {
  const [error, setError] = useState(null);
  const attempt = (work) => work().then(() => setError(null), setError).then(refresh);
  const act = ({ id, status }) => {
    if (status === "loading") return html`<span class="muted">loading …</span>`;
    if (status === "ready") return html`<${Button} kind="quiet" label=${`Unload ${id}`} onClick=${() => attempt(() => post(`api/models/${id}/unload`))}>Unload</${Button}>`;
    return html`<${Button} kind="quiet" label=${`Load ${id}`} onClick=${() => attempt(() => post(`api/models/${id}/load`, { wait: false }))}>Load</${Button}>`;
  };
  return html`
    ${error && html`<${Notice} kind="error" live>${error.message}</${Notice}>`}
    <${Table} caption="Models" rows=${models.value} empty="No model is served." columns=${[
      { title: "Model", cell: ({ id }) => html`<strong>${id}</strong>` },
      { title: "State", cell: ({ status, error: why, on_demand: onDemand }) => `${status}${why ? `: ${why}` : ""}${status === "unloaded" && onDemand ? ", loads when asked" : ""}` },
      { title: "Family", cell: ({ family }) => family ?? "–" },
      { title: "Runs by", cell: ({ engine, device, dtype }) => [engine, device, dtype].filter(Boolean).join(", ") || "–" },
      { title: "Blocks × width", number: true, cell: ({ n_layers: layers, hidden_size: width }) => (layers ? `${layers} × ${width}` : "–") },
      { title: "Context", number: true, cell: ({ context_length: tokens }) => tokens ?? "–" },
      { title: "Personas", number: true, cell: ({ personas }) => personas?.length ?? 0 },
      { title: "", cell: (model) => role.value === "admin" && act(model) },
    ]} />
  `;
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** Mean projections by persona: 0 is the neutral mean, 1 the pole's. */
function Recent({ series }) {
  const drift = ({ drift: found }) => (found ? `${signed(found.difference)}${found.standard_error == null ? "" : ` ± ${signed(found.standard_error)}`}` : "too few answers");
  return html`<${Table} caption="Projections of recent answers" rows=${series} keyOf=${(one) => [one.model, one.persona, one.pole, one.vector].join()} empty="No answer was looked at since the server started. Ask something in Play." columns=${[
    { title: "Model", cell: ({ model }) => model },
    { title: "Steered to", cell: ({ persona }) => (persona === "none" ? "nothing" : persona) },
    { title: "Looked at", cell: ({ pole, layer }) => `${pole}, block ${layer}` },
    { title: "Answers", number: true, cell: ({ count }) => count },
    { title: "Recent mean", number: true, cell: ({ recent }) => signed(recent.mean) },
    { title: "Drift", number: true, cell: drift },
    { title: "Last ones", number: true, cell: ({ answers }) => answers.slice(-5).map(({ projection }) => signed(projection)).join("  ") },
    { title: "At", number: true, cell: ({ answers }) => (answers.length ? clock(answers.at(-1).time) : "–") },
  ]} />`;
}

function Ended() {
  const ended = jobs.value.filter((job) => !goesOn(job)).slice(0, MOST_ENDED);
  const failed = ended.filter(({ status }) => status === "failed");
  return html`
    ${failed.map((job) => html`<${Job} key=${job.id} job=${job} />`)}
    <${Table} caption="Jobs that ended" rows=${ended.filter(({ status }) => status !== "failed")} empty="No job has ended." columns=${[
      { title: "Job", cell: titleOf },
      { title: "State", cell: ({ status }) => status },
      { title: "Made", cell: ({ result }) => result?.vector ?? result?.trait ?? result?.transfer ?? "–" },
      { title: "Ended", number: true, cell: ({ ended: at }) => (at ? new Date(at * 1000).toLocaleString() : "–") },
    ]} />
  `;
}
