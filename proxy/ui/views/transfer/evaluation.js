// What carried vectors are worth: recovery by pole, and every arm with its interval.
import { get } from "../../api.js";
import { Notice, SelectField } from "../../components/controls.js";
import { Table } from "../../components/table.js";
import { html, useEffect, useState } from "../../html.js";
import { vectors } from "../../store.js";

const ARMS = {
  none: "no steering", native: "native vector", transferred: "transferred vector", prompt: "system prompt", random: "random direction",
  random_covariance: "random, of the model's covariance", shuffled: "by shuffled maps", wrong_trait: "wrong trait", sampling: "sampling alone",
  native_by_others: "native, placed by other traits", transferred_by_others: "transferred, placed by other traits",
};

const percent = (figure) => (figure ? `${Math.round(100 * figure.mean)} % (${Math.round(100 * figure.low)}–${Math.round(100 * figure.high)})` : "–");
const score = (figure) => (figure ? `${Math.round(figure.mean)} (${Math.round(figure.low)}–${Math.round(figure.high)})` : "–");
const titleOf = ({ figures: { created, poles } }) => `${[...new Set(poles.map(({ trait }) => trait))].join(", ")} · ${created.slice(0, 16).replace("T", " ")}`;

export function Evaluations({ id }) {
  const [found, setFound] = useState(null);
  const [chosen, choose] = useState("");
  const [error, setError] = useState(null);
  useEffect(() => {
    get(`api/transfers/${id}/evaluations`).then(({ data }) => setFound(data), setError);
  }, [id, vectors.value]);
  if (error) return html`<${Notice} kind="error">${error.message}</${Notice}>`;
  if (!found) return null;
  const shown = found.find((one) => one.id === chosen) ?? found[0];
  return html`
    <h2>What carried vectors are worth</h2>
    ${!shown && html`<p class="empty">Not measured yet: evaluate it below.</p>`}
    ${found.length > 1 && html`<div class="row"><${SelectField} label="Evaluation of" value=${shown.id} options=${found.map((one) => [one.id, titleOf(one)])} onChange=${choose} /></div>`}
    ${shown && html`<${Evaluation} of=${shown} />`}
  `;
}

function Evaluation({ of: { figures, misses, missing } }) {
  return html`
    <p>Recovery, over all poles: <strong class="number">${percent(figures.recovery)}</strong> of what the native vectors add to the trait. Intervals are 95 %, over ${figures.n_questions} questions.</p>
    ${misses.map((text) => html`<${Notice} kind="warning" key=${text}>${text}</${Notice}>`)}
    ${missing.length > 0 && html`<details class="missing"><summary>No verdict: ${missing.length} ${missing.length === 1 ? "thing was" : "things were"} not measured</summary><ul>${missing.map((text) => html`<li key=${text}>${text}</li>`)}</ul></details>`}
    <${Table} caption="Recovery by pole" rows=${figures.poles} keyOf=${({ pole }) => pole} columns=${[
      { title: "Pole", cell: ({ pole }) => html`<strong>${pole}</strong>` },
      { title: "Recovery", number: true, cell: ({ arms }) => percent(arms.find(({ kind }) => kind === "transferred")?.recovery) },
      { title: "Cosine to native", number: true, cell: ({ cosine }) => cosine?.toFixed(2) ?? "–" },
      { title: "Block", number: true, cell: ({ choice }) => choice.block },
      { title: "Map's R²", number: true, cell: ({ map }) => map.r2.toFixed(2) },
    ]} />
    <h3 class="arms-title">The trait in every arm</h3>
    <div class="arms">${figures.poles.map((pole) => html`<${Arms} key=${pole.pole} pole=${pole} />`)}</div>
  `;
}

/** One pole's arms at the same place and dose, from 0 to 100. */
function Arms({ pole }) {
  return html`<div class="pole"><h4 dir="auto">${pole.pole}</h4><${Table} caption=${`Arms of ${pole.pole}`} rows=${pole.arms} keyOf=${({ kind }) => kind} columns=${[
    { title: "Arm", cell: ({ kind }) => (kind === "transferred" ? html`<strong>${ARMS[kind]}</strong>` : ARMS[kind] ?? kind) },
    { title: "Trait", cell: ({ trait }) => trait && html`<${Interval} figure=${trait} />` },
    { title: "Mean", number: true, cell: ({ trait }) => (pole.judge.scored ? score(trait) : "unscored") },
    { title: "Coherence", number: true, cell: ({ coherence }) => score(coherence) },
    { title: "Facts right", number: true, cell: ({ correct }) => percent(correct) },
    { title: "Answers", number: true, cell: ({ n }) => n },
  ]} /></div>`;
}

/** A dot with its interval, on a line from 0 to 100; the figures stand beside it as text. */
function Interval({ figure: { mean, low, high } }) {
  return html`<span class="interval" style=${{ "--low": `${low}%`, "--high": `${high}%`, "--mean": `${mean}%` }} aria-hidden="true"><i></i></span>`;
}
