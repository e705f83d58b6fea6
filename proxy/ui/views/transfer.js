// Transfer: the pairs there are, how well their maps hold, what carried vectors are worth; fit, apply, evaluate.
import { get } from "../api.js";
import { Button, Notice, NumberField, SelectField } from "../components/controls.js";
import { Jobs, start } from "../components/jobs.js";
import { Table } from "../components/table.js";
import { html, useEffect, useState } from "../html.js";
import { models, traits, vectors } from "../store.js";
import { Evaluations } from "./transfer/evaluation.js";
import { Maps } from "./transfer/maps.js";

const KINDS = ["transfer", "transfer-apply", "transfer-evaluate"];

export function View() {
  const [transfers, setTransfers] = useState([]);
  const [chosen, choose] = useState("");
  const [error, setError] = useState(null);
  const look = () => get("api/transfers").then(({ data }) => setTransfers(data), setError);
  useEffect(() => {
    look();
  }, []);
  const transfer = transfers.find(({ id }) => id === chosen) ?? transfers[0];
  return html`
    <h1 tabindex="-1">Transfer</h1>
    <p class="lead">A linear map, fitted on text that both models read, carries persona vectors from one model to another.</p>
    ${error && html`<${Notice} kind="error">${error.message}</${Notice}>`}
    <${Table} caption="Transfers" rows=${transfers} empty="No transfer was fitted yet. Choose two models below and fit one." columns=${[
      { title: "From", cell: ({ source }) => source.id },
      { title: "To", cell: ({ target }) => target.id },
      { title: "Fitted on", cell: ({ text, n_documents: n }) => `${text}, ${n} documents` },
      { title: "Made", cell: ({ created }) => created.slice(0, 16).replace("T", " ") },
      { title: "State", cell: ({ source, target }) => (source.fits === false || target.fits === false ? "of other weights than are served" : "") },
      { title: "", cell: ({ id }) => (id === transfer.id ? html`<span class="muted">shown</span>` : html`<${Button} kind="quiet" label=${`Show ${id}`} onClick=${() => choose(id)}>Show</${Button}>`) },
    ]} />
    ${transfer && html`<${Maps} transfer=${transfer} /><${Evaluations} key=${transfer.id} id=${transfer.id} /><${Actions} transfer=${transfer} />`}
    <h2>Fit a transfer</h2>
    <${Fit} />
    <${Jobs} kinds=${KINDS} onDone=${look} />
  `;
}

function Actions({ transfer }) {
  const own = vectors.value.filter(({ fingerprint, origin }) => fingerprint === transfer.source.fingerprint && origin === "native");
  const ids = traits.value.map(({ id }) => id).filter((id) => own.some((vector) => vector.trait === id));
  const [trait, setTrait] = useState("");
  const [error, setError] = useState(null);
  const body = { source: transfer.source.id, target: transfer.target.id, transfer: transfer.id };
  const attempt = (path, more) => start(path, { ...body, ...more }).then(() => setError(null), setError);
  if (!ids.length) return html`<p class="empty evaluation">${transfer.source.id} has no vector that could be carried over. Make one in <a href="#/traits">Traits</a>.</p>`;
  return html`
    <h2>Use it</h2>
    <div class="row">
      <${SelectField} label="Trait" value=${trait || ids[0]} options=${ids} onChange=${setTrait} />
      <${Button} onClick=${() => attempt("api/transfers/apply", { trait: trait || ids[0] })}>Carry over to ${transfer.target.id}</${Button}>
      <${Button} onClick=${() => attempt("api/transfers/evaluate", { traits: [trait || ids[0]] })}>Evaluate this trait</${Button}>
      <${Button} onClick=${() => attempt("api/transfers/evaluate")}>Evaluate all built-in traits</${Button}>
    </div>
    ${error && html`<${Notice} kind="error" live>${error.message}</${Notice}>`}
  `;
}

function Fit() {
  const ids = models.value.map(({ id }) => id);
  const [given, setGiven] = useState({});
  const [error, setError] = useState(null);
  const source = given.source ?? ids[0];
  const target = given.target ?? ids[1] ?? ids[0];
  const at = (name) => (error?.param === name ? error.message : null);
  const fit = (event) => {
    event.preventDefault();
    start("api/transfers", { source, target, ...(given.documents != null && { documents: given.documents }) }).then(() => setError(null), setError);
  };
  if (!ids.length) return html`<p class="empty">No model is served.</p>`;
  return html`
    <form class="row" onSubmit=${fit}>
      <${SelectField} label="From" value=${source} options=${ids} onChange=${(id) => setGiven({ ...given, source: id })} error=${at("source")} />
      <${SelectField} label="To" value=${target} options=${ids} onChange=${(id) => setGiven({ ...given, target: id })} error=${at("target")} />
      <${NumberField} label="Documents" placeholder="usual" value=${given.documents} step="1" onInput=${(documents) => setGiven({ ...given, documents })} error=${at("documents")} />
      <${Button} type="submit">Fit</${Button}>
    </form>
    ${error && !["source", "target", "documents"].includes(error.param) && html`<${Notice} kind="error" live>${error.message}</${Notice}>`}
    <p class="hint">Both models read the same text; neither is changed. On real models this takes minutes to hours, the longer the more documents they read.</p>
  `;
}
