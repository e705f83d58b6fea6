// The form that starts a sweep, and how it goes on.
import { Jobs, start } from "../../components/jobs.js";
import { Button, Notice, NumberField, SelectField, TextField } from "../../components/controls.js";
import { html, useState } from "../../html.js";
import { modelOf, vectors } from "../../store.js";

const KINDS = ["sweep"];

/** Numbers as people separate them; what is no number goes to the server, which says so. */
const numbers = (text) => text.split(/[\s,;]+/).filter(Boolean).map((part) => (Number.isNaN(Number(part)) ? part : Number(part)));

/** `shown` is the curve on view, whose vector is offered first; `onStart` gets the job's id, `onDone` nothing. */
export function SweepForm({ shown, onStart, onDone }) {
  const choices = vectors.value.filter(({ model, in_use, poles }) => in_use && modelOf(model) && Object.keys(poles).length);
  const [chosen, choose] = useState("");
  const [coefficients, setCoefficients] = useState("");
  const [samples, setSamples] = useState(null);
  const [error, setError] = useState(null);
  const vector = choices.find(({ id }) => id === chosen) ?? choices.find(({ model, trait }) => model === shown?.model && trait === shown.trait) ?? choices[0];
  const field = error?.param?.split("[")[0]; // of a list, whichever of it is at fault
  const at = (name) => (field === name ? error.message : null);
  const submit = async (event) => {
    event.preventDefault();
    const body = { model: vector.model, trait: vector.trait, version: vector.id };
    if (coefficients.trim()) body.coefficients = numbers(coefficients);
    if (samples != null) body.samples = samples;
    setError(null);
    await start("api/steering/sweep", body).then(({ id }) => onStart(id), setError);
  };
  if (!vector) return html`<p class="empty">No vector is in use that could be swept. Make one in <a href="#/traits">Traits</a>.</p><${Jobs} kinds=${KINDS} onDone=${onDone} />`;
  return html`
    <form class="sweep-form" onSubmit=${submit}>
      <${SelectField} label="Vector" value=${vector.id} onChange=${choose} options=${choices.map(({ id, positive, negative, model }) => [id, `${positive} / ${negative}, ${model}`])} error=${at("version") ?? at("model") ?? at("trait")} />
      <${TextField} label="Coefficients" placeholder="−2 to 2 in quarters" hint="Below 0 is the opposite pole." value=${coefficients} onInput=${setCoefficients} error=${at("coefficients")} />
      <${NumberField} label="Answers to each question" placeholder="4" value=${samples} onInput=${setSamples} error=${at("samples")} />
      <${Button} type="submit">Start sweep</${Button}>
    </form>
    ${error && !["version", "model", "trait", "coefficients", "samples"].includes(field) && html`<${Notice} kind="error" live>${error.message}</${Notice}>`}
    <p class="hint">A sweep takes minutes, makes a new version of the vector, and goes on when you leave this page. Its points are drawn above as they come, from 0 outwards.</p>
    <${Jobs} kinds=${KINDS} onDone=${onDone} />
  `;
}
