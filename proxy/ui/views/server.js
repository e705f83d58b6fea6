// Server: models, what they are doing, how far recent answers lie towards their personas, jobs, what went wrong. Asks
// while it is looked at, and only then.
import { get, key, post } from "../api.js";
import { Button, Notice } from "../components/controls.js";
import { Job, dismiss, dismissed, follow, goesOn, titleOf } from "../components/jobs.js";
import { Table } from "../components/table.js";
import { html, useEffect, useState } from "../html.js";
import { jobs, modelOf, models, refresh, refreshJobs, useKey } from "../store.js";
import { signed } from "./play/words.js";

const EVERY_MS = 3000;
const MOST_ENDED = 20;

export function View() {
  const [series, setSeries] = useState([]);
  const [status, setStatus] = useState(null);
  const [error, setError] = useState(null);
  const look = async (quiet) => {
    try {
      const [now, report] = await Promise.all([get("api/status", { quiet }), get("api/monitor", { quiet }), refreshJobs(quiet), quiet && refresh()]);
      jobs.peek().filter(goesOn).forEach(follow);
      setStatus(now);
      setSeries(report.data);
      setError(null);
    } catch (thrown) {
      setError(thrown);
    }
  };
  useEffect(() => {
    look(false);
    const again = () => document.hidden || look(true);
    const timer = setInterval(again, EVERY_MS);
    document.addEventListener("visibilitychange", again);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", again);
    };
  }, []);
  return html`
    <h1 tabindex="-1">Server</h1>
    ${key.value && html`<p>This tab uses an API key, which opens everything. <${Button} onClick=${() => useKey("")}>Forget the key</${Button}></p>`}
    ${error && error.status && html`<${Notice} kind="error">${error.message}</${Notice}>`}
    ${status && html`<${Now} status=${status} />`}
    <h2>Models</h2>
    <${Models} activity=${status?.models ?? []} />
    <${Upstreams} activity=${status?.models ?? []} />
    <h2>Recent answers</h2>
    <${Recent} series=${series} />
    <h2>Jobs</h2>
    ${jobs.value.filter(goesOn).map((job) => html`<${Job} key=${job.id} job=${job} />`)}
    <${Ended} />
    <h2>Recent errors</h2>
    <${Errors} errors=${status?.errors ?? []} />
  `;
}

/** The four figures that say how busy the server is. */
function Now({ status: { memory, models: all, max_batch: most, max_queue: queue, started } }) {
  const sum = (name) => all.reduce((total, model) => total + model[name], 0);
  const of = memory.machine_bytes ? ` of ${bytes(memory.machine_bytes)}` : "";
  return html`
    <dl class="busy">
      <div><dt>Memory of the process</dt><dd>${memory.process_bytes ? bytes(memory.process_bytes) : "–"}<span class="muted">${of}</span></dd></div>
      <div><dt>Answers running</dt><dd>${sum("running")}<span class="muted"> up to ${most} per model</span></dd></div>
      <div><dt>Waiting</dt><dd>${sum("waiting")}<span class="muted"> up to ${queue} per model</span></dd></div>
      <div><dt>Tokens per second</dt><dd>${pace(sum("tokens_per_second"))}<span class="muted"> in the last minute</span></dd></div>
      <div><dt>Running since</dt><dd>${new Date(started * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}</dd></div>
    </dl>
  `;
}

const pace = (figure) => (figure >= 10 ? figure.toFixed(0) : figure.toFixed(1));

/** "640 MB", "1.4 GB". */
function bytes(count) {
  if (count === 0) return "0";
  const [unit, name] = count >= 1e9 ? [1e9, "GB"] : count >= 1e6 ? [1e6, "MB"] : [1e3, "kB"];
  return `${(count / unit).toFixed(unit === 1e9 || count < 10 * unit ? 1 : 0)} ${name}`;
}

