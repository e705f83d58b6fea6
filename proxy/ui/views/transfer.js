// Transfer: the pairs there are, how well their maps hold, what carried vectors are worth; fit, apply, evaluate.
import { get } from "../api.js";
import { Notice, Button, SelectField } from "../components/controls.js";
import { Jobs, start } from "../components/jobs.js";
import { HeatMap, Table } from "../components/table.js";
import { html, useEffect, useState } from "../html.js";
import { models, traits, vectors } from "../store.js";

const KINDS = ["transfer", "transfer-apply", "transfer-evaluate"];
const ARMS = {
  none: "no steering", native: "native vector", transferred: "transferred vector", prompt: "system prompt", random: "random direction",
  random_covariance: "random, of the model's covariance", shuffled: "by shuffled maps", wrong_trait: "wrong trait", sampling: "sampling alone",
  native_by_others: "native, placed by other traits", transferred_by_others: "transferred, placed by other traits",
};

const percent = (figure) => (figure ? `${Math.round(100 * figure.mean)} % (${Math.round(100 * figure.low)}–${Math.round(100 * figure.high)})` : "–");
const score = (figure) => (figure ? `${Math.round(figure.mean)} (${Math.round(figure.low)}–${Math.round(figure.high)})` : "–");

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

/** Held-out quality by pair of blocks, for each span. */
function Maps({ transfer }) {
  return [...new Set(transfer.maps.map(({ span }) => span))].map((span) => {
    const maps = transfer.maps.filter((map) => map.span === span);
    const [rows, columns] = ["target_block", "source_block"].map((name) => [...new Set(maps.map((map) => map[name]))].sort((a, b) => a - b));
    const at = (r, c) => maps.find((map) => map.target_block === rows[r] && map.source_block === columns[c])?.r2 ?? null;
    const words = span === "last_prompt" ? "last prompt token" : "answers";
    return html`<div class="maps" key=${span}><${HeatMap} caption=${`Share of the target's variance explained in text held out (${words}); rows are blocks of ${transfer.target.id}, columns of ${transfer.source.id}`} rows=${rows.map(String)} columns=${columns.map(String)} value=${at} range=${[0, 1]} /></div>`;
  });
}

function Evaluations({ id }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    get(`api/transfers/${id}/evaluations`).then(({ data }) => setFound(data), setError);
  }, [id, vectors.value]);
  if (error) return html`<${Notice} kind="error">${error.message}</${Notice}>`;
  if (!found) return null;
  if (!found.length) return html`<p class="empty evaluation">What its vectors are worth was not measured yet: evaluate it below.</p>`;
  const [{ figures, misses, missing }] = found;
  const arms = figures.poles.flatMap((pole) => pole.arms.map((arm) => ({ pole, arm })));
  return html`
    <h2>What carried vectors are worth</h2>
    <p>Recovery, over all poles: <strong class="number">${percent(figures.recovery)}</strong> of what the native vectors add to the trait. Intervals are 95 %.</p>
    ${misses.map((text) => html`<${Notice} kind="warning" key=${text}>${text}</${Notice}>`)}
    ${missing.length > 0 && html`<p class="hint">Not measured: ${missing.join("; ")}.</p>`}
    <${Table} caption="Recovery by pole" rows=${figures.poles} keyOf=${({ pole }) => pole} columns=${[
      { title: "Pole", cell: ({ pole }) => pole },
      { title: "Recovery", number: true, cell: ({ arms: all }) => percent(all.find(({ kind }) => kind === "transferred")?.recovery) },
      { title: "Cosine to native", number: true, cell: ({ cosine }) => cosine.toFixed(2) },
      { title: "Block", number: true, cell: ({ choice }) => choice.block },
      { title: "Map's quality", number: true, cell: ({ map }) => map.r2.toFixed(2) },
    ]} />
    <details class="arms"><summary>All arms</summary><${Table} caption="Arms" rows=${arms} keyOf=${({ pole, arm }) => pole.pole + arm.kind} columns=${[
      { title: "Pole", cell: ({ pole }) => pole.pole },
      { title: "Arm", cell: ({ arm }) => ARMS[arm.kind] ?? arm.kind },
      { title: "Trait", number: true, cell: ({ pole, arm }) => (pole.judge.scored ? score(arm.trait) : "unscored") },
      { title: "Coherence", number: true, cell: ({ arm }) => score(arm.coherence) },
      { title: "Facts right", number: true, cell: ({ arm }) => percent(arm.correct) },
      { title: "Answers", number: true, cell: ({ arm }) => arm.n },
    ]} /></details>
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
    start("api/transfers", { source, target }).then(() => setError(null), setError);
  };
  if (!ids.length) return html`<p class="empty">No model is served.</p>`;
  return html`
    <form class="row" onSubmit=${fit}>
      <${SelectField} label="From" value=${source} options=${ids} onChange=${(id) => setGiven({ ...given, source: id })} error=${at("source")} />
      <${SelectField} label="To" value=${target} options=${ids} onChange=${(id) => setGiven({ ...given, target: id })} error=${at("target")} />
      <${Button} type="submit">Fit</${Button}>
    </form>
    ${error && !["source", "target"].includes(error.param) && html`<${Notice} kind="error" live>${error.message}</${Notice}>`}
    <p class="hint">Both models read the same text; neither is changed. On real models this takes minutes to hours.</p>
  `;
}