function Models({ activity }) {
  const [error, setError] = useState(null);
  const [refused, refuse] = useState(null); // the id of the model that could not be unloaded
  const attempt = (work) => {
    refuse(null);
    return work().then(() => setError(null), setError).then(refresh);
  };
  const unload = async (id, force) => {
    try {
      await post(`api/models/${id}/unload`, { force });
    } catch (busy) {
      refuse(busy.code === "model_busy" && modelOf(id)?.status === "ready" ? id : null);
      throw busy;
    }
  };
  const act = ({ id, status }) => {
    if (status === "loading") return html`<${Button} kind="quiet" aria-disabled="true">Loading …</${Button}>`; // keeps the focus
    if (status === "ready") return html`<${Button} kind="quiet" label=${`Unload ${id}`} onClick=${() => attempt(() => unload(id, false))}>Unload</${Button}>`;
    return html`<${Button} kind="quiet" label=${`Load ${id}`} onClick=${() => attempt(() => post(`api/models/${id}/load`, { wait: false }))}>Load</${Button}>`;
  };
  const now = ({ id }) => activity.find((one) => one.id === id);
  const taken = (count) => (count == null ? "–" : bytes(count));
  return html`
    ${error && html`<${Notice} kind="error" live>${error.message}${refused && html` <${Button} kind="danger" label=${`Unload ${refused} all the same`} onClick=${() => attempt(() => unload(refused, true))}>Unload it all the same</${Button}>`}</${Notice}>`}
    <${Table} caption="Models" rows=${models.value} empty="No model is served." columns=${[
      { title: "Model", cell: ({ id }) => html`<strong>${id}</strong>` },
      { title: "State", cell: ({ status, error: why, on_demand: onDemand }) => `${status}${why ? `: ${why}` : ""}${status === "unloaded" && onDemand ? ", loads when asked" : ""}` },
      { title: "", cell: act },
      { title: "Running", number: true, cell: (model) => now(model)?.running ?? "–" },
      { title: "Waiting", number: true, cell: (model) => now(model)?.waiting ?? "–" },
      { title: "Jobs", number: true, cell: (model) => now(model)?.jobs ?? "–" },
      { title: "Tokens/s", number: true, cell: (model) => (now(model) ? pace(now(model).tokens_per_second) : "–") },
      { title: "Weights", number: true, cell: (model) => taken(now(model)?.weights_bytes) },
      { title: "Prompts kept", number: true, cell: (model) => taken(now(model)?.cached_bytes) },
      { title: "Personas", number: true, cell: ({ personas }) => personas?.length ?? 0 },
      { title: "Runs by", cell: ({ engine, device, dtype }) => [engine, device, dtype].filter(Boolean).join(", ") || "–" },
      { title: "Shape", cell: ({ family, n_layers: layers, hidden_size: width, context_length: tokens }) => (layers ? `${family}, ${layers} blocks × ${width}, ${tokens} tokens` : "–") },
    ]} />
  `;
}

/** The servers that run models for this one; nothing where all run here. */
function Upstreams({ activity }) {
  const rows = activity.flatMap(({ id, upstreams }) => (upstreams ?? []).map((one) => ({ model: id, ...one })));
  const count = (ended, ...names) => names.reduce((total, name) => total + (ended[name] ?? 0), 0);
  return rows.length > 0 && html`<h2>Servers behind this one</h2><${Table} caption="Servers behind this one" rows=${rows} keyOf=${(one) => `${one.model} ${one.url}`} empty="" columns=${[
    { title: "Model", cell: ({ model }) => html`<strong>${model}</strong>` },
    { title: "Server", cell: ({ url }) => html`<code>${url}</code>` },
    { title: "State", cell: ({ state, problem }) => `${state.replace("_", " ")}${problem ? `: ${problem}` : ""}` },
    { title: "Running", number: true, cell: ({ running }) => running },
    { title: "Answered", number: true, cell: ({ ended }) => count(ended, "ok") },
    { title: "Turned away", number: true, cell: ({ ended }) => count(ended, "refused", "busy") },
    { title: "Failed", number: true, cell: ({ ended }) => count(ended, "failed") },
  ]} />`;
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
  const failed = ended.filter(({ id, status }) => status === "failed" && !dismissed.value.includes(id));
  const others = ended.filter((job) => !failed.includes(job));
  return html`
    ${failed.map((job) => html`<${Job} key=${job.id} job=${job} onHide=${() => dismiss(job)} />`)}
    ${(others.length > 0 || !failed.length) && html`<${Table} caption="Jobs that ended" rows=${others} empty="No job has ended." columns=${[
      { title: "Job", cell: titleOf },
      { title: "State", cell: ({ status }) => status },
      { title: "Made", cell: ({ result }) => result?.vector ?? result?.trait ?? result?.transfer ?? "–" },
      { title: "Ended", number: true, cell: ({ ended: at }) => (at ? new Date(at * 1000).toLocaleString() : "–") },
    ]} />`}
  `;
}

/** Alike ones count together. What clients sent is in none of them. */
function Errors({ errors }) {
  return html`<${Table} caption="Recent errors" rows=${errors} keyOf=${(one) => [one.status, one.code, one.route, one.message].join()} empty="Nothing went wrong since the server started." columns=${[
    { title: "Error", cell: ({ status, code }) => `${status} ${code}` },
    { title: "At", cell: ({ route }) => route ?? "an address that does not exist" },
    { title: "Told", cell: ({ message }) => message ?? html`<span class="muted">not kept: it may quote the request</span>` },
    { title: "Times", number: true, cell: ({ count }) => count },
    { title: "Last", number: true, cell: ({ time }) => clock(time) },
    { title: "In the log as", cell: ({ request_id: id }) => html`<code>${id}</code>` },
  ]} />`;
}
